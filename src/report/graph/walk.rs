//! The one walk over a graph for the languages that others draw: what differs between them is a [`Dialect`].

use super::{GraphView, Node, NodeState, class_name};

/// How a language writes a graph.
pub trait Dialect {
    fn begin(&self, out: &mut String, view: &GraphView);
    /// A node: its title, what stands below it, and all that is known in one sentence.
    fn node(&self, out: &mut String, place: usize, node: &Node, words: &Words);
    fn edge(&self, out: &mut String, from: usize, to: usize);
    fn end(&self, out: &mut String, view: &GraphView);
}

/// What is said of a node.
pub struct Words {
    pub title: String,
    /// `build cached`, `measure 2 cached, 6 unavailable`.
    pub under: String,
    pub sentence: String,
}

/// Writes a graph in a language.
pub fn write(view: &GraphView, dialect: &impl Dialect) -> String {
    let mut out = String::with_capacity(160 * view.nodes.len() + 24 * view.edges.len());
    dialect.begin(&mut out, view);
    for (place, node) in view.nodes.iter().enumerate() {
        let mut under = format!("{} {}", class_name(node.class), node.standing());
        under.truncate(under.trim_end().len());
        let sentence = match &node.detail {
            Some(tally) if node.count > 1 => super::rows::sentence(&node.name, tally),
            _ => super::rows::sentence(&node.name, &node.state.sentence()),
        };
        dialect.node(&mut out, place, node, &Words { title: node.title(), under, sentence });
    }
    for edge in &view.edges {
        dialect.edge(&mut out, edge.from, edge.to);
    }
    dialect.end(&mut out, view);
    out
}

/// A light fill for each state, dark enough to tell and light enough for black text; the word is there as well.
pub fn fill(state: &NodeState) -> &'static str {
    match state {
        NodeState::Cached => "#d5f0dc",
        NodeState::Runs(_) => "#ffe3b3",
        NodeState::DependsOn(_) => "#d3e5fb",
        NodeState::NotNeeded | NodeState::NotSelected | NodeState::Excluded(_) => "#eeeeee",
        NodeState::Unavailable(_) => "#e4e0ec",
        NodeState::Failed(_) => "#f9d0d0",
        NodeState::Plain => "#ffffff",
    }
}
