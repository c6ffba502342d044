//! The resolved pipeline: plain types, no text, no recipes, no matrices left to expand.
//!
//! `resolve` makes it, `plan` and everything below read it. Every value that can reach a key carries its
//! [`Origin`], so that `why` can name the place in the file; origins, names and descriptions are never part
//! of a key. This module knows nothing of KDL, of files on disk, or of processes.
//!
//! The types can be serialised for one purpose, the plan that `pipe` keeps for itself (`resolve::kept`): what one
//! build wrote, no other build reads, so their shape is no format.

pub mod filter;
pub mod metric;
pub mod parity;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use self::filter::Filter;
pub use self::parity::{Bound, Calibrated, Limit, OutputRule, Parity};
pub use crate::diag::Source;
pub use pipe_engine::message::{Device, Dtype, Optimization};

/// A pipeline whose every name is resolved and every matrix expanded.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Pipeline {
    pub name: String,
    pub about: Option<String>,
    /// Every file that was read, the main one first; [`Origin::File`] points into it.
    pub sources: Vec<Source>,
    pub params: Vec<Param>,
    pub matrices: Vec<Matrix>,
    /// The named sets of values that `--profile` can choose.
    pub profiles: Vec<Profile>,
    /// Steps in an order in which each comes after those that it reads. Equal steps are merged into one.
    pub steps: Vec<Step>,
}

/// A named set of values for parameters.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Profile {
    pub name: String,
    pub about: Option<String>,
}

/// A parameter and the value it has in this run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Param {
    pub name: String,
    pub about: Option<String>,
    pub value: Spanned<Value>,
}

/// Bytes that travel in the binary. A name of their own, since `serde` would borrow a plain reference.
pub type Bytes = &'static [u8];

/// A reason that is written in the source.
pub type Why = &'static str;

/// Where a value was written.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Origin {
    /// Bytes `start..end` of `Pipeline::sources[source]`.
    File { source: usize, start: usize, end: usize },
    /// A flag of the command line, as it was given: `--set prompt-tokens=128`.
    Flag(String),
    /// A value of the profile that a flag chose. Boxed: it is rare, and every value carries its origin.
    Profile(Box<FromProfile>),
    /// `pipe` itself, with the reason.
    #[serde(skip)]
    Builtin(Why),
}

/// Where a profile says a value: the flag that chose it, `--profile quick`, and the place, as in `Origin::File`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FromProfile {
    pub flag: String,
    pub source: usize,
    pub start: usize,
    pub end: usize,
}

/// A value and where it was written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Spanned<T> {
    pub value: T,
    pub origin: Origin,
}

/// A plain value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Value {
    Text(String),
    Integer(i64),
    Float(f64),
    Bool(bool),
    Bytes(u64),
    Time(Duration),
}

impl fmt::Display for Value {
    /// The canonical spelling, which is also what a key sees and what a process gets as an argument.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Text(text) => f.write_str(text),
            Value::Integer(n) => write!(f, "{n}"),
            Value::Float(x) => write!(f, "{x}"),
            Value::Bool(b) => write!(f, "{b}"),
            Value::Bytes(n) => write!(f, "{n}"),
            Value::Time(t) => write!(f, "{}", t.as_secs_f64()),
        }
    }
}

/// A step of the DAG by its place in [`Pipeline::steps`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StepId(pub usize);

/// One point of a matrix, in the order of its axes: `engine=onnx,place=native,device=cpu`.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Cell(pub Vec<(String, String)>);

impl Cell {
    /// The value on `axis`, where the cell has that axis.
    pub fn get(&self, axis: &str) -> Option<&str> {
        self.0.iter().find(|(name, _)| name == axis).map(|(_, value)| value.as_str())
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (axis, value)) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            write!(f, "{axis}={value}")?;
        }
        Ok(())
    }
}

/// A matrix as it was declared, for the report's rows and for its holes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Matrix {
    pub name: String,
    pub axes: Vec<(String, Vec<String>)>,
    /// Every cell in order, those that are ruled out among them.
    pub points: Vec<Cell>,
    /// Cells that the file rules out, each with its reason.
    pub excluded: Vec<(Cell, String)>,
    /// Cells that the file adds to what the axes make, each with its reason where it gives one.
    pub included: Vec<(Cell, Option<String>)>,
}

impl Matrix {
    /// The reason for which the file adds this cell.
    pub fn why_included(&self, cell: &Cell) -> Option<&str> {
        let (_, reason) = self.included.iter().find(|(included, _)| included == cell)?;
        reason.as_deref()
    }
}

/// One node of the DAG.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Step {
    /// `model`, `env/torch`, or `decode[engine=onnx,place=native,device=cpu]`; the first of the names that
    /// merged into this step.
    pub name: String,
    /// Further names of the same step.
    pub also: Vec<String>,
    /// The name without the cell, by which the graph groups: `decode`.
    pub group: String,
    pub cell: Option<Cell>,
    /// The recipe that the user's file named, for display.
    pub recipe: Option<String>,
    pub about: Option<String>,
    pub origin: Origin,
    pub class: Class,
    pub action: Action,
    pub needs: Needs,
    pub limits: Limits,
    /// A folder name below `out/PIPELINE/` to which the output is given back.
    pub export: Option<String>,
}

impl Step {
    /// The step's point of its matrix, empty where it has none: what tells the cells of one measurement apart
    /// whatever the measurement is called.
    pub fn coordinates(&self) -> String {
        self.cell.as_ref().map(Cell::to_string).unwrap_or_default()
    }
}

/// What a result may be reused for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Class {
    /// Fixed output: the digest is written down.
    Fetch,
    /// Same inputs, same bytes, on every machine of the platform.
    Build,
    /// Samples of a distribution that belongs to this machine.
    Measure,
}

/// What a step needs while it runs; part of no key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Needs {
    pub cpu: u32,
    pub memory: u64,
    /// About how many bytes come over the network; said before a run, and no more than said.
    pub download: u64,
    /// About how many bytes the result takes in the store.
    pub disk: u64,
    /// GPUs that the machine must have; the step sees their device files.
    pub gpu: u32,
    /// `linux` or `macos`.
    pub os: Option<String>,
    /// `x86_64` or `aarch64`.
    pub arch: Option<String>,
}

impl Default for Needs {
    fn default() -> Self {
        Needs { cpu: 1, memory: 256 << 20, download: 0, disk: 0, gpu: 0, os: None, arch: None }
    }
}

/// Limits and retries; part of no key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    pub timeout: Option<Duration>,
    pub retries: u32,
}

/// What a step does.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Action {
    Run(Run),
    FetchFile(FetchFile),
    FetchWheel(FetchWheel),
    UnpackWheels(UnpackWheels),
    HostPackages(HostPackages),
    Tree(TreeOf),
    Image(Image),
    Measure(Box<Measure>),
    Compare(Box<Compare>),
}

/// A file or folder that a step reads.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Input {
    /// Another step's output, or a path in it (empty for all of it).
    Step { step: StepId, path: String },
    /// A file or folder beside the KDL file, by content. `path` is absolute and never part of a key;
    /// `name` is its last component, which is. Of a folder only what `filter` keeps counts.
    File { path: PathBuf, name: String, filter: Filter },
    /// A file that travels in the `pipe` binary.
    Embedded {
        name: String,
        #[serde(with = "crate::stdlib::by_path")]
        bytes: Bytes,
    },
    /// All engine sources that travel in the binary, as a tree.
    EngineSources,
    /// A file that holds a secret of the user's, by name: its value is in no key, no store and no log.
    Secret { name: String },
}

/// A process.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Run {
    /// The first value of `run`: a tool of the host by name, or a file of an input.
    pub program: Spanned<Arg>,
    pub args: Vec<Spanned<Arg>>,
    pub env: BTreeMap<String, Spanned<Arg>>,
    /// Inputs that are no argument, each with the name it has below `in/`.
    pub inputs: Vec<(String, Spanned<Input>)>,
    /// Declared outputs, relative to `out/`; empty: all that is there.
    pub outputs: Vec<Spanned<String>>,
    /// Further host tools that the program starts: `cc`, `rustc`.
    pub tools: Vec<Spanned<String>>,
    pub network: Spanned<bool>,
}

/// One argument or environment value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Arg {
    Value(Value),
    /// Becomes the path of the input below `in/`.
    Input(Input),
    /// Becomes a path below `out/`; empty: `out` itself.
    Output(String),
    /// Several pieces set beside each other without a space.
    Joined(Vec<Arg>),
}

/// One file by its digest.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FetchFile {
    /// `https:`, `http:` or `file:`; not part of the key.
    pub url: Spanned<String>,
    pub sha256: Spanned<String>,
    /// The name of the file in the output tree.
    pub name: String,
}

/// One wheel of a locked Python environment; the output is the wheel, a file.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FetchWheel {
    pub package: String,
    pub version: String,
    /// The digests of the lock, sorted; the wheel for this platform has one of them.
    pub sha256: Vec<String>,
    pub origin: Origin,
}

/// Wheels unpacked into one tree.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct UnpackWheels {
    pub wheels: Vec<StepId>,
}

/// The machine's own Python packages, as a tree: the named distributions and all that they require.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HostPackages {
    pub packages: Vec<Spanned<String>>,
}

/// A tree put together of parts of others, with no process.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TreeOf {
    pub puts: Vec<Put>,
    /// Libraries of the host by file name, put below `lib/` where the dynamic loader of the platform looks;
    /// every library that an ELF file of the tree needs must then be inside the tree.
    pub host_libraries: Vec<Spanned<String>>,
}

/// One part of a [`TreeOf`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Put {
    /// Where it goes; empty: its entries go to the root.
    pub at: Spanned<String>,
    pub what: PutWhat,
}

/// What is put.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum PutWhat {
    Input(Spanned<Input>),
    /// The single file in the input folder whose name matches `pattern` (`libonnxruntime.so.*`).
    Matching {
        folder: Spanned<Input>,
        pattern: Spanned<String>,
    },
    Link(Spanned<String>),
    Text(Spanned<String>),
}

/// A container image, made without a daemon. The output is a small tree that describes it; its layers are
/// made from the store's trees when a runtime loads it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Image {
    /// Each layer: where in the image, and which input.
    pub layers: Vec<(Spanned<String>, Spanned<Input>)>,
    pub entrypoint: Vec<Spanned<String>>,
    pub env: BTreeMap<String, Spanned<String>>,
}

/// Where an engine runs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Place {
    Native,
    Container { image: Spanned<Input>, cpus: Spanned<u32>, memory: Spanned<u64> },
}

impl Place {
    /// The name that pipelines and reports use.
    pub fn name(&self) -> &'static str {
        match self {
            Place::Native => "native",
            Place::Container { .. } => "container",
        }
    }
}

/// A measurement.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Measure {
    /// A tree with `bin/ENGINE` and `lib/`.
    pub engine: Spanned<Input>,
    /// The file below `engine` to start: `bin/pipe-engine-onnx`.
    pub program: Spanned<String>,
    /// A tree with `pipe-model.json`.
    pub model: Spanned<Input>,
    /// A Python environment with the CUDA libraries; given for `cuda` alone.
    pub cuda_libraries: Option<Spanned<Input>>,
    pub place: Place,
    pub device: Spanned<Device>,
    pub dtype: Spanned<Dtype>,
    pub threads: Spanned<u32>,
    pub reduced_precision: Spanned<bool>,
    pub optimization: Spanned<Optimization>,
    pub workload: Workload,
    pub warm_up: WarmUp,
    /// How much to sample: a query over the sample sets of the key, never part of it.
    pub sampling: Sampling,
    /// Judged by the report, not part of the key.
    pub memory_budget: Option<Spanned<u64>>,
}

/// What one sample of a measurement is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Workload {
    /// A sequence of a language model: a pass over the prompt, then one pass for each further token. `tokens` is
    /// a `.npy` file.
    Sequence { tokens: Spanned<Input>, prompt_tokens: Spanned<u32>, new_tokens: Spanned<u32> },
    /// One forward pass of any model. `inputs` is a folder with a `.npy` file for each input; `items` says how
    /// many things one pass works on, where that is not the first dimension of the first input.
    Inference { inputs: Spanned<Input>, items: Option<Spanned<u32>> },
}

impl Workload {
    /// What the engine reads for it.
    pub fn data(&self) -> &Spanned<Input> {
        match self {
            Workload::Sequence { tokens: data, .. } | Workload::Inference { inputs: data, .. } => data,
        }
    }

    /// The same, to be changed.
    pub fn data_mut(&mut self) -> &mut Spanned<Input> {
        match self {
            Workload::Sequence { tokens: data, .. } | Workload::Inference { inputs: data, .. } => data,
        }
    }
}

/// The warm-up rule; it changes the distribution, so it is part of the key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WarmUp {
    pub min: u32,
    pub max: u32,
}

/// Sample until all of the first three hold, and no longer than the last two.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sampling {
    pub min_samples: u32,
    pub min_time: Duration,
    /// Half-width of the median's 95 % interval, relative to the median.
    pub target: f64,
    pub max_time: Duration,
    /// More tell hardly more, and all of them are kept: a small model makes a hundred thousand in a few seconds.
    pub max_samples: u32,
}

/// A comparison of measured cells.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Compare {
    /// The measure steps it looks at, in the order of the matrix.
    pub of: Vec<StepId>,
    /// The name of their group: `decode`.
    pub group: String,
    pub matrix: Option<Matrix>,
    pub baseline: Option<Spanned<CellPattern>>,
    pub parity: Option<Parity>,
    pub expects: Vec<Expect>,
    pub published: Vec<Published>,
}

/// `expect "speed-up" cell="…" min=1.0`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Expect {
    /// One of [`metric::EXPECTED`].
    pub metric: Spanned<String>,
    pub cell: Spanned<CellPattern>,
    /// In seconds, bytes, or the plain number of a rate or ratio.
    pub min: Option<f64>,
    pub max: Option<f64>,
}

/// A result from elsewhere.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Published {
    pub label: String,
    pub source: String,
    pub metrics: Vec<(String, f64)>,
}

/// `engine=onnx place=* !device=cpu`: each axis it names must match, and with `!` must not; `*` stands for any
/// text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CellPattern(pub Vec<(String, String)>);

impl CellPattern {
    /// Reads `axis=value` pairs parted by spaces or commas; `None` where one has no `=`.
    pub fn parse(text: &str) -> Option<CellPattern> {
        text.split([' ', ','])
            .filter(|part| !part.is_empty())
            .map(|part| part.split_once('=').map(|(a, v)| (a.to_owned(), v.to_owned())))
            .collect::<Option<Vec<_>>>()
            .map(CellPattern)
    }

    /// True where every axis that the pattern names matches the cell's value.
    pub fn matches(&self, cell: &Cell) -> bool {
        self.0.iter().all(|(axis, pattern)| match axis.strip_prefix('!') {
            Some(axis) => cell.get(axis).is_some_and(|value| !glob(pattern, value)),
            None => cell.get(axis).is_some_and(|value| glob(pattern, value)),
        })
    }

    /// True where the pattern says something of this axis.
    pub fn names(&self, axis: &str) -> bool {
        self.0.iter().any(|(known, _)| known.trim_start_matches('!') == axis)
    }
}

impl fmt::Display for CellPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<String> = self.0.iter().map(|(a, v)| format!("{a}={v}")).collect();
        f.write_str(&parts.join(" "))
    }
}

/// Matches `text` against a pattern in which `*` stands for any run of characters.
pub fn glob(pattern: &str, text: &str) -> bool {
    let Some((head, tail)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(rest) = text.strip_prefix(head) else {
        return false;
    };
    (0..=rest.len()).filter(|&i| rest.is_char_boundary(i)).any(|i| glob(tail, &rest[i..]))
}

/// Every input of an action, in the order in which the action names them.
pub fn inputs(action: &Action) -> Vec<&Input> {
    let mut found = Vec::new();
    match action {
        Action::Run(run) => found = run_inputs(run),
        Action::Tree(tree) => found.extend(tree.puts.iter().filter_map(|put| match &put.what {
            PutWhat::Input(input) | PutWhat::Matching { folder: input, .. } => Some(&input.value),
            PutWhat::Link(_) | PutWhat::Text(_) => None,
        })),
        Action::Image(image) => found.extend(image.layers.iter().map(|(_, input)| &input.value)),
        Action::Measure(measure) => {
            found.extend([&measure.engine.value, &measure.model.value, &measure.workload.data().value]);
            found.extend(measure.cuda_libraries.iter().map(|input| &input.value));
            if let Place::Container { image, .. } = &measure.place {
                found.push(&image.value);
            }
        }
        Action::Compare(compare) => {
            let calibrated = compare.parity.as_ref().and_then(|parity| parity.calibrated.as_ref());
            found.extend(calibrated.map(|calibrated| &calibrated.exact.value));
        }
        Action::FetchFile(_) | Action::FetchWheel(_) | Action::UnpackWheels(_) | Action::HostPackages(_) => {}
    }
    found
}

/// The inputs of a process, those among its arguments first; one that is named twice is there twice.
pub fn run_inputs(run: &Run) -> Vec<&Input> {
    let mut found = Vec::new();
    let args = std::iter::once(&run.program).chain(&run.args).chain(run.env.values());
    args.for_each(|arg| inputs_of_arg(&arg.value, &mut found));
    found.extend(run.inputs.iter().map(|(_, input)| &input.value));
    found
}

fn inputs_of_arg<'a>(arg: &'a Arg, found: &mut Vec<&'a Input>) {
    match arg {
        Arg::Input(input) => found.push(input),
        Arg::Joined(parts) => parts.iter().for_each(|part| inputs_of_arg(part, found)),
        Arg::Value(_) | Arg::Output(_) => {}
    }
}

/// Where each input of a process lies below its folder: named inputs and files by their names, outputs of steps
/// by their place among the arguments, never by the name of a step. The process sees these paths, so its key does.
pub fn places(run: &Run) -> Vec<(&Input, String)> {
    let mut places: Vec<(&Input, String)> =
        run.inputs.iter().map(|(name, input)| (&input.value, format!("in/{name}"))).collect();
    let mut args = Vec::new();
    let all = std::iter::once(&run.program).chain(&run.args).chain(run.env.values());
    all.for_each(|arg| inputs_of_arg(&arg.value, &mut args));
    let mut count = 0;
    for input in args {
        if places.iter().any(|(other, _)| *other == input) {
            continue;
        }
        let at = match input {
            Input::Step { path, .. } => {
                count += 1;
                match path.rsplit('/').next() {
                    Some(name) if !name.is_empty() => format!("in/{count}/{name}"),
                    _ => format!("in/{count}"),
                }
            }
            Input::File { name, .. } | Input::Embedded { name, .. } => format!("in/{name}"),
            Input::EngineSources => "in/engines".to_owned(),
            // It lies outside the folder of the step, which may be kept.
            Input::Secret { name } => format!("secret/{name}"),
        };
        places.push((input, at));
    }
    places
}

/// The steps that `action` reads, each once, in order.
pub fn reads(action: &Action) -> Vec<StepId> {
    let mut steps: Vec<StepId> = inputs(action)
        .into_iter()
        .filter_map(|input| match input {
            Input::Step { step, .. } => Some(*step),
            Input::File { .. } | Input::Embedded { .. } | Input::EngineSources | Input::Secret { .. } => None,
        })
        .collect();
    match action {
        Action::UnpackWheels(unpack) => steps.extend(&unpack.wheels),
        Action::Compare(compare) => steps.extend(&compare.of),
        _ => {}
    }
    let mut seen = std::collections::BTreeSet::new();
    steps.retain(|step| seen.insert(*step));
    steps
}
