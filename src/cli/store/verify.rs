//! `pipe store verify`: reads everything again, and with `--repair` leaves nothing wrong behind.

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use pipe_cache::{Progress, Repaired, Store, StoreError, Verified};

use super::choice::holds;
use crate::cli::estimate::size;
use crate::cli::output::print;
use crate::cli::{Global, exit, load};

/// The flags of `pipe store verify`.
#[derive(Debug, Clone, Args)]
pub struct Arguments {
    /// Also writes damaged logs anew, drops records whose content is gone, and moves aside what is no part of the store
    #[arg(long)]
    repair: bool,
}

/// Verifies or repairs.
pub fn main(global: &Global, store: &Store, arguments: &Arguments) -> Result<u8, StoreError> {
    let bar = bar(load::moving(global));
    let told = |progress: Progress| {
        bar.set_length(progress.total);
        bar.set_position(progress.done);
    };
    if arguments.repair {
        let done = store.repair(&holds, told);
        bar.finish_and_clear();
        return done.map(|done| repaired(&done));
    }
    let found = store.verify(told);
    bar.finish_and_clear();
    let found = found?;
    let dangling = store.dangling(&holds)?.len();
    let mut out = wrong(&found) + &counts(&found);
    if dangling > 0 {
        out.push_str(&format!(
            "; {dangling} records speak of content that is not here: it is made again when it is needed, and --repair \
             drops them"
        ));
    }
    print(&out);
    if found.is_sound() {
        return Ok(exit::DONE);
    }
    if found.damaged_frames > 0 {
        print("`pipe store verify --repair` writes the damaged logs anew");
    }
    Ok(exit::FAULT)
}

/// A line that grows on a terminal, and nothing elsewhere.
fn bar(moving: bool) -> ProgressBar {
    if !moving {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(0);
    let style = ProgressStyle::with_template("  reading {bar:30} {bytes} of {total_bytes}, {eta} left");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}

fn wrong(found: &Verified) -> String {
    let mut out = String::new();
    for digest in &found.damaged {
        out.push_str(&format!("damaged, set aside: {digest}\n"));
    }
    for path in &found.damaged_checkouts {
        out.push_str(&format!("damaged, removed: {}\n", path.display()));
    }
    if found.damaged_frames > 0 {
        out.push_str(&format!("damaged: {} in the logs\n", count(found.damaged_frames, "stretch", "stretches")));
    }
    if found.modes > 0 {
        out.push_str(&format!(
            "could be written to, set right: {}\n",
            count(found.modes, "file or folder", "files and folders")
        ));
    }
    for path in &found.strangers {
        out.push_str(&format!("no part of the store: {}\n", path.display()));
    }
    out
}

fn counts(found: &Verified) -> String {
    let end = if found.is_sound() {
        "all are what their names say"
    } else {
        "what is damaged is made again when it is needed"
    };
    format!(
        "{} ({}), {} and {} read; {end}",
        count(found.blobs, "blob", "blobs"),
        size(found.bytes),
        count(found.frames, "frame", "frames"),
        count(found.checkouts, "checkout", "checkouts"),
    )
}

fn repaired(done: &Repaired) -> u8 {
    let mut out = wrong(&done.found);
    for path in &done.moved {
        out.push_str(&format!("moved aside: {}\n", path.display()));
    }
    for (_, key) in &done.dropped {
        out.push_str(&format!("dropped the record of key {}: what it made is not here\n", key.short()));
    }
    if done.frames > 0 {
        out.push_str(&format!("dropped: {} of the logs\n", count(done.frames, "damaged stretch", "damaged stretches")));
    }
    let sound = done.left.is_sound() && done.left.strangers.is_empty();
    out.push_str(&counts(&done.left));
    out.push_str(if sound { "\nnothing is wrong any more\n" } else { "\nsomething is wrong still: see above\n" });
    print(&out);
    if sound { exit::DONE } else { exit::FAULT }
}

/// A number with its noun.
pub fn count(n: u64, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}
