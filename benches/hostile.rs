//! What texts cost that somebody wrote to cost much: whole processes, each on its own.
//!
//! `cargo bench --bench hostile` prints one table and ends with 1 where a bound is broken. What is refused has
//! 50 ms and 64 MB; any other text has 1 s and 80 MB for each MiB of text, beside the 10 MB
//! that the program takes itself. Times are the best of three runs, and
//! hold on a machine of 2020 or later that has nothing else to do.

#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "a benchmark talks to a person, and starts `pipe`"
)]

mod usage;

use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

const MIB: usize = 1 << 20;

/// What a text is held to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Bound {
    /// 50 ms and 64 MB.
    Refused,
    /// 1 s and 80 MB for each MiB, of which there are so many, and 10 MB.
    Read(usize),
}

/// Names that the texts are made by, here and in the processes that write them.
const REFUSED: [(&str, &str); 6] = [
    ("a /-{ 100 times", "a /-{\n"),
    ("100,000 nested blocks", "a {\n"),
    ("10 MB of one line", "a"),
    ("binary", "\0\u{7f}\u{1}"),
    ("bidirectional characters", "a \u{202e}\n"),
    ("invalid UTF-8", "pipeline \n"),
];

/// A piece that is repeated, with what stands before and behind all of them.
const READ: [(&str, [&str; 3]); 34] = [
    (
        "steps",
        ["pipeline \"p\"\n", "step \"s%\" {\n    run \"sh\" \"-c\" \"echo % > out/x\"\n    output \"x\"\n}\n", ""],
    ),
    ("parameters", ["pipeline \"p\"\n", "param \"p%\" 1 about=\"a number\"\n", "step \"s\" { run \"x\" }\n"]),
    (
        "axis",
        ["pipeline \"p\"\nmatrix \"m\" { axis \"a\"", " \"v%\"", "\n}\nstep \"s\" for-each=\"m\" { run \"x\" }\n"],
    ),
    ("arguments", ["pipeline \"p\"\nstep \"s\" { run", " \"x%\"", " }\n"]),
    ("inputs", ["pipeline \"p\"\nstep \"s\" {\n", "input (file)\"f%\"\n", "run \"x\" }\n"]),
    ("imports", ["pipeline \"p\"\nuse", " \"f%\"", "\n"]),
    ("unknown nodes", ["pipeline \"p\"\n", "unknown-%\n", ""]),
    ("unknown blocks", ["pipeline \"p\"\n", "unknown {\n", ""]),
    ("slashdash nodes", ["pipeline \"p\"\n", "/-a b c=1\n", ""]),
    ("slashdash entries", ["pipeline \"p\"", " /-\"abc\"", "\n"]),
    ("slashdash blocks", ["pipeline \"p\"\n", "a /-{ b } c\n", ""]),
    ("annotations", ["pipeline \"p\"", " (t)\"abc\"", "\n"]),
    ("properties", ["pipeline \"p\"", " key=\"abc\"", "\n"]),
    ("long text", ["pipeline \"", "x", "\"\n"]),
    ("escapes", ["pipeline \"", "\\n\\u{41}", "\"\n"]),
    ("escaped line ends", ["pipeline \"", "\\\n", "\"\n"]),
    ("lines of a text", ["pipeline \"\"\"\n", "  x\n", "  \"\"\"\n"]),
    ("lines of a raw text", ["pipeline #\"\"\"\n", "\"\"\n", "\"\"\"#\n"]),
    ("hashes of a raw text", ["pipeline ####\"", "\"### ", "\"####\n"]),
    ("long name", ["", "x", "\n"]),
    ("long number", ["pipeline ", "1", "\n"]),
    ("long decimal", ["pipeline 1.", "1", "\n"]),
    ("blanks", ["pipeline ", " ", "\"p\"\n"]),
    ("line ends", ["pipeline \"p\"\n", "\n", ""]),
    ("continued lines", ["pipeline", " \\       \n", "\"p\"\n"]),
    ("line comments", ["pipeline \"p\"\n", "// a comment\n", ""]),
    ("block comments", ["pipeline \"p\" ", "/* a */ ", "\n"]),
    ("stars in a comment", ["pipeline \"p\" /*", "* / ", "*/\n"]),
    ("an unclosed comment", ["", "/*", ""]),
    ("equals signs", ["", "=", ""]),
    ("parentheses", ["", "(", ""]),
    ("short nodes", ["", "a\n", ""]),
    ("bad escapes", ["pipeline \"p\"\n", "a \"\\q\"\n", ""]),
    ("bad values", ["pipeline \"p\"\n", "abcde true 12x\n", ""]),
];

/// The text of a name.
fn text(name: &str, mib: usize) -> String {
    if let Some((_, piece)) = REFUSED.iter().find(|(known, _)| *known == name) {
        return match name {
            "a /-{ 100 times" => piece.repeat(100),
            "100,000 nested blocks" => piece.repeat(100_000),
            "10 MB of one line" => piece.repeat(10_000_000),
            _ => piece.repeat(MIB / piece.len()),
        };
    }
    let (_, [start, piece, end]) = READ.iter().find(|(known, _)| *known == name).expect("a known text");
    let mut text = (*start).to_owned();
    let mut count = 0usize;
    while text.len() + piece.len() + end.len() + 8 < mib * MIB {
        match piece.contains('%') {
            true => text += &piece.replace('%', &count.to_string()),
            false => text += piece,
        }
        count += 1;
    }
    text + end
}

/// The best wall time of three runs of `pipe check`, and the largest resident set in MB.
fn check(folder: &Path, file: &Path) -> (Duration, f64) {
    let mut best = Duration::MAX;
    let mut peak: f64 = 0.0;
    for _ in 0..3 {
        let start = Instant::now();
        let mut child = Command::new(env!("CARGO_BIN_EXE_pipe"))
            .args(["check", "--store"])
            .args([&folder.join("store"), file])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("pipe starts");
        peak = peak.max(usage_of(&mut child));
        best = best.min(start.elapsed());
        // Every run reads the text: what the store keeps of it goes.
        let _ = std::fs::remove_dir_all(folder.join("store"));
    }
    (best, peak)
}

/// Waits for a child and tells its largest resident set in MB; it must have ended by itself.
fn usage_of(child: &mut std::process::Child) -> f64 {
    let (status, bytes) = usage::wait(child);
    assert!(libc::WIFEXITED(status), "`pipe check` was ended by a signal");
    bytes / 1e6
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().collect();
    if let [_, write, name, mib, path] = &args[..]
        && write == "--write"
    {
        let mut bytes = text(name, mib.parse().expect("a number")).into_bytes();
        if name == "invalid UTF-8" {
            bytes.push(0xff);
        }
        std::fs::write(path, bytes).expect("a file");
        return ExitCode::SUCCESS;
    }
    let only: Vec<&String> = args[1..].iter().filter(|arg| !arg.starts_with("--")).collect();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("text.kdl");
    let refused = REFUSED.iter().map(|(name, _)| (*name, Bound::Refused));
    let read = [1, 3].into_iter().flat_map(|mib| READ.iter().map(move |(name, _)| (*name, Bound::Read(mib))));
    let mut broken = 0;
    println!("{:<28} {:>5} {:>9} {:>8}", "text", "MiB", "time", "memory");
    for (name, bound) in refused.chain(read) {
        if !only.is_empty() && !only.iter().any(|word| name.contains(word.as_str())) {
            continue;
        }
        let mib = if let Bound::Read(mib) = bound { mib } else { 0 };
        // In a process of its own: a child's peak is at least what its parent has when it starts.
        let exe = std::env::current_exe().expect("this program");
        let made = Command::new(exe).args(["--write", name, &mib.to_string()]).arg(&file).status().expect("it starts");
        assert!(made.success(), "the text is written");
        let (time, memory) = check(folder.path(), &file);
        let (most_time, most_memory) = match bound {
            Bound::Refused => (Duration::from_millis(50), 64.0),
            Bound::Read(mib) => (Duration::from_secs(mib as u64), 10.0 + 80.0 * mib as f64),
        };
        let holds = time <= most_time && memory <= most_memory;
        broken += usize::from(!holds);
        let size = if mib == 0 { "-".to_owned() } else { mib.to_string() };
        let millis = time.as_secs_f64() * 1e3;
        println!("{name:<28} {size:>5} {millis:>6.0} ms {memory:>5.0} MB{}", if holds { "" } else { "  BROKEN" });
    }
    match broken {
        0 => ExitCode::SUCCESS,
        _ => {
            println!("{broken} bounds are broken");
            ExitCode::FAILURE
        }
    }
}
