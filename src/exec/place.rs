//! Where an engine runs: natively in the sandbox, or in a container. Both see the same folders by the same names, and
//! both can be made to rest while another engine has its turn.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use pipe_cache::Entry;
use pipe_engine::message::Device;

use super::container::Container;
use super::engine::{EngineFault, Limits, Phase, Talk};
use super::outcome::Failure;
use super::process::{self, EngineProcess, Mount, ProcessSpec, Status};
use super::work::{Job, Unmade, tail};
use super::{contained, sandbox, world};
use crate::pipeline::{Measure, Place, Workload};
use crate::record::Sandbox;

/// Where the model, what it works on and the CUDA libraries lie, as the engine sees them.
pub const MODEL: &str = "in/model";
pub const TOKENS: &str = "in/tokens.npy";
pub const INPUTS: &str = "in/inputs";
pub const CUDA: &str = "in/cuda";

/// Where some hosts keep the driver's libraries, out of the loader's own folders.
pub const DRIVER_LIBRARIES: &str = "/usr/local/nvidia/lib64:/usr/local/nvidia/lib";

/// Lines of an engine's log that a message shows.
pub const TAIL: usize = 12;

/// How long an engine that closed its link may take to end, so that it is known what ended it.
pub const MOMENT: Duration = Duration::from_secs(2);

/// The folder for outputs, as the engine sees it.
const OUT: &str = "out";

/// How long a container's engine that was told to finish may take.
const END_LIMIT: Duration = Duration::from_secs(30);

/// An engine that runs. Dropping it ends it.
pub struct Engine {
    pub talk: Talk,
    held: Held,
    /// What it prints on stderr.
    log: PathBuf,
    /// Its outputs, once they are here.
    out: PathBuf,
    /// Goes when this does.
    _workdir: tempfile::TempDir,
}

enum Held {
    Native(EngineProcess),
    Container(Container),
}

/// What an engine left behind.
#[derive(Default)]
pub struct Left {
    pub outputs: Option<Entry>,
    pub log: Option<Entry>,
}

impl Engine {
    /// Starts an engine where the cell says.
    pub async fn start(job: &Job<'_>, asked: &Measure, limits: Limits) -> Result<Engine, Unmade> {
        match &asked.place {
            Place::Native => native(job, asked, limits).await,
            Place::Container { image, cpus, memory } => {
                let container =
                    contained::Asked { image: job.entry(&image.value)?, cpus: cpus.value, memory: memory.value };
                let workdir = job.site.store.workdir()?;
                let (log, out) = (workdir.path().join("log"), workdir.path().join(OUT));
                std::fs::create_dir(&out)
                    .map_err(|error| failed(format!("`{}` can't be made: {error}", out.display())))?;
                let (mut container, started) = contained::start(job, asked, container, &log).await?;
                let link =
                    container.take_link().ok_or_else(|| failed("the container's streams are gone".to_owned()))?;
                let talk = Talk::new(link.0, link.1, started, limits);
                Ok(Engine { talk, held: Held::Container(container), log, out, _workdir: workdir })
            }
        }
    }

    /// Stops it where it is, or lets it go on; false where it can't be stopped, and waits for its next request.
    pub async fn rest(&mut self, rest: bool) -> bool {
        match &mut self.held {
            // One whose supervisor is gone is gone, too, as its next answer will tell.
            Held::Native(engine) => engine.rest(rest).await.is_ok() && rest,
            Held::Container(container) => container.rest(rest).await,
        }
    }

    /// Has the outputs written, and brings them here.
    pub async fn outputs(&mut self) -> Result<(), EngineFault> {
        self.talk.outputs(OUT).await?;
        match &self.held {
            Held::Native(_) => Ok(()),
            // What is in a container goes with it.
            Held::Container(container) => container
                .fetch(OUT, &self.out)
                .await
                .map_err(|error| EngineFault::Failed { phase: Phase::Outputs, message: error.to_string() }),
        }
    }

    /// Waits for the end of one that gave its last answer, and keeps what it left.
    pub async fn end(self, job: &Job<'_>) -> Result<Left, Unmade> {
        drop(self.talk);
        match self.held {
            Held::Native(engine) => {
                let exit = engine.wait().await?;
                if exit.status != Status::Code(0) {
                    let message = format!("the engine measured, and then ended with {}", exit.status);
                    let tail = tail(&self.log, TAIL);
                    return Err(Unmade::Failed(Failure { message, tail, ..Failure::default() }));
                }
            }
            Held::Container(container) => {
                container.wait(END_LIMIT).await;
            }
        }
        let outputs = Some(store_outputs(job, self.out).await?);
        Ok(Left { outputs, log: job.site.store.put_file(&self.log, false).ok() })
    }

    /// Ends one that failed, and adds to the fault how it ended.
    pub async fn break_off(self, job: &Job<'_>, fault: EngineFault) -> Result<(EngineFault, Left), Unmade> {
        let ended = fault.is_ended();
        drop(self.talk);
        let fault = match self.held {
            Held::Native(engine) => {
                let exit = if ended { engine.settle(MOMENT).await? } else { engine.stop().await? };
                fault.with_end(exit.status, tail(&self.log, TAIL))
            }
            Held::Container(container) => {
                let end = if ended { container.wait(MOMENT).await } else { container.stop().await };
                fault.with_end(end, tail(&self.log, TAIL))
            }
        };
        Ok((fault, Left { outputs: None, log: job.site.store.put_file(&self.log, false).ok() }))
    }

    /// Ends it, whatever it does.
    pub async fn stop(self) {
        drop(self.talk);
        match self.held {
            // What can't be ended is the supervisor's to kill, which goes with this.
            Held::Native(engine) => drop(engine.stop().await),
            Held::Container(container) => drop(container.stop().await),
        }
    }
}

/// Where the model lies for an engine of this place.
pub fn model(place: &Place) -> &'static str {
    match place {
        Place::Native => MODEL,
        Place::Container { .. } => contained::MODEL,
    }
}

fn failed(message: String) -> Unmade {
    Unmade::Failed(Failure { message, ..Failure::default() })
}

/// Takes an output folder into the store.
async fn store_outputs(job: &Job<'_>, folder: PathBuf) -> Result<Entry, Unmade> {
    let store = Arc::clone(&job.site.store);
    match tokio::task::spawn_blocking(move || store.take_tree(&folder)).await {
        Ok(stored) => Ok(stored?),
        Err(_) => Err(failed("storing the outputs was broken off".to_owned())),
    }
}

/// The environment of an engine: threads are the engine's to set, caches are its own and empty.
pub fn env(threads: u32) -> BTreeMap<String, String> {
    let threads = threads.to_string();
    [("TZ", "UTC"), ("LANG", "C.UTF-8"), ("OMP_NUM_THREADS", threads.as_str()), ("MKL_NUM_THREADS", threads.as_str())]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// Where what a workload reads lies.
pub fn data_place(workload: &Workload) -> &'static str {
    match workload {
        Workload::Sequence { .. } => TOKENS,
        Workload::Inference { .. } => INPUTS,
    }
}

async fn native(job: &Job<'_>, asked: &Measure, limits: Limits) -> Result<Engine, Unmade> {
    let site = job.site;
    let workdir = site.store.workdir()?;
    let root = workdir.path().to_owned();
    let log = root.with_extension("log");
    let spec = spec(job, asked, &root, &log)?;
    let started = Instant::now();
    let mut engine = process::start_engine(&world::launcher(site), spec, job.cancel.clone()).await?;
    let (from, to) = engine.take_link().ok_or_else(|| failed("the engine's pipes are gone".to_owned()))?;
    let talk = Talk::new(from, to, started, limits);
    Ok(Engine { talk, held: Held::Native(engine), log, out: root.join(OUT), _workdir: workdir })
}

fn spec(job: &Job<'_>, asked: &Measure, root: &Path, log: &Path) -> Result<ProcessSpec, Unmade> {
    let site = job.site;
    let mut inputs = vec![
        ("in/engine", job.entry(&asked.engine.value)?),
        (MODEL, job.entry(&asked.model.value)?),
        (data_place(&asked.workload), job.entry(&asked.workload.data().value)?),
    ];
    if let Some(libraries) = &asked.cuda_libraries {
        inputs.push((CUDA, job.entry(&libraries.value)?));
    }
    let mut mounts = Vec::new();
    for (at, entry) in inputs {
        let host = site.store.checkout(&entry)?;
        mounts.push(Mount { host, at: at.to_owned() });
    }
    // An engine that is one file, as those of tests are, is its own program.
    let program = match job.entry(&asked.engine.value)? {
        Entry::File { .. } => "in/engine".to_owned(),
        _ => format!("in/engine/{}", asked.program.value),
    };
    let mut spec = ProcessSpec::new(program, root, site.sandbox, log);
    spec.env = env(asked.threads.value);
    spec.mounts = mounts;
    if asked.device.value == Device::Cuda {
        spec.devices = nvidia_devices();
        let seen = sandbox::seen_workdir(site.sandbox, root);
        spec.env.insert("CUDA_CACHE_PATH".to_owned(), seen.join("tmp/cuda").to_string_lossy().into_owned());
        spec.env.insert("LD_LIBRARY_PATH".to_owned(), DRIVER_LIBRARIES.to_owned());
    }
    if site.sandbox == Sandbox::Off {
        spec.env.insert("HOME".to_owned(), root.join("tmp").to_string_lossy().into_owned());
    }
    Ok(spec)
}

/// The device files of NVIDIA's driver.
pub fn nvidia_devices() -> Vec<PathBuf> {
    let entries = std::fs::read_dir("/dev").into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> =
        entries.map(|entry| entry.path()).filter(|path| path.to_string_lossy().starts_with("/dev/nvidia")).collect();
    found.sort();
    found
}
