//! How many representable numbers lie between two values: units in the last place (ULP).
//!
//! Numbers of a floating-point type are counted along the line from zero: the smallest one is 1, its neighbour 2, and
//! so on through every exponent, negative ones below zero. Two values are as many ULP apart as their places on that
//! count, so neighbours are 1 apart, also across zero and where the exponent changes. A value of a wider type lies
//! between two places, and exponents above the type's go on: nothing is rounded and nothing overflows.

use pipe_engine::message::Dtype;
use pipe_engine::tensor::Element;

/// The numbers that a type can hold, from the coarsest: what comes first is narrower.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grain {
    Bf16,
    Fp16,
    Fp32,
    Fp64,
    /// Whole numbers and truth values, each 1 from the next.
    Whole,
}

impl Grain {
    /// The grain of a file's values.
    pub fn of_element(element: Element) -> Grain {
        match element {
            Element::Float16 => Grain::Fp16,
            Element::Float32 => Grain::Fp32,
            Element::Float64 => Grain::Fp64,
            Element::Bool | Element::Uint8 | Element::Int8 | Element::Int32 | Element::Int64 => Grain::Whole,
        }
    }

    /// The grain of a model's arithmetic.
    pub fn of_dtype(dtype: Dtype) -> Grain {
        match dtype {
            Dtype::Fp32 => Grain::Fp32,
            Dtype::Fp16 => Grain::Fp16,
            Dtype::Bf16 => Grain::Bf16,
        }
    }

    /// The narrowest of the types that two outputs are in and of those that they were calculated in: engines write
    /// what 16 bits gave as `float32`. Whole numbers stay whole unless the other side has none.
    pub fn narrowest(elements: [Element; 2], dtypes: [Dtype; 2]) -> Grain {
        let [a, b] = elements.map(Grain::of_element);
        match a.min(b) {
            Grain::Whole => Grain::Whole,
            float => dtypes.into_iter().map(Grain::of_dtype).fold(float, Grain::min),
        }
    }

    /// The name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Grain::Bf16 => "bf16",
            Grain::Fp16 => "fp16",
            Grain::Fp32 => "fp32",
            Grain::Fp64 => "fp64",
            Grain::Whole => "whole numbers",
        }
    }

    /// The grain of this name.
    pub fn parse(name: &str) -> Option<Grain> {
        [Grain::Bf16, Grain::Fp16, Grain::Fp32, Grain::Fp64, Grain::Whole]
            .into_iter()
            .find(|grain| grain.name() == name)
    }

    /// Bits of the fraction, and the exponent of the smallest normal number.
    fn format(self) -> Option<(i32, i32)> {
        match self {
            Grain::Bf16 => Some((7, -126)),
            Grain::Fp16 => Some((10, -14)),
            Grain::Fp32 => Some((23, -126)),
            Grain::Fp64 | Grain::Whole => None,
        }
    }

    /// How many ULP two finite values are apart.
    pub fn apart(self, a: f64, b: f64) -> f64 {
        match self.format() {
            Some(format) => (place(a, format) - place(b, format)).abs(),
            None if self == Grain::Fp64 => (ordered(a) - ordered(b)).unsigned_abs() as f64,
            None => (a - b).abs(),
        }
    }
}

/// Where a value lies on the count of a type's numbers. A place of 32 bits and 21 further ones fit into a `f64`.
fn place(value: f64, (fraction, least): (i32, i32)) -> f64 {
    let bits = value.abs().to_bits();
    // A `f64` below its own normal numbers counts as one of the smallest of them: it lies far below all of these.
    let exponent = ((bits >> 52) as i32 - 1023).max(least);
    // Both factors are powers of two: only what is far smaller than a ULP is lost.
    let steps = value.abs() * power_of_two(fraction - exponent);
    (f64::from(exponent - least) * power_of_two(fraction) + steps).copysign(value)
}

/// 2 to the power of `n`, which is within the normal numbers: exponents here lie between -126 and 1023.
fn power_of_two(n: i32) -> f64 {
    f64::from_bits(((1023 + i64::from(n)) as u64) << 52)
}

/// The same for `f64` itself, exact.
fn ordered(value: f64) -> i128 {
    let bits = i128::from(value.abs().to_bits());
    if value.is_sign_negative() { -bits } else { bits }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn neighbours_are_one_apart_everywhere() {
        for value in [1.0f32, 0.5, 1.9999999, 2.0, 3.4e38, 1e-45, 1.1754944e-38, 1.1754942e-38, -1.0, -1e-40] {
            let apart = Grain::Fp32.apart(f64::from(value), f64::from(value.next_up()));
            assert_eq!(apart, 1.0, "{value:e}");
        }
        let tiny = f64::from(f32::from_bits(1));
        assert_eq!(Grain::Fp32.apart(0.0, tiny), 1.0);
        assert_eq!(Grain::Fp32.apart(-0.0, 0.0), 0.0);
        assert_eq!(Grain::Fp32.apart(-tiny, tiny), 2.0);
        assert_eq!(Grain::Fp64.apart(-f64::from_bits(1), f64::from_bits(1)), 2.0);
        assert_eq!(Grain::Fp64.apart(1.0, 1.0f64.next_up()), 1.0);
    }

    #[test]
    fn sixteen_bits_have_their_own_steps() {
        assert_eq!(Grain::Fp16.apart(1.0, 1.0 + 2f64.powi(-10)), 1.0);
        assert_eq!(Grain::Bf16.apart(1.0, 1.0 + 2f64.powi(-7)), 1.0);
        assert_eq!(Grain::Bf16.apart(2.0 - 2f64.powi(-7), 2.0), 1.0);
        assert_eq!(Grain::Fp16.apart(0.0, 2f64.powi(-24)), 1.0);
        // A number between two is a part of a step away, and one beyond the largest is not near it.
        assert_eq!(Grain::Fp16.apart(1.0, 1.0 + 2f64.powi(-12)), 0.25);
        assert!(Grain::Fp16.apart(65504.0, 1e9) > 10_000.0);
        assert_eq!(Grain::Whole.apart(-3.0, 4.0), 7.0);
    }

    #[test]
    fn the_narrower_type_counts() {
        use Element::{Float16, Float32, Float64, Int64};
        let narrowest = |a, b, dtype| Grain::narrowest([a, b], [Dtype::Fp32, dtype]);
        assert_eq!(narrowest(Float32, Float32, Dtype::Fp32), Grain::Fp32);
        assert_eq!(narrowest(Float32, Float32, Dtype::Bf16), Grain::Bf16, "what a file of float32 holds came of bf16");
        assert_eq!(narrowest(Float32, Float16, Dtype::Fp32), Grain::Fp16);
        assert_eq!(narrowest(Float64, Float64, Dtype::Fp32), Grain::Fp32);
        assert_eq!(narrowest(Int64, Int64, Dtype::Bf16), Grain::Whole);
        assert_eq!(narrowest(Int64, Float32, Dtype::Fp32), Grain::Fp32);
    }

    /// The textbook's own: bits as a signed count.
    fn by_bits(a: f32, b: f32) -> f64 {
        let count = |x: f32| {
            let bits = i64::from(x.abs().to_bits());
            if x.is_sign_negative() { -bits } else { bits }
        };
        (count(a) - count(b)).abs() as f64
    }

    proptest! {
        #[test]
        fn places_are_those_of_the_bits(a in any::<u32>(), b in any::<u32>()) {
            let (a, b) = (f32::from_bits(a), f32::from_bits(b));
            prop_assume!(a.is_finite() && b.is_finite());
            prop_assert_eq!(Grain::Fp32.apart(a.into(), b.into()), by_bits(a, b));
        }

        #[test]
        fn it_is_a_distance(a in any::<f32>(), b in any::<f32>(), c in any::<f32>()) {
            prop_assume!(a.is_finite() && b.is_finite() && c.is_finite());
            for grain in [Grain::Bf16, Grain::Fp16, Grain::Fp32, Grain::Fp64] {
                let apart = |x: f32, y: f32| grain.apart(x.into(), y.into());
                prop_assert_eq!(apart(a, b), apart(b, a));
                prop_assert_eq!(apart(a, b) == 0.0, a == b);
                prop_assert!(apart(a, c) <= (apart(a, b) + apart(b, c)) * (1.0 + 1e-12));
            }
        }
    }
}
