//! temporary
pub struct GraphView { pub nodes: Vec<Node>, pub edges: Vec<(usize, usize)> }
pub struct Node { pub id: usize, pub name: String, pub group: String, pub recipe: Option<String>, pub class: String, pub state: NodeState, pub detail: Option<String>, pub cell: Option<String> }
pub enum NodeState { Cached, Runs(String), DependsOn, NotNeeded, NotSelected, Unavailable(String), Plain }
pub mod tree { pub fn render(_: &super::GraphView, _: bool) -> String { String::new() } }
pub mod dot { pub fn render(_: &super::GraphView) -> String { String::new() } }
pub mod mermaid { pub fn render(_: &super::GraphView) -> String { String::new() } }
pub mod svg { pub fn render(_: &super::GraphView) -> String { String::new() } }
pub mod json { pub fn render(_: &super::GraphView) -> String { String::new() } }
