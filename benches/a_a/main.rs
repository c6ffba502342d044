//! A/A: two equal arms against each other, again and again: `cargo bench --bench a_a`.
//!
//! Each repeat is a whole `pipe run --remeasure` of `a_a.kdl`: two fresh processes of the torch engine with the same small
//! model take turns in blocks, two seconds each, and the report says whether they differ. As nothing differs, a 99 %
//! interval that leaves out 1 is a false alarm: at most 5 of 100 are borne, and more end it with 1. Neither is a machine
//! that is busy with something else an excuse: that is what taking turns is for.
//!
//! `PIPE_BENCH_REPEATS` makes it shorter, for a try, and `PIPE_BENCH_SET` gives parameters (`threads=2 size=135m`).
//! `PIPE_STORE` is a store that has the engine already; else the first run builds it. The sessions stay in the store.

#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "a benchmark talks to a person, reads what it is told, and starts programs"
)]

use std::env;
use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use serde_json::Value;

/// The part of the repeats that may be false alarms: more than 99 % intervals let expect, and what is asked of them.
const BORNE: f64 = 0.05;

fn main() -> ExitCode {
    let repeats: u32 = env::var("PIPE_BENCH_REPEATS").ok().and_then(|text| text.parse().ok()).unwrap_or(100);
    let settings = env::var("PIPE_BENCH_SET").unwrap_or_default();
    let set: Vec<&str> = settings.split_whitespace().flat_map(|one| ["--set", one]).collect();
    let folder = tempfile::tempdir().expect("a folder");
    // What is missing is made first, and says so.
    if let Err(why) = run(folder.path(), &set, Stdio::inherit()) {
        println!("{why}");
        return ExitCode::from(1);
    }
    let mut calm = 0;
    for repeat in 1..=repeats {
        let found = run(folder.path(), &[&["--remeasure"], &set[..]].concat(), Stdio::piped())
            .map(|()| Found::read(&folder.path().join("a_a/report.json")));
        // A run that fails tells nothing, and so it is none of those without a difference.
        calm += u32::from(found.as_ref().is_ok_and(Found::is_calm));
        println!("{repeat:4}  {}", found.map_or_else(|why| why, |found| found.line()));
    }
    let enough = f64::from(repeats - calm) <= BORNE * f64::from(repeats);
    let met = if enough { "met" } else { "NOT MET" };
    println!("\nno difference in {calm} of {repeats} repeats; asked for are {:.0} %: {met}", 100.0 * (1.0 - BORNE));
    if enough { ExitCode::SUCCESS } else { ExitCode::from(1) }
}

/// One run of the pipeline; its reports go to `out`.
fn run(out: &Path, args: &[&str], said: Stdio) -> Result<(), String> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/a_a/a_a.kdl");
    let mut command = Command::new(env!("CARGO_BIN_EXE_pipe"));
    command.arg("run").arg(file).arg("--out").arg(out).args(args);
    // What it looks for is between runs, and here each run is for itself.
    command.env("PIPE_SENTINEL", "off");
    let ended = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(said).output().expect("pipe starts");
    match ended.status.success() {
        true => Ok(()),
        false => Err(format!("pipe ended with {}\n{}", ended.status, String::from_utf8_lossy(&ended.stderr))),
    }
}

/// What a report says of the second arm against the first.
struct Found {
    verdict: String,
    ratio: f64,
    low: f64,
    high: f64,
    /// The sizes of both arms: samples, and blocks.
    taken: [(usize, usize); 2],
    cautions: Vec<String>,
}

impl Found {
    fn read(report: &Path) -> Found {
        let text = fs::read_to_string(report).expect("a report");
        let report: Value = serde_json::from_str(&text).expect("JSON");
        let [first, second] = [0, 1].map(|at: usize| &report["cells"][at]);
        let found = &second["speed_ups"]["time-per-output-token"];
        let number = |value: &Value| value.as_f64().unwrap_or(f64::NAN);
        let count = |value: &Value| value.as_array().map_or(0, Vec::len);
        let taken = |cell: &Value| {
            let session = &cell["sessions"][0];
            (count(&session["samples"]), count(&session["turns"]["blocks"]))
        };
        let cautions = second["cautions"].as_array().into_iter().flatten();
        Found {
            verdict: found["verdict"].as_str().unwrap_or("no verdict").to_owned(),
            ratio: number(&found["ratio"]),
            low: number(&found["interval"][0]),
            high: number(&found["interval"][1]),
            taken: [taken(first), taken(second)],
            cautions: cautions.filter_map(|caution| Some(caution["code"].as_str()?.to_owned())).collect(),
        }
    }

    /// True where nothing was found that is not there: the interval itself, without the correction of the verdict.
    fn is_calm(&self) -> bool {
        self.low <= 1.0 && 1.0 <= self.high
    }

    fn line(&self) -> String {
        let Found { verdict, ratio, low, high, taken: [a, b], cautions } = self;
        let mark = if self.is_calm() { "" } else { "  <- 1 is outside" };
        format!(
            "ratio {ratio:.4} ({low:.4} to {high:.4})  {verdict}; {} and {} samples in {} and {} blocks; {}{mark}",
            a.0,
            b.0,
            a.1,
            b.1,
            if cautions.is_empty() { "no cautions".to_owned() } else { cautions.join(", ") }
        )
    }
}
