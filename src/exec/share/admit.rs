//! Judges each record of some packs and takes in what holds; a record and all that it names, or nothing of it.
//!
//! | record | is taken in when |
//! |---|---|
//! | manifest | its text is one of ours, and it is filed under its own key |
//! | step | its manifest holds, its output is a sound tree or file, what it fetched has the digest that its key promises, and the store has no result of the same key |
//! | session | its question's manifest holds, its machine key is that of its facts, its outputs are all there, and the store's own samples of that question and machine, if any, are the first of these |
//! | run | it is filed under its pipeline, and the store remembers none of that |
//! | note | it says which question a cell was |
//!
//! Nothing of ours is replaced, so that a pack can add answers and never change one.

use std::collections::{BTreeMap, BTreeSet};

use pipe_cache::{Digest, Entry, Kind, Pack, PackError, PackRecord, Shelf, Store};
use sha2::{Digest as _, Sha256};

use super::{CellNote, FORMAT, MachineName, Origin, PackNote, identity, machine_name_key, origin_key};
use crate::exec::history::run_key;
use crate::exec::lookup::session_key;
use crate::key::Manifest;
use crate::record::{self, RunRecord, Session, StepRecord};

/// Records are appended so many bytes at a time.
const BATCH: usize = 16 << 20;

/// What became of the records of some packs.
#[derive(Debug, Default)]
pub struct Admitted {
    pub steps: usize,
    /// Of these, whose outputs are not all there.
    pub light: usize,
    pub sessions: usize,
    pub cells: usize,
    pub runs: usize,
    /// What was here already, or came second to something of ours.
    pub kept: usize,
    /// What was refused: the pack, the place in it, and why.
    pub refused: Vec<PackError>,
    /// The packs' writers.
    pub from: BTreeSet<String>,
}

/// Takes in what holds.
pub fn admit(store: &Store, packs: &[Pack], now: u64) -> Result<Admitted, PackError> {
    let mut admission = Admission {
        store,
        packs,
        shelf: Shelf::new(store, packs),
        manifests: BTreeMap::new(),
        notes: Vec::new(),
        batch: Vec::new(),
        now,
        done: Admitted::default(),
    };
    admission.notes()?;
    admission.manifests()?;
    for (number, record) in admission.all(Kind::Record) {
        admission.step(number, &record)?;
    }
    admission.sessions()?;
    for (number, record) in admission.all(Kind::Run) {
        admission.run(number, &record)?;
    }
    for (number, record) in admission.all(Kind::Note) {
        admission.note(number, &record)?;
    }
    admission.write()?;
    store.flush()?;
    Ok(admission.done)
}

struct Admission<'a> {
    store: &'a Store,
    packs: &'a [Pack],
    shelf: Shelf<'a>,
    /// Texts that hold, by key.
    manifests: BTreeMap<Digest, Vec<u8>>,
    /// What each section of each pack says of itself.
    notes: Vec<Vec<Option<PackNote>>>,
    batch: Vec<(Kind, Digest, Vec<u8>)>,
    now: u64,
    done: Admitted,
}

impl Admission<'_> {
    fn all(&self, kind: Kind) -> Vec<(usize, PackRecord)> {
        let of_pack = |(number, pack): (usize, &Pack)| {
            let records: Vec<_> = pack.records().iter().filter(|record| record.kind == kind).copied().collect();
            records.into_iter().map(move |record| (number, record))
        };
        self.packs.iter().enumerate().flat_map(of_pack).collect()
    }

    fn notes(&mut self) -> Result<(), PackError> {
        for pack in self.packs {
            let notes: Vec<Option<PackNote>> = pack
                .sections()
                .iter()
                .map(|section| serde_json::from_str(&section.note).ok())
                .map(|note: Option<PackNote>| note.filter(|note| note.format == FORMAT).map(plain))
                .collect();
            let from = notes.iter().flatten().map(|note| super::named(note.name.as_deref(), &note.machine));
            self.done.from.extend(from);
            self.notes.push(notes);
        }
        for (number, record) in self.all(Kind::Probe) {
            self.refuse(number, &record, "what a machine answered is no other machine's business");
        }
        Ok(())
    }

    fn manifests(&mut self) -> Result<(), PackError> {
        for (number, record) in self.all(Kind::Manifest) {
            let payload = self.packs[number].payload(&record)?;
            match manifest_fault(&record.key, &payload) {
                None => drop(self.manifests.insert(record.key, payload)),
                Some(why) => self.refuse(number, &record, why),
            }
        }
        Ok(())
    }

    /// The text of a key's manifest, from the packs or from the store.
    fn manifest(&self, key: &Digest) -> Result<Option<Vec<u8>>, PackError> {
        match self.manifests.get(key) {
            Some(text) => Ok(Some(text.clone())),
            None => Ok(self.store.last(Kind::Manifest, key)?.filter(|text| manifest_fault(key, text).is_none())),
        }
    }

    fn step(&mut self, number: usize, place: &PackRecord) -> Result<(), PackError> {
        let payload = self.packs[number].payload(place)?;
        let Some(record) = step_record(&payload) else {
            self.refuse(number, place, "it is no record of a step that this version reads");
            return Ok(());
        };
        let Some(manifest) = self.manifest(&place.key)? else {
            self.refuse(number, place, "the manifest that its key is the digest of is missing");
            return Ok(());
        };
        let shape = match self.shelf.shape(&record.output)? {
            Ok(shape) => shape,
            Err(why) => {
                self.refuse(number, place, format!("its output can't be had: {why}"));
                return Ok(());
            }
        };
        let ours = self.store.last(Kind::Record, &place.key)?;
        if let Some(ours) = ours.as_deref().and_then(step_record) {
            // The same result may come with more of its bytes this time.
            let better = record.sandbox > ours.sandbox && shape.absent == 0;
            let here = self.store.complete(&ours.output);
            if (here || ours.output == record.output) && !better {
                if !here && ours.output == record.output {
                    self.shelf.take(&record.output)?;
                }
                self.done.kept += 1;
                return Ok(());
            }
        }
        let light = !self.shelf.take(&record.output)?;
        if let Some(why) = self.fetch_fault(&manifest, &record.output)? {
            self.refuse(number, place, why);
            return Ok(());
        }
        self.take_log(record.log.as_ref())?;
        self.done.steps += 1;
        self.done.light += usize::from(light);
        let origin = self.origin(number, place.section, light);
        self.append(Kind::Manifest, place.key, manifest)?;
        self.append(Kind::Note, origin_key(Kind::Record, &place.key, &payload), origin)?;
        self.append(Kind::Record, place.key, payload)
    }

    /// A fetch promises the digest that is in its key, and that can be checked where the bytes are here.
    fn fetch_fault(&self, manifest: &[u8], output: &Entry) -> Result<Option<String>, PackError> {
        let manifest = std::str::from_utf8(manifest).ok().and_then(Manifest::parse).unwrap_or_default();
        let leaf = |path: &str| manifest.leaves().iter().find(|leaf| leaf.path == path).map(|leaf| leaf.value.as_str());
        let (Some(action), Some(wanted)) = (leaf("action"), leaf("sha256")) else { return Ok(None) };
        if !action.starts_with("fetch-") || !self.store.complete(output) {
            return Ok(None);
        }
        let mut files = Vec::new();
        self.store
            .walk(output, |_, entry| files.extend(entry.digest().filter(|_| matches!(entry, Entry::File { .. }))))?;
        let [file] = files.as_slice() else { return Ok(Some("what was fetched is not one file".to_owned())) };
        let mut hasher = Sha256::new();
        self.store.read_to(file, &mut Sink(&mut hasher))?;
        let found: String = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        let is = |word: &str| word.strip_prefix("sha256:").unwrap_or(word).eq_ignore_ascii_case(&found);
        Ok((!wanted.split(' ').any(is)).then(|| "what was fetched has not the digest that its key promises".to_owned()))
    }

    /// Sessions of one question and machine are a sequence, and are judged as one.
    fn sessions(&mut self) -> Result<(), PackError> {
        let mut sets: BTreeMap<Digest, Vec<(usize, PackRecord, Vec<u8>)>> = BTreeMap::new();
        for (number, place) in self.all(Kind::Session) {
            let payload = self.packs[number].payload(&place)?;
            let set = sets.entry(place.key).or_default();
            if !set.iter().any(|(_, _, other)| *other == payload) {
                set.push((number, place, payload));
            }
        }
        for (key, set) in sets {
            let ours = self.store.all(Kind::Session, &key)?;
            let same = ours.iter().zip(&set).take_while(|(ours, (_, _, theirs))| *ours == theirs).count();
            if same < ours.len() {
                // The store measured by itself, or knows more than the pack.
                self.done.kept += set.len();
                continue;
            }
            self.done.kept += same;
            let before = self.done.sessions;
            for (number, place, payload) in set.into_iter().skip(same) {
                if !self.session(number, &place, payload)? {
                    // What comes after a refused one may top up what it began.
                    break;
                }
            }
            self.done.cells += usize::from(self.done.sessions > before);
        }
        Ok(())
    }

    fn session(&mut self, number: usize, place: &PackRecord, payload: Vec<u8>) -> Result<bool, PackError> {
        let session = serde_json::from_slice::<Session>(&payload).ok();
        let Some(session) = session.filter(|session| session.format == record::FORMAT && is_plain(&payload)) else {
            self.refuse(number, place, "it is no session that this version reads");
            return Ok(false);
        };
        let machine = session.facts.machine.key(session.runtime.as_ref());
        if session.machine != machine || session_key(&session.question, &machine) != place.key {
            self.refuse(number, place, "it is filed under another machine or question than it tells of");
            return Ok(false);
        }
        let Some(manifest) = self.manifest(&session.question)? else {
            self.refuse(number, place, "the manifest that its question is the digest of is missing");
            return Ok(false);
        };
        if let Some(outputs) = &session.outputs {
            let why = match self.shelf.shape(outputs)? {
                Ok(shape) if shape.absent == 0 => None,
                Ok(_) => Some("its outputs are not all there".to_owned()),
                Err(why) => Some(format!("its outputs can't be had: {why}")),
            };
            if let Some(why) = why {
                self.refuse(number, place, why);
                return Ok(false);
            }
            self.shelf.take(outputs)?;
        }
        self.take_log(session.log.as_ref())?;
        self.done.sessions += 1;
        let note = self.notes[number].get(place.section).cloned().flatten();
        if let Some(PackNote { name: Some(name), machine: line, .. }) = note
            && line == session.facts.machine.line()
        {
            let name = serde_json::to_vec(&MachineName { format: FORMAT, name }).unwrap_or_default();
            let key = machine_name_key(&machine);
            if self.store.last(Kind::Note, &key)?.is_none_or(|old| old != name) {
                self.append(Kind::Note, key, name)?;
            }
        }
        let origin = self.origin(number, place.section, false);
        self.append(Kind::Manifest, session.question, manifest)?;
        self.append(Kind::Note, origin_key(Kind::Session, &place.key, &payload), origin)?;
        self.append(Kind::Session, place.key, payload)?;
        Ok(true)
    }

    /// A log is worth having and nothing depends on it.
    fn take_log(&mut self, log: Option<&Entry>) -> Result<(), PackError> {
        if let Some(log @ Entry::File { .. }) = log
            && self.shelf.shape(log)?.is_ok()
        {
            self.shelf.take(log)?;
        }
        Ok(())
    }

    fn run(&mut self, number: usize, place: &PackRecord) -> Result<(), PackError> {
        let payload = self.packs[number].payload(place)?;
        let run = serde_json::from_slice::<RunRecord>(&payload).ok();
        let run = run.filter(|run| run.format == record::FORMAT && is_plain(&payload));
        match run {
            Some(run) if run_key(&run.pipeline) == place.key => {
                // What this store did by itself is what `why` compares with.
                if self.store.last(Kind::Run, &place.key)?.is_some() {
                    self.done.kept += 1;
                    return Ok(());
                }
                self.done.runs += 1;
                self.append(Kind::Run, place.key, payload)
            }
            Some(_) => {
                self.refuse(number, place, "it is filed under another pipeline than it tells of");
                Ok(())
            }
            None => {
                self.refuse(number, place, "it is no run that this version reads");
                Ok(())
            }
        }
    }

    fn note(&mut self, number: usize, place: &PackRecord) -> Result<(), PackError> {
        let payload = self.packs[number].payload(place)?;
        // Any other note would stand in the place of one of ours.
        let is_of_cell = |note: &CellNote| {
            note.format == FORMAT && identity::cell_key(&note.identity, &note.step) == place.key && is_plain(&payload)
        };
        let note = serde_json::from_slice::<CellNote>(&payload).ok().filter(is_of_cell);
        if note.is_none() {
            self.refuse(number, place, "it is no note that a pack carries");
        } else if !self.store.all(Kind::Note, &place.key)?.contains(&payload) {
            self.append(Kind::Note, place.key, payload)?;
        }
        Ok(())
    }

    fn origin(&self, number: usize, section: usize, light: bool) -> Vec<u8> {
        let note = self.notes[number].get(section).cloned().flatten();
        let id = self.packs[number].sections().get(section).map_or(Digest::of(b""), |section| section.id);
        let origin = Origin {
            format: FORMAT,
            pack: id,
            name: note.as_ref().and_then(|note| note.name.clone()),
            machine: note.as_ref().map_or_else(|| "a machine that it does not name".to_owned(), |n| n.machine.clone()),
            written: note.as_ref().map_or(0, |note| note.written),
            imported: self.now,
            light,
        };
        serde_json::to_vec(&origin).unwrap_or_default()
    }

    fn append(&mut self, kind: Kind, key: Digest, payload: Vec<u8>) -> Result<(), PackError> {
        self.batch.push((kind, key, payload));
        // A record is the last of what is appended for it, so that none is parted from its manifest and its origin.
        let full = self.batch.iter().map(|(_, _, payload)| payload.len()).sum::<usize>() >= BATCH;
        if full && matches!(kind, Kind::Record | Kind::Session) { self.write() } else { Ok(()) }
    }

    fn write(&mut self) -> Result<(), PackError> {
        let batch = std::mem::take(&mut self.batch);
        let records: Vec<_> = batch.iter().map(|(kind, key, payload)| (*kind, *key, payload.as_slice())).collect();
        if records.is_empty() { Ok(()) } else { Ok(self.store.append_all(&records)?) }
    }

    fn refuse(&mut self, number: usize, place: &PackRecord, why: impl Into<String>) {
        let what = match place.kind {
            Kind::Record => "the record",
            Kind::Manifest => "the manifest",
            Kind::Session => "the session",
            Kind::Run => "the run",
            _ => "the note",
        };
        let why = format!("{what} of key {} is not taken in: {}", place.key.short(), why.into());
        self.done.refused.push(self.packs[number].broken(place.at, why));
    }
}

/// A name and a line of text that a terminal can take.
fn plain(note: PackNote) -> PackNote {
    let plain = |text: String| text.chars().filter(|c| !c.is_control()).take(200).collect::<String>();
    PackNote { name: note.name.map(plain), machine: plain(note.machine), pipeline: plain(note.pipeline), ..note }
}

fn manifest_fault(key: &Digest, payload: &[u8]) -> Option<&'static str> {
    let Some(manifest) = std::str::from_utf8(payload).ok().and_then(Manifest::parse) else {
        return Some("it is no manifest that this version reads");
    };
    // Another spelling of the same leaves would be another text under one key.
    if manifest.leaves().iter().any(|leaf| !is_text(&leaf.path) || !is_text(&leaf.value)) {
        return Some("it holds control characters, which no terminal should be sent");
    }
    match manifest.key() == *key && manifest.text().as_bytes() == payload {
        true => None,
        false => Some("it is filed under a key that is not its own"),
    }
}

/// Whether all texts of a record can be shown: what is printed of it later goes to a terminal as it is.
fn is_plain(payload: &[u8]) -> bool {
    fn all(value: &serde_json::Value) -> bool {
        match value {
            serde_json::Value::String(text) => is_text(text),
            serde_json::Value::Array(values) => values.iter().all(all),
            serde_json::Value::Object(fields) => fields.iter().all(|(name, value)| is_text(name) && all(value)),
            _ => true,
        }
    }
    serde_json::from_slice(payload).is_ok_and(|value| all(&value))
}

fn is_text(text: &str) -> bool {
    !text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t'))
}

/// A hasher as a place to write to.
struct Sink<'a>(&'a mut Sha256);

impl std::io::Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn step_record(payload: &[u8]) -> Option<StepRecord> {
    serde_json::from_slice::<StepRecord>(payload).ok().filter(|record| record.format == record::FORMAT)
}
