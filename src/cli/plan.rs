//! `pipe plan`: what would run and why. It takes the same path as `run`, up to where something would start.

use std::collections::BTreeMap;

use clap::Args;
use serde_json::json;

use super::output::{Format, note, print};
use super::{Global, Target, exit, explain, load};
use crate::exec::outcome::{Product, Standing};
use crate::exec::share::accept::{self, Accepted};
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
    let (site, survey) = match load::surveyed(global, &arguments.target) {
        Ok(pair) => pair,
        Err(code) => return code,
    };
    let accepted = match accept::of_survey(&site, &survey) {
        Ok(accepted) => accepted,
        Err(error) => {
            note(&format!("pipe: {error}"));
            return exit::FAULT;
        }
    };
    match arguments.format {
        Format::Text => print(&text(&site, &survey, &accepted)),
        Format::Json => print(&json(&site, &survey, &accepted)),
    }
    exit::DONE
}

/// A line for each step, the wheels of one environment as one line where they stand alike.
fn text(site: &Site, survey: &Survey, accepted: &BTreeMap<StepId, Accepted>) -> String {
    let mut lines: Vec<(String, String)> = Vec::new();
    let mut counts = (0, 0, 0, 0);
    let mut wheels: Vec<(String, String, usize)> = Vec::new();
    for &id in site.plan.order() {
        let standing = &survey.standings[&id];
        match standing {
            Standing::Cached(_) => counts.0 += 1,
            Standing::Runs(_) => counts.1 += 1,
            Standing::Depends(_) => counts.2 += 1,
            _ => counts.3 += 1,
        }
        let said = match accepted.get(&id) {
            Some(theirs) => format!("{}; shown as measured on {}", explain::standing(site, standing), theirs.machine),
            None => explain::standing(site, standing),
        };
        let step = site.step(id);
        if let crate::pipeline::Action::FetchWheel(_) = step.action {
            let group = step.name.rsplit_once('/').map_or(step.name.as_str(), |(group, _)| group).to_owned();
            match wheels.iter_mut().find(|(name, text, _)| *name == group && *text == said) {
                Some((_, _, count)) => *count += 1,
                None => wheels.push((group, said, 1)),
            }
            continue;
        }
        lines.push((step.name.clone(), said));
    }
    let mut all: Vec<(String, String)> =
        wheels.into_iter().map(|(group, said, count)| (format!("{group}/… ({count} wheels)"), said)).collect();
    all.append(&mut lines);
    let width = all.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0).min(48);
    let mut out = String::new();
    for (name, said) in all {
        out.push_str(&format!("  {name:width$}  {said}\n"));
    }
    let (cached, runs, depends, rest) = counts;
    out.push_str(&format!("{cached} cached, {runs} to run, {depends} that depend on those, {rest} not to run\n"));
    out
}

/// One JSON object: `{"schema": "pipe-plan/1", "steps": […]}`.
fn json(site: &Site, survey: &Survey, accepted: &BTreeMap<StepId, Accepted>) -> String {
    let step = |id: &StepId| {
        let mut step = step(site, survey, *id);
        if let Some(theirs) = accepted.get(id) {
            step["measured-on"] = theirs.machine.clone().into();
        }
        step
    };
    let steps: Vec<serde_json::Value> = site.plan.order().iter().map(step).collect();
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
