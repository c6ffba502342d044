//! One request in, one answer out: the protocol's state machine, without its pipes.

use std::fs;
use std::io::BufWriter;
use std::path::Path;

use crate::engine::{Clock, Engine, Facts, Model};
use crate::message::{Answer, Fault, Outputs, PROTOCOL, Prepare, Prepared, Request, Sample, Usage, WarmUp, Warmed};
use crate::sequence::{Sequence, total_ns};
use crate::{inside, npy, pages, process, steady};

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

/// What there is once `prepare` succeeded.
struct Session {
    model: Box<dyn Model>,
    vocabulary: u32,
    sequence: Sequence,
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
            Request::Measure { samples } => self.measure(*samples),
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
        let sequence = Sequence::read(&how.workload, loaded.vocabulary)?;
        self.session = Some(Session { model: loaded.model, vocabulary: loaded.vocabulary, sequence });
        let Facts { libraries, threads, reduced_precision, placement } = loaded.facts;
        Ok(Answer::Prepared(Box::new(Prepared {
            process_ns: self.process_ns,
            load_ns,
            libraries,
            threads,
            reduced_precision,
            placement,
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

    fn measure(&mut self, samples: u32) -> Result<Answer, Fault> {
        let samples = (0..samples).map(|_| self.sample("measure")).collect::<Result<_, _>>()?;
        Ok(Answer::Samples { samples })
    }

    fn sample(&mut self, asked: &str) -> Result<Sample, Fault> {
        let (clock, origin) = (&*self.clock, self.origin);
        let session = self.session.as_mut().ok_or_else(|| too_early(asked))?;
        session.sequence.sample(session.model.as_mut(), clock, origin)
    }

    fn outputs(&mut self, folder: &Path) -> Result<Outputs, Fault> {
        const FILE: &str = "logits.npy";
        let session = self.session.as_mut().ok_or_else(|| too_early("outputs"))?;
        let path = folder.join(FILE);
        let named = |error: &dyn std::fmt::Display| Fault::failed(format!("`{}`: {error}", path.display()));
        fs::create_dir_all(folder).map_err(|error| named(&error))?;
        let file = fs::File::create(&path).map_err(|error| named(&error))?;
        let rows = session.sequence.len() as u64;
        let mut writer = npy::Writer::new(BufWriter::new(file), rows, u64::from(session.vocabulary))
            .map_err(|error| named(&error))?;
        session
            .sequence
            .logits(session.model.as_mut(), |logits| writer.write(logits).map_err(|error| named(&error)))?;
        writer.finish().map_err(|error| named(&error))?;
        Ok(Outputs { files: vec![FILE.to_owned()] })
    }

    fn usage(&self) -> Usage {
        Usage { peak_device: self.session.as_ref().and_then(|session| session.model.peak_device()), ..process::usage() }
    }
}

fn too_early(asked: &str) -> Fault {
    Fault::failed(format!("`{asked}` came before a `prepare` that succeeded"))
}
