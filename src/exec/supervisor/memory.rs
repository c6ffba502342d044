//! Looking at a child and all that it started, from time to time: how much memory they hold, and how many they are.
//!
//! The largest process is known exactly when it ends; what all hold together is not counted by the system but for a
//! control group, which an ordinary user can't make. So it is looked at: first after 20 ms, then ever more rarely, the
//! more so the longer a look takes, down to twice a second. A peak between two looks is missed.
//!
//! A control group would bound the number of processes to the last one, where there is one that may be made; but to enter
//! one stops the caller for 7 to 15 ms (a grace period of the kernel), and a limit of the system (`RLIMIT_NPROC`) counts
//! all that a user runs, and binds no root. So what is many too many when it is looked at is ended: a signal to a group,
//! and the end of a namespace, reach also who is just being forked.

use std::time::{Duration, Instant};

use super::family;
use super::wire::Over;

const FIRST: Duration = Duration::from_millis(20);
/// The longest time between two looks.
const RARELY: Duration = Duration::from_millis(250);
/// The same where looks are dear.
const DEAR: Duration = Duration::from_millis(500);
/// The same where there is a limit to hold.
const LIMITED: Duration = Duration::from_millis(100);

/// When to look, and what was seen.
#[derive(Debug)]
pub struct Looks {
    limit: Option<u64>,
    processes: usize,
    sums: bool,
    next: Option<Instant>,
    pause: Duration,
    most: Option<u64>,
}

impl Looks {
    /// For a child that has just been started. Its sum is only looked at if `sums`; a limit always is.
    pub fn new(limit: Option<u64>, processes: u32, sums: bool, since: Instant) -> Looks {
        let next = (sums || limit.is_some()).then(|| since + FIRST);
        let processes = usize::try_from(processes).unwrap_or(usize::MAX);
        Looks { limit, processes, sums, next, pause: FIRST, most: None }
    }

    /// How long until the next look, where there is to be one.
    pub fn wait(&self, now: Instant) -> Option<Duration> {
        self.next.map(|next| next.saturating_duration_since(now))
    }

    /// Looks if it is time to; gives what there is more of than may be.
    pub fn look(&mut self, now: Instant) -> Option<Over> {
        if self.next.is_none_or(|next| now < next) {
            return None;
        }
        let mut over = None;
        if self.sums {
            match family::below(self.processes) {
                Some(family) => self.most = self.most.max(family::memory(&family)),
                None => over = Some(Over::Processes),
            }
        }
        if let (Some(limit), None) = (self.limit, over) {
            over = (family::private_memory() > limit).then_some(Over::Memory);
        }
        let longest = if self.limit.is_some() { LIMITED } else { RARELY };
        let dear = ((Instant::now() - now) * 100).min(DEAR);
        self.pause = (self.pause * 2).min(longest);
        self.next = Some(now + if self.limit.is_some() { self.pause } else { self.pause.max(dear) });
        over
    }

    /// The most that was seen.
    pub fn most(&self) -> Option<u64> {
        self.most
    }
}
