//! The engine that runs TorchScript models on libtorch: on the CPU, on CUDA and on Metal.
//!
//! It is linked to libtorch's CPU part alone and opens the CUDA part when asked for that device, so that
//! CPU cells and their images carry none of it. The loop, the clock and the rules are `pipe-engine`'s.

mod device;
mod model;
mod shim;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

use pipe_engine::message::{Dtype, Fault, Hello, ModelCard, PROTOCOL, Prepare};
use pipe_engine::{Engine, Facts, Loaded};

use crate::model::TorchModel;

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
        if how.dtype != Dtype::Fp32 {
            return Err(Fault::failed("the torch engine computes in `fp32` only; ask for that data type"));
        }
        // Before any other call: libtorch looks for its CUDA part once, and never again.
        let device = device::open(how.device, how.cuda_libraries.as_deref().map(Path::new))?;
        let threads = set_threads(how.threads)?;
        let reduced_precision = set_precision(how.reduced_precision)?;
        let folder = Path::new(&how.model);
        let card = ModelCard::read(folder)?;
        let model = TorchModel::load(folder, &card, device)?;
        let facts = Facts {
            libraries: libraries(device),
            threads,
            reduced_precision,
            // A trace names no device for its operators: they run where their inputs lie, or fail.
            placement: BTreeMap::new(),
        };
        Ok(Loaded { model: Box::new(model), vocabulary: card.vocabulary, facts })
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
