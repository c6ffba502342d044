//! The pictures of the page: plain SVG, coloured by the page's own style, every value also in words.
//!
//! Each shows only what the records hold; a picture that can't be drawn is named below them with the reason.
//! In reading order: `plot` a scale with a row for each cell; `times` pictures of samples; `figures` of figures;
//! `tradeoff` throughput against latency.

use maud::{Markup, PreEscaped, html};

use super::super::columns::{columns, is_inference, noun, times};
use super::super::units;
use crate::measure::Comparison;
use crate::measure::comparison::Row;
use crate::measure::metric::Metric;

mod figures;
mod plot;
mod times;
mod tradeoff;

/// An SVG, or why there is none.
type Drawn = Result<String, String>;

/// More cells than this make pictures that nobody reads.
const MOST: usize = 64;

/// A picture, whether or not it could be drawn.
struct Picture {
    title: String,
    caption: String,
    drawn: Drawn,
}

fn picture(title: &str, caption: String, draw: impl FnOnce(&str, &str) -> Drawn) -> Picture {
    let drawn = draw(title, &caption);
    Picture { title: title.to_owned(), caption, drawn }
}

/// All charts, two beside each other where there is room.
pub(super) fn section(comparison: &Comparison) -> Markup {
    let all: Vec<&Row> = comparison.measured().collect();
    let rows = &all[..all.len().min(MOST)];
    let (pictures, lacking): (Vec<_>, Vec<_>) =
        pictures(comparison, rows).into_iter().partition(|picture| picture.drawn.is_ok());
    html! {
        section.wide id="charts" {
            h2 { "Pictures" }
            @if all.len() > MOST {
                p.soft.small {
                    "The first " (units::count(MOST as u64)) " of " (units::count(all.len() as u64)) " cells; all are in the tables."
                }
            }
            div.charts {
                @for Picture { title, caption, drawn } in pictures {
                    @if let Ok(svg) = drawn {
                        figure {
                            figcaption { strong { (title) } br; span.soft.small { (caption) } }
                            (PreEscaped(svg))
                        }
                    }
                }
            }
            @if !lacking.is_empty() {
                ul.soft.small.lacking {
                    @for Picture { title, drawn, .. } in lacking {
                        @if let Err(reason) = drawn { li { strong { (title) } " is not drawn: " (reason) "." } }
                    }
                }
            }
        }
    }
}

fn pictures(comparison: &Comparison, rows: &[&Row]) -> Vec<Picture> {
    let (noun, times) = (noun(comparison), times(comparison));
    let dots = format!(
        "All samples on one axis, each dot (or, of many, the height of the shape) a {noun}; the bar is the median with \
         its 95 % interval, the short line p95 where there are enough samples for it."
    );
    let mut pictures: Vec<Picture> = times
        .iter()
        .map(|metric| {
            let draw = |title: &str, about: &str| times::distribution(rows, *metric, title, about);
            picture(&format!("Distribution of the {}", metric.title()), dots.clone(), draw)
        })
        .collect();
    let rate = columns(comparison)[2].metric;
    let time = if is_inference(comparison) { Metric::Latency } else { Metric::TimeToFirstToken };
    pictures.push(picture(
        "Speed-up against the baseline",
        "Ratio of medians with its 99 % interval; right of 1 is faster.".to_owned(),
        |title, about| figures::forest(comparison, rows, title, about),
    ));
    pictures.push(picture(
        "Throughput",
        format!("{}, median with its 95 % interval.", capital(rate.title())),
        |title, about| figures::bars(rows, rate, title, about),
    ));
    pictures.push(picture(
        "Peak memory",
        "The largest of all sessions; the dashed line is the budget.".to_owned(),
        |title, about| figures::memory(rows, title, about),
    ));
    pictures.push(picture(
        "Cold start",
        "From the start of the process to the end of the first pass, model in the page cache.".to_owned(),
        |title, about| figures::cold(rows, title, about),
    ));
    pictures.push(picture(
        "Throughput against latency",
        "Medians with their 95 % intervals; up and to the left is better. A ringed cell is clearly beaten in both by no right one within its budget.".to_owned(),
        |title, about| tradeoff::tradeoff(rows, (time, rate), title, about),
    ));
    pictures.push(picture(
        "Drift over the session",
        format!(
            "Each {noun} at the time at which it was taken; shaded is the cell's turn, a full line begins another \
             session. Beside it, how far nine of ten lie from the median."
        ),
        |title, about| match times.first() {
            Some(metric) => times::session(rows, *metric, title, about),
            None => Err("no time was measured".to_owned()),
        },
    ));
    pictures.push(picture(
        "Parity",
        "Largest absolute error of an output against the reference; right of the line is wrong.".to_owned(),
        |title, about| figures::parity(comparison, rows, title, about),
    ));
    pictures
}

/// `Time per output token`.
fn capital(title: &str) -> String {
    let mut letters = title.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}
