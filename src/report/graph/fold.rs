//! Folds nodes that a reader takes as one: the wheels of an environment, and the cells of a matrix.

use std::collections::{BTreeMap, BTreeSet};

use super::{Edge, GraphView, Node, NodeState};

/// What to fold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fold {
    /// Steps beside each other below one name (`env/numpy`, `env/torch`, …), with the same readers and inputs,
    /// become one from this many on.
    pub siblings_from: usize,
    /// The cells of a matrix become one from this many on.
    pub cells_from: usize,
}

impl Fold {
    /// For text: every matrix is one line.
    pub const TEXT: Fold = Fold { siblings_from: 3, cells_from: 2 };
    /// For pictures: a matrix is drawn cell by cell as long as that can be read.
    pub const PICTURE: Fold = Fold { siblings_from: 3, cells_from: 25 };
}

/// The graph with equal nodes folded, in the order of the first of each.
pub fn fold(view: &GraphView, rule: Fold) -> GraphView {
    let keys = keys(view);
    let mut members: BTreeMap<&Key, Vec<usize>> = BTreeMap::new();
    for (place, key) in keys.iter().enumerate() {
        if let Some(key) = key {
            members.entry(key).or_default().push(place);
        }
    }
    let least = |key: &Key| match key {
        Key::Cells(_) => rule.cells_from,
        Key::Siblings { .. } => rule.siblings_from,
    };
    members.retain(|key, places| places.len() >= least(key).max(2));

    let mut out = GraphView { title: view.title.clone(), ..GraphView::default() };
    let mut moved = vec![0; view.nodes.len()];
    for (place, node) in view.nodes.iter().enumerate() {
        match keys[place].as_ref().and_then(|key| Some((key, members.get(key)?))) {
            Some((_, places)) if places[0] != place => moved[place] = moved[places[0]],
            Some((key, places)) => {
                moved[place] = out.nodes.len();
                out.nodes.push(folded(view, key, places));
            }
            None => {
                moved[place] = out.nodes.len();
                out.nodes.push(node.clone());
            }
        }
    }
    let edges: BTreeSet<Edge> = view
        .edges
        .iter()
        .filter(|edge| edge.from < moved.len() && edge.to < moved.len())
        .map(|edge| Edge { from: moved[edge.from], to: moved[edge.to] })
        .filter(|edge| edge.from != edge.to)
        .collect();
    out.edges = edges.into_iter().collect();
    out
}

/// By what nodes are folded.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Cells(String),
    Siblings { folder: String, reads: Vec<usize>, readers: Vec<usize> },
}

fn keys(view: &GraphView) -> Vec<Option<Key>> {
    let mut reads = vec![Vec::new(); view.nodes.len()];
    let mut readers = vec![Vec::new(); view.nodes.len()];
    for edge in &view.edges {
        if let (Some(inputs), Some(outputs)) = (reads.get_mut(edge.to), readers.get_mut(edge.from)) {
            inputs.push(edge.from);
            outputs.push(edge.to);
        }
    }
    let sorted = |places: &Vec<usize>| {
        let mut places = places.clone();
        places.sort_unstable();
        places
    };
    view.nodes
        .iter()
        .enumerate()
        .map(|(place, node)| match (&node.cell, node.name.rsplit_once('/')) {
            (Some(_), _) => Some(Key::Cells(node.group.clone())),
            (None, Some((folder, _))) => Some(Key::Siblings {
                folder: folder.to_owned(),
                reads: sorted(&reads[place]),
                readers: sorted(&readers[place]),
            }),
            (None, None) => None,
        })
        .collect()
}

fn folded(view: &GraphView, key: &Key, places: &[usize]) -> Node {
    let nodes: Vec<&Node> = places.iter().map(|&place| &view.nodes[place]).collect();
    let first = nodes[0];
    let count: u32 = nodes.iter().map(|node| node.count).sum();
    let name = match key {
        Key::Cells(group) => format!("{group} ×{count}"),
        Key::Siblings { folder, .. } => format!("{folder}/… ×{count}"),
    };
    let same = nodes.iter().all(|node| node.state == first.state);
    Node {
        id: first.id.clone(),
        name,
        group: first.group.clone(),
        recipe: first.recipe.clone(),
        class: first.class,
        state: if same { first.state.clone() } else { leading(&nodes) },
        detail: (!same).then(|| tally(&nodes)),
        cell: None,
        count,
    }
}

/// The state that a reader of a mixed group looks for first; its reason is only one of several.
fn leading(nodes: &[&Node]) -> NodeState {
    let weight = |state: &NodeState| match state {
        NodeState::Failed(_) => 0,
        NodeState::Runs(_) => 1,
        NodeState::DependsOn(_) => 2,
        NodeState::Cached => 3,
        NodeState::Plain => 4,
        NodeState::NotNeeded | NodeState::NotSelected => 5,
        NodeState::Unavailable(_) => 6,
        NodeState::Excluded(_) => 7,
    };
    let state = nodes.iter().map(|node| &node.state).min_by_key(|state| weight(state));
    match state {
        Some(NodeState::Failed(_)) => NodeState::Failed(String::new()),
        Some(NodeState::Runs(_)) => NodeState::Runs(String::new()),
        Some(NodeState::DependsOn(_)) => NodeState::DependsOn(String::new()),
        Some(NodeState::Unavailable(_)) => NodeState::Unavailable(String::new()),
        Some(other) => other.clone(),
        None => NodeState::Plain,
    }
}

/// `4 cached, 6 unavailable`, in the order in which the states appear.
fn tally(nodes: &[&Node]) -> String {
    let mut counts: Vec<(&str, u32)> = Vec::new();
    for node in nodes {
        let name = if node.state == NodeState::Plain { "there" } else { node.state.name() };
        match counts.iter_mut().find(|(other, _)| *other == name) {
            Some((_, n)) => *n += node.count,
            None => counts.push((name, node.count)),
        }
    }
    counts.iter().map(|(name, n)| format!("{n} {name}")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::super::tests::example;
    use super::*;

    #[test]
    fn wheels_and_cells_are_folded() {
        let folded = fold(&example(), Fold::TEXT);
        let names: Vec<&str> = folded.nodes.iter().map(|node| node.name.as_str()).collect();
        assert_eq!(names[..2], ["env/… ×38", "env"]);
        assert!(names.contains(&"decode ×12") && names.contains(&"engine/torch"));
        let decode = folded.nodes.iter().find(|node| node.name == "decode ×12");
        assert_eq!(
            decode.and_then(|node| node.detail.as_deref()),
            Some("2 cached, 6 unavailable, 2 excluded, 2 depends")
        );
        assert_eq!(folded.nodes.iter().map(|node| node.count).sum::<u32>() as usize, example().nodes.len());
    }

    #[test]
    fn a_picture_keeps_the_cells() {
        let folded = fold(&example(), Fold::PICTURE);
        assert_eq!(folded.nodes.iter().filter(|node| node.cell.is_some()).count(), 12);
    }
}
