//! The graph in Graphviz' language.

use std::fmt::Write;

use super::fold::{Fold, fold};
use super::{GraphView, NodeState, class_name};

/// Renders the graph, wheels folded.
pub fn render(view: &GraphView) -> String {
    let view = fold(view, Fold::PICTURE);
    let mut out = format!("digraph {} {{\n", quoted(&view.title));
    out.push_str("  rankdir=LR;\n  node [shape=box, style=\"rounded,filled\", fontname=\"monospace\"];\n");
    for (place, node) in view.nodes.iter().enumerate() {
        let label = format!("{}\n{} {}", node.title(), class_name(node.class), node.state.name());
        let tip = format!("{} {}", node.name, node.state.sentence());
        // Writing to a string can't fail.
        let _ = writeln!(
            out,
            "  n{place} [label={}, tooltip={}, fillcolor=\"{}\", class=\"{}\"];",
            quoted(label.trim_end()),
            quoted(tip.trim_end()),
            fill(&node.state),
            node.state.class()
        );
    }
    for edge in &view.edges {
        let _ = writeln!(out, "  n{} -> n{};", edge.from, edge.to);
    }
    out.push_str("}\n");
    out
}

/// A light fill for each state, shared with Mermaid.
pub(super) fn fill(state: &NodeState) -> &'static str {
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

fn quoted(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!("\"{escaped}\"")
}

#[cfg(test)]
mod tests {
    use super::super::tests::example;
    use super::*;

    #[test]
    fn hostile_names_stay_inside_their_quotes() {
        let mut view = example();
        view.nodes.truncate(1);
        view.edges.clear();
        view.nodes[0].name = "a\" ]; b [\\".into();
        assert!(render(&view).contains(r#"label="a\" ]; b [\\\nfetch cached""#));
    }
}
