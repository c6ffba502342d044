//! Writes what the steps of a plan have, now, into a pack: their records with manifests, the samples, and as much of
//! their outputs as a later run can need.
//!
//! A step that saw a secret stays here, with every step that only puts its bytes elsewhere. Wheels come by their lock.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use pipe_cache::{Digest, Entry, Kind, Pack, PackError, PackWriter, Written};

use super::{CellNote, FORMAT, PackNote, identity};
use crate::exec::outcome::Product;
use crate::exec::secrets;
use crate::exec::site::Site;
use crate::exec::survey::{Look, Survey};
use crate::exec::{history, lookup};
use crate::pipeline::{Action, Measure, StepId};
use crate::record::{Session, StepRecord};

/// Whose outputs travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outputs {
    /// Of all steps but wheels.
    All,
    /// Those that a measurement reads, that are given back, or that a step reads which has no result yet.
    Needed,
    /// None.
    None,
}

/// What shall be in the pack.
#[derive(Debug, Clone)]
pub struct Wish {
    pub outputs: Outputs,
    /// A larger file stays here. Outputs of measurements, which nothing could make again, always travel.
    pub most: u64,
    pub secret_steps: bool,
    /// What this machine is called.
    pub name: Option<String>,
    /// The pipeline that cells are for, where that is not just this checkout.
    pub identity: Option<Digest>,
    /// Measurements alone, with what explains them.
    pub cells_only: bool,
}

/// What a pack came to hold, and what stayed here.
#[derive(Debug)]
pub struct Exported {
    pub written: Written,
    pub steps: usize,
    pub cells: usize,
    /// Steps without a result.
    pub without: usize,
    /// Steps that saw a secret, or hold the output of one that did.
    pub secret: Vec<String>,
    /// Steps with files that are too large, and the bytes of those.
    pub large: Vec<(String, u64)>,
}

/// Writes the pack.
pub fn export(
    site: &Site,
    survey: &Survey,
    path: &Path,
    since: &[Pack],
    wish: &Wish,
    now: u64,
) -> Result<Exported, PackError> {
    let note = PackNote {
        format: FORMAT,
        pipe: env!("CARGO_PKG_VERSION").to_owned(),
        pipeline: site.pipeline.name.clone(),
        name: wish.name.clone(),
        machine: site.facts.machine.line(),
        written: now,
    };
    let note = serde_json::to_string(&note).unwrap_or_default();
    let pack = PackWriter::begin(&site.store, path, since, &note)?;
    let secret = if wish.secret_steps { BTreeSet::new() } else { touched_by_secrets(site) };
    let name = |id: &StepId| site.step(*id).name.clone();
    let mut export = Export {
        site,
        survey,
        wish,
        known: known(since)?,
        pack,
        records: Vec::new(),
        done: Exported {
            written: Written { id: Digest::of(b""), bytes: 0, records: 0, blobs: 0, left_out: 0, left_out_bytes: 0 },
            steps: 0,
            cells: 0,
            without: 0,
            secret: Vec::new(),
            large: Vec::new(),
        },
    };
    let left = site.plan.left_out(&site.pipeline, &site.selection);
    for &id in site.plan.order() {
        if left.contains(&id) || (wish.cells_only && !matches!(site.step(id).action, Action::Measure(_))) {
            continue;
        }
        match &survey.looks[&id] {
            _ if secret.contains(&id) => export.done.secret.push(name(&id)),
            Look::Known { key, found: Ok(Product::Sessions(_)) } => export.cell(id, key)?,
            Look::Known { key, found: Ok(Product::Output(entry) | Product::Compared(entry)) } => {
                export.step(id, key, entry)?;
            }
            _ => export.done.without += 1,
        }
    }
    export.finish()
}

/// Records that the earlier packs of a chain hold: kind and key with the digests of what they say.
type Known = BTreeSet<(Kind, Digest, Digest)>;

fn known(since: &[Pack]) -> Result<Known, PackError> {
    let mut known = Known::new();
    for pack in since {
        for record in pack.records() {
            known.insert((record.kind, record.key, Digest::of(&pack.payload(record)?)));
        }
    }
    Ok(known)
}

/// Steps that saw a secret, and those that hold the bytes of such a step as they are.
fn touched_by_secrets(site: &Site) -> BTreeSet<StepId> {
    let mut touched = BTreeSet::new();
    for &id in site.plan.order() {
        let reads_one = || site.plan.reads(id).iter().any(|read| touched.contains(read));
        let is = match &site.step(id).action {
            Action::Run(run) => !secrets::names(run).is_empty(),
            Action::Tree(_) | Action::Image(_) | Action::UnpackWheels(_) => reads_one(),
            _ => false,
        };
        if is {
            touched.insert(id);
        }
    }
    touched
}

struct Export<'a> {
    site: &'a Site,
    survey: &'a Survey,
    wish: &'a Wish,
    known: Known,
    pack: PackWriter<'a>,
    /// They come after all content.
    records: Vec<(Kind, Digest, Vec<u8>)>,
    done: Exported,
}

impl Export<'_> {
    fn step(&mut self, id: StepId, key: &Digest, entry: &Entry) -> Result<(), PackError> {
        let store = &self.site.store;
        let (Some(record), Some(manifest)) = (store.last(Kind::Record, key)?, store.last(Kind::Manifest, key)?) else {
            self.done.without += 1;
            return Ok(());
        };
        let most = self.most(id);
        let too_large = std::cell::Cell::new(0);
        let takes = |size: u64| {
            let taken = most.is_some_and(|most| size <= most);
            if !taken && most.is_some() {
                too_large.set(too_large.get() + size);
            }
            taken
        };
        // A level that is missing is what a record would be refused for, there as here.
        if !self.pack.content(entry, &takes)? {
            self.done.without += 1;
            return Ok(());
        }
        if too_large.get() > 0 {
            self.done.large.push((self.site.step(id).name.clone(), too_large.get()));
        }
        if let Some(log) = serde_json::from_slice::<StepRecord>(&record).ok().and_then(|record| record.log) {
            self.pack.content(&log, &|size| size <= self.wish.most)?;
        }
        self.done.steps += 1;
        self.records.push((Kind::Manifest, *key, manifest));
        self.records.push((Kind::Record, *key, record));
        Ok(())
    }

    /// The largest file of a step's output that travels; `None` where none of it is asked for.
    fn most(&self, id: StepId) -> Option<u64> {
        let step = self.site.step(id);
        if matches!(step.action, Action::FetchWheel(_) | Action::UnpackWheels(_) | Action::HostPackages(_)) {
            return None;
        }
        // What a comparison found is its result, and small.
        if matches!(step.action, Action::Compare(_)) {
            return Some(u64::MAX);
        }
        let has_result = |reader: &StepId| matches!(self.survey.looks[reader], Look::Known { found: Ok(_), .. });
        let needed = || {
            let by =
                |reader: &StepId| matches!(self.site.step(*reader).action, Action::Measure(_)) || !has_result(reader);
            step.export.is_some() || self.site.plan.readers(id).iter().any(by)
        };
        match self.wish.outputs {
            Outputs::None => None,
            Outputs::All => Some(self.wish.most),
            Outputs::Needed => needed().then_some(self.wish.most),
        }
    }

    fn cell(&mut self, id: StepId, question: &Digest) -> Result<(), PackError> {
        let Action::Measure(measure) = &self.site.step(id).action else { return Ok(()) };
        let store = &self.site.store;
        let Some(machine) = machine(self.site, measure)? else { return Ok(()) };
        let key = lookup::session_key(question, &machine);
        let (sessions, manifest) = (store.all(Kind::Session, &key)?, store.last(Kind::Manifest, question)?);
        let Some(manifest) = manifest else {
            self.done.without += 1;
            return Ok(());
        };
        for session in sessions.iter().filter_map(|bytes| serde_json::from_slice::<Session>(bytes).ok()) {
            if let Some(outputs) = &session.outputs {
                self.pack.content(outputs, &|_| true)?;
            }
            if let Some(log) = &session.log {
                self.pack.content(log, &|size| size <= self.wish.most)?;
            }
        }
        self.records.push((Kind::Manifest, *question, manifest));
        // Which of them count depends on the order of all.
        let news = sessions.iter().any(|bytes| !self.known.contains(&(Kind::Session, key, Digest::of(bytes))));
        if news {
            for bytes in sessions {
                self.known.remove(&(Kind::Session, key, Digest::of(&bytes)));
                self.records.push((Kind::Session, key, bytes));
            }
        }
        let identity = match self.wish.identity {
            Some(identity) => identity,
            None => identity::of(self.site).digest(),
        };
        let step = self.site.step(id).name.clone();
        let key = identity::cell_key(&identity, &step);
        let note = CellNote { format: FORMAT, identity, step, question: *question, machine };
        self.records.push((Kind::Note, key, serde_json::to_vec(&note).unwrap_or_default()));
        self.done.cells += 1;
        Ok(())
    }

    fn finish(mut self) -> Result<Exported, PackError> {
        let key = history::run_key(&self.site.pipeline.name);
        if let Some(run) = self.site.store.last(Kind::Run, &key)?.filter(|_| !self.wish.cells_only) {
            self.records.push((Kind::Run, key, run));
        }
        for (kind, key, payload) in &self.records {
            if !self.known.contains(&(*kind, *key, Digest::of(payload))) {
                self.pack.record(*kind, key, payload)?;
            }
        }
        self.done.written = self.pack.end()?;
        Ok(self.done)
    }
}

fn machine(site: &Site, measure: &Measure) -> Result<Option<Digest>, PackError> {
    Ok(lookup::machine_key(site, measure)?)
}

/// The names of the steps with the largest files, for a sentence.
pub fn largest(large: &[(String, u64)], most: usize) -> Vec<(String, u64)> {
    let by_size: BTreeMap<(std::cmp::Reverse<u64>, &str), ()> =
        large.iter().map(|(name, bytes)| ((std::cmp::Reverse(*bytes), name.as_str()), ())).collect();
    by_size.into_keys().take(most).map(|(bytes, name)| (name.to_owned(), bytes.0)).collect()
}
