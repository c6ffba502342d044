//! The DAG as a picture or text.
//!
//! In reading order: the view itself; [`planned`] makes one of a plan; [`focus`] keeps what is asked for; [`fold`]
//! collapses what is shown better as one; then the formats. [`dot`] and [`mermaid`] share [`walk`]; [`svg`] and the
//! page, [`page`], share [`rows`], [`block`], [`layout`] and [`palette`]. Nothing here knows of stores or of records.

use std::time::Duration;

use super::units;
use crate::pipeline::{Cell, Class};

mod block;
pub mod dot;
pub mod focus;
pub mod fold;
pub mod json;
mod layout;
pub mod mermaid;
pub mod page;
mod palette;
pub mod planned;
mod rows;
mod settle;
pub mod svg;
pub mod tree;
mod walk;

/// What there is to draw.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct GraphView {
    /// The pipeline's name.
    pub title: String,
    pub nodes: Vec<Node>,
    pub edges: Vec<Edge>,
}

/// One step, or several that were folded into one.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Stable and unique: what links and machine-readable formats use.
    pub id: String,
    /// `decode[engine=onnx,place=native,device=cpu]`.
    pub name: String,
    /// The name without the cell.
    pub group: String,
    pub recipe: Option<String>,
    pub class: Class,
    pub state: NodeState,
    /// What more there is to say where there is room: what a step is for, or how a folded group stands.
    pub detail: Option<String>,
    pub cell: Option<Cell>,
    /// How many steps this node stands for; 1 unless it was folded.
    pub count: u32,
    /// True where `--focus` names it.
    pub focus: bool,
    /// What the store knows of it, as far as somebody asked.
    pub past: Past,
    /// The steps that were folded into this one, in the order of the pipeline; none unless it was folded.
    pub members: Vec<Node>,
}

/// What records say of a step.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Past {
    pub took: Option<Took>,
    /// Size of the output in the store.
    pub bytes: Option<u64>,
    pub key: Option<String>,
    /// What would change that this host can't do the step.
    pub remedy: Option<String>,
    pub log: Option<Log>,
}

/// How long a step took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Took {
    pub time: Duration,
    /// False where the figure is that of an earlier run, with other inputs.
    pub exact: bool,
}

/// The end of what a step printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    pub tail: Vec<String>,
    /// How many lines came before these.
    pub before: usize,
    /// What shows all of it.
    pub command: String,
}

/// `to` reads what `from` made; both are places in [`GraphView::nodes`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Edge {
    pub from: usize,
    pub to: usize,
}

/// What would become of a step.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum NodeState {
    Cached,
    /// It runs, for this reason.
    Runs(String),
    /// Cached, if the named step repeats its bytes.
    DependsOn(String),
    /// Nobody who is available reads it.
    NotNeeded,
    /// Left out by the command line.
    NotSelected,
    Unavailable(String),
    Failed(String),
    Excluded(String),
    /// Nothing is said of it: a report holds no cache states.
    Plain,
}

impl NodeState {
    /// The word in text and in classes of pictures.
    pub fn name(&self) -> &'static str {
        match self {
            NodeState::Cached => "cached",
            NodeState::Runs(_) => "runs",
            NodeState::DependsOn(_) => "depends",
            NodeState::NotNeeded => "not needed",
            NodeState::NotSelected => "not selected",
            NodeState::Unavailable(_) => "unavailable",
            NodeState::Failed(_) => "failed",
            NodeState::Excluded(_) => "excluded",
            NodeState::Plain => "",
        }
    }

    /// The same as a CSS class or an identifier.
    pub fn class(&self) -> &'static str {
        match self {
            NodeState::NotNeeded => "not-needed",
            NodeState::NotSelected => "not-selected",
            NodeState::Plain => "plain",
            other => other.name(),
        }
    }

    /// Why, where there is a reason.
    pub fn reason(&self) -> Option<&str> {
        match self {
            NodeState::Runs(reason)
            | NodeState::DependsOn(reason)
            | NodeState::Unavailable(reason)
            | NodeState::Failed(reason)
            | NodeState::Excluded(reason) => Some(reason).filter(|text| !text.is_empty()).map(String::as_str),
            NodeState::Cached | NodeState::NotNeeded | NodeState::NotSelected | NodeState::Plain => None,
        }
    }

    /// `runs: prompt-tokens changed`, `cached`.
    pub fn sentence(&self) -> String {
        match (self, self.reason()) {
            (NodeState::DependsOn(_), Some(reason)) => format!("depends on {reason}"),
            (_, Some(reason)) => format!("{}: {reason}", self.name()),
            (_, None) => self.name().to_owned(),
        }
    }
}

/// The word for a class of steps.
pub fn class_name(class: Class) -> &'static str {
    match class {
        Class::Fetch => "fetch",
        Class::Build => "build",
        Class::Measure => "measure",
    }
}

impl Took {
    /// `12.3 s`, `~12.3 s`.
    pub fn short(self) -> String {
        let time = units::lasted(self.time);
        if self.exact { time } else { format!("~{time}") }
    }

    /// `12.3 s`, `about 12.3 s`.
    pub fn text(self) -> String {
        let time = units::lasted(self.time);
        if self.exact { time } else { format!("about {time}") }
    }
}

impl Node {
    /// A single step of which no more is known.
    pub fn new(id: impl Into<String>, name: impl Into<String>, class: Class, state: NodeState) -> Node {
        let name = name.into();
        Node {
            id: id.into(),
            group: name.clone(),
            name,
            recipe: None,
            class,
            state,
            detail: None,
            cell: None,
            count: 1,
            focus: false,
            past: Past::default(),
            members: Vec::new(),
        }
    }

    /// The node of the user's file that this step belongs to: `engine` of `engine/build`.
    pub fn call(&self) -> &str {
        self.group.split('/').next().unwrap_or(&self.group)
    }

    /// How the step stands, or the steps that were folded into this one: `cached`, `2 cached, 1 runs`.
    pub fn standing(&self) -> String {
        match &self.detail {
            Some(tally) if self.count > 1 => tally.clone(),
            _ => self.state.name().to_owned(),
        }
    }

    /// What a picture shows as the title: the cell's values, or the name.
    pub fn title(&self) -> String {
        match &self.cell {
            Some(cell) if self.count == 1 => {
                let values: Vec<&str> = cell.0.iter().map(|(_, value)| value.as_str()).collect();
                format!("{} {}", self.group, values.join(" "))
            }
            _ => self.name.clone(),
        }
    }
}

impl GraphView {
    /// The same graph without what differs between two runs of the same store: for report files.
    pub fn without_cache_states(&self) -> GraphView {
        let mut view = self.clone();
        for node in &mut view.nodes {
            node.detail = None;
            node.past = Past::default();
            if matches!(
                node.state,
                NodeState::Cached
                    | NodeState::Runs(_)
                    | NodeState::DependsOn(_)
                    | NodeState::NotNeeded
                    | NodeState::NotSelected
            ) {
                node.state = NodeState::Plain;
            }
        }
        view
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A graph like that of the main pipeline: wheels, engines, an image, a matrix and its comparison.
    pub(crate) fn example() -> GraphView {
        let mut view = GraphView { title: "llm-6gb".into(), ..GraphView::default() };
        let cached = || NodeState::Cached;
        let wheels: Vec<usize> =
            (0..38).map(|i| add(&mut view, &format!("env/wheel-{i:02}"), Class::Fetch, cached(), &[])).collect();
        let env = add(&mut view, "env", Class::Build, cached(), &wheels);
        let model = add(&mut view, "model", Class::Build, cached(), &[env]);
        let script = add(&mut view, "script", Class::Build, cached(), &[env, model]);
        let changed = NodeState::Runs("`opset` 20 → 21 (pipelines/llm-6gb.kdl:31:5)".into());
        let onnx = add(&mut view, "onnx", Class::Build, changed, &[env, model]);
        let sources = add(&mut view, "engine-sources", Class::Fetch, cached(), &[]);
        let torch_engine = add(&mut view, "engine/torch", Class::Build, cached(), &[sources, env]);
        let onnx_engine = add(&mut view, "engine/onnx", Class::Build, cached(), &[sources, env]);
        let images = [
            add(&mut view, "image/torch", Class::Build, cached(), &[torch_engine, script]),
            add(&mut view, "image/onnx", Class::Build, NodeState::DependsOn("onnx".into()), &[onnx_engine, onnx]),
        ];
        let tokens = add(&mut view, "tokens", Class::Build, cached(), &[]);
        let mut cells = Vec::new();
        for (e, engine) in ["torch", "onnx"].into_iter().enumerate() {
            for (p, place) in ["native", "container"].into_iter().enumerate() {
                for device in ["cpu", "mps", "cuda"] {
                    let name = format!("decode[engine={engine},place={place},device={device}]");
                    let state = match (device, engine, place) {
                        ("cpu", "torch", _) => cached(),
                        ("cpu", ..) => NodeState::DependsOn("onnx".into()),
                        ("mps", _, "container") => NodeState::Excluded("Metal is part of macOS".into()),
                        ("mps", ..) => NodeState::Unavailable("Metal needs macOS".into()),
                        _ => NodeState::Unavailable("no NVIDIA driver answers".into()),
                    };
                    let mut reads = vec![tokens];
                    if p == 1 {
                        reads.push(images[e]);
                    } else {
                        reads.extend(if e == 0 { [torch_engine, script] } else { [onnx_engine, onnx] });
                    }
                    let at = add(&mut view, &name, Class::Measure, state, &reads);
                    view.nodes[at].group = "decode".into();
                    view.nodes[at].recipe = Some("bench-llm".into());
                    let pairs = [("engine", engine), ("place", place), ("device", device)];
                    view.nodes[at].cell =
                        Some(Cell(pairs.iter().map(|(a, v)| ((*a).to_owned(), (*v).to_owned())).collect()));
                    cells.push(at);
                }
            }
        }
        add(&mut view, "report", Class::Build, NodeState::DependsOn("onnx".into()), &cells);
        view
    }

    fn add(view: &mut GraphView, name: &str, class: Class, state: NodeState, reads: &[usize]) -> usize {
        let at = view.nodes.len();
        view.nodes.push(Node::new(format!("s{at}"), name, class, state));
        view.edges.extend(reads.iter().map(|&from| Edge { from, to: at }));
        at
    }
}
