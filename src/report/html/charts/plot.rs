//! A horizontal scale with a row for each cell: what most of the pictures are drawn on.

use std::fmt::Write;

use super::super::super::svg::{at, cut, escaped};
use crate::measure::comparison::{Row, State};
use crate::measure::stats::Interval;

/// Room at the left, for the names of the cells.
pub(super) const LEFT: f64 = 158.0;
/// The width of the scale.
pub(super) const PLOT: f64 = 284.0;
/// Room at the right, for figures.
pub(super) const RIGHT: f64 = 148.0;
const TOP: f64 = 8.0;
const BOTTOM: f64 = 26.0;
/// From this ratio of the largest value to the smallest, a linear scale would hide the small ones.
const WIDE: f64 = 8.0;

/// The begin of a picture: its name for those who can't see it, and what it shows.
pub(super) fn begin(title: &str, about: &str, width: f64, height: f64) -> String {
    let id: String =
        title.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect();
    format!(
        "<svg viewBox=\"0 0 {} {}\" role=\"graphics-document\" aria-labelledby=\"t-{id} d-{id}\">\
         <title id=\"t-{id}\">{}</title><desc id=\"d-{id}\">{}</desc>\n",
        at(width),
        at(height),
        escaped(title),
        escaped(about)
    )
}

/// Where a value lies between two ends.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scale {
    pub least: f64,
    pub most: f64,
    log: bool,
}

impl Scale {
    pub fn linear(least: f64, most: f64) -> Scale {
        Scale { least, most, log: false }
    }

    /// Both ends must be positive.
    pub fn log(least: f64, most: f64) -> Scale {
        Scale { least, most, log: true }
    }

    /// A scale over positive values, logarithmic where they lie far apart, with a little room at both ends.
    pub fn of(least: f64, most: f64) -> Scale {
        if least > 0.0 && most / least > WIDE {
            return Scale::log(least / 1.12, most * 1.12);
        }
        let edge = ((most - least) * 0.06).max(most * 0.005);
        Scale::linear((least - edge).max(0.0), most + edge)
    }

    /// From 0 to 1, values beyond at the nearer end.
    pub fn part(&self, value: f64) -> f64 {
        let place = if self.log {
            (value.max(self.least) / self.least).ln() / (self.most / self.least).ln()
        } else {
            (value - self.least) / (self.most - self.least)
        };
        place.clamp(0.0, 1.0)
    }

    /// Round values to mark, at most about six.
    pub fn marks(&self) -> Vec<f64> {
        if !self.log {
            return super::super::super::svg::ticks(self.least, self.most, 5);
        }
        let (first, last) = (self.least.log10().floor() as i32, self.most.log10().ceil() as i32);
        let steps: &[f64] = if last - first > 4 {
            &[1.0]
        } else if last - first > 2 {
            &[1.0, 3.0]
        } else {
            &[1.0, 2.0, 5.0]
        };
        let all = (first..=last).flat_map(|power| steps.iter().map(move |step| step * 10f64.powi(power)));
        all.filter(|value| (self.least..=self.most).contains(value)).collect()
    }
}

/// The picture while it is drawn.
pub(super) struct Plot {
    out: String,
    pub scale: Scale,
    rows: usize,
    height: f64,
}

impl Plot {
    pub fn new(title: &str, about: &str, rows: usize, scale: Scale) -> Plot {
        Plot::with_height(title, about, rows, scale, 30.0)
    }

    /// With rows of another height than most pictures have.
    pub fn with_height(title: &str, about: &str, rows: usize, scale: Scale, height: f64) -> Plot {
        let out = begin(title, about, LEFT + PLOT + RIGHT, TOP + rows as f64 * height + BOTTOM);
        Plot { out, scale, rows, height }
    }

    pub fn x(&self, value: f64) -> f64 {
        LEFT + PLOT * self.scale.part(value)
    }

    /// The middle of a row.
    pub fn y(&self, row: usize) -> f64 {
        TOP + self.height * (row as f64 + 0.5)
    }

    pub fn add(&mut self, text: std::fmt::Arguments<'_>) {
        // Writing to a string can't fail.
        let _ = self.out.write_fmt(text);
        self.out.push('\n');
    }

    /// Grid lines with their values below.
    pub fn axis(&mut self, values: &[f64], show: impl Fn(f64) -> String) {
        let bottom = TOP + self.height * self.rows as f64;
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
    pub fn label(&mut self, place: usize, row: &Row, figure: &str) {
        let y = at(self.y(place) + 4.0);
        let name = name(row, LEFT - 10.0, &y, "end", 24);
        self.add(format_args!("{name}"));
        self.add(format_args!(
            "<text class=\"figure\" x=\"{}\" y=\"{y}\">{}</text>",
            at(LEFT + PLOT + 10.0),
            escaped(figure)
        ));
    }

    pub fn bar(&mut self, place: usize, class: &str, from: f64, to: f64) {
        self.half_bar(place, class, from, to, -8.0, 16.0);
    }

    /// A bar of another height, `up` from the middle of its row.
    pub fn half_bar(&mut self, place: usize, class: &str, from: f64, to: f64, up: f64, height: f64) {
        let (a, b) = (self.x(from), self.x(to));
        self.add(format_args!(
            "<rect class=\"bar {class}\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{height}\" rx=\"2\"/>",
            at(a),
            at(self.y(place) + up),
            at((b - a).max(0.5))
        ));
    }

    /// A line from end to end of an interval, with short ends.
    pub fn whisker(&mut self, place: usize, interval: Interval) {
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

    /// A line across one row, `reach` up and down from its middle.
    pub fn tick(&mut self, place: usize, class: &str, value: f64, reach: f64) {
        let (x, y) = (at(self.x(value)), self.y(place));
        self.add(format_args!(
            "<line class=\"{class}\" x1=\"{x}\" x2=\"{x}\" y1=\"{}\" y2=\"{}\"/>",
            at(y - reach),
            at(y + reach)
        ));
    }

    /// A line across all rows.
    pub fn bound(&mut self, value: f64) {
        let (x, bottom) = (at(self.x(value)), at(TOP + self.height * self.rows as f64));
        self.add(format_args!("<line class=\"bound\" x1=\"{x}\" x2=\"{x}\" y1=\"{TOP}\" y2=\"{bottom}\"/>"));
    }

    pub fn dot(&mut self, class: &str, x: f64, y: f64, radius: f64) {
        self.add(format_args!("<circle class=\"{class}\" cx=\"{}\" cy=\"{}\" r=\"{}\"/>", at(x), at(y), at(radius)));
    }

    pub fn end(mut self) -> String {
        self.out.push_str("</svg>");
        self.out
    }
}

/// The row's name as a link to its samples.
pub(super) fn name(row: &Row, x: f64, y: &str, anchor: &str, most: usize) -> String {
    format!(
        "<a href=\"#cell-{}\"><text class=\"name {}\" x=\"{}\" y=\"{y}\" text-anchor=\"{anchor}\">{}{}</text></a>",
        escaped(&row.anchor()),
        row.state.name(),
        at(x),
        if row.winner { "★ " } else { "" },
        escaped(&cut(&row.label, most))
    )
}

/// How what belongs to a row is coloured.
pub(super) fn class(row: &Row) -> &'static str {
    match (&row.state, row.winner) {
        (State::Wrong, _) => "wrong",
        (_, true) => "winner",
        _ => "",
    }
}
