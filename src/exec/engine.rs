//! The runner's side of the engine protocol: from the hello to the last answer, over any pair of streams.
//!
//! An engine is not trusted to be well: it may hang, crash, run out of memory or speak nonsense at every
//! point, and each of those becomes an [`EngineFault`] that says what happened in words for a user. Lines are
//! at most [`LINE_LIMIT`] long and every phase has a time limit. What is asked when, and how much, is the caller's
//! business: an engine may rest between two requests for as long as others take their turn. Processes and containers are
//! not known either: a stream that ends too early is a fault to which their owner adds how the engine ended
//! ([`EngineFault::with_end`]).

mod fault;
mod link;

use std::time::{Duration, Instant};

use pipe_engine::message::{
    Answer, Hello, Outputs, PROTOCOL, Prepare, Prepared, Request, Sample, Usage, WarmUp, Warmed, Workload,
};
use tokio::io::{AsyncRead, AsyncWrite};

pub use self::fault::{EngineFault, Phase};
pub use self::link::LINE_LIMIT;
use self::link::Link;

/// How long each phase may take before the engine counts as hung.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    pub hello: Duration,
    pub prepare: Duration,
    pub warm_up: Duration,
    /// One block of samples.
    pub measure: Duration,
    pub outputs: Duration,
    pub finish: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        let minutes = |count: u64| Duration::from_secs(60 * count);
        Limits {
            hello: minutes(1),
            prepare: minutes(10),
            warm_up: minutes(15),
            measure: minutes(15),
            outputs: minutes(10),
            finish: minutes(1),
        }
    }
}

/// What is known of an engine so far.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Learned {
    pub hello: Option<Hello>,
    /// From the start of the process to the engine's first line.
    pub start_ns: Option<u64>,
    pub prepared: Option<Prepared>,
    pub warmed: Option<Warmed>,
}

/// A talk with an engine. Dropping it lets go of the engine, which ends when its stdin does.
pub struct Talk {
    link: Link<Box<dyn AsyncRead + Send + Unpin>, Box<dyn AsyncWrite + Send + Unpin>>,
    /// When the engine's process was started.
    started: Instant,
    limits: Limits,
    /// How many times a sample holds.
    new_tokens: u32,
    learned: Learned,
}

impl Talk {
    /// Begins a talk with an engine whose process was started at `started`.
    pub fn new(
        from_engine: impl AsyncRead + Send + Unpin + 'static,
        to_engine: impl AsyncWrite + Send + Unpin + 'static,
        started: Instant,
        limits: Limits,
    ) -> Talk {
        let link = Link::new(Box::new(from_engine) as Box<_>, Box::new(to_engine) as Box<_>);
        Talk { link, started, limits, new_tokens: 0, learned: Learned::default() }
    }

    /// What the engine told so far; a failed talk has told something, too.
    pub fn learned(&self) -> &Learned {
        &self.learned
    }

    /// Hears the engine's first line.
    pub async fn greet(&mut self) -> Result<(), EngineFault> {
        let hello: Hello = self.link.read(Phase::Hello, self.limits.hello).await?;
        self.learned.start_ns = u64::try_from(self.started.elapsed().as_nanos()).ok();
        if hello.protocol < PROTOCOL {
            return Err(EngineFault::Protocol {
                wanted: format!("version {PROTOCOL}"),
                got: format!("version {} of `{}` {}", hello.protocol, hello.engine, hello.version),
            });
        }
        self.learned.hello = Some(hello);
        Ok(())
    }

    /// Has the model loaded.
    pub async fn prepare(&mut self, mut prepare: Prepare) -> Result<Prepared, EngineFault> {
        prepare.protocol = PROTOCOL.min(self.learned.hello.as_ref().map_or(PROTOCOL, |hello| hello.protocol));
        self.new_tokens = match prepare.workload {
            Workload::Llm { new_tokens, .. } => new_tokens,
            Workload::Inference { .. } => 0,
        };
        match self.ask(Phase::Prepare, Request::Prepare(prepare), self.limits.prepare).await? {
            Answer::Prepared(prepared) => {
                self.learned.prepared = Some((*prepared).clone());
                Ok(*prepared)
            }
            other => Err(wrong(Phase::Prepare, &other)),
        }
    }

    /// Has it run until it is steady; gives back the middle one of the samples' lengths.
    pub async fn warm_up(&mut self, rule: WarmUp) -> Result<Duration, EngineFault> {
        match self.ask(Phase::WarmUp, Request::WarmUp(rule), self.limits.warm_up).await? {
            Answer::Warmed(warmed) => {
                self.check_shape(&warmed.samples)?;
                let pass = middle(&warmed.samples);
                self.learned.warmed = Some(warmed);
                Ok(pass)
            }
            other => Err(wrong(Phase::WarmUp, &other)),
        }
    }

    /// Takes a block of samples, each the last of `every` passes.
    pub async fn measure(&mut self, samples: u32, every: u32) -> Result<Vec<Sample>, EngineFault> {
        let answer = self.ask(Phase::Measure, Request::Measure { samples, every }, self.limits.measure).await?;
        let Answer::Samples { samples: new } = answer else {
            return Err(wrong(Phase::Measure, &answer));
        };
        if new.len() != samples as usize {
            return Err(EngineFault::Protocol {
                wanted: format!("{samples} samples"),
                got: format!("{} samples", new.len()),
            });
        }
        self.check_shape(&new)?;
        Ok(new)
    }

    /// Has the outputs for the parity check written into a folder.
    pub async fn outputs(&mut self, folder: &str) -> Result<Outputs, EngineFault> {
        let request = Request::Outputs { folder: folder.to_owned() };
        match self.ask(Phase::Outputs, request, self.limits.outputs).await? {
            Answer::Outputs(outputs) => Ok(outputs),
            other => Err(wrong(Phase::Outputs, &other)),
        }
    }

    /// Asks what was used, which is the last answer.
    pub async fn finish(&mut self) -> Result<Usage, EngineFault> {
        match self.ask(Phase::Finish, Request::Finish, self.limits.finish).await? {
            Answer::Finished(usage) => Ok(usage),
            other => Err(wrong(Phase::Finish, &other)),
        }
    }

    async fn ask(&mut self, phase: Phase, request: Request, limit: Duration) -> Result<Answer, EngineFault> {
        self.link.write(phase, &request, limit).await?;
        match self.link.read(phase, limit).await? {
            Answer::Failed(fault) => Err(EngineFault::from_engine(phase, fault)),
            answer => Ok(answer),
        }
    }

    /// Every sample holds one time for each token that the workload asks for; an inference decodes none.
    fn check_shape(&self, samples: &[Sample]) -> Result<(), EngineFault> {
        match samples.iter().find(|sample| sample.decode_ns.len() != self.new_tokens as usize) {
            None => Ok(()),
            Some(sample) => Err(EngineFault::Protocol {
                wanted: format!("{} times for one sequence", self.new_tokens),
                got: format!("{} times", sample.decode_ns.len()),
            }),
        }
    }
}

/// The middle one of some samples' lengths.
fn middle(samples: &[Sample]) -> Duration {
    let mut lengths: Vec<Duration> = samples.iter().map(length).collect();
    lengths.sort_unstable();
    lengths.get(lengths.len() / 2).copied().unwrap_or_default()
}

fn length(sample: &Sample) -> Duration {
    Duration::from_nanos(sample.decode_ns.iter().fold(sample.prefill_ns, |sum, one| sum.saturating_add(*one)))
}

fn wrong(phase: Phase, answer: &Answer) -> EngineFault {
    let got = match answer {
        Answer::Prepared(_) => "prepared",
        Answer::Warmed(_) => "warmed",
        Answer::Samples { .. } => "samples",
        Answer::Outputs(_) => "outputs",
        Answer::Finished(_) => "finished",
        Answer::Failed(_) => "failed",
    };
    EngineFault::Protocol { wanted: format!("the answer to `{phase}`"), got: format!("`{got}`") }
}

#[cfg(test)]
mod tests;
