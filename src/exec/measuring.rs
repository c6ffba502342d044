//! Measuring: cells that are compared take turns, each on a fresh engine of its own, and nothing else of ours runs.
//!
//! Approach:
//! - The engines are started and warmed up one after the other, each while the others rest: a cold start has no company.
//! - Then blocks of samples go round ([`turns`](crate::measure::turns)): the engine whose turn it is runs, and the
//!   others are stopped where they are, or wait where they can't be.
//! - A cell that has enough gives its outputs and its session is kept at once; one that fails ends alone.
//! - One that may be tried again is alone then, so that its neighbours are no cause.
//! - The samples of earlier sessions count: a tighter query measures only what is missing.
//! - Before it all the drift sentinel looks at the machine, once for several groups; before each block all rest until the
//!   machine is as it was before the first ([`watching`]).
//!
//! Which cells make a group, and how many memory holds, is [`grouping`](super::grouping)'s business.

mod arm;
mod asked;
mod lock;
mod watching;

use std::collections::VecDeque;
use std::time::Instant;

use futures_util::future::join_all;
use pipe_cache::Digest;

use self::arm::{Arm, of_store};
use self::watching::Watcher;
use super::lookup;
use super::outcome::{Failure, Outcome};
use super::place::Engine;
use super::process::Cancel;
use super::work::Job;
use crate::host::thermal;
use crate::measure::turns::Turns;
use crate::pipeline::{Measure, StepId};
use crate::record::Session;

/// A cell that is to be measured.
pub struct Member<'a> {
    pub job: Job<'a>,
    pub asked: &'a Measure,
    /// The sample set of a baseline that is measured again for the sake of the others.
    pub beside: Option<Vec<Session>>,
}

/// How a cell ended.
pub struct Ended {
    pub id: StepId,
    pub outcome: Outcome,
    /// How long it was at work, where that is known better than by its start and its end.
    pub seconds: Option<f64>,
}

/// Measures cells in turn, or finds that another process just did. Of a baseline that was there for the others nothing
/// is said where it gave no session.
pub async fn measure(members: Vec<Member<'_>>) -> Vec<Ended> {
    let Some(first) = members.first() else { return Vec::new() };
    let cancel = first.job.cancel.clone();
    let without = |outcome: Outcome| {
        let asked = members.iter().filter(|member| member.beside.is_none());
        asked.map(|member| Ended { id: member.job.id, outcome: outcome.clone(), seconds: None }).collect()
    };
    let _machine = match lock::alone_on_the_machine(&first.job).await {
        Ok(Some(lock)) => lock,
        Ok(None) => return without(Outcome::Cancelled),
        Err(error) => {
            let message = format!("the machine's measuring lock can't be taken: {error}");
            return without(Outcome::Failed(Failure { message, ..Failure::default() }));
        }
    };
    let (mut arms, mut ended) = (Vec::new(), Vec::new());
    for Member { job, asked, beside } in members {
        let id = job.id;
        match beside.map_or_else(|| missing(&job, asked), |sessions| Ok((sessions, true))) {
            Ok((earlier, beside)) => arms.push(Arm::new(job, asked, earlier, beside)),
            Err(outcome) => ended.push(Ended { id, outcome, seconds: None }),
        }
    }
    let Some(watcher) = arms.first().map(|arm| Watcher::of(arm.job())) else { return ended };
    let seen = watcher.before().await;
    arms.iter_mut().for_each(|arm| arm.sees(seen.clone()));
    let begun = Instant::now();
    let mut groups = VecDeque::from([arms]);
    while let Some(mut arms) = groups.pop_front() {
        take_turns(&mut arms, &cancel).await;
        for arm in arms {
            let (id, seconds) = (arm.job().id, Some(arm.seconds()));
            match arm.ended() {
                Ok(outcome) => ended.extend(outcome.map(|outcome| Ended { id, outcome, seconds })),
                Err(again) => groups.push_back(vec![*again]),
            }
        }
    }
    if !cancel.is_cancelled() {
        watcher.after(seen.as_ref(), begun).await;
    }
    ended
}

/// The sessions that count of a cell that needs more; `Err` where none are missing any more.
fn missing(job: &Job<'_>, asked: &Measure) -> Result<(Vec<Session>, bool), Outcome> {
    match lookup::find(job.site, job.id, &job.key) {
        Ok(Ok(product)) => return Err(Outcome::Cached(product)),
        Ok(Err(_)) => {}
        Err(error) => return Err(Outcome::Failed(of_store(&error))),
    }
    match lookup::sessions(job.site, asked, &job.key) {
        Ok(sessions) if !job.site.remeasure => Ok((sessions, false)),
        Ok(_) => Ok((Vec::new(), false)),
        Err(error) => Err(Outcome::Failed(of_store(&error))),
    }
}

/// Runs all of them to their ends, or stops them.
async fn take_turns(arms: &mut [Arm<'_>], cancel: &Cancel) {
    tokio::select! {
        () = go_round(arms) => {}
        () = cancel.cancelled() => {}
    }
    // Nothing runs any more but what was stopped in the middle of its work.
    join_all(arms.iter_mut().filter_map(Arm::take_engine).map(Engine::stop)).await;
}

async fn go_round(arms: &mut [Arm<'_>]) {
    let together = arms.len() > 1;
    for arm in arms.iter_mut() {
        arm.start(together).await;
        if together {
            arm.rest().await;
        }
    }
    let questions: Vec<Digest> = arms.iter().filter(|arm| arm.is_on()).map(|arm| arm.job().key).collect();
    let seed = seed(&questions);
    arms.iter_mut().for_each(|arm| arm.joins(seed, &questions));
    let mut turns = Turns::new(arms.iter().map(Arm::role).collect(), seed);
    let system = arms.first().map(|arm| arm.job().site.system.clone()).unwrap_or_default();
    let mut cooling = thermal::Cooling::from(thermal::Reading::now(&system));
    let first = cooling.as_ref().map(thermal::Cooling::first);
    arms.iter_mut().for_each(|arm| arm.begins_at(first));
    let begun = Instant::now();
    while let Some(turn) = turns.next_turn() {
        let arm = &mut arms[turn.arm];
        let rested = watching::rest(&mut cooling, arm.job()).await;
        if arm.block(turn, begun, rested).await {
            if together {
                arm.rest().await;
            }
        } else {
            turns.leave(turn.arm);
            arm.finish().await;
        }
    }
    // The baseline that stood beside.
    for arm in arms.iter_mut() {
        arm.finish().await;
    }
}

/// The order of the blocks follows from what is measured, so that a session can be repeated.
fn seed(questions: &[Digest]) -> u64 {
    let mut names: Vec<String> = questions.iter().map(Digest::to_string).collect();
    names.sort();
    let digest = Digest::derive("pipe 2026 turns v1", names.join(" ").as_bytes());
    digest.as_bytes().first_chunk().map_or(0, |first| u64::from_le_bytes(*first))
}
