//! What is known of the host when a step becomes ready: tools, libraries, packages, devices, runtimes.
//!
//! A cached run starts no process, so whatever needs one is asked once and kept in the store, beside a stamp of
//! all that could change the answer.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use pipe_cache::{Digest, Kind, Store};
use serde::{Deserialize, Serialize};

use super::builtin::host_libraries::{self, HostLibrary};
use super::builtin::host_packages::{self, Inventory};
use super::contained::{self, hints};
use super::outcome::Lack;
use super::process::Launcher;
use super::sandbox::{self, Bubblewrap};
use super::site::Site;
use crate::host::tools::{self, Found, Tool, ToolEnv};
use crate::key::World;
use crate::pipeline::{Action, Arg, Device, HostPackages, Measure, Place, StepId, TreeOf, Value};
use crate::record::Sandbox;

/// What a step's manifest needs to know besides the contents of its inputs.
pub fn world(site: &Site, id: StepId, cells: &dyn Fn(StepId) -> String) -> Result<World, Lack> {
    let mut world = World { platform: site.facts.machine.platform(), ..World::default() };
    match &site.step(id).action {
        Action::FetchWheel(_) => know_tool(site, &mut world, "python3")?,
        Action::Run(run) => {
            if let Arg::Value(Value::Text(name)) = &run.program.value {
                know_tool(site, &mut world, name)?;
            }
            for tool in &run.tools {
                know_tool(site, &mut world, &tool.value)?;
            }
        }
        Action::HostPackages(asked) => {
            know_tool(site, &mut world, "python3")?;
            world.host_packages = packages(site, asked)?.key_parts();
        }
        Action::Tree(tree) => {
            let libraries = host_libraries(site, tree)?;
            world.host_libraries = host_libraries::key_parts(&libraries, &site.store)
                .map_err(|error| Lack::new(error.to_string(), LIBRARY_REMEDY))?;
        }
        Action::Measure(measure) => {
            // A container's walls are the runtime's, whatever holds native processes.
            world.sandbox = match measure.place {
                Place::Native => Some(site.sandbox),
                Place::Container { .. } => None,
            };
        }
        Action::Compare(compare) => {
            for cell in &compare.of {
                world.cells.push((site.step(*cell).coordinates(), cells(*cell)));
            }
        }
        Action::FetchFile(_) | Action::UnpackWheels(_) | Action::Image(_) => {}
    }
    Ok(world)
}

fn know_tool(site: &Site, world: &mut World, name: &str) -> Result<(), Lack> {
    world.tools.insert(name.to_owned(), tool(site, name)?.version.clone());
    Ok(())
}

/// The tool behind a name; asked once for a run, and once for a store as long as nothing about it changes.
pub fn tool(site: &Site, name: &str) -> Result<Rc<Tool>, Lack> {
    if let Some(known) = site.asked.tools.borrow().get(name) {
        return known.clone();
    }
    let found = match site.asked.only_kept {
        true => kept_tool(&site.store, &site.env, name).ok_or_else(|| unasked(&format!("`{name}`"))),
        false => find_tool(&site.store, &site.env, name),
    };
    let found = found.map(Rc::new);
    site.asked.tools.borrow_mut().insert(name.to_owned(), found.clone());
    found
}

/// What only a run or a plan would ask.
fn unasked(what: &str) -> Lack {
    Lack::new(format!("{what} was not asked yet"), "`pipe plan` asks")
}

fn tool_note(name: &str) -> Digest {
    Digest::derive("pipe 2026 tool v1", name.as_bytes())
}

/// The tool as the store keeps it, where nothing about it has changed.
fn kept_tool(store: &Store, env: &BTreeMap<String, String>, name: &str) -> Option<Tool> {
    kept_found(store, &tool_env(env), name).map(|found| found.tool)
}

/// The same with what must stay as it is.
pub fn kept_found(store: &Store, env: &ToolEnv, name: &str) -> Option<Found> {
    let bytes = store.last(Kind::Probe, &tool_note(name)).ok().flatten()?;
    serde_json::from_slice::<Found>(&bytes).ok().filter(|found| found.is_current(env))
}

fn find_tool(store: &Store, env: &BTreeMap<String, String>, name: &str) -> Result<Tool, Lack> {
    if let Some(tool) = kept_tool(store, env, name) {
        return Ok(tool);
    }
    let env = tool_env(env);
    let note = tool_note(name);
    let found = tools::find(name, &env).map_err(|error| Lack::new(error.to_string(), tools::remedy(name)))?;
    // An answer that can't be kept costs a process the next time, and nothing else.
    let _ = store.append(Kind::Probe, &note, &serde_json::to_vec(&found).unwrap_or_default());
    Ok(found.tool)
}

/// The version of the host's Python, by which a lock's markers are judged.
pub fn python_version(store: &Store, env: &BTreeMap<String, String>) -> Option<String> {
    find_tool(store, env, "python3").ok().and_then(|tool| version_of(&tool))
}

/// The same as the store keeps it; no process starts.
pub fn kept_python_version(store: &Store, env: &BTreeMap<String, String>) -> Option<String> {
    kept_tool(store, env, "python3").and_then(|tool| version_of(&tool))
}

fn version_of(tool: &Tool) -> Option<String> {
    tool.version.split_whitespace().last().map(str::to_owned)
}

const LIBRARY_REMEDY: &str = "install the library with the system's packages";

/// The libraries of this machine that a tree asks for.
pub fn host_libraries(site: &Site, tree: &TreeOf) -> Result<Vec<HostLibrary>, Lack> {
    let names: Vec<String> = tree.host_libraries.iter().map(|library| library.value.clone()).collect();
    if names.is_empty() {
        return Ok(Vec::new());
    }
    host_libraries::resolve(&names, Path::new("/"), &site.facts.machine.architecture)
        .map_err(|error| Lack::new(error.to_string(), LIBRARY_REMEDY))
}

/// The packages of this machine's Python that a step asks for; asked once, and again when one of them changes.
pub fn packages(site: &Site, asked: &HostPackages) -> Result<Inventory, Lack> {
    let names: Vec<String> = asked.packages.iter().map(|package| package.value.clone()).collect();
    let python = tool(site, "python3")?;
    let note = Digest::derive("pipe 2026 host-packages v1", names.join(" ").as_bytes());
    let kept = site.store.last(Kind::Probe, &note).ok().flatten();
    if let Some(kept) = kept.and_then(|bytes| serde_json::from_slice::<Inventory>(&bytes).ok())
        && kept.is_current(&python.real, &names)
    {
        return Ok(kept);
    }
    if site.asked.only_kept {
        return Err(unasked("this machine's Python"));
    }
    let inventory = host_packages::inventory(&python.real, &names, &tool_env(&site.env))
        .map_err(|error| Lack::new(error.to_string(), format!("python3 -m pip install {}", names.join(" "))))?;
    // An inventory that can't be kept is made again the next time.
    let _ = site.store.append(Kind::Probe, &note, &serde_json::to_vec(&inventory).unwrap_or_default());
    Ok(inventory)
}

/// What finding tools reads of the environment.
pub fn tool_env(env: &BTreeMap<String, String>) -> ToolEnv {
    ToolEnv::from_vars(env.iter().map(|(name, value)| (name.clone(), OsString::from(value))))
}

/// Why this host can't measure a cell, where it can't.
pub fn lack(site: &Site, measure: &Measure) -> Option<Lack> {
    device_lack(site, measure).or_else(|| match &measure.place {
        Place::Native => None,
        Place::Container { cpus, memory, .. } => container_lack(site, cpus.value, memory.value),
    })
}

fn device_lack(site: &Site, measure: &Measure) -> Option<Lack> {
    let machine = &site.facts.machine;
    let apple = machine.os == "macos" && machine.architecture == "aarch64";
    let container = matches!(measure.place, Place::Container { .. });
    match measure.device.value {
        Device::Cpu => None,
        Device::Mps | Device::Coreml if container => {
            Some(Lack::final_("Metal is part of macOS; a Linux container cannot reach it"))
        }
        Device::Mps if apple => None,
        Device::Mps => Some(Lack::new(
            format!("Metal needs macOS on Apple silicon; this is {} on {}", machine.os, machine.architecture),
            "run the same pipeline on a Mac with Apple silicon",
        )),
        Device::Coreml if machine.os == "macos" => None,
        Device::Coreml => Some(Lack::new(
            format!("Core ML is part of macOS; this is {}", machine.os),
            "run the same pipeline on a Mac",
        )),
        Device::Cuda if container => {
            Some(Lack::new("pipe gives containers no GPU yet", "measure the native cell: place=native device=cuda"))
        }
        Device::Cuda if machine.gpus.is_empty() => Some(Lack::new(
            "no NVIDIA GPU answers on this machine",
            "run the same pipeline on a machine with an NVIDIA GPU and its driver",
        )),
        // The locked wheel of ONNX Runtime is the CPU's: its CUDA build is another package.
        Device::Cuda if measure.program.value.contains("onnx") => Some(Lack::new(
            "the locked ONNX Runtime is built without its CUDA provider",
            "give `python-env` a lock with onnxruntime-gpu",
        )),
        Device::Cuda => None,
    }
}

fn container_lack(site: &Site, cpus: u32, memory: u64) -> Option<Lack> {
    if site.facts.machine.os != "linux" {
        return Some(Lack::new(
            "an engine for a Linux container needs a Linux builder, which this version does not start",
            "run the same pipeline on a Linux machine with Docker",
        ));
    }
    let runtime = match runtime(site) {
        Ok(runtime) => runtime,
        Err(lack) => return Some(lack),
    };
    if runtime.cpus < cpus {
        return Some(Lack::new(
            format!("the container runtime has {} processors, and {cpus} are asked for", runtime.cpus),
            "give it more, or ask for fewer with `cpus=`",
        ));
    }
    if (runtime.memory_gib << 30) < memory {
        return Some(Lack::new(
            format!("the container runtime has {} GiB, and {} GiB are asked for", runtime.memory_gib, memory >> 30),
            "give it more, or ask for less with `memory=`",
        ));
    }
    None
}

/// Asks the container runtime, once for a run, and remembers its answer in the store.
pub fn runtime(site: &Site) -> Result<crate::host::Runtime, Lack> {
    if let Some(known) = &*site.asked.runtime.borrow() {
        return known.clone();
    }
    if site.asked.only_kept {
        let kept = super::lookup::remembered_runtime(site).ok().flatten();
        return kept.ok_or_else(|| unasked("the container runtime"));
    }
    let answer = contained::ask(&hints(&site.env));
    if let Ok(runtime) = &answer {
        let bytes = serde_json::to_vec(runtime).unwrap_or_default();
        let note = super::lookup::runtime_note();
        if site.store.last(Kind::Note, &note).ok().flatten().as_ref() != Some(&bytes) {
            // Without the note, cached cells are misses while the runtime is down: a cost, not an error.
            let _ = site.store.append(Kind::Note, &note, &bytes);
        }
    }
    *site.asked.runtime.borrow_mut() = Some(answer.clone());
    answer
}

/// What starts this run's processes.
pub fn launcher(site: &Site) -> Launcher {
    Launcher { exe: site.exe.clone(), bubblewrap: site.bubblewrap.clone(), supervisors: site.asked.supervisors.clone() }
}

/// The answer of a sandbox probe, as the store keeps it.
#[derive(Debug, Serialize, Deserialize)]
struct KeptProbe {
    stamp: String,
    sandbox: Sandbox,
    reason: String,
    bubblewrap: Option<Bubblewrap>,
}

/// The strictest sandbox that works here.
pub struct Best {
    pub sandbox: Sandbox,
    pub reason: String,
    pub bubblewrap: Option<Bubblewrap>,
}

/// Tries sandboxes from the strictest down; asked once for a store as long as kernel, user and `bwrap` are the
/// same. A failure is not kept: it is tried again by every run, until something was installed.
pub fn best_sandbox(store: &Store, env: &BTreeMap<String, String>, exe: &Path, kernel: &str) -> Result<Best, Lack> {
    if let Some(best) = kept_sandbox(store, env, kernel) {
        return Ok(best);
    }
    let bwrap = search(env, "bwrap");
    let stamp = sandbox_stamp(&bwrap, kernel);
    let note = Digest::derive("pipe 2026 sandbox v1", stamp.as_bytes());
    let scratch = store.workdir().map_err(|error| Lack::new(error.to_string(), "check the store"))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Lack::new(format!("the runner can't start: {error}"), "check the limits of this user"))?;
    let probe = runtime
        .block_on(sandbox::probe(exe, bwrap, scratch.path()))
        .map_err(|error| Lack::new(error.to_string(), error.help()))?;
    let kept =
        KeptProbe { stamp, sandbox: probe.sandbox, reason: probe.reason.clone(), bubblewrap: probe.bubblewrap.clone() };
    let _ = store.append(Kind::Probe, &note, &serde_json::to_vec(&kept).unwrap_or_default());
    Ok(Best { sandbox: probe.sandbox, reason: probe.reason, bubblewrap: probe.bubblewrap })
}

/// What decides which sandboxes work here, as text.
pub fn sandbox_question(env: &BTreeMap<String, String>, kernel: &str) -> String {
    sandbox_stamp(&search(env, "bwrap"), kernel)
}

fn sandbox_stamp(bwrap: &Option<PathBuf>, kernel: &str) -> String {
    format!("{kernel} {bwrap:?} {}", rustix::process::geteuid().as_raw())
}

/// The strictest sandbox as the store keeps it; nothing is tried.
pub fn kept_sandbox(store: &Store, env: &BTreeMap<String, String>, kernel: &str) -> Option<Best> {
    let stamp = sandbox_stamp(&search(env, "bwrap"), kernel);
    let note = Digest::derive("pipe 2026 sandbox v1", stamp.as_bytes());
    let bytes = store.last(Kind::Probe, &note).ok().flatten()?;
    let kept = serde_json::from_slice::<KeptProbe>(&bytes).ok().filter(|kept| kept.stamp == stamp)?;
    Some(Best { sandbox: kept.sandbox, reason: kept.reason, bubblewrap: kept.bubblewrap })
}

fn search(env: &BTreeMap<String, String>, name: &str) -> Option<PathBuf> {
    std::env::split_paths(env.get("PATH")?).map(|folder| folder.join(name)).find(|file| file.is_file())
}
