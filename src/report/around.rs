//! What sessions hold of the machine around them: the drift sentinel, energy, clock and heat; for the JSON report, and in
//! sentences for the page.

use serde::{Deserialize, Serialize};

use super::units;
use crate::host::{sentinel, thermal};
use crate::record::{Energy, Session};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SentinelJson {
    /// Figures of other work are not to be compared.
    pub work: String,
    pub arithmetic_ns: u64,
    pub arithmetic_scatter: f64,
    pub memory_ns: u64,
    pub memory_scatter: f64,
}

/// The energy of a session's samples.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EnergyJson {
    /// Which counter, and of what; `null` where there is none.
    pub method: Option<String>,
    pub joules: Option<f64>,
    /// On average over the blocks.
    pub watts: Option<f64>,
    pub not_measured: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ThermalJson {
    pub clock_khz: Option<u64>,
    pub millidegrees: Option<i64>,
    /// How hard heat presses on a Mac; 0 is not at all.
    pub pressure: Option<u64>,
}

impl From<&sentinel::Reading> for SentinelJson {
    fn from(reading: &sentinel::Reading) -> SentinelJson {
        let sentinel::Reading { work, arithmetic, memory } = reading;
        SentinelJson {
            work: work.clone(),
            arithmetic_ns: arithmetic.unit_ns,
            arithmetic_scatter: arithmetic.scatter,
            memory_ns: memory.unit_ns,
            memory_scatter: memory.scatter,
        }
    }
}

impl EnergyJson {
    /// `None` where nobody asked.
    pub fn of(session: &Session) -> Option<EnergyJson> {
        let blocks = || session.turns.iter().flat_map(|turns| &turns.blocks);
        Some(match session.energy.as_ref()? {
            Energy::NotMeasured { reason } => {
                EnergyJson { method: None, joules: None, watts: None, not_measured: Some(reason.clone()) }
            }
            Energy::Counted { method } => {
                let counted = blocks().filter_map(|block| Some((block.energy_uj?, block.took_ns)));
                let (energy, time) = counted.fold((0.0, 0.0), |(energy, time), (microjoules, nanos)| {
                    (energy + microjoules as f64 / 1e6, time + nanos as f64 / 1e9)
                });
                let any = time > 0.0;
                EnergyJson {
                    method: Some(method.clone()),
                    joules: any.then_some(energy),
                    watts: any.then_some(energy / time),
                    not_measured: (!any).then(|| "the counter gave no two readings".to_owned()),
                }
            }
        })
    }
}

impl From<thermal::Reading> for ThermalJson {
    fn from(reading: thermal::Reading) -> ThermalJson {
        let thermal::Reading { kilohertz, millidegrees, pressure } = reading;
        ThermalJson { clock_khz: kilohertz, millidegrees, pressure }
    }
}

/// What the page says of a session, above its samples.
pub fn sentences(session: &Session) -> Vec<String> {
    let mut lines = Vec::new();
    lines.extend(EnergyJson::of(session).map(|energy| match energy {
        EnergyJson { method: Some(method), joules: Some(joules), watts: Some(watts), .. } => {
            format!("Energy of all blocks: {}, {} W on average ({method}).", units::joules(joules), units::three(watts))
        }
        EnergyJson { not_measured, .. } => {
            format!("Energy: not measured: {}.", not_measured.unwrap_or_else(|| "no reason is known".to_owned()))
        }
    }));
    lines.extend(session.sentinel.as_ref().map(|sentinel::Reading { arithmetic, memory, .. }| {
        let pace = |pace: &sentinel::Pace| {
            format!("{} (scatter {})", units::time(pace.unit_ns as f64), units::percent(pace.scatter))
        };
        format!(
            "Drift sentinel before it: a unit of arithmetic took {}, one of memory {}.",
            pace(arithmetic),
            pace(memory)
        )
    }));
    lines.extend(
        session.thermal.and_then(|thermal| thermal.line()).map(|line| format!("Before the first block {line}.")),
    );
    let blocks = || session.turns.iter().flat_map(|turns| &turns.blocks);
    let rests: Vec<u64> = blocks().map(|block| block.rested_ns).filter(|nanos| *nanos > 0).collect();
    if !rests.is_empty() {
        let all = units::time(rests.iter().sum::<u64>() as f64);
        lines.push(format!("Before {} of {} blocks all rested, {all} together.", rests.len(), blocks().count()));
    }
    lines
}
