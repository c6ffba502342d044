//! Folds nodes that a reader takes as one: the wheels of an environment, the cells of a matrix, the steps of a
//! recipe.

use std::collections::BTreeMap;

use super::{Edge, GraphView, Node, NodeState};

/// How much is folded; each folds what those before it do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Collapse {
    /// Every step by itself.
    None,
    /// What a step has fetched for itself (`env/numpy`, `env/torch`, …) becomes part of it, from this many on:
    /// [`FETCHES`].
    Fetch,
    /// The cells of a matrix become one.
    Cells,
    /// A node of the pipeline's file is one, with all of its cells and all steps of its recipe.
    Recipes,
}

/// From how many fetches on one can't take each of them in.
pub const FETCHES: usize = 3;

impl Collapse {
    /// For text: the most that can be shown in `most` nodes.
    pub fn fitting(view: &GraphView, most: usize) -> Collapse {
        let fits = |level: &Collapse| homes(view, *level).1 <= most;
        [Collapse::Fetch, Collapse::Cells].into_iter().find(fits).unwrap_or(Collapse::Recipes)
    }

    /// For pictures, which show folded steps as the rows of a block.
    pub fn blocks(view: &GraphView) -> Collapse {
        let (cells, recipes) = (homes(view, Collapse::Cells).1, homes(view, Collapse::Recipes).1);
        // A file that is one call of a large recipe shows what is in the recipe.
        if cells <= 10 || recipes < 4 { Collapse::Cells } else { Collapse::Recipes }
    }
}

/// The graph with what belongs together folded, each node where the first of its steps stood.
pub fn fold(view: &GraphView, level: Collapse) -> GraphView {
    let (home, count) = homes(view, level);
    if count == view.nodes.len() {
        return view.clone();
    }
    let mut members: Vec<Vec<usize>> = vec![Vec::new(); count];
    for (place, &home) in home.iter().enumerate() {
        members[home].push(place);
    }
    let nodes = members.iter().map(|places| match places.as_slice() {
        [one] => view.nodes[*one].clone(),
        several => folded(view, several),
    });
    let nodes = nodes.collect();
    let mut edges: Vec<Edge> = view
        .edges
        .iter()
        .map(|edge| Edge { from: home[edge.from], to: home[edge.to] })
        .filter(|edge| edge.from != edge.to)
        .collect();
    edges.sort_unstable();
    edges.dedup();
    GraphView { title: view.title.clone(), nodes, edges }
}

/// For each node the place of what it is folded into, and how many places there are.
fn homes(view: &GraphView, level: Collapse) -> (Vec<usize>, usize) {
    // Nodes with the same label are one; a node without keeps to itself.
    let fetched = if level >= Collapse::Fetch { fetched(view) } else { vec![None; view.nodes.len()] };
    let mut labels = fetched.clone();
    let one_focus = view.nodes.iter().filter(|node| node.focus).count() == 1;
    for (place, node) in view.nodes.iter().enumerate() {
        let host = match &fetched[place] {
            Some(Label::Into(host)) => &view.nodes[*host],
            _ => node,
        };
        let label = match level {
            _ if host.focus && one_focus => None,
            Collapse::None | Collapse::Fetch => None,
            Collapse::Cells => host.cell.as_ref().map(|_| Label::Group(host.group.clone())),
            Collapse::Recipes => Some(Label::Group(host.call().to_owned())),
        };
        labels[place] = label.or(labels[place].take());
    }
    loop {
        let (home, count) = numbered(&labels);
        // Steps as they are never wait for each other.
        if count == view.nodes.len() {
            return (home, count);
        }
        let loops = looping(view, &home, count);
        if loops.is_empty() {
            return (home, count);
        }
        // Folded, they would wait for each other, which their steps don't.
        let mut changed = false;
        for place in 0..labels.len() {
            if loops[home[place]] && labels[place] != fetched[place] {
                labels[place] = fetched[place].clone();
                changed = true;
            }
        }
        if !changed {
            return (home, count);
        }
    }
}

/// By what nodes are folded.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Label {
    /// Into the step at this place, which has this label too.
    Into(usize),
    /// Beside each other: with others of the same folder that the same steps read.
    Beside(String, Vec<usize>),
    Group(String),
}

/// The labels of fetches that belong to one step, and of that step.
fn fetched(view: &GraphView) -> Vec<Option<Label>> {
    let mut readers = vec![Vec::new(); view.nodes.len()];
    let mut reads = vec![false; view.nodes.len()];
    for edge in &view.edges {
        readers[edge.from].push(edge.to);
        reads[edge.to] = true;
    }
    let mut families: BTreeMap<(&str, &[usize]), Vec<usize>> = BTreeMap::new();
    for (place, node) in view.nodes.iter().enumerate() {
        let fetch = node.class == crate::pipeline::Class::Fetch && !reads[place] && !node.focus;
        if let (true, Some((folder, _))) = (fetch, node.name.rsplit_once('/')) {
            families.entry((folder, &readers[place])).or_default().push(place);
        }
    }
    let mut labels = vec![None; view.nodes.len()];
    for ((folder, readers), places) in families.into_iter().filter(|(_, places)| places.len() >= FETCHES) {
        let label = match readers {
            [reader] if view.nodes[*reader].name == folder => {
                labels[*reader] = Some(Label::Into(*reader));
                Label::Into(*reader)
            }
            _ => Label::Beside(folder.to_owned(), readers.to_vec()),
        };
        for place in places {
            labels[place] = Some(label.clone());
        }
    }
    labels
}

fn numbered(labels: &[Option<Label>]) -> (Vec<usize>, usize) {
    let mut count = 0;
    let mut known: BTreeMap<&Label, usize> = BTreeMap::new();
    let mut next = || {
        count += 1;
        count - 1
    };
    let home = labels.iter().map(|label| match label {
        Some(label) => *known.entry(label).or_insert_with(&mut next),
        None => next(),
    });
    let home = home.collect();
    (home, count)
}

/// Which folded nodes lie on a circle or between two of them; empty where there is none.
fn looping(view: &GraphView, home: &[usize], count: usize) -> Vec<bool> {
    let mut edges: Vec<(usize, usize)> =
        view.edges.iter().map(|edge| (home[edge.from], home[edge.to])).filter(|(from, to)| from != to).collect();
    edges.sort_unstable();
    edges.dedup();
    let mut left = vec![true; count];
    // What no other node leads to is on no circle, and neither is what leads to none.
    for forward in [true, false] {
        let mut next = vec![Vec::new(); count];
        let mut open = vec![0; count];
        for &(from, to) in edges.iter().filter(|(from, to)| left[*from] && left[*to]) {
            let (from, to) = if forward { (from, to) } else { (to, from) };
            next[from].push(to);
            open[to] += 1;
        }
        let mut free: Vec<usize> = (0..count).filter(|place| left[*place] && open[*place] == 0).collect();
        while let Some(place) = free.pop() {
            left[place] = false;
            for &to in &next[place] {
                open[to] -= 1;
                if open[to] == 0 {
                    free.push(to);
                }
            }
        }
    }
    if left.contains(&true) { left } else { Vec::new() }
}

fn folded(view: &GraphView, places: &[usize]) -> Node {
    let nodes: Vec<&Node> = places.iter().map(|&place| &view.nodes[place]).collect();
    let count: u32 = nodes.iter().map(|node| node.count).sum();
    let first = nodes[0];
    let cells = nodes.iter().all(|node| node.cell.is_some() && node.group == first.group);
    let folder = |node: &Node| node.name.rsplit_once('/').map(|(folder, _)| folder.to_owned());
    let fetch = |node: &&Node| node.class == crate::pipeline::Class::Fetch && folder(node) == folder(first);
    let beside = folder(first).filter(|_| nodes.iter().all(fetch));
    // A step that took in what it fetches keeps its name; the steps of a recipe get that of its node in the file.
    let shortest = nodes.iter().min_by_key(|node| node.name.len()).unwrap_or(&first);
    let inside = |node: &&Node| node.name.strip_prefix(&shortest.name).is_some_and(|rest| rest.starts_with('/'));
    let host = nodes.iter().filter(|node| inside(node)).count() + 1 == nodes.len();
    let main =
        if host { shortest } else { nodes.iter().rev().find(|node| node.group == node.call()).unwrap_or(&first) };
    let whole = if host { main.name.clone() } else { first.call().to_owned() };
    let (group, name) = match beside {
        _ if cells => (first.group.clone(), format!("{} ×{count}", first.group)),
        Some(folder) => (folder.clone(), format!("{folder}/… ×{count}")),
        None => (whole.clone(), format!("{whole} ({count} steps)")),
    };
    let same = nodes.iter().all(|node| node.state == first.state);
    let alike = nodes.iter().all(|node| node.state.name() == first.state.name());
    Node {
        group,
        recipe: main.recipe.clone(),
        detail: (!alike).then(|| tally(&nodes)),
        count,
        focus: nodes.iter().any(|node| node.focus),
        past: super::Past { took: together(&nodes), ..super::Past::default() },
        members: nodes.iter().map(|node| (*node).clone()).collect(),
        ..Node::new(&first.id, name, main.class, if same { first.state.clone() } else { leading(&nodes) })
    }
}

/// What the steps took one after the other, where that is known of each that is there or will run.
fn together(nodes: &[&Node]) -> Option<super::Took> {
    let known = nodes.iter().filter_map(|node| node.past.took);
    let time = known.clone().map(|took| took.time).sum();
    let missing = |node: &&&Node| {
        let counts = matches!(node.state, NodeState::Cached | NodeState::Runs(_) | NodeState::DependsOn(_));
        counts && node.past.took.is_none()
    };
    let none = known.clone().next().is_none() || nodes.iter().any(|node| missing(&node));
    (!none).then(|| super::Took { time, exact: known.clone().all(|took| took.exact) })
}

/// The state that a reader of a mixed group looks for first; its reason is only one of several.
pub(super) fn leading(nodes: &[&Node]) -> NodeState {
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

/// `4 cached, 6 unavailable`, what a reader looks for first at the front; empty where nothing is said of any.
pub(super) fn tally(nodes: &[&Node]) -> String {
    let mut counts: BTreeMap<(u32, &str), u32> = BTreeMap::new();
    for node in nodes.iter().filter(|node| node.state != NodeState::Plain) {
        *counts.entry((order(&node.state), node.state.name())).or_default() += node.count;
    }
    counts.iter().map(|((_, name), n)| format!("{n} {name}")).collect::<Vec<_>>().join(", ")
}

fn order(state: &NodeState) -> u32 {
    match state {
        NodeState::Failed(_) => 0,
        NodeState::Cached => 1,
        NodeState::Runs(_) => 2,
        NodeState::DependsOn(_) => 3,
        NodeState::Unavailable(_) => 4,
        NodeState::Excluded(_) => 5,
        NodeState::NotNeeded | NodeState::NotSelected | NodeState::Plain => 6,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::example;
    use super::*;
    use crate::pipeline::{Cell, Class};

    fn names(view: &GraphView) -> Vec<&str> {
        view.nodes.iter().map(|node| node.name.as_str()).collect()
    }

    fn steps(view: &GraphView) -> usize {
        view.nodes.iter().map(|node| node.count).sum::<u32>() as usize
    }

    #[test]
    fn each_level_folds_more() {
        let view = example();
        assert!(fold(&view, Collapse::None).nodes == view.nodes);
        let sizes = [Collapse::Fetch, Collapse::Cells, Collapse::Recipes].map(|level| {
            let folded = fold(&view, level);
            assert_eq!(steps(&folded), view.nodes.len());
            folded.nodes.len()
        });
        assert_eq!(sizes, [23, 12, 10]);
    }

    #[test]
    fn wheels_fold_into_their_environment_and_cells_into_one() {
        let folded = fold(&example(), Collapse::Cells);
        let names = names(&folded);
        assert_eq!(names[..2], ["env (39 steps)", "model"]);
        assert!(names.contains(&"decode ×12") && names.contains(&"engine/torch"));
        let decode = folded.nodes.iter().find(|node| node.name == "decode ×12");
        let tally = decode.and_then(|node| node.detail.as_deref());
        assert_eq!(tally, Some("2 cached, 2 depends, 6 unavailable, 2 excluded"));
        assert_eq!(decode.map(|node| node.members.len()), Some(12));
    }

    #[test]
    fn fetches_that_several_read_fold_beside_each_other() {
        let mut view = example();
        let model = view.nodes.iter().position(|node| node.name == "model").unwrap();
        view.edges.extend((0..38).map(|from| Edge { from, to: model }));
        assert_eq!(names(&fold(&view, Collapse::Fetch))[..2], ["env/… ×38", "env"]);
    }

    #[test]
    fn groups_that_would_wait_for_each_other_stay_apart() {
        let mut view = GraphView::default();
        for (group, axis) in [("a", "1"), ("b", "1"), ("b", "2"), ("a", "2"), ("c", "1"), ("c", "2")] {
            let mut node = Node::new("s", format!("{group}[x={axis}]"), Class::Build, NodeState::Cached);
            node.group = group.to_owned();
            node.cell = Some(Cell(vec![("x".to_owned(), axis.to_owned())]));
            view.nodes.push(node);
        }
        view.edges = [(0, 1), (2, 3), (1, 4), (3, 5)].map(|(from, to)| Edge { from, to }).to_vec();
        assert_eq!(names(&fold(&view, Collapse::Cells)), ["a[x=1]", "b[x=1]", "b[x=2]", "a[x=2]", "c ×2"]);
    }

    #[test]
    fn what_is_asked_for_by_itself_stays_by_itself() {
        let mut view = example();
        let cell = view.nodes.iter().position(|node| node.cell.is_some()).unwrap();
        view.nodes[cell].focus = true;
        view.nodes[4].focus = false;
        let folded = fold(&view, Collapse::Recipes);
        assert!(names(&folded).contains(&"decode[engine=torch,place=native,device=cpu]"));
        assert!(names(&folded).contains(&"decode ×11"));
    }

    #[test]
    fn the_level_follows_the_size() {
        let view = example();
        let fitting = [100, 20, 11, 1].map(|most| Collapse::fitting(&view, most));
        assert_eq!(fitting, [Collapse::Fetch, Collapse::Cells, Collapse::Recipes, Collapse::Recipes]);
        assert_eq!(Collapse::blocks(&view), Collapse::Recipes);
        assert_eq!(Collapse::blocks(&GraphView::default()), Collapse::Cells);
    }
}
