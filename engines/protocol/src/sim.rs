//! An engine without a library, for tests: times from a seed, outputs from arithmetic, and every way to fail.
//! Its model is whichever kind the workload asks for; one of tensors makes `y = 2 x` of any row of `float32`.
//!
//! What it does stands in `sim.json` in the model's folder ([`Script`]). Times are invented and the clock is
//! its own, so a session's samples are the same bytes on every machine; all that it says is marked
//! `simulated`. Engines can share a device that slows down as it works ([`Heat`]). The misbehaviour happens when the request named by `at` arrives.

use std::cell::Cell;
use std::io::{self, BufRead, Write};
use std::path::Path;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use serde::Deserialize;

use crate::engine::{Clock, Engine, Facts, LanguageModel, Loaded, Model, TensorModel};
use crate::message::{
    Answer, Dim, Fault, FaultKind, Hello, Optimization, Outlet, PROTOCOL, Prepare, Request, Usage, Workload,
};
use crate::serve::write_line;
use crate::service::Service;
use crate::stdio;
use crate::tensor::{Element, Tensor};

/// `sim.json`. Every field has a default, so `{}` is a well-behaved engine.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Script {
    pub behaviour: Behaviour,
    pub at: Moment,
    /// Seed of the noise on the times.
    pub seed: u64,
    /// Time of the pass over the prompt, and of one decoded token, without noise.
    pub prefill_ns: u64,
    pub decode_ns: u64,
    /// Time of one inference without noise.
    pub infer_ns: u64,
    /// The times lie this many thousandths above their base at most.
    pub noise_milli: u64,
    pub load_ns: u64,
    pub vocabulary: u32,
    /// What is reported as read back, where it shall differ from what was asked for.
    pub threads: Option<u32>,
    pub optimization: Option<Optimization>,
    pub peak_resident: u64,
    /// Bytes at which `eats-memory` gives up and reports a lack of memory.
    pub appetite: u64,
    pub heat: Option<Heat>,
}

/// A device that gets slower the more it has worked, whichever engine it worked for.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Heat {
    /// By its whole path: the file that holds how many nanoseconds it has worked, which needs no sandbox around us.
    pub file: String,
    /// After this much work it is half as hot as it gets,
    pub half_ns: u64,
    /// and when it is as hot as it gets, it takes longer by so many thousandths.
    pub milli: u64,
}

impl Heat {
    /// The time of a pass that takes `cold` on a device that has not worked yet.
    fn pass(&self, cold: u64) -> Result<u64, Fault> {
        let named = |error: io::Error| Fault::failed(format!("simulated: `{}`: {error}", self.file));
        let worked: u64 = match std::fs::read_to_string(&self.file) {
            Ok(text) => text.trim().parse().unwrap_or(0),
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(named(error)),
        };
        let slower =
            u128::from(self.milli) * u128::from(worked) / u128::from(worked.saturating_add(self.half_ns).max(1));
        let time = cold + u64::try_from(u128::from(cold) * slower / 1000).unwrap_or(u64::MAX - cold);
        std::fs::write(&self.file, worked.saturating_add(time).to_string()).map_err(named)?;
        Ok(time)
    }
}

impl Default for Script {
    fn default() -> Self {
        Self {
            behaviour: Behaviour::WellBehaved,
            at: Moment::Measure,
            seed: 0,
            prefill_ns: 50_000_000,
            decode_ns: 10_000_000,
            infer_ns: 20_000_000,
            noise_milli: 10,
            load_ns: 200_000_000,
            vocabulary: 16,
            threads: None,
            optimization: None,
            peak_resident: 1 << 30,
            appetite: 1 << 40,
            heat: None,
        }
    }
}

/// What the engine does when the moment has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Behaviour {
    WellBehaved,
    /// Aborts.
    Crash,
    /// Never answers.
    Hang,
    /// Reports that memory ran out.
    OutOfMemory,
    /// Takes memory until it is killed, or `appetite` is reached.
    EatsMemory,
    /// Answers with lines that are no messages.
    Nonsense,
    /// Adds one to every output; at any moment.
    Wrong,
    /// Reports that the device is not there, at `prepare`.
    NoDevice,
    /// Reports another failure.
    Fail,
    /// Ends without an answer, with exit code 3.
    Exit,
}

/// The request at which it happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Moment {
    Prepare,
    WarmUp,
    Measure,
    Outputs,
    Finish,
}

/// The simulated engine; what it does is read at `prepare`.
#[derive(Debug, Default)]
pub struct Sim {
    script: Script,
    now: Rc<Cell<u64>>,
}

/// Runs it on this process's stdin and stdout: all that a test's program needs to call.
pub fn main() -> ExitCode {
    let outcome = stdio::claim().and_then(|mut out| talk(io::stdin().lock(), &mut out));
    match outcome {
        Ok(code) => code,
        Err(_) => ExitCode::FAILURE,
    }
}

/// The loop of [`crate::serve`], with a place to misbehave before each answer.
fn talk(requests: impl BufRead, out: &mut impl Write) -> io::Result<ExitCode> {
    let mut service = Service::new(Sim::default(), Some(1_000_000));
    write_line(out, &service.engine().hello())?;
    let mut script = Script::default();
    for line in requests.lines() {
        let request: Request = serde_json::from_str(&line?)?;
        if let Request::Prepare(how) = &request {
            match Script::read(Path::new(&how.model)) {
                Ok(read) => script = read,
                Err(fault) => {
                    write_line(out, &Answer::Failed(fault))?;
                    continue;
                }
            }
        }
        match script.act(moment(&request), out)? {
            Act::Go => {}
            Act::Said => continue,
            Act::Leave(code) => return Ok(code),
        }
        let mut reply = service.answer(&request);
        if let Answer::Finished(usage) = &mut reply.answer {
            *usage = script.usage();
        }
        write_line(out, &reply.answer)?;
        if reply.last {
            break;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn moment(request: &Request) -> Moment {
    match request {
        Request::Prepare(_) => Moment::Prepare,
        Request::WarmUp(_) => Moment::WarmUp,
        Request::Measure { .. } => Moment::Measure,
        Request::Outputs { .. } => Moment::Outputs,
        Request::Finish => Moment::Finish,
    }
}

/// What is left to do about a request.
enum Act {
    /// Answer it.
    Go,
    /// Nothing: it was answered.
    Said,
    /// End the process.
    Leave(ExitCode),
}

impl Script {
    fn read(folder: &Path) -> Result<Self, Fault> {
        let path = folder.join("sim.json");
        let named = |error: &dyn std::fmt::Display| Fault::failed(format!("`{}`: {error}", path.display()));
        let text = std::fs::read(&path).map_err(|error| named(&error))?;
        serde_json::from_slice(&text).map_err(|error| named(&error))
    }

    fn act(&self, moment: Moment, out: &mut impl Write) -> io::Result<Act> {
        let due = match self.behaviour {
            Behaviour::NoDevice => moment == Moment::Prepare,
            _ => moment == self.at,
        };
        if !due {
            return Ok(Act::Go);
        }
        let fault = match self.behaviour {
            Behaviour::WellBehaved | Behaviour::Wrong => return Ok(Act::Go),
            Behaviour::Crash => std::process::abort(),
            Behaviour::Hang => loop {
                std::thread::sleep(Duration::from_secs(3600));
            },
            Behaviour::Exit => return Ok(Act::Leave(ExitCode::from(3))),
            Behaviour::Nonsense => {
                out.write_all(b"Loading checkpoint shards: 100%\n\xff\xfe{\"answer\":\n")?;
                out.flush()?;
                return Ok(Act::Said);
            }
            Behaviour::EatsMemory => eat(self.appetite),
            Behaviour::OutOfMemory => {
                Fault { kind: FaultKind::OutOfMemory, message: "simulated: 1 TiB was asked for".to_owned() }
            }
            Behaviour::NoDevice => Fault::no_device("simulated: there is no such device"),
            Behaviour::Fail => Fault::failed("simulated: a failure"),
        };
        write_line(out, &Answer::Failed(fault))?;
        Ok(Act::Said)
    }

    fn usage(&self) -> Usage {
        Usage {
            peak_resident: Some(self.peak_resident),
            peak_device: None,
            cpu_ns: Some(1_000_000_000),
            major_faults: Some(0),
        }
    }
}

/// Takes memory, page by page, and holds it.
fn eat(appetite: u64) -> Fault {
    const BITE: usize = 16 << 20;
    let mut eaten: Vec<Vec<u8>> = Vec::new();
    while (eaten.len() * BITE) as u64 + BITE as u64 <= appetite {
        let mut bite = Vec::new();
        if bite.try_reserve_exact(BITE).is_err() {
            break;
        }
        // A value other than zero in each page, for pages of zeros may be shared.
        bite.resize(BITE, 1);
        eaten.push(std::hint::black_box(bite));
    }
    Fault {
        kind: FaultKind::OutOfMemory,
        message: format!("simulated: {} bytes were taken and no more were given", eaten.len() * BITE),
    }
}

impl Engine for Sim {
    fn hello(&self) -> Hello {
        Hello {
            protocol: PROTOCOL,
            engine: "sim".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            simulated: true,
        }
    }

    fn open(&mut self, how: &Prepare) -> Result<Loaded, Fault> {
        self.script = Script::read(Path::new(&how.model))?;
        self.now.set(self.now.get() + self.script.load_ns);
        let facts = Facts {
            libraries: [("sim".to_owned(), env!("CARGO_PKG_VERSION").to_owned())].into(),
            threads: self.script.threads.unwrap_or(how.threads),
            reduced_precision: how.reduced_precision,
            optimization: self.script.optimization.unwrap_or(how.optimization),
            placement: [(how.device.name().to_owned(), 1)].into(),
        };
        let times = Times { script: self.script.clone(), now: Rc::clone(&self.now), passes: 0 };
        let model = match how.workload {
            Workload::Llm { .. } => {
                let model = SimLanguage { times, seen: Vec::new(), fresh: 0 };
                Model::Language { model: Box::new(model), vocabulary: self.script.vocabulary }
            }
            Workload::Inference { .. } => {
                let shape = vec![Dim::Free, Dim::Free];
                let inputs = vec![Outlet { name: "x".to_owned(), dtype: "float32".to_owned(), shape }];
                Model::Tensors(Box::new(SimTensors { times, inputs, fed: None }))
            }
        };
        Ok(Loaded { model, facts })
    }

    fn clock(&self) -> Box<dyn Clock> {
        Box::new(Invented(Rc::clone(&self.now)))
    }
}

/// A clock that only passes of the model move.
struct Invented(Rc<Cell<u64>>);

impl Clock for Invented {
    fn now_ns(&self) -> u64 {
        self.0.get()
    }
}

/// Moves the clock by the times of the script.
struct Times {
    script: Script,
    now: Rc<Cell<u64>>,
    /// Passes so far, of all samples: the noise never repeats.
    passes: u64,
}

impl Times {
    fn pass(&mut self, base: u64) -> Result<(), Fault> {
        let noise = mix(self.script.seed ^ mix(self.passes)) % (self.script.noise_milli + 1);
        let cold = base + base / 1000 * noise;
        let time = self.script.heat.as_ref().map_or(Ok(cold), |heat| heat.pass(cold))?;
        self.now.set(self.now.get() + time);
        self.passes += 1;
        Ok(())
    }

    /// What is added to every output.
    fn error(&self) -> f32 {
        f32::from(u8::from(self.script.behaviour == Behaviour::Wrong))
    }
}

struct SimLanguage {
    times: Times,
    seen: Vec<i64>,
    /// Tokens of the last pass.
    fresh: usize,
}

impl LanguageModel for SimLanguage {
    fn reset(&mut self) -> Result<(), Fault> {
        self.seen.clear();
        Ok(())
    }

    fn forward(&mut self, tokens: &[i64]) -> Result<(), Fault> {
        let base = match self.seen.is_empty() {
            true => self.times.script.prefill_ns,
            false => self.times.script.decode_ns,
        };
        self.times.pass(base)?;
        self.seen.extend(tokens);
        self.fresh = tokens.len();
        Ok(())
    }

    fn logits(&mut self) -> Result<Vec<f32>, Fault> {
        let error = self.times.error();
        let first = self.seen.len() - self.fresh;
        let rows = self.seen.iter().enumerate().skip(first);
        let logits = rows.flat_map(|(position, token)| {
            let row = mix(token.unsigned_abs() ^ mix(position as u64));
            let words = 0..self.times.script.vocabulary;
            // 16 bits are whole numbers that a float holds.
            words.map(move |word| f32::from(mix(row ^ u64::from(word)) as u16) / 4096.0 + error)
        });
        Ok(logits.collect())
    }
}

struct SimTensors {
    times: Times,
    inputs: Vec<Outlet>,
    fed: Option<Tensor>,
}

impl TensorModel for SimTensors {
    fn inputs(&self) -> &[Outlet] {
        &self.inputs
    }

    fn feed(&mut self, mut inputs: Vec<Tensor>) -> Result<(), Fault> {
        self.fed = inputs.pop();
        Ok(())
    }

    fn run(&mut self) -> Result<(), Fault> {
        self.times.pass(self.times.script.infer_ns)
    }

    fn outputs(&mut self) -> Result<Vec<(String, Tensor)>, Fault> {
        let x = self.fed.as_ref().ok_or_else(|| Fault::failed("there are no outputs before a pass"))?;
        let (floats, _) = x.bytes.as_chunks::<4>();
        let twice = floats.iter().map(|float| 2.0 * f32::from_le_bytes(*float) + self.times.error());
        let bytes = twice.flat_map(f32::to_le_bytes).collect();
        Ok(vec![("y".to_owned(), Tensor { element: Element::Float32, shape: x.shape.clone(), bytes })])
    }
}

/// The finaliser of splitmix64 (Steele, Lea and Flood, 2014).
fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests;
