//! The engine that runs ONNX models on ONNX Runtime: on the CPU, on CUDA and on CoreML.
//!
//! Nothing is linked: the library is opened from beside the engine, in `../lib`, when a model is asked for.
//! The loop, the clock and the rules are `pipe-engine`'s.

mod library;
mod model;
mod placement;
mod session;

use std::path::Path;
use std::process::ExitCode;

use pipe_engine::message::{Device, Dtype, Fault, Hello, ModelCard, PROTOCOL, Prepare};
use pipe_engine::{Engine, Facts, Loaded};

use crate::model::OnnxModel;

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
        let card = ModelCard::read(folder)?;
        let opened = session::open(&library.environment, &folder.join(&card.file), how)?;
        let facts = Facts {
            libraries: library.about,
            threads: opened.threads,
            reduced_precision: opened.reduced_precision,
            placement: opened.placement,
        };
        let vocabulary = card.vocabulary;
        let model = OnnxModel::new(opened.session, library.environment, &card, how.device)?;
        Ok(Loaded { model: Box::new(model), vocabulary, facts })
    }
}

/// What ONNX Runtime says of a failure.
fn fault<T>(during: &str) -> impl Fn(ort::Error<T>) -> Fault + use<'_, T> {
    move |error| Fault::from_library(during, &error.to_string())
}
