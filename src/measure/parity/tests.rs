//! Verdicts: each bound within and beyond, and what can't be compared.

use super::super::npy::{write, write_bytes};
use super::super::tolerance::OutputTolerance;
use super::*;
use crate::pipeline::Bound;
use pipe_engine::tensor::Element;

fn files(named: &[(&str, Vec<u8>)]) -> Files<'static> {
    named.iter().map(|(name, bytes)| ((*name).to_owned(), Cow::Owned(bytes.clone()))).collect()
}

fn side<'a>(files: &'a Files<'a>, is_sequence: bool) -> Side<'a> {
    Side { whose: CELL, files, dtype: Dtype::Fp32, is_sequence }
}

fn compared(a: &Files<'_>, b: &Files<'_>, is_sequence: bool, tolerance: &Tolerance) -> ParityResult {
    parity(Side { whose: REFERENCE, ..side(a, is_sequence) }, side(b, is_sequence), tolerance)
}

/// The verdict on logits of these rows, as text.
fn tokens(rows: u64, a: &[f32], b: &[f32], tolerance: &Tolerance) -> String {
    let shape = [rows, a.len() as u64 / rows];
    let (a, b) = (write(&shape, a), write(&shape, b));
    said(compared(&logits(&a), &logits(&b), true, tolerance))
}

fn said(result: ParityResult) -> String {
    match result.verdict {
        ParityVerdict::Pass => "pass".to_owned(),
        ParityVerdict::Beyond(breaches) => breaches.iter().map(Breach::to_string).collect::<Vec<_>>().join("; "),
        ParityVerdict::Odd(fault) => format!("{}: {fault}", fault.kind.name()),
        ParityVerdict::Uncalibrated(why) => format!("uncalibrated: {why}"),
    }
}

#[test]
fn figures_of_tokens_by_hand() {
    let a = write(&[2, 3], &[1.0, 4.0, 2.0, -8.0, 0.5, 0.25]);
    let b = write(&[2, 3], &[1.0, 4.0, 2.5, -8.0, 0.25, 0.5]);
    let result = compared(&logits(&a), &logits(&b), true, &Tolerance::of(Bound::MaxAbs, 1e-3));
    let figures = result.figures.clone().unwrap();
    let found = figures.tokens.unwrap();
    assert_eq!((found.positions, found.vocabulary), (2, 3));
    assert_eq!((figures.max_abs(), figures.max_rel(), figures.mean_abs()), (0.5, 0.125, 1.0 / 6.0));
    assert_eq!(found.top1, Agreement { agree: 1, of: 2 });
    assert_eq!(found.top1_clear, Agreement { agree: 1, of: 2 });
    assert_eq!((found.greedy_prefix, found.first_clear_miss), (1, Some(1)));
    assert_eq!(
        said(result),
        "largest absolute error 5.00e-1 is above 1e-3, worst in `logits` at position 0, token 2; another token is the \
         best at 1 of 2 clear positions, first in `logits` at position 1"
    );
}

#[test]
fn a_close_call_may_flip_and_without_a_distance_nothing_is_clear() {
    let (a, b) = ([1.0, 1.0005], [1.0004, 1.0001]);
    assert_eq!(tokens(1, &a, &b, &Tolerance::of(Bound::MaxAbs, 1e-3)), "pass");
    assert_eq!(tokens(1, &[1.0, 9.0], &[9.0, 1.0], &Tolerance::of(Bound::MinCosine, 0.1)), "pass");
}

/// Two positions; the second prefers another token, by a little.
const A: [f32; 8] = [4.0, 1.0, 2.0, 3.0, 1.0, 1.25, 3.0, 1.5];
const B: [f32; 8] = [4.0, 1.0, 2.0, 3.0, 1.0, 1.25, 2.5, 2.625];

#[test]
fn each_bound_holds_up_to_its_limit_and_says_where_it_does_not() {
    let top = |limit: f64| Tolerance { top_k: 1, ..Tolerance::of(Bound::MinTopK, limit) };
    let cases: [(Bound, f64, f64, &str); 6] = [
        (
            Bound::MaxAbs,
            1.125,
            1.0,
            "largest absolute error 1.12e0 is above 1e0, worst in `logits` at position 1, token 3",
        ),
        (
            Bound::MaxRel,
            0.375,
            0.1,
            "largest relative error 3.75e-1 is above 1e-1, worst in `logits` at position 1, token 3",
        ),
        (
            Bound::MaxUlp,
            6.9e6,
            7.0,
            "largest distance 6.8e6 ULP is above 7 ULP, worst in `logits` at position 1, token 3",
        ),
        (Bound::MinCosine, 0.9, 0.96, "cosine 0.951 is below 0.96, worst in `logits` at position 1"),
        (Bound::MinTopK, 0.5, 0.75, "top-k agreement 50 % is below 75 %, worst in `logits` at position 1"),
        (Bound::MinGreedyPrefix, 1.0, 2.0, "greedy prefix 1 is below 2, it ends in `logits` at position 1"),
    ];
    for (bound, loose, tight, words) in cases {
        let tolerance = |limit| if bound == Bound::MinTopK { top(limit) } else { Tolerance::of(bound, limit) };
        assert_eq!(tokens(2, &A, &B, &tolerance(loose)), "pass", "{bound:?}");
        let found = tokens(2, &A, &B, &tolerance(tight));
        assert!(found.starts_with(words), "{bound:?}: {found}");
        assert_eq!(tokens(2, &A, &A, &tolerance(if bound.is_least() { tight.min(1.0) } else { 0.0 })), "pass");
    }
}

#[test]
fn all_outputs_are_judged_and_the_worst_is_named() {
    let a = files(&[("x.npy", write(&[2], &[1.0, -8.0])), ("y.npy", write(&[], &[0.5]))]);
    let b = files(&[("x.npy", write(&[2], &[1.25, -8.0])), ("y.npy", write(&[], &[0.0]))]);
    let tolerance = Tolerance::of(Bound::MaxAbs, 1e-3);
    let result = compared(&a, &b, false, &tolerance);
    let figures = result.figures.clone().unwrap();
    assert_eq!((figures.max_abs(), figures.max_rel(), figures.mean_abs(), figures.tokens), (0.5, 1.0, 0.25, None));
    assert_eq!(said(result), "largest absolute error 5.00e-1 is above 1e-3, worst in `y`");
    assert_eq!(said(compared(&a, &a, false, &tolerance)), "pass");
}

#[test]
fn an_output_may_have_limits_of_its_own_or_be_left_out() {
    let a = files(&[("a_b.npy", write(&[2], &[1.0, 2.0])), ("y.npy", write(&[2], &[1.0, 2.0]))]);
    let b = files(&[("a_b.npy", write(&[2], &[1.0, 2.5])), ("y.npy", write(&[3], &[f32::NAN; 3]))]);
    let rule =
        |name: &str, ignore, limits: &[_]| OutputTolerance { name: name.into(), ignore, limits: limits.to_vec() };
    let with = |rules: &[OutputTolerance]| Tolerance { outputs: rules.to_vec(), ..Tolerance::of(Bound::MaxAbs, 1e-3) };
    let (own, out) = (rule("a/b", false, &[(Bound::MaxAbs, 0.5)]), rule("y", true, &[]));
    assert_eq!(said(compared(&a, &b, false, &with(&[own.clone(), out.clone()]))), "pass");
    assert!(
        said(compared(&a, &b, false, &with(std::slice::from_ref(&out)))).contains("above 1e-3, worst in `a_b` at [1]")
    );
    assert!(said(compared(&a, &b, false, &with(&[own]))).starts_with("shape: "));
    let stray = rule("z", false, &[(Bound::MaxUlp, 1.0)]);
    let found = said(compared(&a, &a, false, &with(&[stray])));
    assert_eq!(found, "no-such-output: `parity` has a limit for the output `z`; there is `a_b`, `y`");
    let all = [rule("a/b", true, &[]), out];
    assert_eq!(said(compared(&a, &b, false, &with(&all))), "nothing: the reference has no outputs to compare");
}

#[test]
fn a_limit_that_nothing_can_be_held_against_is_no_agreement() {
    let a = files(&[("x.npy", write(&[2], &[1.0, 2.0]))]);
    let of = |bound| said(compared(&a, &a, false, &Tolerance::of(bound, 0.5)));
    assert_eq!(
        of(Bound::MinGreedyPrefix),
        "not-judgeable: `min-greedy-prefix`: only a language model has a greedy prefix"
    );
    assert_eq!(of(Bound::MinTopK), "not-judgeable: `min-top-k`: no output has rows of more than 5 values");
}

#[test]
fn what_can_not_be_compared_is_wrong_in_its_own_way() {
    let tolerance = Tolerance::of(Bound::MaxAbs, 1e9);
    let of = |a: &Files<'_>, b: &Files<'_>| said(compared(a, b, false, &tolerance));
    let x = |bytes: Vec<u8>| files(&[("x.npy", bytes)]);
    let plain = x(write(&[2], &[1.0, 2.0]));
    assert_eq!(of(&plain, &files(&[])), "missing-output: this cell has no output `x`");
    assert_eq!(of(&files(&[]), &plain), "extra-output: the reference has no output `x`");
    assert_eq!(of(&files(&[]), &files(&[])), "nothing: the reference has no outputs to compare");
    let wide = x(write(&[1, 2], &[1.0, 2.0]));
    assert_eq!(of(&plain, &wide), "shape: this cell's output `x` has the shape 1 × 2, the reference's 2");
    assert_eq!(of(&plain, &x(b"hello".to_vec())), "unreadable: this cell's output `x`: not a `.npy` file");
    let nan = x(write(&[2], &[1.0, f32::NAN]));
    assert_eq!(of(&plain, &nan), "not-finite: this cell's output has a NaN in `x` at [1]");
    assert_eq!(of(&nan, &nan), "not-finite: both outputs have a NaN, which is no agreement, in `x` at [1]");
    let sequence = |bytes: &[u8]| said(compared(&logits(bytes), &logits(bytes), true, &tolerance));
    assert_eq!(
        sequence(&write(&[0, 2], &[])),
        "nothing: logits have positions and a vocabulary, and these the shape 0 × 2"
    );
    assert_eq!(
        sequence(&write(&[2], &[1.0, 2.0])),
        "nothing: logits have positions and a vocabulary, and these the shape 2"
    );
}

#[test]
fn a_file_of_another_type_is_compared_by_value_in_steps_of_the_narrower() {
    let a = files(&[("x.npy", write(&[1], &[1.0]))]);
    let half = files(&[("x.npy", write_bytes(Element::Float16, &[1], vec![0x01, 0x3c]))]);
    let figures = compared(&a, &half, false, &Tolerance::of(Bound::MaxUlp, 1.0)).figures.unwrap();
    assert_eq!((figures.max_ulp(), figures.outputs[0].grain), (1.0, Grain::Fp16));
    let b = files(&[("x.npy", write(&[1], &[1.0078125]))]);
    let own = Side { dtype: Dtype::Bf16, ..side(&b, false) };
    let figures = parity(side(&a, false), own, &Tolerance::of(Bound::MaxUlp, 1.0)).figures.unwrap();
    assert_eq!((figures.max_ulp(), figures.outputs[0].grain), (1.0, Grain::Bf16));
}

#[test]
fn noise_makes_a_limit_for_each_output_and_its_lack_none() {
    let a = files(&[("x.npy", write(&[2], &[1.0, 2.0])), ("y.npy", write(&[2], &[1.0, 2.0]))]);
    let exact = files(&[("x.npy", write(&[2], &[1.0, 2.5])), ("y.npy", write(&[2], &[1.0, 2.0]))]);
    let b = files(&[("x.npy", write(&[2], &[2.0, 2.0])), ("y.npy", write(&[2], &[1.0, 2.0]))]);
    let plain = Tolerance::default();
    let found = noise(
        Side { whose: REFERENCE, ..side(&a, false) },
        Side { whose: "the exact run", ..side(&exact, false) },
        &plain,
    );
    assert_eq!(found, Ok(vec![("x".to_owned(), 0.5), ("y".to_owned(), 0.0)]));
    let with = |k: f64, noise: &super::super::tolerance::Noise| Tolerance {
        calibrated: Some(super::super::tolerance::Calibrated { k, noise: noise.clone() }),
        ..Tolerance::default()
    };
    assert_eq!(said(compared(&a, &b, false, &with(2.0, &found))), "pass");
    let words = "largest absolute error 1.00e0 is above 7.50e-1, 1.5 × the reference's own noise of 5.00e-1, worst in `x` at [0]";
    assert_eq!(said(compared(&a, &b, false, &with(1.5, &found))), words);
    // An output without noise, as one of whole numbers, must be the same.
    let c = files(&[("x.npy", write(&[2], &[1.0, 2.0])), ("y.npy", write(&[2], &[1.0, 2.0f32.next_up()]))]);
    assert!(said(compared(&a, &c, false, &with(9.0, &found))).contains("above 0.00e0"));
    let lack = Err("there was no time".to_owned());
    assert_eq!(said(compared(&a, &a, false, &with(2.0, &lack))), "uncalibrated: there was no time");
    let both = Tolerance { limits: vec![(Bound::MaxAbs, 0.1)], ..with(2.0, &lack) };
    assert!(said(compared(&a, &b, false, &both)).contains("above 1e-1"), "other limits still hold");
}
