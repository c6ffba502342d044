//! The graph in Mermaid's language, which Git hosts draw inside of Markdown.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::walk::{Dialect, Words, fill, write};
use super::{GraphView, Node};

struct Mermaid;

/// Renders the graph.
pub fn render(view: &GraphView) -> String {
    write(view, &Mermaid)
}

// Writing to a string can't fail.
impl Dialect for Mermaid {
    fn begin(&self, out: &mut String, _: &GraphView) {
        out.push_str("flowchart LR\n");
    }

    fn node(&self, out: &mut String, place: usize, node: &Node, words: &Words) {
        let (title, under) = (escaped(&words.title), escaped(&words.under));
        let _ = writeln!(out, "  n{place}[\"{title}<br>{under}\"]:::{}", node.state.class());
        if node.focus {
            let _ = writeln!(out, "  style n{place} stroke-width:3px");
        }
    }

    fn edge(&self, out: &mut String, from: usize, to: usize) {
        let _ = writeln!(out, "  n{from} --> n{to}");
    }

    fn end(&self, out: &mut String, view: &GraphView) {
        let classes: BTreeMap<&str, &str> =
            view.nodes.iter().map(|node| (node.state.class(), fill(&node.state))).collect();
        for (class, fill) in classes {
            let _ = writeln!(out, "  classDef {class} fill:{fill},stroke:#777,color:#111");
        }
    }
}

/// Mermaid's own escapes: quotes would end the label, `#` begins an escape, and angle brackets are HTML.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' => out.push_str("#quot;"),
            '#' => out.push_str("#35;"),
            '<' => out.push_str("#lt;"),
            '>' => out.push_str("#gt;"),
            c if c.is_control() => out.push(' '),
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
