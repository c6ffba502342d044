//! From a command line to a site: reads the pipeline, the host and the store, and says what is wrong with any.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use pipe_cache::{Digest, Store};

use super::explain_code::more;
use super::{Global, Level, Target, When, env, exit, simulate};
use crate::cli::output::{To, colour, note, width};
use crate::diag::{Diagnostics, suggest};
use crate::exec::process::strays;
use crate::exec::share::accept::MachinePattern;
use crate::exec::site::{Asked, Sentinel, Site};
use crate::exec::survey::{Survey, survey};
use crate::exec::world::{Best, best_sandbox, python_version};
use crate::host::{Facts, Machine, probe};
use crate::pipeline::{CellPattern, Input, Pipeline, glob, inputs};
use crate::plan::{Plan, Selection};
use crate::record::Sandbox;
use crate::resolve::{self, kept};

/// An exit code; its message has been printed.
pub type Code = u8;

/// Everything that a command about a pipeline works with.
pub fn site(global: &Global, target: &Target, jobs: Option<u32>) -> Result<Site, Code> {
    let store = store(global)?;
    let env = env::all();
    let facts = simulate::facts()?;
    let python = python_version(&store, &env);
    let kept::Known { pipeline, testimony } = pipeline(global, target, &store, &facts, python)?;
    let secret_files = secret_files(&target.secrets)?;
    known_secrets(&pipeline, &secret_files)?;
    let plan = match Plan::new(&pipeline) {
        Ok(plan) => plan,
        Err(step) => {
            note(&format!("pipe: step `{}` needs itself", pipeline.steps[step.0].name));
            return Err(exit::USAGE);
        }
    };
    let exe = std::env::current_exe().map_err(|error| {
        note(&format!("pipe: this program can't find itself (`/proc/self/exe` on Linux): {error}"));
        exit::FAULT
    })?;
    let Best { sandbox, reason: sandbox_why, bubblewrap } = level(global, &store, &env, &exe, &facts)?;
    let selection = Selection { only: patterns(&target.only, "--only")? };
    for pattern in &selection.only {
        if let Some(wrong) = unfit(&pipeline, pattern) {
            note(&format!("pipe: `--only '{pattern}'`: {wrong}"));
            return Err(exit::USAGE);
        }
    }
    let slots = jobs.unwrap_or(facts.machine.usable_cores).max(1);
    let memory = room_for_steps(facts.machine.memory_gib);
    Ok(Site {
        pipeline,
        plan,
        store: std::sync::Arc::new(store),
        facts,
        selection,
        remeasure: target.remeasure,
        accept: target.accept_machines.iter().cloned().map(MachinePattern).collect(),
        sandbox,
        sandbox_why,
        bubblewrap,
        env,
        exe,
        out: absolute(&global.out, "--out")?,
        secret_files,
        slots,
        memory,
        fail_fast: false,
        sentinel: sentinel(),
        system: system(),
        asked: Asked { testimony, ..Asked::default() },
    })
}

/// Where the system's files of clocks, heat and energy lie; tests have a folder.
pub fn system() -> PathBuf {
    env::path("PIPE_SIMULATED_SYSTEM").unwrap_or_else(|| PathBuf::from("/"))
}

/// `PIPE_SENTINEL` says `off`, or names a file with a made-up reading.
fn sentinel() -> Sentinel {
    match env::path("PIPE_SENTINEL") {
        None => Sentinel::Look,
        Some(off) if off == Path::new("off") => Sentinel::Off,
        Some(file) => Sentinel::MadeUp(file),
    }
}

/// Bytes of memory that steps may need together: nine tenths of the machine's, since the rest of it lives too.
fn room_for_steps(gib: u64) -> u64 {
    match gib {
        0 => u64::MAX,
        gib => (gib << 30) / 10 * 9,
    }
}

/// A site, and where each of its steps stands.
pub fn surveyed(global: &Global, target: &Target) -> Result<(Site, Survey), Code> {
    let site = site(global, target, None)?;
    let survey = look_at(&site)?;
    // Damage that cost no more than time is still damage, and somebody should hear of it.
    site.store.warnings().iter().for_each(|warning| note(&format!("pipe: warning: {warning}")));
    Ok((site, survey))
}

/// Where each step of a site stands.
pub fn look_at(site: &Site) -> Result<Survey, Code> {
    survey(site).map_err(|error| {
        note(&format!("pipe: {error}"));
        exit::FAULT
    })
}

/// Reads the pipeline, or prints every mistake in it.
fn pipeline(
    global: &Global,
    target: &Target,
    store: &Store,
    facts: &Facts,
    python: Option<String>,
) -> Result<kept::Known, Code> {
    let options = resolve::Options { sets: sets(&target.sets)?, profile: target.profile.clone() };
    let facts = asked(&facts.machine, python);
    let (pipeline, diagnostics) = resolved(Some(store), &target.file, &options, &disk()?, &facts);
    // Warnings are for who writes the file: `pipe check` and editors show them.
    if diagnostics.has_errors() {
        note(&diagnostics.render(colour(global.color, To::Err), width()));
        more(&diagnostics).iter().for_each(|line| note(line));
    }
    match pipeline {
        Some(known) if !diagnostics.has_errors() => Ok(known),
        _ => Err(exit::USAGE),
    }
}

/// Reads a pipeline, from what the store keeps of it where none of its files has changed.
pub fn resolved(
    store: Option<&Store>,
    path: &Path,
    options: &resolve::Options,
    files: &resolve::Disk,
    facts: &resolve::Facts,
) -> (Option<kept::Known>, Diagnostics) {
    let Some((store, build)) = store.zip(build()) else {
        let (pipeline, found) = resolve::load(path, options, files, facts);
        return (pipeline.map(|pipeline| kept::Known { pipeline, testimony: None }), found);
    };
    let name = Digest::of(kept::question(path, options, files, facts, &build).as_bytes());
    if let Some(known) = store.advice(&name).and_then(|bytes| kept::recall(&bytes, files)) {
        return (Some(known), Diagnostics::default());
    }
    let (pipeline, found, bytes) = kept::load_and_keep(path, options, files, facts);
    if let Some(bytes) = bytes {
        // A store that cannot take it costs time alone, and whoever has to write to it says so.
        let _ = store.advise(&name, &bytes);
    }
    (pipeline, found)
}

/// Which build of `pipe` this is: its file as the system sees it, since every build writes a new one.
pub fn build() -> Option<String> {
    use std::os::unix::fs::MetadataExt;
    let facts = std::fs::metadata(std::env::current_exe().ok()?).ok()?;
    let version = env!("CARGO_PKG_VERSION");
    Some(format!("{version} {} {} {} {}.{}", facts.dev(), facts.ino(), facts.len(), facts.mtime(), facts.mtime_nsec()))
}

/// What a pipeline may ask of this machine.
pub fn asked(machine: &Machine, python: Option<String>) -> resolve::Facts {
    resolve::Facts {
        os: machine.os.clone(),
        arch: machine.architecture.clone(),
        gpu: probe::accelerator().to_owned(),
        python,
    }
}

/// `NAME=VALUE` of every `--set`.
pub fn sets(texts: &[String]) -> Result<Vec<(String, String)>, Code> {
    texts
        .iter()
        .map(|text| match text.split_once('=') {
            Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
            None => {
                note(&format!("pipe: `--set {text}` needs a value: `--set {text}=VALUE`"));
                Err(exit::USAGE)
            }
        })
        .collect()
}

/// `NAME=FILE` of every `--secret`; the file is read when a step needs it.
fn secret_files(texts: &[String]) -> Result<BTreeMap<String, PathBuf>, Code> {
    let mut files = BTreeMap::new();
    for text in texts {
        let Some((name, file)) = text.split_once('=').filter(|(name, file)| !name.is_empty() && !file.is_empty())
        else {
            // What stands there may be the secret itself, so it is not repeated.
            note("pipe: `--secret` needs a name and a file: `--secret HF_TOKEN=path/to/token`");
            return Err(exit::USAGE);
        };
        files.insert(name.to_owned(), absolute(Path::new(file), "--secret")?);
    }
    Ok(files)
}

/// Refuses a secret that the pipeline doesn't name: it would be missed where it is meant.
fn known_secrets(pipeline: &Pipeline, given: &BTreeMap<String, PathBuf>) -> Result<(), Code> {
    let inputs = pipeline.steps.iter().flat_map(|step| inputs(&step.action));
    let names = inputs.filter_map(|input| match input {
        Input::Secret { name } => Some(name.as_str()),
        _ => None,
    });
    let names: BTreeSet<&str> = names.collect();
    let Some(unknown) = given.keys().find(|name| !names.contains(name.as_str())) else { return Ok(()) };
    let help = suggest(unknown, names, "it names").unwrap_or_else(|| "it names none".to_owned());
    note(&format!("pipe: `--secret {unknown}=…`: the pipeline names no secret `{unknown}`; {help}"));
    Err(exit::USAGE)
}

pub fn absolute(path: &Path, flag: &str) -> Result<PathBuf, Code> {
    std::path::absolute(path).map_err(|error| {
        note(&format!("pipe: the path of `{flag}` can't be made absolute: {error}"));
        exit::USAGE
    })
}

/// Why a pattern takes no cell of a pipeline, if it takes none.
fn unfit(pipeline: &Pipeline, pattern: &CellPattern) -> Option<String> {
    let cells = || pipeline.steps.iter().filter_map(|step| step.cell.as_ref());
    if cells().any(|cell| pattern.matches(cell)) {
        return None;
    }
    let points = || pipeline.matrices.iter().flat_map(|matrix| &matrix.points).chain(cells());
    let axes: BTreeSet<&str> = points().flat_map(|cell| &cell.0).map(|(axis, _)| axis.as_str()).collect();
    for (axis, value) in &pattern.0 {
        let axis = axis.trim_start_matches('!');
        if !axes.contains(axis) {
            let help = suggest(axis, axes.iter().copied(), "there are");
            return Some(sentence(format!("no matrix has an axis `{axis}`"), help));
        }
        let values: BTreeSet<&str> = points().filter_map(|cell| cell.get(axis)).collect();
        if !values.iter().any(|known| glob(value, known)) {
            let help = suggest(value, values.iter().copied(), "it has");
            return Some(sentence(format!("axis `{axis}` has no value `{value}`"), help));
        }
    }
    let mut excluded = pipeline.matrices.iter().flat_map(|matrix| &matrix.excluded);
    Some(match excluded.find(|(cell, _)| pattern.matches(cell)) {
        Some((cell, reason)) => format!("the cell {cell} is excluded: {reason}"),
        None => "no cell has all of these values".to_owned(),
    })
}

fn sentence(what: String, help: Option<String>) -> String {
    match help {
        Some(help) => format!("{what}; {help}"),
        None => what,
    }
}

/// The patterns of a flag.
pub fn patterns(texts: &[String], flag: &str) -> Result<Vec<CellPattern>, Code> {
    texts
        .iter()
        .map(|text| {
            CellPattern::parse(text).ok_or_else(|| {
                note(&format!(
                    "pipe: `{flag} '{text}'` is no pattern; write axis=value pairs: {flag} 'engine=onnx place=*'"
                ));
                exit::USAGE
            })
        })
        .collect()
}

/// Opens the store that the flags and the environment name.
pub fn store(global: &Global) -> Result<Store, Code> {
    let path = store_path(global)?;
    let store = Store::open(&path).map_err(|error| {
        note(&format!("pipe: {error}"));
        exit::FAULT
    })?;
    strays::sweep(&store);
    Ok(store)
}

/// `--store`, else `PIPE_STORE`, else the user's cache folder.
pub fn store_path(global: &Global) -> Result<PathBuf, Code> {
    if let Some(path) = global.store.clone().or_else(|| env::path("PIPE_STORE")) {
        return std::path::absolute(&path).map_err(|error| {
            note(&format!("pipe: the store `{}` has no absolute path: {error}", path.display()));
            exit::FAULT
        });
    }
    let home = env::path("HOME");
    let cache = if cfg!(target_os = "macos") {
        home.map(|home| home.join("Library/Caches"))
    } else {
        env::path("XDG_CACHE_HOME").filter(|path| path.is_absolute()).or_else(|| home.map(|home| home.join(".cache")))
    };
    cache.map(|cache| cache.join("pipe")).ok_or_else(|| {
        note("pipe: no place for the store: HOME is not set; give one with --store FOLDER or PIPE_STORE");
        exit::FAULT
    })
}

/// The sandbox to ask for: what the user says, else the strictest that works here, and never none unsaid.
fn level(
    global: &Global,
    store: &Store,
    env: &BTreeMap<String, String>,
    exe: &Path,
    facts: &Facts,
) -> Result<Best, Code> {
    let asked = |sandbox: Sandbox, level: &str, bubblewrap| Best {
        sandbox,
        reason: format!("asked for by `--sandbox {level}`"),
        bubblewrap,
    };
    if global.sandbox == Some(Level::Off) {
        return Ok(asked(Sandbox::Off, "off", None));
    }
    let best = best_sandbox(store, env, exe, &facts.recorded.kernel).map_err(|lack| {
        note(&format!("pipe: {}", lack.reason));
        if let Some(remedy) = lack.remedy {
            note(&format!("  help: {remedy}"));
        }
        exit::FAULT
    })?;
    match global.sandbox {
        Some(Level::Fs) => Ok(asked(Sandbox::Fs, "fs", None)),
        Some(Level::Strict) if best.sandbox < Sandbox::Strict => {
            note(&format!("pipe: `--sandbox strict` does not work on this host: {}", best.reason));
            Err(exit::FAULT)
        }
        Some(Level::Strict) => Ok(asked(Sandbox::Strict, "strict", best.bubblewrap)),
        Some(Level::Off) | None => Ok(best),
    }
}

/// A path as a person would write it.
pub fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// True where moving progress suits.
pub fn moving(global: &Global) -> bool {
    match global.color {
        When::Always => true,
        When::Never => false,
        When::Auto => super::output::terminal(To::Err),
    }
}

/// The files of this machine, relative to where `pipe` was started.
pub fn disk() -> Result<resolve::Disk, Code> {
    let folder = std::env::current_dir().map_err(|error| {
        note(&format!("pipe: the current folder can't be told: {error}"));
        exit::FAULT
    })?;
    Ok(resolve::Disk::new(folder))
}
