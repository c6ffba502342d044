//! Rules that the table does not hold: profiles, `when` around steps, variables, what a recipe promises.

use std::collections::BTreeMap;

use super::check::{Checker, Names};
use super::eval::quoted;
use super::shape::Shape;
use super::table::{self, WHEN};
use super::world::Recipe;
use super::{cells, eval};
use crate::diag::{At, Diagnostic, suggest};
use crate::syntax::{Entry, Node};

impl<'a, 'd> Checker<'a, 'd> {
    /// A `when` around steps of the pipeline.
    pub fn when_in_file(&mut self, node: &'d Node, names: &mut Names<'a, 'd>) {
        self.when(node, names);
        for child in node.children() {
            let name = child.name.text.as_str();
            if name == WHEN {
                self.when_in_file(child, names);
            } else if table::FILE_NODES.iter().any(|spec| spec.name == name) {
                let why = "what a pipeline declares does not depend on values; only steps stand in a `when`";
                self.found.push(never_in_when(child, why));
            } else {
                self.step_node(child, names, true);
            }
        }
    }

    /// A profile: its parameters and values are held against the declarations when values are given to them.
    pub fn profile(&mut self, node: &'d Node, names: &Names<'a, 'd>) {
        self.header(node, &Shape::of(&table::PROFILE), names);
        for child in node.children() {
            if child.name.text == "about" {
                self.found.extend(self.about_as_child(child));
                continue;
            }
            let extra = child.entries.iter().find(|entry| entry.key.is_some()).map(|entry| entry.at);
            let inner = child.children().first().map(Node::header);
            if let Some(at) = extra.or(inner).or((child.name.text == WHEN).then(|| child.header())) {
                let fault = Diagnostic::error("pipe::misplaced-node", "a profile holds parameters and their values");
                self.found.push(fault.at(at, "nothing else stands here").help("write `size \"test\"`"));
            }
        }
    }

    /// What a recipe promises, its result must declare, where that declares anything.
    pub fn promised(&mut self, recipe: &Recipe<'d>) {
        let nodes = recipe.node.children().iter().filter(|node| node.name.text == "output");
        let promised: Vec<&Entry> = nodes.flat_map(Node::values).collect();
        for entry in &promised {
            if let Some(path) = entry.text().filter(|path| path.is_empty() || eval::bad_path(path)) {
                self.found.push(eval::not_below(path, entry.at, "the result"));
            }
        }
        let named =
            |node: &&Node| node.name.text == "step" && node.values().next().and_then(Entry::text) == recipe.result;
        let Some(result) = recipe.node.children().iter().find(named) else {
            return;
        };
        let mut outputs: Vec<&Entry> = Vec::new();
        declared_outputs(result.children(), &mut outputs);
        if outputs.is_empty() || outputs.iter().any(|entry| entry.annotation.is_some()) {
            return;
        }
        let known: Vec<&str> = outputs.iter().filter_map(|entry| entry.text()).collect();
        for entry in promised {
            let Some(path) = entry.text().filter(|path| !cells::covered(path, known.iter().copied())) else {
                continue;
            };
            let fault = Diagnostic::error("pipe::unknown-output", format!("the result has no output `{path}`"));
            let fault = fault.at(entry.at, "not declared there").at(result.header(), "the result");
            self.found.push(fault.maybe_help(suggest(path, known.iter().copied(), "it has")));
        }
    }

    /// The environment variables of a step: each named once, by a name that a process can have.
    pub fn variables(&mut self, node: &'d Node) {
        let mut seen: BTreeMap<&str, (At, At)> = BTreeMap::new();
        for env in node.children().iter().filter(|child| child.name.text == "env") {
            let first = env.values().next().filter(|entry| entry.annotation.is_none());
            let alone = first.and_then(Entry::text).map(|text| (text, env.values().next().map_or(env.at, |e| e.at)));
            let keyed =
                env.entries.iter().filter_map(|entry| entry.key.as_ref()).map(|key| (key.text.as_str(), key.at));
            if env.entries.is_empty() {
                let fault = Diagnostic::error("pipe::missing-value", "`env` names no variable");
                self.found.push(fault.at(env.header(), "here").help("write `env NAME=\"value\"`"));
            }
            if let (Some((name, at)), 1) = (alone, env.values().count()) {
                let fault = Diagnostic::error("pipe::missing-value", format!("`{name}` has no value"));
                self.found.push(fault.at(at, "only a name").help(format!("write `env {name}=\"value\"`")));
            }
            for (name, at) in alone.into_iter().chain(keyed) {
                let good = |c: char| c.is_ascii_alphanumeric() || c == '_';
                if name.is_empty() || !name.chars().all(good) || name.starts_with(|c: char| c.is_ascii_digit()) {
                    let message = format!("{} cannot name an environment variable", quoted(name));
                    let fault = Diagnostic::error("pipe::bad-variable", message);
                    let help = "it has letters, digits and `_`, and begins with no digit: `env NAME=\"value\"`";
                    self.found.push(fault.at(at, "here").help(help));
                }
                // Twice in one node is told of every setting.
                if let Some((first, _)) = seen.insert(name, (at, env.at)).filter(|(_, node)| *node != env.at) {
                    let fault = Diagnostic::error("pipe::duplicate-setting", format!("variable `{name}` is set twice"));
                    self.found.push(fault.at(at, "the second").at(first, "the first").help("take one away"));
                }
            }
        }
    }
}

/// "`x` stands in no `when`".
pub fn never_in_when(node: &Node, why: &str) -> Diagnostic {
    let fault = Diagnostic::error("pipe::misplaced-node", format!("`{}` stands in no `when`", node.name.text));
    fault.at(node.header(), "here").help(why)
}

/// The values of `output` nodes, those in a `when` too.
fn declared_outputs<'d>(nodes: &'d [Node], out: &mut Vec<&'d Entry>) {
    for node in nodes {
        match node.name.text.as_str() {
            "output" => out.extend(node.values()),
            WHEN => declared_outputs(node.children(), out),
            _ => {}
        }
    }
}
