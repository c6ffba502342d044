//! The fairness ledger on the page: a table for each pair of cells, open where anything differs beyond the axes.

use maud::{Markup, html};

use super::super::{fairness, units};
use crate::measure::Comparison;
use crate::measure::ledger::{Ledger, Standing};

/// More pairs than this nobody opens.
const MOST: usize = 64;

/// What cells that are held against each other were measured under.
pub(super) fn section(comparison: &Comparison) -> Markup {
    let all = &comparison.ledgers;
    html! {
        @if !all.is_empty() {
            section id="fairness" {
                h2 { "Fairness ledger" }
                p.soft.small {
                    "What both cells of a pair were measured under, as their engines read it back and the host told it. Cells \
                     that differ in more than the compared axes get no verdict, unless " code { "--force" } " marks the report."
                }
                @for line in fairness::lines(comparison) { p.small { (line) } }
                @if all.len() > MOST {
                    p.soft.small { "The first " (units::count(MOST as u64)) " of " (units::count(all.len() as u64)) " pairs; all are in the JSON report." }
                }
                @for ledger in all.iter().take(MOST) { (pair(comparison, ledger)) }
            }
        }
    }
}

fn pair(comparison: &Comparison, ledger: &Ledger) -> Markup {
    let (own, other) = fairness::labels(comparison, ledger);
    let (row, against) = (&comparison.rows[ledger.row], &comparison.rows[ledger.against]);
    let outcome = fairness::outcome(ledger);
    html! {
        details id={ "fair-" (row.anchor()) "--" (against.anchor()) } open[ledger.of(Standing::Beyond).next().is_some()] {
            summary {
                (own) span.soft { " against " } (other) " "
                span class={ "chip " (outcome.replace(' ', "-")) } { (outcome) } " "
                span.soft.small { (fairness::tally(ledger)) }
            }
            div.scroll {
                table.small.ledger {
                    thead { tr { th { "fact" } th { a href={ "#record-" (row.anchor()) } { (own) } } th { a href={ "#record-" (against.anchor()) } { (other) } } th { "" } } }
                    tbody {
                        @for line in &ledger.lines {
                            tr class={ "s-" (line.standing.name().replace(' ', "-")) } {
                                th scope="row" { (fairness::name(line.fact)) }
                                td { (fairness::held(&line.own)) }
                                td { (fairness::held(&line.other)) }
                                td { (line.standing.name()) }
                            }
                        }
                    }
                }
            }
        }
    }
}
