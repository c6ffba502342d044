//! What an engine is asked for, and whether that is what it did: a figure from another place is no figure of the cell.

use std::time::Duration;

use pipe_engine::message::{self, Device, Prepare, Prepared, Workload};

use crate::exec::engine::Limits;
use crate::exec::outcome::Failure;
use crate::exec::place;
use crate::exec::work::Job;
use crate::host::energy::Meter;
use crate::pipeline::{self, Measure, Place};
use crate::record::Work;

/// What an engine is asked to load.
pub fn prepare(asked: &Measure) -> Prepare {
    Prepare {
        protocol: message::PROTOCOL,
        device: asked.device.value,
        dtype: asked.dtype.value,
        threads: asked.threads.value,
        reduced_precision: asked.reduced_precision.value,
        optimization: asked.optimization.value,
        model: place::model(&asked.place).to_owned(),
        cuda_libraries: asked.cuda_libraries.as_ref().map(|_| place::CUDA.to_owned()),
        workload: match &asked.workload {
            pipeline::Workload::Sequence { prompt_tokens, new_tokens, .. } => Workload::Llm {
                tokens: place::TOKENS.to_owned(),
                prompt_tokens: prompt_tokens.value,
                new_tokens: new_tokens.value,
            },
            pipeline::Workload::Inference { .. } => Workload::Inference { inputs: place::INPUTS.to_owned() },
        },
    }
}

/// What one sample was: as the pipeline says, and else as the engine found it.
pub fn work(asked: &Measure, found: Option<u32>) -> Work {
    match &asked.workload {
        pipeline::Workload::Sequence { prompt_tokens, new_tokens, .. } => {
            Work::Sequence { prompt_tokens: prompt_tokens.value, new_tokens: new_tokens.value }
        }
        pipeline::Workload::Inference { items, .. } => {
            Work::Inference { items: items.as_ref().map(|items| items.value).or(found) }
        }
    }
}

/// Holds what the engine saw against what was asked for: a figure from another place is no figure of this cell.
pub fn check_inside(job: &Job<'_>, asked: &Measure, prepared: &Prepared) -> Result<(), Failure> {
    let mut wrong = Vec::new();
    if prepared.threads != asked.threads.value {
        wrong.push(format!("it runs {} threads, and {} are asked for", prepared.threads, asked.threads.value));
    }
    if prepared.reduced_precision != asked.reduced_precision.value {
        wrong.push(format!(
            "reduced precision is {}, and {} is asked for",
            prepared.reduced_precision, asked.reduced_precision.value
        ));
    }
    if prepared.optimization != asked.optimization.value {
        let (found, wanted) = (prepared.optimization.name(), asked.optimization.value.name());
        wrong.push(format!("its level of graph optimisation is `{found}`, and `{wanted}` is asked for"));
    }
    let inside = &prepared.inside;
    if inside.cpus < asked.threads.value {
        wrong.push(format!("it may use {} processors for {} threads", inside.cpus, asked.threads.value));
    }
    if let Place::Container { cpus, memory, .. } = &asked.place {
        if inside.cpus != cpus.value {
            wrong.push(format!("it sees {} processors, and {} are asked for", inside.cpus, cpus.value));
        }
        if inside.memory_limit != Some(memory.value) {
            let seen = inside.memory_limit.map_or("none".to_owned(), |limit| limit.to_string());
            wrong.push(format!("its memory limit is {seen}, and {} bytes are asked for", memory.value));
        }
        if inside.root_writable {
            wrong.push("it can write to `/`".to_owned());
        }
        if !inside.network_interfaces.is_empty() {
            wrong.push(format!("it has a network: {}", inside.network_interfaces.join(", ")));
        }
        if inside.uid == 0 {
            wrong.push("it runs as root".to_owned());
        }
    }
    if wrong.is_empty() {
        return Ok(());
    }
    Err(Failure {
        message: format!("the engine of `{}` did not run as asked: {}", job.site.step(job.id).name, wrong.join("; ")),
        help: Some("the container runtime or the sandbox does not keep these limits; see `pipe doctor`".to_owned()),
        ..Failure::default()
    })
}

/// What counts the energy of the cell's device, or why nothing does.
pub fn meter(job: &Job<'_>, asked: &Measure) -> Result<Meter, String> {
    match asked.device.value {
        Device::Cpu => Meter::cpu(&job.site.system),
        Device::Cuda => {
            let gpus = &job.site.facts.machine.gpus;
            // CUDA takes the fastest first and NVML the order of the bus: of one kind both are the same.
            match gpus.iter().any(|gpu| gpu.model != gpus[0].model) {
                true => Err("there are GPUs of several kinds, and which of them ran is not known".to_owned()),
                false => Meter::gpu(0),
            }
        }
        Device::Mps | Device::Coreml => {
            Err("a Mac tells its energy by a private interface, which is not asked".to_owned())
        }
    }
}

/// A `timeout` of the step bounds each phase; without one, generous limits tell a hung engine from a slow one.
pub fn limits(timeout: Option<Duration>) -> Limits {
    let limits = Limits::default();
    let Some(timeout) = timeout else { return limits };
    Limits {
        hello: limits.hello.min(timeout),
        prepare: limits.prepare.min(timeout),
        warm_up: limits.warm_up.min(timeout),
        measure: limits.measure.min(timeout),
        outputs: limits.outputs.min(timeout),
        finish: limits.finish.min(timeout),
    }
}
