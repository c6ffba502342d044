//! Looking at the memory of a child and all that it started, from time to time.
//!
//! The largest process is known exactly when it ends; what all hold together is not counted by the system but for a
//! control group, which an ordinary user can't make. So it is looked at: first after 20 ms, then ever more rarely, the
//! more so the longer a look takes, down to twice a second. A peak between two looks is missed.

use std::time::{Duration, Instant};

use super::family;

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
    sums: bool,
    next: Option<Instant>,
    pause: Duration,
    most: Option<u64>,
}

impl Looks {
    /// For a child that has just been started. Its sum is only looked at if `sums`; a limit always is.
    pub fn new(limit: Option<u64>, sums: bool, since: Instant) -> Looks {
        let next = (sums || limit.is_some()).then(|| since + FIRST);
        Looks { limit, sums, next, pause: FIRST, most: None }
    }

    /// How long until the next look, where there is to be one.
    pub fn wait(&self, now: Instant) -> Option<Duration> {
        self.next.map(|next| next.saturating_duration_since(now))
    }

    /// Looks if it is time to; true where more is held than may be.
    pub fn look(&mut self, now: Instant) -> bool {
        if self.next.is_none_or(|next| now < next) {
            return false;
        }
        let mut over = false;
        if let Some(limit) = self.limit {
            over = family::private_memory() > limit;
        }
        if self.sums {
            self.most = self.most.max(family::memory());
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
