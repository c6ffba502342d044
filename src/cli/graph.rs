//! `pipe graph`: the steps and what they read, coloured by where they stand.

use std::collections::BTreeMap;

use clap::{Args, ValueEnum};

use super::output::{To, colour, note, print, width};
use super::{Global, Target, exit, explain, load};
use crate::exec::outcome::Standing;
use crate::exec::site::Site;
use crate::exec::survey::Survey;
use crate::pipeline::StepId;
use crate::report::graph::{self, Edge, GraphView, Node, NodeState};

/// The flags of `pipe graph`.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    target: Target,
    /// How the graph is written
    #[arg(long, value_enum, default_value_t = Format::Tree)]
    format: Format,
}

/// `--format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Tree,
    Dot,
    Mermaid,
    Svg,
    Json,
}

/// Draws the graph.
pub fn main(global: &Global, arguments: &Arguments) -> u8 {
    let (site, survey) = match load::surveyed(global, &arguments.target) {
        Ok(pair) => pair,
        Err(code) => return code,
    };
    let view = view(&site, &survey);
    let style = graph::tree::Style { colour: colour(global.color, To::Out), width: width() };
    let drawn = match arguments.format {
        Format::Tree => Ok(graph::tree::render(&view, style)),
        Format::Dot => Ok(graph::dot::render(&view)),
        Format::Mermaid => Ok(graph::mermaid::render(&view)),
        Format::Svg => graph::svg::render(&view).map_err(|error| error.to_string()),
        Format::Json => graph::json::render(&view).map_err(|error| error.to_string()),
    };
    match drawn {
        Ok(text) => {
            print(&text);
            exit::DONE
        }
        Err(message) => {
            note(&format!("pipe: the graph can't be drawn: {message}"));
            exit::FAULT
        }
    }
}

/// The survey as a drawing shows it.
fn view(site: &Site, survey: &Survey) -> GraphView {
    let state = |standing: &Standing| match standing {
        Standing::Cached(_) => NodeState::Cached,
        Standing::Runs(why) => NodeState::Runs(explain::brief(why)),
        Standing::Depends(steps) => {
            let names: Vec<&str> = steps.iter().map(|id| site.step(*id).name.as_str()).collect();
            NodeState::DependsOn(explain::some(&names, 2))
        }
        Standing::NotNeeded => NodeState::NotNeeded,
        Standing::NotSelected => NodeState::NotSelected,
        Standing::Unavailable(lack) => NodeState::Unavailable(lack.reason.clone()),
    };
    drawn(site, |id| state(&survey.standings[&id]))
}

/// The graph of a report, which holds no states: they would change with every run.
pub fn drawing(site: &Site) -> GraphView {
    drawn(site, |_| NodeState::Plain)
}

fn drawn(site: &Site, state: impl Fn(StepId) -> NodeState) -> GraphView {
    let order = site.plan.order();
    let nodes = order
        .iter()
        .map(|&id| {
            let step = site.step(id);
            Node {
                id: format!("s{}", id.0),
                name: step.name.clone(),
                group: step.group.clone(),
                recipe: step.recipe.clone(),
                class: step.class,
                state: state(id),
                detail: step.about.clone(),
                cell: step.cell.clone(),
                count: 1,
            }
        })
        .collect();
    // Edges name nodes by their place in the drawing, which follows the plan's order.
    let places: BTreeMap<StepId, usize> = order.iter().enumerate().map(|(place, id)| (*id, place)).collect();
    let edges = order
        .iter()
        .flat_map(|id| site.plan.reads(*id).into_iter().map(|read| Edge { from: places[&read], to: places[id] }))
        .collect();
    GraphView { title: site.pipeline.name.clone(), nodes, edges }
}
