//! `pipe log`: what steps printed when they ran, from the store.

use clap::Args;
use pipe_cache::{Digest, Entry, Store};
use serde_json::json;

use super::history::{self, Named};
use super::output::{Format, To, note, out, print, terminal};
use super::{Global, exit, load};
use crate::exec::process::log::escaped;

/// The flags of `pipe log`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// A step by its name: the newest of it; a key by its first digits; a run, `last` among them: all that ran in it
    name: String,
    /// How it is written
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// A step, and what it printed.
struct Printed {
    step: String,
    key: Digest,
    text: Text,
}

/// What is there of a log.
enum Text {
    Kept(Vec<u8>),
    /// It printed nothing, or it never ended well.
    None,
    /// It was kept, and is no longer in the store.
    Gone,
}

/// Prints logs as they were kept.
pub fn main(global: &Global, arguments: &Arguments) -> u8 {
    log(global, arguments).unwrap_or_else(|code| code)
}

fn log(global: &Global, arguments: &Arguments) -> Result<u8, u8> {
    let store = load::store(global)?;
    let name = &arguments.name;
    let printed = match history::named(&store, name)? {
        Named::Key(key) => vec![printed(&store, name.clone(), key)?],
        Named::Run(run) => {
            let ran = run.record.steps.iter().filter(|(_, step)| step.state == "ran");
            ran.map(|(name, step)| printed(&store, name.clone(), step.key)).collect::<Result<_, _>>()?
        }
    };
    let gone = printed.iter().any(|printed| matches!(printed.text, Text::Gone));
    match arguments.format {
        Format::Text => write(name, &printed),
        Format::Json => print(&json(&printed)),
    }
    Ok(if gone { exit::FAULT } else { exit::DONE })
}

fn printed(store: &Store, step: String, key: Digest) -> Result<Printed, u8> {
    let record = history::step_record(store, &key).map_err(history::fault)?;
    let mut log = record.as_ref().and_then(|record| record.log.clone());
    if record.is_none() {
        let sessions = history::sessions(store, &key).map_err(history::fault)?;
        log = sessions.into_iter().rev().find_map(|session| session.log);
    }
    let text = match log {
        Some(Entry::File { digest, .. }) => match store.read(&digest).map_err(history::fault)? {
            Some(bytes) => Text::Kept(bytes),
            None => Text::Gone,
        },
        _ => Text::None,
    };
    Ok(Printed { step, key, text })
}

/// One log as it is; several with a line before each.
fn write(name: &str, printed: &[Printed]) {
    if printed.is_empty() {
        note(&format!("pipe: nothing ran in `{name}`; `pipe show {name}` names its steps"));
    }
    if printed.len() > 1 && printed.iter().all(|printed| matches!(printed.text, Text::None)) {
        note(&format!("pipe: {} steps ran in `{name}`, and none printed anything", printed.len()));
    }
    for Printed { step, text, .. } in printed {
        match text {
            Text::Kept(bytes) => {
                if printed.len() > 1 {
                    out(To::Out, &format!("== {step}\n"));
                }
                let text = String::from_utf8_lossy(bytes);
                // A terminal would act on what a program printed; whatever else reads it gets it as it was.
                let text = if terminal(To::Out) { escaped(&text).into() } else { text };
                // The next step's line begins a line.
                let end = if printed.len() > 1 && !text.is_empty() && !text.ends_with('\n') { "\n" } else { "" };
                out(To::Out, &format!("{text}{end}"));
            }
            // Of many steps, most print nothing.
            Text::None if printed.len() > 1 => {}
            Text::None => note(&format!("pipe: `{step}` left no log: it printed nothing, or it never ended well")),
            Text::Gone => note(&format!("pipe: the log of `{step}` is no longer in the store")),
        }
    }
}

/// One JSON object: `{"schema": "pipe-log/1", "logs": […]}`.
fn json(printed: &[Printed]) -> String {
    let logs = printed.iter().map(|Printed { step, key, text }| {
        let text = match text {
            Text::Kept(bytes) => Some(String::from_utf8_lossy(bytes)),
            Text::None | Text::Gone => None,
        };
        json!({ "step": step, "key": key.to_string(), "text": text })
    });
    let value = json!({ "schema": "pipe-log/1", "logs": logs.collect::<Vec<_>>() });
    serde_json::to_string_pretty(&value).unwrap_or_default()
}
