//! The graph in Mermaid's language, which Git hosts draw inside of Markdown.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::dot::fill;
use super::fold::{Fold, fold};
use super::{GraphView, class_name};

/// Renders the graph, wheels folded.
pub fn render(view: &GraphView) -> String {
    let view = fold(view, Fold::PICTURE);
    let mut out = String::from("flowchart LR\n");
    let mut classes = BTreeMap::new();
    for (place, node) in view.nodes.iter().enumerate() {
        let class = node.state.class();
        classes.insert(class, fill(&node.state));
        let under = format!("{} {}", class_name(node.class), node.state.name());
        // Writing to a string can't fail.
        let _ = writeln!(out, "  n{place}[\"{}<br>{}\"]:::{class}", escaped(&node.title()), escaped(under.trim_end()));
    }
    for edge in &view.edges {
        let _ = writeln!(out, "  n{} --> n{}", edge.from, edge.to);
    }
    for (class, fill) in classes {
        let _ = writeln!(out, "  classDef {class} fill:{fill},stroke:#888,color:#111");
    }
    out
}

/// Mermaid's own escapes: quotes would end the label, `#` begins an escape, and angle brackets are HTML.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '"' => out.push_str("#quot;"),
            '#' => out.push_str("#35;"),
            '<' => out.push_str("#lt;"),
            '>' => out.push_str("#gt;"),
            '\n' | '\r' => out.push(' '),
            _ => out.push(c),
        }
    }
    out
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
        view.nodes[0].name = "end\"] --> x#<b>".into();
        assert!(render(&view).contains("n0[\"end#quot;] --#gt; x#35;#lt;b#gt;<br>fetch cached\"]:::cached"));
    }
}
