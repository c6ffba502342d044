//! A node opened for decoding: its values, settings and children, with every `when` decided.
//!
//! It says nothing about what does not belong here: the checker has.

use super::table::WHEN;
use crate::syntax::{Entry, Node};

/// The parts of a node.
#[derive(Debug, Clone)]
pub struct Fields<'d> {
    pub values: Vec<&'d Entry>,
    settings: Vec<(&'d str, &'d Entry)>,
    /// Settings written as a child: lists may be without a value, and what stands between the braces of one belongs
    /// to its value.
    setting_nodes: Vec<&'d Node>,
    nodes: Vec<&'d Node>,
}

impl<'d> Fields<'d> {
    /// Opens `node`; `setting` tells which children are settings, `holds` decides a `when`.
    pub fn new(node: &'d Node, setting: &dyn Fn(&str) -> bool, holds: &dyn Fn(&'d Node) -> bool) -> Fields<'d> {
        let mut fields = Fields {
            values: node.values().collect(),
            settings: Vec::new(),
            setting_nodes: Vec::new(),
            nodes: Vec::new(),
        };
        for entry in &node.entries {
            if let Some(key) = &entry.key {
                fields.settings.push((&key.text, entry));
            }
        }
        fields.take(node.children(), setting, holds);
        fields
    }

    fn take(&mut self, children: &'d [Node], setting: &dyn Fn(&str) -> bool, holds: &dyn Fn(&'d Node) -> bool) {
        for child in children {
            if child.name.text == WHEN {
                if holds(child) {
                    self.take(child.children(), setting, holds);
                }
            } else if setting(&child.name.text) {
                self.settings.extend(child.values().map(|entry| (child.name.text.as_str(), entry)));
                self.setting_nodes.push(child);
            } else {
                self.nodes.push(child);
            }
        }
    }

    /// The setting of this name.
    pub fn setting(&self, name: &str) -> Option<&'d Entry> {
        self.settings.iter().find(|(known, _)| *known == name).map(|(_, entry)| *entry)
    }

    /// All values of a setting that may be a list, where it is given; what stands in several `when`s adds up.
    pub fn list(&self, name: &str) -> Option<Vec<&'d Entry>> {
        let entries: Vec<&'d Entry> =
            self.settings.iter().filter(|(known, _)| *known == name).map(|(_, entry)| *entry).collect();
        (!entries.is_empty() || self.setting_node(name).is_some()).then_some(entries)
    }

    /// The child that a setting is written as, where it is no property.
    pub fn setting_node(&self, name: &str) -> Option<&'d Node> {
        self.setting_nodes.iter().copied().find(|node| node.name.text == name)
    }

    /// The child nodes of this name.
    pub fn nodes(&self, name: &str) -> impl Iterator<Item = &'d Node> {
        self.nodes.iter().copied().filter(move |node| node.name.text == name)
    }

    /// All child nodes that are no settings.
    pub fn all_nodes(&self) -> impl Iterator<Item = &'d Node> {
        self.nodes.iter().copied()
    }
}

/// All nodes of a body, with every `when` decided.
pub fn flatten<'d>(nodes: &'d [Node], holds: &dyn Fn(&'d Node) -> bool) -> Vec<&'d Node> {
    let mut out = Vec::new();
    for node in nodes {
        match node.name.text == WHEN {
            true if holds(node) => out.extend(flatten(node.children(), holds)),
            true => {}
            false => out.push(node),
        }
    }
    out
}
