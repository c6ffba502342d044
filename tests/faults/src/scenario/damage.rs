//! Bytes of the store change behind its back: flipped, cut, zeroed, appended, or replaced by something else. Nothing
//! wrong may be served; `store verify` tells of it; the next run makes again what is needed.
//!
//! Each twelfth case is in a sandbox, where steps read checkouts and no copies of their own, and harms those.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::checker;
use crate::folder;
use crate::leftovers;
use crate::place::{Place, Truth};
use crate::project::Width;
use crate::random::Random;
use crate::scenario::syscalls::has;
use crate::sweep::{Asked, Tally, sweep};
use crate::verdict::{Bad, Rule};

/// What is done to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Harm {
    Flip,
    Truncate,
    Empty,
    Zero,
    Append,
    Other,
    Link,
    Folder,
    Fifo,
    Gone,
    Unreadable,
    /// One more file beside it.
    More,
}

const HARMS: [Harm; 11] = [
    Harm::Flip,
    Harm::Truncate,
    Harm::Empty,
    Harm::Zero,
    Harm::Append,
    Harm::Other,
    Harm::Link,
    Harm::Folder,
    Harm::Fifo,
    Harm::Gone,
    Harm::Unreadable,
];

/// Harms to what steps read in a sandbox; a flip is what a disk does.
const HARMS_OF_CHECKOUTS: [Harm; 8] =
    [Harm::Flip, Harm::Flip, Harm::Truncate, Harm::Zero, Harm::Other, Harm::Gone, Harm::Link, Harm::More];

/// Damages.
pub fn run(asked: &Asked) -> Result<Tally, String> {
    let template = Place::of_width(asked, "damage", Width::Narrow)?;
    let first = template.truth(&[])?;
    let scout = Place::like(asked, "damage-scout", &template)?;
    let last = scout.truth(&["last=2"])?;
    let round = scout.truth(&["round=2"])?;
    let (rounds, met) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let told: Mutex<BTreeMap<Harm, (usize, usize)>> = Mutex::default();
    let mut tally = sweep("damage", asked, asked.size(10_000, 500), |index| {
        let mut random = Random::of_case(asked.seed, index);
        if index % 12 == 11 {
            let place = sandboxed(asked, &format!("damage-{index}"))?;
            let mut parts = Vec::new();
            for (sets, truth) in [(["last=2"], &last), (["round=2"], &round)] {
                let harms = harm_checkouts(&place, &mut random)?;
                let bad = served(&place, &sets, truth)?;
                rounds.fetch_add(1, Ordering::Relaxed);
                met.fetch_add(usize::from(place.said("damaged").contains("was damaged")), Ordering::Relaxed);
                parts.push((format!("{harms}: a run with {sets:?}, sandbox {}", place.sandbox), bad));
            }
            return Ok(parts);
        }
        let mut place = Place::like(asked, &format!("damage-{index}"), &template)?;
        place.damaged = true;
        let (path, harm, detail) = harm(&place, &mut random)?;
        let shown = path.strip_prefix(&place.store).unwrap_or(&path).display().to_string();
        let mut parts = Vec::new();
        if random.below(4) == 0 {
            let (known, bad) = verified(&place, &path, harm)?;
            let mut told = told.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let entry = told.entry(harm).or_default();
            (entry.0, entry.1) = (entry.0 + 1, entry.1 + usize::from(known));
            parts.push((format!("{harm:?} of `{shown}` ({detail}): `store verify`"), bad));
        }
        // Either what was there is given back, or steps read it for something new.
        let (sets, truth): (&[&str], &Truth) = if random.below(2) == 0 {
            folder::remove(&place.out).map_err(|error| error.to_string())?;
            (&[], &first)
        } else {
            (&["last=2"], &last)
        };
        let replaced = matches!(harm, Harm::Link | Harm::Folder | Harm::Fifo);
        let is_log = ["small.pack", "records.log"].contains(&shown.as_str());
        let bad = match replaced && is_log {
            true => refused(&place, sets, &path)?,
            false => served(&place, sets, truth)?,
        };
        parts.push((format!("{harm:?} of `{shown}` ({detail}): a run with {sets:?}"), bad));
        Ok(parts)
    });
    let told = told.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    let told: Vec<String> = told.iter().map(|(harm, (all, known))| format!("{harm:?} {known}/{all}")).collect();
    tally.notes.push(format!("`store verify` told of objects: {}", told.join(", ")));
    let (rounds, met) = (rounds.into_inner(), met.into_inner());
    tally.notes.push(format!("{met} of {rounds} runs in a sandbox met damage to checkouts or objects, and told of it"));
    Ok(tally)
}

/// A place whose checkouts were made by a run of its own: a copy of one would have other inodes, and no seal be believed.
fn sandboxed(asked: &Asked, name: &str) -> Result<Place, String> {
    let mut place = Place::of_width(asked, name, Width::Narrow)?;
    place.sandbox = if has("bwrap") { "strict" } else { "fs" };
    place.truth(&[])?;
    place.damaged = true;
    Ok(place)
}

/// Does harm to some files of checkouts, objects and seals, and sets back times where that can be done.
fn harm_checkouts(place: &Place, random: &mut Random) -> Result<String, String> {
    let mut done = Vec::new();
    for _ in 0..1 + random.below(5) {
        let objects = folder::files(&place.store.join("blobs"));
        let checkouts = folder::files(&place.store.join("checkouts"));
        let seals = folder::files(&place.store.join("seals"));
        let groups = [&checkouts, &checkouts, &checkouts, &objects, &seals];
        let group = *random.pick(&groups);
        let (path, harm) =
            (random.pick(if group.is_empty() { &objects } else { group }), *random.pick(&HARMS_OF_CHECKOUTS));
        let wrong = |error: std::io::Error| format!("`{}`: {error}", path.display());
        let before = path.metadata().and_then(|before| before.modified()).map_err(wrong)?;
        let detail = apply(path, harm, &objects, random).map_err(wrong)?;
        let set_back = random.below(2) == 0 && path.symlink_metadata().is_ok_and(|now| now.is_file());
        if set_back {
            fs::File::open(path).and_then(|file| file.set_modified(before)).map_err(wrong)?;
        }
        let shown = path.strip_prefix(&place.store).unwrap_or(path).display();
        let time = if set_back { ", time set back" } else { "" };
        done.push(format!("{harm:?} of `{shown}` ({detail}{time})"));
    }
    Ok(done.join("; "))
}

/// A run that reads damaged content gives what is true, or makes it again; then the store is mended, and is sound.
fn served(place: &Place, sets: &[&str], truth: &Truth) -> Result<Vec<Bad>, String> {
    let ended = place.run("damaged", sets)?;
    let mut bad = checker::words(&ended);
    if ended.code != Some(0) {
        let words = checker::indented(&ended.err);
        bad.push(Bad::new(Rule::NextRun, format!("the run ends with {:?}\n{words}", ended.code)));
        return Ok(bad);
    }
    if place.exports()? != truth.exports {
        bad.push(Bad::new(Rule::Content, "what was given back is not what it should be: damage was served"));
    }
    bad.extend(checker::same(&truth.made, &place.view().made()));
    // What nobody has read yet is still damaged: that is what `verify` is for, and then everything must be sound.
    let (verified, repairs) = mend(place)?;
    bad.extend(checker::words(&verified));
    let again = place.pipe("verify-again", &["store", "verify"])?;
    // Without `--repair`, gaps in a log stay, and are told of again.
    if again.code != Some(0) && (repairs || again.out.contains("damaged,")) {
        let words = checker::indented(&again.out);
        bad.push(Bad::new(Rule::NextRun, format!("a second `store verify` ends with {:?}\n{words}", again.code)));
    }
    bad.extend(place.recover("after", sets, truth)?);
    bad.extend(leftovers::wait(&place.mark(), std::time::Duration::from_secs(2)));
    Ok(bad)
}

/// No disk makes a folder or a link of a log: that somebody did so is said, with the path, and nothing is read or
/// written through it. What they put there is theirs to remove; then the run succeeds.
fn refused(place: &Place, sets: &[&str], path: &Path) -> Result<Vec<Bad>, String> {
    let ended = place.run("refused", sets)?;
    let mut bad = checker::words(&ended);
    if ended.code != Some(0) && !ended.err.contains(&*path.to_string_lossy()) {
        let words = checker::indented(&ended.err);
        bad.push(Bad::new(Rule::Words, format!("`{}` is not named\n{words}", path.display())));
    }
    folder::remove(path).map_err(|error| error.to_string())?;
    let next = place.run("after", sets)?;
    if next.code != Some(0) {
        bad.push(Bad::new(Rule::NextRun, format!("without it the run ends with {:?}", next.code)));
    }
    Ok(bad)
}

/// `verify --repair` where there is one; `verify`, which puts aside, where not. True where it repairs.
fn mend(place: &Place) -> Result<(checker::Ended, bool), String> {
    let repaired = place.pipe("repair", &["store", "verify", "--repair"])?;
    if repaired.code == Some(2) {
        Ok((place.pipe("verify", &["store", "verify"])?, false))
    } else {
        Ok((repaired, true))
    }
}

/// Whether `store verify` tells of damaged objects and packs. An object that is gone is a miss, and no damage.
fn verified(place: &Place, path: &Path, harm: Harm) -> Result<(bool, Vec<Bad>), String> {
    let ended = place.pipe("verify", &["store", "verify"])?;
    let mut bad = checker::words(&ended);
    let known = ended.code == Some(5);
    let is_object = path.starts_with(place.store.join("blobs"));
    // A cut at the end of a frame leaves a whole log, and root may read everything.
    if is_object && !known && !matches!(harm, Harm::Gone | Harm::Unreadable) {
        let words = checker::indented(&ended.out);
        bad.push(Bad::new(Rule::Content, format!("`store verify` ends with {:?}\n{words}", ended.code)));
    }
    Ok((known, bad))
}

/// Does harm to one file of the store. Gives back which, what, and the details.
fn harm(place: &Place, random: &mut Random) -> Result<(PathBuf, Harm, String), String> {
    let files = folder::files(&place.store);
    // Locks hold nothing, and a damaged format is a store of no known version.
    let named = |path: &PathBuf, name: &str| path.strip_prefix(&place.store).is_ok_and(|rest| rest.starts_with(name));
    let objects: Vec<PathBuf> = files.iter().filter(|path| named(path, "blobs")).cloned().collect();
    let others: Vec<PathBuf> = files
        .iter()
        .filter(|path| !["blobs", "lock", "locks", "gc.lock", "gc.gate", "format"].iter().any(|name| named(path, name)))
        .cloned()
        .collect();
    let group = if random.below(2) == 0 || others.is_empty() { &objects } else { &others };
    let path = random.pick(group).clone();
    let harm = *random.pick(&HARMS);
    let detail = apply(&path, harm, &objects, random).map_err(|error| format!("`{}`: {error}", path.display()))?;
    Ok((path, harm, detail))
}

/// Harms a file, also in a folder of a checkout, where nobody may write.
fn apply(path: &Path, harm: Harm, objects: &[PathBuf], random: &mut Random) -> std::io::Result<String> {
    let Some(above) = path.parent() else { return Ok(String::new()) };
    let mode = above.metadata()?.permissions();
    fs::set_permissions(above, fs::Permissions::from_mode(0o700))?;
    let done = apply_in_open(path, harm, objects, random);
    fs::set_permissions(above, mode)?;
    done
}

fn apply_in_open(path: &Path, harm: Harm, objects: &[PathBuf], random: &mut Random) -> std::io::Result<String> {
    if harm == Harm::More {
        fs::write(path.with_extension("more"), "more")?;
        return Ok(String::new());
    }
    let before = path.metadata()?;
    let (length, mode) = (before.len(), before.permissions().mode());
    let at = random.next() % length.max(1);
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    let mut file = OpenOptions::new().read(true).write(true).open(path)?;
    match harm {
        Harm::Flip if length > 0 => {
            let mut byte = [0];
            std::os::unix::fs::FileExt::read_exact_at(&file, &mut byte, at)?;
            byte[0] ^= 1 << random.below(8);
            std::os::unix::fs::FileExt::write_all_at(&file, &byte, at)?;
        }
        Harm::Truncate => file.set_len(at)?,
        Harm::Empty => file.set_len(0)?,
        Harm::Zero => {
            let count = (1 + random.next() % 5000).min(length - at);
            std::os::unix::fs::FileExt::write_all_at(&file, &vec![0; count as usize], at)?;
        }
        Harm::Append | Harm::Flip => {
            file.seek(SeekFrom::End(0))?;
            let extra: Vec<u8> = (0..=random.below(300)).map(|_| random.next() as u8).collect();
            file.write_all(&extra)?;
        }
        Harm::Other => {
            let own = fs::read(path)?;
            let all: Vec<Vec<u8>> = objects.iter().map(fs::read).collect::<std::io::Result<_>>()?;
            // Content can have two names, one for each mode.
            let others: Vec<Vec<u8>> = all.into_iter().filter(|bytes| *bytes != own).collect();
            let other = random.pick(&others);
            file.set_len(0)?;
            file.write_all(other)?;
        }
        Harm::Link | Harm::Folder | Harm::Fifo | Harm::Gone | Harm::More => {
            fs::remove_file(path)?;
            match harm {
                Harm::Link => std::os::unix::fs::symlink("/etc/hostname", path)?,
                Harm::Folder => {
                    fs::create_dir(path)?;
                    fs::write(path.join("inside"), "x")?;
                }
                Harm::Fifo => rustix::fs::mknodat(
                    rustix::fs::CWD,
                    path,
                    rustix::fs::FileType::Fifo,
                    rustix::fs::Mode::from_raw_mode(0o600),
                    0,
                )?,
                _ => {}
            }
            return Ok(format!("{length} bytes"));
        }
        Harm::Unreadable => {
            fs::set_permissions(path, fs::Permissions::from_mode(0o000))?;
            return Ok(format!("{length} bytes"));
        }
    }
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    Ok(format!("at {at} of {length}"))
}
