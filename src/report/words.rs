//! The sentences that several formats share, so that a figure is explained the same way everywhere.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use pipe_cache::Digest;

use super::columns::noun;
use super::{parity, units};
use crate::measure::Comparison;
use crate::measure::comparison::{Budget, ExpectResult, ExpectVerdict, Hole, Parity, Row, Setup, SpeedUp, State};
use crate::measure::metric::Metric;
use crate::measure::ratio::Verdict;
use crate::measure::recommend::{Aim, Recommendation, recommend};
use crate::measure::summary::{Figure, Measured, Percentile, PercentileValue};
use crate::record::{CautionCode, Turns, Work};

/// `llm-6gb · decode`.
pub fn title(comparison: &Comparison) -> String {
    format!("{} · {}", comparison.pipeline, comparison.group)
}

/// `4 measured, 1 wrong, 3 unavailable, 8 excluded`.
pub fn tally(comparison: &Comparison) -> String {
    let names = ["measured", "wrong", "failed", "unavailable", "not selected", "excluded", "published"];
    let parts: Vec<String> = names
        .iter()
        .filter_map(|name| {
            let n = comparison.rows.iter().filter(|row| row.state.name() == *name).count();
            (n > 0).then(|| format!("{n} {name}"))
        })
        .collect();
    if parts.is_empty() { "no cells".to_owned() } else { parts.join(", ") }
}

/// How the figures were made, a sentence each.
pub fn method(comparison: &Comparison) -> Vec<String> {
    let setups: Vec<&Setup> = comparison.measured().filter_map(|row| row.setup.as_ref()).collect();
    if setups.is_empty() {
        return vec!["Nothing was measured.".to_owned()];
    }
    let mut lines = vec![workload(&setups), sampling(comparison, &setups)];
    lines.extend(turns(comparison));
    lines.extend(places(comparison, &setups));
    lines.extend(parity::rule(comparison));
    if comparison.baseline.is_some() {
        let metric = comparison.measured().find_map(|row| row.summary.as_ref()?.primary());
        let title = metric.map_or("time", Metric::title);
        lines.push(format!(
            "Speed-up: ratio of the medians of the {title}, with its 99 % interval; a verdict takes p < 0.01 \
             after Holm's correction over the matrix."
        ));
    }
    lines
}

fn workload(setups: &[&Setup]) -> String {
    let threads = several(setups.iter().map(|s| u64::from(s.threads)), units::count);
    let dtypes: BTreeSet<&str> = setups.iter().map(|s| s.dtype.name()).collect();
    let dtypes = dtypes.into_iter().collect::<Vec<_>>().join(" or ");
    let reduced = if setups.iter().any(|s| s.reduced_precision) { "allowed" } else { "off" };
    let thread_word = if threads == "1" { "thread" } else { "threads" };
    let sample = sample(setups);
    let levels: BTreeSet<&str> = setups.iter().map(|s| s.optimization.name()).collect();
    let levels = levels.into_iter().collect::<Vec<_>>().join(" or ");
    let rewritten = if levels == "all" { String::new() } else { format!(", graph optimisation {levels}") };
    format!("One sample is one {sample}; {dtypes}, {threads} {thread_word}, reduced precision {reduced}{rewritten}.")
}

/// `sequence: …`, `inference: …`.
fn sample(setups: &[&Setup]) -> String {
    let tokens = |of: fn(u32, u32) -> u32| {
        let told = setups.iter().filter_map(|setup| match setup.work {
            Work::Sequence { prompt_tokens, new_tokens } => Some(u64::from(of(prompt_tokens, new_tokens))),
            Work::Inference { .. } => None,
        });
        several(told, units::count)
    };
    let items = setups.iter().filter_map(|setup| match setup.work {
        Work::Inference { items } => items.map(u64::from),
        Work::Sequence { .. } => None,
    });
    if setups.iter().any(|setup| matches!(setup.work, Work::Inference { .. })) {
        let items = match several(items, units::count).as_str() {
            "" => String::new(),
            "1" => " of 1 item".to_owned(),
            items => format!(" of {items} items"),
        };
        return format!(
            "inference{items}: a forward pass over inputs that lie on the device, which is idle before and after"
        );
    }
    let (prompt, new) = (tokens(|prompt, _| prompt), tokens(|_, new| new));
    format!(
        "sequence: a pass over a prompt of {prompt} tokens, then {new} tokens decoded one at a time from a fixed \
         token file"
    )
}

fn sampling(comparison: &Comparison, setups: &[&Setup]) -> String {
    let first = setups[0];
    let noun = noun(comparison);
    let taken: Vec<u64> =
        comparison.measured().filter_map(|row| Some(u64::from(row.summary.as_ref()?.samples))).collect();
    let rule = if setups.iter().all(|s| s.warm_up == first.warm_up && s.sampling == first.sampling) {
        let s = &first.sampling;
        format!(
            "Warm-up: {} to {} {noun}s, until steady, kept apart; then at least {} {noun}s and {}, until \
             the median's 95 % interval is within ± {} or {} are up{}",
            first.warm_up.min,
            first.warm_up.max,
            s.min_samples,
            seconds(s.min_time),
            units::percent(s.target),
            seconds(s.max_time),
            match taken.iter().any(|taken| *taken >= u64::from(s.max_samples)) {
                true => format!(", and {} at most, spread over that time", units::count(s.max_samples.into())),
                false => String::new(),
            }
        )
    } else {
        "Warm-up and sampling rules differ between cells".to_owned()
    };
    format!("{rule}; taken: {} a cell, in a process of its own.", range(&taken, noun))
}

/// Who was measured in turn with whom, and how.
fn turns(comparison: &Comparison) -> Vec<String> {
    // Each group once, by what its cells saw of each other.
    let mut groups: BTreeMap<BTreeSet<Digest>, Vec<&Turns>> = BTreeMap::new();
    let mut alone: Vec<&str> = Vec::new();
    for row in comparison.measured() {
        for session in row.sessions.iter().filter(|session| session.fault.is_none()) {
            // Older versions knew no turns.
            match session.turns.as_ref().filter(|turns| !turns.with.is_empty()) {
                Some(turns) => {
                    let cells = turns.with.iter().chain([&session.question]).copied().collect();
                    groups.entry(cells).or_default().push(turns);
                }
                None => alone.push(&row.label),
            }
        }
    }
    let mut lines: Vec<String> = groups.iter().map(|(cells, turns)| group(comparison, cells, turns)).collect();
    lines.sort();
    alone.dedup();
    if !alone.is_empty() {
        lines.push(format!("Measured alone, with no other cell beside: {}.", alone.join(", ")));
    }
    lines
}

fn group(comparison: &Comparison, cells: &BTreeSet<Digest>, turns: &[&Turns]) -> String {
    let here = comparison.rows.iter().filter(|row| row.question.is_some_and(|question| cells.contains(&question)));
    let mut names: Vec<String> = here.map(|row| row.label.clone()).collect();
    if names.len() < cells.len() {
        names.push(format!("{} of another comparison", cells.len() - names.len()));
    }
    let blocks = || turns.iter().flat_map(|turns| &turns.blocks);
    let sizes: Vec<u64> = blocks().map(|block| u64::from(block.samples)).collect();
    let rounds = u64::from(blocks().map(|block| block.round + 1).max().unwrap_or(0));
    let idle = match turns.iter().filter(|turns| turns.stopped).count() {
        0 => "waited",
        n if n == turns.len() => "were stopped",
        _ => "were stopped, or waited",
    };
    let settled = match turns.iter().any(|turns| turns.settling > 0) {
        true => ", and the passes after a rest, before each block, are not recorded",
        false => "",
    };
    format!(
        "Measured in turn: {}; in {} of blocks of {}, in a random order that each second round reverses; idle engines \
         {idle}{settled}.",
        names.join(", "),
        range(&[rounds], "round"),
        range(&sizes, noun(comparison)),
    )
}

fn places(comparison: &Comparison, setups: &[&Setup]) -> Option<String> {
    let limits: BTreeSet<(u32, u64)> = setups.iter().filter_map(|s| s.container).collect();
    if limits.is_empty() {
        return None;
    }
    let limits: Vec<String> = limits
        .into_iter()
        .map(|(cpus, memory)| {
            let word = if cpus == 1 { "CPU" } else { "CPUs" };
            format!("{cpus} {word} and {}", units::size(memory))
        })
        .collect();
    let runtimes: BTreeSet<String> = comparison
        .measured()
        .flat_map(|row| &row.sessions)
        .filter_map(|session| session.runtime.as_ref())
        .map(|runtime| format!("{} {}, {}", runtime.name, runtime.version, runtime.platform))
        .collect();
    let runtimes = runtimes.into_iter().collect::<Vec<_>>().join("; ");
    let by = if runtimes.is_empty() { String::new() } else { format!(" ({runtimes})") };
    Some(format!("Containers have {}{by}.", limits.join(" or ")))
}

/// `5 s`, `0.5 s`.
fn seconds(time: Duration) -> String {
    format!("{} s", time.as_secs_f64())
}

/// Distinct values in order, parted by `or`.
fn several(values: impl Iterator<Item = u64>, show: fn(u64) -> String) -> String {
    let values: BTreeSet<u64> = values.collect();
    values.into_iter().map(show).collect::<Vec<_>>().join(" or ")
}

/// `12 to 34 sequences`.
fn range(values: &[u64], what: &str) -> String {
    let least = values.iter().copied().min().unwrap_or(0);
    let most = values.iter().copied().max().unwrap_or(0);
    let plural = if most == 1 { "" } else { "s" };
    if least == most {
        format!("{} {what}{plural}", units::count(most))
    } else {
        format!("{} to {} {what}{plural}", units::count(least), units::count(most))
    }
}

/// What a row is beside its figures: `wrong`, `over budget`, `caution`, in the order of weight.
pub fn marks(row: &Row) -> Vec<&'static str> {
    let mut marks = Vec::new();
    if row.state == State::Wrong {
        marks.push("wrong");
    }
    if row.is_invalid() {
        marks.push("invalid");
    }
    if matches!(row.budget, Budget::Over { .. }) {
        marks.push("over budget");
    }
    if row.is_suspect() {
        marks.push("caution");
    }
    if row.elsewhere.is_some() {
        marks.push("another machine");
    }
    marks
}

/// The row's speed-up in two pieces: `1.43× faster` and `1.40–1.46`.
pub fn speed_up(row: &Row) -> (String, Option<String>) {
    speed_up_in(row, row.speed_up())
}

/// The same for any of a row's speed-ups.
pub fn speed_up_in(row: &Row, speed_up: &SpeedUp) -> (String, Option<String>) {
    match speed_up {
        SpeedUp::NotAsked => ("–".to_owned(), None),
        SpeedUp::Baseline => ("baseline".to_owned(), None),
        SpeedUp::NotAvailable { .. } => ("n/a".to_owned(), None),
        SpeedUp::Compared { ratio, verdict, .. } => {
            let interval = units::ratio_interval(ratio.interval);
            let word = if row.state == State::Wrong { "but wrong" } else { verdict.name() };
            (format!("{} {word}", units::ratio(ratio.ratio)), Some(interval))
        }
    }
}

/// What stands behind a verdict of no difference: `detectable: 3.1 %`.
pub fn detectable(speed_up: &SpeedUp) -> Option<String> {
    match speed_up {
        SpeedUp::Compared { verdict: Verdict::NoDifference { detectable }, .. } => {
            Some(format!("detectable: {}", units::percent(*detectable)))
        }
        _ => None,
    }
}

/// The figure of a metric as a table shows it, `n/a` where there is none.
pub fn headline(row: &Row, metric: Metric) -> String {
    let value = row.summary.as_ref().and_then(|summary| summary.headline(metric));
    value.map_or_else(|| "n/a".to_owned(), |value| units::value(value, metric.unit()))
}

/// `± 0.8 %`, of a metric's median.
pub fn spread(row: &Row, metric: Metric) -> Option<String> {
    let figure = row.summary.as_ref()?.figure(metric)?;
    figure.interval.map(|interval| units::plus_minus(interval, figure.median))
}

/// The peak that counts on the row's device, and its budget where it is over.
pub fn memory_metric(row: &Row) -> Metric {
    let has_device = row.summary.as_ref().is_some_and(|s| s.figure(Metric::PeakDevice).is_some());
    if has_device { Metric::PeakDevice } else { Metric::PeakResident }
}

/// `within 6.00 GiB`, `over 6.00 GiB`.
pub fn budget(budget: &Budget) -> Option<String> {
    match budget {
        Budget::NotAsked => None,
        Budget::Within { budget, .. } => Some(format!("within {}", units::size(*budget))),
        Budget::Over { budget, .. } => Some(format!("over {}", units::size(*budget))),
        Budget::NotJudged { budget, .. } => Some(format!("{} not judged", units::size(*budget))),
    }
}

/// `p99 n/a (n=40, need 299)`, `p90 31.2 ms (≤ 32.0 ms)`.
pub fn percentile(percentile: &Percentile, metric: Metric) -> String {
    let name = percentile.name();
    match percentile.value {
        PercentileValue::TooFew { n, need } => {
            format!("{name} n/a (n={}, need {})", units::count(n.into()), units::count(need.into()))
        }
        PercentileValue::Known { estimate, bound } => {
            format!("{name} {} (≤ {})", units::value(estimate, metric.unit()), units::value(bound, metric.unit()))
        }
    }
}

/// Notes on rows with figures that a table has no room for, each with the labels of the rows that it holds for.
pub fn notes(comparison: &Comparison) -> Vec<(String, String)> {
    let mut notes: Vec<(String, String)> = Vec::new();
    for row in comparison.measured() {
        let mut note = |text: String| match notes.iter_mut().find(|(_, other)| *other == text) {
            Some((labels, _)) => {
                labels.push_str(", ");
                labels.push_str(&row.label);
            }
            None => notes.push((row.label.clone(), text)),
        };
        match &row.parity {
            Parity::Wrong { wrong, .. } => {
                note(format!("{}, so its speed counts for nothing: {wrong}", however_fast(row)))
            }
            Parity::NotJudged { reason } => note(format!("parity n/a ({reason})")),
            _ => {}
        }
        if let SpeedUp::NotAvailable { reason } = row.speed_up() {
            note(format!("speed-up n/a ({reason})"));
        }
        match &row.budget {
            Budget::Over { budget, peak } => {
                note(format!("over its memory budget: {} of {}", units::bytes(*peak as f64), units::size(*budget)))
            }
            Budget::NotJudged { reason, .. } => note(format!("memory budget not judged: {reason}")),
            _ => {}
        }
        if let Some(machine) = &row.elsewhere {
            note(format!("measured on another machine: {machine}"));
        }
        for caution in &row.cautions {
            let weight = if caution.code.is_invalid() { "invalid" } else { "caution" };
            note(format!("{weight} {}: {}", caution.code.name(), caution.seen));
        }
    }
    notes
}

/// What a wrong cell is called: how fast it is makes no difference.
fn however_fast(row: &Row) -> &'static str {
    match row.speed_up() {
        SpeedUp::Compared { verdict: Verdict::Slower, .. } => "slow and wrong",
        _ => "fast but wrong",
    }
}

/// What to use when, a line for each aim: the aim, and the cells with their figure.
pub fn recommendations(comparison: &Comparison) -> Vec<(&'static str, String)> {
    recommend(comparison).iter().map(|found| (aim(found.aim), recommendation(comparison, found))).collect()
}

/// What an aim is called.
pub fn aim(aim: Aim) -> &'static str {
    match aim {
        Aim::Decoding => "fastest decoding",
        Aim::FirstToken => "first token soonest",
        Aim::Latency => "fastest inference",
        Aim::Tail => "lowest p95",
        Aim::Throughput => "most items a second",
        Aim::Memory => "smallest resident set",
        Aim::ColdStart => "shortest cold start",
    }
}

fn recommendation(comparison: &Comparison, found: &Recommendation) -> String {
    let label = |place: &usize| format!("`{}`", comparison.rows[*place].label);
    let value = units::value(found.value, found.metric.unit());
    let mut text = match &found.rows[..] {
        [one] => format!("{}, {value}", label(one)),
        [one, others @ ..] => {
            let others: Vec<String> = others.iter().map(label).collect();
            format!("{}, {value}; {} can't be told from it", label(one), others.join(", "))
        }
        [] => value,
    };
    if let Some((place, times)) = &found.next {
        let worse = if found.metric.more_is_better() { "has" } else { "needs" };
        let times = if found.metric.more_is_better() { 1.0 / times } else { *times };
        text.push_str(&format!("; the next, {}, {worse} {} as much", label(place), units::ratio(times)));
    }
    if found.rows.iter().any(|place| comparison.rows[*place].is_suspect()) {
        text.push_str(" (see its cautions)");
    }
    text
}

/// What the recommendations do not speak of, where there is something.
pub fn unjudged(comparison: &Comparison) -> Option<String> {
    let holes: Vec<&str> = comparison
        .holes()
        .filter(|(row, _)| !matches!(row.state, State::Excluded(_)))
        .map(|(row, _)| row.label.as_str())
        .collect();
    let what = match &holes[..] {
        [] => return None,
        [one] => format!("`{one}`, which was"),
        some => format!("{} cells that were", some.len()),
    };
    Some(format!("Nothing here speaks of {what} not measured."))
}

/// What a caution means for a figure.
pub fn meaning(code: CautionCode) -> &'static str {
    match code {
        CautionCode::ForeignLoad => "other processes competed for the processors: times may be too long",
        CautionCode::CgroupThrottled => "the quota stopped the process at times: times hold pauses",
        CautionCode::Swap => "memory went to disk: times may be far too long",
        CautionCode::NotSteady => "times still moved when measuring began: the median may drift",
        CautionCode::FewSamples => "the interval is wider than was asked for",
        CautionCode::Trend => {
            "the machine changed while it was measured (heat, clock): the median is of no steady state"
        }
        CautionCode::TwoModes => "the median lies in one of two states: which one is chance",
        CautionCode::Outliers => "the median bears them, and a user will meet them: look at the percentiles",
        CautionCode::MixedSessions => "the machine or its load was another one: differences near this size mean little",
        CautionCode::Simulated => "a test engine invents its figures: they mean nothing",
        CautionCode::Emulated => "another processor was emulated: the figure is no property of this machine",
        CautionCode::Fallback => "some work ran elsewhere than asked: the figure is not that device's",
    }
}

/// Holes with the same state, reason and remedy, and the cells that share them, in the order of the matrix.
pub fn grouped_holes(comparison: &Comparison) -> Vec<(&'static str, Hole, Vec<String>)> {
    let mut groups: Vec<(&'static str, Hole, Vec<String>)> = Vec::new();
    for (row, hole) in comparison.holes() {
        let name = row.state.name();
        match groups.iter_mut().find(|(state, other, _)| *state == name && other == hole) {
            Some((_, _, labels)) => labels.push(row.label.clone()),
            None => groups.push((name, hole.clone(), vec![row.label.clone()])),
        }
    }
    let weight =
        |state: &str| ["failed", "unavailable", "not selected", "excluded"].iter().position(|name| *name == state);
    groups.sort_by_key(|(state, _, _)| weight(state));
    groups
}

/// `speed-up of engine=onnx place=container, at least 1`.
pub fn expectation(expect: &ExpectResult) -> String {
    let mut bounds = Vec::new();
    let show = |value: f64| match Metric::parse(&expect.metric) {
        Some(metric) => units::value(metric.from_written(value), metric.unit()),
        None => units::bound(value),
    };
    bounds.extend(expect.min.map(|min| format!("at least {}", show(min))));
    bounds.extend(expect.max.map(|max| format!("at most {}", show(max))));
    format!("{} of `{}` {}", expect.metric, expect.pattern, bounds.join(" and "))
}

/// How an expectation came out, with the cells that decided it.
pub fn outcome(comparison: &Comparison, expect: &ExpectResult) -> String {
    if let Some(reason) = &expect.reason {
        return reason.clone();
    }
    let show = |value: f64| match Metric::parse(&expect.metric) {
        Some(metric) => units::value(metric.from_written(value), metric.unit()),
        None => units::ratio(value),
    };
    let worst = expect.cells.iter().filter(|cell| cell.verdict == expect.verdict);
    let parts: Vec<String> = worst
        .map(|cell| {
            let label = &comparison.rows[cell.row].label;
            let value = cell.value.map(show).unwrap_or_default();
            let interval = match cell.interval {
                Some(i) if i.low != i.high => format!(" ({} to {})", show(i.low), show(i.high)),
                _ => String::new(),
            };
            let reason = match (&cell.reason, cell.verdict) {
                (Some(reason), ExpectVerdict::Undecided) => format!(", {reason}"),
                _ => String::new(),
            };
            format!("{label} {value}{interval}{reason}")
        })
        .collect();
    parts.join("; ")
}

/// Why a metric has no figure.
pub fn why_missing(row: &Row, metric: Metric) -> Option<&str> {
    match row.summary.as_ref()?.metrics.get(&metric)? {
        Measured::NotMeasured { reason } => Some(reason),
        Measured::Figure(_) => None,
    }
}

/// The interval of a figure: `29.6 ms to 30.1 ms`.
pub fn interval(figure: &Figure, metric: Metric) -> String {
    match figure.interval {
        Some(i) => {
            format!("{} to {}", units::value(i.low, metric.unit()), units::value(i.high, metric.unit()))
        }
        None => format!("n/a (n={}, need 6)", figure.n),
    }
}

/// The metrics of a published result, as they are shown.
pub fn published(metrics: &[(String, f64)]) -> String {
    let parts: Vec<String> = metrics
        .iter()
        .map(|(name, value)| match Metric::parse(name) {
            Some(metric) => {
                format!("{} {}", metric.title(), units::value(metric.from_written(*value), metric.unit()))
            }
            None => format!("{} {}", name.replace("-per-second", "/s"), units::three(*value)),
        })
        .collect();
    parts.join(", ")
}
