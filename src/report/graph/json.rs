//! The graph as JSON: `schema` is `pipe-graph/1`. Every step stands by itself, unless groups were asked for.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{GraphView, class_name};

/// The name of this version.
pub const SCHEMA: &str = "pipe-graph/1";

/// The whole graph.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Graph {
    pub schema: String,
    pub pipeline: String,
    pub nodes: Vec<NodeJson>,
    pub edges: Vec<EdgeJson>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeJson {
    pub id: String,
    pub name: String,
    pub group: String,
    pub recipe: Option<String>,
    /// `fetch`, `build` or `measure`.
    pub class: String,
    /// `cached`, `runs`, `depends`, `not needed`, `not selected`, `unavailable`, `failed` or `excluded`.
    pub state: String,
    pub reason: Option<String>,
    pub detail: Option<String>,
    pub cell: Option<BTreeMap<String, String>>,
    /// How many steps this stands for, and which, where it was folded.
    pub count: u32,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<String>,
    /// How long it took; where `estimated`, an earlier run with other inputs.
    pub seconds: Option<f64>,
    pub estimated: Option<bool>,
    /// Size of the output in the store.
    pub bytes: Option<u64>,
    pub key: Option<String>,
}

/// `to` reads what `from` made; both are ids.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EdgeJson {
    pub from: String,
    pub to: String,
}

/// Renders the graph, with a line end.
pub fn render(view: &GraphView) -> Result<String, serde_json::Error> {
    let nodes = view.nodes.iter().map(|node| NodeJson {
        id: node.id.clone(),
        name: node.name.clone(),
        group: node.group.clone(),
        recipe: node.recipe.clone(),
        class: class_name(node.class).to_owned(),
        state: node.state.name().to_owned(),
        reason: node.state.reason().map(str::to_owned),
        detail: node.detail.clone(),
        cell: node.cell.as_ref().map(|cell| cell.0.iter().cloned().collect()),
        count: node.count,
        steps: node.members.iter().map(|member| member.name.clone()).collect(),
        seconds: node.past.took.map(|took| took.time.as_secs_f64()),
        estimated: node.past.took.map(|took| !took.exact),
        bytes: node.past.bytes,
        key: node.past.key.clone(),
    });
    let id = |place: usize| view.nodes.get(place).map(|node| node.id.clone());
    let edges = view.edges.iter().filter_map(|edge| Some(EdgeJson { from: id(edge.from)?, to: id(edge.to)? }));
    let graph = Graph {
        schema: SCHEMA.to_owned(),
        pipeline: view.title.clone(),
        nodes: nodes.collect(),
        edges: edges.collect(),
    };
    serde_json::to_string_pretty(&graph).map(|text| text + "\n")
}

#[cfg(test)]
mod tests {
    use super::super::fold::{Collapse, fold};
    use super::super::tests::example;
    use super::*;

    #[test]
    fn every_step_is_there_and_reads_back() {
        let view = example();
        let graph: Graph = serde_json::from_str(&render(&view).unwrap()).unwrap();
        assert_eq!((graph.nodes.len(), graph.edges.len()), (view.nodes.len(), view.edges.len()));
        assert!(graph.nodes.iter().all(|node| node.count == 1 && node.steps.is_empty()));
        assert_eq!(graph.nodes[41].reason.as_deref(), Some("`opset` 20 → 21 (pipelines/llm-6gb.kdl:31:5)"));
    }

    #[test]
    fn a_folded_node_names_its_steps() {
        let graph: Graph = serde_json::from_str(&render(&fold(&example(), Collapse::Cells)).unwrap()).unwrap();
        assert_eq!((graph.nodes[0].count, graph.nodes[0].steps[38].as_str()), (39, "env"));
    }
}
