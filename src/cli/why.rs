//! `pipe why`: the chain from a step to the first thing that differs, or where its result came from.

use clap::Args;

use super::output::{note, print};
use super::{Global, Target, exit, explain, load, progress};
use crate::exec::lookup;
use crate::exec::outcome::{Product, Standing, Why};
use crate::exec::share;
use crate::exec::site::Site;
use crate::exec::survey::{Look, Survey};
use crate::pipeline::{Action, StepId};

/// The flags of `pipe why`.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    target: Target,
    /// A step, a cell like 'decode[engine=onnx,place=native,device=cpu]', or a group of cells
    step: String,
}

/// Explains a step.
pub fn main(global: &Global, arguments: &Arguments) -> u8 {
    let (site, survey) = match load::surveyed(global, &arguments.target) {
        Ok(pair) => pair,
        Err(code) => return code,
    };
    let steps = named(&site, &arguments.step);
    if steps.is_empty() {
        let names: Vec<&str> = site.pipeline.steps.iter().map(|step| step.name.as_str()).collect();
        let nearest = nearest(&names, &arguments.step);
        let hint = nearest.map(|name| format!("; did you mean `{name}`?")).unwrap_or_default();
        note(&format!("pipe: no step is called `{}`{hint}", arguments.step));
        return exit::USAGE;
    }
    for id in steps {
        print(&explain(&site, &survey, id));
    }
    exit::DONE
}

/// The steps of a name: itself, one of its further names, or all cells of a group.
fn named(site: &Site, name: &str) -> Vec<StepId> {
    let steps = || site.pipeline.steps.iter().enumerate();
    let exact: Vec<StepId> = steps()
        .filter(|(_, step)| step.name == name || step.also.iter().any(|also| also == name))
        .map(|(id, _)| StepId(id))
        .collect();
    if !exact.is_empty() {
        return exact;
    }
    steps().filter(|(_, step)| step.group == name).map(|(id, _)| StepId(id)).collect()
}

/// The name that differs least.
pub fn nearest<'a>(names: &[&'a str], wanted: &str) -> Option<&'a str> {
    names
        .iter()
        .map(|name| (strsim::damerau_levenshtein(name, wanted), *name))
        .filter(|(distance, _)| *distance <= wanted.len().max(3) / 2)
        .min()
        .map(|(_, name)| name)
}

fn explain(site: &Site, survey: &Survey, id: StepId) -> String {
    let step = site.step(id);
    let standing = &survey.standings[&id];
    let mut out = format!("{}: {}\n", step.name, explain::standing(site, standing));
    match standing {
        Standing::Cached(product) => out.push_str(&hit(site, survey, id, product)),
        Standing::Runs(why) => out.push_str(&miss(site, why)),
        Standing::Depends(_) => out.push_str(&chain(site, survey, id)),
        Standing::Unavailable(lack) => {
            if let Some(remedy) = &lack.remedy {
                out.push_str(&format!("  help: {remedy}\n"));
            }
        }
        Standing::NotNeeded => out.push_str("  nothing that this host can do reads it\n"),
        Standing::NotSelected => out.push_str("  `--only` leaves it out\n"),
    }
    out
}

/// Where a result came from.
fn hit(site: &Site, survey: &Survey, id: StepId, product: &Product) -> String {
    let Look::Known { key, .. } = &survey.looks[&id] else { return String::new() };
    let mut out = format!("  key     {key}\n");
    match product {
        Product::Output(entry) => {
            out.push_str(&format!("  output  {entry}\n"));
            if let Ok(Some(record)) = lookup::step_record(site, key) {
                let seconds = record.usage.wall_ns as f64 / 1e9;
                out.push_str(&format!("  made    in {}, sandbox {}\n", progress::time(seconds), record.sandbox.name()));
            }
            if let Ok(Some(origin)) = share::origin_of_record(&site.store, key) {
                out.push_str(&format!("  from    pack {} of {}\n", origin.pack.short(), origin.from()));
            }
        }
        Product::Sessions(sessions) => {
            let samples: usize = sessions.iter().map(|session| session.samples.len()).sum();
            out.push_str(&format!("  samples {samples} in {} session(s) on this machine\n", sessions.len()));
            for caution in sessions.iter().flat_map(|session| &session.cautions) {
                out.push_str(&format!("  caution {}: {}\n", caution.code.name(), caution.seen));
            }
        }
        Product::Compared(_) => {}
    }
    out
}

/// What differs, each with its place.
fn miss(site: &Site, why: &Why) -> String {
    let Why::Changed { changes, against } = why else { return String::new() };
    let mut out = String::new();
    for change in changes {
        let place = change.origin.as_ref().map(|origin| format!("   {}", explain::place(&site.pipeline, origin)));
        out.push_str(&format!("  {}{}\n", explain::change(change), place.unwrap_or_default()));
    }
    out.push_str(&format!("  compared with the run of key {}\n", against.short()));
    out
}

/// From a step that waits to those that have a reason of their own.
fn chain(site: &Site, survey: &Survey, id: StepId) -> String {
    let mut out = String::new();
    let mut open = vec![(id, 1)];
    let mut seen = std::collections::BTreeSet::new();
    while let Some((id, depth)) = open.pop() {
        let behind = match &survey.standings[&id] {
            Standing::Depends(steps) => steps.clone(),
            _ => Vec::new(),
        };
        for step in behind {
            if !seen.insert(step) {
                continue;
            }
            // Forty wheels say no more than one.
            if matches!(site.step(step).action, Action::FetchWheel(_))
                && seen.iter().filter(|s| matches!(site.step(**s).action, Action::FetchWheel(_))).count() > 1
            {
                continue;
            }
            let indent = "  ".repeat(depth);
            let said = explain::standing(site, &survey.standings[&step]);
            out.push_str(&format!("{indent}← {}: {said}\n", site.step(step).name));
            if let Standing::Runs(why) = &survey.standings[&step] {
                for line in miss(site, why).lines() {
                    out.push_str(&format!("{indent}{line}\n"));
                }
            }
            open.push((step, depth + 1));
        }
    }
    out
}
