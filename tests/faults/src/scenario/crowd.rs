//! Many processes on one store at once: runs that overlap, with `store gc` and `store verify` in loops.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::checker;
use crate::place::{Place, Truth};
use crate::project::Width;
use crate::random::Random;
use crate::sweep::{Asked, Tally, sweep};
use crate::verdict::{Bad, Rule};

/// So many runs at once.
const RUNS: usize = 30;

/// A run that waits for many others on few processors takes its time.
const PATIENCE: Duration = Duration::from_secs(240);

/// What the runs differ in: they share most of their steps.
const SETS: [&[&str]; 4] = [&[], &["last=2"], &["round=2"], &["round=2", "last=2"]];

/// Rounds of 30 runs, one loop of `gc` and one of `verify`.
pub fn run(asked: &Asked) -> Result<Tally, String> {
    let mut truths = Vec::new();
    for (index, sets) in SETS.iter().enumerate() {
        truths.push(Place::of_width(asked, &format!("crowd-scout-{index}"), Width::Narrow)?.truth(sets)?);
    }
    let (busy, swept, repeats) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
    // A round is a crowd by itself.
    let alone = Asked { threads: 1, ..asked.clone() };
    let mut tally = sweep("crowd", &alone, asked.size(200, 10), |index| {
        let mut random = Random::of_case(asked.seed, index);
        let place = Place::of_width(asked, &format!("crowd-{index}"), Width::Narrow)?;
        let plans: Vec<(usize, Duration)> =
            (0..RUNS).map(|_| (random.below(SETS.len()), Duration::from_micros(random.next() % 400_000))).collect();
        let over = AtomicBool::new(false);
        let mut parts = std::thread::scope(|scope| {
            let runs: Vec<_> = plans
                .iter()
                .enumerate()
                .map(|(n, (sets, wait))| {
                    let (place, truth) = (&place, &truths[*sets]);
                    scope.spawn(move || one(place, n, SETS[*sets], truth, *wait))
                })
                .collect();
            let gc = scope.spawn(|| tended(&place, "gc", &over, &busy, &swept));
            let verify = scope.spawn(|| tended(&place, "verify", &over, &busy, &swept));
            let mut parts: Vec<Result<(String, Vec<Bad>), String>> = runs.into_iter().map(joined).collect();
            over.store(true, Ordering::Relaxed);
            parts.extend([joined(gc), joined(verify)]);
            parts.into_iter().collect::<Result<Vec<_>, String>>()
        })?;
        let mut bad = place.sound()?;
        for (key, outputs) in place.view().histories() {
            repeats.fetch_add(outputs.len() - 1, Ordering::Relaxed);
            if outputs.iter().any(|output| *output != outputs[0]) {
                bad.push(Bad::new(
                    Rule::Same,
                    format!("key {key} was made several times, and differently: {outputs:?}"),
                ));
            }
        }
        bad.extend(place.recover("next", &[], &truths[0])?);
        parts.push(("when all are done".to_owned(), bad));
        Ok(parts)
    });
    let (busy, swept, repeats) = (busy.into_inner(), swept.into_inner(), repeats.into_inner());
    tally.notes.push(format!(
        "{} processes a round; {swept} times gc or verify came through, {busy} times the store was busy; \
         {repeats} keys were made again",
        RUNS + 2
    ));
    Ok(tally)
}

fn joined<T>(thread: std::thread::ScopedJoinHandle<'_, Result<T, String>>) -> Result<T, String> {
    thread.join().unwrap_or_else(|_| Err("a thread of the harness panicked".to_owned()))
}

/// One run of the crowd, with outputs of its own.
fn one(
    place: &Place,
    n: usize,
    sets: &'static [&'static str],
    truth: &Truth,
    wait: Duration,
) -> Result<(String, Vec<Bad>), String> {
    std::thread::sleep(wait);
    let name = format!("run-{n}");
    let out = place.root().join(format!("out-{n}"));
    let mut words = place.run_words(sets, &place.events(&name));
    let shown = out.to_string_lossy().into_owned();
    if let Some(at) = words.iter().position(|word| word == "--out") {
        words[at + 1] = shown;
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let ended = place.start(&name, &mut place.command(&words))?.wait(PATIENCE)?;
    let mut bad = checker::words(&ended);
    if ended.code != Some(0) {
        let words = checker::indented(&ended.err);
        bad.push(Bad::new(Rule::NextRun, format!("it ends with {:?}\n{words}", ended.code)));
    } else if checker::exports(&out.join("faults"))? != truth.exports {
        bad.push(Bad::new(Rule::Exports, "what it gave back is not what it should be"));
    }
    Ok((format!("run {n} with {sets:?}"), bad))
}

/// `store gc` or `store verify`, over and over.
fn tended(
    place: &Place,
    what: &str,
    over: &AtomicBool,
    busy: &AtomicUsize,
    swept: &AtomicUsize,
) -> Result<(String, Vec<Bad>), String> {
    let mut bad = Vec::new();
    let mut finds: BTreeMap<String, usize> = BTreeMap::new();
    while !over.load(Ordering::Relaxed) {
        let ended = place.start(what, &mut place.command(&["store", what]))?.wait(PATIENCE)?;
        bad.extend(checker::words(&ended));
        match ended.code {
            Some(0) => drop(swept.fetch_add(1, Ordering::Relaxed)),
            // That others are at work is an answer.
            Some(5) if ended.err.contains("another `pipe`") || ended.err.contains("in use") => {
                busy.fetch_add(1, Ordering::Relaxed);
            }
            code => {
                let words = format!("{}\n{}", checker::indented(&ended.out), checker::indented(&ended.err));
                *finds.entry(format!("ends with {code:?}\n{words}")).or_default() += 1;
            }
        }
        std::thread::sleep(Duration::from_millis(30));
    }
    bad.extend(finds.into_iter().map(|(find, times)| Bad::new(Rule::NextRun, format!("{times} times: {find}"))));
    Ok((format!("`store {what}` in a loop"), bad))
}
