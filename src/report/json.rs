//! The report as JSON, in versioned types of its own: `schema` is `pipe-report/1`.
//!
//! Everything that the tables show is here unrounded, and every raw sample, with the keys that found them.
//! Fields may be added within a version; a field's meaning never changes. Times are nanoseconds, sizes bytes,
//! rates per second. What is not there is `null` or absent, never zero.

mod parity;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use self::parity::{BreachJson, CalibratedJson, OutputJson, ParityJson, ToleranceJson, WorstJson};
use super::words;
use crate::host::{Facts, Runtime};
use crate::measure::Comparison;
use crate::measure::comparison::{Anchor, Budget, ExpectResult, Row, Setup, SpeedUp, State};
use crate::measure::ratio::Verdict;
use crate::measure::recommend::{Recommendation, recommend};
use crate::measure::stats::Interval;
use crate::measure::summary::{Measured, PercentileValue};
use crate::record::{Block, Session, Turns, Work};

/// The name of this version.
pub const SCHEMA: &str = "pipe-report/1";

/// The whole report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    pub schema: String,
    pub pipeline: String,
    pub about: Option<String>,
    /// The group of the measured steps.
    pub group: String,
    pub machine: Facts,
    pub method: Vec<String>,
    pub axes: Vec<Axis>,
    pub baseline: Option<AnchorJson>,
    pub reference: Option<AnchorJson>,
    pub tolerance: Option<ToleranceJson>,
    /// In the order of the matrix, holes and published results included.
    pub cells: Vec<CellJson>,
    pub expects: Vec<ExpectJson>,
    /// What to use when.
    #[serde(default)]
    pub recommendations: Vec<RecommendationJson>,
    /// True where an `expect` or the parity of a cell failed.
    pub gate_failed: bool,
}

/// The best cells for an aim.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RecommendationJson {
    /// `fastest decoding`, `lowest p95`, …
    pub aim: String,
    pub metric: String,
    pub value: f64,
    /// Labels: the best, then those that can't be told from it.
    pub cells: Vec<String>,
    /// The best of the others, and how many times worse it is.
    pub next: Option<String>,
    pub next_times_worse: Option<f64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Axis {
    pub name: String,
    pub values: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AnchorJson {
    pub pattern: String,
    /// The label of the cell that was found.
    pub cell: Option<String>,
    /// Why none was found.
    pub reason: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CellJson {
    pub label: String,
    pub step: Option<String>,
    /// Axis to value.
    pub cell: BTreeMap<String, String>,
    /// `measured`, `wrong`, `failed`, `unavailable`, `excluded`, `not selected` or `published`.
    pub state: String,
    pub reason: Option<String>,
    pub remedy: Option<String>,
    pub winner: bool,
    pub setup: Option<SetupJson>,
    /// The question key.
    pub question: Option<String>,
    /// The machine, where it is not the report's.
    pub elsewhere: Option<String>,
    pub metrics: BTreeMap<String, MetricJson>,
    /// Metric to speed-up.
    pub speed_ups: BTreeMap<String, SpeedUpJson>,
    pub parity: Option<ParityJson>,
    pub memory_budget: Option<BudgetJson>,
    pub cautions: Vec<CautionJson>,
    pub sessions: Vec<SessionJson>,
    /// Of a published result: where it is from, and its figures by name, in seconds, bytes or per second.
    pub source: Option<String>,
    pub published: BTreeMap<String, f64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SetupJson {
    pub device: String,
    pub dtype: String,
    pub threads: u32,
    pub reduced_precision: bool,
    /// How far the model was rewritten, where that is not all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub optimization: Option<String>,
    /// Of sequences.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_tokens: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new_tokens: Option<u32>,
    /// Of inferences: how many things one works on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items: Option<u32>,
    pub warm_up_min: u32,
    pub warm_up_max: u32,
    pub min_samples: u32,
    pub min_time_s: f64,
    pub target: f64,
    pub max_time_s: f64,
    pub container_cpus: Option<u32>,
    pub container_memory: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MetricJson {
    pub unit: String,
    pub n: u32,
    pub median: Option<f64>,
    /// 95 % interval of the median.
    pub interval: Option<[f64; 2]>,
    pub mad: Option<f64>,
    pub min: Option<f64>,
    pub max: Option<f64>,
    pub percentiles: Vec<PercentileJson>,
    /// Why there is no figure.
    pub not_measured: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PercentileJson {
    /// `p99`.
    pub name: String,
    pub estimate: Option<f64>,
    /// Upper 95 % confidence bound.
    pub bound: Option<f64>,
    /// How many samples it takes.
    pub need: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SpeedUpJson {
    /// `baseline`, `faster`, `slower`, `no difference` or `n/a`.
    pub verdict: String,
    pub ratio: Option<f64>,
    /// 99 % interval of the ratio.
    pub interval: Option<[f64; 2]>,
    pub p: Option<f64>,
    /// After Holm's correction over the matrix.
    pub p_adjusted: Option<f64>,
    /// The smallest relative difference that would probably have been found.
    pub detectable: Option<f64>,
    pub reason: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BudgetJson {
    pub budget: u64,
    pub peak: Option<u64>,
    /// `within`, `over` or `not judged`.
    pub verdict: String,
    pub reason: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CautionJson {
    pub code: String,
    pub seen: String,
    pub invalid: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExpectJson {
    pub metric: String,
    pub cell: String,
    pub min: Option<f64>,
    pub max: Option<f64>,
    /// `pass`, `fail`, `undecided` or `not judged`.
    pub verdict: String,
    pub reason: Option<String>,
    pub cells: Vec<ExpectCellJson>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExpectCellJson {
    pub cell: String,
    pub verdict: String,
    pub value: Option<f64>,
    pub interval: Option<[f64; 2]>,
    pub reason: Option<String>,
}

/// One process, with all of its raw samples.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SessionJson {
    pub question: String,
    pub machine: String,
    pub engine: String,
    pub engine_version: String,
    pub libraries: BTreeMap<String, String>,
    /// As the library told after it was set.
    pub threads: Option<u32>,
    pub placement: BTreeMap<String, u64>,
    /// Processors that the engine saw.
    pub cpus_inside: Option<u32>,
    pub sandbox: String,
    pub runtime: Option<Runtime>,
    pub start_ns: u64,
    pub load_ns: Option<u64>,
    pub peak_resident: Option<u64>,
    pub peak_device: Option<u64>,
    pub steady: Option<bool>,
    pub warm_up: Vec<SampleJson>,
    pub samples: Vec<SampleJson>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turns: Option<TurnsJson>,
}

/// The blocks in which a session's samples were taken, in turn with other cells.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TurnsJson {
    pub seed: u64,
    /// The questions of the others.
    pub with: Vec<String>,
    /// Idle engines were stopped; else they waited.
    pub idle_stopped: bool,
    /// Passes before each block that were not recorded.
    pub settling: u32,
    pub blocks: Vec<BlockJson>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BlockJson {
    pub round: u32,
    pub place: u32,
    /// From the begin of the group's first block.
    pub at_ns: u64,
    pub took_ns: u64,
    pub samples: u32,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SampleJson {
    pub at_ns: u64,
    /// Of a sequence: the pass over the prompt, and one time for each token after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefill_ns: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decode_ns: Option<Vec<u64>>,
    /// Of an inference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_ns: Option<u64>,
}

/// Renders the whole comparison, with a line end.
pub fn render(comparison: &Comparison) -> Result<String, serde_json::Error> {
    serde_json::to_string_pretty(&report(comparison)).map(|text| text + "\n")
}

/// The report as data.
pub fn report(comparison: &Comparison) -> Report {
    Report {
        schema: SCHEMA.to_owned(),
        pipeline: comparison.pipeline.clone(),
        about: comparison.about.clone(),
        group: comparison.group.clone(),
        machine: comparison.facts.clone(),
        method: words::method(comparison),
        axes: comparison
            .axes
            .iter()
            .map(|(name, values)| Axis { name: name.clone(), values: values.clone() })
            .collect(),
        baseline: comparison.baseline.as_ref().map(|anchor| anchor_json(anchor, comparison)),
        reference: comparison.reference.as_ref().map(|anchor| anchor_json(anchor, comparison)),
        tolerance: comparison.tolerance.as_ref().map(parity::tolerance),
        cells: comparison.rows.iter().map(cell).collect(),
        expects: comparison.expects.iter().map(|expect| expect_json(expect, comparison)).collect(),
        recommendations: recommend(comparison).iter().map(|found| recommendation_json(found, comparison)).collect(),
        gate_failed: comparison.gate_failed(),
    }
}

fn recommendation_json(found: &Recommendation, comparison: &Comparison) -> RecommendationJson {
    let label = |place: usize| comparison.rows[place].label.clone();
    RecommendationJson {
        aim: words::aim(found.aim).to_owned(),
        metric: found.metric.name().to_owned(),
        value: found.value,
        cells: found.rows.iter().map(|place| label(*place)).collect(),
        next: found.next.map(|(place, _)| label(place)),
        next_times_worse: found.next.map(|(_, times)| times),
    }
}

fn anchor_json(anchor: &Anchor, comparison: &Comparison) -> AnchorJson {
    AnchorJson {
        pattern: anchor.pattern.clone(),
        cell: anchor.row.as_ref().ok().map(|place| comparison.rows[*place].label.clone()),
        reason: anchor.row.as_ref().err().cloned(),
    }
}

fn ends(interval: Interval) -> [f64; 2] {
    [interval.low, interval.high]
}

fn cell(row: &Row) -> CellJson {
    let hole = row.state.hole();
    let (source, published) = match &row.state {
        State::Published { source, metrics } => (Some(source.clone()), metrics.iter().cloned().collect()),
        _ => (None, BTreeMap::new()),
    };
    CellJson {
        label: row.label.clone(),
        step: row.step.clone(),
        cell: row.cell.iter().flat_map(|cell| cell.0.iter().cloned()).collect(),
        state: row.state.name().to_owned(),
        reason: hole.map(|hole| hole.reason.clone()),
        remedy: hole.and_then(|hole| hole.remedy.clone()),
        winner: row.winner,
        setup: row.setup.as_ref().map(setup),
        question: row.question.map(|digest| digest.to_string()),
        elsewhere: row.elsewhere.clone(),
        metrics: row
            .summary
            .iter()
            .flat_map(|summary| &summary.metrics)
            .map(|(metric, measured)| (metric.name().to_owned(), metric_json(metric.unit().name(), measured)))
            .collect(),
        speed_ups: row
            .speed_ups
            .iter()
            .filter_map(|(metric, speed_up)| Some((metric.name().to_owned(), speed_up_json(speed_up)?)))
            .collect(),
        parity: parity::parity(&row.parity),
        memory_budget: budget(&row.budget),
        cautions: row
            .cautions
            .iter()
            .map(|caution| CautionJson {
                code: caution.code.name().to_owned(),
                seen: caution.seen.clone(),
                invalid: caution.code.is_invalid(),
            })
            .collect(),
        sessions: row.sessions.iter().map(session).collect(),
        source,
        published,
    }
}

fn setup(setup: &Setup) -> SetupJson {
    let (prompt_tokens, new_tokens, items) = match setup.work {
        Work::Sequence { prompt_tokens, new_tokens } => (Some(prompt_tokens), Some(new_tokens), None),
        Work::Inference { items } => (None, None, items),
    };
    SetupJson {
        device: setup.device.name().to_owned(),
        dtype: setup.dtype.name().to_owned(),
        threads: setup.threads,
        reduced_precision: setup.reduced_precision,
        optimization: (!setup.optimization.is_all()).then(|| setup.optimization.name().to_owned()),
        prompt_tokens,
        new_tokens,
        items,
        warm_up_min: setup.warm_up.min,
        warm_up_max: setup.warm_up.max,
        min_samples: setup.sampling.min_samples,
        min_time_s: setup.sampling.min_time.as_secs_f64(),
        target: setup.sampling.target,
        max_time_s: setup.sampling.max_time.as_secs_f64(),
        container_cpus: setup.container.map(|(cpus, _)| cpus),
        container_memory: setup.container.map(|(_, memory)| memory),
    }
}

fn metric_json(unit: &str, measured: &Measured) -> MetricJson {
    let mut json = MetricJson {
        unit: unit.to_owned(),
        n: 0,
        median: None,
        interval: None,
        mad: None,
        min: None,
        max: None,
        percentiles: Vec::new(),
        not_measured: None,
    };
    match measured {
        Measured::NotMeasured { reason } => json.not_measured = Some(reason.clone()),
        Measured::Figure(figure) => {
            json.n = figure.n;
            json.median = Some(figure.median);
            json.interval = figure.interval.map(ends);
            json.mad = Some(figure.mad);
            json.min = Some(figure.min);
            json.max = Some(figure.max);
            json.percentiles = figure
                .percentiles
                .iter()
                .map(|percentile| {
                    let name = percentile.name();
                    match percentile.value {
                        PercentileValue::Known { estimate, bound } => {
                            PercentileJson { name, estimate: Some(estimate), bound: Some(bound), need: None }
                        }
                        PercentileValue::TooFew { need, .. } => {
                            PercentileJson { name, estimate: None, bound: None, need: Some(need) }
                        }
                    }
                })
                .collect();
        }
    }
    json
}

fn speed_up_json(speed_up: &SpeedUp) -> Option<SpeedUpJson> {
    let bare = |verdict: &str, reason: Option<String>| SpeedUpJson {
        verdict: verdict.to_owned(),
        ratio: None,
        interval: None,
        p: None,
        p_adjusted: None,
        detectable: None,
        reason,
    };
    Some(match speed_up {
        SpeedUp::NotAsked => return None,
        SpeedUp::Baseline => bare("baseline", None),
        SpeedUp::NotAvailable { reason } => bare("n/a", Some(reason.clone())),
        SpeedUp::Compared { ratio, verdict, adjusted_p } => SpeedUpJson {
            verdict: verdict.name().to_owned(),
            ratio: Some(ratio.ratio),
            interval: Some(ends(ratio.interval)),
            p: Some(ratio.p),
            p_adjusted: Some(*adjusted_p),
            detectable: match verdict {
                Verdict::NoDifference { detectable } => Some(*detectable),
                Verdict::Faster | Verdict::Slower => None,
            },
            reason: None,
        },
    })
}

fn budget(budget: &Budget) -> Option<BudgetJson> {
    let (budget, peak, verdict, reason) = match budget {
        Budget::NotAsked => return None,
        Budget::Within { budget, peak } => (*budget, Some(*peak), "within", None),
        Budget::Over { budget, peak } => (*budget, Some(*peak), "over", None),
        Budget::NotJudged { budget, reason } => (*budget, None, "not judged", Some(reason.clone())),
    };
    Some(BudgetJson { budget, peak, verdict: verdict.to_owned(), reason })
}

fn expect_json(expect: &ExpectResult, comparison: &Comparison) -> ExpectJson {
    ExpectJson {
        metric: expect.metric.clone(),
        cell: expect.pattern.clone(),
        min: expect.min,
        max: expect.max,
        verdict: expect.verdict.name().to_owned(),
        reason: expect.reason.clone(),
        cells: expect
            .cells
            .iter()
            .map(|cell| ExpectCellJson {
                cell: comparison.rows[cell.row].label.clone(),
                verdict: cell.verdict.name().to_owned(),
                value: cell.value,
                interval: cell.interval.map(ends),
                reason: cell.reason.clone(),
            })
            .collect(),
    }
}

fn session(session: &Session) -> SessionJson {
    let prepared = session.prepared.as_ref();
    let samples = |samples: &[pipe_engine::message::Sample]| -> Vec<SampleJson> {
        samples
            .iter()
            .map(|s| match session.work {
                Work::Sequence { .. } => SampleJson {
                    at_ns: s.at_ns,
                    prefill_ns: Some(s.prefill_ns),
                    decode_ns: Some(s.decode_ns.clone()),
                    latency_ns: None,
                },
                Work::Inference { .. } => {
                    SampleJson { at_ns: s.at_ns, prefill_ns: None, decode_ns: None, latency_ns: Some(s.prefill_ns) }
                }
            })
            .collect()
    };
    SessionJson {
        question: session.question.to_string(),
        machine: session.machine.to_string(),
        engine: session.hello.engine.clone(),
        engine_version: session.hello.version.clone(),
        libraries: prepared.map(|p| p.libraries.clone()).unwrap_or_default(),
        threads: prepared.map(|p| p.threads),
        placement: prepared.map(|p| p.placement.clone()).unwrap_or_default(),
        cpus_inside: prepared.map(|p| p.inside.cpus),
        sandbox: session.sandbox.name().to_owned(),
        runtime: session.runtime.clone(),
        start_ns: session.start_ns,
        load_ns: prepared.map(|p| p.load_ns),
        peak_resident: session.usage.as_ref().and_then(|usage| usage.peak_resident),
        peak_device: session.usage.as_ref().and_then(|usage| usage.peak_device),
        steady: session.warmed.as_ref().map(|warmed| warmed.steady),
        warm_up: session.warmed.as_ref().map(|warmed| samples(&warmed.samples)).unwrap_or_default(),
        samples: samples(&session.samples),
        turns: session.turns.as_ref().map(turns),
    }
}

fn turns(turns: &Turns) -> TurnsJson {
    let block = |block: &Block| {
        let Block { round, place, at_ns, took_ns, samples } = *block;
        BlockJson { round, place, at_ns, took_ns, samples }
    };
    TurnsJson {
        seed: turns.seed,
        with: turns.with.iter().map(ToString::to_string).collect(),
        idle_stopped: turns.stopped,
        settling: turns.settling,
        blocks: turns.blocks.iter().map(block).collect(),
    }
}
