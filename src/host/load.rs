//! What else the machine did while something was measured.
//!
//! [`Watch`] reads counters of the kernel and starts no process. What a
//! system does not count is never seen: that nothing was seen is no proof of silence. What a disturbance means for a
//! figure is not known here.

use std::path::Path;
use std::time::{Duration, Instant};

use super::probe::{System, Throttling};

/// Something else that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disturbance {
    pub kind: DisturbanceKind,
    /// What was seen, in words with its figures.
    pub seen: String,
}

/// The kinds of disturbance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DisturbanceKind {
    /// Other processes, or other machines of the same host, had processors.
    ForeignLoad,
    /// The control group was throttled.
    CgroupThrottled,
    /// Pages went to or came from swap.
    Swap,
}

/// Ticks of `/proc/stat` in a second: the same on every architecture that we run on, whatever the kernel's own.
const TICKS_PER_SECOND: u64 = 100;

/// Foreign work below this many processors is what an idle system does.
const QUIET: f64 = 0.10;

/// The counters without their time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Counters {
    /// Ticks that the processors worked, for whomever.
    busy: u64,
    /// Ticks that the machine below took away.
    stolen: u64,
    swapped_in: u64,
    swapped_out: u64,
    throttling: Throttling,
}

/// Looks at the machine while something is measured, and away between.
#[derive(Debug, Clone, Default)]
pub struct Watch {
    since: Option<(Instant, Counters)>,
    wall: Duration,
    seen: Counters,
}

impl Watch {
    /// Begins to look.
    pub fn on(&mut self) {
        self.since = Some((Instant::now(), Counters::read(&System::at(Path::new("/")))));
    }

    /// Looks away.
    pub fn off(&mut self) {
        let Some((begun, before)) = self.since.take() else { return };
        self.wall += begun.elapsed();
        self.seen.add(&before, &Counters::read(&System::at(Path::new("/"))));
    }

    /// How long it has looked.
    pub fn wall(&self) -> Duration {
        self.wall
    }

    /// What happened meanwhile, of which `own` processor time was what was measured, as whatever the caller keeps of it.
    pub fn disturbances<T: From<Disturbance>>(&self, own: Duration) -> Vec<T> {
        Counters::default().until(&self.seen, self.wall, own).into_iter().map(T::from).collect()
    }
}

impl Counters {
    fn read(system: &System) -> Counters {
        let mut counters = Counters::parse(
            &system.text("proc/stat").unwrap_or_default(),
            &system.text("proc/vmstat").unwrap_or_default(),
        );
        counters.throttling = Throttling::now(system);
        counters
    }

    /// The first line of `/proc/stat` is user, nice, system, idle, iowait, irq, softirq, steal; guests are part of
    /// user.
    fn parse(stat: &str, vmstat: &str) -> Counters {
        let line = stat.lines().find_map(|line| line.strip_prefix("cpu ")).unwrap_or("");
        let ticks: Vec<u64> = line.split_whitespace().map(|field| field.parse().unwrap_or(0)).collect();
        let tick = |at: usize| ticks.get(at).copied().unwrap_or(0);
        let value =
            |key: &str| vmstat.lines().find_map(|line| line.strip_prefix(key)?.trim().parse::<u64>().ok()).unwrap_or(0);
        Counters {
            busy: [0, 1, 2, 5, 6].into_iter().map(tick).sum(),
            stolen: tick(7),
            swapped_in: value("pswpin "),
            swapped_out: value("pswpout "),
            throttling: Throttling::default(),
        }
    }

    /// Adds what was counted from `before` to `after`.
    fn add(&mut self, before: &Counters, after: &Counters) {
        self.busy += after.busy.saturating_sub(before.busy);
        self.stolen += after.stolen.saturating_sub(before.stolen);
        self.swapped_in += after.swapped_in.saturating_sub(before.swapped_in);
        self.swapped_out += after.swapped_out.saturating_sub(before.swapped_out);
        self.throttling.times += after.throttling.times.saturating_sub(before.throttling.times);
        self.throttling.micros += after.throttling.micros.saturating_sub(before.throttling.micros);
    }

    fn until(&self, after: &Counters, wall: Duration, own: Duration) -> Vec<Disturbance> {
        let mut found = Vec::new();
        let mut note = |kind, seen| found.push(Disturbance { kind, seen });
        let seconds = |ticks: u64| ticks as f64 / TICKS_PER_SECOND as f64;
        let share = |cpu_seconds: f64| if wall.is_zero() { 0.0 } else { cpu_seconds / wall.as_secs_f64() };

        let foreign = share(seconds(after.busy.saturating_sub(self.busy)) - own.as_secs_f64());
        if foreign > QUIET {
            note(DisturbanceKind::ForeignLoad, format!("other processes used {foreign:.2} processors on average"));
        }
        let stolen = share(seconds(after.stolen.saturating_sub(self.stolen)));
        if stolen > QUIET {
            note(
                DisturbanceKind::ForeignLoad,
                format!("the host of this machine took {stolen:.2} processors away on average"),
            );
        }
        let throttled = after.throttling.times.saturating_sub(self.throttling.times);
        if throttled > 0 {
            let millis = after.throttling.micros.saturating_sub(self.throttling.micros) / 1000;
            note(
                DisturbanceKind::CgroupThrottled,
                format!("the control group throttled this process {throttled} times, {millis} ms in all"),
            );
        }
        let pages_in = after.swapped_in.saturating_sub(self.swapped_in);
        let pages_out = after.swapped_out.saturating_sub(self.swapped_out);
        if pages_in + pages_out > 0 {
            note(DisturbanceKind::Swap, format!("{pages_in} pages came from swap and {pages_out} went there"));
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn kinds(before: Counters, after: Counters, own: Duration) -> Vec<DisturbanceKind> {
        before.until(&after, SECOND, own).into_iter().map(|one| one.kind).collect()
    }

    #[test]
    fn the_first_line_of_stat_is_split_into_work_and_theft() {
        let stat = "cpu  10 2 3 1000 50 4 5 6 7 8\ncpu0 1 1 1 1 1 1 1 1 0 0\n";
        let counters = Counters::parse(stat, "pgpgin 7\npswpin 11\npswpout 12\n");
        assert_eq!((counters.busy, counters.stolen), (24, 6));
        assert_eq!((counters.swapped_in, counters.swapped_out), (11, 12));
    }

    #[test]
    fn own_work_is_no_load_and_foreign_work_is() {
        let after = Counters { busy: 200, ..Counters::default() };
        assert_eq!(kinds(Counters::default(), after, 2 * SECOND), []);
        assert_eq!(kinds(Counters::default(), after, SECOND), [DisturbanceKind::ForeignLoad]);
    }

    #[test]
    fn throttling_swap_and_theft_are_seen() {
        let throttling = Throttling { times: 3, micros: 5_000 };
        let after = Counters { stolen: 20, swapped_out: 1, throttling, ..Counters::default() };
        let expected = [DisturbanceKind::ForeignLoad, DisturbanceKind::CgroupThrottled, DisturbanceKind::Swap];
        assert_eq!(kinds(Counters::default(), after, SECOND), expected);
    }

    #[test]
    fn counters_that_ran_backwards_and_no_time_at_all_disturb_nothing() {
        let before = Counters { busy: 500, swapped_in: 9, ..Counters::default() };
        assert!(before.until(&Counters::default(), Duration::ZERO, SECOND).is_empty());
    }

    #[test]
    fn several_looks_add_up_and_what_lies_between_does_not_count() {
        let mut seen = Counters::default();
        seen.add(
            &Counters { busy: 100, swapped_in: 5, ..Counters::default() },
            &Counters { busy: 150, swapped_in: 5, ..Counters::default() },
        );
        seen.add(
            &Counters { busy: 900, swapped_in: 9, ..Counters::default() },
            &Counters { busy: 950, swapped_in: 8, ..Counters::default() },
        );
        assert_eq!(seen, Counters { busy: 100, ..Counters::default() });
    }

    #[test]
    fn this_machine_can_be_watched() {
        let mut watch = Watch::default();
        watch.off();
        assert_eq!(watch.wall(), Duration::ZERO, "it never looked");
        watch.on();
        watch.off();
        assert!(watch.wall() > Duration::ZERO);
    }
}
