//! Which cells are measured in turn: those of one comparison or one matrix, as many as memory holds at once.
//!
//! A group has at most [`SHARE`] of the memory, by what its cells need: what they held when they were last measured, else
//! what their models let expect, and never more than their limits. The baseline is in every group of its comparison, so
//! that each cell has it as a neighbour; where it has its samples already, it stands beside.

use pipe_cache::{Entry, Kind};

use super::lookup;
use super::site::Site;
use crate::pipeline::{Measure, Place};
use crate::record::Session;

/// The part of the memory that engines may hold together.
const SHARE: f64 = 0.6;

/// More engines than this make rounds too long for a steady drift to cancel.
const MOST: usize = 8;

/// What a process with a library holds before it has a model.
const BARE: u64 = 512 << 20;

/// How much of it a cell needs, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Room {
    pub memory: u64,
    /// Of a GPU.
    pub device: u64,
}

impl Room {
    fn plus(self, other: Room) -> Room {
        Room { memory: self.memory + other.memory, device: self.device + other.device }
    }

    fn holds(self, other: Room) -> bool {
        other.memory <= self.memory && other.device <= self.device
    }

    fn share(self) -> Room {
        let part = |bytes: u64| (bytes as f64 * SHARE) as u64;
        Room { memory: part(self.memory), device: part(self.device) }
    }
}

/// What this machine has; without a GPU that tells its memory there is no bound on it.
pub fn room(site: &Site) -> Room {
    let gpu = site.facts.machine.gpus.iter().map(|gpu| gpu.memory_gib << 30).min().filter(|memory| *memory > 0);
    Room { memory: site.memory, device: gpu.unwrap_or(u64::MAX) }
}

/// What a cell needs, by its sessions so far and by its model.
pub fn need(site: &Site, measure: &Measure, question: &pipe_cache::Digest, model: Option<&Entry>) -> Room {
    let limit = match &measure.place {
        Place::Container { memory, .. } => Some(memory.value),
        Place::Native => measure.memory_budget.as_ref().map(|budget| budget.value),
    };
    let on_gpu = measure.device.value == pipe_engine::message::Device::Cuda;
    // All sessions, also those that no longer count: a peak is a peak.
    let machine = lookup::machine_key(site, measure).ok().flatten();
    let kept = machine.and_then(|machine| site.store.all(Kind::Session, &lookup::session_key(question, &machine)).ok());
    let sessions = kept.into_iter().flatten().filter_map(|bytes| serde_json::from_slice::<Session>(&bytes).ok());
    let peaks: Vec<_> = sessions.filter_map(|session| session.usage).collect();
    let most = |of: fn(&pipe_engine::message::Usage) -> Option<u64>| peaks.iter().filter_map(of).max();
    // Weights as they are read, as they are laid out for the arithmetic, and what a pass needs.
    let expected = || model.map(|model| BARE + 3 * size(site, model));
    let memory =
        most(|usage| usage.peak_resident).map(|peak| peak + peak / 4).or_else(expected).or(limit).unwrap_or(BARE);
    let device = most(|usage| usage.peak_device).map(|peak| peak + peak / 4).or_else(expected).unwrap_or(BARE);
    Room { memory: memory.min(limit.unwrap_or(u64::MAX)), device: if on_gpu { device } else { 0 } }
}

fn size(site: &Site, entry: &Entry) -> u64 {
    let mut sum = 0;
    // A tree that can't be read stops the cell later, with its reason.
    let _ = site.store.walk(entry, |_, entry| {
        if let Entry::File { size, .. } = entry {
            sum += size;
        }
    });
    sum
}

/// The cells of the next group, by their places in `cells`. The first is always among them; a `baseline` takes its room
/// before all others, and is left out (`false`) only where the whole machine does not hold it with the first.
pub fn pack(cells: &[Room], baseline: Option<Room>, machine: Room) -> (Vec<usize>, bool) {
    let Some(first) = cells.first() else { return (Vec::new(), false) };
    let beside = baseline.filter(|baseline| machine.holds(first.plus(*baseline)));
    let mut held = first.plus(beside.unwrap_or_default());
    let mut group = vec![0];
    let most = MOST - usize::from(beside.is_some());
    for (at, cell) in cells.iter().enumerate().skip(1) {
        let more = held.plus(*cell);
        if group.len() < most && machine.share().holds(more) {
            held = more;
            group.push(at);
        }
    }
    (group, beside.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn of(memory: u64) -> Room {
        Room { memory: memory * GIB, device: 0 }
    }

    fn machine(memory: u64) -> Room {
        Room { memory: memory * GIB, device: u64::MAX }
    }

    #[test]
    fn a_group_has_six_tenths_of_the_memory() {
        assert_eq!(pack(&[of(4), of(4), of(4), of(4)], None, machine(20)), (vec![0, 1, 2], false));
        // Small ones go along where a large one does not fit.
        assert_eq!(pack(&[of(4), of(10), of(8)], None, machine(20)), (vec![0, 2], false));
        assert_eq!(pack(&[of(4), of(4), of(4)], Some(of(4)), machine(20)), (vec![0, 1], true));
        assert_eq!(pack(&[], Some(of(4)), machine(20)), (vec![], false));
    }

    #[test]
    fn a_large_cell_has_the_baseline_beside_it_and_nobody_else() {
        assert_eq!(pack(&[of(9), of(1)], Some(of(9)), machine(20)), (vec![0], true));
        assert_eq!(pack(&[of(19), of(1)], Some(of(9)), machine(20)), (vec![0], false), "nor the baseline");
        assert_eq!(pack(&[of(30)], None, machine(20)), (vec![0], false), "what it needs is only an estimate");
    }

    #[test]
    fn groups_are_small_enough_for_short_rounds() {
        assert_eq!(pack(&[of(0); 20], None, machine(20)).0.len(), MOST);
        assert_eq!(pack(&[of(0); 20], Some(of(0)), machine(20)).0.len(), MOST - 1);
    }

    #[test]
    fn a_gpu_has_bounds_of_its_own() {
        let gpu = |device: u64| Room { memory: GIB, device: device * GIB };
        let machine = Room { memory: 64 * GIB, device: 80 * GIB };
        assert_eq!(pack(&[gpu(20), gpu(20), gpu(20), of(1)], None, machine).0, [0, 1, 3]);
    }
}
