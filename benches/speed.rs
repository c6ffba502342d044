//! What running costs beside other programs on the same graph: `cargo bench --bench speed` prints one table.
//!
//! Each row is measured in rounds in which `pipe` and its peers take turns, so that a ratio holds on a machine that is
//! busy with something else too; medians are shown. Peers are `ninja`, `n2` and `make` where the search path has them,
//! or `PIPE_BENCH_NINJA` and `PIPE_BENCH_N2` name them; a row whose peer is missing says so. Work is done in memory
//! (`/dev/shm`), or below `PIPE_BENCH_DIR`. `PIPE_BENCH_STEPS` makes the large graph smaller, for a try. It ends with
//! 1 where a bound is broken.

#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "a benchmark talks to a person, reads what it is told, and starts programs"
)]

mod layered;
mod used;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use layered::Layered;
use used::{Used, used};

const ROUNDS: usize = 7;
/// Rounds of the dear row, in which everything is made anew.
const COLD: usize = 3;
const MIB: f64 = 1048576.0;
/// Steps of the graph of which one leaf changes, and of the one for the sandbox.
const SMALL: usize = 1000;
const HELD: usize = 100;

fn main() -> ExitCode {
    let mut args = env::args().skip(1);
    match args.next().as_deref() {
        Some("bare") => return bare(&args.next().expect("a file of commands"), || Command::new("sh")),
        Some("bwrap") => return bare(&args.next().expect("a file of commands"), bubblewrap),
        _ => {}
    }
    let base = env::var_os("PIPE_BENCH_DIR").map_or_else(default_folder, PathBuf::from);
    let folder = tempfile::Builder::new().prefix("pipe-speed-").tempdir_in(&base).expect("a folder");
    let steps = env::var("PIPE_BENCH_STEPS").ok().and_then(|text| text.parse().ok()).unwrap_or(10_000);
    println!("{steps} steps in {}; medians of rounds in which all take turns\n", base.display());
    let mut table = Table::default();
    large(&mut table, folder.path(), Layered { steps });
    one_leaf(&mut table, folder.path(), Layered { steps: SMALL });
    sandbox(&mut table, folder.path(), Layered { steps: HELD });
    startup(&mut table, folder.path());
    table.print();
    if table.broken { ExitCode::from(1) } else { ExitCode::SUCCESS }
}

/// The floor: each command in a shell of its own, one after the other, nothing stored, nothing asked.
fn bare(file: &str, shell: impl Fn() -> Command) -> ExitCode {
    let text = fs::read_to_string(file).expect("commands");
    for line in text.lines() {
        assert!(shell().args(["-c", line]).status().expect("a shell").success());
    }
    ExitCode::SUCCESS
}

/// A shell in namespaces of its own, with the system's files and the working folder, as one would write it by hand.
fn bubblewrap() -> Command {
    let here = env::current_dir().expect("a folder");
    let mut command = Command::new("bwrap");
    command.args(["--unshare-all", "--die-with-parent", "--new-session", "--proc", "/proc", "--dev", "/dev"]);
    for folder in ["/usr", "/bin", "/lib", "/lib64"] {
        command.args(["--ro-bind-try", folder, folder]);
    }
    command.args(["--tmpfs", "/tmp", "--bind"]).args([&here, &here]).arg("--chdir").arg(&here).args(["--", "sh"]);
    command
}

fn default_folder() -> PathBuf {
    Some(PathBuf::from("/dev/shm")).filter(|folder| folder.is_dir()).unwrap_or_else(env::temp_dir)
}

/// The rows of the large graph: cold, then cached, then planned, then drawn.
fn large(table: &mut Table, folder: &Path, graph: Layered) {
    let (pipe, ninja) = (Peer::pipe(folder, graph, false), Peer::ninja(folder, graph));
    let (n2, make) = (Peer::n2(folder, graph), Peer::make(folder, graph));
    let cores = format!("-j{}", cores());
    let file = folder.join("commands");
    fs::write(&file, graph.commands()).expect("written");
    let shells = Peer::new("a bare loop", env::current_exe().ok(), folder, graph, |_| {});
    let (bare, pipe_run) = (["bare", &*file.to_string_lossy()], [&PIPE_RUN[..], &[&*cores]].concat());
    let peers: [(&Peer, &[&str]); 5] = [
        (&pipe, &pipe_run),
        (&shells, &bare),
        (&ninja, &["--quiet", &cores]),
        (&n2, &[&cores, "all"]),
        (&make, &["-s", &cores]),
    ];
    let mut cold: Vec<Series> = peers.iter().map(|(peer, _)| (peer.name, Vec::new())).collect();
    for _ in 0..COLD {
        for ((peer, args), (_, taken)) in peers.iter().zip(&mut cold) {
            peer.forget();
            taken.extend(peer.used(args));
        }
    }
    let [ours, bare] = [0, 1].map(|at: usize| middle(&cold[at].1, |used| used.cpu) / graph.steps as f64 * 1e6);
    let said = format!("{bare:.0} µs a step in bare shells");
    table.absolute("cold: CPU above bare shells, a step", ours - bare, "µs", &said, 250.0);
    table.ratio("cold: wall", &cold[0].1, &cold[2..], 1.25);

    let run = rounds(&[(&pipe, &PIPE_RUN), (&ninja, &["--quiet"]), (&n2, &["all"]), (&make, &["-s"])]);
    table.ratio("cached run, nothing changed", &run[0].1, &run[1..], 1.0);
    let peak = run[0].1.iter().map(|used| used.peak / MIB).fold(0.0, f64::max);
    let beside = run[1].1.iter().map(|used| used.peak / MIB).fold(0.0, f64::max);
    table.absolute("cached run: peak memory", peak, "MiB", &format!("ninja {beside:.0} MiB"), 25.0);

    let plan = rounds(&[(&pipe, &PIPE_PLAN), (&ninja, &["-n", "--quiet"]), (&make, &["-n"])]);
    table.ratio("plan only, from the kept plan", &plan[0].1, &plan[1..], 1.2);

    let dot = rounds(&[(&pipe, &["graph", "p.kdl", "--format", "dot", "--sandbox", "off", "--store", "store"])]);
    table.absolute("graph --format dot, from the kept plan", median(&dot[0].1) * 1e3, "ms", "", 60.0);

    let exporting = Peer::pipe(folder, graph, true);
    fs::remove_dir_all(exporting.folder.join("store")).ok();
    fs::rename(pipe.folder.join("store"), exporting.folder.join("store")).expect("the store moves");
    // The leaves are others to the stat cache, and all outputs are given back first.
    exporting.used(&PIPE_RUN);
    let run = rounds(&[(&exporting, &PIPE_RUN), (&ninja, &["--quiet"])]);
    table.ratio("cached run, every output exported", &run[0].1, &run[1..], 1.0);
}

fn one_leaf(table: &mut Table, folder: &Path, graph: Layered) {
    let folder = folder.join("leaf");
    let (pipe, n2, ninja) = (Peer::pipe(&folder, graph, false), Peer::n2(&folder, graph), Peer::ninja(&folder, graph));
    let cores = format!("-j{}", cores());
    let pipe_run = [&PIPE_RUN[..], &[&cores]].concat();
    let commands: [(&Peer, Vec<&str>); 3] =
        [(&pipe, pipe_run), (&n2, vec![&cores, "all"]), (&ninja, vec!["--quiet", &cores])];
    let mut taken: Vec<(&'static str, Vec<Used>)> = commands.iter().map(|(peer, _)| (peer.name, Vec::new())).collect();
    for round in 0..=ROUNDS {
        for ((peer, args), (_, taken)) in commands.iter().zip(&mut taken) {
            if round > 0 {
                peer.graph.set(&peer.folder, 0, 1000 + round);
            }
            let used = peer.used(args);
            // The first one makes everything.
            taken.extend(used.filter(|_| round > 0));
        }
    }
    let ours = taken.remove(0).1;
    // Where n2 is missing ninja stands in for it, of whose time n2 takes 0.6 at this graph.
    let most = if taken[0].1.is_empty() { 1.5 * 0.6 } else { 1.5 };
    if taken[0].1.is_empty() {
        taken.swap(0, 1);
    }
    table.ratio("one leaf changed, 55 of 1,000 steps run", &ours, &taken, most);
}

fn sandbox(table: &mut Table, folder: &Path, graph: Layered) {
    const WHAT: &str = "strict sandbox above none, a step";
    let peer = Peer::pipe(&folder.join("held"), graph, false);
    let run = |level| ["run", "p.kdl", "--sandbox", level, "--store", "store", "-j1"];
    if !peer.command(&run("strict")).status().is_ok_and(|status| status.success()) {
        return table.missing(WHAT, "no strict sandbox on this host");
    }
    let commands = peer.folder.join("commands");
    write(&commands, &peer.graph.commands());
    let alone = Peer::new("alone", env::current_exe().ok(), &folder.join("held"), graph, |_| {});
    let [mut off, mut strict, mut bare, mut held] = [const { Vec::new() }; 4];
    let mut value = 1000;
    for _ in 0..ROUNDS {
        for (level, taken) in [("off", &mut off), ("strict", &mut strict)] {
            // What was seen before would be found in the store.
            value += 100;
            (0..HELD / 10).for_each(|leaf| graph.set(&peer.folder, leaf, value + leaf));
            taken.extend(peer.used(&run(level)));
        }
        for (shell, taken) in [("bare", &mut bare), ("bwrap", &mut held)] {
            taken.extend(alone.used(&[shell, &commands.to_string_lossy()]));
        }
    }
    let above = |held: &[Used], none: &[Used]| (median(held) - median(none)) / HELD as f64 * 1e3;
    let (ours, theirs) = (above(&strict, &off), above(&held, &bare));
    let said = format!("bubblewrap alone {theirs:.1} ms");
    // 5 ms where bubblewrap alone takes 4.3: what a machine takes for namespaces differs more than what comes on top.
    table.absolute(WHAT, ours, "ms", &said, (theirs * 5.0 / 4.3 * 10.0).round() / 10.0);
}

fn startup(table: &mut Table, folder: &Path) {
    let graph = Layered { steps: 20 };
    let (pipe, ninja) = (Peer::pipe(&folder.join("start"), graph, false), Peer::ninja(&folder.join("start"), graph));
    let version = rounds(&[(&pipe, &["--version"]), (&ninja, &["--version"])]);
    table.ratio("pipe --version", &version[0].1, &version[1..], 1.25);
    let main = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines/llm-6gb.kdl");
    let check = rounds(&[(&pipe, &["check", &main.to_string_lossy(), "--store", "store"])]);
    table.absolute("check of the main pipeline", median(&check[0].1) * 1e3, "ms", "", 10.0);
}

const PIPE_RUN: [&str; 6] = ["run", "p.kdl", "--sandbox", "off", "--store", "store"];
const PIPE_PLAN: [&str; 6] = ["plan", "p.kdl", "--sandbox", "off", "--store", "store"];

/// A program with a folder in which it has the graph.
struct Peer {
    name: &'static str,
    program: Option<PathBuf>,
    folder: PathBuf,
    graph: Layered,
}

impl Peer {
    fn new(name: &'static str, program: Option<PathBuf>, base: &Path, graph: Layered, fill: impl Fn(&Path)) -> Peer {
        let folder = base.join(name.replace(' ', "-"));
        graph.leaves(&folder);
        fill(&folder);
        Peer { name, program, folder, graph }
    }

    fn pipe(base: &Path, graph: Layered, exports: bool) -> Peer {
        let program = Some(PathBuf::from(env!("CARGO_BIN_EXE_pipe")));
        let name = if exports { "pipe with exports" } else { "pipe" };
        Peer::new(name, program, base, graph, |at| write(&at.join("p.kdl"), &graph.kdl(exports)))
    }

    fn ninja(base: &Path, graph: Layered) -> Peer {
        Peer::new("ninja", program("ninja"), base, graph, |at| write(&at.join("build.ninja"), &graph.ninja()))
    }

    fn n2(base: &Path, graph: Layered) -> Peer {
        Peer::new("n2", program("n2"), base, graph, |at| write(&at.join("build.ninja"), &graph.ninja()))
    }

    fn make(base: &Path, graph: Layered) -> Peer {
        Peer::new("make", program("make"), base, graph, |at| write(&at.join("Makefile"), &graph.makefile()))
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(self.program.clone().unwrap_or_default());
        command.args(args).current_dir(&self.folder).env_remove("PIPE_STORE");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    /// Removes all that it made and noted.
    fn forget(&self) {
        for folder in ["store", "out"] {
            let _ = fs::remove_dir_all(self.folder.join(folder));
        }
        for file in [".ninja_log", ".ninja_deps", ".n2_db"] {
            let _ = fs::remove_file(self.folder.join(file));
        }
        fs::create_dir_all(self.folder.join("out")).expect("a folder");
    }

    /// What one run takes; `None` where the program is missing.
    fn used(&self, args: &[&str]) -> Option<Used> {
        self.program.as_ref()?;
        Some(used(&mut self.command(args)))
    }
}

/// A program that a variable names, or that is on the search path.
fn program(name: &str) -> Option<PathBuf> {
    let named = env::var_os(format!("PIPE_BENCH_{}", name.to_uppercase())).map(PathBuf::from);
    let path = env::var_os("PATH").unwrap_or_default();
    let file = named.or_else(|| env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file()))?;
    // Every peer has a working folder of its own.
    Some(std::path::absolute(file).expect("a path"))
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).expect("written");
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

type Series = (&'static str, Vec<Used>);

/// All in turn, some times over. Two runs before that are not counted: what was written just now is not yet believed.
fn rounds(peers: &[(&Peer, &[&str])]) -> Vec<Series> {
    let mut taken: Vec<Series> = peers.iter().map(|(peer, _)| (peer.name, Vec::new())).collect();
    for round in 0..ROUNDS + 2 {
        if round == 1 {
            std::thread::sleep(Duration::from_millis(300));
        }
        for ((peer, args), (_, taken)) in peers.iter().zip(&mut taken) {
            taken.extend(peer.used(args).filter(|_| round > 1));
        }
    }
    taken
}

/// The median of the wall times, in seconds.
fn median(taken: &[Used]) -> f64 {
    middle(taken, |used| used.wall)
}

fn middle(taken: &[Used], of: impl Fn(&Used) -> f64) -> f64 {
    let mut figures: Vec<f64> = taken.iter().map(of).collect();
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}

fn beside(peers: &[Series]) -> String {
    let one = |(name, taken): &Series| match taken.is_empty() {
        true => format!("{name} is missing"),
        false => format!("{name} {:.1} ms", median(taken) * 1e3),
    };
    peers.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// The rows, as they come.
#[derive(Default)]
struct Table {
    rows: Vec<[String; 5]>,
    broken: bool,
}

impl Table {
    /// A figure that has a bound of its own.
    fn absolute(&mut self, what: &str, figure: f64, unit: &str, beside: &str, most: f64) {
        let met = self.judge(figure <= most);
        self.rows.push([
            what.to_owned(),
            format!("{figure:.1} {unit}"),
            beside.to_owned(),
            format!("{most} {unit}"),
            met,
        ]);
    }

    /// A time that is bound by that of the first peer.
    fn ratio(&mut self, what: &str, ours: &[Used], peers: &[Series], most: f64) {
        let (name, first) = &peers[0];
        let (bound, met) = if first.is_empty() {
            (format!("{most} × {name}"), "not judged".to_owned())
        } else {
            let ratio = median(ours) / median(first);
            (format!("{most:.2} × {name}"), format!("{} ({ratio:.2} ×)", self.judge(ratio <= most)))
        };
        self.rows.push([what.to_owned(), format!("{:.1} ms", median(ours) * 1e3), beside(peers), bound, met]);
    }

    fn missing(&mut self, what: &str, why: &str) {
        self.rows.push([what.to_owned(), "-".to_owned(), why.to_owned(), "-".to_owned(), "not judged".to_owned()]);
    }

    fn judge(&mut self, met: bool) -> String {
        self.broken |= !met;
        if met { "met" } else { "NOT MET" }.to_owned()
    }

    fn print(&self) {
        let head = ["what", "pipe", "beside", "bound", "met"].map(str::to_owned);
        let rows = || std::iter::once(&head).chain(&self.rows);
        let widths: [usize; 5] = std::array::from_fn(|at| rows().map(|row| row[at].chars().count()).max().unwrap_or(0));
        for row in rows() {
            let cells: Vec<String> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
            println!("{}", cells.join("  ").trim_end());
        }
    }
}
