//! Which metrics a kind of work has, and which of them are its times.

use super::metric::Metric;
use crate::record::Work;

impl Metric {
    /// True where samples of this work have the metric; start-up times and peaks belong to every one.
    pub fn is_of(self, work: Work) -> bool {
        match self {
            Metric::TimeToFirstToken
            | Metric::TimePerOutputToken
            | Metric::TokensPerSecond
            | Metric::EnergyPerToken => matches!(work, Work::Sequence { .. }),
            Metric::Latency | Metric::ItemsPerSecond | Metric::EnergyPerInference => {
                matches!(work, Work::Inference { .. })
            }
            _ => true,
        }
    }

    /// The times of one sample, the one that ranks cells first: they have percentiles and speed-ups.
    pub fn times(work: Work) -> &'static [Metric] {
        match work {
            Work::Sequence { .. } => &[Metric::TimePerOutputToken, Metric::TimeToFirstToken],
            Work::Inference { .. } => &[Metric::Latency],
        }
    }
}
