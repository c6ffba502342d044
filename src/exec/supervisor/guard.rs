//! The process that removes a container when `pipe` is gone: `pipe __sup guard SOCKET CONTAINER`.
//!
//! An engine that computes does not look at its stdin for minutes, so its container would outlive a killed
//! `pipe`. The guard waits until its own stdin ends, which happens however `pipe` ends, and sends the one
//! request that removes the container. One that is gone already is no error, so nobody tells the guard how
//! things went. It is small on purpose: it knows one request of the API, and local sockets alone.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// How long the runtime may take to remove it.
const LIMIT: Duration = Duration::from_secs(30);

/// Waits for the end of stdin, then removes.
pub fn main(mut args: impl Iterator<Item = OsString>) -> io::Result<()> {
    let (Some(socket), Some(container)) = (args.next(), args.next()) else {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "a guard needs a socket and a container",
        ));
    };
    let mut stdin = io::stdin().lock();
    let mut byte = [0];
    // Nothing is ever written to it, so whatever comes back is its end.
    while matches!(stdin.read(&mut byte), Ok(1)) {}
    remove(Path::new(&socket), &container.to_string_lossy())
}

fn remove(socket: &Path, container: &str) -> io::Result<()> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(LIMIT))?;
    let request = format!(
        "DELETE /containers/{container}?force=1&v=1 HTTP/1.1\r\nHost: pipe\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes())?;
    // The runtime answers once the container is gone.
    stream.read_to_end(&mut Vec::new())?;
    Ok(())
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
            BufReader::new(stream.try_clone().unwrap())
                .read_line(&mut line)
                .unwrap();
            stream.write_all(b"HTTP/1.1 404 Not Found\r\n\r\n").unwrap();
            line
        });
        remove(&socket, "abc").unwrap();
        assert_eq!(
            runtime.join().unwrap(),
            "DELETE /containers/abc?force=1&v=1 HTTP/1.1\r\n"
        );
    }
}
