//! Medians, their bootstrap intervals, and the corrections that a matrix of comparisons needs.
//!
//! Everything here is deterministic: the generator is seeded from the data itself, so the same samples give
//! the same interval on every machine. This module knows no metric and no unit.
//!
//! Sources: Efron, *Better bootstrap confidence intervals* (1987) for BCa; Holm, *A simple sequentially
//! rejective multiple test procedure* (1979); the order-statistic bound of a percentile follows from the
//! binomial distribution of the number of samples below it.

use statrs::distribution::{Binomial, ContinuousCDF, DiscreteCDF, Normal};

/// A two-sided interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    pub low: f64,
    pub high: f64,
}

impl Interval {
    /// True where `value` lies inside, ends included.
    pub fn contains(&self, value: f64) -> bool {
        self.low <= value && value <= self.high
    }

    /// Half the width, relative to `middle`.
    pub fn relative_half_width(&self, middle: f64) -> f64 {
        if middle == 0.0 { 0.0 } else { ((self.high - self.low) / 2.0 / middle).abs() }
    }
}

/// A small generator (SplitMix64), our own so that a library's update can't change a printed figure.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// A generator seeded with the bits of `values`.
    pub fn from_data(values: &[f64]) -> Random {
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        for value in values {
            random.0 ^= value.to_bits();
            random.0 = random.next();
        }
        random
    }

    /// A generator with a seed.
    pub fn seeded(seed: u64) -> Random {
        Random(seed)
    }

    /// The next 64 bits.
    #[expect(clippy::should_implement_trait, reason = "it never ends, so it is no iterator")]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Two numbers below `bound`, which is below 2³²; the bias of the multiplication is at most `bound` / 2³².
    pub fn two_below(&mut self, bound: usize) -> (usize, usize) {
        let bits = self.next();
        let scaled = |half: u64| ((half * bound as u64) >> 32) as usize;
        (scaled(bits >> 32), scaled(bits & 0xffff_ffff))
    }

    /// A number in `0.0..1.0`.
    pub fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A draw from the standard normal distribution.
    pub fn normal(&mut self) -> f64 {
        // Box and Muller's transform; the smallest unit keeps the logarithm finite.
        let radius = (-2.0 * self.unit().max(f64::MIN_POSITIVE).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }
}

/// A copy in ascending order.
pub fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

/// The median of values in ascending order; `None` of none.
pub fn median_of_sorted(sorted: &[f64]) -> Option<f64> {
    let n = sorted.len();
    if n == 0 {
        return None;
    }
    Some((sorted[(n - 1) / 2] + sorted[n / 2]) / 2.0)
}

/// The median.
pub fn median(values: &[f64]) -> Option<f64> {
    median_of_sorted(&sorted(values))
}

/// The median absolute deviation from the median, without a scale factor.
pub fn mad(values: &[f64]) -> Option<f64> {
    let middle = median(values)?;
    median(&values.iter().map(|value| (value - middle).abs()).collect::<Vec<_>>())
}

/// How many resamples to draw for an interval: 4,000, and fewer where each one is long, since an interval of
/// many samples is narrow anyway and a run that measures nothing shall be quick.
pub fn rounds(n: usize) -> usize {
    (1_000_000 / n.max(1)).clamp(1_000, 4_000)
}

/// Medians of resamples of `sorted`, in the order in which they were drawn.
///
/// A resample is held as a count for each of the sorted values, so that its median is found by walking and
/// nothing is sorted again. Of many values the place of the median is drawn instead: it follows a Beta
/// distribution, which is normal there (mean 1/2, variance 1/(4n)) to more digits than are ever printed.
pub fn resampled_medians(sorted: &[f64], rounds: usize, random: &mut Random) -> Vec<f64> {
    let n = sorted.len();
    if n > 2_000 {
        let spread = 0.5 / (n as f64).sqrt();
        return (0..rounds).map(|_| quantile_of_sorted(sorted, 0.5 + spread * random.normal())).collect();
    }
    let mut counts = vec![0u32; n];
    let (lower, upper) = ((n.max(1) - 1) / 2, n / 2);
    (0..rounds)
        .map(|_| {
            counts.fill(0);
            for _ in 0..n / 2 {
                let (one, other) = random.two_below(n);
                counts[one] += 1;
                counts[other] += 1;
            }
            if !n.is_multiple_of(2) {
                counts[random.two_below(n).0] += 1;
            }
            let (mut seen, mut at) = (0usize, 0usize);
            let mut low = None;
            loop {
                seen += counts[at] as usize;
                if low.is_none() && seen > lower {
                    low = Some(sorted[at]);
                }
                if seen > upper {
                    return (low.unwrap_or(sorted[at]) + sorted[at]) / 2.0;
                }
                at += 1;
            }
        })
        .collect()
}

/// The fewest samples for which any two samples can bound the median with `confidence`: 6 at 95 %, 8 at 99 %.
pub fn needed_for_median(confidence: f64) -> u32 {
    (1..64).find(|&n| 1.0 - 2.0 * 0.5f64.powi(n) >= confidence).unwrap_or(64) as u32
}

/// The median's bias-corrected and accelerated (BCa) bootstrap interval; `None` below [`needed_for_median`].
pub fn median_interval(values: &[f64], confidence: f64) -> Option<Interval> {
    if (values.len() as u64) < u64::from(needed_for_median(confidence)) {
        return None;
    }
    let sorted = sorted(values);
    let estimate = median_of_sorted(&sorted)?;
    let mut medians = resampled_medians(&sorted, rounds(sorted.len()), &mut Random::from_data(&sorted));
    medians.sort_by(f64::total_cmp);

    Some(bca(&medians, estimate, acceleration(&sorted), confidence))
}

/// BCa's interval from resampled estimates in ascending order, around the estimate itself.
pub fn bca(resampled: &[f64], estimate: f64, acceleration: f64, confidence: f64) -> Interval {
    let normal = Normal::standard();
    let below = resampled.partition_point(|m| *m < estimate);
    let equal = resampled.partition_point(|m| *m <= estimate) - below;
    // Ties count half: a median of few values hits itself often, which is no bias.
    let share = (below as f64 + equal as f64 / 2.0) / resampled.len() as f64;
    let bias = normal.inverse_cdf(share.clamp(1e-6, 1.0 - 1e-6));
    let end = |tail: f64| {
        let z = bias + normal.inverse_cdf(tail);
        let level = normal.cdf(bias + z / (1.0 - acceleration * z));
        quantile_of_sorted(resampled, level)
    };
    let tail = (1.0 - confidence) / 2.0;
    Interval { low: end(tail).min(estimate), high: end(1.0 - tail).max(estimate) }
}

/// BCa's acceleration from the jackknife of the median.
///
/// Leaving one value out moves the median to one of at most three values, so no loop over all is needed.
fn acceleration(sorted: &[f64]) -> f64 {
    let n = sorted.len();
    let (at_or_below, above) = (n.div_ceil(2), n / 2);
    let without = |left_out: usize| {
        let pick = |i: usize| sorted[if i >= left_out { i + 1 } else { i }];
        (pick((n - 2) / 2) + pick((n - 1) / 2)) / 2.0
    };
    let mut groups = vec![(without(0), above), (without(n - 1), above)];
    if at_or_below > above {
        groups.push((without(above), 1));
    }
    acceleration_of_groups(&groups)
}

/// BCa's acceleration from the estimates without each one unit.
pub fn acceleration_of(without: &[f64]) -> f64 {
    acceleration_of_groups(&without.iter().map(|value| (*value, 1)).collect::<Vec<_>>())
}

/// The same of estimates that come so many times.
fn acceleration_of_groups(groups: &[(f64, usize)]) -> f64 {
    let n: usize = groups.iter().map(|(_, count)| count).sum();
    let mean = groups.iter().map(|(value, count)| value * *count as f64).sum::<f64>() / n as f64;
    let (mut squares, mut cubes) = (0.0, 0.0);
    for (value, count) in groups {
        let off = mean - value;
        squares += off * off * *count as f64;
        cubes += off * off * off * *count as f64;
    }
    if squares <= 0.0 { 0.0 } else { cubes / (6.0 * squares.powf(1.5)) }
}

/// The value at `level` (0 to 1) of values in ascending order, with linear steps between neighbours.
pub fn quantile_of_sorted(sorted: &[f64], level: f64) -> f64 {
    if sorted.is_empty() {
        return f64::NAN;
    }
    let place = level.clamp(0.0, 1.0) * (sorted.len() - 1) as f64;
    let (low, part) = (place.floor() as usize, place.fract());
    let high = (low + 1).min(sorted.len() - 1);
    sorted[low] + (sorted[high] - sorted[low]) * part
}

/// How many samples a percentile needs, so that the largest of them bounds it from above with 95 %
/// confidence: the smallest n with 1 − levelⁿ ≥ 0.95 (29 for p90, 59 for p95, 299 for p99, 2,995 for p99.9).
pub fn needed_for_percentile(level: f64) -> u32 {
    (0.05f64.ln() / level.ln()).ceil() as u32
}

/// A percentile (nearest rank) and its 95 % upper confidence bound, from values in ascending order; `None`
/// where there are too few of them.
pub fn percentile(sorted: &[f64], level: f64) -> Option<(f64, f64)> {
    let n = sorted.len();
    if (n as u64) < u64::from(needed_for_percentile(level)) {
        return None;
    }
    let rank = ((level * n as f64).ceil() as usize).clamp(1, n);
    let below = Binomial::new(level, n as u64).ok()?;
    // The k-th smallest sample bounds the percentile unless k or more samples lie below it.
    let bound = (rank..=n).find(|&k| below.cdf(k as u64 - 1) >= 0.95).unwrap_or(n);
    Some((sorted[rank - 1], sorted[bound - 1]))
}

/// p-values adjusted by Holm's step-down procedure, in the order given.
pub fn holm(p_values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|a, b| p_values[*a].total_cmp(&p_values[*b]));
    let mut adjusted = vec![1.0; p_values.len()];
    let mut least = 0.0f64;
    for (rank, &place) in order.iter().enumerate() {
        least = least.max(p_values[place] * (p_values.len() - rank) as f64).min(1.0);
        adjusted[place] = least;
    }
    adjusted
}

/// The standard deviation; 0 of fewer than two values.
pub fn deviation(values: &[f64]) -> f64 {
    if values.len() < 2 {
        return 0.0;
    }
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    (values.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / (values.len() - 1) as f64).sqrt()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn percentiles_need_what_the_binomial_bound_says() {
        assert_eq!([0.9, 0.95, 0.99, 0.999].map(needed_for_percentile), [29, 59, 299, 2995]);
        let values: Vec<f64> = (1..=299).map(f64::from).collect();
        assert_eq!(percentile(&values[..298], 0.99), None);
        assert_eq!(percentile(&values, 0.99), Some((297.0, 299.0)));
    }

    #[test]
    fn medians_need_six_or_eight_samples_for_an_interval() {
        assert_eq!([0.95, 0.99].map(needed_for_median), [6, 8]);
        assert_eq!(median_interval(&[1.0, 2.0, 3.0, 4.0, 5.0], 0.95), None);
    }

    #[test]
    fn holm_by_hand() {
        assert_eq!(holm(&[0.01, 0.04, 0.03]), [0.03, 0.06, 0.06]);
        assert_eq!(holm(&[]), [0.0; 0]);
    }

    #[test]
    fn resampled_medians_follow_the_closed_form() {
        // Of an odd number of values the bootstrap distribution of the median is known exactly:
        // P(median ≤ k-th value) = P(Binomial(n, k/n) ≥ (n + 1)/2).
        let values: Vec<f64> = (1..=11).map(f64::from).collect();
        let drawn = resampled_medians(&values, 40_000, &mut Random::seeded(7));
        for k in 1..11u64 {
            let exact = 1.0 - Binomial::new(k as f64 / 11.0, 11).unwrap().cdf(5);
            let seen = drawn.iter().filter(|m| **m <= k as f64).count() as f64 / drawn.len() as f64;
            assert!((exact - seen).abs() < 0.01, "k={k}: {exact} against {seen}");
        }
    }

    #[test]
    fn the_interval_covers_the_true_median_as_often_as_it_says() {
        let mut random = Random::seeded(11);
        let covered = (0..200)
            .filter(|_| {
                let values: Vec<f64> = (0..25).map(|_| 100.0 + random.normal()).collect();
                median_interval(&values, 0.95).is_some_and(|interval| interval.contains(100.0))
            })
            .count();
        // 95 % of 200 is 190; fewer than 178 would be four standard deviations away.
        assert!(covered >= 178, "covered {covered} of 200");
    }

    #[test]
    fn drawing_the_place_of_the_median_agrees_with_resampling() {
        let mut random = Random::seeded(23);
        let values = sorted(&(0..2_001).map(|_| random.normal()).collect::<Vec<_>>());
        let drawn = deviation(&resampled_medians(&values, 2_000, &mut random));
        let walked = deviation(&resampled_medians(&values[1..], 300, &mut random));
        assert!((drawn / walked - 1.0).abs() < 0.15, "{drawn} against {walked}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn intervals_hold_the_median_move_with_the_data_and_repeat(
            values in prop::collection::vec(1.0f64..1e6, 8..40),
        ) {
            let interval = median_interval(&values, 0.95).unwrap();
            let middle = median(&values).unwrap();
            prop_assert!(interval.contains(middle));
            prop_assert_eq!(median_interval(&values, 0.95).unwrap(), interval);
            let wider = median_interval(&values, 0.99).unwrap();
            prop_assert!(wider.high - wider.low >= (interval.high - interval.low) * 0.999);
            let least = values.iter().copied().fold(f64::INFINITY, f64::min);
            let most = values.iter().copied().fold(0.0, f64::max);
            prop_assert!(least <= interval.low && interval.high <= most);
        }

        #[test]
        fn the_median_parts_the_values(values in prop::collection::vec(-1e3f64..1e3, 1..50)) {
            let middle = median(&values).unwrap();
            prop_assert!(values.iter().filter(|v| **v < middle).count() * 2 <= values.len());
            prop_assert!(values.iter().filter(|v| **v > middle).count() * 2 <= values.len());
            prop_assert!(mad(&values).unwrap() >= 0.0);
        }

        #[test]
        fn the_shortcut_for_the_acceleration_is_the_jackknife(
            values in prop::collection::vec(0.0f64..10.0, 3..30),
        ) {
            let sorted = sorted(&values);
            let left: Vec<f64> = (0..sorted.len())
                .map(|i| {
                    let mut rest = sorted.clone();
                    rest.remove(i);
                    median_of_sorted(&rest).unwrap()
                })
                .collect();
            let mean = left.iter().sum::<f64>() / left.len() as f64;
            let squares: f64 = left.iter().map(|v| (mean - v).powi(2)).sum();
            let cubes: f64 = left.iter().map(|v| (mean - v).powi(3)).sum();
            let slow = if squares <= 0.0 { 0.0 } else { cubes / (6.0 * squares.powf(1.5)) };
            prop_assert!((slow - acceleration(&sorted)).abs() < 1e-6 || squares < 1e-18);
        }

        #[test]
        fn holm_never_lowers_and_keeps_the_order(p in prop::collection::vec(0.0f64..1.0, 1..20)) {
            let adjusted = holm(&p);
            for i in 0..p.len() {
                prop_assert!(adjusted[i] >= p[i] && adjusted[i] <= 1.0);
                for j in 0..p.len() {
                    prop_assert!(p[i] > p[j] || adjusted[i] <= adjusted[j]);
                }
            }
        }
    }
}
