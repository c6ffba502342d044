//! The comparison: the one model that every report is rendered from.
//!
//! Rows stand in the order of the matrix, holes and results from elsewhere included. Figures are raw values in
//! base units; words and units are the report's. Nothing here is serialised: the JSON report has types of its
//! own.

use std::collections::BTreeMap;
use std::time::Duration;

use pipe_cache::Digest;

use super::metric::Metric;
use super::parity::{Fault, ParityFigures};
use super::ratio::{Ratio, Verdict};
use super::stats::Interval;
use super::summary::Summary;
use super::tolerance::{Breach, Tolerance};
use crate::host::Facts;
use crate::pipeline::{Cell, Device, Dtype, Optimization, WarmUp};
use crate::record::{Caution, Session, Work};

/// The whole matrix, judged.
#[derive(Debug, Clone)]
pub struct Comparison {
    pub pipeline: String,
    pub about: Option<String>,
    /// The group of the measured steps: `decode`.
    pub group: String,
    /// This machine.
    pub facts: Facts,
    pub axes: Vec<(String, Vec<String>)>,
    pub baseline: Option<Anchor>,
    pub reference: Option<Anchor>,
    pub tolerance: Option<Tolerance>,
    pub rows: Vec<Row>,
    pub expects: Vec<ExpectResult>,
}

/// A cell that others are held against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anchor {
    /// As the pipeline names it: `engine=torch place=container device=cpu`.
    pub pattern: String,
    /// Its place in [`Comparison::rows`], or why there is none: `unavailable: no Docker daemon answers`.
    pub row: Result<usize, String>,
}

/// One cell of the matrix, or a result from elsewhere.
#[derive(Debug, Clone)]
pub struct Row {
    /// `onnx native cpu`, or the label of a published result.
    pub label: String,
    /// The step's name; `None` for excluded cells and published results.
    pub step: Option<String>,
    pub cell: Option<Cell>,
    pub state: State,
    /// True where nothing was measured now; only the terminal says so.
    pub from_store: bool,
    pub setup: Option<Setup>,
    pub question: Option<Digest>,
    /// The machine that it was measured on, where that is not this one.
    pub elsewhere: Option<String>,
    pub summary: Option<Summary>,
    /// By metric, for those that are compared (times to the first and per output token, latency).
    pub speed_ups: BTreeMap<Metric, SpeedUp>,
    pub parity: Parity,
    pub budget: Budget,
    pub cautions: Vec<Caution>,
    /// The raw samples.
    pub sessions: Vec<Session>,
    /// Among the fastest that are right and within their budget.
    pub winner: bool,
}

/// What a cell is.
#[derive(Debug, Clone, PartialEq)]
pub enum State {
    Measured,
    /// Measured, and its outputs are not the reference's: it can't win.
    Wrong,
    Failed(Hole),
    Unavailable(Hole),
    Excluded(Hole),
    NotSelected(Hole),
    Published {
        source: String,
        metrics: Vec<(String, f64)>,
    },
}

/// Why a cell has no figures, and what would fill it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hole {
    pub reason: String,
    pub remedy: Option<String>,
}

impl State {
    /// The word in reports.
    pub fn name(&self) -> &'static str {
        match self {
            State::Measured => "measured",
            State::Wrong => "wrong",
            State::Failed(_) => "failed",
            State::Unavailable(_) => "unavailable",
            State::Excluded(_) => "excluded",
            State::NotSelected(_) => "not selected",
            State::Published { .. } => "published",
        }
    }

    /// The hole, for states without figures.
    pub fn hole(&self) -> Option<&Hole> {
        match self {
            State::Failed(hole) | State::Unavailable(hole) | State::Excluded(hole) | State::NotSelected(hole) => {
                Some(hole)
            }
            State::Measured | State::Wrong | State::Published { .. } => None,
        }
    }

    /// True for cells with figures of their own, right or wrong.
    pub fn has_figures(&self) -> bool {
        matches!(self, State::Measured | State::Wrong)
    }
}

/// What was asked of a cell.
#[derive(Debug, Clone, PartialEq)]
pub struct Setup {
    pub device: Device,
    pub dtype: Dtype,
    pub threads: u32,
    pub reduced_precision: bool,
    pub optimization: Optimization,
    pub work: Work,
    pub warm_up: WarmUp,
    pub sampling: SamplingRule,
    /// CPUs and memory of the container; `None` where it runs natively.
    pub container: Option<(u32, u64)>,
}

/// The sampling rule as it is printed.
#[derive(Debug, Clone, PartialEq)]
pub struct SamplingRule {
    pub min_samples: u32,
    pub min_time: Duration,
    pub target: f64,
    pub max_time: Duration,
    pub max_samples: u32,
}

/// A cell against the baseline; above 1 is faster than it.
#[derive(Debug, Clone, PartialEq)]
pub enum SpeedUp {
    /// The pipeline names no baseline, or the row has no figures.
    NotAsked,
    Baseline,
    Compared {
        ratio: Ratio,
        verdict: Verdict,
        adjusted_p: f64,
    },
    /// `n/a (baseline unavailable: no Docker daemon answers)`.
    NotAvailable {
        reason: String,
    },
}

/// A cell's outputs against the reference's.
#[derive(Debug, Clone, PartialEq)]
pub enum Parity {
    /// The pipeline asks for no parity, or the row has no figures.
    NotAsked,
    Reference,
    Right(ParityFigures),
    Wrong {
        wrong: Wrong,
        figures: Option<ParityFigures>,
    },
    NotJudged {
        reason: String,
    },
}

/// What is wrong with a cell's outputs.
#[derive(Debug, Clone, PartialEq)]
pub enum Wrong {
    /// Figures are beyond their limits.
    Beyond(Vec<Breach>),
    /// They can't be compared, or not be judged as asked.
    Odd(Fault),
}

impl std::fmt::Display for Wrong {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Wrong::Beyond(breaches) => {
                f.write_str(&breaches.iter().map(Breach::to_string).collect::<Vec<_>>().join("; "))
            }
            Wrong::Odd(fault) => fault.fmt(f),
        }
    }
}

/// A cell's peak memory against its budget.
#[derive(Debug, Clone, PartialEq)]
pub enum Budget {
    NotAsked,
    Within { budget: u64, peak: u64 },
    Over { budget: u64, peak: u64 },
    NotJudged { budget: u64, reason: String },
}

/// An `expect` and how it came out.
#[derive(Debug, Clone, PartialEq)]
pub struct ExpectResult {
    /// `speed-up`, or a metric's name.
    pub metric: String,
    pub pattern: String,
    pub min: Option<f64>,
    pub max: Option<f64>,
    /// The worst of its cells.
    pub verdict: ExpectVerdict,
    /// Each cell that was looked at, by its row.
    pub cells: Vec<ExpectCell>,
    /// Why nothing was judged, where nothing was.
    pub reason: Option<String>,
}

/// One cell of an `expect`.
#[derive(Debug, Clone, PartialEq)]
pub struct ExpectCell {
    pub row: usize,
    pub verdict: ExpectVerdict,
    pub value: Option<f64>,
    pub interval: Option<Interval>,
    pub reason: Option<String>,
}

/// How an `expect` came out; the worse comes last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ExpectVerdict {
    Pass,
    NotJudged,
    /// The interval straddles the bound.
    Undecided,
    Fail,
}

impl ExpectVerdict {
    /// The word in reports.
    pub fn name(self) -> &'static str {
        match self {
            ExpectVerdict::Pass => "pass",
            ExpectVerdict::NotJudged => "not judged",
            ExpectVerdict::Undecided => "undecided",
            ExpectVerdict::Fail => "fail",
        }
    }
}

impl Row {
    /// The speed-up in the metric that ranks the row.
    pub fn speed_up(&self) -> &SpeedUp {
        let primary = self.summary.as_ref().and_then(Summary::primary);
        primary.and_then(|metric| self.speed_ups.get(&metric)).unwrap_or(&SpeedUp::NotAsked)
    }

    /// True where the cell may be called the best: right, valid, within its budget, and measured on this machine.
    pub fn may_win(&self) -> bool {
        self.state == State::Measured
            && !self.is_invalid()
            && self.elsewhere.is_none()
            && !matches!(self.budget, Budget::Over { .. })
    }

    /// True where a caution says that the figures mean something else.
    pub fn is_invalid(&self) -> bool {
        self.cautions.iter().any(|caution| caution.code.is_invalid())
    }

    /// True where a caution says that the figures may be off.
    pub fn is_suspect(&self) -> bool {
        self.cautions.iter().any(|caution| !caution.code.is_invalid())
    }

    /// The name of the row in a link: `engine-onnx.place-native.device-cpu`.
    pub fn anchor(&self) -> String {
        let plain = |text: &str| -> String {
            text.chars().map(|c| if c.is_ascii_alphanumeric() || "._".contains(c) { c } else { '-' }).collect()
        };
        match &self.cell {
            Some(cell) => {
                let parts: Vec<String> = cell.0.iter().map(|(axis, value)| plain(&format!("{axis}-{value}"))).collect();
                parts.join(".")
            }
            None => plain(&self.label),
        }
    }
}

impl Comparison {
    /// True where an `expect` or the parity gate failed, which is exit code 1.
    pub fn gate_failed(&self) -> bool {
        self.expects.iter().any(|expect| expect.verdict == ExpectVerdict::Fail)
            || self.rows.iter().any(|row| row.state == State::Wrong)
    }

    /// What one sample of its cells is; that of the first cell, where there are several.
    pub fn work(&self) -> Option<Work> {
        let measured = self.measured().find_map(|row| row.setup.as_ref());
        measured.or_else(|| self.rows.iter().find_map(|row| row.setup.as_ref())).map(|setup| setup.work)
    }

    /// Rows with figures of this pipeline.
    pub fn measured(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(|row| row.state.has_figures())
    }

    /// Cells without figures, in the order of the matrix.
    pub fn holes(&self) -> impl Iterator<Item = (&Row, &Hole)> {
        self.rows.iter().filter_map(|row| row.state.hole().map(|hole| (row, hole)))
    }
}
