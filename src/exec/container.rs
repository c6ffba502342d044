//! Engines in containers, through the API of Docker or Podman.
//!
//! What a container gets: an image by digest, standard streams, some processors, some memory, and a volume at
//! `/work` with `in` and `out`. What it does not get: a network, capabilities, new privileges, a writable
//! root, a user that is anyone outside, swap. Nothing of this host is mounted into it, since the runtime may
//! run on another machine: files go in and out through the archive API.
//!
//! The runtime removes a container and its volume when it ends; it ends when its stdin does, so also when
//! `pipe` is killed. What is left after worse accidents is found by its labels ([`Runtime::reap`]).
//!
//! The image's making is [`super::image`]'s business, and the talk with the engine [`super::engine`]'s.

mod connect;
mod error;
mod files;
mod load;
mod reap;
mod run;

use std::time::Duration;

use bollard::Docker;

pub use self::connect::Hints;
pub use self::error::RuntimeError;
pub use self::reap::{Owner, Reaped};
pub use self::run::{Container, ContainerEnd, ContainerSpec};

use crate::host;

/// How long a runtime may take to answer a plain question.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// The folder of a container in which it works: `in` holds what was sent, `out` gets what is fetched.
pub const WORKDIR: &str = "/work";

/// A connection to a container runtime.
#[derive(Debug, Clone)]
pub struct Runtime {
    docker: Docker,
    /// Where it was found: `unix:///var/run/docker.sock`.
    address: String,
}

impl Runtime {
    /// Connects to the runtime that the hints lead to, and sees that it answers.
    pub async fn connect(hints: &Hints) -> Result<Runtime, RuntimeError> {
        let address = connect::find(hints)?;
        let docker = connect::open(&address).await?;
        let runtime = Runtime { docker, address };
        runtime.within(ANSWER_LIMIT, runtime.docker.ping()).await?;
        Ok(runtime)
    }

    /// Where the runtime was found.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// What the runtime is.
    pub async fn facts(&self) -> Result<host::Runtime, RuntimeError> {
        let version = self.within(ANSWER_LIMIT, self.docker.version()).await?;
        let info = self.within(ANSWER_LIMIT, self.docker.info()).await?;
        let podman = version.components.iter().flatten().any(|part| part.name.contains("Podman"));
        let numbers: Vec<&str> = version.version.as_deref().unwrap_or_default().split('.').take(2).collect();
        let memory = u64::try_from(info.mem_total.unwrap_or(0)).unwrap_or(0);
        Ok(host::Runtime {
            name: if podman { "podman" } else { "docker" }.into(),
            version: numbers.join("."),
            platform: format!(
                "{}/{}",
                info.os_type.as_deref().unwrap_or("linux"),
                architecture(info.architecture.as_deref().unwrap_or_default())
            ),
            cgroup_version: info.cgroup_version.map(|version| version.to_string()).unwrap_or_default(),
            cpus: u32::try_from(info.ncpu.unwrap_or(0)).unwrap_or(0),
            memory_gib: (memory + (1 << 29)) >> 30,
        })
    }

    /// Waits for an answer, and says which runtime did not give it.
    async fn within<T>(
        &self,
        limit: Duration,
        asking: impl Future<Output = Result<T, bollard::errors::Error>>,
    ) -> Result<T, RuntimeError> {
        match tokio::time::timeout(limit, asking).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(RuntimeError::from_api(&self.address, error)),
            Err(_) => Err(RuntimeError::NoAnswer { address: self.address.clone(), after: limit }),
        }
    }
}

/// Podman tells Go's names, Docker the kernel's.
fn architecture(name: &str) -> &str {
    match name {
        "amd64" => "x86_64",
        "arm64" => "aarch64",
        other => other,
    }
}
