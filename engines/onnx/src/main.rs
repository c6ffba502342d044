//! The engine that runs ONNX models on ONNX Runtime: on the CPU, on CUDA and on CoreML.
//!
//! Nothing is linked: the library is opened from beside the engine, in `../lib`, when a model is asked for.
//! The loop, the clock and the rules are `pipe-engine`'s.

mod language;
mod library;
mod placement;
mod session;
mod tensors;

use std::path::Path;
use std::process::ExitCode;

use pipe_engine::message::{Device, Dtype, Fault, Hello, ModelCard, ModelKind, PROTOCOL, Prepare};
use pipe_engine::{Engine, Facts, Loaded, Model};

use crate::language::{Cache, OnnxLanguage};
use crate::tensors::OnnxTensors;

fn main() -> ExitCode {
    pipe_engine::serve(Onnx)
}

struct Onnx;

impl Engine for Onnx {
    fn hello(&self) -> Hello {
        Hello {
            protocol: PROTOCOL,
            engine: "onnx".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            simulated: false,
        }
    }

    fn open(&mut self, how: &Prepare) -> Result<Loaded, Fault> {
        if how.dtype != Dtype::Fp32 {
            return Err(Fault::failed("the onnx engine computes in `fp32` only; ask for that data type"));
        }
        if how.device == Device::Mps {
            return Err(Fault::no_device("ONNX Runtime reaches Apple GPUs through CoreML: ask for device `coreml`"));
        }
        let library = library::open()?;
        let folder = Path::new(&how.model);
        let card = ModelCard::read(folder, how.dtype)?;
        let opened = session::open(&library.environment, &folder.join(&card.file), how)?;
        let facts = Facts {
            libraries: library.about,
            threads: opened.threads,
            reduced_precision: opened.reduced_precision,
            optimization: how.optimization,
            placement: opened.placement,
        };
        let (session, environment) = (opened.session, library.environment);
        let model = match card.kind {
            ModelKind::Llm { layers, kv_heads, head_dim, vocabulary } => {
                let cache = Cache { layers, kv_heads, head_dim };
                let model = Box::new(OnnxLanguage::new(session, environment, cache, how.device)?);
                Model::Language { model, vocabulary }
            }
            ModelKind::Tensors { inputs, outputs } => {
                Model::Tensors(Box::new(OnnxTensors::new(session, environment, inputs, outputs, how.device)?))
            }
        };
        Ok(Loaded { model, facts })
    }
}

/// What ONNX Runtime says of a failure.
fn fault<T>(during: &str) -> impl Fn(ort::Error<T>) -> Fault + use<'_, T> {
    move |error| Fault::from_library(during, &error.to_string())
}
