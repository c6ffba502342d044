//! Disks that are too small: the store's, the one for outputs, and one with too few inodes. The message says which, and
//! after it has grown the run succeeds.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::checker::{self, Ended};
use crate::disk::{self, Disk};
use crate::leftovers;
use crate::place::Place;
use crate::random::Random;
use crate::sweep::{Asked, Tally, sweep};
use crate::verdict::{Bad, Rule};

const STEP: u64 = 64 << 10;

/// What lies on the small disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Small {
    Store,
    Outputs,
    Inodes,
}

/// 256 sizes from 64 KiB to 16 MiB, each for the store, for outputs, and as a number of inodes.
pub fn run(asked: &Asked) -> Result<Tally, String> {
    if let Some(lack) = disk::lack() {
        return Ok(Tally::skipped(lack));
    }
    let truth = Place::new(asked, "disks-scout")?.truth(&[])?;
    let sizes = asked.size(256, 16);
    let small = AtomicUsize::new(0);
    let mut tally = sweep("small-disks", asked, sizes, |index| {
        let mut random = Random::of_case(asked.seed, index);
        // All sizes; or some, more of the small ones.
        let share = (index as f64 + random.share()) / sizes as f64;
        let size = if sizes >= 256 { 1 + index as u64 % 256 } else { 1 + (share * share * 256.0) as u64 };
        let mut parts = Vec::new();
        for what in [Small::Store, Small::Outputs, Small::Inodes] {
            let mut place = Place::new(asked, &format!("disks-{index}-{what:?}"))?;
            let (bytes, inodes) = match what {
                Small::Inodes => (64 << 20, Some(16 + size * 2)),
                Small::Store | Small::Outputs => (size * STEP, None),
            };
            let disk = Disk::memory(place.root(), bytes, inodes)?;
            match what {
                Small::Outputs => place.out = disk.point().join("out"),
                Small::Store | Small::Inodes => place.store = disk.point().join("store"),
            }
            let ended = place.run("small", &[])?;
            small.fetch_add(usize::from(ended.code != Some(0)), Ordering::Relaxed);
            let mut bad = leftovers::wait(&place.mark(), std::time::Duration::from_secs(2));
            bad.extend(checker::words(&ended));
            bad.extend(said(&ended, what, disk.point()));
            bad.extend(place.sound()?);
            let nothing = Default::default();
            bad.extend(checker::old_or_new(&[&nothing, &truth.exports], &place.exports()?));
            let done = place.finished("small");
            disk.grow(256 << 20)?;
            bad.extend(place.recover("next", &[], &truth)?);
            bad.extend(place.not_again(&done, "next"));
            let words = if bad.is_empty() { String::new() } else { format!("\n{}", checker::indented(&ended.err)) };
            parts.push((format!("{what:?}, {bytes} bytes, inodes {inodes:?}, exit code {:?}{words}", ended.code), bad));
        }
        Ok(parts)
    });
    tally.cases *= 3;
    tally.notes.push(format!("{} disks were too small", small.into_inner()));
    Ok(tally)
}

/// A run that fails for want of room says where, and what it wants.
fn said(ended: &Ended, what: Small, disk: &std::path::Path) -> Vec<Bad> {
    let mut bad = Vec::new();
    let err = &ended.err;
    if ended.code == Some(0) {
        return bad;
    }
    if !err.contains(&*disk.to_string_lossy()) {
        bad.push(Bad::new(Rule::Words, format!("the message does not name the disk `{}`", disk.display())));
    }
    let room = ["No space left", "no room", "free", "full"].iter().any(|word| err.contains(word));
    if !room {
        bad.push(Bad::new(Rule::Words, "the message does not say that room is wanting"));
    }
    if what == Small::Inodes && !err.contains("inode") && !err.contains("files") {
        bad.push(Bad::new(Rule::Words, "the message does not say that it is the number of files"));
    }
    bad
}
