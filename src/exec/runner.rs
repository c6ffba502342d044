//! The loop that owns all state of a run.
//!
//! Approach:
//! - Every step has one [`State`]; every change of one goes through [`Runner::set`].
//! - A step whose inputs are all done *arrives*: it gets its key, and is done at once where the store has its
//!   result. Otherwise it is ready and waits for room, the one with the longest way behind it first.
//! - A change of one step costs as much as it has readers, however many steps there are.
//! - Work is futures that this loop polls; they send progress, and return an outcome. They never touch state.
//! - What runs holds a [`Grant`] of the machine, which other processes see. Measuring starts only when nothing else
//!   of ours runs or could, holds all of the machine's processors and its measuring lock; cells that are compared take
//!   turns then.
//!
//! - Steps that turn out to be the same work, with equal keys, are done once: the others wait for that one's end.
//!
//! A failed step ends its branch, and nothing else; with [`Site::fail_fast`] nothing more starts after it, and what
//! runs is let to its end, since it may be kept.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::future::LocalBoxFuture;
use futures_util::stream::FuturesUnordered;
use pipe_cache::{Digest, Entry, StoreError};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::commits::Commits;
use super::lookup::{self, Miss};
use super::measuring::{Ended, Member};
use super::outcome::{Failure, Outcome, Product, Standing, Why};
use super::pools::{Grant, Pools};
use super::priority::{self, Ready};
use super::process::Cancel;
use super::site::Site;
use super::survey::{Known, Manifests, Survey};
use super::{files, grouping, measuring, needs, work, world};
use crate::event::{Event, Listener, OutcomeKind};
use crate::key;
use crate::pipeline::{Action, Class, Compare, StepId};

/// How long a cancelled run waits for what it started.
const GRACE: Duration = Duration::from_secs(10);

/// How often a run looks whether other processes have left it room.
pub const LOOK: Duration = Duration::from_millis(20);

/// Which look at what is missing a run follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Round {
    First,
    /// Content that the first one counted on was damaged or gone, and is made again; there is no third.
    Second,
}

/// What became of every step.
pub struct Done {
    pub outcomes: BTreeMap<StepId, Outcome>,
    pub manifests: Manifests,
    /// Why steps ran, where their manifests don't tell.
    pub whys: BTreeMap<StepId, Why>,
    pub interrupted: bool,
    /// The failure after which nothing more was started, where it left something to start.
    pub stopped_by: Option<StepId>,
    /// Steps that failed while content turned out to be damaged or gone: a second round may do better.
    pub lost: BTreeSet<StepId>,
    pub seconds: f64,
}

/// Where a step stands while the run goes on.
enum State {
    /// Some of what it reads is not done.
    Waiting,
    /// Another step of this run has the same key, and makes what both stand for.
    Follows,
    /// It has a key and no result, and waits for room.
    Ready,
    /// Its work is under way and holds this much.
    Running {
        since: Instant,
        grant: Grant,
        /// What the store had lost by then.
        losses: u64,
    },
    Done(Outcome),
}

/// Runs what the survey, which has the manifests, found missing.
pub async fn run(
    site: &Site,
    survey: Survey,
    round: Round,
    cancel: Cancel,
    listener: &mut dyn Listener,
) -> Result<Done, StoreError> {
    let (progress, heard) = unbounded_channel();
    let steps = site.pipeline.steps.len();
    let works = survey.standings.values().any(|s| matches!(s, Standing::Runs(_) | Standing::Depends(_)));
    if works {
        // What runs may wait for room that others hold, and they for a collection.
        site.store.settle();
    }
    let (pools, warnings) = if works { Pools::open(site) } else { (Pools::alone(site), Vec::new()) };
    for text in warnings {
        listener.hear(&Event::Warning { text });
    }
    let mut runner = Runner {
        site,
        states: std::iter::repeat_with(|| State::Waiting).take(steps).collect(),
        open: vec![0; steps],
        ways: Vec::new(),
        manifests: Manifests::new(),
        whys: BTreeMap::new(),
        work: FuturesUnordered::new(),
        pools,
        measuring: false,
        waits: false,
        said: BTreeSet::new(),
        arriving: VecDeque::new(),
        ready: Ready::default(),
        cells: BTreeSet::new(),
        makers: BTreeMap::new(),
        followers: BTreeMap::new(),
        stopped_by: None,
        round,
        lost: BTreeSet::new(),
        commits: Commits::new(&site.store),
        unsaid: BTreeMap::new(),
        cancel,
        progress,
        listener,
        started: Instant::now(),
    };
    runner.begin(survey)?;
    runner.drive(heard).await
}

struct Runner<'a> {
    site: &'a Site,
    /// By the number of the step, as is `open` and `ways`.
    states: Vec<State>,
    /// How many of the steps that a step reads are not done.
    open: Vec<usize>,
    /// The length of what lies behind each step.
    ways: Vec<u64>,
    manifests: Manifests,
    whys: BTreeMap<StepId, Why>,
    work: FuturesUnordered<LocalBoxFuture<'a, Vec<Ended>>>,
    pools: Pools,
    measuring: bool,
    /// Something is ready that other processes leave no room for.
    waits: bool,
    /// Who was said to wait, so that it is said once.
    said: BTreeSet<StepId>,
    /// Steps whose inputs are all done now.
    arriving: VecDeque<StepId>,
    /// Builds that wait for room.
    ready: Ready,
    /// Measurements that wait for their turn, in the order of the matrix.
    cells: BTreeSet<StepId>,
    /// Who makes what a key stands for, in this run.
    makers: BTreeMap<Digest, StepId>,
    /// Steps with the same key as one that is being made.
    followers: BTreeMap<StepId, Vec<StepId>>,
    stopped_by: Option<StepId>,
    round: Round,
    lost: BTreeSet<StepId>,
    commits: Commits,
    /// Steps that have ended well and whose records are still being written, with how long they took.
    unsaid: BTreeMap<StepId, f64>,
    cancel: Cancel,
    progress: UnboundedSender<Event>,
    listener: &'a mut dyn Listener,
    started: Instant,
}

impl<'a> Runner<'a> {
    /// Takes over the survey's standings: most steps are done before anything starts.
    fn begin(&mut self, survey: Survey) -> Result<(), StoreError> {
        self.manifests = survey.manifests;
        let mut may_run = BTreeSet::new();
        for (id, standing) in survey.standings {
            self.states[id.0] = match standing {
                Standing::Cached(product) => State::Done(Outcome::Cached(product)),
                Standing::Unavailable(lack) => State::Done(Outcome::Unavailable(lack)),
                Standing::NotNeeded => State::Done(Outcome::NotNeeded),
                Standing::NotSelected => State::Done(Outcome::NotSelected),
                Standing::Runs(_) | Standing::Depends(_) => {
                    may_run.insert(id);
                    State::Waiting
                }
            };
        }
        for &id in &may_run {
            let open = |read: &StepId| !matches!(self.states[read.0], State::Done(_));
            self.open[id.0] = self.site.plan.reads(id).iter().filter(|read| open(read)).count();
            if self.open[id.0] == 0 {
                self.arriving.push_back(id);
            }
        }
        self.ways = priority::ways(self.site, &may_run)?;
        Ok(())
    }

    async fn drive(mut self, mut heard: UnboundedReceiver<Event>) -> Result<Done, StoreError> {
        let mut deadline: Option<Instant> = None;
        loop {
            while let Some(id) = self.arriving.pop_front() {
                self.arrive(id)?;
            }
            if deadline.is_none() && self.stopped_by.is_none() {
                self.start_ready();
            } else {
                self.waits = false;
            }
            if !self.arriving.is_empty() {
                continue;
            }
            self.pools.let_go();
            if self.work.is_empty() && self.commits.is_empty() && !self.waits {
                break;
            }
            let hurry = self.work.is_empty();
            let limit = deadline.unwrap_or_else(|| Instant::now() + Duration::from_secs(3600));
            tokio::select! {
                Some(ended) = self.work.next() => ended.into_iter().for_each(|one| self.finish(one)),
                (steps, written) = self.commits.next(hurry) => self.written(steps, &written),
                Some(event) = heard.recv() => self.listener.hear(&event),
                () = self.cancel.cancelled(), if deadline.is_none() => deadline = Some(Instant::now() + GRACE),
                () = tokio::time::sleep_until(limit.into()), if deadline.is_some() => break,
                () = tokio::time::sleep(LOOK), if self.waits => {}
            }
        }
        while let Ok(event) = heard.try_recv() {
            self.listener.hear(&event);
        }
        let interrupted = self.cancel.is_cancelled();
        let unfinished = self.states.iter().any(|state| !matches!(state, State::Done(_)));
        let stopped_by = self.stopped_by.filter(|_| unfinished);
        let outcomes = self
            .states
            .into_iter()
            .enumerate()
            .map(|(id, state)| match state {
                State::Done(outcome) => (StepId(id), outcome),
                State::Waiting | State::Follows | State::Ready | State::Running { .. } => {
                    (StepId(id), Outcome::Cancelled)
                }
            })
            .collect();
        let seconds = self.started.elapsed().as_secs_f64();
        let (manifests, whys, lost) = (self.manifests, self.whys, self.lost);
        Ok(Done { outcomes, manifests, whys, interrupted, stopped_by, lost, seconds })
    }

    /// The only place where a state changes.
    fn set(&mut self, id: StepId, state: State) {
        let measures = self.site.step(id).class == Class::Measure;
        let before = std::mem::replace(&mut self.states[id.0], state);
        if let State::Running { grant, .. } = before {
            self.pools.lay_by(grant);
            self.measuring &= !measures;
        }
        match &self.states[id.0] {
            State::Ready if measures => drop(self.cells.insert(id)),
            State::Ready => {
                let demand = self.pools.demand(&self.site.step(id).needs);
                self.ready.push(id, demand, self.ways[id.0]);
            }
            State::Running { .. } => self.measuring |= measures,
            State::Done(_) => {
                for reader in self.site.plan.readers(id) {
                    // Who does not run never waited for anybody.
                    let open = &mut self.open[reader.0];
                    *open = open.saturating_sub(1);
                    if *open == 0 && matches!(self.states[reader.0], State::Waiting) {
                        self.arriving.push_back(reader);
                    }
                }
            }
            State::Waiting | State::Follows => {}
        }
    }

    /// A step has all it reads: it becomes ready, or is done without running.
    fn arrive(&mut self, id: StepId) -> Result<(), StoreError> {
        if !matches!(self.states[id.0], State::Waiting) {
            return Ok(());
        }
        if let Some(outcome) = self.blocked(id) {
            self.end(id, outcome);
            return Ok(());
        }
        let world = match world::world(self.site, id, &|cell| self.cell_state(cell)) {
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
                if let Some(error) = self.site.asked.fault.take() {
                    return Err(error);
                }
                let lack = files::missing(self.site, &unknown.0);
                self.end(id, Outcome::Unavailable(lack));
                return Ok(());
            }
        };
        let key = manifest.key();
        let found = lookup::find(self.site, id, &key)?;
        self.manifests.insert(id, (key, Rc::new(manifest)));
        match found {
            Ok(product) => self.end(id, Outcome::Cached(product)),
            Err(miss) => match self.makers.get(&key) {
                // It is over, and left nothing: what failed once in this run is not tried again under another name.
                Some(&maker) if let State::Done(outcome) = &self.states[maker.0] => {
                    let outcome = Self::followed(maker, outcome);
                    self.end(id, outcome);
                }
                Some(&maker) => {
                    self.followers.entry(maker).or_default().push(id);
                    self.set(id, State::Follows);
                }
                // It failed in the first round, by a fault of its own.
                None if let Some(failure) = self.site.asked.failed.borrow().get(&key) => {
                    self.set(id, State::Done(Outcome::Failed(failure.clone())));
                }
                None => {
                    if let Miss::Unfit(why) = miss {
                        self.whys.insert(id, why);
                    }
                    self.makers.insert(key, id);
                    self.set(id, State::Ready);
                }
            },
        }
        Ok(())
    }

    /// What the end of the step that was made means for one that is the same.
    fn followed(maker: StepId, outcome: &Outcome) -> Outcome {
        match outcome {
            Outcome::Ran(product) | Outcome::Cached(product) => Outcome::Cached(product.clone()),
            Outcome::Failed(_) => Outcome::Skipped { because: maker },
            other => other.clone(),
        }
    }

    fn end(&mut self, id: StepId, outcome: Outcome) {
        self.announce(id, &outcome, 0.0);
        self.set(id, State::Done(outcome));
    }

    /// What the end of those that a step reads means for it, where it means that it can't run. A comparison takes what
    /// there is.
    fn blocked(&self, id: StepId) -> Option<Outcome> {
        let compares = matches!(self.site.step(id).action, Action::Compare(_));
        if compares { None } else { self.site.plan.reads(id).into_iter().find_map(|read| self.blocked_by(read)) }
    }

    /// What a step's end means for one that reads it, where it means that this one can't run.
    fn blocked_by(&self, read: StepId) -> Option<Outcome> {
        match &self.states[read.0] {
            State::Done(Outcome::Failed(_)) => Some(Outcome::Skipped { because: read }),
            State::Done(Outcome::Skipped { because }) => Some(Outcome::Skipped { because: *because }),
            State::Done(Outcome::Unavailable(lack)) => Some(Outcome::Unavailable(lack.clone())),
            State::Done(Outcome::Cancelled) => Some(Outcome::Cancelled),
            _ => None,
        }
    }

    fn output(&self, id: StepId) -> Option<Entry> {
        match &self.states[id.0] {
            State::Done(outcome) => outcome.product().and_then(Product::entry).cloned(),
            _ => None,
        }
    }

    /// What a comparison's key sees of a cell.
    fn cell_state(&self, id: StepId) -> String {
        match &self.states[id.0] {
            State::Done(outcome) => match (outcome, self.manifests.get(&id)) {
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

    /// Starts what fits: builds beside one another, measurements alone.
    fn start_ready(&mut self) {
        self.waits = false;
        if self.measuring {
            return;
        }
        while let Some((id, demand)) = self.ready.next(self.pools.free()) {
            // What it reads was there when it became ready, and its record could not be written since.
            if let Some(outcome) = self.blocked(id) {
                self.ready.remove(id, &demand, self.ways[id.0]);
                self.finish(Ended { id, outcome, seconds: None });
                continue;
            }
            match self.pools.take(demand, self.work.is_empty()) {
                Ok(grant) => {
                    self.ready.remove(id, &demand, self.ways[id.0]);
                    self.start(id, grant);
                }
                Err(on) => return self.wait_for_others(id, on),
            }
        }
        if self.ready.is_empty()
            && self.work.is_empty()
            && self.commits.is_empty()
            && let Some(&id) = self.cells.first()
        {
            if let Some(outcome) = self.blocked(id) {
                self.cells.remove(&id);
                return self.finish(Ended { id, outcome, seconds: None });
            }
            match self.pools.take_machine(&self.site.step(id).name) {
                Ok(grant) => self.start_group(id, grant),
                Err(on) => self.wait_for_others(id, on),
            }
        }
    }

    /// Starts the measurement of `first` and of those that are compared with it, as many as memory holds.
    fn start_group(&mut self, first: StepId, grant: Grant) {
        let (compare, mates) = self.mates(first);
        let baseline = compare.and_then(|compare| self.baseline(compare));
        let mut cells: Vec<StepId> = mates.into_iter().filter(|id| Some(*id) != baseline).collect();
        if cells.is_empty() {
            cells.push(first);
        }
        let baseline = baseline.filter(|id| !cells.contains(id));
        let needs: Vec<grouping::Room> = cells.iter().map(|id| self.room_of(*id)).collect();
        let machine = grouping::room(self.site);
        let (group, with) = grouping::pack(&needs, baseline.map(|id| self.room_of(id)), machine);
        let baseline = baseline.filter(|_| with);
        // It waits for its samples like the others, or has them and stands beside.
        let waits = baseline.filter(|id| self.cells.contains(id));
        let beside = baseline.filter(|_| waits.is_none());
        let group: Vec<StepId> = waits.into_iter().chain(group.into_iter().map(|at| cells[at])).collect();

        let name = |id: StepId| self.site.step(id).name.clone();
        if group.len() + usize::from(beside.is_some()) > 1 {
            let event = Event::InTurn { steps: group.iter().map(|id| name(*id)).collect(), beside: beside.map(name) };
            self.listener.hear(&event);
        }
        let mut members: Vec<Member<'a>> = Vec::new();
        if let Some(id) = beside
            && let State::Done(outcome) = &self.states[id.0]
            && let Some(Product::Sessions(sessions)) = outcome.product()
        {
            members.extend(self.member(id, Some(sessions.clone())));
        }
        let mut grants = std::iter::once(grant).chain(std::iter::repeat_with(Grant::shared));
        for id in group {
            self.cells.remove(&id);
            let step = self.site.step(id);
            self.listener.hear(&Event::Started { step: step.name.clone(), class: class_name(step.class) });
            members.extend(self.member(id, None));
            if let Some(grant) = grants.next() {
                self.set(id, State::Running { since: Instant::now(), grant, losses: self.site.store.losses() });
            }
        }
        self.work.push(Box::pin(measuring::measure(members)));
    }

    /// The comparison that looks at a cell, and the cells that wait to be measured and belong with it: those of that
    /// comparison, or of its matrix.
    fn mates(&self, first: StepId) -> (Option<&'a Compare>, Vec<StepId>) {
        let site = self.site;
        let compare = site.plan.readers(first).into_iter().find_map(|reader| match &site.step(reader).action {
            Action::Compare(compare) => Some(&**compare),
            _ => None,
        });
        let belongs = |id: &StepId| match compare {
            Some(compare) => compare.of.contains(id),
            None => site.step(*id).group == site.step(first).group && site.step(*id).cell.is_some(),
        };
        let mates = self.cells.iter().copied().filter(belongs).filter(|id| self.blocked(*id).is_none());
        (compare, mates.collect())
    }

    /// The baseline of a comparison, where it waits to be measured or has samples and could be measured again.
    fn baseline(&self, compare: &Compare) -> Option<StepId> {
        let pattern = &compare.baseline.as_ref()?.value;
        let matching = |id: &&StepId| self.site.step(**id).cell.as_ref().is_some_and(|cell| pattern.matches(cell));
        compare
            .of
            .iter()
            .filter(matching)
            .copied()
            .find(|id| (self.cells.contains(id) && self.blocked(*id).is_none()) || self.could_run_again(*id))
    }

    fn could_run_again(&self, id: StepId) -> bool {
        let State::Done(outcome) = &self.states[id.0] else { return false };
        let Some(Product::Sessions(sessions)) = outcome.product() else { return false };
        let there = |read: StepId| self.output(read).is_some_and(|entry| self.site.store.complete(&entry));
        sessions.iter().all(|session| session.fault.is_none())
            && needs::lack(self.site, self.site.step(id)).is_none()
            && self.site.plan.reads(id).into_iter().all(there)
    }

    fn room_of(&self, id: StepId) -> grouping::Room {
        let Action::Measure(measure) = &self.site.step(id).action else { return grouping::Room::default() };
        let Some((key, _)) = self.manifests.get(&id) else { return grouping::Room::default() };
        let outputs = |read: StepId| self.output(read);
        let model = key::Contents::entry(&Known { site: self.site, outputs: &outputs }, &measure.model.value);
        grouping::need(self.site, measure, key, model.as_ref())
    }

    fn member(&self, id: StepId, beside: Option<Vec<crate::record::Session>>) -> Option<Member<'a>> {
        let Action::Measure(asked) = &self.site.step(id).action else { return None };
        Some(Member { job: self.job(id, Vec::new())?, asked, beside })
    }

    /// All that the work of a step needs.
    fn job(&self, id: StepId, gpus: Vec<u64>) -> Option<work::Job<'a>> {
        let (key, manifest) = self.manifests.get(&id)?.clone();
        let (site, cancel, progress) = (self.site, self.cancel.clone(), self.progress.clone());
        let inputs: BTreeMap<StepId, Entry> =
            site.plan.reads(id).into_iter().filter_map(|read| Some((read, self.output(read)?))).collect();
        let desk = self.commits.desk();
        Some(work::Job { site, id, manifest, key, inputs, gpus, cancel, progress, desk })
    }

    /// Looks again in a moment. It is told where it keeps all of this run waiting.
    fn wait_for_others(&mut self, id: StepId, on: String) {
        self.waits = true;
        if self.work.is_empty() && self.said.insert(id) {
            self.listener.hear(&Event::Waiting { step: self.site.step(id).name.clone(), on });
        }
    }

    fn start(&mut self, id: StepId, grant: Grant) {
        let Some(job) = self.job(id, grant.gpus()) else { return };
        let step = self.site.step(id);
        self.listener.hear(&Event::Started { step: step.name.clone(), class: class_name(step.class) });
        let ended = move |outcome| vec![Ended { id, outcome, seconds: None }];
        let future: LocalBoxFuture<'a, Vec<Ended>> = match &step.action {
            Action::Compare(compare) => {
                let cells = self.cells(&compare.of);
                Box::pin(async move { ended(work::compare(job, compare, cells).await) })
            }
            _ => Box::pin(async move { ended(work::work(job).await) }),
        };
        self.work.push(future);
        self.set(id, State::Running { since: Instant::now(), grant, losses: self.site.store.losses() });
    }

    /// The sample sets of cells, for a comparison.
    fn cells(&self, of: &[StepId]) -> BTreeMap<StepId, Vec<crate::record::Session>> {
        of.iter()
            .filter_map(|id| match &self.states[id.0] {
                State::Done(outcome) => match outcome.product() {
                    Some(Product::Sessions(sessions)) => Some((*id, sessions.clone())),
                    _ => None,
                },
                _ => None,
            })
            .collect()
    }

    fn finish(&mut self, ended: Ended) {
        let Ended { id, outcome, seconds } = ended;
        let (seconds, losses) = match &self.states[id.0] {
            State::Running { since, losses, .. } => (seconds.unwrap_or(since.elapsed().as_secs_f64()), *losses),
            // A baseline that was measured beside others has a session more, and is what it was.
            State::Done(before) => {
                let cached = matches!(before, Outcome::Cached(_));
                self.states[id.0] = State::Done(match outcome {
                    Outcome::Ran(product) if cached => Outcome::Cached(product),
                    outcome => outcome,
                });
                return;
            }
            _ => (0.0, u64::MAX),
        };
        let lost = matches!(outcome, Outcome::Failed(_)) && self.site.store.losses() > losses;
        if lost && self.round == Round::First {
            self.lost.insert(id);
        }
        if matches!(outcome, Outcome::Ran(_)) && self.commits.holds(id) {
            self.unsaid.insert(id, seconds);
        } else {
            self.announce(id, &outcome, seconds);
        }
        if self.site.fail_fast && matches!(outcome, Outcome::Failed(_)) && !self.lost.contains(&id) {
            self.stopped_by.get_or_insert(id);
        }
        for follower in self.followers.remove(&id).unwrap_or_default() {
            self.end(follower, Self::followed(id, &outcome));
        }
        self.set(id, State::Done(outcome));
    }

    /// The records of these steps are durable, or can't be made so: then the steps have failed, since later runs would
    /// not know of them.
    fn written(&mut self, steps: Vec<StepId>, written: &Result<(), String>) {
        for id in steps {
            let Some(seconds) = self.unsaid.remove(&id) else { continue };
            if let Err(message) = written {
                // Readers that run already have what it made; those that have not begun don't begin any more.
                let failure = Failure { message: message.clone(), ..Failure::default() };
                self.states[id.0] = State::Done(Outcome::Failed(failure));
                self.stopped_by = self.stopped_by.or(self.site.fail_fast.then_some(id));
            }
            let State::Done(outcome) = &self.states[id.0] else { continue };
            let outcome = outcome.clone();
            self.announce(id, &outcome, seconds);
        }
    }

    fn announce(&mut self, id: StepId, outcome: &Outcome, seconds: f64) {
        let (kind, detail) = match outcome {
            Outcome::Cached(_) => (OutcomeKind::Cached, None),
            Outcome::Ran(_) => (OutcomeKind::Ran, None),
            Outcome::Failed(failure) if self.lost.contains(&id) => {
                let (step, cause) = (self.site.step(id).name.clone(), failure.message.clone());
                return self.listener.hear(&Event::Retried { step, attempt: 2, cause });
            }
            Outcome::Skipped { because } if self.lost.contains(because) => return,
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

fn class_name(class: Class) -> &'static str {
    match class {
        Class::Fetch => "fetch",
        Class::Build => "build",
        Class::Measure => "measure",
    }
}

/// The steps that failed by themselves, in order; what was skipped because of them is not listed.
pub fn failures(done: &Done) -> BTreeSet<StepId> {
    done.outcomes.iter().filter(|(_, o)| matches!(o, Outcome::Failed(_))).map(|(id, _)| *id).collect()
}
