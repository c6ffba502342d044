//! The order of blocks, their sizes, and what order does to figures on a device that heats up.

use super::*;
use crate::measure::stats::median;

fn rounds(turns: &mut Turns, blocks: usize) -> Vec<Vec<usize>> {
    let mut rounds: Vec<Vec<usize>> = Vec::new();
    for turn in std::iter::from_fn(|| turns.next_turn()).take(blocks) {
        rounds.resize(turn.round as usize + 1, Vec::new());
        let round = &mut rounds[turn.round as usize];
        assert_eq!(turn.place as usize, round.len());
        round.push(turn.arm);
    }
    rounds
}

#[test]
fn every_round_has_each_cell_once_and_the_second_runs_backwards() {
    let mut turns = Turns::new(vec![Arm::Asked; 5], 7);
    let rounds = rounds(&mut turns, 100);
    assert_eq!(rounds.len(), 20);
    for pair in rounds.chunks(2) {
        let mut sorted = pair[0].clone();
        sorted.sort_unstable();
        assert_eq!(sorted, [0, 1, 2, 3, 4]);
        let backwards: Vec<usize> = pair[1].iter().rev().copied().collect();
        assert_eq!(backwards, pair[0]);
    }
    let orders: std::collections::BTreeSet<&Vec<usize>> = rounds.iter().collect();
    assert!(orders.len() > 10, "they are drawn: {orders:?}");
}

#[test]
fn the_seed_alone_decides() {
    let order = |seed| rounds(&mut Turns::new(vec![Arm::Asked; 4], seed), 40);
    assert_eq!(order(1), order(1));
    assert_ne!(order(1), order(2));
}

#[test]
fn who_leaves_is_asked_no_more_not_even_in_the_same_round() {
    let mut turns = Turns::new(vec![Arm::Asked; 3], 3);
    let first = turns.next_turn().expect("a block").arm;
    let gone = (first + 1) % 3;
    turns.leave(gone);
    let rest: Vec<usize> = std::iter::from_fn(|| turns.next_turn()).take(20).map(|turn| turn.arm).collect();
    assert!(rest.len() == 20 && !rest.contains(&gone), "{rest:?}");
    turns.leave(first);
    turns.leave((first + 2) % 3);
    assert_eq!(turns.next_turn(), None);
}

#[test]
fn who_is_beside_goes_on_as_long_as_the_others_and_no_longer() {
    let mut turns = Turns::new(vec![Arm::Beside, Arm::Asked], 3);
    let shares = rounds(&mut turns, 20);
    assert_eq!(shares.iter().flatten().filter(|arm| **arm == 0).count(), 10);
    turns.leave(1);
    assert_eq!(turns.next_turn(), None);
    assert_eq!(Turns::new(vec![Arm::Beside], 0).next_turn(), None);
}

fn sampling(min_samples: u32, seconds: u64) -> Sampling {
    let min_time = Duration::from_secs(seconds);
    Sampling { min_samples, min_time, target: 0.02, max_time: 6 * min_time, max_samples: 2000 }
}

#[test]
fn a_cells_samples_are_spread_over_ten_blocks() {
    let ms = Duration::from_millis;
    let size = |pace: Pace| pace.block(u32::MAX, Duration::MAX, Duration::ZERO);
    // 5 s are 100 samples of 50 ms.
    let pace = Pace::new(&sampling(10, 5), ms(50));
    assert_eq!((pace.every, pace.settling, size(pace)), (1, 1, 10));
    // A slow one has a sample a block, and needs no settling.
    let pace = Pace::new(&sampling(10, 5), ms(900));
    assert_eq!((pace.every, pace.settling, size(pace)), (1, 0, 1));
    // 2.5 ms a sample at most: of a pass of 10 µs each 250th is kept, and 2,000 passes settle.
    let pace = Pace::new(&sampling(10, 5), Duration::from_micros(10));
    assert_eq!((pace.every, pace.settling, size(pace)), (250, 2000, 200));
    // An engine that takes no time at all.
    let pace = Pace::new(&sampling(30, 5), Duration::ZERO);
    assert_eq!((pace.every, pace.settling, size(pace)), (1, 0, 3));
}

#[test]
fn a_block_is_no_larger_than_what_is_wanted_or_fits() {
    let ms = Duration::from_millis;
    let pace = Pace::new(&sampling(10, 5), ms(50));
    assert_eq!(pace.block(4, ms(5000), ms(50)), 4);
    assert_eq!(pace.block(40, ms(170), ms(50)), 3);
    assert_eq!(pace.block(40, ms(0), ms(50)), 1, "or it would never end");
}

/// A device that slows down by up to 40 % as it works, and on which equal cells take equal times.
struct Device {
    worked: f64,
}

impl Device {
    fn sample(&mut self) -> f64 {
        let time = 1.0 + 0.4 * (1.0 - (-self.worked / 100.0).exp());
        self.worked += time;
        time
    }
}

/// How far the slowest of equal cells seems to lie above the fastest.
fn bias(order: impl Iterator<Item = (usize, usize)>, cells: usize) -> f64 {
    let mut device = Device { worked: 0.0 };
    let mut samples = vec![Vec::new(); cells];
    for (cell, count) in order {
        samples[cell].extend((0..count).map(|_| device.sample()));
    }
    let medians: Vec<f64> = samples.iter().map(|values| median(values).expect("samples")).collect();
    let (least, most) =
        medians.iter().fold((f64::MAX, f64::MIN), |(low, high), median| (low.min(*median), high.max(*median)));
    most / least - 1.0
}

#[test]
fn heat_biases_cells_in_sequence_and_not_cells_in_turn() {
    for cells in [2, 4] {
        let sequential = bias((0..cells).map(|cell| (cell, 100)), cells);
        assert!(sequential > 0.10, "{sequential}");
        for seed in 0..50 {
            let mut turns = Turns::new(vec![Arm::Asked; cells], seed);
            let blocks = std::iter::from_fn(|| turns.next_turn()).take(20 * cells).map(|turn| (turn.arm, 5));
            let in_turn = bias(blocks, cells);
            assert!(in_turn < 0.01, "{cells} cells, seed {seed}: {in_turn}");
        }
    }
}
