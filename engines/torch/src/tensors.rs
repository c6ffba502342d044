//! Any traced model on its device: tensors in, tensors out. Knows no clock.

use std::path::Path;

use pipe_engine::TensorModel;
use pipe_engine::message::{Fault, Outlet};
use pipe_engine::tensor::{Element, Tensor};
use tch::{CModule, Device, IValue, Kind, NoGradGuard, TchError};

use crate::{device, fault, shim};

pub struct TorchTensors {
    module: CModule,
    device: Device,
    outlets: Outlets,
    fed: Vec<IValue>,
    last: Vec<tch::Tensor>,
    /// Nothing is ever trained here: no pass keeps what a gradient would need.
    _no_grad: NoGradGuard,
}

/// What the trace takes and gives, as its card tells, and the type of its floating-point numbers on the device.
pub struct Outlets {
    pub inputs: Vec<Outlet>,
    pub outputs: Vec<Outlet>,
    pub kind: Kind,
}

impl TorchTensors {
    /// Loads the trace at `path` onto the device.
    pub fn load(path: &Path, outlets: Outlets, device: Device) -> Result<Self, Fault> {
        let no_grad = tch::no_grad_guard();
        let module = crate::load(path, device)?;
        Ok(Self { module, device, outlets, fed: Vec::new(), last: Vec::new(), _no_grad: no_grad })
    }

    fn bring(&self, tensor: &Tensor) -> Result<IValue, TchError> {
        let shape: Vec<i64> = tensor.shape.iter().map(|dim| dim.cast_signed()).collect();
        let host = tch::Tensor::f_from_data_size(&tensor.bytes, &shape, to_library(tensor.element))?;
        let host = if tensor.element == Element::Float32 { host.f_to_kind(self.outlets.kind)? } else { host };
        Ok(IValue::Tensor(host.f_to_device(self.device)?))
    }
}

impl TensorModel for TorchTensors {
    fn inputs(&self) -> &[Outlet] {
        &self.outlets.inputs
    }

    fn feed(&mut self, inputs: Vec<Tensor>) -> Result<(), Fault> {
        let brought: Result<Vec<IValue>, TchError> = inputs.iter().map(|tensor| self.bring(tensor)).collect();
        self.fed = brought.map_err(|error| fault("bringing the inputs to the device", &error))?;
        device::synchronize(self.device)
    }

    fn run(&mut self) -> Result<(), Fault> {
        self.last.clear();
        let output = self.module.forward_is(&self.fed).map_err(|error| fault("running the model", &error))?;
        flatten(output, &mut self.last)?;
        device::synchronize(self.device)
    }

    fn outputs(&mut self) -> Result<Vec<(String, Tensor)>, Fault> {
        if self.last.len() != self.outlets.outputs.len() {
            let (found, wanted) = (self.last.len(), self.outlets.outputs.len());
            return Err(Fault::failed(format!("the trace gives {found} outputs, and its card says {wanted}")));
        }
        let named = self.outlets.outputs.iter().zip(&self.last);
        named
            .map(|(outlet, tensor)| Ok((outlet.name.clone(), read(&outlet.name, tensor, self.outlets.kind)?)))
            .collect()
    }

    fn peak_device(&self) -> Option<u64> {
        self.device.is_cuda().then(shim::cuda_peak).flatten()
    }
}

/// The tensors of what a trace gives: one, or those of its tuples and lists in order.
fn flatten(value: IValue, into: &mut Vec<tch::Tensor>) -> Result<(), Fault> {
    match value {
        IValue::Tensor(tensor) => into.push(tensor),
        IValue::TensorList(tensors) => into.extend(tensors),
        IValue::Tuple(values) | IValue::GenericList(values) => {
            for value in values {
                flatten(value, into)?;
            }
        }
        _ => return Err(Fault::failed("the trace gives something else than tensors")),
    }
    Ok(())
}

/// Brings an output to the host. What is of the model's own type is widened, which loses nothing.
fn read(name: &str, tensor: &tch::Tensor, model: Kind) -> Result<Tensor, Fault> {
    let during = format!("reading the output `{name}`");
    let widened = || if tensor.f_kind()? == model { tensor.f_to_kind(Kind::Float) } else { Ok(tensor.shallow_clone()) };
    let tensor = widened().map_err(|error| fault(&during, &error))?;
    let kind = tensor.f_kind().map_err(|error| fault(&during, &error))?;
    let element = Element::ALL.into_iter().find(|element| to_library(*element) == kind);
    let element = element.ok_or_else(|| Fault::failed(format!("{during}: its type {kind:?} cannot be written")))?;
    let copy = || {
        let host = tensor.f_to_device(Device::Cpu)?.f_contiguous()?;
        let mut bytes = vec![0; host.numel() * element.size()];
        host.f_copy_data_u8(&mut bytes, host.numel())?;
        Ok(bytes)
    };
    let bytes = copy().map_err(|error| fault(&during, &error))?;
    let shape = tensor.size().iter().map(|dim| dim.unsigned_abs()).collect();
    Ok(Tensor { element, shape, bytes })
}

fn to_library(element: Element) -> Kind {
    match element {
        Element::Bool => Kind::Bool,
        Element::Uint8 => Kind::Uint8,
        Element::Int8 => Kind::Int8,
        Element::Int32 => Kind::Int,
        Element::Int64 => Kind::Int64,
        Element::Float16 => Kind::Half,
        Element::Float32 => Kind::Float,
        Element::Float64 => Kind::Double,
    }
}
