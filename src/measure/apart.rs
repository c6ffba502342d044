//! How far two tensors are apart: one pass over both, slice by slice, without a copy of either.
//!
//! A slice is what one step along the first dimension holds: the position of a language model, the item of a batch; a
//! tensor with fewer than two dimensions is one slice. Values are taken as `f64`. The relative error of a value is its
//! absolute error over the largest magnitude of the reference's output, of a language model of the reference's
//! position, since a value near zero has no meaningful relative error of its own. A NaN or an infinity agrees with
//! nothing, not even with its like: the two can't be compared.

use pipe_engine::tensor::Element;

use super::npy::Array;
use super::parity::{Fault, FaultKind, OutputFigures, TopK, Worst};
use super::tolerance::Spot;
use super::ulp::Grain;

/// How two tensors are compared.
#[derive(Debug, Clone, Copy)]
pub struct How<'a> {
    /// Whose the two are, in words.
    pub whose: [&'a str; 2],
    /// The slices are positions of a language model.
    pub positions: bool,
    pub grain: Grain,
    pub top_k: u32,
}

/// The figures of two tensors of one shape; `also` sees each slice of both.
pub fn apart(
    name: &str,
    reference: &Array<'_>,
    own: &Array<'_>,
    how: How<'_>,
    mut also: impl FnMut(&[f64], &[f64]),
) -> Result<OutputFigures, Fault> {
    let shape = &reference.shape;
    let values = reference.data.len() / reference.element.size();
    let slices = if shape.len() < 2 { 1 } else { shape[0].max(1) as usize };
    let width = values / slices;
    let row = shape.last().map_or(1, |last| *last as usize).max(1);
    let mut found = Found::new(shape, how);
    let (mut left, mut right) = (Vec::new(), Vec::new());
    for slice in 0..if values == 0 { 0 } else { slices } {
        let first = slice * width;
        read(reference, first, width, &mut left);
        read(own, first, width, &mut right);
        if let Some(off) = left.iter().zip(&right).position(|(l, r)| !(l.is_finite() && r.is_finite())) {
            let spot = Spot { output: name.to_owned(), at: place(shape, first + off), tokens: how.positions };
            return Err(not_finite(left[off], right[off], &spot, how.whose));
        }
        found.see(slice, first, &left, &right);
        for (i, (l, r)) in left.chunks_exact(row).zip(right.chunks_exact(row)).enumerate() {
            found.see_row(first + i * row, l, r);
        }
        also(&left, &right);
    }
    Ok(found.end(name, values))
}

/// What was found so far.
struct Found<'a> {
    shape: &'a [u64],
    how: How<'a>,
    abs: (f64, usize),
    rel: (f64, usize),
    ulp: (f64, usize),
    /// The cosine, and its slice.
    cosine: (f64, usize),
    sum: f64,
    scale: f64,
    /// Agreeing and all of the best values; the worst row, and how many of its best agree.
    top: (u64, u64),
    worst_row: Option<(usize, usize)>,
}

impl<'a> Found<'a> {
    fn new(shape: &'a [u64], how: How<'a>) -> Found<'a> {
        let none = (0.0, 0);
        let cosine = (1.0, 0);
        Found {
            shape,
            how,
            abs: none,
            rel: none,
            ulp: none,
            cosine,
            sum: 0.0,
            scale: 0.0,
            top: (0, 0),
            worst_row: None,
        }
    }

    fn see(&mut self, slice: usize, first: usize, left: &[f64], right: &[f64]) {
        let mut abs = (0.0, 0);
        let (mut scale, mut own_scale) = (0.0f64, 0.0f64);
        for (i, (&l, &r)) in left.iter().zip(right).enumerate() {
            let off = (l - r).abs();
            keep_larger(&mut abs, off, first + i);
            if off > 0.0 {
                keep_larger(&mut self.ulp, self.how.grain.apart(l, r), first + i);
            }
            self.sum += off;
            scale = scale.max(l.abs());
            own_scale = own_scale.max(r.abs());
        }
        keep_larger(&mut self.abs, abs.0, abs.1);
        self.scale = self.scale.max(scale);
        if self.how.positions {
            keep_larger(&mut self.rel, relative(abs.0, scale), abs.1);
        }
        let cosine = if abs.0 == 0.0 { 1.0 } else { cosine(left, scale, right, own_scale) };
        if cosine < self.cosine.0 {
            self.cosine = (cosine, slice);
        }
    }

    /// A row is what lies along the last dimension; one of no more than k values has all of them among its best.
    fn see_row(&mut self, first: usize, left: &[f64], right: &[f64]) {
        let k = self.how.top_k as usize;
        if k == 0 || k >= left.len() {
            return;
        }
        let agree = if left == right { k } else { top_k(left, right, k) };
        self.top.0 += agree as u64;
        self.top.1 += k as u64;
        if self.worst_row.is_none_or(|(_, least)| agree < least) {
            self.worst_row = Some((first, agree));
        }
    }

    fn end(mut self, name: &str, values: usize) -> OutputFigures {
        if !self.how.positions {
            self.rel = (relative(self.abs.0, self.scale), self.abs.1);
        }
        let worst = |(value, at): (f64, usize)| Worst { value, at: place(self.shape, at) };
        let slice = if self.shape.len() < 2 { Vec::new() } else { vec![self.cosine.1 as u64] };
        let top_k = self.worst_row.map(|(first, _)| {
            let mut at = place(self.shape, first);
            at.pop();
            TopK { k: self.how.top_k, share: self.top.0 as f64 / self.top.1 as f64, at }
        });
        OutputFigures {
            name: name.to_owned(),
            shape: self.shape.to_vec(),
            grain: self.how.grain,
            values: values as u64,
            max_abs: worst(self.abs),
            max_rel: worst(self.rel),
            max_ulp: worst(self.ulp),
            // Outputs without a value, as of a detector that found nothing, are as equal as can be.
            mean_abs: if values == 0 { 0.0 } else { self.sum / values as f64 },
            cosine: Worst { value: self.cosine.0, at: slice },
            top_k,
        }
    }
}

fn keep_larger(worst: &mut (f64, usize), value: f64, at: usize) {
    if value > worst.0 {
        *worst = (value, at);
    }
}

fn relative(off: f64, scale: f64) -> f64 {
    if off > 0.0 { off / scale } else { 0.0 }
}

/// The cosine of the angle between two vectors with these largest magnitudes, by which they are divided: no square
/// overflows or vanishes. Two vectors of zeros are the same; one has no angle with anything else, which is 0.
fn cosine(left: &[f64], scale: f64, right: &[f64], own_scale: f64) -> f64 {
    if scale == 0.0 || own_scale == 0.0 {
        return if scale == own_scale { 1.0 } else { 0.0 };
    }
    let (mut dot, mut l2, mut r2) = (0.0, 0.0, 0.0);
    for (l, r) in left.iter().zip(right) {
        let (l, r) = (l / scale, r / own_scale);
        dot += l * r;
        l2 += l * l;
        r2 += r * r;
    }
    (dot / (l2.sqrt() * r2.sqrt())).clamp(-1.0, 1.0)
}

/// How many of the cell's k best values are at least the reference's k-th best there: without ties, how many of the
/// k best are the same. Of equal values of the cell the first is the better one.
fn top_k(left: &[f64], right: &[f64], k: usize) -> usize {
    let mut sorted = left.to_vec();
    let (_, least, _) = sorted.select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a));
    let least = *least;
    let mut order: Vec<usize> = (0..right.len()).collect();
    order.select_nth_unstable_by(k - 1, |a, b| right[*b].total_cmp(&right[*a]).then(a.cmp(b)));
    order[..k].iter().filter(|at| left[**at] >= least).count()
}

/// The place of a value in the tensor.
pub fn place(shape: &[u64], mut flat: usize) -> Vec<u64> {
    let mut at = vec![0; shape.len()];
    for (at, dim) in at.iter_mut().zip(shape).rev() {
        let dim = (*dim).max(1) as usize;
        *at = (flat % dim) as u64;
        flat /= dim;
    }
    at
}

fn not_finite(reference: f64, own: f64, spot: &Spot, [theirs, ours]: [&str; 2]) -> Fault {
    let what = |value: f64| if value.is_nan() { "a NaN" } else { "an infinity" };
    let whose = match (reference.is_finite(), own.is_finite()) {
        (true, _) => format!("{ours}'s output has {}", what(own)),
        (false, true) => format!("{theirs}'s output has {}", what(reference)),
        (false, false) => format!("both outputs have {}, which is no agreement,", what(reference)),
    };
    Fault { kind: FaultKind::NotFinite, text: format!("{whose} in {spot}") }
}

/// Values as numbers; whole ones beyond 2^53 lose their last digits.
fn read(array: &Array<'_>, first: usize, count: usize, into: &mut Vec<f64>) {
    let size = array.element.size();
    let bytes = array.data.get(first * size..(first + count) * size).unwrap_or_default();
    into.clear();
    into.extend(bytes.chunks_exact(size).map(|bytes| value(array.element, bytes)));
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

#[cfg(test)]
mod tests;
