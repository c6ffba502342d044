//! What a user sees of a mistake of ours: one message and a documented exit code, and no trace of Rust.
//!
//! A panic ends the process, on whichever thread it comes: the others may wait for ever for the one that is gone, and a
//! store survives a kill at any moment. Supervisors and containers end with the process that they belong to. The editor's
//! server is apart: it answers a request that failed, and goes on.

use std::panic::PanicHookInfo;

use super::{exit, output};

/// From here on, a panic is told in our words and ends the process.
pub fn install() {
    std::panic::set_hook(Box::new(|info| {
        output::note(&message(info));
        #[expect(clippy::disallowed_methods, reason = "there is nobody to return an exit code to")]
        std::process::exit(exit::FAULT.into());
    }));
}

fn message(info: &PanicHookInfo) -> String {
    let what = info.payload_as_str().unwrap_or("no more is known").trim_end();
    let place = info.location().map(|at| format!(" (`{}`, line {})", short(at.file()), at.line())).unwrap_or_default();
    format!(
        "\n✗ pipe can't go on: {what}{place}\n  What was done is kept, and the same command goes on from there. If it says this again \
         although the system lacks nothing (memory, open files, processes), that is a mistake in pipe: please report it"
    )
}

/// The end of a source file's path: the rest is where it was on the machine that built this.
fn short(file: &str) -> String {
    let parts: Vec<&str> = file.split('/').collect();
    parts[parts.len().saturating_sub(4)..].join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_told_without_the_folders_of_who_built_it() {
        let file = "/home/somebody/registry/src/index-1949cf8c6b5b557f/tokio-1.54.1/src/signal/unix.rs";
        assert_eq!(short(file), "tokio-1.54.1/src/signal/unix.rs");
        assert_eq!(short("src/lib.rs"), "src/lib.rs");
    }
}
