//! Every place where a name stands: one walk over all files, with the names that each place sees.

use std::path::Path;

use super::{Body, Index, Matrix, Name, NameKind, Occurrence, Units, content_start, for_each, setting, used_id};
use crate::diag::At;
use crate::resolve::table::WHEN;
use crate::syntax::{Entry, Node};

/// The occurrences of all names, in the order of the files.
pub(super) fn occurrences(index: &Index, units: &dyn Units) -> Vec<Occurrence> {
    let mut found = Vec::new();
    for number in 0..index.files.len() {
        let mut walk = Walk {
            index,
            units,
            file: number,
            recipe: None,
            body: &index.files[number].top,
            matrices: Vec::new(),
            found,
        };
        walk.nodes(&index.files[number].unit.document.nodes);
        found = walk.found;
    }
    found
}

struct Walk<'i> {
    index: &'i Index,
    units: &'i dyn Units,
    file: usize,
    recipe: Option<String>,
    body: &'i Body,
    /// The matrices of the node.
    matrices: Vec<String>,
    found: Vec<Occurrence>,
}

impl<'i> Walk<'i> {
    fn text(&self) -> &'i str {
        &self.index.files[self.file].unit.text
    }

    fn own(&self, kind: NameKind, text: &str) -> Name {
        let recipe = self.recipe.clone().filter(|_| matches!(kind, NameKind::Step | NameKind::Param));
        Name { kind, file: self.file, recipe, text: text.to_owned() }
    }

    fn push(&mut self, name: Name, at: At, declares: Option<At>, matrices: Vec<String>) {
        self.found.push(Occurrence { name, at, declares, matrices });
    }

    /// The place of the first `length` bytes of a text.
    fn part(&self, entry: &Entry, length: usize) -> At {
        match content_start(entry, self.text()) {
            Some(start) => At { start, end: start + length, ..entry.at },
            None => entry.at,
        }
    }

    /// The first value of a node declares a name.
    fn declare(&mut self, kind: NameKind, node: &Node, matrices: Vec<String>) {
        if let Some((entry, text)) = node.values().next().and_then(|entry| Some((entry, entry.text()?))) {
            let (name, at) = (self.own(kind, text), self.part(entry, text.len()));
            self.push(name, at, Some(node.at), matrices);
        }
    }

    fn nodes(&mut self, nodes: &'i [Node]) {
        for node in nodes {
            match node.name.text.as_str() {
                WHEN => {
                    self.when(node);
                    self.nodes(node.children());
                }
                "use" => {
                    for entry in node.values() {
                        if let Some(path) = entry.text() {
                            let id = used_id(&self.index.files[self.file].unit, path, self.units);
                            self.file(entry, &id);
                        }
                    }
                }
                "param" => {
                    self.declare(NameKind::Param, node, Vec::new());
                    self.values(node.entries.iter().skip(1));
                    for child in node.children() {
                        if self.index.makes_step(self.file, &child.name.text) {
                            self.step(child);
                        }
                    }
                }
                "matrix" => self.matrix(node),
                "profile" => {
                    self.declare(NameKind::Profile, node, Vec::new());
                    for child in node.children() {
                        let name = self.own(NameKind::Param, &child.name.text);
                        self.push(name, child.name.at, None, Vec::new());
                        self.values(child.entries.iter());
                    }
                }
                "recipe" if self.recipe.is_none() => self.recipe(node),
                word if self.index.makes_step(self.file, word) => {
                    self.declare(NameKind::Step, node, Vec::new());
                    self.step(node);
                }
                _ => self.generic(node),
            }
        }
    }

    fn recipe(&mut self, node: &'i Node) {
        self.declare(NameKind::Recipe, node, Vec::new());
        let file = &self.index.files[self.file];
        let Some(recipe) = file.recipes.iter().find(|recipe| recipe.node == node.at) else { return };
        self.recipe = Some(recipe.name.clone());
        self.body = &recipe.body;
        self.nodes(node.children());
        self.recipe = None;
        self.body = &file.top;
    }

    fn matrix(&mut self, node: &'i Node) {
        self.declare(NameKind::Matrix, node, Vec::new());
        let Some(name) = node.values().next().and_then(Entry::text) else { return };
        self.axes(node.children(), &vec![name.to_owned()]);
    }

    fn axes(&mut self, nodes: &'i [Node], matrix: &Vec<String>) {
        for node in nodes {
            match node.name.text.as_str() {
                "axis" => self.declare(NameKind::Axis, node, matrix.clone()),
                "zip" | WHEN => self.axes(node.children(), matrix),
                "exclude" | "include" => {
                    for key in node.entries.iter().filter_map(|entry| entry.key.as_ref()).filter(|k| k.text != "reason")
                    {
                        let name = self.own(NameKind::Axis, &key.text);
                        self.push(name, key.at, None, matrix.clone());
                    }
                }
                _ => {}
            }
        }
    }

    /// A node that makes a step, by the table or by a recipe.
    fn step(&mut self, node: &'i Node) {
        let outer = std::mem::replace(&mut self.matrices, for_each(node));
        if let Some(&(file, recipe)) = self.index.files[self.file].visible.get(&node.name.text) {
            let text = self.index.files[file].recipes[recipe].name.clone();
            self.push(Name { kind: NameKind::Recipe, file, recipe: None, text }, node.name.at, None, Vec::new());
        }
        self.settings(node, &node.name.text);
        self.matrices = outer;
    }

    /// What stands in a step: settings that may be a recipe's parameters, and nodes.
    fn settings(&mut self, node: &'i Node, word: &str) {
        for entry in &node.entries {
            match &entry.key {
                Some(key) if key.text == "for-each" => self.matrix_name(entry),
                Some(key) => {
                    self.parameter_of(word, &key.text, key.at);
                    self.value(entry);
                }
                None => self.value(entry),
            }
        }
        let compared = setting(node, "of").and_then(Entry::text).map(step_name);
        let compared = compared.and_then(|name| self.body.step(name)).map(|step| step.for_each.clone());
        for child in node.children() {
            match child.name.text.as_str() {
                WHEN => {
                    self.when(child);
                    self.settings_in(child, word);
                }
                "for-each" => child.values().for_each(|entry| self.matrix_name(entry)),
                "baseline" => {
                    for key in child.entries.iter().filter_map(|entry| entry.key.as_ref()) {
                        let name = self.own(NameKind::Axis, &key.text);
                        self.push(name, key.at, None, compared.clone().unwrap_or_default());
                    }
                }
                "parity" | "expect" => {
                    self.generic(child);
                    for pattern in [setting(child, "reference"), setting(child, "cell")].into_iter().flatten() {
                        self.pattern(pattern, 0, compared.clone().unwrap_or_default());
                    }
                }
                name => {
                    self.parameter_of(word, name, child.name.at);
                    self.generic(child);
                }
            }
        }
    }

    /// The children of a `when`, which stand as if it were not there.
    fn settings_in(&mut self, when: &'i Node, word: &str) {
        for child in when.children() {
            if child.name.text == WHEN {
                self.when(child);
                self.settings_in(child, word);
            } else {
                self.parameter_of(word, &child.name.text, child.name.at);
                self.generic(child);
            }
        }
    }

    /// A setting of a use of a recipe is one of its parameters.
    fn parameter_of(&mut self, word: &str, name: &str, at: At) {
        let Some(&(file, recipe)) = self.index.files[self.file].visible.get(word) else { return };
        let recipe = &self.index.files[file].recipes[recipe];
        if recipe.body.param(name).is_some() {
            let name = Name { kind: NameKind::Param, file, recipe: Some(recipe.name.clone()), text: name.to_owned() };
            self.push(name, at, None, Vec::new());
        }
    }

    /// A node whose names are all in values.
    fn generic(&mut self, node: &'i Node) {
        self.values(node.entries.iter());
        for child in node.children() {
            if child.name.text == WHEN {
                self.when(child);
            }
            self.generic(child);
        }
    }

    fn values(&mut self, entries: impl Iterator<Item = &'i Entry>) {
        for entry in entries {
            self.value(entry);
        }
    }

    fn value(&mut self, entry: &Entry) {
        let Some(text) = entry.text() else { return };
        match entry.annotated() {
            Some("step" | "cells") => self.step_reference(entry, text),
            Some("param") => {
                let (name, at) = (self.own(NameKind::Param, text), self.part(entry, text.len()));
                self.push(name, at, None, Vec::new());
            }
            Some("axis") => {
                let (name, at) = (self.own(NameKind::Axis, text), self.part(entry, text.len()));
                self.push(name, at, None, self.matrices.clone());
            }
            Some("file") => {
                let unit = &self.index.files[self.file].unit;
                let path = match unit.is_std() {
                    true => Path::new("std").join(text),
                    false => self.units.id(&unit.id.parent().unwrap_or(Path::new("/")).join(text)),
                };
                self.file(entry, &path);
            }
            _ => {}
        }
    }

    fn file(&mut self, entry: &Entry, path: &Path) {
        let name = Name { kind: NameKind::File, file: 0, recipe: None, text: path.to_string_lossy().into_owned() };
        let at = self.part(entry, entry.text().map_or(0, str::len));
        self.push(name, at, None, Vec::new());
    }

    fn step_reference(&mut self, entry: &Entry, text: &str) {
        let name = step_name(text);
        let step = self.body.step(name);
        let param = step.is_none() && self.recipe.is_some() && self.body.param(name).is_some();
        let kind = if param { NameKind::Param } else { NameKind::Step };
        let (key, at) = (self.own(kind, name), self.part(entry, name.len()));
        self.push(key, at, None, Vec::new());
        let matrices = step.map(|step| step.for_each.clone()).unwrap_or_default();
        if let Some(open) = text.find('[').filter(|_| !matrices.is_empty()) {
            self.pattern(entry, open + 1, matrices);
        }
    }

    fn matrix_name(&mut self, entry: &Entry) {
        if let Some(text) = entry.text() {
            let (name, at) = (self.own(NameKind::Matrix, text), self.part(entry, text.len()));
            self.push(name, at, None, Vec::new());
        }
    }

    /// The axes in `engine=onnx place=*`, from a byte of a text to its end or to `]`.
    fn pattern(&mut self, entry: &Entry, from: usize, matrices: Vec<String>) {
        let (Some(text), Some(start)) = (entry.text(), content_start(entry, self.text())) else { return };
        let cells = text[from..].split(']').next().unwrap_or_default();
        let mut offset = from;
        for pair in cells.split_inclusive([' ', ',']) {
            if let Some((axis, _)) = pair.split_once('=') {
                let at = At { start: start + offset, end: start + offset + axis.len(), ..entry.at };
                let name = self.own(NameKind::Axis, axis);
                self.push(name, at, None, matrices.clone());
            }
            offset += pair.len();
        }
    }

    /// The parameters and axes that a `when` names.
    fn when(&mut self, node: &Node) {
        for entry in &node.entries {
            let (text, at) = match (&entry.key, entry.text()) {
                (Some(key), _) => (key.text.as_str(), key.at),
                (None, Some(text)) => (text, self.part(entry, text.len())),
                (None, None) => continue,
            };
            let has = |matrix: &Matrix| matrix.axes.iter().any(|axis| axis.name == text);
            if self.index.matrices(self.file, &self.matrices).any(has) {
                let name = self.own(NameKind::Axis, text);
                self.push(name, at, None, self.matrices.clone());
            } else if self.body.param(text).is_some() {
                let name = self.own(NameKind::Param, text);
                self.push(name, at, None, Vec::new());
            }
        }
    }
}

/// `decode` of `decode[engine=onnx]/report.json`.
fn step_name(text: &str) -> &str {
    text.split(['/', '[']).next().unwrap_or_default()
}
