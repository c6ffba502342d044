//! How far the logits of two cells are apart, and whether that is within the tolerance.
//!
//! Both files are read once, row by row, without a copy. Errors are taken in `float32` values as they are;
//! the relative error of a value is its absolute error over the largest magnitude of the reference's row,
//! since a logit near zero has no meaningful relative error of its own.

use super::npy::{self, Matrix};

/// How far two outputs may be apart; each bound that is set must hold.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Tolerance {
    pub max_abs: Option<f64>,
    pub max_rel: Option<f64>,
}

/// The result of one comparison.
#[derive(Debug, Clone, PartialEq)]
pub struct ParityResult {
    /// `None` where the files could not be compared at all; the verdict says why.
    pub figures: Option<ParityFigures>,
    pub verdict: ParityVerdict,
}

/// Whether the gate lets a cell through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ParityVerdict {
    Pass,
    Fail { why: String },
}

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ParityFigures {
    pub max_abs: f64,
    pub max_rel: f64,
    pub mean_abs: f64,
    /// Of a language model, what its tokens say.
    pub tokens: Option<TokenFigures>,
}

/// What the logits of two cells say of tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct TokenFigures {
    /// Rows: tokens after which the model spoke.
    pub positions: u64,
    pub vocabulary: u64,
    /// Positions at which both prefer the same token.
    pub top1: Agreement,
    /// The same, only of positions where the reference's best leads its second by more than 10 × the tolerance:
    /// a closer call may flip without an error.
    pub top1_clear: Agreement,
    /// How many positions from the first on prefer the same token.
    pub greedy_prefix: u64,
}

/// So many of so many.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Agreement {
    pub agree: u64,
    pub of: u64,
}

impl Agreement {
    /// The share; 1 of none, since none disagrees.
    pub fn share(self) -> f64 {
        if self.of == 0 { 1.0 } else { self.agree as f64 / self.of as f64 }
    }
}

/// Compares two `logits.npy` files, given as bytes.
pub fn parity(reference: &[u8], candidate: &[u8], tolerance: &Tolerance) -> ParityResult {
    let read = |bytes, whose: &str| npy::read(bytes).map_err(|error| format!("{whose} output: {error}"));
    let pair = read(reference, "the reference's").and_then(|a| Ok((a, read(candidate, "this cell's")?)));
    let result = pair.and_then(|(a, b)| {
        if (a.rows, a.columns) == (b.rows, b.columns) {
            Ok(figures(&a, &b, tolerance))
        } else {
            Err(format!(
                "the output has the shape {} × {}, the reference's {} × {}",
                b.rows, b.columns, a.rows, a.columns
            ))
        }
    });
    match result {
        Err(why) => ParityResult { figures: None, verdict: ParityVerdict::Fail { why } },
        Ok(Err(why)) => ParityResult { figures: None, verdict: ParityVerdict::Fail { why } },
        Ok(Ok(figures)) => ParityResult { figures: Some(figures), verdict: judge(&figures, tolerance) },
    }
}

/// What one pass over a row finds.
#[derive(Debug, Clone, Copy)]
struct Row {
    max_abs: f32,
    sum_abs: f64,
    scale: f32,
    best: (usize, f32),
    second: f32,
    other_best: (usize, f32),
    /// Turns to NaN with any value that is not finite.
    finite: f32,
}

fn figures(a: &Matrix<'_>, b: &Matrix<'_>, tolerance: &Tolerance) -> Result<ParityFigures, String> {
    let mut found = ParityFigures { max_abs: 0.0, max_rel: 0.0, mean_abs: 0.0, tokens: None };
    let mut tokens = TokenFigures { positions: a.rows as u64, vocabulary: a.columns as u64, ..TokenFigures::default() };
    if a.rows == 0 || a.columns == 0 {
        return Err("the output holds no values".to_owned());
    }
    let width = a.columns * 4;
    let mut sum = 0.0;
    let rows = a.data.chunks_exact(width).zip(b.data.chunks_exact(width));
    for (position, (left, right)) in rows.enumerate() {
        let row = compare_rows(left, right);
        if row.finite.is_nan() {
            let whose = if all_finite(left) { "this cell's" } else { "the reference's" };
            return Err(format!("{whose} output has a NaN or an infinity at position {position}"));
        }
        let scale = f64::from(row.scale);
        let max_abs = f64::from(row.max_abs);
        found.max_abs = found.max_abs.max(max_abs);
        if scale > 0.0 {
            found.max_rel = found.max_rel.max(max_abs / scale);
        } else if max_abs > 0.0 {
            found.max_rel = f64::INFINITY;
        }
        sum += row.sum_abs;
        let agrees = row.best.0 == row.other_best.0;
        let bound = tolerance.max_abs.or(tolerance.max_rel.map(|rel| rel * scale)).unwrap_or(0.0);
        let clear = f64::from(row.best.1) - f64::from(row.second) > 10.0 * bound;
        count(&mut tokens.top1, agrees);
        if clear {
            count(&mut tokens.top1_clear, agrees);
        }
        if agrees && tokens.greedy_prefix == position as u64 {
            tokens.greedy_prefix += 1;
        }
    }
    found.tokens = Some(tokens);
    found.mean_abs = sum / (a.rows as f64 * a.columns as f64);
    Ok(found)
}

fn count(agreement: &mut Agreement, agrees: bool) {
    agreement.of += 1;
    agreement.agree += u64::from(agrees);
}

fn compare_rows(left: &[u8], right: &[u8]) -> Row {
    let mut row = Row {
        max_abs: 0.0,
        sum_abs: 0.0,
        scale: 0.0,
        best: (0, f32::NEG_INFINITY),
        second: f32::NEG_INFINITY,
        other_best: (0, f32::NEG_INFINITY),
        finite: 0.0,
    };
    let pairs = left.chunks_exact(4).zip(right.chunks_exact(4));
    for (column, (l, r)) in pairs.enumerate() {
        let l = f32::from_le_bytes([l[0], l[1], l[2], l[3]]);
        let r = f32::from_le_bytes([r[0], r[1], r[2], r[3]]);
        // 0 × x is 0 for every finite x and NaN for all others: no branch in the inner loop.
        row.finite += 0.0 * l + 0.0 * r;
        let off = (l - r).abs();
        row.max_abs = row.max_abs.max(off);
        row.sum_abs += f64::from(off);
        row.scale = row.scale.max(l.abs());
        if l > row.best.1 {
            row.second = row.best.1;
            row.best = (column, l);
        } else if l > row.second {
            row.second = l;
        }
        if r > row.other_best.1 {
            row.other_best = (column, r);
        }
    }
    row
}

fn all_finite(row: &[u8]) -> bool {
    row.chunks_exact(4).all(|v| f32::from_le_bytes([v[0], v[1], v[2], v[3]]).is_finite())
}

/// Holds what was found against each bound.
pub(super) fn judge(figures: &ParityFigures, tolerance: &Tolerance) -> ParityVerdict {
    let mut why = Vec::new();
    if let Some(bound) = tolerance.max_abs.filter(|bound| figures.max_abs > *bound) {
        why.push(format!("largest absolute error {:.2e} is above {bound:e}", figures.max_abs));
    }
    if let Some(bound) = tolerance.max_rel.filter(|bound| figures.max_rel > *bound) {
        why.push(format!("largest relative error {:.2e} is above {bound:e}", figures.max_rel));
    }
    let Agreement { agree, of } = figures.tokens.map(|tokens| tokens.top1_clear).unwrap_or_default();
    if agree < of {
        why.push(format!("it prefers another token at {} of {of} clear positions", of - agree));
    }
    if why.is_empty() { ParityVerdict::Pass } else { ParityVerdict::Fail { why: why.join("; ") } }
}

#[cfg(test)]
mod tests {
    use super::super::npy::write;
    use super::*;

    const TOLERANCE: Tolerance = Tolerance { max_abs: Some(1e-3), max_rel: None };

    fn why(result: ParityResult) -> String {
        match result.verdict {
            ParityVerdict::Fail { why } => why,
            ParityVerdict::Pass => "pass".to_owned(),
        }
    }

    #[test]
    fn figures_by_hand() {
        let a = write(2, 3, &[1.0, 4.0, 2.0, -8.0, 0.5, 0.25]);
        let b = write(2, 3, &[1.0, 4.0, 2.5, -8.0, 0.25, 0.5]);
        let result = parity(&a, &b, &TOLERANCE);
        let figures = result.figures.unwrap();
        let tokens = figures.tokens.unwrap();
        assert_eq!((tokens.positions, tokens.vocabulary), (2, 3));
        assert_eq!(figures.max_abs, 0.5);
        assert_eq!(figures.max_rel, 0.125);
        assert_eq!(figures.mean_abs, 1.0 / 6.0);
        assert_eq!(tokens.top1, Agreement { agree: 1, of: 2 });
        assert_eq!(tokens.top1_clear, Agreement { agree: 1, of: 2 });
        assert_eq!(tokens.greedy_prefix, 1);
        assert!(why(result).contains("5.00e-1 is above 1e-3"));
    }

    #[test]
    fn equal_outputs_pass() {
        let a = write(2, 2, &[1.0, 2.0, 3.0, 4.0]);
        let result = parity(&a, &a, &TOLERANCE);
        assert_eq!(result.verdict, ParityVerdict::Pass);
        assert_eq!(result.figures.unwrap().tokens.unwrap().greedy_prefix, 2);
    }

    #[test]
    fn a_close_call_may_flip() {
        let a = write(1, 2, &[1.0, 1.0005]);
        let b = write(1, 2, &[1.0004, 1.0001]);
        let result = parity(&a, &b, &TOLERANCE);
        assert_eq!(result.verdict, ParityVerdict::Pass);
        let tokens = result.figures.unwrap().tokens.unwrap();
        assert_eq!((tokens.top1.agree, tokens.top1_clear.of), (0, 0));
    }

    #[test]
    fn what_can_not_be_compared_fails_with_its_reason() {
        let a = write(1, 2, &[1.0, 2.0]);
        let nan = write(1, 2, &[1.0, f32::NAN]);
        let wide = write(2, 1, &[1.0, 2.0]);
        assert_eq!(why(parity(&a, &nan, &TOLERANCE)), "this cell's output has a NaN or an infinity at position 0");
        assert_eq!(why(parity(&nan, &a, &TOLERANCE)), "the reference's output has a NaN or an infinity at position 0");
        assert_eq!(why(parity(&a, &wide, &TOLERANCE)), "the output has the shape 2 × 1, the reference's 1 × 2");
        assert_eq!(why(parity(&a, b"", &TOLERANCE)), "this cell's output: not a `.npy` file");
        assert_eq!(why(parity(&write(0, 2, &[]), &write(0, 2, &[]), &TOLERANCE)), "the output holds no values");
    }

    #[test]
    fn the_relative_bound_is_judged_by_the_row() {
        let a = write(1, 2, &[100.0, 0.0]);
        let b = write(1, 2, &[100.0, 0.5]);
        let loose = Tolerance { max_abs: None, max_rel: Some(0.01) };
        let tight = Tolerance { max_abs: None, max_rel: Some(0.001) };
        assert_eq!(parity(&a, &b, &loose).verdict, ParityVerdict::Pass);
        assert!(why(parity(&a, &b, &tight)).contains("relative error 5.00e-3 is above 1e-3"));
    }
}
