//! Which limits hold for which output, and what of a comparison's figures is beyond them.
//!
//! Every limit that is set must hold, for every output. A limit of a single output stands in for the same limit of all.

use std::fmt;

use pipe_engine::tensor::file_of;

use super::parity::{Fault, FaultKind, LOGITS, OutputFigures, ParityFigures, Worst};
use crate::pipeline::parity::TOP_K;
use crate::pipeline::{self, Bound};

/// How far outputs may be apart.
#[derive(Debug, Clone, PartialEq)]
pub struct Tolerance {
    pub limits: Vec<(Bound, f64)>,
    /// How many of a row's best values are looked at.
    pub top_k: u32,
    pub outputs: Vec<OutputTolerance>,
    pub calibrated: Option<Calibrated>,
}

/// The absolute error of an output may be `k` × the reference's own noise in it.
#[derive(Debug, Clone, PartialEq)]
pub struct Calibrated {
    pub k: f64,
    pub noise: Noise,
}

/// Of each output, how far the reference's own is from an exact one; or why that is not known.
pub type Noise = Result<Vec<(String, f64)>, String>;

/// What is said of a single output.
#[derive(Debug, Clone, PartialEq)]
pub struct OutputTolerance {
    /// As the model calls it.
    pub name: String,
    /// It is not compared at all.
    pub ignore: bool,
    pub limits: Vec<(Bound, f64)>,
}

/// What was judged.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Judged {
    Bound(Bound),
    /// The absolute error, against `k` × the reference's noise.
    Calibrated {
        k: f64,
    },
    /// The best token, at positions where the reference is clear.
    BestToken,
}

impl Judged {
    /// The name in records and reports.
    pub fn name(self) -> &'static str {
        match self {
            Judged::Bound(bound) => bound.name(),
            Judged::Calibrated { .. } => "calibrated",
            Judged::BestToken => "best-token",
        }
    }

    /// The `k` of a calibrated limit.
    pub fn k(self) -> Option<f64> {
        match self {
            Judged::Calibrated { k } => Some(k),
            Judged::Bound(_) | Judged::BestToken => None,
        }
    }

    /// What has this name.
    pub fn parse(name: &str, k: Option<f64>) -> Option<Judged> {
        match name {
            "calibrated" => Some(Judged::Calibrated { k: k? }),
            "best-token" => Some(Judged::BestToken),
            bound => Some(Judged::Bound(Bound::parse(bound)?)),
        }
    }
}

/// Where in the outputs something is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spot {
    pub output: String,
    /// The place in the tensor, from the first dimension on; shorter for a whole row.
    pub at: Vec<u64>,
    /// The dimensions are positions and tokens of a language model.
    pub tokens: bool,
}

/// A figure that is beyond its limit, where it is worst.
#[derive(Debug, Clone, PartialEq)]
pub struct Breach {
    pub judged: Judged,
    pub value: f64,
    pub limit: f64,
    pub spot: Spot,
}

impl Default for Tolerance {
    fn default() -> Tolerance {
        Tolerance { limits: Vec::new(), top_k: TOP_K, outputs: Vec::new(), calibrated: None }
    }
}

impl From<&pipeline::Parity> for Tolerance {
    fn from(asked: &pipeline::Parity) -> Tolerance {
        let limits = |limits: &[pipeline::Limit]| limits.iter().map(|l| (l.bound, l.limit.value)).collect();
        let rule = |rule: &pipeline::OutputRule| OutputTolerance {
            name: rule.name.value.clone(),
            ignore: rule.ignore.value,
            limits: limits(&rule.limits),
        };
        Tolerance {
            limits: limits(&asked.limits),
            top_k: asked.top_k.as_ref().map_or(TOP_K, |k| k.value),
            outputs: asked.outputs.iter().map(rule).collect(),
            calibrated: asked.calibrated.as_ref().map(|asked| {
                let noise = Err("nobody looked for it".to_owned());
                Calibrated { k: asked.k.value, noise }
            }),
        }
    }
}

impl Tolerance {
    /// One limit for all outputs.
    pub fn of(bound: Bound, limit: f64) -> Tolerance {
        Tolerance { limits: vec![(bound, limit)], ..Tolerance::default() }
    }

    /// The same once the reference's noise is known, or why it is not.
    #[must_use]
    pub fn with_noise(mut self, noise: Noise) -> Tolerance {
        self.calibrated.iter_mut().for_each(|calibrated| calibrated.noise = noise.clone());
        self
    }

    /// Why there is no calibrated limit, where one is asked for.
    pub fn uncalibrated(&self) -> Option<&str> {
        self.calibrated.as_ref()?.noise.as_ref().err().map(String::as_str)
    }

    /// The calibrated limit of an output that has no limit of the absolute error of its own.
    pub fn calibrated_limit(&self, output: &str) -> Option<f64> {
        let Calibrated { k, noise } = self.calibrated.as_ref()?;
        let own = self.rules(output).flat_map(|rule| &rule.limits).any(|(bound, _)| *bound == Bound::MaxAbs);
        let (_, noise) = noise.as_ref().ok()?.iter().find(|(name, _)| name == output)?;
        (!own).then_some(k * noise)
    }

    fn rules(&self, output: &str) -> impl Iterator<Item = &OutputTolerance> {
        self.outputs.iter().filter(move |rule| file_of(&rule.name) == file_of(output))
    }

    /// True for an output that is not to be compared.
    pub fn ignores(&self, output: &str) -> bool {
        self.rules(output).any(|rule| rule.ignore)
    }

    /// The limit that holds for an output.
    pub fn limit(&self, bound: Bound, output: &str) -> Option<f64> {
        let own = self.rules(output).flat_map(|rule| &rule.limits).find(|(known, _)| *known == bound);
        own.map(|(_, limit)| *limit).or_else(|| self.limit_of_all(bound))
    }

    /// The limit that holds for every output without one of its own.
    pub fn limit_of_all(&self, bound: Bound) -> Option<f64> {
        self.limits.iter().find(|(known, _)| *known == bound).map(|(_, limit)| *limit)
    }

    /// How far a value of a row may be off, where that is said: what is closer than a few of these may change places.
    pub fn absolute(&self, output: &str, scale: f64) -> Option<f64> {
        let fixed = || self.limit(Bound::MaxAbs, output);
        let relative = || self.limit(Bound::MaxRel, output).map(|rel| rel * scale);
        self.calibrated_limit(output).or_else(fixed).or_else(relative)
    }

    /// Everything that is beyond its limit, of each bound the worst output; or why it can't be judged.
    pub fn judge(&self, figures: &ParityFigures) -> Result<Vec<Breach>, Fault> {
        let known = |rule: &&OutputTolerance| !figures.outputs.iter().any(|o| file_of(&o.name) == file_of(&rule.name));
        if let Some(rule) = self.outputs.iter().filter(|rule| !rule.ignore).find(known) {
            let names: Vec<String> = figures.outputs.iter().map(|output| format!("`{}`", output.name)).collect();
            let text = format!("`parity` has a limit for the output `{}`; there is {}", rule.name, names.join(", "));
            return Err(Fault { kind: FaultKind::NoSuchOutput, text });
        }
        let mut breaches = Vec::new();
        for bound in Bound::ALL {
            breaches.extend(self.judge_bound(bound, figures)?);
        }
        breaches.extend(self.judge_noise(figures));
        breaches.extend(self.judge_clear(figures));
        Ok(breaches)
    }

    fn judge_bound(&self, bound: Bound, figures: &ParityFigures) -> Result<Option<Breach>, Fault> {
        let tokens = figures.tokens.is_some();
        let mut worst: Option<Breach> = None;
        let (mut asked, mut judged) = (false, false);
        for output in &figures.outputs {
            let Some(limit) = self.limit(bound, &output.name) else { continue };
            asked = true;
            let Some((value, at)) = figure(bound, output, figures) else { continue };
            judged = true;
            let spot = Spot { output: output.name.clone(), at, tokens };
            if !bound.holds(value, limit) {
                keep_worse(&mut worst, Breach { judged: Judged::Bound(bound), value, limit, spot });
            }
        }
        if asked && !judged {
            let why = match bound {
                Bound::MinGreedyPrefix => "only a language model has a greedy prefix".to_owned(),
                _ => format!("no output has rows of more than {} values", self.top_k),
            };
            return Err(Fault { kind: FaultKind::NotJudgeable, text: format!("`{}`: {why}", bound.name()) });
        }
        Ok(worst)
    }

    /// The calibrated limit, of the output that is furthest beyond it.
    fn judge_noise(&self, figures: &ParityFigures) -> Option<Breach> {
        let k = self.calibrated.as_ref()?.k;
        let mut worst = None;
        for output in &figures.outputs {
            let Some(limit) = self.calibrated_limit(&output.name) else { continue };
            let Worst { value, at } = &output.max_abs;
            if !Bound::MaxAbs.holds(*value, limit) {
                let spot = Spot { output: output.name.clone(), at: at.clone(), tokens: figures.tokens.is_some() };
                keep_worse(&mut worst, Breach { judged: Judged::Calibrated { k }, value: *value, limit, spot });
            }
        }
        worst
    }

    /// Where the reference's best token leads clearly, the cell must have the same.
    fn judge_clear(&self, figures: &ParityFigures) -> Option<Breach> {
        let tokens = figures.tokens.as_ref()?;
        let output = figures.outputs.iter().find(|output| file_of(&output.name) == LOGITS)?;
        let clear = tokens.top1_clear;
        let spot = |at: u64| Spot { output: output.name.clone(), at: vec![at], tokens: true };
        (clear.agree < clear.of).then(|| Breach {
            judged: Judged::BestToken,
            value: clear.agree as f64,
            limit: clear.of as f64,
            spot: spot(tokens.first_clear_miss.unwrap_or(0)),
        })
    }
}

/// The figure of an output that a bound is about, and where it is worst; `None` where there is none.
fn figure(bound: Bound, output: &OutputFigures, figures: &ParityFigures) -> Option<(f64, Vec<u64>)> {
    let of = |worst: &Worst| Some((worst.value, worst.at.clone()));
    match bound {
        Bound::MaxAbs => of(&output.max_abs),
        Bound::MaxRel => of(&output.max_rel),
        Bound::MaxUlp => of(&output.max_ulp),
        Bound::MinCosine => of(&output.cosine),
        Bound::MinTopK => output.top_k.as_ref().map(|top| (top.share, top.at.clone())),
        Bound::MinGreedyPrefix => figures.tokens.as_ref().map(|t| (t.greedy_prefix as f64, vec![t.greedy_prefix])),
    }
}

fn keep_worse(worst: &mut Option<Breach>, breach: Breach) {
    if worst.as_ref().is_none_or(|other| breach.excess() > other.excess()) {
        *worst = Some(breach);
    }
}

impl Breach {
    /// How far beyond the limit, so that outputs can be ranked.
    fn excess(&self) -> f64 {
        match self.judged {
            Judged::Bound(bound) if bound.is_least() => self.limit - self.value,
            Judged::Bound(_) | Judged::Calibrated { .. } if self.limit > 0.0 => self.value / self.limit,
            Judged::Bound(_) | Judged::Calibrated { .. } => self.value,
            Judged::BestToken => self.limit - self.value,
        }
    }
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Breach { judged, value, limit, spot } = self;
        match judged {
            Judged::BestToken => {
                write!(f, "another token is the best at {} of {limit} clear positions, first in {spot}", limit - value)
            }
            Judged::Calibrated { k } => write!(
                f,
                "largest absolute error {value:.2e} is above {limit:.2e}, {k} × the reference's own noise of {:.2e}, worst \
                 in {spot}",
                limit / k
            ),
            Judged::Bound(bound) => {
                let beyond = if bound.is_least() { "below" } else { "above" };
                let (title, value, limit) = (bound.title(), bound.show(*value), bound.show_limit(*limit));
                let most = if bound.is_least() { "" } else { "largest " };
                let place = if *bound == Bound::MinGreedyPrefix { "it ends in" } else { "worst in" };
                write!(f, "{most}{title} {value} is {beyond} {limit}, {place} {spot}")
            }
        }
    }
}

impl fmt::Display for Spot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.at[..], self.tokens) {
            ([], _) => write!(f, "`{}`", self.output),
            ([position], true) => write!(f, "`{}` at position {position}", self.output),
            ([position, token, ..], true) => write!(f, "`{}` at position {position}, token {token}", self.output),
            (at, false) => {
                let at: Vec<String> = at.iter().map(u64::to_string).collect();
                write!(f, "`{}` at [{}]", self.output, at.join(", "))
            }
        }
    }
}
