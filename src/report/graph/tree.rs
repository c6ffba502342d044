//! The graph as an indented tree for a terminal: what is asked for first, what it reads below it.
//!
//! Approach:
//! - Walk from what nobody reads to what it reads. A step that several others read is spelled out once; each later
//!   reader names it on one line behind `↑`, which says that it stands above.
//! - The walk gives each line its depth and no more; the branches are drawn afterwards, from the last line up, since
//!   only what comes below says whether a branch goes on.
//! - Depth is drawn up to a third of the width. Beyond, a number says how deep a line is.

use super::{GraphView, Node, NodeState, class_name};
use crate::report::units::{columns, cut};

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
    depth: usize,
    left: String,
    /// None for a line that points back.
    node: Option<&'a Node>,
}

/// Renders the graph.
pub fn render(view: &GraphView, style: Style) -> String {
    let mut lines = lines(view);
    let rails = rails(&lines, style.width / 9);
    for (line, rail) in lines.iter_mut().zip(rails) {
        line.left = rail + &line.left;
    }
    let named = || lines.iter().filter(|line| line.node.is_some());
    let took = |node: &Node| node.past.took.map(super::Took::short).unwrap_or_default();
    let times = named().filter_map(|line| line.node).map(|node| columns(&took(node))).max().unwrap_or(0);
    let names = named().map(|line| columns(&line.left)).max().unwrap_or(0).min(style.width / 2);
    let class = if style.width < 60 { 0 } else { 9 };
    let room = style.width.saturating_sub(names + 2 + class + if times == 0 { 0 } else { times + 2 });

    let total: u32 = view.nodes.iter().map(|node| node.count).sum();
    let steps = if total == 1 { "step" } else { "steps" };
    let mut out = format!("{}: {total} {steps}\n", cut(&view.title, style.width / 2));
    let mut guessed = false;
    for line in &lines {
        let Some(node) = line.node else {
            out.push_str(&cut(&line.left, style.width));
            out.push('\n');
            continue;
        };
        guessed |= node.past.took.is_some_and(|took| !took.exact);
        let left = padded(&cut(&line.left, names), names);
        let kind = if class == 0 { String::new() } else { format!("  {:<7}", class_name(node.class)) };
        // A line without a time has its room too.
        let time = took(node);
        let free = if time.is_empty() && times > 0 { times + 2 } else { 0 };
        let said = cut(&said(node), room + free);
        let pad = " ".repeat((room + free).saturating_sub(columns(&said)));
        let state = if style.colour { painted(&said, &node.state) } else { said };
        let time = if time.is_empty() { time } else { format!("{pad}  {}{time}", " ".repeat(times - columns(&time))) };
        out.push_str(format!("{left}{kind}  {state}{time}").trim_end());
        out.push('\n');
    }
    if guessed {
        out.push_str("~ as long as it took before\n");
    }
    out
}

/// Every node once, below the first that reads it.
fn lines<'v>(view: &'v GraphView) -> Vec<Line<'v>> {
    let mut reads = vec![Vec::new(); view.nodes.len()];
    let mut is_read = vec![false; view.nodes.len()];
    for edge in &view.edges {
        reads[edge.to].push(edge.from);
        is_read[edge.from] = true;
    }
    let mut seen = vec![false; view.nodes.len()];
    let mut lines = Vec::new();
    for root in (0..view.nodes.len()).filter(|&place| !is_read[place]) {
        // Of each open node: how many of its inputs were walked, and which of them stood above already.
        let mut open: Vec<(usize, usize, Vec<&str>)> = Vec::new();
        let mut enter = Some(root);
        loop {
            if let Some(place) = enter.take() {
                seen[place] = true;
                let node = &view.nodes[place];
                lines.push(Line { depth: open.len(), left: node.name.clone(), node: Some(node) });
                open.push((place, 0, Vec::new()));
            }
            let depth = open.len();
            let Some((place, walked, again)) = open.last_mut() else { break };
            match reads[*place].get(*walked) {
                Some(&input) => {
                    *walked += 1;
                    let name = |node: &'v Node| if node.members.is_empty() { &node.name } else { &node.group };
                    if seen[input] { again.push(name(&view.nodes[input])) } else { enter = Some(input) }
                }
                None => {
                    if !again.is_empty() {
                        lines.push(Line { depth, left: format!("↑ {}", again.join(", ")), node: None });
                    }
                    open.pop();
                }
            }
        }
    }
    lines
}

/// The branches before each line, at most `most` levels of them.
fn rails(lines: &[Line<'_>], most: usize) -> Vec<String> {
    // Whether a level goes on below the line that is looked at.
    let mut goes_on: Vec<bool> = Vec::new();
    let mut rails: Vec<String> = lines
        .iter()
        .rev()
        .map(|line| {
            goes_on.resize(line.depth + 1, false);
            let mut rail = String::new();
            let first = line.depth.saturating_sub(most.max(1)) + 1;
            if first > 1 {
                rail.push_str(&format!("{} ", line.depth));
            }
            for &on in goes_on.get(first..line.depth).unwrap_or_default() {
                rail.push_str(if on { "│  " } else { "   " });
            }
            if line.depth > 0 {
                rail.push_str(if goes_on[line.depth] { "├─ " } else { "└─ " });
            }
            goes_on[line.depth] = true;
            rail
        })
        .collect();
    rails.reverse();
    rails
}

/// How a node stands, with the reason.
fn said(node: &Node) -> String {
    match &node.detail {
        Some(tally) if node.count > 1 => tally.clone(),
        _ => node.state.sentence(),
    }
}

fn padded(text: &str, width: usize) -> String {
    format!("{text}{}", " ".repeat(width.saturating_sub(columns(text))))
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
    use std::time::Duration;

    use super::super::fold::{Collapse, fold};
    use super::super::tests::example;
    use super::super::{Edge, Took};
    use super::*;
    use crate::pipeline::Class;

    fn timed() -> GraphView {
        let mut view = fold(&example(), Collapse::Cells);
        let took = |ms, exact| Some(Took { time: Duration::from_millis(ms), exact });
        view.nodes[0].past.took = took(61_200, true);
        view.nodes[1].past.took = took(8_400, true);
        view.nodes[3].past.took = took(12_340, false);
        view
    }

    #[test]
    fn the_main_pipeline_fits_80_columns() {
        let text = render(&timed(), Style::default());
        assert!(text.lines().all(|line| columns(line) <= 80), "{text}");
        insta::assert_snapshot!(text);
    }

    #[test]
    fn it_adapts_to_other_widths() {
        for width in [40, 59, 60, 100, 200] {
            let text = render(&timed(), Style { colour: false, width });
            assert!(text.lines().skip(1).all(|line| columns(line) <= width), "{width}: {text}");
            assert!(text.contains("report") && text.contains("tokens"), "{width}: {text}");
        }
        let reason = "`opset` 20 → 21 (pipelines/llm-6gb.kdl:31:5)";
        assert!(render(&timed(), Style { colour: false, width: 120 }).contains(reason));
        assert!(!render(&timed(), Style::default()).contains(reason));
    }

    #[test]
    fn colour_only_adds_codes() {
        let coloured = render(&timed(), Style { colour: true, width: 80 });
        let plain: String = coloured.split('\x1b').enumerate().fold(String::new(), |text, (i, piece)| {
            text + if i == 0 { piece } else { piece.split_once('m').map_or("", |(_, rest)| rest) }
        });
        let trimmed = |text: &str| text.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>();
        assert_eq!(trimmed(&plain), trimmed(&render(&timed(), Style::default())));
    }

    #[test]
    fn a_chain_of_any_length_is_drawn_in_the_width() {
        let mut view = GraphView::default();
        for place in 0..3_000usize {
            view.nodes.push(Node::new("s", format!("step-{place}"), Class::Build, NodeState::Cached));
            view.edges.extend(place.checked_sub(1).map(|from| Edge { from, to: place }));
        }
        let text = render(&view, Style::default());
        assert_eq!(text.lines().count(), 3_001);
        assert!(text.lines().all(|line| columns(line) <= 80));
        let last = text.lines().last().unwrap_or_default();
        assert!(last.starts_with("2999 ") && last.contains("└─ step-0"), "{last}");
    }
}
