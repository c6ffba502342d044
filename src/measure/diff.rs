//! Two runs, or the records of two machines, beside each other: what changed of each cell, by how much, and what else
//! differs.
//!
//! The same statistics as within a matrix: a ratio of medians with its 99 % interval, Holm's correction over all of
//! them, and a verdict. Above 1 the newer side is faster. Two runs were not measured in turn, so what the machine did
//! meanwhile is part of each difference; who shows it says so. What a sample is, its data type and its threads must
//! agree, or two cells aren't compared unless somebody insists; machine, libraries and the rest are what a reader
//! looks for, and are told.

use std::collections::{BTreeMap, BTreeSet};

use super::blocks::Blocks;
use super::compare::{bare, cautions, shape_cautions};
use super::comparison::{Row, State};
use super::ledger::{self, Line, Standing};
use super::metric::Metric;
use super::ratio::{Ratio, Verdict, ratio_of_medians, too_little, verdict};
use super::stats::holm;
use super::summary::{series, summarise};
use crate::pipeline::Device;
use crate::record::{Caution, Session};

/// Facts that say what was done; that one of them differs makes two cells incomparable.
const WORK: [&str; 9] = [
    "work",
    "prompt-tokens",
    "new-tokens",
    "items",
    "dtype",
    "threads",
    "reduced-precision",
    "optimization",
    "emulation",
];
/// Components of a question that say the same.
const ASKED: [&str; 8] =
    ["tokens", "inputs", "prompt-tokens", "new-tokens", "dtype", "threads", "reduced-precision", "optimization"];
/// Figures without an interval that are closer than this are not told.
const CLOSE: f64 = 0.05;

/// One of the two.
#[derive(Debug, Clone, Default)]
pub struct Side {
    /// `run 0123456789ab of 2026-11-29 10:12:00`, or a machine.
    pub name: String,
    /// What is known of it as a whole, by name: the version of `pipe`, the machine, the flags.
    pub about: BTreeMap<&'static str, String>,
    /// Step → its cell.
    pub cells: BTreeMap<String, Cell>,
}

/// A cell of a side.
#[derive(Debug, Clone, Default)]
pub struct Cell {
    pub sessions: Vec<Session>,
    /// The components of its question.
    pub question: BTreeMap<String, String>,
    /// Why it has no sessions.
    pub lack: Option<String>,
}

/// What differs.
#[derive(Debug, Clone)]
pub struct Diff {
    pub old: String,
    pub new: String,
    /// What differs of the two as a whole.
    pub about: Vec<Apart>,
    /// Cells that both have figures of.
    pub cells: Vec<CellDiff>,
    /// Cells that only one has figures of, and why the other has none.
    pub only_old: Vec<(String, String)>,
    pub only_new: Vec<(String, String)>,
}

/// One component that differs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Apart {
    pub what: String,
    pub old: Option<String>,
    pub new: Option<String>,
}

/// One cell on both sides.
#[derive(Debug, Clone)]
pub struct CellDiff {
    pub step: String,
    /// Both sides show the very same sessions.
    pub same_samples: bool,
    /// Why no verdict is given, or none would be without force.
    pub beyond: Vec<String>,
    pub forced: bool,
    pub figures: Vec<FigureDiff>,
    /// Facts of the measurement that differ.
    pub facts: Vec<Line>,
    /// Components of the question that differ.
    pub question: Vec<Apart>,
    pub cautions_gone: Vec<Caution>,
    pub cautions_new: Vec<Caution>,
}

/// One figure on both sides.
#[derive(Debug, Clone, PartialEq)]
pub struct FigureDiff {
    pub metric: Metric,
    pub old: f64,
    pub new: f64,
    pub change: Change,
}

/// What is to be said of a change.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    Compared { ratio: Ratio, verdict: Verdict, adjusted_p: f64 },
    NotCompared { reason: String },
}

impl Diff {
    /// True where cells were compared that are not comparable, since somebody insisted.
    pub fn is_forced(&self) -> bool {
        self.cells.iter().any(|cell| cell.forced)
    }
}

/// Holds two sides against each other.
pub fn diff(old: &Side, new: &Side, force: bool) -> Diff {
    let names: BTreeSet<&String> = old.cells.keys().chain(new.cells.keys()).collect();
    let (mut cells, mut only_old, mut only_new) = (Vec::new(), Vec::new(), Vec::new());
    for name in names {
        let has = |side: &Side| side.cells.get(name).filter(|cell| !cell.sessions.is_empty()).cloned();
        let lack = |side: &Side| {
            let lack = side.cells.get(name).and_then(|cell| cell.lack.clone());
            (name.clone(), lack.unwrap_or_else(|| "it has no such cell".to_owned()))
        };
        match (has(old), has(new)) {
            (Some(a), Some(b)) => cells.push(cell(name, &a, &b, force)),
            (Some(_), None) => only_old.push(lack(new)),
            (None, Some(_)) => only_new.push(lack(old)),
            (None, None) => {}
        }
    }
    judge(&mut cells);
    // What one of them does not tell is no difference of the two.
    let told = |side: &Side, other: &Side| -> BTreeMap<String, String> {
        let both = side.about.iter().filter(|(what, _)| other.about.contains_key(*what));
        both.map(|(what, text)| ((*what).to_owned(), text.clone())).collect()
    };
    let about = apart(&told(old, new), &told(new, old));
    Diff { old: old.name.clone(), new: new.name.clone(), about, cells, only_old, only_new }
}

fn apart(old: &BTreeMap<String, String>, new: &BTreeMap<String, String>) -> Vec<Apart> {
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let both = names.into_iter().map(|what| Apart {
        what: what.clone(),
        old: old.get(what).cloned(),
        new: new.get(what).cloned(),
    });
    both.filter(|apart| apart.old != apart.new).collect()
}

fn row(name: &str, sessions: &[Session]) -> Row {
    let mut row = bare(name.to_owned(), None, State::Measured);
    row.cautions = cautions(sessions);
    row.cautions.extend(shape_cautions(sessions));
    // The device only words why a figure is missing, and missing figures are not told here.
    row.summary = Some(summarise(sessions, Device::Cpu));
    row.sessions = sessions.to_vec();
    row
}

fn cell(name: &str, old: &Cell, new: &Cell, force: bool) -> CellDiff {
    let (a, b) = (row(name, &old.sessions), row(name, &new.sessions));
    let same_samples = old.sessions == new.sessions;
    let lines = ledger::lines(&b, &a);
    let question = match old.question.is_empty() || new.question.is_empty() {
        true => Vec::new(),
        false => apart(&old.question, &new.question),
    };
    let other = |what: &Apart| ASKED.contains(&what.what.as_str());
    let mut beyond: Vec<String> = question.iter().filter(|what| other(what)).map(|what| what.what.clone()).collect();
    let work = lines.iter().filter(|line| line.standing == Standing::Beyond && WORK.contains(&line.fact));
    beyond.extend(work.map(|line| line.fact.to_owned()));
    beyond.dedup();
    let invalid = a.is_invalid() || b.is_invalid();
    let gone = |from: &Row, to: &Row| from.cautions.iter().filter(|c| !to.cautions.contains(c)).cloned().collect();
    let mut found = CellDiff {
        step: name.to_owned(),
        same_samples,
        forced: force && !beyond.is_empty() && !same_samples,
        beyond,
        figures: Vec::new(),
        facts: lines.into_iter().filter(|line| line.standing != Standing::Equal).collect(),
        question,
        cautions_gone: gone(&a, &b),
        cautions_new: gone(&b, &a),
    };
    let refused = match (invalid, force || found.beyond.is_empty()) {
        (true, _) => Some("a measurement of it is invalid".to_owned()),
        (false, false) => Some(format!("not comparable: {} differ", found.beyond.join(", "))),
        (false, true) => None,
    };
    found.figures = figures(&a, &b, refused.as_deref());
    found
}

/// The times of both rows with their ratio, and of the other figures those that moved.
fn figures(old: &Row, new: &Row, refused: Option<&str>) -> Vec<FigureDiff> {
    let headline = |row: &Row, metric| row.summary.as_ref().and_then(|summary| summary.headline(metric));
    let times: &[Metric] = old.sessions.last().map(|session| Metric::times(session.work)).unwrap_or_default();
    let mut figures = Vec::new();
    let others = [Metric::ColdStart, Metric::Load, Metric::PeakResident, Metric::PeakDevice];
    for metric in times.iter().copied().chain(others) {
        let (Some(was), Some(is)) = (headline(old, metric), headline(new, metric)) else { continue };
        let is_time = times.contains(&metric);
        if !is_time && (was == 0.0 || (is / was - 1.0).abs() < CLOSE) {
            continue;
        }
        let change = match (refused, is_time) {
            (Some(reason), _) => Change::NotCompared { reason: reason.to_owned() },
            (None, false) => Change::NotCompared { reason: "one value a process: no interval".to_owned() },
            (None, true) => compared(&series(metric, &old.sessions), &series(metric, &new.sessions)),
        };
        figures.push(FigureDiff { metric, old: was, new: is, change });
    }
    figures
}

fn compared(old: &Blocks, new: &Blocks) -> Change {
    match ratio_of_medians(old, new) {
        // The verdict waits for the correction over all cells.
        Some(ratio) => Change::Compared { ratio, verdict: verdict(&ratio, ratio.p), adjusted_p: ratio.p },
        None => Change::NotCompared { reason: too_little(old, new) },
    }
}

/// Verdicts after Holm's correction over all ratios of cells that were measured twice.
fn judge(cells: &mut [CellDiff]) {
    let apart = cells.iter_mut().filter(|cell| !cell.same_samples).flat_map(|cell| &mut cell.figures);
    let mut changes: Vec<(&mut Verdict, &mut f64, Ratio)> = apart
        .filter_map(|figure| match &mut figure.change {
            Change::Compared { ratio, verdict, adjusted_p } => Some((verdict, adjusted_p, *ratio)),
            Change::NotCompared { .. } => None,
        })
        .collect();
    let adjusted = holm(&changes.iter().map(|(_, _, ratio)| ratio.p).collect::<Vec<_>>());
    for ((judged, adjusted_p, ratio), p) in changes.iter_mut().zip(adjusted) {
        **judged = verdict(ratio, p);
        **adjusted_p = p;
    }
}
