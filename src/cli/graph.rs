//! `pipe graph`: the steps and what they read, coloured by where they stand.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use super::known::{self, Asked};
use super::output::{To, colour, note, print, width};
use super::{Global, Target, exit, explain, load, settled};
use crate::exec::outcome::Standing;
use crate::exec::settled::Settled;
use crate::exec::site::Site;
use crate::exec::survey::Survey;
use crate::pipeline::StepId;
use crate::report::graph::fold::{Collapse, fold};
use crate::report::graph::{self, GraphView, NodeState, focus};

/// The flags of `pipe graph`.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    target: Target,
    /// How the graph is written [default: as the file of --output is called, else tree]
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Writes to a file; .html, .svg, .dot, .mmd and .json say the format
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Shows this step with all that it needs and all that needs it: a step, cells like 'decode[engine=onnx]', a
    /// group of cells, or a node of the file
    #[arg(long, value_name = "STEP")]
    focus: Option<String>,
    /// Shows no more than N steps before and after the focus, or before the ends of the pipeline
    #[arg(long, value_name = "N")]
    depth: Option<usize>,
    /// What is shown as one: by default as much as the size asks for; without a value, recipes
    #[arg(long, value_enum, value_name = "WHAT", num_args = 0..=1, default_missing_value = "recipes", require_equals = true)]
    collapse: Option<Level>,
}

/// `--format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Lines for a terminal
    Tree,
    /// A page that opens from disk: moves, zooms, opens and shuts groups, explains each step
    Html,
    /// A picture
    Svg,
    /// Graphviz
    Dot,
    /// Mermaid, for Markdown
    Mermaid,
    /// Every step, for programs
    Json,
}

/// `--collapse`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Level {
    /// Every step by itself
    None,
    /// A step has taken in what it fetches: the wheels of an environment
    Fetch,
    /// Also the cells of a matrix are one
    Cells,
    /// Also all steps of a recipe are one: each node of the file is one
    Recipes,
}

impl From<Level> for Collapse {
    fn from(level: Level) -> Collapse {
        match level {
            Level::None => Collapse::None,
            Level::Fetch => Collapse::Fetch,
            Level::Cells => Collapse::Cells,
            Level::Recipes => Collapse::Recipes,
        }
    }
}

/// Draws the graph.
pub fn main(global: &Global, arguments: &Arguments) -> u8 {
    let format = arguments.format.or_else(|| of_name(arguments.output.as_deref()?)).unwrap_or(Format::Tree);
    let asked = Asked {
        times: !matches!(format, Format::Dot | Format::Mermaid),
        all: matches!(format, Format::Html | Format::Json),
    };
    let (site, stands) = match standing(global, &arguments.target, asked) {
        Ok(pair) => pair,
        Err(code) => return code,
    };
    let state = |id: StepId| match &stands {
        Stands::Surveyed(survey) => state(&site, &survey.standings[&id]),
        Stands::Still(cached) if cached.contains(&id) => NodeState::Cached,
        Stands::Still(_) => NodeState::NotNeeded,
    };
    let mut view = graph::planned::view(&site.pipeline, &site.plan, state);
    if let Some(name) = &arguments.focus {
        let places = focus::named(&view, name);
        if places.is_empty() {
            let names = focus::names(&view);
            let hint = crate::diag::nearest(name, names.iter().copied())
                .map(|name| format!("; did you mean `{name}`?"))
                .unwrap_or_default();
            note(&format!("pipe: no step is called `{name}`{hint}"));
            return exit::USAGE;
        }
        view = focus::focus(&view, &places);
    }
    if let Stands::Surveyed(survey) = &stands {
        known::add(&mut view, &site, survey, asked);
    }

    let level = arguments.collapse.map(Collapse::from).unwrap_or_else(|| match format {
        Format::Tree => Collapse::fitting(&view, 24),
        Format::Dot | Format::Mermaid => Collapse::fitting(&view, 100),
        Format::Svg | Format::Html => Collapse::blocks(&view),
        Format::Json => Collapse::None,
    });
    let whole = view;
    let mut view = fold(&whole, level);
    if let Some(depth) = arguments.depth {
        view = focus::within(&view, depth);
    }

    let tree = graph::tree::Style { colour: colour(global.color, To::Out), width: width() };
    // Who asks for groups as single nodes gets no rows of them.
    let picture = graph::svg::Style { rows: arguments.collapse.is_none() };
    let drawn = match format {
        Format::Tree => Ok(graph::tree::render(&view, tree)),
        Format::Dot => Ok(graph::dot::render(&view)),
        Format::Mermaid => Ok(graph::mermaid::render(&view)),
        Format::Svg => graph::svg::render(&view, picture).map_err(|error| error.to_string()),
        Format::Html => graph::page::render(&view, &whole, picture),
        Format::Json => graph::json::render(&view).map_err(|error| error.to_string()),
    };
    match drawn {
        Ok(text) => written(&text, arguments.output.as_deref()),
        Err(message) => {
            note(&format!("pipe: the graph can't be drawn: {message}"));
            exit::FAULT
        }
    }
}

/// Where the steps of a site stand.
enum Stands {
    Surveyed(Survey),
    /// Nothing has moved since a run that found these cached, and nobody needs the rest.
    Still(BTreeSet<StepId>),
}

/// A drawing that says no more of a step than where it stands needs no look at each, where nothing has moved.
fn standing(global: &Global, target: &Target, asked: Asked) -> Result<(Site, Stands), load::Code> {
    let cached = |settled: &Settled| {
        let cached = settled.steps.iter().filter(|step| step.cached).map(|step| StepId(step.id as usize));
        (settled.steps.len(), cached.collect())
    };
    let still = if asked.times { None } else { settled::settled(global, target, cached) };
    let site = load::site(global, target, None)?;
    let stands = match still {
        Some((steps, cached)) if steps == site.pipeline.steps.len() => Stands::Still(cached),
        _ => Stands::Surveyed(load::look_at(&site)?),
    };
    Ok((site, stands))
}

fn of_name(path: &Path) -> Option<Format> {
    match path.extension()?.to_str()? {
        "html" | "htm" => Some(Format::Html),
        "svg" => Some(Format::Svg),
        "dot" | "gv" => Some(Format::Dot),
        "mmd" | "mermaid" => Some(Format::Mermaid),
        "json" => Some(Format::Json),
        _ => None,
    }
}

fn written(text: &str, file: Option<&Path>) -> u8 {
    let Some(file) = file else {
        print(text);
        return exit::DONE;
    };
    match std::fs::write(file, text) {
        Ok(()) => exit::DONE,
        Err(error) => {
            note(&format!("pipe: `{}` can't be written: {error}", file.display()));
            exit::FAULT
        }
    }
}

/// Where a step stands, as a drawing shows it.
fn state(site: &Site, standing: &Standing) -> NodeState {
    match standing {
        Standing::Cached(_) => NodeState::Cached,
        Standing::Runs(why) => NodeState::Runs(explain::brief(why)),
        Standing::Depends(steps) => {
            let first: Vec<&str> = steps.iter().take(3).map(|id| site.step(*id).name.as_str()).collect();
            let more = steps.len() - first.len();
            let more = if more == 0 { String::new() } else { format!(" and {more} more") };
            NodeState::DependsOn(first.join(", ") + &more)
        }
        Standing::NotNeeded => NodeState::NotNeeded,
        Standing::NotSelected => NodeState::NotSelected,
        Standing::Unavailable(lack) => NodeState::Unavailable(lack.reason.clone()),
    }
}

/// The graph of a report, which holds no states: they would change with every run.
pub fn drawing(site: &Site) -> GraphView {
    graph::planned::view(&site.pipeline, &site.plan, |_: StepId| NodeState::Plain)
}
