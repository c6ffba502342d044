//! The rows of a block: what was folded into a node, told apart by what it does and by the values of its axes.

use std::collections::BTreeMap;

use super::fold::{FETCHES, leading, tally};
use super::{Node, NodeState, Took};
use crate::pipeline::Class;

/// One line of a block: a step, or the fetches of one.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// `torch native cpu`, `build torch`, `39 fetched`.
    pub label: String,
    pub state: NodeState,
    /// Its whole name and how it stands.
    pub sentence: String,
    pub took: Option<Took>,
    /// Their places in [`Node::members`].
    pub members: Vec<usize>,
}

/// The rows of a folded node. None where a single line would say it all.
pub fn rows(node: &Node) -> Vec<Row> {
    let mut fetches: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (place, member) in node.members.iter().enumerate() {
        if let (Class::Fetch, Some((folder, _))) = (member.class, member.name.rsplit_once('/')) {
            fetches.entry(folder).or_default().push(place);
        }
    }
    fetches.retain(|_, places| places.len() >= FETCHES);
    let mut rows = Vec::new();
    for (place, member) in node.members.iter().enumerate() {
        let folder = member.name.rsplit_once('/').filter(|_| member.class == Class::Fetch);
        match folder.and_then(|(folder, _)| Some((folder, fetches.get(folder)?))) {
            Some((folder, places)) if places[0] == place => rows.push(family_row(node, folder, places)),
            Some(_) => {}
            None => rows.push(Row {
                label: label(node, member),
                state: member.state.clone(),
                sentence: sentence(&member.name, &member.state.sentence()),
                took: member.past.took,
                members: vec![place],
            }),
        }
    }
    if rows.iter().filter(|row| row.members.len() == 1).count() < 2 { Vec::new() } else { rows }
}

/// `39 fetched`, where a node without rows has them.
pub fn fetched(node: &Node) -> Option<String> {
    let count = node.members.iter().filter(|member| member.class == Class::Fetch).count();
    (count >= FETCHES && count + 1 == node.members.len()).then(|| format!("{count} fetched"))
}

fn family_row(node: &Node, folder: &str, places: &[usize]) -> Row {
    let steps: Vec<&Node> = places.iter().map(|place| &node.members[*place]).collect();
    let same = steps.iter().all(|step| step.state == steps[0].state);
    let inner = relative(node, folder);
    let inner = if inner.is_empty() { String::new() } else { format!("{inner} ") };
    Row {
        label: format!("{inner}{} fetched", steps.len()),
        state: if same { steps[0].state.clone() } else { leading(&steps) },
        sentence: sentence(&format!("{folder}/…"), &tally(&steps)),
        took: None,
        members: places.to_vec(),
    }
}

pub(super) fn sentence(name: &str, state: &str) -> String {
    if state.is_empty() { name.to_owned() } else { format!("{name}: {state}") }
}

/// What tells a step from the others of its block.
fn label(node: &Node, member: &Node) -> String {
    let values = member.cell.iter().flat_map(|cell| &cell.0).map(|(_, value)| value.as_str());
    let inner = relative(node, &member.group);
    let words: Vec<&str> = Some(inner).filter(|inner| !inner.is_empty()).into_iter().chain(values).collect();
    if words.is_empty() { member.name.clone() } else { words.join(" ") }
}

/// A name without what the block already says.
fn relative<'a>(node: &Node, name: &'a str) -> &'a str {
    match name.strip_prefix(node.group.as_str()) {
        Some("") => "",
        Some(rest) => rest.strip_prefix('/').unwrap_or(name),
        None => name.split_once('/').map_or(name, |(_, rest)| rest),
    }
}

#[cfg(test)]
mod tests {
    use super::super::fold::{Collapse, fold};
    use super::super::tests::example;
    use super::*;
    use crate::pipeline::Cell;

    fn labels(view: &super::super::GraphView, name: &str) -> Vec<String> {
        let folded = fold(view, Collapse::Recipes);
        let node = folded.nodes.iter().find(|node| node.name == name).expect(name);
        rows(node).into_iter().map(|row| row.label).collect()
    }

    #[test]
    fn cells_are_told_by_their_values() {
        let labels = labels(&example(), "decode ×12");
        assert_eq!((labels.len(), labels[0].as_str()), (12, "torch native cpu"));
    }

    #[test]
    fn steps_of_a_recipe_are_told_by_what_they_do() {
        let mut view = example();
        for node in view.nodes.iter_mut().filter(|node| node.name.starts_with("engine/")) {
            let engine = node.name.rsplit('/').next().unwrap_or_default().to_owned();
            node.group = "engine/build".to_owned();
            node.cell = Some(Cell(vec![("engine".to_owned(), engine.clone())]));
            node.name = format!("engine[engine={engine}]/build");
        }
        view.nodes.iter_mut().filter(|node| node.name == "engine-sources").for_each(|node| {
            node.name = "engine[engine=torch]/sources".to_owned();
            node.group = "engine/sources".to_owned();
        });
        assert_eq!(labels(&view, "engine (3 steps)"), ["sources", "build torch", "build onnx"]);
    }

    #[test]
    fn wheels_alone_make_no_rows() {
        let folded = fold(&example(), Collapse::Recipes);
        assert_eq!(rows(&folded.nodes[0]), []);
        assert_eq!(fetched(&folded.nodes[0]).as_deref(), Some("38 fetched"));
        assert_eq!(fetched(&folded.nodes[1]), None);
    }
}
