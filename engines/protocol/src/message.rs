//! The messages between `pipe` and an engine: one JSON object a line, on the engine's stdin and stdout.
//!
//! The engine speaks first, with [`Hello`], whose shape never changes; every later message belongs to
//! the protocol version that both sides agreed on by it. The runner then asks and the engine answers,
//! strictly in turn:
//!
//! ```text
//! engine  hello
//! runner  prepare   ->  prepared | failed
//! runner  warm-up   ->  warmed   | failed
//! runner  measure n ->  samples  | failed      (any number of times: blocks, top-ups)
//! runner  outputs   ->  outputs  | failed
//! runner  finish    ->  finished, and the engine exits with 0
//! ```
//!
//! Times are whole nanoseconds of a monotonic clock, sizes are bytes. Tensors never travel in a message:
//! they are files, named relative to the working folder. This module knows no engine and no device.

use serde::{Deserialize, Serialize};

/// The version of everything below [`Hello`]. Since 2 there is [`Workload::Inference`].
pub const PROTOCOL: u32 = 2;

/// The first line of every engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The highest protocol version that the engine speaks.
    pub protocol: u32,
    /// `torch`, `onnx`, or `sim` for the engine of the tests.
    pub engine: String,
    /// The engine's own version.
    pub version: String,
    /// True for an engine that invents its figures; whatever it makes is marked with it.
    #[serde(default)]
    pub simulated: bool,
}

/// What the runner asks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case")]
pub enum Request {
    /// Opens the device and loads the model.
    Prepare(Prepare),
    /// Runs the workload until it is steady.
    WarmUp(WarmUp),
    /// Takes `samples` further samples, each the last of `every` passes: the samples of a fast model are spread over
    /// more time than they take.
    Measure {
        samples: u32,
        #[serde(default = "one")]
        every: u32,
    },
    /// Writes the outputs for the parity check into `folder`.
    Outputs { folder: String },
    /// Reports what was used, and exits.
    Finish,
}

fn one() -> u32 {
    1
}

/// What the engine answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
pub enum Answer {
    Prepared(Box<Prepared>),
    Warmed(Warmed),
    Samples { samples: Vec<Sample> },
    Outputs(Outputs),
    Finished(Usage),
    Failed(Fault),
}

/// How a model shall be run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Prepare {
    /// The protocol version to speak, at most the one in [`Hello`].
    pub protocol: u32,
    pub device: Device,
    pub dtype: Dtype,
    /// Threads inside one operator; engines run one operator at a time (inter-operator threads: 1).
    pub threads: u32,
    /// Allow TF32 and reduced-precision sums; off unless asked.
    #[serde(default)]
    pub reduced_precision: bool,
    /// How far the engine may rewrite the model before it runs; all of it unless asked.
    #[serde(default, skip_serializing_if = "Optimization::is_all")]
    pub optimization: Optimization,
    /// The model's folder; its `pipe-model.json` describes it ([`ModelCard`]).
    pub model: String,
    /// A folder with a Python environment whose `torch/lib` holds the CUDA libraries, for `cuda` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cuda_libraries: Option<String>,
    pub workload: Workload,
}

/// Where the model runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Device {
    Cpu,
    Mps,
    Cuda,
    Coreml,
}

impl Device {
    /// The name that pipelines and reports use.
    pub fn name(self) -> &'static str {
        match self {
            Device::Cpu => "cpu",
            Device::Mps => "mps",
            Device::Cuda => "cuda",
            Device::Coreml => "coreml",
        }
    }
}

impl std::str::FromStr for Device {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        [Device::Cpu, Device::Mps, Device::Cuda, Device::Coreml]
            .into_iter()
            .find(|device| device.name() == text)
            .ok_or(())
    }
}

/// The data type of weights and arithmetic.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Dtype {
    #[default]
    Fp32,
    Fp16,
    Bf16,
}

impl Dtype {
    /// The name that pipelines and reports use.
    pub fn name(self) -> &'static str {
        match self {
            Dtype::Fp32 => "fp32",
            Dtype::Fp16 => "fp16",
            Dtype::Bf16 => "bf16",
        }
    }
}

impl std::str::FromStr for Dtype {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        [Dtype::Fp32, Dtype::Fp16, Dtype::Bf16].into_iter().find(|dtype| dtype.name() == text).ok_or(())
    }
}

/// How far a model is rewritten before it runs: the levels of ONNX Runtime, each with all of those before it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Optimization {
    /// Every node runs as the file has it.
    Disable,
    /// What is constant is computed once, and what is redundant goes.
    Basic,
    /// Nodes are fused into those that the device has.
    Extended,
    /// Layouts of tensors change too.
    #[default]
    All,
}

impl Optimization {
    pub const EVERY: [Optimization; 4] =
        [Optimization::Disable, Optimization::Basic, Optimization::Extended, Optimization::All];

    /// The name that pipelines and reports use.
    pub fn name(self) -> &'static str {
        match self {
            Optimization::Disable => "disable",
            Optimization::Basic => "basic",
            Optimization::Extended => "extended",
            Optimization::All => "all",
        }
    }

    /// What engines do unless asked, and did before they could be asked.
    pub fn is_all(&self) -> bool {
        *self == Optimization::All
    }
}

impl std::str::FromStr for Optimization {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        Optimization::EVERY.into_iter().find(|level| level.name() == text).ok_or(())
    }
}

/// What one sample is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Workload {
    /// One sequence of a language model: one forward pass over `prompt_tokens` tokens with an empty cache
    /// (prefill), then `new_tokens` passes over one token each with the growing cache (decode). The tokens
    /// are read from `tokens`, little-endian `int64` in NumPy's `.npy` format, and never from the model's
    /// own choice, so that every engine does the same work.
    Llm { tokens: String, prompt_tokens: u32, new_tokens: u32 },
    /// One inference of any model: one forward pass over the inputs of the folder `inputs`, which holds a
    /// `.npy` file for each of them ([`file_of`](crate::tensor::file_of)). They lie on the device before the
    /// first pass, and every pass sees the same.
    Inference { inputs: String },
}

/// `pipe-model.json`: what an engine must know of a model's folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelCard {
    /// Always 1.
    pub format: u32,
    /// The file to load, relative to the folder: `model.pt` (TorchScript) or `model.onnx`.
    pub file: String,
    /// The data type of its weights, for which it was traced or exported. Its floating-point inputs and outputs are of
    /// that type on the device, and `float32` in files: NumPy knows no `bf16`.
    #[serde(default)]
    pub dtype: Dtype,
    #[serde(flatten)]
    pub kind: ModelKind,
}

/// What a model takes and gives.
///
/// Inputs of an `llm` are `input_ids` (`int64`, 1 × S), then for each layer `past_key_values.I.key` and
/// `.value` (1 × kv_heads × P × head_dim); outputs are `logits` (1 × S × vocabulary), then `present.I.key`
/// and `.value`. TorchScript models take and give them in that order. A `tensors` model says itself what it
/// takes and gives, in the order of a TorchScript model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum ModelKind {
    Llm { layers: u32, kv_heads: u32, head_dim: u32, vocabulary: u32 },
    Tensors { inputs: Vec<Outlet>, outputs: Vec<Outlet> },
}

/// A named input or output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outlet {
    pub name: String,
    /// As NumPy calls it: `float32`.
    pub dtype: String,
    pub shape: Vec<Dim>,
}

/// What a dimension must be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Dim {
    Fixed(u64),
    /// Free, with a name: `batch`.
    Named(String),
    Free,
}

/// What is known once the model is loaded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Prepared {
    /// From the start of the process to the first line of `main`, where the host tells it.
    pub process_ns: Option<u64>,
    /// From the request to a loaded model.
    pub load_ns: u64,
    /// Library versions and build facts: `libtorch`, `onnxruntime`, `cuda`, `simd`, `blas`, …, by name.
    pub libraries: std::collections::BTreeMap<String, String>,
    /// Threads, read back from the library after they were set.
    pub threads: u32,
    /// TF32 and reduced-precision sums, read back.
    pub reduced_precision: bool,
    /// How far the model was rewritten, as the engine set it.
    #[serde(default, skip_serializing_if = "Optimization::is_all")]
    pub optimization: Optimization,
    /// Where operators run, as far as the library tells: device or provider → number of operators.
    pub placement: std::collections::BTreeMap<String, u64>,
    /// Of an inference: the first dimension of its first input, 1 where that has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items: Option<u32>,
    pub inside: Inside,
}

/// What the engine sees of the place where it runs, to be held against what was asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inside {
    /// Processors in the process's affinity mask.
    pub cpus: u32,
    /// CPU quota of the control group, in thousandths of a processor.
    pub cpu_quota_milli: Option<u64>,
    /// Memory limit of the control group.
    pub memory_limit: Option<u64>,
    pub uid: u32,
    /// True where a file can be made in `/`.
    pub root_writable: bool,
    /// Network interfaces that are up, the loop-back one apart.
    pub network_interfaces: Vec<String>,
    pub architecture: String,
}

/// How long to warm up: at least `min` samples, then until the last half of them shows no trend, at most `max`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WarmUp {
    pub min: u32,
    pub max: u32,
}

/// What the warm-up showed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Warmed {
    /// All of the warm-up, the first and coldest sample first; none of them is ever mixed with measured ones.
    pub samples: Vec<Sample>,
    /// False where `max` came first.
    pub steady: bool,
}

/// One sequence or one inference. The device is synchronised before each reading of the clock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// Its start, from the engine's first reading of the clock.
    pub at_ns: u64,
    /// The first pass: over the prompt of a sequence (time to first token), or all of an inference.
    pub prefill_ns: u64,
    /// One time for each token after it; none of an inference.
    pub decode_ns: Vec<u64>,
}

/// What was written for the parity check. Of a sequence `logits.npy`, `float32`, positions × vocabulary,
/// where row i is what the model said after token i (prompt and decoded tokens alike); of an inference a
/// file for each output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outputs {
    pub files: Vec<String>,
}

/// What the process used, read by itself just before its end.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Peak resident set of this process (`VmHWM` on Linux, `phys_footprint` on a Mac).
    pub peak_resident: Option<u64>,
    /// Peak memory of the device's allocator.
    pub peak_device: Option<u64>,
    /// Time on processors, all threads, user and system.
    pub cpu_ns: Option<u64>,
    /// Pages brought in from a disk.
    pub major_faults: Option<u64>,
}

/// Why a request failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    pub kind: FaultKind,
    pub message: String,
}

/// Which of three things a failure means: the runner treats them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// The device is not there: the cell is unavailable.
    NoDevice,
    /// The engine itself saw memory run out: a result, kept for this machine.
    OutOfMemory,
    /// Anything else: the cell failed.
    Failed,
}
