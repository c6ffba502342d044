//! The report as Markdown, for a pull request: tables, then notes, then how it was measured.

use super::columns::{Column, columns, times};
use super::{parity, units, words};
use crate::measure::Comparison;
use crate::measure::comparison::{Row, State};
use crate::measure::metric::Metric;

/// Renders the whole comparison.
pub fn render(comparison: &Comparison) -> String {
    let mut out = format!("# {}\n\n", text(&words::title(comparison)));
    if let Some(about) = &comparison.about {
        out.push_str(&format!("{}\n\n", text(about)));
    }
    out.push_str(&format!("{}, on {}.\n\n", words::tally(comparison), text(&comparison.facts.machine.line())));
    figures(comparison, &mut out);
    if comparison.measured().next().is_some() {
        out.push_str(
            "Under a figure: half the width of its median's 95 % interval, and the 99 % interval of a speed-up.",
        );
        if comparison.rows.iter().any(|row| row.winner) {
            out.push_str(" ★ marks the fastest of the cells that are right and within their budget.");
        }
        out.push_str("\n\n");
        cold_start(comparison, &mut out);
        percentiles(comparison, &mut out);
        parity_table(comparison, &mut out);
    }
    let lines = words::recommendations(comparison).into_iter();
    let mut lines: Vec<String> = lines.map(|(aim, line)| format!("**{aim}**: {}", code_or_text(&line))).collect();
    if !lines.is_empty() {
        lines.extend(words::unjudged(comparison).map(|line| code_or_text(&line)));
    }
    list(&mut out, "What to use when", lines.into_iter());
    list(
        &mut out,
        "Notes",
        words::notes(comparison).into_iter().map(|(label, note)| format!("**{}**: {}", text(&label), text(&note))),
    );
    list(
        &mut out,
        "Expected",
        comparison.expects.iter().map(|expect| {
            let outcome = words::outcome(comparison, expect);
            format!("**{}**: {} ({})", expect.verdict.name(), code_or_text(&words::expectation(expect)), text(&outcome))
        }),
    );
    holes(comparison, &mut out);
    list(&mut out, "How it was measured", words::method(comparison).iter().map(|line| code_or_text(line)));
    while out.ends_with("\n\n") {
        out.pop();
    }
    out
}

fn row_of(out: &mut String, cells: &[String]) {
    out.push_str(&format!("| {} |\n", cells.join(" | ")));
}

fn header(out: &mut String, names: &[&str], right: std::ops::Range<usize>) {
    row_of(out, &names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
    let rule = |i: usize| if right.contains(&i) { "--:" } else { "---" };
    out.push_str(&format!("|{}|\n", (0..names.len()).map(rule).collect::<Vec<_>>().join("|")));
}

fn figures(comparison: &Comparison, out: &mut String) {
    let columns = columns(comparison);
    let mut names = vec!["cell"];
    names.extend(columns.iter().map(|column| column.title));
    names.extend(["peak memory", "speed-up", "parity"]);
    header(out, &names, 1..5);
    for row in &comparison.rows {
        let cells = match &row.state {
            State::Measured | State::Wrong => figures_of(row, columns),
            State::Published { source, metrics } => vec![
                format!("{} (not measured here: {})", text(&row.label), text(source)),
                text(&words::published(metrics)),
                String::new(),
                String::new(),
                String::new(),
                String::new(),
                String::new(),
            ],
            state => {
                let mut cells = vec![text(&row.label), format!("*{}*", state.name())];
                cells.extend(std::iter::repeat_n(String::new(), 5));
                cells
            }
        };
        row_of(out, &cells);
    }
    out.push('\n');
}

fn figures_of(row: &Row, columns: &[Column]) -> Vec<String> {
    let mut label = text(&row.label);
    if row.winner {
        label = format!("★ **{label}**");
    }
    let marks = words::marks(row);
    if !marks.is_empty() {
        label.push_str(&format!("<br>*{}*", marks.join(", ")));
    }
    let (ratio, interval) = words::speed_up(row);
    let mut speed_up = vec![ratio];
    speed_up.extend(interval);
    speed_up.extend(words::detectable(row.speed_up()));
    let mut cells = vec![label];
    cells.extend(columns.iter().map(|column| match column.below(row) {
        Some(below) => format!("{}<br>{below}", column.figure(row)),
        None => column.figure(row),
    }));
    cells.extend([words::headline(row, words::memory_metric(row)), speed_up.join("<br>"), parity::short(&row.parity)]);
    cells
}

fn cold_start(comparison: &Comparison, out: &mut String) {
    out.push_str("## Cold start\n\n");
    header(out, &["cell", "process", "model load", "first inference", "together"], 1..5);
    for row in comparison.measured() {
        let mut cells = vec![text(&row.label)];
        let metrics = [Metric::ProcessStart, Metric::Load, Metric::FirstInference, Metric::ColdStart];
        cells.extend(metrics.map(|metric| words::headline(row, metric)));
        row_of(out, &cells);
    }
    out.push('\n');
}

fn percentiles(comparison: &Comparison, out: &mut String) {
    let Some(&metric) = times(comparison).first() else { return };
    out.push_str(&format!("## Distribution of the {}\n\n", metric.title()));
    header(out, &["cell", "n", "median", "95 % interval", "MAD", "min", "max", "percentiles"], 1..2);
    for row in comparison.measured() {
        let Some(figure) = row.summary.as_ref().and_then(|summary| summary.figure(metric)) else {
            continue;
        };
        let show = |value: f64| units::value(value, metric.unit());
        let percentiles: Vec<String> =
            figure.percentiles.iter().map(|percentile| words::percentile(percentile, metric)).collect();
        row_of(
            out,
            &[
                text(&row.label),
                units::count(figure.n.into()),
                show(figure.median),
                words::interval(figure, metric),
                show(figure.mad),
                show(figure.min),
                show(figure.max),
                percentiles.join("<br>"),
            ],
        );
    }
    out.push('\n');
}

fn parity_table(comparison: &Comparison, out: &mut String) {
    if comparison.reference.is_none() {
        return;
    }
    out.push_str("## Parity\n\n");
    out.push_str(parity::ABOUT);
    out.push_str("\n\n");
    let columns = parity::columns(comparison);
    let mut names = vec!["cell", "verdict"];
    names.extend(columns.iter().map(String::as_str));
    names.push("where");
    header(out, &names, 2..names.len() - 1);
    for row in comparison.measured() {
        let verdict = match parity::verdict(&row.parity) {
            "wrong" => "**wrong**",
            "–" => continue,
            verdict => verdict,
        };
        let mut cells = vec![text(&row.label), verdict.to_owned()];
        match parity::figures(&row.parity) {
            Some(figures) => cells.extend(parity::cells(figures)),
            None => cells.extend(std::iter::repeat_n(String::new(), columns.len())),
        }
        cells.push(text(&parity::remark(row)));
        row_of(out, &cells);
    }
    out.push('\n');
}

fn holes(comparison: &Comparison, out: &mut String) {
    let groups = words::grouped_holes(comparison);
    if groups.is_empty() {
        return;
    }
    out.push_str("## Not measured\n\n");
    header(out, &["cells", "state", "reason", "what fills them"], 0..0);
    for (state, hole, labels) in groups {
        let remedy = hole.remedy.as_deref().map(code_or_text).unwrap_or_default();
        row_of(out, &[text(&labels.join(", ")), state.to_owned(), text(&hole.reason), remedy]);
    }
    out.push('\n');
}

fn list(out: &mut String, title: &str, lines: impl Iterator<Item = String>) {
    let lines: Vec<String> = lines.map(|line| format!("- {line}\n")).collect();
    if !lines.is_empty() {
        out.push_str(&format!("## {title}\n\n{}\n", lines.concat()));
    }
}

/// Text in which nothing is Markdown or HTML by chance.
fn text(plain: &str) -> String {
    let mut out = String::new();
    for c in plain.chars() {
        match c {
            '\\' | '*' | '_' | '[' | ']' | '|' | '`' | '#' => {
                out.push('\\');
                out.push(c);
            }
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            c if c.is_control() => out.push(' '),
            _ => out.push(c),
        }
    }
    out
}

/// Text whose pieces between backticks stay code.
fn code_or_text(plain: &str) -> String {
    let pieces: Vec<&str> = plain.split('`').collect();
    if pieces.len().is_multiple_of(2) {
        return text(plain);
    }
    let shown = pieces.iter().enumerate().map(|(i, piece)| {
        let piece = units::plain(piece).replace('\n', " ");
        // A bar would end the table's cell even inside of code.
        if i % 2 == 1 { format!("`{}`", piece.replace('|', "\\|")) } else { text(&piece) }
    });
    shown.collect()
}
