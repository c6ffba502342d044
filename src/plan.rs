//! The DAG: which step comes before which, and which are needed for what a run is after.
//!
//! The sole user of `petgraph`. It knows the steps' names and what they read, and nothing of keys, stores
//! or processes.

use std::collections::BTreeSet;

use petgraph::Direction;
use petgraph::algo::toposort;
use petgraph::graph::{DiGraph, NodeIndex};

use crate::pipeline::{Action, CellPattern, Pipeline, Step, StepId, reads};

/// The steps of a pipeline in order.
#[derive(Debug)]
pub struct Plan {
    graph: DiGraph<StepId, ()>,
    order: Vec<StepId>,
}

impl Plan {
    /// The DAG of `pipeline`; `Err` holds a step of a cycle, which `resolve` should have refused.
    pub fn new(pipeline: &Pipeline) -> Result<Plan, StepId> {
        let mut graph = DiGraph::new();
        for id in 0..pipeline.steps.len() {
            graph.add_node(StepId(id));
        }
        for (id, step) in pipeline.steps.iter().enumerate() {
            for read in reads(&step.action) {
                graph.add_edge(NodeIndex::new(read.0), NodeIndex::new(id), ());
            }
        }
        let sorted = toposort(&graph, None).map_err(|cycle| StepId(cycle.node_id().index()))?;
        let order = sorted.into_iter().map(|node| graph[node]).collect();
        Ok(Plan { graph, order })
    }

    /// Every step, each after those that it reads.
    pub fn order(&self) -> &[StepId] {
        &self.order
    }

    /// The steps that `id` reads, sorted.
    pub fn reads(&self, id: StepId) -> Vec<StepId> {
        self.neighbours(id, Direction::Incoming)
    }

    /// The steps that read `id`, sorted.
    pub fn readers(&self, id: StepId) -> Vec<StepId> {
        self.neighbours(id, Direction::Outgoing)
    }

    fn neighbours(&self, id: StepId, direction: Direction) -> Vec<StepId> {
        // petgraph gives the newest neighbour first; everything that people see is sorted.
        let found: BTreeSet<StepId> =
            self.graph.neighbors_directed(NodeIndex::new(id.0), direction).map(|node| self.graph[node]).collect();
        found.into_iter().collect()
    }

    /// What a run is after when nothing else is said: steps that nobody reads, every selected measurement,
    /// and what is given back to the user.
    pub fn targets(&self, pipeline: &Pipeline, selection: &Selection) -> Vec<StepId> {
        self.order
            .iter()
            .copied()
            .filter(|id| {
                let step = &pipeline.steps[id.0];
                match &step.action {
                    Action::Measure(_) => selection.takes(step),
                    _ => self.readers(*id).is_empty() || step.export.is_some(),
                }
            })
            .collect()
    }

    /// The `targets` and all that must exist for them. `satisfied` steps are already there: what only they
    /// read is not needed.
    pub fn needed(&self, targets: &[StepId], satisfied: impl Fn(StepId) -> bool) -> BTreeSet<StepId> {
        let mut needed = BTreeSet::new();
        let mut open: Vec<StepId> = targets.to_vec();
        while let Some(id) = open.pop() {
            if needed.insert(id) && !satisfied(id) {
                open.extend(self.reads(id));
            }
        }
        needed
    }
}

/// Which cells the user asked for; empty takes all.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    pub only: Vec<CellPattern>,
}

impl Selection {
    /// True where `step` is no cell, or a cell that a pattern takes.
    pub fn takes(&self, step: &Step) -> bool {
        match &step.cell {
            Some(cell) => self.only.is_empty() || self.only.iter().any(|pattern| pattern.matches(cell)),
            None => true,
        }
    }
}
