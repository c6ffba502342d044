//! The engine that runs TorchScript models on libtorch: on the CPU, on CUDA and on Metal.
//!
//! It is linked to libtorch's CPU part alone and opens the CUDA part when asked for that device, so that
//! CPU cells and their images carry none of it. The loop, the clock and the rules are `pipe-engine`'s.

mod device;
mod language;
mod shim;
mod tensors;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

use pipe_engine::message::{Dtype, Fault, Hello, ModelCard, ModelKind, PROTOCOL, Prepare};
use pipe_engine::{Engine, Facts, Loaded, Model};
use tch::{CModule, TchError};

use crate::language::{Cache, TorchLanguage};
use crate::tensors::{Outlets, TorchTensors};

fn main() -> ExitCode {
    pipe_engine::serve(Torch)
}

struct Torch;

impl Engine for Torch {
    fn hello(&self) -> Hello {
        Hello {
            protocol: PROTOCOL,
            engine: "torch".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            simulated: false,
        }
    }

    fn open(&mut self, how: &Prepare) -> Result<Loaded, Fault> {
        if !how.optimization.is_all() {
            return Err(Fault::failed("the torch engine has no levels of graph optimisation; ask for `all`"));
        }
        // Before any other call: libtorch looks for its CUDA part once, and never again.
        let device = device::open(how.device, how.cuda_libraries.as_deref().map(Path::new))?;
        let threads = set_threads(how.threads)?;
        let reduced_precision = set_precision(how.reduced_precision)?;
        let folder = Path::new(&how.model);
        let card = ModelCard::read(folder, how.dtype)?;
        let path = folder.join(&card.file);
        let model = match card.kind {
            ModelKind::Llm { layers, kv_heads, head_dim, vocabulary } => {
                let cache = Cache { layers, kv_heads, head_dim, kind: kind_of(how.dtype) };
                let model = TorchLanguage::load(&path, cache, device)?;
                Model::Language { model: Box::new(model), vocabulary }
            }
            ModelKind::Tensors { inputs, outputs } => {
                let outlets = Outlets { inputs, outputs, kind: kind_of(how.dtype) };
                Model::Tensors(Box::new(TorchTensors::load(&path, outlets, device)?))
            }
        };
        let facts = Facts {
            libraries: libraries(device),
            threads,
            reduced_precision,
            optimization: how.optimization,
            // A trace names no device for its operators: they run where their inputs lie, or fail.
            placement: BTreeMap::new(),
        };
        Ok(Loaded { model, facts })
    }
}

/// A data type as libtorch calls it.
fn kind_of(dtype: Dtype) -> tch::Kind {
    match dtype {
        Dtype::Fp32 => tch::Kind::Float,
        Dtype::Fp16 => tch::Kind::Half,
        Dtype::Bf16 => tch::Kind::BFloat16,
    }
}

/// Sets the threads inside an operator, one operator at a time, and reads the number back.
fn set_threads(asked: u32) -> Result<u32, Fault> {
    let threads = i32::try_from(asked).ok().filter(|threads| *threads > 0);
    let threads = threads.ok_or_else(|| Fault::failed(format!("{asked} threads cannot be set; ask for 1 or more")))?;
    tch::set_num_interop_threads(1);
    tch::set_num_threads(threads);
    Ok(tch::get_num_threads().unsigned_abs())
}

fn set_precision(reduced: bool) -> Result<bool, Fault> {
    if !shim::allow_reduced_precision(reduced) {
        return Err(Fault::failed("libtorch refused the precision switches"));
    }
    shim::reduced_precision().ok_or_else(|| Fault::failed("libtorch doesn't say what precision it is set to"))
}

/// Versions and build facts, as the loaded library tells them.
fn libraries(device: tch::Device) -> BTreeMap<String, String> {
    let config = shim::about(shim::About::Config);
    let setting = |name: &str| {
        let (_, rest) = config.split_once(&format!("{name}="))?;
        Some(rest.split(',').next()?.trim().to_owned())
    };
    let first_line = |about| Some(shim::about(about).lines().next()?.trim().to_owned());
    let mut found = vec![
        ("libtorch", setting("TORCH_VERSION")),
        ("simd", first_line(shim::About::Simd)),
        ("blas", setting("BLAS_INFO")),
        ("mkl", first_line(shim::About::Mkl)),
        ("onednn", first_line(shim::About::OneDnn)),
        ("openmp", first_line(shim::About::OpenMp)),
    ];
    if device.is_cuda() {
        found.push(("cuda", Some(cuda_version(tch::utils::version_cudart()))));
        found.push(("cudnn", Some(tch::utils::version_cudnn().to_string())));
    }
    let told = found.into_iter().filter_map(|(name, text)| Some((name.to_owned(), text?)));
    told.filter(|(_, text)| !text.is_empty()).collect()
}

/// CUDA counts thousands and tens: 13000 is 13.0.
fn cuda_version(number: i64) -> String {
    format!("{}.{}", number / 1000, number % 1000 / 10)
}

/// Loads a trace onto the device.
fn load(path: &Path, device: tch::Device) -> Result<CModule, Fault> {
    let during = format!("loading `{}`", path.display());
    // The optimising executor rebuilds the graph from the shapes that its first passes saw: a sample would
    // depend on those before it, and with lengths that grow it gains nothing.
    tch::jit::f_set_graph_executor_optimize(false).map_err(|error| fault(&during, &error))?;
    let mut module = CModule::load_on_device(path, device).map_err(|error| fault(&during, &error))?;
    module.f_set_eval().map_err(|error| fault(&during, &error))?;
    device::synchronize(device)?;
    Ok(module)
}

/// The first line of what libtorch says; the lines after it are its own call stack.
fn fault(during: &str, error: &TchError) -> Fault {
    let words = error.to_string();
    let told: Vec<&str> = words.lines().take_while(|line| !line.starts_with("Exception raised from")).collect();
    Fault::from_library(during, &told.join("\n"))
}
