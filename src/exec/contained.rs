//! An engine in a container: the image into the runtime, the data in.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use pipe_cache::{Digest, Entry};

use super::container::{Container, ContainerSpec, Hints, Owner, Runtime, RuntimeError};
use super::image::Image;
use super::outcome::{Failure, Lack};
use super::place::{data_place, env};
use super::work::{Job, Unmade};
use crate::host;
use crate::pipeline::Measure;

/// Where the image holds the model.
pub const MODEL: &str = "/model";

/// What a container cell asks for.
pub struct Asked {
    pub image: Entry,
    pub cpus: u32,
    pub memory: u64,
}

impl From<RuntimeError> for Unmade {
    fn from(error: RuntimeError) -> Unmade {
        let help = error.help().map(str::to_owned);
        Unmade::Failed(Failure { message: error.to_string(), help, ..Failure::default() })
    }
}

/// What the caller's environment says of a runtime.
pub fn hints(env: &BTreeMap<String, String>) -> Hints {
    let path = |name: &str| env.get(name).map(PathBuf::from);
    Hints {
        docker_host: env.get("DOCKER_HOST").cloned(),
        docker_context: env.get("DOCKER_CONTEXT").cloned(),
        docker_config: path("DOCKER_CONFIG"),
        home: path("HOME"),
        runtime_dir: path("XDG_RUNTIME_DIR"),
    }
}

/// Asks the runtime what it is. It blocks, on a thread of its own, since both the dry half of a run and its
/// loop ask.
pub fn ask(hints: &Hints) -> Result<host::Runtime, Lack> {
    let hints = hints.clone();
    let asked = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.map_err(|error| Lack::final_(format!("the container runtime can't be asked: {error}"))).and_then(
            |runtime| {
                let facts = runtime.block_on(async { Runtime::connect(&hints).await?.facts().await });
                facts.map_err(|error| Lack { reason: error.to_string(), remedy: error.help().map(str::to_owned) })
            },
        )
    });
    asked.join().unwrap_or_else(|_| Err(Lack::final_("asking the container runtime was broken off")))
}

/// Starts the engine in a container; gives back when that was, too.
pub async fn start(
    job: &Job<'_>,
    asked: &Measure,
    container: Asked,
    log: &Path,
) -> Result<(Container, Instant), Unmade> {
    let site = job.site;
    let runtime = Runtime::connect(&hints(&site.env)).await?;
    // What a killed run left behind would disturb this measurement.
    runtime.reap().await?;
    let image = Image::read(&site.store, &container.image)
        .map_err(|error| Unmade::Failed(Failure { message: error.to_string(), ..Failure::default() }))?;
    job.say("loading the image");
    let name = runtime.ensure_image(&image, Arc::clone(&site.store)).await?;
    let spec = ContainerSpec {
        image: name,
        cpus: container.cpus,
        memory: container.memory,
        env: env(asked.threads.value).into_iter().collect(),
        args: vec![format!("/{}", asked.program.value)],
        files: data(job, asked)?,
        owner: Owner::current(job.key.short()),
        exe: Some(site.exe.clone()),
        log: log.to_owned(),
    };
    let started = Instant::now();
    Ok((runtime.start(&spec).await?, started))
}

/// What the workload reads, as the files that are put below the container's `in`.
fn data(job: &Job<'_>, asked: &Measure) -> Result<Vec<(String, Vec<u8>)>, Unmade> {
    let place = data_place(&asked.workload).trim_start_matches("in/");
    let store = &job.site.store;
    let mut found = Vec::new();
    store.walk(&job.entry(&asked.workload.data().value)?, |path, entry| {
        if let Entry::File { .. } = entry {
            let name = if path.is_empty() { place.to_owned() } else { format!("{place}/{path}") };
            found.push((name, entry.digest()));
        }
    })?;
    let read = |(name, digest): (String, Option<Digest>)| {
        let bytes = digest.map(|digest| store.read(&digest)).transpose()?.flatten();
        let gone = || Failure { message: format!("`{name}` is gone from the store"), ..Failure::default() };
        bytes.ok_or_else(gone).map_err(Unmade::Failed).map(|bytes| (name.clone(), bytes))
    };
    found.into_iter().map(read).collect()
}
