//! `pipe store`: where the store is, how large, whether it is whole, what can go, what is held on to, and what travels in
//! packs.

mod choice;
mod gc;
mod pin;
mod verify;

use clap::{Args, Subcommand};
use pipe_cache::{Store, StoreError};

use super::estimate::size as bytes;
use super::output::print;
use super::{Global, exit, history, load, pack};

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
    Verify(verify::Arguments),
    /// Removes what no record names, and by rules or for room the results that cost the least
    Gc(gc::Arguments),
    /// Holds on to the results of runs, keys or steps, whatever `gc` is told
    Pin(pin::Arguments),
    /// Lets go of what was pinned
    Unpin(pin::Arguments),
    /// Lists what is pinned
    Pins,
    /// Writes what the steps of a pipeline have into a pack, for another machine
    Export(Box<pack::ExportArguments>),
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
        Command::Size => size(&store).map_err(history::fault),
        Command::Verify(arguments) => verify::main(global, &store, arguments).map_err(history::fault),
        Command::Gc(arguments) => gc::main(&store, arguments).map_err(history::fault),
        Command::Pin(arguments) => pin::main(&store, arguments, true),
        Command::Unpin(arguments) => pin::main(&store, arguments, false),
        Command::Pins => pin::list(&store),
    };
    done.unwrap_or_else(|code| code)
}

fn size(store: &Store) -> Result<u8, StoreError> {
    let usage = store.usage()?;
    let rows = [
        ("blobs", usage.blob_bytes, format!("{} files", usage.blobs)),
        ("packed", usage.pack_bytes, format!("{} small blobs and folders", usage.packed)),
        ("records", usage.record_bytes, format!("{} records", usage.records)),
        ("checkouts", usage.checkout_bytes, format!("{} folders, beyond the blobs that they link to", usage.checkouts)),
        ("other", usage.other_bytes, "scratch, kept folders, quarantine, advice".to_owned()),
    ];
    let free = bytes(usage.free_bytes);
    print(&format!("{} in {}, {free} free there", bytes(usage.total_bytes()), store.root().display()));
    for (name, size, what) in rows {
        print(&format!("  {name:9}  {:>9}  {what}", bytes(size)));
    }
    let quarantined = store.quarantined()?;
    if !quarantined.is_empty() {
        print("set aside as damaged, and removed by `pipe store gc`:");
        quarantined.iter().for_each(|path| print(&format!("  {}", path.display())));
    }
    Ok(exit::DONE)
}
