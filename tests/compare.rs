//! What a comparison must never say, however its cells came out.

use std::borrow::Cow;

use pipe::measure::comparison::{Budget, ExpectVerdict, Parity, Row, SpeedUp, State};
use pipe::measure::metric::Metric;
use pipe::measure::ratio::Verdict;
use pipe::measure::recommend::{Aim, recommend};
use pipe::measure::{Comparison, Outcome, Outputs};
use pipe::record::{Caution, CautionCode, Work};
use pipe_engine::message::{Fault, FaultKind};

#[path = "report/fixture.rs"]
#[expect(dead_code, reason = "the fixture serves the tests of the reports too")]
mod fixture;

use fixture::{Scenario, comparison, comparison_with};

fn row<'a>(comparison: &'a Comparison, label: &str) -> &'a Row {
    comparison.rows.iter().find(|row| row.label == label).expect("the row is there")
}

/// The plain scenario, with `change` made to the outcome of one cell.
fn changed(label: &str, change: impl Fn(Outcome<'static>) -> Outcome<'static>) -> Comparison {
    comparison_with(Scenario::Plain, |cell, outcome| if cell == label { change(outcome) } else { outcome })
}

/// The same, for its single session.
fn session(label: &str, change: impl Fn(&mut pipe::record::Session)) -> Comparison {
    changed(label, |outcome| match outcome {
        Outcome::Measured { sessions, outputs, from_store } => {
            let mut sessions = sessions.into_owned();
            sessions.iter_mut().for_each(&change);
            Outcome::Measured { sessions: Cow::Owned(sessions), outputs, from_store }
        }
        other => other,
    })
}

#[test]
fn the_plain_matrix_has_a_baseline_verdicts_and_winners() {
    let comparison = comparison(Scenario::Plain);
    let verdict = |label: &str| match row(&comparison, label).speed_up() {
        SpeedUp::Compared { verdict, .. } => verdict.name(),
        SpeedUp::Baseline => "baseline",
        _ => "none",
    };
    assert_eq!(verdict("torch container cpu"), "baseline");
    assert_eq!(verdict("torch native cpu"), "no difference");
    assert_eq!(verdict("onnx native cpu"), "faster");
    assert!(row(&comparison, "onnx native cpu").winner && !row(&comparison, "torch native cpu").winner);
    assert!(!comparison.gate_failed());
}

#[test]
fn inferences_are_ranked_by_their_latency() {
    let comparison = comparison(Scenario::Inference);
    let fast = row(&comparison, "onnx native cpu");
    let summary = fast.summary.as_ref().expect("a summary");
    assert_eq!(summary.primary(), Some(Metric::Latency));
    let (latency, rate) = (summary.headline(Metric::Latency), summary.headline(Metric::ItemsPerSecond));
    let (latency, rate) = (latency.expect("a latency"), rate.expect("a rate"));
    assert!((rate * latency / 8e9 - 1.0).abs() < 0.01, "8 items in {latency} ns are {rate} a second");
    assert!(!summary.metrics.contains_key(&Metric::TimeToFirstToken), "no token, no metric of one");
    assert!(matches!(fast.speed_up(), SpeedUp::Compared { verdict: Verdict::Faster, .. }) && fast.winner);
    assert!(matches!(&fast.parity, Parity::Right(figures) if figures.tokens.is_none() && figures.max_abs() > 0.0));
}

#[test]
fn sessions_of_sequences_are_kept_as_they_always_were() {
    let kept = |scenario: Scenario| {
        let session = row(&comparison(scenario), "onnx native cpu").sessions[0].clone();
        let json = serde_json::to_value(&session).expect("JSON");
        let back: pipe::record::Session = serde_json::from_value(json.clone()).expect("a session");
        assert!(back == session);
        json
    };
    let (sequence, inference) = (kept(Scenario::Plain), kept(Scenario::Inference));
    assert_eq!((&sequence["prompt_tokens"], &sequence["new_tokens"]), (&64.into(), &32.into()));
    assert!(sequence.get("items").is_none() && sequence.get("work").is_none());
    assert_eq!((inference.get("prompt_tokens"), &inference["items"]), (None, &8.into()));
}

#[test]
fn cells_that_work_on_different_items_are_not_compared() {
    let comparison = comparison_with(Scenario::Inference, |cell, outcome| match outcome {
        Outcome::Measured { sessions, outputs, from_store } if cell == "onnx native cpu" => {
            let mut sessions = sessions.into_owned();
            sessions[0].work = Work::Inference { items: Some(16) };
            Outcome::Measured { sessions: Cow::Owned(sessions), outputs, from_store }
        }
        other => other,
    });
    let row = row(&comparison, "onnx native cpu");
    let said = "not comparable: items 16 against 8";
    assert!(matches!(row.speed_up(), SpeedUp::NotAvailable { reason } if reason == said));
    assert!(!comparison.rows.iter().any(|row| row.winner), "who did different work runs no race");
}

#[test]
fn a_wrong_cell_never_wins_and_fails_the_gate() {
    let comparison = comparison(Scenario::Troubled);
    let wrong = row(&comparison, "onnx container cpu");
    assert_eq!(wrong.state, State::Wrong);
    assert!(matches!(&wrong.parity, Parity::Wrong { wrong, .. } if wrong.to_string().contains("above 1e-3")));
    assert!(!wrong.winner && comparison.gate_failed());
}

#[test]
fn a_cell_over_its_budget_never_wins() {
    let comparison = session("onnx native cpu", |session| {
        session.usage.as_mut().expect("usage").peak_resident = Some(7 << 30);
    });
    let over = row(&comparison, "onnx native cpu");
    assert!(matches!(over.budget, Budget::Over { .. }) && !over.winner);
    assert!(row(&comparison, "onnx container cpu").winner);
}

#[test]
fn memory_that_was_not_read_is_not_judged_and_never_zero() {
    let comparison = session("onnx native cpu", |session| session.usage = None);
    let row = row(&comparison, "onnx native cpu");
    assert!(matches!(&row.budget, Budget::NotJudged { reason, .. } if reason.contains("could not read")));
}

#[test]
fn an_invalid_cell_has_no_speed_up_and_never_wins() {
    let comparison = session("onnx native cpu", |session| {
        session.cautions.push(Caution { code: CautionCode::Fallback, seen: "2 nodes on another device".into() });
    });
    let row = row(&comparison, "onnx native cpu");
    assert!(matches!(row.speed_up(), SpeedUp::NotAvailable { reason } if reason.contains("invalid")));
    assert!(!row.winner);
    assert_eq!(comparison.expects[0].verdict, ExpectVerdict::NotJudged);
}

#[test]
fn a_missing_baseline_is_named_with_its_reason() {
    let comparison = comparison(Scenario::NoDocker);
    let expected = "baseline unavailable: no container runtime answers at /var/run/docker.sock";
    for row in comparison.measured() {
        assert!(matches!(row.speed_up(), SpeedUp::NotAvailable { reason } if reason == expected));
    }
    assert_eq!(comparison.expects[0].verdict, ExpectVerdict::NotJudged);
    assert!(!comparison.gate_failed());
}

#[test]
fn a_wrong_baseline_is_none() {
    let comparison = changed("torch container cpu", |outcome| match outcome {
        Outcome::Measured { sessions, from_store, .. } => {
            Outcome::Measured { sessions, outputs: Outputs::Logits(Cow::Borrowed(b"")), from_store }
        }
        other => other,
    });
    let reason = match row(&comparison, "onnx native cpu").speed_up() {
        SpeedUp::NotAvailable { reason } => reason.clone(),
        other => format!("{other:?}"),
    };
    assert_eq!(reason, "baseline wrong: this cell's output `logits`: not a `.npy` file");
}

#[test]
fn outputs_that_are_missing_are_not_right() {
    let comparison = changed("onnx native cpu", |outcome| match outcome {
        Outcome::Measured { sessions, from_store, .. } => {
            let outputs = Outputs::Missing { reason: "the engine crashed before it wrote them".into() };
            Outcome::Measured { sessions, outputs, from_store }
        }
        other => other,
    });
    assert!(matches!(&row(&comparison, "onnx native cpu").parity, Parity::NotJudged { .. }));
}

#[test]
fn out_of_memory_is_a_failed_cell_with_its_message() {
    let comparison = session("onnx native cpu", |session| {
        session.samples.clear();
        let message = "the device ran out of memory: 6.2 GiB asked".into();
        session.fault = Some(Fault { kind: FaultKind::OutOfMemory, message });
    });
    let state = &row(&comparison, "onnx native cpu").state;
    assert!(matches!(state, State::Failed(hole) if hole.reason.contains("ran out of memory")));
}

#[test]
fn few_samples_have_no_verdict_and_say_how_many_it_takes() {
    let comparison = session("onnx native cpu", |session| session.samples.truncate(5));
    let row = row(&comparison, "onnx native cpu");
    let said = "too few samples (n=5, need 8)";
    assert!(matches!(row.speed_up(), SpeedUp::NotAvailable { reason } if reason == said));
}

#[test]
fn another_machine_is_labelled_and_never_in_a_ratio() {
    let comparison = session("onnx native cpu", |session| session.facts.machine.cpu_model = "Apple M4".into());
    let row = row(&comparison, "onnx native cpu");
    assert!(row.elsewhere.as_deref().is_some_and(|line| line.starts_with("Apple M4")));
    assert!(matches!(row.speed_up(), SpeedUp::NotAvailable { reason } if reason.contains("another machine")));
    assert!(!row.winner);
}

#[test]
fn a_slower_cell_is_called_slower() {
    let comparison = session("onnx native cpu", |session| {
        for sample in &mut session.samples {
            sample.decode_ns.iter_mut().for_each(|ns| *ns *= 2);
        }
    });
    let speed_up = row(&comparison, "onnx native cpu").speed_up().clone();
    assert!(matches!(speed_up, SpeedUp::Compared { verdict: Verdict::Slower, .. }), "{speed_up:?}");
    assert_eq!(comparison.expects[0].verdict, ExpectVerdict::Fail);
    assert!(comparison.gate_failed());
}

#[test]
fn what_the_sessions_show_is_a_caution_even_where_nobody_wrote_it_down() {
    let comparison = session("onnx native cpu", |session| {
        session.hello.simulated = true;
        session.warmed.as_mut().expect("a warm-up").steady = false;
    });
    let codes: Vec<CautionCode> = row(&comparison, "onnx native cpu").cautions.iter().map(|c| c.code).collect();
    assert_eq!(codes, [CautionCode::NotSteady, CautionCode::Simulated]);
}

/// The codes of the cautions of `onnx native cpu` once each decode time is multiplied by `factor` of its sample's
/// place among `n`.
fn shaped(factor: impl Fn(usize, usize) -> f64) -> Vec<(CautionCode, String)> {
    let comparison = session("onnx native cpu", |session| {
        let n = session.samples.len();
        for (place, sample) in session.samples.iter_mut().enumerate() {
            let factor = factor(place, n);
            sample.decode_ns.iter_mut().for_each(|time| *time = (*time as f64 * factor) as u64);
        }
    });
    row(&comparison, "onnx native cpu").cautions.iter().map(|c| (c.code, c.seen.clone())).collect()
}

#[test]
fn samples_that_hide_something_from_their_median_say_so() {
    assert_eq!(shaped(|_, _| 1.0), [], "the plain cell has nothing to hide");
    let heated = shaped(|place, n| 1.0 + 0.2 * place as f64 / n as f64);
    assert!(matches!(&heated[..], [(CautionCode::Trend, seen)] if seen.contains("rose by")), "{heated:?}");
    let two = shaped(|place, _| if place % 3 == 0 { 1.5 } else { 1.0 });
    assert!(matches!(&two[..], [(CautionCode::TwoModes, seen)] if seen.contains("above the others")), "{two:?}");
    let far = shaped(|place, _| if place % 4 == 0 { 2.0 + place as f64 / 7.0 } else { 1.0 });
    assert!(far.iter().any(|(code, _)| *code == CautionCode::Outliers), "{far:?}");
}

#[test]
fn sessions_that_differ_are_mixed() {
    let comparison = changed("onnx native cpu", |outcome| match outcome {
        Outcome::Measured { sessions, outputs, from_store } => {
            let mut sessions = sessions.into_owned();
            let mut later = sessions[0].clone();
            let times = later.samples.iter_mut().flat_map(|sample| &mut sample.decode_ns);
            times.for_each(|time| *time += *time / 10);
            sessions.push(later);
            Outcome::Measured { sessions: Cow::Owned(sessions), outputs, from_store }
        }
        other => other,
    });
    let row = row(&comparison, "onnx native cpu");
    let mixed = row.cautions.iter().find(|caution| caution.code == CautionCode::MixedSessions);
    assert!(mixed.is_some_and(|caution| caution.seen.contains("+10.0 %")), "{:?}", row.cautions);
    assert!(row.is_suspect() && !row.is_invalid());
}

/// Aim → the cells that are recommended for it, and the next.
fn recommended(comparison: &Comparison) -> Vec<(Aim, Vec<&str>, Option<&str>)> {
    let label = |place: usize| comparison.rows[place].label.as_str();
    recommend(comparison)
        .into_iter()
        .map(|found| {
            let cells = found.rows.iter().map(|place| label(*place)).collect();
            (found.aim, cells, found.next.map(|(place, _)| label(place)))
        })
        .collect()
}

#[test]
fn each_aim_has_its_best_cell() {
    let comparison = comparison(Scenario::Plain);
    let found = recommended(&comparison);
    let of = |aim: Aim| found.iter().find(|(other, ..)| *other == aim).expect("it is judged");
    assert_eq!(of(Aim::Decoding).1[0], "onnx native cpu");
    let fast = recommend(&comparison).into_iter().find(|found| found.aim == Aim::Decoding).expect("it is judged");
    assert_eq!(
        fast.value,
        row(&comparison, "onnx native cpu")
            .summary
            .as_ref()
            .and_then(|s| s.headline(Metric::TimePerOutputToken))
            .unwrap_or(0.0)
    );
    assert!(fast.next.is_some_and(|(_, times)| times > 1.0), "{fast:?}");
    assert!(!found.iter().any(|(aim, ..)| matches!(aim, Aim::Latency | Aim::Throughput)), "no inference was measured");
}

#[test]
fn what_may_not_win_is_not_recommended() {
    let comparison = session("onnx native cpu", |session| {
        let usage = session.usage.as_mut().expect("it says what it used");
        usage.peak_resident = Some(1 << 50);
    });
    let over = row(&comparison, "onnx native cpu");
    assert!(matches!(over.budget, Budget::Over { .. }));
    let found = recommended(&comparison);
    assert!(!found.is_empty() && !found.iter().any(|(_, cells, _)| cells.contains(&"onnx native cpu")), "{found:?}");
}
