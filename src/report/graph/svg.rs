//! The graph as a picture: layout by `dugong`, everything else written here.
//!
//! The picture carries its own style with light and dark colours, needs no script and no font, and gives every
//! node a title with its whole name and state.

use std::collections::BTreeSet;
use std::fmt::Write;

use dugong::graphlib::{Graph, GraphOptions};
use dugong::{EdgeLabel, GraphLabel, LayoutError, NodeLabel, Point, RankDir};

use super::fold::{Fold, fold};
use super::{GraphView, Node, NodeState, class_name};
use crate::report::svg::{CHARACTER, at, cut, escaped};

const HEIGHT: f64 = 42.0;
const MARGIN: f64 = 16.0;
const LEGEND: f64 = 30.0;
const LONGEST: usize = 30;

const STYLE: &str = "\
.pg{font:12px ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;--ink:#1d2430;--soft:#667085;--line:#b4bcc8;\
--paper:#fff;--cached:#e2f5e7;--cached-l:#3f9b5b;--runs:#fff0d1;--runs-l:#d08700;--depends:#e1edfc;--depends-l:#3f7fd0;\
--off:#f3f4f6;--off-l:#a3acb9;--failed:#fde3e3;--failed-l:#cf3a3a}\
@media(prefers-color-scheme:dark){.pg{--ink:#e6e9ef;--soft:#98a2b3;--line:#4a5361;--paper:#1b2027;--cached:#17301f;\
--cached-l:#4fae6d;--runs:#382a0c;--runs-l:#e0a030;--depends:#152a45;--depends-l:#5b9ae6;--off:#22272f;--off-l:#5b6573;\
--failed:#3b1a1a;--failed-l:#e06060}}\
.pg text{fill:var(--ink)}.pg .s{fill:var(--soft);font-size:11px}.pg .e{fill:none;stroke:var(--line);stroke-width:1.3}\
.pg .a{fill:var(--line)}.pg .o{opacity:.45}.pg rect{stroke-width:1.4;fill:var(--paper);stroke:var(--off-l)}\
.pg .cached rect{fill:var(--cached);stroke:var(--cached-l)}.pg .runs rect{fill:var(--runs);stroke:var(--runs-l)}\
.pg .depends rect{fill:var(--depends);stroke:var(--depends-l)}.pg .failed rect{fill:var(--failed);stroke:var(--failed-l)}\
.pg .unavailable rect,.pg .excluded rect,.pg .not-needed rect,.pg .not-selected rect{fill:var(--off);stroke-dasharray:4 3}\
.pg .unavailable .t,.pg .excluded .t,.pg .not-needed .t,.pg .not-selected .t{fill:var(--soft)}";

/// Renders the graph, wheels folded; wide, and as high as its longest column.
///
/// # Errors
///
/// Where the layout gives up, which it does on no graph without a cycle that we know of.
pub fn render(view: &GraphView) -> Result<String, LayoutError> {
    let view = fold(view, Fold::PICTURE);
    let placed = layout(&view)?;
    let legend = legend(&view);
    let legend_width = legend.iter().map(|(_, text)| swatch(text)).sum::<f64>() + 2.0 * MARGIN;
    let (width, height) = (placed.width.max(legend_width), placed.height + LEGEND);

    let mut out = String::new();
    let (w, h) = (at(width), at(height));
    // Writing to a string can't fail.
    let _ = writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"pg\" viewBox=\"0 0 {w} {h}\" width=\"{w}\" height=\"{h}\" role=\"img\">"
    );
    let _ = writeln!(out, "<title>{}: {} steps</title>", escaped(&view.title), count(&view));
    let _ = writeln!(out, "<style>{STYLE}</style>");
    // Lines to nodes that will not run are drawn first and lighter, so that the others stay on top.
    for off in [true, false] {
        for (edge, points) in view.edges.iter().zip(&placed.edges) {
            let (from, to) = (&view.nodes[edge.from].state, &view.nodes[edge.to].state);
            if (is_off(from) || is_off(to)) == off {
                let class = if off { "e o" } else { "e" };
                let _ = writeln!(out, "<path class=\"{class}\" d=\"{}\"/>{}", flow(points), arrow(points, off));
            }
        }
    }
    for (place, node) in view.nodes.iter().enumerate() {
        draw(&mut out, node, placed.nodes[place], placed.widths[place]);
    }
    let mut x = MARGIN;
    for (class, text) in legend {
        let y = height - LEGEND + 4.0;
        let _ = writeln!(
            out,
            "<g class=\"{class}\"><rect x=\"{}\" y=\"{}\" width=\"14\" height=\"14\" rx=\"3\"/><text class=\"s\" x=\"{}\" y=\"{}\">{text}</text></g>",
            at(x),
            at(y),
            at(x + 20.0),
            at(y + 11.0)
        );
        x += swatch(text);
    }
    out.push_str("</svg>\n");
    Ok(out)
}

struct Placed {
    width: f64,
    height: f64,
    /// Centres.
    nodes: Vec<(f64, f64)>,
    widths: Vec<f64>,
    /// From the right side of one node to the left side of another, past what lies between.
    edges: Vec<Vec<(f64, f64)>>,
}

fn layout(view: &GraphView) -> Result<Placed, LayoutError> {
    let options = GraphOptions { directed: true, ..GraphOptions::default() };
    let mut graph: Graph<NodeLabel, EdgeLabel, GraphLabel> = Graph::new(options);
    graph.set_graph(GraphLabel {
        rankdir: RankDir::LR,
        nodesep: 12.0,
        ranksep: 70.0,
        edgesep: 8.0,
        marginx: MARGIN,
        marginy: MARGIN,
        ..GraphLabel::default()
    });
    let widths = widths(view);
    // The layout orders nodes by their names, so these are padded to sort as numbers do.
    let name = |place: usize| format!("n{place:06}");
    for (place, width) in widths.iter().enumerate() {
        graph.set_node(name(place), NodeLabel { width: *width, height: HEIGHT, ..NodeLabel::default() });
    }
    for edge in &view.edges {
        graph.set_edge_with_label(name(edge.from), name(edge.to), EdgeLabel::default());
    }
    dugong::layout(&mut graph)?;

    let nodes: Vec<(f64, f64)> = (0..view.nodes.len())
        .map(|place| graph.node(&name(place)).and_then(|node| Some((node.x?, node.y?))).unwrap_or_default())
        .collect();
    let columns: Vec<f64> = nodes.iter().map(|(x, _)| *x).collect();
    let edges: Vec<Vec<(f64, f64)>> = view
        .edges
        .iter()
        .map(|edge| {
            let (from, to) = (nodes[edge.from], nodes[edge.to]);
            let bends = graph.edge(&name(edge.from), &name(edge.to), None).map(|edge| edge.points.as_slice());
            let mut points = vec![(from.0 + widths[edge.from] / 2.0, from.1)];
            points.extend(between(bends.unwrap_or_default(), from.0, to.0, &columns));
            points.push((to.0 - widths[edge.to] / 2.0, to.1));
            points
        })
        .collect();
    let right = nodes.iter().zip(&widths).map(|((x, _), width)| x + width / 2.0);
    let bottom = nodes.iter().map(|(_, y)| y + HEIGHT / 2.0);
    let bends = || edges.iter().flatten();
    Ok(Placed {
        width: right.chain(bends().map(|p| p.0)).fold(0.0, f64::max) + MARGIN,
        height: bottom.chain(bends().map(|p| p.1)).fold(0.0, f64::max) + MARGIN,
        nodes,
        widths,
        edges,
    })
}

/// Those bends of a line that lead it past the nodes of a column which it crosses; the layout's other bends
/// only make short lines wavy.
fn between<'a>(bends: &'a [Point], from: f64, to: f64, columns: &'a [f64]) -> impl Iterator<Item = (f64, f64)> + 'a {
    bends
        .iter()
        .map(|point| (point.x, point.y))
        .filter(move |(x, _)| *x > from + 1.0 && *x < to - 1.0)
        .filter(|(x, _)| columns.iter().any(|column| (column - x).abs() < 1.0))
}

/// A line that leaves and reaches every point level.
fn flow(points: &[(f64, f64)]) -> String {
    let mut path = String::new();
    for (i, &(x, y)) in points.iter().enumerate() {
        // Writing to a string can't fail.
        let _ = match i.checked_sub(1).map(|before| points[before]) {
            None => write!(path, "M{} {}", at(x), at(y)),
            Some((px, py)) => {
                let middle = at((px + x) / 2.0);
                write!(path, " C{middle} {} {middle} {} {} {}", at(py), at(y), at(x), at(y))
            }
        };
    }
    path
}

fn is_off(state: &NodeState) -> bool {
    matches!(state, NodeState::NotNeeded | NodeState::NotSelected | NodeState::Unavailable(_) | NodeState::Excluded(_))
}

/// Each node as wide as its text, the cells of one matrix all alike.
fn widths(view: &GraphView) -> Vec<f64> {
    let own: Vec<f64> = view.nodes.iter().map(width).collect();
    let alike = |node: &Node| {
        let same = view.nodes.iter().zip(&own).filter(|(n, _)| n.cell.is_some() && n.group == node.group);
        same.map(|(_, width)| *width).fold(0.0, f64::max)
    };
    view.nodes.iter().zip(&own).map(|(node, own)| if node.cell.is_some() { alike(node) } else { *own }).collect()
}

/// Both lines of a node: its title, and its class with its state.
fn lines(node: &Node) -> (String, String) {
    let state = match (&node.detail, node.count) {
        (Some(detail), 2..) => detail.clone(),
        _ => node.state.name().to_owned(),
    };
    let under = format!("{} {state}", class_name(node.class));
    (cut(&node.title(), LONGEST), cut(under.trim_end(), LONGEST + 8))
}

fn width(node: &Node) -> f64 {
    let (title, under) = lines(node);
    let longest = (title.chars().count() as f64 * CHARACTER).max(under.chars().count() as f64 * CHARACTER * 0.92);
    longest.max(60.0) + 22.0
}

fn draw(out: &mut String, node: &Node, (x, y): (f64, f64), width: f64) {
    let (title, under) = lines(node);
    let (left, top) = (x - width / 2.0, y - HEIGHT / 2.0);
    let about = node.detail.as_deref().map(|detail| format!(" ({detail})")).unwrap_or_default();
    let whole = format!("{} {}{about}", node.name, node.state.sentence());
    let _ = writeln!(
        out,
        "<g class=\"{}\"><title>{}</title><rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{HEIGHT}\" rx=\"6\"/>\
         <text class=\"t\" x=\"{}\" y=\"{}\">{}</text><text class=\"s\" x=\"{}\" y=\"{}\">{}</text></g>",
        node.state.class(),
        escaped(whole.trim_end()),
        at(left),
        at(top),
        at(width),
        at(left + 11.0),
        at(top + 18.0),
        escaped(&title),
        at(left + 11.0),
        at(top + 33.0),
        escaped(&under),
    );
}

/// A small triangle at the end of a line, which always comes from the left.
fn arrow(points: &[(f64, f64)], off: bool) -> String {
    let Some(&(x, y)) = points.last() else { return String::new() };
    let class = if off { "a o" } else { "a" };
    let corner = |dx: f64, dy: f64| format!("{},{}", at(x + dx), at(y + dy));
    format!("<polygon class=\"{class}\" points=\"{} {} {}\"/>", corner(0.0, 0.0), corner(-7.0, 3.2), corner(-7.0, -3.2))
}

/// The states that appear, with their words.
fn legend(view: &GraphView) -> Vec<(&'static str, &'static str)> {
    let words = [
        ("cached", "cached"),
        ("runs", "runs"),
        ("depends", "depends on another's bytes"),
        ("failed", "failed"),
        ("unavailable", "unavailable"),
        ("excluded", "excluded"),
        ("not-needed", "not needed"),
        ("not-selected", "not selected"),
    ];
    let there: BTreeSet<&str> = view.nodes.iter().map(|node| NodeState::class(&node.state)).collect();
    words.into_iter().filter(|(class, _)| there.contains(class)).collect()
}

fn swatch(text: &str) -> f64 {
    20.0 + text.chars().count() as f64 * CHARACTER * 0.92 + 18.0
}

fn count(view: &GraphView) -> u32 {
    view.nodes.iter().map(|node| node.count).sum()
}

#[cfg(test)]
mod tests {
    use super::super::tests::example;
    use super::*;

    #[test]
    fn every_cell_is_drawn_and_twice_the_same() {
        let picture = render(&example()).unwrap();
        assert_eq!(picture, render(&example()).unwrap());
        assert_eq!(picture.matches("decode torch").count() + picture.matches("decode onnx").count(), 12);
        assert!(picture.contains("env/… ×38") && !picture.contains("wheel-00"));
        for outside in ["href", "url(", "<script"] {
            assert!(!picture.contains(outside), "{outside}");
        }
    }

    #[test]
    fn an_empty_graph_is_a_picture_too() {
        assert!(render(&GraphView::default()).unwrap().starts_with("<svg"));
    }

    #[test]
    fn hostile_names_are_escaped() {
        let mut view = example();
        view.nodes[38].name = "<script>\"&".into();
        let picture = render(&view).unwrap();
        assert!(picture.contains("&lt;script&gt;&quot;&amp;") && !picture.contains("<script"));
    }
}
