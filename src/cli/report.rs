//! `pipe report`: the comparison of a run that was, from its records. Nothing runs.
//!
//! The pipeline's file says what is compared and how it is called; the run says under which key each cell was measured,
//! and when: samples that came later are not in its report. Flags that the run was given count again, unless others are.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use pipe_cache::StoreError;

use super::output::{note, print};
use super::{Global, Target, exit, history, load, report_diff, results};
use crate::exec::history::{self as past, Run};
use crate::exec::outcome::Standing;
use crate::exec::share::accept::{self, Accepted};
use crate::exec::site::Site;
use crate::exec::survey::{Survey, survey_with_manifests};
use crate::exec::work::Parities;
use crate::measure::{self, CellInput, CompareInput, Comparison};
use crate::pipeline::{Action, Compare, Measure, Step, StepId};
use crate::record::{RunRecord, Session};

/// The flags of `pipe report`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The pipeline: a KDL file
    #[arg(required_unless_present = "diff")]
    pub file: Option<PathBuf>,
    /// The run: `last`, `last~1`, or the first digits that `pipe runs` prints
    #[arg(long, value_name = "RUN", default_value = "last", conflicts_with = "diff")]
    run: String,
    /// Holds two runs against each other, the older one first; `machine:PATTERN` takes the last records of a machine
    #[arg(long, num_args = 2, value_names = ["A", "B"])]
    pub diff: Vec<String>,
    /// How it is written
    #[arg(long, value_enum, default_value_t = Written::Text)]
    pub format: Written,
    /// Writes the report files too, as a run does
    #[arg(long, conflicts_with = "diff")]
    write: bool,
    /// Gives a verdict also on cells that differ in more than the compared axes, and marks the report
    #[arg(long)]
    pub force: bool,
    /// Gives a parameter a value, in place of those that the run was given
    #[arg(long = "set", value_name = "NAME=VALUE")]
    sets: Vec<String>,
    /// Takes the parameters' values from a profile of the pipeline, in place of those that the run was given
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
    /// Shows only cells that match, like 'engine=onnx place=* !device=cpu'; several flags add up
    #[arg(long, value_name = "CELL-PATTERN")]
    only: Vec<String>,
    /// Shows cells that the run could not measure as another machine did; part of the machine's name or line, `*` for any
    #[arg(long = "accept-machine", value_name = "PATTERN")]
    accept_machines: Vec<String>,
}

/// `--format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Written {
    /// The table
    Text,
    /// Markdown
    Md,
    Csv,
    Json,
    /// The page
    Html,
}

/// Reports.
pub fn main(global: &Global, arguments: &Arguments) -> u8 {
    let told = match &arguments.diff[..] {
        [old, new] => report_diff::report(global, arguments, old, new),
        _ => report(global, arguments),
    };
    told.unwrap_or_else(|code| code)
}

fn report(global: &Global, arguments: &Arguments) -> Result<u8, u8> {
    let target = target(arguments);
    let site = load::site(global, &target, None)?;
    let run = history::run(&site.store, &site.pipeline.name, &arguments.run)?;
    let site = match with_flags(&target, &run.record.flags) {
        Some(target) => {
            drop(site);
            load::site(global, &target, None).inspect_err(|_| {
                let flags = run.record.flags.join(" ");
                note(&format!("these are the flags of run {}: {flags}", run.id.short()));
                note("  help: the file may have changed since; give other flags, or another `--run`");
            })?
        }
        None => site,
    };
    let survey = survey_with_manifests(&site).map_err(history::fault)?;
    note(&format!("report of {}", history::run_line(&run)));
    let since = changed(&site, &survey, &run.record);
    if since > 0 {
        note(&format!(
            "{since} cell(s) depend on something that changed since, so that `pipe run` would measure them anew; here is what \
             that run found"
        ));
    }
    let comparisons = comparisons(&site, &survey, &run, arguments.force).map_err(history::fault)?;
    if comparisons.is_empty() {
        note(&format!("pipe: `{}` compares nothing: it has no `compare` step", site.pipeline.name));
        return Err(exit::USAGE);
    }
    let wrong = |message: String| {
        note(&format!("pipe: {message}"));
        exit::FAULT
    };
    for (id, comparison) in &comparisons {
        print(&match arguments.format {
            Written::Text => results::table(global, comparison),
            Written::Md => results::file(&site, "md", comparison).map_err(wrong)?,
            Written::Csv => results::file(&site, "csv", comparison).map_err(wrong)?,
            Written::Json => results::file(&site, "json", comparison).map_err(wrong)?,
            Written::Html => results::file(&site, "html", comparison).map_err(wrong)?,
        });
        if arguments.write {
            results::write(global, &site, *id, comparison).map_err(wrong)?;
        }
    }
    Ok(if comparisons.values().any(Comparison::gate_failed) { exit::JUDGED } else { exit::DONE })
}

fn target(arguments: &Arguments) -> Target {
    Target {
        file: arguments.file.clone().unwrap_or_default(),
        sets: arguments.sets.clone(),
        profile: arguments.profile.clone(),
        secrets: Vec::new(),
        only: arguments.only.clone(),
        remeasure: false,
        accept_machines: arguments.accept_machines.clone(),
    }
}

/// The target with the flags that the run remembers, where it had any and none were given now.
fn with_flags(target: &Target, flags: &[String]) -> Option<Target> {
    if !target.sets.is_empty() || target.profile.is_some() || !target.only.is_empty() {
        return None;
    }
    let all = |name: &str| -> Vec<String> {
        let values = flags.iter().filter_map(|flag| flag.strip_prefix(name)?.strip_prefix(' '));
        values.map(|value| value.trim_matches('\'').to_owned()).collect()
    };
    let (sets, only) = (all("--set"), all("--only"));
    let profile = all("--profile").pop();
    let any = !sets.is_empty() || !only.is_empty() || profile.is_some();
    any.then(|| Target { sets, only, profile, ..target.clone() })
}

/// How many cells of the run have another question now.
fn changed(site: &Site, survey: &Survey, run: &RunRecord) -> usize {
    let moved = |id: &StepId| {
        let then = names(site.step(*id)).find_map(|name| run.steps.get(name));
        let now = survey.manifests.get(id).map(|(key, _)| key);
        matches!((then, now), (Some(then), Some(now)) if then.key != *now)
    };
    survey.manifests.keys().filter(|id| matches!(site.step(**id).action, Action::Measure(_)) && moved(id)).count()
}

fn names(step: &Step) -> impl Iterator<Item = &String> {
    std::iter::once(&step.name).chain(&step.also)
}

/// Each comparison of the pipeline, as the run found it.
fn comparisons(
    site: &Site,
    survey: &Survey,
    run: &Run,
    force: bool,
) -> Result<BTreeMap<StepId, Comparison>, StoreError> {
    let all = past::sessions(&site.store)?;
    let compared = past::compared(&site.store, &run.record)?;
    let mut sessions: BTreeMap<StepId, Vec<Session>> = BTreeMap::new();
    let mut lacking: Vec<StepId> = Vec::new();
    for id in (0..site.pipeline.steps.len()).map(StepId) {
        if !matches!(site.step(id).action, Action::Measure(_)) {
            continue;
        }
        let step = names(site.step(id)).find_map(|name| run.record.steps.get(name));
        let found = step.and_then(|step| all.get(&step.key)).map(|all| past::of_run(all, &run.record, &compared));
        match found.filter(|found| !found.is_empty()) {
            Some(found) => drop(sessions.insert(id, found)),
            None => lacking.push(id),
        }
    }
    let accepted = accept::accepted(site, lacking.into_iter())?;
    let mut comparisons = BTreeMap::new();
    for id in (0..site.pipeline.steps.len()).map(StepId) {
        let Action::Compare(compare) = &site.step(id).action else { continue };
        let judged = judged(site, id, &run.record)?;
        let cell = |cell: &StepId| match &site.step(*cell).action {
            Action::Measure(measure) => {
                Some(this_cell(site, survey, run, compare, (*cell, measure), &sessions, &accepted, &judged))
            }
            _ => None,
        };
        let cells = compare.of.iter().filter_map(cell).collect::<Result<Vec<_>, _>>()?;
        let input = CompareInput {
            pipeline: &site.pipeline.name,
            about: site.pipeline.about.as_deref(),
            compare,
            cells,
            noise: judged.noise.clone(),
            facts: &site.facts,
            force,
        };
        comparisons.insert(id, measure::compare(input));
    }
    Ok(comparisons)
}

/// What the run found of the outputs of a comparison's cells.
fn judged(site: &Site, id: StepId, run: &RunRecord) -> Result<Parities, StoreError> {
    let Some(step) = names(site.step(id)).find_map(|name| run.steps.get(name)) else { return Ok(Parities::default()) };
    match history::step_record(&site.store, &step.key)? {
        Some(record) => Parities::read(&site.store, &record.output),
        None => Ok(Parities::default()),
    }
}

#[expect(clippy::too_many_arguments, reason = "a cell is made of all that was read of the run")]
fn this_cell<'a>(
    site: &'a Site,
    survey: &Survey,
    run: &Run,
    compare: &Compare,
    (id, measure): (StepId, &'a Measure),
    sessions: &'a BTreeMap<StepId, Vec<Session>>,
    accepted: &'a BTreeMap<StepId, Accepted>,
    judged: &Parities,
) -> Result<CellInput<'a>, StoreError> {
    let of = |id: StepId| {
        let own = sessions.get(&id).map(Vec::as_slice);
        own.or_else(|| accepted.get(&id).map(|theirs| theirs.sessions.as_slice()))
    };
    if let Some(theirs) = accepted.get(&id) {
        let exact = results::exact(site, compare, &|id| match survey.standings.get(&id)? {
            Standing::Cached(product) => product.entry().cloned(),
            _ => None,
        });
        return results::from_elsewhere(site, compare, (id, measure), theirs, exact, of);
    }
    let step = site.step(id);
    let outcome = match sessions.get(&id) {
        Some(sessions) => results::measured(&step.coordinates(), sessions, false, judged),
        None => lacking(site, survey, &run.record, id),
    };
    let question = names(step).find_map(|name| run.record.steps.get(name)).map(|step| step.key);
    Ok(CellInput { step: &step.name, cell: step.cell.as_ref(), measure, question, outcome })
}

/// Why a cell has no figures in a run: what the run remembers of it, and what a look at this host adds.
fn lacking(site: &Site, survey: &Survey, run: &RunRecord, id: StepId) -> measure::Outcome<'static> {
    let step = site.step(id);
    let with_key = names(step).find_map(|name| run.steps.get(name)).map(|step| (&step.state, step.said.clone()));
    let keyless = names(step).find_map(|name| run.keyless.get(name)).map(|lack| (&lack.state, Some(lack.said.clone())));
    let lack = match survey.standings.get(&id) {
        Some(Standing::Unavailable(lack)) => Some(lack),
        _ => None,
    };
    let Some((state, said)) = with_key.or(keyless) else {
        let (reason, remedy) = match site.selection.only.is_empty() {
            true => ("that run had no such cell".to_owned(), "run the pipeline as it is now".to_owned()),
            false => ("left out by `--only`".to_owned(), "run without `--only`".to_owned()),
        };
        return measure::Outcome::NotSelected { reason, remedy: Some(remedy) };
    };
    match (state.as_str(), said) {
        ("unavailable", Some(reason)) => {
            let remedy = lack.filter(|lack| lack.reason == reason).and_then(|lack| lack.remedy.clone());
            measure::Outcome::Unavailable { reason, remedy }
        }
        ("failed" | "skipped", Some(reason)) => measure::Outcome::Failed { reason, remedy: None },
        (state @ ("not-selected" | "cancelled" | "not-needed"), _) => {
            let (reason, remedy) = results::why_left_out(state);
            measure::Outcome::NotSelected { reason, remedy }
        }
        _ => measure::Outcome::NotSelected {
            reason: "its samples are no longer in the store".to_owned(),
            remedy: Some("run again".to_owned()),
        },
    }
}
