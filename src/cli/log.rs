//! `pipe log`: what a step printed when it ran, from the store.

use clap::Args;
use pipe_cache::Entry;

use super::history::{self, Named};
use super::output::{To, note, out, terminal};
use super::{Global, exit, load};
use crate::exec::process::log::escaped;

/// The flags of `pipe log`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// A key by its first digits, or a step by its name: the newest of it
    name: String,
}

/// Prints a log as it was kept.
pub fn main(global: &Global, arguments: &Arguments) -> u8 {
    log(global, arguments).unwrap_or_else(|code| code)
}

fn log(global: &Global, arguments: &Arguments) -> Result<u8, u8> {
    let store = load::store(global)?;
    let key = match history::named(&store, &arguments.name)? {
        Named::Key(key) => key,
        Named::Run(run) => {
            note(&format!("pipe: `{}` is a run of many steps; name one of them:", arguments.name));
            run.record.steps.keys().for_each(|name| note(&format!("  pipe log '{name}'")));
            return Err(exit::USAGE);
        }
    };
    let past = history::past(&store, &key).map_err(history::fault)?;
    let logs = past.record.iter().filter_map(|record| record.log.as_ref());
    let newest = logs.chain(past.sessions.iter().rev().filter_map(|session| session.log.as_ref())).next();
    let Some(Entry::File { digest, .. }) = newest else {
        note(&format!("pipe: `{}` left no log: it printed nothing, or it never ended well", arguments.name));
        return Ok(exit::DONE);
    };
    match store.read(digest).map_err(history::fault)? {
        Some(bytes) => {
            let text = String::from_utf8_lossy(&bytes);
            // A terminal would act on what a program printed; whatever else reads it gets it as it was.
            let shown = if terminal(To::Out) { escaped(&text) } else { text.into_owned() };
            out(To::Out, &shown);
        }
        None => {
            note(&format!("pipe: the log of `{}` is no longer in the store", arguments.name));
            return Err(exit::FAULT);
        }
    }
    Ok(exit::DONE)
}
