//! Order and heights inside of columns: lines cross as seldom as swapping neighbours can bring about, and each node
//! stands as near to the middle of what it is joined with as the others let it.
//!
//! The script of the page does the second part again when a group is opened or shut; both do the same.

/// What stands in a column: a node, or a line that passes.
#[derive(Debug, Clone, Default)]
pub struct Item {
    pub height: f64,
    /// Its middle.
    pub y: f64,
    /// Items of columns before and after that a line joins with it.
    pub left: Vec<usize>,
    pub right: Vec<usize>,
}

/// Room between two items.
pub const GAP: f64 = 14.0;
const ROUNDS: usize = 6;
/// More joints than this are left in the order in which they came.
const MOST: usize = 6_000;

/// Orders and places the items of each column; `top` is the least that any of them reaches.
pub fn settle(items: &mut [Item], columns: &mut [Vec<usize>], top: f64) {
    if items.iter().map(|item| item.left.len()).sum::<usize>() <= MOST {
        untangle(items, columns);
    }
    for _ in 0..ROUNDS {
        for column in columns.iter() {
            place(items, column, |item| &item.left);
        }
        for column in columns.iter().rev() {
            place(items, column, |item| &item.right);
        }
    }
    let least = items.iter().map(|item| item.y - item.height / 2.0).fold(f64::INFINITY, f64::min);
    items.iter_mut().for_each(|item| item.y += top - least);
}

/// Swaps neighbours as long as that makes fewer lines cross.
fn untangle(items: &[Item], columns: &mut [Vec<usize>]) {
    let mut rank = vec![0; items.len()];
    for column in columns.iter() {
        column.iter().enumerate().for_each(|(at, &item)| rank[item] = at);
    }
    let ranks = |item: &Item, rank: &[usize]| -> [Vec<usize>; 2] {
        [&item.left, &item.right].map(|side| {
            let mut ranks: Vec<usize> = side.iter().map(|other| rank[*other]).collect();
            ranks.sort_unstable();
            ranks
        })
    };
    for _ in 0..ROUNDS {
        let mut better = false;
        for column in columns.iter_mut() {
            for at in 1..column.len() {
                let (above, below) = (column[at - 1], column[at]);
                let (a, b) = (ranks(&items[above], &rank), ranks(&items[below], &rank));
                let now: usize = a.iter().zip(&b).map(|(a, b)| crossings(a, b)).sum();
                let swapped: usize = a.iter().zip(&b).map(|(a, b)| crossings(b, a)).sum();
                if swapped < now {
                    column.swap(at - 1, at);
                    rank.swap(above, below);
                    better = true;
                }
            }
        }
        if !better {
            return;
        }
    }
}

/// How many pairs of lines cross where the ends of the upper item's lines are `above` and those of the lower one's
/// `below`, both sorted.
fn crossings(above: &[usize], below: &[usize]) -> usize {
    above.iter().map(|end| below.partition_point(|other| other < end)).sum()
}

/// Puts the items of a column as near to where they want to be as their heights allow: neighbours that would
/// overlap move together to the mean of their wishes (pool adjacent violators).
fn place(items: &mut [Item], column: &[usize], side: impl Fn(&Item) -> &Vec<usize>) {
    let mut offset = 0.0;
    let mut offsets = Vec::with_capacity(column.len());
    // Of each group the sum of its wishes, less the heights above them, and their number.
    let mut groups: Vec<(f64, f64)> = Vec::new();
    for (at, &place) in column.iter().enumerate() {
        let item = &items[place];
        if at > 0 {
            offset += (items[column[at - 1]].height + item.height) / 2.0 + GAP;
        }
        offsets.push(offset);
        let joined = side(item);
        let wish = match joined.len() {
            0 => item.y,
            count => joined.iter().map(|other| items[*other].y).sum::<f64>() / count as f64,
        };
        groups.push((wish - offset, 1.0));
        while let [.., (upper, n), (lower, m)] = groups[..]
            && upper / n > lower / m
        {
            groups.truncate(groups.len() - 2);
            groups.push((upper + lower, n + m));
        }
    }
    let middles = groups.iter().flat_map(|(sum, count)| std::iter::repeat_n(sum / count, *count as usize));
    for ((&place, offset), middle) in column.iter().zip(offsets).zip(middles) {
        items[place].y = middle + offset;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(heights: &[f64], joints: &[(usize, usize)]) -> Vec<Item> {
        let item = |height: &f64| Item { height: *height, ..Item::default() };
        let mut items: Vec<Item> = heights.iter().map(item).collect();
        for &(from, to) in joints {
            items[from].right.push(to);
            items[to].left.push(from);
        }
        items
    }

    #[test]
    fn crossed_lines_are_uncrossed() {
        let mut items = items(&[10.0; 4], &[(0, 3), (1, 2)]);
        let mut columns = vec![vec![0, 1], vec![2, 3]];
        settle(&mut items, &mut columns, 0.0);
        assert_ne!(columns[0] == [0, 1], columns[1] == [2, 3], "one of both columns was turned");
        assert_eq!((items[0].y, items[1].y), (items[3].y, items[2].y), "and the lines are level");
    }

    #[test]
    fn nothing_overlaps_and_all_begins_at_the_top() {
        let mut items = items(&[40.0, 200.0, 40.0, 6.0, 90.0], &[(0, 1), (0, 2), (0, 3), (1, 4), (2, 4), (3, 4)]);
        let mut columns = vec![vec![0], vec![1, 2, 3], vec![4]];
        settle(&mut items, &mut columns, 16.0);
        for column in &columns {
            for pair in column.windows(2) {
                let (a, b) = (&items[pair[0]], &items[pair[1]]);
                assert!(b.y - a.y >= (a.height + b.height) / 2.0 + GAP - 1e-6, "{a:?} {b:?}");
            }
        }
        let top = items.iter().map(|item| item.y - item.height / 2.0).fold(f64::INFINITY, f64::min);
        assert!((top - 16.0).abs() < 1e-6);
        let middle = (items[1].y + items[2].y + items[3].y) / 3.0;
        assert!((items[4].y - middle).abs() < 1e-6, "a reader stands in the middle of what it reads");
    }
}
