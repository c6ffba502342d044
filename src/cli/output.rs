//! Printing: a reader that went away is a quiet end, never a panic.

use std::io::{IsTerminal, Write};

use clap::ValueEnum;

use super::{When, env};

/// Which stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum To {
    Out,
    Err,
}

/// `--format`, where there is one for people and one for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Text,
    Json,
}

/// Writes text as it is. A closed pipe is no error: whoever read has seen enough.
pub fn out(to: To, text: &str) {
    let _ = match to {
        To::Out => std::io::stdout().lock().write_all(text.as_bytes()),
        To::Err => std::io::stderr().lock().write_all(text.as_bytes()),
    };
}

/// Writes text to standard output, with a line end where it has none.
pub fn print(text: &str) {
    out(To::Out, text);
    if !text.ends_with('\n') {
        out(To::Out, "\n");
    }
}

/// Writes a line to standard error.
pub fn note(text: &str) {
    match text.ends_with('\n') {
        true => out(To::Err, text),
        // The stream keeps nothing back: a line in one piece is one call, and never has another's in its middle.
        false => out(To::Err, &format!("{text}\n")),
    }
}

/// True where colours are wanted on a stream.
pub fn colour(when: When, to: To) -> bool {
    match when {
        When::Always => true,
        When::Never => false,
        When::Auto => terminal(to) && env::variable("NO_COLOR").is_none(),
    }
}

/// True where a stream is a terminal that a person looks at.
pub fn terminal(to: To) -> bool {
    let dumb = env::variable("TERM").is_some_and(|term| term == "dumb");
    !dumb
        && match to {
            To::Out => std::io::stdout().is_terminal(),
            To::Err => std::io::stderr().is_terminal(),
        }
}

/// Columns of the terminal, or 100 where there is none.
pub fn width() -> usize {
    rustix::termios::tcgetwinsize(std::io::stderr())
        .ok()
        .map(|size| usize::from(size.ws_col))
        .filter(|columns| *columns >= 40)
        .unwrap_or(100)
}
