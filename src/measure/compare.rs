//! Makes a [`Comparison`] of what became of each cell.
//!
//! Approach:
//! - one row for each point of the matrix, in its order; then cells outside of any matrix; then published
//!   results;
//! - parity first, since a cell whose outputs are wrong is no baseline, has no speed-up and can't win;
//! - all ratios against the baseline, corrected together, then the winners, then what the file expects.

use std::collections::{BTreeMap, BTreeSet};

use super::comparison::{Anchor, Budget, Comparison, Hole, Parity, Row, SamplingRule, Setup, SpeedUp, State, Wrong};
use super::gates;
use super::input::{CellInput, CompareInput, Outcome, Outputs};
use super::metric::Metric;
use super::parity::{CELL, ParityVerdict, REFERENCE, Side, logits, parity};
use super::ratio::{Ratio, ratio_of_medians, verdict};
use super::shape::{Shape, moved, shapes};
use super::stats::{self, holm};
use super::summary::{Summary, series, summarise};
use super::tolerance::Tolerance;
use crate::pipeline::{Cell, CellPattern, Dtype, Measure, Place, Workload};
use crate::record::{Caution, CautionCode, Session, Work};

/// Compares the cells of one `compare` step.
pub fn compare(input: CompareInput<'_>) -> Comparison {
    let asked = input.compare;
    let tolerance = asked.parity.as_ref().map(|parity| match &input.noise {
        Some(noise) => Tolerance::from(parity).with_noise(noise.clone()),
        None => Tolerance::from(parity),
    });
    let (mut rows, outputs) = rows(&input);

    let reference = asked.parity.as_ref().map(|parity| anchor(&parity.reference.value, &rows));
    if let (Some(reference), Some(tolerance)) = (&reference, &tolerance) {
        judge_parity(&mut rows, &outputs, reference, tolerance);
    }
    let baseline = asked.baseline.as_ref().map(|baseline| anchor(&baseline.value, &rows));
    if let Some(baseline) = &baseline {
        let varied: Vec<&str> = asked.matrix.iter().flat_map(|m| &m.axes).map(|(axis, _)| axis.as_str()).collect();
        judge_speed(&mut rows, baseline, &varied);
        mark_mixed(&mut rows, baseline);
    }
    mark_winners(&mut rows);
    let expects = asked.expects.iter().map(|expect| gates::expect(expect, &rows)).collect();

    Comparison {
        pipeline: input.pipeline.to_owned(),
        about: input.about.map(str::to_owned),
        group: asked.group.clone(),
        facts: input.facts.clone(),
        axes: asked.matrix.as_ref().map(|matrix| matrix.axes.clone()).unwrap_or_default(),
        baseline,
        reference,
        tolerance,
        rows,
        expects,
    }
}

/// The rows, and for each the outputs of its cell.
fn rows<'a>(input: &'a CompareInput<'_>) -> (Vec<Row>, Vec<Option<&'a Outputs<'a>>>) {
    let mut rows = Vec::new();
    let mut outputs = Vec::new();
    // One pass each: a matrix may have tens of thousands of points.
    let mut of_cell: BTreeMap<&Cell, usize> = BTreeMap::new();
    for (place, cell) in input.cells.iter().enumerate() {
        of_cell.extend(cell.cell.map(|cell| (cell, place)));
    }
    let excluded: BTreeMap<&Cell, &String> =
        input.compare.matrix.iter().flat_map(|matrix| &matrix.excluded).map(|(cell, reason)| (cell, reason)).collect();
    let mut shown = BTreeSet::new();
    for point in input.compare.matrix.iter().flat_map(|matrix| &matrix.points) {
        match of_cell.get(point) {
            Some(place) => {
                shown.insert(*place);
                push(&input.cells[*place], input, &mut rows, &mut outputs);
            }
            None => {
                rows.push(row_without_step(point, excluded.get(point).copied()));
                outputs.push(None);
            }
        }
    }
    for (_, cell) in input.cells.iter().enumerate().filter(|(place, _)| !shown.contains(place)) {
        push(cell, input, &mut rows, &mut outputs);
    }
    for published in &input.compare.published {
        let state = State::Published { source: published.source.clone(), metrics: published.metrics.clone() };
        rows.push(bare(published.label.clone(), None, state));
        outputs.push(None);
    }
    (rows, outputs)
}

fn push<'a>(
    cell: &'a CellInput<'_>,
    input: &CompareInput<'_>,
    rows: &mut Vec<Row>,
    outputs: &mut Vec<Option<&'a Outputs<'a>>>,
) {
    rows.push(row_of(cell, input));
    outputs.push(match &cell.outcome {
        Outcome::Measured { outputs, .. } | Outcome::Accepted { outputs, .. } => Some(outputs),
        _ => None,
    });
}

/// `onnx native cpu`.
fn label(cell: &Cell) -> String {
    cell.0.iter().map(|(_, value)| value.as_str()).collect::<Vec<_>>().join(" ")
}

fn bare(label: String, cell: Option<Cell>, state: State) -> Row {
    Row {
        label,
        step: None,
        cell,
        state,
        from_store: false,
        setup: None,
        question: None,
        elsewhere: None,
        summary: None,
        speed_ups: BTreeMap::new(),
        parity: Parity::NotAsked,
        budget: Budget::NotAsked,
        cautions: Vec::new(),
        sessions: Vec::new(),
        winner: false,
    }
}

fn row_without_step(point: &Cell, excluded: Option<&String>) -> Row {
    let state = match excluded {
        Some(reason) => State::Excluded(Hole { reason: reason.clone(), remedy: None }),
        None => {
            State::NotSelected(Hole { reason: "the comparison does not look at this cell".to_owned(), remedy: None })
        }
    };
    bare(label(point), Some(point.clone()), state)
}

fn row_of(input: &CellInput<'_>, all: &CompareInput<'_>) -> Row {
    let name = input.cell.map_or_else(|| input.step.to_owned(), label);
    let mut row = bare(name, input.cell.cloned(), State::Measured);
    row.step = Some(input.step.to_owned());
    row.setup = Some(setup(input.measure));
    row.question = input.question;
    let hole = |reason: &String, remedy: &Option<String>| Hole { reason: reason.clone(), remedy: remedy.clone() };
    match &input.outcome {
        Outcome::Failed { reason, remedy } => row.state = State::Failed(hole(reason, remedy)),
        Outcome::Unavailable { reason, remedy } => row.state = State::Unavailable(hole(reason, remedy)),
        Outcome::NotSelected { reason, remedy } => row.state = State::NotSelected(hole(reason, remedy)),
        Outcome::Measured { sessions, from_store, .. } => {
            row.from_store = *from_store;
            fill(&mut row, sessions, input.measure, all);
        }
        Outcome::Accepted { sessions, machine, .. } => {
            row.from_store = true;
            fill(&mut row, sessions, input.measure, all);
            // Its name says more than its line, and stands also where the two machines are told apart by a runtime.
            row.elsewhere = Some(machine.clone());
        }
    }
    row
}

/// Puts what was measured into a row; sessions in which nothing was sampled make it a failed one.
fn fill(row: &mut Row, sessions: &[Session], measure: &Measure, all: &CompareInput<'_>) {
    row.cautions = cautions(sessions);
    row.cautions.extend(shape_cautions(sessions));
    row.sessions = sessions.to_vec();
    if sessions.iter().all(|session| session.samples.is_empty()) {
        let fault = sessions.iter().find_map(|session| session.fault.as_ref());
        row.state = State::Failed(match fault {
            Some(fault) => Hole { reason: fault.message.clone(), remedy: None },
            None => Hole { reason: "nothing was measured".to_owned(), remedy: None },
        });
        return;
    }
    row.elsewhere = sessions
        .iter()
        .map(|session| &session.facts.machine)
        .find(|machine| **machine != all.facts.machine)
        .map(crate::host::Machine::line);
    let summary = summarise(sessions, measure.device.value);
    let budget = measure.memory_budget.as_ref().map(|budget| budget.value);
    row.budget = gates::budget(budget, &setup(measure), &summary);
    row.summary = Some(summary);
    // Only what was measured knows how many items there were, where the file does not say.
    if let (Some(setup), Some(session)) = (&mut row.setup, sessions.last()) {
        setup.work = session.work;
    }
}

fn setup(measure: &Measure) -> Setup {
    let sampling = &measure.sampling;
    Setup {
        device: measure.device.value,
        dtype: measure.dtype.value,
        threads: measure.threads.value,
        reduced_precision: measure.reduced_precision.value,
        optimization: measure.optimization.value,
        work: match &measure.workload {
            Workload::Sequence { prompt_tokens, new_tokens, .. } => {
                Work::Sequence { prompt_tokens: prompt_tokens.value, new_tokens: new_tokens.value }
            }
            Workload::Inference { items, .. } => Work::Inference { items: items.as_ref().map(|items| items.value) },
        },
        warm_up: measure.warm_up.clone(),
        sampling: SamplingRule {
            min_samples: sampling.min_samples,
            min_time: sampling.min_time,
            target: sampling.target,
            max_time: sampling.max_time,
            max_samples: sampling.max_samples,
        },
        container: match &measure.place {
            Place::Native => None,
            Place::Container { cpus, memory, .. } => Some((cpus.value, memory.value)),
        },
    }
}

/// The cautions of all sessions, each once, with those that the sessions themselves show.
fn cautions(sessions: &[Session]) -> Vec<Caution> {
    let mut found: Vec<Caution> = Vec::new();
    let mut add = |code: CautionCode, seen: &str| {
        let caution = Caution { code, seen: seen.to_owned() };
        if !found.contains(&caution) {
            found.push(caution);
        }
    };
    for session in sessions {
        session.cautions.iter().for_each(|caution| add(caution.code, &caution.seen));
        let has = |code| session.cautions.iter().any(|caution| caution.code == code);
        if session.hello.simulated && !has(CautionCode::Simulated) {
            add(CautionCode::Simulated, "the engine invents its figures");
        }
        if session.warmed.as_ref().is_some_and(|warmed| !warmed.steady) && !has(CautionCode::NotSteady) {
            add(CautionCode::NotSteady, "the warm-up ended at its maximum without becoming steady");
        }
    }
    found.sort_by(|a, b| (a.code, &a.seen).cmp(&(b.code, &b.seen)));
    found
}

/// The values of the ranking metric, session by session.
fn each_session(sessions: &[Session]) -> Vec<Vec<f64>> {
    let series_of = |session: &Session| {
        let mut times = Metric::times(session.work).iter().map(|metric| series(*metric, std::slice::from_ref(session)));
        times.find(|values| !values.is_empty()).unwrap_or_default()
    };
    sessions.iter().map(series_of).collect()
}

/// Where the baseline moved between its sessions, cells that were measured beside some of them are held against others,
/// too: each says so.
fn mark_mixed(rows: &mut [Row], baseline: &Anchor) {
    let Ok(at) = baseline.row else { return };
    let Some(by) = moved(&each_session(&rows[at].sessions)) else { return };
    let seen = format!("mixed sessions (baseline {:+.1} %)", by * 100.0);
    for row in rows.iter_mut() {
        if row.speed_ups.values().any(|speed_up| matches!(speed_up, SpeedUp::Compared { .. })) {
            row.cautions.push(Caution { code: CautionCode::MixedSessions, seen: seen.clone() });
        }
    }
}

/// What the samples of the ranking metric say by their order and their shape; derived, so never in a record.
fn shape_cautions(sessions: &[Session]) -> Vec<Caution> {
    let each = each_session(sessions);
    let caution = |code: CautionCode, seen: String| Caution { code, seen };
    let mut found: Vec<Caution> = each
        .iter()
        .flat_map(|values| shapes(values))
        .map(|shape| match shape {
            Shape::Trend { change } => caution(
                CautionCode::Trend,
                format!(
                    "from the first sample to the last the time {} by {:.1} %",
                    if change > 0.0 { "rose" } else { "fell" },
                    change.abs() * 100.0
                ),
            ),
            Shape::TwoModes { apart, upper } => caution(
                CautionCode::TwoModes,
                format!(
                    "{:.0} % of the samples lie {:.1} % above the others, with nothing in between",
                    upper * 100.0,
                    apart * 100.0
                ),
            ),
            Shape::Outliers { share, farthest } => caution(
                CautionCode::Outliers,
                format!(
                    "{:.0} % of the samples lie far from the median, the farthest at {farthest:.1} times it",
                    share * 100.0
                ),
            ),
        })
        .collect();
    found.extend(moved(&each).map(|by| {
        caution(
            CautionCode::MixedSessions,
            format!("a later session's median lies {:+.1} % from the first one's", by * 100.0),
        )
    }));
    found.sort_by(|a, b| (a.code, &a.seen).cmp(&(b.code, &b.seen)));
    found
}

/// The first cell that `pattern` matches and that has figures, or why there is none.
fn anchor(pattern: &CellPattern, rows: &[Row]) -> Anchor {
    let matching =
        || rows.iter().enumerate().filter(|(_, row)| row.cell.as_ref().is_some_and(|cell| pattern.matches(cell)));
    let row = match matching().find(|(_, row)| row.state == State::Measured) {
        Some((place, _)) => Ok(place),
        None => Err(match matching().next() {
            None => format!("missing: no cell matches `{pattern}`"),
            Some((_, row)) => match (row.state.hole(), &row.parity) {
                (Some(hole), _) => format!("{}: {}", row.state.name(), hole.reason),
                (None, Parity::Wrong { wrong, .. }) => format!("{}: {wrong}", row.state.name()),
                (None, _) => row.state.name().to_owned(),
            },
        }),
    };
    Anchor { pattern: pattern.to_string(), row }
}

fn judge_parity(rows: &mut [Row], outputs: &[Option<&Outputs<'_>>], reference: &Anchor, tolerance: &Tolerance) {
    let dtypes: Vec<Dtype> = rows.iter().map(|row| row.setup.as_ref().map_or(Dtype::Fp32, |s| s.dtype)).collect();
    for (place, row) in rows.iter_mut().enumerate().filter(|(_, row)| row.state == State::Measured) {
        row.parity = match &reference.row {
            Err(why) => Parity::NotJudged { reason: format!("reference {why}") },
            Ok(at) if *at == place => Parity::Reference,
            Ok(at) => parity_of((outputs[*at], dtypes[*at]), (outputs[place], dtypes[place]), tolerance),
        };
        if matches!(row.parity, Parity::Wrong { .. }) {
            row.state = State::Wrong;
        }
    }
}

/// The outputs of a cell, and the data type of its arithmetic.
type Given<'a, 'b> = (Option<&'a Outputs<'b>>, Dtype);

fn parity_of((reference, theirs): Given<'_, '_>, (own, ours): Given<'_, '_>, tolerance: &Tolerance) -> Parity {
    let side = |whose, files, dtype, is_sequence| Side { whose, files, dtype, is_sequence };
    let result = match (reference, own) {
        (_, Some(Outputs::Judged(result))) => result.clone(),
        (_, None) => {
            return Parity::NotJudged { reason: "no outputs were kept".to_owned() };
        }
        (_, Some(Outputs::Missing { reason })) => {
            return Parity::NotJudged { reason: reason.clone() };
        }
        (Some(Outputs::Logits(a)), Some(Outputs::Logits(b))) => {
            let (a, b) = (logits(a), logits(b));
            parity(side(REFERENCE, &a, theirs, true), side(CELL, &b, ours, true), tolerance)
        }
        (Some(Outputs::Tensors(a)), Some(Outputs::Tensors(b))) => {
            parity(side(REFERENCE, a, theirs, false), side(CELL, b, ours, false), tolerance)
        }
        (Some(Outputs::Missing { reason }), _) => {
            return Parity::NotJudged { reason: format!("reference without outputs: {reason}") };
        }
        _ => {
            return Parity::NotJudged { reason: "the reference's outputs were not kept".to_owned() };
        }
    };
    match (result.verdict, result.figures) {
        (ParityVerdict::Pass, Some(figures)) => Parity::Right(figures),
        (ParityVerdict::Pass, None) => Parity::NotJudged { reason: "nothing was compared".to_owned() },
        (ParityVerdict::Beyond(breaches), figures) => Parity::Wrong { wrong: Wrong::Beyond(breaches), figures },
        (ParityVerdict::Uncalibrated(why), _) => {
            Parity::NotJudged { reason: format!("the reference's noise is not known: {why}") }
        }
        (ParityVerdict::Odd(fault), figures) => Parity::Wrong { wrong: Wrong::Odd(fault), figures },
    }
}

fn judge_speed(rows: &mut [Row], baseline: &Anchor, varied: &[&str]) {
    let mut ratios: Vec<(usize, Metric, Ratio)> = Vec::new();
    for place in 0..rows.len() {
        if !rows[place].state.has_figures() {
            continue;
        }
        let Some(work) = rows[place].setup.as_ref().map(|setup| setup.work) else { continue };
        for &metric in Metric::times(work) {
            let outcome = match &baseline.row {
                Err(why) => Err(format!("baseline {why}")),
                Ok(at) if *at == place => {
                    rows[place].speed_ups.insert(metric, SpeedUp::Baseline);
                    continue;
                }
                Ok(at) => against(&rows[place], &rows[*at], metric, varied),
            };
            match outcome {
                Ok(ratio) => ratios.push((place, metric, ratio)),
                Err(reason) => {
                    rows[place].speed_ups.insert(metric, SpeedUp::NotAvailable { reason });
                }
            }
        }
    }
    let adjusted = holm(&ratios.iter().map(|(_, _, ratio)| ratio.p).collect::<Vec<_>>());
    for ((place, metric, ratio), adjusted_p) in ratios.into_iter().zip(adjusted) {
        let speed_up = SpeedUp::Compared { ratio, verdict: verdict(&ratio, adjusted_p), adjusted_p };
        rows[place].speed_ups.insert(metric, speed_up);
    }
}

/// The baseline's time by the row's, where the two may be compared.
fn against(row: &Row, baseline: &Row, metric: Metric, varied: &[&str]) -> Result<Ratio, String> {
    if row.is_invalid() || baseline.is_invalid() {
        let whose = if row.is_invalid() { "this cell" } else { "the baseline" };
        return Err(format!("the measurement of {whose} is invalid"));
    }
    if row.elsewhere != baseline.elsewhere {
        return Err("measured on another machine than the baseline".to_owned());
    }
    if let (Some(a), Some(b)) = (&row.setup, &baseline.setup) {
        comparable(a, b, varied)?;
    }
    let (own, base) = (series(metric, &row.sessions), series(metric, &baseline.sessions));
    ratio_of_medians(&base, &own).ok_or_else(|| {
        let (n, need) = (own.len().min(base.len()), stats::needed_for_median(super::ratio::CONFIDENCE));
        match n {
            0 => format!("{} was not measured", metric.title()),
            _ => format!("too few samples (n={n}, need {need})"),
        }
    })
}

/// Says in what two cells differ that is not a compared axis.
fn comparable(a: &Setup, b: &Setup, varied: &[&str]) -> Result<(), String> {
    let differ = |axis: &str, a: String, b: String| {
        if a == b || varied.contains(&axis) { Ok(()) } else { Err(format!("not comparable: {axis} {a} against {b}")) }
    };
    match (a.work, b.work) {
        (
            Work::Sequence { prompt_tokens: prompt_a, new_tokens: new_a },
            Work::Sequence { prompt_tokens: prompt_b, new_tokens: new_b },
        ) => {
            differ("prompt-tokens", prompt_a.to_string(), prompt_b.to_string())?;
            differ("new-tokens", new_a.to_string(), new_b.to_string())?;
        }
        (Work::Inference { items: a }, Work::Inference { items: b }) => {
            let shown = |items: Option<u32>| items.map_or_else(|| "unknown".to_owned(), |items| items.to_string());
            differ("items", shown(a), shown(b))?;
        }
        _ => return Err("not comparable: sequences against inferences".to_owned()),
    }
    differ("dtype", a.dtype.name().to_owned(), b.dtype.name().to_owned())?;
    differ("threads", a.threads.to_string(), b.threads.to_string())?;
    differ("reduced-precision", a.reduced_precision.to_string(), b.reduced_precision.to_string())?;
    differ("optimization", a.optimization.name().to_owned(), b.optimization.name().to_owned())
}

/// Marks the fastest right cell within its budget, and every one that can't be told from it.
fn mark_winners(rows: &mut [Row]) {
    let ranked: Vec<(usize, Metric, f64)> = (0..rows.len())
        .filter(|&i| rows[i].may_win())
        .filter_map(|i| {
            let metric = rows[i].summary.as_ref().and_then(Summary::primary)?;
            Some((i, metric, rows[i].summary.as_ref()?.headline(metric)?))
        })
        .collect();
    let Some(&(best, metric, _)) = ranked.iter().min_by(|a, b| a.2.total_cmp(&b.2)) else {
        return;
    };
    let same_work = |row: &Row| match (&row.setup, &rows[best].setup) {
        (Some(a), Some(b)) => a.work == b.work,
        _ => false,
    };
    // A race of one, or between cells that did different work, has no winner.
    if ranked.len() < 2 || !ranked.iter().all(|(i, m, _)| *m == metric && same_work(&rows[*i])) {
        return;
    }
    let fastest = series(metric, &rows[best].sessions);
    let tied: Vec<usize> = ranked
        .iter()
        .map(|(i, _, _)| *i)
        .filter(|&i| {
            i == best
                || ratio_of_medians(&series(metric, &rows[i].sessions), &fastest)
                    .is_some_and(|ratio| ratio.interval.contains(1.0))
        })
        .collect();
    for place in tied {
        rows[place].winner = true;
    }
}
