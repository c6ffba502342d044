//! `pipe graph`: the steps and what they read, coloured by where they stand.

use clap::{Args, ValueEnum};

use super::output::{To, colour, note, print};
use super::{Global, Target, exit, explain, load};
use crate::exec::outcome::Standing;
use crate::exec::site::Site;
use crate::exec::survey::{Survey, survey};
use crate::pipeline::Class;
use crate::report::graph::{self, GraphView, Node, NodeState};

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
    let site = match load::site(global, &arguments.target, None) {
        Ok(site) => site,
        Err(code) => return code,
    };
    let survey = match survey(&site) {
        Ok(survey) => survey,
        Err(error) => {
            note(&format!("pipe: {error}"));
            return exit::FAULT;
        }
    };
    let view = view(&site, &survey);
    print(&match arguments.format {
        Format::Tree => graph::tree::render(&view, colour(global.color, To::Out)),
        Format::Dot => graph::dot::render(&view),
        Format::Mermaid => graph::mermaid::render(&view),
        Format::Svg => graph::svg::render(&view),
        Format::Json => graph::json::render(&view),
    });
    exit::DONE
}

/// The survey as a drawing shows it.
fn view(site: &Site, survey: &Survey) -> GraphView {
    let state = |standing: &Standing| match standing {
        Standing::Cached(_) => NodeState::Cached,
        Standing::Runs(why) => NodeState::Runs(explain::brief(why)),
        Standing::Depends(_) => NodeState::DependsOn,
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

fn drawn(site: &Site, state: impl Fn(crate::pipeline::StepId) -> NodeState) -> GraphView {
    let order = site.plan.order();
    let nodes = order
        .iter()
        .map(|&id| {
            let step = site.step(id);
            Node {
                id: id.0,
                name: step.name.clone(),
                group: step.group.clone(),
                recipe: step.recipe.clone(),
                class: class(step.class).to_owned(),
                state: state(id),
                detail: step.about.clone(),
                cell: step.cell.as_ref().map(ToString::to_string),
            }
        })
        .collect();
    let edges = order.iter().flat_map(|&id| site.plan.reads(id).into_iter().map(move |read| (read.0, id.0))).collect();
    GraphView { nodes, edges }
}

fn class(class: Class) -> &'static str {
    match class {
        Class::Fetch => "fetch",
        Class::Build => "build",
        Class::Measure => "measure",
    }
}
