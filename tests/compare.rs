//! What a comparison must never say, however its cells came out.

use std::borrow::Cow;

use pipe::measure::comparison::{Budget, ExpectVerdict, Parity, Row, SpeedUp, State};
use pipe::measure::ledger::{Ledger, Standing};
use pipe::measure::metric::Metric;
use pipe::measure::ratio::Verdict;
use pipe::measure::recommend::{Aim, Unjudged, recommend, tiers, unjudged};
use pipe::measure::summary::Measured;
use pipe::measure::{Comparison, Outcome, Outputs};
use pipe::record::{Caution, CautionCode, Energy, Session, Work};
use pipe::report::words;
use pipe_engine::message::{Fault, FaultKind};

#[path = "report/fixture.rs"]
#[expect(dead_code, reason = "the fixture serves the tests of the reports too")]
mod fixture;

use fixture::{Scenario, comparison, comparison_forced, comparison_with, reading};

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
fn a_machine_that_has_become_slower_is_told_by_the_sentinel() {
    let of = |arithmetic: u64| {
        let comparison = session("onnx native cpu", |session| session.sentinel = Some(reading(arithmetic)));
        let others = comparison.rows.iter().filter(|row| row.label != "onnx native cpu");
        assert!(others.flat_map(|row| &row.cautions).all(|caution| caution.code != CautionCode::HostDrift));
        let row = row(&comparison, "onnx native cpu");
        assert!(row.may_win(), "it is suspect, and not invalid");
        row.cautions.iter().map(|c| (c.code, c.seen.clone())).collect::<Vec<_>>()
    };
    assert_eq!(of(1_300_000 * 103 / 100), []);
    let said = "arithmetic of this machine was 8.0 % slower than when `torch container cpu` was measured, by the drift \
                sentinel";
    assert_eq!(of(1_300_000 * 108 / 100), [(CautionCode::HostDrift, said.to_owned())]);
    // The baseline itself is held against its first session.
    let comparison = changed("torch container cpu", |outcome| match outcome {
        Outcome::Measured { sessions, outputs, from_store } => {
            let mut sessions = sessions.into_owned();
            sessions.push(Session { sentinel: Some(reading(1_200_000)), ..sessions[0].clone() });
            Outcome::Measured { sessions: Cow::Owned(sessions), outputs, from_store }
        }
        other => other,
    });
    let seen =
        |label: &str| row(&comparison, label).cautions.iter().find(|c| c.code == CautionCode::HostDrift).cloned();
    assert!(
        seen("torch container cpu").is_some_and(|caution| caution.seen.contains("7.7 % faster than when it was first"))
    );
    assert_eq!(seen("onnx native cpu"), None, "it was measured on a machine like that of the first session");
}

#[test]
fn energy_is_by_token_and_has_a_reason_where_there_is_none() {
    let comparison = comparison(Scenario::Plain);
    let of = |label: &str| {
        row(&comparison, label).summary.as_ref().expect("a summary").metrics[&Metric::EnergyPerToken].clone()
    };
    let Measured::Figure(figure) = of("onnx native cpu") else { panic!("{:?}", of("onnx native cpu")) };
    // 9 J in each of ten blocks of three sequences of 32 tokens.
    assert_eq!((figure.n, figure.median), (10, 9.0 / (3.0 * 32.0)));
    let Measured::NotMeasured { reason } = of("onnx container cpu") else { panic!("it was measured") };
    assert_eq!(reason, "it was measured by a version that counted no energy");
    let said = "the system tells no energy";
    let comparison = session("onnx native cpu", |session| {
        session.energy = Some(Energy::NotMeasured { reason: said.to_owned() });
        session.turns.iter_mut().flat_map(|turns| &mut turns.blocks).for_each(|block| block.energy_uj = None);
    });
    let metrics = &row(&comparison, "onnx native cpu").summary.as_ref().expect("a summary").metrics;
    assert_eq!(metrics[&Metric::EnergyPerToken], Measured::NotMeasured { reason: said.to_owned() });
    assert_eq!(metrics.get(&Metric::EnergyPerInference), None);
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

/// A change to the only session of `onnx native cpu`, with or without `--force`.
fn unfair(force: bool, change: &dyn Fn(&mut pipe::record::Session)) -> Comparison {
    comparison_forced(Scenario::Plain, force, |cell, outcome| match outcome {
        Outcome::Measured { sessions, outputs, from_store } if cell == "onnx native cpu" => {
            let mut sessions = sessions.into_owned();
            sessions.iter_mut().for_each(change);
            Outcome::Measured { sessions: Cow::Owned(sessions), outputs, from_store }
        }
        other => other,
    })
}

fn ledger<'a>(comparison: &'a Comparison, own: &str, against: &str) -> &'a Ledger {
    let label = |place: usize| comparison.rows[place].label.as_str();
    let found = comparison.ledgers.iter().find(|l| (label(l.row), label(l.against)) == (own, against));
    found.unwrap_or_else(|| panic!("no ledger of {own} against {against}"))
}

#[test]
fn a_fair_pair_differs_in_its_axes_and_in_nothing_else() {
    let comparison = comparison(Scenario::Plain);
    // Each cell with the baseline, and the onnx container with its native cell; torch's is a pair already.
    assert_eq!(comparison.ledgers.len(), 4);
    for pair in &comparison.ledgers {
        assert_eq!(pair.of(Standing::Beyond).count() + pair.of(Standing::Noted).count(), 0, "{pair:?}");
    }
    let places = ledger(&comparison, "onnx container cpu", "onnx native cpu");
    assert_eq!(places.axes, ["place"]);
    let by_place: Vec<&str> = places.of(Standing::OfTheAxes).map(|line| line.fact).collect();
    assert_eq!(by_place, ["runtime", "sandbox"]);
    let engines = ledger(&comparison, "onnx container cpu", "torch container cpu");
    let by_engine: Vec<&str> = engines.of(Standing::OfTheAxes).map(|line| line.fact).collect();
    assert_eq!(by_engine, ["engine", "libraries"]);
    assert!(!comparison.is_forced());
}

#[test]
fn cells_that_differ_beyond_their_axes_get_no_verdict_without_force() {
    type Change = &'static dyn Fn(&mut pipe::record::Session);
    let faults: [(&str, Change); 8] = [
        ("threads 4 against 2", &|s| s.prepared.as_mut().expect("it is prepared").threads = 4),
        ("reduced-precision true against false", &|s| {
            s.prepared.as_mut().expect("it is prepared").reduced_precision = true;
        }),
        ("architecture aarch64 against x86_64", &|s| {
            s.prepared.as_mut().expect("it is prepared").inside.architecture = "aarch64".into();
        }),
        ("usable-threads 1 against 2", &|s| {
            s.prepared.as_mut().expect("it is prepared").inside.cpu_quota_milli = Some(1000);
        }),
        ("simd avx512f against avx2", &|s| s.facts.recorded.simd = vec!["avx512f".into()]),
        ("huge-pages always against never", &|s| s.facts.recorded.transparent_huge_pages = Some("always".into())),
        ("machine ", &|s| s.facts.machine.cpu_model = "another".into()),
        ("items", &|s| s.work = Work::Inference { items: None }),
    ];
    for (said, change) in faults {
        let base = |cell: &str, outcome| match outcome {
            Outcome::Measured { sessions, outputs, from_store } => {
                let mut sessions: Vec<pipe::record::Session> = Cow::into_owned(sessions);
                for session in &mut sessions {
                    session.facts.recorded.simd = vec!["avx2".into()];
                    session.facts.recorded.transparent_huge_pages = Some("never".into());
                    if cell == "onnx native cpu" {
                        change(session);
                    }
                }
                Outcome::Measured { sessions: Cow::Owned(sessions), outputs, from_store }
            }
            other => other,
        };
        let judged = comparison_forced(Scenario::Plain, false, base);
        let row = row(&judged, "onnx native cpu");
        let reason = match row.speed_up() {
            SpeedUp::NotAvailable { reason } => reason.as_str(),
            other => panic!("{said}: {other:?}"),
        };
        let elsewhere = said.starts_with("machine") && reason.contains("another machine");
        let no_work = said == "items" && reason.contains("not comparable: work");
        assert!(elsewhere || no_work || reason == format!("not comparable: {said}"), "{said}: {reason}");
        // A cell of another machine takes part in no race, so that of the others is one.
        assert!(elsewhere || !judged.rows.iter().any(|row| row.winner), "{said}: a race that is none has a winner");
        // Against the same container cell, too, with `--force` and marked, and never with another machine's.
        if !elsewhere && !no_work {
            let forced = comparison_forced(Scenario::Plain, true, base);
            let row = self::row(&forced, "onnx native cpu");
            assert!(matches!(row.speed_up(), SpeedUp::Compared { .. }) && row.forced == [said], "{said}");
            assert!(forced.is_forced() && ledger(&forced, "onnx native cpu", "torch container cpu").forced);
        }
    }
}

#[test]
fn another_library_is_of_the_axes_only_where_the_engine_is_another() {
    let other_version = |session: &mut pipe::record::Session| {
        let libraries = &mut session.prepared.as_mut().expect("it is prepared").libraries;
        libraries.insert("onnxruntime".to_owned(), "1.25.0".to_owned());
    };
    let comparison = unfair(false, &other_version);
    assert!(matches!(row(&comparison, "onnx native cpu").speed_up(), SpeedUp::Compared { .. }));
    let places = ledger(&comparison, "onnx container cpu", "onnx native cpu");
    let beyond: Vec<&str> = places.of(Standing::Beyond).map(|line| line.fact).collect();
    assert_eq!(beyond, ["libraries"]);
    // More processors than threads are noted, and no reason to refuse.
    let wide = unfair(false, &|session| session.prepared.as_mut().expect("it is prepared").inside.cpus = 16);
    assert!(matches!(row(&wide, "onnx native cpu").speed_up(), SpeedUp::Compared { .. }));
    let noted: Vec<&str> =
        ledger(&wide, "onnx native cpu", "torch container cpu").of(Standing::Noted).map(|line| line.fact).collect();
    assert_eq!(noted, ["processors"]);
}

#[test]
fn for_every_bound_of_the_p95_there_is_the_cell_with_the_most_throughput() {
    // A batch twice as large that takes 1.5 times as long has a higher p95, and a third more items a second.
    let comparison = comparison_with(Scenario::Inference, |cell, outcome| match outcome {
        Outcome::Measured { sessions, outputs, from_store } if cell == "onnx container cpu" => {
            let mut sessions = sessions.into_owned();
            sessions[0].work = Work::Inference { items: Some(16) };
            sessions[0].samples.iter_mut().for_each(|sample| sample.prefill_ns = sample.prefill_ns * 3 / 2);
            Outcome::Measured { sessions: Cow::Owned(sessions), outputs, from_store }
        }
        other => other,
    });
    let found = tiers(&comparison);
    let labels: Vec<&str> = found.iter().map(|tier| comparison.rows[tier.row].label.as_str()).collect();
    assert_eq!(labels, ["onnx native cpu", "onnx container cpu"]);
    assert!(found[0].above < found[1].above && found[0].rate * 1.25 < found[1].rate, "{found:?}");
    let lines = words::recommendations(&comparison);
    let (_, line) = lines.iter().find(|(aim, _)| aim.contains("p95 < x")).expect("a line");
    assert!(line.starts_with("x above ") && line.contains("no cell is known to hold it"), "{line}");

    // Where the slower cell has no more items a second, one cell is the best for every bound.
    let even = self::comparison(Scenario::Inference);
    assert_eq!(tiers(&even).len(), 1, "{:?}", tiers(&even));
    // 31 sequences show no p95, and it is said.
    let plain = self::comparison(Scenario::Plain);
    assert_eq!(
        (tiers(&plain).len(), unjudged(&plain)),
        (0, vec![(Aim::Tail, Unjudged::TooFewSamples { most: 31, need: 59 })])
    );
    let said = words::unjudged(&plain);
    assert_eq!(said[0], "Not judged: lowest p95 (takes 59 sequences of a cell, and none has more than 31).");
}

#[test]
fn a_fastest_cell_of_few_samples_is_none() {
    let few = session("onnx native cpu", |session| session.samples.truncate(7));
    assert!(!few.rows.iter().any(|row| row.winner), "a race is won by seven samples");
}

#[test]
fn two_speeds_of_a_gpu_that_waits_for_launches_are_the_processors() {
    let two = |first: u64| {
        let comparison = session("onnx native cpu", |session| {
            for (place, sample) in session.samples.iter_mut().enumerate() {
                let slow = if place % 3 == 0 { 3 } else { 2 };
                sample.prefill_ns = sample.decode_ns[0] * first;
                sample.decode_ns.iter_mut().for_each(|time| *time = *time * slow / 2);
            }
        });
        let mut row = row(&comparison, "onnx native cpu").clone();
        let caution =
            row.cautions.iter().find(|caution| caution.code == CautionCode::TwoModes).expect("two modes").clone();
        assert!(!words::caution(&row, &caution).contains("launches"), "a CPU launches nothing");
        row.setup.as_mut().expect("a setup").device = pipe::pipeline::Device::Cuda;
        words::caution(&row, &caution)
    };
    let bound = two(1);
    assert!(bound.contains("a prompt of 64 tokens takes ") && bound.contains("waits for the processor"), "{bound}");
    // A prompt that takes twenty times as long as a token keeps the GPU at work.
    assert!(!two(20).contains("launches"), "{}", two(20));
}
