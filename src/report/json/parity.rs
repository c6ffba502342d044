//! Parity in the JSON report. Shares are between 0 and 1; what is infinite is `null`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::measure::comparison::{Parity, Wrong};
use crate::measure::parity::{OutputFigures, ParityFigures, Worst};
use crate::measure::tolerance::{Breach, Tolerance};
use crate::pipeline::Bound;

/// What was asked. A limit that nobody set is `null`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ToleranceJson {
    pub max_abs: Option<f64>,
    pub max_rel: Option<f64>,
    #[serde(default)]
    pub max_ulp: Option<f64>,
    #[serde(default)]
    pub min_cosine: Option<f64>,
    #[serde(default)]
    pub min_top_k: Option<f64>,
    #[serde(default)]
    pub min_greedy_prefix: Option<f64>,
    /// The k of the top-k agreement.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_k: Option<u32>,
    /// What holds for single outputs in place of that.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub outputs: BTreeMap<String, ToleranceJson>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibrated: Option<CalibratedJson>,
    /// The output is not compared.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ignore: bool,
}

/// A limit of the absolute error of each output: `k` × the reference's own noise in it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CalibratedJson {
    pub k: f64,
    /// Output to noise: the largest absolute error of the reference against exact outputs.
    pub noise: BTreeMap<String, f64>,
    /// Output to limit.
    pub limit: BTreeMap<String, f64>,
    /// Why the noise is not known.
    pub reason: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ParityJson {
    /// `reference`, `right`, `wrong` or `n/a`.
    pub verdict: String,
    pub why: Option<String>,
    /// What kind of thing is odd about outputs that can't be compared: `shape`, `not-finite`, `missing-output`, ….
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub odd: Option<String>,
    /// What is beyond its limit.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub beyond: Vec<BreachJson>,
    pub positions: Option<u64>,
    pub vocabulary: Option<u64>,
    pub max_abs: Option<f64>,
    pub max_rel: Option<f64>,
    pub mean_abs: Option<f64>,
    #[serde(default)]
    pub max_ulp: Option<f64>,
    /// The least of all outputs, and of all their positions or items.
    #[serde(default)]
    pub cosine: Option<f64>,
    /// The least share of all outputs.
    #[serde(default)]
    pub top_k: Option<f64>,
    /// Positions with the same best token, and all positions.
    pub top1: Option<[u64; 2]>,
    /// The same where the reference leads by more than 10 × the tolerance.
    pub top1_clear: Option<[u64; 2]>,
    pub greedy_prefix: Option<u64>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub outputs: BTreeMap<String, OutputJson>,
}

/// A figure that is beyond its limit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BreachJson {
    /// The name of the setting; `calibrated`; or `best-token`: clear positions with the same best token, and all of
    /// them.
    pub metric: String,
    pub value: Option<f64>,
    pub limit: f64,
    pub output: String,
    /// Where it is worst: the place in the tensor, which of logits is the position and the token.
    pub at: Vec<u64>,
}

/// The figures of one output, each with the place where it is worst.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OutputJson {
    pub shape: Vec<u64>,
    pub max_abs: WorstJson,
    pub max_rel: WorstJson,
    pub mean_abs: Option<f64>,
    pub max_ulp: WorstJson,
    /// The data type whose numbers are counted as ULP.
    pub ulp_of: String,
    pub cosine: WorstJson,
    pub top_k: Option<WorstJson>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WorstJson {
    pub value: Option<f64>,
    pub at: Vec<u64>,
}

/// What was asked, as data.
pub fn tolerance(tolerance: &Tolerance) -> ToleranceJson {
    let outputs = tolerance
        .outputs
        .iter()
        .map(|rule| (rule.name.clone(), ToleranceJson { ignore: rule.ignore, ..limits(&rule.limits) }));
    let calibrated = tolerance.calibrated.as_ref().map(|calibrated| {
        let noise = calibrated.noise.iter().flatten();
        let limit = noise.clone().filter_map(|(name, _)| Some((name.clone(), tolerance.calibrated_limit(name)?)));
        let reason = calibrated.noise.as_ref().err().cloned();
        CalibratedJson { k: calibrated.k, noise: noise.clone().cloned().collect(), limit: limit.collect(), reason }
    });
    let top_k = Some(tolerance.top_k);
    ToleranceJson { top_k, outputs: outputs.collect(), calibrated, ..limits(&tolerance.limits) }
}

fn limits(limits: &[(Bound, f64)]) -> ToleranceJson {
    let of = |bound: Bound| limits.iter().find(|(known, _)| *known == bound).map(|(_, limit)| *limit);
    ToleranceJson {
        max_abs: of(Bound::MaxAbs),
        max_rel: of(Bound::MaxRel),
        max_ulp: of(Bound::MaxUlp),
        min_cosine: of(Bound::MinCosine),
        min_top_k: of(Bound::MinTopK),
        min_greedy_prefix: of(Bound::MinGreedyPrefix),
        ..ToleranceJson::default()
    }
}

/// What was found, as data.
pub fn parity(parity: &Parity) -> Option<ParityJson> {
    Some(match parity {
        Parity::NotAsked => return None,
        Parity::Reference => json("reference", None, None),
        Parity::Right(figures) => json("right", None, Some(figures)),
        Parity::NotJudged { reason } => json("n/a", Some(reason.clone()), None),
        Parity::Wrong { wrong, figures } => {
            let (odd, beyond) = match wrong {
                Wrong::Odd(fault) => (Some(fault.kind.name().to_owned()), Vec::new()),
                Wrong::Beyond(breaches) => (None, breaches.iter().map(breach).collect()),
            };
            ParityJson { odd, beyond, ..json("wrong", Some(wrong.to_string()), figures.as_ref()) }
        }
    })
}

fn json(verdict: &str, why: Option<String>, figures: Option<&ParityFigures>) -> ParityJson {
    let tokens = figures.and_then(|figures| figures.tokens);
    ParityJson {
        verdict: verdict.to_owned(),
        why,
        odd: None,
        beyond: Vec::new(),
        positions: tokens.map(|t| t.positions),
        vocabulary: tokens.map(|t| t.vocabulary),
        max_abs: figures.map(ParityFigures::max_abs),
        max_rel: figures.map(ParityFigures::max_rel).filter(|error| error.is_finite()),
        mean_abs: figures.map(ParityFigures::mean_abs),
        max_ulp: figures.map(ParityFigures::max_ulp),
        cosine: figures.map(ParityFigures::cosine),
        top_k: figures.and_then(ParityFigures::top_k).map(|top| top.share),
        top1: tokens.map(|t| [t.top1.agree, t.top1.of]),
        top1_clear: tokens.map(|t| [t.top1_clear.agree, t.top1_clear.of]),
        greedy_prefix: tokens.map(|t| t.greedy_prefix),
        outputs: figures.iter().flat_map(|f| &f.outputs).map(|o| (o.name.clone(), output(o))).collect(),
    }
}

fn breach(breach: &Breach) -> BreachJson {
    BreachJson {
        metric: breach.judged.name().to_owned(),
        value: Some(breach.value).filter(|value| value.is_finite()),
        limit: breach.limit,
        output: breach.spot.output.clone(),
        at: breach.spot.at.clone(),
    }
}

fn output(output: &OutputFigures) -> OutputJson {
    let json = |value: f64, at: &[u64]| WorstJson { value: Some(value).filter(|v| v.is_finite()), at: at.to_vec() };
    let worst = |worst: &Worst| json(worst.value, &worst.at);
    OutputJson {
        shape: output.shape.clone(),
        max_abs: worst(&output.max_abs),
        max_rel: worst(&output.max_rel),
        mean_abs: Some(output.mean_abs).filter(|mean| mean.is_finite()),
        max_ulp: worst(&output.max_ulp),
        ulp_of: output.grain.name().to_owned(),
        cosine: worst(&output.cosine),
        top_k: output.top_k.as_ref().map(|top| json(top.share, &top.at)),
    }
}
