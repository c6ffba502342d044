//! `pipe store pin`, `unpin` and `pins`: runs and keys that a person holds on to, whatever is collected.

use clap::Args;
use pipe_cache::{Digest, Kind, Store};

use super::choice;
use crate::cli::exit;
use crate::cli::history::{self, Named};
use crate::cli::output::{note, print};
use crate::record::{FORMAT, Pin};

/// The flags of `pipe store pin` and `unpin`.
#[derive(Debug, Clone, Args)]
pub struct Arguments {
    /// Runs or keys by their first digits, or steps by name
    #[arg(required = true)]
    names: Vec<String>,
}

/// Holds on to what is named, or lets go of it. Nothing is changed if one of the names means nothing.
pub fn main(store: &Store, arguments: &Arguments, pinned: bool) -> Result<u8, u8> {
    let known = choice::pins(store).map_err(history::fault)?;
    let mut found = Vec::new();
    for name in &arguments.names {
        let (digest, shown) = match unpinned(&known, name, pinned) {
            Some(found) => found,
            None => meant(store, name)?,
        };
        if !pinned && !known.contains_key(&digest) {
            note(&format!("pipe: {shown} is not pinned; `pipe store pins` lists what is"));
            return Err(exit::USAGE);
        }
        found.push((digest, shown));
    }
    for (digest, name) in found {
        let pin = Pin { format: FORMAT, pinned, name: name.clone() };
        let bytes = serde_json::to_vec(&pin).unwrap_or_default();
        store.append(Kind::Pin, &digest, &bytes).map_err(history::fault)?;
        print(&format!("{}: {name}", if pinned { "pinned" } else { "no longer pinned" }));
    }
    Ok(exit::DONE)
}

/// Lists the pins.
pub fn list(store: &Store) -> Result<u8, u8> {
    let pins = choice::pins(store).map_err(history::fault)?;
    if pins.is_empty() {
        print("nothing is pinned; `pipe store pin RUN`, `KEY` or `STEP` does");
    }
    for (digest, name) in pins {
        print(&format!("{}  {name}", digest.short()));
    }
    Ok(exit::DONE)
}

/// A pin by its first digits: what it holds may be remembered no more.
fn unpinned(known: &std::collections::BTreeMap<Digest, String>, name: &str, pinned: bool) -> Option<(Digest, String)> {
    let mut hits = known.iter().filter(|(digest, _)| name.len() >= 4 && digest.to_string().starts_with(name));
    match (pinned, hits.next(), hits.next()) {
        (false, Some((digest, shown)), None) => Some((*digest, shown.clone())),
        _ => None,
    }
}

fn meant(store: &Store, name: &str) -> Result<(Digest, String), u8> {
    Ok(match history::named(store, name)? {
        Named::Run(run) => (run.id, format!("run {} of {}", run.id.short(), run.record.pipeline)),
        Named::Key(key) => {
            let names = history::past(store, &key).map_err(history::fault)?.names;
            let step = names.first().map(|step| format!(", {step}")).unwrap_or_default();
            (key, format!("key {}{step}", key.short()))
        }
    })
}
