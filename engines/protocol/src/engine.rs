//! What an engine implements: opening a model, one pass over tokens or inputs, and reading back. Knows no
//! messages but those that describe a model and a fault, and no clock but the one that it is asked for.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use crate::message::{Dtype, Fault, FaultKind, Hello, ModelCard, ModelKind, Optimization, Outlet, Prepare};
use crate::tensor::Tensor;

/// A machine-learning library behind the protocol.
pub trait Engine {
    /// Says who speaks; called before anything else and without touching a device.
    fn hello(&self) -> Hello;

    /// Opens the device and loads the model, with the threads and the arithmetic that `how` asks for.
    fn open(&mut self, how: &Prepare) -> Result<Loaded, Fault>;

    /// The clock that samples are taken with.
    fn clock(&self) -> Box<dyn Clock> {
        Box::new(Monotonic(Instant::now()))
    }
}

/// A language model on its device, and the cache of one sequence.
pub trait LanguageModel {
    /// Empties the cache: the next pass is the first of a sequence.
    fn reset(&mut self) -> Result<(), Fault>;

    /// Runs one pass over `tokens`, adding them to the cache. Returns once the device is idle and the
    /// logits are computed, so that the caller may read the clock.
    fn forward(&mut self, tokens: &[i64]) -> Result<(), Fault>;

    /// The logits of the last pass, one row of the vocabulary's length for each of its tokens.
    fn logits(&mut self) -> Result<Vec<f32>, Fault>;

    /// Peak memory of the device's allocator in bytes, where there is one that tells.
    fn peak_device(&self) -> Option<u64> {
        None
    }
}

/// Any other model on its device: tensors in, tensors out.
pub trait TensorModel {
    /// What it takes, in order.
    fn inputs(&self) -> &[Outlet];

    /// Puts the inputs, which are those of [`inputs`](Self::inputs) in their order, onto the device.
    fn feed(&mut self, inputs: Vec<Tensor>) -> Result<(), Fault>;

    /// Runs one pass over what was fed. Returns once the device is idle and the outputs are computed, so that
    /// the caller may read the clock.
    fn run(&mut self) -> Result<(), Fault>;

    /// The outputs of the last pass, each with its name.
    fn outputs(&mut self) -> Result<Vec<(String, Tensor)>, Fault>;

    /// Peak memory of the device's allocator in bytes, where there is one that tells.
    fn peak_device(&self) -> Option<u64> {
        None
    }
}

/// A model that is ready, and what is known of how it will run.
pub struct Loaded {
    pub model: Model,
    pub facts: Facts,
}

/// A model by what can be asked of it.
pub enum Model {
    Language {
        model: Box<dyn LanguageModel>,
        /// The length of a row of logits; tokens lie below it.
        vocabulary: u32,
    },
    Tensors(Box<dyn TensorModel>),
}

/// What the library tells of itself, read back after it was set up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    pub libraries: BTreeMap<String, String>,
    pub threads: u32,
    pub reduced_precision: bool,
    pub optimization: Optimization,
    pub placement: BTreeMap<String, u64>,
}

/// Nanoseconds that only grow.
pub trait Clock {
    fn now_ns(&self) -> u64;
}

/// The host's monotonic clock.
struct Monotonic(Instant);

impl Clock for Monotonic {
    fn now_ns(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

impl Fault {
    /// Anything that is neither a missing device nor a lack of memory.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::of(FaultKind::Failed, message)
    }

    /// The device isn't there.
    pub fn no_device(message: impl Into<String>) -> Self {
        Self::of(FaultKind::NoDevice, message)
    }

    /// A library's own words, which alone tell a lack of memory from another failure.
    pub fn from_library(during: &str, words: &str) -> Self {
        // The phrases of the CPU and CUDA allocators of libtorch, of ONNX Runtime's arena and of C++.
        const OUT_OF_MEMORY: [&str; 7] = [
            "out of memory",
            "not enough memory",
            "can't allocate memory",
            "failed to allocate memory",
            "bad_alloc",
            "bad allocation",
            "cannot allocate memory",
        ];
        let lower = words.to_lowercase();
        let kind = match OUT_OF_MEMORY.iter().any(|phrase| lower.contains(phrase)) {
            true => FaultKind::OutOfMemory,
            false => FaultKind::Failed,
        };
        Self::of(kind, format!("{during}: {}", words.trim()))
    }

    fn of(kind: FaultKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }
}

impl ModelCard {
    /// Reads `pipe-model.json` of a model's folder and refuses what this version doesn't know, and a model of another
    /// data type than the cell's: whoever converted it now would measure something that nobody exported.
    pub fn read(folder: &Path, dtype: Dtype) -> Result<Self, Fault> {
        let path = folder.join("pipe-model.json");
        let named = |what: String| Fault::failed(format!("`{}`: {what}", path.display()));
        let text = std::fs::read(&path).map_err(|error| named(error.to_string()))?;
        let card: serde_json::Value = serde_json::from_slice(&text).map_err(|error| named(error.to_string()))?;
        if card["format"] != 1 {
            return Err(named(format!("format {} is unknown, only 1 is", card["format"])));
        }
        let card: ModelCard = serde_json::from_value(card).map_err(|error| named(error.to_string()))?;
        if card.dtype != dtype {
            let (is, asked) = (card.dtype.name(), dtype.name());
            return Err(Fault::failed(format!(
                "the model's weights are `{is}`, and the cell asks for `{asked}`; make the model with `dtype=\"{asked}\"`"
            )));
        }
        match card.kind {
            ModelKind::Llm { layers, vocabulary, .. } if layers == 0 || vocabulary == 0 => {
                Err(named("a model has at least one layer and one word".to_owned()))
            }
            _ => Ok(card),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Dim;

    #[test]
    fn a_librarys_words_tell_a_lack_of_memory() {
        let check = |words: &str, kind| assert_eq!(Fault::from_library("pass", words).kind, kind, "{words}");
        check("CUDA out of memory. Tried to allocate 2.00 GiB", FaultKind::OutOfMemory);
        check(
            "[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory: you tried",
            FaultKind::OutOfMemory,
        );
        check("Failed to allocate memory for requested buffer of size 1", FaultKind::OutOfMemory);
        check("std::bad_alloc", FaultKind::OutOfMemory);
        check("expected 3 inputs, got 2", FaultKind::Failed);
    }

    #[test]
    fn cards_of_both_kinds_are_read_and_others_refused() {
        let folder = std::env::temp_dir().join(format!("pipe-engine-card-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let read = |card: &str| {
            std::fs::write(folder.join("pipe-model.json"), card).expect("a file");
            ModelCard::read(&folder, Dtype::Fp32).map(|card| card.kind).map_err(|fault| fault.message)
        };
        let llm = r#"{"format":1,"file":"m","kind":"llm","layers":1,"kv_heads":1,"head_dim":1,"vocabulary":1}"#;
        assert_eq!(read(llm), Ok(ModelKind::Llm { layers: 1, kv_heads: 1, head_dim: 1, vocabulary: 1 }));
        let x = r#"{"name":"x","dtype":"float32","shape":["batch",3,null]}"#;
        let tensors = format!(r#"{{"format":1,"file":"m","kind":"tensors","inputs":[{x}],"outputs":[]}}"#);
        let shape = vec![Dim::Named("batch".to_owned()), Dim::Fixed(3), Dim::Free];
        let x = Outlet { name: "x".to_owned(), dtype: "float32".to_owned(), shape };
        assert_eq!(read(&tensors), Ok(ModelKind::Tensors { inputs: vec![x], outputs: Vec::new() }));
        let refused = |card: &str, words: &str| {
            let said = read(card).expect_err("refused");
            assert!(said.contains(words), "{said}");
        };
        refused(&llm.replace("\"format\":1", "\"format\":2"), "format 2 is unknown");
        refused(&llm.replace("llm", "tree"), "`tree`");
        refused(&llm.replace("\"layers\":1", "\"layers\":0"), "at least one layer");
        let half = llm.replace("\"format\":1", "\"format\":1,\"dtype\":\"bf16\"");
        refused(&half, "weights are `bf16`, and the cell asks for `fp32`");
        assert!(ModelCard::read(&folder, Dtype::Bf16).is_ok_and(|card| card.dtype == Dtype::Bf16));
        std::fs::remove_dir_all(&folder).expect("removed");
    }
}
