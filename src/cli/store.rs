//! `pipe store`: where the store is, how large, whether it is whole, what can go, and what travels in packs.

use std::time::Duration;

use clap::{Args, Subcommand};
use pipe_cache::{Entry, Kind, Store, StoreError};

use super::estimate::size as bytes;
use super::output::{note, print};
use super::{Global, exit, load, pack};
use crate::record::{FORMAT, Session, StepRecord};

/// The flags of `pipe store`.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Prints the store's folder
    Path,
    /// Tells how much it holds
    Size,
    /// Reads everything again and sets aside what is not what its name says
    Verify,
    /// Removes what no record names
    Gc,
    /// Writes what the steps of a pipeline have into a pack, for another machine
    Export(pack::ExportArguments),
    /// Takes in packs, each record verified
    Import(pack::ImportArguments),
}

/// Looks after the store.
pub fn main(global: &Global, arguments: &Arguments) -> u8 {
    if let Command::Path = arguments.command {
        return match load::store_path(global) {
            Ok(path) => {
                print(&load::shown(&path));
                exit::DONE
            }
            Err(code) => code,
        };
    }
    if let Command::Export(arguments) = &arguments.command {
        return pack::export(global, arguments);
    }
    let store = match load::store(global) {
        Ok(store) => store,
        Err(code) => return code,
    };
    let done = match &arguments.command {
        Command::Path | Command::Export(_) => Ok(exit::DONE),
        Command::Import(arguments) => return pack::import(&store, arguments),
        Command::Size => size(&store),
        Command::Verify => verify(&store),
        Command::Gc => gc(&store),
    };
    done.unwrap_or_else(|error| {
        note(&format!("pipe: {error}"));
        exit::FAULT
    })
}

fn size(store: &Store) -> Result<u8, StoreError> {
    let usage = store.usage()?;
    let all = usage.blob_bytes + usage.pack_bytes + usage.record_bytes + usage.checkout_bytes + usage.other_bytes;
    let rows = [
        ("blobs", usage.blob_bytes, format!("{} files", usage.blobs)),
        ("packed", usage.pack_bytes, format!("{} small blobs and folders", usage.packed)),
        ("records", usage.record_bytes, format!("{} records", usage.records)),
        ("checkouts", usage.checkout_bytes, format!("{} folders, beyond the blobs that they link to", usage.checkouts)),
        ("other", usage.other_bytes, "scratch, kept folders, quarantine".to_owned()),
    ];
    print(&format!("{} in {}, {} free there", bytes(all), store.root().display(), bytes(usage.free_bytes)));
    for (name, size, what) in rows {
        print(&format!("  {name:9}  {:>9}  {what}", bytes(size)));
    }
    Ok(exit::DONE)
}

fn verify(store: &Store) -> Result<u8, StoreError> {
    let found = store.verify(|_| {})?;
    for digest in &found.damaged {
        print(&format!("damaged, set aside: {digest}"));
    }
    for path in &found.damaged_checkouts {
        print(&format!("damaged, removed: {}", path.display()));
    }
    for path in &found.strangers {
        print(&format!("no part of the store: {}", path.display()));
    }
    print(&format!(
        "{} blobs ({}), {} frames and {} checkouts read; {}",
        found.blobs,
        bytes(found.bytes),
        found.frames,
        found.checkouts,
        if found.is_sound() {
            "all are what their names say"
        } else {
            "what is damaged is made again when it is needed"
        },
    ));
    Ok(if found.is_sound() { exit::DONE } else { exit::FAULT })
}

fn gc(store: &Store) -> Result<u8, StoreError> {
    let roots = roots(store)?;
    // What another `pipe` may just have written, before its record, is younger than this.
    let collected = store.gc(&roots, &|_, _, _| true, Duration::from_secs(3600))?;
    print(&format!(
        "{} freed: {} blobs, {} small ones, {} checkouts",
        bytes(collected.bytes),
        collected.blobs,
        collected.packed,
        collected.checkouts
    ));
    Ok(exit::DONE)
}

/// All that a record of the store names.
fn roots(store: &Store) -> Result<Vec<Entry>, StoreError> {
    let mut roots = Vec::new();
    store.scan(Kind::Record, |_, bytes| {
        if let Ok(record) = serde_json::from_slice::<StepRecord>(bytes)
            && record.format == FORMAT
        {
            roots.push(record.output);
            roots.extend(record.log);
        }
    })?;
    store.scan(Kind::Session, |_, bytes| {
        if let Ok(session) = serde_json::from_slice::<Session>(bytes) {
            roots.extend(session.outputs);
            roots.extend(session.log);
        }
    })?;
    Ok(roots)
}
