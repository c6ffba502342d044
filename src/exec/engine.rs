//! The runner's side of the engine protocol: from the hello to the last answer, over any pair of streams.
//!
//! An engine is not trusted to be well: it may hang, crash, run out of memory or speak nonsense at every
//! point, and each of those becomes an [`EngineFault`] that says what happened in words for a user. Lines are
//! at most [`LINE_LIMIT`] long and every phase has a time limit. Statistics are not known here: a callback
//! says when there are enough samples. Processes and containers are not known either: a stream that ends too
//! early is a fault to which their owner adds how the engine ended ([`EngineFault::with_end`]).

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

/// What to do with an engine.
#[derive(Debug, Clone)]
pub struct Drive {
    /// When the engine's process was started.
    pub started: Instant,
    pub prepare: Prepare,
    pub warm_up: WarmUp,
    /// Samples of the first block; later ones are as large as the callback asks.
    pub first_block: u32,
    /// Measuring goes on for no longer than this, enough or not.
    pub max_time: Duration,
    /// At most one sample is taken in so much time: those of a fast model are spread, with passes between them.
    pub pace: Duration,
    /// Where the engine writes its outputs for the parity check, if it shall.
    pub outputs_folder: Option<String>,
    pub limits: Limits,
}

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

/// What the callback says of the samples so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Enough {
    Yes,
    /// About so many more are needed.
    More(u32),
    /// More are needed, and no more are to be taken.
    LimitReached,
}

/// What happens, for those who watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// A phase begins.
    Began(Phase),
    /// A block was measured; so many samples there are now.
    Measured { samples: usize },
}

/// A session that came to its end.
#[derive(Debug, Clone, PartialEq)]
pub struct Driven {
    pub hello: Hello,
    /// From the start of the process to the engine's first line.
    pub start_ns: u64,
    pub prepared: Prepared,
    pub warmed: Warmed,
    pub samples: Vec<Sample>,
    /// False where the time was up before the callback had enough.
    pub enough: bool,
    pub outputs: Option<Outputs>,
    pub usage: Usage,
}

/// A session that failed, with what was learned before.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{fault}")]
pub struct Failure {
    pub fault: EngineFault,
    pub hello: Option<Hello>,
    pub start_ns: Option<u64>,
    pub prepared: Option<Prepared>,
    pub warmed: Option<Warmed>,
}

/// Drives one engine from its hello to its end. Dropping the future lets go of the engine, which ends when
/// its stdin does.
///
/// `collect` is called once the outputs are written and while the engine still runs, since what is in a
/// container goes with it.
pub async fn drive(
    from_engine: impl AsyncRead + Unpin,
    to_engine: impl AsyncWrite + Unpin,
    plan: &Drive,
    enough: impl Fn(&[Sample]) -> Enough,
    collect: impl AsyncFnOnce(&Outputs) -> Result<(), String>,
    progress: impl FnMut(Progress),
) -> Result<Driven, Box<Failure>> {
    let mut session = Session {
        link: Link::new(from_engine, to_engine),
        plan,
        progress,
        hello: None,
        start_ns: None,
        prepared: None,
        warmed: None,
    };
    match session.whole(enough, collect).await {
        Ok(driven) => Ok(driven),
        Err(fault) => Err(Box::new(Failure {
            fault,
            hello: session.hello,
            start_ns: session.start_ns,
            prepared: session.prepared,
            warmed: session.warmed,
        })),
    }
}

struct Session<'a, R, W, P> {
    link: Link<R, W>,
    plan: &'a Drive,
    progress: P,
    hello: Option<Hello>,
    start_ns: Option<u64>,
    prepared: Option<Prepared>,
    warmed: Option<Warmed>,
}

impl<R: AsyncRead + Unpin, W: AsyncWrite + Unpin, P: FnMut(Progress)> Session<'_, R, W, P> {
    async fn whole(
        &mut self,
        enough: impl Fn(&[Sample]) -> Enough,
        collect: impl AsyncFnOnce(&Outputs) -> Result<(), String>,
    ) -> Result<Driven, EngineFault> {
        let hello = self.greet().await?;
        let prepared = self.prepare(&hello).await?;
        let warmed = self.warm_up().await?;
        let (samples, enough) = self.measure(enough).await?;
        let outputs = match &self.plan.outputs_folder {
            Some(folder) => {
                let outputs = self.outputs(folder.clone()).await?;
                let failed = |message| EngineFault::Failed { phase: Phase::Outputs, message };
                collect(&outputs).await.map_err(failed)?;
                Some(outputs)
            }
            None => None,
        };
        let usage = match self.ask(Phase::Finish, Request::Finish, self.plan.limits.finish).await? {
            Answer::Finished(usage) => usage,
            other => return Err(wrong(Phase::Finish, &other)),
        };
        let start_ns = self.start_ns.unwrap_or(0);
        Ok(Driven { hello, start_ns, prepared, warmed, samples, enough, outputs, usage })
    }

    async fn greet(&mut self) -> Result<Hello, EngineFault> {
        (self.progress)(Progress::Began(Phase::Hello));
        let hello: Hello = self.link.read(Phase::Hello, self.plan.limits.hello).await?;
        self.start_ns = u64::try_from(self.plan.started.elapsed().as_nanos()).ok();
        if hello.protocol < PROTOCOL {
            return Err(EngineFault::Protocol {
                wanted: format!("version {PROTOCOL}"),
                got: format!("version {} of `{}` {}", hello.protocol, hello.engine, hello.version),
            });
        }
        self.hello = Some(hello.clone());
        Ok(hello)
    }

    async fn prepare(&mut self, hello: &Hello) -> Result<Prepared, EngineFault> {
        let mut prepare = self.plan.prepare.clone();
        prepare.protocol = PROTOCOL.min(hello.protocol);
        match self.ask(Phase::Prepare, Request::Prepare(prepare), self.plan.limits.prepare).await? {
            Answer::Prepared(prepared) => {
                self.prepared = Some((*prepared).clone());
                Ok(*prepared)
            }
            other => Err(wrong(Phase::Prepare, &other)),
        }
    }

    async fn warm_up(&mut self) -> Result<Warmed, EngineFault> {
        let request = Request::WarmUp(self.plan.warm_up.clone());
        match self.ask(Phase::WarmUp, request, self.plan.limits.warm_up).await? {
            Answer::Warmed(warmed) => {
                self.check_shape(&warmed.samples)?;
                self.warmed = Some(warmed.clone());
                Ok(warmed)
            }
            other => Err(wrong(Phase::WarmUp, &other)),
        }
    }

    /// Blocks of samples until there are enough or the time is up. A block is made no larger than what the
    /// time that is left holds, judged by the samples so far.
    async fn measure(&mut self, enough: impl Fn(&[Sample]) -> Enough) -> Result<(Vec<Sample>, bool), EngineFault> {
        let begun = Instant::now();
        let mut samples: Vec<Sample> = Vec::new();
        let mut wanted = self.plan.first_block;
        let pass = self.warmed.as_ref().map_or(Duration::ZERO, |warmed| middle(&warmed.samples));
        let every = if pass.is_zero() { 1 } else { fits(self.plan.pace, pass) };
        let mut each = pass * every;
        loop {
            let left = self.plan.max_time.saturating_sub(begun.elapsed());
            let block = wanted.clamp(1, fits(left, each));
            let block_begun = Instant::now();
            let answer =
                self.ask(Phase::Measure, Request::Measure { samples: block, every }, self.plan.limits.measure).await?;
            let Answer::Samples { samples: new } = answer else {
                return Err(wrong(Phase::Measure, &answer));
            };
            if new.len() != block as usize {
                return Err(EngineFault::Protocol {
                    wanted: format!("{block} samples"),
                    got: format!("{} samples", new.len()),
                });
            }
            self.check_shape(&new)?;
            each = block_begun.elapsed() / block;
            samples.extend(new);
            (self.progress)(Progress::Measured { samples: samples.len() });
            match enough(&samples) {
                Enough::Yes => return Ok((samples, true)),
                Enough::LimitReached => return Ok((samples, false)),
                Enough::More(_) if begun.elapsed() + each > self.plan.max_time => {
                    return Ok((samples, false));
                }
                Enough::More(more) => wanted = more,
            }
        }
    }

    async fn outputs(&mut self, folder: String) -> Result<Outputs, EngineFault> {
        match self.ask(Phase::Outputs, Request::Outputs { folder }, self.plan.limits.outputs).await? {
            Answer::Outputs(outputs) => Ok(outputs),
            other => Err(wrong(Phase::Outputs, &other)),
        }
    }

    async fn ask(&mut self, phase: Phase, request: Request, limit: Duration) -> Result<Answer, EngineFault> {
        // Several blocks are one phase to those who watch.
        if !(phase == Phase::Measure && self.link.phase() == Some(Phase::Measure)) {
            (self.progress)(Progress::Began(phase));
        }
        self.link.write(phase, &request, limit).await?;
        match self.link.read(phase, limit).await? {
            Answer::Failed(fault) => Err(EngineFault::from_engine(phase, fault)),
            answer => Ok(answer),
        }
    }

    /// Every sample holds one time for each token that the workload asks for; an inference decodes none.
    fn check_shape(&self, samples: &[Sample]) -> Result<(), EngineFault> {
        let new_tokens = match self.plan.prepare.workload {
            Workload::Llm { new_tokens, .. } => new_tokens,
            Workload::Inference { .. } => 0,
        };
        let odd = samples.iter().find(|sample| sample.decode_ns.len() != new_tokens as usize);
        match odd {
            None => Ok(()),
            Some(sample) => Err(EngineFault::Protocol {
                wanted: format!("{new_tokens} times for one sequence"),
                got: format!("{} times", sample.decode_ns.len()),
            }),
        }
    }
}

/// How many samples of length `each` fit into `left`; at least one.
fn fits(left: Duration, each: Duration) -> u32 {
    let count = left.as_nanos().checked_div(each.as_nanos()).unwrap_or(u128::MAX);
    u32::try_from(count).unwrap_or(u32::MAX).max(1)
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
