//! One request in, one answer out: the protocol's state machine, without its pipes.

use std::fs;
use std::io::BufWriter;
use std::path::Path;

use crate::engine::{Clock, Engine, Facts, LanguageModel, Model, TensorModel};
use crate::message::{
    Answer, Fault, Outputs, PROTOCOL, Prepare, Prepared, Request, Sample, Usage, WarmUp, Warmed, Workload,
};
use crate::sequence::Sequence;
use crate::{inference, inside, npy, pages, process, steady};

/// An engine and how far its session has come.
pub struct Service<E> {
    engine: E,
    clock: Box<dyn Clock>,
    /// The clock's first reading; samples count from it.
    origin: u64,
    /// From the start of the process to the first line of `main`.
    process_ns: Option<u64>,
    session: Option<Session>,
}

/// What there is once `prepare` succeeded: a model, and the work that it is asked for.
enum Session {
    Sequence { model: Box<dyn LanguageModel>, vocabulary: u32, sequence: Sequence },
    Inference { model: Box<dyn TensorModel>, items: u32 },
}

/// An answer, and whether it is the last.
pub struct Reply {
    pub answer: Answer,
    pub last: bool,
}

impl<E: Engine> Service<E> {
    pub fn new(engine: E, process_ns: Option<u64>) -> Self {
        let clock = engine.clock();
        Self { origin: clock.now_ns(), clock, engine, process_ns, session: None }
    }

    pub fn engine(&self) -> &E {
        &self.engine
    }

    /// Does what is asked. A fault is an answer, too.
    pub fn answer(&mut self, request: &Request) -> Reply {
        let last = matches!(request, Request::Finish);
        let answer = match request {
            Request::Prepare(how) => self.prepare(how),
            Request::WarmUp(rule) => self.warm_up(rule).map(Answer::Warmed),
            Request::Measure { samples, every } => self.measure(*samples, *every),
            Request::Outputs { folder } => self.outputs(Path::new(folder)).map(Answer::Outputs),
            Request::Finish => Ok(Answer::Finished(self.usage())),
        };
        Reply { answer: answer.unwrap_or_else(Answer::Failed), last }
    }

    fn prepare(&mut self, how: &Prepare) -> Result<Answer, Fault> {
        if self.session.is_some() {
            return Err(Fault::failed("`prepare` was asked for twice, and a session has one model"));
        }
        if how.protocol != PROTOCOL {
            let asked = how.protocol;
            return Err(Fault::failed(format!("protocol {asked} was asked for, and this engine speaks {PROTOCOL}")));
        }
        pages::bring_in(Path::new(&how.model));
        let start = self.clock.now_ns();
        let loaded = self.engine.open(how)?;
        let load_ns = self.clock.now_ns() - start;
        let session = Session::begin(loaded.model, &how.workload)?;
        let items = match &session {
            Session::Sequence { .. } => None,
            Session::Inference { items, .. } => Some(*items),
        };
        self.session = Some(session);
        let Facts { libraries, threads, reduced_precision, optimization, placement } = loaded.facts;
        Ok(Answer::Prepared(Box::new(Prepared {
            process_ns: self.process_ns,
            load_ns,
            libraries,
            threads,
            reduced_precision,
            optimization,
            placement,
            items,
            inside: inside::look(),
        })))
    }

    fn warm_up(&mut self, rule: &WarmUp) -> Result<Warmed, Fault> {
        let mut samples = Vec::new();
        let mut totals = Vec::new();
        let max = rule.max.max(rule.min) as usize;
        while samples.len() < max {
            let sample = self.sample("warm-up")?;
            totals.push(total_ns(&sample));
            samples.push(sample);
            if samples.len() >= rule.min as usize && steady::is_steady(&totals) {
                return Ok(Warmed { samples, steady: true });
            }
        }
        Ok(Warmed { samples, steady: false })
    }

    fn measure(&mut self, samples: u32, every: u32) -> Result<Answer, Fault> {
        let mut taken = Vec::new();
        for _ in 0..samples {
            for _ in 1..every {
                self.sample("measure")?;
            }
            taken.push(self.sample("measure")?);
        }
        Ok(Answer::Samples { samples: taken })
    }

    fn sample(&mut self, asked: &str) -> Result<Sample, Fault> {
        let (clock, origin) = (&*self.clock, self.origin);
        match self.session.as_mut().ok_or_else(|| too_early(asked))? {
            Session::Sequence { model, sequence, .. } => sequence.sample(model.as_mut(), clock, origin),
            Session::Inference { model, .. } => inference::sample(model.as_mut(), clock, origin),
        }
    }

    fn outputs(&mut self, folder: &Path) -> Result<Outputs, Fault> {
        let session = self.session.as_mut().ok_or_else(|| too_early("outputs"))?;
        fs::create_dir_all(folder).map_err(|error| Fault::failed(format!("`{}`: {error}", folder.display())))?;
        let files = match session {
            Session::Sequence { model, vocabulary, sequence } => {
                vec![write_logits(model.as_mut(), *vocabulary, sequence, folder)?]
            }
            Session::Inference { model, .. } => inference::write_outputs(model.as_mut(), folder)?,
        };
        Ok(Outputs { files })
    }

    fn usage(&self) -> Usage {
        let peak_device = match &self.session {
            None => None,
            Some(Session::Sequence { model, .. }) => model.peak_device(),
            Some(Session::Inference { model, .. }) => model.peak_device(),
        };
        Usage { peak_device, ..process::usage() }
    }
}

impl Session {
    /// Brings a model and its work together, where the one can do the other.
    fn begin(model: Model, workload: &Workload) -> Result<Session, Fault> {
        match (model, workload) {
            (Model::Language { model, vocabulary }, Workload::Llm { tokens, prompt_tokens, new_tokens }) => {
                let sequence = Sequence::read(tokens, *prompt_tokens, *new_tokens, vocabulary)?;
                Ok(Session::Sequence { model, vocabulary, sequence })
            }
            (Model::Tensors(mut model), Workload::Inference { inputs }) => {
                let items = inference::feed(model.as_mut(), Path::new(inputs))?;
                Ok(Session::Inference { model, items })
            }
            (Model::Language { .. }, Workload::Inference { .. }) => Err(Fault::failed(
                "the model is an `llm`, which decodes tokens: measure it with `tokens`, not with `inputs`",
            )),
            (Model::Tensors(_), Workload::Llm { .. }) => Err(Fault::failed(
                "the model takes tensors and decodes no tokens: measure it with `inputs`, not with `tokens`",
            )),
        }
    }
}

/// Writes what the model says after each token, and gives the file's name.
fn write_logits(
    model: &mut dyn LanguageModel,
    vocabulary: u32,
    sequence: &Sequence,
    folder: &Path,
) -> Result<String, Fault> {
    const FILE: &str = "logits.npy";
    let path = folder.join(FILE);
    let named = |error: &dyn std::fmt::Display| Fault::failed(format!("`{}`: {error}", path.display()));
    let file = fs::File::create(&path).map_err(|error| named(&error))?;
    let rows = sequence.len() as u64;
    let mut writer =
        npy::Writer::new(BufWriter::new(file), rows, u64::from(vocabulary)).map_err(|error| named(&error))?;
    sequence.logits(model, |logits| writer.write(logits).map_err(|error| named(&error)))?;
    writer.finish().map_err(|error| named(&error))?;
    Ok(FILE.to_owned())
}

/// All of a sample: what the warm-up looks at.
fn total_ns(sample: &Sample) -> u64 {
    sample.decode_ns.iter().fold(sample.prefill_ns, |sum, time| sum.saturating_add(*time))
}

fn too_early(asked: &str) -> Fault {
    Fault::failed(format!("`{asked}` came before a `prepare` that succeeded"))
}
