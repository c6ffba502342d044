//! Two runs beside each other, for people in 100 columns and for programs: `schema` is `pipe-diff/1`.

use std::collections::BTreeMap;

use comfy_table::CellAlignment::{Left, Right};
use serde_json::{Value, json};

use super::terminal::{Style, push_table, push_wrapped, section, table};
use super::{fairness, units};
use crate::measure::diff::{Apart, CellDiff, Change, Diff, FigureDiff};
use crate::measure::ratio::Verdict;

/// The name of this version.
pub const SCHEMA: &str = "pipe-diff/1";

/// A table of what changed, and then what else differs.
pub fn text(diff: &Diff, style: Style) -> String {
    let width = usize::from(style.width);
    let mut out = String::new();
    push_wrapped(&mut out, &format!("old: {}", diff.old), width, "", "     ");
    push_wrapped(&mut out, &format!("new: {}", diff.new), width, "", "     ");
    if diff.is_forced() {
        let said = "Forced: cells were compared by --force that are not comparable; they are named below.";
        push_wrapped(&mut out, said, width, "", "  ");
    }
    let (same, apart): (Vec<&CellDiff>, Vec<&CellDiff>) = diff.cells.iter().partition(|cell| cell.same_samples);
    if !apart.is_empty() {
        out.push('\n');
        push_table(&mut out, &figures(&apart), width);
        let said = "Above 1× the new one is faster; 99 % intervals, a verdict takes p < 0.01 after Holm's correction. \
                    The two were measured apart and not in turn: what the machine did meanwhile is part of each difference.";
        push_wrapped(&mut out, said, width, "", "");
    }
    if !same.is_empty() {
        let names: Vec<&str> = same.iter().map(|cell| cell.step.as_str()).collect();
        out.push('\n');
        push_wrapped(&mut out, &format!("The very same samples in both: {}", names.join(", ")), width, "", "  ");
    }
    differences(diff, &mut out, width);
    for (title, cells) in [("Only in the old one", &diff.only_old), ("Only in the new one", &diff.only_new)] {
        if !cells.is_empty() {
            section(&mut out, title);
        }
        for (step, why) in cells {
            push_wrapped(&mut out, &format!("{step} (the other: {why})"), width, "  ", "    ");
        }
    }
    if diff.cells.is_empty() && diff.only_old.is_empty() && diff.only_new.is_empty() {
        out.push_str("\nNeither has a cell with figures.\n");
    }
    out
}

fn figures(cells: &[&CellDiff]) -> comfy_table::Table {
    let mut table = table(&[("cell", Left), ("", Left), ("old", Right), ("new", Right), ("change", Left)]);
    for cell in cells {
        for (i, figure) in cell.figures.iter().enumerate() {
            let name = if i == 0 { units::plain(&cell.step) } else { String::new() };
            let show = |value: f64| units::value(value, figure.metric.unit());
            let title = figure.metric.title().to_owned();
            table.add_row(vec![name, title, show(figure.old), show(figure.new), change(figure)]);
        }
    }
    table
}

/// `0.96× slower` and its interval; how much a figure without one moved.
fn change(figure: &FigureDiff) -> String {
    match &figure.change {
        Change::Compared { ratio, verdict, .. } => {
            let interval = units::ratio_interval(ratio.interval);
            let found = match verdict {
                Verdict::NoDifference { detectable } => format!("\ndetectable: {}", units::percent(*detectable)),
                Verdict::Faster | Verdict::Slower => String::new(),
            };
            format!("{} {}\n{interval}{found}", units::ratio(ratio.ratio), verdict.name())
        }
        Change::NotCompared { reason } => {
            format!("{:+.1} %\n{reason}", (figure.new / figure.old - 1.0) * 100.0)
        }
    }
}

/// What else differs, each difference once with the cells that it holds for.
fn differences(diff: &Diff, out: &mut String, width: usize) {
    let mut told: Vec<(String, Vec<&str>)> = Vec::new();
    for cell in &diff.cells {
        for text in of_cell(cell) {
            match told.iter_mut().find(|(other, _)| *other == text) {
                Some((_, steps)) => steps.push(&cell.step),
                None => told.push((text, vec![&cell.step])),
            }
        }
    }
    if diff.about.is_empty() && told.is_empty() {
        return;
    }
    section(out, "What else differs (old / new)");
    for apart in &diff.about {
        push_wrapped(out, &shown(apart), width, "  ", "    ");
    }
    for (text, steps) in told {
        let whose = match steps.len() == diff.cells.len() && steps.len() > 1 {
            true => "all cells".to_owned(),
            false => steps.join(", "),
        };
        push_wrapped(out, &format!("{whose}: {text}"), width, "  ", "    ");
    }
}

fn of_cell(cell: &CellDiff) -> Vec<String> {
    let mut texts = Vec::new();
    if !cell.beyond.is_empty() {
        let so = if cell.forced { "compared by force" } else { "not comparable" };
        texts.push(format!("{so}: {} differ", cell.beyond.join(", ")));
    }
    texts.extend(cell.question.iter().map(|apart| format!("question: {}", shown(apart))));
    texts.extend(cell.facts.iter().map(|line| {
        format!("{} {} / {}", fairness::name(line.fact), fairness::held(&line.other), fairness::held(&line.own))
    }));
    texts.extend(cell.cautions_gone.iter().map(|c| format!("caution gone: {}: {}", c.code.name(), c.seen)));
    texts.extend(cell.cautions_new.iter().map(|c| format!("caution new: {}: {}", c.code.name(), c.seen)));
    texts
}

fn shown(apart: &Apart) -> String {
    let told = |value: &Option<String>| value.clone().unwrap_or_else(|| "not told".to_owned());
    format!("{} {} / {}", apart.what, told(&apart.old), told(&apart.new))
}

/// The same for programs, unrounded.
pub fn json(diff: &Diff) -> Value {
    let parts = |all: &[Apart]| -> Vec<Value> {
        all.iter().map(|apart| json!({ "what": apart.what, "old": apart.old, "new": apart.new })).collect()
    };
    let only = |cells: &[(String, String)]| -> BTreeMap<String, String> { cells.iter().cloned().collect() };
    let cautions = |all: &[crate::record::Caution]| -> Vec<Value> {
        all.iter().map(|c| json!({ "code": c.code.name(), "seen": c.seen })).collect()
    };
    let cells: Vec<Value> = diff
        .cells
        .iter()
        .map(|cell| {
            let facts: Vec<Value> = cell
                .facts
                .iter()
                .map(|line| {
                    let held = |values: &[crate::measure::ledger::Held]| -> Vec<String> {
                        values.iter().map(ToString::to_string).collect()
                    };
                    json!({ "fact": line.fact, "old": held(&line.other), "new": held(&line.own) })
                })
                .collect();
            json!({
                "step": cell.step,
                "same_samples": cell.same_samples,
                "not_comparable": cell.beyond,
                "forced": cell.forced,
                "figures": cell.figures.iter().map(figure_json).collect::<Vec<_>>(),
                "facts": facts,
                "question": parts(&cell.question),
                "cautions_gone": cautions(&cell.cautions_gone),
                "cautions_new": cautions(&cell.cautions_new),
            })
        })
        .collect();
    json!({
        "schema": SCHEMA,
        "old": diff.old,
        "new": diff.new,
        "forced": diff.is_forced(),
        "differs": parts(&diff.about),
        "cells": cells,
        "only_old": only(&diff.only_old),
        "only_new": only(&diff.only_new),
    })
}

fn figure_json(figure: &FigureDiff) -> Value {
    let mut value = json!({
        "metric": figure.metric.name(),
        "unit": figure.metric.unit().name(),
        "old": figure.old,
        "new": figure.new,
    });
    match &figure.change {
        Change::Compared { ratio, verdict, adjusted_p } => {
            value["verdict"] = json!(verdict.name());
            value["ratio"] = json!(ratio.ratio);
            value["interval"] = json!([ratio.interval.low, ratio.interval.high]);
            value["p"] = json!(ratio.p);
            value["p_adjusted"] = json!(adjusted_p);
            value["detectable"] = json!(ratio.detectable);
        }
        Change::NotCompared { reason } => value["not_compared"] = json!(reason),
    }
    value
}
