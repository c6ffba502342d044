//! A parity result as a store keeps it: a versioned type of its own.
//!
//! Comparing two outputs reads tens of megabytes, which a run that measures nothing should not do again. The
//! caller finds the record by both outputs' digests and the tolerance; a record of another format is a miss.

use serde::{Deserialize, Serialize};

use super::parity::{
    Agreement, Fault, FaultKind, OutputFigures, ParityFigures, ParityResult, ParityVerdict, TokenFigures, TopK, Worst,
};
use super::tolerance::{Breach, Judged, Spot};
use super::ulp::Grain;

/// The version of [`ParityRecord`]. 2: all figures of each output, and where each is worst.
pub const FORMAT: u32 = 2;

/// One result. Numbers are texts: JSON has no infinity, which a relative error may be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ParityRecord {
    pub format: u32,
    /// What is beyond its limit.
    #[serde(default)]
    pub beyond: Vec<BreachRecord>,
    /// The kind of what is odd, and the sentence about it.
    #[serde(default)]
    pub odd: Option<(String, String)>,
    /// Why there is no calibrated limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uncalibrated: Option<String>,
    #[serde(default)]
    pub outputs: Option<Vec<OutputRecord>>,
    /// Of a language model.
    #[serde(default)]
    pub tokens: Option<TokensRecord>,
}

/// A [`Breach`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BreachRecord {
    /// The name of the bound, `calibrated`, or `best-token`.
    pub judged: String,
    /// Of a calibrated limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub k: Option<f64>,
    pub value: String,
    pub limit: String,
    pub output: String,
    pub at: Vec<u64>,
    pub tokens: bool,
}

/// [`OutputFigures`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OutputRecord {
    pub name: String,
    pub shape: Vec<u64>,
    pub values: u64,
    pub max_abs: (String, Vec<u64>),
    pub max_rel: (String, Vec<u64>),
    pub mean_abs: String,
    pub max_ulp: (String, Vec<u64>),
    pub grain: String,
    pub cosine: (String, Vec<u64>),
    pub top_k: Option<(u32, String, Vec<u64>)>,
}

/// [`TokenFigures`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TokensRecord {
    pub positions: u64,
    pub vocabulary: u64,
    /// Positions that agree, and all that were looked at.
    pub top1: [u64; 2],
    pub top1_clear: [u64; 2],
    pub first_clear_miss: Option<u64>,
    pub greedy_prefix: u64,
}

impl From<&ParityResult> for ParityRecord {
    fn from(result: &ParityResult) -> Self {
        let (beyond, odd, uncalibrated) = match &result.verdict {
            ParityVerdict::Pass => (Vec::new(), None, None),
            ParityVerdict::Uncalibrated(why) => (Vec::new(), None, Some(why.clone())),
            ParityVerdict::Beyond(breaches) => (breaches.iter().map(BreachRecord::from).collect(), None, None),
            ParityVerdict::Odd(fault) => (Vec::new(), Some((fault.kind.name().to_owned(), fault.text.clone())), None),
        };
        let figures = result.figures.as_ref();
        ParityRecord {
            format: FORMAT,
            beyond,
            odd,
            uncalibrated,
            outputs: figures.map(|figures| figures.outputs.iter().map(OutputRecord::from).collect()),
            tokens: figures.and_then(|figures| figures.tokens).map(TokensRecord::from),
        }
    }
}

impl ParityRecord {
    /// The result; `None` of another format.
    pub fn result(&self) -> Option<ParityResult> {
        if self.format != FORMAT {
            return None;
        }
        let verdict = match &self.odd {
            Some((kind, text)) => {
                let kind = FaultKind::ALL.into_iter().find(|known| known.name() == kind)?;
                ParityVerdict::Odd(Fault { kind, text: text.clone() })
            }
            None if self.beyond.is_empty() => match &self.uncalibrated {
                None => ParityVerdict::Pass,
                Some(why) => ParityVerdict::Uncalibrated(why.clone()),
            },
            None => ParityVerdict::Beyond(self.beyond.iter().map(BreachRecord::breach).collect::<Option<_>>()?),
        };
        let outputs = self.outputs.as_ref().map(|all| all.iter().map(OutputRecord::figures).collect::<Option<_>>());
        let tokens = self.tokens.as_ref().map(TokensRecord::figures);
        let figures = match outputs {
            Some(outputs) => Some(ParityFigures { outputs: outputs?, tokens }),
            None => None,
        };
        Some(ParityResult { figures, verdict })
    }
}

impl From<&Breach> for BreachRecord {
    fn from(breach: &Breach) -> Self {
        BreachRecord {
            judged: breach.judged.name().to_owned(),
            k: breach.judged.k(),
            value: breach.value.to_string(),
            limit: breach.limit.to_string(),
            output: breach.spot.output.clone(),
            at: breach.spot.at.clone(),
            tokens: breach.spot.tokens,
        }
    }
}

impl BreachRecord {
    fn breach(&self) -> Option<Breach> {
        let judged = Judged::parse(&self.judged, self.k)?;
        let spot = Spot { output: self.output.clone(), at: self.at.clone(), tokens: self.tokens };
        Some(Breach { judged, value: self.value.parse().ok()?, limit: self.limit.parse().ok()?, spot })
    }
}

impl From<&OutputFigures> for OutputRecord {
    fn from(figures: &OutputFigures) -> Self {
        let worst = |worst: &Worst| (worst.value.to_string(), worst.at.clone());
        OutputRecord {
            name: figures.name.clone(),
            shape: figures.shape.clone(),
            values: figures.values,
            max_abs: worst(&figures.max_abs),
            max_rel: worst(&figures.max_rel),
            mean_abs: figures.mean_abs.to_string(),
            max_ulp: worst(&figures.max_ulp),
            grain: figures.grain.name().to_owned(),
            cosine: worst(&figures.cosine),
            top_k: figures.top_k.as_ref().map(|top| (top.k, top.share.to_string(), top.at.clone())),
        }
    }
}

impl OutputRecord {
    fn figures(&self) -> Option<OutputFigures> {
        let worst = |(value, at): &(String, Vec<u64>)| Some(Worst { value: value.parse().ok()?, at: at.clone() });
        let top_k = match &self.top_k {
            Some((k, share, at)) => Some(TopK { k: *k, share: share.parse().ok()?, at: at.clone() }),
            None => None,
        };
        Some(OutputFigures {
            name: self.name.clone(),
            shape: self.shape.clone(),
            values: self.values,
            max_abs: worst(&self.max_abs)?,
            max_rel: worst(&self.max_rel)?,
            mean_abs: self.mean_abs.parse().ok()?,
            max_ulp: worst(&self.max_ulp)?,
            grain: Grain::parse(&self.grain)?,
            cosine: worst(&self.cosine)?,
            top_k,
        })
    }
}

impl From<TokenFigures> for TokensRecord {
    fn from(tokens: TokenFigures) -> Self {
        let pair = |agreement: Agreement| [agreement.agree, agreement.of];
        TokensRecord {
            positions: tokens.positions,
            vocabulary: tokens.vocabulary,
            top1: pair(tokens.top1),
            top1_clear: pair(tokens.top1_clear),
            first_clear_miss: tokens.first_clear_miss,
            greedy_prefix: tokens.greedy_prefix,
        }
    }
}

impl TokensRecord {
    fn figures(&self) -> TokenFigures {
        let pair = |[agree, of]: [u64; 2]| Agreement { agree, of };
        TokenFigures {
            positions: self.positions,
            vocabulary: self.vocabulary,
            top1: pair(self.top1),
            top1_clear: pair(self.top1_clear),
            first_clear_miss: self.first_clear_miss,
            greedy_prefix: self.greedy_prefix,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::npy::write;
    use super::super::parity::{LOGITS, Side, parity};
    use super::super::tolerance::Tolerance;
    use super::*;
    use crate::pipeline::{Bound, Dtype};

    #[test]
    fn results_survive_being_stored() {
        let a = write(&[2, 2], &[1.0, 2.0, 0.0, 0.0]);
        let b = write(&[2, 2], &[1.0, 2.0, 0.0, 0.5]);
        for (own, is_sequence, limit) in [(&b[..], true, 1.0), (&b, true, 1e-3), (b"", true, 1.0), (&b, false, 1e-3)] {
            let files = |bytes: &[u8]| [(LOGITS.to_owned(), bytes.to_vec().into())].into();
            let (theirs, ours) = (files(&a), files(own));
            let side = |files| Side { whose: "this cell", files, dtype: Dtype::Fp32, is_sequence };
            let result = parity(side(&theirs), side(&ours), &Tolerance::of(Bound::MaxAbs, limit));
            let text = serde_json::to_string(&ParityRecord::from(&result)).unwrap();
            let record: ParityRecord = serde_json::from_str(&text).unwrap();
            assert_eq!(record.result(), Some(result));
            assert_eq!(ParityRecord { format: 1, ..record }.result(), None);
        }
        let old = r#"{"format":1,"why":null,"figures":{"max_abs":0.0,"max_rel":0.0,"mean_abs":0.0}}"#;
        assert_eq!(serde_json::from_str::<ParityRecord>(old).unwrap().result(), None);
    }
}
