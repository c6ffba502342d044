//! `pipe why`: the chain from a step to the first thing that differs, or where its result came from; for now, for a
//! run of the past, and between two runs.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use clap::Args;
use pipe_cache::{Digest, StoreError};

use super::cause::{self, Cause, Comparison, Side};
use super::output::{Format, note, print};
use super::why_past::{self, Apart, Runs};
use super::why_text;
use super::{Global, Target, exit, explain, history as past, load};
use crate::diag::suggest;
use crate::exec::history::{self, Run};
use crate::exec::outcome::{Product, Standing, Why};
use crate::exec::share;
use crate::exec::site::Site;
use crate::exec::survey::{Look, Survey, survey_with_manifests};
use crate::pipeline::{Action, StepId};

/// The flags of `pipe why`.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    target: Target,
    /// A step, a cell like 'decode[engine=onnx,place=native,device=cpu]', or a group of cells; without one, every
    /// step that has a reason of its own
    step: Option<String>,
    /// Explains a run of the past, beside the one before it: its first digits, `last`, `last~1`
    #[arg(long, value_name = "RUN", conflicts_with = "between")]
    run: Option<String>,
    /// Tells what differs between two runs, of this machine or another
    #[arg(long, num_args = 2, value_names = ["RUN", "RUN"])]
    between: Option<Vec<String>>,
    /// How it is written
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// What is to be told of a step.
#[derive(Debug, Default)]
pub struct Told {
    pub step: String,
    /// `cached`, `runs`, `depends`, …; of a past run `ran`, `failed`, ….
    pub state: String,
    /// The state with its reason, in a few words.
    pub said: String,
    pub key: Option<Digest>,
    pub help: Option<String>,
    /// In what this machine and another differ, where the other has measured it.
    pub machines: Vec<Apart>,
    /// Where a result came from.
    pub hit: Option<Hit>,
    /// What differs from what it is compared with.
    pub cause: Option<Cause>,
    /// The run, or the key, that it is compared with.
    pub against: Option<String>,
    /// For a step that waits: the steps with a reason of their own, and those on the way to them.
    pub behind: Vec<Behind>,
}

/// A step on the way to a cause.
#[derive(Debug)]
pub struct Behind {
    pub step: String,
    /// How far from the step that was asked for, from 1.
    pub depth: usize,
    pub said: String,
    pub cause: Option<Cause>,
}

/// Where a result came from.
#[derive(Debug)]
pub struct Hit {
    pub output: Option<String>,
    pub lines: Vec<(&'static str, String)>,
}

/// Explains steps.
pub fn main(global: &Global, arguments: &Arguments) -> u8 {
    why(global, arguments).unwrap_or_else(|code| code)
}

fn why(global: &Global, arguments: &Arguments) -> Result<u8, u8> {
    let site = load::site(global, &arguments.target, None)?;
    let name = arguments.step.as_deref();
    if arguments.run.is_some() || arguments.between.is_some() {
        let runs = match (&arguments.run, arguments.between.as_deref()) {
            (Some(run), _) => Runs::with_the_one_before(&site, run, name)?,
            (_, Some([old, new])) => Runs::between(&site, old, new)?,
            _ => return Err(exit::USAGE),
        };
        let steps = runs.steps(&site, name)?;
        let told = why_past::told(&site, &runs, &steps).map_err(past::fault)?;
        print(&match arguments.format {
            Format::Text => why_text::of_runs(&runs, &told),
            Format::Json => why_text::json(&site.pipeline.name, Some(&runs), &told),
        });
        return Ok(exit::DONE);
    }
    let survey = survey_with_manifests(&site).map_err(past::fault)?;
    let steps = match name {
        Some(name) => named(&site, name)?,
        None => with_reason(&site, &survey),
    };
    let told = now(&site, &survey, &steps).map_err(past::fault)?;
    print(&match arguments.format {
        Format::Text if told.is_empty() => "nothing would run: every step that is needed has its result\n".to_owned(),
        Format::Text => told.iter().map(why_text::of_step).collect(),
        Format::Json => why_text::json(&site.pipeline.name, None, &told),
    });
    Ok(exit::DONE)
}

/// The steps of a name: itself, one of its further names, or all cells of a group.
fn named(site: &Site, name: &str) -> Result<Vec<StepId>, u8> {
    let steps = || site.pipeline.steps.iter().enumerate();
    let exact = steps().filter(|(_, step)| step.name == name || step.also.iter().any(|also| also == name));
    let exact: Vec<StepId> = exact.map(|(id, _)| StepId(id)).collect();
    if !exact.is_empty() {
        return Ok(exact);
    }
    let group: Vec<StepId> = steps().filter(|(_, step)| step.group == name).map(|(id, _)| StepId(id)).collect();
    if !group.is_empty() {
        return Ok(group);
    }
    let known = steps().flat_map(|(_, step)| [&step.name, &step.group].into_iter().chain(&step.also));
    Err(unknown(name, known.map(String::as_str)))
}

/// Says that there is no such step, and which may be meant.
pub fn unknown<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> u8 {
    let known: BTreeSet<&str> = known.collect();
    let hint = suggest(name, known, "there are").map(|hint| format!("; {hint}")).unwrap_or_default();
    note(&format!("pipe: no step is called `{name}`{hint}"));
    exit::USAGE
}

/// The steps that would run for a reason of their own, the wheels of an environment as one.
fn with_reason(site: &Site, survey: &Survey) -> Vec<StepId> {
    let mut wheels = BTreeSet::new();
    let runs = survey.standings.iter().filter(|(_, standing)| matches!(standing, Standing::Runs(_)));
    runs.map(|(id, _)| *id).filter(|id| wheel_group(site, *id).is_none_or(|group| wheels.insert(group))).collect()
}

/// The environment that a wheel is of: forty wheels say no more than one.
fn wheel_group(site: &Site, id: StepId) -> Option<String> {
    let step = site.step(id);
    let wheel = matches!(step.action, Action::FetchWheel(_));
    wheel.then(|| step.name.rsplit_once('/').map_or(step.name.clone(), |(group, _)| group.to_owned()))
}

fn now(site: &Site, survey: &Survey, steps: &[StepId]) -> Result<Vec<Told>, StoreError> {
    let runs = history::all(&site.store)?;
    let last = runs.iter().find(|run| run.record.pipeline == site.pipeline.name);
    let comparison = last.map(|run| Comparison::new(site, Side::Past(&site.store, run), Side::Now(site, survey)));
    let mut now = Now { site, survey, runs: &runs, last, comparison };
    steps.iter().map(|id| now.told(*id)).collect()
}

/// What is compared where no run of the past is named: what a run would find, with the last one.
struct Now<'a> {
    site: &'a Site,
    survey: &'a Survey,
    runs: &'a [Run],
    last: Option<&'a Run>,
    comparison: Option<Comparison<'a>>,
}

impl Now<'_> {
    fn told(&mut self, id: StepId) -> Result<Told, StoreError> {
        let (site, standing) = (self.site, &self.survey.standings[&id]);
        let key = match &self.survey.looks[&id] {
            Look::Known { key, .. } => Some(*key),
            _ => None,
        };
        let mut told = Told {
            step: site.step(id).name.clone(),
            state: explain::word(standing).to_owned(),
            said: explain::standing(site, standing),
            key,
            ..Told::default()
        };
        match standing {
            Standing::Cached(product) => told.hit = key.map(|key| hit(site, self.runs, &key, product)).transpose()?,
            Standing::Runs(Why::Failed) => {
                let step = self.last.and_then(|run| run.record.steps.get(&told.step));
                told.help = step.and_then(|step| step.said.clone());
            }
            Standing::Runs(Why::OtherMachine { .. }) => {
                (told.help, told.machines) = key.map(|key| self.other_machine(&key)).transpose()?.unwrap_or_default();
            }
            Standing::Runs(_) => (told.cause, told.against) = self.cause(id)?.unzip(),
            Standing::Depends(_) => (told.behind, told.against) = self.behind(id)?,
            Standing::Unavailable(lack) => told.help = lack.remedy.clone().map(|remedy| format!("help: {remedy}")),
            Standing::NotNeeded => told.help = Some("nothing that this host can do reads it".to_owned()),
            Standing::NotSelected => told.help = Some("`--only` leaves it out".to_owned()),
        }
        Ok(told)
    }

    /// Where a question was measured, and in what that machine differs from this one.
    fn other_machine(&self, key: &Digest) -> Result<(Option<String>, Vec<Apart>), StoreError> {
        let sessions = past::sessions(&self.site.store, key)?;
        let Some(session) = sessions.last() else { return Ok((None, Vec::new())) };
        let (theirs, ours) = (&session.facts.machine, &self.site.facts.machine);
        let said = format!("measured at {} on {}", past::when(session.started), theirs.line());
        Ok((Some(said), why_past::machines(Some(theirs), Some(ours))))
    }

    /// What differs from the run, or the manifest, that the look-up compared with.
    fn cause(&mut self, id: StepId) -> Result<Option<(Cause, String)>, StoreError> {
        let Standing::Runs(Why::Changed { changes, against }) = &self.survey.standings[&id] else { return Ok(None) };
        let name = &self.site.step(id).name;
        if let (Some(comparison), Some(run)) = (&mut self.comparison, self.last)
            && comparison.old.key(name).as_ref() == Some(against)
        {
            return Ok(Some((comparison.cause(name)?, past::run_line(run))));
        }
        // The step had another name then, or none: what differs is known, and no run to follow it through.
        Ok(Some((cause::plain(self.site, name, changes)?, format!("what had key {}", against.short()))))
    }

    /// From a step that waits to those that have a reason of their own, by the shortest ways.
    fn behind(&mut self, id: StepId) -> Result<(Vec<Behind>, Option<String>), StoreError> {
        let standings = &self.survey.standings;
        let (mut parents, mut roots, mut wheels) = (BTreeMap::new(), Vec::new(), BTreeSet::new());
        let mut open = VecDeque::from([id]);
        while let Some(at) = open.pop_front() {
            let Standing::Depends(steps) = &standings[&at] else {
                if wheel_group(self.site, at).is_none_or(|group| wheels.insert(group)) {
                    roots.push(at);
                }
                continue;
            };
            for step in steps {
                if *step != id && !parents.contains_key(step) {
                    parents.insert(*step, at);
                    open.push_back(*step);
                }
            }
        }
        let (mut shown, mut out, mut against) = (BTreeSet::new(), Vec::new(), None);
        for root in roots {
            let mut way = vec![root];
            while let Some(parent) = parents.get(&way[way.len() - 1]).filter(|parent| **parent != id) {
                way.push(*parent);
            }
            for (depth, step) in way.into_iter().rev().enumerate().filter(|(_, step)| shown.insert(*step)) {
                let said = explain::standing(self.site, &standings[&step]);
                let (cause, with) = self.cause(step)?.unzip();
                against = against.or(with);
                out.push(Behind { step: self.site.step(step).name.clone(), depth: depth + 1, said, cause });
            }
        }
        Ok((out, against))
    }
}

/// Where a result came from.
pub fn hit(site: &Site, runs: &[Run], key: &Digest, product: &Product) -> Result<Hit, StoreError> {
    let output = product.entry().map(ToString::to_string);
    let mut lines: Vec<(&str, String)> = output.iter().map(|output| ("output", output.clone())).collect();
    match product {
        Product::Output(_) | Product::Compared(_) => {
            lines.extend(why_past::made(site, runs, key)?);
        }
        Product::Sessions(sessions) => {
            let samples: usize = sessions.iter().map(|session| session.samples.len()).sum();
            lines.push(("samples", format!("{samples} in {} session(s) of this machine", sessions.len())));
            for session in sessions {
                let when = past::when(session.started);
                let line = format!("{} at {when}, sandbox {}", session.samples.len(), session.sandbox.name());
                lines.push(("session", line));
                if let Some(origin) = share::origin_of_session(&site.store, session)? {
                    lines.push(("from", past::came(&origin)));
                }
                for caution in &session.cautions {
                    lines.push(("caution", format!("{}: {}", caution.code.name(), caution.seen)));
                }
            }
        }
    }
    Ok(Hit { output, lines })
}
