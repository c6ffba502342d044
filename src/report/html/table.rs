//! The matrix as a heat table: every cell a row, every figure with its interval, shaded by how good it is.

use maud::{Markup, html};

use super::super::columns::columns;
use super::super::{parity, units, words};
use super::ticked;
use crate::measure::Comparison;
use crate::measure::comparison::{Budget, Parity, Row, SpeedUp, State};
use crate::measure::metric::Metric;
use crate::measure::ratio::Verdict;

const COLUMNS: usize = 7;

pub(super) fn matrix(comparison: &Comparison) -> Markup {
    html! {
        section.wide id="matrix" {
            h2 { "The matrix" }
            div.scroll {
                table.heat {
                    thead {
                        tr {
                            th { "cell" }
                            @for column in columns(comparison) { th.n { (column.title) } }
                            th.n { "peak" br; "memory" }
                            th.n { "cold" br; "start" }
                            th { "speed-up" }
                            th { "parity" }
                        }
                    }
                    tbody { @for row in &comparison.rows { (line(comparison, row)) } }
                }
            }
            @if comparison.measured().next().is_some() {
                p.soft.small {
                    "The stronger the green, the better the figure is among its column. Every figure links to its samples."
                }
            }
        }
    }
}

fn line(comparison: &Comparison, row: &Row) -> Markup {
    let state = row.state.name().replace(' ', "-");
    html! {
        tr class=(state) {
            th scope="row" {
                @if row.winner { span.star title="fastest of the cells that are right and within their budget" { "★ " } }
                span.name { (row.label) }
                div {
                    @for mark in words::marks(row) { span class={ "chip " (mark.replace(' ', "-")) } { (mark) } " " }
                }
            }
            @match &row.state {
                State::Measured | State::Wrong => (figures(comparison, row)),
                State::Published { source, metrics } => td.hole colspan=(COLUMNS) {
                    span.chip.published { "published" } " " (words::published(metrics))
                    span.soft { " — not measured here; " (source) }
                },
                state => td.hole colspan=(COLUMNS) {
                    span class={ "chip " (state.name().replace(' ', "-")) } { (state.name()) }
                    @if let Some(hole) = state.hole() { " " span.soft { (ticked(&hole.reason)) } }
                },
            }
        }
    }
}

fn figures(comparison: &Comparison, row: &Row) -> Markup {
    let memory = words::memory_metric(row);
    html! {
        @for column in columns(comparison) {
            (figure(comparison, row, column.metric, column.figure(row), column.below(row)))
        }
        td class={ "n " (shade(comparison, row, memory)) } {
            a href={ "#cell-" (row.anchor()) } { (words::headline(row, memory)) }
            @match &row.budget {
                Budget::Over { .. } => div.small.bad { (words::budget(&row.budget).unwrap_or_default()) },
                _ => div.small { (words::budget(&row.budget).unwrap_or_default()) },
            }
        }
        (figure(comparison, row, Metric::ColdStart, words::headline(row, Metric::ColdStart), words::spread(row, Metric::ColdStart)))
        td class=(verdict_class(row)) { (speed_up(row)) }
        td class=(if matches!(row.parity, Parity::Wrong { .. }) { "bad" } else { "" }) {
            (parity::short(&row.parity))
            @match &row.parity {
                Parity::Right(f) | Parity::Wrong { figures: Some(f), .. } => {
                    @if let Some(tokens) = f.tokens {
                        div.small { "same best token " (units::percent(tokens.top1.share())) }
                    }
                },
                Parity::NotJudged { reason } => div.small { (reason) },
                _ => {},
            }
        }
    }
}

fn figure(comparison: &Comparison, row: &Row, metric: Metric, shown: String, below: Option<String>) -> Markup {
    html! {
        td class={ "n " (shade(comparison, row, metric)) } {
            a href={ "#cell-" (row.anchor()) } { (shown) }
            @match (below, words::why_missing(row, metric)) {
                (Some(below), _) => div.small { (below) },
                (None, Some(reason)) => div.small { (reason) },
                (None, None) => {},
            }
        }
    }
}

fn speed_up(row: &Row) -> Markup {
    let (ratio, interval) = words::speed_up(row);
    html! {
        (ratio)
        @if let Some(interval) = interval { div.small { (interval) } }
        @if let Some(detectable) = words::detectable(row.speed_up()) { div.small { (detectable) } }
        @if let SpeedUp::NotAvailable { reason } = row.speed_up() { div.small { (reason) } }
    }
}

fn verdict_class(row: &Row) -> &'static str {
    match row.speed_up() {
        SpeedUp::Compared { .. } if row.state == State::Wrong => "",
        SpeedUp::Compared { verdict: Verdict::Faster, .. } => "good",
        SpeedUp::Compared { verdict: Verdict::Slower, .. } => "bad",
        _ => "",
    }
}

/// One of five grounds: where the figure lies between the worst and the best of its column, which must be
/// apart by more than 2 % for any shade at all.
fn shade(comparison: &Comparison, row: &Row, metric: Metric) -> &'static str {
    if row.state == State::Wrong || row.is_invalid() {
        return "";
    }
    let of = |row: &Row| row.summary.as_ref().and_then(|summary| summary.headline(metric));
    let all: Vec<f64> = comparison.rows.iter().filter(|row| row.state == State::Measured).filter_map(of).collect();
    let Some(own) = of(row) else { return "" };
    let least = all.iter().copied().fold(f64::INFINITY, f64::min);
    let most = all.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if all.len() < 2 || least <= 0.0 || most / least < 1.02 {
        return "";
    }
    // On a logarithmic scale, as a reader compares times: twice is twice everywhere.
    let place = (own / least).ln() / (most / least).ln();
    let good = if metric.more_is_better() { place } else { 1.0 - place };
    ["h0", "h1", "h2", "h3", "h4"][((good * 4.0).round() as usize).min(4)]
}
