//! Golden keys: the key of every step of our pipelines and examples, on a simulated host.
//!
//! A step's key is what finds its result, in every store that there is. It changes when the pipeline changes, and
//! otherwise only when somebody wants it to: what a step reads is simulated here, by its name, so that an edit of a
//! script or a data file is no change. After one that you want: `PIPE_BLESS=1 cargo test --test keys`.

#![expect(clippy::disallowed_methods, reason = "a test may be told to write its texts anew")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use pipe::key::{Contents, World, manifest};
use pipe::pipeline::{Action, Arg, Input, Place, StepId, Value};
use pipe::plan::Plan;
use pipe::record::Sandbox;
use pipe::resolve::{Disk, Facts, Options, load};
use pipe_cache::{Digest, Entry};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// What every step makes, and what every file holds: something of its own, by the key and by the name.
struct Simulated(BTreeMap<StepId, Digest>);

fn content(name: &str) -> Option<Entry> {
    Some(Entry::File {
        digest: Digest::derive("pipe tests: simulated content", name.as_bytes()),
        size: 1,
        executable: false,
    })
}

impl Contents for Simulated {
    fn entry(&self, input: &Input) -> Option<Entry> {
        match input {
            Input::Step { step, path } => content(&format!("step {} {path}", self.0.get(step)?)),
            Input::File { name, filter, .. } => content(&format!("file {name} {filter:?}")),
            Input::Embedded { name, .. } => content(&format!("embedded {name}")),
            Input::EngineSources => content("engine sources"),
            Input::Secret { .. } => None,
        }
    }

    fn output(&self, step: StepId) -> Option<Entry> {
        self.entry(&Input::Step { step, path: String::new() })
    }
}

/// A host that is none: every tool has version 1.0.
fn world(action: &Action, pipeline: &pipe::pipeline::Pipeline, keys: &BTreeMap<StepId, Digest>) -> World {
    let mut world = World { platform: "linux-x86_64-glibc-2.36".to_owned(), ..World::default() };
    let mut tools: BTreeSet<&str> = BTreeSet::from(["python3"]);
    match action {
        Action::Run(run) => {
            if let Arg::Value(Value::Text(name)) = &run.program.value {
                tools.insert(name);
            }
            tools.extend(run.tools.iter().map(|tool| tool.value.as_str()));
        }
        Action::HostPackages(asked) => {
            let packages =
                asked.packages.iter().map(|package| (format!("package {}", package.value), "1.0".to_owned()));
            world.host_packages = packages.collect();
        }
        Action::Tree(tree) => {
            let libraries = tree.host_libraries.iter().map(|name| name.value.clone());
            world.host_libraries = libraries.map(|name| (name.clone(), Digest::of(name.as_bytes()))).collect();
        }
        Action::Measure(measure) => world.sandbox = matches!(measure.place, Place::Native).then_some(Sandbox::Strict),
        Action::Compare(compare) => {
            let cells = compare.of.iter().map(|id| (pipeline.steps[id.0].coordinates(), keys[id].to_string()));
            world.cells = cells.collect();
        }
        Action::FetchFile(_) | Action::FetchWheel(_) | Action::UnpackWheels(_) | Action::Image(_) => {}
    }
    world.tools = tools.into_iter().map(|name| (name.to_owned(), format!("{name} 1.0"))).collect();
    world
}

/// A line for each step of a pipeline: its key and its name.
fn vectors(path: &str) -> String {
    let (os, arch, gpu) = ("linux".to_owned(), "x86_64".to_owned(), "none".to_owned());
    let facts = Facts { os, arch, gpu, python: Some("3.11.7".to_owned()) };
    let (pipeline, found) = load(Path::new(path), &Options::default(), &Disk::new(root()), &facts);
    let pipeline = pipeline.unwrap_or_else(|| panic!("{path}: {}", found.render(false, 100)));
    let plan = Plan::new(&pipeline).expect("no cycle");
    let mut contents = Simulated(BTreeMap::new());
    let mut out = format!("# {path}\n");
    for &id in plan.order() {
        let step = &pipeline.steps[id.0];
        let world = world(&step.action, &pipeline, &contents.0);
        let manifest = manifest(step, &world, &contents).expect("every input is simulated");
        contents.0.insert(id, manifest.key());
        out += &format!("{} {}\n", manifest.key().short(), step.name);
    }
    out
}

fn files(folder: &str) -> Vec<String> {
    let entries = fs::read_dir(root().join(folder)).expect("a folder");
    let names = entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned());
    let mut files: Vec<String> =
        names.filter(|name| name.ends_with(".kdl")).map(|name| format!("{folder}/{name}")).collect();
    files.sort();
    files
}

#[test]
fn keys_change_only_when_somebody_wants_them_to() {
    let now: String =
        ["pipelines", "examples"].iter().flat_map(|folder| files(folder)).map(|file| vectors(&file)).collect();
    let golden = root().join("tests/keys/vectors.txt");
    if std::env::var_os("PIPE_BLESS").is_some() {
        fs::write(&golden, &now).expect("written");
        return;
    }
    let before = fs::read_to_string(&golden).expect("the golden keys");
    let steps = |text: &str| {
        let mut file = String::new();
        let mut steps = BTreeMap::new();
        for line in text.lines() {
            match line.strip_prefix("# ") {
                Some(name) => file = name.to_owned(),
                None => {
                    let (key, step) = line.split_once(' ').expect("a key and a name");
                    steps.insert(format!("{file}: {step}"), key.to_owned());
                }
            }
        }
        steps
    };
    let (old, new) = (steps(&before), steps(&now));
    assert!(new.len() > 200, "only {} steps", new.len());
    let changed = new.iter().filter_map(|(step, key)| match old.get(step) {
        Some(known) if known == key => None,
        Some(known) => Some(format!("{step}: {known} → {key}")),
        None => Some(format!("{step}: {key} is new")),
    });
    let gone = old.keys().filter(|step| !new.contains_key(*step)).map(|step| format!("{step}: is gone"));
    let differs: Vec<String> = changed.chain(gone).collect();
    assert!(
        differs.is_empty(),
        "{} keys differ:\n{}\n\nA result is found by its key: with another one, every store makes it again. If the pipeline \
         changed, this is right. If what `src/key.rs` writes down changed, raise the version of the action there (so that \
         it is said), and a line in CHANGELOG.md. Then: PIPE_BLESS=1 cargo test --test keys",
        differs.len(),
        differs.iter().take(20).cloned().collect::<Vec<_>>().join("\n"),
    );
}
