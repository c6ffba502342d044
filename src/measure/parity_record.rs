//! A parity result as a store keeps it: a versioned type of its own.
//!
//! Comparing two outputs reads tens of megabytes, which a run that measures nothing should not do again. The
//! caller finds the record by both outputs' digests and the tolerance; a record of another format is a miss.

use serde::{Deserialize, Serialize};

use super::parity::{Agreement, ParityFigures, ParityResult, ParityVerdict, TokenFigures};

/// The version of [`ParityRecord`].
pub const FORMAT: u32 = 1;

/// One result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ParityRecord {
    pub format: u32,
    /// `None`: passed.
    pub why: Option<String>,
    pub figures: Option<FiguresRecord>,
}

/// The figures of [`ParityFigures`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FiguresRecord {
    pub max_abs: f64,
    /// `None` where it has no bound: the reference's row was all zero, and JSON has no infinity.
    pub max_rel: Option<f64>,
    pub mean_abs: f64,
    /// Of a language model.
    #[serde(flatten)]
    pub tokens: Option<TokensRecord>,
}

/// The figures of [`TokenFigures`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TokensRecord {
    pub positions: u64,
    pub vocabulary: u64,
    /// Positions that agree, and all that were looked at.
    pub top1: [u64; 2],
    pub top1_clear: [u64; 2],
    pub greedy_prefix: u64,
}

impl From<&ParityResult> for ParityRecord {
    fn from(result: &ParityResult) -> Self {
        let figures = result.figures.as_ref().map(|f| FiguresRecord {
            max_abs: f.max_abs,
            max_rel: Some(f.max_rel).filter(|error| error.is_finite()),
            mean_abs: f.mean_abs,
            tokens: f.tokens.map(|t| TokensRecord {
                positions: t.positions,
                vocabulary: t.vocabulary,
                top1: [t.top1.agree, t.top1.of],
                top1_clear: [t.top1_clear.agree, t.top1_clear.of],
                greedy_prefix: t.greedy_prefix,
            }),
        });
        let why = match &result.verdict {
            ParityVerdict::Pass => None,
            ParityVerdict::Fail { why } => Some(why.clone()),
        };
        ParityRecord { format: FORMAT, why, figures }
    }
}

impl ParityRecord {
    /// The result; `None` of another format.
    pub fn result(&self) -> Option<ParityResult> {
        let pair = |[agree, of]: [u64; 2]| Agreement { agree, of };
        (self.format == FORMAT).then(|| ParityResult {
            figures: self.figures.as_ref().map(|f| ParityFigures {
                max_abs: f.max_abs,
                max_rel: f.max_rel.unwrap_or(f64::INFINITY),
                mean_abs: f.mean_abs,
                tokens: f.tokens.as_ref().map(|t| TokenFigures {
                    positions: t.positions,
                    vocabulary: t.vocabulary,
                    top1: pair(t.top1),
                    top1_clear: pair(t.top1_clear),
                    greedy_prefix: t.greedy_prefix,
                }),
            }),
            verdict: match &self.why {
                None => ParityVerdict::Pass,
                Some(why) => ParityVerdict::Fail { why: why.clone() },
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::npy::write;
    use std::borrow::Cow;

    use super::super::parity::{Tolerance, parity};
    use super::super::tensor_parity::tensor_parity;
    use super::*;

    #[test]
    fn results_survive_being_stored() {
        let a = write(2, 2, &[1.0, 2.0, 0.0, 0.0]);
        let b = write(2, 2, &[1.0, 2.0, 0.0, 0.5]);
        let loose = Tolerance { max_abs: Some(1.0), max_rel: None };
        let tensors = |bytes: &[u8]| [("y.npy".to_owned(), Cow::Owned(bytes.to_vec()))].into();
        for result in [
            parity(&a, &b, &loose),
            parity(&a, &b, &Tolerance::default()),
            parity(&a, b"", &loose),
            tensor_parity(&tensors(&a), &tensors(&b), &loose),
        ] {
            let text = serde_json::to_string(&ParityRecord::from(&result)).unwrap();
            let record: ParityRecord = serde_json::from_str(&text).unwrap();
            assert_eq!(record.result(), Some(result));
            assert_eq!(ParityRecord { format: 2, ..record }.result(), None);
        }
    }
}
