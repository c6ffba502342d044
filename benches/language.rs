//! What reading, checking and planning cost: ratios against the KDL parser in the same run, and whole processes.
//!
//! `cargo bench --bench language` prints one table and ends with 1 where a bound is broken. Times are medians;
//! bounds that are times hold on a machine of 2020 or later that has nothing else to do, ratios anywhere.

#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "a benchmark talks to a person"
)]

mod usage;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use pipe::resolve::{Disk, Facts, Options, load};

/// Steps written out, as a generator would: 1.8 MB.
fn literal_steps(count: usize) -> String {
    let mut text = "pipeline \"literal\"\n".to_owned();
    for i in 0..count {
        let needs = if i % 100 == 0 { String::new() } else { format!(" (step)\"s{}/out.txt\"", i - 1) };
        let _ = writeln!(
            text,
            "step \"s{i}\" about=\"literal step number {i} of {count}\" {{\n    \
             run \"sh\" \"-c\" \"cat $1 > $2; echo {i} >> $2\" \"sh\"{needs} (output)\"out.txt\"\n    \
             output \"out.txt\"\n}}"
        );
    }
    text
}

/// One step for each of 10^`axes` cells.
fn cells(axes: usize) -> String {
    let mut text = "pipeline \"cells\"\nmatrix \"m\" {\n".to_owned();
    let names: Vec<char> = "abcdefgh".chars().take(axes).collect();
    for axis in &names {
        let values: Vec<String> = (0..10).map(|n| format!("\"{axis}{n}\"")).collect();
        let _ = writeln!(text, "    axis \"{axis}\" {}", values.join(" "));
    }
    let args: Vec<String> = names.iter().map(|axis| format!("(axis)\"{axis}\"")).collect();
    let _ = write!(
        text,
        "}}\nstep \"s\" for-each=\"m\" {{\n    run \"sh\" \"-c\" \"echo $@ > $0\" (output)\"out.txt\" {}\n    \
         output \"out.txt\"\n}}\n",
        args.join(" ")
    );
    text
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// The median wall time of some runs, and the largest resident set among them in MiB.
fn process(arguments: &[&str], runs: usize) -> (Duration, f64) {
    let mut times = Vec::new();
    let mut peak: f64 = 0.0;
    for _ in 0..runs {
        let start = Instant::now();
        let child = Command::new(env!("CARGO_BIN_EXE_pipe")).args(arguments).stdout(Stdio::null()).spawn();
        let mut child = child.expect("pipe starts");
        let usage = usage_of(&mut child);
        times.push(start.elapsed());
        peak = peak.max(usage);
    }
    (median(times), peak)
}

/// Waits for a child and tells its largest resident set in MiB.
fn usage_of(child: &mut std::process::Child) -> f64 {
    let (status, bytes) = usage::wait(child);
    assert_eq!(status, 0, "pipe ends well");
    bytes / f64::from(1 << 20)
}

struct Table {
    broken: bool,
}

impl Table {
    fn row(&mut self, what: &str, value: f64, unit: &str, most: f64) {
        let verdict = if value <= most { "ok" } else { "TOO MUCH" };
        self.broken |= value > most;
        println!("{what:<58} {value:>9.2} {unit:<5} at most {most:>6} {verdict}");
    }
}

fn main() -> ExitCode {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = folder.path().join("store").display().to_string();
    let write = |name: &str, text: &str| -> PathBuf {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("a file");
        path
    };
    let mut table = Table { broken: false };
    let text = literal_steps(10_000);
    let literal = write("literal.kdl", &text);
    // A child starts out with the resident set of who starts it, so this process stays small until the end.
    let facts = Facts { os: "linux".to_owned(), arch: "x86_64".to_owned(), gpu: "none".to_owned(), python: None };
    let disk = Disk::new(folder.path().to_owned());
    let mut timed = |what: &str, file: &Path, command: &str, runs: usize, cold: bool, most_ms: f64, most_mib: f64| {
        let file = file.display().to_string();
        let arguments = ["--store", &store, command, &file];
        if cold {
            let (mut times, mut peak) = (Vec::new(), 0.0f64);
            for _ in 0..runs {
                let _ = std::fs::remove_dir_all(Path::new(&store).join("advice"));
                let (time, used) = process(&arguments, 1);
                times.push(time);
                peak = peak.max(used);
            }
            table.row(what, median(times).as_secs_f64() * 1e3, "ms", most_ms);
            table.row("  its peak memory", peak, "MiB", most_mib);
        } else {
            process(&arguments, 1);
            let (time, peak) = process(&arguments, runs);
            table.row(what, time.as_secs_f64() * 1e3, "ms", most_ms);
            table.row("  its peak memory", peak, "MiB", most_mib);
        }
    };
    timed("check, 10,000 literal steps, kept", &literal, "check", 9, false, 60.0, 64.0);
    timed("plan, 10,000 literal steps, kept", &literal, "plan", 5, false, 120.0, 64.0);
    let ten_thousand = write("cells10k.kdl", &cells(4));
    timed("check, 10,000 cells, first time", &ten_thousand, "check", 9, true, 100.0, 100.0);
    timed("check, 10,000 cells, kept", &ten_thousand, "check", 9, false, 60.0, 64.0);
    let hundred_thousand = write("cells100k.kdl", &cells(5));
    timed("plan, 100,000 cells, first time", &hundred_thousand, "plan", 3, true, 2_000.0, 500.0);
    timed("plan, 100,000 cells, kept", &hundred_thousand, "plan", 3, false, 2_000.0, 500.0);
    let main = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines/llm-6gb.kdl");
    timed("check, the main pipeline, first time", &main, "check", 15, true, 25.0, 32.0);
    timed("check, the main pipeline, kept", &main, "check", 15, false, 10.0, 16.0);
    let twelve = write("twelve.kdl", &cells(1).replace("\"a9\"", "\"a9\" \"a10\" \"a11\""));
    timed("check, a matrix of 12 cells, first time", &twelve, "check", 15, true, 10.0, 16.0);
    // In turn, so that a slow phase of the machine meets both; the parser gets the stack that it needs.
    let (mut parser, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..7 {
        let start = Instant::now();
        assert!(kdl::KdlDocument::parse_v2(&text).is_ok());
        parser.push(start.elapsed());
        let start = Instant::now();
        let (pipeline, found) = load(Path::new("literal.kdl"), &Options::default(), &disk, &facts);
        assert!(pipeline.is_some() && found.is_empty());
        ours.push(start.elapsed());
    }
    let (parser, ours) = (median(parser), median(ours));
    println!("the kdl crate parses {} MB in {:.0} ms", text.len() / 1_000_000, parser.as_secs_f64() * 1e3);
    table.row(
        "10,000 literal steps, resolved, over the parser alone",
        ours.as_secs_f64() / parser.as_secs_f64(),
        "x",
        1.3,
    );
    if table.broken { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
