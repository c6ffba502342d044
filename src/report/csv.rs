//! The report as CSV (RFC 4180): one line for each cell and metric, values unrounded in base units.
//!
//! A cell without figures has one line, with its state and reason, so that the lines cover the whole matrix.

use std::fmt::Write;

use crate::measure::Comparison;
use crate::measure::comparison::{Parity, Row, SpeedUp, State};
use crate::measure::metric::Metric;
use crate::measure::summary::{Figure, Measured, PercentileValue};

const COLUMNS: [&str; 28] = [
    "label",
    "state",
    "metric",
    "unit",
    "n",
    "median",
    "median_low_95",
    "median_high_95",
    "mad",
    "min",
    "max",
    "p90",
    "p90_bound_95",
    "p95",
    "p95_bound_95",
    "p99",
    "p99_bound_95",
    "p99.9",
    "p99.9_bound_95",
    "speed_up_ratio",
    "speed_up_low_99",
    "speed_up_high_99",
    "speed_up_verdict",
    "parity_max_abs",
    "winner",
    "cautions",
    "reason",
    "measured_on",
];

/// Renders the whole comparison.
pub fn render(comparison: &Comparison) -> String {
    let mut out = String::new();
    let axes = comparison.axes.iter().map(|(axis, _)| axis.as_str());
    line(&mut out, axes.chain(COLUMNS).map(str::to_owned));
    for row in &comparison.rows {
        match (&row.state, &row.summary) {
            (State::Published { source, metrics }, _) => {
                for (name, value) in metrics {
                    published(&mut out, comparison, row, source, name, *value);
                }
            }
            (_, Some(summary)) => {
                for (metric, measured) in &summary.metrics {
                    measured_line(&mut out, comparison, row, *metric, measured);
                }
            }
            (state, None) => {
                let reason = state.hole().map(|hole| hole.reason.clone()).unwrap_or_default();
                whole(&mut out, comparison, row, &[(26, reason)]);
            }
        }
    }
    out
}

fn measured_line(out: &mut String, comparison: &Comparison, row: &Row, metric: Metric, measured: &Measured) {
    let mut fields = vec![(2, metric.name().to_owned()), (3, metric.unit().name().to_owned())];
    match measured {
        Measured::Figure(figure) => figure_fields(&mut fields, figure),
        Measured::NotMeasured { reason } => fields.push((26, reason.clone())),
    }
    match row.speed_ups.get(&metric) {
        Some(SpeedUp::Compared { ratio, verdict, .. }) => fields.extend([
            (19, ratio.ratio.to_string()),
            (20, ratio.interval.low.to_string()),
            (21, ratio.interval.high.to_string()),
            (22, verdict.name().to_owned()),
        ]),
        Some(SpeedUp::Baseline) => fields.push((22, "baseline".to_owned())),
        Some(SpeedUp::NotAvailable { reason }) => fields.push((22, format!("n/a ({reason})"))),
        Some(SpeedUp::NotAsked) | None => {}
    }
    whole(out, comparison, row, &fields);
}

fn figure_fields(fields: &mut Vec<(usize, String)>, figure: &Figure) {
    fields.extend([
        (4, figure.n.to_string()),
        (5, figure.median.to_string()),
        (8, figure.mad.to_string()),
        (9, figure.min.to_string()),
        (10, figure.max.to_string()),
    ]);
    if let Some(interval) = figure.interval {
        fields.extend([(6, interval.low.to_string()), (7, interval.high.to_string())]);
    }
    for percentile in &figure.percentiles {
        let at = match percentile.level {
            900 => 11,
            950 => 13,
            990 => 15,
            _ => 17,
        };
        match percentile.value {
            PercentileValue::Known { estimate, bound } => {
                fields.extend([(at, estimate.to_string()), (at + 1, bound.to_string())]);
            }
            PercentileValue::TooFew { n, need } => fields.push((at, format!("n/a (n={n}, need {need})"))),
        }
    }
}

fn published(out: &mut String, comparison: &Comparison, row: &Row, source: &str, name: &str, value: f64) {
    let metric = Metric::parse(name);
    let unit = metric.map_or("", |metric| metric.unit().name());
    let value = metric.map_or(value, |metric| metric.from_written(value));
    let fields = [(2, name.to_owned()), (3, unit.to_owned()), (5, value.to_string()), (26, source.to_owned())];
    whole(out, comparison, row, &fields);
}

/// Writes a line with the row's own columns and `fields`, by their places in [`COLUMNS`].
fn whole(out: &mut String, comparison: &Comparison, row: &Row, fields: &[(usize, String)]) {
    let mut cells = vec![String::new(); COLUMNS.len()];
    cells[0] = row.label.clone();
    cells[1] = row.state.name().to_owned();
    cells[23] = match &row.parity {
        Parity::Right(figures) | Parity::Wrong { figures: Some(figures), .. } => figures.max_abs().to_string(),
        _ => String::new(),
    };
    cells[27] = row.elsewhere.clone().unwrap_or_default();
    cells[24] = if row.winner { "yes" } else { "" }.to_owned();
    let cautions: Vec<&str> = row.cautions.iter().map(|caution| caution.code.name()).collect();
    cells[25] = cautions.join(" ");
    for (place, text) in fields {
        cells[*place] = text.clone();
    }
    let value = |axis: &str| row.cell.as_ref().and_then(|cell| cell.get(axis)).unwrap_or_default().to_owned();
    let axes = comparison.axes.iter().map(|(axis, _)| value(axis));
    line(out, axes.chain(cells));
}

fn line(out: &mut String, cells: impl Iterator<Item = String>) {
    for (i, cell) in cells.enumerate() {
        let comma = if i > 0 { "," } else { "" };
        // Writing to a string can't fail.
        let _ = write!(out, "{comma}{}", quoted(&cell));
    }
    out.push_str("\r\n");
}

/// Quotes where the format needs it, and disarms what a spreadsheet would run as a formula.
fn quoted(cell: &str) -> String {
    let risky = cell.starts_with(['=', '+', '@', '\t']) || (cell.starts_with('-') && cell.parse::<f64>().is_err());
    let cell = if risky { format!("'{cell}") } else { cell.to_owned() };
    if cell.contains([',', '"', '\n', '\r']) { format!("\"{}\"", cell.replace('"', "\"\"")) } else { cell }
}
