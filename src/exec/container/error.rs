//! What can be wrong with a runtime, and what to do about it.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::exec::image::ImageError;

/// Why a runtime could not be used.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// There is no socket.
    #[error("no container runtime: none of {} exists", list(.looked_at))]
    NotInstalled { looked_at: Vec<String> },
    /// There is a socket, and nobody listens.
    #[error("the container runtime at `{address}` is not running")]
    NotRunning { address: String },
    /// The socket is another user's.
    #[error("this user may not use the container runtime at `{address}`")]
    Denied { address: String },
    /// It listens, and says nothing.
    #[error("the container runtime at `{address}` gave no answer within {} s", .after.as_secs())]
    NoAnswer { address: String, after: Duration },
    /// An address of a kind that is not supported.
    #[error("the container runtime's address `{address}` is of no supported kind (`unix://`, or `tcp://` without TLS)")]
    Unsupported { address: String },
    /// The configuration names a context that is not there.
    #[error("the Docker context `{name}` can't be read: {reason}")]
    Context { name: String, reason: String },
    /// It answered with an error.
    #[error("the container runtime at `{address}` refused: {message}")]
    Refused { address: String, message: String },
    /// It has fewer processors than asked for.
    #[error("the container runtime has {has} processors, and {wanted} were asked for")]
    TooFewCpus { has: u32, wanted: u32 },
    /// The image was loaded and is not there.
    #[error("the image `{image}` was loaded, and the runtime does not have it: {heard}")]
    NotLoaded { image: String, heard: String },
    /// The image could not be made ready.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// What came out of the container is not what an engine writes.
    #[error("the container's output can't be taken: {reason}")]
    Output { reason: String },
    /// The process that would remove the container could not be started.
    #[error("`{exe}` could not be started to guard the container: {source}")]
    Guard { exe: PathBuf, source: io::Error },
    /// A file of this host failed.
    #[error("`{path}` could not be written: {source}")]
    File { path: PathBuf, source: io::Error },
}

fn list(places: &[String]) -> String {
    let quoted: Vec<String> = places.iter().map(|place| format!("`{place}`")).collect();
    quoted.join(", ")
}

impl RuntimeError {
    /// What to do about it.
    pub fn help(&self) -> Option<&'static str> {
        match self {
            RuntimeError::NotInstalled { .. } => {
                Some("install Docker or Podman, or set `DOCKER_HOST` to the socket of one")
            }
            RuntimeError::NotRunning { .. } => {
                Some("start it: `systemctl start docker`, or Docker Desktop, Colima or OrbStack on a Mac")
            }
            RuntimeError::Denied { .. } => {
                Some("add yourself to its group (`usermod -aG docker USER`, then log in again), or use rootless Podman")
            }
            RuntimeError::NoAnswer { .. } => Some("look at its log (`journalctl -u docker`), or restart it"),
            RuntimeError::Unsupported { .. } => Some("point `DOCKER_HOST` to a local socket"),
            RuntimeError::Context { .. } => Some("choose another with `docker context use`, or set `DOCKER_HOST`"),
            RuntimeError::TooFewCpus { .. } => Some("ask for fewer, or give its virtual machine more"),
            RuntimeError::Refused { .. }
            | RuntimeError::NotLoaded { .. }
            | RuntimeError::Image(_)
            | RuntimeError::Output { .. }
            | RuntimeError::Guard { .. }
            | RuntimeError::File { .. } => None,
        }
    }

    /// True where no runtime can be used here at all, so that its cells are unavailable and not failed.
    pub fn is_unavailable(&self) -> bool {
        !matches!(
            self,
            RuntimeError::Refused { .. }
                | RuntimeError::NotLoaded { .. }
                | RuntimeError::Image(_)
                | RuntimeError::Output { .. }
                | RuntimeError::Guard { .. }
                | RuntimeError::File { .. }
        )
    }

    /// Reads an error of the API.
    pub(super) fn from_api(address: &str, error: bollard::errors::Error) -> RuntimeError {
        use bollard::errors::Error;
        let address = address.to_owned();
        match error {
            Error::DockerResponseServerError { message, .. } => RuntimeError::Refused { address, message },
            Error::DockerStreamError { error } => RuntimeError::Refused { address, message: error },
            Error::RequestTimeoutError => RuntimeError::NoAnswer { address, after: Duration::from_secs(120) },
            other => match kind_of(&other) {
                Some(io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
                    RuntimeError::NotRunning { address }
                }
                Some(io::ErrorKind::PermissionDenied) => RuntimeError::Denied { address },
                _ => RuntimeError::Refused { address, message: chain(&other) },
            },
        }
    }
}

/// The system's error at the bottom of a chain.
fn kind_of(error: &(dyn std::error::Error + 'static)) -> Option<io::ErrorKind> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<io::Error>() {
            return Some(found.kind());
        }
        next = error.source();
    }
    None
}

/// All that a chain of errors says; the outermost often says nothing.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        text.push_str(": ");
        text.push_str(&error.to_string());
        next = error.source();
    }
    text
}
