//! Manifests and keys: the one list of what a step's result depends on.
//!
//! The key of a step is the BLAKE3 digest of its [`Manifest`], a canonical text of leaves. The same leaves
//! are read by the hasher, by `why`, and by a person. What goes in, by action:
//!
//! | leaf | fetch | run | tree, image | measure | compare |
//! |---|---|---|---|---|---|
//! | `class`, `action`, version of the action's code | ● | ● | ● | ● | ● |
//! | platform: system, architecture, libc | wheels | ● | with host libraries; architecture | – (machine key) | – |
//! | digests that the file or the lock gives | ● | | | | |
//! | program, arguments, environment, names below `in/` and `out/` | | ● | | | |
//! | tools, by name and full version | wheels | ● | | | |
//! | inputs, by content | | ● | ● | ● | sessions; exact outputs |
//! | secrets, by name | | ● | | | |
//! | network allowed; that a GPU is lent | | ● | | | |
//! | host libraries, by content | | | ● | | |
//! | layers, entry point, environment of an image | | | ● | | |
//! | place, device, data type, threads, maths mode, graph optimisation, warm-up rule, limits, sandbox | | | | ● | |
//! | tokens of a sequence; or declared items of an inference, whose inputs hold their shapes and types | | | | ● | |
//! | baseline, reference, tolerances, statistics' version | | | | | ● |
//!
//! In no key: names of steps, comments, formatting, descriptions, URLs, absolute paths, patterns of filters, values
//! of secrets, how much of the machine a step needs, user, time, parallelism, retries, timeouts, sample counts,
//! budgets. Each row has a test below, and another that edits every field there is, one at a time.
//!
//! Early cut-off follows: inputs enter by content, so an upstream step that repeats its bytes changes nothing.

use std::collections::BTreeMap;

use pipe_cache::{Digest, Entry};

use crate::pipeline::{
    Action, Arg, Calibrated, Class, Compare, Expect, FetchFile, FetchWheel, HostPackages, Image, Input, Limit, Limits,
    Measure, Needs, Origin, OutputRule, Parity, Place, Published, Put, PutWhat, Run, Sampling, Step, StepId, TreeOf,
    UnpackWheels, WarmUp, Workload, places,
};
use crate::record::Sandbox;

/// The first line of every manifest.
const HEADER: &str = "pipe-manifest 1";

/// The version of what each action's code makes of its inputs: raised when the same inputs would give other bytes.
const UNPACK_VERSION: u32 = 1;
const TREE_VERSION: u32 = 1;
const IMAGE_VERSION: u32 = 1;
const RUN_VERSION: u32 = 1;
const MEASURE_VERSION: u32 = 1;
/// 2: more figures of parity, each with the place where it is worst.
const COMPARE_VERSION: u32 = 2;

/// Everything that a step's result depends on.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Manifest {
    leaves: Vec<Leaf>,
}

/// One dependency of a result.
#[derive(Debug, Clone, PartialEq)]
pub struct Leaf {
    /// `run.arg.3`, `input.model`, `measure.prompt-tokens`.
    pub path: String,
    pub value: String,
    /// Where the value was written; not part of the key.
    pub origin: Option<Origin>,
}

impl Leaf {
    /// Reads one line of a manifest's text.
    fn parse(line: &str) -> Option<Leaf> {
        let (path, value) = if line.starts_with('"') {
            let mut strings = serde_json::Deserializer::from_str(line).into_iter::<String>();
            let pair = (strings.next()?.ok()?, strings.next()?.ok()?);
            strings.next().is_none().then_some(pair)?
        } else {
            let (path, value) = line.split_once(' ')?;
            (path.to_owned(), serde_json::from_str(value).ok()?)
        };
        Some(Leaf { path, value, origin: None })
    }
}

/// Adds a text as a JSON string.
fn quote(out: &mut Vec<u8>, text: &str) {
    // Memory takes all that is written to it, and a text can always be said.
    let _ = serde_json::to_writer(out, text);
}

/// True for a path that ends at the first space and can't be taken for a JSON string.
fn is_word(path: &str) -> bool {
    !path.is_empty() && path.chars().all(|c| c.is_ascii_graphic() && c != '"')
}

impl Manifest {
    fn new(class: Class, action: &str, version: u32) -> Manifest {
        let mut manifest = Manifest::default();
        let class = match class {
            Class::Fetch => "fetch",
            Class::Build => "build",
            Class::Measure => "measure",
        };
        manifest.add("class", class);
        manifest.add("action", format!("{action} {version}"));
        manifest
    }

    fn add(&mut self, path: impl Into<String>, value: impl ToString) {
        self.leaves.push(Leaf { path: path.into(), value: value.to_string(), origin: None });
    }

    fn add_from(&mut self, path: impl Into<String>, value: impl ToString, origin: &Origin) {
        self.leaves.push(Leaf { path: path.into(), value: value.to_string(), origin: Some(origin.clone()) });
    }

    /// The leaves, in canonical order.
    pub fn leaves(&self) -> &[Leaf] {
        &self.leaves
    }

    /// The canonical text: a line for each leaf, its path and its value as a JSON string, so that no value
    /// can look like two. A path that is no plain word is a JSON string as well.
    pub fn text(&self) -> String {
        let size: usize = self.leaves.iter().map(|leaf| leaf.path.len() + leaf.value.len() + 8).sum();
        let mut text = Vec::with_capacity(HEADER.len() + 1 + size);
        text.extend_from_slice(HEADER.as_bytes());
        text.push(b'\n');
        for leaf in &self.leaves {
            match is_word(&leaf.path) {
                true => text.extend_from_slice(leaf.path.as_bytes()),
                false => quote(&mut text, &leaf.path),
            }
            text.push(b' ');
            quote(&mut text, &leaf.value);
            text.push(b'\n');
        }
        String::from_utf8(text).unwrap_or_default()
    }

    /// Reads the text of a stored manifest; `None` where it is of another version.
    pub fn parse(text: &str) -> Option<Manifest> {
        let mut lines = text.lines();
        if lines.next()? != HEADER {
            return None;
        }
        let leaves = lines.map(Leaf::parse).collect::<Option<Vec<_>>>()?;
        Some(Manifest { leaves })
    }

    /// The key: BLAKE3 of the text, in a domain of its own.
    pub fn key(&self) -> Digest {
        Digest::derive("pipe 2026 step-key v1", self.text().as_bytes())
    }

    /// What differs between `old` and this, in the order of this one's leaves and then of what is gone.
    pub fn changes_since(&self, old: &Manifest) -> Vec<Change> {
        let before: BTreeMap<&str, &str> = old.leaves.iter().map(|l| (l.path.as_str(), l.value.as_str())).collect();
        let now: BTreeMap<&str, &str> = self.leaves.iter().map(|l| (l.path.as_str(), l.value.as_str())).collect();
        let mut changes: Vec<Change> = self
            .leaves
            .iter()
            .filter(|leaf| before.get(leaf.path.as_str()) != Some(&leaf.value.as_str()))
            .map(|leaf| Change {
                path: leaf.path.clone(),
                old: before.get(leaf.path.as_str()).map(|value| (*value).to_owned()),
                new: Some(leaf.value.clone()),
                origin: leaf.origin.clone(),
            })
            .collect();
        let gone = old.leaves.iter().filter(|leaf| !now.contains_key(leaf.path.as_str())).map(|leaf| Change {
            path: leaf.path.clone(),
            old: Some(leaf.value.clone()),
            new: None,
            origin: None,
        });
        changes.extend(gone);
        changes
    }
}

/// One leaf that differs between two manifests.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    pub path: String,
    pub old: Option<String>,
    pub new: Option<String>,
    pub origin: Option<Origin>,
}

/// What is known of the world outside the pipeline when a step becomes ready.
#[derive(Debug, Default)]
pub struct World {
    /// Platform of the place that the step serves.
    pub platform: String,
    /// Tool name → full version.
    pub tools: BTreeMap<String, String>,
    /// Packages of the machine's own Python, for `host-packages`.
    pub host_packages: BTreeMap<String, String>,
    /// Host library → content.
    pub host_libraries: BTreeMap<String, Digest>,
    /// The sandbox that a measurement runs in.
    pub sandbox: Option<Sandbox>,
    /// What is known of the cells that a comparison looks at, in its order: cell, state, digests of sessions.
    pub cells: Vec<(String, String)>,
}

/// Looks up the contents of inputs.
pub trait Contents {
    /// The content of `input`, where it is known.
    fn entry(&self, input: &Input) -> Option<Entry>;
    /// The output of a step, where it is known.
    fn output(&self, step: StepId) -> Option<Entry>;
}

/// A manifest that can't be made yet: the content of this input is not known.
#[derive(Debug, Clone, PartialEq)]
pub struct Unknown(pub Input);

/// The manifest of `step`, or the first input whose content is not known.
///
/// Approach: every type of the pipeline is taken apart field by field, here and below, so that a new field does not
/// compile before somebody has decided whether it belongs to the key. `_` says that it does not.
pub fn manifest(step: &Step, world: &World, contents: &dyn Contents) -> Result<Manifest, Unknown> {
    let Step {
        name: _,
        also: _,
        group: _,
        cell: _,
        recipe: _,
        about: _,
        origin,
        class,
        action,
        needs: Needs { cpu: _, memory: _, download: _, disk: _, gpu, os: _, arch: _ },
        limits: Limits { timeout: _, retries: _ },
        export: _,
    } = step;
    let reader = Reader { contents };
    match action {
        Action::FetchFile(FetchFile { url: _, sha256, name }) => {
            let mut manifest = Manifest::new(Class::Fetch, "fetch-file", 2);
            manifest.add_from("sha256", &sha256.value, &sha256.origin);
            manifest.add("name", name);
            Ok(manifest)
        }
        Action::FetchWheel(FetchWheel { package, version, sha256, origin }) => {
            let mut manifest = Manifest::new(Class::Fetch, "fetch-wheel", 1);
            manifest.add("platform", &world.platform);
            manifest.add("python", minor(world.tools.get("python3")));
            manifest.add_from("package", format!("{package}=={version}"), origin);
            manifest.add_from("sha256", sha256.join(" "), origin);
            Ok(manifest)
        }
        Action::UnpackWheels(UnpackWheels { wheels }) => {
            let mut manifest = Manifest::new(Class::Build, "unpack-wheels", UNPACK_VERSION);
            for (i, wheel) in wheels.iter().enumerate() {
                manifest.add(format!("wheel.{i}"), reader.output(*wheel)?);
            }
            Ok(manifest)
        }
        // What was asked for is in what was found.
        Action::HostPackages(HostPackages { packages: _ }) => {
            let mut manifest = Manifest::new(Class::Build, "host-packages", 1);
            manifest.add("platform", &world.platform);
            for (name, value) in &world.host_packages {
                manifest.add_from(name, value, origin);
            }
            Ok(manifest)
        }
        Action::Run(run) => run_manifest(*class, run, *gpu, world, &reader),
        Action::Tree(tree) => tree_manifest(tree, world, &reader),
        Action::Image(image) => image_manifest(image, world, &reader),
        Action::Measure(measure) => measure_manifest(measure, world, &reader),
        Action::Compare(compare) => Ok(compare_manifest(compare, world, contents)),
    }
}

struct Reader<'a> {
    contents: &'a dyn Contents,
}

impl Reader<'_> {
    fn entry(&self, input: &Input) -> Result<Entry, Unknown> {
        self.contents.entry(input).ok_or_else(|| Unknown(input.clone()))
    }

    /// What a key sees of an input: its content, and of a secret no more than its name.
    fn content(&self, input: &Input) -> Result<String, Unknown> {
        match input {
            Input::Secret { name } => Ok(format!("secret:{name}")),
            Input::Step { .. } | Input::File { .. } | Input::Embedded { .. } | Input::EngineSources => {
                self.entry(input).map(|entry| entry.to_string())
            }
        }
    }

    fn output(&self, step: StepId) -> Result<Entry, Unknown> {
        self.contents.output(step).ok_or(Unknown(Input::Step { step, path: String::new() }))
    }
}

fn run_manifest(class: Class, run: &Run, gpu: u32, world: &World, reader: &Reader) -> Result<Manifest, Unknown> {
    let Run { program, args, env, inputs, outputs, tools, network } = run;
    let mut manifest = Manifest::new(class, "run", RUN_VERSION);
    manifest.add("platform", &world.platform);
    let places = places(run);
    let text = |arg: &Arg| arg_text(arg, &places, reader);
    let what = match &program.value {
        Arg::Value(tool) => format!("tool {}", tool_text(&tool.to_string(), world)),
        other => text(other)?,
    };
    manifest.add_from("run.program", what, &program.origin);
    for (i, arg) in args.iter().enumerate() {
        manifest.add_from(format!("run.arg.{i}"), text(&arg.value)?, &arg.origin);
    }
    for (name, value) in env {
        manifest.add_from(format!("env.{name}"), text(&value.value)?, &value.origin);
    }
    for (name, input) in inputs {
        manifest.add_from(format!("input.{name}"), reader.content(&input.value)?, &input.origin);
    }
    for (i, output) in outputs.iter().enumerate() {
        manifest.add_from(format!("output.{i}"), &output.value, &output.origin);
    }
    for tool in tools {
        manifest.add_from(format!("tool.{}", tool.value), tool_text(&tool.value, world), &tool.origin);
    }
    manifest.add_from("network", network.value, &network.origin);
    // How many is the machine's business; without one, the process sees none.
    if gpu > 0 {
        manifest.add("gpu", "lent");
    }
    Ok(manifest)
}

/// The text of an argument in a key: where it lies *and* what it holds, never the name of a step.
fn arg_text(arg: &Arg, places: &[(&Input, String)], reader: &Reader) -> Result<String, Unknown> {
    Ok(match arg {
        Arg::Value(value) => format!("value {value}"),
        Arg::Input(input) => {
            let place = places.iter().find(|(other, _)| *other == input);
            format!("input {} {}", place.map(|(_, at)| at.as_str()).unwrap_or_default(), reader.content(input)?)
        }
        Arg::Output(path) => format!("output {path}"),
        Arg::Joined(parts) => {
            let parts: Vec<String> =
                parts.iter().map(|part| arg_text(part, places, reader)).collect::<Result<_, _>>()?;
            format!("joined {}", serde_json::Value::from(parts))
        }
    })
}

fn tool_text(name: &str, world: &World) -> String {
    match world.tools.get(name) {
        Some(version) => format!("{name} {version}"),
        None => format!("{name} (unknown)"),
    }
}

/// `3.11` of `3.11.7`: which wheel fits depends on no more.
fn minor(version: Option<&String>) -> String {
    version.map(|v| v.split('.').take(2).collect::<Vec<_>>().join(".")).unwrap_or_default()
}

fn tree_manifest(tree: &TreeOf, world: &World, reader: &Reader) -> Result<Manifest, Unknown> {
    let TreeOf { puts, host_libraries } = tree;
    let mut manifest = Manifest::new(Class::Build, "tree", TREE_VERSION);
    if !host_libraries.is_empty() {
        manifest.add("platform", &world.platform);
    }
    for (i, Put { at, what }) in puts.iter().enumerate() {
        manifest.add_from(format!("put.{i}.at"), &at.value, &at.origin);
        match what {
            PutWhat::Input(input) => {
                manifest.add_from(format!("put.{i}.input"), reader.entry(&input.value)?, &input.origin);
            }
            PutWhat::Matching { folder, pattern } => {
                manifest.add_from(format!("put.{i}.folder"), reader.entry(&folder.value)?, &folder.origin);
                manifest.add_from(format!("put.{i}.pattern"), &pattern.value, &pattern.origin);
            }
            PutWhat::Link(target) => manifest.add_from(format!("put.{i}.link"), &target.value, &target.origin),
            PutWhat::Text(text) => manifest.add_from(format!("put.{i}.text"), &text.value, &text.origin),
        }
    }
    for library in host_libraries {
        let content = world.host_libraries.get(&library.value).map(Digest::to_string).unwrap_or_default();
        manifest.add_from(format!("host-library.{}", library.value), content, &library.origin);
    }
    Ok(manifest)
}

fn image_manifest(image: &Image, world: &World, reader: &Reader) -> Result<Manifest, Unknown> {
    let Image { layers, entrypoint, env } = image;
    let mut manifest = Manifest::new(Class::Build, "image", IMAGE_VERSION);
    manifest.add("architecture", world.platform.split('-').nth(1).unwrap_or_default());
    for (i, (at, input)) in layers.iter().enumerate() {
        manifest.add_from(format!("layer.{i}.at"), &at.value, &at.origin);
        manifest.add_from(format!("layer.{i}.content"), reader.entry(&input.value)?, &input.origin);
    }
    for (i, word) in entrypoint.iter().enumerate() {
        manifest.add_from(format!("entrypoint.{i}"), &word.value, &word.origin);
    }
    for (name, value) in env {
        manifest.add_from(format!("env.{name}"), &value.value, &value.origin);
    }
    Ok(manifest)
}

/// The question key: what is measured, apart from the machine.
fn measure_manifest(measure: &Measure, world: &World, reader: &Reader) -> Result<Manifest, Unknown> {
    let Measure {
        engine,
        program,
        model,
        cuda_libraries,
        place,
        device,
        dtype,
        threads,
        reduced_precision,
        optimization,
        workload,
        warm_up: WarmUp { min, max },
        sampling: Sampling { min_samples: _, min_time: _, target: _, max_time: _, max_samples: _ },
        memory_budget: _,
    } = measure;
    let mut manifest = Manifest::new(Class::Measure, "measure", MEASURE_VERSION);
    let data = match workload {
        Workload::Sequence { tokens, prompt_tokens: _, new_tokens: _ } => ("tokens", tokens),
        Workload::Inference { inputs, items: _ } => ("inputs", inputs),
    };
    let content = [("engine", engine), ("model", model), data];
    for (name, input) in content {
        manifest.add_from(name, reader.entry(&input.value)?, &input.origin);
    }
    manifest.add_from("program", &program.value, &program.origin);
    if let Some(libraries) = cuda_libraries {
        manifest.add_from("cuda-libraries", reader.entry(&libraries.value)?, &libraries.origin);
    }
    manifest.add("place", place.name());
    if let Place::Container { image, cpus, memory } = place {
        manifest.add_from("container.image", reader.entry(&image.value)?, &image.origin);
        manifest.add_from("container.cpus", cpus.value, &cpus.origin);
        manifest.add_from("container.memory", memory.value, &memory.origin);
    }
    manifest.add_from("device", device.value.name(), &device.origin);
    manifest.add_from("dtype", dtype.value.name(), &dtype.origin);
    manifest.add_from("threads", threads.value, &threads.origin);
    manifest.add_from("reduced-precision", reduced_precision.value, &reduced_precision.origin);
    // All is what engines did before they could be asked: its key stays what it was.
    if !optimization.value.is_all() {
        manifest.add_from("optimization", optimization.value.name(), &optimization.origin);
    }
    match workload {
        Workload::Sequence { tokens: _, prompt_tokens, new_tokens } => {
            manifest.add_from("prompt-tokens", prompt_tokens.value, &prompt_tokens.origin);
            manifest.add_from("new-tokens", new_tokens.value, &new_tokens.origin);
        }
        Workload::Inference { inputs: _, items: Some(items) } => manifest.add_from("items", items.value, &items.origin),
        Workload::Inference { inputs: _, items: None } => {}
    }
    manifest.add("warm-up", format!("min {min} max {max}"));
    manifest.add("sandbox", world.sandbox.map(Sandbox::name).unwrap_or("none"));
    Ok(manifest)
}

fn compare_manifest(compare: &Compare, world: &World, contents: &dyn Contents) -> Manifest {
    // Which cells there are is in the world: each by its coordinates, with its samples.
    let Compare { of: _, group: _, matrix: _, baseline, parity, expects, published } = compare;
    let mut manifest = Manifest::new(Class::Build, "compare", COMPARE_VERSION);
    for (cell, state) in &world.cells {
        manifest.add(format!("cell.{cell}"), state);
    }
    if let Some(baseline) = baseline {
        manifest.add_from("baseline", &baseline.value, &baseline.origin);
    }
    if let Some(parity) = parity {
        add_parity(&mut manifest, parity, contents);
    }
    for (i, Expect { metric, cell, min, max }) in expects.iter().enumerate() {
        manifest.add_from(format!("expect.{i}.metric"), &metric.value, &metric.origin);
        manifest.add_from(format!("expect.{i}.cell"), &cell.value, &cell.origin);
        for (name, limit) in [("min", min), ("max", max)] {
            if let Some(limit) = limit {
                manifest.add_from(format!("expect.{i}.{name}"), limit, &metric.origin);
            }
        }
    }
    for (i, Published { label: _, source: _, metrics }) in published.iter().enumerate() {
        manifest.add(format!("published.{i}"), format!("{metrics:?}"));
    }
    manifest
}

fn add_parity(manifest: &mut Manifest, parity: &Parity, contents: &dyn Contents) {
    let Parity { reference, limits, top_k, outputs, calibrated } = parity;
    manifest.add_from("parity.reference", &reference.value, &reference.origin);
    for Limit { bound, limit } in limits {
        manifest.add_from(format!("parity.{}", bound.name()), limit.value, &limit.origin);
    }
    if let Some(top_k) = top_k {
        manifest.add_from("parity.top-k", top_k.value, &top_k.origin);
    }
    for (i, OutputRule { name, ignore, limits }) in outputs.iter().enumerate() {
        manifest.add_from(format!("parity.output.{i}"), &name.value, &name.origin);
        manifest.add_from(format!("parity.output.{i}.ignore"), ignore.value, &ignore.origin);
        for Limit { bound, limit } in limits {
            manifest.add_from(format!("parity.output.{i}.{}", bound.name()), limit.value, &limit.origin);
        }
    }
    if let Some(Calibrated { exact, k }) = calibrated {
        manifest.add_from("parity.k", k.value, &k.origin);
        // A comparison runs with what there is: cells are judged by the other limits where the exact outputs are not.
        let content = contents.entry(&exact.value).map_or_else(|| "missing".to_owned(), |entry| entry.to_string());
        manifest.add_from("parity.exact", content, &exact.origin);
    }
}

#[cfg(test)]
mod field_tests;
#[cfg(test)]
mod tests;
