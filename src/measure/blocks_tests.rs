//! Resampling of blocks: against what is known exactly, and on machines that are made up.

use proptest::prelude::*;

use super::super::ratio::ratio_of_medians;
use super::*;

/// What disturbs a made-up machine: how much, and how much of it is still there at the next sample.
#[derive(Clone, Copy)]
struct Drift {
    size: f64,
    stays: f64,
}

/// Two equal arms that take turns in blocks on one drifting machine, each second round reversed; `slower` is by how much
/// the first one's model is.
fn in_turn(random: &mut Random, (rounds, samples): (usize, usize), drift: Drift, slower: f64) -> [Blocks; 2] {
    let mut arms = [Blocks::default(), Blocks::default()];
    let mut now = drift.size * random.normal();
    let fresh = (1.0 - drift.stays * drift.stays).sqrt() * drift.size;
    let mut first = 0;
    for round in 0..rounds {
        first = if round % 2 == 0 { random.two_below(2).0 } else { 1 - first };
        for arm in [first, 1 - first] {
            let block: Vec<f64> = (0..samples)
                .map(|_| {
                    now = drift.stays * now + fresh * random.normal();
                    let of_arm = if arm == 0 { slower } else { 1.0 };
                    1e6 * of_arm * (now + 0.02 * random.normal()).exp()
                })
                .collect();
            arms[arm].push(block);
        }
    }
    arms
}

fn single(blocks: &Blocks) -> Blocks {
    Blocks::single(blocks.values().to_vec())
}

fn false_alarms(runs: usize, of: impl FnMut() -> [Blocks; 2]) -> usize {
    let pairs = std::iter::repeat_with(of).take(runs);
    pairs.filter(|[a, b]| !ratio_of_medians(a, b).expect("a ratio").interval.contains(1.0)).count()
}

#[test]
fn a_thousand_equal_pairs_on_a_drifting_machine_are_rarely_called_different() {
    // Disturbances that last about a block, longer ones, and none: samples by themselves would bear only the last.
    let machines = [(0.02, 0.98, 400), (0.05, 0.999, 300), (0.0, 0.0, 300)];
    let mut random = Random::seeded(31);
    let mut found = 0;
    for (size, stays, runs) in machines {
        found += false_alarms(runs, || in_turn(&mut random, (10, 60), Drift { size, stays }, 1.0));
    }
    // 1 % of 1,000 is 10; 19 or more would come by chance once in 150 seeds.
    assert!(found <= 18, "{found} false alarms of 1,000");
}

#[test]
fn samples_resampled_one_by_one_would_call_equal_pairs_different() {
    let mut random = Random::seeded(32);
    let drift = Drift { size: 0.02, stays: 0.98 };
    let found = false_alarms(100, || in_turn(&mut random, (10, 60), drift, 1.0).map(|arm| single(&arm)));
    assert!(found >= 20, "{found} of 100: then nobody would need blocks");
    let found = false_alarms(100, || in_turn(&mut random, (10, 20), drift, 1.0));
    assert!(found <= 5, "{found} of 100, walked through");
}

#[test]
fn a_difference_is_still_found() {
    let mut random = Random::seeded(33);
    let drift = Drift { size: 0.01, stays: 0.9 };
    let found = (0..50)
        .map(|_| in_turn(&mut random, (10, 20), drift, 1.05))
        .filter_map(|[a, b]| ratio_of_medians(&a, &b))
        .filter(|ratio| !ratio.interval.contains(1.0) && ratio.interval.contains(1.05))
        .count();
    assert!(found >= 45, "{found} of 50");
}

#[test]
fn the_interval_covers_the_median_where_blocks_differ() {
    let mut random = Random::seeded(34);
    let mut covered = |by_itself: bool| {
        (0..200)
            .filter(|_| {
                let mut blocks = Blocks::default();
                for _ in 0..10 {
                    let of_block = 0.02 * random.normal();
                    blocks.push((0..20).map(|_| 100.0 * (of_block + 0.01 * random.normal()).exp()).collect::<Vec<_>>());
                }
                let blocks = if by_itself { single(&blocks) } else { blocks };
                blocks.median_interval(0.95).is_some_and(|interval| interval.contains(100.0))
            })
            .count()
    };
    // 95 % of 200 is 190; fewer than 178 would be four standard deviations away.
    let (blocks, by_themselves) = (covered(false), covered(true));
    assert!(blocks >= 178, "covered {blocks} of 200");
    assert!(by_themselves < 140, "covered {by_themselves} of 200: then nobody would need blocks");
}

#[test]
fn drawing_the_place_of_the_median_agrees_with_walking() {
    let mut random = Random::seeded(35);
    let mut agree = Vec::new();
    for _ in 0..20 {
        let [large, _] = in_turn(&mut random, (12, 43), Drift { size: 0.02, stays: 0.98 }, 1.0);
        let mut small = Blocks::default();
        // Without its last block it is one that is walked through.
        let kept = large.values.len() - 43;
        large.values[..kept].chunks(43).for_each(|block| small.push(block.iter().copied()));
        assert!(large.values.len() > WALKED && small.values.len() <= WALKED);
        let spread = |blocks: &Blocks| stats::deviation(&blocks.resampled_medians(2_000, &mut Random::seeded(1)));
        agree.push(spread(&large) * (12f64 / 11.0).sqrt() / spread(&small));
    }
    let middle = stats::median(&agree).expect("some");
    assert!((0.85..1.15).contains(&middle), "{middle}");
}

#[test]
fn one_block_tells_nothing_and_few_tell_little() {
    let mut random = Random::seeded(36);
    let of = |random: &mut Random, count: usize| {
        let mut blocks = Blocks::default();
        (0..count).for_each(|_| blocks.push((0..60 / count).map(|_| 1e6 * (0.02 * random.normal()).exp())));
        blocks
    };
    let one = of(&mut random, 1);
    assert_eq!((one.median_interval(0.95), ratio_of_medians(&one, &one)), (None, None));
    let mut width = |count: usize| {
        let widths: Vec<f64> = (0..20)
            .filter_map(|_| of(&mut random, count).median_interval(0.95).map(|interval| interval.high - interval.low))
            .collect();
        stats::median(&widths).expect("an interval")
    };
    assert!(width(2) > 3.0 * width(20));
}

#[test]
fn blocks_of_one_are_what_values_by_themselves_are() {
    let values: Vec<f64> = (0..25).map(|i| 100.0 + f64::from(i * 7 % 25)).collect();
    let mut blocks = Blocks::default();
    values.iter().for_each(|value| blocks.push([*value]));
    blocks.push([]);
    assert_eq!(blocks, Blocks::single(values.clone()));
    assert_eq!(blocks.median_interval(0.95), stats::median_interval(&values, 0.95));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn intervals_hold_the_median_grow_with_the_units_and_repeat(
        blocks in prop::collection::vec(prop::collection::vec(1.0f64..1e6, 1..6), 8..14),
    ) {
        let mut all = Blocks::default();
        blocks.iter().for_each(|block| all.push(block.iter().copied()));
        let interval = all.median_interval(0.95).unwrap();
        let middle = stats::median(all.values()).unwrap();
        prop_assert!(interval.contains(middle) && interval.low > 0.0);
        prop_assert_eq!(all.median_interval(0.95).unwrap(), interval);
        // In another unit it is the same interval.
        let mut scaled = Blocks::default();
        blocks.iter().for_each(|block| scaled.push(block.iter().map(|value| value / 1024.0)));
        let ratio = ratio_of_medians(&all, &all).unwrap();
        prop_assert!(ratio.interval.contains(1.0) && ratio.p >= 0.01);
        let ratio = ratio_of_medians(&all, &scaled).unwrap();
        prop_assert!((ratio.ratio - 1024.0).abs() < 1e-6 * 1024.0 && ratio.interval.contains(1024.0));
    }

    #[test]
    fn a_resample_of_blocks_is_the_median_of_what_was_drawn(
        blocks in prop::collection::vec(prop::collection::vec(0.0f64..10.0, 1..5), 2..6),
        counts in prop::collection::vec(1u32..4, 6),
    ) {
        let mut all = Blocks::default();
        blocks.iter().for_each(|block| all.push(block.iter().copied()));
        let counts = &counts[..blocks.len()];
        let drawn: Vec<f64> = blocks
            .iter()
            .zip(counts)
            .flat_map(|(block, count)| std::iter::repeat_n(block, *count as usize).flatten().copied())
            .collect();
        prop_assert_eq!(middle(&all.ranked(), counts, drawn.len()), stats::median(&drawn).unwrap());
    }
}
