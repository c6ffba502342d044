//! Two cells against each other: the ratio of their medians, its interval, and a verdict.
//!
//! The verdict takes two things: the 99 % interval excludes 1, and the p-value stays below 1 % after Holm's
//! correction over the whole matrix. Both come from the same resamples, of whole sequences, and of whole blocks where
//! samples were taken in blocks. The order of the blocks, at random and each second round reversed, keeps a drift
//! from favouring either side; that it widens both sides' intervals is the price of not knowing it. This module knows
//! numbers only, not cells.

use statrs::distribution::{ContinuousCDF, StudentsT};

use super::blocks::Blocks;
use super::stats::{self, Interval, Random};

/// The confidence of a ratio's interval.
pub const CONFIDENCE: f64 = 0.99;

/// The ratio of two medians.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ratio {
    pub ratio: f64,
    /// 99 % bootstrap interval: percentiles of the ratio of resampled medians, and at least Student's interval of its
    /// logarithm, by which `p` is judged.
    pub interval: Interval,
    /// Two-sided, from Student's t of the logarithm of the ratio over its bootstrap deviation.
    pub p: f64,
    /// The smallest relative difference that would be found in 80 of 100 repeats with samples like these.
    pub detectable: f64,
}

/// What a comparison says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Verdict {
    Faster,
    Slower,
    /// Nothing was found, and anything larger than `detectable` would probably have been.
    NoDifference {
        detectable: f64,
    },
}

impl Verdict {
    /// The word in reports.
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Faster => "faster",
            Verdict::Slower => "slower",
            Verdict::NoDifference { .. } => "no difference",
        }
    }
}

/// Whether a cell has what an interval takes: eight values, in more than one block.
pub fn suffices(side: &Blocks) -> bool {
    side.values().len() >= stats::needed_for_median(CONFIDENCE) as usize && side.count() >= 2
}

/// Why [`ratio_of_medians`] has no answer for two cells that were measured.
pub fn too_little(over: &Blocks, under: &Blocks) -> String {
    let (n, need) = (over.values().len().min(under.values().len()), stats::needed_for_median(CONFIDENCE));
    match n >= need as usize {
        true => "the samples of a cell were all taken in one block".to_owned(),
        false => format!("too few samples (n={n}, need {need})"),
    }
}

/// The median of `over` by the median of `under`; `None` where either has fewer than eight values, only one block of
/// them, or one that is not positive.
pub fn ratio_of_medians(over: &Blocks, under: &Blocks) -> Option<Ratio> {
    let all: Vec<f64> = [over, under].into_iter().flat_map(|side| stats::sorted(side.values())).collect();
    if !(suffices(over) && suffices(under)) || all.iter().any(|value| *value <= 0.0) {
        return None;
    }
    let ratio = stats::median(over.values())? / stats::median(under.values())?;

    // One generator for both, so that two equal arms are not resampled in step.
    let mut random = Random::from_data(&all);
    // A 99 % interval takes its ends from the outermost half per cent, so it takes more rounds than one of 95 %.
    let rounds = (2_000_000 / all.len()).clamp(2_000, 8_000);
    let logs = |side: &Blocks, random: &mut Random| -> Vec<f64> {
        side.resampled_medians(rounds, random).iter().map(|median| median.ln()).collect()
    };
    let (a, b) = (logs(over, &mut random), logs(under, &mut random));
    let mut differences: Vec<f64> = a.iter().zip(&b).map(|(a, b)| a - b).collect();
    differences.sort_by(f64::total_cmp);
    let tail = (1.0 - CONFIDENCE) / 2.0;
    let percentiles = Interval {
        low: stats::quantile_of_sorted(&differences, tail).exp().min(ratio),
        high: stats::quantile_of_sorted(&differences, 1.0 - tail).exp().max(ratio),
    };

    let variance = |logs: &[f64], side: &Blocks| (stats::deviation(logs) * side.inflation()).powi(2);
    let (va, vb) = (variance(&a, over), variance(&b, under));
    let error = (va + vb).sqrt();
    if error == 0.0 {
        // Samples without any spread (a simulated engine): a difference is one, or there is none.
        let p = if ratio == 1.0 { 1.0 } else { 0.0 };
        return Some(Ratio { ratio, interval: percentiles, p, detectable: 0.0 });
    }
    // Welch's degrees of freedom, of the two medians in place of two means.
    let freedom = (va + vb).powi(2)
        / (va * va / (over.count() - 1) as f64 + vb * vb / (under.count() - 1) as f64).max(f64::MIN_POSITIVE);
    let student = StudentsT::new(0.0, 1.0, freedom.max(1.0)).ok()?;
    let p = 2.0 * (1.0 - student.cdf((ratio.ln() / error).abs()));
    let quantile = student.inverse_cdf(1.0 - tail);
    let half = (quantile * error).exp();
    let interval = Interval { low: percentiles.low.min(ratio / half), high: percentiles.high.max(ratio * half) };
    let detectable = ((quantile + student.inverse_cdf(0.8)) * error).exp_m1();
    Some(Ratio { ratio, interval, p, detectable })
}

/// The verdict on a speed-up (above 1 is faster) with its p-value after Holm's correction.
pub fn verdict(ratio: &Ratio, adjusted_p: f64) -> Verdict {
    if adjusted_p >= 1.0 - CONFIDENCE || ratio.interval.contains(1.0) {
        Verdict::NoDifference { detectable: ratio.detectable }
    } else if ratio.ratio > 1.0 {
        Verdict::Faster
    } else {
        Verdict::Slower
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sequence times around `middle` with 2 % noise, now and then a slow one, as real ones have.
    fn arm(random: &mut Random, n: usize, middle: f64) -> Blocks {
        let time = |random: &mut Random| {
            let slow = if random.unit() < 0.05 { 1.2 } else { 1.0 };
            middle * slow * (1.0 + 0.02 * random.normal())
        };
        Blocks::single((0..n).map(|_| time(random)).collect())
    }

    #[test]
    fn equal_arms_are_rarely_called_different() {
        let mut random = Random::seeded(42);
        let runs = 150;
        let found = (0..runs)
            .filter(|_| {
                let (a, b) = (arm(&mut random, 15, 30e6), arm(&mut random, 15, 30e6));
                let ratio = ratio_of_medians(&a, &b).unwrap();
                !matches!(verdict(&ratio, ratio.p), Verdict::NoDifference { .. })
            })
            .count();
        // 1 % of 150 is 1.5; 6 or more would come by chance once in 200 seeds.
        assert!(found <= 5, "{found} false positives of {runs}");
    }

    #[test]
    fn a_difference_of_five_percent_is_found_and_inside_its_interval() {
        let mut random = Random::seeded(5);
        let (slow, fast) = (arm(&mut random, 40, 31.5e6), arm(&mut random, 40, 30e6));
        let ratio = ratio_of_medians(&slow, &fast).unwrap();
        assert_eq!(verdict(&ratio, ratio.p), Verdict::Faster);
        assert!(ratio.interval.contains(1.05), "{ratio:?}");
        let back = ratio_of_medians(&fast, &slow).unwrap();
        assert_eq!(verdict(&back, back.p), Verdict::Slower);
    }

    #[test]
    fn one_arm_against_itself_is_no_difference() {
        let values = arm(&mut Random::seeded(1), 20, 1e6);
        let ratio = ratio_of_medians(&values, &values).unwrap();
        assert_eq!(ratio.ratio, 1.0);
        assert!(matches!(verdict(&ratio, ratio.p), Verdict::NoDifference { detectable } if detectable > 0.0));
    }

    #[test]
    fn too_few_or_impossible_values_have_no_ratio() {
        assert_eq!(ratio_of_medians(&Blocks::single(vec![1.0; 7]), &Blocks::single(vec![1.0; 20])), None);
        assert_eq!(ratio_of_medians(&Blocks::single(vec![0.0; 8]), &Blocks::single(vec![1.0; 8])), None);
    }

    #[test]
    fn samples_without_spread_are_compared_exactly() {
        let ratio = ratio_of_medians(&Blocks::single(vec![2.0; 10]), &Blocks::single(vec![1.0; 10])).unwrap();
        assert_eq!((ratio.ratio, ratio.p), (2.0, 0.0));
        assert_eq!(verdict(&ratio, ratio.p), Verdict::Faster);
    }
}
