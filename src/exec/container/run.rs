//! One engine in one container.

#![expect(clippy::disallowed_types, reason = "the runtime's client asks for them, and their order matters to none")]

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::Stdio;
use std::time::Duration;

use bollard::Docker;
use bollard::container::LogOutput;
use bollard::errors::Error;
use bollard::models::{
    ContainerCreateBody, EventMessage, HostConfig, Mount, MountType, MountVolumeOptions, ResourcesUlimits,
};
use bollard::query_parameters::{
    AttachContainerOptionsBuilder, CreateContainerOptionsBuilder, DownloadFromContainerOptionsBuilder,
    EventsOptionsBuilder, RemoveContainerOptionsBuilder, UploadToContainerOptionsBuilder,
};
use futures_util::{Stream, StreamExt};
use tokio::io::{AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio::task::JoinHandle;

use super::error::RuntimeError;
use super::files;
use super::reap::{CONTAINER, Owner};
use super::{ANSWER_LIMIT, Runtime, WORKDIR};
use crate::exec::process::log::Log;
use crate::exec::process::redact::Redactor;
use crate::exec::supervisor::guard::DONE;

/// `nobody`, as numbers: an image from scratch has no names.
pub const USER: u64 = 65534;
/// Processes and threads together.
const PIDS: i64 = 2048;
/// How long making and starting a container may take.
const START_LIMIT: Duration = Duration::from_secs(60);
/// How long a container may take to be gone after it was killed.
const GONE_LIMIT: Duration = Duration::from_secs(8);
/// Fetching outputs.
const FETCH_LIMIT: Duration = Duration::from_secs(600);

/// A container to start.
#[derive(Debug, Clone)]
pub struct ContainerSpec {
    /// As [`Runtime::ensure_image`] named it.
    pub image: String,
    /// Processors, the first ones of the runtime's.
    pub cpus: u32,
    /// Bytes; there is no swap beyond them.
    pub memory: u64,
    pub env: Vec<(String, String)>,
    /// Arguments after the image's entrypoint.
    pub args: Vec<String>,
    /// Small files to put below `in`.
    pub files: Vec<(String, Vec<u8>)>,
    pub owner: Owner,
    /// The executable whose hidden subcommand `__sup` removes the container should `pipe` be killed: `pipe`
    /// itself. Without it the container goes when the engine next reads its stdin.
    pub exe: Option<PathBuf>,
    /// Gets the engine's stderr.
    pub log: PathBuf,
}

/// How a container ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContainerEnd {
    /// `None` where the runtime did not tell.
    pub code: Option<i64>,
    /// The system killed a process of it at its memory limit.
    pub out_of_memory: bool,
    pub memory: u64,
}

impl fmt::Display for ContainerEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.out_of_memory, self.code) {
            (true, _) => write!(f, "a kill at its memory limit of {} MiB", self.memory >> 20),
            (false, Some(137)) => f.write_str("exit code 137 (killed)"),
            (false, Some(139)) => f.write_str("exit code 139 (SIGSEGV)"),
            (false, Some(134)) => f.write_str("exit code 134 (SIGABRT)"),
            (false, Some(code)) => write!(f, "exit code {code}"),
            (false, None) => f.write_str("an end that the runtime did not tell of"),
        }
    }
}

/// What the engine says, as it arrives.
type Output = Pin<Box<dyn Stream<Item = Result<LogOutput, Error>> + Send>>;
/// The engine's stdin, as the API has it.
type Input = Pin<Box<dyn AsyncWrite + Send>>;

/// A container that runs. [`Container::stop`] or [`Container::wait`] end it; one that is dropped is removed by
/// its guard, or ends when it notices that its stdin is closed.
pub struct Container {
    runtime: Runtime,
    id: String,
    memory: u64,
    link: Option<(DuplexStream, DuplexStream)>,
    input: JoinHandle<()>,
    output: JoinHandle<()>,
    events: JoinHandle<(Option<i64>, bool)>,
    /// Removes the container when it is dropped, or when we are killed.
    guard: Option<tokio::process::ChildStdin>,
    resting: bool,
}

impl fmt::Debug for Container {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Container").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Runtime {
    /// Starts an engine.
    pub async fn start(&self, spec: &ContainerSpec) -> Result<Container, RuntimeError> {
        let has = self.facts().await?.cpus;
        if spec.cpus == 0 || spec.cpus > has {
            return Err(RuntimeError::TooFewCpus { has, wanted: spec.cpus });
        }
        let log = Log::create(&spec.log, Redactor::default());
        // Watched before it exists, or the end of a short life would be missed.
        let name = spec.owner.name();
        let events = tokio::spawn(watch(self.docker.clone(), name.clone()));
        let guard = match &spec.exe {
            Some(exe) => self.guard(exe, &name)?,
            None => None,
        };
        let started = self.within(START_LIMIT, self.create(spec, &name)).await;
        let id = match started {
            Ok(id) => id,
            Err(error) => {
                events.abort();
                return Err(error);
            }
        };
        let running = self.within(START_LIMIT, self.begin(&id, spec)).await;
        match running {
            Ok((output, input)) => {
                let (from_engine, said) = tokio::io::duplex(1 << 20);
                let (to_engine, heard) = tokio::io::duplex(1 << 16);
                Ok(Container {
                    runtime: self.clone(),
                    id,
                    memory: spec.memory,
                    link: Some((from_engine, to_engine)),
                    input: tokio::spawn(pass_on(heard, input)),
                    output: tokio::spawn(part(output, said, log)),
                    events,
                    guard,
                    resting: false,
                })
            }
            Err(error) => {
                events.abort();
                self.remove(&id).await;
                Err(error)
            }
        }
    }

    async fn create(&self, spec: &ContainerSpec, name: &str) -> Result<String, Error> {
        let options = CreateContainerOptionsBuilder::new().name(name).build();
        let created = self.docker.create_container(Some(options), body(spec, name)).await?;
        Ok(created.id)
    }

    async fn begin(&self, id: &str, spec: &ContainerSpec) -> Result<(Output, Input), Error> {
        let archive = files::incoming(&spec.files)?;
        let there = UploadToContainerOptionsBuilder::new().path(WORKDIR).build();
        self.docker.upload_to_container(id, Some(there), bollard::body_full(archive.into())).await?;
        let streams = AttachContainerOptionsBuilder::new().stream(true).stdin(true).stdout(true).stderr(true).build();
        let attached = self.docker.attach_container(id, Some(streams)).await?;
        self.docker.start_container(id, None).await?;
        Ok((attached.output, attached.input))
    }

    /// Starts the guard of a container to be; only local runtimes have one.
    #[expect(clippy::disallowed_methods, reason = "the guard is no step's process: it watches over `pipe` itself")]
    fn guard(&self, exe: &Path, name: &str) -> Result<Option<tokio::process::ChildStdin>, RuntimeError> {
        let Some(socket) = self.address.strip_prefix("unix://") else {
            return Ok(None);
        };
        let mut guard = tokio::process::Command::new(exe)
            .args(["__sup", "guard", socket, name])
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // A Ctrl-C at the terminal is for `pipe`.
            .process_group(0)
            .spawn()
            .map_err(|source| RuntimeError::Guard { exe: exe.to_owned(), source })?;
        Ok(guard.stdin.take())
    }

    /// Removes a container and its volume, whatever it does; one that is gone already is no error.
    pub(super) async fn remove(&self, id: &str) {
        let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
        let _ = self.within(GONE_LIMIT, self.docker.remove_container(id, Some(options))).await;
    }

    async fn is_gone(&self, id: &str) -> bool {
        match self.docker.inspect_container(id, None).await {
            Err(Error::DockerResponseServerError { status_code, .. }) => status_code == 404,
            Ok(_) | Err(_) => false,
        }
    }
}

fn body(spec: &ContainerSpec, name: &str) -> ContainerCreateBody {
    let memory = i64::try_from(spec.memory).unwrap_or(i64::MAX);
    let volume = Mount {
        target: Some(WORKDIR.into()),
        typ: Some(MountType::VOLUME),
        volume_options: Some(MountVolumeOptions {
            no_copy: Some(true),
            labels: Some(spec.owner.labels(name)),
            ..MountVolumeOptions::default()
        }),
        ..Mount::default()
    };
    let host = HostConfig {
        auto_remove: Some(true),
        network_mode: Some("none".into()),
        readonly_rootfs: Some(true),
        cap_drop: Some(vec!["ALL".into()]),
        security_opt: Some(vec!["no-new-privileges".into()]),
        pids_limit: Some(PIDS),
        memory: Some(memory),
        memory_swap: Some(memory),
        cpuset_cpus: Some(if spec.cpus == 1 { "0".into() } else { format!("0-{}", spec.cpus - 1) }),
        mounts: Some(vec![volume]),
        tmpfs: Some(HashMap::from([("/tmp".into(), "rw,nosuid,nodev,mode=1777".into())])),
        ulimits: Some(vec![ResourcesUlimits { name: Some("core".into()), soft: Some(0), hard: Some(0) }]),
        ..HostConfig::default()
    };
    ContainerCreateBody {
        image: Some(spec.image.clone()),
        user: Some(format!("{USER}:{USER}")),
        working_dir: Some(WORKDIR.into()),
        cmd: (!spec.args.is_empty()).then(|| spec.args.clone()),
        env: Some(spec.env.iter().map(|(name, value)| format!("{name}={value}")).collect()),
        labels: Some(spec.owner.labels(name)),
        attach_stdin: Some(true),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        open_stdin: Some(true),
        // The engine's stdin ends when we go, however we go.
        stdin_once: Some(true),
        tty: Some(false),
        network_disabled: Some(true),
        host_config: Some(host),
        ..ContainerCreateBody::default()
    }
}

/// Passes on what the engine is asked. Its stdin is closed when our end is: dropping the API's stream would
/// not do it while the other direction is open.
async fn pass_on(mut heard: DuplexStream, mut input: Input) {
    // An engine that is gone shows by what it says no more.
    let _ = tokio::io::copy(&mut heard, &mut input).await;
    let _ = input.shutdown().await;
}

/// Parts the engine's stdout from its stderr until both end.
async fn part(mut output: Output, mut to_us: DuplexStream, log: Log) {
    let (mut to_log, from_engine) = tokio::io::duplex(1 << 16);
    let logging = tokio::spawn(log.fill(from_engine));
    while let Some(Ok(piece)) = output.next().await {
        // Who does not listen any more misses nothing.
        let _ = match piece {
            LogOutput::StdOut { message } => to_us.write_all(&message).await,
            LogOutput::StdErr { message } => to_log.write_all(&message).await,
            LogOutput::StdIn { .. } | LogOutput::Console { .. } => Ok(()),
        };
    }
    drop((to_us, to_log));
    let _ = logging.await;
}

/// Follows the runtime's events about one container until it dies: its exit code, and whether memory ran out.
async fn watch(docker: Docker, name: String) -> (Option<i64>, bool) {
    let filters: HashMap<&str, Vec<String>> = HashMap::from([
        ("type", vec!["container".to_owned()]),
        ("event", vec!["oom".to_owned(), "die".to_owned()]),
        ("label", vec![format!("{CONTAINER}={name}")]),
    ]);
    let options = EventsOptionsBuilder::new().filters(&filters).build();
    let mut events = std::pin::pin!(docker.events(Some(options)));
    let mut out_of_memory = false;
    while let Some(Ok(event)) = events.next().await {
        match event.action.as_deref() {
            Some("oom") => out_of_memory = true,
            Some("die" | "died") => return (exit_code(&event), out_of_memory),
            _ => {}
        }
    }
    (None, out_of_memory)
}

fn exit_code(event: &EventMessage) -> Option<i64> {
    event.actor.as_ref()?.attributes.as_ref()?.get("exitCode")?.parse().ok()
}

impl Container {
    /// The runtime's name for it.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The two ends to talk on, once.
    pub fn take_link(&mut self) -> Option<(DuplexStream, DuplexStream)> {
        self.link.take()
    }

    /// Pauses all of its processes, or lets them go on; false where they only wait. A container without a guard is never
    /// paused: it could not notice that its stdin is closed, and would outlive us.
    pub async fn rest(&mut self, rest: bool) -> bool {
        if self.guard.is_none() || rest == self.resting {
            return self.resting;
        }
        let docker = &self.runtime.docker;
        let done = match rest {
            true => self.runtime.within(ANSWER_LIMIT, docker.pause_container(&self.id)).await,
            false => self.runtime.within(ANSWER_LIMIT, docker.unpause_container(&self.id)).await,
        };
        if done.is_ok() {
            self.resting = rest;
        }
        self.resting
    }

    /// Copies what the engine wrote to `FOLDER` below its working folder into `here`, which exists. The engine must still run.
    pub async fn fetch(&self, folder: &str, here: &Path) -> Result<(), RuntimeError> {
        let options = DownloadFromContainerOptionsBuilder::new().path(&format!("{WORKDIR}/{folder}")).build();
        let fetching = async {
            let mut pieces = std::pin::pin!(self.runtime.docker.download_from_container(&self.id, Some(options)));
            let mut arriving =
                files::Arriving::new().map_err(|source| RuntimeError::File { path: here.to_owned(), source })?;
            while let Some(piece) = pieces.next().await {
                arriving.take(&piece.map_err(|error| RuntimeError::from_api(&self.runtime.address, error))?)?;
            }
            arriving.unpack(here)
        };
        match tokio::time::timeout(FETCH_LIMIT, fetching).await {
            Ok(fetched) => fetched,
            Err(_) => Err(RuntimeError::NoAnswer { address: self.runtime.address.clone(), after: FETCH_LIMIT }),
        }
    }

    /// Waits for an engine that was told to finish; one that does not end in time is killed.
    pub async fn wait(mut self, limit: Duration) -> ContainerEnd {
        self.link = None;
        let ended = tokio::time::timeout(limit, &mut self.output).await;
        if ended.is_err() {
            return self.stop().await;
        }
        self.gone().await
    }

    /// Kills it, and waits until it is gone.
    pub async fn stop(mut self) -> ContainerEnd {
        self.link = None;
        // Not every runtime kills what is paused.
        self.rest(false).await;
        let killing = self.runtime.docker.kill_container(&self.id, None);
        let _ = self.runtime.within(ANSWER_LIMIT, killing).await;
        self.gone().await
    }

    async fn gone(&mut self) -> ContainerEnd {
        let told = tokio::time::timeout(ANSWER_LIMIT, &mut self.events).await;
        let (code, out_of_memory) = match told {
            Ok(Ok(told)) => told,
            Ok(Err(_)) | Err(_) => (None, false),
        };
        let waiting = async {
            while !self.runtime.is_gone(&self.id).await {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        // The runtime removes it by itself; a runtime that fails to is helped.
        if tokio::time::timeout(GONE_LIMIT / 2, waiting).await.is_err() {
            self.runtime.remove(&self.id).await;
        }
        if !self.output.is_finished() {
            // The log is complete once this ends.
            let _ = tokio::time::timeout(ANSWER_LIMIT, &mut self.output).await;
        }
        if let Some(mut guard) = self.guard.take() {
            // A guard that does not hear it asks for the removal of what is gone.
            let _ = guard.write_all(&[DONE]).await;
        }
        ContainerEnd { code, out_of_memory, memory: self.memory }
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        self.events.abort();
        self.input.abort();
        self.output.abort();
    }
}
