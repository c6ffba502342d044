//! The graph as an indented tree for a terminal: what is asked for first, what it reads below it.
//!
//! A step that several others read is spelled out once; where it comes again, `↑` says that it stands above.

use std::collections::BTreeSet;

use super::fold::{Fold, fold};
use super::{GraphView, Node, NodeState, class_name};
use crate::report::units;

/// How to draw.
#[derive(Debug, Clone, Copy)]
pub struct Style {
    /// Colour where it helps; nothing is said by colour alone.
    pub colour: bool,
    pub width: usize,
}

impl Default for Style {
    fn default() -> Self {
        Style { colour: false, width: 80 }
    }
}

struct Line<'a> {
    left: String,
    node: &'a Node,
    again: bool,
}

/// Renders the graph, wheels and matrices folded.
pub fn render(view: &GraphView, style: Style) -> String {
    let view = fold(view, Fold::TEXT);
    let mut reads = vec![Vec::new(); view.nodes.len()];
    let mut is_read = vec![false; view.nodes.len()];
    for edge in &view.edges {
        reads[edge.to].push(edge.from);
        is_read[edge.from] = true;
    }
    let mut lines = Vec::new();
    let mut seen = BTreeSet::new();
    for root in (0..view.nodes.len()).filter(|&place| !is_read[place]) {
        walk(&view, &reads, root, String::new(), String::new(), &mut seen, &mut lines);
    }
    let names = lines.iter().map(|line| line.left.chars().count()).max().unwrap_or(0).min(style.width / 2);
    let total: u32 = view.nodes.iter().map(|node| node.count).sum();
    let mut out =
        format!("{}: {total} {}\n", cut(&view.title, style.width / 2), if total == 1 { "step" } else { "steps" });
    for line in &lines {
        out.push_str(&finish(line, names, style));
        out.push('\n');
    }
    out
}

fn walk<'a>(
    view: &'a GraphView,
    reads: &[Vec<usize>],
    place: usize,
    before: String,
    below: String,
    seen: &mut BTreeSet<usize>,
    lines: &mut Vec<Line<'a>>,
) {
    let node = &view.nodes[place];
    let again = !seen.insert(place);
    lines.push(Line { left: format!("{before}{}", node.name), node, again });
    if again {
        return;
    }
    let inputs = &reads[place];
    for (i, &input) in inputs.iter().enumerate() {
        let last = i + 1 == inputs.len();
        let (branch, rest) = if last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        walk(view, reads, input, format!("{below}{branch}"), format!("{below}{rest}"), seen, lines);
    }
}

fn finish(line: &Line<'_>, names: usize, style: Style) -> String {
    let left = cut(&line.left, names);
    let pad = " ".repeat(names - left.chars().count());
    if line.again {
        return format!("{left}{pad}  ↑");
    }
    let class = class_name(line.node.class);
    let room = style.width.saturating_sub(names + 2 + 7 + 2);
    let state = match &line.node.detail {
        Some(tally) if line.node.count > 1 => tally.clone(),
        _ => line.node.state.sentence(),
    };
    let state = cut(&state, room);
    let state = if style.colour { painted(&state, &line.node.state) } else { state };
    format!("{left}{pad}  {class:<7}  {state}").trim_end().to_owned()
}

/// Cuts at a number of characters, with `…` where something went.
fn cut(text: &str, most: usize) -> String {
    let text = &units::plain(text).replace('\n', " ");
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(most.saturating_sub(1)).collect();
    short.push('…');
    short
}

fn painted(text: &str, state: &NodeState) -> String {
    let code = match state {
        NodeState::Cached => "32",
        NodeState::Runs(_) => "33",
        NodeState::DependsOn(_) => "36",
        NodeState::Failed(_) => "31",
        NodeState::NotNeeded | NodeState::NotSelected | NodeState::Unavailable(_) | NodeState::Excluded(_) => "2",
        NodeState::Plain => return text.to_owned(),
    };
    format!("\x1b[{code}m{text}\x1b[0m")
}

#[cfg(test)]
mod tests {
    use super::super::tests::example;
    use super::*;

    #[test]
    fn the_main_pipeline_fits_80_columns() {
        let text = render(&example(), Style::default());
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        insta::assert_snapshot!(text);
    }
}
