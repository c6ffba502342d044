//! Values in the blocks in which they were taken, and medians of resamples of whole blocks.
//!
//! What disturbs a machine for a while disturbs all samples of a block: they resemble each other more than those of
//! another block, and resampled one by one they would promise a narrower interval than a repeat keeps. So the unit that is
//! resampled is the block. Where each block holds one sample, both are the same. This module knows numbers only; how a
//! session is parted into blocks is the record's to say.
//!
//! Sources: Davison and Hinkley, *Bootstrap methods and their application* (1997), 3.8 on resampling whole groups;
//! Hesterberg, *What teachers should know about the bootstrap* (2015), on Student's t where there are few of them;
//! Bahadur, *A note on quantiles in large samples* (1966), for the place of the median of a resample.

use statrs::distribution::{ContinuousCDF, Normal, StudentsT};

use super::stats::{self, Interval, Random};

/// More values than this are not walked through for each resample.
const WALKED: usize = 500;

/// Values with the lengths of their blocks, in the order in which they were taken.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Blocks {
    values: Vec<f64>,
    lengths: Vec<usize>,
}

impl Blocks {
    /// Values that were taken each by itself.
    pub fn single(values: Vec<f64>) -> Blocks {
        let lengths = vec![1; values.len()];
        Blocks { values, lengths }
    }

    /// Adds a block; one without values is none.
    pub fn push(&mut self, block: impl IntoIterator<Item = f64>) {
        let before = self.values.len();
        self.values.extend(block);
        if self.values.len() > before {
            self.lengths.push(self.values.len() - before);
        }
    }

    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// How many blocks there are: what an interval's width follows from.
    pub fn count(&self) -> usize {
        self.lengths.len()
    }

    /// True where some block holds several values, so that they can't be taken one by one.
    pub fn is_grouped(&self) -> bool {
        self.lengths.iter().any(|length| *length > 1)
    }

    /// What Student's t gives beyond the normal distribution where blocks are few, and what the spread of resamples
    /// lacks of that of repeats: the factor of a two-sided interval's half-width. 1 where the values stand alone, whose
    /// resampled medians follow their order statistics.
    fn widening(&self, confidence: f64) -> f64 {
        let count = self.count() as f64;
        if !self.is_grouped() || count < 2.0 {
            return 1.0;
        }
        let level = 1.0 - (1.0 - confidence) / 2.0;
        let student = StudentsT::new(0.0, 1.0, count - 1.0).map_or(f64::INFINITY, |student| student.inverse_cdf(level));
        self.inflation() * student / Normal::standard().inverse_cdf(level)
    }

    /// By how much the spread of resamples falls short: k blocks drawn from k have (k − 1)/k of the variance.
    pub fn inflation(&self) -> f64 {
        let count = self.count() as f64;
        if self.is_grouped() && count > 1.0 { (count / (count - 1.0)).sqrt() } else { 1.0 }
    }

    /// Medians of resamples of whole blocks, in the order in which they were drawn.
    pub fn resampled_medians(&self, rounds: usize, random: &mut Random) -> Vec<f64> {
        if !self.is_grouped() {
            return stats::resampled_medians(&stats::sorted(&self.values), rounds, random);
        }
        let ranked = self.ranked();
        let draw = |counts: &mut [u32], random: &mut Random| {
            counts.fill(0);
            (0..counts.len()).for_each(|_| counts[random.two_below(counts.len()).0] += 1);
            counts.iter().zip(&self.lengths).map(|(count, length)| *count as usize * length).sum::<usize>()
        };
        let mut counts = vec![0u32; self.count()];
        if self.values.len() > WALKED {
            let (sorted, excess) = (stats::sorted(&self.values), self.excess(&ranked));
            return (0..rounds)
                .map(|_| {
                    let total = draw(&mut counts, random) as f64;
                    let below: f64 = counts.iter().zip(&excess).map(|(count, excess)| f64::from(*count) * excess).sum();
                    stats::quantile_of_sorted(&sorted, 0.5 - below / total)
                })
                .collect();
        }
        (0..rounds)
            .map(|_| {
                let total = draw(&mut counts, random);
                middle(&ranked, &counts, total)
            })
            .collect()
    }

    /// Values in ascending order, each with its block.
    fn ranked(&self) -> Vec<(f64, usize)> {
        let blocks = self.lengths.iter().enumerate().flat_map(|(block, length)| std::iter::repeat_n(block, *length));
        let mut ranked: Vec<(f64, usize)> = self.values.iter().copied().zip(blocks).collect();
        ranked.sort_by(|a, b| a.0.total_cmp(&b.0));
        ranked
    }

    /// For each block, how many of its values lie below the median of all, beyond its half; ties count half.
    fn excess(&self, ranked: &[(f64, usize)]) -> Vec<f64> {
        let median = stats::median(&self.values).unwrap_or(f64::NAN);
        let mut excess: Vec<f64> = self.lengths.iter().map(|length| -(*length as f64) / 2.0).collect();
        for (value, block) in ranked {
            excess[*block] += if *value < median {
                1.0
            } else if *value == median {
                0.5
            } else {
                0.0
            };
        }
        excess
    }

    /// The median's bias-corrected and accelerated (BCa) bootstrap interval; `None` of fewer values than
    /// [`stats::needed_for_median`], or of one block.
    pub fn median_interval(&self, confidence: f64) -> Option<Interval> {
        if !self.is_grouped() {
            return stats::median_interval(&self.values, confidence);
        }
        let need = stats::needed_for_median(confidence) as usize;
        if self.values.len() < need || self.count() < 2 {
            return None;
        }
        let estimate = stats::median(&self.values)?;
        let mut medians =
            self.resampled_medians(stats::rounds(self.values.len()), &mut Random::from_data(&self.values));
        medians.sort_by(f64::total_cmp);
        let bca = stats::bca(&medians, estimate, stats::acceleration_of(&self.medians_without_each()), confidence);
        let wide = self.widening(confidence);
        // Times are positive, and stay so.
        let end = |end: f64| {
            if bca.low > 0.0 { estimate * (end / estimate).powf(wide) } else { estimate + wide * (end - estimate) }
        };
        Some(Interval { low: end(bca.low), high: end(bca.high) })
    }

    /// The median without the first block, without the second, and so on.
    fn medians_without_each(&self) -> Vec<f64> {
        let ranked = self.ranked();
        (0..self.count())
            .map(|left_out| {
                let counts: Vec<u32> = (0..self.count()).map(|block| u32::from(block != left_out)).collect();
                middle(&ranked, &counts, self.values.len() - self.lengths[left_out])
            })
            .collect()
    }
}

/// The median of `total` values, of which each block's are there as often as it counts.
fn middle(ranked: &[(f64, usize)], counts: &[u32], total: usize) -> f64 {
    let (lower, upper) = ((total.max(1) - 1) / 2, total / 2);
    let (mut seen, mut low) = (0, None);
    for (value, block) in ranked {
        seen += counts[*block] as usize;
        if low.is_none() && seen > lower {
            low = Some(*value);
        }
        if seen > upper {
            return f64::midpoint(low.unwrap_or(*value), *value);
        }
    }
    f64::NAN
}

#[cfg(test)]
#[path = "blocks_tests.rs"]
mod tests;
