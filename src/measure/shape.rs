//! What the samples themselves say against their own median: a trend, two modes, outliers, sessions that differ.
//!
//! A median with a narrow interval can still mislead: where a processor heats up, the middle of a falling series is
//! a time that was never steady; where two modes alternate, it lies in one of them by chance. Each finding needs both
//! a test at one in a thousand, so that a matrix of good cells shows none, and a size that matters to a reader.
//! Thresholds are relative to the median and say what they are; this module knows numbers only.
//!
//! Sources: Mann, *Nonparametric tests against trend* (1945), with the normal approximation that Kendall gives;
//! Sen, *Estimates of the regression coefficient based on Kendall's tau* (1968), for the size of a trend; Otsu, *A
//! threshold selection method from gray-level histograms* (1979), for the best cut in two; Iglewicz and Hoaglin, *How
//! to detect and handle outliers* (1993), for the distance of 3.5 scaled deviations, here doubled.

use statrs::distribution::{Binomial, ContinuousCDF, DiscreteCDF, Normal};

use super::blocks::Blocks;
use super::ratio::ratio_of_medians;
use super::stats;

/// Below this chance under "nothing is there" a finding is one.
const LEVEL: f64 = 0.001;
/// The smallest relative change that is worth a word.
const MATTERS: f64 = 0.02;
/// Scaled median absolute deviations from the median that make an outlier.
const FAR: f64 = 7.0;
/// The share of outliers that every machine shows now and then, and that a median bears.
const USUAL: f64 = 0.05;
/// The MAD of a normal distribution, as a share of its standard deviation.
const NORMAL_MAD: f64 = 0.674_489_750_196_081_7;
/// Fewer values show no shape.
const FEWEST: usize = 12;
/// Fewer values than this lie close together by chance.
const FEWEST_OF_A_MODE: usize = 5;
/// More values than this are thinned for the pairwise slopes: they take the square of their number.
const PAIRS: usize = 400;

/// Something about the shape of samples that a median alone hides.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Shape {
    /// From the first sample to the last the values moved by this part of the median.
    Trend { change: f64 },
    /// Two groups, this far apart as a part of the lower one, with this share in the upper one.
    TwoModes { apart: f64, upper: f64 },
    /// This share of the values lies far from the median, the farthest at so many times it.
    Outliers { share: f64, farthest: f64 },
}

/// What the values of one session, in the order in which they were taken, show.
pub fn shapes(values: &[f64]) -> Vec<Shape> {
    if values.len() < FEWEST || values.iter().any(|value| !value.is_finite() || *value <= 0.0) {
        return Vec::new();
    }
    let modes = two_modes(values);
    // The members of a second mode are no outliers of the first.
    let outliers = if modes.is_none() { outliers(values) } else { None };
    trend(values).into_iter().chain(modes).chain(outliers).collect()
}

/// The change of the median from one session to the next that is no chance: the largest, relative to the first.
pub fn moved(sessions: &[Blocks]) -> Option<f64> {
    let (first, rest) = sessions.split_first()?;
    rest.iter()
        .filter_map(|later| ratio_of_medians(later, first))
        .filter(|ratio| !ratio.interval.contains(1.0) && (ratio.ratio - 1.0).abs() >= MATTERS)
        .map(|ratio| ratio.ratio - 1.0)
        .max_by(|a, b| a.abs().total_cmp(&b.abs()))
}

/// Mann and Kendall's test for a monotone trend, with Sen's slope for its size.
fn trend(values: &[f64]) -> Option<Shape> {
    let median = stats::median(values)?;
    let thin = values.len().div_ceil(PAIRS);
    // Medians of neighbours, not every so many-th value: nothing that was measured is left out.
    let values: Vec<f64> = values.chunks(thin).filter_map(stats::median).collect();
    let n = values.len();
    let mut rises = 0i64;
    let mut slopes = Vec::with_capacity(n * (n - 1) / 2);
    for (i, early) in values.iter().enumerate() {
        for (j, late) in values.iter().enumerate().skip(i + 1) {
            rises += match late.total_cmp(early) {
                std::cmp::Ordering::Greater => 1,
                std::cmp::Ordering::Equal => 0,
                std::cmp::Ordering::Less => -1,
            };
            slopes.push((late - early) / (j - i) as f64);
        }
    }
    let count = n as f64;
    let variance = count * (count - 1.0) * (2.0 * count + 5.0) / 18.0;
    let z = (rises.abs() - 1).max(0) as f64 / variance.sqrt();
    let chance = 2.0 * (1.0 - Normal::standard().cdf(z));
    let change = stats::median(&slopes)? * (count - 1.0) / median;
    (chance < LEVEL && change.abs() >= MATTERS).then_some(Shape::Trend { change })
}

/// The best cut in two, where the groups lie far apart for what each scatters and both hold a fifth.
fn two_modes(values: &[f64]) -> Option<Shape> {
    let sorted = stats::sorted(values);
    let n = sorted.len();
    let total: f64 = sorted.iter().sum();
    let (mut below, mut best) = (0.0, (0.0, 0));
    for cut in 1..n {
        below += sorted[cut - 1];
        let (k, m) = (cut as f64, (n - cut) as f64);
        let between = k * m * ((total - below) / m - below / k).powi(2);
        if between > best.0 {
            best = (between, cut);
        }
    }
    let (lower, upper) = sorted.split_at(best.1);
    let smaller = lower.len().min(upper.len());
    if smaller * 5 < n || smaller < FEWEST_OF_A_MODE {
        return None;
    }
    let (low, high) = (stats::median_of_sorted(lower)?, stats::median_of_sorted(upper)?);
    let scatter = stats::mad(lower)?.max(stats::mad(upper)?) / NORMAL_MAD;
    // Halves of one normal distribution lie 4.4 of their own scaled deviations apart, and touch; those of two modes
    // leave a valley, so the empty space between them has to be as wide as either scatters.
    let (gap, apart) = (upper[0] - lower[lower.len() - 1], (high - low) / low);
    let valley = gap > 2.0 * scatter && high - low > 8.0 * scatter;
    (valley && apart >= MATTERS).then(|| Shape::TwoModes { apart, upper: upper.len() as f64 / n as f64 })
}

/// More far values than chance brings where the usual share of them is normal.
fn outliers(values: &[f64]) -> Option<Shape> {
    let median = stats::median(values)?;
    // Values that hardly scatter would make outliers of the clock's own steps.
    let scaled = (stats::mad(values)? / NORMAL_MAD).max(median * MATTERS / FAR);
    let far: Vec<f64> = values.iter().copied().filter(|value| (value - median).abs() > FAR * scaled).collect();
    let farthest = far.iter().map(|value| value / median).max_by(f64::total_cmp)?;
    let chance = Binomial::new(USUAL, values.len() as u64).ok()?.sf(far.len() as u64 - 1);
    (chance < LEVEL).then(|| Shape::Outliers { share: far.len() as f64 / values.len() as f64, farthest })
}

#[cfg(test)]
mod tests {
    use super::super::stats::Random;
    use super::*;

    /// Times with 2 % noise, skewed as real ones are, and now and then a slow one.
    fn steady(random: &mut Random, n: usize) -> Vec<f64> {
        (0..n)
            .map(|_| {
                let slow = if random.unit() < 0.03 { 1.3 } else { 1.0 };
                1e6 * slow * (0.02 * random.normal()).exp()
            })
            .collect()
    }

    #[test]
    fn a_thousand_steady_cells_show_next_to_nothing() {
        let mut random = Random::seeded(11);
        for (n, cells) in [(12, 1000), (20, 1000), (40, 500), (200, 100)] {
            let found = (0..cells).filter(|_| !shapes(&steady(&mut random, n)).is_empty()).count();
            // At most one in a thousand for each of the three; 12 where 3 are expected come once in 10,000 seeds.
            assert!(found < 12, "{found} of {cells} with {n} values each");
        }
    }

    #[test]
    fn one_wide_mode_is_not_two() {
        let mut random = Random::seeded(12);
        for spread in [0.05, 0.2] {
            let wide =
                |random: &mut Random| (0..30).map(|_| 1e6 * (spread * random.normal()).exp()).collect::<Vec<_>>();
            let found = (0..1000).filter(|_| two_modes(&wide(&mut random)).is_some()).count();
            assert!(found < 10, "{found} of 1,000 at a spread of {spread}");
        }
    }

    #[test]
    fn heat_is_a_trend_and_its_size_is_told() {
        let mut random = Random::seeded(13);
        let hot: Vec<f64> =
            steady(&mut random, 60).iter().enumerate().map(|(i, time)| time * (1.0 + 0.10 * i as f64 / 59.0)).collect();
        let [Shape::Trend { change }] = shapes(&hot)[..] else { panic!("{:?}", shapes(&hot)) };
        assert!((0.07..0.13).contains(&change), "{change}");
        let cooling: Vec<f64> = hot.iter().rev().copied().collect();
        assert!(matches!(shapes(&cooling)[..], [Shape::Trend { change }] if change < -0.07));
    }

    #[test]
    fn a_trend_too_small_to_matter_is_none() {
        let rising: Vec<f64> = (0..100).map(|i| 1e6 + 100.0 * f64::from(i)).collect();
        assert_eq!(shapes(&rising), []);
    }

    #[test]
    fn a_long_series_is_looked_at_whole() {
        let mut random = Random::seeded(14);
        let long: Vec<f64> =
            steady(&mut random, 5000).iter().enumerate().map(|(i, t)| t * (1.0 + i as f64 / 1e5)).collect();
        assert!(matches!(shapes(&long)[..], [Shape::Trend { change }] if (0.03..0.07).contains(&change)));
    }

    #[test]
    fn two_clocks_are_two_modes() {
        let mut random = Random::seeded(15);
        let mixed: Vec<f64> = steady(&mut random, 60)
            .iter()
            .enumerate()
            .map(|(i, _)| 1e6 * (if (i * 7) % 10 < 3 { 1.25 } else { 1.0 }) * (0.01 * random.normal()).exp())
            .collect();
        let found = shapes(&mixed);
        let [Shape::TwoModes { apart, upper }] = found[..] else { panic!("{found:?}") };
        assert!((0.23..0.27).contains(&apart) && (0.25..0.35).contains(&upper), "{apart} {upper}");
    }

    #[test]
    fn many_slow_values_are_outliers_and_few_are_borne() {
        let mut random = Random::seeded(16);
        let mut values: Vec<f64> = (0..50).map(|_| 1e6 * (0.01 * random.normal()).exp()).collect();
        values[10] *= 3.0;
        assert_eq!(shapes(&values), []);
        for at in [3, 6, 13, 19, 25, 33, 36, 41, 45, 48] {
            values[at] *= 1.5 + at as f64 / 50.0;
        }
        let found = shapes(&values);
        let [Shape::Outliers { share, farthest }] = found[..] else { panic!("{found:?}") };
        assert!((0.20..0.24).contains(&share) && (2.9..3.2).contains(&farthest), "{share} {farthest}");
    }

    #[test]
    fn values_without_spread_have_no_shape() {
        assert_eq!(shapes(&[5.0; 40]), []);
        assert_eq!(shapes(&[1.0, f64::NAN]), []);
        assert_eq!(shapes(&[0.0; 20]), []);
    }

    #[test]
    fn a_session_that_moved_is_told_by_how_much() {
        let mut random = Random::seeded(17);
        let first = steady(&mut random, 30);
        let same = steady(&mut random, 30);
        let slower: Vec<f64> = steady(&mut random, 30).iter().map(|time| time * 1.08).collect();
        let [first, same, slower] = [first, same, slower].map(Blocks::single);
        assert_eq!(moved(&[first.clone(), same.clone()]), None);
        let by = moved(&[first, same, slower]).unwrap();
        assert!((0.06..0.10).contains(&by), "{by}");
        assert_eq!(moved(&[]), None);
    }
}
