//! An index of names for an editor: what each file declares, and where each name is used.
//!
//! It reads documents that may be half written, and reports nothing: it says what a name would mean if the rest
//! were right. Files know each other through `use`; inside a recipe the names are its own. Nothing here is
//! evaluated: a step is a node, however many cells it has.

mod grammar;
mod uses;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use grammar::{Grammar, Holds, Slot};

use super::kind::Kind;
use super::table;
use super::value::kind_of;
use crate::diag::At;
use crate::syntax::{Document, Entry, Literal, Node};

/// One file, as it was read.
#[derive(Debug, Clone)]
pub struct Unit {
    /// Its real path, or `std/model` for one of ours.
    pub id: PathBuf,
    pub text: Arc<str>,
    pub document: Arc<Document>,
}

impl Unit {
    /// True for a file of the standard library.
    pub fn is_std(&self) -> bool {
        self.id.is_relative()
    }
}

/// Where files come from.
pub trait Units {
    /// The file of this name, where there is one.
    fn unit(&self, id: &Path) -> Option<Unit>;

    /// The name of the file at a path.
    fn id(&self, path: &Path) -> PathBuf;
}

/// What a name names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum NameKind {
    Step,
    Param,
    Axis,
    Matrix,
    Profile,
    Recipe,
    /// A file or folder; the text is its path.
    File,
}

/// A name in its scope. An axis belongs to the file: axes of one name in several matrices mean the same.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name {
    pub kind: NameKind,
    /// The number of the file; 0 for files themselves.
    pub file: usize,
    /// The recipe whose own name it is.
    pub recipe: Option<String>,
    pub text: String,
}

/// A place where a name stands.
#[derive(Debug, Clone)]
pub struct Occurrence {
    pub name: Name,
    /// The name alone, without quotes, annotation or path.
    pub at: At,
    /// The node that declares it; `None` where it is used.
    pub declares: Option<At>,
    /// For an axis: the matrices of which it may be, as far as that is known.
    pub matrices: Vec<String>,
}

/// What a file declares.
#[derive(Debug)]
pub struct FileIndex {
    pub unit: Unit,
    /// The files that it uses.
    pub uses: Vec<usize>,
    pub top: Body,
    pub matrices: Vec<Matrix>,
    pub recipes: Vec<Recipe>,
    /// Recipes that it sees: the number of the file and of the recipe in it.
    pub visible: BTreeMap<String, (usize, usize)>,
}

/// The names of a pipeline or of a recipe.
#[derive(Debug, Default)]
pub struct Body {
    pub params: Vec<Param>,
    pub steps: Vec<Step>,
}

/// A recipe as it was written.
#[derive(Debug)]
pub struct Recipe {
    pub name: String,
    pub about: Option<String>,
    pub body: Body,
    pub result: Option<String>,
    /// Paths of the result that it promises; where there are none, those of the step are known.
    pub outputs: Vec<String>,
    pub node: At,
}

/// A parameter as it was written.
#[derive(Debug)]
pub struct Param {
    pub name: String,
    pub about: Option<String>,
    pub kind: Kind,
    /// Its value where nobody sets it, as it was written.
    pub default: Option<String>,
    pub optional: bool,
    /// It is a list.
    pub many: bool,
    pub choices: Vec<String>,
    pub node: At,
}

/// A step as it was written.
#[derive(Debug)]
pub struct Step {
    pub name: String,
    /// The word of the node: `step`, `tree`, `llama`.
    pub word: String,
    pub for_each: Vec<String>,
    /// Paths that it declares as outputs.
    pub outputs: Vec<String>,
    pub node: At,
}

/// A matrix as it was written.
#[derive(Debug)]
pub struct Matrix {
    pub name: String,
    pub axes: Vec<Axis>,
    pub node: At,
}

/// One axis, and the values that are written out.
#[derive(Debug)]
pub struct Axis {
    pub name: String,
    pub values: Vec<String>,
}

/// All names of a set of files.
#[derive(Debug, Default)]
pub struct Index {
    pub files: Vec<FileIndex>,
    occurrences: Vec<Occurrence>,
}

impl Index {
    /// Reads the files of these names, and all that they use.
    pub fn new(roots: &[PathBuf], units: &dyn Units) -> Index {
        let mut index = Index::default();
        let mut known: BTreeMap<PathBuf, usize> = BTreeMap::new();
        let mut wanted: Vec<PathBuf> = roots.iter().rev().cloned().collect();
        while let Some(id) = wanted.pop() {
            if known.contains_key(&id) {
                continue;
            }
            let Some(mut unit) = units.unit(&id) else { continue };
            let number = index.files.len();
            unit.document = renumbered(unit.document, number);
            wanted.extend(used(&unit, units));
            known.insert(id, number);
            known.insert(unit.id.clone(), number);
            index.files.push(FileIndex::new(unit));
        }
        for number in 0..index.files.len() {
            let uses = used(&index.files[number].unit, units);
            index.files[number].uses = uses.iter().filter_map(|id| known.get(id).copied()).collect();
        }
        index.see();
        index.occurrences = uses::occurrences(&index, units);
        index
    }

    /// Which recipes each file sees: its own, and those of the files that it uses.
    fn see(&mut self) {
        for number in 0..self.files.len() {
            let mut visible = BTreeMap::new();
            for &file in self.files[number].uses.iter().rev().chain([&number]) {
                for (recipe, declared) in self.files[file].recipes.iter().enumerate() {
                    visible.insert(declared.name.clone(), (file, recipe));
                }
            }
            self.files[number].visible = visible;
        }
    }

    /// The number of a file.
    pub fn file(&self, id: &Path) -> Option<usize> {
        self.files.iter().position(|file| file.unit.id == id)
    }

    /// The recipe that a word means in a file.
    pub fn recipe(&self, file: usize, word: &str) -> Option<&Recipe> {
        let (file, recipe) = self.files.get(file)?.visible.get(word)?;
        self.files.get(*file)?.recipes.get(*recipe)
    }

    /// The names around a place: those of the recipe in which it lies, else the file's.
    pub fn body(&self, file: usize, offset: usize) -> (&Body, Option<&Recipe>) {
        let file = &self.files[file];
        let recipe = file.recipes.iter().find(|recipe| recipe.node.start <= offset && offset <= recipe.node.end);
        (recipe.map_or(&file.top, |recipe| &recipe.body), recipe)
    }

    /// True where a node of this word makes a step in a file.
    pub fn makes_step(&self, file: usize, word: &str) -> bool {
        table::step_node(word).is_some() || self.files[file].visible.contains_key(word)
    }

    /// The matrices of these names in a file.
    pub fn matrices<'i>(&'i self, file: usize, names: &'i [String]) -> impl Iterator<Item = &'i Matrix> {
        self.files[file].matrices.iter().filter(move |matrix| names.contains(&matrix.name))
    }

    /// The paths that a step is known to make.
    pub fn outputs(&self, file: usize, step: &Step) -> Vec<String> {
        self.outputs_of(file, step, 0)
    }

    fn outputs_of(&self, file: usize, step: &Step, depth: usize) -> Vec<String> {
        let mut found = step.outputs.clone();
        // A recipe of recipes ends somewhere, but for one that uses itself.
        if let Some(&(home, recipe)) = self.files[file].visible.get(&step.word).filter(|_| depth < 16) {
            let recipe = &self.files[home].recipes[recipe];
            if !recipe.outputs.is_empty() {
                return recipe.outputs.clone();
            }
            let results = recipe.body.steps.iter().filter(|step| Some(&step.name) == recipe.result.as_ref());
            found.extend(results.flat_map(|step| self.outputs_of(home, step, depth + 1)));
        }
        found.sort();
        found.dedup();
        found
    }

    /// The name at a place.
    pub fn at(&self, file: usize, offset: usize) -> Option<&Occurrence> {
        let covers = |o: &&Occurrence| o.at.source == file && o.at.start <= offset && offset <= o.at.end;
        self.occurrences.iter().filter(covers).min_by_key(|o| o.at.end - o.at.start)
    }

    /// Every place where a name stands, declarations included.
    pub fn all<'i>(&'i self, name: &'i Name) -> impl Iterator<Item = &'i Occurrence> {
        self.occurrences.iter().filter(move |occurrence| occurrence.name == *name)
    }

    /// The names inside a span.
    pub fn within(&self, at: At) -> impl Iterator<Item = &Occurrence> {
        self.occurrences
            .iter()
            .filter(move |o| o.at.source == at.source && at.start <= o.at.start && o.at.end <= at.end)
    }

    /// Where the name of an occurrence is declared.
    pub fn declarations<'i>(&'i self, of: &'i Occurrence) -> impl Iterator<Item = &'i Occurrence> {
        let fits = move |o: &&Occurrence| of.matrices.is_empty() || o.matrices.iter().any(|m| of.matrices.contains(m));
        self.all(&of.name).filter(|occurrence| occurrence.declares.is_some()).filter(fits)
    }

    /// The node that takes exactly these bytes.
    pub fn node(&self, at: At) -> Option<&Node> {
        fn find(nodes: &[Node], at: At) -> Option<&Node> {
            let node = nodes.iter().find(|node| node.at.start <= at.start && at.end <= node.at.end)?;
            if node.at == at { Some(node) } else { find(node.children(), at) }
        }
        find(&self.files.get(at.source)?.unit.document.nodes, at)
    }
}

impl FileIndex {
    fn new(unit: Unit) -> FileIndex {
        let nodes = &unit.document.nodes;
        let named = |word: &'static str| nodes.iter().filter(move |node| node.name.text == word);
        let recipes: Vec<Recipe> = named("recipe").filter_map(|node| Recipe::new(node, &unit.text)).collect();
        let matrices = named("matrix").filter_map(Matrix::new).collect();
        let top = Body::new(nodes, &unit.text, false);
        FileIndex { uses: Vec::new(), top, matrices, recipes, visible: BTreeMap::new(), unit }
    }

    /// True where the file can be run: it says which pipeline it is.
    pub fn is_pipeline(&self) -> bool {
        self.unit.document.nodes.first().is_some_and(|node| node.name.text == "pipeline")
    }
}

impl Body {
    fn new(nodes: &[Node], text: &str, recipe: bool) -> Body {
        let mut body = Body::default();
        body.collect(nodes, text, recipe);
        body
    }

    fn collect(&mut self, nodes: &[Node], text: &str, recipe: bool) {
        for node in nodes {
            match node.name.text.as_str() {
                table::WHEN => self.collect(node.children(), text, recipe),
                "param" => self.params.extend(Param::new(node, text, recipe)),
                word if table::FILE_NODES.iter().chain(table::RECIPE_NODES).any(|spec| spec.name == word) => {}
                // What a recipe promises of its result.
                "output" => {}
                // Whether the word is a recipe's is not known yet; nothing else stands here.
                _ => self.steps.extend(Step::new(node)),
            }
        }
    }

    /// The step of this name.
    pub fn step(&self, name: &str) -> Option<&Step> {
        self.steps.iter().find(|step| step.name == name)
    }

    /// The parameter of this name.
    pub fn param(&self, name: &str) -> Option<&Param> {
        self.params.iter().find(|param| param.name == name)
    }
}

impl Recipe {
    fn new(node: &Node, text: &str) -> Option<Recipe> {
        let name = node.values().next().and_then(Entry::text)?.to_owned();
        let result = node.children().iter().find(|child| child.name.text == "result");
        let result = result.and_then(|node| node.values().next()).and_then(Entry::text).map(str::to_owned);
        let about = setting(node, "about").and_then(Entry::text).map(str::to_owned);
        let outputs = children(node, "output").filter_map(|entry| entry.text().map(str::to_owned)).collect();
        Some(Recipe { name, about, body: Body::new(node.children(), text, true), result, outputs, node: node.at })
    }
}

impl Param {
    fn new(node: &Node, text: &str, recipe: bool) -> Option<Param> {
        let name = node.values().next().and_then(Entry::text)?.to_owned();
        let presets: Vec<&Entry> = match (recipe, node.property("default")) {
            (false, _) => node.values().skip(1).collect(),
            (true, Some(entry)) => vec![entry],
            (true, None) => children(node, "default").collect(),
        };
        let step = node.children().iter().find(|child| {
            let known = table::RECIPE_PARAM.settings.iter().any(|setting| setting.name == child.name.text);
            !known && child.name.text != "choices"
        });
        let written = |entry: &&Entry| {
            let all = text.get(entry.at.start..entry.at.end).unwrap_or_default();
            let value = if entry.key.is_some() { all.split_once('=').map_or(all, |(_, value)| value) } else { all };
            value.trim().to_owned()
        };
        let default = match (presets.as_slice(), step) {
            ([], step) => step.map(|node| node.name.text.clone()),
            (presets, _) => Some(presets.iter().map(written).collect::<Vec<_>>().join(" ")),
        };
        let named = setting(node, "type").and_then(Entry::text).and_then(Kind::of_type);
        let looks = || presets.first().and_then(|entry| kind_of(entry));
        let truth = |name| setting(node, name).is_some_and(|entry| entry.literal == Literal::Bool(true));
        Some(Param {
            name,
            about: setting(node, "about").and_then(Entry::text).map(str::to_owned),
            kind: named.or_else(looks).unwrap_or(if step.is_some() { Kind::Step } else { Kind::Any }),
            default,
            optional: truth("optional"),
            many: truth("many"),
            choices: children(node, "choices").filter_map(|entry| plain(&entry.literal)).collect(),
            node: node.at,
        })
    }

    /// True where a use of the recipe must give it.
    pub fn required(&self) -> bool {
        self.default.is_none() && !self.optional
    }
}

impl Step {
    fn new(node: &Node) -> Option<Step> {
        let name = node.values().next().and_then(Entry::text)?.to_owned();
        let mut outputs = Vec::new();
        made(node, &mut outputs);
        Some(Step { name, word: node.name.text.clone(), for_each: for_each(node), outputs, node: node.at })
    }
}

impl Matrix {
    fn new(node: &Node) -> Option<Matrix> {
        fn axes(nodes: &[Node], found: &mut Vec<Axis>) {
            for node in nodes {
                match node.name.text.as_str() {
                    "axis" => found.extend(Axis::new(node)),
                    "zip" => axes(node.children(), found),
                    _ => {}
                }
            }
        }
        let name = node.values().next().and_then(Entry::text)?.to_owned();
        let mut found = Vec::new();
        axes(node.children(), &mut found);
        Some(Matrix { name, axes: found, node: node.at })
    }
}

impl Axis {
    fn new(node: &Node) -> Option<Axis> {
        let mut entries = node.values();
        let name = entries.next().and_then(Entry::text)?.to_owned();
        let mut values = Vec::new();
        for entry in entries {
            match (entry.annotated(), entry.text()) {
                (None, _) => values.extend(plain(&entry.literal)),
                (Some("range"), Some(range)) => {
                    values.extend(points(range, setting(node, "step").and_then(Entry::text)))
                }
                _ => {}
            }
        }
        Some(Axis { name, values })
    }
}

/// The numbers of `1..32`, by `*2` or `+4`; as many as an editor can show.
fn points(range: &str, step: Option<&str>) -> Vec<String> {
    const SHOWN: usize = 64;
    let whole = |text: &str| text.trim().parse::<u64>().ok();
    let Some((first, last)) = range.split_once("..").and_then(|(a, b)| Some((whole(a)?, whole(b)?))) else {
        return Vec::new();
    };
    let (by, times) = match step.unwrap_or("+1").split_at_checked(1) {
        Some(("*", by)) => (whole(by), true),
        Some(("+", by)) => (whole(by), false),
        _ => (None, false),
    };
    let Some(by) = by.filter(|by| *by > u64::from(times)) else { return Vec::new() };
    let next = |n: &u64| if times { n.checked_mul(by).filter(|next| next > n) } else { n.checked_add(by) };
    let numbers = std::iter::successors(Some(first), next).take_while(|n| *n <= last);
    numbers.take(SHOWN).map(|n| n.to_string()).collect()
}

/// A literal as a cell writes it.
fn plain(literal: &Literal) -> Option<String> {
    match literal {
        Literal::Text(text) => Some(text.clone()),
        Literal::Integer(number) => Some(number.to_string()),
        Literal::Float(number) => Some(number.to_string()),
        Literal::Bool(value) => Some(value.to_string()),
        Literal::Null => None,
    }
}

/// The values of the child nodes of a name.
fn children<'d>(node: &'d Node, name: &str) -> impl Iterator<Item = &'d Entry> {
    node.children().iter().filter(move |child| child.name.text == name).flat_map(|child| child.values())
}

/// The matrices that a node names by `for-each`, as a property or as a child with several values.
pub fn for_each(node: &Node) -> Vec<String> {
    for_each_entries(node).filter_map(|entry| entry.text().map(str::to_owned)).collect()
}

fn for_each_entries(node: &Node) -> impl Iterator<Item = &Entry> {
    node.property("for-each").into_iter().chain(children(node, "for-each"))
}

/// A setting of a node, written either way.
pub fn setting<'d>(node: &'d Node, name: &str) -> Option<&'d Entry> {
    node.property_or_child(name)
}

/// The outputs that a step node declares, in every `when`.
fn made(node: &Node, found: &mut Vec<String>) {
    let text = |entry: &Entry| entry.text().map(str::to_owned);
    if node.name.text == "fetch" {
        let named = setting(node, "file").and_then(text);
        let url = || setting(node, "url").and_then(Entry::text)?.rsplit('/').next().map(str::to_owned);
        found.extend(named.or_else(url));
    }
    for child in node.children() {
        match (node.name.text.as_str(), child.name.text.as_str()) {
            (_, table::WHEN) => {
                let inner = Node { name: node.name.clone(), entries: Vec::new(), ..child.clone() };
                made(&inner, found);
            }
            ("step", "output") => found.extend(child.values().filter_map(text)),
            ("tree", "put" | "match" | "link" | "text") => {
                found.extend(child.values().next().and_then(text).filter(|path| !path.is_empty()));
            }
            _ => {}
        }
    }
}

/// The files that a file uses.
fn used(unit: &Unit, units: &dyn Units) -> Vec<PathBuf> {
    let nodes = unit.document.nodes.iter().filter(|node| node.name.text == "use");
    nodes.flat_map(|node| node.values()).filter_map(Entry::text).map(|path| used_id(unit, path, units)).collect()
}

/// The file behind `use "path"`.
fn used_id(unit: &Unit, path: &str, units: &dyn Units) -> PathBuf {
    if path.starts_with("std/") || unit.is_std() {
        return PathBuf::from(path);
    }
    units.id(&unit.id.parent().unwrap_or(Path::new("/")).join(path))
}

/// The place of an entry's value, without key and annotation.
pub fn value_at(entry: &Entry, text: &str) -> At {
    let slice = |from: usize| text.get(from..entry.at.end).unwrap_or_default();
    let behind = |from: usize, sign: char| slice(from).find(sign).map_or(from, |i| from + i + 1);
    let start = match (&entry.key, &entry.annotation) {
        (_, Some(word)) => behind(word.at.end, ')'),
        (Some(key), None) => behind(key.at.end, '='),
        (None, None) => entry.at.start,
    };
    let blank = slice(start).len() - slice(start).trim_start().len();
    At { start: start + blank, ..entry.at }
}

/// Where the content of a text begins, where it is written without escapes.
fn content_start(entry: &Entry, text: &str) -> Option<usize> {
    let at = value_at(entry, text);
    let written = text.get(at.start..at.end)?;
    let bare = written.trim_start_matches('#').trim_start_matches('"');
    let start = at.start + (written.len() - bare.len());
    bare.starts_with(entry.text()?).then_some(start)
}

/// A document whose places name another file.
fn renumbered(document: Arc<Document>, source: usize) -> Arc<Document> {
    fn walk(nodes: &mut [Node], source: usize) {
        for node in nodes {
            node.at.source = source;
            node.name.at.source = source;
            for entry in &mut node.entries {
                entry.at.source = source;
                for word in entry.key.iter_mut().chain(entry.annotation.as_deref_mut()) {
                    word.at.source = source;
                }
            }
            walk(node.children.as_deref_mut().unwrap_or_default(), source);
        }
    }
    if document.nodes.first().is_none_or(|node| node.at.source == source) {
        return document;
    }
    let mut nodes = document.nodes.clone();
    walk(&mut nodes, source);
    Arc::new(Document { nodes })
}
