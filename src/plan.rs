//! The DAG: which step comes before which, and which are needed for what a run is after.
//!
//! The sole user of `petgraph`. It knows the steps' names and what they read, and nothing of keys, stores
//! or processes.

use std::collections::BTreeSet;

use petgraph::Direction;
use petgraph::algo::toposort;
use petgraph::graph::{DiGraph, NodeIndex};

use crate::pipeline::{Action, Cell, CellPattern, Pipeline, Step, StepId, reads};

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
        let node = NodeIndex::new(id.0);
        let mut found: Vec<StepId> =
            self.graph.neighbors_directed(node, direction).map(|node| self.graph[node]).collect();
        found.sort_unstable();
        found.dedup();
        found
    }

    /// What `selection` leaves out: cells that it does not take, and steps without a cell that read such cells.
    /// A comparison stays, and looks at the cells that are there.
    pub fn left_out(&self, pipeline: &Pipeline, selection: &Selection) -> BTreeSet<StepId> {
        let mut left = BTreeSet::new();
        if selection.only.is_empty() {
            return left;
        }
        for &id in &self.order {
            let step = &pipeline.steps[id.0];
            let lost = |read: &StepId| {
                let cell = pipeline.steps[read.0].cell.as_ref();
                left.contains(read) && cell.is_none_or(|cell| selection.rules_out(cell))
            };
            let out = match (&step.cell, &step.action) {
                (Some(cell), _) => !selection.takes(cell),
                (None, Action::Compare(_)) => false,
                (None, _) => self.reads(id).iter().any(lost),
            };
            if out {
                left.insert(id);
            }
        }
        left
    }

    /// What a run is after when nothing else is said: steps that nobody reads, every measurement, and what is
    /// given back to the user, of all that is selected.
    pub fn targets(&self, pipeline: &Pipeline, selection: &Selection) -> Vec<StepId> {
        let left = self.left_out(pipeline, selection);
        // A cell that is asked for by its name is made, though nothing that is left reads it.
        let gone = |step: &Step, reader: &StepId| step.cell.is_some() && left.contains(reader);
        self.order
            .iter()
            .copied()
            .filter(|id| !left.contains(id))
            .filter(|id| {
                let step = &pipeline.steps[id.0];
                match &step.action {
                    Action::Measure(_) => true,
                    _ => self.readers(*id).iter().all(|reader| gone(step, reader)) || step.export.is_some(),
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
    /// True for a cell that a pattern takes.
    pub fn takes(&self, cell: &Cell) -> bool {
        self.only.is_empty() || self.only.iter().any(|pattern| pattern.matches(cell))
    }

    /// True for a cell that differs from every pattern on an axis that it has; one that merely lacks an axis does
    /// not, as an engine that serves every place.
    fn rules_out(&self, cell: &Cell) -> bool {
        let on_its_axes = |pattern: &CellPattern| {
            let has = |axis: &str| cell.get(axis.trim_start_matches('!')).is_some();
            CellPattern(pattern.0.iter().filter(|(axis, _)| has(axis)).cloned().collect())
        };
        !self.only.iter().any(|pattern| on_its_axes(pattern).matches(cell))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::resolve::{Facts, Memory, Options, load};

    /// Two builds, one of which is given back, cells that read one of them each, and a comparison.
    const TEXT: &str = r#"
pipeline "p"
step "base" { run "true"; output "x"; }
step "fast" { run "cat" (step)"base/x"; export "kept"; }
step "slow" { run "cat" (step)"base/x" "slowly"; }
matrix "cells" { axis "way" "fast" "slow"; }
measure "speed" for-each="cells" {
    when way="fast" { engine (step)"fast"; }
    when way="slow" { engine (step)"slow"; }
    program "engine"
    model (step)"base"
    tokens (step)"base/x"
    device "cpu"
    threads 1
    prompt-tokens 8
    new-tokens 4
}
compare "report" of=(step)"speed"
"#;

    fn pipeline() -> Pipeline {
        let facts = Facts { os: "linux".to_owned(), arch: "x86_64".to_owned(), gpu: "none".to_owned(), python: None };
        let (pipeline, found) =
            load(Path::new("p.kdl"), &Options::default(), &Memory::default().with("p.kdl", TEXT), &facts);
        pipeline.unwrap_or_else(|| panic!("{}", found.render(false, 100)))
    }

    fn names(pipeline: &Pipeline, ids: impl IntoIterator<Item = StepId>) -> Vec<&str> {
        let mut names: Vec<&str> = ids.into_iter().map(|id| pipeline.steps[id.0].name.as_str()).collect();
        names.sort_unstable();
        names
    }

    fn id(pipeline: &Pipeline, name: &str) -> StepId {
        StepId(pipeline.steps.iter().position(|step| step.name == name).expect(name))
    }

    fn only(pattern: &str) -> Selection {
        Selection { only: vec![CellPattern::parse(pattern).expect("a pattern")] }
    }

    #[test]
    fn a_step_comes_after_all_that_it_reads() {
        let pipeline = pipeline();
        let plan = Plan::new(&pipeline).expect("no cycle");
        let place = |id: &StepId| plan.order().iter().position(|other| other == id).expect("every step is there");
        assert_eq!(plan.order().len(), pipeline.steps.len());
        for id in plan.order() {
            assert!(plan.reads(*id).iter().all(|read| place(read) < place(id)), "{id:?}");
            assert!(plan.readers(*id).iter().all(|reader| plan.reads(*reader).contains(id)), "{id:?}");
        }
        assert_eq!(names(&pipeline, plan.readers(id(&pipeline, "slow"))), ["speed[way=slow]"]);
    }

    #[test]
    fn a_cycle_is_told_by_one_of_its_steps() {
        let mut pipeline = pipeline();
        let (base, fast) = (id(&pipeline, "base"), id(&pipeline, "fast"));
        let loops = pipeline.steps[fast.0].action.clone();
        pipeline.steps[base.0].action = loops;
        assert_eq!(Plan::new(&pipeline).expect_err("a cycle"), base);
    }

    #[test]
    fn a_run_is_after_ends_selected_cells_and_what_is_given_back() {
        let pipeline = pipeline();
        let plan = Plan::new(&pipeline).expect("no cycle");
        let targets = |selection: &Selection| names(&pipeline, plan.targets(&pipeline, selection)).join(" ");
        assert_eq!(targets(&Selection::default()), "fast report speed[way=fast] speed[way=slow]");
        assert_eq!(targets(&only("way=slow")), "fast report speed[way=slow]");
        assert_eq!(targets(&only("way=none")), "fast report");
    }

    #[test]
    fn what_is_not_selected_is_left_out_with_what_reads_it() {
        let text = r#"
pipeline "p"
matrix "sizes" { axis "size" 1 2; }
matrix "cells" { axis "size" 1 2; axis "tool" "a" "b"; }
step "data" for-each="sizes" { run "echo" (axis)"size"; }
step "use" for-each="cells" { run "cat" (step)"data" (axis)"tool"; }
step "all" { run "cat"; input (cells)"use" as="in"; }
step "after" { run "cat" (step)"all"; }
step "one" { run "cat" (step)"data[size=1]"; }
step "apart" { run "true"; }
"#;
        let facts = Facts { os: "linux".to_owned(), arch: "x86_64".to_owned(), gpu: "none".to_owned(), python: None };
        let (pipeline, found) =
            load(Path::new("p.kdl"), &Options::default(), &Memory::default().with("p.kdl", text), &facts);
        let pipeline = pipeline.unwrap_or_else(|| panic!("{}", found.render(false, 100)));
        let plan = Plan::new(&pipeline).expect("no cycle");
        let said = |pattern: &str| {
            let selection = only(pattern);
            let targets = names(&pipeline, plan.targets(&pipeline, &selection)).join(" ");
            (targets, names(&pipeline, plan.left_out(&pipeline, &selection)).join(" "))
        };
        let (targets, left) = said("size=1 tool=a");
        assert_eq!(targets, "apart one use[size=1,tool=a]");
        assert_eq!(
            left,
            "after all data[size=1] data[size=2] use[size=1,tool=b] use[size=2,tool=a] use[size=2,tool=b]"
        );
        assert_eq!(said("!size=1").0, "apart use[size=2,tool=a] use[size=2,tool=b]");
        assert_eq!(said("size=1").0, "apart one use[size=1,tool=a] use[size=1,tool=b]");
    }

    #[test]
    fn what_only_satisfied_steps_read_is_not_needed() {
        let pipeline = pipeline();
        let plan = Plan::new(&pipeline).expect("no cycle");
        let needed = |target: &str, satisfied: &[&str]| {
            let is = |step: StepId| satisfied.contains(&pipeline.steps[step.0].name.as_str());
            names(&pipeline, plan.needed(&[id(&pipeline, target)], is)).join(" ")
        };
        assert_eq!(needed("speed[way=slow]", &[]), "base slow speed[way=slow]");
        assert_eq!(needed("speed[way=slow]", &["slow"]), "base slow speed[way=slow]", "the model reads it as well");
        assert_eq!(needed("speed[way=slow]", &["speed[way=slow]"]), "speed[way=slow]");
        assert_eq!(needed("fast", &["base"]), "base fast");
        assert_eq!(plan.needed(&[], |_| false), BTreeSet::new());
    }
}
