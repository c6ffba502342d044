//! A run that found everything done, written down: the next one then only looks whether anything moved.
//!
//! Approach:
//! - A run whose every step was cached or not needed, and whose exports were all in place, keeps what it found
//!   beside stamps of all that this follows from: files that resolving read, inputs, exports, tools, the store's logs.
//! - Who comes next asks the same question ([`Settled`] is kept under it), and holds each stamp against the disk. One
//!   that differs, whatever the reason, and the run goes the long way, which knows no short cuts.
//! - Other pipelines add to the store's logs. What they added is no reason to look further unless it lies under a key
//!   that this run asked for.
//! - Only what a stamp can speak for is settled. A pipeline that reads this machine's Python packages or libraries, or
//!   lacks anything here, goes the long way each time: what it found follows from what probes answered, and they leave
//!   no file to look at. So does one that measures or compares: its cells follow from the machine's facts and the container
//!   runtime's answer, and it prints a table, which is made from the samples anew for each width and colour.
//!
//! What one build wrote, no other build reads, so the shape is no format.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use pipe_cache::{Digest, Lies, LogStamps, Stamp, Store};
use serde::{Deserialize, Serialize};

use super::outcome::{Outcome, Product};
use super::runner::Done;
use super::site::Site;
use super::world;
use crate::host::tools::{self, Found};
use crate::pipeline::{Action, Pipeline, StepId};
use crate::resolve::kept::Testimony;
use crate::resolve::{Disk, FileKind, Files};

/// So many bytes of a key.
const BEGIN: usize = 8;

/// The interpreter whose version resolving asks for.
const PYTHON: &str = "python3";

/// What a run found, and what must not have moved for it to hold.
#[derive(Debug, Serialize, Deserialize)]
pub struct Settled<'a> {
    logs: LogStamps,
    /// The first bytes of the keys that were looked up, sorted: another key that begins like one only costs time.
    keys: &'a [u8],
    /// `None`: there is none.
    python: Option<Found>,
    tools: Vec<Found>,
    testimony: Testimony,
    /// Files that resolving read, by the names that it used.
    #[serde(borrow)]
    sources: Vec<(&'a str, Stamp, [u8; 32])>,
    #[serde(borrow)]
    inputs: Vec<(&'a str, Stamp)>,
    #[serde(borrow)]
    exports: Vec<(&'a str, Stamp)>,
    blobs: Vec<([u8; 32], u64)>,
    /// In the order of the plan.
    #[serde(borrow)]
    pub steps: Vec<Stood<'a>>,
}

/// Where a step stood.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Stood<'a> {
    pub id: u32,
    pub name: &'a str,
    /// Else nobody needs it.
    pub cached: bool,
    /// A wheel of an environment, of which lists show one line.
    pub wheel: bool,
}

/// Writes down what a run found; `None` where anything happened or may happen unseen. `logs` are the store's stamps
/// from before the run looked at anything.
pub fn settle(site: &Site, done: &Done, logs: LogStamps) -> Option<Vec<u8>> {
    let outcomes = &done.outcomes;
    let still = outcomes.values().all(|outcome| matches!(outcome, Outcome::Cached(_) | Outcome::NotNeeded));
    let testimony = site.asked.testimony.as_ref()?;
    if !still || !can_settle(&site.pipeline) {
        return None;
    }
    let (python, tools) = known_tools(site)?;
    // Resolving reads its files by itself, so the stat cache has to be told of them.
    let source = |path| site.store.hash_file(path).ok().and_then(|_| Some((path, site.store.seen_file(path)?)));
    let sources = testimony.files().map(source).collect::<Option<Vec<_>>>()?;
    let inputs = seen_inputs(site)?;
    let exports = seen_exports(site, outcomes)?;
    let products = outcomes.values().filter_map(Outcome::product).filter_map(Product::entry);
    let blobs = site.store.large_blobs(products)?;
    let stood = |&id: &StepId| {
        let step = site.step(id);
        let cached = matches!(outcomes.get(&id), Some(Outcome::Cached(_)));
        let wheel = matches!(step.action, Action::FetchWheel(_));
        Some(Stood { id: u32::try_from(id.0).ok()?, name: &step.name, cached, wheel })
    };
    let mut keys = Vec::new();
    for (id, _) in outcomes.iter().filter(|(_, outcome)| matches!(outcome, Outcome::Cached(_))) {
        keys.push(begin(&done.manifests.get(id)?.0));
    }
    keys.sort_unstable();
    let settled = Settled {
        logs,
        keys: keys.as_flattened(),
        python,
        tools,
        testimony: testimony.clone(),
        sources: sources
            .iter()
            .map(|(path, (stamp, digest))| Some((path.to_str()?, *stamp, *digest.as_bytes())))
            .collect::<Option<_>>()?,
        inputs: texts(&inputs)?,
        exports: texts(&exports)?,
        blobs: blobs.iter().map(|(digest, size)| (*digest.as_bytes(), *size)).collect(),
        steps: site.plan.order().iter().map(stood).collect::<Option<_>>()?,
    };
    // What came while the run looked around was not looked at.
    let bytes = site.store.unchanged_since(&logs).then(|| postcard::to_stdvec(&settled))?;
    bytes.ok()
}

fn begin(key: &Digest) -> [u8; BEGIN] {
    *key.as_bytes().first_chunk().unwrap_or(&[0; BEGIN])
}

/// Whether stamps of files can speak for all that the steps of a pipeline depend on.
fn can_settle(pipeline: &Pipeline) -> bool {
    pipeline.steps.iter().all(|step| match &step.action {
        Action::Run(_) | Action::FetchFile(_) | Action::FetchWheel(_) | Action::UnpackWheels(_) | Action::Image(_) => {
            true
        }
        Action::Tree(tree) => tree.host_libraries.is_empty(),
        Action::HostPackages(_) | Action::Measure(_) | Action::Compare(_) => false,
    })
}

fn known_tools(site: &Site) -> Option<(Option<Found>, Vec<Found>)> {
    let env = world::tool_env(&site.env);
    let found = |name: &str| world::kept_found(&site.store, &env, name);
    let python = found(PYTHON);
    if python.is_none() && !tools::is_missing(PYTHON, &env) {
        return None;
    }
    let asked = site.asked.tools.borrow();
    let tools =
        asked.iter().map(|(name, known)| known.is_ok().then(|| found(name)).flatten()).collect::<Option<_>>()?;
    Some((python, tools))
}

fn seen_inputs(site: &Site) -> Option<Vec<(PathBuf, Stamp)>> {
    let mut seen = Vec::new();
    for ((path, filter), taken) in site.asked.files.borrow().iter() {
        let entry = taken.as_ref().ok()?;
        let matcher = filter.matcher();
        let keeps = |path: &str, is_folder: bool| matcher.keeps(path, is_folder);
        seen.append(&mut site.store.seen(entry, path, Some(&keeps))?);
    }
    Some(seen)
}

fn seen_exports(site: &Site, outcomes: &BTreeMap<StepId, Outcome>) -> Option<Vec<(PathBuf, Stamp)>> {
    let mut seen = Vec::new();
    for (&id, outcome) in outcomes {
        let (Some(name), Some(Product::Output(entry))) = (&site.step(id).export, outcome.product()) else { continue };
        let place = site.out.join(&site.pipeline.name).join(name);
        seen.append(&mut site.store.seen(entry, &place, None)?);
    }
    Some(seen)
}

fn texts(paths: &[(PathBuf, Stamp)]) -> Option<Vec<(&str, Stamp)>> {
    paths.iter().map(|(path, stamp)| Some((path.to_str()?, *stamp))).collect()
}

impl<'a> Settled<'a> {
    /// Reads what [`settle`] wrote.
    pub fn read(bytes: &'a [u8]) -> Option<Settled<'a>> {
        postcard::from_bytes(bytes).ok()
    }

    /// True where nothing has moved. No file is read and no process starts.
    pub fn holds(&self, store: &Store, env: &BTreeMap<String, String>, disk: &Disk) -> bool {
        let env = world::tool_env(env);
        let glance = Glance::new(disk, &self.sources);
        (store.unchanged_since(&self.logs) || store.only_added_since(&self.logs, |key| self.asked_for(key)))
            && self.python.as_ref().map_or_else(|| tools::is_missing(PYTHON, &env), |found| found.is_current(&env))
            && self.tools.iter().all(|found| found.is_current(&env))
            && self
                .inputs
                .iter()
                .all(|(path, stamp)| glance.look(Path::new(path)).is_some_and(|(now, _)| now == *stamp))
            && self.testimony.holds(&glance)
            && self.exports.iter().all(|(path, stamp)| Stamp::at(Path::new(path)) == Some(*stamp))
            && self.blobs.iter().all(|(digest, size)| store.has_blob(&Digest::from_bytes(*digest), *size))
    }

    fn asked_for(&self, key: &Digest) -> bool {
        self.keys.as_chunks().0.binary_search(&begin(key)).is_ok()
    }

    /// The same, to be kept for logs that have grown: `now` are their stamps from before it was seen to hold. `None` where
    /// they are as they were.
    pub fn moved_on(self, now: LogStamps) -> Option<Vec<u8>> {
        let grown = self.logs != now;
        grown.then(|| postcard::to_stdvec(&Settled { logs: now, ..self }).ok()).flatten()
    }

    /// How many steps were cached.
    pub fn cached(&self) -> usize {
        self.steps.iter().filter(|step| step.cached).count()
    }
}

/// What a look at a path tells.
type Look = (Stamp, Option<Lies>);

/// The machine's files, each looked at once: what lies at a path tells its kind, its real path and, by its stamp, its
/// content too.
struct Glance<'d> {
    disk: &'d Disk,
    sources: BTreeMap<&'d Path, (Stamp, [u8; 32])>,
    looks: RefCell<BTreeMap<PathBuf, Option<Look>>>,
    folders: RefCell<BTreeMap<PathBuf, PathBuf>>,
}

impl<'d> Glance<'d> {
    fn new(disk: &'d Disk, sources: &'d [(&'d str, Stamp, [u8; 32])]) -> Glance<'d> {
        let sources = sources.iter().map(|(path, stamp, digest)| (Path::new(*path), (*stamp, *digest))).collect();
        Glance { disk, sources, looks: RefCell::default(), folders: RefCell::default() }
    }

    fn look(&self, path: &Path) -> Option<Look> {
        if let Some(known) = self.looks.borrow().get(path) {
            return *known;
        }
        let look = Stamp::with_kind(path);
        self.looks.borrow_mut().insert(path.to_owned(), look);
        look
    }
}

impl Files for Glance<'_> {
    fn read(&self, path: &Path, most: usize) -> std::io::Result<Vec<u8>> {
        self.disk.read(path, most)
    }

    fn digest(&self, path: &Path, most: usize) -> Option<Digest> {
        let look = self.look(&self.disk.absolute(path));
        let known = self.sources.get(path).filter(|(stamp, _)| look.is_some_and(|(now, _)| now == *stamp));
        known.map(|(_, digest)| Digest::from_bytes(*digest)).or_else(|| self.disk.digest(path, most))
    }

    fn kind(&self, path: &Path) -> FileKind {
        match self.look(&self.disk.absolute(path)) {
            Some((_, Some(Lies::File))) => FileKind::File,
            Some((_, Some(Lies::Folder))) => FileKind::Folder,
            _ => self.disk.kind(path),
        }
    }

    /// What is no link itself lies where its folder really does.
    fn real(&self, path: &Path) -> PathBuf {
        let absolute = self.disk.absolute(path);
        let plain = self.look(&absolute).is_some_and(|(_, lies)| lies.is_some());
        let (Some(above), Some(name), true) = (absolute.parent(), absolute.file_name(), plain) else {
            return self.disk.real(path);
        };
        if let Some(real) = self.folders.borrow().get(above) {
            return real.join(name);
        }
        let Ok(real) = above.canonicalize() else { return self.disk.real(path) };
        let whole = real.join(name);
        self.folders.borrow_mut().insert(above.to_owned(), real);
        whole
    }
}
