//! How long the graph of a plan takes to draw: `cargo bench --bench graph`.
//!
//! Each figure is the least of several rounds, in one process, from a plan in hand: what the store says of each step
//! is not in it. It prints a table and judges nothing; noise on a shared machine is large.

#![expect(clippy::disallowed_macros, reason = "a benchmark prints its table")]

use std::fmt::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use pipe::pipeline::{Pipeline, StepId};
use pipe::plan::Plan;
use pipe::report::graph::fold::{Collapse, fold};
use pipe::report::graph::{GraphView, NodeState, dot, json, mermaid, page, planned, svg, tree};
use pipe::resolve::{Facts, Memory, Options, load};

/// Layers of steps, each of which reads three of the layer before and one of all: no matrix, nothing to fold.
fn layered(steps: usize, wide: usize) -> String {
    let mut text = String::from("pipeline \"layered\"\n");
    for at in 0..steps {
        let (layer, place) = (at / wide, at % wide);
        // Equal steps would be merged into one.
        let _ = write!(text, "step \"s{layer}-{place}\" {{ run \"true\" \"{at}\"");
        for other in [place, (place + 1) % wide, (place * 7 + 3) % wide] {
            if layer > 0 {
                let _ = write!(text, " (step)\"s{}-{other}\"", layer - 1);
            }
        }
        if layer > 1 {
            let _ = write!(text, " (step)\"s0-{}\"", place % 5);
        }
        text.push_str("; output \"x\"; }\n");
    }
    text
}

/// A matrix of about so many cells, of three steps each, and one step of all.
fn matrix(cells: usize) -> String {
    let side = (cells as f64).sqrt().ceil() as usize;
    let axis = |name: &str| {
        (0..side).fold(format!("    axis \"{name}\""), |text, value| text + &format!(" \"{name}{value}\"")) + "\n"
    };
    format!(
        "pipeline \"matrix\"\nmatrix \"cells\" {{\n{}{}}}\nstep \"data\" {{ run \"true\"; output \"x\"; }}\n\
         step \"make\" for-each=\"cells\" {{ run \"true\" (step)\"data\" (axis)\"a\" (axis)\"b\"; output \"x\"; }}\n\
         step \"pack\" for-each=\"cells\" {{ run \"true\" (step)\"make\"; output \"x\"; }}\n\
         step \"use\" for-each=\"cells\" {{ run \"true\" (step)\"pack\" (step)\"data\"; output \"x\"; }}\n",
        axis("a"),
        axis("b"),
    )
}

fn planned(text: &str) -> (Pipeline, Plan) {
    let facts = Facts { os: "linux".to_owned(), arch: "x86_64".to_owned(), gpu: "none".to_owned(), python: None };
    let disk = Memory::default().with("p.kdl", text);
    let (pipeline, found) = load(Path::new("p.kdl"), &Options::default(), &disk, &facts);
    let pipeline = pipeline.unwrap_or_else(|| panic!("{}", found.render(false, 100)));
    let plan = Plan::new(&pipeline).expect("no circle");
    (pipeline, plan)
}

fn state(id: StepId) -> NodeState {
    match id.0 % 4 {
        0 => NodeState::Runs("never ran with this store".to_owned()),
        1 => NodeState::DependsOn("data".to_owned()),
        _ => NodeState::Cached,
    }
}

fn least(rounds: usize, mut work: impl FnMut() -> usize) -> (Duration, usize) {
    let mut size = 0;
    let time = |_| {
        let start = Instant::now();
        size = work();
        start.elapsed()
    };
    let best = (0..rounds).map(time).min().unwrap_or_default();
    (best, size)
}

fn report(what: &str, steps: usize, (time, bytes): (Duration, usize)) {
    println!("{what:<44} {steps:>7} {:>9.2} ms {:>9} KiB", time.as_secs_f64() * 1e3, bytes / 1024);
}

fn main() {
    println!("{:<44} {:>7} {:>12} {:>13}", "", "steps", "time", "size");
    let rows = svg::Style { rows: true };
    let drawn = |view: &GraphView, level| {
        let folded = fold(view, level);
        svg::render(&folded, rows).expect("it can be drawn").len()
    };
    for (name, text) in [("layers of 10", layered(1_000, 10)), ("layers of 50", layered(1_000, 50))] {
        let (pipeline, plan) = planned(&text);
        let view = || planned::view(&pipeline, &plan, state);
        let count = pipeline.steps.len();
        report(&format!("svg, {name}, every step"), count, least(7, || drawn(&view(), Collapse::None)));
    }
    for cells in [12, 333, 3_333] {
        let (pipeline, plan) = planned(&matrix(cells));
        let view = || planned::view(&pipeline, &plan, state);
        let count = pipeline.steps.len();
        report("svg, matrix, as blocks", count, least(7, || drawn(&view(), Collapse::Cells)));
        if cells < 1_000 {
            report("svg, matrix, every step", count, least(7, || drawn(&view(), Collapse::None)));
        }
        let whole = view();
        let html = || page::render(&fold(&whole, Collapse::Cells), &whole, rows).expect("it can be drawn").len();
        report("html, matrix, as blocks", count, least(7, html));
        report(
            "tree, matrix, every step",
            count,
            least(7, || tree::render(&fold(&view(), Collapse::None), tree::Style::default()).len()),
        );
    }
    let (pipeline, plan) = planned(&layered(10_000, 100));
    for level in [Collapse::None, Collapse::Recipes] {
        let view = || fold(&planned::view(&pipeline, &plan, state), level);
        let count = pipeline.steps.len();
        report(&format!("dot, layers of 100, collapse {level:?}"), count, least(7, || dot::render(&view()).len()));
        report(
            &format!("mermaid, layers of 100, collapse {level:?}"),
            count,
            least(7, || mermaid::render(&view()).len()),
        );
    }
    let view = || planned::view(&pipeline, &plan, state);
    report("json, layers of 100", 10_000, least(5, || json::render(&view()).expect("it is JSON").len()));
}
