//! The sessions of one cell, summarised for each metric.
//!
//! Times have one value for each sample, a sequence or an inference; start-up times and peaks one for each session (a process). A
//! metric that could not be measured has a reason, never a zero. This module compares nothing.

use std::collections::BTreeMap;

use pipe_engine::message::{Device, Sample};

use super::blocks::Blocks;
use super::metric::Metric;
use super::stats::{self, Interval};
use crate::record::{Energy, Session, Work};

/// Percentiles that are always told, in thousandths, be it that they can't be known.
const PERCENTILES: [u32; 3] = [900, 950, 990];

/// What is known of one cell.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// Measured sequences or inferences of all sessions.
    pub samples: u32,
    pub sessions: u32,
    pub metrics: BTreeMap<Metric, Measured>,
}

/// A figure, or why there is none.
#[derive(Debug, Clone, PartialEq)]
pub enum Measured {
    Figure(Figure),
    NotMeasured { reason: String },
}

/// A metric's figures in the raw unit of [`Metric::unit`].
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    pub n: u32,
    pub median: f64,
    /// The median's 95 % interval (BCa bootstrap over blocks of samples); `None` of fewer than six values.
    pub interval: Option<Interval>,
    /// Median absolute deviation.
    pub mad: f64,
    pub min: f64,
    pub max: f64,
    pub percentiles: Vec<Percentile>,
}

/// One percentile, which exists only where the sample supports it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Percentile {
    /// In thousandths: 990 for p99.
    pub level: u32,
    pub value: PercentileValue,
}

/// The value of a percentile.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum PercentileValue {
    /// The nearest-rank estimate and its 95 % upper confidence bound.
    Known { estimate: f64, bound: f64 },
    /// `p99 n/a (n=40, need 299)`.
    TooFew { n: u32, need: u32 },
}

impl Percentile {
    /// `p99`, `p99.9`.
    pub fn name(&self) -> String {
        match self.level % 10 {
            0 => format!("p{}", self.level / 10),
            tenth => format!("p{}.{tenth}", self.level / 10),
        }
    }
}

impl Summary {
    /// The figure of `metric`, where it was measured.
    pub fn figure(&self, metric: Metric) -> Option<&Figure> {
        match self.metrics.get(&metric)? {
            Measured::Figure(figure) => Some(figure),
            Measured::NotMeasured { .. } => None,
        }
    }

    /// The figure that a table shows: the median, or the largest of a peak.
    pub fn headline(&self, metric: Metric) -> Option<f64> {
        self.figure(metric).map(|figure| if metric.is_peak() { figure.max } else { figure.median })
    }

    /// The metric by which cells are ranked: the time per output token, or to the first where none is decoded;
    /// of an inference its latency.
    pub fn primary(&self) -> Option<Metric> {
        [Metric::TimePerOutputToken, Metric::TimeToFirstToken, Metric::Latency]
            .into_iter()
            .find(|metric| self.figure(*metric).is_some())
    }
}

/// Summarises the sessions of one cell on `device`.
pub fn summarise(sessions: &[Session], device: Device) -> Summary {
    let of_samples = |metric: &Metric| sessions.iter().all(|session| metric.is_of(session.work));
    let metrics = Metric::ALL
        .into_iter()
        .filter(of_samples)
        .map(|metric| {
            let values = series(metric, sessions);
            let measured = figure(metric, &values)
                .map(Measured::Figure)
                .unwrap_or_else(|| Measured::NotMeasured { reason: why_missing(metric, sessions, device) });
            (metric, measured)
        })
        .collect();
    Summary {
        samples: sessions.iter().map(|s| s.samples.len()).sum::<usize>() as u32,
        sessions: sessions.len() as u32,
        metrics,
    }
}

/// The raw values of a metric, in the order and in the blocks in which they were taken.
pub fn series(metric: Metric, sessions: &[Session]) -> Blocks {
    let mut blocks = Blocks::default();
    let mut samples = |value: &dyn Fn(&Session, &Sample) -> Option<f64>| {
        for session in sessions {
            for block in session.blocks() {
                blocks.push(block.iter().filter_map(|sample| value(session, sample)));
            }
        }
        std::mem::take(&mut blocks)
    };
    // A process is one by itself.
    let each = |value: fn(&Session) -> Option<f64>| Blocks::single(sessions.iter().filter_map(value).collect());
    match metric {
        Metric::TimeToFirstToken | Metric::Latency => samples(&|_, sample| Some(sample.prefill_ns as f64)),
        Metric::TimePerOutputToken => samples(&|_, sample| time_per_token(sample)),
        Metric::TokensPerSecond => samples(&|_, sample| time_per_token(sample).map(|ns| 1e9 / ns)),
        Metric::ItemsPerSecond => samples(&items_per_second),
        Metric::ProcessStart => each(|s| Some(s.start_ns as f64)),
        Metric::Load => each(load),
        Metric::FirstInference => each(first_inference),
        Metric::ColdStart => each(|s| Some(s.start_ns as f64 + load(s)? + first_inference(s)?)),
        // A block is one reading of the counter.
        Metric::EnergyPerToken | Metric::EnergyPerInference => {
            Blocks::single(sessions.iter().flat_map(energy_of_blocks).collect())
        }
        Metric::PeakResident => each(|s| s.usage.as_ref()?.peak_resident.map(|b| b as f64)),
        Metric::PeakDevice => each(|s| s.usage.as_ref()?.peak_device.map(|b| b as f64)),
    }
}

/// The mean of a sequence's decode times; `None` where nothing was decoded, or in no time at all.
pub fn time_per_token(sample: &Sample) -> Option<f64> {
    let total: u64 = sample.decode_ns.iter().sum();
    (total > 0).then(|| total as f64 / sample.decode_ns.len() as f64)
}

/// Items over time; none where their number is not known.
fn items_per_second(session: &Session, sample: &Sample) -> Option<f64> {
    let Work::Inference { items: Some(items) } = session.work else { return None };
    (sample.prefill_ns > 0).then(|| f64::from(items) * 1e9 / sample.prefill_ns as f64)
}

/// Joules by what was worked on, for each block; none where energy was not counted.
fn energy_of_blocks(session: &Session) -> Vec<f64> {
    let each = match session.work {
        Work::Sequence { new_tokens, .. } => new_tokens,
        Work::Inference { .. } => 1,
    };
    let turns = session.turns.iter().flat_map(|turns| turns.blocks.iter().map(|block| (block, turns.every)));
    turns
        .filter_map(|(block, every)| {
            let worked = f64::from(block.samples) * f64::from(every) * f64::from(each);
            (worked > 0.0).then_some(block.energy_uj? as f64 / 1e6 / worked)
        })
        .collect()
}

fn load(session: &Session) -> Option<f64> {
    session.prepared.as_ref().map(|prepared| prepared.load_ns as f64)
}

fn first_inference(session: &Session) -> Option<f64> {
    session.warmed.as_ref()?.samples.first().map(|sample| sample.prefill_ns as f64)
}

/// Figures of `values`; `None` of none.
fn figure(metric: Metric, taken: &Blocks) -> Option<Figure> {
    let values = taken.values();
    let sorted = stats::sorted(values);
    let median = stats::median_of_sorted(&sorted)?;
    let percentiles = match metric {
        // A percentile of a start-up time would need hundreds of processes, and one of a rate is one of the time.
        Metric::TimeToFirstToken | Metric::TimePerOutputToken | Metric::Latency => percentiles(&sorted),
        _ => Vec::new(),
    };
    Some(Figure {
        n: values.len() as u32,
        median,
        interval: taken.median_interval(0.95),
        mad: stats::mad(values)?,
        min: *sorted.first()?,
        max: *sorted.last()?,
        percentiles,
    })
}

fn percentiles(sorted: &[f64]) -> Vec<Percentile> {
    let known = |level: u32| {
        let part = f64::from(level) / 1000.0;
        let value = match stats::percentile(sorted, part) {
            Some((estimate, bound)) => PercentileValue::Known { estimate, bound },
            None => PercentileValue::TooFew { n: sorted.len() as u32, need: stats::needed_for_percentile(part) },
        };
        Percentile { level, value }
    };
    let mut found: Vec<Percentile> = PERCENTILES.into_iter().map(known).collect();
    // Nobody misses p99.9 of a few samples; it is told only where it is known.
    found.extend(Some(known(999)).filter(|percentile| matches!(percentile.value, PercentileValue::Known { .. })));
    found
}

fn why_missing(metric: Metric, sessions: &[Session], device: Device) -> String {
    if sessions.is_empty() {
        return "no session was measured".to_owned();
    }
    if matches!(metric, Metric::EnergyPerToken | Metric::EnergyPerInference) {
        return match sessions.iter().find_map(|session| session.energy.as_ref()) {
            Some(Energy::NotMeasured { reason }) => reason.clone(),
            Some(Energy::Counted { .. }) => "the counter gave no two readings".to_owned(),
            None => "it was measured by a version that counted no energy".to_owned(),
        };
    }
    let text = match metric {
        Metric::PeakDevice if device == Device::Cpu => "a CPU has no memory of its own",
        Metric::PeakDevice => "the engine can't read the device's allocator",
        Metric::PeakResident => "the engine could not read its own memory",
        Metric::TimePerOutputToken | Metric::TokensPerSecond => "no token was decoded",
        Metric::TimeToFirstToken => "no sequence was measured",
        Metric::Latency => "no inference was measured",
        Metric::ItemsPerSecond => "how many items an inference works on is not known",
        Metric::FirstInference => "no warm-up was recorded",
        Metric::Load | Metric::ColdStart | Metric::ProcessStart => "the model was not loaded",
        Metric::EnergyPerToken | Metric::EnergyPerInference => "no energy was counted",
    };
    text.to_owned()
}
