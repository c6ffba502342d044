//! Whether a cell has enough samples, and if not, how many more to take in the next block.
//!
//! The rule is count **and** time **and** the width of the median's 95 % interval, never longer than the
//! maximum time and never more than the maximum count, which also ends the wait for the time. Time is the time inside samples, so that waiting for another cell's block does not count.

use std::time::Duration;

use pipe_engine::message::Sample;

use super::blocks::Blocks;
use super::stats;
use super::summary::time_per_token;
use crate::pipeline::Sampling;

/// The answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Enough {
    Yes,
    /// Take so many more (at least 1), and ask again.
    More(u32),
    /// The maximum of time or of samples came before the rest was reached: a `few-samples` caution.
    LimitReached,
}

/// Judges all samples that a cell has so far, those of earlier sessions included, by the blocks in which they were taken.
pub fn enough(blocks: &[&[Sample]], sampling: &Sampling) -> Enough {
    let count = blocks.iter().map(|block| block.len()).sum::<usize>() as u32;
    let spent: Duration = blocks.iter().copied().flatten().map(time).sum();
    let Some(mean) = spent.checked_div(count).filter(|mean| !mean.is_zero()) else {
        return match count {
            0 => Enough::More(sampling.min_samples.max(1)),
            // An engine that takes no time at all never fills a duration; its count must do.
            _ if count >= sampling.min_samples => Enough::Yes,
            _ => Enough::More(sampling.min_samples - count),
        };
    };

    let for_count = sampling.min_samples.saturating_sub(count);
    let left = sampling.max_samples.max(sampling.min_samples).saturating_sub(count);
    let for_time = fits(sampling.min_time.saturating_sub(spent), mean, f64::ceil).min(left);
    let for_width = missing_for_width(blocks, sampling.target);
    let missing = for_count.max(for_time).max(for_width);
    if missing == 0 {
        return Enough::Yes;
    }
    match fits(sampling.max_time.saturating_sub(spent), mean, f64::floor).min(left) {
        0 => Enough::LimitReached,
        room => Enough::More(missing.min(room)),
    }
}

/// The time inside one sample.
fn time(sample: &Sample) -> Duration {
    Duration::from_nanos(sample.prefill_ns.saturating_add(sample.decode_ns.iter().sum()))
}

/// How many samples of `mean` fit into `rest`.
fn fits(rest: Duration, mean: Duration, round: fn(f64) -> f64) -> u32 {
    round(rest.as_secs_f64() / mean.as_secs_f64()) as u32
}

/// How many more samples the target interval needs: its width falls with the root of their number. At most
/// as many as there are, since the estimate itself is rough; none where every value is already inside.
fn missing_for_width(blocks: &[&[Sample]], target: f64) -> u32 {
    let of = |value: &dyn Fn(&Sample) -> Option<f64>| {
        let mut taken = Blocks::default();
        blocks.iter().for_each(|block| taken.push(block.iter().filter_map(value)));
        taken
    };
    let per_token = of(&time_per_token);
    let taken = if per_token.count() == 0 { of(&|sample| Some(sample.prefill_ns as f64)) } else { per_token };
    let count = taken.values().len() as u32;
    let need = stats::needed_for_median(0.95);
    if count < need {
        return need - count;
    }
    // One block alone does not tell how far another one lies from it.
    if taken.count() < 2 {
        return 1;
    }
    let (Some(interval), Some(middle)) = (taken.median_interval(0.95), stats::median(taken.values())) else {
        return 0;
    };
    let width = interval.relative_half_width(middle);
    if width <= target || target <= 0.0 {
        return 0;
    }
    let needed = f64::from(count) * (width / target) * (width / target);
    ((needed - f64::from(count)).ceil().min(f64::from(count)) as u32).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Samples that were taken one by one.
    fn enough(samples: &[Sample], sampling: &Sampling) -> Enough {
        super::enough(&samples.chunks(1).collect::<Vec<_>>(), sampling)
    }

    const MS: u64 = 1_000_000;

    fn sampling() -> Sampling {
        let (min_time, max_time) = (Duration::from_secs(1), Duration::from_secs(10));
        Sampling { min_samples: 10, min_time, target: 0.02, max_time, max_samples: 200 }
    }

    fn samples(count: u32, noise: f64) -> Vec<Sample> {
        let mut random = stats::Random::seeded(3);
        (0..count)
            .map(|i| {
                let token = (10.0 * MS as f64 * (1.0 + noise * random.normal())) as u64;
                Sample { at_ns: u64::from(i) * 100 * MS, prefill_ns: 20 * MS, decode_ns: vec![token; 8] }
            })
            .collect()
    }

    #[test]
    fn asks_for_the_minimum_first() {
        assert_eq!(enough(&[], &sampling()), Enough::More(10));
        assert_eq!(enough(&samples(4, 0.001), &sampling()), Enough::More(6));
    }

    #[test]
    fn is_enough_where_count_time_and_width_hold() {
        assert_eq!(enough(&samples(10, 0.001), &sampling()), Enough::Yes);
    }

    #[test]
    fn goes_on_until_the_time_is_reached() {
        let longer = Sampling { min_time: Duration::from_secs(3), ..sampling() };
        assert_eq!(enough(&samples(20, 0.001), &longer), Enough::More(10));
    }

    #[test]
    fn goes_on_until_the_interval_is_narrow_and_at_most_doubles() {
        let Enough::More(more) = enough(&samples(12, 0.2), &sampling()) else { panic!("must go on") };
        assert!((1..=12).contains(&more), "{more}");
    }

    #[test]
    fn blocks_that_differ_ask_for_more_than_their_samples_by_themselves() {
        let mut samples = samples(20, 0.001);
        for (at, sample) in samples.iter_mut().enumerate() {
            let of_block = if at / 4 % 2 == 0 { 1.0 } else { 1.1 };
            sample.decode_ns.iter_mut().for_each(|time| *time = (*time as f64 * of_block) as u64);
        }
        let target = Sampling { target: 0.06, ..sampling() };
        assert_eq!(enough(&samples, &target), Enough::Yes);
        let blocks: Vec<&[Sample]> = samples.chunks(4).collect();
        assert!(matches!(super::enough(&blocks, &target), Enough::More(_)));
    }

    #[test]
    fn ends_when_the_time_is_up() {
        let short = Sampling { max_time: Duration::from_millis(1210), ..sampling() };
        assert_eq!(enough(&samples(12, 0.3), &short), Enough::LimitReached);
        assert_eq!(enough(&samples(12, 0.001), &short), Enough::Yes, "what is reached is reached");
    }

    #[test]
    fn a_small_model_stops_at_the_most_samples() {
        let small = |noise| {
            let mut samples = samples(200, noise);
            samples
                .iter_mut()
                .for_each(|sample| (sample.prefill_ns, sample.decode_ns) = (sample.decode_ns[0] / 100, vec![]));
            samples
        };
        assert_eq!(enough(&small(0.001)[..20], &sampling()), Enough::More(180), "the time asks for thousands");
        assert_eq!(enough(&small(0.001), &sampling()), Enough::Yes, "the time is not waited for");
        assert_eq!(enough(&small(0.9), &sampling()), Enough::LimitReached);
    }

    #[test]
    fn an_engine_without_time_does_not_loop_for_ever() {
        let still = vec![Sample { at_ns: 0, prefill_ns: 0, decode_ns: vec![0] }; 10];
        assert_eq!(enough(&still, &sampling()), Enough::Yes);
        assert_eq!(enough(&still[..3], &sampling()), Enough::More(7));
    }
}
