//! A traced language model on its device, with its cache as tensors. Knows no clock.

use std::path::Path;

use pipe_engine::LanguageModel;
use pipe_engine::message::Fault;
use tch::{CModule, Device, IValue, Kind, NoGradGuard, TchError, Tensor};

use crate::{device, fault, shim};

pub struct TorchLanguage {
    module: CModule,
    device: Device,
    /// Key and value of each layer, in the order in which the trace takes and gives them.
    cache: Vec<IValue>,
    /// How many there are, and the shape of an empty one.
    tensors: usize,
    empty: [i64; 4],
    kind: Kind,
    logits: Option<Tensor>,
    /// Nothing is ever trained here: no pass keeps what a gradient would need.
    _no_grad: NoGradGuard,
}

/// The shape and type of a model's cache, as its card tells.
pub struct Cache {
    pub layers: u32,
    pub kv_heads: u32,
    pub head_dim: u32,
    pub kind: Kind,
}

impl TorchLanguage {
    /// Loads the trace at `path` onto the device; its cache has this shape.
    pub fn load(path: &Path, cache: Cache, device: Device) -> Result<Self, Fault> {
        let no_grad = tch::no_grad_guard();
        Ok(Self {
            module: crate::load(path, device)?,
            device,
            cache: Vec::new(),
            tensors: 2 * cache.layers as usize,
            empty: [1, cache.kv_heads.into(), 0, cache.head_dim.into()],
            kind: cache.kind,
            logits: None,
            _no_grad: no_grad,
        })
    }

    fn empty_cache(&self) -> Result<Vec<IValue>, TchError> {
        (0..self.tensors).map(|_| Tensor::f_zeros(self.empty, (self.kind, self.device)).map(IValue::Tensor)).collect()
    }

    fn pass(&mut self, tokens: &[i64]) -> Result<IValue, TchError> {
        let input = Tensor::f_from_slice(tokens)?.f_unsqueeze(0)?.f_to_device(self.device)?;
        let input = IValue::Tensor(input);
        let inputs: Vec<&IValue> = std::iter::once(&input).chain(&self.cache).collect();
        self.module.forward_is(&inputs)
    }
}

impl LanguageModel for TorchLanguage {
    fn reset(&mut self) -> Result<(), Fault> {
        self.logits = None;
        self.cache.clear();
        self.cache = self.empty_cache().map_err(|error| fault("making an empty cache", &error))?;
        device::synchronize(self.device)
    }

    fn forward(&mut self, tokens: &[i64]) -> Result<(), Fault> {
        let output = self.pass(tokens).map_err(|error| fault("running the model", &error))?;
        let IValue::Tuple(mut outputs) = output else {
            return Err(Fault::failed("the trace gives no tuple; it was not made by the `torchscript` recipe"));
        };
        if outputs.len() != 1 + self.tensors {
            let (found, wanted) = (outputs.len(), 1 + self.tensors);
            return Err(Fault::failed(format!("the trace gives {found} outputs, and its card says {wanted}")));
        }
        self.cache = outputs.split_off(1);
        self.logits = match outputs.pop() {
            Some(IValue::Tensor(logits)) => Some(logits),
            _ => return Err(Fault::failed("the trace's first output is no tensor")),
        };
        device::synchronize(self.device)
    }

    fn logits(&mut self) -> Result<Vec<f32>, Fault> {
        let logits = self.logits.as_ref().ok_or_else(|| Fault::failed("there are no logits before a pass"))?;
        let read = || Vec::<f32>::try_from(logits.f_to_device(Device::Cpu)?.f_to_kind(Kind::Float)?.f_flatten(0, -1)?);
        read().map_err(|error| fault("reading the logits", &error))
    }

    fn peak_device(&self) -> Option<u64> {
        self.device.is_cuda().then(shim::cuda_peak).flatten()
    }
}
