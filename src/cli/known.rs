//! What the store knows of the steps of a plan: how long they took, how large their outputs are, what they printed.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::exec::lookup;
use crate::exec::outcome::{Product, Standing};
use crate::exec::process::log::harmless;
use crate::exec::site::Site;
use crate::exec::survey::{Look, Survey};
use crate::pipeline::StepId;
use crate::record::Session;
use crate::report::graph::{GraphView, Log, Node, Past, Took};

/// Lines of a log that a page shows.
const TAIL: usize = 12;

/// What a drawing has room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    pub times: bool,
    /// Sizes, keys and logs as well, which have to be read.
    pub all: bool,
}

/// Adds to each step of a view what the store knows of it. The names of the view are those of the site.
pub fn add(view: &mut GraphView, site: &Site, survey: &Survey, asked: Asked) {
    if !asked.times {
        return;
    }
    let names: BTreeMap<&str, StepId> =
        site.pipeline.steps.iter().enumerate().map(|(id, step)| (step.name.as_str(), StepId(id))).collect();
    for node in &mut view.nodes {
        if let Some(&id) = names.get(node.name.as_str()) {
            node.past = past(node, site, survey, id, asked);
        }
    }
}

fn past(node: &Node, site: &Site, survey: &Survey, id: StepId, asked: Asked) -> Past {
    let mut past = Past::default();
    let look = &survey.looks[&id];
    past.took = took(site, look).map(|time| Took { time, exact: true });
    let standing = &survey.standings[&id];
    if let (None, Standing::Runs(_) | Standing::Depends(_)) = (past.took, standing) {
        let guess = lookup::took_before(site, &node.name).ok().flatten();
        past.took = guess.map(|time| Took { time, exact: false });
    }
    if asked.all {
        if let Look::Known { key, found, .. } = look {
            past.key = Some(key.to_string());
            past.bytes = found.as_ref().ok().and_then(|product| size(site, product));
        }
        if let Standing::Unavailable(lack) = standing {
            past.remedy = lack.remedy.clone();
        }
        past.log = log(site, look);
    }
    past
}

/// How long the result of a step took to make.
fn took(site: &Site, look: &Look) -> Option<Duration> {
    let Look::Known { key, found: Ok(product), .. } = look else { return None };
    match product {
        Product::Sessions(sessions) => Some(sessions.iter().map(worked).sum()),
        Product::Output(_) | Product::Compared(_) => {
            let record = lookup::step_record(site, key).ok()??;
            Some(Duration::from_nanos(record.usage.wall_ns))
        }
    }
}

/// What a session's process did for its cell: it stood still while the turn was another's.
pub fn worked(session: &Session) -> Duration {
    let warmed = session.warmed.iter().flat_map(|warmed| &warmed.samples);
    let samples = warmed.chain(&session.samples);
    let sampled: u64 = samples.map(|sample| sample.prefill_ns + sample.decode_ns.iter().sum::<u64>()).sum();
    let loaded = session.prepared.as_ref().map_or(0, |prepared| prepared.load_ns);
    Duration::from_nanos(session.start_ns + loaded + sampled)
}

fn size(site: &Site, product: &Product) -> Option<u64> {
    match product {
        Product::Output(entry) | Product::Compared(entry) => Some(site.store.totals(entry).ok()?.bytes),
        Product::Sessions(_) => None,
    }
}

/// The last lines that the step printed when its result was made.
fn log(site: &Site, look: &Look) -> Option<Log> {
    let Look::Known { key, found: Ok(product), .. } = look else { return None };
    let log = match product {
        Product::Sessions(sessions) => sessions.iter().rev().find_map(|session| session.log.clone()),
        Product::Output(_) | Product::Compared(_) => lookup::step_record(site, key).ok()??.log,
    };
    let bytes = site.store.read(&log?.digest()?).ok()??;
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<String> = text.lines().map(|line| harmless(line).trim_end().to_owned()).collect();
    let last = lines.iter().rposition(|line| !line.is_empty())?;
    let first = (last + 1).saturating_sub(TAIL);
    Some(Log { tail: lines[first..=last].to_vec(), before: first, command: format!("pipe log {}", key.short()) })
}
