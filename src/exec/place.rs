//! Where an engine runs: natively in the sandbox, or in a container. Both see the same folders by the same names.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use pipe_cache::Entry;
use pipe_engine::message::{Device, Sample};

use super::engine::{self, Drive, Driven};
use super::measuring::store_outputs;
use super::outcome::Failure;
use super::process::{self, Mount, ProcessSpec, Status};
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

/// What an engine's run gave.
pub struct Ran {
    pub result: Result<Driven, Box<engine::Failure>>,
    pub outputs: Option<Entry>,
    pub log: Option<Entry>,
}

/// Starts the engine where the cell says, and drives it to its end.
pub async fn run(
    job: &Job<'_>,
    asked: &Measure,
    drive: impl Fn(Instant) -> Drive,
    enough: impl Fn(&[Sample]) -> engine::Enough,
    progress: impl FnMut(engine::Progress),
) -> Result<Ran, Unmade> {
    match &asked.place {
        Place::Native => native(job, asked, drive, enough, progress).await,
        Place::Container { image, cpus, memory } => {
            let container =
                contained::Asked { image: job.entry(&image.value)?, cpus: cpus.value, memory: memory.value };
            contained::run(job, asked, container, drive, enough, progress).await
        }
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

async fn native(
    job: &Job<'_>,
    asked: &Measure,
    drive: impl Fn(Instant) -> Drive,
    enough: impl Fn(&[Sample]) -> engine::Enough,
    progress: impl FnMut(engine::Progress),
) -> Result<Ran, Unmade> {
    let site = job.site;
    let workdir = site.store.workdir()?;
    let root = workdir.path().to_owned();
    let log = root.with_extension("log");
    let spec = spec(job, asked, &root, &log)?;
    let started = Instant::now();
    let mut engine = process::start_engine(&world::launcher(site), spec, job.cancel.clone()).await?;
    let Some((from, to)) = engine.take_link() else {
        return Err(Unmade::Failed(Failure {
            message: "the engine's pipes are gone".to_owned(),
            ..Failure::default()
        }));
    };
    let plan = drive(started);
    let driven = tokio::select! {
        driven = engine::drive(from, to, &plan, enough, async |_: &_| Ok(()), progress) => Some(driven),
        () = job.cancel.cancelled() => None,
    };
    let Some(driven) = driven else {
        engine.stop().await?;
        return Err(Unmade::Cancelled);
    };
    let (result, outputs) = match driven {
        Ok(driven) => {
            let exit = engine.wait().await?;
            if exit.status != Status::Code(0) {
                let message = format!("the engine measured, and then ended with {}", exit.status);
                return Err(Unmade::Failed(Failure { message, tail: tail(&log, TAIL), ..Failure::default() }));
            }
            (Ok(driven), Some(store_outputs(job, root.join("out")).await?))
        }
        Err(mut failure) => {
            let exit = match failure.fault.is_ended() {
                true => engine.settle(MOMENT).await?,
                false => engine.stop().await?,
            };
            failure.fault = failure.fault.with_end(exit.status, tail(&log, TAIL));
            (Err(failure), None)
        }
    };
    let log = site.store.put_file(&log, false).ok();
    Ok(Ran { result, outputs, log })
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
