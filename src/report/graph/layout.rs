//! Where everything stands, from left to right: layers and a first order by `dugong`, the rest by [`settle`].
//!
//! Lines that others imply are left out first: where A reads B and C, and B reads C, the line from C to A says
//! nothing about the order of work, and hides what does.

use dugong::graphlib::{Graph, GraphOptions};
use dugong::{EdgeLabel, GraphLabel, LayoutError, NodeLabel, RankDir};

use super::Edge;
use super::settle::{Item, settle};

/// The room around the picture.
pub const MARGIN: f64 = 16.0;
/// Room of a line that passes a column.
const BEND: f64 = 6.0;
/// Above this many nodes lines are drawn as they are: what they imply would take too long to tell.
const REDUCED: usize = 5_000;

/// Nodes by their centres, lines by the points that they pass.
#[derive(Debug, Clone, PartialEq)]
pub struct Placed {
    pub width: f64,
    pub height: f64,
    pub nodes: Vec<(f64, f64)>,
    pub lines: Vec<Line>,
    /// From left to right.
    pub columns: Vec<Column>,
}

/// Nodes below each other.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Column {
    pub middle: f64,
    /// Of its widest node.
    pub width: f64,
}

/// A drawn edge.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    pub edge: Edge,
    /// Where it crosses the columns between its ends, so that it passes no node there: column and height.
    pub bends: Vec<(usize, f64)>,
}

impl Placed {
    /// The column of a node.
    pub fn column(&self, node: usize) -> usize {
        self.columns.partition_point(|column| column.middle < self.nodes[node].0 - 1.0)
    }
}

/// Places nodes of these widths and heights.
pub fn place(sizes: &[(f64, f64)], edges: &[Edge]) -> Result<Placed, LayoutError> {
    let edges = reduced(sizes.len(), edges);
    let options = GraphOptions { directed: true, ..GraphOptions::default() };
    let mut graph: Graph<NodeLabel, EdgeLabel, GraphLabel> = Graph::new(options);
    graph.set_graph(GraphLabel {
        rankdir: RankDir::LR,
        nodesep: 14.0,
        ranksep: 44.0,
        edgesep: 10.0,
        marginx: MARGIN,
        marginy: MARGIN,
        ..GraphLabel::default()
    });
    // The layout orders nodes by their names, so these are padded to sort as numbers do.
    let name = |place: usize| format!("n{place:06}");
    for (place, &(width, height)) in sizes.iter().enumerate() {
        graph.set_node(name(place), NodeLabel { width, height, ..NodeLabel::default() });
    }
    for edge in &edges {
        graph.set_edge_with_label(name(edge.from), name(edge.to), EdgeLabel::default());
    }
    dugong::layout(&mut graph)?;

    let mut nodes: Vec<(f64, f64)> = (0..sizes.len())
        .map(|place| graph.node(&name(place)).and_then(|node| Some((node.x?, node.y?))).unwrap_or_default())
        .collect();
    let mut columns: Vec<f64> = nodes.iter().map(|(x, _)| *x).collect();
    columns.sort_by(f64::total_cmp);
    columns.dedup_by(|a, b| (*a - *b).abs() < 1.0);
    let line = |edge: &Edge| {
        let bends = graph.edge(&name(edge.from), &name(edge.to), None).map(|edge| edge.points.as_slice());
        let (from, to) = (nodes[edge.from].0, nodes[edge.to].0);
        let bends = bends.unwrap_or_default().iter().filter_map(|point| {
            let column = columns.partition_point(|x| *x < point.x - 1.0);
            let on = columns.get(column).is_some_and(|x| (x - point.x).abs() < 1.0);
            // The layout's other bends only make short lines wavy.
            (on && point.x > from + 1.0 && point.x < to - 1.0).then_some((column, point.y))
        });
        Line { edge: *edge, bends: bends.collect() }
    };
    let mut lines: Vec<Line> = edges.iter().map(line).collect();
    heights(sizes, &columns, &mut nodes, &mut lines);
    let widest = |middle: f64| {
        let inside = nodes.iter().zip(sizes).filter(move |((x, _), _)| (x - middle).abs() < 1.0);
        inside.map(|(_, (width, _))| *width).fold(0.0, f64::max)
    };
    let columns: Vec<Column> = columns.iter().map(|&middle| Column { middle, width: widest(middle) }).collect();
    let right = columns.iter().map(|column| column.middle + column.width / 2.0);
    let bottom = nodes.iter().zip(sizes).map(|((_, y), (_, height))| y + height / 2.0);
    let bends = lines.iter().flat_map(|line| &line.bends).map(|(_, y)| *y);
    Ok(Placed {
        width: right.fold(0.0, f64::max) + MARGIN,
        height: bottom.chain(bends).fold(0.0, f64::max) + MARGIN,
        nodes,
        columns,
        lines,
    })
}

/// Moves nodes and bends up and down inside of their columns.
fn heights(sizes: &[(f64, f64)], middles: &[f64], nodes: &mut [(f64, f64)], lines: &mut [Line]) {
    let mut items: Vec<Item> =
        nodes.iter().zip(sizes).map(|(&(_, y), &(_, height))| Item { y, height, ..Item::default() }).collect();
    let mut columns: Vec<Vec<usize>> = vec![Vec::new(); middles.len()];
    for (place, (x, _)) in nodes.iter().enumerate() {
        columns[middles.partition_point(|middle| *middle < x - 1.0)].push(place);
    }
    for line in lines.iter() {
        let mut before = line.edge.from;
        let bends = line.bends.iter().map(|&(column, y)| Some((column, y)));
        for bend in bends.chain([None]) {
            let here = match bend {
                Some((column, y)) => {
                    columns[column].push(items.len());
                    items.push(Item { y, height: BEND, ..Item::default() });
                    items.len() - 1
                }
                None => line.edge.to,
            };
            items[before].right.push(here);
            items[here].left.push(before);
            before = here;
        }
    }
    for column in &mut columns {
        column.sort_by(|a, b| items[*a].y.total_cmp(&items[*b].y));
    }
    settle(&mut items, &mut columns, MARGIN);
    let mut settled = items.iter().map(|item| item.y);
    nodes.iter_mut().zip(&mut settled).for_each(|(node, y)| node.1 = y);
    lines.iter_mut().flat_map(|line| &mut line.bends).zip(settled).for_each(|(bend, y)| bend.1 = y);
}

/// The edges without those that longer ways imply; all of them where the graph is large or goes in a circle.
pub fn reduced(count: usize, edges: &[Edge]) -> Vec<Edge> {
    let Some(order) = order(count, edges).filter(|_| count <= REDUCED) else { return edges.to_vec() };
    let mut rank = vec![0; count];
    for (at, &place) in order.iter().enumerate() {
        rank[place] = at;
    }
    let mut next = vec![Vec::new(); count];
    for edge in edges {
        next[edge.from].push(edge.to);
    }
    let words = count.div_ceil(64);
    let mut reach = vec![0u64; count * words];
    let mut kept = Vec::with_capacity(edges.len());
    for &from in order.iter().rev() {
        next[from].sort_unstable_by_key(|to| rank[*to]);
        let mut below = vec![0u64; words];
        for &to in &next[from] {
            // The nearest comes first, so what it leads to is known before a longer line asks.
            if below[to / 64] >> (to % 64) & 1 == 0 {
                kept.push(Edge { from, to });
                below[to / 64] |= 1 << (to % 64);
                for (word, more) in below.iter_mut().zip(&reach[to * words..]) {
                    *word |= more;
                }
            }
        }
        reach[from * words..(from + 1) * words].copy_from_slice(&below);
    }
    kept.sort_unstable();
    kept
}

/// Every place after those that lead to it; none where there is a circle.
fn order(count: usize, edges: &[Edge]) -> Option<Vec<usize>> {
    let mut open = vec![0; count];
    let mut next = vec![Vec::new(); count];
    for edge in edges {
        open[edge.to] += 1;
        next[edge.from].push(edge.to);
    }
    let mut order: Vec<usize> = (0..count).filter(|place| open[*place] == 0).collect();
    let mut at = 0;
    while let Some(&place) = order.get(at) {
        at += 1;
        for &to in &next[place] {
            open[to] -= 1;
            if open[to] == 0 {
                order.push(to);
            }
        }
    }
    (order.len() == count).then_some(order)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edges(pairs: &[(usize, usize)]) -> Vec<Edge> {
        pairs.iter().map(|&(from, to)| Edge { from, to }).collect()
    }

    #[test]
    fn lines_that_others_imply_are_left_out() {
        let all = edges(&[(0, 1), (0, 2), (0, 3), (1, 2), (2, 3), (1, 3)]);
        assert_eq!(reduced(4, &all), edges(&[(0, 1), (1, 2), (2, 3)]));
        assert_eq!(reduced(4, &edges(&[(3, 0), (0, 1), (3, 1)])), edges(&[(0, 1), (3, 0)]), "in any order of places");
        let circle = edges(&[(0, 1), (1, 0)]);
        assert_eq!(reduced(2, &circle), circle);
        assert_eq!(reduced(0, &[]), []);
    }

    #[test]
    fn nodes_do_not_touch_and_lines_run_to_the_right() {
        let all = edges(&[(0, 1), (0, 2), (1, 3), (2, 4), (4, 5), (3, 5), (0, 6), (6, 5)]);
        let sizes =
            vec![(100.0, 40.0), (80.0, 120.0), (90.0, 40.0), (70.0, 40.0), (60.0, 60.0), (50.0, 40.0), (40.0, 40.0)];
        let placed = place(&sizes, &all).unwrap();
        assert_eq!(placed, place(&sizes, &all).unwrap());
        for line in &placed.lines {
            assert!(placed.nodes[line.edge.from].0 < placed.nodes[line.edge.to].0);
        }
        for a in 0..sizes.len() {
            for b in a + 1..sizes.len() {
                let apart = |by: fn((f64, f64)) -> f64| {
                    (by(placed.nodes[a]) - by(placed.nodes[b])).abs() >= (by(sizes[a]) + by(sizes[b])) / 2.0
                };
                assert!(apart(|at| at.0) || apart(|at| at.1), "{a} and {b}");
            }
        }
    }
}
