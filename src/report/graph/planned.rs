//! The graph of a plan, in the order of the pipeline's text. Where its steps stand is said by the caller.

use super::{Edge, GraphView, Node, NodeState};
use crate::pipeline::{Pipeline, StepId};
use crate::plan::Plan;

/// Every step of a pipeline and what it reads.
pub fn view(pipeline: &Pipeline, plan: &Plan, state: impl Fn(StepId) -> NodeState) -> GraphView {
    // A step's place in the pipeline is its place in the drawing, so edges need no map between them.
    let steps = pipeline.steps.iter().enumerate();
    let nodes = steps.clone().map(|(place, step)| Node {
        group: step.group.clone(),
        recipe: step.recipe.clone(),
        detail: step.about.clone(),
        cell: step.cell.clone(),
        ..Node::new(format!("s{place}"), step.name.clone(), step.class, state(StepId(place)))
    });
    let nodes = nodes.collect();
    let edges = steps.flat_map(|(to, _)| plan.reads(StepId(to)).into_iter().map(move |from| Edge { from: from.0, to }));
    GraphView { title: pipeline.name.clone(), nodes, edges: edges.collect() }
}
