//! What stands behind the figures: percentiles, parity, every sequence, keys, versions and the machine.

use maud::{Markup, html};
use pipe_engine::message::Sample;

use super::super::columns::{is_inference, noun, times};
use super::super::{parity, units, words};
use super::ticked;
use crate::measure::Comparison;
use crate::measure::comparison::Row;
use crate::measure::metric::Metric;
use crate::measure::summary::time_per_token;
use crate::record::{Session, Work};

pub(super) fn percentiles(comparison: &Comparison) -> Markup {
    html! {
        section id="distribution" {
            h2 { "Distributions in figures" }
            @for &metric in times(comparison) {
                h3 { (metric.title()) }
                div.scroll {
                    table {
                        thead { tr { th { "cell" } th.n { "n" } th.n { "median" } th { "95 % interval" } th.n { "MAD" } th.n { "min" } th.n { "max" } th { "percentiles" } } }
                        tbody { @for row in comparison.measured() { (percentile_line(row, metric)) } }
                    }
                }
            }
        }
    }
}

fn percentile_line(row: &Row, metric: Metric) -> Markup {
    let figure = row.summary.as_ref().and_then(|summary| summary.figure(metric));
    let show = |value: f64| units::value(value, metric.unit());
    html! {
        tr {
            th scope="row" { a href={ "#cell-" (row.anchor()) } { (row.label) } }
            @match figure {
                Some(figure) => {
                    td.n { (units::count(figure.n.into())) }
                    td.n { (show(figure.median)) }
                    td { (words::interval(figure, metric)) }
                    td.n { (show(figure.mad)) }
                    td.n { (show(figure.min)) }
                    td.n { (show(figure.max)) }
                    td.small { @for percentile in &figure.percentiles { div { (words::percentile(percentile, metric)) } } }
                },
                None => td colspan="7" { (words::why_missing(row, metric).unwrap_or("n/a")) },
            }
        }
    }
}

pub(super) fn parity(comparison: &Comparison) -> Markup {
    let columns = parity::columns(comparison);
    html! {
        @if comparison.reference.is_some() {
            section id="parity" {
                h2 { "Parity in figures" }
                p.soft.small { (parity::ABOUT) }
                div.scroll {
                    table {
                        thead { tr { th { "cell" } th { "verdict" } @for column in &columns { th.n { (column) } } th { "where" } } }
                        tbody { @for row in comparison.measured() { (parity_lines(row, columns.len())) } }
                    }
                }
            }
        }
    }
}

fn parity_lines(row: &Row, columns: usize) -> Markup {
    let verdict = parity::verdict(&row.parity);
    let figures = parity::figures(&row.parity);
    html! {
        tr {
            th scope="row" { (row.label) }
            td class=(if verdict == "wrong" { "bad" } else { "" }) { (verdict) }
            @match figures {
                Some(figures) => { @for cell in parity::cells(figures) { td.n { (cell) } } },
                None => td colspan=(columns) {},
            }
            td.small { (ticked(&parity::remark(row))) }
        }
        // Of several outputs, each by itself.
        @for output in figures.iter().flat_map(|figures| &figures.outputs).filter(|_| figures.is_some_and(|f| f.outputs.len() > 1)) {
            tr.soft {
                td { code { (output.name) } }
                td {}
                @for cell in parity::output_cells(output) { td.n { (cell) } }
                td.small { "ULP of " (output.grain.name()) }
            }
        }
    }
}

/// Every sample of every cell, folded away.
pub(super) fn samples(comparison: &Comparison) -> Markup {
    html! {
        section id="samples" {
            h2 { "Samples" }
            p.soft.small {
                "Every " (noun(comparison)) ", in the order in which it was measured"
                @if is_inference(comparison) { "." } @else { "; single tokens are in the JSON report." }
            }
            @for row in comparison.measured() {
                details {
                    summary {
                        (row.label) " "
                        span.soft { (row.summary.as_ref().map_or(0, |summary| summary.samples)) " " (noun(comparison)) "s in " (row.sessions.len()) @if row.sessions.len() == 1 { " session" } @else { " sessions" } }
                    }
                    // A link to what is folded away opens it; one to the `details` itself would not.
                    div id={ "cell-" (row.anchor()) } {
                        @for (i, session) in row.sessions.iter().enumerate() { (session_table(session, i + 1)) }
                    }
                }
            }
        }
    }
}

fn session_table(session: &Session, number: usize) -> Markup {
    let warm = session.warmed.iter().flat_map(|warmed| &warmed.samples).map(|sample| ("warm-up", sample));
    let all = warm.chain(session.samples.iter().map(|sample| ("", sample)));
    if let Work::Inference { items } = session.work {
        return inference_table(all, items, number);
    }
    html! {
        h4 { "Session " (number) }
        div.scroll {
            table.small {
                thead { tr { th.n { "at" } th { } th.n { "first token" } th.n { "per token" } th.n { "fastest" } th.n { "slowest" } th.n { "tokens/s" } } }
                tbody {
                    @for (kind, sample) in all {
                        tr {
                            td.n { (units::time(sample.at_ns as f64)) }
                            td.soft { (kind) }
                            td.n { (units::time(sample.prefill_ns as f64)) }
                            @match time_per_token(sample) {
                                Some(mean) => {
                                    td.n { (units::time(mean)) }
                                    td.n { (units::time(sample.decode_ns.iter().min().copied().unwrap_or(0) as f64)) }
                                    td.n { (units::time(sample.decode_ns.iter().max().copied().unwrap_or(0) as f64)) }
                                    td.n { (units::three(1e9 / mean)) }
                                },
                                None => td colspan="4" { "n/a" },
                            }
                        }
                    }
                }
            }
        }
    }
}

fn inference_table<'a>(
    samples: impl Iterator<Item = (&'static str, &'a Sample)>,
    items: Option<u32>,
    number: usize,
) -> Markup {
    let rate =
        |sample: &Sample| Some(f64::from(items?) * 1e9 / sample.prefill_ns as f64).filter(|rate| rate.is_finite());
    html! {
        h4 { "Session " (number) }
        div.scroll {
            table.small {
                thead { tr { th.n { "at" } th { } th.n { "latency" } th.n { "items/s" } } }
                tbody {
                    @for (kind, sample) in samples {
                        tr {
                            td.n { (units::time(sample.at_ns as f64)) }
                            td.soft { (kind) }
                            td.n { (units::time(sample.prefill_ns as f64)) }
                            td.n { (rate(sample).map_or_else(|| "n/a".to_owned(), units::three)) }
                        }
                    }
                }
            }
        }
    }
}

/// Versions, threads, placement, sandbox and keys of every cell.
pub(super) fn provenance(comparison: &Comparison) -> Markup {
    html! {
        section id="provenance" {
            h2 { "Where the figures come from" }
            div.scroll {
                table.small {
                    thead { tr { th { "cell" } th { "engine and libraries" } th { "threads" } th { "CPUs inside" } th { "operators on" } th { "sandbox" } th { "question key" } th { "machine key" } } }
                    tbody {
                        @for row in comparison.measured() {
                            @for session in &row.sessions { (provenance_line(row, session)) }
                        }
                    }
                }
            }
        }
    }
}

fn provenance_line(row: &Row, session: &Session) -> Markup {
    let prepared = session.prepared.as_ref();
    let libraries: Vec<String> =
        prepared.iter().flat_map(|p| &p.libraries).map(|(name, version)| format!("{name} {version}")).collect();
    let placement: Vec<String> =
        prepared.iter().flat_map(|p| &p.placement).map(|(place, n)| format!("{place}: {}", units::count(*n))).collect();
    let short = |digest: &pipe_cache::Digest| digest.to_string().chars().take(16).collect::<String>();
    html! {
        tr {
            th scope="row" { a href={ "#cell-" (row.anchor()) } { (row.label) } }
            td { (session.hello.engine) " " (session.hello.version) @for library in libraries { ", " (library) } }
            td { (prepared.map_or_else(|| "n/a".to_owned(), |p| p.threads.to_string())) }
            td { (prepared.map_or_else(|| "n/a".to_owned(), |p| p.inside.cpus.to_string())) }
            td { (if placement.is_empty() { "not told".to_owned() } else { placement.join(", ") }) }
            td { (session.sandbox.name()) }
            td { code title=(session.question) { (short(&session.question)) } }
            td { code title=(session.machine) { (short(&session.machine)) } }
        }
    }
}

pub(super) fn host(comparison: &Comparison) -> Markup {
    let machine = &comparison.facts.machine;
    let recorded = &comparison.facts.recorded;
    let optional = |value: &Option<String>| value.clone().unwrap_or_else(|| "not told".to_owned());
    let told = |text: &str| if text.is_empty() { "not told".to_owned() } else { text.to_owned() };
    let gpus: Vec<String> = machine
        .gpus
        .iter()
        .map(|gpu| format!("{}, {} GiB, driver {}", gpu.model, gpu.memory_gib, gpu.driver_major))
        .collect();
    let quota = match machine.cpu_quota_milli {
        Some(milli) => format!("{} processors", milli as f64 / 1000.0),
        None => "none".to_owned(),
    };
    let cores = format!(
        "{} usable of {} logical, {} physical",
        machine.usable_cores,
        machine.logical_cores,
        machine.physical_cores.map_or_else(|| "unknown".to_owned(), |n| n.to_string())
    );
    let facts = [
        ("system", format!("{} {}, {}", machine.os, machine.os_version, machine.architecture)),
        ("C library", machine.libc.clone()),
        ("processor", machine.cpu_model.clone()),
        ("cores", cores),
        ("CPU quota", quota),
        ("memory", format!("{} GiB", machine.memory_gib)),
        ("accelerators", if gpus.is_empty() { "none".to_owned() } else { gpus.join("; ") }),
        ("virtualisation", machine.virtualisation.clone()),
        ("kernel", told(&recorded.kernel)),
        ("governor", optional(&recorded.governor)),
        ("microcode", optional(&recorded.microcode)),
        ("SIMD", told(&recorded.simd.join(", "))),
        ("huge pages", optional(&recorded.transparent_huge_pages)),
    ];
    html! {
        section id="host" {
            h2 { "The machine" }
            table { tbody { @for (name, value) in facts { tr { th scope="row" { (name) } td { (value) } } } } }
        }
    }
}
