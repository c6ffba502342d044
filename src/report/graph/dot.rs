//! The graph in Graphviz' language.

use std::fmt::Write;

use super::walk::{Dialect, Words, fill, write};
use super::{GraphView, Node};

struct Dot;

/// Renders the graph.
pub fn render(view: &GraphView) -> String {
    write(view, &Dot)
}

// Writing to a string can't fail.
impl Dialect for Dot {
    fn begin(&self, out: &mut String, view: &GraphView) {
        let _ = writeln!(out, "digraph {} {{", quoted(&view.title));
        out.push_str("  rankdir=LR;\n");
        out.push_str("  node [shape=box, style=\"rounded,filled\", fontname=\"monospace\", fontcolor=\"#111111\"];\n");
    }

    fn node(&self, out: &mut String, place: usize, node: &Node, words: &Words) {
        let _ = writeln!(
            out,
            "  n{place} [label={}, tooltip={}, fillcolor=\"{}\", class=\"{}\"{}];",
            quoted(&format!("{}\n{}", words.title, words.under)),
            quoted(&words.sentence),
            fill(&node.state),
            node.state.class(),
            if node.focus { ", penwidth=3" } else { "" },
        );
    }

    fn edge(&self, out: &mut String, from: usize, to: usize) {
        let _ = writeln!(out, "  n{from} -> n{to};");
    }

    fn end(&self, out: &mut String, _: &GraphView) {
        out.push_str("}\n");
    }
}

fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out.push('"');
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
        view.nodes[0].name = "a\" ]; b [\\".into();
        assert!(render(&view).contains(r#"label="a\" ]; b [\\\nfetch cached""#));
    }
}
