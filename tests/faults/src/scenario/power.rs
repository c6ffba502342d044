//! The power goes at a random time of a run, on a disk of its own, and comes back.
//!
//! Acknowledged is what a run made that has ended with code 0: none of it may be lost. A step that a run has only said
//! to be finished is looked at too, where that was before the power began to go: while it goes, ext4 answers some of
//! those that wait with success, and loses what they wrote.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::checker;
use crate::disk::{self, Disk, Kind};
use crate::place::{Place, Truth};
use crate::random::Random;
use crate::sweep::{Asked, Tally, sweep};
use crate::verdict::{Bad, Rule};

/// Large enough for everything that is made here, on both file systems.
const BYTES: u64 = 320 << 20;

/// What is going on while the power goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum During {
    Run,
    Gc,
    /// Everything is in the store, and given back.
    GiveBack,
}

/// Cuts.
pub fn run(asked: &Asked) -> Result<Tally, String> {
    if let Some(lack) = disk::lack() {
        return Ok(Tally::skipped(lack));
    }
    let kinds: Vec<Kind> = [Kind::Ext4, Kind::Xfs]
        .into_iter()
        .filter(|kind| super::syscalls::has(&format!("mkfs.{}", kind.name())))
        .collect();
    if kinds.len() < 2 {
        return Ok(Tally::skipped("`mkfs.ext4` or `mkfs.xfs` is not installed"));
    }
    let home = Place::new(asked, "power-images")?;
    for kind in &kinds {
        Disk::image(&home.root().join(kind.name()), *kind, BYTES)?;
    }
    let (first, second, takes) = truths(asked)?;
    let (cut, said) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let mut tally = sweep("power", asked, asked.size(1_000, 50), |index| {
        let mut random = Random::of_case(asked.seed, index);
        let kind = kinds[index % kinds.len()];
        let mut place = Place::new(asked, &format!("power-{index}"))?;
        let disk = Disk::like(&home.root().join(kind.name()), place.root(), kind)?;
        place.store = disk.point().join("store");
        place.out = disk.point().join("out");
        let flag = *random.pick(&[0, 1, 2, 2]);
        let during = *random.pick(&[During::Run, During::Run, During::Gc, During::GiveBack]);
        let settled = random.below(4) > 0 || during != During::Run;
        if settled {
            // This run ends with code 0: from here on nothing of it may be lost.
            place.truth(&[])?;
        }
        if during == During::GiveBack {
            crate::folder::remove(&place.out).map_err(|error| error.to_string())?;
        }
        let at = takes.mul_f64(random.share() * if during == During::Run { 1.1 } else { 0.2 });
        let (alive, done) = cut_at(&place, &disk, during, at, flag)?;
        cut.fetch_add(usize::from(alive), Ordering::Relaxed);
        let mut bad = place.sound()?;
        if settled {
            bad.extend(acknowledged(&place, &first, "first")?);
        }
        said.fetch_add(done.len(), Ordering::Relaxed);
        bad.extend(place.recover("next", &["round=2"], &second)?);
        bad.extend(place.not_again(&done, "next"));
        drop(disk);
        let what = format!("{}, flag {flag}, during {during:?}, after {:.1} ms", kind.name(), at.as_secs_f64() * 1e3);
        Ok(vec![(what, bad)])
    });
    let (cut, said) = (cut.into_inner(), said.into_inner());
    tally.notes.push(format!("{cut} cuts met a live command; {said} steps had been said to be finished"));
    Ok(tally)
}

/// What the two rounds make, and how long the second takes.
fn truths(asked: &Asked) -> Result<(Truth, Truth, Duration), String> {
    let scout = Place::new(asked, "power-scout")?;
    let first = scout.truth(&[])?;
    let began = Instant::now();
    let second = scout.truth(&["round=2"])?;
    Ok((first, second, began.elapsed()))
}

/// Starts what is going on, cuts, and lets the machine come back. Gives back whether the command was still at work, and
/// what it had said to be finished just before.
fn cut_at(
    place: &Place,
    disk: &Disk,
    during: During,
    at: Duration,
    flag: u32,
) -> Result<(bool, BTreeSet<String>), String> {
    let words = match during {
        During::Run => place.run_words(&["round=2"], &place.events("cut")),
        During::GiveBack => place.run_words(&[], &place.events("cut")),
        During::Gc => ["store", "gc"].map(str::to_owned).to_vec(),
    };
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut running = place.start("cut", &mut place.command(&words))?;
    std::thread::sleep(at);
    let alive = !running.is_over();
    let done = place.finished("cut");
    disk.cut(flag)?;
    // With the power go the processes.
    running.signal_group(Signal::KILL);
    running.wait(Duration::from_secs(10))?;
    if let Some(bad) = crate::leftovers::wait(&place.mark(), Duration::from_secs(5)).first() {
        return Err(bad.to_string());
    }
    disk.come_back()?;
    Ok((alive, done))
}

/// A run of what had been acknowledged runs nothing.
fn acknowledged(place: &Place, truth: &Truth, name: &str) -> Result<Vec<Bad>, String> {
    let mut bad = place.recover(name, &[], truth)?;
    let again = place.finished(name);
    if !again.is_empty() {
        bad.push(Bad::new(Rule::Same, format!("acknowledged, and lost: {again:?}")));
    }
    bad.extend(checker::same(&truth.made, &place.view().made()));
    Ok(bad)
}
