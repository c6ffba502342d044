//! Which results to give up for room: those that cost the least to make again, for each byte that they free.
//!
//! Approach:
//! - A result weighs what only results that may go hold of it; what several of them hold is shared out among them.
//! - The one with the least cost for its weight goes, the shares of the others grow, and so on until there is room.
//! - At the end, whatever was not needed for that, the dearest first, stays after all.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashMap};

use crate::Digest;
use crate::blob::{BLOB, TREE};
use crate::error::Result;
use crate::live::Live;
use crate::store::Store;
use crate::tree::{Entry, Tree};

/// What more results than this share is left out: it frees nothing before all of them go.
const MOST_SHARED: usize = 64;

/// A result that may go.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// The key of its record.
    pub key: Digest,
    /// What it holds.
    pub entries: Vec<Entry>,
    /// What it would cost to make again, in seconds or any other unit.
    pub cost: f64,
}

/// A result that goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dropped {
    /// Its place among the candidates.
    pub candidate: usize,
    /// Bytes that nothing holds any more once it and those before it are gone.
    pub bytes: u64,
}

/// One blob or tree, its bytes, and the candidates that hold it.
#[derive(Debug, Default)]
struct Part {
    bytes: u64,
    holders: Vec<usize>,
    left: usize,
}

/// The candidates that go so that at least `free` bytes are freed, if that can be, with what each of them frees.
/// What `live` reaches frees nothing.
pub(crate) fn cheapest(store: &Store, candidates: &[Candidate], live: &Live, free: u64) -> Result<Vec<Dropped>> {
    let mut names: HashMap<(u8, Digest), usize> = HashMap::new();
    let (mut parts, mut held): (Vec<Part>, Vec<Vec<usize>>) = (Vec::new(), Vec::new());
    for (at, candidate) in candidates.iter().enumerate() {
        let mut own = HashMap::new();
        for entry in &candidate.entries {
            weigh(store, entry, live, &mut own)?;
        }
        let mut list = Vec::with_capacity(own.len());
        for (name, bytes) in own {
            let part = *names.entry(name).or_insert_with(|| {
                parts.push(Part { bytes, ..Part::default() });
                parts.len() - 1
            });
            parts[part].holders.push(at);
            parts[part].left += 1;
            list.push(part);
        }
        list.sort_unstable();
        held.push(list);
    }
    let costs: Vec<f64> = candidates.iter().map(|candidate| candidate.cost).collect();
    Ok(pick(&costs, &mut parts, &held, free))
}

/// All blobs and trees in an entry that `live` does not hold, with their bytes on disk.
fn weigh(store: &Store, entry: &Entry, live: &Live, own: &mut HashMap<(u8, Digest), u64>) -> Result<()> {
    match entry {
        Entry::Link { .. } => {}
        Entry::File { digest, size, .. } if !live.content.contains(digest) => {
            own.insert((BLOB, *digest), store.weight(digest, *size));
        }
        Entry::Tree { digest } if !live.trees.contains(digest) && !own.contains_key(&(TREE, *digest)) => {
            if let Some(tree) = store.tree(digest)? {
                own.insert((TREE, *digest), Tree::encode(&tree).len() as u64);
                for (_, entry) in tree.entries() {
                    weigh(store, entry, live, own)?;
                }
            }
        }
        Entry::File { .. } | Entry::Tree { .. } => {}
    }
    Ok(())
}

/// A candidate in the queue: the cheapest for its weight comes first, and of equals the one that was made first.
#[derive(Debug)]
struct Turn {
    price: f64,
    at: usize,
    version: u32,
}

impl Ord for Turn {
    fn cmp(&self, other: &Self) -> Ordering {
        other.price.total_cmp(&self.price).then(other.at.cmp(&self.at)).then(self.version.cmp(&other.version))
    }
}

impl PartialOrd for Turn {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Turn {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Turn {}

fn pick(costs: &[f64], parts: &mut [Part], held: &[Vec<usize>], free: u64) -> Vec<Dropped> {
    let price = |at: usize, parts: &[Part]| {
        let share = |part: &usize| {
            let Part { bytes, left, .. } = parts[*part];
            if left > MOST_SHARED { 0.0 } else { bytes as f64 / left.max(1) as f64 }
        };
        let weight: f64 = held[at].iter().map(share).sum();
        (weight > 0.0).then(|| costs[at].max(0.0) / weight)
    };
    let mut versions = vec![0; costs.len()];
    let mut queue: BinaryHeap<Turn> = BinaryHeap::new();
    for at in 0..costs.len() {
        queue.extend(price(at, parts).map(|price| Turn { price, at, version: 0 }));
    }
    let (mut gone, mut freed) = (Vec::new(), 0);
    let mut is_gone = vec![false; costs.len()];
    while freed < free {
        let Some(turn) = queue.pop() else { break };
        if is_gone[turn.at] || versions[turn.at] != turn.version {
            continue;
        }
        is_gone[turn.at] = true;
        gone.push(turn.at);
        for part in &held[turn.at] {
            parts[*part].left -= 1;
            match parts[*part].left {
                0 => freed += parts[*part].bytes,
                left if left < MOST_SHARED => {
                    for other in parts[*part].holders.clone().into_iter().filter(|other| !is_gone[*other]) {
                        versions[other] += 1;
                        let version = versions[other];
                        queue.extend(price(other, parts).map(|price| Turn { price, at: other, version }));
                    }
                }
                _ => {}
            }
        }
    }
    keep_what_can_stay(costs, parts, held, free, freed, &mut gone);
    gone.iter().map(|at| Dropped { candidate: *at, bytes: frees(*at, &gone, parts, held) }).collect()
}

/// Takes back what was not needed: what frees nothing, and what is more than was asked for.
fn keep_what_can_stay(
    costs: &[f64],
    parts: &mut [Part],
    held: &[Vec<usize>],
    free: u64,
    mut freed: u64,
    gone: &mut Vec<usize>,
) {
    let mut dearest = gone.clone();
    dearest.sort_by(|a, b| costs[*b].total_cmp(&costs[*a]));
    for at in dearest {
        let bytes: u64 = held[at].iter().filter(|part| parts[**part].left == 0).map(|part| parts[*part].bytes).sum();
        if bytes == 0 || freed - bytes >= free {
            freed -= bytes;
            held[at].iter().for_each(|part| parts[*part].left += 1);
            gone.retain(|other| *other != at);
        }
    }
}

/// What this one frees: each part counts for the last of those that held it.
fn frees(at: usize, gone: &[usize], parts: &[Part], held: &[Vec<usize>]) -> u64 {
    let order = |wanted: usize| gone.iter().position(|other| *other == wanted);
    let last =
        |part: &Part| part.left == 0 && part.holders.iter().filter_map(|holder| order(*holder)).max() == order(at);
    held[at].iter().map(|part| &parts[*part]).filter(|part| last(part)).map(|part| part.bytes).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Candidates as `(cost, parts)`, parts as `(name, bytes)`; gives the candidates that go and what they free.
    fn check(candidates: &[(f64, &[(usize, u64)])], free: u64, expect: &[(usize, u64)]) {
        let count = candidates.iter().flat_map(|(_, own)| own.iter().map(|(part, _)| part + 1)).max().unwrap_or(0);
        let mut parts: Vec<Part> = (0..count).map(|_| Part::default()).collect();
        for (at, (_, own)) in candidates.iter().enumerate() {
            for (part, bytes) in *own {
                parts[*part].bytes = *bytes;
                parts[*part].holders.push(at);
                parts[*part].left += 1;
            }
        }
        let costs: Vec<f64> = candidates.iter().map(|(cost, _)| *cost).collect();
        let held: Vec<Vec<usize>> =
            candidates.iter().map(|(_, own)| own.iter().map(|(part, _)| *part).collect()).collect();
        let gone = pick(&costs, &mut parts, &held, free);
        let found: Vec<(usize, u64)> = gone.iter().map(|dropped| (dropped.candidate, dropped.bytes)).collect();
        assert_eq!(found, expect);
    }

    #[test]
    fn the_cheapest_for_its_bytes_goes_first() {
        let three: [(f64, &[(usize, u64)]); 3] = [(100.0, &[(0, 100)]), (1.0, &[(1, 100)]), (1.0, &[(2, 10)])];
        check(&three, 0, &[]);
        check(&three, 50, &[(1, 100)]);
        check(&three, 105, &[(1, 100), (2, 10)]);
        check(&three, 1000, &[(1, 100), (2, 10), (0, 100)]);
    }

    #[test]
    fn what_is_shared_goes_only_with_all_who_hold_it() {
        let shared: [(f64, &[(usize, u64)]); 3] = [(1.0, &[(0, 1000)]), (2.0, &[(0, 1000)]), (50.0, &[(1, 100)])];
        check(&shared, 500, &[(0, 0), (1, 1000)]);
        // Nothing is freed by the one alone, so it stays where the other is too dear.
        let dear: [(f64, &[(usize, u64)]); 3] = [(1.0, &[(0, 100)]), (900.0, &[(0, 100)]), (50.0, &[(1, 100)])];
        check(&dear, 100, &[(2, 100)]);
    }

    #[test]
    fn what_was_not_needed_stays() {
        // The small one is cheaper for its bytes, and then the large one is needed anyway and suffices alone.
        check(&[(1.0, &[(0, 10)]), (200.0, &[(1, 1000)])], 900, &[(1, 1000)]);
        check(&[(1.0, &[])], 900, &[]);
    }
}
