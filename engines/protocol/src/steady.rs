//! When a warm-up has done its work: the rule, on plain numbers. Knows no clock and no model.

/// A drift over the window below this part of the median is no trend, however regular it is: 2 %.
const NEGLIGIBLE_DRIFT: f64 = 0.02;

/// Fewest times for which a test of significance can say anything.
const TESTABLE: usize = 4;

/// Two-sided 5 % of the normal distribution.
const SIGNIFICANT: f64 = 1.96;

/// True where the last half of the times (in nanoseconds, oldest first) shows no trend.
///
/// A trend is a drift over that half that is both large, by the Theil–Sen slope (Sen, 1968), and, where
/// there are enough times to ask, significant by Kendall's test (Mann, 1945). Both look only at the order
/// and the middle, so one slow sequence is no trend. One time alone shows nothing and is not steady.
pub fn is_steady(times: &[u64]) -> bool {
    let window = &times[times.len() / 2..];
    if window.len() < 2 {
        return false;
    }
    let drift = slope(window).abs() * (window.len() - 1) as f64;
    if drift <= NEGLIGIBLE_DRIFT * median(window.iter().map(|time| *time as f64).collect()) {
        return true;
    }
    window.len() >= TESTABLE && !is_significant(window)
}

/// The median of the slopes between all pairs.
fn slope(times: &[u64]) -> f64 {
    let pairs = pairs(times).map(|(distance, change)| change / distance as f64);
    median(pairs.collect())
}

/// Kendall's S beyond what chance gives it.
fn is_significant(times: &[u64]) -> bool {
    let n = times.len() as f64;
    let score: f64 = pairs(times).map(|(_, change)| if change == 0.0 { 0.0 } else { change.signum() }).sum();
    let deviation = (n * (n - 1.0) * (2.0 * n + 5.0) / 18.0).sqrt();
    score.abs() > SIGNIFICANT * deviation
}

/// Distance and change of every pair, earlier to later.
fn pairs(times: &[u64]) -> impl Iterator<Item = (usize, f64)> {
    times.iter().enumerate().flat_map(move |(from, first)| {
        times.iter().enumerate().skip(from + 1).map(move |(to, second)| (to - from, *second as f64 - *first as f64))
    })
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    let middle = numbers.len() / 2;
    match numbers.len() {
        0 => 0.0,
        length if length % 2 == 1 => numbers[middle],
        _ => f64::midpoint(numbers[middle - 1], numbers[middle]),
    }
}

#[cfg(test)]
mod tests {
    use super::is_steady;

    #[test]
    fn the_rule() {
        let check = |times: &[u64], steady| assert_eq!(is_steady(times), steady, "{times:?}");
        check(&[], false);
        check(&[100], false);
        // The cold start lies in the first half and doesn't count.
        check(&[900, 300, 100, 100, 101], true);
        // Too few to test, and the drift is large.
        check(&[900, 300, 200, 150], false);
        // Falling throughout.
        check(&[900, 800, 700, 600, 500, 450, 400, 350, 300, 250, 200, 150], false);
        // Noise of 10 % without a direction.
        check(&[900, 300, 100, 110, 95, 104, 99, 108, 97, 103, 110, 96], true);
        // One slow sequence.
        check(&[100, 100, 100, 100, 100, 100, 900, 100, 100, 100], true);
    }
}
