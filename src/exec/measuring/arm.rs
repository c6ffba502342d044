//! One cell while it is measured: its engine, what it has taken so far, and the session that comes of it.
//!
//! Whose turn it is, is not known here. What goes wrong ends this cell and no other.

use std::path::Path;
use std::time::{Duration, Instant};

use pipe_cache::{Digest, StoreError};
use pipe_engine::message::{self, Hello, Sample, Usage};

use super::asked::{check_inside, limits, meter, prepare, work};
use crate::event::Event;
use crate::exec::engine::EngineFault;
use crate::exec::lookup;
use crate::exec::outcome::{Failure, Lack, Outcome, Product};
use crate::exec::place::{Engine, Left};
use crate::exec::work::{Job, Unmade};
use crate::exec::world;
use crate::host::energy::Meter;
use crate::host::load::Watch;
use crate::host::{Runtime, SIMULATED, sentinel, thermal};
use crate::measure::enough::{Enough, enough};
use crate::measure::turns::{self, Pace, Turn};
use crate::pipeline::{Measure, Place};
use crate::record::{Block, Caution, CautionCode, Energy, FORMAT, Session, Turns, parted};

/// Samples of a block before anything is known of what is missing.
const FIRST: u32 = 3;

/// A measurement without a session.
pub enum End {
    Unavailable(Lack),
    Failed(Failure),
    /// Memory ran out while others had some: that is no result of this cell before it was alone.
    Crowded(Failure),
    Cancelled,
}

impl From<Unmade> for End {
    fn from(unmade: Unmade) -> End {
        match unmade {
            Unmade::Failed(failure) | Unmade::Passing(failure) => End::Failed(failure),
            Unmade::Cancelled => End::Cancelled,
        }
    }
}

/// What stopped a cell: the engine's talk, or anything else.
enum Broken {
    Engine(EngineFault),
    Other(End),
}

impl From<EngineFault> for Broken {
    fn from(fault: EngineFault) -> Broken {
        Broken::Engine(fault)
    }
}

impl From<Unmade> for Broken {
    fn from(unmade: Unmade) -> Broken {
        Broken::Other(unmade.into())
    }
}

/// A cell among those that take turns.
pub struct Arm<'a> {
    job: Job<'a>,
    asked: &'a Measure,
    /// It has what it needs, and is there for the others: the baseline.
    beside: bool,
    /// Other engines are there.
    together: bool,
    /// The sample set that its session is added to.
    earlier: Vec<Session>,
    tried: u32,
    engine: Option<Engine>,
    end: Option<Result<Session, End>>,
    pace: Pace,
    /// The time that a sample takes, and how many are wanted.
    each: Duration,
    wanted: u32,
    /// Of the maximum time.
    spent: Duration,
    samples: Vec<Sample>,
    enough: bool,
    turns: Turns,
    /// Others have their turn now.
    resting: bool,
    /// It could be stopped whenever it rested.
    stops: bool,
    watch: Watch,
    sentinel: Option<sentinel::Reading>,
    meter: Result<Meter, String>,
    /// What the machine told before the first block, and how it was otherwise before a later one, though all rested.
    thermal: Option<thermal::Reading>,
    otherwise: Vec<String>,
    started: u64,
    machine: Digest,
    runtime: Option<Runtime>,
}

impl<'a> Arm<'a> {
    /// A cell with the sessions that count already.
    pub fn new(job: Job<'a>, asked: &'a Measure, earlier: Vec<Session>, beside: bool) -> Arm<'a> {
        let machine = job.site.facts.machine.key(None);
        Arm {
            job,
            asked,
            beside,
            together: false,
            earlier,
            tried: 0,
            engine: None,
            end: None,
            pace: Pace::new(&asked.sampling, Duration::ZERO),
            each: Duration::ZERO,
            wanted: FIRST,
            spent: Duration::ZERO,
            samples: Vec::new(),
            enough: true,
            turns: Turns::default(),
            resting: false,
            stops: true,
            watch: Watch::default(),
            sentinel: None,
            meter: Err("nothing was measured".to_owned()),
            thermal: None,
            otherwise: Vec::new(),
            started: 0,
            machine,
            runtime: None,
        }
    }

    pub fn job(&self) -> &Job<'a> {
        &self.job
    }

    /// True while its engine runs.
    pub fn is_on(&self) -> bool {
        self.engine.is_some()
    }

    /// Takes down what the sentinel saw.
    pub fn sees(&mut self, reading: Option<sentinel::Reading>) {
        self.sentinel = reading;
    }

    /// Takes down what the machine told before the first block.
    pub fn begins_at(&mut self, reading: Option<thermal::Reading>) {
        self.thermal = reading;
    }

    /// How it takes its turns now.
    pub fn role(&self) -> turns::Arm {
        match (&self.end, self.beside) {
            (Some(_), _) => turns::Arm::Gone,
            (None, true) => turns::Arm::Beside,
            (None, false) => turns::Arm::Asked,
        }
    }

    /// How long it was at work: what others did meanwhile is not its time.
    pub fn seconds(&self) -> f64 {
        self.watch.wall().as_secs_f64()
    }

    /// Starts a fresh engine, and warms it up; `together` with others, or alone.
    pub async fn start(&mut self, together: bool) {
        self.together = together;
        self.watch.on();
        let started = self.try_start().await;
        self.watch.off();
        if let Err(broken) = started {
            self.give_up(broken).await;
        }
    }

    async fn try_start(&mut self) -> Result<(), Broken> {
        let (job, asked) = (&self.job, self.asked);
        if let Place::Container { .. } = asked.place {
            let runtime = world::runtime(job.site).map_err(|lack| Broken::Other(End::Unavailable(lack)))?;
            self.machine = job.site.facts.machine.key(Some(&runtime));
            self.runtime = Some(runtime);
        }
        self.started = now();
        self.meter = meter(job, asked);
        let engine = Engine::start(job, asked, limits(job.site.step(job.id).limits.timeout)).await?;
        let talk = &mut self.engine.insert(engine).talk;
        job.say("hello");
        talk.greet().await?;
        job.say("prepare");
        let prepared = talk.prepare(prepare(asked)).await?;
        check_inside(job, asked, &prepared).map_err(|failure| Broken::Other(End::Failed(failure)))?;
        job.say("warm-up");
        let pass = talk.warm_up(message::WarmUp { min: asked.warm_up.min, max: asked.warm_up.max }).await?;
        self.pace = Pace::new(&asked.sampling, pass);
        self.each = pass.saturating_mul(self.pace.every);
        if let Enough::More(more) = self.judge() {
            self.wanted = more;
        }
        Ok(())
    }

    /// Tells it with whom it takes turns.
    pub fn joins(&mut self, seed: u64, questions: &[Digest]) {
        let with: Vec<Digest> = questions.iter().filter(|question| **question != self.job.key).copied().collect();
        let settling = if with.is_empty() { 0 } else { self.pace.settling };
        self.turns = Turns { seed, with, settling, every: self.pace.every, ..Turns::default() };
    }

    /// Lets others have their turn.
    pub async fn rest(&mut self) {
        if let Some(engine) = &mut self.engine {
            self.stops &= engine.rest(true).await;
            self.resting = true;
        }
    }

    async fn wake(&mut self) {
        if let Some(engine) = self.engine.as_mut().filter(|_| self.resting) {
            engine.rest(false).await;
            self.resting = false;
        }
    }

    /// Takes a block after a rest; false once no more are wanted. `begun` is when the first block of all began.
    pub async fn block(&mut self, turn: Turn, begun: Instant, rest: (Duration, Option<String>)) -> bool {
        self.otherwise.extend(rest.1);
        match self.try_block(turn, begun, rest.0).await {
            Ok(more) => more,
            Err(broken) => {
                self.give_up(broken).await;
                false
            }
        }
    }

    async fn try_block(&mut self, turn: Turn, begun: Instant, rested: Duration) -> Result<bool, Broken> {
        let max_time = self.asked.sampling.max_time;
        let left = max_time.saturating_sub(self.spent);
        let count = self.pace.block(self.wanted, left, self.each);
        self.wake().await;
        let Some(engine) = &mut self.engine else { return Ok(false) };
        self.watch.on();
        if self.turns.settling > 0 {
            engine.talk.measure(1, self.turns.settling).await?;
        }
        let counted = self.meter.as_ref().ok().and_then(Meter::read);
        let (at, now) = (begun.elapsed(), Instant::now());
        let new = engine.talk.measure(count, self.pace.every).await?;
        let took = now.elapsed();
        let energy = self.meter.as_ref().ok().zip(counted);
        let energy_uj = energy.and_then(|(meter, before)| meter.between(&before, &meter.read()?));
        self.watch.off();
        self.samples.extend(new);
        self.spent += took;
        self.each = took / count;
        self.turns.blocks.push(Block {
            round: turn.round,
            place: turn.place,
            at_ns: nanos(at),
            took_ns: nanos(took),
            samples: count,
            rested_ns: nanos(rested),
            energy_uj,
        });
        self.say_progress();
        match self.judge() {
            Enough::Yes => return Ok(false),
            Enough::More(more) if self.spent + self.each <= max_time => self.wanted = more,
            Enough::More(_) | Enough::LimitReached => {
                // Who stands beside the others has enough from before.
                self.enough = self.beside;
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn say_progress(&self) {
        let before: usize = self.earlier.iter().map(|session| session.samples.len()).sum();
        let samples = before + self.samples.len();
        let blocks = self.turns.blocks.len();
        self.job.say(match self.turns.with.len() {
            0 => format!("{samples} samples"),
            others => format!("{samples} samples in {blocks} blocks, in turn with {others} more"),
        });
    }

    /// Whether it has enough, with what earlier sessions have. Who stands beside is asked for what is new alone.
    fn judge(&self) -> Enough {
        let earlier = self.earlier.iter().filter(|_| !self.beside).flat_map(Session::blocks);
        let all: Vec<&[Sample]> = earlier.chain(parted(&self.samples, &self.turns.blocks)).collect();
        enough(&all, &self.asked.sampling)
    }

    /// Takes the outputs, ends the engine, and keeps the session.
    pub async fn finish(&mut self) {
        if self.end.is_some() {
            return;
        }
        let session = self.try_finish().await;
        self.watch.off();
        match session {
            Ok(session) => {
                if !session.turns.as_ref().is_some_and(|turns| turns.with.is_empty()) {
                    self.job.say(format!("done with {} samples; others go on", session.samples.len()));
                }
                self.keep(session);
            }
            Err(broken) => self.give_up(broken).await,
        }
    }

    async fn try_finish(&mut self) -> Result<Session, Broken> {
        self.wake().await;
        let Some(engine) = &mut self.engine else { return Err(Broken::Other(End::Cancelled)) };
        // A baseline beside cells of which none came to its first block.
        if self.samples.is_empty() {
            return Err(Broken::Other(End::Cancelled));
        }
        self.watch.on();
        self.job.say("outputs");
        engine.outputs().await?;
        self.job.say("finish");
        let usage = engine.talk.finish().await?;
        self.watch.off();
        let learned = engine.talk.learned().clone();
        let Some(engine) = self.engine.take() else { return Err(Broken::Other(End::Cancelled)) };
        let left = engine.end(&self.job).await?;
        let mut session = self.session(learned.hello, left);
        session.start_ns = learned.start_ns.unwrap_or(0);
        session.work = work(self.asked, learned.prepared.as_ref().and_then(|prepared| prepared.items));
        session.prepared = learned.prepared;
        session.warmed = learned.warmed;
        session.samples = std::mem::take(&mut self.samples);
        let stopped = self.stops && !self.turns.with.is_empty();
        session.turns = Some(Turns { stopped, ..std::mem::take(&mut self.turns) });
        session.cautions = self.cautions(&session, &usage);
        session.usage = Some(usage);
        Ok(session)
    }

    fn session(&self, hello: Option<Hello>, left: Left) -> Session {
        let nobody = Hello { protocol: 0, engine: String::new(), version: String::new(), simulated: false };
        Session {
            format: FORMAT,
            question: self.job.key,
            machine: self.machine,
            fresh: self.earlier.is_empty(),
            facts: self.job.site.facts.clone(),
            runtime: self.runtime.clone(),
            started: self.started,
            sandbox: self.job.site.sandbox,
            hello: hello.unwrap_or(nobody),
            start_ns: 0,
            prepared: None,
            warmed: None,
            samples: Vec::new(),
            turns: None,
            sentinel: self.sentinel.clone(),
            energy: Some(match &self.meter {
                Ok(meter) => Energy::Counted { method: meter.method.clone() },
                Err(reason) => Energy::NotMeasured { reason: reason.clone() },
            }),
            thermal: self.thermal,
            work: work(self.asked, None),
            usage: None,
            outputs: left.outputs,
            cautions: Vec::new(),
            fault: None,
            log: left.log,
        }
    }

    /// Manifest first, session last.
    fn keep(&mut self, session: Session) {
        let store = &self.job.site.store;
        let key = lookup::session_key(&session.question, &session.machine);
        let kept = store
            .append(pipe_cache::Kind::Manifest, &self.job.key, self.job.manifest.text().as_bytes())
            .and_then(|()| {
                let bytes = serde_json::to_vec(&session).unwrap_or_default();
                store.append(pipe_cache::Kind::Session, &key, &bytes)
            });
        self.end = Some(match kept {
            Ok(()) => Ok(session),
            Err(error) => Err(End::Failed(of_store(&error))),
        });
    }

    /// Ends the engine, and says what became of the cell.
    async fn give_up(&mut self, broken: Broken) {
        self.watch.off();
        let engine = self.engine.take();
        let end = match (broken, engine) {
            (Broken::Engine(fault), Some(engine)) => {
                let learned = engine.talk.learned().clone();
                match engine.break_off(&self.job, fault).await {
                    Err(unmade) => unmade.into(),
                    Ok((fault, left)) => match (fault.to_record(), learned.hello) {
                        // Memory that ran out where the engine could still say so is a result of this machine; not of a
                        // baseline that has one already, and was not alone.
                        (Some(_), Some(_)) if !self.beside && self.together => {
                            End::Crowded(Failure { message: fault.to_string(), ..Failure::default() })
                        }
                        (Some(fault), Some(hello)) if !self.beside => {
                            let mut session = self.session(Some(hello), left);
                            session.start_ns = learned.start_ns.unwrap_or(0);
                            session.prepared = learned.prepared;
                            session.warmed = learned.warmed;
                            session.fault = Some(fault);
                            return self.keep(session);
                        }
                        _ => end_of(fault),
                    },
                }
            }
            (Broken::Engine(fault), None) => end_of(fault),
            (Broken::Other(end), engine) => {
                if let Some(engine) = engine {
                    engine.stop().await;
                }
                end
            }
        };
        self.end = Some(Err(end));
    }

    /// The engine of one that is stopped from outside.
    pub fn take_engine(&mut self) -> Option<Engine> {
        self.engine.take()
    }

    fn cautions(&self, session: &Session, usage: &Usage) -> Vec<Caution> {
        let own = Duration::from_nanos(usage.cpu_ns.unwrap_or(0));
        let mut cautions: Vec<Caution> = self.watch.disturbances(own);
        let mut add = |code: CautionCode, seen: String| cautions.push(Caution { code, seen });
        let machine = &self.job.site.facts.machine;
        if session.hello.simulated {
            add(CautionCode::Simulated, "the figures are invented by the engine of the tests".to_owned());
        }
        if let Some(last) = self.otherwise.last() {
            let (blocks, all) = (self.otherwise.len(), session.turns.as_ref().map_or(0, |turns| turns.blocks.len()));
            add(CautionCode::Throttled, format!("before {blocks} of {all} blocks, after a rest, {last}"));
        }
        if self.job.site.system != Path::new("/") {
            add(CautionCode::Simulated, "the clock, heat and energy are made up by a test".to_owned());
        }
        if machine.virtualisation == SIMULATED {
            add(CautionCode::Simulated, "the machine is made up by a test".to_owned());
        }
        if let Some(warmed) = session.warmed.as_ref().filter(|warmed| !warmed.steady) {
            add(CautionCode::NotSteady, format!("not steady after {} warm-up samples", warmed.samples.len()));
        }
        if !self.enough {
            let taken = session.samples.len();
            let plural = if taken == 1 { "" } else { "s" };
            add(CautionCode::FewSamples, format!("{taken} sample{plural} when the limit was reached"));
        }
        let inside = session.prepared.as_ref().map_or("", |prepared| prepared.inside.architecture.as_str());
        if !inside.is_empty() && inside != machine.architecture {
            add(
                CautionCode::Emulated,
                format!("the engine is built for {inside}, the machine is {}", machine.architecture),
            );
        }
        cautions
    }

    /// The cell once more, where it is to be tried again, alone; else how it ended. Of one that was only there for the
    /// others there is no outcome unless it has a session.
    pub fn ended(self) -> Result<Option<Outcome>, Box<Arm<'a>>> {
        let Arm { job, asked, beside, earlier, tried, end, sentinel, .. } = self;
        Ok(match end {
            Some(Ok(session)) => Some(Outcome::Ran(Product::Sessions(earlier.into_iter().chain([session]).collect()))),
            Some(Err(End::Failed(failure))) if beside => {
                let baseline = &job.site.step(job.id).name;
                let text = format!(
                    "the baseline `{baseline}` was to be measured beside, and could not be: {}",
                    failure.message
                );
                let _ = job.progress.send(Event::Warning { text });
                None
            }
            Some(Err(End::Failed(failure)))
                if tried < job.site.step(job.id).limits.retries && !job.cancel.is_cancelled() =>
            {
                let step = job.site.step(job.id).name.clone();
                let _ = job.progress.send(Event::Retried { step, attempt: tried + 2, cause: failure.message });
                return Err(Box::new(Arm { tried: tried + 1, sentinel, ..Arm::new(job, asked, earlier, beside) }));
            }
            _ if beside => None,
            Some(Err(End::Crowded(_))) if !job.cancel.is_cancelled() => {
                return Err(Box::new(Arm { tried, sentinel, ..Arm::new(job, asked, earlier, beside) }));
            }
            Some(Err(End::Failed(failure) | End::Crowded(failure))) => Some(Outcome::Failed(failure)),
            Some(Err(End::Unavailable(lack))) => Some(Outcome::Unavailable(lack)),
            Some(Err(End::Cancelled)) | None => Some(Outcome::Cancelled),
        })
    }
}

/// The failure that a fault of the store is.
pub fn of_store(error: &StoreError) -> Failure {
    Failure { message: error.to_string(), ..Failure::default() }
}

fn end_of(fault: EngineFault) -> End {
    match fault {
        EngineFault::NoDevice(reason) => End::Unavailable(Lack::final_(reason)),
        EngineFault::Crashed { ref log, .. } | EngineFault::Hung { ref log, .. } => {
            let tail = log.clone();
            let message =
                fault.to_string().lines().next().unwrap_or_default().trim_end_matches("; it last said:").to_owned();
            End::Failed(Failure { message, tail, ..Failure::default() })
        }
        other => End::Failed(Failure { message: other.to_string(), ..Failure::default() }),
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[expect(clippy::disallowed_methods, reason = "a session remembers when it was; no key and no report does")]
fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map(|d| d.as_secs()).unwrap_or(0)
}
