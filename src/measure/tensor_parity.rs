//! How far the outputs of two inferences are apart: tensors of any shape, by name.
//!
//! The relative error of a value is its absolute error over the largest magnitude of the reference's tensor,
//! since a value near zero has no meaningful relative error of its own. Infinities that both have agree, as masks
//! hold them; a NaN never does.

use std::borrow::Cow;
use std::collections::BTreeMap;

use pipe_engine::npy;
use pipe_engine::tensor::{Element, Tensor};

use super::parity::{ParityFigures, ParityResult, ParityVerdict, Tolerance, judge};

/// Files of outputs, by name.
pub type Files<'a> = BTreeMap<String, Cow<'a, [u8]>>;

/// Compares all outputs of a cell with the reference's.
pub fn tensor_parity(reference: &Files<'_>, candidate: &Files<'_>, tolerance: &Tolerance) -> ParityResult {
    match figures(reference, candidate) {
        Ok(figures) => ParityResult { figures: Some(figures), verdict: judge(&figures, tolerance) },
        Err(why) => ParityResult { figures: None, verdict: ParityVerdict::Fail { why } },
    }
}

fn figures(reference: &Files<'_>, candidate: &Files<'_>) -> Result<ParityFigures, String> {
    if reference.is_empty() {
        return Err("the reference has no outputs".to_owned());
    }
    if let Some(odd) = candidate.keys().find(|name| !reference.contains_key(*name)) {
        return Err(format!("the reference has no output `{odd}`"));
    }
    let mut found = ParityFigures { max_abs: 0.0, max_rel: 0.0, mean_abs: 0.0, tokens: None };
    let (mut sum, mut count) = (0.0, 0);
    for (name, bytes) in reference {
        let other = candidate.get(name).ok_or_else(|| format!("it has no output `{name}`"))?;
        let read =
            |bytes: &[u8], whose: &str| npy::read(bytes).map_err(|error| format!("{whose} output `{name}`: {error}"));
        let (a, b) = (read(bytes, "the reference's")?, read(other, "this cell's")?);
        if a.shape != b.shape {
            let (own, other) = (shape(&b.shape), shape(&a.shape));
            return Err(format!("the output `{name}` has the shape {own}, the reference's {other}"));
        }
        let off = apart(name, &a, &b)?;
        found.max_abs = found.max_abs.max(off.largest);
        let relative = if off.largest > 0.0 { off.largest / off.scale } else { 0.0 };
        found.max_rel = found.max_rel.max(relative);
        sum += off.sum;
        count += off.count;
    }
    // Outputs without a value, as of a detector that found nothing, are as equal as can be.
    found.mean_abs = if count == 0 { 0.0 } else { sum / count as f64 };
    Ok(found)
}

/// What one pass over a tensor finds.
struct Apart {
    largest: f64,
    sum: f64,
    /// The largest magnitude of the reference.
    scale: f64,
    count: usize,
}

fn apart(name: &str, a: &Tensor, b: &Tensor) -> Result<Apart, String> {
    let mut found = Apart { largest: 0.0, sum: 0.0, scale: 0.0, count: 0 };
    for (left, right) in values(a).zip(values(b)) {
        if left.is_nan() || right.is_nan() {
            let whose = if right.is_nan() { "this cell's" } else { "the reference's" };
            return Err(format!("{whose} output `{name}` has a NaN at value {}", found.count));
        }
        // Equal infinities are no distance apart; their difference would be NaN.
        let off = if left == right { 0.0 } else { (left - right).abs() };
        if off.is_infinite() {
            return Err(format!("only one output `{name}` has an infinity at value {}", found.count));
        }
        found.largest = found.largest.max(off);
        found.sum += off;
        if left.is_finite() {
            found.scale = found.scale.max(left.abs());
        }
        found.count += 1;
    }
    Ok(found)
}

/// The values as numbers; whole ones beyond 2^53 lose their last digits.
fn values(tensor: &Tensor) -> impl Iterator<Item = f64> {
    let element = tensor.element;
    tensor.bytes.chunks_exact(element.size()).map(move |bytes| value(element, bytes))
}

fn value(element: Element, bytes: &[u8]) -> f64 {
    // Every chunk has the element's size; one that had not would count as zeros.
    fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
        bytes.try_into().unwrap_or([0; N])
    }
    match element {
        Element::Bool | Element::Uint8 => f64::from(array::<1>(bytes)[0]),
        Element::Int8 => f64::from(i8::from_le_bytes(array(bytes))),
        Element::Int32 => f64::from(i32::from_le_bytes(array(bytes))),
        Element::Int64 => i64::from_le_bytes(array(bytes)) as f64,
        Element::Float16 => half(u16::from_le_bytes(array(bytes))),
        Element::Float32 => f64::from(f32::from_le_bytes(array(bytes))),
        Element::Float64 => f64::from_le_bytes(array(bytes)),
    }
}

/// A number of IEEE 754's binary16: one sign, five bits of exponent, ten of fraction.
fn half(bits: u16) -> f64 {
    let sign = if bits & 0x8000 == 0 { 1.0 } else { -1.0 };
    let (exponent, fraction) = (i32::from(bits >> 10 & 0x1f), f64::from(bits & 0x3ff));
    sign * match exponent {
        0 => fraction * 2f64.powi(-24),
        0x1f if fraction == 0.0 => f64::INFINITY,
        0x1f => f64::NAN,
        _ => (1024.0 + fraction) * 2f64.powi(exponent - 25),
    }
}

fn shape(dims: &[u64]) -> String {
    if dims.is_empty() {
        return "of a single value".to_owned();
    }
    dims.iter().map(u64::to_string).collect::<Vec<_>>().join(" × ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOLERANCE: Tolerance = Tolerance { max_abs: Some(1e-3), max_rel: None };

    fn file(element: Element, shape: &[u64], bytes: Vec<u8>) -> Vec<u8> {
        let mut file = Vec::new();
        npy::write(&mut file, &Tensor { element, shape: shape.to_vec(), bytes }).unwrap();
        file
    }

    fn floats(shape: &[u64], values: &[f32]) -> Vec<u8> {
        file(Element::Float32, shape, values.iter().flat_map(|value| value.to_le_bytes()).collect())
    }

    fn files(named: &[(&str, Vec<u8>)]) -> Files<'static> {
        named.iter().map(|(name, bytes)| ((*name).to_owned(), Cow::Owned(bytes.clone()))).collect()
    }

    fn why(a: &Files<'_>, b: &Files<'_>) -> String {
        match tensor_parity(a, b, &TOLERANCE).verdict {
            ParityVerdict::Fail { why } => why,
            ParityVerdict::Pass => "pass".to_owned(),
        }
    }

    #[test]
    fn figures_by_hand_over_all_outputs() {
        let a = files(&[("x.npy", floats(&[2], &[1.0, -8.0])), ("y.npy", floats(&[], &[0.5]))]);
        let b = files(&[("x.npy", floats(&[2], &[1.5, -8.0])), ("y.npy", floats(&[], &[0.25]))]);
        let result = tensor_parity(&a, &b, &TOLERANCE);
        let figures = result.figures.unwrap();
        assert_eq!((figures.max_abs, figures.max_rel, figures.mean_abs), (0.5, 0.5, 0.25));
        assert_eq!(figures.tokens, None);
        assert!(why(&a, &b).contains("5.00e-1 is above 1e-3"));
        assert_eq!(why(&a, &a), "pass");
    }

    #[test]
    fn numbers_of_every_type_are_read() {
        let check = |element: Element, bytes: Vec<u8>, value: f64| {
            let tensor = Tensor { element, shape: vec![1], bytes };
            assert_eq!(values(&tensor).collect::<Vec<_>>(), [value], "{element:?}");
        };
        check(Element::Bool, vec![1], 1.0);
        check(Element::Uint8, vec![200], 200.0);
        check(Element::Int8, vec![0xff], -1.0);
        check(Element::Int32, (-7i32).to_le_bytes().to_vec(), -7.0);
        check(Element::Int64, (1i64 << 40).to_le_bytes().to_vec(), (1i64 << 40) as f64);
        check(Element::Float64, 0.1f64.to_le_bytes().to_vec(), 0.1);
        check(Element::Float16, vec![0x00, 0xc0], -2.0);
        check(Element::Float16, vec![0x01, 0x00], 2f64.powi(-24));
        check(Element::Float16, vec![0xff, 0x7b], 65504.0);
        check(Element::Float16, vec![0x00, 0x7c], f64::INFINITY);
    }

    #[test]
    fn infinities_agree_where_both_have_them_and_a_nan_never_does() {
        let with = |value: f32| files(&[("x.npy", floats(&[2], &[1.0, value]))]);
        let minus = with(f32::NEG_INFINITY);
        assert_eq!(why(&minus, &minus), "pass");
        assert_eq!(why(&minus, &with(1.0)), "only one output `x.npy` has an infinity at value 1");
        let nan = with(f32::NAN);
        assert_eq!(why(&with(1.0), &nan), "this cell's output `x.npy` has a NaN at value 1");
        assert_eq!(why(&nan, &with(1.0)), "the reference's output `x.npy` has a NaN at value 1");
    }

    #[test]
    fn what_can_not_be_compared_fails_with_its_reason() {
        let a = files(&[("x.npy", floats(&[2], &[1.0, 2.0]))]);
        assert_eq!(why(&a, &files(&[])), "it has no output `x.npy`");
        assert_eq!(why(&files(&[]), &a), "the reference has no outputs");
        let more = files(&[("x.npy", floats(&[2], &[1.0, 2.0])), ("y.npy", floats(&[1], &[1.0]))]);
        assert_eq!(why(&a, &more), "the reference has no output `y.npy`");
        let wide = files(&[("x.npy", floats(&[1, 2], &[1.0, 2.0]))]);
        assert_eq!(why(&a, &wide), "the output `x.npy` has the shape 1 × 2, the reference's 2");
        let broken = files(&[("x.npy", b"hello".to_vec())]);
        assert_eq!(why(&a, &broken), "this cell's output `x.npy`: is no `.npy` file");
    }
}
