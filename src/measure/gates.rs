//! Bounds that a pipeline sets, judged by intervals: memory budgets and `expect`.
//!
//! An `expect` fails only where the whole interval lies outside its bounds; where the interval straddles one
//! it is undecided, and where there is nothing to judge it says why.

use super::comparison::{Budget, ExpectCell, ExpectResult, ExpectVerdict, Row, Setup, SpeedUp, State};
use super::metric::Metric;
use super::stats::Interval;
use super::summary::{Measured, Summary};
use crate::pipeline::{Device, Expect};

/// Judges the memory that counts on the cell's device: the device's own on CUDA, the resident set elsewhere.
pub(super) fn budget(asked: Option<u64>, setup: &Setup, summary: &Summary) -> Budget {
    let Some(budget) = asked else {
        return Budget::NotAsked;
    };
    let metric = if setup.device == Device::Cuda { Metric::PeakDevice } else { Metric::PeakResident };
    match summary.metrics.get(&metric) {
        Some(Measured::Figure(figure)) => {
            let peak = figure.max as u64;
            if peak <= budget { Budget::Within { budget, peak } } else { Budget::Over { budget, peak } }
        }
        Some(Measured::NotMeasured { reason }) => Budget::NotJudged { budget, reason: reason.clone() },
        None => Budget::NotJudged { budget, reason: "no memory was measured".to_owned() },
    }
}

/// Judges one `expect` over the rows that its pattern matches.
pub(super) fn expect(expect: &Expect, rows: &[Row]) -> ExpectResult {
    let pattern = &expect.cell.value;
    let name = expect.metric.value.as_str();
    let matched: Vec<usize> =
        (0..rows.len()).filter(|&i| rows[i].cell.as_ref().is_some_and(|cell| pattern.matches(cell))).collect();
    let cells: Vec<ExpectCell> = matched
        .iter()
        .filter(|&&i| rows[i].state.has_figures())
        .map(|&i| judge_cell(expect, name, i, &rows[i]))
        .collect();
    let judged = cells.iter().map(|cell| cell.verdict).max();
    let reason = match (judged, matched.first()) {
        (Some(ExpectVerdict::NotJudged), _) => cells.iter().find_map(|cell| cell.reason.clone()),
        (Some(_), _) => None,
        (None, None) => Some(format!("no cell matches `{pattern}`")),
        (None, Some(&i)) => Some(match rows[i].state.hole() {
            Some(hole) => format!("`{}` is {}: {}", rows[i].label, rows[i].state.name(), hole.reason),
            None => format!("`{}` has no figures", rows[i].label),
        }),
    };
    ExpectResult {
        metric: name.to_owned(),
        pattern: pattern.to_string(),
        min: expect.min,
        max: expect.max,
        verdict: judged.unwrap_or(ExpectVerdict::NotJudged),
        cells,
        reason,
    }
}

fn judge_cell(expect: &Expect, name: &str, place: usize, row: &Row) -> ExpectCell {
    let not_judged = |reason: String| ExpectCell {
        row: place,
        verdict: ExpectVerdict::NotJudged,
        value: None,
        interval: None,
        reason: Some(reason),
    };
    if row.state == State::Wrong {
        return not_judged(format!("`{}` is wrong: its outputs are not the reference's", row.label));
    }
    if let Some(machine) = &row.elsewhere {
        return not_judged(format!("`{}` was measured on another machine: {machine}", row.label));
    }
    if row.is_invalid() {
        return not_judged(format!("`{}` has an invalid measurement", row.label));
    }
    let (value, interval) = match value_of(name, row) {
        Ok(found) => found,
        Err(reason) => return not_judged(reason),
    };
    let verdict = match interval {
        Some(interval) => judge(interval, expect.min, expect.max),
        None => ExpectVerdict::Undecided,
    };
    let reason = match (verdict, interval) {
        (_, None) => Some("too few samples for an interval".to_owned()),
        (ExpectVerdict::Undecided, _) => Some("the interval straddles the bound".to_owned()),
        _ => None,
    };
    ExpectCell { row: place, verdict, value: Some(value), interval, reason }
}

/// The value and the interval that an `expect` of this name looks at, in the unit that pipelines use.
fn value_of(name: &str, row: &Row) -> Result<(f64, Option<Interval>), String> {
    if name == "speed-up" {
        return match row.speed_up() {
            SpeedUp::Compared { ratio, .. } => Ok((ratio.ratio, Some(ratio.interval))),
            SpeedUp::Baseline => Ok((1.0, Some(Interval { low: 1.0, high: 1.0 }))),
            SpeedUp::NotAvailable { reason } => Err(reason.clone()),
            SpeedUp::NotAsked => Err("the comparison names no `baseline`".to_owned()),
        };
    }
    let Some(metric) = Metric::parse(name) else {
        return Err(format!("`{name}` is no metric of this measurement"));
    };
    match row.summary.as_ref().and_then(|summary| summary.metrics.get(&metric)) {
        Some(Measured::Figure(figure)) => {
            let scale = metric.from_written(1.0);
            let interval =
                if metric.is_peak() { Some(Interval { low: figure.max, high: figure.max }) } else { figure.interval };
            let value = if metric.is_peak() { figure.max } else { figure.median };
            let scaled = interval.map(|i| Interval { low: i.low / scale, high: i.high / scale });
            Ok((value / scale, scaled))
        }
        Some(Measured::NotMeasured { reason }) => Err(reason.clone()),
        None => Err(format!("`{name}` was not measured")),
    }
}

fn judge(interval: Interval, min: Option<f64>, max: Option<f64>) -> ExpectVerdict {
    let below = min.map_or(ExpectVerdict::Pass, |min| {
        if interval.high < min {
            ExpectVerdict::Fail
        } else if interval.low < min {
            ExpectVerdict::Undecided
        } else {
            ExpectVerdict::Pass
        }
    });
    let above = max.map_or(ExpectVerdict::Pass, |max| {
        if interval.low > max {
            ExpectVerdict::Fail
        } else if interval.high > max {
            ExpectVerdict::Undecided
        } else {
            ExpectVerdict::Pass
        }
    });
    below.max(above)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_interval_outside_fails() {
        let interval = Interval { low: 0.9, high: 1.1 };
        assert_eq!(judge(interval, Some(0.8), None), ExpectVerdict::Pass);
        assert_eq!(judge(interval, Some(1.0), None), ExpectVerdict::Undecided);
        assert_eq!(judge(interval, Some(1.2), None), ExpectVerdict::Fail);
        assert_eq!(judge(interval, None, Some(1.0)), ExpectVerdict::Undecided);
        assert_eq!(judge(interval, None, Some(0.8)), ExpectVerdict::Fail);
        assert_eq!(judge(interval, Some(0.5), Some(0.8)), ExpectVerdict::Fail);
        assert_eq!(judge(interval, None, None), ExpectVerdict::Pass);
    }
}
