//! The graph as JSON, every step by itself: `schema` is `pipe-graph/1`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{GraphView, class_name};

/// The name of this version.
pub const SCHEMA: &str = "pipe-graph/1";

/// The whole graph.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Graph {
    pub schema: String,
    pub pipeline: String,
    pub nodes: Vec<NodeJson>,
    pub edges: Vec<EdgeJson>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
    use super::super::tests::example;
    use super::*;

    #[test]
    fn every_step_is_there_and_reads_back() {
        let view = example();
        let graph: Graph = serde_json::from_str(&render(&view).unwrap()).unwrap();
        assert_eq!((graph.nodes.len(), graph.edges.len()), (view.nodes.len(), view.edges.len()));
        assert_eq!(graph.nodes[41].reason.as_deref(), Some("`opset` 20 → 21 (pipelines/llm-6gb.kdl:31:5)"));
    }
}
