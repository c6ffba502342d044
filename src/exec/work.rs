//! One step of class fetch or build, and comparisons: from a manifest to a record.
//!
//! The order is the store's promise: single flight by the key's lock, the work, the output, the manifest, and
//! the record last, which [`commits`](super::commits) writes. A step that failed leaves its folder for a look, and no record.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use pipe_cache::{Digest, Entry, KeyLock, Kind, Store, StoreError, TryLock};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::UnboundedSender;

use super::builtin::control::Control;
use super::builtin::network::NetworkEnv;
use super::builtin::tree::{self, Part, PartWhat};
use super::builtin::{fetch, host_packages, unpack, wheel};
use super::commits::{Desk, Unwritten};
use super::image::{Image, ImageSpec, Layer};
use super::lookup;
use super::outcome::{Failure, Outcome, Product};
use super::process::{self, Cancel, Status, log};
use super::site::Site;
use super::survey::Known;
use super::{files, program, world};
use crate::event::Event;
use crate::key::{Contents, Manifest};
use crate::measure::parity::{CELL, Files, REFERENCE, Side, noise};
use crate::measure::tolerance::Noise;
use crate::measure::{ParityRecord, ParityResult, Tolerance, parity};
use crate::pipeline::{
    Action, Compare, Dtype, FetchFile, FetchWheel, Input, Parity, PutWhat, StepId, TreeOf, UnpackWheels, Workload,
};
use crate::record::{FORMAT, Sandbox, Session, StepRecord, StepUsage};

/// How long a fetch without a limit of its own may take.
const FETCH_LIMIT: Duration = Duration::from_secs(3600);

/// A step that shall run, with all that it needs.
pub struct Job<'a> {
    pub site: &'a Site,
    pub id: StepId,
    pub manifest: Rc<Manifest>,
    pub key: Digest,
    /// The outputs of what it reads.
    pub inputs: BTreeMap<StepId, Entry>,
    /// The GPUs that are this step's alone while it runs, by number.
    pub gpus: Vec<u64>,
    pub cancel: Cancel,
    pub progress: UnboundedSender<Event>,
    /// Where what it leaves for the store to remember is put.
    pub desk: Desk,
}

/// What an attempt made.
pub struct Made {
    pub output: Entry,
    pub usage: StepUsage,
    pub sandbox: Sandbox,
    pub log: Option<Entry>,
}

/// An attempt that made nothing.
pub enum Unmade {
    Failed(Failure),
    /// Another attempt may go better: the network, a registry.
    Passing(Failure),
    Cancelled,
}

impl From<StoreError> for Unmade {
    fn from(error: StoreError) -> Unmade {
        Unmade::Failed(Failure { message: error.to_string(), ..Failure::default() })
    }
}

impl Job<'_> {
    /// Says in a few words what the step is doing.
    pub fn say(&self, text: impl Into<String>) {
        let step = self.site.step(self.id).name.clone();
        // The listener may be gone at the very end; then nobody wants to know.
        let _ = self.progress.send(Event::Progress { step, text: text.into() });
    }

    /// The content of an input; the runner starts no step before all are known.
    pub fn entry(&self, input: &Input) -> Result<Entry, Unmade> {
        use crate::key::Contents;
        let outputs = |id: StepId| self.inputs.get(&id).cloned();
        Known { site: self.site, outputs: &outputs }.entry(input).ok_or_else(|| {
            let lack = files::missing(self.site, input);
            Unmade::Failed(Failure { message: lack.reason, help: lack.remedy, ..Failure::default() })
        })
    }

    /// Holds the key, whichever processes share the store; says so while another one has it.
    pub async fn alone(&self) -> Result<Option<KeyLock>, StoreError> {
        let mut said = false;
        loop {
            match self.site.store.try_lock_key(&self.key)? {
                TryLock::Locked(lock) => return Ok(Some(lock)),
                TryLock::Held(holder) if !said => {
                    said = true;
                    let step = self.site.step(self.id).name.clone();
                    let on = format!("another pipe makes the same ({})", holder.trim());
                    let _ = self.progress.send(Event::Waiting { step, on });
                }
                TryLock::Held(_) => {}
            }
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(100)) => {}
                () = self.cancel.cancelled() => return Ok(None),
            }
        }
    }
}

/// Makes a step's output and its record.
pub async fn work(job: Job<'_>) -> Outcome {
    let lock = match job.alone().await {
        Ok(Some(lock)) => lock,
        Ok(None) => return Outcome::Cancelled,
        Err(error) => return failed(error.to_string()),
    };
    // Whoever held the key before may have made the very thing.
    match lookup::find(job.site, job.id, &job.key) {
        Ok(Ok(product)) => return Outcome::Cached(product),
        Ok(Err(_)) => {}
        Err(error) => return failed(error.to_string()),
    }
    let retries = job.site.step(job.id).limits.retries;
    let mut tried = 0;
    let made = loop {
        match attempt(&job).await {
            Ok(made) => break made,
            Err(Unmade::Cancelled) => return Outcome::Cancelled,
            Err(Unmade::Failed(_) | Unmade::Passing(_)) if job.cancel.is_cancelled() => return Outcome::Cancelled,
            Err(Unmade::Passing(failure)) if tried < retries => {
                tried += 1;
                let step = job.site.step(job.id).name.clone();
                let _ = job.progress.send(Event::Retried { step, attempt: tried + 1, cause: failure.message });
                tokio::select! {
                    () = tokio::time::sleep(pause(tried)) => {}
                    () = job.cancel.cancelled() => return Outcome::Cancelled,
                }
            }
            Err(Unmade::Failed(failure) | Unmade::Passing(failure)) => return Outcome::Failed(harmless(failure)),
        }
    };
    let output = made.output.clone();
    // The lock goes with them: until they are written, nobody else may think that there is nothing.
    job.desk.leave(Unwritten { step: job.id, records: records(&job, made), lock: Some(lock) });
    Outcome::Ran(Product::Output(output))
}

/// How long to wait before an attempt: whatever stood in the way needs a little longer each time.
pub fn pause(tried: u32) -> Duration {
    Duration::from_secs(1 << tried.min(5)) / 2
}

fn failed(message: String) -> Outcome {
    Outcome::Failed(Failure { message, ..Failure::default() })
}

/// A step chooses the names of its files, and with them a part of what is said of it.
fn harmless(failure: Failure) -> Failure {
    let escaped = |text: String| log::escaped(&text);
    Failure {
        message: escaped(failure.message),
        help: failure.help.map(escaped),
        command: failure.command.map(escaped),
        ..failure
    }
}

/// Manifest first, record last.
fn records(job: &Job<'_>, made: Made) -> Vec<(Kind, Digest, Vec<u8>)> {
    let Made { output, usage, sandbox, log } = made;
    let record = StepRecord { format: FORMAT, output, sandbox, usage, log };
    let manifest = job.manifest.text().into_bytes();
    let record = serde_json::to_vec(&record).unwrap_or_default();
    vec![(Kind::Manifest, job.key, manifest), (Kind::Record, job.key, record)]
}

/// Makes the output once, and no record.
pub async fn attempt(job: &Job<'_>) -> Result<Made, Unmade> {
    let started = Instant::now();
    let output = match &job.site.step(job.id).action {
        Action::Run(run) => return program::run(job, run).await,
        Action::FetchFile(file) => fetch_file(job, file).await?,
        Action::FetchWheel(wheel) => fetch_wheel(job, wheel).await?,
        Action::UnpackWheels(unpack) => unpack_wheels(job, unpack).await?,
        Action::HostPackages(packages) => {
            let inventory = world::packages(job.site, packages).map_err(lacking)?;
            let store = Arc::clone(&job.site.store);
            let threads = threads(job.site);
            blocking(job, move |_| host_packages::materialise(&inventory, &store, threads)).await?
        }
        Action::Tree(tree) => put_together(job, tree).await?,
        Action::Image(asked) => {
            let layers = asked.layers.iter();
            let spec = ImageSpec {
                layers: layers
                    .map(|(at, input)| Ok(Layer { at: at.value.clone(), entry: job.entry(&input.value)? }))
                    .collect::<Result<_, Unmade>>()?,
                entrypoint: asked.entrypoint.iter().map(|word| word.value.clone()).collect(),
                env: asked.env.iter().map(|(name, value)| (name.clone(), value.value.clone())).collect(),
                architecture: job.site.facts.machine.architecture.clone(),
            };
            let store = Arc::clone(&job.site.store);
            blocking(job, move |_| Image::make(&store, &spec).and_then(|image| image.store(&store))).await?
        }
        Action::Measure(_) | Action::Compare(_) => {
            return Err(Unmade::Failed(Failure::default()));
        }
    };
    let usage = StepUsage { wall_ns: started.elapsed().as_nanos() as u64, ..StepUsage::default() };
    Ok(Made { output, usage, sandbox: Sandbox::Strict, log: None })
}

fn lacking(lack: super::outcome::Lack) -> Unmade {
    Unmade::Failed(Failure { message: lack.reason, help: lack.remedy, ..Failure::default() })
}

async fn put_together(job: &Job<'_>, asked: &TreeOf) -> Result<Entry, Unmade> {
    let parts = asked
        .puts
        .iter()
        .map(|put| {
            let what = match &put.what {
                PutWhat::Input(input) => PartWhat::Entry(job.entry(&input.value)?),
                PutWhat::Matching { folder, pattern } => {
                    PartWhat::Matching { folder: job.entry(&folder.value)?, pattern: pattern.value.clone() }
                }
                PutWhat::Link(target) => PartWhat::Link(target.value.clone()),
                PutWhat::Text(text) => PartWhat::Text(text.value.clone()),
            };
            Ok(Part { at: put.at.value.clone(), what })
        })
        .collect::<Result<Vec<Part>, Unmade>>()?;
    let libraries = world::host_libraries(job.site, asked).map_err(lacking)?;
    let store = Arc::clone(&job.site.store);
    blocking(job, move |_| tree::build(&store, &parts, &libraries)).await
}

/// Runs blocking work on a thread of its own, with progress in bytes, and stops it where the run is cancelled.
async fn blocking<T, E>(
    job: &Job<'_>,
    work: impl FnOnce(&Control<'_>) -> Result<T, E> + Send + 'static,
) -> Result<T, Unmade>
where
    T: Send + 'static,
    E: std::fmt::Display + Send + 'static,
{
    let stop = Arc::new(AtomicBool::new(false));
    let bytes = Arc::new(AtomicU64::new(0));
    let mut task = tokio::task::spawn_blocking({
        let (stop, bytes) = (Arc::clone(&stop), Arc::clone(&bytes));
        move || {
            let advance = |n: u64| {
                bytes.fetch_add(n, Ordering::Relaxed);
            };
            work(&Control::new(&stop, &advance)).map_err(|error| error.to_string())
        }
    });
    let mut tick = tokio::time::interval(Duration::from_millis(500));
    loop {
        tokio::select! {
            done = &mut task => {
                return match done {
                    Ok(Ok(value)) => Ok(value),
                    Ok(Err(_)) if job.cancel.is_cancelled() => Err(Unmade::Cancelled),
                    Ok(Err(message)) => Err(Unmade::Failed(Failure { message, ..Failure::default() })),
                    Err(_) => Err(Unmade::Failed(Failure {
                        message: "a fault in pipe itself ended the step".to_owned(),
                        help: Some("this is a bug: please report it with the lines above".to_owned()),
                        ..Failure::default()
                    })),
                };
            }
            _ = tick.tick() => {
                let done = bytes.load(Ordering::Relaxed);
                if done > 0 {
                    job.say(format!("{} MiB", done >> 20));
                }
            }
            () = job.cancel.cancelled(), if !stop.load(Ordering::Relaxed) => stop.store(true, Ordering::Relaxed),
        }
    }
}

/// A folder with the one file, so that it is named as the output of any other step.
async fn fetch_file(job: &Job<'_>, file: &FetchFile) -> Result<Entry, Unmade> {
    let scratch = job.site.store.workdir()?;
    let folder = scratch.path().join("out");
    std::fs::create_dir(&folder).map_err(|error| {
        Unmade::Failed(Failure {
            message: format!("`{}` can't be made: {error}", folder.display()),
            ..Failure::default()
        })
    })?;
    let target = folder.join(Path::new(&file.name).file_name().unwrap_or("file".as_ref()));
    let (file, env, path) = (file.clone(), network(job.site), target);
    blocking(job, move |control| fetch::fetch(&file, &path, &env, fetch::Limits::default(), control)).await?;
    Ok(job.site.store.take_tree(&folder)?)
}

/// Threads for work of our own: what a step may use.
fn threads(site: &Site) -> NonZeroUsize {
    NonZeroUsize::new(site.slots as usize).unwrap_or(NonZeroUsize::MIN)
}

fn network(site: &Site) -> NetworkEnv {
    NetworkEnv::from_vars(site.env.clone())
}

async fn fetch_wheel(job: &Job<'_>, asked: &FetchWheel) -> Result<Entry, Unmade> {
    let python = world::tool(job.site, "python3").map_err(lacking)?;
    let scratch = job.site.store.workdir()?;
    let folder = scratch.path().join("fetch");
    std::fs::create_dir(&folder).map_err(|error| {
        Unmade::Failed(Failure {
            message: format!("`{}` can't be made: {error}", folder.display()),
            ..Failure::default()
        })
    })?;
    let place = wheel::Place {
        scratch: folder,
        log: scratch.path().join("log"),
        timeout: job.site.step(job.id).limits.timeout.unwrap_or(FETCH_LIMIT),
    };
    let programs =
        wheel::Programs { python: python.real.clone(), uv: world::tool(job.site, "uv").ok().map(|uv| uv.real.clone()) };
    let env = network(job.site);
    let stop = AtomicBool::new(false);
    let bytes = AtomicU64::new(0);
    let advance = |n: u64| {
        bytes.fetch_add(n, Ordering::Relaxed);
    };
    let control = Control::new(&stop, &advance);
    let fetched = tokio::select! {
        fetched = wheel::fetch(asked, &programs, &place, &env, &control) => fetched,
        () = job.cancel.cancelled() => return Err(Unmade::Cancelled),
    };
    let path = fetched.map_err(|error| {
        let failure = Failure { message: error.to_string(), ..Failure::default() };
        if error.is_passing() { Unmade::Passing(failure) } else { Unmade::Failed(failure) }
    })?;
    Ok(job.site.store.take_file(&path)?)
}

async fn unpack_wheels(job: &Job<'_>, asked: &UnpackWheels) -> Result<Entry, Unmade> {
    let mut wheels = Vec::new();
    for id in &asked.wheels {
        let entry = job.inputs.get(id).cloned().ok_or(Unmade::Failed(Failure::default()))?;
        wheels.push(unpack::Wheel { name: job.site.step(*id).name.clone(), path: job.site.store.checkout(&entry)? });
    }
    let scratch = job.site.store.workdir()?;
    let target = scratch.path().join("unpacked");
    let threads = threads(job.site);
    let folder = target.clone();
    blocking(job, move |control| unpack::unpack(&wheels, &folder, threads, unpack::Limits::default(), control)).await?;
    job.say("storing");
    let store = Arc::clone(&job.site.store);
    blocking(job, move |_| store.take_tree(&target)).await
}

/// What a comparison found of its cells' outputs, as the store keeps it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Parities {
    /// Coordinates of a cell → parity against the reference.
    pub cells: BTreeMap<String, ParityRecord>,
    /// Output → the reference's own noise in it, where a calibrated tolerance asks for that; or why it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub noise: Option<Noise>,
}

impl Parities {
    /// Reads what a comparison stored; an empty one where it is gone.
    pub fn read(store: &Store, entry: &Entry) -> Result<Parities, StoreError> {
        let Some(digest) = entry.digest() else { return Ok(Parities::default()) };
        let bytes = store.read(&digest)?;
        Ok(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default())
    }
}

/// Compares the outputs of cells with the reference's, and keeps the figures.
pub async fn compare(job: Job<'_>, asked: &Compare, cells: BTreeMap<StepId, Vec<Session>>) -> Outcome {
    let started = Instant::now();
    let record = match parities(&job, asked, &cells) {
        Ok(record) => record,
        Err(error) => return failed(error.to_string()),
    };
    let stored = job.site.store.put_bytes(&serde_json::to_vec(&record).unwrap_or_default());
    let output = match stored {
        Ok(output) => output,
        Err(error) => return failed(error.to_string()),
    };
    let usage = StepUsage { wall_ns: started.elapsed().as_nanos() as u64, ..StepUsage::default() };
    let made = Made { output: output.clone(), usage, sandbox: Sandbox::Strict, log: None };
    job.desk.leave(Unwritten { step: job.id, records: records(&job, made), lock: None });
    Outcome::Ran(Product::Compared(output))
}

fn parities(job: &Job<'_>, asked: &Compare, cells: &BTreeMap<StepId, Vec<Session>>) -> Result<Parities, StoreError> {
    let mut record = Parities::default();
    let Some(asked_parity) = &asked.parity else { return Ok(record) };
    let pattern = &asked_parity.reference.value;
    let is_reference = |id: &StepId| job.site.step(*id).cell.as_ref().is_some_and(|cell| pattern.matches(cell));
    let Some(&at) = asked.of.iter().find(|id| is_reference(id) && cells.contains_key(id)) else {
        return Ok(record);
    };
    let Some(reference) = outputs(job.site, &cells[&at])? else { return Ok(record) };
    let mut tolerance = Tolerance::from(asked_parity);
    if let Some(calibrated) = &asked_parity.calibrated {
        let outputs = |read: StepId| job.inputs.get(&read).cloned();
        let exact = Known { site: job.site, outputs: &outputs }.entry(&calibrated.exact.value);
        let found = noise_of(job.site, exact, side(job.site, at, REFERENCE, &reference), &tolerance)?;
        tolerance = tolerance.with_noise(found.clone());
        record.noise = Some(found);
    }
    for (id, sessions) in cells {
        if let Some(outputs) = outputs(job.site, sessions)? {
            let (theirs, own) = (side(job.site, at, REFERENCE, &reference), side(job.site, *id, CELL, &outputs));
            let found = parity(theirs, own, &tolerance);
            record.cells.insert(job.site.step(*id).coordinates(), ParityRecord::from(&found));
        }
    }
    Ok(record)
}

/// How far the outputs of two cells are apart; `None` where the store lacks those of either.
pub fn parity_between(
    site: &Site,
    asked: &Parity,
    exact: Option<Entry>,
    (reference, theirs): (StepId, &[Session]),
    (own, sessions): (StepId, &[Session]),
) -> Result<Option<ParityResult>, StoreError> {
    let (Some(theirs), Some(outputs)) = (outputs(site, theirs)?, outputs(site, sessions)?) else { return Ok(None) };
    let (theirs, outputs) = (side(site, reference, REFERENCE, &theirs), side(site, own, CELL, &outputs));
    let mut tolerance = Tolerance::from(asked);
    if asked.calibrated.is_some() {
        let found = noise_of(site, exact, theirs, &tolerance)?;
        tolerance = tolerance.with_noise(found);
    }
    Ok(Some(parity(theirs, outputs, &tolerance)))
}

/// How far the reference is from exact outputs, or why that is not known.
fn noise_of(
    site: &Site,
    exact: Option<Entry>,
    reference: Side<'_>,
    tolerance: &Tolerance,
) -> Result<Noise, StoreError> {
    let files = match exact {
        Some(entry) => files_of(site, &entry)?,
        None => None,
    };
    Ok(match &files {
        None => Err("the exact outputs are not there".to_owned()),
        Some(files) => noise(reference, Side { whose: "the exact run", files, ..reference }, tolerance),
    })
}

/// The outputs of a cell, with what parity must know of it.
fn side<'a>(site: &Site, cell: StepId, whose: &'a str, files: &'a Files<'a>) -> Side<'a> {
    let (dtype, is_sequence) = match &site.step(cell).action {
        Action::Measure(measure) => (measure.dtype.value, matches!(measure.workload, Workload::Sequence { .. })),
        _ => (Dtype::default(), false),
    };
    Side { whose, files, dtype, is_sequence }
}

/// The output files of the newest session that wrote any, by name.
fn outputs(site: &Site, sessions: &[Session]) -> Result<Option<Files<'static>>, StoreError> {
    let Some(outputs) = sessions.iter().rev().find_map(|session| session.outputs.as_ref()) else { return Ok(None) };
    files_of(site, outputs)
}

/// The files of a folder of outputs, by name; `None` where the store lacks one.
fn files_of(site: &Site, outputs: &Entry) -> Result<Option<Files<'static>>, StoreError> {
    let mut files = Vec::new();
    site.store.walk(outputs, |path, entry| files.extend(entry.digest().map(|digest| (path.to_owned(), digest))))?;
    let mut found = Files::new();
    for (path, digest) in files {
        match site.store.read(&digest)? {
            Some(bytes) => found.insert(path, Cow::Owned(bytes)),
            None => return Ok(None),
        };
    }
    Ok(Some(found))
}

/// How a process of the user's ended, in words.
pub fn ended(status: Status, timeout: Option<Duration>) -> String {
    match (status, timeout) {
        (Status::TimedOut, Some(limit)) => format!("it ran longer than its limit of {} s", limit.as_secs()),
        (status, _) => format!("it ended with {status}"),
    }
}

/// The last lines of a log, for a message.
pub fn tail(path: &Path, most: usize) -> Vec<String> {
    let bytes = std::fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<String> = text.lines().map(log::harmless).filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(most)..].to_vec()
}

/// A process that could not be run at all.
impl From<process::ProcessError> for Unmade {
    fn from(error: process::ProcessError) -> Unmade {
        Unmade::Failed(Failure { message: error.to_string(), ..Failure::default() })
    }
}
