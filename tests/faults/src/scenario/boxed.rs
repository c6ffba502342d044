//! A case of `interrupt` with an engine in a container, or one that is about to be: the engine never answers, and
//! ignores what is polite. What is left is asked of the runtime, by the labels that `pipe` gives.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::place::{Place, Running};
use crate::random::Random;
use crate::verdict::{Bad, Rule};

/// The engine: the first process of a container gets no signal that it does not ask for, but for one.
const ENGINE: &str = "#include <unistd.h>\nint main(void) { for (;;) pause(); }\n";

const PIPELINE: &str = r##"
pipeline "stubborn"
tree "files" { put "bin/engine" (file)"engine"; text "lib/none" "no libraries"; }
image "image" { layer "/" (step)"files"; }
measure "boxed" {
    engine (step)"files"
    program "bin/engine"
    model (file)"model"
    tokens (file)"tokens.npy"
    container (step)"image" cpus=1 memory=(MiB)64
    device "cpu"
    dtype "fp32"
    threads 1
    prompt-tokens 8
    new-tokens 4
    warm-up min=2 max=8
    samples min=8 time=(s)1 target=(percent)5 max-time=(s)20
}
"##;

/// How long a container may be there after its run was asked to end.
pub const GONE: Duration = Duration::from_secs(10);

/// A static program that can be the whole of an image; `Err` says what this host lacks.
pub fn engine(folder: &Path) -> Result<PathBuf, String> {
    if ask(&["version"]).is_none_or(|answer| answer.is_empty()) {
        return Err("no container runtime answers `docker version`".to_owned());
    }
    let (source, program) = (folder.join("engine.c"), folder.join("engine"));
    std::fs::write(&source, ENGINE).map_err(|error| error.to_string())?;
    let built = Command::new("cc").args(["-static", "-o"]).arg(&program).arg(&source).stderr(Stdio::null()).status();
    match built {
        Ok(status) if status.success() => Ok(program),
        _ => Err("`cc -static` makes no program".to_owned()),
    }
}

/// Writes the pipeline and what it reads into the place's folder.
pub fn write(place: &Place, engine: &Path) -> std::io::Result<()> {
    let root = place.root();
    std::fs::copy(engine, root.join("engine"))?;
    std::fs::create_dir_all(root.join("model"))?;
    std::fs::write(root.join("model/sim.json"), "{}")?;
    std::fs::write(
        root.join("model/pipe-model.json"),
        r#"{"format":1,"file":"sim.json","kind":"llm","layers":1,"kv_heads":1,"head_dim":1,"vocabulary":16}"#,
    )?;
    // Sixteen tokens, all of them 1.
    let header = format!("{:<117}\n", "{'descr': '<i8', 'fortran_order': False, 'shape': (16,), }");
    let mut tokens = b"\x93NUMPY\x01\x00".to_vec();
    tokens.extend((header.len() as u16).to_le_bytes());
    tokens.extend(header.as_bytes());
    tokens.extend([1_i64.to_le_bytes(); 16].concat());
    std::fs::write(root.join("tokens.npy"), tokens)?;
    std::fs::write(root.join("stubborn.kdl"), PIPELINE)
}

/// Waits until a signal would be interesting: mostly until there is a container. True where there is one.
pub fn approach(running: &mut Running, random: &mut Random) -> bool {
    let early = random.below(4) == 0;
    let until = Instant::now() + if early { Duration::from_micros(random.next() % 2_000_000) } else { GONE * 3 };
    while Instant::now() < until && !running.is_over() {
        if !early && !left(running.id()).is_empty() {
            std::thread::sleep(Duration::from_micros(random.next() % 300_000));
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    !left(running.id()).is_empty()
}

/// Waits until nothing of this run is in the runtime; gives back what is, and how long it took since it was asked.
pub fn gone(pid: u32, asked: Instant) -> (Vec<Bad>, Duration) {
    loop {
        let found = left(pid);
        if found.is_empty() {
            return (Vec::new(), asked.elapsed());
        }
        if asked.elapsed() >= GONE {
            let removed: Vec<&str> = ["rm", "-fv"].into_iter().chain(found.iter().map(String::as_str)).collect();
            ask(&removed);
            return (vec![Bad::new(Rule::Left, format!("after {GONE:?} the runtime holds {found:?}"))], GONE);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Containers and volumes of the `pipe` with this number.
fn left(pid: u32) -> Vec<String> {
    let label = format!("label=pipe.process={pid}");
    let containers = ask(&["ps", "-aq", "--filter", &label]).unwrap_or_default();
    let volumes = ask(&["volume", "ls", "-q", "--filter", &label]).unwrap_or_default();
    containers.lines().chain(volumes.lines()).map(str::to_owned).collect()
}

fn ask(words: &[&str]) -> Option<String> {
    let answer = Command::new("docker").args(words).stdin(Stdio::null()).output().ok()?;
    answer.status.success().then(|| String::from_utf8_lossy(&answer.stdout).into_owned())
}
