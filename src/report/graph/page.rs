//! The graph as one page that opens from disk: the picture, a script that moves through it, and what is known of
//! each step. Without a script the picture stays.

use std::collections::BTreeMap;
use std::slice::from_ref;

use maud::{DOCTYPE, PreEscaped, html};
use serde::Serialize;

use super::block::Block;
use super::svg::{Picture, Style};
use super::{GraphView, Node, NodeState, class_name, palette};
use crate::report::units;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// What the script knows. Steps, blocks and lines are named by their places.
#[derive(Serialize)]
struct Data<'a> {
    title: &'a str,
    steps: Vec<Step<'a>>,
    /// Which step reads which: from, to.
    reads: Vec<(usize, usize)>,
    blocks: Vec<Shape>,
    lines: Vec<Line>,
    /// States that appear, with the number of steps.
    states: Vec<(&'static str, &'static str, u32)>,
}

#[derive(Serialize)]
struct Step<'a> {
    name: &'a str,
    block: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    row: Option<usize>,
    class: &'static str,
    state: &'static str,
    css: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    about: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    recipe: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    took: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    log: Option<Tail<'a>>,
}

#[derive(Serialize)]
struct Tail<'a> {
    lines: &'a [String],
    before: usize,
    command: &'a str,
}

/// From block to block, and where the line crosses the columns between them: column, height.
#[derive(Serialize)]
struct Line {
    from: usize,
    to: usize,
    bends: Vec<(usize, f64)>,
}

/// A block as it can be opened and shut.
#[derive(Serialize)]
struct Shape {
    name: String,
    x: f64,
    y: f64,
    column: usize,
    /// Width and height when shut, and when open.
    shut: (f64, f64),
    open: (f64, f64),
    is_open: bool,
    rows: usize,
    took: Option<String>,
}

/// Renders a graph that was folded; `whole` is the same before.
///
/// # Errors
///
/// Where the layout gives up, or a name can't be written as JSON; neither is known to happen.
pub fn render(view: &GraphView, whole: &GraphView, style: Style) -> Result<String, String> {
    let picture = Picture::new(view, style).map_err(|error| error.to_string())?;
    let data = serde_json::to_string(&data(view, whole, &picture)).map_err(|error| error.to_string())?;
    // Inside of a script element only this could end it.
    let data = data.replace('<', "\\u003c");
    let drawn = picture.draw(view, "id=\"graph\" ", true);
    let total: u32 = view.nodes.iter().map(|node| node.count).sum();
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (view.title) " · steps" }
                style { (PreEscaped(palette::style())) (PreEscaped(STYLE)) }
            }
            body.pg {
                header {
                    h1 { (view.title) }
                    p.count { (total) @if total == 1 { " step" } @else { " steps" } }
                    div.tools role="toolbar" aria-label="The graph" {
                        input #search type="search" placeholder="Find a step  ( / )" aria-label="Find a step" autocomplete="off" spellcheck="false";
                        output #found for="search" aria-live="polite" {}
                        span.buttons {
                            button #open type="button" title="Show the steps of every group (o)" { "Open all" }
                            button #shut type="button" title="Show groups by their counts (s)" { "Shut all" }
                        }
                        span.buttons {
                            button #out type="button" title="Smaller (−)" aria-label="Smaller" { "−" }
                            button #in type="button" title="Larger (+)" aria-label="Larger" { "+" }
                            button #fit type="button" title="All of it (0)" { "Fit" }
                            button #help type="button" title="Keys (?)" aria-label="Keys" { "?" }
                        }
                    }
                }
                main {
                    div #stage { (PreEscaped(drawn)) }
                    aside #panel aria-label="The chosen step" aria-live="polite" hidden {}
                }
                footer #standing {}
                noscript { p.note { "Without a script this is a picture: hold the pointer over a step to read more of it." } }
                script type="application/json" id="data" { (PreEscaped(data)) }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    };
    Ok(page.into_string() + "\n")
}

fn data<'a>(view: &'a GraphView, whole: &'a GraphView, picture: &Picture<'_>) -> Data<'a> {
    let mut steps = Vec::new();
    for (block, node) in view.nodes.iter().enumerate() {
        if node.members.is_empty() {
            steps.push(step(node, block, None));
            continue;
        }
        let mut row_of = vec![None; node.members.len()];
        for (at, row) in picture.blocks[block].rows.iter().enumerate() {
            row.members.iter().for_each(|member| row_of[*member] = Some(at));
        }
        steps.extend(node.members.iter().zip(row_of).map(|(member, row)| step(member, block, row)));
    }
    let drawn = view.nodes.iter().flat_map(|node| if node.members.is_empty() { from_ref(node) } else { &node.members });
    let places: BTreeMap<&str, usize> = drawn.enumerate().map(|(place, node)| (node.id.as_str(), place)).collect();
    let place = |at: usize| whole.nodes.get(at).and_then(|node| places.get(node.id.as_str()).copied());
    let reads = whole.edges.iter().filter_map(|edge| Some((place(edge.from)?, place(edge.to)?)));
    let placed = &picture.placed;
    let blocks = picture.blocks.iter().enumerate().map(|(at, block)| shape(block, placed.nodes[at], placed.column(at)));
    let round = |y: f64| (y * 10.0).round() / 10.0;
    let lines = placed.lines.iter().map(|line| {
        let bends = line.bends.iter().map(|&(column, y)| (column, round(y))).collect();
        Line { from: line.edge.from, to: line.edge.to, bends }
    });
    let counted = |state: &NodeState| steps.iter().filter(|step| step.css == state.class()).count() as u32;
    let states = palette::legend().into_iter().map(|(state, words)| (state.class(), words, counted(&state)));
    let states = states.filter(|(_, _, count)| *count > 0).collect();
    Data { title: &view.title, reads: reads.collect(), blocks: blocks.collect(), lines: lines.collect(), states, steps }
}

fn step(node: &Node, block: usize, row: Option<usize>) -> Step<'_> {
    Step {
        name: &node.name,
        block,
        row,
        class: class_name(node.class),
        state: node.state.name(),
        css: node.state.class(),
        reason: node.state.reason(),
        remedy: node.past.remedy.as_deref(),
        about: node.detail.as_deref(),
        recipe: node.recipe.as_deref(),
        took: node.past.took.map(super::Took::text),
        size: node.past.bytes.map(units::size),
        key: node.past.key.as_deref(),
        log: node.past.log.as_ref().map(|log| Tail { lines: &log.tail, before: log.before, command: &log.command }),
    }
}

fn shape(block: &Block<'_>, (x, y): (f64, f64), column: usize) -> Shape {
    let round = |(a, b): (f64, f64)| ((a * 10.0).round() / 10.0, (b * 10.0).round() / 10.0);
    let (x, y) = round((x, y));
    Shape {
        name: if block.node.count == 1 { block.node.name.clone() } else { block.node.group.clone() },
        x,
        y,
        column,
        shut: round(block.size(false)),
        open: round(block.size(true)),
        is_open: block.open,
        rows: block.rows.len(),
        took: block.node.past.took.map(super::Took::text),
    }
}
