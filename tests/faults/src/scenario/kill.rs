//! `kill -9` of the whole process group at a random time, also in the middle of recovering, and then a run.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::checker;
use crate::leftovers;
use crate::place::{Place, Truth};
use crate::random::Random;
use crate::sweep::{Asked, Tally, sweep};

/// What a case begins with, and what it comes to.
struct Start {
    place: Place,
    sets: &'static [&'static str],
    before: Truth,
    after: Truth,
    /// How long the run takes that is killed.
    takes: Duration,
}

/// Kills.
pub fn run(asked: &Asked) -> Result<Tally, String> {
    let starts = [cold(asked)?, warm(asked)?, end(asked)?];
    let (landed, finished) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let mut tally = sweep("kill", asked, asked.size(2_000, 100), |index| {
        let mut random = Random::of_case(asked.seed, index);
        let start = random.pick(&starts);
        let place = Place::like(asked, &format!("kill-{index}"), &start.place)?;
        let mut parts = Vec::new();
        let mut done = std::collections::BTreeSet::new();
        let kills = 1 + [0, 0, 0, 1, 2][random.below(5)];
        for kill in 0..kills {
            let name = format!("killed-{kill}");
            let at = start.takes.mul_f64(random.share() * 1.1);
            let hit = killed(&place, &name, start.sets, at)?;
            landed.fetch_add(usize::from(hit), Ordering::Relaxed);
            let what = format!("kill {} of {kills}, after {:.1} ms", kill + 1, at.as_secs_f64() * 1e3);
            let mut bad = leftovers::wait(&place.mark(), Duration::from_secs(2));
            bad.extend(place.sound()?);
            bad.extend(checker::old_or_new(&[&start.before.exports, &start.after.exports], &place.exports()?));
            bad.extend(place.not_again(&done, &name));
            parts.push((what, bad));
            done.extend(place.finished(&name));
        }
        finished.fetch_add(done.len(), Ordering::Relaxed);
        let mut bad = place.recover("next", start.sets, &start.after)?;
        bad.extend(place.not_again(&done, "next"));
        parts.push(("the next run".to_owned(), bad));
        Ok(parts)
    });
    let (landed, finished) = (landed.into_inner(), finished.into_inner());
    tally.notes.push(format!("{landed} kills met a live run; {finished} finished steps were all reused"));
    Ok(tally)
}

/// Runs and kills; false where the run was faster.
fn killed(place: &Place, name: &str, sets: &[&str], at: Duration) -> Result<bool, String> {
    let words = place.run_words(sets, &place.events(name));
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let began = Instant::now();
    let mut running = place.start(name, &mut place.command(&words))?;
    std::thread::sleep(at.saturating_sub(began.elapsed()));
    let alive = !running.is_over();
    running.signal_group(Signal::KILL);
    running.wait(Duration::from_secs(10))?;
    Ok(alive)
}

/// Nothing is there.
fn cold(asked: &Asked) -> Result<Start, String> {
    let place = Place::new(asked, "kill-cold")?;
    let scout = Place::new(asked, "kill-cold-scout")?;
    let (after, takes) = timed(&scout, &[])?;
    let before = Truth { made: Default::default(), exports: Default::default() };
    Ok(Start { place, sets: &[], before, after, takes })
}

/// Everything is there, and every step changes.
fn warm(asked: &Asked) -> Result<Start, String> {
    changed(asked, "kill-warm", &["round=2"])
}

/// Everything is there, and only what is given back changes: most of the run is its end.
fn end(asked: &Asked) -> Result<Start, String> {
    changed(asked, "kill-end", &["last=2"])
}

fn changed(asked: &Asked, name: &str, sets: &'static [&'static str]) -> Result<Start, String> {
    let place = Place::new(asked, name)?;
    let before = place.truth(&[])?;
    let scout = Place::like(asked, &format!("{name}-scout"), &place)?;
    let (after, takes) = timed(&scout, sets)?;
    Ok(Start { place, sets, before, after, takes })
}

fn timed(scout: &Place, sets: &[&str]) -> Result<(Truth, Duration), String> {
    let began = Instant::now();
    let ended = scout.run("timed", sets)?;
    let takes = began.elapsed();
    if ended.code != Some(0) {
        return Err(format!("the run without faults ends with {:?}:\n{}", ended.code, ended.err));
    }
    Ok((scout.truth(sets)?, takes))
}
