//! One measurement: a fresh engine process, alone on the machine, from its manifest to its session.
//!
//! The samples of earlier sessions count: a tighter query measures only what is missing. What the engine saw of
//! its place is held against what was asked for before a sample is believed.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pipe_cache::{Entry, Kind, StoreError};
use pipe_engine::message::{self, Prepare, Prepared, Sample, Workload};

use super::engine::{self, Drive, Driven, EngineFault};
use super::lookup;
use super::outcome::{Failure, Lack, Outcome, Product};
use super::place::{self, Ran};
use super::work::{Job, Unmade};
use crate::event::Event;
use crate::host::SIMULATED;
use crate::host::load::Reading;
use crate::measure::enough::{Enough, enough};
use crate::pipeline::{self, Measure, Place};
use crate::record::{Caution, CautionCode, FORMAT, Session, Work};

/// Samples of the first block, before anything is known of their time.
const FIRST_BLOCK: u32 = 3;

/// Measures a cell, or finds that another process just did.
pub async fn measure(job: Job<'_>, asked: &Measure) -> Outcome {
    let _machine = match alone_on_the_machine(&job).await {
        Ok(Some(lock)) => lock,
        Ok(None) => return Outcome::Cancelled,
        Err(error) => return failed(format!("the machine's measuring lock can't be taken: {error}")),
    };
    match lookup::lookup(job.site, job.id, &job.manifest, &job.key) {
        Ok(Ok(product)) => return Outcome::Cached(product),
        Ok(Err(_)) => {}
        Err(error) => return failed(error.to_string()),
    }
    let earlier = match lookup::sessions(job.site, asked, &job.key) {
        Ok(sessions) if !job.site.remeasure => sessions,
        Ok(_) => Vec::new(),
        Err(error) => return failed(error.to_string()),
    };
    let retries = job.site.step(job.id).limits.retries;
    let mut tried = 0;
    let ended = loop {
        match session(&job, asked, &earlier).await {
            Err(End::Failed(failure)) if tried < retries && !job.cancel.is_cancelled() => {
                tried += 1;
                let step = job.site.step(job.id).name.clone();
                let _ = job.progress.send(Event::Retried { step, attempt: tried + 1, cause: failure.message });
            }
            ended => break ended,
        }
    };
    match ended {
        Ok(session) => {
            if let Err(error) = keep(&job, &session) {
                return failed(error.to_string());
            }
            Outcome::Ran(Product::Sessions(earlier.into_iter().chain([session]).collect()))
        }
        Err(End::Unavailable(lack)) => Outcome::Unavailable(lack),
        Err(End::Failed(failure)) => Outcome::Failed(failure),
        Err(End::Cancelled) => Outcome::Cancelled,
    }
}

/// A measurement without a session.
enum End {
    Unavailable(Lack),
    Failed(Failure),
    Cancelled,
}

impl From<Unmade> for End {
    fn from(unmade: Unmade) -> End {
        match unmade {
            Unmade::Failed(failure) | Unmade::Passing(failure) => End::Failed(failure),
            Unmade::Cancelled => End::Cancelled,
        }
    }
}

impl From<StoreError> for End {
    fn from(error: StoreError) -> End {
        End::Failed(Failure { message: error.to_string(), ..Failure::default() })
    }
}

fn failed(message: String) -> Outcome {
    Outcome::Failed(Failure { message, ..Failure::default() })
}

/// Manifest first, session last.
fn keep(job: &Job<'_>, session: &Session) -> Result<(), StoreError> {
    let store = &job.site.store;
    store.append(Kind::Manifest, &job.key, job.manifest.text().as_bytes())?;
    let key = lookup::session_key(&session.question, &session.machine);
    store.append(Kind::Session, &key, &serde_json::to_vec(session).unwrap_or_default())
}

async fn session(job: &Job<'_>, asked: &Measure, earlier: &[Session]) -> Result<Session, End> {
    let runtime = match asked.place {
        Place::Native => None,
        Place::Container { .. } => Some(super::world::runtime(job.site).map_err(End::Unavailable)?),
    };
    let machine = job.site.facts.machine.key(runtime.as_ref());
    let before: Vec<Sample> = earlier.iter().flat_map(|session| session.samples.iter().cloned()).collect();
    let started = now();
    let reading = Reading::now();

    let drive = |engine_started: Instant| Drive {
        started: engine_started,
        prepare: prepare(asked),
        warm_up: message::WarmUp { min: asked.warm_up.min, max: asked.warm_up.max },
        first_block: FIRST_BLOCK,
        max_time: asked.sampling.max_time,
        pace: asked.sampling.min_time / asked.sampling.max_samples.max(1),
        outputs_folder: Some("out".to_owned()),
        limits: limits(job.site.step(job.id).limits.timeout),
    };
    let judge = |new: &[Sample]| {
        let all: Vec<Sample> = before.iter().chain(new).cloned().collect();
        match enough(&all, &asked.sampling) {
            Enough::Yes => engine::Enough::Yes,
            Enough::More(more) => engine::Enough::More(more),
            Enough::LimitReached => engine::Enough::LimitReached,
        }
    };
    let progress = |progress: engine::Progress| match progress {
        engine::Progress::Began(phase) => job.say(phase.to_string()),
        engine::Progress::Measured { samples } => job.say(format!("{} samples", before.len() + samples)),
    };
    let ran = place::run(job, asked, drive, judge, progress).await?;
    let Ran { result, outputs, log } = ran;

    let mut session = Session {
        format: FORMAT,
        question: job.key,
        machine,
        fresh: earlier.is_empty(),
        facts: job.site.facts.clone(),
        runtime,
        started,
        sandbox: job.site.sandbox,
        hello: message::Hello { protocol: 0, engine: String::new(), version: String::new(), simulated: false },
        start_ns: 0,
        prepared: None,
        warmed: None,
        samples: Vec::new(),
        work: work(asked, None),
        usage: None,
        outputs,
        cautions: Vec::new(),
        fault: None,
        log,
    };
    match result {
        Ok(driven) => {
            check_inside(job, asked, &driven.prepared).map_err(End::Failed)?;
            let own = Duration::from_nanos(driven.usage.cpu_ns.unwrap_or(0));
            session.work = work(asked, driven.prepared.items);
            session.cautions = cautions(job, &driven, Reading::between(&reading, &Reading::now(), own));
            fill(&mut session, driven);
            Ok(session)
        }
        Err(failure) => {
            if job.cancel.is_cancelled() {
                return Err(End::Cancelled);
            }
            // Memory that ran out where the engine could still say so is a result of this machine.
            if let (Some(fault), Some(hello)) = (failure.fault.to_record(), failure.hello) {
                session.hello = hello;
                session.start_ns = failure.start_ns.unwrap_or(0);
                session.prepared = failure.prepared;
                session.warmed = failure.warmed;
                session.fault = Some(fault);
                session.outputs = None;
                return Ok(session);
            }
            Err(end(failure.fault))
        }
    }
}

/// A `timeout` of the step bounds each phase; without one, generous limits tell a hung engine from a slow one.
fn limits(timeout: Option<Duration>) -> engine::Limits {
    let limits = engine::Limits::default();
    let Some(timeout) = timeout else { return limits };
    engine::Limits {
        hello: limits.hello.min(timeout),
        prepare: limits.prepare.min(timeout),
        warm_up: limits.warm_up.min(timeout),
        measure: limits.measure.min(timeout),
        outputs: limits.outputs.min(timeout),
        finish: limits.finish.min(timeout),
    }
}

fn end(fault: EngineFault) -> End {
    match fault {
        EngineFault::NoDevice(reason) => End::Unavailable(Lack::final_(reason)),
        EngineFault::Crashed { ref log, .. } | EngineFault::Hung { ref log, .. } => {
            let tail = log.clone();
            let message =
                fault.to_string().lines().next().unwrap_or_default().trim_end_matches("; it last said:").to_owned();
            End::Failed(Failure { message, tail, ..Failure::default() })
        }
        other => End::Failed(Failure { message: other.to_string(), ..Failure::default() }),
    }
}

fn fill(session: &mut Session, driven: Driven) {
    session.hello = driven.hello;
    session.start_ns = driven.start_ns;
    session.prepared = Some(driven.prepared);
    session.warmed = Some(driven.warmed);
    session.samples = driven.samples;
    session.usage = Some(driven.usage);
}

fn prepare(asked: &Measure) -> Prepare {
    Prepare {
        protocol: message::PROTOCOL,
        device: asked.device.value,
        dtype: asked.dtype.value,
        threads: asked.threads.value,
        reduced_precision: asked.reduced_precision.value,
        model: place::MODEL.to_owned(),
        cuda_libraries: asked.cuda_libraries.as_ref().map(|_| place::CUDA.to_owned()),
        workload: match &asked.workload {
            pipeline::Workload::Sequence { prompt_tokens, new_tokens, .. } => Workload::Llm {
                tokens: place::TOKENS.to_owned(),
                prompt_tokens: prompt_tokens.value,
                new_tokens: new_tokens.value,
            },
            pipeline::Workload::Inference { .. } => Workload::Inference { inputs: place::INPUTS.to_owned() },
        },
    }
}

/// What one sample was: as the pipeline says, and else as the engine found it.
fn work(asked: &Measure, found: Option<u32>) -> Work {
    match &asked.workload {
        pipeline::Workload::Sequence { prompt_tokens, new_tokens, .. } => {
            Work::Sequence { prompt_tokens: prompt_tokens.value, new_tokens: new_tokens.value }
        }
        pipeline::Workload::Inference { items, .. } => {
            Work::Inference { items: items.as_ref().map(|items| items.value).or(found) }
        }
    }
}

/// Holds what the engine saw against what was asked for: a figure from another place is no figure of this cell.
fn check_inside(job: &Job<'_>, asked: &Measure, prepared: &Prepared) -> Result<(), Failure> {
    let mut wrong = Vec::new();
    if prepared.threads != asked.threads.value {
        wrong.push(format!("it runs {} threads, and {} are asked for", prepared.threads, asked.threads.value));
    }
    if prepared.reduced_precision != asked.reduced_precision.value {
        wrong.push(format!(
            "reduced precision is {}, and {} is asked for",
            prepared.reduced_precision, asked.reduced_precision.value
        ));
    }
    let inside = &prepared.inside;
    if inside.cpus < asked.threads.value {
        wrong.push(format!("it may use {} processors for {} threads", inside.cpus, asked.threads.value));
    }
    if let Place::Container { cpus, memory, .. } = &asked.place {
        if inside.cpus != cpus.value {
            wrong.push(format!("it sees {} processors, and {} are asked for", inside.cpus, cpus.value));
        }
        if inside.memory_limit != Some(memory.value) {
            let seen = inside.memory_limit.map_or("none".to_owned(), |limit| limit.to_string());
            wrong.push(format!("its memory limit is {seen}, and {} bytes are asked for", memory.value));
        }
        if inside.root_writable {
            wrong.push("it can write to `/`".to_owned());
        }
        if !inside.network_interfaces.is_empty() {
            wrong.push(format!("it has a network: {}", inside.network_interfaces.join(", ")));
        }
        if inside.uid == 0 {
            wrong.push("it runs as root".to_owned());
        }
    }
    if wrong.is_empty() {
        return Ok(());
    }
    Err(Failure {
        message: format!("the engine of `{}` did not run as asked: {}", job.site.step(job.id).name, wrong.join("; ")),
        help: Some("the container runtime or the sandbox does not keep these limits; see `pipe doctor`".to_owned()),
        ..Failure::default()
    })
}

fn cautions(job: &Job<'_>, driven: &Driven, mut cautions: Vec<Caution>) -> Vec<Caution> {
    let mut add = |code: CautionCode, seen: String| cautions.push(Caution { code, seen });
    if driven.hello.simulated {
        add(CautionCode::Simulated, "the figures are invented by the engine of the tests".to_owned());
    }
    if job.site.facts.machine.virtualisation == SIMULATED {
        add(CautionCode::Simulated, "the machine is made up by a test".to_owned());
    }
    if !driven.warmed.steady {
        add(CautionCode::NotSteady, format!("not steady after {} warm-up samples", driven.warmed.samples.len()));
    }
    if !driven.enough {
        add(CautionCode::FewSamples, format!("{} samples when the limit was reached", driven.samples.len()));
    }
    let (inside, machine) = (&driven.prepared.inside.architecture, &job.site.facts.machine.architecture);
    if !inside.is_empty() && inside != machine {
        add(CautionCode::Emulated, format!("the engine is built for {inside}, the machine is {machine}"));
    }
    cautions
}

/// The lock that one measurement holds on this machine, whichever user and store it belongs to.
async fn alone_on_the_machine(job: &Job<'_>) -> std::io::Result<Option<File>> {
    let path = Path::new("/tmp/pipe-measure.lock");
    let mut file = match OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path) {
        Ok(file) => file,
        // Another user made it, in a folder where only owners write: reading is enough to lock it.
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => File::open(path)?,
        Err(error) => return Err(error),
    };
    // Every user of the machine takes turns by it.
    let _ = file.set_permissions(std::fs::Permissions::from_mode(0o666));
    let mut said = false;
    loop {
        match file.try_lock() {
            Ok(()) => break,
            Err(TryLockError::WouldBlock) => {
                if !said {
                    said = true;
                    let mut holder = String::new();
                    let _ = file.rewind().and_then(|()| file.read_to_string(&mut holder));
                    let step = job.site.step(job.id).name.clone();
                    let on = format!("another measurement runs on this machine ({})", holder.trim());
                    let _ = job.progress.send(Event::Waiting { step, on });
                }
            }
            Err(TryLockError::Error(error)) => return Err(error),
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(200)) => {}
            () = job.cancel.cancelled() => return Ok(None),
        }
    }
    // A note for who waits; the lock holds without it.
    let note = format!("pid {}, {}\n", std::process::id(), job.site.step(job.id).name);
    let _ = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(note.as_bytes()));
    Ok(Some(file))
}

#[expect(clippy::disallowed_methods, reason = "a session remembers when it was; no key and no report does")]
fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map(|d| d.as_secs()).unwrap_or(0)
}

/// Takes an output folder into the store.
pub async fn store_outputs(job: &Job<'_>, folder: std::path::PathBuf) -> Result<Entry, Unmade> {
    let store = Arc::clone(&job.site.store);
    match tokio::task::spawn_blocking(move || store.take_tree(&folder)).await {
        Ok(stored) => Ok(stored?),
        Err(_) => Err(Unmade::Failed(Failure {
            message: "storing the outputs was broken off".to_owned(),
            ..Failure::default()
        })),
    }
}
