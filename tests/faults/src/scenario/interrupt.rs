//! Signals at random times, to `pipe` alone, while steps run that don't want to end: they ignore what is polite, leave
//! their session, and have children that nobody waits for. Two seconds after the first signal nothing may be left. Where
//! there is a container runtime, each fifth case has an engine in a container, which may take ten.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::boxed;
use crate::checker::{self, Ended};
use crate::leftovers;
use crate::place::{Place, Running};
use crate::random::Random;
use crate::sweep::{Asked, Tally, sweep};
use crate::verdict::{Bad, Rule};

/// The steps take this long if nobody stops them, which somebody always does.
const STUBBORN: &str = r##"
pipeline "stubborn"
step "polite" {
    run "sh" "-c" "sleep 30; echo > out/x"
    tools "sleep"
    output "x"
}
step "deaf" {
    run "sh" "-c" "trap '' INT TERM HUP; sleep 30 & sleep 31; sleep 32; echo > out/x"
    tools "sleep"
    output "x"
}
step "session" {
    run "sh" "-c" "trap '' TERM; setsid sleep 33 & setsid setsid sh -c 'trap \"\" TERM INT HUP; sleep 34; sleep 35' & sleep 36; echo > out/x"
    tools "sleep" "setsid"
    output "x"
}
step "orphans" {
    run "sh" "-c" "(setsid sh -c '(sleep 37 &) ; (sleep 38 &)' &) ; sleep 39; echo > out/x"
    tools "sleep" "setsid"
    output "x"
}
step "quick" {
    run "sh" "-c" "echo quick > out/x"
    output "x"
}
"##;

const QUICK: &str =
    "pipeline \"stubborn\"\nstep \"quick\" {\n    run \"sh\" \"-c\" \"echo quick > out/x\"\n    output \"x\"\n}\n";

/// What is sent, one after the other.
const SIGNALS: [&[Signal]; 6] = [
    &[Signal::INT],
    &[Signal::TERM],
    &[Signal::HUP],
    &[Signal::INT, Signal::INT],
    &[Signal::TERM, Signal::KILL],
    &[Signal::KILL],
];

/// How long after the first signal something may be left.
const GONE: Duration = Duration::from_secs(2);

/// Interrupts.
pub fn run(asked: &Asked) -> Result<Tally, String> {
    let strict = super::syscalls::has("bwrap");
    let interrupted = AtomicUsize::new(0);
    let (times, boxed_times) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    let home = Place::new(asked, "interrupt-engine")?;
    let engine = boxed::engine(home.root());
    if let Err(lack) = &engine
        && std::env::var("PIPE_TEST_REQUIRE").is_ok_and(|value| value == "all")
    {
        return Ok(Tally::skipped(lack));
    }
    let mut tally = sweep("interrupt", asked, asked.size(500, 50), |index| {
        let mut random = Random::of_case(asked.seed, index);
        let mut place = Place::new(asked, &format!("interrupt-{index}"))?;
        place.sandbox = if strict && index % 2 == 1 { "strict" } else { "off" };
        let file = place.root().join("stubborn.kdl");
        std::fs::write(&file, STUBBORN).map_err(|error| error.to_string())?;
        let signals = *random.pick(&SIGNALS);
        if let (Ok(engine), 4) = (&engine, index % 5) {
            let (what, bad, took) = in_a_box(&place, engine, signals, &mut random)?;
            boxed_times.lock().unwrap_or_else(PoisonError::into_inner).extend(took);
            return Ok(vec![(what, bad)]);
        }
        let at = Duration::from_micros(random.next() % 700_000);
        let file = file.to_string_lossy().into_owned();
        let words = ["run", &file, "--sandbox", place.sandbox, "--color", "never", "--jobs", "8"];
        let path = tools(&place)?;
        let mut running = place.start("stopped", place.command(&words).env("PATH", &path))?;
        std::thread::sleep(at);
        interrupted.fetch_add(usize::from(!running.is_over()), Ordering::Relaxed);
        let asked = Instant::now();
        send(&running, signals, &mut random);
        let ended = running.wait(Duration::from_secs(20))?;
        let mut bad = leftovers::wait(&place.mark(), GONE.saturating_sub(asked.elapsed()));
        let took = asked.elapsed();
        if bad.is_empty() && took > GONE {
            bad.push(Bad::new(Rule::Left, format!("nothing was left only {took:.1?} after the signal")));
        }
        times.lock().unwrap_or_else(PoisonError::into_inner).push(took);
        bad.extend(said(&ended, signals));
        bad.extend(next(&place, &words, &path)?);
        let what = format!("{signals:?} to `pipe` after {:.1} ms, sandbox {}", at.as_secs_f64() * 1e3, place.sandbox);
        Ok(vec![(what, bad)])
    });
    let (interrupted, times) = (interrupted.into_inner(), times.into_inner().unwrap_or_else(PoisonError::into_inner));
    tally.notes.push(format!("{interrupted} signals met a live run; until nothing was left: {}", spread(times)));
    let times = boxed_times.into_inner().unwrap_or_else(PoisonError::into_inner);
    tally.notes.push(match engine {
        Ok(_) => format!("{} met a container; until none was left: {}", times.len(), spread(times)),
        Err(lack) => format!("no containers: {lack}"),
    });
    Ok(tally)
}

/// The times from the signal to the end, in three figures.
fn spread(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let at = |share: f64| {
        let last = times.len().saturating_sub(1);
        times.get((last as f64 * share).round() as usize).map_or(0, Duration::as_millis)
    };
    format!("median {} ms, 95 % {} ms, longest {} ms", at(0.5), at(0.95), at(1.0))
}

fn send(running: &Running, signals: &[Signal], random: &mut Random) {
    for (n, signal) in signals.iter().enumerate() {
        if n > 0 {
            std::thread::sleep(Duration::from_micros(random.next() % 150_000));
        }
        running.signal(*signal);
    }
}

/// One case with a container; gives back how long it was there, if it was.
fn in_a_box(
    place: &Place,
    engine: &Path,
    signals: &[Signal],
    random: &mut Random,
) -> Result<(String, Vec<Bad>, Option<Duration>), String> {
    boxed::write(place, engine).map_err(|error| error.to_string())?;
    let file = place.root().join("stubborn.kdl").to_string_lossy().into_owned();
    let words = ["run", &file, "--sandbox", place.sandbox, "--color", "never"];
    let path = tools(place)?;
    let mut running = place.start("stopped", place.command(&words).env("PATH", &path))?;
    let is_up = boxed::approach(&mut running, random);
    let pid = running.id();
    if running.is_over() {
        let ended = running.wait(Duration::from_secs(1))?;
        return Err(format!("the engine did not wait to be stopped:\n{}", checker::indented(&ended.err)));
    }
    let asked = Instant::now();
    send(&running, signals, random);
    let ended = running.wait(Duration::from_secs(30))?;
    let (mut bad, took) = boxed::gone(pid, asked);
    bad.extend(leftovers::wait(&place.mark(), boxed::GONE.saturating_sub(asked.elapsed())));
    bad.extend(said(&ended, signals));
    bad.extend(next(place, &words, &path)?);
    // Whoever was killed may have made one just then.
    bad.extend(boxed::gone(pid, Instant::now()).0);
    let what = format!("{signals:?} to `pipe` with {} container", if is_up { "a" } else { "no" });
    Ok((what, bad, is_up.then_some(took)))
}

/// The next run needs nothing done first, and leaves nothing.
fn next(place: &Place, words: &[&str], path: &Path) -> Result<Vec<Bad>, String> {
    let mut bad = place.sound()?;
    std::fs::write(place.root().join("stubborn.kdl"), QUICK).map_err(|error| error.to_string())?;
    let next = place.start("next", place.command(words).env("PATH", path))?.wait(Duration::from_secs(60))?;
    bad.extend(checker::words(&next));
    if next.code != Some(0) {
        bad.push(Bad::new(Rule::NextRun, format!("the next run ends with {:?}", next.code)));
    }
    bad.extend(checker::scratch(&place.store));
    bad.extend(leftovers::wait(&place.mark(), Duration::from_secs(2)));
    Ok(bad)
}

/// A search path with no other tools than these: what asks others for their versions is under no supervisor, and would
/// be all that is found to be left.
fn tools(place: &Place) -> Result<std::path::PathBuf, String> {
    let folder = place.root().join("bin");
    std::fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    for tool in ["sh", "sleep", "setsid", "bwrap"] {
        let found = std::env::split_paths(&path).map(|folder| folder.join(tool)).find(|file| file.is_file());
        if let Some(found) = found {
            std::os::unix::fs::symlink(found, folder.join(tool)).map_err(|error| error.to_string())?;
        }
    }
    Ok(folder)
}

/// Who is asked to end says so, with the code that is documented.
fn said(ended: &Ended, signals: &[Signal]) -> Vec<Bad> {
    let mut bad = Vec::new();
    if signals.len() == 1 && signals[0] != Signal::KILL {
        // Before it listens, a signal ends it as it ends any program.
        let early = ended.signal == Some(signals[0].as_raw());
        if !early {
            bad.extend(checker::words(ended));
        }
        if !early && ended.code != Some(130) {
            let words = checker::indented(&ended.err);
            bad.push(Bad::new(Rule::Words, format!("exit code {:?}, not 130\n{words}", ended.code)));
        }
    }
    if ended.hung {
        bad.push(Bad::new(Rule::Left, "it did not end by itself"));
    }
    bad
}
