//! What the logits of two cells say of tokens: which each prefers, position by position.

use super::parity::{Agreement, TokenFigures};

/// Sees one position after the other.
#[derive(Debug, Default)]
pub struct Tokens {
    found: TokenFigures,
}

impl Tokens {
    /// The logits of both at the next position. `bound` is how far one may be off, where that is said: the reference's
    /// best is clear where it leads by more than ten times as much.
    pub fn see(&mut self, reference: &[f64], own: &[f64], bound: Option<f64>) {
        let found = &mut self.found;
        let position = found.positions;
        found.positions += 1;
        found.vocabulary = reference.len() as u64;
        let (best, lead) = best(reference);
        let agrees = best == self::best(own).0;
        count(&mut found.top1, agrees);
        if bound.is_some_and(|bound| lead > 10.0 * bound) {
            count(&mut found.top1_clear, agrees);
            if !agrees {
                found.first_clear_miss.get_or_insert(position);
            }
        }
        if agrees && found.greedy_prefix == position {
            found.greedy_prefix += 1;
        }
    }

    /// What was seen.
    pub fn end(self) -> TokenFigures {
        self.found
    }
}

fn count(agreement: &mut Agreement, agrees: bool) {
    agreement.of += 1;
    agreement.agree += u64::from(agrees);
}

/// The token with the largest logit, the first of several, and by how much it leads the second.
fn best(logits: &[f64]) -> (usize, f64) {
    let (mut best, mut most, mut second) = (0, f64::NEG_INFINITY, f64::NEG_INFINITY);
    for (token, &logit) in logits.iter().enumerate() {
        if logit > most {
            (second, most, best) = (most, logit, token);
        } else if logit > second {
            second = logit;
        }
    }
    (best, most - second)
}
