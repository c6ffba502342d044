//! The graph as a picture, from left to right.
//!
//! The picture carries its own style with light and dark colours, needs no script and no font, and gives every
//! node a title with its whole name and state. The page draws the same picture and adds names for its script.

use std::fmt::Write;

use dugong::LayoutError;

use super::block::{Block, NOTE, ROW, SIDE, SIGN, TITLE, row_label};
use super::layout::{Column, Line, MARGIN, Placed, place};
use super::palette::{legend, sign, style};
use super::{GraphView, NodeState};
use crate::report::svg::{CHARACTER, at, escaped};
use crate::report::units::columns;

const LEGEND: f64 = 24.0;

/// How to draw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    /// Folded steps are shown as rows, where they are not too many to read.
    pub rows: bool,
}

/// Renders a graph that was folded.
///
/// # Errors
///
/// Where the layout gives up, which it does on no graph without a circle that we know of.
pub fn render(view: &GraphView, style: Style) -> Result<String, LayoutError> {
    let picture = Picture::new(view, style)?;
    Ok(picture.draw(view, "xmlns=\"http://www.w3.org/2000/svg\" ", false))
}

/// Everything in its place.
pub(super) struct Picture<'a> {
    pub blocks: Vec<Block<'a>>,
    pub placed: Placed,
}

impl<'a> Picture<'a> {
    pub fn new(view: &'a GraphView, style: Style) -> Result<Picture<'a>, LayoutError> {
        let blocks: Vec<Block<'a>> = view.nodes.iter().map(|node| Block::new(node, style.rows)).collect();
        let sizes: Vec<(f64, f64)> = blocks.iter().map(|block| block.size(block.open)).collect();
        let placed = place(&sizes, &view.edges)?;
        Ok(Picture { blocks, placed })
    }

    /// The picture; `live` gives a script what it needs to find its parts, closed rows included.
    pub fn draw(&self, view: &GraphView, attributes: &str, live: bool) -> String {
        let legend = Legend::new(view, self.placed.width);
        let width = self.placed.width.max(legend.width);
        let height = self.placed.height + legend.height;
        let total: u32 = view.nodes.iter().map(|node| node.count).sum();
        let steps = if total == 1 { "step" } else { "steps" };
        let mut out = String::with_capacity(700 * view.nodes.len() + 4096);
        let (w, h) = (at(width), at(height));
        // Writing to a string can't fail.
        let _ = writeln!(
            out,
            "<svg {attributes}class=\"pg\" viewBox=\"0 0 {w} {h}\" width=\"{w}\" height=\"{h}\" role=\"{}\" aria-label=\"{}: {total} {steps}\">",
            if live { "group" } else { "img" },
            escaped(&view.title),
        );
        if !live {
            let _ =
                writeln!(out, "<title>{}: {total} {steps}</title>\n<style>{}</style>", escaped(&view.title), style());
            // A viewer without a page of its own shows what is behind the picture: white, or black.
            out.push_str("<rect class=\"paper\" width=\"100%\" height=\"100%\" fill=\"var(--paper)\"/>\n");
        }
        out.push_str("<g class=\"all\"><g class=\"lines\">\n");
        // Lines to nodes that will not run are drawn first and lighter, so that the others stay on top.
        for off in [true, false] {
            for (at, line) in self.placed.lines.iter().enumerate() {
                let (from, to) = (&view.nodes[line.edge.from].state, &view.nodes[line.edge.to].state);
                if (is_off(from) || is_off(to)) == off {
                    self.line(&mut out, line, off, live.then_some(at));
                }
            }
        }
        out.push_str("</g>\n");
        for place in 0..self.blocks.len() {
            self.block(&mut out, place, live);
        }
        out.push_str("</g>\n");
        legend.draw(&mut out, self.placed.height);
        out.push_str("</svg>\n");
        out
    }

    fn line(&self, out: &mut String, line: &Line, off: bool, name: Option<usize>) {
        let (from, to) = (line.edge.from, line.edge.to);
        let half = |place: usize| self.blocks[place].size(self.blocks[place].open).0 / 2.0;
        let (start, end) = (self.placed.nodes[from], self.placed.nodes[to]);
        // Level through all of a column, past its widest node; lines bend between columns only.
        let past = |column: usize, y: f64| {
            let Column { middle, width } = self.placed.columns[column];
            [(middle - width / 2.0, y), (middle + width / 2.0, y)]
        };
        let mut points = vec![(start.0 + half(from), start.1), past(self.placed.column(from), start.1)[1]];
        points.extend(line.bends.iter().flat_map(|&(column, y)| past(column, y)));
        points.extend([past(self.placed.column(to), end.1)[0], (end.0 - half(to), end.1)]);
        let class = if off { " o" } else { "" };
        let name = name.map(|name| format!(" data-e=\"{name}\"")).unwrap_or_default();
        let _ = writeln!(out, "<path class=\"e{class}\"{name} d=\"{}\"/>{}", flow(&points), arrow(&points, class));
    }

    fn block(&self, out: &mut String, place: usize, live: bool) {
        let block = &self.blocks[place];
        let (x, y) = self.placed.nodes[place];
        let (width, height) = block.size(block.open);
        let focus = if block.node.focus { " focus" } else { "" };
        let shut = if block.open || block.rows.is_empty() { "" } else { " shut" };
        let (class, whole) = (block.node.state.class(), escaped(&block.sentence()));
        let more = if live {
            format!(" data-b=\"{place}\" tabindex=\"0\" role=\"button\" aria-label=\"{whole}\"")
        } else {
            String::new()
        };
        let _ = write!(
            out,
            "<g class=\"block {class}{focus}{shut}\" transform=\"translate({} {})\"{more}><title>{whole}</title>\
             <rect class=\"box\" width=\"{}\" height=\"{}\" rx=\"7\"/>",
            at(x - width / 2.0),
            at(y - height / 2.0),
            at(width),
            at(height),
        );
        let mut line = 5.0;
        for (i, title) in block.title.iter().enumerate() {
            line += TITLE;
            let _ = write!(out, "<text class=\"t\" x=\"{SIDE}\" y=\"{line}\">{}", escaped(title));
            if i == 0 && !block.kind.is_empty() {
                let _ = write!(out, "<tspan class=\"s\" font-weight=\"400\"> {}</tspan>", escaped(&block.kind));
            }
            out.push_str("</text>");
        }
        for note in &block.notes {
            line += NOTE;
            let sign = note.state.as_ref().and_then(|state| Some((state, sign(state)?)));
            let indent = if sign.is_some() { SIGN } else { 0.0 };
            if let Some((state, path)) = sign {
                self.sign(out, state, path, (SIDE + 4.5, line - 4.0));
            }
            let _ =
                write!(out, "<text class=\"s\" x=\"{}\" y=\"{line}\">{}</text>", SIDE + indent, escaped(&note.text));
        }
        if !block.rows.is_empty() && live {
            let turn = if block.open { "" } else { " rotate(-90)" };
            let (right, closed) = (at(width - 14.0), at(block.size(false).0 - 14.0));
            let _ = write!(
                out,
                "<g class=\"mark\" data-shut=\"{closed}\" transform=\"translate({right} 15)\"><title>Show or hide the steps</title>\
                 <rect x=\"-11\" y=\"-11\" width=\"22\" height=\"22\" rx=\"5\"/><path transform=\"{}\" d=\"M-4-2L0 2L4-2\"/></g>",
                turn.trim_start()
            );
        }
        if block.open || live {
            self.rows(out, block, live);
        }
        out.push_str("</g>\n");
    }

    fn rows(&self, out: &mut String, block: &Block<'_>, live: bool) {
        if block.rows.is_empty() {
            return;
        }
        out.push_str("<g class=\"rows\">");
        for (i, row) in block.rows.iter().enumerate() {
            let (x, y, width) = block.row(i);
            let whole = escaped(&row.sentence);
            let more = if live {
                format!(" data-r=\"{i}\" tabindex=\"-1\" role=\"button\" aria-label=\"{whole}\"")
            } else {
                String::new()
            };
            let _ = write!(
                out,
                "<g class=\"row {}\" transform=\"translate({} {})\"{more}><title>{whole}</title><rect class=\"hit\" width=\"{}\" height=\"{ROW}\" rx=\"4\" fill=\"none\"/>",
                row.state.class(),
                at(x),
                at(y),
                at(width),
            );
            if let Some(path) = sign(&row.state) {
                self.sign(out, &row.state, path, (10.0, 9.0));
            }
            let _ = write!(out, "<text x=\"{}\" y=\"13\">{}</text>", SIGN + 5.5, escaped(&row_label(row)));
            if let Some(took) = row.took {
                let _ = write!(
                    out,
                    "<text class=\"s\" x=\"{}\" y=\"13\" text-anchor=\"end\">{}</text>",
                    at(width - 6.0),
                    took.short()
                );
            }
            out.push_str("</g>");
        }
        out.push_str("</g>");
    }

    fn sign(&self, out: &mut String, state: &NodeState, path: &str, (x, y): (f64, f64)) {
        let _ = write!(
            out,
            "<path class=\"i {}\" transform=\"translate({} {})\" d=\"{path}\"/>",
            state.class(),
            at(x),
            at(y)
        );
    }
}

/// A line that leaves and reaches every point level.
fn flow(points: &[(f64, f64)]) -> String {
    let mut path = String::new();
    for (i, &(x, y)) in points.iter().enumerate() {
        // Writing to a string can't fail.
        let _ = match i.checked_sub(1).map(|before| points[before]) {
            None => write!(path, "M{} {}", at(x), at(y)),
            Some((_, py)) if (py - y).abs() < 0.05 => write!(path, "H{}", at(x)),
            Some((px, py)) => {
                let middle = at((px + x) / 2.0);
                write!(path, "C{middle} {} {middle} {} {} {}", at(py), at(y), at(x), at(y))
            }
        };
    }
    path
}

/// A small triangle at the end of a line, which always comes from the left.
fn arrow(points: &[(f64, f64)], class: &str) -> String {
    let Some(&(x, y)) = points.last() else { return String::new() };
    format!("<path class=\"a{class}\" transform=\"translate({} {})\" d=\"M0 0L-7 3.2V-3.2Z\"/>", at(x), at(y))
}

fn is_off(state: &NodeState) -> bool {
    matches!(state, NodeState::NotNeeded | NodeState::NotSelected | NodeState::Unavailable(_) | NodeState::Excluded(_))
}

/// The states that appear, with their words, in as many lines as the width asks for.
struct Legend {
    entries: Vec<(NodeState, &'static str, f64, f64)>,
    width: f64,
    height: f64,
}

impl Legend {
    fn new(view: &GraphView, width: f64) -> Legend {
        let appears = |state: &NodeState| {
            let steps = view.nodes.iter().flat_map(|node| std::iter::once(node).chain(&node.members));
            steps.into_iter().any(|step| step.state.name() == state.name())
        };
        let (mut x, mut y, mut right) = (MARGIN, 0.0, 0.0f64);
        let mut entries = Vec::new();
        for (state, words) in legend().into_iter().filter(|(state, _)| appears(state)) {
            let long = SIGN + columns(words) as f64 * CHARACTER * 11.0 / 12.0 + 20.0;
            if x > MARGIN && x + long > width {
                (x, y) = (MARGIN, y + LEGEND * 0.8);
            }
            entries.push((state, words, x, y));
            x += long;
            right = right.max(x);
        }
        let height = if entries.is_empty() { 0.0 } else { y + LEGEND };
        Legend { entries, width: right, height }
    }

    fn draw(&self, out: &mut String, top: f64) {
        if self.entries.is_empty() {
            return;
        }
        out.push_str("<g class=\"legend\">");
        for (state, words, x, y) in &self.entries {
            let _ = write!(
                out,
                "<path class=\"i {}\" transform=\"translate({} {})\" d=\"{}\"/><text class=\"s\" x=\"{}\" y=\"{}\">{words}</text>",
                state.class(),
                at(x + 5.0),
                at(top + y + 6.0),
                sign(state).unwrap_or_default(),
                at(x + SIGN),
                at(top + y + 10.0),
            );
        }
        out.push_str("</g>\n");
    }
}

#[cfg(test)]
mod tests {
    use super::super::fold::{Collapse, fold};
    use super::super::tests::example;
    use super::*;

    fn drawn(view: &GraphView, level: Collapse, rows: bool) -> String {
        render(&fold(view, level), Style { rows }).unwrap()
    }

    #[test]
    fn every_cell_is_a_row_and_twice_the_same() {
        let picture = drawn(&example(), Collapse::Cells, true);
        assert_eq!(picture, drawn(&example(), Collapse::Cells, true));
        assert_eq!(picture.matches("class=\"row ").count(), 12);
        assert!(
            picture.contains("onnx container cpu") && picture.contains("38 fetched") && !picture.contains("wheel-00")
        );
        for outside in ["href", "url(", "<script", "data-"] {
            assert!(!picture.contains(outside), "{outside}");
        }
    }

    #[test]
    fn without_rows_a_matrix_is_its_counts() {
        let picture = drawn(&example(), Collapse::Recipes, false);
        assert_eq!(picture.matches("class=\"row ").count(), 0);
        assert!(picture.contains("6 unavailable") && picture.contains("measure ×12"));
    }

    #[test]
    fn the_main_pipeline_fits_a_screen_at_its_natural_size() {
        let view = fold(&example(), Collapse::blocks(&example()));
        let picture = Picture::new(&view, Style { rows: true }).unwrap();
        assert!(picture.placed.width <= 1280.0, "{}", picture.placed.width);
        assert!(picture.placed.height <= 700.0, "{}", picture.placed.height);
    }

    #[test]
    fn an_empty_graph_is_a_picture_too() {
        assert!(drawn(&GraphView::default(), Collapse::Fetch, true).starts_with("<svg"));
    }

    #[test]
    fn hostile_names_are_escaped() {
        let mut view = example();
        view.nodes[38].name = "<script>\"&".into();
        view.nodes[38].group = view.nodes[38].name.clone();
        let picture = drawn(&view, Collapse::None, true);
        assert!(picture.contains("&lt;script&gt;&quot;&amp;") && !picture.contains("<script"));
    }
}
