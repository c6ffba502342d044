//! Which figures the tables show beside memory, speed-up and parity: it depends on what one sample is.

use super::{units, words};
use crate::measure::Comparison;
use crate::measure::comparison::Row;
use crate::measure::metric::Metric;
use crate::measure::summary::PercentileValue;
use crate::record::Work;

/// A column of figures.
#[derive(Debug)]
pub struct Column {
    /// Its head where there is little room, in lines.
    pub short: &'static str,
    pub title: &'static str,
    pub metric: Metric,
    /// In thousandths: a percentile in place of the headline.
    level: Option<u32>,
}

const SEQUENCE: [Column; 3] = [
    Column { short: "first\ntoken", title: "time to first token", metric: Metric::TimeToFirstToken, level: None },
    Column { short: "per\ntoken", title: "time per output token", metric: Metric::TimePerOutputToken, level: None },
    Column { short: "tokens/s", title: "tokens/s", metric: Metric::TokensPerSecond, level: None },
];

const INFERENCE: [Column; 3] = [
    Column { short: "latency", title: "latency", metric: Metric::Latency, level: None },
    Column { short: "p95", title: "p95", metric: Metric::Latency, level: Some(950) },
    Column { short: "items/s", title: "items/s", metric: Metric::ItemsPerSecond, level: None },
];

/// The columns of a comparison's tables.
pub fn columns(comparison: &Comparison) -> &'static [Column; 3] {
    match is_inference(comparison) {
        true => &INFERENCE,
        false => &SEQUENCE,
    }
}

/// True where one sample is an inference.
pub fn is_inference(comparison: &Comparison) -> bool {
    matches!(comparison.work(), Some(Work::Inference { .. }))
}

/// What one sample is called.
pub fn noun(comparison: &Comparison) -> &'static str {
    if is_inference(comparison) { "inference" } else { "sequence" }
}

/// The times of one sample, the one that ranks cells first.
pub fn times(comparison: &Comparison) -> &'static [Metric] {
    comparison.work().map(Metric::times).unwrap_or_default()
}

impl Column {
    /// The row's figure, `n/a` where there is none.
    pub fn figure(&self, row: &Row) -> String {
        let Some(level) = self.level else {
            return words::headline(row, self.metric);
        };
        match percentile(row, self.metric, level) {
            Some(PercentileValue::Known { estimate, .. }) => units::value(estimate, self.metric.unit()),
            _ => "n/a".to_owned(),
        }
    }

    /// What stands below the figure: half of its interval, the bound of a percentile, or how many samples it takes.
    pub fn below(&self, row: &Row) -> Option<String> {
        let Some(level) = self.level else {
            return words::spread(row, self.metric);
        };
        Some(match percentile(row, self.metric, level)? {
            PercentileValue::Known { bound, .. } => format!("≤ {}", units::value(bound, self.metric.unit())),
            PercentileValue::TooFew { need, .. } => format!("need {need}"),
        })
    }

    /// The figure of a result from elsewhere, empty where it has none.
    pub fn published(&self, metrics: &[(String, f64)]) -> String {
        match self.level {
            None => published(metrics, self.metric),
            Some(_) => String::new(),
        }
    }
}

/// A metric of a result from elsewhere, empty where it is not told.
pub fn published(metrics: &[(String, f64)], metric: Metric) -> String {
    let found = metrics.iter().find(|(name, _)| name == metric.name());
    found.map(|(_, value)| units::value(metric.from_written(*value), metric.unit())).unwrap_or_default()
}

fn percentile(row: &Row, metric: Metric, level: u32) -> Option<PercentileValue> {
    let figure = row.summary.as_ref()?.figure(metric)?;
    figure.percentiles.iter().find(|percentile| percentile.level == level).map(|percentile| percentile.value)
}
