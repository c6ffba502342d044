//! The table that a run ends with: at most so many columns, readable without colour.
//!
//! Rows with figures stand in one table; holes follow with their reasons, cells that share one grouped. This
//! is the only report that says which cells came from the store.

use comfy_table::presets::UTF8_HORIZONTAL_ONLY;
use comfy_table::{Cell, CellAlignment, ContentArrangement, LineStyle, Table};

use super::columns::{Column, columns, published};
use super::{parity, units, words};
use crate::measure::Comparison;
use crate::measure::comparison::{Row, State};
use crate::measure::metric::Metric;

/// How to draw.
#[derive(Debug, Clone, Copy)]
pub struct Style {
    /// Colour where it helps; nothing is said by colour alone.
    pub colour: bool,
    pub width: u16,
}

impl Default for Style {
    fn default() -> Self {
        Style { colour: false, width: 100 }
    }
}

/// Renders the whole comparison.
pub fn render(comparison: &Comparison, style: Style) -> String {
    let width = usize::from(style.width);
    let mut out =
        format!("{}: {}\n", units::plain(&words::title(comparison)).replace('\n', " "), words::tally(comparison));
    push_wrapped(&mut out, &format!("on {}", comparison.facts.machine.line()), width, "", "");
    let has_figures = |row: &Row| row.state.has_figures() || matches!(row.state, State::Published { .. });
    if comparison.rows.iter().any(has_figures) {
        out.push('\n');
        push_table(&mut out, &figures(comparison), width);
        if comparison.measured().next().is_some() {
            out.push('\n');
            push_table(&mut out, &cold_start(comparison), width);
        }
        notes(comparison, &mut out, width);
    }
    recommendations(comparison, &mut out, width);
    expectations(comparison, &mut out, width);
    holes(comparison, &mut out, width);
    section(&mut out, "How it was measured");
    for line in words::method(comparison) {
        push_wrapped(&mut out, &line, width, "  ", "    ");
    }
    if style.colour { paint(&out) } else { out }
}

fn table(header: &[(&str, CellAlignment)]) -> Table {
    let mut table = Table::new();
    let mut lines = UTF8_HORIZONTAL_ONLY;
    lines = lines.header_separator(LineStyle::none().fill('─').junction('─'));
    lines = lines.top_border(LineStyle::none()).bottom_border(LineStyle::none());
    lines = lines.row_separator(LineStyle::none());
    table.load_style(lines).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(header.iter().map(|(name, _)| Cell::new(name)));
    for (column, (_, alignment)) in table.column_iter_mut().zip(header) {
        column.set_cell_alignment(*alignment);
        column.set_padding((0, 2));
    }
    table
}

fn push_table(out: &mut String, table: &Table, width: usize) {
    let mut table = table.clone();
    if let Some(last) = table.column_iter_mut().last() {
        last.set_padding((0, 0));
    }
    // The table may not be wider than the screen, and need not be narrower than its longest line.
    table.set_width(u16::try_from(width).unwrap_or(u16::MAX));
    for line in table.lines() {
        out.push_str(line.trim_end());
        out.push('\n');
    }
}

fn figures(comparison: &Comparison) -> Table {
    use CellAlignment::{Left, Right};
    let columns = columns(comparison);
    let mut header = vec![("cell", Left)];
    header.extend(columns.iter().map(|column| (column.short, Right)));
    header.extend([("peak\nmemory", Right), ("speed-up", Left), ("parity", Left)]);
    let mut table = table(&header);
    for row in &comparison.rows {
        match &row.state {
            State::Measured | State::Wrong => table.add_row(figures_of(row, columns)),
            State::Published { source, metrics } => {
                let label = units::plain(&format!("  {}\n  {}", row.label, source.replace('\n', " ")));
                let mut cells = vec![label];
                cells.extend(columns.iter().map(|column| column.published(metrics)));
                let memory = published(metrics, Metric::PeakResident);
                cells.extend([memory, "not measured here".to_owned(), String::new()]);
                table.add_row(cells)
            }
            _ => &mut table,
        };
    }
    table
}

fn figures_of(row: &Row, columns: &[Column]) -> Vec<String> {
    let star = if row.winner { "★" } else { " " };
    let mut under: Vec<&str> = words::marks(row);
    if row.from_store {
        under.push("cached");
    }
    let (ratio, interval) = words::speed_up(row);
    let mut speed_up = vec![ratio];
    speed_up.extend(interval);
    speed_up.extend(words::detectable(row.speed_up()));
    let mut cells = vec![units::plain(&format!("{star} {}\n  {}", row.label, under.join(", ")))];
    cells.extend(columns.iter().map(|column| match column.metric.more_is_better() {
        // A rate's spread is its time's.
        true => column.figure(row),
        false => format!("{}\n{}", column.figure(row), column.below(row).unwrap_or_default()),
    }));
    cells.extend([words::headline(row, words::memory_metric(row)), speed_up.join("\n"), parity::short(&row.parity)]);
    cells
}

fn cold_start(comparison: &Comparison) -> Table {
    use CellAlignment::{Left, Right};
    let mut table = table(&[
        ("cold start", Left),
        ("process", Right),
        ("load", Right),
        ("first inference", Right),
        ("together", Right),
    ]);
    for row in comparison.measured() {
        let metrics = [Metric::ProcessStart, Metric::Load, Metric::FirstInference, Metric::ColdStart];
        let mut cells = vec![format!("  {}", row.label)];
        cells.extend(metrics.map(|metric| words::headline(row, metric)));
        table.add_row(cells);
    }
    table
}

fn notes(comparison: &Comparison, out: &mut String, width: usize) {
    let notes = words::notes(comparison);
    let winners = comparison.rows.iter().filter(|row| row.winner).count();
    if winners > 0 {
        let text = match winners {
            1 => "★ fastest of the cells that are right and within their budget",
            _ => "★ fastest of the cells that are right and within their budget; their difference is too small to tell",
        };
        out.push('\n');
        push_wrapped(out, text, width, "", "  ");
    }
    if notes.is_empty() {
        return;
    }
    section(out, "Notes");
    for (label, note) in notes {
        push_wrapped(out, &format!("{label}: {note}"), width, "  ", "    ");
    }
}

fn recommendations(comparison: &Comparison, out: &mut String, width: usize) {
    let lines = words::recommendations(comparison);
    if lines.is_empty() {
        return;
    }
    section(out, "What to use when");
    for (aim, text) in lines {
        push_wrapped(out, &format!("{aim}: {text}").replace('`', ""), width, "  ", "    ");
    }
    if let Some(line) = words::unjudged(comparison) {
        push_wrapped(out, &line.replace('`', ""), width, "  ", "    ");
    }
}

fn expectations(comparison: &Comparison, out: &mut String, width: usize) {
    if comparison.expects.is_empty() {
        return;
    }
    section(out, "Expected");
    for expect in &comparison.expects {
        let outcome = words::outcome(comparison, expect);
        let text = format!("{}: {} ({outcome})", expect.verdict.name(), words::expectation(expect));
        push_wrapped(out, &text, width, "  ", "    ");
    }
}

fn holes(comparison: &Comparison, out: &mut String, width: usize) {
    let groups = words::grouped_holes(comparison);
    if groups.is_empty() {
        return;
    }
    section(out, "Not measured");
    for (state, hole, labels) in groups {
        push_wrapped(out, &format!("{state}: {}", labels.join(", ")), width, "  ", "    ");
        push_wrapped(out, &hole.reason, width, "    ", "    ");
        if let Some(remedy) = &hole.remedy {
            push_wrapped(out, &format!("→ {remedy}"), width, "    ", "      ");
        }
    }
}

fn section(out: &mut String, title: &str) {
    out.push('\n');
    out.push_str(title);
    out.push('\n');
}

/// Adds `text`, broken at spaces so that no line but one of a single long word is wider than `width`.
fn push_wrapped(out: &mut String, text: &str, width: usize, first: &str, rest: &str) {
    for (i, paragraph) in units::plain(text).lines().enumerate() {
        let mut line = String::from(if i == 0 { first } else { rest });
        let mut empty = true;
        for word in paragraph.split_whitespace() {
            if !empty && line.chars().count() + 1 + word.chars().count() > width {
                out.push_str(&line);
                out.push('\n');
                line = rest.to_owned();
                empty = true;
            }
            if !empty {
                line.push(' ');
            }
            line.push_str(word);
            empty = false;
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
}

/// Colours words that stand in the text anyway.
///
/// The table library counts escape codes as width, so colour is put on when the lines are finished.
fn paint(text: &str) -> String {
    const BOLD: &str = "1";
    const RED: &str = "31";
    const GREEN: &str = "32";
    const YELLOW: &str = "33";
    const DIM: &str = "2";
    let words = [
        ("★", YELLOW),
        ("faster", GREEN),
        ("slower", RED),
        ("wrong", RED),
        ("invalid", RED),
        ("over budget", RED),
        ("caution", YELLOW),
        ("cached", DIM),
        ("pass:", GREEN),
        ("fail:", RED),
        ("undecided:", YELLOW),
        ("failed:", RED),
        ("unavailable:", YELLOW),
        ("excluded:", DIM),
    ];
    let headings = ["Notes", "What to use when", "Expected", "Not measured", "How it was measured"];
    let mut out = String::new();
    for (i, line) in text.lines().enumerate() {
        let mut line = line.to_owned();
        if i == 0 || headings.contains(&line.as_str()) {
            line = format!("\x1b[{BOLD}m{line}\x1b[0m");
        } else {
            for (word, code) in words {
                line = paint_word(&line, word, code);
            }
        }
        out.push_str(&line);
        out.push('\n');
    }
    out
}

/// Colours the first `word` of a line, where it stands alone.
fn paint_word(line: &str, word: &str, code: &str) -> String {
    let Some(at) = line.find(word) else {
        return line.to_owned();
    };
    let end = at + word.len();
    let joined = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '-');
    if joined(line[..at].chars().next_back()) || joined(line[end..].chars().next()) {
        return line.to_owned();
    }
    format!("{}\x1b[{code}m{word}\x1b[0m{}", &line[..at], &line[end..])
}
