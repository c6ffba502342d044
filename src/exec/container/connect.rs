//! Where the container runtime is. The environment is read by the caller.

use std::path::{Path, PathBuf};

use bollard::{API_DEFAULT_VERSION, Docker};
use sha2::Digest;

use super::ANSWER_LIMIT;
use super::error::RuntimeError;

/// How long an answer may take that is no plain question, in seconds: loading gigabytes is one.
const SLOW_ANSWER: u64 = 1800;

/// What the caller's environment says of a runtime.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hints {
    /// `DOCKER_HOST`.
    pub docker_host: Option<String>,
    /// `DOCKER_CONTEXT`.
    pub docker_context: Option<String>,
    /// `DOCKER_CONFIG`, or `.docker` in the home folder.
    pub docker_config: Option<PathBuf>,
    /// The home folder, where Docker Desktop has its socket.
    pub home: Option<PathBuf>,
    /// `XDG_RUNTIME_DIR`, where rootless runtimes have theirs.
    pub runtime_dir: Option<PathBuf>,
}

/// The address: what was asked for, else the context's, else the first socket that exists.
pub fn find(hints: &Hints) -> Result<String, RuntimeError> {
    if let Some(host) = hints.docker_host.as_ref().filter(|host| !host.is_empty()) {
        return Ok(host.clone());
    }
    if let Some(address) = context(hints)? {
        return Ok(address);
    }
    let places = sockets(hints);
    match places.iter().find(|place| place.exists()) {
        Some(found) => Ok(format!("unix://{}", found.display())),
        None => Err(RuntimeError::NotInstalled { looked_at: places.iter().map(|p| p.display().to_string()).collect() }),
    }
}

fn sockets(hints: &Hints) -> Vec<PathBuf> {
    let mut places = vec![PathBuf::from("/var/run/docker.sock")];
    places.extend(hints.home.iter().map(|home| home.join(".docker/run/docker.sock")));
    places.extend(hints.runtime_dir.iter().flat_map(|dir| [dir.join("docker.sock"), dir.join("podman/podman.sock")]));
    places.push("/run/podman/podman.sock".into());
    places
}

/// The address of the chosen Docker context; `None` where it is the default one.
fn context(hints: &Hints) -> Result<Option<String>, RuntimeError> {
    let Some(folder) = &hints.docker_config else {
        return Ok(None);
    };
    let chosen = hints.docker_context.clone().or_else(|| current_context(folder));
    let Some(name) = chosen.filter(|name| !name.is_empty() && name != "default") else {
        return Ok(None);
    };
    let broken = |reason: String| RuntimeError::Context { name: name.clone(), reason };
    let path = folder.join("contexts/meta").join(hex(&sha2::Sha256::digest(name.as_bytes()))).join("meta.json");
    let bytes = std::fs::read(&path).map_err(|error| broken(format!("`{}`: {error}", path.display())))?;
    let meta: serde_json::Value = serde_json::from_slice(&bytes).map_err(|error| broken(error.to_string()))?;
    match meta["Endpoints"]["docker"]["Host"].as_str() {
        Some(host) => Ok(Some(host.to_owned())),
        None => Err(broken("it names no host".into())),
    }
}

/// An unreadable configuration is none: Docker's own client says what is wrong with it.
fn current_context(folder: &Path) -> Option<String> {
    let config: serde_json::Value = serde_json::from_slice(&std::fs::read(folder.join("config.json")).ok()?).ok()?;
    Some(config["currentContext"].as_str()?.to_owned())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Connects; a socket is first tried by itself, since its errors say more than the client's.
pub async fn open(address: &str) -> Result<Docker, RuntimeError> {
    if let Some(path) = address.strip_prefix("unix://") {
        try_socket(address, path).await?;
        return Docker::connect_with_unix(path, SLOW_ANSWER, API_DEFAULT_VERSION)
            .map_err(|error| RuntimeError::from_api(address, error));
    }
    if address.starts_with("tcp://") || address.starts_with("http://") {
        return Docker::connect_with_http(address, SLOW_ANSWER, API_DEFAULT_VERSION)
            .map_err(|error| RuntimeError::from_api(address, error));
    }
    Err(RuntimeError::Unsupported { address: address.to_owned() })
}

async fn try_socket(address: &str, path: &str) -> Result<(), RuntimeError> {
    use std::io::ErrorKind;
    let address = address.to_owned();
    match tokio::time::timeout(ANSWER_LIMIT, tokio::net::UnixStream::connect(path)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(match error.kind() {
            ErrorKind::NotFound => RuntimeError::NotInstalled { looked_at: vec![address] },
            ErrorKind::PermissionDenied => RuntimeError::Denied { address },
            ErrorKind::ConnectionRefused => RuntimeError::NotRunning { address },
            _ => RuntimeError::Refused { address, message: error.to_string() },
        }),
        Err(_) => Err(RuntimeError::NoAnswer { address, after: ANSWER_LIMIT }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_wins_over_the_context_and_the_context_over_the_default() {
        let folder = tempfile::tempdir().unwrap();
        let meta = folder.path().join("contexts/meta").join(hex(&sha2::Sha256::digest(b"colima")));
        std::fs::create_dir_all(&meta).unwrap();
        std::fs::write(meta.join("meta.json"), r#"{"Endpoints":{"docker":{"Host":"unix:///colima.sock"}}}"#).unwrap();
        std::fs::write(folder.path().join("config.json"), r#"{"currentContext":"colima"}"#).unwrap();
        let mut hints = Hints { docker_config: Some(folder.path().to_owned()), ..Hints::default() };
        assert_eq!(find(&hints).unwrap(), "unix:///colima.sock");
        hints.docker_context = Some("nothing".into());
        assert!(matches!(find(&hints), Err(RuntimeError::Context { .. })));
        hints.docker_host = Some("unix:///mine.sock".into());
        assert_eq!(find(&hints).unwrap(), "unix:///mine.sock");
    }

    #[tokio::test]
    async fn sockets_tell_why_they_cannot_be_used() {
        let folder = tempfile::tempdir().unwrap();
        let none = format!("unix://{}", folder.path().join("none.sock").display());
        assert!(matches!(open(&none).await, Err(RuntimeError::NotInstalled { .. })));
        let dead = folder.path().join("dead.sock");
        drop(std::os::unix::net::UnixListener::bind(&dead).unwrap());
        let error = open(&format!("unix://{}", dead.display())).await.unwrap_err();
        assert!(matches!(error, RuntimeError::NotRunning { .. }), "{error}");
        assert!(error.help().is_some() && error.is_unavailable());
        assert!(matches!(open("ssh://far").await, Err(RuntimeError::Unsupported { .. })));
    }

    #[tokio::test]
    async fn a_runtime_that_hangs_is_given_up() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("hung.sock");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let hints = Hints { docker_host: Some(format!("unix://{}", socket.display())), ..Hints::default() };
        let begun = std::time::Instant::now();
        let error = super::super::Runtime::connect(&hints).await.unwrap_err();
        assert!(matches!(error, RuntimeError::NoAnswer { .. }), "{error}");
        assert!(begun.elapsed() < ANSWER_LIMIT * 2);
    }
}
