//! Figures of two tensors against their closed forms.

use proptest::prelude::*;

use super::super::npy::{read as array, write, write_bytes};
use super::*;

fn how(top_k: u32) -> How<'static> {
    How { whose: ["the reference", "this cell"], positions: false, grain: Grain::Fp32, top_k }
}

fn figures(shape: &[u64], a: &[f32], b: &[f32], how: How) -> Result<OutputFigures, Fault> {
    let (a, b) = (write(shape, a), write(shape, b));
    apart("y", &array(&a).unwrap(), &array(&b).unwrap(), how, |_, _| {})
}

fn worst(value: f64, at: &[u64]) -> Worst {
    Worst { value, at: at.to_vec() }
}

#[test]
fn figures_by_hand_with_the_place_of_each() {
    let found = figures(&[2, 3], &[1.0, 4.0, 2.0, -8.0, 0.5, 0.25], &[1.0, 4.0, 2.5, -8.0, 0.25, 0.5], how(1)).unwrap();
    assert_eq!(found.max_abs, worst(0.5, &[0, 2]));
    assert_eq!(found.max_rel, worst(0.5 / 8.0, &[0, 2]), "of the largest magnitude in the whole output");
    assert_eq!(found.mean_abs, 1.0 / 6.0);
    assert_eq!(found.max_ulp, worst(8_388_608.0, &[1, 1]), "from a half to a quarter is one exponent");
    assert_eq!(found.top_k, Some(TopK { k: 1, share: 0.5, at: vec![1] }));
    let positions = How { positions: true, ..how(2) };
    let found =
        figures(&[2, 3], &[1.0, 4.0, 2.0, -8.0, 0.5, 0.25], &[1.0, 4.0, 2.5, -8.0, 0.25, 0.5], positions).unwrap();
    assert_eq!(found.max_rel, worst(0.125, &[0, 2]), "of the largest magnitude at that position");
}

#[test]
fn the_cosine_is_that_of_the_angle() {
    let cosine = |shape: &[u64], a: &[f32], b: &[f32]| figures(shape, a, b, how(5)).unwrap().cosine;
    let close = |found: Worst, value: f64| assert!((found.value - value).abs() < 1e-12, "{found:?}, not {value}");
    close(cosine(&[2], &[1.0, 0.0], &[0.0, 3.0]), 0.0);
    close(cosine(&[2], &[1.0, 0.0], &[-2.0, 0.0]), -1.0);
    close(cosine(&[2], &[1.0, 0.0], &[1.0, 1.0]), 0.5f64.sqrt());
    close(cosine(&[3], &[1.0, 2.0, 3.0], &[7.0, 14.0, 21.0]), 1.0);
    let (huge, tiny) = (2f32.powi(120), f32::from_bits);
    close(cosine(&[2], &[3.0 * huge, huge], &[tiny(7), tiny(2)]), 23.0 / 530f64.sqrt());
    assert_eq!(cosine(&[2], &[0.0, 0.0], &[0.0, -0.0]).value, 1.0, "nothing and nothing are the same");
    assert_eq!(cosine(&[2], &[0.0, 0.0], &[1e-30, 0.0]).value, 0.0, "and nothing has an angle with something");
    assert_eq!(cosine(&[2], &[1e-30, 0.0], &[0.0, 0.0]).value, 0.0);
    // One wrong item of a batch is not hidden by the others.
    assert_eq!(cosine(&[3, 2], &[9.0, 0.0, 0.0, 1.0, 9.0, 0.0], &[9.0, 0.0, 1.0, 0.0, 9.0, 0.0]), worst(0.0, &[1]));
}

#[test]
fn cosines_of_doubles_neither_overflow_nor_vanish() {
    let doubles = |values: [f64; 2]| write_bytes(Element::Float64, &[2], values.map(f64::to_le_bytes).concat());
    for scale in [1e300, 1e-300, 1e-320] {
        let (a, b) = (doubles([scale, 2.0 * scale]), doubles([2.0 * scale, 4.0 * scale]));
        let found =
            apart("y", &array(&a).unwrap(), &array(&b).unwrap(), How { grain: Grain::Fp64, ..how(5) }, |_, _| {});
        assert!((found.unwrap().cosine.value - 1.0).abs() < 1e-12, "{scale:e}");
    }
}

#[test]
fn ties_are_no_disagreement() {
    let top = |a: &[f32], b: &[f32], k| figures(&[a.len() as u64], a, b, how(k)).unwrap().top_k.map(|top| top.share);
    assert_eq!(top(&[3.0, 2.0, 2.0, 1.0], &[3.0, 1.9, 2.0, 1.0], 2), Some(1.0), "either of the twos is the second");
    assert_eq!(top(&[3.0, 2.0, 1.0], &[1.0, 2.0, 3.0], 2), Some(0.5));
    assert_eq!(top(&[3.0, 2.0, 1.0], &[1.0, 2.0, 3.0], 1), Some(0.0));
    assert_eq!(top(&[3.0, 2.0, 1.0], &[1.0, 2.0, 3.0], 3), None, "all of three say nothing");
}

#[test]
fn what_is_not_finite_agrees_with_nothing() {
    let why = |a: f32, b: f32| figures(&[2, 1], &[1.0, a], &[1.0, b], how(5)).unwrap_err();
    let (nan, inf) = (f32::NAN, f32::INFINITY);
    assert_eq!(why(1.0, nan).text, "this cell's output has a NaN in `y` at [1, 0]");
    assert_eq!(why(nan, 1.0).text, "the reference's output has a NaN in `y` at [1, 0]");
    assert_eq!(why(1.0, -inf).text, "this cell's output has an infinity in `y` at [1, 0]");
    assert_eq!(why(inf, inf).text, "both outputs have an infinity, which is no agreement, in `y` at [1, 0]");
    assert_eq!(why(nan, nan).kind, FaultKind::NotFinite);
}

#[test]
fn tensors_without_values_and_single_ones_are_compared() {
    let none = figures(&[0, 4], &[], &[], how(5)).unwrap();
    assert_eq!((none.values, none.max_abs.value, none.mean_abs, none.cosine.value), (0, 0.0, 0.0, 1.0));
    let one = figures(&[], &[0.5], &[0.25], how(5)).unwrap();
    assert_eq!((one.max_abs, one.cosine, one.top_k), (worst(0.25, &[]), worst(1.0, &[]), None));
}

#[test]
fn numbers_of_every_type_are_read() {
    let check = |element: Element, bytes: &[u8], wanted: f64| assert_eq!(value(element, bytes), wanted, "{element:?}");
    check(Element::Bool, &[1], 1.0);
    check(Element::Uint8, &[200], 200.0);
    check(Element::Int8, &[0xff], -1.0);
    check(Element::Int32, &(-7i32).to_le_bytes(), -7.0);
    check(Element::Int64, &(1i64 << 40).to_le_bytes(), (1i64 << 40) as f64);
    check(Element::Float64, &0.1f64.to_le_bytes(), 0.1);
    check(Element::Float16, &[0x00, 0xc0], -2.0);
    check(Element::Float16, &[0x01, 0x00], 2f64.powi(-24));
    check(Element::Float16, &[0xff, 0x7b], 65504.0);
    check(Element::Float16, &[0x00, 0x7c], f64::INFINITY);
}

fn vectors() -> impl Strategy<Value = (Vec<f32>, Vec<f32>)> {
    (1usize..40).prop_flat_map(|n| {
        let value = || prop::collection::vec(-1e3f32..1e3, n);
        (value(), value())
    })
}

proptest! {
    #[test]
    fn what_is_equal_is_equal_by_every_figure((a, _) in vectors(), k in 1u32..8) {
        let found = figures(&[a.len() as u64], &a, &a, how(k)).unwrap();
        prop_assert_eq!((found.max_abs.value, found.max_rel.value, found.max_ulp.value), (0.0, 0.0, 0.0));
        prop_assert_eq!(found.cosine.value, 1.0);
        prop_assert!(found.top_k.is_none_or(|top| top.share == 1.0));
    }

    #[test]
    fn figures_hold_what_their_names_say((a, b) in vectors(), k in 1u32..8) {
        let found = figures(&[a.len() as u64], &a, &b, how(k)).unwrap();
        let off = |i: usize| f64::from(a[i]) - f64::from(b[i]);
        let most = (0..a.len()).map(|i| off(i).abs()).fold(0.0, f64::max);
        prop_assert_eq!(found.max_abs.value, most);
        prop_assert_eq!(off(found.max_abs.at[0] as usize).abs(), most);
        prop_assert!(found.mean_abs <= most);
        prop_assert!((-1.0..=1.0).contains(&found.cosine.value));
        if let Some(top) = found.top_k {
            // Without ties it is the size of what two sets share.
            let best = |v: &[f32]| {
                let mut order: Vec<usize> = (0..v.len()).collect();
                order.sort_by(|i, j| v[*j].total_cmp(&v[*i]));
                order[..k as usize].to_vec()
            };
            let (ours, theirs) = (best(&a), best(&b));
            let shared = ours.iter().filter(|i| theirs.contains(i)).count();
            prop_assert_eq!(top.share, shared as f64 / f64::from(k));
        }
    }

    #[test]
    fn scaling_changes_no_angle((a, b) in vectors(), scale in 1e-3f32..1e3) {
        let cosine = |a: &[f32], b: &[f32]| figures(&[a.len() as u64], a, b, how(5)).unwrap().cosine.value;
        let scaled: Vec<f32> = a.iter().map(|x| x * scale).collect();
        prop_assume!(a.iter().any(|x| x.abs() > 1e-3) && b.iter().any(|x| x.abs() > 1e-3));
        prop_assert!((cosine(&a, &scaled) - 1.0).abs() < 1e-6);
        prop_assert!((cosine(&a, &b) - cosine(&scaled, &b)).abs() < 1e-5);
    }
}
