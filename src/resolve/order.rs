//! Slots into steps: in an order in which each comes after what it reads, equal ones merged, cycles told.

use std::collections::BTreeMap;

use pipe_cache::Digest;

use super::canonical;
use super::scope::Slot;
use crate::diag::Diagnostic;
use crate::pipeline::{Action, Class, Needs, Step, StepId};

/// The steps of sound slots. Steps of a cycle, and those that need one, are left out and reported.
pub fn order(slots: Vec<Slot<'_>>, mut actions: Vec<Option<Action>>, found: &mut Vec<Diagnostic>) -> Vec<Step> {
    let order = match topological(&slots) {
        Ok(order) => order,
        Err(way) => {
            found.push(cycle(&slots, &way));
            return Vec::new();
        }
    };
    let mut place: Vec<Option<StepId>> = vec![None; slots.len()];
    let mut steps: Vec<Step> = Vec::with_capacity(slots.len());
    let mut known: BTreeMap<Digest, usize> = BTreeMap::new();
    let mut slots: Vec<Option<Slot<'_>>> = slots.into_iter().map(Some).collect();
    for index in order {
        let (Some(mut action), Some(slot)) = (actions[index].take(), slots[index].take()) else {
            continue;
        };
        if slot.reads.iter().any(|(read, _)| place[*read].is_none()) {
            continue;
        }
        canonical::renumber(&mut action, &|id| place[id.0].unwrap_or(id));
        // A measurement is a row of a report, and a comparison a report of its own, so each keeps its own step.
        let own = slot.class == Class::Measure || matches!(action, Action::Compare(_));
        // The digest of the text stands for it: of 100,000 steps the texts alone would take 40 MB.
        let text = || canonical::text(slot.class, slot.export.as_deref(), &action);
        let key = (!own).then(|| Digest::of(text().as_bytes()));
        if let Some(same) = key.as_ref().and_then(|key| known.get(key)) {
            merge(&mut steps[*same], slot);
            place[index] = Some(StepId(*same));
            continue;
        }
        known.extend(key.map(|key| (key, steps.len())));
        place[index] = Some(StepId(steps.len()));
        steps.push(Step {
            name: slot.name,
            also: Vec::new(),
            group: slot.group,
            cell: slot.cell.map(|cell| (*cell).clone()),
            recipe: slot.recipe,
            about: slot.about,
            origin: super::scope::origin(slot.at),
            class: slot.class,
            action,
            needs: slot.needs,
            limits: slot.limits,
            export: slot.export,
        });
    }
    steps
}

fn merge(step: &mut Step, slot: Slot<'_>) {
    if step.cell.as_ref() != slot.cell.as_deref() {
        step.cell = None;
    }
    step.needs = Needs {
        cpu: step.needs.cpu.max(slot.needs.cpu),
        memory: step.needs.memory.max(slot.needs.memory),
        download: step.needs.download.max(slot.needs.download),
        disk: step.needs.disk.max(slot.needs.disk),
        gpu: step.needs.gpu.max(slot.needs.gpu),
        os: step.needs.os.take().or(slot.needs.os),
        arch: step.needs.arch.take().or(slot.needs.arch),
    };
    step.limits.timeout = step.limits.timeout.max(slot.limits.timeout);
    step.limits.retries = step.limits.retries.max(slot.limits.retries);
    step.about = step.about.take().or(slot.about);
    if step.name != slot.name && !step.also.contains(&slot.name) {
        step.also.push(slot.name);
    }
}

/// Slots by what they read, first things first; a way around a circle where there is one.
fn topological(slots: &[Slot<'_>]) -> Result<Vec<usize>, Vec<usize>> {
    #[derive(Clone, Copy, PartialEq)]
    enum Mark {
        New,
        Open,
        Done,
    }
    let mut marks = vec![Mark::New; slots.len()];
    let mut order = Vec::with_capacity(slots.len());
    for root in 0..slots.len() {
        // The slot, and how many of its reads have been followed. No recursion: chains may be long.
        let mut stack: Vec<(usize, usize)> = Vec::new();
        if marks[root] == Mark::New {
            marks[root] = Mark::Open;
            stack.push((root, 0));
        }
        while let Some((slot, next)) = stack.last_mut() {
            let Some((read, _)) = slots[*slot].reads.get(*next) else {
                marks[*slot] = Mark::Done;
                order.push(*slot);
                stack.pop();
                continue;
            };
            *next += 1;
            match marks[*read] {
                Mark::Done => {}
                Mark::New => {
                    marks[*read] = Mark::Open;
                    stack.push((*read, 0));
                }
                Mark::Open => {
                    let from = stack.iter().position(|(open, _)| open == read).unwrap_or(0);
                    return Err(stack[from..].iter().map(|(open, _)| *open).collect());
                }
            }
        }
    }
    Ok(order)
}

/// The whole circle, with the place of each step of it.
fn cycle(slots: &[Slot<'_>], way: &[usize]) -> Diagnostic {
    let names: Vec<String> = way.iter().chain(way.first()).map(|slot| format!("`{}`", slots[*slot].name)).collect();
    let mut fault =
        Diagnostic::error("pipe::step-cycle", format!("steps need each other in a circle: {}", names.join(" → ")));
    for (i, slot) in way.iter().enumerate() {
        let next = way[(i + 1) % way.len()];
        let read = slots[*slot].reads.iter().find(|(read, _)| *read == next);
        if let Some((_, at)) = read {
            fault = fault.at(*at, format!("`{}` needs `{}`", slots[*slot].name, slots[next].name));
        }
    }
    fault.help("a step can only need steps that do not need it: take one of these away")
}
