//! Which ready step starts first: the one with the longest way to the end behind it.
//!
//! The length of a way is the time that its steps took when they last ran. What a step needs of the machine is a
//! [`Demand`]; steps of equal demand wait in one line, so that a choice looks at the heads of a few lines however
//! many steps are ready. This file knows what a demand is made of, and nothing of who grants it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use pipe_cache::StoreError;

use super::lookup;
use super::site::Site;
use crate::pipeline::StepId;

/// What a step that never ran is taken to need. Alike for all, so that among new steps the longest chain comes first.
const UNKNOWN_NS: u64 = 1_000_000_000;

/// What a step holds of the machine while it runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Demand {
    pub cpu: u32,
    /// Bytes.
    pub memory: u64,
    pub gpu: u32,
}

impl Demand {
    /// The parts of this demand that `free` does not hold.
    fn beyond(&self, free: &Demand) -> Short {
        Short { cpu: self.cpu > free.cpu, memory: self.memory > free.memory, gpu: self.gpu > free.gpu }
    }

    /// True where `free` holds all of it.
    pub fn fits(&self, free: &Demand) -> bool {
        !self.beyond(free).any()
    }
}

/// What a more urgent step waits for.
#[derive(Debug, Clone, Copy, Default)]
struct Short {
    cpu: bool,
    memory: bool,
    gpu: bool,
}

impl Short {
    fn any(self) -> bool {
        self.cpu || self.memory || self.gpu
    }

    fn add(&mut self, other: Short) {
        self.cpu |= other.cpu;
        self.memory |= other.memory;
        self.gpu |= other.gpu;
    }

    /// True where a step of this demand would take what the more urgent one waits for.
    fn concerns(self, demand: &Demand) -> bool {
        self.cpu && demand.cpu > 0 || self.memory && demand.memory > 0 || self.gpu && demand.gpu > 0
    }
}

/// A place in a line: the longest way first, and among equals the order of the pipeline.
type Turn = (Reverse<u64>, StepId);

/// Steps that have all they read and wait for room on the machine.
#[derive(Debug, Default)]
pub struct Ready {
    lines: BTreeMap<Demand, BTreeSet<Turn>>,
}

impl Ready {
    /// Lets a step wait; `way` is the length of what lies behind it.
    pub fn push(&mut self, id: StepId, demand: Demand, way: u64) {
        self.lines.entry(demand).or_default().insert((Reverse(way), id));
    }

    /// True where nobody waits.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// The most urgent step that fits into what is free, without taking it out of its line.
    ///
    /// One that does not fit keeps for itself what it waits for: less urgent steps that fit would otherwise
    /// starve it.
    pub fn next(&self, free: &Demand) -> Option<(StepId, Demand)> {
        let mut heads: Vec<(&Turn, &Demand)> =
            self.lines.iter().filter_map(|(demand, line)| Some((line.first()?, demand))).collect();
        heads.sort_unstable();
        let mut short = Short::default();
        for ((_, id), demand) in heads {
            if short.concerns(demand) {
                continue;
            }
            let beyond = demand.beyond(free);
            if !beyond.any() {
                return Some((*id, *demand));
            }
            short.add(beyond);
        }
        None
    }

    /// Takes a step out of its line.
    pub fn remove(&mut self, id: StepId, demand: &Demand, way: u64) {
        if let Some(line) = self.lines.get_mut(demand) {
            line.remove(&(Reverse(way), id));
            if line.is_empty() {
                self.lines.remove(demand);
            }
        }
    }

    /// Takes out all that wait.
    pub fn drain(&mut self) -> Vec<StepId> {
        let lines = std::mem::take(&mut self.lines);
        lines.into_values().flatten().map(|(_, id)| id).collect()
    }
}

/// For each step the nanoseconds from its start to the end of the longest chain that begins with it, counting only
/// steps that may run.
pub fn ways(site: &Site, may_run: &BTreeSet<StepId>) -> Result<Vec<u64>, StoreError> {
    let took = past(site, may_run)?;
    let mut ways = vec![0u64; site.pipeline.steps.len()];
    for &id in site.plan.order().iter().rev().filter(|id| may_run.contains(id)) {
        let behind = site.plan.readers(id).into_iter().map(|reader| ways[reader.0]).max().unwrap_or(0);
        ways[id.0] = took.get(&id).copied().unwrap_or(UNKNOWN_NS).saturating_add(behind);
    }
    Ok(ways)
}

/// How long steps took under the key that they had in the last run.
fn past(site: &Site, steps: &BTreeSet<StepId>) -> Result<BTreeMap<StepId, u64>, StoreError> {
    let mut took = BTreeMap::new();
    for &id in steps {
        if let Some(before) = lookup::took_before(site, &site.step(id).name)? {
            took.insert(id, u64::try_from(before.as_nanos()).unwrap_or(u64::MAX));
        }
    }
    Ok(took)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn demand(cpu: u32, memory: u64, gpu: u32) -> Demand {
        Demand { cpu, memory, gpu }
    }

    /// Lets all start that can, and says in which order.
    fn start(ready: &mut Ready, free: &mut Demand, ways: &[u64]) -> Vec<usize> {
        let mut started = Vec::new();
        while let Some((id, wanted)) = ready.next(free) {
            ready.remove(id, &wanted, ways[id.0]);
            free.cpu -= wanted.cpu;
            free.memory -= wanted.memory;
            free.gpu -= wanted.gpu;
            started.push(id.0);
        }
        started
    }

    #[test]
    fn the_longest_way_starts_first_and_equals_in_order() {
        let mut ready = Ready::default();
        let ways = [5, 9, 5, 7];
        for (id, way) in ways.into_iter().enumerate() {
            ready.push(StepId(id), demand(1, 0, 0), way);
        }
        assert_eq!(start(&mut ready, &mut demand(2, GIB, 0), &ways), [1, 3]);
        assert_eq!(start(&mut ready, &mut demand(2, GIB, 0), &ways), [0, 2]);
        assert!(ready.is_empty());
    }

    #[test]
    fn a_large_step_is_not_starved_by_small_ones() {
        let mut ready = Ready::default();
        let ways = [9, 1, 1];
        ready.push(StepId(0), demand(4, 0, 0), 9);
        ready.push(StepId(1), demand(1, 0, 0), 1);
        ready.push(StepId(2), demand(1, 0, 0), 1);
        // Three of four processors are free: the small ones would fit, and would make the large one wait for ever.
        assert_eq!(start(&mut ready, &mut demand(3, GIB, 0), &ways), Vec::<usize>::new());
        assert_eq!(start(&mut ready, &mut demand(4, GIB, 0), &ways), [0]);
        assert_eq!(start(&mut ready, &mut demand(4, GIB, 0), &ways), [1, 2]);
    }

    #[test]
    fn who_waits_for_a_gpu_keeps_nobody_from_a_processor() {
        let mut ready = Ready::default();
        let ways = [9, 8, 1];
        ready.push(StepId(0), demand(1, GIB, 1), 9);
        ready.push(StepId(1), demand(1, 64 * GIB, 0), 8);
        ready.push(StepId(2), demand(1, 0, 0), 1);
        // No GPU and too little memory: what needs neither goes on.
        assert_eq!(start(&mut ready, &mut demand(4, 8 * GIB, 0), &ways), [2]);
    }
}
