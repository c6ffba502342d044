//! Any model in its session: its inputs bound once, its outputs left where the device puts them. Knows no clock.

use ort::environment::Environment;
use ort::logging::LogLevel;
use ort::memory::{AllocationDevice, AllocatorType, MemoryInfo, MemoryType};
use ort::session::{IoBinding, NoSelectedOutputs, RunOptions, Session};
use ort::value::{DynTensor, DynTensorValueType, DynValue, Outlet as SessionOutlet, TensorElementType};
use pipe_engine::TensorModel;
use pipe_engine::message::{Device, Fault, Outlet};
use pipe_engine::tensor::{Element, Tensor};

use crate::fault;

pub struct OnnxTensors {
    // Fields are dropped in this order, and the session goes before its environment.
    binding: IoBinding,
    last: Vec<DynValue>,
    options: RunOptions<NoSelectedOutputs>,
    inputs: Vec<Outlet>,
    outputs: Vec<String>,
    on_device: MemoryInfo<'static>,
    session: Session,
    _environment: Environment,
}

impl OnnxTensors {
    /// Takes a session that has the inputs and outputs of the model's card.
    pub fn new(
        session: Session,
        environment: Environment,
        inputs: Vec<Outlet>,
        outputs: Vec<Outlet>,
        device: Device,
    ) -> Result<Self, Fault> {
        known("input", session.inputs(), &inputs)?;
        known("output", session.outputs(), &outputs)?;
        let during = "setting up the model's inputs and outputs";
        let mut options = RunOptions::new().map_err(fault(during))?;
        // The session was opened with a talkative log; passes shall not pay for it.
        options.set_log_level(LogLevel::Error).map_err(fault(during))?;
        let at = match device {
            Device::Cuda => AllocationDevice::CUDA,
            _ => AllocationDevice::CPU,
        };
        Ok(Self {
            binding: session.create_binding().map_err(fault(during))?,
            last: Vec::new(),
            options,
            inputs,
            outputs: outputs.into_iter().map(|outlet| outlet.name).collect(),
            on_device: MemoryInfo::new(at, 0, AllocatorType::Device, MemoryType::Default).map_err(fault(during))?,
            session,
            _environment: environment,
        })
    }

    fn bind(&mut self, tensors: Vec<Tensor>) -> ort::Result<()> {
        for (outlet, tensor) in self.inputs.iter().zip(tensors) {
            let shape: Vec<i64> = tensor.shape.iter().map(|dim| dim.cast_signed()).collect();
            let mut value = DynTensor::new(self.session.allocator(), to_library(tensor.element), shape)?;
            if !tensor.bytes.is_empty() {
                // SAFETY: the tensor was made on the host for this shape and type, of which the bytes are, and
                // nobody else has it.
                unsafe {
                    let to = value.data_ptr_mut().cast::<u8>();
                    std::ptr::copy_nonoverlapping(tensor.bytes.as_ptr(), to, tensor.bytes.len());
                }
            }
            // What the device does not see is copied to it here, once.
            self.binding.bind_input(&outlet.name, &value)?;
        }
        for name in &self.outputs {
            self.binding.bind_output_to_device(name, &self.on_device)?;
        }
        self.binding.synchronize_inputs()
    }

    fn pass(&mut self) -> ort::Result<()> {
        self.last.clear();
        let mut outputs = self.session.run_binding_with_options(&self.binding, &self.options)?;
        self.binding.synchronize_outputs()?;
        for name in &self.outputs {
            let gone = || ort::Error::new(format!("the output `{name}` did not come back"));
            self.last.push(outputs.remove(name).ok_or_else(gone)?);
        }
        Ok(())
    }
}

impl TensorModel for OnnxTensors {
    fn inputs(&self) -> &[Outlet] {
        &self.inputs
    }

    fn feed(&mut self, inputs: Vec<Tensor>) -> Result<(), Fault> {
        self.bind(inputs).map_err(fault("bringing the inputs to the device"))
    }

    fn run(&mut self) -> Result<(), Fault> {
        self.pass().map_err(fault("running the model"))
    }

    fn outputs(&mut self) -> Result<Vec<(String, Tensor)>, Fault> {
        let named = self.outputs.iter().zip(&self.last);
        named.map(|(name, value)| Ok((name.clone(), read(name, value)?))).collect()
    }
}

/// Holds the card's names and types against the session's, so that a message names them.
fn known(what: &str, has: &[SessionOutlet], wanted: &[Outlet]) -> Result<(), Fault> {
    for outlet in wanted {
        let Some(found) = has.iter().find(|found| found.name() == outlet.name) else {
            let names: Vec<String> = has.iter().map(|found| format!("`{}`", found.name())).collect();
            let (name, names) = (&outlet.name, names.join(", "));
            return Err(Fault::failed(format!("the model has no {what} `{name}`, only {names}")));
        };
        if found.dtype().tensor_type().and_then(of_library).is_none() {
            let (name, kind) = (&outlet.name, found.dtype());
            return Err(Fault::failed(format!("the {what} `{name}` is a {kind:?}, which can't be read or written")));
        }
    }
    Ok(())
}

fn read(name: &str, value: &DynValue) -> Result<Tensor, Fault> {
    let during = format!("reading the output `{name}`");
    let value = value.view().downcast::<DynTensorValueType>().map_err(fault(&during))?;
    let brought;
    let host = match value.memory_info().is_cpu_accessible() {
        true => &*value,
        false => {
            brought = value.to(AllocationDevice::CPU, 0).map_err(fault(&during))?;
            &brought
        }
    };
    let element = of_library(*host.data_type());
    let element = element.ok_or_else(|| Fault::failed(format!("{during}: its type cannot be written")))?;
    let shape: Vec<u64> = host.shape().iter().map(|dim| dim.unsigned_abs()).collect();
    let size = element.size() * host.shape().num_elements();
    let bytes = match size {
        0 => Vec::new(),
        // SAFETY: the tensor lies on the host and holds so many elements of this size; the bytes are copied at
        // once.
        _ => unsafe { std::slice::from_raw_parts(host.data_ptr().cast::<u8>(), size) }.to_vec(),
    };
    Ok(Tensor { element, shape, bytes })
}

fn to_library(element: Element) -> TensorElementType {
    match element {
        Element::Bool => TensorElementType::Bool,
        Element::Uint8 => TensorElementType::Uint8,
        Element::Int8 => TensorElementType::Int8,
        Element::Int32 => TensorElementType::Int32,
        Element::Int64 => TensorElementType::Int64,
        Element::Float16 => TensorElementType::Float16,
        Element::Float32 => TensorElementType::Float32,
        Element::Float64 => TensorElementType::Float64,
    }
}

fn of_library(kind: TensorElementType) -> Option<Element> {
    Element::ALL.into_iter().find(|element| to_library(*element) == kind)
}
