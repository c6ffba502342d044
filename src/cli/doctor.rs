//! `pipe doctor`: what this machine has, what it lacks, and how to get it.

use std::ffi::OsString;
use std::path::Path;

use super::output::{To, colour, print};
use super::{Global, estimate, exit, load, simulate};
use crate::exec::contained;
use crate::exec::world::best_sandbox;
use crate::host::Facts;
use crate::host::energy::Meter;
use crate::host::thermal::Reading;
use crate::host::tools::{self, ToolEnv};

/// What the main job starts, and what for.
const TOOLS: [(&str, &str); 5] = [
    ("python3", "makes and exports models"),
    ("cargo", "builds the engines"),
    ("rustc", "builds the engines"),
    ("cc", "builds the engines"),
    ("c++", "builds the torch engine"),
];

/// One finding.
struct Line {
    good: bool,
    name: String,
    said: String,
    help: Option<String>,
}

/// Prints the facts and the findings. It fails only where nothing could run at all.
pub fn main(global: &Global) -> u8 {
    let facts = match simulate::facts() {
        Ok(facts) => facts,
        Err(code) => return code,
    };
    let env = super::env::all();
    let mut lines = Vec::new();
    let tool_env = ToolEnv::from_vars(env.iter().map(|(k, v)| (k.clone(), OsString::from(v))));
    for (name, purpose) in TOOLS {
        lines.push(match tools::find(name, &tool_env) {
            Ok(found) => good(name, format!("{} ({purpose})", found.tool.version)),
            Err(error) => bad(name, format!("{error} ({purpose})"), Some(tools::remedy(name))),
        });
    }
    let store = match load::store(global) {
        Ok(store) => store,
        Err(code) => return code,
    };
    let exe = std::env::current_exe().unwrap_or_default();
    lines.push(match best_sandbox(&store, &env, &exe, &facts.recorded.kernel) {
        Ok(best) => good("sandbox", format!("{}: {}", best.sandbox.name(), best.reason)),
        Err(lack) => bad("sandbox", lack.reason, lack.remedy),
    });
    lines.push(match contained::ask(&contained::hints(&env)) {
        Ok(runtime) => good(
            "containers",
            format!(
                "{} {} ({}, cgroup {}), {} processors, {} GiB",
                runtime.name,
                runtime.version,
                runtime.platform,
                runtime.cgroup_version,
                runtime.cpus,
                runtime.memory_gib
            ),
        ),
        Err(lack) => bad("containers", lack.reason, lack.remedy),
    });
    lines.extend(devices(&facts));
    lines.extend(counters(&facts, &load::system()));
    let free = store.free_space().map(|free| format!(", {} free", estimate::size(free))).unwrap_or_default();
    lines.push(good("store", format!("{}{free}", store.root().display())));
    print(&text(&facts, &lines, colour(global.color, To::Out)));
    exit::DONE
}

fn good(name: &str, said: String) -> Line {
    Line { good: true, name: name.to_owned(), said, help: None }
}

fn bad(name: &str, said: String, help: Option<String>) -> Line {
    Line { good: false, name: name.to_owned(), said, help }
}

fn devices(facts: &Facts) -> Vec<Line> {
    let mut lines = vec![good("device cpu", facts.machine.cpu_model.clone())];
    if facts.machine.gpus.is_empty() {
        let help = "a machine with an NVIDIA GPU and its driver measures these cells";
        lines.push(bad("device cuda", "no NVIDIA GPU answers".to_owned(), Some(help.to_owned())));
    }
    for gpu in &facts.machine.gpus {
        lines.push(good("device cuda", format!("{}, {} GiB, driver {}", gpu.model, gpu.memory_gib, gpu.driver_major)));
    }
    for device in ["mps", "coreml"] {
        let name = format!("device {device}");
        lines.push(if facts.machine.os == "macos" {
            good(&name, "part of macOS; never run by pipe's own tests".to_owned())
        } else {
            bad(&name, "part of macOS".to_owned(), Some("a Mac with Apple silicon measures these cells".to_owned()))
        });
    }
    lines
}

/// What the machine tells of energy, clock and heat.
fn counters(facts: &Facts, system: &Path) -> Vec<Line> {
    let counter = |name: &str, meter: Result<Meter, String>| match meter {
        Ok(meter) => good(name, meter.method),
        Err(reason) => bad(name, reason, None),
    };
    let mut lines = vec![counter("energy cpu", Meter::cpu(system))];
    if facts.machine.os == "linux" && !facts.machine.gpus.is_empty() {
        lines.push(counter("energy cuda", Meter::gpu(0)));
    }
    lines.push(match Reading::now(system).line() {
        Some(line) => good("clock and heat", line),
        None => bad("clock and heat", "this machine tells neither".to_owned(), None),
    });
    lines
}

fn text(facts: &Facts, lines: &[Line], colour: bool) -> String {
    let paint = |code: &str, text: &str| if colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() };
    let machine = &facts.machine;
    let mut out = format!("{}\n", machine.line());
    out.push_str(&format!("platform {}, kernel {}\n", machine.platform(), facts.recorded.kernel));
    if !facts.recorded.simd.is_empty() {
        out.push_str(&format!("instruction sets {}\n", facts.recorded.simd.join(" ")));
    }
    out.push_str(&format!("machine key {}\n\n", machine.key(None).short()));
    let width = lines.iter().map(|line| line.name.len()).max().unwrap_or(0);
    for line in lines {
        let mark = if line.good { paint("32", "✓") } else { paint("33", "–") };
        out.push_str(&format!("{mark} {:width$}  {}\n", line.name, line.said));
        if let Some(help) = &line.help {
            out.push_str(&format!("  {:width$}  help: {help}\n", ""));
        }
    }
    out
}
