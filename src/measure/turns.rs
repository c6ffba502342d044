//! Whose block of samples comes next where several cells are measured in turn, and how large it is.
//!
//! Every round gives each cell that still wants samples one block. The order of a round is drawn at random, and the round
//! after it runs backwards: whatever changes steadily (heat, clocks, a neighbour) then falls on all cells alike, and no
//! cell is always the one after another. This module knows no engine, no clock and no process: it is told who is done.
//!
//! Sources: Kalibera and Jones, *Rigorous benchmarking in reasonable time* (2013), on why order biases; the mirrored
//! rounds are the ABBA design of experiments in blocks (Cox, *Planning of experiments*, 1958).

use std::time::Duration;

use super::stats::Random;
use crate::pipeline::Sampling;

/// A cell's samples are spread over about so many blocks.
const BLOCKS: u32 = 10;

/// Passes for about so long bring back what a rest has cost: caches, pages, clocks.
const SETTLING: Duration = Duration::from_millis(20);

/// The order of blocks.
#[derive(Debug, Clone)]
pub struct Turns {
    random: Random,
    arms: Vec<Arm>,
    /// Of the last round that was drawn, for the one that mirrors it.
    drawn: Vec<usize>,
    /// What is left of this round, the next one last.
    left: Vec<usize>,
    /// The round that is drawn next.
    rounds: u32,
    place: u32,
}

/// One cell among those that take turns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arm {
    /// Takes blocks until it has enough.
    Asked,
    /// Takes blocks while any other does: the baseline beside cells that were missing.
    Beside,
    Gone,
}

/// A block to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turn {
    pub arm: usize,
    /// Both count from 0.
    pub round: u32,
    pub place: u32,
}

impl Turns {
    /// Turns of these cells, in an order that the seed alone decides.
    pub fn new(arms: Vec<Arm>, seed: u64) -> Turns {
        Turns { random: Random::seeded(seed), arms, drawn: Vec::new(), left: Vec::new(), rounds: 0, place: 0 }
    }

    /// Takes a cell out: it has enough, or it failed.
    pub fn leave(&mut self, arm: usize) {
        self.arms[arm] = Arm::Gone;
    }

    /// The next block; `None` once nobody who was asked wants one.
    pub fn next_turn(&mut self) -> Option<Turn> {
        if !self.arms.contains(&Arm::Asked) {
            return None;
        }
        loop {
            if let Some(arm) = self.left.pop() {
                if self.arms[arm] == Arm::Gone {
                    continue;
                }
                self.place += 1;
                return Some(Turn { arm, round: self.rounds - 1, place: self.place - 1 });
            }
            if self.rounds.is_multiple_of(2) {
                self.drawn = (0..self.arms.len()).filter(|arm| self.arms[*arm] != Arm::Gone).collect();
                // Fisher and Yates's shuffle.
                for last in (1..self.drawn.len()).rev() {
                    let other = self.random.two_below(last + 1).0;
                    self.drawn.swap(last, other);
                }
                // Blocks are taken from the end.
                self.left = self.drawn.iter().rev().copied().collect();
            } else {
                self.left = self.drawn.clone();
            }
            self.rounds += 1;
            self.place = 0;
        }
    }
}

/// How the samples of one cell are taken, by how long a pass takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// One sample in so many passes is kept: those of a fast model are spread over the time.
    pub every: u32,
    /// Passes after a rest that no sample is taken of.
    pub settling: u32,
    /// Samples of a block, where nothing bounds it.
    samples: u32,
}

impl Pace {
    /// `pass` is the middle of the warm-up's samples.
    pub fn new(sampling: &Sampling, pass: Duration) -> Pace {
        let spread = sampling.min_time / sampling.max_samples.max(1);
        let every = if pass.is_zero() { 1 } else { fits(spread, pass).max(1) };
        let each = pass.saturating_mul(every);
        let whole = sampling.min_time.max(each.saturating_mul(sampling.min_samples));
        let samples = if each.is_zero() { sampling.min_samples } else { fits(whole, each) } / BLOCKS;
        // What a rest costs is less than can be seen in a pass that is ten times as long as the settling.
        let settling = if pass.is_zero() || pass >= 10 * SETTLING { 0 } else { fits(SETTLING, pass).max(1) };
        Pace { every, settling, samples: samples.max(1) }
    }

    /// Samples of the next block: no more than are wanted, or than fit into the time that is left, but one.
    pub fn block(&self, wanted: u32, left: Duration, each: Duration) -> u32 {
        let room = if each.is_zero() { u32::MAX } else { fits(left, each) };
        self.samples.min(wanted).min(room).max(1)
    }
}

/// How many of length `each` fit into `whole`.
fn fits(whole: Duration, each: Duration) -> u32 {
    u32::try_from(whole.as_nanos() / each.as_nanos().max(1)).unwrap_or(u32::MAX)
}

#[cfg(test)]
#[path = "turns_tests.rs"]
mod tests;
