//! `pipe plan`: what would run and why. It takes the same path as `run`, up to where something would start.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::forecast::{Forecast, forecast, may_run};
use super::output::{Format, note, print};
use super::progress::time;
use super::{Global, Target, exit, explain, history, load, settled};
use crate::exec::beside;
use crate::exec::files;
use crate::exec::outcome::{Product, Standing};
use crate::exec::settled::Settled;
use crate::exec::share::accept::{self, Accepted};
use crate::exec::site::Site;
use crate::exec::survey::{Look, Survey, survey};
use crate::pipeline::{Class, StepId};

/// The flags of `pipe plan`.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    target: Target,
    /// Says what would run if a parameter had this value; several flags add up
    #[arg(long = "if", value_name = "NAME=VALUE")]
    supposed: Vec<String>,
    /// Says what would run if this file were edited; several flags add up
    #[arg(long = "if-changed", value_name = "FILE")]
    edits: Vec<PathBuf>,
    /// How the plan is written
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// What is supposed, and how many steps may run without that.
struct Supposed {
    words: Vec<String>,
    runs_anyhow: usize,
}

/// What is said of a cell beyond how it stands.
struct Apart {
    /// Shown as another machine measured it.
    accepted: BTreeMap<StepId, Accepted>,
    /// Measured again, beside these.
    beside: BTreeMap<StepId, Vec<StepId>>,
}

/// Prints the plan.
pub fn main(global: &Global, arguments: &Arguments) -> u8 {
    plan(global, arguments).unwrap_or_else(|code| code)
}

fn plan(global: &Global, arguments: &Arguments) -> Result<u8, u8> {
    let as_it_is = arguments.supposed.is_empty() && arguments.edits.is_empty();
    if as_it_is
        && arguments.format == Format::Text
        && settled::settled(global, &arguments.target, |s| print(&still(s))).is_some()
    {
        return Ok(exit::DONE);
    }
    let (site, survey) = load::surveyed(global, &arguments.target)?;
    let (site, survey, supposed) = match as_it_is {
        true => (site, survey, None),
        false => {
            let runs_anyhow = survey.standings.values().filter(|standing| may_run(standing)).count();
            drop(site);
            let (site, survey, words) = suppose(global, arguments)?;
            (site, survey, Some(Supposed { words, runs_anyhow }))
        }
    };
    let forecast = forecast(&site, &survey);
    let apart = Apart {
        accepted: accept::of_survey(&site, &survey).map_err(history::fault)?,
        beside: beside::baselines(&site, &survey.standings),
    };
    print(&match arguments.format {
        Format::Text => text(&site, &survey, &forecast, supposed.as_ref(), &apart),
        Format::Json => json(&site, &survey, &forecast, supposed.as_ref(), &apart),
    });
    Ok(exit::DONE)
}

/// The same pipeline with other values, and with files that count as edited: read and surveyed as for a run.
fn suppose(global: &Global, arguments: &Arguments) -> Result<(Site, Survey, Vec<String>), u8> {
    let mut target = arguments.target.clone();
    for set in &arguments.supposed {
        let Some((name, _)) = set.split_once('=') else {
            note(&format!("pipe: `--if {set}` needs a value: `--if {set}=VALUE`"));
            return Err(exit::USAGE);
        };
        // A parameter takes one value, and this is the last word.
        target.sets.retain(|other| other.split_once('=').is_none_or(|(other, _)| other != name));
    }
    target.sets.extend(arguments.supposed.iter().cloned());
    let site = load::site(global, &target, None)?;
    for file in &arguments.edits {
        let path = std::path::absolute(file).unwrap_or_else(|_| file.clone());
        if files::suppose_changed(&site, &path) == 0 {
            note(&format!("pipe: `--if-changed {}`: no step reads it", file.display()));
            note("  help: name a file that the pipeline names with `(file)`, or one in such a folder");
            return Err(exit::USAGE);
        }
    }
    let survey = survey(&site).map_err(history::fault)?;
    let edits = arguments.edits.iter().map(|file| format!("{} changed", file.display()));
    let words = arguments.supposed.iter().cloned().chain(edits).collect();
    Ok((site, survey, words))
}

/// A line for each step, the wheels of one environment as one line where they stand alike. Where something is supposed,
/// a line for each that would run, and for what could not.
fn text(site: &Site, survey: &Survey, forecast: &Forecast, supposed: Option<&Supposed>, apart: &Apart) -> String {
    let mut counts = Counts::default();
    let mut lines = Lines::default();
    for &id in site.plan.order() {
        let standing = &survey.standings[&id];
        match standing {
            Standing::Cached(_) => counts.cached += 1,
            Standing::Runs(_) => counts.runs += 1,
            Standing::Depends(_) => counts.depends += 1,
            _ => counts.rest += 1,
        }
        let beside = apart.beside.get(&id);
        if supposed.is_some() && !may_run(standing) && beside.is_none() && !matches!(standing, Standing::Unavailable(_))
        {
            continue;
        }
        let step = site.step(id);
        let wheel = matches!(step.action, crate::pipeline::Action::FetchWheel(_));
        let took = forecast.took.get(&id).filter(|_| !wheel);
        let took = took.map(|took| format!(", took {} before", time(took.as_secs_f64()))).unwrap_or_default();
        let shown = apart.accepted.get(&id).map(|theirs| format!("; shown as measured on {}", theirs.machine));
        let again = beside.map(|cells| format!("; measured again beside {}", explain::some(&names(site, cells), 3)));
        let said = explain::standing(site, standing) + &took + &shown.or(again).unwrap_or_default();
        lines.add(&step.name, wheel, said.into());
    }
    let mut out = String::new();
    if let Some(supposed) = supposed {
        let _ = writeln!(out, "if {}:", supposed.words.join(" and "));
    }
    out.push_str(&lines.text(&counts));
    if let Some(supposed) = supposed {
        let _ = writeln!(out, "as it is now, {} to run or to wait", supposed.runs_anyhow);
    }
    out.push_str(&time_line(site, forecast));
    out
}

fn names<'a>(site: &'a Site, ids: &[StepId]) -> Vec<&'a str> {
    ids.iter().map(|id| site.step(*id).name.as_str()).collect()
}

/// The plan where nothing has moved since a run that found everything done.
fn still(settled: &Settled) -> String {
    let cached = settled.cached();
    let mut lines = Lines::default();
    for step in &settled.steps {
        lines.add(step.name, step.wheel, Cow::Borrowed(if step.cached { "cached" } else { "not needed" }));
    }
    lines.text(&Counts { cached, rest: settled.steps.len() - cached, ..Counts::default() })
}

/// How many steps stand how.
#[derive(Default)]
struct Counts {
    cached: usize,
    runs: usize,
    depends: usize,
    rest: usize,
}

/// A line for each step, the wheels of one environment as one line where they stand alike.
#[derive(Default)]
struct Lines<'a> {
    steps: Vec<(&'a str, Cow<'static, str>)>,
    wheels: Vec<(&'a str, Cow<'static, str>, usize)>,
}

impl<'a> Lines<'a> {
    fn add(&mut self, name: &'a str, wheel: bool, said: Cow<'static, str>) {
        if !wheel {
            self.steps.push((name, said));
            return;
        }
        let group = name.rsplit_once('/').map_or(name, |(group, _)| group);
        match self.wheels.iter_mut().find(|(name, text, _)| *name == group && *text == said) {
            Some((_, _, count)) => *count += 1,
            None => self.wheels.push((group, said, 1)),
        }
    }

    fn text(self, counts: &Counts) -> String {
        let wheels = self.wheels.into_iter();
        let wheels: Vec<(String, Cow<str>)> =
            wheels.map(|(group, said, count)| (format!("{group}/… ({count} wheels)"), said)).collect();
        let all =
            || wheels.iter().map(|(name, said)| (name.as_str(), said)).chain(self.steps.iter().map(|(n, s)| (*n, s)));
        let width = all().map(|(name, _)| name.chars().count()).max().unwrap_or(0).min(48);
        let mut out = String::new();
        for (name, said) in all() {
            let _ = writeln!(out, "  {name:width$}  {said}");
        }
        let Counts { cached, runs, depends, rest } = counts;
        let _ = writeln!(out, "{cached} cached, {runs} to run, {depends} that depend on those, {rest} not to run");
        out
    }
}

/// How long it takes, as far as the past tells; nothing where nothing would run.
fn time_line(site: &Site, forecast: &Forecast) -> String {
    let Forecast { took, unknown, work, wall, chain } = forecast;
    let steps = |count: usize| if count == 1 { "1 step".to_owned() } else { format!("{count} steps") };
    if took.is_empty() {
        return match unknown {
            0 => String::new(),
            _ => "how long is not known: none of these steps ran before\n".to_owned(),
        };
    }
    let names: Vec<&str> = chain.iter().map(|id| site.step(*id).name.as_str()).collect();
    let chain = match names.as_slice() {
        [] | [_] => String::new(),
        [first, second, .., last] if names.len() > 5 => {
            format!("longest chain: {first} → {second} → … → {last} ({} steps)\n", names.len())
        }
        names => format!("longest chain: {}\n", names.join(" → ")),
    };
    let (at_least, unknown) = match unknown {
        0 => ("about", String::new()),
        count => ("at least", format!("; {} without a past", steps(*count))),
    };
    let (wall, work) = (time(wall.as_secs_f64()), time(work.as_secs_f64()));
    let processors = if site.slots == 1 { "1 processor".to_owned() } else { format!("{} processors", site.slots) };
    format!("{at_least} {wall} on {processors}, for {work} of work, as it took before{unknown}\n{chain}")
}

/// One JSON object: `{"schema": "pipe-plan/1", "steps": […]}`.
fn json(site: &Site, survey: &Survey, forecast: &Forecast, supposed: Option<&Supposed>, apart: &Apart) -> String {
    let step = |id: &StepId| {
        let mut step = step(site, survey, forecast, *id);
        if let Some(theirs) = apart.accepted.get(id) {
            step["measured-on"] = theirs.machine.clone().into();
        }
        if let Some(cells) = apart.beside.get(id) {
            step["again-beside"] = names(site, cells).into();
        }
        step
    };
    let steps: Vec<serde_json::Value> = site.plan.order().iter().map(step).collect();
    let chain: Vec<&str> = forecast.chain.iter().map(|id| site.step(*id).name.as_str()).collect();
    let value = json!({
        "schema": "pipe-plan/1",
        "pipeline": site.pipeline.name,
        "platform": site.facts.machine.platform(),
        "sandbox": site.sandbox.name(),
        "supposed": supposed.map(|supposed| &supposed.words),
        "time": {
            "wall_seconds": forecast.wall.as_secs_f64(),
            "work_seconds": forecast.work.as_secs_f64(),
            "longest_chain": chain,
            "steps_without_past": forecast.unknown,
        },
        "steps": steps,
    });
    serde_json::to_string_pretty(&value).unwrap_or_default()
}

fn step(site: &Site, survey: &Survey, forecast: &Forecast, id: StepId) -> serde_json::Value {
    let step = site.step(id);
    let standing = &survey.standings[&id];
    let key = match &survey.looks[&id] {
        Look::Known { key, .. } => Some(key.to_string()),
        _ => None,
    };
    let output = match standing {
        Standing::Cached(Product::Output(entry)) => Some(entry.to_string()),
        _ => None,
    };
    let class = match step.class {
        Class::Fetch => "fetch",
        Class::Build => "build",
        Class::Measure => "measure",
    };
    let reads: Vec<&str> = site.plan.reads(id).iter().map(|read| site.step(*read).name.as_str()).collect();
    json!({
        "name": step.name,
        "also": step.also,
        "class": class,
        "recipe": step.recipe,
        "cell": step.cell.as_ref().map(ToString::to_string),
        "state": explain::word(standing),
        "detail": explain::standing(site, standing),
        "key": key,
        "output": output,
        "seconds_before": forecast.took.get(&id).map(std::time::Duration::as_secs_f64),
        "reads": reads,
    })
}
