//! Breaks `pipe` on purpose and judges what is left: one command for each scenario, `ci` and `all` for many.
//!
//! `format`, `folder` and `checker` read and judge; `leftovers` looks for what was left; `project` and `place` are what
//! is run and where; `sweep` counts; `scenario` holds what is done to it.

mod checker;
mod disk;
mod folder;
mod format;
mod leftovers;
mod place;
mod project;
mod random;
mod scenario;
mod sweep;
mod verdict;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use sweep::{Asked, Tally};

type Scenario = fn(&Asked) -> Result<Tally, String>;

/// Name, what it does, how.
const SCENARIOS: &[(&str, &str, Scenario)] = &[
    ("kill", "kill -9 of the whole process group at random times, then run again", scenario::kill::run),
    ("syscalls-kill", "kill -9 at each durable system call of one run", scenario::syscalls::kill),
    ("nth-call", "the N-th call fails with EIO, ENOSPC, EMFILE or EINTR, or is short", scenario::syscalls::nth),
    ("power", "the power goes, on ext4 and xfs, and comes back", scenario::power::run),
    ("small-disks", "the store's disk or the outputs' is too small, or has too few inodes", scenario::disks::run),
    ("damage", "flipped, cut, zeroed, longer, replaced: objects, packs, records, checkouts", scenario::damage::run),
    ("crowd", "32 processes on one store, with gc and verify in loops", scenario::crowd::run),
    ("interrupt", "signals to `pipe` alone, and steps that don't want to end", scenario::interrupt::run),
    ("vary", "one pipeline in 15 different surroundings", scenario::vary::run),
];

const USAGE: &str = "usage: pipe-faults SCENARIO… | ci | all [--full] [--count N] [--seed S] [--case N] [--point 'EIO fsync 3'] [--threads N] \
                     [--pipe PATH] [--scratch FOLDER]";

fn main() -> ExitCode {
    heed_signals();
    match command(std::env::args().skip(1).collect()) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(message) => {
            eprintln!("pipe-faults: {message}");
            ExitCode::from(2)
        }
    }
}

/// Undoes that signals are ignored: a shell has what it starts in the background ignore Ctrl-C, `nohup` a hang-up, and
/// children would inherit that.
fn heed_signals() {
    for signal in [libc::SIGINT, libc::SIGQUIT, libc::SIGHUP, libc::SIGTERM] {
        // SAFETY: no handler is put in place, and nothing else runs in this process yet.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

/// Runs what the words ask for; gives back how many cases and scenarios were bad.
fn command(words: Vec<String>) -> Result<usize, String> {
    let (names, asked) = read(words)?;
    std::fs::create_dir_all(&asked.scratch).map_err(|error| format!("`{}`: {error}", asked.scratch.display()))?;
    println!("{} · seed {} · {} threads · {}", asked.pipe.display(), asked.seed, asked.threads, kernel());
    let required = std::env::var("PIPE_TEST_REQUIRE").is_ok_and(|value| value == "all");
    let mut bad = 0;
    for (name, about, scenario) in SCENARIOS.iter().filter(|(name, ..)| names.iter().any(|asked| asked == name)) {
        println!("{name}: {about}");
        let began = Instant::now();
        let tally = scenario(&asked).unwrap_or_else(|error| {
            println!("  BAD {name}: the harness could not do it: {error}");
            Tally { cases: 1, bad: 1, ..Tally::default() }
        });
        let seconds = began.elapsed().as_secs_f64();
        tally.notes.iter().for_each(|note| println!("    {note}"));
        bad += tally.bad;
        match &tally.skipped {
            Some(why) if required => {
                println!("  {name}: SKIPPED, which PIPE_TEST_REQUIRE=all forbids: {why}");
                bad += 1;
            }
            Some(why) => println!("  {name}: SKIPPED: {why}"),
            None => println!("  {name}: {} cases, {} bad, seed {}, {seconds:.0} s", tally.cases, tally.bad, asked.seed),
        }
    }
    if std::env::var_os("PIPE_FAULTS_KEEP").is_none() {
        let _ = folder::remove(&asked.scratch);
    }
    println!("{}", if bad == 0 { "nothing is bad".to_owned() } else { format!("{bad} BAD") });
    Ok(bad)
}

fn read(words: Vec<String>) -> Result<(Vec<String>, Asked), String> {
    let mut names: Vec<String> = Vec::new();
    let memory = PathBuf::from("/dev/shm");
    let scratch = if memory.is_dir() { memory } else { std::env::temp_dir() };
    let mut asked = Asked {
        pipe: PathBuf::new(),
        scratch: scratch.join(format!("pipe-faults-{}", std::process::id())),
        seed: 1,
        count: None,
        only: None,
        point: None,
        full: false,
        // Two for each processor, since most of a case is waiting.
        threads: 2 * std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
    };
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("`{word}` needs a value; {USAGE}"));
        let number = |text: String| text.parse::<u64>().map_err(|_| format!("`{text}` is no number; {USAGE}"));
        match word.as_str() {
            "--full" => asked.full = true,
            "--count" => asked.count = Some(number(value()?)? as usize),
            "--seed" => asked.seed = number(value()?)?,
            "--case" => asked.only = Some(number(value()?)? as usize),
            "--point" => {
                let text = value()?;
                let words: Vec<&str> = text.split(' ').collect();
                let [error, call, n] = words[..] else {
                    return Err(format!("`{text}` is no point: `EIO fsync 3`, or `kill write 12`"));
                };
                asked.point = Some((error.to_owned(), call.to_owned(), number(n.to_owned())? as usize));
            }
            "--threads" => asked.threads = number(value()?)? as usize,
            "--pipe" => asked.pipe = PathBuf::from(value()?),
            "--scratch" => asked.scratch = PathBuf::from(value()?).join(format!("pipe-faults-{}", std::process::id())),
            "ci" | "all" => names.extend(SCENARIOS.iter().map(|(name, ..)| (*name).to_owned())),
            name if SCENARIOS.iter().any(|(known, ..)| *known == name) => names.push(name.to_owned()),
            other => return Err(format!("`{other}` is no scenario; {USAGE}\n{}", list())),
        }
    }
    if names.is_empty() {
        return Err(format!("{USAGE}\n{}", list()));
    }
    if asked.pipe.as_os_str().is_empty() {
        // Beside this program, where cargo puts both.
        asked.pipe = std::env::current_exe().map_err(|error| error.to_string())?.with_file_name("pipe");
    }
    asked.pipe = asked.pipe.canonicalize().map_err(|error| {
        format!("`{}`: {error}; build it with `cargo build`, or name one with `--pipe`", asked.pipe.display())
    })?;
    Ok((names, asked))
}

fn list() -> String {
    SCENARIOS.iter().map(|(name, about, _)| format!("  {name:16} {about}")).collect::<Vec<_>>().join("\n")
}

fn kernel() -> String {
    let uname = rustix::system::uname();
    format!("{} {}", uname.sysname().to_string_lossy(), uname.release().to_string_lossy())
}
