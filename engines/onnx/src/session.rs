//! Opens a session: device, threads, precision, and what became of them. Knows no tokens and no cache.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use ort::environment::Environment;
use ort::ep::{CUDA, CoreML, ExecutionProvider, ExecutionProviderDispatch};
use ort::logging::LogLevel;
use ort::session::Session;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use pipe_engine::message::{Device, Fault, Optimization, Prepare};

use crate::fault;
use crate::placement::Listener;

/// A session, and what was read back of how it was set up.
pub struct Opened {
    pub session: Session,
    pub threads: u32,
    pub reduced_precision: bool,
    pub placement: BTreeMap<String, u64>,
}

/// Loads the file for the device that is asked for; one that the library's build lacks is no device.
pub fn open(environment: &Environment, file: &Path, how: &Prepare) -> Result<Opened, Fault> {
    if how.threads == 0 {
        return Err(Fault::failed("0 threads cannot be set; ask for 1 or more"));
    }
    let provider = provider(how)?;
    let listener = Arc::new(Listener::default());
    let mut builder = configure(environment, how, Arc::clone(&listener))?;
    if let Some(provider) = provider {
        let asked = how.device.name();
        builder = builder
            .with_execution_providers([provider])
            .map_err(|error| Fault::no_device(format!("ONNX Runtime cannot start its `{asked}` provider: {error}")))?;
    }
    let before = own_threads();
    let during = format!("loading `{}`", file.display());
    let session = builder.commit_from_file(file).map_err(fault(&during))?;
    Ok(Opened {
        session,
        threads: pool(before, own_threads()).unwrap_or(how.threads),
        // Only CUDA has a switch for it.
        reduced_precision: how.reduced_precision && how.device == Device::Cuda,
        placement: listener.finish(),
    })
}

/// Everything but the device.
fn configure(environment: &Environment, how: &Prepare, listener: Arc<Listener>) -> Result<SessionBuilder, Fault> {
    const DURING: &str = "setting up a session";
    let refused = fault::<SessionBuilder>(DURING);
    SessionBuilder::new(environment)
        .map_err(fault(DURING))?
        .with_intra_threads(how.threads as usize)
        .and_then(|builder| builder.with_inter_threads(1))
        .and_then(|builder| builder.with_parallel_execution(false))
        .and_then(|builder| builder.with_optimization_level(level(how.optimization)))
        .and_then(|builder| builder.with_log_level(LogLevel::Verbose))
        .and_then(|builder| builder.with_logger(Arc::new(move |_, _, _, _, line| listener.hear(line))))
        .map_err(refused)
}

fn level(asked: Optimization) -> GraphOptimizationLevel {
    match asked {
        Optimization::Disable => GraphOptimizationLevel::Disable,
        Optimization::Basic => GraphOptimizationLevel::Level1,
        Optimization::Extended => GraphOptimizationLevel::Level2,
        Optimization::All => GraphOptimizationLevel::All,
    }
}

/// The provider of a device; the CPU's is always there and needs no asking.
fn provider(how: &Prepare) -> Result<Option<ExecutionProviderDispatch>, Fault> {
    let cuda = CUDA::default().with_tf32(how.reduced_precision);
    match how.device {
        Device::Cpu => Ok(None),
        Device::Cuda => available(&cuda, "`onnxruntime-gpu`").map(|()| Some(cuda.build().error_on_failure())),
        Device::Coreml => available(&CoreML::default(), "a Mac with Apple silicon")
            .map(|()| Some(CoreML::default().build().error_on_failure())),
        Device::Mps => Err(Fault::no_device("ONNX Runtime has no device `mps`")),
    }
}

fn available<P: ExecutionProvider>(_: &P, needs: &str) -> Result<(), Fault> {
    match P::is_available() {
        Ok(true) => Ok(()),
        Ok(false) => {
            Err(Fault::no_device(format!("this build of ONNX Runtime has no `{}`; it needs {needs}", P::NAME)))
        }
        Err(error) => Err(fault("asking for the providers")(error)),
    }
}

/// The caller's thread and those that the session started, for ONNX Runtime has no way to ask.
fn pool(before: Option<usize>, after: Option<usize>) -> Option<u32> {
    let started = after?.checked_sub(before?)?;
    u32::try_from(started).ok()?.checked_add(1)
}

/// Threads of this process, where the host tells.
fn own_threads() -> Option<usize> {
    Some(std::fs::read_dir("/proc/self/task").ok()?.count())
}
