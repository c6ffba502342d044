//! What a run will cost, said before it starts: downloads, disk, and how long each step took before.

use super::progress::time;
use crate::exec::lookup;
use crate::exec::outcome::Standing;
use crate::exec::site::Site;
use crate::exec::survey::Survey;
use crate::pipeline::{Action, StepId};

/// What lies ahead.
#[derive(Debug, Default)]
pub struct Estimate {
    pub runs: usize,
    /// Bytes, where a step that fetches says how many.
    pub download: Option<u64>,
    pub disk: u64,
    /// Seconds that the same steps took when they last ran, for those that did.
    pub before: f64,
    pub known: usize,
}

/// Adds up what the steps that may run say of themselves and what their records remember.
pub fn estimate(site: &Site, survey: &Survey) -> Estimate {
    let mut estimate = Estimate::default();
    for (&id, standing) in &survey.standings {
        if !matches!(standing, Standing::Runs(_) | Standing::Depends(_)) {
            continue;
        }
        estimate.runs += 1;
        let needs = &site.step(id).needs;
        if needs.download > 0 {
            *estimate.download.get_or_insert(0) += needs.download;
        }
        estimate.disk += needs.disk.max(needs.download);
        if let Ok(Some(took)) = lookup::took_before(site, &site.step(id).name) {
            estimate.before += took.as_secs_f64();
            estimate.known += 1;
        }
    }
    estimate
}

/// The lines that a person reads before anything starts.
pub fn lines(site: &Site, survey: &Survey, estimate: &Estimate) -> Vec<String> {
    let mut lines = Vec::new();
    let cached = survey.standings.values().filter(|s| matches!(s, Standing::Cached(_))).count();
    lines.push(format!("{}: {} step(s) to run, {cached} cached", site.pipeline.name, estimate.runs));
    if let Some(bytes) = estimate.download {
        let count = fetches(site, survey).len();
        lines.push(format!("  downloads about {} in {count} fetch step(s)", size(bytes)));
    }
    if estimate.disk > 0 {
        let free = free(site).map(|free| format!(", {} are free", size(free))).unwrap_or_default();
        lines.push(format!("  takes about {} in the store {}{free}", size(estimate.disk), site.store.root().display()));
    }
    if estimate.known > 0 {
        lines.push(format!("  {} of these steps took {} before", estimate.known, time(estimate.before)));
    }
    lines.push(format!("  sandbox {}: {}", site.sandbox.name(), site.sandbox_why));
    lines.extend(unavailable(site, survey));
    lines
}

/// What this host lacks, and what would help.
pub fn unavailable(site: &Site, survey: &Survey) -> Vec<String> {
    let mut lines = Vec::new();
    for (reason, remedy, steps) in lacks(site, survey) {
        lines.push(format!("  unavailable: {steps} ({reason})"));
        if let Some(remedy) = remedy {
            lines.push(format!("    help: {remedy}"));
        }
    }
    lines
}

fn fetches(site: &Site, survey: &Survey) -> Vec<StepId> {
    survey
        .standings
        .iter()
        .filter(|(id, standing)| {
            let fetch = matches!(site.step(**id).class, crate::pipeline::Class::Fetch);
            fetch && matches!(standing, Standing::Runs(_) | Standing::Depends(_))
        })
        .map(|(id, _)| *id)
        .collect()
}

/// What this host lacks: each reason once, with what it stops.
fn lacks(site: &Site, survey: &Survey) -> Vec<(String, Option<String>, String)> {
    let mut found: Vec<(String, Option<String>, Vec<&str>)> = Vec::new();
    for (id, standing) in &survey.standings {
        let Standing::Unavailable(lack) = standing else { continue };
        let step = site.step(*id);
        let cell = matches!(step.action, Action::Measure(_));
        let name = if cell { step.name.as_str() } else { step.group.as_str() };
        match found.iter_mut().find(|(reason, _, _)| *reason == lack.reason) {
            Some((_, _, names)) => names.push(name),
            None => found.push((lack.reason.clone(), lack.remedy.clone(), vec![name])),
        }
    }
    found.into_iter().map(|(reason, remedy, names)| (reason, remedy, super::explain::some(&names, 2))).collect()
}

/// Refuses a run that the store's disk can't hold.
pub fn check_disk(site: &Site, estimate: &Estimate) -> Result<(), String> {
    match free(site) {
        Some(free) if free < estimate.disk => Err(format!(
            "the run needs about {}, and {} are free where the store is, `{}`\n  help: make room (`pipe store gc`), or use another disk with --store FOLDER",
            size(estimate.disk),
            size(free),
            site.store.root().display()
        )),
        _ => Ok(()),
    }
}

fn free(site: &Site) -> Option<u64> {
    let stat = rustix::fs::statvfs(site.store.root()).ok()?;
    Some(stat.f_bavail * stat.f_frsize)
}

/// `2.4 GiB`.
pub fn size(bytes: u64) -> String {
    let units = [("GiB", 1u64 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match units.into_iter().find(|(_, unit)| bytes >= *unit) {
        Some((name, unit)) => format!("{:.1} {name}", bytes as f64 / unit as f64),
        None => format!("{bytes} B"),
    }
}
