//! Pictures of figures: speed-up, throughput, memory, cold start and parity, a row for each cell.

use super::super::super::svg::ticks;
use super::super::super::{parity, units, words};
use super::Drawn;
use super::plot::{Plot, Scale, class};
use crate::measure::Comparison;
use crate::measure::comparison::{Budget, Parity, Row, SpeedUp};
use crate::measure::metric::Metric;
use crate::measure::tolerance::Tolerance;
use crate::pipeline::Bound;

/// The ratio of each cell to the baseline.
pub(super) fn forest(comparison: &Comparison, rows: &[&Row], title: &str, about: &str) -> Drawn {
    let ratios: Vec<_> = rows
        .iter()
        .filter_map(|row| match row.speed_up() {
            SpeedUp::Compared { ratio, .. } => Some(ratio),
            _ => None,
        })
        .collect();
    let least = ratios.iter().map(|ratio| ratio.interval.low).fold(1.0, f64::min) * 0.96;
    let most = ratios.iter().map(|ratio| ratio.interval.high).fold(1.0, f64::max) * 1.04;
    if ratios.is_empty() || least <= 0.0 {
        return Err(match comparison.baseline.as_ref().map(|baseline| &baseline.row) {
            None => "the pipeline names no baseline".to_owned(),
            Some(Err(why)) => format!("the baseline is {why}"),
            Some(Ok(_)) => "no other cell could be held against the baseline".to_owned(),
        });
    }
    let mut plot = Plot::new(title, about, rows.len(), Scale::log(least, most));
    plot.axis(&ticks(least, most, 5), units::ratio);
    plot.bound(1.0);
    for (place, row) in rows.iter().enumerate() {
        if let SpeedUp::Compared { ratio, .. } = row.speed_up() {
            plot.whisker(place, ratio.interval);
            let (x, y) = (plot.x(ratio.ratio), plot.y(place));
            plot.dot(&format!("point {}", class(row)), x, y, 5.0);
        }
        plot.label(place, row, &words::speed_up(row).0);
    }
    Ok(plot.end())
}

/// The median of a rate.
pub(super) fn bars(rows: &[&Row], metric: Metric, title: &str, about: &str) -> Drawn {
    let figure = |row: &Row| row.summary.as_ref().and_then(|summary| summary.figure(metric)).cloned();
    let end = |row: &&Row| figure(row).map(|figure| figure.interval.map_or(figure.median, |interval| interval.high));
    let most = rows.iter().filter_map(end).fold(0.0, f64::max);
    if most <= 0.0 {
        let reason = rows.iter().find_map(|row| words::why_missing(row, metric));
        return Err(reason.unwrap_or("it was not measured").to_owned());
    }
    let mut plot = Plot::new(title, about, rows.len(), Scale::linear(0.0, most * 1.02));
    plot.axis(&plot.scale.marks(), units::three);
    for (place, row) in rows.iter().enumerate() {
        let Some(figure) = figure(row) else {
            plot.label(place, row, "n/a");
            continue;
        };
        plot.bar(place, class(row), 0.0, figure.median);
        if let Some(interval) = figure.interval {
            plot.whisker(place, interval);
        }
        let spread = words::spread(row, metric).unwrap_or_default();
        plot.label(place, row, &format!("{} {spread}", units::three(figure.median)));
    }
    Ok(plot.end())
}

/// The peaks of each cell: of its process, and of its device where that has memory of its own; and the budget.
pub(super) fn memory(rows: &[&Row], title: &str, about: &str) -> Drawn {
    let peak = |row: &Row, metric| row.summary.as_ref().and_then(|summary| summary.headline(metric));
    let budget = |row: &Row| match row.budget {
        Budget::Within { budget, .. } | Budget::Over { budget, .. } | Budget::NotJudged { budget, .. } => {
            Some(budget as f64)
        }
        Budget::NotAsked => None,
    };
    let both = [Metric::PeakResident, Metric::PeakDevice];
    let peaks = rows.iter().flat_map(|row| both.map(|metric| peak(row, metric))).flatten();
    let most = peaks.fold(0.0, f64::max);
    if most <= 0.0 {
        return Err("no engine could read its memory".to_owned());
    }
    let most = rows.iter().filter_map(|row| budget(row)).fold(most, f64::max) * 1.04;
    let mut plot = Plot::new(title, about, rows.len(), Scale::linear(0.0, most));
    let gib = 1_073_741_824.0;
    let unit = if most > 2.0 * gib { gib } else { gib / 1024.0 };
    let marks: Vec<f64> = ticks(0.0, most / unit, 5).into_iter().map(|tick| tick * unit).collect();
    plot.axis(&marks, |bytes| units::size(bytes as u64));
    let mut devices = false;
    for (place, row) in rows.iter().enumerate() {
        let over = matches!(row.budget, Budget::Over { .. });
        let colour = if over { "over" } else { class(row) };
        let (resident, device) = (peak(row, Metric::PeakResident), peak(row, Metric::PeakDevice));
        match (resident, device) {
            (resident, Some(device)) => {
                devices = true;
                plot.half_bar(place, colour, 0.0, device, -9.0, 9.0);
                resident.into_iter().for_each(|bytes| plot.half_bar(place, "part1", 0.0, bytes, 1.0, 8.0));
            }
            (Some(resident), None) => plot.bar(place, colour, 0.0, resident),
            (None, None) => {}
        }
        if let Some(budget) = budget(row) {
            plot.tick(place, "bound", budget, 15.0);
        }
        let figure = words::headline(row, words::memory_metric(row));
        plot.label(place, row, &format!("{figure}{}", if over { " over" } else { "" }));
    }
    let mut svg = plot.end();
    if devices {
        svg.push_str("<p class=\"small\">Where a device has memory of its own: its allocator's peak above, and the process's <i class=\"key part1\"></i> below it.</p>");
    }
    Ok(svg)
}

/// Process start, load and first inference, one after the other.
pub(super) fn cold(rows: &[&Row], title: &str, about: &str) -> Drawn {
    let parts = [Metric::ProcessStart, Metric::Load, Metric::FirstInference];
    let value = |row: &Row, metric| row.summary.as_ref().and_then(|summary| summary.headline(metric));
    let total = |row: &Row| parts.iter().filter_map(|metric| value(row, *metric)).sum::<f64>();
    let most = rows.iter().map(|row| total(row)).fold(0.0, f64::max);
    if most <= 0.0 {
        return Err("no start was recorded".to_owned());
    }
    let mut plot = Plot::new(title, about, rows.len(), Scale::linear(0.0, most * 1.02));
    plot.axis(&ticks(0.0, most, 4), |ns| if ns == 0.0 { "0 s".to_owned() } else { units::time(ns) });
    for (place, row) in rows.iter().enumerate() {
        let mut from = 0.0;
        for (metric, class) in parts.into_iter().zip(["part1", "part2", "part3"]) {
            let to = from + value(row, metric).unwrap_or(0.0);
            plot.bar(place, class, from, to);
            from = to;
        }
        // A sum of what was recorded is no cold start where a part is missing.
        plot.label(place, row, &words::headline(row, Metric::ColdStart));
    }
    let mut svg = plot.end();
    svg.push_str("<p class=\"small\"><i class=\"key part1\"></i> process <i class=\"key part2\"></i> model load <i class=\"key part3\"></i> first inference</p>");
    Ok(svg)
}

/// The one limit of the absolute error: of all outputs, or the calibrated one of the only output.
fn limit(tolerance: &Tolerance) -> Option<f64> {
    let noise = tolerance.calibrated.as_ref().and_then(|calibrated| calibrated.noise.as_ref().ok());
    match noise.map(Vec::as_slice) {
        Some([(name, _)]) => tolerance.calibrated_limit(name),
        _ => tolerance.limit_of_all(Bound::MaxAbs),
    }
}

/// The largest error of each cell on a logarithmic scale, with the tolerance.
pub(super) fn parity(comparison: &Comparison, rows: &[&Row], title: &str, about: &str) -> Drawn {
    let error = |row: &Row| match &row.parity {
        Parity::Right(figures) | Parity::Wrong { figures: Some(figures), .. } => Some(figures.max_abs()),
        _ => None,
    };
    match comparison.reference.as_ref().map(|reference| &reference.row) {
        None => return Err("the pipeline asks for no parity".to_owned()),
        Some(Err(why)) => return Err(format!("the reference is {why}")),
        Some(Ok(_)) if !rows.iter().any(|row| error(row).is_some()) => {
            return Err("no cell was held against the reference".to_owned());
        }
        Some(Ok(_)) => {}
    }
    let bound = comparison.tolerance.as_ref().and_then(limit).filter(|bound| *bound > 0.0);
    let errors: Vec<f64> = rows.iter().filter_map(|row| error(row)).filter(|e| *e > 0.0 && e.is_finite()).collect();
    let all = || errors.iter().copied().chain(bound);
    let least = 10f64.powf(all().fold(f64::INFINITY, f64::min).log10().floor() - 1.0);
    let most = 10f64.powf(all().fold(0.0, f64::max).log10().ceil());
    if !least.is_finite() || most <= least {
        return Err("all outputs equal the reference's, and no absolute bound is asked for".to_owned());
    }
    let mut plot = Plot::new(title, about, rows.len(), Scale::log(least, most));
    let powers = (least.log10().round() as i32)..=(most.log10().round() as i32);
    let marks: Vec<f64> = powers.map(|power| 10f64.powi(power)).collect();
    let step = marks.len().div_ceil(7).max(1);
    let marks: Vec<f64> = marks.into_iter().step_by(step).collect();
    plot.axis(&marks, |value| format!("{value:.0e}"));
    bound.into_iter().for_each(|bound| plot.bound(bound));
    for (place, row) in rows.iter().enumerate() {
        if let Some(error) = error(row) {
            let (x, y) = (plot.x(error), plot.y(place));
            plot.dot(&format!("point {}", class(row)), x, y, 5.0);
        }
        let text = match &row.parity {
            Parity::Right(figures) if figures.max_abs() == 0.0 => "equal".to_owned(),
            other => parity::short(other),
        };
        plot.label(place, row, &text);
    }
    Ok(plot.end())
}
