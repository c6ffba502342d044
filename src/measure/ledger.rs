//! The fairness ledger: what two cells were measured under, beside each other.
//!
//! A ratio of two cells says something of the axis in which they differ only while nothing else differs. Each fact that
//! can move a time stands here for both cells, with how it counts: equal; different because of an axis that is
//! compared; different, and of no effect on what is compared; or different beyond the axes, which leaves the pair
//! without a verdict unless somebody insists. Facts are what the engines read back and the host told while they ran, and
//! not what was asked for.
//!
//! What an axis explains: `place` the runtime, limits and sandbox; `engine` also its libraries and instruction sets;
//! `device` libraries that only one side has; every other axis libraries and instruction sets, and the fact of its own
//! name. Nothing explains another architecture, emulation, another machine or fewer processors than threads.

use std::collections::{BTreeMap, BTreeSet};

use super::comparison::{Comparison, Row};
use crate::record::{CautionCode, Session, Work};

/// Two cells, and all facts about them.
#[derive(Debug, Clone, PartialEq)]
pub struct Ledger {
    /// Places in [`Comparison::rows`].
    pub row: usize,
    pub against: usize,
    /// The axes in which the two differ.
    pub axes: Vec<String>,
    pub lines: Vec<Line>,
    /// Compared although they differ in more than these axes, since somebody insisted.
    pub forced: bool,
}

/// One fact of both cells.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    pub fact: &'static str,
    /// What all sessions of a cell say, each value once; empty where none tells.
    pub own: Vec<Held>,
    pub other: Vec<Held>,
    pub standing: Standing,
}

/// A value of a fact.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Held {
    Text(String),
    Count(u64),
    Bytes(u64),
    /// Thousandths of a processor.
    Milli(u64),
    /// There is none, such as a quota.
    Nothing,
}

/// How a fact counts in a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    Equal,
    /// It differs because a compared axis does.
    OfTheAxes,
    /// It differs, or one side does not tell, and the times can be compared all the same.
    Noted,
    /// It differs in more than the compared axes.
    Beyond,
}

impl Standing {
    /// The word in reports.
    pub fn name(self) -> &'static str {
        match self {
            Standing::Equal => "equal",
            Standing::OfTheAxes => "by the axes",
            Standing::Noted => "noted",
            Standing::Beyond => "beyond the axes",
        }
    }
}

impl Ledger {
    /// The facts that stand so.
    pub fn of(&self, standing: Standing) -> impl Iterator<Item = &Line> {
        self.lines.iter().filter(move |line| line.standing == standing)
    }
}

impl std::fmt::Display for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Held::Text(text) => f.write_str(text),
            Held::Count(n) | Held::Bytes(n) => write!(f, "{n}"),
            Held::Milli(n) => write!(f, "{}", *n as f64 / 1000.0),
            Held::Nothing => f.write_str("none"),
        }
    }
}

/// The pairs that a reader compares: each cell with the baseline, and each container's with its native one.
pub fn ledgers(comparison: &Comparison) -> Vec<Ledger> {
    let rows = &comparison.rows;
    let measured: Vec<usize> = (0..rows.len()).filter(|&place| rows[place].state.has_figures()).collect();
    let baseline = comparison.baseline.as_ref().and_then(|anchor| anchor.row.clone().ok());
    // A cell without its place: the two of a native and a container's cell are equal.
    let elsewhere = |place: usize| {
        let cell = rows[place].cell.as_ref()?;
        Some(cell.0.iter().filter(|(axis, _)| axis != "place").cloned().collect::<Vec<_>>())
    };
    let native: BTreeMap<_, usize> = measured
        .iter()
        .filter(|&&place| !in_container(&rows[place]))
        .filter_map(|&p| Some((elsewhere(p)?, p)))
        .collect();
    let mut pairs: Vec<(usize, usize)> = Vec::new();
    for &place in &measured {
        pairs.extend(baseline.filter(|at| *at != place).map(|at| (place, at)));
        let beside = elsewhere(place).filter(|_| in_container(&rows[place])).and_then(|cell| native.get(&cell));
        pairs.extend(beside.map(|&at| (place, at)));
    }
    let mut seen = BTreeSet::new();
    pairs.retain(|&(a, b)| seen.insert((a.min(b), a.max(b))));
    let ledger = |(row, against): (usize, usize)| {
        let (own, other) = (&rows[row], &rows[against]);
        let forced = baseline == Some(against) && !own.forced.is_empty();
        Ledger { row, against, axes: axes(own, other), lines: lines(own, other), forced }
    };
    pairs.into_iter().map(ledger).collect()
}

fn in_container(row: &Row) -> bool {
    row.setup.as_ref().is_some_and(|setup| setup.container.is_some())
}

/// In what two cells differ beyond the axes: `threads 2 against 4`; empty where they may be compared.
pub fn beyond(own: &Row, other: &Row) -> Vec<String> {
    let differ = lines(own, other).into_iter().filter(|line| line.standing == Standing::Beyond);
    differ.map(|line| format!("{} {} against {}", line.fact, several(&line.own), several(&line.other))).collect()
}

/// Values of one fact, parted by `or`.
pub fn several(values: &[Held]) -> String {
    match values {
        [] => "not told".to_owned(),
        values => values.iter().map(Held::to_string).collect::<Vec<_>>().join(" or "),
    }
}

/// The axes in which two cells differ.
fn axes(own: &Row, other: &Row) -> Vec<String> {
    let (Some(a), Some(b)) = (&own.cell, &other.cell) else { return Vec::new() };
    let names: Vec<&String> = a.0.iter().chain(&b.0).map(|(axis, _)| axis).collect();
    let mut differ: Vec<String> = Vec::new();
    for axis in names {
        if a.get(axis) != b.get(axis) && !differ.contains(axis) {
            differ.push(axis.clone());
        }
    }
    differ
}

/// All facts of two cells, in the order in which they are told.
pub fn lines(own: &Row, other: &Row) -> Vec<Line> {
    let axes = axes(own, other);
    let has = |axis: &str| axes.iter().any(|name| name == axis);
    let named = |axis: &str| axis != "place" && axis != "device";
    let other_build = axes.iter().any(|axis| named(axis));
    let mut lines = work(own, other, &has);
    let mut add = |fact: &'static str, of: &dyn Fn(&Row) -> Vec<Held>, differs: Standing| {
        lines.push(line(fact, of(own), of(other), if has(fact) { Standing::OfTheAxes } else { differs }));
    };
    let dtype = |row: &Row| row.setup.iter().map(|setup| Held::Text(setup.dtype.name().to_owned())).collect();
    add("dtype", &dtype, Standing::Beyond);
    add("threads", &threads, Standing::Beyond);
    add("reduced-precision", &reduced, Standing::Beyond);
    let optimization = |row: &Row| row.setup.iter().map(|s| Held::Text(s.optimization.name().to_owned())).collect();
    add("optimization", &optimization, Standing::Beyond);
    add("machine", &machine, Standing::Beyond);
    add("architecture", &architecture, Standing::Beyond);
    add("emulation", &emulation, Standing::Beyond);
    add("usable-threads", &usable, Standing::Beyond);
    add("processors", &|row| inside(row, |p| Held::Count(p.inside.cpus.into())), Standing::Noted);
    let by_place = if has("place") { Standing::OfTheAxes } else { Standing::Noted };
    add("quota", &|row| inside(row, |p| p.inside.cpu_quota_milli.map_or(Held::Nothing, Held::Milli)), by_place);
    add("memory-limit", &|row| inside(row, |p| p.inside.memory_limit.map_or(Held::Nothing, Held::Bytes)), by_place);
    add("runtime", &runtime, by_place);
    add("sandbox", &|row| each(row, |session| Some(Held::Text(session.sandbox.name().to_owned()))), by_place);
    let by_build = if other_build { Standing::OfTheAxes } else { Standing::Beyond };
    add("engine", &engine, by_build);
    add("simd-used", &|row| library(row, "simd"), by_build);
    add("simd", &|row| each(row, |session| text(session.facts.recorded.simd.join(" "))), Standing::Beyond);
    add("huge-pages", &huge_pages, Standing::Beyond);
    add(
        "governor",
        &|row| each(row, |session| session.facts.recorded.governor.clone().and_then(text)),
        Standing::Noted,
    );
    add("kernel", &|row| each(row, |session| text(session.facts.recorded.kernel.clone())), Standing::Noted);
    lines.push(libraries(own, other, other_build, has("device")));
    lines
}

fn line(fact: &'static str, own: Vec<Held>, other: Vec<Held>, differs: Standing) -> Line {
    let standing = match own == other {
        true => Standing::Equal,
        // What one side does not tell is no difference that was seen.
        false if own.is_empty() || other.is_empty() => Standing::Noted.min(differs),
        false => differs,
    };
    Line { fact, own, other, standing }
}

/// What one sample of each is.
fn work(own: &Row, other: &Row, has: &dyn Fn(&str) -> bool) -> Vec<Line> {
    let differs = |fact: &str| if has(fact) { Standing::OfTheAxes } else { Standing::Beyond };
    let count = |n: u32| vec![Held::Count(n.into())];
    // What was done, and where nobody tells, what was asked for.
    let of = |row: &Row| row.sessions.last().map(|s| s.work).or(row.setup.as_ref().map(|setup| setup.work));
    match (of(own), of(other)) {
        (
            Some(Work::Sequence { prompt_tokens: a, new_tokens: new_a }),
            Some(Work::Sequence { prompt_tokens: b, new_tokens: new_b }),
        ) => vec![
            line("prompt-tokens", count(a), count(b), differs("prompt-tokens")),
            line("new-tokens", count(new_a), count(new_b), differs("new-tokens")),
        ],
        (Some(Work::Inference { items: a }), Some(Work::Inference { items: b })) => {
            let shown = |items: Option<u32>| items.map_or_else(|| vec![Held::Text("unknown".to_owned())], count);
            vec![line("items", shown(a), shown(b), differs("items"))]
        }
        (a, b) => {
            let kind = |work: Option<Work>| {
                let name = match work? {
                    Work::Sequence { .. } => "sequences",
                    Work::Inference { .. } => "inferences",
                };
                Some(Held::Text(name.to_owned()))
            };
            vec![line("work", kind(a).into_iter().collect(), kind(b).into_iter().collect(), Standing::Beyond)]
        }
    }
}

/// What the sessions of a row say, each value once.
fn each(row: &Row, of: impl Fn(&Session) -> Option<Held>) -> Vec<Held> {
    row.sessions.iter().filter_map(of).collect::<BTreeSet<_>>().into_iter().collect()
}

fn inside(row: &Row, of: impl Fn(&pipe_engine::message::Prepared) -> Held) -> Vec<Held> {
    each(row, |session| session.prepared.as_ref().map(&of))
}

fn text(text: String) -> Option<Held> {
    (!text.is_empty()).then_some(Held::Text(text))
}

/// As the library told after they were set; as asked for, where no session tells.
fn threads(row: &Row) -> Vec<Held> {
    let told = inside(row, |prepared| Held::Count(prepared.threads.into()));
    match told.is_empty() {
        true => row.setup.iter().map(|setup| Held::Count(setup.threads.into())).collect(),
        false => told,
    }
}

fn reduced(row: &Row) -> Vec<Held> {
    let name = |allowed: bool| Held::Text(allowed.to_string());
    let told = inside(row, |prepared| name(prepared.reduced_precision));
    match told.is_empty() {
        true => row.setup.iter().map(|setup| name(setup.reduced_precision)).collect(),
        false => told,
    }
}

fn machine(row: &Row) -> Vec<Held> {
    each(row, |session| text(session.facts.machine.line()))
}

fn architecture(row: &Row) -> Vec<Held> {
    each(row, |session| {
        let inside = session.prepared.as_ref().map(|prepared| prepared.inside.architecture.clone());
        text(inside.filter(|name| !name.is_empty()).unwrap_or_else(|| session.facts.machine.architecture.clone()))
    })
}

fn emulation(row: &Row) -> Vec<Held> {
    each(row, |session| {
        let emulated = session.cautions.iter().find(|caution| caution.code == CautionCode::Emulated);
        Some(emulated.map_or(Held::Nothing, |caution| Held::Text(caution.seen.clone())))
    })
}

/// How many threads can run at once: those that were set, less where processors or a quota hold fewer.
fn usable(row: &Row) -> Vec<Held> {
    inside(row, |prepared| {
        let threads = u64::from(prepared.threads.min(prepared.inside.cpus)) * 1000;
        Held::Milli(prepared.inside.cpu_quota_milli.map_or(threads, |quota| quota.min(threads)))
    })
}

fn runtime(row: &Row) -> Vec<Held> {
    each(row, |session| {
        let runtime = session.runtime.as_ref();
        Some(runtime.map_or(Held::Nothing, |r| Held::Text(format!("{} {} {}", r.name, r.version, r.platform))))
    })
}

fn engine(row: &Row) -> Vec<Held> {
    each(row, |session| text(format!("{} {}", session.hello.engine, session.hello.version)))
}

fn library(row: &Row, name: &str) -> Vec<Held> {
    each(row, |session| text(session.prepared.as_ref()?.libraries.get(name)?.clone()))
}

fn huge_pages(row: &Row) -> Vec<Held> {
    each(row, |session| session.facts.recorded.transparent_huge_pages.clone().and_then(text))
}

/// The libraries in which the two differ; all of them where they agree.
fn libraries(own: &Row, other: &Row, other_build: bool, other_device: bool) -> Line {
    let of = |row: &Row| -> BTreeMap<String, Vec<Held>> {
        let names =
            row.sessions.iter().filter_map(|session| session.prepared.as_ref()).flat_map(|p| p.libraries.keys());
        let names: BTreeSet<&String> = names.filter(|name| *name != "simd").collect();
        names.into_iter().map(|name| (name.clone(), library(row, name))).collect()
    };
    let (a, b) = (of(own), of(other));
    let shown = |all: &BTreeMap<String, Vec<Held>>, keep: &dyn Fn(&String) -> bool| -> Vec<Held> {
        let kept = all.iter().filter(|(name, _)| keep(name));
        kept.map(|(name, values)| Held::Text(format!("{name} {}", several(values)))).collect()
    };
    if a == b || a.is_empty() || b.is_empty() {
        return line("libraries", shown(&a, &|_| true), shown(&b, &|_| true), Standing::Noted);
    }
    let both_differ = a.iter().any(|(name, values)| b.get(name).is_some_and(|others| others != values));
    let standing = match (other_build, both_differ, other_device) {
        (true, ..) => Standing::OfTheAxes,
        (false, false, true) => Standing::OfTheAxes,
        _ => Standing::Beyond,
    };
    let differ = |name: &String| a.get(name) != b.get(name);
    Line { fact: "libraries", own: shown(&a, &differ), other: shown(&b, &differ), standing }
}
