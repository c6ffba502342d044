//! Cells that this machine can't measure and another one did: found, named, and never taken for ours.
//!
//! Approach:
//! - a cell's samples are those of its question, from any other machine; and those that a pack's note gives for the
//!   same cell of the same pipeline, since a cell for another system is another question there;
//! - of the machines whose name or line matches, the one that measured last is taken, and it is said that there
//!   were others;
//! - the outcome of the cell stays what it is here. Only what is shown has figures, so that no look-up, no `--require`
//!   and no ratio ever holds them for ours.

use std::collections::BTreeMap;

use pipe_cache::{Digest, Kind, StoreError};

use super::{CellNote, FORMAT, identity, machine_name, named};
use crate::exec::lookup;
use crate::exec::outcome::Standing;
use crate::exec::site::Site;
use crate::exec::survey::Survey;
use crate::pipeline::{Action, StepId, glob};
use crate::record::{self, Session};

/// Which machines' figures may be shown: `*` stands for any text, and a pattern without one is looked for anywhere in
/// the machine's name or line, whatever its case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachinePattern(pub String);

impl MachinePattern {
    /// True for a machine of this name and line.
    pub fn matches(&self, name: Option<&str>, line: &str) -> bool {
        let pattern = self.0.to_lowercase();
        let pattern = if pattern.contains('*') { pattern } else { format!("*{pattern}*") };
        name.into_iter().chain([line]).any(|text| glob(&pattern, &text.to_lowercase()))
    }
}

/// A cell as another machine measured it.
#[derive(Debug, Clone)]
pub struct Accepted {
    /// `M2 desk (Apple M2, 8 cores, …)`.
    pub machine: String,
    /// Other machines that match and measured it earlier.
    pub others: Vec<String>,
    pub sessions: Vec<Session>,
}

/// The cells that a survey found unavailable and that a machine measured which the site's patterns take.
pub fn of_survey(site: &Site, survey: &Survey) -> Result<BTreeMap<StepId, Accepted>, StoreError> {
    let unavailable = survey.standings.iter().filter(|(_, standing)| matches!(standing, Standing::Unavailable(_)));
    accepted(site, unavailable.map(|(id, _)| *id))
}

/// The same for steps that turned out to be unavailable.
pub fn accepted(
    site: &Site,
    unavailable: impl Iterator<Item = StepId>,
) -> Result<BTreeMap<StepId, Accepted>, StoreError> {
    let is_cell = |id: &StepId| matches!(site.step(*id).action, Action::Measure(_));
    let unavailable: Vec<StepId> = unavailable.filter(is_cell).collect();
    let mut found = BTreeMap::new();
    if site.accept.is_empty() || unavailable.is_empty() {
        return Ok(found);
    }
    let sessions = by_question(site)?;
    let identity = identity::of(site).digest();
    for id in unavailable {
        let mut questions: Vec<Digest> = cell_notes(site, &identity, id)?;
        questions.extend(site.asked.questions.borrow().get(&id));
        let machines: BTreeMap<Digest, &Vec<Session>> = questions
            .iter()
            .filter_map(|question| sessions.get(question))
            .flatten()
            .map(|(machine, sessions)| (*machine, sessions))
            .collect();
        if let Some(accepted) = choose(site, machines)? {
            found.insert(id, accepted);
        }
    }
    Ok(found)
}

/// The machine that measured last, of those that the patterns take.
fn choose(site: &Site, machines: BTreeMap<Digest, &Vec<Session>>) -> Result<Option<Accepted>, StoreError> {
    let mut taken: Vec<(u64, String, &Vec<Session>)> = Vec::new();
    for (machine, sessions) in machines {
        let Some(last) = sessions.last() else { continue };
        let line = last.facts.machine.line();
        let name = machine_name(&site.store, &machine)?;
        if site.accept.iter().any(|pattern| pattern.matches(name.as_deref(), &line)) {
            taken.push((last.started, named(name.as_deref(), &line), sessions));
        }
    }
    // Of two that began in the same second, the name decides: what is shown must not change from run to run.
    taken.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
    let Some((_, machine, sessions)) = taken.pop() else { return Ok(None) };
    let others = taken.into_iter().rev().map(|(_, machine, _)| machine).collect();
    Ok(Some(Accepted { machine, others, sessions: sessions.clone() }))
}

/// Question → machine → its current sample set, of all machines but this one.
fn by_question(site: &Site) -> Result<BTreeMap<Digest, BTreeMap<Digest, Vec<Session>>>, StoreError> {
    let mut all: BTreeMap<Digest, BTreeMap<Digest, Vec<Session>>> = BTreeMap::new();
    site.store.scan(Kind::Session, |key, bytes| {
        let session = serde_json::from_slice::<Session>(bytes).ok().filter(|s| s.format == record::FORMAT);
        let Some(session) = session.filter(|s| s.facts.machine != site.facts.machine) else { return };
        if lookup::session_key(&session.question, &session.machine) != *key
            || session.cautions.iter().any(|caution| caution.code.is_invalid())
        {
            return;
        }
        let set = all.entry(session.question).or_default().entry(session.machine).or_default();
        if session.fresh {
            set.clear();
        }
        set.push(session);
    })?;
    Ok(all)
}

fn cell_notes(site: &Site, identity: &Digest, id: StepId) -> Result<Vec<Digest>, StoreError> {
    let step = site.step(id);
    let mut questions = Vec::new();
    for name in std::iter::once(&step.name).chain(&step.also) {
        for bytes in site.store.all(Kind::Note, &identity::cell_key(identity, name))? {
            let note = serde_json::from_slice::<CellNote>(&bytes).ok().filter(|note| note.format == FORMAT);
            questions.extend(note.map(|note| note.question));
        }
    }
    Ok(questions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_takes_names_and_lines() {
        let line = "Apple M2, 8 cores, 16 GiB, macos 15 aarch64";
        let takes = |pattern: &str| MachinePattern(pattern.to_owned()).matches(Some("M2 desk"), line);
        for pattern in ["M2 desk", "m2", "apple", "*", "Apple M2*", "*aarch64", "desk"] {
            assert!(takes(pattern), "{pattern}");
        }
        for pattern in ["M3", "aarch64*", "x86", "desk*", "*apple"] {
            assert!(!takes(pattern), "{pattern}");
        }
        assert!(MachinePattern("intel".to_owned()).matches(None, "Intel Xeon, 2 cores"));
    }
}
