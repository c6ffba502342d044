//! An exported language model in its session, with its cache as values. Knows no clock.

use ort::environment::Environment;
use ort::logging::LogLevel;
use ort::memory::{AllocationDevice, AllocatorType, MemoryInfo, MemoryType};
use ort::session::{IoBinding, NoSelectedOutputs, RunOptions, Session};
use ort::value::{DynValue, Tensor};
use pipe_engine::LanguageModel;
use pipe_engine::message::{Device, Fault};

use crate::fault;

pub struct OnnxLanguage {
    // Fields are dropped in this order, and the session goes before its environment.
    binding: IoBinding,
    /// Key and value of each layer, where the device left them: they are bound again, never copied.
    cache: Vec<DynValue>,
    logits: Option<DynValue>,
    options: RunOptions<NoSelectedOutputs>,
    names: Vec<Names>,
    /// The shape of an empty key or value.
    empty: [usize; 4],
    on_device: MemoryInfo<'static>,
    on_host: MemoryInfo<'static>,
    session: Session,
    _environment: Environment,
}

/// The shape of a model's cache, as its card tells.
pub struct Cache {
    pub layers: u32,
    pub kv_heads: u32,
    pub head_dim: u32,
}

/// What a part of the cache is called before a pass and after it.
struct Names {
    past: String,
    present: String,
}

impl OnnxLanguage {
    /// Takes a session whose inputs and outputs are those of a cache of this shape.
    pub fn new(session: Session, environment: Environment, cache: Cache, device: Device) -> Result<Self, Fault> {
        let names = names(cache.layers);
        let known = |name: &str| session.inputs().iter().chain(session.outputs()).any(|outlet| outlet.name() == name);
        let wanted = names.iter().flat_map(|names| [&*names.past, &*names.present]);
        if let Some(missing) = ["input_ids", "logits"].into_iter().chain(wanted).find(|name| !known(name)) {
            return Err(Fault::failed(format!(
                "the model has no input or output `{missing}`; it was not made by the `onnx-export` recipe"
            )));
        }
        let memory = |device| MemoryInfo::new(device, 0, AllocatorType::Device, MemoryType::Default);
        let during = "setting up the model's inputs and outputs";
        let mut options = RunOptions::new().map_err(fault(during))?;
        // The session was opened with a talkative log; passes shall not pay for it.
        options.set_log_level(LogLevel::Error).map_err(fault(during))?;
        let on_device = match device {
            Device::Cuda => AllocationDevice::CUDA,
            _ => AllocationDevice::CPU,
        };
        Ok(Self {
            binding: session.create_binding().map_err(fault(during))?,
            cache: Vec::new(),
            logits: None,
            options,
            names,
            empty: [1, cache.kv_heads as usize, 0, cache.head_dim as usize],
            on_device: memory(on_device).map_err(fault(during))?,
            on_host: memory(AllocationDevice::CPU).map_err(fault(during))?,
            session,
            _environment: environment,
        })
    }

    fn empty_cache(&self) -> ort::Result<Vec<DynValue>> {
        let allocator = self.session.allocator();
        let empty = |_: &Names| Tensor::<f32>::new(allocator, self.empty).map(|tensor| tensor.into_dyn());
        self.names.iter().map(empty).collect()
    }

    fn bind(&mut self, tokens: &[i64]) -> ort::Result<()> {
        self.binding.clear();
        let input = Tensor::from_array(([1, tokens.len()], tokens.to_vec()))?;
        self.binding.bind_input("input_ids", &input)?;
        self.binding.bind_output_to_device("logits", &self.on_host)?;
        for (names, value) in self.names.iter().zip(&self.cache) {
            self.binding.bind_input(&names.past, value)?;
            self.binding.bind_output_to_device(&names.present, &self.on_device)?;
        }
        self.binding.synchronize_inputs()
    }

    fn pass(&mut self, tokens: &[i64]) -> ort::Result<()> {
        self.bind(tokens)?;
        let mut outputs = self.session.run_binding_with_options(&self.binding, &self.options)?;
        self.binding.synchronize_outputs()?;
        let mut take = |name: &str| {
            outputs.remove(name).ok_or_else(|| ort::Error::new(format!("the output `{name}` did not come back")))
        };
        self.logits = Some(take("logits")?);
        self.cache = self.names.iter().map(|names| take(&names.present)).collect::<ort::Result<_>>()?;
        Ok(())
    }
}

impl LanguageModel for OnnxLanguage {
    fn reset(&mut self) -> Result<(), Fault> {
        self.binding.clear();
        self.logits = None;
        self.cache = self.empty_cache().map_err(fault("making an empty cache"))?;
        Ok(())
    }

    fn forward(&mut self, tokens: &[i64]) -> Result<(), Fault> {
        self.pass(tokens).map_err(fault("running the model"))
    }

    fn logits(&mut self) -> Result<Vec<f32>, Fault> {
        let logits = self.logits.as_ref().ok_or_else(|| Fault::failed("there are no logits before a pass"))?;
        let (_, numbers) = logits.try_extract_tensor::<f32>().map_err(fault("reading the logits"))?;
        Ok(numbers.to_vec())
    }
}

fn names(layers: u32) -> Vec<Names> {
    let parts = (0..layers).flat_map(|layer| ["key", "value"].map(|part| (layer, part)));
    let named = parts.map(|(layer, part)| Names {
        past: format!("past_key_values.{layer}.{part}"),
        present: format!("present.{layer}.{part}"),
    });
    named.collect()
}
