//! `pipe plan`: what would run and why. It takes the same path as `run`, up to where something would start.

use std::borrow::Cow;
use std::fmt::Write as _;

use clap::Args;
use serde_json::json;

use super::output::{Format, print};
use super::{Global, Target, exit, explain, load, settled};
use crate::exec::outcome::{Product, Standing};
use crate::exec::settled::Settled;
use crate::exec::site::Site;
use crate::exec::survey::{Look, Survey};
use crate::pipeline::{Class, StepId};

/// The flags of `pipe plan`.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    target: Target,
    /// How the plan is written
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// Prints the plan.
pub fn main(global: &Global, arguments: &Arguments) -> u8 {
    if arguments.format == Format::Text && settled::settled(global, &arguments.target, |s| print(&still(s))).is_some() {
        return exit::DONE;
    }
    let (site, survey) = match load::surveyed(global, &arguments.target) {
        Ok(pair) => pair,
        Err(code) => return code,
    };
    match arguments.format {
        Format::Text => print(&text(&site, &survey)),
        Format::Json => print(&json(&site, &survey)),
    }
    exit::DONE
}

/// The plan of a site.
fn text(site: &Site, survey: &Survey) -> String {
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
        let step = site.step(id);
        let wheel = matches!(step.action, crate::pipeline::Action::FetchWheel(_));
        lines.add(&step.name, wheel, explain::standing(site, standing).into());
    }
    lines.text(&counts)
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

/// One JSON object: `{"schema": "pipe-plan/1", "steps": […]}`.
fn json(site: &Site, survey: &Survey) -> String {
    let steps: Vec<serde_json::Value> = site.plan.order().iter().map(|id| step(site, survey, *id)).collect();
    let value = json!({
        "schema": "pipe-plan/1",
        "pipeline": site.pipeline.name,
        "platform": site.facts.machine.platform(),
        "sandbox": site.sandbox.name(),
        "steps": steps,
    });
    serde_json::to_string_pretty(&value).unwrap_or_default()
}

fn step(site: &Site, survey: &Survey, id: StepId) -> serde_json::Value {
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
        "reads": reads,
    })
}
