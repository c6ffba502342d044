//! What the store knows of steps: how long they took, how large their outputs are, and what they printed.

use std::collections::BTreeMap;
use std::time::Duration;

use pipe_cache::Entry;

use super::{Target, estimate, load};
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
pub struct Asked<'a> {
    pub times: bool,
    /// Sizes, keys and logs as well, which have to be read.
    pub all: bool,
    /// The pipeline as it was given, for the command that shows a whole log.
    pub target: &'a Target,
}

/// Adds to each step of a view what the store knows of it. The names of the view are those of the site.
pub fn add(view: &mut GraphView, site: &Site, survey: &Survey, asked: &Asked<'_>) {
    if !asked.times {
        return;
    }
    let before = estimate::seconds_before(site);
    let names: BTreeMap<&str, StepId> =
        site.pipeline.steps.iter().enumerate().map(|(id, step)| (step.name.as_str(), StepId(id))).collect();
    for node in &mut view.nodes {
        if let Some(&id) = names.get(node.name.as_str()) {
            node.past = past(node, site, survey, id, &before, asked);
        }
    }
}

fn past(
    node: &Node,
    site: &Site,
    survey: &Survey,
    id: StepId,
    before: &BTreeMap<String, f64>,
    asked: &Asked<'_>,
) -> Past {
    let mut past = Past::default();
    let look = &survey.looks[&id];
    past.took = took(site, look).map(|time| Took { time, exact: true });
    let standing = &survey.standings[&id];
    if let (None, Standing::Runs(_) | Standing::Depends(_)) = (past.took, standing) {
        let guess = before.get(&node.name).and_then(|seconds| Duration::try_from_secs_f64(*seconds).ok());
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
        past.log = log(site, look).and_then(|entry| tail(site, &entry, asked.target, &node.name));
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
fn worked(session: &Session) -> Duration {
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

/// What the step printed when its result was made.
pub fn log(site: &Site, look: &Look) -> Option<Entry> {
    let Look::Known { key, found: Ok(product), .. } = look else { return None };
    match product {
        Product::Sessions(sessions) => sessions.iter().rev().find_map(|session| session.log.clone()),
        Product::Output(_) | Product::Compared(_) => lookup::step_record(site, key).ok()??.log,
    }
}

/// The text of a log, as far as it is text.
pub fn text(site: &Site, log: &Entry) -> Option<String> {
    let bytes = site.store.read(&log.digest()?).ok()??;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

fn tail(site: &Site, log: &Entry, target: &Target, step: &str) -> Option<Log> {
    let text = text(site, log)?;
    let lines: Vec<String> = text.lines().map(|line| harmless(line).trim_end().to_owned()).collect();
    let last = lines.iter().rposition(|line| !line.is_empty())?;
    let first = (last + 1).saturating_sub(TAIL);
    let sets = target.sets.iter().map(|set| format!(" --set {}", quoted(set)));
    let command =
        format!("pipe why {} {} --log{}", quoted(&load::shown(&target.file)), quoted(step), sets.collect::<String>());
    Some(Log { tail: lines[first..=last].to_vec(), before: first, command })
}

/// A word of a shell's command line.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-=+:,@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_can_be_pasted() {
        let words = ["a/b.kdl", "decode[x=1]", "it's", ""].map(quoted);
        assert_eq!(words, ["a/b.kdl", "'decode[x=1]'", r"'it'\''s'", "''"]);
    }
}
