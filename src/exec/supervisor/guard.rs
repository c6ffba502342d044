//! The process that removes a container when `pipe` is gone: `pipe __sup guard SOCKET CONTAINER`.
//!
//! An engine that computes does not look at its stdin for minutes, so its container would outlive a killed
//! `pipe`, and one that was made and not started yet would stay for ever. The guard is there before the
//! container is, and waits until its own stdin ends, which happens however `pipe` ends. Unless it was told
//! that all went well, it then asks the runtime to remove the container, for a while: the request that makes
//! it may still be under way. It is small on purpose: it knows one request of the API, and local sockets alone.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// What `pipe` says when the container is gone as it should be.
pub const DONE: u8 = b'd';
/// How long the runtime may take for one answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);
/// How long a container that is not there may still appear.
const APPEAR_LIMIT: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(200);

/// Waits for the end of stdin, then removes.
pub fn main(mut args: impl Iterator<Item = OsString>) -> io::Result<()> {
    let (Some(socket), Some(container)) = (args.next(), args.next()) else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a guard needs a socket and a container"));
    };
    let mut said = Vec::new();
    // A stdin that can't be read says as much as one that has ended.
    let _ = io::stdin().lock().read_to_end(&mut said);
    if said.contains(&DONE) {
        return Ok(());
    }
    let give_up = Instant::now() + APPEAR_LIMIT;
    loop {
        let removed = remove(Path::new(&socket), &container.to_string_lossy());
        match removed {
            Ok(true) => return Ok(()),
            Ok(false) if Instant::now() < give_up => std::thread::sleep(PAUSE),
            Ok(false) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

/// Asks for the removal once; false where there was nothing to remove.
fn remove(socket: &Path, container: &str) -> io::Result<bool> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(ANSWER_LIMIT))?;
    let request =
        format!("DELETE /containers/{container}?force=1&v=1 HTTP/1.1\r\nHost: pipe\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    // The runtime answers once the container is gone.
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(answer.starts_with(b"HTTP/1.1 2"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};
    use std::os::unix::net::UnixListener;

    #[test]
    fn the_request_is_the_one_that_removes() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("socket");
        let listener = UnixListener::bind(&socket).unwrap();
        let runtime = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut line = String::new();
            BufReader::new(stream.try_clone().unwrap()).read_line(&mut line).unwrap();
            stream.write_all(b"HTTP/1.1 404 Not Found\r\n\r\n").unwrap();
            line
        });
        assert!(!remove(&socket, "abc").unwrap());
        assert_eq!(runtime.join().unwrap(), "DELETE /containers/abc?force=1&v=1 HTTP/1.1\r\n");
    }
}
