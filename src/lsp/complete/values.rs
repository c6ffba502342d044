//! Values at the cursor: names, paths, choices and cells, alone or inside quotes.

use std::path::{Path, PathBuf};

use super::{Completion, Cursor, Item, What};
use crate::lsp::words;
use crate::resolve::symbols::{Param, Slot, setting};
use crate::resolve::{Kind, table};
use crate::stdlib;
use crate::syntax::Entry;

/// Settings whose value must stand there as it is.
const LITERAL: &[&str] = &["name", "for-each", "class", "type", "optional", "reason"];

/// More entries of a folder than this are not shown.
const MOST_ENTRIES: usize = 500;

impl Cursor<'_> {
    /// The content of a text that begins at `from`.
    pub(super) fn in_text(&self, from: usize, closed: bool) -> Completion {
        let written = &self.text[from..self.offset.max(from)];
        let mut start = from;
        let mut items = self.contents(written);
        if let Some(cells) = self.cells(written) {
            // Of a pattern only the last word is written anew.
            start = self.offset - written.rsplit([' ', ',', '=', '[']).next().unwrap_or_default().len();
            items = cells;
        }
        let end = if written.contains('/') || closed { self.path_end() } else { self.offset };
        let quote = if closed { "" } else { "\"" };
        for item in &mut items {
            // What goes on after this is not closed yet.
            if !item.text.ends_with(['/', '=']) {
                item.text.push_str(quote);
            }
        }
        Completion { from: start, to: end, items }
    }

    fn path_end(&self) -> usize {
        let part = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | '/');
        self.offset + self.text[self.offset..].find(|c| !part(c)).unwrap_or(self.text.len() - self.offset)
    }

    /// The same items as whole texts.
    pub(super) fn quoted(&self, items: Vec<Item>) -> Vec<Item> {
        let whole = |item: Item| Item { text: format!("\"{}\"", item.text), ..item };
        items.into_iter().filter(|item| !item.text.ends_with('/')).map(whole).collect()
    }

    /// What a text may hold, of which `written` stands there.
    pub(super) fn contents(&self, written: &str) -> Vec<Item> {
        let annotation = self.context.annotation.as_ref().map(|word| word.text.as_str());
        match annotation {
            Some("step") => return self.steps(written),
            Some("cells") => {
                let cells = self.body.steps.iter().filter(|step| !step.for_each.is_empty());
                return cells.map(|step| named(&step.name, What::Step, &step.word)).collect();
            }
            Some("param") => return self.body.params.iter().map(param).collect(),
            Some("axis") => return self.axes(),
            Some("file") => return self.entries(written, &|_| true),
            Some("builtin") => return vec![named("engine-sources", What::Value, "the sources of the engines")],
            Some("output") => {
                let step = self.way().find(|node| self.index.makes_step(self.file, &node.name.text));
                let step = step.and_then(|node| self.body.steps.iter().find(|s| s.node.start == node.at.start));
                return step.iter().flat_map(|s| &s.outputs).map(|path| named(path, What::File, "output")).collect();
            }
            Some(_) => return Vec::new(),
            None => {}
        }
        let Some(node) = &self.context.node else { return Vec::new() };
        if let Some(key) = self.context.key.as_ref().filter(|_| self.pairs().is_some()) {
            return self.axis_values(&key.text);
        }
        match (node.name.text.as_str(), self.slot()) {
            (table::WHEN, _) => self.body.params.iter().filter(|p| p.optional).map(param).collect(),
            ("use", _) => self.modules(written),
            (_, Some(slot)) if slot.name == "for-each" => self.matrix_names(),
            (_, Some(slot)) => slot.choices.iter().map(|choice| named(choice, What::Value, &slot.name)).collect(),
            (_, None) => Vec::new(),
        }
    }

    /// Whole values for a slot.
    pub(super) fn slot_values(&self, slot: &Slot) -> Vec<Item> {
        let kind = slot.kind;
        let mut items: Vec<Item> = Vec::new();
        let text = |items: Vec<Item>| self.quoted(items);
        if slot.name == "for-each" {
            return text(self.matrix_names());
        }
        if self.context.node.as_ref().is_some_and(|node| node.name.text == "use") {
            return text(self.modules(""));
        }
        let choice = |choice: &String| match kind {
            Kind::Text | Kind::Plain | Kind::Any => format!("\"{choice}\""),
            _ => choice.clone(),
        };
        items.extend(slot.choices.iter().map(|c| Item { text: choice(c), ..named(c, What::Value, &slot.name) }));
        if kind == Kind::Bool {
            items.extend(["#true", "#false"].map(|word| named(word, What::Value, "")));
        }
        if LITERAL.contains(&slot.name.as_str()) {
            return items;
        }
        let annotated = |word: &str, item: Item, rank: u8| Item {
            text: format!("({word})\"{}\"", item.text),
            label: format!("({word})\"{}\"", item.label),
            rank,
            ..item
        };
        if kind.takes_step() {
            items.extend(self.steps("").into_iter().map(|item| annotated("step", item, 1)));
        }
        if kind.takes_plain() {
            items.extend(self.axes().into_iter().map(|item| annotated("axis", item, 1)));
        }
        let fitting = self.body.params.iter().filter(|param| kind.accepts(param.kind));
        items.extend(fitting.map(|declared| annotated("param", param(declared), 1)));
        if kind.takes_file() {
            let files = self.entries("", &|_| true).into_iter().filter(|item| item.kind == What::File);
            items.extend(files.map(|item| annotated("file", item, 3)));
        }
        for unit in kind.units() {
            items.push(Item {
                label: format!("({unit})"),
                kind: What::Unit,
                doc: words::annotation(unit).unwrap_or_default().to_owned(),
                text: format!("({unit})"),
                snippet: Some(format!("({unit})${{1:1}}")),
                ..Item::default()
            });
        }
        if kind == Kind::Arg {
            let output = named("(output)\"\"", What::File, "a path below `out/`");
            items.push(Item { snippet: Some("(output)\"$1\"".to_owned()), rank: 2, ..output });
        }
        items
    }

    /// Steps of the body, their outputs where a path begins, and parameters that hold a step.
    fn steps(&self, written: &str) -> Vec<Item> {
        let own = self.way().find(|node| self.index.makes_step(self.file, &node.name.text)).map(|node| node.at.start);
        if let Some(step) = written.split_once('/').and_then(|(name, _)| self.body.step(name)) {
            let paths = self.index.outputs(self.file, step);
            return paths.iter().map(|path| named(&format!("{}/{path}", step.name), What::File, "output")).collect();
        }
        let mut items = Vec::new();
        let mut seen: Vec<&str> = Vec::new();
        for step in &self.body.steps {
            // A step that does not know itself yet, and one that stands in another `when`.
            let makes = self.index.makes_step(self.file, &step.word);
            if !makes || Some(step.node.start) == own || seen.contains(&step.name.as_str()) {
                continue;
            }
            seen.push(&step.name);
            items.push(named(&step.name, What::Step, &step.word));
        }
        if self.recipe.is_some() {
            let params = self.body.params.iter().filter(|param| param.kind.takes_step());
            items.extend(params.map(param));
        }
        items
    }

    fn axes(&self) -> Vec<Item> {
        let mut items: Vec<Item> = Vec::new();
        for axis in self.matrices.iter().flat_map(|matrix| &matrix.axes) {
            if !items.iter().any(|item| item.label == axis.name) {
                items.push(named(&axis.name, What::Axis, &axis.values.join(" ")));
            }
        }
        items
    }

    fn matrix_names(&self) -> Vec<Item> {
        let matrices = &self.index.files[self.file].matrices;
        let axes = |names: Vec<&str>| names.join(" × ");
        matrices
            .iter()
            .map(|m| named(&m.name, What::Axis, &axes(m.axes.iter().map(|axis| axis.name.as_str()).collect())))
            .collect()
    }

    /// Names that may stand before `=` in this node, where it takes axes or parameters of the user's choice.
    pub(super) fn pairs(&self) -> Option<Vec<Item>> {
        let node = self.context.node.as_ref()?;
        match node.name.text.as_str() {
            table::WHEN => {
                let doc = |name| words::host_fact(name).unwrap_or_default();
                let facts = table::HOST_FACTS.iter().map(|(name, _)| named(name, What::Param, doc(name)));
                let params = self.body.params.iter().map(param);
                Some(self.axes().into_iter().chain(params).chain(facts).collect())
            }
            "exclude" | "include" | "baseline" => {
                if self.context.key.as_ref().is_some_and(|key| key.text == "reason") {
                    return None;
                }
                let axes = self.axes_in();
                Some(axes.iter().map(|(name, values)| named(name, What::Axis, &values.join(" "))).collect())
            }
            _ => None,
        }
    }

    /// The axes that a node of a matrix or of a comparison is about, and their values.
    fn axes_in(&self) -> Vec<(String, Vec<String>)> {
        let matrices = &self.index.files[self.file].matrices;
        let within = |word: &str| self.context.stack.iter().rfind(|outer| outer.name.text == word);
        let of = |names: &[String]| {
            let found = matrices.iter().filter(|matrix| names.contains(&matrix.name)).flat_map(|m| &m.axes);
            found.map(|axis| (axis.name.clone(), axis.values.clone())).collect::<Vec<_>>()
        };
        if let Some(matrix) = within("matrix") {
            return of(&matrix
                .values()
                .next()
                .and_then(Entry::text)
                .map(str::to_owned)
                .into_iter()
                .collect::<Vec<_>>());
        }
        if let Some(compare) = within("compare").map(|outer| self.whole(outer)) {
            let step = setting(compare, "of").and_then(Entry::text).and_then(|text| text.split(['/', '[']).next());
            return of(&step.and_then(|name| self.body.step(name)).map(|s| s.for_each.clone()).unwrap_or_default());
        }
        Vec::new()
    }

    /// The values of an axis, a parameter or a host fact, as the content of a text.
    pub(super) fn axis_values(&self, name: &str) -> Vec<Item> {
        if self.context.node.as_ref().is_some_and(|node| node.name.text != table::WHEN) {
            let axes = self.axes_in();
            let values = axes.into_iter().filter(|(axis, _)| axis == name).flat_map(|(_, values)| values);
            return values.map(|value| named(&value, What::Value, name)).collect();
        }
        let axes = self.matrices.iter().flat_map(|matrix| &matrix.axes).filter(|axis| axis.name == name);
        let mut values: Vec<&str> = axes.flat_map(|axis| axis.values.iter().map(String::as_str)).collect();
        values.extend(self.body.param(name).iter().flat_map(|param| param.choices.iter().map(String::as_str)));
        let facts = table::HOST_FACTS.iter().filter(|(fact, _)| *fact == name);
        values.extend(facts.flat_map(|(_, values)| values.iter().copied()));
        values.dedup();
        values.into_iter().map(|value| named(value, What::Value, name)).collect()
    }

    /// Words of a pattern of cells: `engine=onnx place=*`, or behind `[` in a step's name.
    fn cells(&self, written: &str) -> Option<Vec<Item>> {
        let axes = match (&self.context.annotation, self.context.key.as_ref().map(|key| key.text.as_str())) {
            (Some(word), _) if matches!(word.text.as_str(), "step" | "cells") => {
                let (name, _) = written.split_once('[').filter(|(_, cells)| !cells.contains(']'))?;
                let step = self.body.step(name)?;
                let matrices = self.index.matrices(self.file, &step.for_each);
                matrices.flat_map(|m| &m.axes).map(|axis| (axis.name.clone(), axis.values.clone())).collect()
            }
            (None, Some("reference" | "cell")) => self.axes_in(),
            _ => return None,
        };
        let last = written.rsplit([' ', ',', '[']).next().unwrap_or_default();
        Some(match last.split_once('=') {
            Some((name, _)) => {
                let values = axes.iter().filter(|(axis, _)| axis == name).flat_map(|(_, values)| values);
                values.map(|value| named(value, What::Value, name)).collect()
            }
            None => {
                let axis = |(name, values): &(String, Vec<String>)| Item {
                    text: format!("{name}="),
                    ..named(name, What::Axis, &values.join(" "))
                };
                axes.iter().map(axis).collect()
            }
        })
    }

    /// Files that `use` can name.
    fn modules(&self, written: &str) -> Vec<Item> {
        let std = stdlib::modules().map(|name| Item { rank: 1, ..named(name, What::File, "standard library") });
        let own = self.index.files[self.file].unit.id.clone();
        let kdl = |path: &Path| path.extension().is_some_and(|extension| extension == "kdl") && path != own;
        std.chain(self.entries(written, &kdl)).collect()
    }

    /// Entries of the folder that the written part of a path names.
    fn entries(&self, written: &str, wanted: &dyn Fn(&Path) -> bool) -> Vec<Item> {
        let unit = &self.index.files[self.file].unit;
        let (before, _) = written.rsplit_once('/').map_or(("", written), |(before, last)| (before, last));
        if unit.is_std() || Path::new(before).is_absolute() || before.starts_with("std") {
            return Vec::new();
        }
        let folder: PathBuf = unit.id.parent().unwrap_or(Path::new("/")).join(before);
        let Ok(entries) = std::fs::read_dir(&folder) else { return Vec::new() };
        let mut items: Vec<Item> = Vec::new();
        for entry in entries.flatten().take(MOST_ENTRIES) {
            let name = entry.file_name().to_string_lossy().into_owned();
            let hidden = name.starts_with('.') || name.contains(['"', '\\']);
            let path = if before.is_empty() { name } else { format!("{before}/{name}") };
            match entry.path().is_dir() {
                _ if hidden => {}
                true => items.push(Item { rank: 2, ..named(&format!("{path}/"), What::Folder, "folder") }),
                false if wanted(&entry.path()) => items.push(Item { rank: 2, ..named(&path, What::File, "file") }),
                false => {}
            }
        }
        items.sort_by(|a, b| a.label.cmp(&b.label));
        items
    }
}

fn named(name: &str, kind: What, detail: &str) -> Item {
    Item { label: name.to_owned(), kind, detail: detail.to_owned(), text: name.to_owned(), ..Item::default() }
}

fn param(param: &Param) -> Item {
    let mut item = named(&param.name, What::Param, param.kind.describe());
    item.doc = param.about.clone().unwrap_or_default();
    if let Some(default) = &param.default {
        item.detail = format!("{}, {default}", param.kind.describe());
    }
    item
}
