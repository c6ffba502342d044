//! Which cell to use when: the best one for each aim, drawn from the figures and from nothing else.
//!
//! Only cells may be recommended that may win: right, valid, within their budget, measured on this machine. Cells that
//! the samples can't tell from the best are named with it. What no two cells were measured for is not judged. This
//! module knows no words; how an aim is called is the report's.

use super::comparison::{Comparison, Row};
use super::ledger::beyond;
use super::metric::Metric;
use super::ratio::ratio_of_medians;
use super::stats::{Interval, needed_for_percentile};
use super::summary::{Figure, PercentileValue, series};
use crate::record::Work;

/// Figures without an interval (a peak, a start) that lie closer than this are not told apart.
const CLOSE: f64 = 0.05;

/// What somebody wants of a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Aim {
    /// The shortest time per output token.
    Decoding,
    /// The shortest time to the first token.
    FirstToken,
    /// The shortest inference.
    Latency,
    /// The lowest 95th percentile of the time that ranks cells.
    Tail,
    /// The most items a second.
    Throughput,
    /// The smallest peak resident set.
    Memory,
    /// The shortest way from nothing to the first result.
    ColdStart,
}

/// The best cells for an aim.
#[derive(Debug, Clone, PartialEq)]
pub struct Recommendation {
    pub aim: Aim,
    pub metric: Metric,
    /// Places in [`Comparison::rows`]: the best first, then those that can't be told from it.
    pub rows: Vec<usize>,
    /// The best one's figure, in the metric's raw unit.
    pub value: f64,
    /// The best of the others, and how many times worse it is.
    pub next: Option<(usize, f64)>,
}

/// The cell with the highest throughput among those whose 95th percentile stays below a bound.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tier {
    /// A place in [`Comparison::rows`].
    pub row: usize,
    /// From this bound upward: with 95 % confidence the cell's 95th percentile is not above it.
    pub above: f64,
    /// Its median rate.
    pub rate: f64,
}

/// Why nothing is recommended for an aim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unjudged {
    /// The percentile takes `need` samples; the cell with most has `most`.
    TooFewSamples { most: u32, need: u32 },
    /// Fewer than two cells have the figure.
    TooFewCells,
    /// The cells did different work, or differ in more than their axes.
    NotComparable,
}

const AIMS: [Aim; 7] =
    [Aim::Decoding, Aim::FirstToken, Aim::Latency, Aim::Tail, Aim::Throughput, Aim::Memory, Aim::ColdStart];

/// One recommendation for each aim that at least two cells were measured for.
pub fn recommend(comparison: &Comparison) -> Vec<Recommendation> {
    AIMS.into_iter().filter_map(|aim| best(comparison, aim)).collect()
}

/// The aims that nothing is recommended for, of those that the cells' work has; none where fewer than two cells may be
/// recommended at all.
pub fn unjudged(comparison: &Comparison) -> Vec<(Aim, Unjudged)> {
    let rows = &comparison.rows;
    let able = able(rows);
    let tokens = matches!(comparison.work(), Some(Work::Sequence { .. }));
    let of_the_work = |aim: &Aim| match aim {
        Aim::Decoding | Aim::FirstToken => tokens,
        Aim::Latency | Aim::Throughput => !tokens,
        Aim::Tail | Aim::Memory | Aim::ColdStart => true,
    };
    if able.len() < 2 {
        return Vec::new();
    }
    let lacking = AIMS.into_iter().filter(of_the_work).filter(|aim| best(comparison, *aim).is_none());
    lacking.map(|aim| (aim, why_unjudged(aim, comparison, &able))).collect()
}

fn why_unjudged(aim: Aim, comparison: &Comparison, able: &[usize]) -> Unjudged {
    let rows = &comparison.rows;
    let have = |aim: Aim| {
        let metric = metric(aim, rows, able);
        able.iter().filter(|&&place| metric.is_some_and(|metric| figure(aim, metric, &rows[place]).is_some())).count()
    };
    if aim == Aim::Tail && have(Aim::Tail) < 2 {
        let most = able.iter().filter_map(|&place| Some(rows[place].summary.as_ref()?.samples)).max().unwrap_or(0);
        let need = needed_for_percentile(0.95);
        if most < need {
            return Unjudged::TooFewSamples { most, need };
        }
    }
    if have(aim) < 2 { Unjudged::TooFewCells } else { Unjudged::NotComparable }
}

/// Which cell has the highest throughput while its 95th percentile stays below a bound, for every bound: each cell in
/// turn from the bound that it holds, while it has clearly more than those that hold a lower one. The percentile is of
/// the time to the first token where tokens are made, else of the latency.
pub fn tiers(comparison: &Comparison) -> Vec<Tier> {
    let rows = &comparison.rows;
    let able = able(rows);
    let (time, rate) = match comparison.work() {
        Some(Work::Sequence { .. }) if !alike(comparison, &able) => return Vec::new(),
        Some(Work::Sequence { .. }) => (Metric::TimeToFirstToken, Metric::TokensPerSecond),
        _ => (Metric::Latency, Metric::ItemsPerSecond),
    };
    let figure = |place: usize| rows[place].summary.as_ref()?.figure(rate);
    let mut known: Vec<(usize, f64, &Figure)> =
        able.iter().filter_map(|&place| Some((place, tail(&rows[place], time)?.1, figure(place)?))).collect();
    if known.len() < 2 {
        return Vec::new();
    }
    known.sort_by(|a, b| a.1.total_cmp(&b.1).then(b.2.median.total_cmp(&a.2.median)));
    let ends = |figure: &Figure| figure.interval.unwrap_or(Interval { low: figure.median, high: figure.median });
    let mut tiers: Vec<Tier> = Vec::new();
    let mut most = f64::NEG_INFINITY;
    for (row, above, figure) in known {
        if ends(figure).low > most {
            most = ends(figure).high;
            tiers.push(Tier { row, above, rate: figure.median });
        }
    }
    tiers
}

fn able(rows: &[Row]) -> Vec<usize> {
    (0..rows.len()).filter(|&place| rows[place].may_win()).collect()
}

/// True where these cells did the same work and differ in no more than their axes.
fn alike(comparison: &Comparison, able: &[usize]) -> bool {
    let rows = &comparison.rows;
    able.windows(2).all(|pair| {
        let (a, b) = (&rows[pair[0]], &rows[pair[1]]);
        work(a) == work(b) && (comparison.is_forced() || beyond(a, b).is_empty())
    })
}

fn best(comparison: &Comparison, aim: Aim) -> Option<Recommendation> {
    let rows = &comparison.rows;
    let able = able(rows);
    let metric = metric(aim, rows, &able)?;
    // Times of different work are no race; a rate and a peak are what they are.
    let one_work = alike(comparison, &able);
    if !one_work && !matches!(aim, Aim::Throughput | Aim::Memory) {
        return None;
    }
    // Smaller is better in every figure that is compared below.
    let cost = |place: usize| {
        figure(aim, metric, &rows[place]).map(|value| if metric.more_is_better() { -value } else { value })
    };
    let mut ranked: Vec<(usize, f64)> = able.iter().filter_map(|&place| Some((place, cost(place)?))).collect();
    ranked.sort_by(|a, b| a.1.total_cmp(&b.1));
    let (&(first, cost_of_first), others) = ranked.split_first()?;
    if others.is_empty() || cost_of_first == 0.0 {
        return None;
    }
    let (tied, worse): (Vec<_>, Vec<_>) =
        others.iter().partition(|(place, _)| can_not_be_told(aim, metric, &rows[first], &rows[*place]));
    let times = |cost: f64| if metric.more_is_better() { cost_of_first / cost } else { cost / cost_of_first };
    Some(Recommendation {
        aim,
        metric,
        rows: std::iter::once(first).chain(tied.iter().map(|(place, _)| *place)).collect(),
        value: cost_of_first.abs(),
        next: worse.first().map(|(place, cost)| (*place, times(*cost))),
    })
}

/// The metric that an aim looks at; `None` where no cell has it.
fn metric(aim: Aim, rows: &[Row], able: &[usize]) -> Option<Metric> {
    let metric = match aim {
        Aim::Decoding => Metric::TimePerOutputToken,
        Aim::FirstToken => Metric::TimeToFirstToken,
        Aim::Latency => Metric::Latency,
        Aim::Throughput => Metric::ItemsPerSecond,
        Aim::Memory => Metric::PeakResident,
        Aim::ColdStart => Metric::ColdStart,
        Aim::Tail => able.iter().find_map(|&place| rows[place].summary.as_ref()?.primary())?,
    };
    able.iter().any(|&place| figure(aim, metric, &rows[place]).is_some()).then_some(metric)
}

fn work(row: &Row) -> Option<Work> {
    row.setup.as_ref().map(|setup| setup.work)
}

fn figure(aim: Aim, metric: Metric, row: &Row) -> Option<f64> {
    match aim {
        Aim::Tail => tail(row, metric).map(|(estimate, _)| estimate),
        _ => row.summary.as_ref()?.headline(metric),
    }
}

/// The 95th percentile with its upper bound, where the sample supports it.
fn tail(row: &Row, metric: Metric) -> Option<(f64, f64)> {
    let figure = row.summary.as_ref()?.figure(metric)?;
    match figure.percentiles.iter().find(|percentile| percentile.level == 950)?.value {
        PercentileValue::Known { estimate, bound } => Some((estimate, bound)),
        PercentileValue::TooFew { .. } => None,
    }
}

fn can_not_be_told(aim: Aim, metric: Metric, best: &Row, other: &Row) -> bool {
    match aim {
        Aim::Tail => match (tail(best, metric), tail(other, metric)) {
            (Some((_, bound)), Some((estimate, _))) => estimate <= bound,
            _ => false,
        },
        Aim::Memory | Aim::ColdStart => match (figure(aim, metric, best), figure(aim, metric, other)) {
            (Some(best), Some(other)) => other <= best * (1.0 + CLOSE),
            _ => false,
        },
        Aim::Decoding | Aim::FirstToken | Aim::Latency | Aim::Throughput => {
            ratio_of_medians(&series(metric, &other.sessions), &series(metric, &best.sessions))
                // Too few samples for a ratio tell nothing apart.
                .is_none_or(|ratio| ratio.interval.contains(1.0))
        }
    }
}
