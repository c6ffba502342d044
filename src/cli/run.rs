//! `pipe run`: does what is missing, and prints the table.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};

use super::output::{To, colour, note, print};
use super::wanted::Wanted;
use super::{
    Global, Target, estimate, exit, explain, load, progress, rebuild, remember, results, settled, signals, trace,
};
use crate::event::{Event, Listener};
use crate::exec::outcome::{Outcome, Standing};
use crate::exec::process::Cancel;
use crate::exec::rebuild::{Verdict, check};
use crate::exec::runner::{self, Done, Round};
use crate::exec::settled::Settled;
use crate::exec::site::Site;
use crate::exec::survey::{Survey, survey_with_manifests};
use crate::exec::{again, edited, files};
use crate::pipeline::{Action, CellPattern, StepId};

/// The flags of `pipe run`.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    target: Target,
    /// Fails with code 4, before anything runs, where a result is missing; `build`: where one of a step is that does
    /// not measure
    #[arg(long, value_enum, value_name = "WHICH", num_args = 0..=1, require_equals = true, default_missing_value = "all")]
    require_cached: Option<Cached>,
    /// Writes which cells could not be measured here, and why, for `pipe fulfil` on another machine
    #[arg(long, value_name = "FILE")]
    wanted: Option<PathBuf>,
    /// Fails with code 4 unless every cell that matches has been measured
    #[arg(long, value_name = "CELL-PATTERN")]
    require: Vec<String>,
    /// How many processors builds may use [default: all that are usable]
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    jobs: Option<u32>,
    /// Memory that builds may need together, in GiB [default: nine tenths of this machine's]
    #[arg(long, value_name = "GIB", value_parser = clap::value_parser!(u32).range(1..))]
    memory: Option<u32>,
    /// Starts nothing more once a step has failed; what runs is let to its end, and kept
    #[arg(long)]
    fail_fast: bool,
    /// Goes on with all that does not need a failed step, which is the default
    #[arg(long, conflicts_with = "fail_fast")]
    keep_going: bool,
    /// Builds steps that have a result a second time, and compares: all builds, or those that are named
    #[arg(long, value_name = "STEP", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    check: Vec<String>,
    /// Writes what happens as JSON lines
    #[arg(long, value_name = "FILE")]
    events: Option<PathBuf>,
    /// Writes when each step ran and waited, as a trace that Perfetto opens (https://ui.perfetto.dev)
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
}

/// `--require-cached`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Cached {
    /// Every step
    All,
    /// Steps that fetch or build; cells may still be measured
    Build,
}

/// Runs a pipeline.
pub fn main(global: &Global, arguments: &Arguments) -> u8 {
    run(global, arguments).unwrap_or_else(|code| code)
}

fn run(global: &Global, arguments: &Arguments) -> Result<u8, u8> {
    let started = Instant::now();
    // With every flag named, so that a new one is thought of: on the short way there is nothing to run or to hear of.
    let Arguments {
        target,
        require_cached: _,
        require,
        jobs,
        memory,
        fail_fast,
        keep_going: _,
        check,
        events,
        trace,
        wanted,
    } = arguments;
    let plain = require.is_empty() && check.is_empty() && events.is_none() && trace.is_none() && wanted.is_none();
    let said = |settled: &Settled| note(&results::all_cached(settled.cached(), started.elapsed().as_secs_f64()));
    if plain && settled::settled(global, target, said).is_some() {
        return Ok(exit::DONE);
    }
    let mut site = load::site(global, target, *jobs)?;
    site.fail_fast = *fail_fast;
    if let Some(gib) = memory {
        site.memory = u64::from(*gib) << 30;
    }
    let logs = site.store.log_stamps();
    let twice = rebuild::asked(&site, &arguments.check)?;
    let required = load::patterns(&arguments.require, "--require")?;
    let survey = survey_with_manifests(&site).map_err(fault)?;
    if let Some(which) = arguments.require_cached {
        require_cached(&site, &survey, which)?;
    }
    let mut listeners = listeners(global, arguments, &site, &survey)?;
    announce(&site, &survey, &mut listeners)?;
    let Worked { done, given, verdicts } = work(global, arguments, &site, survey, &twice, &mut listeners)?;
    warn_of_edits(&site, &done, &mut listeners);
    for warning in site.store.warnings() {
        listeners.hear(&Event::Warning { text: warning.to_string() });
    }
    end(&mut listeners, &done);
    drop(listeners);
    if let Some(path) = wanted {
        Wanted::of(&site, &done, &arguments.target).write(path).map_err(|message| {
            note(&format!("pipe: {message}"));
            exit::FAULT
        })?;
    }
    let mut code = conclude(global, arguments, &site, &done, given, &required).unwrap_or_else(|code| code);
    if !arguments.check.is_empty() && !done.interrupted {
        code = code.max(rebuild::conclude(&site, &verdicts));
    }
    remember::remember(&site, &done, arguments.target.flags(), code).map_err(fault)?;
    if code == exit::DONE {
        settled::keep(global, target, &site, &done, logs);
    }
    Ok(code)
}

fn fault(error: pipe_cache::StoreError) -> u8 {
    note(&format!("pipe: {error}"));
    exit::FAULT
}

/// What came of a run.
struct Worked {
    done: Done,
    /// Whether all that is exported is in its place.
    given: Result<(), String>,
    verdicts: BTreeMap<StepId, Verdict>,
}

/// Runs what is missing and gives back what is exported, and builds some steps `twice`, until done or Ctrl-C.
fn work(
    global: &Global,
    arguments: &Arguments,
    site: &Site,
    survey: Survey,
    twice: &BTreeSet<StepId>,
    listeners: &mut Vec<Box<dyn Listener>>,
) -> Result<Worked, u8> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| {
        note(&format!("pipe: the runner can't start: {error}"));
        exit::FAULT
    })?;
    let cancel = Cancel::new();
    let done = runtime.block_on(async {
        // Before a step can start.
        if let Ok(signals) = signals::listen() {
            tokio::spawn(signals.end(cancel.clone()));
        }
        let (mut done, given) = rounds(global, arguments, site, survey, &cancel, listeners).await?;
        let verdicts = match twice.is_empty() || done.interrupted {
            true => BTreeMap::new(),
            false => check(site, &done, twice, &cancel, listeners).await,
        };
        done.interrupted |= cancel.is_cancelled();
        Ok(Worked { done, given, verdicts })
    });
    // A wheel that is being unpacked when Ctrl-C comes is not waited for.
    runtime.shutdown_timeout(Duration::from_secs(1));
    done
}

/// One round, and a second where content that the first counted on turned out to be damaged or gone.
async fn rounds(
    global: &Global,
    arguments: &Arguments,
    site: &Site,
    survey: Survey,
    cancel: &Cancel,
    listeners: &mut Vec<Box<dyn Listener>>,
) -> Result<(Done, Result<(), String>), u8> {
    let first = runner::run(site, survey, Round::First, cancel.clone(), listeners).await.map_err(fault)?;
    let losses = site.store.losses();
    let given = results::export(global, site, &first);
    let lost = given.is_err() && site.store.losses() > losses || again::lost(site, &first).map_err(fault)?;
    if !lost || cancel.is_cancelled() {
        return Ok((first, given));
    }
    again::forget(site, &first);
    let survey = survey_with_manifests(site).map_err(fault)?;
    if let Some(which) = arguments.require_cached {
        require_cached(site, &survey, which)?;
    }
    planned(site, &survey, None, listeners);
    let makes = survey.standings.values().filter(|standing| matches!(standing, Standing::Runs(_))).count();
    let text = format!("content of the store was damaged or gone: {makes} step(s) make it again");
    listeners.hear(&Event::Warning { text });
    let second = runner::run(site, survey, Round::Second, cancel.clone(), listeners).await.map_err(fault)?;
    let given = results::export(global, site, &second);
    Ok((second.after(first), given))
}

/// Where events go.
fn listeners(
    global: &Global,
    arguments: &Arguments,
    site: &Site,
    survey: &Survey,
) -> Result<Vec<Box<dyn Listener>>, u8> {
    let coloured = colour(global.color, To::Err);
    let mut listeners: Vec<Box<dyn Listener>> = Vec::new();
    if load::moving(global) {
        listeners.push(Box::new(progress::Terminal::new(coloured)));
    } else {
        listeners.push(Box::new(progress::Plain::new(coloured)));
    }
    if let Some(path) = &arguments.events {
        let events = progress::Events::create(path).map_err(|error| {
            note(&format!("pipe: `--events {}` can't be written: {error}", path.display()));
            exit::USAGE
        })?;
        listeners.push(Box::new(events));
    }
    if let Some(path) = &arguments.trace {
        let trace = trace::Trace::create(path, about(site, survey)).map_err(|error| {
            note(&format!("pipe: `--trace {}` can't be written: {error}", path.display()));
            exit::USAGE
        })?;
        listeners.push(Box::new(trace));
    }
    Ok(listeners)
}

/// What a trace tells of the steps that may run.
fn about(site: &Site, survey: &Survey) -> BTreeMap<String, trace::About> {
    let may_run =
        survey.standings.iter().filter(|(_, standing)| matches!(standing, Standing::Runs(_) | Standing::Depends(_)));
    let about = may_run.map(|(id, standing)| {
        let step = site.step(*id);
        let why = explain::standing(site, standing);
        (step.name.clone(), trace::About { why, cpu: step.needs.cpu, memory: step.needs.memory })
    });
    about.collect()
}

/// Refuses to go on where anything that the run is after has no result.
fn require_cached(site: &Site, survey: &Survey, which: Cached) -> Result<(), u8> {
    let measures = |id: &StepId| matches!(site.step(*id).action, Action::Measure(_) | Action::Compare(_));
    let missing: Vec<StepId> = survey
        .standings
        .iter()
        .filter(|(_, standing)| matches!(standing, Standing::Runs(_) | Standing::Depends(_)))
        .map(|(id, _)| *id)
        .filter(|id| which == Cached::All || !measures(id))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let flag = if which == Cached::All { "--require-cached" } else { "--require-cached=build" };
    note(&format!("pipe: `{flag}`, but {} step(s) have no result:", missing.len()));
    for id in missing.iter().take(20) {
        note(&format!("  {}: {}", site.step(*id).name, explain::standing(site, &survey.standings[id])));
    }
    Err(exit::REQUIRED)
}

/// Says what is ahead: steps, downloads, disk, how long it took before. Refuses where the disk is too small.
fn announce(site: &Site, survey: &Survey, listeners: &mut Vec<Box<dyn Listener>>) -> Result<(), u8> {
    let estimate = estimate::estimate(site, survey);
    planned(site, survey, estimate.download, listeners);
    if estimate.runs == 0 {
        // A table names what is unavailable by itself.
        let table = site.pipeline.steps.iter().any(|step| matches!(step.action, Action::Compare(_)));
        let lines = if table { Vec::new() } else { estimate::unavailable(site, survey) };
        lines.iter().for_each(|line| note(line));
        return Ok(());
    }
    for line in estimate::lines(site, survey, &estimate) {
        note(&line);
    }
    estimate::check_disk(site, &estimate).map_err(|message| {
        note(&format!("pipe: {message}"));
        exit::FAULT
    })
}

/// Tells listeners of the plan.
fn planned(site: &Site, survey: &Survey, download_bytes: Option<u64>, listeners: &mut Vec<Box<dyn Listener>>) {
    let count = |f: fn(&Standing) -> bool| survey.standings.values().filter(|standing| f(standing)).count();
    listeners.hear(&Event::Planned {
        pipeline: site.pipeline.name.clone(),
        cached: count(|s| matches!(s, Standing::Cached(_))),
        runs: count(|s| matches!(s, Standing::Runs(_) | Standing::Depends(_))),
        unavailable: count(|s| matches!(s, Standing::Unavailable(_))),
        download_bytes,
    });
}

/// Names what was edited while steps ran; what ran nothing had no time for that.
fn warn_of_edits(site: &Site, done: &Done, listeners: &mut Vec<Box<dyn Listener>>) {
    if !done.outcomes.values().any(|outcome| matches!(outcome, Outcome::Ran(_) | Outcome::Failed(_))) {
        return;
    }
    for path in edited::edited(site) {
        let text = format!(
            "`{}` was edited while the run went on: its results belong to what it held before; run again for the rest",
            path.display()
        );
        listeners.hear(&Event::Warning { text });
    }
}

fn end(listeners: &mut Vec<Box<dyn Listener>>, done: &Done) {
    let count = |f: fn(&Outcome) -> bool| done.outcomes.values().filter(|outcome| f(outcome)).count();
    listeners.hear(&Event::Ended {
        ran: count(|o| matches!(o, Outcome::Ran(_))),
        cached: count(|o| matches!(o, Outcome::Cached(_))),
        failed: count(|o| matches!(o, Outcome::Failed(_))),
        unavailable: count(|o| matches!(o, Outcome::Unavailable(_))),
        seconds: done.seconds,
    });
}

/// The table, the report files, what failed, and the exit code.
fn conclude(
    global: &Global,
    arguments: &Arguments,
    site: &Site,
    done: &Done,
    given: Result<(), String>,
    required: &[CellPattern],
) -> Result<u8, u8> {
    let mut code = exit::DONE;
    let accepted = results::accepted(site, done).map_err(fault)?;
    for (&id, outcome) in &done.outcomes {
        let Action::Compare(compare) = &site.step(id).action else { continue };
        let comparison = results::comparison(site, done, compare, outcome, &accepted).map_err(fault)?;
        print(&results::table(global, &comparison));
        if !done.interrupted {
            results::write(global, site, id, &comparison).map_err(|message| {
                note(&format!("pipe: {message}"));
                exit::FAULT
            })?;
        }
        if comparison.gate_failed() {
            code = code.max(exit::JUDGED);
        }
    }
    given.map_err(|message| {
        note(&format!("pipe: {message}"));
        exit::FAULT
    })?;
    let failures = results::failures(site, done, &arguments.target.file);
    if !failures.is_empty() {
        note(&failures);
        if let Some(step) = done.stopped_by {
            note(&results::stopped(site, done, step));
        }
        code = code.max(exit::STEP);
    }
    for lack in files::faults(site) {
        note(&format!("\n✗ {}", lack.reason));
        if let Some(remedy) = lack.remedy {
            note(&format!("  help: {remedy}"));
        }
        code = code.max(exit::STEP);
    }
    let unmet = results::unmet(site, done, required);
    if !unmet.is_empty() {
        note(&unmet);
        code = code.max(exit::REQUIRED);
    }
    if done.interrupted {
        note(&results::interrupted(site, done, &arguments.target.file));
        code = exit::INTERRUPTED;
    }
    if !failures.is_empty() || !unmet.is_empty() || done.interrupted {
        return Ok(code);
    }
    note(&results::summary(done));
    Ok(code)
}
