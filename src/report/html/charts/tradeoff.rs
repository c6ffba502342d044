//! Throughput against latency: a point for each cell, with its name at the right and a line to it.

use std::fmt::Write;

use super::super::super::svg::{at, escaped};
use super::super::super::units;
use super::Drawn;
use super::plot::{Scale, begin, class, name};
use crate::measure::comparison::Row;
use crate::measure::metric::Metric;
use crate::measure::summary::Figure;

const LEFT: f64 = 52.0;
const PLOT: f64 = 330.0;
const RIGHT: f64 = 208.0;
const TOP: f64 = 22.0;
const BOTTOM: f64 = 44.0;
/// The least distance of two names.
const LINE: f64 = 17.0;

struct Point<'a> {
    row: &'a Row,
    time: &'a Figure,
    rate: &'a Figure,
    /// No other cell that may win is better in both.
    front: bool,
}

/// Each cell with its time to the right and its rate upward, both with their intervals.
pub(super) fn tradeoff(rows: &[&Row], (time, rate): (Metric, Metric), title: &str, about: &str) -> Drawn {
    let both: Vec<(&Row, &Figure, &Figure)> =
        rows.iter().filter_map(|row| Some((*row, figure(row, time)?, figure(row, rate)?))).collect();
    if both.len() < 2 {
        return Err(match both.len() {
            0 => "no cell has both figures".to_owned(),
            _ => "one cell alone has both figures".to_owned(),
        });
    }
    // As far as the intervals tell: a figure without one beats nothing and is beaten by nothing.
    let clearly = |worse: &Figure, better: &Figure| match (worse.interval, better.interval) {
        (Some(worse), Some(better)) => worse.low > better.high,
        _ => false,
    };
    let beaten = |(row, t, r): &(&Row, &Figure, &Figure)| {
        let better = |(other, ot, or): &(&Row, &Figure, &Figure)| other.may_win() && clearly(t, ot) && clearly(or, r);
        !row.may_win() || both.iter().any(better)
    };
    let points: Vec<Point> =
        both.iter().map(|one| Point { row: one.0, time: one.1, rate: one.2, front: !beaten(one) }).collect();
    Ok(draw(&points, (time, rate), title, about))
}

fn figure(row: &Row, metric: Metric) -> Option<&Figure> {
    row.summary.as_ref()?.figure(metric)
}

/// A scale that holds all medians with their intervals.
fn scale<'a>(figures: impl Iterator<Item = &'a Figure> + Clone) -> Scale {
    let low = figures.clone().map(|figure| figure.interval.map_or(figure.median, |interval| interval.low));
    let high = figures.map(|figure| figure.interval.map_or(figure.median, |interval| interval.high));
    Scale::of(low.fold(f64::INFINITY, f64::min), high.fold(0.0, f64::max))
}

fn draw(points: &[Point], (time, rate): (Metric, Metric), title: &str, about: &str) -> String {
    let across = scale(points.iter().map(|point| point.time));
    let up = scale(points.iter().map(|point| point.rate));
    let high = (LINE * points.len() as f64).max(210.0);
    let x = |value: f64| LEFT + PLOT * across.part(value);
    let y = |value: f64| TOP + high * (1.0 - up.part(value));
    let mut out = begin(title, about, LEFT + PLOT + RIGHT, TOP + high + BOTTOM);
    // Writing to a string can't fail.
    for value in up.marks() {
        let y = y(value);
        let _ = writeln!(
            out,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{}\" y1=\"{y}\" y2=\"{y}\"/><text class=\"tick\" x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>",
            at(LEFT + PLOT),
            at(LEFT - 7.0),
            at(y + 4.0),
            escaped(&units::three(value)),
            y = at(y),
        );
    }
    for value in across.marks() {
        let _ = writeln!(
            out,
            "<line class=\"grid\" x1=\"{x}\" x2=\"{x}\" y1=\"{TOP}\" y2=\"{}\"/><text class=\"tick\" x=\"{x}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            at(TOP + high),
            at(TOP + high + 16.0),
            escaped(&units::time(value)),
            x = at(x(value)),
        );
    }
    let _ = writeln!(
        out,
        "<text class=\"tick\" x=\"{}\" y=\"{}\" text-anchor=\"middle\">{} →</text><text class=\"tick\" x=\"0\" y=\"11\">{} ↑</text>",
        at(LEFT + PLOT / 2.0),
        at(TOP + high + 34.0),
        escaped(time.title()),
        escaped(rate.title()),
    );
    for (point, label) in points.iter().zip(labels(points, high, &y)) {
        let (px, py) = (x(point.time.median), y(point.rate.median));
        let end = LEFT + PLOT + 12.0;
        let _ = writeln!(out, "<path class=\"leader\" d=\"M{} {}L{} {}\"/>", at(px), at(py), at(end), at(label));
        if let Some(interval) = point.time.interval {
            let (a, b) = (x(interval.low), x(interval.high));
            let _ = writeln!(out, "<path class=\"whisker\" d=\"M{} {}H{}\"/>", at(a), at(py), at(b));
        }
        if let Some(interval) = point.rate.interval {
            let (a, b) = (y(interval.high), y(interval.low));
            let _ = writeln!(out, "<path class=\"whisker\" d=\"M{} {}V{}\"/>", at(px), at(a), at(b));
        }
        let ring = if point.front { " front" } else { "" };
        let class = class(point.row);
        let _ = writeln!(out, "<circle class=\"point {class}{ring}\" cx=\"{}\" cy=\"{}\" r=\"5\"/>", at(px), at(py));
        let _ = writeln!(out, "{}", name(point.row, end + 4.0, &at(label + 4.0), "start", 29));
    }
    out.push_str("</svg>");
    out
}

/// Where each point's name stands: beside it, and moved where two would touch.
fn labels(points: &[Point], high: f64, y: &impl Fn(f64) -> f64) -> Vec<f64> {
    let mut order: Vec<usize> = (0..points.len()).collect();
    let wanted: Vec<f64> = points.iter().map(|point| y(point.rate.median)).collect();
    order.sort_by(|a, b| wanted[*a].total_cmp(&wanted[*b]).then(a.cmp(b)));
    let mut placed = wanted.clone();
    let mut least = TOP;
    for &i in &order {
        placed[i] = wanted[i].max(least);
        least = placed[i] + LINE;
    }
    // What was pushed beyond the end comes back up.
    let mut most = TOP + high;
    for &i in order.iter().rev() {
        placed[i] = placed[i].min(most);
        most = placed[i] - LINE;
    }
    placed
}
