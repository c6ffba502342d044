//! Keeps what is asked for: a step with all that it needs and all that needs it, and no further than so many
//! steps.

use std::collections::VecDeque;

use super::{Edge, GraphView, Node};
use crate::pipeline::CellPattern;

/// The places of the nodes that a name stands for: a step, cells like `decode[engine=onnx]`, a group of cells,
/// or a node of the file with all of its steps. Empty where there is none.
pub fn named(view: &GraphView, name: &str) -> Vec<usize> {
    let all = |is: &dyn Fn(&Node) -> bool| -> Vec<usize> {
        view.nodes.iter().enumerate().filter(|(_, node)| is(node)).map(|(place, _)| place).collect()
    };
    let cells = name.strip_suffix(']').and_then(|text| text.split_once('['));
    let cells = cells.and_then(|(group, pattern)| Some((group, CellPattern::parse(pattern)?)));
    let matching = |node: &Node| match (&cells, &node.cell) {
        (Some((group, pattern)), Some(cell)) => node.group == *group && pattern.matches(cell),
        _ => false,
    };
    let tries: [&dyn Fn(&Node) -> bool; 4] =
        [&|node| node.name == name, &matching, &|node| node.group == name, &|node| node.call() == name];
    tries.into_iter().map(all).find(|found| !found.is_empty()).unwrap_or_default()
}

/// All names that [`named`] finds.
pub fn names(view: &GraphView) -> Vec<&str> {
    let mut names: Vec<&str> =
        view.nodes.iter().flat_map(|node| [node.name.as_str(), node.group.as_str(), node.call()]).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// The nodes at these places, with all that they need and all that needs them.
pub fn focus(view: &GraphView, places: &[usize]) -> GraphView {
    let near = |forward| distances(view, places, forward);
    let (up, down) = (near(false), near(true));
    let mut view = keep(view, |place| up[place].is_some() || down[place].is_some(), places);
    // A folded graph is focused as well, where one of its members is.
    for node in &mut view.nodes {
        node.focus |= node.members.iter().any(|member| member.focus);
    }
    view
}

/// The nodes no further than `depth` lines from the focus; where nothing is in focus, from the ends of the
/// graph: what nobody reads.
pub fn within(view: &GraphView, depth: usize) -> GraphView {
    let mut read = vec![false; view.nodes.len()];
    for edge in &view.edges {
        read[edge.from] = true;
    }
    let focused: Vec<usize> = (0..view.nodes.len()).filter(|place| view.nodes[*place].focus).collect();
    let ends: Vec<usize> = (0..view.nodes.len()).filter(|place| !read[*place]).collect();
    let from = if focused.is_empty() { &ends } else { &focused };
    let (up, down) = (distances(view, from, false), distances(view, from, true));
    let near = |distance: Option<usize>| distance.is_some_and(|distance| distance <= depth);
    keep(view, |place| near(up[place]) || near(down[place]), &[])
}

/// How far each node is from the nearest of `from`, along the lines or against them.
fn distances(view: &GraphView, from: &[usize], forward: bool) -> Vec<Option<usize>> {
    let mut next = vec![Vec::new(); view.nodes.len()];
    for edge in &view.edges {
        let (here, there) = if forward { (edge.from, edge.to) } else { (edge.to, edge.from) };
        next[here].push(there);
    }
    let mut distances = vec![None; view.nodes.len()];
    let mut open: VecDeque<usize> = VecDeque::new();
    for &place in from {
        distances[place] = Some(0);
        open.push_back(place);
    }
    while let Some(place) = open.pop_front() {
        let further = distances[place].map(|distance| distance + 1);
        for &other in &next[place] {
            if distances[other].is_none() {
                distances[other] = further;
                open.push_back(other);
            }
        }
    }
    distances
}

/// The graph of the nodes that `kept` takes; those at `focused` are marked.
fn keep(view: &GraphView, kept: impl Fn(usize) -> bool, focused: &[usize]) -> GraphView {
    let mut out = GraphView { title: view.title.clone(), ..GraphView::default() };
    let mut moved = vec![None; view.nodes.len()];
    for (place, node) in view.nodes.iter().enumerate().filter(|(place, _)| kept(*place)) {
        moved[place] = Some(out.nodes.len());
        out.nodes.push(node.clone());
    }
    for place in focused.iter().filter_map(|place| moved[*place]) {
        out.nodes[place].focus = true;
    }
    let edges = view.edges.iter().filter_map(|edge| Some(Edge { from: moved[edge.from]?, to: moved[edge.to]? }));
    out.edges = edges.collect();
    out
}

#[cfg(test)]
mod tests {
    use super::super::fold::{Collapse, fold};
    use super::super::tests::example;
    use super::*;

    fn shown(view: &GraphView) -> String {
        view.nodes.iter().map(|node| node.name.as_str()).collect::<Vec<_>>().join(" ")
    }

    fn found(name: &str) -> usize {
        named(&example(), name).len()
    }

    #[test]
    fn a_name_stands_for_a_step_cells_a_group_or_a_node_of_the_file() {
        assert_eq!(found("env"), 1, "the step, not its wheels");
        assert_eq!(found("env/wheel-07"), 1);
        assert_eq!(found("decode[engine=onnx,place=native,device=cpu]"), 1);
        assert_eq!(found("decode[engine=onnx]"), 6);
        assert_eq!(found("decode[place=native device=cpu]"), 2);
        assert_eq!(found("decode"), 12);
        assert_eq!(found("engine"), 2, "engine/torch and engine/onnx");
        assert_eq!((found("decoded"), found("decode[engine=tvm]"), found("decode["), found("")), (0, 0, 0, 0));
        assert!(names(&example()).contains(&"decode") && names(&example()).contains(&"engine"));
    }

    #[test]
    fn a_focus_keeps_what_the_step_needs_and_what_needs_it() {
        let view = example();
        let one = focus(&view, &named(&view, "decode[engine=torch,place=native,device=cpu]"));
        let folded = fold(&one, Collapse::Fetch);
        assert_eq!(
            shown(&folded),
            "env (39 steps) model script engine-sources engine/torch tokens decode[engine=torch,place=native,device=cpu] report"
        );
        assert_eq!(folded.nodes.iter().filter(|node| node.focus).count(), 1);
        let end = focus(&view, &named(&view, "report"));
        assert_eq!(end.nodes.len(), view.nodes.len(), "the report needs everything");
    }

    #[test]
    fn a_depth_counts_lines_from_the_focus_both_ways() {
        let view = example();
        let focused = fold(&focus(&view, &named(&view, "onnx")), Collapse::Cells);
        assert_eq!(shown(&within(&focused, 0)), "onnx");
        assert_eq!(shown(&within(&focused, 1)), "env (39 steps) model onnx image/onnx decode ×6");
        assert_eq!(within(&focused, 9), focused);
    }

    #[test]
    fn without_a_focus_the_depth_counts_from_the_ends() {
        let view = fold(&example(), Collapse::Cells);
        assert_eq!(shown(&within(&view, 0)), "report");
        assert_eq!(shown(&within(&view, 1)), "decode ×12 report");
        assert_eq!(within(&GraphView::default(), 3), GraphView::default());
    }
}
