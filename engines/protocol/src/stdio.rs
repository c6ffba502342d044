//! Keeps the protocol's descriptor apart from standard output.

use std::fs::File;
use std::io;

use rustix::io::fcntl_dupfd_cloexec;
use rustix::stdio::{dup2_stdout, stderr, stdout};

/// Moves standard output to a descriptor of our own and points descriptor 1 at standard error.
pub fn claim() -> io::Result<File> {
    let own = fcntl_dupfd_cloexec(stdout(), 3)?;
    dup2_stdout(stderr())?;
    Ok(File::from(own))
}
