//! Pictures of the samples themselves: how their times are distributed, and how they lie over the session.

use super::super::super::svg::at;
use super::super::super::{units, words};
use super::Drawn;
use super::plot::{LEFT, PLOT, Plot, Scale, class};
use crate::measure::comparison::Row;
use crate::measure::metric::Metric;
use crate::measure::stats::{self, Random};
use crate::measure::summary::{PercentileValue, series, time_per_token};
use crate::record::{Session, Work};

/// More samples than this of one cell are drawn as a shape and not one by one.
const DOTS: usize = 300;
/// Columns of such a shape.
const COLUMNS: usize = 142;
/// So many deviations from a median the scale ends, so that one far sample doesn't squeeze all others.
const REACH: f64 = 14.0;
/// Points of one cell in the picture of the session; more are drawn as medians of neighbours.
const POINTS: usize = 240;
/// The height of a row of the session, and how far its points reach.
const TALL: f64 = 46.0;
const SWING: f64 = 17.0;

/// A dot for each sample, the median with its interval, and what is known of the 95th percentile.
pub(super) fn distribution(rows: &[&Row], metric: Metric, title: &str, about: &str) -> Drawn {
    let data: Vec<Vec<f64>> = rows.iter().map(|row| series(metric, &row.sessions).values().to_vec()).collect();
    let least = data.iter().flatten().copied().fold(f64::INFINITY, f64::min);
    let most = data.iter().flatten().copied().fold(0.0, f64::max);
    if most <= 0.0 {
        return Err("no time of it was measured".to_owned());
    }
    let end = data.iter().filter_map(|values| far(values)).fold(0.0, f64::max).min(most);
    let mut plot = Plot::new(title, about, rows.len(), Scale::of(least, end));
    plot.axis(&plot.scale.marks(), units::time);
    for (place, row) in rows.iter().enumerate() {
        let Some(figure) = row.summary.as_ref().and_then(|summary| summary.figure(metric)) else {
            plot.label(place, row, "n/a");
            continue;
        };
        let values = &data[place];
        match values.len() > DOTS {
            true => shape(&mut plot, place, class(row), values),
            false => dots(&mut plot, place, class(row), values),
        }
        let beyond = values.iter().filter(|value| **value > plot.scale.most).count();
        if beyond > 0 {
            let (x, y) = (LEFT + PLOT, plot.y(place));
            plot.add(format_args!(
                "<path class=\"beyond\" d=\"M{0} {1}L{2} {3}L{0} {4}Z\"><title>{beyond} beyond, the farthest {5}</title></path>",
                at(x - 1.0),
                at(y - 5.0),
                at(x + 6.0),
                at(y),
                at(y + 5.0),
                units::time(figure.max)
            ));
        }
        let known = figure.percentiles.iter().find(|percentile| percentile.level == 950);
        if let Some(PercentileValue::Known { estimate, .. }) = known.map(|percentile| percentile.value) {
            plot.tick(place, "p95", estimate, 8.0);
        }
        if let Some(interval) = figure.interval {
            plot.whisker(place, interval);
        }
        plot.tick(place, "median", figure.median, 11.0);
        let spread = words::spread(row, metric).unwrap_or_default();
        plot.label(place, row, &format!("{} {spread}", units::time(figure.median)));
    }
    Ok(plot.end())
}

/// Where the scale may end for these values.
fn far(values: &[f64]) -> Option<f64> {
    let median = stats::median(values)?;
    Some(median + REACH * stats::mad(values)?.max(median * 0.01))
}

/// Dots, set apart up and down at random, from the data's own seed.
fn dots(plot: &mut Plot, place: usize, class: &str, values: &[f64]) {
    let mut random = Random::from_data(values);
    for value in values {
        let y = plot.y(place) + (random.unit() - 0.5) * 16.0;
        if *value <= plot.scale.most {
            plot.dot(&format!("sample {class}"), plot.x(*value), y, 2.4);
        }
    }
}

/// As high as there are samples, above and below the middle of the row.
fn shape(plot: &mut Plot, place: usize, class: &str, values: &[f64]) {
    let mut counts = [0u32; COLUMNS];
    for value in values.iter().filter(|value| **value <= plot.scale.most) {
        let column = (plot.scale.part(*value) * COLUMNS as f64) as usize;
        counts[column.min(COLUMNS - 1)] += 1;
    }
    let most = counts.iter().copied().max().unwrap_or(1).max(1);
    let y = plot.y(place);
    let wide = PLOT / COLUMNS as f64;
    let mut path = String::new();
    for (column, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
        let half = (11.0 * f64::from(*count) / f64::from(most)).max(0.6);
        let x = LEFT + wide * column as f64;
        path.push_str(&format!("M{} {}v{}h{}v-{}z", at(x), at(y - half), at(2.0 * half), at(wide), at(2.0 * half)));
    }
    plot.add(format_args!("<path class=\"sample {class}\" d=\"{path}\"/>"));
}

/// One sample in its session.
struct Point {
    /// Nanoseconds from the begin of the session.
    at: f64,
    value: f64,
}

/// What was sampled of a cell in one session: its blocks, and the time that all of it took.
struct Trace {
    blocks: Vec<(f64, f64)>,
    points: Vec<Point>,
    span: f64,
}

/// Each sample at the time at which it was taken, against the median of its cell; blocks are shaded.
pub(super) fn session(rows: &[&Row], metric: Metric, title: &str, about: &str) -> Drawn {
    let traces: Vec<Vec<Trace>> =
        rows.iter().map(|row| row.sessions.iter().filter_map(|session| trace(session, metric)).collect()).collect();
    let longest = traces.iter().map(|of_row| of_row.iter().map(|trace| trace.span).sum::<f64>()).fold(0.0, f64::max);
    if longest <= 0.0 {
        return Err("no time of it was measured".to_owned());
    }
    let off: Vec<f64> = rows.iter().zip(&traces).flat_map(|(row, of_row)| deviations(row, metric, of_row)).collect();
    // One scale for all rows, or a quiet cell would look as restless as any other.
    let reach = (stats::quantile_of_sorted(&stats::sorted(&off), 0.95) * 1.25).max(0.02);
    let mut plot = Plot::with_height(title, about, rows.len(), Scale::linear(0.0, longest), TALL);
    plot.axis(&plot.scale.marks(), |ns| if ns == 0.0 { "0 s".to_owned() } else { units::time(ns) });
    for (place, row) in rows.iter().enumerate() {
        let Some(figure) = row.summary.as_ref().and_then(|summary| summary.figure(metric)) else {
            plot.label(place, row, "n/a");
            continue;
        };
        let mut from = 0.0;
        for (number, trace) in traces[place].iter().enumerate() {
            if number > 0 {
                plot.tick(place, "next", from, SWING + 2.0);
            }
            draw(&mut plot, place, class(row), trace, from, figure.median, reach);
            from += trace.span;
        }
        let own = deviations(row, metric, &traces[place]);
        let within = stats::quantile_of_sorted(&stats::sorted(&own), 0.9);
        plot.label(
            place,
            row,
            &match own.len() {
                1..10 => format!("n={}", own.len()),
                _ => format!("9 of 10 ± {}", units::percent(within)),
            },
        );
    }
    let mut svg = plot.end();
    svg.push_str(&format!(
        "<p class=\"soft small\">The height of a row is ± {} around the median of its cell; farther samples lie at its edge.</p>",
        units::percent(reach)
    ));
    Ok(svg)
}

fn deviations(row: &Row, metric: Metric, traces: &[Trace]) -> Vec<f64> {
    let Some(figure) = row.summary.as_ref().and_then(|summary| summary.figure(metric)) else { return Vec::new() };
    traces.iter().flat_map(|trace| &trace.points).map(|point| (point.value / figure.median - 1.0).abs()).collect()
}

fn draw(plot: &mut Plot, place: usize, class: &str, trace: &Trace, from: f64, median: f64, reach: f64) {
    let y = plot.y(place);
    let (a, b) = (plot.x(from), plot.x(from + trace.span));
    for (begin, end) in &trace.blocks {
        let (x, to) = (plot.x(from + begin), plot.x(from + end));
        plot.add(format_args!(
            "<rect class=\"block\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\"/>",
            at(x),
            at(y - SWING),
            at((to - x).max(0.8)),
            at(2.0 * SWING)
        ));
    }
    plot.add(format_args!("<line class=\"grid\" x1=\"{}\" x2=\"{}\" y1=\"{y}\" y2=\"{y}\"/>", at(a), at(b), y = at(y)));
    let thin = trace.points.len().div_ceil(POINTS).max(1);
    for near in trace.points.chunks(thin) {
        let middle = |of: fn(&Point) -> f64| stats::median(&near.iter().map(of).collect::<Vec<_>>()).unwrap_or(0.0);
        let up = ((middle(|point| point.value) / median - 1.0) / reach).clamp(-1.0, 1.0) * SWING;
        plot.dot(&format!("sample {class}"), plot.x(from + middle(|point| point.at)), y - up, 2.0);
    }
}

/// `None` of a session without a sample that has such a time.
fn trace(session: &Session, metric: Metric) -> Option<Trace> {
    let value = |place: usize| match (metric, session.work) {
        (Metric::TimePerOutputToken, Work::Sequence { .. }) => time_per_token(&session.samples[place]),
        _ => Some(session.samples[place].prefill_ns as f64),
    };
    let begin = |place: usize| session.samples[place].at_ns as f64;
    let first = session.samples.first()?.at_ns as f64;
    let mut blocks = Vec::new();
    let mut points = Vec::new();
    let mut next = 0;
    for block in session.turns.iter().flat_map(|turns| &turns.blocks) {
        let taken = next..(next + block.samples as usize).min(session.samples.len());
        let (at, end) = (block.at_ns as f64, (block.at_ns + block.took_ns) as f64);
        blocks.push((at, end));
        // The engine's clock and the runner's begin at different moments: within a block the first one counts.
        let zero = session.samples.get(next).map_or(0.0, |sample| sample.at_ns as f64);
        points.extend(
            taken
                .clone()
                .filter_map(|place| Some(Point { at: (at + begin(place) - zero).min(end), value: value(place)? })),
        );
        next = taken.end;
    }
    points.extend(
        (next..session.samples.len())
            .filter_map(|place| Some(Point { at: begin(place) - first, value: value(place)? })),
    );
    let ends = blocks.iter().map(|(_, end)| *end).chain(points.iter().map(|point| point.at + point.value));
    let span = ends.fold(0.0, f64::max);
    (!points.is_empty()).then_some(Trace { blocks, points, span })
}
