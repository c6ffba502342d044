//! The report as one page that opens from disk: no network, no script, light and dark.
//!
//! In reading order: this file puts the page together; [`table`] draws the matrix; [`charts`] the pictures;
//! [`details`] the samples, keys and facts behind every number.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::columns::is_inference;
use super::graph::{self, GraphView};
use super::{parity, units, words};
use crate::measure::Comparison;
use crate::measure::comparison::{ExpectVerdict, Row, SpeedUp};
use crate::measure::metric::Metric;
use crate::measure::ratio::Verdict;

mod charts;
mod details;
mod table;

const STYLE: &str = include_str!("style.css");

/// Renders the whole comparison, with the graph that made it where there is one.
///
/// Cache states of the graph are left out, since they differ between two runs of the same store.
pub fn render(comparison: &Comparison, view: Option<&GraphView>) -> String {
    let title = words::title(comparison);
    let measured = comparison.measured().next().is_some();
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    h1 { (comparison.pipeline) span.soft { " · " (comparison.group) } }
                    @if let Some(about) = &comparison.about { p.lead { (about) } }
                    p.soft { (words::tally(comparison)) " · " (comparison.facts.machine.line()) }
                }
                main {
                    (answer(comparison))
                    (table::matrix(comparison))
                    (recommendations(comparison))
                    (expectations(comparison))
                    (notes(comparison))
                    @if measured {
                        (charts::section(comparison))
                        (details::percentiles(comparison))
                        (details::parity(comparison))
                    }
                    (holes(comparison))
                    section id="method" {
                        h2 { "How it was measured" }
                        ul { @for line in words::method(comparison) { li { (ticked(&line)) } } }
                    }
                    (reading(comparison))
                    @if measured { (details::samples(comparison)) (details::provenance(comparison)) }
                    (details::host(comparison))
                    (picture(view))
                }
                footer { p.soft { "Made by pipe. The same store and pipeline give this page byte for byte." } }
            }
        }
    };
    page.into_string() + "\n"
}

/// The answer in a sentence or two, before any table.
fn answer(comparison: &Comparison) -> Markup {
    let winners: Vec<&Row> = comparison.rows.iter().filter(|row| row.winner).collect();
    let wrong = comparison.rows.iter().filter(|row| row.state.name() == "wrong").count();
    let failed = comparison.expects.iter().filter(|expect| expect.verdict == ExpectVerdict::Fail).count();
    html! {
        section.answer {
            @if let Some(first) = winners.first() {
                p.big {
                    span.star { "★ " }
                    @for (i, row) in winners.iter().enumerate() {
                        @if i > 0 { " and " }
                        a href={ "#cell-" (row.anchor()) } { (row.label) }
                    }
                }
                p {
                    @if winners.len() == 1 { "is the fastest cell that is right and within its budget: " }
                    @else { "are the fastest cells that are right and within their budget, too close to tell apart: " }
                    @if is_inference(comparison) {
                        (words::headline(first, Metric::Latency)) " an inference, "
                        (words::headline(first, Metric::ItemsPerSecond)) " items/s, "
                    } @else {
                        (words::headline(first, Metric::TokensPerSecond)) " tokens/s, "
                        (words::headline(first, Metric::TimeToFirstToken)) " to the first token, "
                    }
                    (words::headline(first, words::memory_metric(first))) " of memory"
                    @if let SpeedUp::Compared { ratio, verdict, .. } = first.speed_up() {
                        @let figure = units::ratio(ratio.ratio);
                        // A figure that the table calls no difference is not to be read as one here.
                        @if matches!(verdict, Verdict::NoDifference { .. }) {
                            "; no difference from the baseline was found (" (figure) ", 99 % interval "
                        } @else { "; " (figure) " the speed of the baseline (99 % interval " }
                        (units::ratio_interval(ratio.interval)) ")"
                    }
                    "."
                }
            } @else {
                p { "No cell wins: fewer than two are right, within their budget and comparable." }
            }
            @if wrong > 0 { p.bad { (wrong) @if wrong == 1 { " cell is" } @else { " cells are" } " wrong: fast or not, the outputs are not the reference's." } }
            @if failed > 0 { p.bad { (failed) @if failed == 1 { " expectation" } @else { " expectations" } " failed." } }
        }
    }
}

fn recommendations(comparison: &Comparison) -> Markup {
    let lines = words::recommendations(comparison);
    html! {
        @if !lines.is_empty() {
            section id="use" {
                h2 { "What to use when" }
                dl { @for (aim, line) in lines { dt { (aim) } dd { (ticked(&line)) } } }
                @if let Some(line) = words::unjudged(comparison) { p.soft { (ticked(&line)) } }
            }
        }
    }
}

fn expectations(comparison: &Comparison) -> Markup {
    html! {
        @if !comparison.expects.is_empty() {
            section id="expected" {
                h2 { "Expected" }
                ul.plain {
                    @for expect in &comparison.expects {
                        li {
                            span class={ "chip " (expect.verdict.name().replace(' ', "-")) } { (expect.verdict.name()) }
                            " " (ticked(&words::expectation(expect)))
                            span.soft { " — " (ticked(&words::outcome(comparison, expect))) }
                        }
                    }
                }
            }
        }
    }
}

fn notes(comparison: &Comparison) -> Markup {
    let notes = words::notes(comparison);
    let mut codes: Vec<_> = comparison.measured().flat_map(|row| &row.cautions).map(|c| c.code).collect();
    codes.sort();
    codes.dedup();
    html! {
        @if !notes.is_empty() {
            section id="notes" {
                h2 { "Notes and cautions" }
                ul { @for (label, note) in notes { li { strong { (label) } ": " (ticked(&note)) } } }
                @if !codes.is_empty() {
                    dl.soft { @for code in codes { dt { (code.name()) } dd { (words::meaning(code)) } } }
                }
            }
        }
    }
}

fn holes(comparison: &Comparison) -> Markup {
    let groups = words::grouped_holes(comparison);
    html! {
        @if !groups.is_empty() {
            section id="holes" {
                h2 { "Not measured" }
                div.scroll {
                    table {
                        thead { tr { th { "cells" } th { "state" } th { "reason" } th { "what fills them" } } }
                        tbody {
                            @for (state, hole, labels) in groups {
                                tr {
                                    td { (labels.join(", ")) }
                                    td { span class={ "chip " (state.replace(' ', "-")) } { (state) } }
                                    td { (ticked(&hole.reason)) }
                                    td { @if let Some(remedy) = &hole.remedy { (ticked(remedy)) } }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn reading(comparison: &Comparison) -> Markup {
    html! {
        section id="reading" {
            h2 { "How to read it" }
            dl {
                @if is_inference(comparison) {
                    dt { "latency" } dd { "One forward pass over inputs that lie on the device, until it is idle again." }
                    dt { "items/s" } dd { "What one inference works on, a batch of images for example, over its latency." }
                } @else {
                    dt { "time to first token" } dd { "The pass over the whole prompt, with an empty cache." }
                    dt { "time per output token" }
                    dd { "The mean of one sequence's decode times. Sequences, not tokens, are counted and resampled." }
                }
                dt { "median ± half width" }
                dd { "The interval holds the true median in 95 of 100 repeats (BCa bootstrap). Fewer than six samples have none." }
                dt { "percentiles" }
                dd { "Shown only where there are enough samples that the largest bounds it with 95 % confidence; ≤ gives that bound." }
                dt { "speed-up" }
                dd { "Above 1 is faster than the baseline. “No difference” names the smallest difference that would probably have been found." }
                dt { "peak memory" }
                dd { "The largest resident set of the engine's own process on a CPU, the device's allocator on CUDA." }
                dt { "parity" }
                dd { "The largest absolute difference of any output from the reference's. " (parity::ABOUT) }
                @if comparison.rows.iter().any(|row| row.state.name() == "published") {
                    dt { "published" } dd { "From elsewhere: not measured here and never part of a ratio." }
                }
            }
        }
    }
}

fn picture(view: Option<&GraphView>) -> Markup {
    let drawn = view.and_then(|view| {
        let view = view.without_cache_states();
        let folded = graph::fold::fold(&view, graph::fold::Collapse::blocks(&view));
        graph::svg::render(&folded, graph::svg::Style { rows: true }).ok()
    });
    html! {
        @if let Some(svg) = drawn {
            section.wide id="graph" {
                h2 { "The steps that made it" }
                div.scroll { (PreEscaped(svg)) }
            }
        }
    }
}

/// Text whose pieces between backticks become code.
fn ticked(text: &str) -> Markup {
    let pieces: Vec<&str> = text.split('`').collect();
    html! {
        @if pieces.len().is_multiple_of(2) { (text) }
        @else {
            @for (i, piece) in pieces.iter().enumerate() {
                @if i % 2 == 1 { code { (piece) } } @else { (piece) }
            }
        }
    }
}
