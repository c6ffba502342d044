//! The pictures of the page: plain SVG, coloured by the page's own style, every value also in words.

use std::fmt::Write;

use maud::{Markup, PreEscaped, html};

use super::super::columns::{columns, noun, times};
use super::super::svg::{at, cut, escaped, ticks};
use super::super::{parity, units, words};
use crate::measure::Comparison;
use crate::measure::comparison::{Budget, Parity, Row, SpeedUp, State};
use crate::measure::metric::Metric;
use crate::measure::stats::{Interval, Random};
use crate::measure::summary::series;
use crate::measure::tolerance::Tolerance;
use crate::pipeline::Bound;

const LEFT: f64 = 158.0;
const PLOT: f64 = 284.0;
const RIGHT: f64 = 148.0;
const ROW: f64 = 30.0;
const TOP: f64 = 8.0;
const BOTTOM: f64 = 26.0;

/// All charts, two beside each other where there is room.
pub(super) fn section(comparison: &Comparison) -> Markup {
    let rows: Vec<&Row> = comparison.measured().collect();
    let times = times(comparison);
    let dots = format!("Each dot is one {}; the bar is the median with its 95 % interval.", noun(comparison));
    let mut figures: Vec<(String, String, Option<String>)> =
        times.iter().map(|metric| (capital(metric.title()), dots.clone(), strip(&rows, *metric))).collect();
    let rate = columns(comparison)[2].metric;
    let further = [
        (
            "Speed-up against the baseline",
            "Ratio of medians with its 99 % interval; right of 1 is faster.".to_owned(),
            forest(&rows),
        ),
        ("Throughput", format!("{}, median with its 95 % interval.", capital(rate.title())), bars(&rows, rate)),
        ("Peak memory", "The largest of all sessions; the line is the budget.".to_owned(), memory(&rows)),
        (
            "Cold start",
            "From the start of the process to the end of the first pass, model in the page cache.".to_owned(),
            cold(&rows),
        ),
        (
            "Parity",
            "Largest absolute error of an output against the reference; right of the line is wrong.".to_owned(),
            parity(comparison, &rows),
        ),
        (
            "Drift over the session",
            "The time of each sample over the session, relative to the median.".to_owned(),
            times.first().and_then(|metric| drift(&rows, *metric)),
        ),
    ];
    figures.extend(further.map(|(title, caption, svg)| (title.to_owned(), caption, svg)));
    html! {
        section.wide id="charts" {
            h2 { "Pictures" }
            div.charts {
                @for (title, caption, svg) in figures.into_iter().filter_map(|(t, c, svg)| Some((t, c, svg?))) {
                    figure {
                        figcaption { strong { (title) } br; span.soft.small { (caption) } }
                        (PreEscaped(svg))
                    }
                }
            }
        }
    }
}

/// `Time per output token`.
fn capital(title: &str) -> String {
    let mut letters = title.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// A horizontal scale and the rows below each other.
struct Plot {
    out: String,
    least: f64,
    most: f64,
    log: bool,
    rows: usize,
}

impl Plot {
    fn new(title: &str, rows: usize, least: f64, most: f64, log: bool) -> Plot {
        let (width, height) = (LEFT + PLOT + RIGHT, TOP + rows as f64 * ROW + BOTTOM);
        let out = format!(
            "<svg viewBox=\"0 0 {} {}\" role=\"img\"><title>{}</title>\n",
            at(width),
            at(height),
            escaped(title)
        );
        Plot { out, least, most, log, rows }
    }

    fn x(&self, value: f64) -> f64 {
        let place = if self.log {
            (value.max(self.least) / self.least).ln() / (self.most / self.least).ln()
        } else {
            (value - self.least) / (self.most - self.least)
        };
        LEFT + PLOT * place.clamp(0.0, 1.0)
    }

    fn y(&self, row: usize) -> f64 {
        TOP + ROW * (row as f64 + 0.5)
    }

    fn add(&mut self, text: std::fmt::Arguments<'_>) {
        // Writing to a string can't fail.
        let _ = self.out.write_fmt(text);
        self.out.push('\n');
    }

    /// Grid lines with their values below.
    fn axis(&mut self, values: &[f64], show: impl Fn(f64) -> String) {
        let bottom = TOP + ROW * self.rows as f64;
        for &value in values {
            let x = at(self.x(value));
            self.add(format_args!("<line class=\"grid\" x1=\"{x}\" x2=\"{x}\" y1=\"{TOP}\" y2=\"{}\"/>", at(bottom)));
            self.add(format_args!(
                "<text class=\"tick\" x=\"{x}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
                at(bottom + 16.0),
                escaped(&show(value))
            ));
        }
    }

    /// The row's name at the left and its figure at the right.
    fn label(&mut self, place: usize, row: &Row, figure: &str) {
        let y = at(self.y(place) + 4.0);
        let star = if row.winner { "★ " } else { "" };
        self.add(format_args!(
            "<a href=\"#cell-{}\"><text class=\"name {}\" x=\"{}\" y=\"{y}\" text-anchor=\"end\">{star}{}</text></a>",
            escaped(&row.anchor()),
            row.state.name(),
            at(LEFT - 10.0),
            escaped(&cut(&row.label, 24))
        ));
        self.add(format_args!(
            "<text class=\"figure\" x=\"{}\" y=\"{y}\">{}</text>",
            at(LEFT + PLOT + 10.0),
            escaped(figure)
        ));
    }

    fn bar(&mut self, place: usize, class: &str, from: f64, to: f64) {
        let (a, b) = (self.x(from), self.x(to));
        let y = at(self.y(place) - 8.0);
        self.add(format_args!(
            "<rect class=\"bar {class}\" x=\"{}\" y=\"{y}\" width=\"{}\" height=\"16\" rx=\"2\"/>",
            at(a),
            at((b - a).max(0.5))
        ));
    }

    /// A line from end to end of an interval, with short ends.
    fn whisker(&mut self, place: usize, interval: Interval) {
        let (a, b, y) = (self.x(interval.low), self.x(interval.high), self.y(place));
        self.add(format_args!(
            "<path class=\"whisker\" d=\"M{0} {1}V{2}M{0} {3}H{4}M{4} {1}V{2}\"/>",
            at(a),
            at(y - 5.0),
            at(y + 5.0),
            at(y),
            at(b)
        ));
    }

    fn dot(&mut self, class: &str, x: f64, y: f64, radius: f64) {
        self.add(format_args!("<circle class=\"{class}\" cx=\"{}\" cy=\"{}\" r=\"{}\"/>", at(x), at(y), at(radius)));
    }

    fn end(mut self) -> String {
        self.out.push_str("</svg>");
        self.out
    }
}

fn class(row: &Row) -> &'static str {
    match (&row.state, row.winner) {
        (State::Wrong, _) => "wrong",
        (_, true) => "winner",
        _ => "",
    }
}

/// A dot for each sample, and the median with its interval.
fn strip(rows: &[&Row], metric: Metric) -> Option<String> {
    let data: Vec<Vec<f64>> = rows.iter().map(|row| series(metric, &row.sessions)).collect();
    let most = data.iter().flatten().copied().fold(0.0, f64::max);
    let least = data.iter().flatten().copied().fold(f64::INFINITY, f64::min);
    if most <= 0.0 {
        return None;
    }
    let edge = ((most - least) * 0.06).max(most * 0.005);
    let mut plot = Plot::new(metric.title(), rows.len(), (least - edge).max(0.0), most + edge, false);
    plot.axis(&ticks(plot.least, plot.most, 5), units::time);
    for (place, row) in rows.iter().enumerate() {
        let Some(figure) = row.summary.as_ref().and_then(|summary| summary.figure(metric)) else {
            plot.label(place, row, "n/a");
            continue;
        };
        // Dots are set apart up and down at random, from the data's own seed.
        let mut random = Random::from_data(&data[place]);
        for value in &data[place] {
            let y = plot.y(place) + (random.unit() - 0.5) * 16.0;
            plot.dot(&format!("sample {}", class(row)), plot.x(*value), y, 2.4);
        }
        if let Some(interval) = figure.interval {
            plot.whisker(place, interval);
        }
        let (x, y) = (at(plot.x(figure.median)), plot.y(place));
        plot.add(format_args!(
            "<line class=\"median\" x1=\"{x}\" x2=\"{x}\" y1=\"{}\" y2=\"{}\"/>",
            at(y - 11.0),
            at(y + 11.0)
        ));
        let spread = words::spread(row, metric).unwrap_or_default();
        plot.label(place, row, &format!("{} {spread}", units::time(figure.median)));
    }
    Some(plot.end())
}

fn bars(rows: &[&Row], metric: Metric) -> Option<String> {
    let most = rows.iter().filter_map(|row| Some(row.summary.as_ref()?.figure(metric)?.max)).fold(0.0, f64::max);
    if most <= 0.0 {
        return None;
    }
    let mut plot = Plot::new(metric.title(), rows.len(), 0.0, most * 1.02, false);
    plot.axis(&ticks(0.0, plot.most, 5), units::three);
    for (place, row) in rows.iter().enumerate() {
        let Some(figure) = row.summary.as_ref().and_then(|summary| summary.figure(metric)) else {
            plot.label(place, row, "n/a");
            continue;
        };
        plot.bar(place, class(row), 0.0, figure.median);
        if let Some(interval) = figure.interval {
            plot.whisker(place, interval);
        }
        let spread = words::spread(row, metric).unwrap_or_default();
        plot.label(place, row, &format!("{} {spread}", units::three(figure.median)));
    }
    Some(plot.end())
}

fn forest(rows: &[&Row]) -> Option<String> {
    let ratios: Vec<_> = rows
        .iter()
        .filter_map(|row| match row.speed_up() {
            SpeedUp::Compared { ratio, .. } => Some(ratio),
            _ => None,
        })
        .collect();
    let least = ratios.iter().map(|ratio| ratio.interval.low).fold(1.0, f64::min) * 0.96;
    let most = ratios.iter().map(|ratio| ratio.interval.high).fold(1.0, f64::max) * 1.04;
    if ratios.is_empty() || least <= 0.0 {
        return None;
    }
    let mut plot = Plot::new("speed-up", rows.len(), least, most, true);
    let marks = ticks(least, most, 5);
    plot.axis(&marks, units::ratio);
    let one = at(plot.x(1.0));
    let bottom = at(TOP + ROW * rows.len() as f64);
    plot.add(format_args!("<line class=\"bound\" x1=\"{one}\" x2=\"{one}\" y1=\"{TOP}\" y2=\"{bottom}\"/>"));
    for (place, row) in rows.iter().enumerate() {
        match row.speed_up() {
            SpeedUp::Compared { ratio, .. } => {
                plot.whisker(place, ratio.interval);
                let (x, y) = (plot.x(ratio.ratio), plot.y(place));
                plot.dot(&format!("point {}", class(row)), x, y, 5.0);
                plot.label(place, row, &words::speed_up(row).0);
            }
            other => {
                let text = words::speed_up_in(row, other).0;
                plot.label(place, row, &text);
            }
        }
    }
    Some(plot.end())
}

fn memory(rows: &[&Row]) -> Option<String> {
    let peak = |row: &Row| row.summary.as_ref().and_then(|summary| summary.headline(words::memory_metric(row)));
    let budget = rows.iter().find_map(|row| match row.budget {
        Budget::Within { budget, .. } | Budget::Over { budget, .. } | Budget::NotJudged { budget, .. } => {
            Some(budget as f64)
        }
        Budget::NotAsked => None,
    });
    let most = rows.iter().filter_map(|row| peak(row)).fold(0.0, f64::max);
    if most <= 0.0 {
        return None;
    }
    let mut plot = Plot::new("peak memory", rows.len(), 0.0, most.max(budget.unwrap_or(0.0)) * 1.04, false);
    let gib = 1073741824.0;
    let unit = if plot.most > 2.0 * gib { gib } else { gib / 1024.0 };
    let marks: Vec<f64> = ticks(0.0, plot.most / unit, 5).into_iter().map(|tick| tick * unit).collect();
    plot.axis(&marks, |bytes| units::size(bytes as u64));
    for (place, row) in rows.iter().enumerate() {
        let Some(bytes) = peak(row) else {
            plot.label(place, row, "n/a");
            continue;
        };
        let over = matches!(row.budget, Budget::Over { .. });
        plot.bar(place, if over { "over" } else { class(row) }, 0.0, bytes);
        let mark = if over { " over" } else { "" };
        plot.label(place, row, &format!("{}{mark}", units::bytes(bytes)));
    }
    if let Some(budget) = budget {
        let x = at(plot.x(budget));
        let bottom = at(TOP + ROW * rows.len() as f64);
        plot.add(format_args!("<line class=\"bound\" x1=\"{x}\" x2=\"{x}\" y1=\"{TOP}\" y2=\"{bottom}\"/>"));
    }
    Some(plot.end())
}

/// Process start, load and first inference, one after the other.
fn cold(rows: &[&Row]) -> Option<String> {
    let parts = [Metric::ProcessStart, Metric::Load, Metric::FirstInference];
    let value = |row: &Row, metric| row.summary.as_ref().and_then(|summary| summary.headline(metric));
    let total = |row: &Row| parts.iter().filter_map(|metric| value(row, *metric)).sum::<f64>();
    let most = rows.iter().map(|row| total(row)).fold(0.0, f64::max);
    if most <= 0.0 {
        return None;
    }
    let mut plot = Plot::new("cold start", rows.len(), 0.0, most * 1.02, false);
    plot.axis(&ticks(0.0, plot.most, 4), |ns| if ns == 0.0 { "0 s".to_owned() } else { units::time(ns) });
    for (place, row) in rows.iter().enumerate() {
        let mut from = 0.0;
        for (metric, class) in parts.into_iter().zip(["part1", "part2", "part3"]) {
            let to = from + value(row, metric).unwrap_or(0.0);
            plot.bar(place, class, from, to);
            from = to;
        }
        plot.label(place, row, &units::time(from));
    }
    let mut svg = plot.end();
    svg.push_str("<p class=\"small\"><i class=\"key part1\"></i> process <i class=\"key part2\"></i> model load <i class=\"key part3\"></i> first inference</p>");
    Some(svg)
}

/// The one limit of the absolute error: of all outputs, or the calibrated one of the only output.
fn limit(tolerance: &Tolerance) -> Option<f64> {
    let noise = tolerance.calibrated.as_ref().and_then(|calibrated| calibrated.noise.as_ref().ok());
    match noise.map(Vec::as_slice) {
        Some([(name, _)]) => tolerance.calibrated_limit(name),
        _ => tolerance.limit_of_all(Bound::MaxAbs),
    }
}

/// The largest error of each cell on a logarithmic scale, with the tolerance.
fn parity(comparison: &Comparison, rows: &[&Row]) -> Option<String> {
    let error = |row: &Row| match &row.parity {
        Parity::Right(figures) | Parity::Wrong { figures: Some(figures), .. } => Some(figures.max_abs()),
        _ => None,
    };
    let bound = comparison.tolerance.as_ref().and_then(|t| limit(t)).filter(|bound| *bound > 0.0);
    let errors: Vec<f64> = rows.iter().filter_map(|row| error(row)).filter(|e| *e > 0.0 && e.is_finite()).collect();
    let all = || errors.iter().copied().chain(bound);
    let least = 10f64.powf(all().fold(f64::INFINITY, f64::min).log10().floor() - 1.0);
    let most = 10f64.powf(all().fold(0.0, f64::max).log10().ceil());
    if !least.is_finite() || most <= least || !rows.iter().any(|row| error(row).is_some()) {
        return None;
    }
    let mut plot = Plot::new("parity", rows.len(), least, most, true);
    let powers = (least.log10().round() as i32)..=(most.log10().round() as i32);
    let marks: Vec<f64> = powers.map(|power| 10f64.powi(power)).collect();
    let step = marks.len().div_ceil(7).max(1);
    let marks: Vec<f64> = marks.into_iter().step_by(step).collect();
    plot.axis(&marks, |value| format!("{value:.0e}"));
    if let Some(bound) = bound {
        let x = at(plot.x(bound));
        let bottom = at(TOP + ROW * rows.len() as f64);
        plot.add(format_args!("<line class=\"bound\" x1=\"{x}\" x2=\"{x}\" y1=\"{TOP}\" y2=\"{bottom}\"/>"));
    }
    for (place, row) in rows.iter().enumerate() {
        if let Some(error) = error(row) {
            let (x, y) = (plot.x(error), plot.y(place));
            plot.dot(&format!("point {}", class(row)), x, y, 5.0);
        }
        let text = match &row.parity {
            Parity::Right(figures) if figures.max_abs() == 0.0 => "equal".to_owned(),
            other => parity::short(other),
        };
        plot.label(place, row, &text);
    }
    Some(plot.end())
}

/// Each cell's times in their order, so that a trend can be seen.
fn drift(rows: &[&Row], metric: Metric) -> Option<String> {
    let mut plot = Plot::new("drift", rows.len(), 0.0, 1.0, false);
    let mut any = false;
    for (place, row) in rows.iter().enumerate() {
        let values = series(metric, &row.sessions);
        let Some(figure) = row.summary.as_ref().and_then(|summary| summary.figure(metric)) else {
            plot.label(place, row, "n/a");
            continue;
        };
        any = true;
        let y = plot.y(place);
        plot.add(format_args!(
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{}\" y1=\"{y}\" y2=\"{y}\"/>",
            at(LEFT + PLOT),
            y = at(y)
        ));
        let reach = values.iter().map(|value| (value / figure.median - 1.0).abs()).fold(0.01, f64::max);
        let mut path = String::new();
        for (i, value) in values.iter().enumerate() {
            let x = plot.x((i as f64 + 0.5) / values.len() as f64);
            let up = (value / figure.median - 1.0) / reach * 13.0;
            let _ = write!(path, "{}{} {}", if i == 0 { "M" } else { "L" }, at(x), at(y - up));
        }
        plot.add(format_args!("<path class=\"trace {}\" d=\"{path}\"/>", class(row)));
        plot.label(place, row, &format!("at most {} off", units::percent(reach)));
    }
    any.then(|| plot.end())
}
