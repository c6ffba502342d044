//! One system call of a run goes wrong: the process is killed at it, or it fails, or it is short.
//!
//! `strace` counts the calls of each thread apart, and lets go of programs that `pipe` starts: a step whose own calls
//! fail is a step that may do wrong without saying so, which nobody could hold against `pipe`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::checker;
use crate::leftovers;
use crate::place::{Place, Truth};
use crate::project::Width;
use crate::random::Random;
use crate::sweep::{Asked, Tally, sweep};
use crate::verdict::{Bad, Rule};

/// Calls that change what is on a disk.
const DURABLE: &[&str] = &[
    "write",
    "writev",
    "pwrite64",
    "pwritev",
    "rename",
    "renameat",
    "renameat2",
    "link",
    "linkat",
    "symlink",
    "symlinkat",
    "unlink",
    "unlinkat",
    "fsync",
    "fdatasync",
    "syncfs",
    "sync_file_range",
    "mkdir",
    "mkdirat",
    "rmdir",
    "ftruncate",
    "truncate",
    "copy_file_range",
    "sendfile",
    "fallocate",
    "fchmod",
    "fchmodat",
    "chmod",
    "utimensat",
    "flock",
];

/// Further calls that can fail.
const FALLIBLE: &[&str] = &[
    "open",
    "openat",
    "openat2",
    "read",
    "pread64",
    "readv",
    "close",
    "statx",
    "newfstatat",
    "fstat",
    "stat",
    "lstat",
    "clone",
    "clone3",
    "getdents64",
    "lseek",
    "statfs",
    "fstatfs",
    "readlink",
    "readlinkat",
    "access",
    "faccessat2",
    "socketpair",
    "pipe2",
    "fcntl",
    "ioctl",
];

/// What calls fail with. `short` reads or writes one byte.
const ERRORS: [&str; 5] = ["EIO", "ENOSPC", "EMFILE", "EINTR", "short"];
/// Their numbers, where there is one.
const NUMBERS: [i32; 4] = [libc::EIO, libc::ENOSPC, libc::EMFILE, libc::EINTR];
const SHORT: &[&str] = &["read", "pread64", "write", "pwrite64", "copy_file_range"];

/// Before `main` the loader opens libraries, and its words are its own.
const LOADER: &str = "error while loading shared libraries";

/// Kills at each durable call of a run that changes everything, and gives everything back anew.
pub fn kill(asked: &Asked) -> Result<Tally, String> {
    let Some(stage) = Stage::set(asked)? else { return Ok(Tally::skipped("`strace` is not installed")) };
    let points = match &asked.point {
        Some((_, call, n)) => vec![(call.clone(), *n)],
        None => stage.points(DURABLE)?,
    };
    let count = asked.size(points.len(), points.len().min(200));
    let landed = AtomicUsize::new(0);
    let mut tally = sweep("syscalls-kill", asked, count, |index| {
        let (call, n) = chosen(&points, index, count, asked.seed);
        let place = Place::like(asked, &format!("syscall-{index}"), &stage.template)?;
        let ended = stage.injected(&place, &call, &format!("signal=SIGKILL:when={n}"))?;
        let mut bad = stage.after_fault(&place)?;
        match ended.signal {
            Some(_) => drop(landed.fetch_add(1, Ordering::Relaxed)),
            None => bad.extend(checker::words(&ended)),
        }
        let done = place.finished("faulty");
        bad.extend(place.recover("next", SETS, &stage.after)?);
        bad.extend(place.not_again(&done, "next"));
        Ok(vec![(format!("--point 'kill {call} {n}'"), bad)])
    });
    let landed = landed.into_inner();
    if asked.point.is_none() && landed * 2 < tally.cases {
        return Err(format!("only {landed} of {} kills landed: this shows nothing", tally.cases));
    }
    tally.notes.push(format!(
        "{} durable calls in one run, of {} kinds; {landed} kills landed",
        points.len(),
        kinds(&points)
    ));
    Ok(tally)
}

/// Lets the N-th call fail.
pub fn nth(asked: &Asked) -> Result<Tally, String> {
    let Some(stage) = Stage::set(asked)? else { return Ok(Tally::skipped("`strace` is not installed")) };
    let shim = shim(&stage.template)?;
    let calls: Vec<&str> = DURABLE.iter().chain(FALLIBLE).copied().collect();
    let points: Vec<(String, usize, String)> = match &asked.point {
        Some((error, call, n)) => vec![(call.clone(), *n, error.clone())],
        None => stage
            .points(&calls)?
            .into_iter()
            .flat_map(|(call, n)| ERRORS.iter().map(move |error| (call.clone(), n, (*error).to_owned())))
            .filter(|(call, _, error)| error != "short" || SHORT.contains(&call.as_str()))
            .collect(),
    };
    let count = asked.size(points.len(), points.len().min(200));
    let failed = AtomicUsize::new(0);
    let mut tally = sweep("nth-call", asked, count, |index| {
        let (call, n, error) = chosen(&points, index, count, asked.seed);
        let place = Place::like(asked, &format!("nth-{index}"), &stage.template)?;
        let ended = match error.as_str() {
            "short" => stage.shimmed(&place, &shim, &call, n, None)?,
            // What `strace` lets fail is never done: the file would stay open, and what is locked with it locked.
            error if call == "close" => stage.shimmed(&place, &shim, &call, n, number(error))?,
            error => stage.injected(&place, &call, &format!("error={error}:when={n}"))?,
        };
        let mut bad = stage.after_fault(&place)?;
        let touched = Stage::touched(&place);
        let really = error == "short" || call == "close" || touched.is_some();
        if really && !ended.err.contains(LOADER) {
            bad.extend(checker::words(&ended));
        }
        failed.fetch_add(usize::from(ended.code != Some(0)), Ordering::Relaxed);
        // A tool that can't be read makes its steps unavailable, with the reason, which is no failure.
        let lacks = ended.err.contains("os error") && !ended.err.contains(" 0 unavailable");
        if ended.code == Some(0) && !lacks {
            bad.extend(checker::same(&stage.after.made, &place.view().made()));
            if place.exports()? != stage.after.exports {
                bad.push(Bad::new(Rule::Exports, "the run says that all is well, and what it gave back is not"));
            }
            // A thread may make fewer calls than in the run that was traced.
            let landed = touched.is_some();
            if landed && error == "EIO" && matches!(call.as_str(), "fsync" | "fdatasync" | "syncfs") {
                bad.push(Bad::new(Rule::Content, "what could not be made durable was taken for durable"));
            }
        }
        let done = place.finished("faulty");
        bad.extend(place.recover("next", SETS, &stage.after)?);
        bad.extend(place.not_again(&done, "next"));
        let mut what = format!("--point '{error} {call} {n}' (exit code {:?})", ended.code);
        if !bad.is_empty() {
            what.push_str(&format!(": {}\n{}", touched.unwrap_or_default(), checker::indented(&ended.err)));
            // The words of the run stand there already.
            bad.iter_mut().for_each(|bad| bad.what = bad.what.lines().next().unwrap_or_default().to_owned());
        }
        Ok(vec![(what, bad)])
    });
    let failed = failed.into_inner();
    if asked.point.is_none() && failed * 10 < tally.cases {
        return Err(format!("only {failed} of {} faults were noticed: this shows nothing", tally.cases));
    }
    let kinds = kinds_of(&points);
    tally
        .notes
        .push(format!("{} points of {kinds} kinds of calls; {failed} runs failed by it, and said so", points.len()));
    Ok(tally)
}

/// Everything was there with `round=1`; now every step changes.
const SETS: &[&str] = &["round=2"];

struct Stage {
    asked: Asked,
    template: Place,
    before: Truth,
    after: Truth,
}

impl Stage {
    /// `None` where there is no `strace`.
    fn set(asked: &Asked) -> Result<Option<Stage>, String> {
        if !has("strace") {
            return Ok(None);
        }
        let template = Place::of_width(asked, "syscalls", Width::Narrow)?;
        let before = template.truth(&[])?;
        let scout = Place::like(asked, "syscalls-scout", &template)?;
        let after = scout.truth(SETS)?;
        Ok(Some(Stage { asked: asked.clone(), template, before, after }))
    }

    /// Each call of these kinds that a thread of the run makes, with its number in that thread.
    fn points(&self, calls: &[&str]) -> Result<Vec<(String, usize)>, String> {
        let scout = Place::like(&self.asked, "syscalls-trace", &self.template)?;
        let log = scout.root().join("trace");
        // Names that this architecture lacks begin with a question mark, and are passed over.
        let set: Vec<String> = calls.iter().map(|call| format!("?{call}")).collect();
        let trace = format!("trace={}", set.join(","));
        let path = log.to_string_lossy().into_owned();
        let ended = run_below(&scout, &["strace", "-f", "-b", "execve", "-qq", "-o", &path, "-e", &trace])?;
        if ended.code != Some(0) {
            return Err(format!("the traced run ends with {:?}:\n{}", ended.code, ended.err));
        }
        let text = std::fs::read_to_string(&log).map_err(|error| format!("`{path}`: {error}"))?;
        let mut counts: BTreeMap<(String, String), usize> = BTreeMap::new();
        for line in text.lines() {
            let mut words = line.split_ascii_whitespace();
            let (Some(thread), Some(word)) = (words.next(), words.next()) else { continue };
            if let Some((call, _)) = word.split_once('(') {
                *counts.entry((call.to_owned(), thread.to_owned())).or_default() += 1;
            }
        }
        let mut most: BTreeMap<String, usize> = BTreeMap::new();
        for ((call, _), count) in counts {
            let known = most.entry(call).or_default();
            *known = (*known).max(count);
        }
        Ok(most.into_iter().flat_map(|(call, count)| (1..=count).map(move |n| (call.clone(), n))).collect())
    }

    /// Does this to a call. Only calls that are traced are touched.
    fn injected(&self, place: &Place, call: &str, what: &str) -> Result<checker::Ended, String> {
        let (trace, inject) = (format!("trace={call}"), format!("inject={call}:{what}"));
        let log = place.root().join("injected").to_string_lossy().into_owned();
        run_below(place, &["strace", "-f", "-y", "-b", "execve", "-qq", "-o", &log, "-e", &trace, "-e", &inject])
    }

    /// The call that was touched, if it was one on a file. That a pipe or an event of the process's own fails is
    /// nothing that a disk can do.
    fn touched(place: &Place) -> Option<String> {
        let log = std::fs::read_to_string(place.root().join("injected")).unwrap_or_default();
        let line = log.lines().find(|line| line.contains("(INJECTED)"))?;
        const OWN: [&str; 4] = ["<anon_inode:", "<pipe:", "<socket:", "<UNIX"];
        (!OWN.iter().any(|own| line.contains(own))).then(|| line.to_owned())
    }

    /// Has the library do this to a call, which is done otherwise: it is short, or ends with this error.
    fn shimmed(
        &self,
        place: &Place,
        shim: &Path,
        call: &str,
        n: usize,
        error: Option<i32>,
    ) -> Result<checker::Ended, String> {
        let words = place.run_words(SETS, &place.events("faulty"));
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let mut command = place.command(&words);
        command.env("LD_PRELOAD", shim).env("SHORT_CALL", call).env("SHORT_WHEN", n.to_string());
        if let Some(error) = error {
            command.env("SHORT_ERROR", error.to_string());
        }
        place.start("faulty", &mut command)?.wait(Duration::from_secs(60))
    }

    /// What holds before anything is mended.
    fn after_fault(&self, place: &Place) -> Result<Vec<Bad>, String> {
        let mut bad = leftovers::wait(&place.mark(), Duration::from_secs(2));
        bad.extend(place.sound()?);
        bad.extend(checker::old_or_new(&[&self.before.exports, &self.after.exports], &place.exports()?));
        Ok(bad)
    }
}

fn run_below(place: &Place, wrapper: &[&str]) -> Result<checker::Ended, String> {
    let words = place.run_words(SETS, &place.events("faulty"));
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    place.start("faulty", &mut place.wrapped(wrapper, &words))?.wait(Duration::from_secs(60))
}

fn number(error: &str) -> Option<i32> {
    ERRORS.iter().zip(NUMBERS).find(|(name, _)| **name == error).map(|(_, number)| number)
}

/// A library that makes one call of `pipe` really short: what `strace` calls a short write writes nothing at all.
fn shim(place: &Place) -> Result<PathBuf, String> {
    let (source, library) = (place.root().join("short.c"), place.root().join("short.so"));
    std::fs::write(&source, include_str!("short.c")).map_err(|error| error.to_string())?;
    let built = std::process::Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .arg(&library)
        .arg(&source)
        .arg("-ldl")
        .status()
        .map_err(|error| format!("`cc`: {error}"))?;
    if built.success() { Ok(library) } else { Err("`cc` can't build `short.c`".to_owned()) }
}

/// All points in order, or as many as are asked for, drawn by the seed.
fn chosen<T: Clone>(points: &[T], index: usize, count: usize, seed: u64) -> T {
    let at = if count >= points.len() {
        index % points.len()
    } else {
        // One of each stretch, so that every kind of call has its share.
        let stretch = points.len() as f64 / count as f64;
        ((index as f64 + Random::of_case(seed, index).share()) * stretch) as usize
    };
    points[at.min(points.len() - 1)].clone()
}

fn kinds(points: &[(String, usize)]) -> usize {
    points.iter().map(|(call, _)| call).collect::<std::collections::BTreeSet<_>>().len()
}

fn kinds_of(points: &[(String, usize, String)]) -> usize {
    points.iter().map(|(call, ..)| call).collect::<std::collections::BTreeSet<_>>().len()
}

/// Whether a program is on the path.
pub fn has(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}
