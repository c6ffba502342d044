//! Completion: what can stand at the cursor, in text that does not parse at the moment.
//!
//! Approach:
//! - [`scan::context`] says what stands around the cursor; the index says which names there are.
//! - A place is a node's name, an annotation, the content of a text, or a value or key in a node's header; for
//!   each there is a function below or in `values`.
//! - Every item replaces what is written of the same word, so that the editor's own idea of words does not matter.

mod values;

use std::path::{Path, PathBuf};

use super::fixes::use_line;
use super::hover;
use super::scan::{self, Context, Touched};
use super::words;
use crate::diag::At;
use crate::resolve::symbols::{Body, Grammar, Holds, Index, Matrix, Recipe, Slot, for_each};
use crate::resolve::table::{self, NodeSpec, RECIPE_NODES, STEP_NODES};
use crate::resolve::{Kind, MEANINGS, UNITS};
use crate::stdlib;
use crate::syntax::Node;

/// One thing that can be written.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Item {
    pub label: String,
    pub kind: What,
    /// One line beside the label.
    pub detail: String,
    /// Markdown.
    pub doc: String,
    pub text: String,
    /// The same with places to fill in, where it has some.
    pub snippet: Option<String>,
    /// Lower comes first.
    pub rank: u8,
    /// A further edit: the `use` of a recipe's file.
    pub extra: Option<(At, String)>,
}

/// What an item is, for its picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum What {
    #[default]
    Value,
    Node,
    Recipe,
    Setting,
    Step,
    Param,
    Axis,
    Unit,
    File,
    Folder,
}

/// The items at a place, and the bytes that each of them replaces.
#[derive(Debug, Default)]
pub struct Completion {
    pub from: usize,
    pub to: usize,
    pub items: Vec<Item>,
}

/// What the functions below look at.
struct Cursor<'i> {
    index: &'i Index,
    file: usize,
    text: &'i str,
    offset: usize,
    context: Context,
    body: &'i Body,
    recipe: Option<&'i Recipe>,
    /// The matrices of the step around the cursor.
    matrices: Vec<&'i Matrix>,
}

/// What can be written at a byte of a file.
pub fn complete(index: &Index, file: usize, offset: usize) -> Completion {
    let text: &str = &index.files[file].unit.text;
    let context = scan::context(text, offset);
    let (body, recipe) = index.body(file, offset);
    let mut cursor = Cursor { index, file, text, offset, context, body, recipe, matrices: Vec::new() };
    let step = cursor.way().find(|node| index.makes_step(file, &node.name.text));
    let names = step.map(|node| for_each(cursor.whole(node))).unwrap_or_default();
    cursor.matrices = index.files[file].matrices.iter().filter(|matrix| names.contains(&matrix.name)).collect();
    cursor.complete()
}

impl<'i> Cursor<'i> {
    fn complete(&self) -> Completion {
        let word = matches!(self.context.touched, Touched::Word { .. });
        let items = match (self.context.touched, &self.context.node) {
            (Touched::Comment, _) => Vec::new(),
            _ if self.context.in_annotation => self.annotations(),
            (Touched::Text { from, closed }, Some(_)) => return self.in_text(from, closed),
            (Touched::Text { .. }, None) => Vec::new(),
            (_, None) => self.nodes(),
            (_, Some(_)) if self.context.annotation.is_some() => self.quoted(self.contents("")),
            (_, Some(_)) => self.in_header(),
        };
        let from = match self.context.touched {
            Touched::Word { start } => start,
            _ => self.offset,
        };
        let to = if word { self.word_end(self.offset) } else { self.offset };
        Completion { from, to, items }
    }

    /// The end of the word that goes on behind a byte.
    fn word_end(&self, from: usize) -> usize {
        let part = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
        from + self.text[from..].find(|c| !part(c)).unwrap_or(self.text.len() - from)
    }

    /// The nodes around the cursor, the innermost first.
    fn way(&self) -> impl Iterator<Item = &Node> {
        self.context.node.iter().chain(self.context.stack.iter().rev())
    }

    /// A node of the context as it stands in the whole text, with what comes behind the cursor.
    fn whole<'n>(&'n self, node: &'n Node) -> &'n Node {
        let way = hover::way(&self.index.files[self.file].unit.document.nodes, node.at.start);
        way.into_iter().find(|whole| whole.at.start == node.at.start).unwrap_or(node)
    }

    /// The words on the way to the node in whose header the cursor stands, or to its block.
    fn words(&self) -> Vec<&str> {
        let stack = self.context.stack.iter().map(|node| node.name.text.as_str());
        stack.chain(self.context.node.iter().map(|node| node.name.text.as_str())).collect()
    }

    /// The grammar of the node in whose header the cursor stands.
    fn grammar(&self) -> Option<Grammar> {
        self.index.grammar(self.file, self.words())
    }

    /// The block in which the cursor stands.
    fn block(&self) -> Option<Grammar> {
        self.index.grammar(self.file, self.context.stack.iter().map(|node| node.name.text.as_str()))
    }

    /// Words that can begin a node here.
    fn nodes(&self) -> Vec<Item> {
        let Some(block) = self.block() else { return Vec::new() };
        let parent = self.context.stack.iter().rev().find(|node| node.name.text != table::WHEN);
        let present: Vec<&str> = parent.map(|node| given(self.whole(node))).unwrap_or_default();
        let mut items: Vec<Item> = Vec::new();
        for slot in block.settings.iter().filter(|slot| !present.contains(&slot.name.as_str())) {
            items.push(setting(slot, " "));
        }
        for spec in &block.nodes {
            items.push(self.node(spec, 1));
        }
        let own: &[&NodeSpec] = match block.holds {
            Holds::File => table::FILE_NODES,
            Holds::Recipe => RECIPE_NODES,
            Holds::Nothing | Holds::Default => &[],
        };
        for spec in own.iter().filter(|spec| spec.name != "pipeline" || !self.index.files[self.file].is_pipeline()) {
            items.push(self.node(spec, 2));
        }
        if block.holds != Holds::Nothing {
            items.extend(STEP_NODES.iter().map(|spec| self.node(spec, 2)));
            items.extend(self.recipes());
        }
        if !self.context.stack.is_empty() {
            items.push(Item {
                label: table::WHEN.to_owned(),
                kind: What::Node,
                detail: "only where a parameter or axis has a value".to_owned(),
                doc: words::WHEN.to_owned(),
                text: table::WHEN.to_owned(),
                rank: 5,
                ..Item::default()
            });
        }
        items
    }

    /// True where nothing follows on the line, so that a whole node can be written.
    fn line_is_free(&self) -> bool {
        let end = self.word_end(self.offset);
        self.text[end..].lines().next().unwrap_or_default().trim().is_empty()
    }

    fn node(&self, spec: &'static NodeSpec, rank: u8) -> Item {
        let grammar =
            self.index.grammar(self.file, self.context.stack.iter().map(|n| n.name.text.as_str()).chain([spec.name]));
        let snippet = grammar.as_ref().filter(|_| self.line_is_free()).and_then(|g| snippet(spec.name, g));
        Item {
            label: spec.name.to_owned(),
            kind: What::Node,
            detail: first_words(spec.doc).to_owned(),
            doc: spec.doc.to_owned(),
            text: spec.name.to_owned(),
            snippet,
            rank,
            extra: None,
        }
    }

    /// Recipes in scope, and those of the standard library that a `use` would bring.
    fn recipes(&self) -> Vec<Item> {
        let mut items = Vec::new();
        let file = &self.index.files[self.file];
        let item = |index: &Index, number: usize, name: &str, home: &Path| {
            let grammar = index.grammar(number, [name])?;
            let own = home.is_relative().then(|| home.display().to_string());
            let home = own.unwrap_or_else(|| home.file_name().unwrap_or_default().to_string_lossy().into_owned());
            Some(Item {
                label: name.to_owned(),
                kind: What::Recipe,
                detail: format!("recipe of {home}"),
                doc: grammar.doc.clone(),
                text: name.to_owned(),
                snippet: if self.line_is_free() { snippet(name, &grammar) } else { None },
                rank: 1,
                extra: None,
            })
        };
        for (name, &(home, _)) in &file.visible {
            // A recipe cannot be made of itself.
            if self.recipe.is_none_or(|recipe| recipe.name != *name) {
                items.extend(item(self.index, self.file, name, &self.index.files[home].unit.id));
            }
        }
        if file.unit.is_std() {
            return items;
        }
        for (module, name) in stdlib::recipes().filter(|(_, name)| !file.visible.contains_key(*name)) {
            let Some(std) = std_index(module) else { continue };
            if let Some(found) = item(&std, 0, name, Path::new(module)) {
                let extra = Some(use_line(&file.unit.document, self.text, self.file, module));
                items.push(Item { detail: format!("recipe of {module} (adds `use`)"), rank: 3, extra, ..found });
            }
        }
        items
    }

    /// Words for `(word)`.
    fn annotations(&self) -> Vec<Item> {
        let kind = self.slot().map(|slot| slot.kind);
        let units = |unit: &&str| {
            kind.is_none_or(|k| matches!(k, Kind::Any | Kind::Plain | Kind::Points) || k.units().contains(unit))
        };
        let meanings = |word: &&str| match (*word, kind) {
            (_, None) => true,
            ("step", Some(kind)) => kind.takes_step(),
            ("cells", Some(kind)) => kind.takes_cells(),
            ("range", Some(kind)) => kind == Kind::Points,
            ("file", Some(kind)) => kind.takes_file(),
            ("axis", Some(kind)) => kind.takes_plain() && !self.matrices.is_empty(),
            ("output", Some(kind)) => kind == Kind::Arg,
            ("secret", Some(kind)) => kind.takes_file(),
            ("builtin", Some(kind)) => matches!(kind, Kind::Input | Kind::Inputs | Kind::Arg),
            _ => true,
        };
        let closed = self.text[self.word_end(self.offset)..].starts_with(')');
        let item = |word: &str, kind: What, snippet: String| Item {
            label: word.to_owned(),
            kind,
            doc: words::annotation(word).unwrap_or_default().to_owned(),
            text: if closed { word.to_owned() } else { format!("{word})") },
            snippet: if closed { None } else { Some(snippet) },
            ..Item::default()
        };
        let units = UNITS.iter().filter(|u| units(u)).map(|unit| item(unit, What::Unit, format!("{unit})${{1:1}}")));
        let meanings = MEANINGS.iter().filter(|word| meanings(word));
        let meanings = meanings.map(|word| Item { rank: 1, ..item(word, What::Value, format!("{word})\"$1\"")) });
        units.chain(meanings).collect()
    }

    /// The slot of the value at the cursor.
    fn slot(&self) -> Option<Slot> {
        let node = self.context.node.as_ref()?;
        let grammar = self.grammar()?;
        match &self.context.key {
            Some(key) => grammar.setting(&key.text).cloned(),
            None => grammar.value(node.values().count()).cloned(),
        }
    }

    /// The next value of a node, and keys that it does not have yet.
    fn in_header(&self) -> Vec<Item> {
        let Some(node) = &self.context.node else { return Vec::new() };
        let slot = self.slot();
        let mut items = match (&slot, &self.context.key) {
            (_, Some(key)) if self.pairs().is_some() => self.quoted(self.axis_values(&key.text)),
            (Some(slot), _) => self.slot_values(slot),
            (None, _) => Vec::new(),
        };
        if self.context.key.is_some() {
            return items;
        }
        let present = given(self.whole(node));
        if let Some(pairs) = self.pairs() {
            items.extend(pairs.into_iter().filter(|item| !present.contains(&item.label.as_str())).map(|item| Item {
                text: format!("{}=", item.label),
                rank: 1,
                ..item
            }));
        }
        let settings = self.grammar().map(|grammar| grammar.settings).unwrap_or_default();
        for slot in settings.iter().filter(|slot| !present.contains(&slot.name.as_str())) {
            items.push(setting(slot, "="));
        }
        items
    }
}

/// The beginning of a documentation, up to where it goes into detail.
fn first_words(doc: &str) -> &str {
    let end = [". ", ": ", "; ", ", `", " ("].iter().filter_map(|sign| doc.find(sign)).min();
    doc[..end.unwrap_or(doc.len())].trim_end_matches('.')
}

/// The settings that a node has, written either way, in every `when`.
fn given(node: &Node) -> Vec<&str> {
    let mut found: Vec<&str> =
        node.entries.iter().filter_map(|entry| entry.key.as_ref()).map(|key| key.text.as_str()).collect();
    for child in node.children() {
        match child.name.text.as_str() {
            table::WHEN => {}
            name => found.push(name),
        }
    }
    found
}

/// A setting as a word to write: `retry=` or `retry `.
fn setting(slot: &Slot, sign: &str) -> Item {
    let required = if slot.required { ", required" } else { "" };
    Item {
        label: slot.name.clone(),
        kind: What::Setting,
        detail: format!("{}{required}", slot.kind.describe()),
        doc: hover::of_slot(slot),
        text: format!("{}{sign}", slot.name),
        rank: if slot.required { 0 } else { 2 },
        ..Item::default()
    }
}

/// A node with places for its name and for what it must have.
fn snippet(name: &str, grammar: &Grammar) -> Option<String> {
    let mut text = name.to_owned();
    let mut place = 0;
    for slot in grammar.values.iter().filter(|slot| slot.required) {
        place += 1;
        text.push(' ');
        text.push_str(&example(slot, place));
    }
    let required: Vec<&Slot> = grammar.settings.iter().filter(|slot| slot.required).collect();
    let nodes: Vec<&&NodeSpec> = grammar.nodes.iter().filter(|spec| spec.required).collect();
    if required.len() > 2 || !nodes.is_empty() {
        text.push_str(" {");
        for slot in required {
            place += 1;
            text.push_str(&format!("\n    {} {}", slot.name, example(slot, place)));
        }
        for spec in nodes {
            place += 1;
            text.push_str(&format!("\n    {} ${place}", spec.name));
        }
        text.push_str("\n}");
    } else {
        for slot in required {
            place += 1;
            text.push_str(&format!(" {}={}", slot.name, example(slot, place)));
        }
    }
    (place > 0).then_some(text)
}

fn example(slot: &Slot, place: usize) -> String {
    let written = match slot.choices.first() {
        Some(choice) => format!("\"{choice}\""),
        None if slot.name == "name" => "\"name\"".to_owned(),
        None => slot.kind.example().to_owned(),
    };
    match written.strip_suffix('"').and_then(|inner| inner.split_once('"')) {
        Some((before, inner)) => format!("{before}\"${{{place}:{inner}}}\""),
        None => format!("${{{place}:{written}}}"),
    }
}

/// A module of the standard library alone.
fn std_index(module: &str) -> Option<Index> {
    struct Std;
    impl crate::resolve::symbols::Units for Std {
        fn unit(&self, id: &Path) -> Option<crate::resolve::symbols::Unit> {
            let text = stdlib::module(id.to_str()?)?;
            let document = std::sync::Arc::new(scan::tree(0, text));
            Some(crate::resolve::symbols::Unit { id: id.to_owned(), text: text.into(), document })
        }

        fn id(&self, path: &Path) -> PathBuf {
            path.to_owned()
        }
    }
    stdlib::module(module).map(|_| Index::new(&[PathBuf::from(module)], &Std))
}
