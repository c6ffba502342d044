//! The drift sentinel: a fixed piece of work that is timed before cells are measured, so that a machine that has become
//! slower or faster since other cells were measured is found out by something that no cell has a part in.
//!
//! Two kinds of units take turns for two seconds on one thread: arithmetic, a chain in which each multiplication needs
//! the one before, which follows the clock of a core; and memory, one word of each cache line of a table larger than most
//! caches, which follows what neighbours leave of it. Kept are the median time of a unit of each kind and how far units
//! scatter. Both take the same instructions everywhere and always; what they cost says nothing of a model, and is only
//! ever held against the same work on an equal machine.

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// How long it looks.
const TIME: Duration = Duration::from_secs(2);

/// Fewer units of a kind tell nothing, however slow they are.
const FEWEST: usize = 5;

/// Multiplications of a unit: some milliseconds.
const CHAIN: u64 = 1_000_000;

/// Words of the table, 64 MiB, and how many lie in a cache line.
const TABLE: usize = (64 << 20) / size_of::<u64>();
const LINE: usize = 64 / size_of::<u64>();

/// Smaller changes than this are what machines do by themselves, and more than so many scaled deviations of a unit.
const MATTERS: f64 = 0.05;
const DEVIATIONS: f64 = 3.0;

/// The median absolute deviation of a normal distribution, as a share of its standard deviation.
const NORMAL_MAD: f64 = 0.674_489_750_196_081_7;

/// What the sentinel saw.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    /// Which work it was: times of other work are not compared.
    pub work: String,
    pub arithmetic: Pace,
    pub memory: Pace,
}

/// How fast one kind of work went.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Pace {
    /// The median time of a unit.
    pub unit_ns: u64,
    pub units: u32,
    /// The scaled median absolute deviation of units, by their median.
    pub scatter: f64,
}

/// The kinds of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Arithmetic,
    Memory,
}

impl Kind {
    /// What a reader sees.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Arithmetic => "arithmetic",
            Kind::Memory => "reading of memory",
        }
    }
}

/// A change between two readings; above zero the later one is slower.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Drift {
    pub kind: Kind,
    pub change: f64,
}

/// Looks for two seconds, on this thread; `None` where it was stopped meanwhile.
pub fn look(stop: &AtomicBool) -> Option<Reading> {
    let table: Vec<u64> = (0..TABLE as u64).collect();
    let mut state = 1u64;
    let begun = Instant::now();
    let mut work = |kind| {
        match kind {
            Kind::Arithmetic => state = arithmetic(state),
            Kind::Memory => state ^= memory(&table),
        }
        !stop.load(Ordering::Relaxed)
    };
    let reading = take(&mut || begun.elapsed(), &mut work);
    black_box(state);
    reading
}

/// A shift and a multiplication (of MurmurHash's last steps), whose result the next ones need.
fn arithmetic(state: u64) -> u64 {
    (0..CHAIN).fold(black_box(state), |state, _| (state ^ (state >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd))
}

fn memory(table: &[u64]) -> u64 {
    black_box(table).iter().step_by(LINE).fold(0, |sum: u64, word| sum.wrapping_add(*word))
}

/// Times units in turn until the time is over by `clock`, or a unit says that it shall end.
fn take(clock: &mut dyn FnMut() -> Duration, work: &mut dyn FnMut(Kind) -> bool) -> Option<Reading> {
    let mut taken = [Vec::new(), Vec::new()];
    let begun = clock();
    let mut now = begun;
    while now - begun < TIME || taken[1].len() < FEWEST {
        for (kind, taken) in [Kind::Arithmetic, Kind::Memory].into_iter().zip(&mut taken) {
            if !work(kind) {
                return None;
            }
            let after = clock();
            taken.push(after.saturating_sub(now).as_nanos() as f64);
            now = after;
        }
    }
    let [arithmetic, memory] = taken.map(|taken| Pace::of(&taken));
    // Without optimisation the same work is other instructions.
    let build = if cfg!(debug_assertions) { " debug" } else { "" };
    Some(Reading { work: format!("units-1 {}{build}", std::env::consts::ARCH), arithmetic, memory })
}

impl Pace {
    fn of(taken: &[f64]) -> Pace {
        let middle = |values: &mut Vec<f64>| {
            values.sort_by(f64::total_cmp);
            values.get(values.len() / 2).copied().unwrap_or(0.0)
        };
        let median = middle(&mut taken.to_vec());
        let mad = middle(&mut taken.iter().map(|time| (time - median).abs()).collect());
        let scatter = if median > 0.0 { mad / NORMAL_MAD / median } else { 0.0 };
        Pace { unit_ns: median as u64, units: u32::try_from(taken.len()).unwrap_or(u32::MAX), scatter }
    }
}

impl Reading {
    /// What is slower or faster by now than it was at `before`, beyond what matters and what units scatter anyway.
    pub fn since(&self, before: &Reading) -> Vec<Drift> {
        if self.work != before.work {
            return Vec::new();
        }
        let kinds =
            [(Kind::Arithmetic, self.arithmetic, before.arithmetic), (Kind::Memory, self.memory, before.memory)];
        kinds
            .into_iter()
            .filter(|(_, now, before)| now.unit_ns > 0 && before.unit_ns > 0)
            .map(|(kind, now, before)| (kind, now, before, now.unit_ns as f64 / before.unit_ns as f64))
            .filter(|(_, now, before, times)| {
                let bears = (DEVIATIONS * now.scatter.max(before.scatter)).max(MATTERS);
                times.ln().abs() > bears.ln_1p()
            })
            .map(|(kind, _, _, times)| Drift { kind, change: times - 1.0 })
            .collect()
    }

    /// The reading among `others` that is most like this one decides: what differs even from it.
    pub fn beyond<'a>(&self, others: impl IntoIterator<Item = &'a Reading>) -> Vec<Drift> {
        let comparable = others.into_iter().filter(|other| other.work == self.work);
        let size = |drifts: &[Drift]| drifts.iter().map(|drift| drift.change.abs()).fold(0.0, f64::max);
        let found = comparable.map(|other| self.since(other));
        found.min_by(|a, b| size(a).total_cmp(&size(b))).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// Keys of comparisons are made of sessions, which hold this, before and after the store has had them.
    #[test]
    fn a_reading_is_the_same_after_it_was_written_and_read() {
        for n in 1..=20_000u32 {
            let pace = Pace { unit_ns: 1, units: 1, scatter: 1.0 / f64::from(n) };
            let text = serde_json::to_string(&pace).expect("it is written");
            let read: Pace = serde_json::from_str(&text).expect("it is read");
            assert_eq!(serde_json::to_string(&read).expect("it is written"), text);
        }
    }

    /// A machine whose units take so long; each third one of both kinds takes a half more.
    fn machine(arithmetic: u64, memory: u64) -> Reading {
        let (now, count) = (Cell::new(Duration::ZERO), Cell::new(0));
        take(&mut || now.get(), &mut |kind| {
            let micros = if kind == Kind::Arithmetic { arithmetic } else { memory };
            count.set(count.get() + 1);
            let disturbed = if count.get() % 6 < 2 { 3 } else { 2 };
            now.set(now.get() + Duration::from_micros(micros) * disturbed / 2);
            true
        })
        .unwrap()
    }

    #[test]
    fn who_is_asked_to_stop_does_at_the_next_unit() {
        assert_eq!(look(&AtomicBool::new(true)), None);
        let mut units = 0;
        let stopped = take(&mut || Duration::ZERO, &mut |_| {
            units += 1;
            units < 3
        });
        assert_eq!((stopped, units), (None, 3));
    }

    #[test]
    fn it_looks_for_two_seconds_and_is_not_misled_by_single_units() {
        let reading = machine(4_000, 6_000);
        assert_eq!((reading.arithmetic.unit_ns, reading.memory.unit_ns), (4_000_000, 6_000_000));
        // 10 ms together, and a half more each third time: 171 pairs of them.
        assert_eq!((reading.arithmetic.units, reading.memory.units), (172, 172));
        assert_eq!(machine(4_000, 6_000), reading, "the same clock, the same reading");
    }

    #[test]
    fn a_very_slow_machine_is_looked_at_until_there_is_something_to_see() {
        assert_eq!(machine(900_000, 900_000).memory.units, 5);
    }

    #[test]
    fn eight_percent_are_found_and_two_are_not() {
        let before = machine(4_000, 6_000);
        let drifts = machine(4_320, 6_000).since(&before);
        let [Drift { kind: Kind::Arithmetic, change }] = drifts[..] else { panic!("{drifts:?}") };
        assert!((change - 0.08).abs() < 0.001, "{change}");
        let drifts = machine(4_000, 5_000).since(&before);
        assert!(matches!(drifts[..], [Drift { kind: Kind::Memory, change }] if change < -0.15), "{drifts:?}");
        assert_eq!(machine(4_080, 6_100).since(&before), []);
    }

    #[test]
    fn what_scatters_by_itself_must_move_further() {
        let noisy = |unit_ns| Pace { unit_ns, units: 100, scatter: 0.04 };
        let of = |unit_ns| Reading { work: "w".to_owned(), arithmetic: noisy(unit_ns), memory: noisy(1_000) };
        assert_eq!(of(1_100).since(&of(1_000)), []);
        assert_eq!(of(1_150).since(&of(1_000)).len(), 1);
    }

    #[test]
    fn the_nearest_of_several_decides_and_other_work_never_does() {
        let (now, before) = (machine(4_000, 6_000), machine(4_800, 6_000));
        assert_eq!(now.beyond([&before, &machine(4_020, 6_000)]), []);
        assert_eq!(now.beyond([&before]).len(), 1);
        assert_eq!(now.beyond([]), []);
        assert_eq!(now.beyond([&Reading { work: "other".to_owned(), ..before }]), []);
    }

    #[test]
    fn units_do_the_same_work_each_time() {
        assert_eq!(arithmetic(1), arithmetic(1));
        assert_ne!(arithmetic(1), arithmetic(2));
        let table: Vec<u64> = (0..64).collect();
        assert_eq!(memory(&table), (0..64).step_by(8).sum::<u64>());
    }
}
