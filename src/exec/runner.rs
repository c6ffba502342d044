//! The loop that owns all state of a run.
//!
//! Approach:
//! - Every step has one [`State`]; every change of one goes through [`Runner::set`].
//! - A step whose inputs are all done *arrives*: it gets its key, and is done at once where the store has its
//!   result. Otherwise it is ready and waits for a slot.
//! - Work is futures that this loop polls; they send progress, and return an outcome. They never touch state.
//! - A measurement starts only when nothing else of ours runs or could, and holds the machine's measuring lock.
//!
//! A failed step ends its branch, and nothing else.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::future::LocalBoxFuture;
use futures_util::stream::FuturesUnordered;
use pipe_cache::{Digest, Entry, StoreError};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::lookup;
use super::outcome::{Outcome, Product, Standing, Why};
use super::process::Cancel;
use super::site::Site;
use super::survey::{Known, Manifests, Survey};
use super::{files, measuring, work, world};
use crate::event::{Event, Listener, OutcomeKind};
use crate::key::{self, Manifest};
use crate::pipeline::{Action, Class, StepId};

/// How long a cancelled run waits for what it started.
const GRACE: Duration = Duration::from_secs(10);

/// What became of every step.
pub struct Done {
    pub outcomes: BTreeMap<StepId, Outcome>,
    pub manifests: Manifests,
    /// Why each step that had to run had to, as far as it came to a key.
    pub whys: BTreeMap<StepId, Why>,
    pub interrupted: bool,
    pub seconds: f64,
}

/// Where a step stands while the run goes on.
enum State {
    /// Some of what it reads is not done.
    Waiting,
    /// It has a key and no result, and waits for a slot.
    Ready {
        manifest: Manifest,
        key: Digest,
    },
    /// Its work is under way and holds this many slots.
    Running {
        since: Instant,
        slots: u32,
    },
    Done(Outcome),
}

/// Runs what the survey, which has the manifests, found missing.
pub async fn run(site: &Site, survey: Survey, cancel: Cancel, listener: &mut dyn Listener) -> Result<Done, StoreError> {
    let (progress, heard) = unbounded_channel();
    let mut runner = Runner {
        site,
        states: BTreeMap::new(),
        manifests: Manifests::new(),
        whys: BTreeMap::new(),
        work: FuturesUnordered::new(),
        free: site.slots,
        measuring: false,
        arriving: VecDeque::new(),
        cancel,
        progress,
        listener,
        started: Instant::now(),
    };
    runner.begin(survey);
    runner.drive(heard).await
}

struct Runner<'a> {
    site: &'a Site,
    states: BTreeMap<StepId, State>,
    manifests: Manifests,
    whys: BTreeMap<StepId, Why>,
    work: FuturesUnordered<LocalBoxFuture<'a, (StepId, Outcome)>>,
    free: u32,
    measuring: bool,
    /// Steps whose inputs may all be done now.
    arriving: VecDeque<StepId>,
    cancel: Cancel,
    progress: UnboundedSender<Event>,
    listener: &'a mut dyn Listener,
    started: Instant,
}

impl<'a> Runner<'a> {
    /// Takes over the survey's standings: most steps are done before anything starts.
    fn begin(&mut self, survey: Survey) {
        self.manifests = survey.manifests;
        for (id, standing) in survey.standings {
            let state = match standing {
                Standing::Cached(product) => State::Done(Outcome::Cached(product)),
                Standing::Unavailable(lack) => State::Done(Outcome::Unavailable(lack)),
                Standing::NotNeeded => State::Done(Outcome::NotNeeded),
                Standing::NotSelected => State::Done(Outcome::NotSelected),
                Standing::Runs(_) | Standing::Depends(_) => {
                    self.arriving.push_back(id);
                    State::Waiting
                }
            };
            self.states.insert(id, state);
        }
    }

    async fn drive(mut self, mut heard: UnboundedReceiver<Event>) -> Result<Done, StoreError> {
        let mut deadline: Option<Instant> = None;
        loop {
            while let Some(id) = self.arriving.pop_front() {
                self.arrive(id)?;
            }
            if deadline.is_none() {
                self.start_ready();
            }
            if self.work.is_empty() {
                break;
            }
            let limit = deadline.unwrap_or_else(|| Instant::now() + Duration::from_secs(3600));
            tokio::select! {
                Some((id, outcome)) = self.work.next() => self.finish(id, outcome),
                Some(event) = heard.recv() => self.listener.hear(&event),
                () = self.cancel.cancelled(), if deadline.is_none() => deadline = Some(Instant::now() + GRACE),
                () = tokio::time::sleep_until(limit.into()), if deadline.is_some() => break,
            }
        }
        while let Ok(event) = heard.try_recv() {
            self.listener.hear(&event);
        }
        let interrupted = self.cancel.is_cancelled();
        let outcomes = self
            .states
            .into_iter()
            .map(|(id, state)| match state {
                State::Done(outcome) => (id, outcome),
                State::Waiting | State::Ready { .. } | State::Running { .. } => (id, Outcome::Cancelled),
            })
            .collect();
        Ok(Done {
            outcomes,
            manifests: self.manifests,
            whys: self.whys,
            interrupted,
            seconds: self.started.elapsed().as_secs_f64(),
        })
    }

    /// The only place where a state changes.
    fn set(&mut self, id: StepId, state: State) {
        let before = self.states.insert(id, state);
        if let Some(State::Running { slots, .. }) = before {
            self.free += slots;
            if self.site.step(id).class == Class::Measure {
                self.measuring = false;
            }
        }
        match &self.states[&id] {
            State::Running { slots, .. } => {
                self.free -= slots;
                self.measuring |= self.site.step(id).class == Class::Measure;
            }
            State::Done(_) => self.arriving.extend(self.site.plan.readers(id)),
            State::Waiting | State::Ready { .. } => {}
        }
    }

    /// A step may have all it reads: it becomes ready, or is done without running.
    fn arrive(&mut self, id: StepId) -> Result<(), StoreError> {
        if !matches!(self.states.get(&id), Some(State::Waiting)) {
            return Ok(());
        }
        let reads = self.site.plan.reads(id);
        if reads.iter().any(|read| !matches!(self.states.get(read), Some(State::Done(_)))) {
            return Ok(());
        }
        let compares = matches!(self.site.step(id).action, Action::Compare(_));
        if !compares && let Some(outcome) = reads.iter().find_map(|read| self.blocked_by(*read)) {
            self.announce(id, &outcome, 0.0);
            self.set(id, State::Done(outcome));
            return Ok(());
        }
        let cells: BTreeMap<StepId, String> = reads.iter().map(|read| (*read, self.cell_state(*read))).collect();
        let world = match world::world(self.site, id, &|cell| cells.get(&cell).cloned().unwrap_or_default()) {
            Ok(world) => world,
            Err(lack) => {
                self.end(id, Outcome::Unavailable(lack));
                return Ok(());
            }
        };
        let outputs = |read: StepId| self.output(read);
        let manifest = match key::manifest(self.site.step(id), &world, &Known { site: self.site, outputs: &outputs }) {
            Ok(manifest) => manifest,
            Err(unknown) => {
                let lack = files::missing(self.site, &unknown.0);
                self.end(id, Outcome::Unavailable(lack));
                return Ok(());
            }
        };
        let key = manifest.key();
        self.manifests.insert(id, (key, manifest.clone()));
        match lookup::lookup(self.site, id, &manifest, &key)? {
            Ok(product) => self.end(id, Outcome::Cached(product)),
            Err(why) => {
                self.whys.insert(id, why);
                self.set(id, State::Ready { manifest, key });
            }
        }
        Ok(())
    }

    fn end(&mut self, id: StepId, outcome: Outcome) {
        self.announce(id, &outcome, 0.0);
        self.set(id, State::Done(outcome));
    }

    /// What a step's end means for one that reads it, where it means that this one can't run.
    fn blocked_by(&self, read: StepId) -> Option<Outcome> {
        match self.states.get(&read) {
            Some(State::Done(Outcome::Failed(_))) => Some(Outcome::Skipped { because: read }),
            Some(State::Done(Outcome::Skipped { because })) => Some(Outcome::Skipped { because: *because }),
            Some(State::Done(Outcome::Unavailable(lack))) => Some(Outcome::Unavailable(lack.clone())),
            Some(State::Done(Outcome::Cancelled)) => Some(Outcome::Cancelled),
            _ => None,
        }
    }

    fn output(&self, id: StepId) -> Option<Entry> {
        match self.states.get(&id) {
            Some(State::Done(outcome)) => outcome.product().and_then(Product::entry).cloned(),
            _ => None,
        }
    }

    /// What a comparison's key sees of a cell.
    fn cell_state(&self, id: StepId) -> String {
        match self.states.get(&id) {
            Some(State::Done(outcome)) => match (outcome, self.manifests.get(&id)) {
                (Outcome::Cached(Product::Sessions(s)) | Outcome::Ran(Product::Sessions(s)), Some((key, _))) => {
                    lookup::sessions_text(key, s)
                }
                (Outcome::NotSelected, _) => "not selected".to_owned(),
                (Outcome::Unavailable(_), _) => "unavailable".to_owned(),
                _ => "failed".to_owned(),
            },
            _ => String::new(),
        }
    }

    /// Starts what fits: builds by slots, measurements alone.
    fn start_ready(&mut self) {
        if self.measuring {
            return;
        }
        let ready: Vec<StepId> =
            self.states.iter().filter(|(_, s)| matches!(s, State::Ready { .. })).map(|(id, _)| *id).collect();
        let (cells, builds): (Vec<StepId>, Vec<StepId>) =
            ready.into_iter().partition(|id| self.site.step(*id).class == Class::Measure);
        for &id in &builds {
            let slots = self.site.step(id).needs.cpu.clamp(1, self.site.slots);
            if slots <= self.free {
                self.start(id, slots);
            }
        }
        if builds.is_empty() && self.work.is_empty() {
            // In the order of the matrix; one at a time.
            if let Some(&id) = cells.first() {
                self.start(id, self.site.slots);
            }
        }
    }

    fn start(&mut self, id: StepId, slots: u32) {
        let running = State::Running { since: Instant::now(), slots };
        let Some(State::Ready { manifest, key }) = self.states.insert(id, State::Waiting) else { return };
        let step = self.site.step(id);
        let class = match step.class {
            Class::Fetch => "fetch",
            Class::Build => "build",
            Class::Measure => "measure",
        };
        self.listener.hear(&Event::Started { step: step.name.clone(), class });
        let (site, cancel, progress) = (self.site, self.cancel.clone(), self.progress.clone());
        let inputs: BTreeMap<StepId, Entry> =
            site.plan.reads(id).into_iter().filter_map(|read| Some((read, self.output(read)?))).collect();
        let job = work::Job { site, id, manifest, key, inputs, cancel, progress };
        let future: LocalBoxFuture<'a, (StepId, Outcome)> = match &step.action {
            Action::Measure(measure) => Box::pin(async move { (id, measuring::measure(job, measure).await) }),
            Action::Compare(compare) => {
                let cells = self.cells(&compare.of);
                Box::pin(async move { (id, work::compare(job, compare, cells).await) })
            }
            _ => Box::pin(async move { (id, work::work(job).await) }),
        };
        self.work.push(future);
        self.set(id, running);
    }

    /// The sample sets of cells, for a comparison.
    fn cells(&self, of: &[StepId]) -> BTreeMap<StepId, Vec<crate::record::Session>> {
        of.iter()
            .filter_map(|id| match self.states.get(id) {
                Some(State::Done(outcome)) => match outcome.product() {
                    Some(Product::Sessions(sessions)) => Some((*id, sessions.clone())),
                    _ => None,
                },
                _ => None,
            })
            .collect()
    }

    fn finish(&mut self, id: StepId, outcome: Outcome) {
        let seconds = match self.states.get(&id) {
            Some(State::Running { since, .. }) => since.elapsed().as_secs_f64(),
            _ => 0.0,
        };
        self.announce(id, &outcome, seconds);
        self.set(id, State::Done(outcome));
    }

    fn announce(&mut self, id: StepId, outcome: &Outcome, seconds: f64) {
        let (kind, detail) = match outcome {
            Outcome::Cached(_) => (OutcomeKind::Cached, None),
            Outcome::Ran(_) => (OutcomeKind::Ran, None),
            Outcome::Failed(failure) => (OutcomeKind::Failed, Some(failure.message.clone())),
            Outcome::Unavailable(lack) => (OutcomeKind::Unavailable, Some(lack.reason.clone())),
            Outcome::Skipped { because } => {
                (OutcomeKind::Skipped, Some(format!("`{}` failed", self.site.step(*because).name)))
            }
            Outcome::Cancelled => (OutcomeKind::Cancelled, None),
            Outcome::NotNeeded | Outcome::NotSelected => return,
        };
        let key = self.manifests.get(&id).map(|(key, _)| key.to_string());
        let step = self.site.step(id).name.clone();
        self.listener.hear(&Event::Finished { step, outcome: kind, seconds, key, detail });
    }
}

/// The steps that failed by themselves, in order; what was skipped because of them is not listed.
pub fn failures(done: &Done) -> BTreeSet<StepId> {
    done.outcomes.iter().filter(|(_, o)| matches!(o, Outcome::Failed(_))).map(|(id, _)| *id).collect()
}
