//! Parity in words and table cells, for all formats: what was asked, what was found, and where it is worst.

use super::columns::is_inference;
use super::units;
use crate::measure::Comparison;
use crate::measure::comparison::{Parity, Row};
use crate::measure::parity::{OutputFigures, ParityFigures, TopK, Worst};
use crate::measure::tolerance::{Calibrated, Spot, Tolerance};
use crate::pipeline::Bound;
use crate::pipeline::parity::{cosine, ulp};

/// What parity is, for who reads of it for the first time.
pub const ABOUT: &str = "Every cell ran the same model on the same input, so its outputs should be the reference cell's. \
    They never are to the last digit; parity says how far they are apart, and a cell beyond the tolerance is wrong, \
    however fast.";

/// What was asked: `Parity: logits of every position against …`.
pub fn rule(comparison: &Comparison) -> Option<String> {
    let tolerance = comparison.tolerance.as_ref()?;
    let mut bounds: Vec<String> = tolerance.limits.iter().map(|limit| bound(*limit, tolerance)).collect();
    let what = if is_inference(comparison) { "every value of every output" } else { "logits of every position" };
    bounds.extend(tolerance.calibrated.as_ref().map(|calibrated| noise(calibrated, comparison)));
    let distance = |(bound, _): &(Bound, f64)| matches!(bound, Bound::MaxAbs | Bound::MaxRel);
    let is_near = tolerance.calibrated.is_some() || tolerance.limits.iter().any(distance);
    if !is_inference(comparison) && is_near {
        bounds.push("the same best token wherever the reference is clear".to_owned());
    }
    for rule in &tolerance.outputs {
        let own: Vec<String> = rule.limits.iter().map(|limit| bound(*limit, tolerance)).collect();
        bounds.push(match rule.ignore {
            true => format!("`{}` is not compared", rule.name),
            false => format!("`{}` with {}", rule.name, own.join(" and ")),
        });
    }
    let whom = match comparison.reference.as_ref().map(|anchor| &anchor.row) {
        Some(Ok(place)) => format!("`{}`", comparison.rows[*place].label),
        Some(Err(why)) => format!("a reference that is {why}"),
        None => return None,
    };
    Some(format!("Parity: {what} against {whom}: {}.", bounds.join(", ")))
}

/// `max abs error ≤ 4 × the reference's own noise (fp32 against fp64: 2.8e-5 in `logits`, so ≤ 1.1e-4)`.
fn noise(calibrated: &Calibrated, comparison: &Comparison) -> String {
    let reference = comparison.reference.as_ref().and_then(|anchor| anchor.row.as_ref().ok());
    let setup = reference.and_then(|place| comparison.rows[*place].setup.as_ref());
    let dtype = setup.map_or("its data type", |setup| setup.dtype.name());
    let limit = |(name, noise): &(String, f64)| {
        format!("{} in `{name}`, so ≤ {}", units::error(*noise), units::error(calibrated.k * noise))
    };
    let what = match &calibrated.noise {
        Ok(noise) => format!("{dtype} against fp64: {}", noise.iter().map(limit).collect::<Vec<_>>().join("; ")),
        Err(why) => format!("not known: {why}"),
    };
    format!("max abs error ≤ {} × the reference's own noise ({what})", calibrated.k)
}

fn bound((bound, limit): (Bound, f64), tolerance: &Tolerance) -> String {
    match bound {
        Bound::MaxAbs => format!("max abs error ≤ {}", units::bound(limit)),
        Bound::MaxRel => format!("max relative error ≤ {}", units::bound(limit)),
        Bound::MaxUlp => format!("max distance ≤ {limit} ULP"),
        Bound::MinCosine => format!("cosine ≥ {limit}"),
        Bound::MinTopK => format!("top-{} agreement ≥ {}", tolerance.top_k, units::percent(limit)),
        Bound::MinGreedyPrefix => format!("the same best token at the first {limit} positions"),
    }
}

/// `reference`, `ok 8.1e-5`, `wrong 0.42`, `n/a`.
pub fn short(parity: &Parity) -> String {
    match parity {
        Parity::NotAsked => "–".to_owned(),
        Parity::Reference => "reference".to_owned(),
        Parity::Right(figures) => format!("ok {}", units::error(figures.max_abs())),
        Parity::Wrong { figures: Some(figures), .. } => format!("wrong {}", units::error(figures.max_abs())),
        Parity::Wrong { figures: None, .. } => "wrong".to_owned(),
        Parity::NotJudged { .. } => "n/a".to_owned(),
    }
}

/// `right`, `wrong`, `reference`, `n/a`.
pub fn verdict(parity: &Parity) -> &'static str {
    match parity {
        Parity::Right(_) => "right",
        Parity::Wrong { .. } => "wrong",
        Parity::Reference => "reference",
        Parity::NotJudged { .. } => "n/a",
        Parity::NotAsked => "–",
    }
}

/// The figures, where there are any.
pub fn figures(parity: &Parity) -> Option<&ParityFigures> {
    match parity {
        Parity::Right(figures) | Parity::Wrong { figures: Some(figures), .. } => Some(figures),
        _ => None,
    }
}

/// The heads of the columns of figures.
pub fn columns(comparison: &Comparison) -> Vec<String> {
    let top_k = comparison.tolerance.as_ref().map_or(0, |tolerance| tolerance.top_k);
    let mut names: Vec<String> =
        ["max abs", "max relative", "mean abs", "max ULP", "least cosine"].map(str::to_owned).to_vec();
    names.push(format!("top-{top_k}"));
    if !is_inference(comparison) {
        names.extend(["same best token", "where clear", "same from the first"].map(str::to_owned));
    }
    names
}

/// The figures of a cell, one for each column.
pub fn cells(figures: &ParityFigures) -> Vec<String> {
    let mut cells = vec![
        units::error(figures.max_abs()),
        units::error(figures.max_rel()),
        units::error(figures.mean_abs()),
        ulp(figures.max_ulp()),
        near_one(figures.cosine()),
        share(figures.top_k()),
    ];
    if let Some(t) = figures.tokens {
        let of = |agree: u64, of: u64| format!("{} of {}", units::count(agree), units::count(of));
        cells.push(of(t.top1.agree, t.top1.of));
        cells.push(of(t.top1_clear.agree, t.top1_clear.of));
        cells.push(of(t.greedy_prefix, t.positions));
    }
    cells
}

/// The figures of one output, for the same columns.
pub fn output_cells(output: &OutputFigures) -> Vec<String> {
    vec![
        units::error(output.max_abs.value),
        units::error(output.max_rel.value),
        units::error(output.mean_abs),
        ulp(output.max_ulp.value),
        near_one(output.cosine.value),
        share(output.top_k.as_ref()),
    ]
}

/// `1`, `0.98`, and what is close to 1 by its distance: `1 − 8.2e-13`.
fn near_one(value: f64) -> String {
    match 1.0 - value {
        distance if distance > 0.0 && distance < 1e-4 => format!("1 − {}", units::error(distance)),
        _ => cosine(value),
    }
}

fn share(top_k: Option<&TopK>) -> String {
    top_k.map_or_else(|| "n/a".to_owned(), |top| units::percent(top.share))
}

/// Where the largest absolute error is, or why there are no figures.
pub fn remark(row: &Row) -> String {
    match &row.parity {
        Parity::Wrong { wrong, .. } => wrong.to_string(),
        Parity::NotJudged { reason } => reason.clone(),
        Parity::Right(figures) => largest(figures).map(|spot| format!("largest error in {spot}")).unwrap_or_default(),
        Parity::Reference | Parity::NotAsked => String::new(),
    }
}

fn largest(figures: &ParityFigures) -> Option<Spot> {
    let most = figures.outputs.iter().max_by(|a, b| a.max_abs.value.total_cmp(&b.max_abs.value))?;
    let Worst { value, at } = &most.max_abs;
    (*value > 0.0).then(|| Spot { output: most.name.clone(), at: at.clone(), tokens: figures.tokens.is_some() })
}
