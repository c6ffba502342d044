//! How long what a plan would run takes, by what the same steps took before.
//!
//! A step without a past has no figure, and is counted instead. The time of all together is that of a simulated run:
//! builds side by side as far as the processors go, measurements alone.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use pipe_cache::Digest;

use super::known::worked;
use crate::exec::lookup;
use crate::exec::outcome::{Standing, Why};
use crate::exec::site::Site;
use crate::exec::survey::{Look, Survey};
use crate::pipeline::{Action, Class, StepId};

/// What lies ahead, in time.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Forecast {
    /// The steps that may run and took time before.
    pub took: BTreeMap<StepId, Duration>,
    /// The steps that may run and have no past.
    pub unknown: usize,
    /// All of them after each other.
    pub work: Duration,
    /// From start to end, on this machine's processors.
    pub wall: Duration,
    /// The chain of steps that takes longest.
    pub chain: Vec<StepId>,
}

/// Looks up what the steps that may run took before.
pub fn forecast(site: &Site, survey: &Survey) -> Forecast {
    let mut forecast = Forecast::default();
    let may_run: Vec<StepId> = site.plan.order().iter().copied().filter(|id| may_run(&survey.standings[id])).collect();
    for &id in &may_run {
        match before(site, survey, id) {
            Some(took) => drop(forecast.took.insert(id, took)),
            None => forecast.unknown += 1,
        }
    }
    forecast.work = forecast.took.values().sum();
    let places: BTreeMap<StepId, usize> = may_run.iter().enumerate().map(|(at, id)| (*id, at)).collect();
    let tasks: Vec<Task> = may_run
        .iter()
        .map(|id| Task {
            after: site.plan.reads(*id).iter().filter_map(|read| places.get(read).copied()).collect(),
            took: forecast.took.get(id).copied().unwrap_or_default(),
            slots: site.step(*id).needs.cpu.clamp(1, site.slots),
            alone: site.step(*id).class == Class::Measure,
        })
        .collect();
    forecast.wall = simulate(&tasks, site.slots);
    forecast.chain = longest(&tasks).into_iter().map(|at| may_run[at]).collect();
    forecast
}

/// True for a step that a run may start.
pub fn may_run(standing: &Standing) -> bool {
    matches!(standing, Standing::Runs(_) | Standing::Depends(_))
}

/// What a step took before: the run that it is compared with, else its result under the same key, else its last run.
fn before(site: &Site, survey: &Survey, id: StepId) -> Option<Duration> {
    let step = site.step(id);
    let against = match &survey.standings[&id] {
        Standing::Runs(Why::Changed { against, .. }) => Some(*against),
        _ => None,
    };
    let same = match &survey.looks[&id] {
        Look::Known { key, .. } => Some(*key),
        _ => None,
    };
    let last = lookup::last_keys(site).ok().and_then(|keys| keys.get(&step.name).copied());
    [against, same, last].into_iter().flatten().find_map(|key| took(site, id, &key))
}

fn took(site: &Site, id: StepId, key: &Digest) -> Option<Duration> {
    if let Action::Measure(measure) = &site.step(id).action {
        let sessions = lookup::sessions(site, measure, key).ok()?;
        // A session each time; several of them say what one takes.
        let count = u32::try_from(sessions.len()).ok().filter(|count| *count > 0)?;
        return Some(sessions.iter().map(worked).sum::<Duration>() / count);
    }
    let record = lookup::step_record(site, key).ok()??;
    Some(Duration::from_nanos(record.usage.wall_ns))
}

/// One step of the simulated run.
struct Task {
    /// The tasks that come before, by their place; each comes earlier in the list.
    after: Vec<usize>,
    took: Duration,
    slots: u32,
    /// It runs only when nothing else does.
    alone: bool,
}

/// When the last task ends: what is ready starts in the order of the list, as far as there is room.
fn simulate(tasks: &[Task], slots: u32) -> Duration {
    let mut open: Vec<usize> = tasks.iter().map(|task| task.after.len()).collect();
    let mut readers: Vec<Vec<usize>> = vec![Vec::new(); tasks.len()];
    for (at, task) in tasks.iter().enumerate() {
        task.after.iter().for_each(|before| readers[*before].push(at));
    }
    let mut ready: BTreeSet<usize> = (0..tasks.len()).filter(|at| open[*at] == 0).collect();
    // By the time of their end.
    let mut running: BTreeSet<(Duration, usize)> = BTreeSet::new();
    let (mut now, mut free) = (Duration::ZERO, slots);
    loop {
        let builds: Vec<usize> = ready.iter().copied().filter(|at| !tasks[*at].alone).collect();
        for at in builds {
            if free == 0 {
                break;
            }
            if tasks[at].slots <= free {
                free -= tasks[at].slots;
                ready.remove(&at);
                running.insert((now + tasks[at].took, at));
            }
        }
        // Only a measurement is left, and it ends before anything else starts.
        if running.is_empty()
            && let Some(at) = ready.pop_first()
        {
            free -= tasks[at].slots;
            running.insert((now + tasks[at].took, at));
        }
        let Some((end, at)) = running.pop_first() else { return now };
        now = end;
        free += tasks[at].slots;
        for &reader in &readers[at] {
            open[reader] -= 1;
            if open[reader] == 0 {
                ready.insert(reader);
            }
        }
    }
}

/// The chain of tasks that takes longest.
fn longest(tasks: &[Task]) -> Vec<usize> {
    let mut ends: Vec<(Duration, Option<usize>)> = Vec::with_capacity(tasks.len());
    for task in tasks {
        let before = task.after.iter().copied().max_by_key(|before| ends[*before].0);
        ends.push((task.took + before.map_or(Duration::ZERO, |before| ends[before].0), before));
    }
    let mut at = (0..tasks.len()).max_by_key(|at| ends[*at].0).filter(|at| !ends[*at].0.is_zero());
    let mut chain = Vec::new();
    while let Some(task) = at {
        chain.push(task);
        at = ends[task].1;
    }
    chain.reverse();
    chain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(after: &[usize], seconds: u64, slots: u32, alone: bool) -> Task {
        Task { after: after.to_vec(), took: Duration::from_secs(seconds), slots, alone }
    }

    #[test]
    fn builds_run_side_by_side_as_far_as_there_is_room() {
        let wide = [task(&[], 4, 1, false), task(&[], 4, 1, false), task(&[], 4, 1, false), task(&[], 4, 1, false)];
        assert_eq!(simulate(&wide, 1).as_secs(), 16);
        assert_eq!(simulate(&wide, 2).as_secs(), 8);
        assert_eq!(simulate(&wide, 9).as_secs(), 4);
        let large = [task(&[], 4, 2, false), task(&[], 1, 1, false), task(&[], 1, 1, false)];
        assert_eq!(simulate(&large, 2).as_secs(), 5);
        assert_eq!(simulate(&[], 2), Duration::ZERO);
    }

    #[test]
    fn what_reads_waits_and_the_longest_chain_is_told() {
        let chain =
            [task(&[], 1, 1, false), task(&[], 5, 1, false), task(&[0], 1, 1, false), task(&[2, 1], 2, 1, false)];
        assert_eq!(simulate(&chain, 4).as_secs(), 7);
        assert_eq!(longest(&chain), [1, 3]);
        assert_eq!(longest(&[task(&[], 0, 1, false)]), [0usize; 0]);
    }

    #[test]
    fn a_measurement_runs_alone_and_after_the_builds_that_are_ready() {
        let tasks = [task(&[], 3, 1, true), task(&[], 2, 1, false), task(&[], 2, 1, false), task(&[], 4, 1, true)];
        assert_eq!(simulate(&tasks, 2).as_secs(), 2 + 3 + 4);
    }
}
