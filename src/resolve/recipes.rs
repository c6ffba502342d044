//! What there is to say of recipes: parameters with their types and defaults, what comes out, where they are
//! declared. For documentation alone: nothing is unfolded.

use std::path::Path;

use super::import::{Loader, Module};
use super::kind::Kind;
use super::table::WHEN;
use super::world::{ParamDecl, Preset, Recipe, World};
use super::{Files, Memory};
use crate::diag::{Diagnostics, Source};
use crate::pipeline::Value;
use crate::stdlib;
use crate::syntax::{Entry, Node};

/// A recipe for who wants to use it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecipeDoc {
    pub name: String,
    /// What `use` names: `std/model`, or the path of the file.
    pub home: String,
    pub about: Option<String>,
    pub params: Vec<ParamDoc>,
    /// The node that makes its result: `step`, `tree`, `measure`, or another recipe.
    pub result: Option<String>,
    pub outputs: Vec<OutputDoc>,
    /// A whole pipeline that shows it; recipes of the standard library have one.
    pub example: Option<&'static str>,
}

/// A parameter of a recipe. Values are as a file would write them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParamDoc {
    pub name: String,
    pub about: Option<String>,
    pub kind: Kind,
    pub default: Option<String>,
    /// The node whose step is the default.
    pub default_step: Option<String>,
    pub optional: bool,
    /// It is a list.
    pub many: bool,
    pub choices: Vec<String>,
    pub min: Option<String>,
    pub max: Option<String>,
}

impl ParamDoc {
    /// True where a use of the recipe must give it.
    pub fn required(&self) -> bool {
        self.default.is_none() && self.default_step.is_none() && !self.optional
    }
}

/// A path in the output of a recipe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputDoc {
    pub path: String,
    pub about: Option<String>,
}

/// All recipes of the standard library, by their names.
pub fn std_recipes() -> Vec<RecipeDoc> {
    let uses: Vec<String> = stdlib::modules().map(|module| format!("{module:?}")).collect();
    let main = format!("pipeline \"std\"\nuse {}\n", uses.join(" "));
    recipes_of(Path::new("std.kdl"), &Memory::default().with("std.kdl", main)).0
}

/// The recipes that a pipeline sees, by their names, and what is wrong with its files.
pub fn recipes_of(path: &Path, files: &dyn Files) -> (Vec<RecipeDoc>, Diagnostics) {
    let mut loader = Loader::load(path, files);
    let modules = std::mem::take(&mut loader.modules);
    let mut found = std::mem::take(&mut loader.found);
    let mut docs = Vec::new();
    if !modules.is_empty() {
        let world = World::new(&modules, &mut found);
        let seen = world.names(0).filter_map(|name| world.recipe(0, name));
        docs = seen.map(|recipe| describe(&world.recipes[recipe], &modules, &loader.sources)).collect();
    }
    (docs, Diagnostics::new(loader.sources, found))
}

fn describe(recipe: &Recipe<'_>, modules: &[Module], sources: &[Source]) -> RecipeDoc {
    let home = sources.get(modules[recipe.module].source).map_or_else(String::new, |source| source.name.clone());
    let mut results = Vec::new();
    collect_named(recipe.node.children(), recipe.result.unwrap_or_default(), &mut results);
    RecipeDoc {
        name: recipe.name.to_owned(),
        example: stdlib::example(recipe.name).filter(|_| stdlib::module(&home).is_some()),
        home,
        about: text(recipe.node.property_or_child("about")),
        params: recipe.params.iter().map(|param| describe_param(recipe, param, sources)).collect(),
        result: results.first().map(|node| node.name.text.clone()),
        outputs: outputs(recipe.node, &results),
    }
}

fn describe_param(recipe: &Recipe<'_>, param: &ParamDecl<'_>, sources: &[Source]) -> ParamDoc {
    let nodes = recipe.node.children().iter().filter(|node| node.name.text == "param");
    let node = nodes.into_iter().find(|node| node.values().next().map(|name| name.at) == Some(param.at));
    let bound = |name: &str| node.and_then(|node| node.property_or_child(name)).map(|entry| written(entry, sources));
    ParamDoc {
        name: param.name.to_owned(),
        about: param.about.map(str::to_owned),
        kind: param.kind,
        default: match param.default {
            Preset::Value(entry) if param.values.is_empty() => Some(written(entry, sources)),
            Preset::Value(_) => {
                Some(param.values.iter().map(|entry| written(entry, sources)).collect::<Vec<_>>().join(" "))
            }
            Preset::None | Preset::Step(_) => None,
        },
        default_step: match param.default {
            Preset::Step(node) => Some(node.name.text.clone()),
            Preset::None | Preset::Value(_) => None,
        },
        optional: param.optional,
        many: param.many,
        choices: param.choices.iter().map(Value::to_string).collect(),
        min: bound("min"),
        max: bound("max"),
    }
}

/// A value as the file writes it, without the name before it.
fn written(entry: &Entry, sources: &[Source]) -> String {
    let text = sources.get(entry.at.source).and_then(|source| source.text.get(entry.at.start..entry.at.end));
    let text = text.unwrap_or_default();
    match &entry.key {
        Some(_) => text.split_once('=').map_or(text, |(_, value)| value).trim().to_owned(),
        None => text.to_owned(),
    }
}

fn text(entry: Option<&Entry>) -> Option<String> {
    entry.and_then(Entry::text).map(str::to_owned)
}

/// The steps of one name, of which a `when` chooses.
fn collect_named<'d>(nodes: &'d [Node], name: &str, found: &mut Vec<&'d Node>) {
    for node in nodes {
        match node.name.text.as_str() {
            WHEN => collect_named(node.children(), name, found),
            "param" | "result" => {}
            _ if node.values().next().and_then(Entry::text) == Some(name) => found.push(node),
            _ => {}
        }
    }
}

/// What the recipe says of its outputs, else what its result declares.
fn outputs(recipe: &Node, results: &[&Node]) -> Vec<OutputDoc> {
    let mut found: Vec<OutputDoc> = Vec::new();
    let mut add = |path: Option<&str>, about: Option<String>| {
        if let Some(path) = path.filter(|path| !path.is_empty())
            && !found.iter().any(|known| known.path == path)
        {
            found.push(OutputDoc { path: path.to_owned(), about });
        }
    };
    let said: Vec<&Node> = recipe.children().iter().filter(|node| node.name.text == "output").collect();
    for node in &said {
        let about = text(node.property_or_child("about"));
        node.values().for_each(|entry| add(entry.text(), about.clone()));
    }
    if said.is_empty() {
        results.iter().for_each(|node| paths(node, &mut |path| add(Some(path), None)));
    }
    found
}

/// The paths that a step declares.
fn paths(step: &Node, add: &mut dyn FnMut(&str)) {
    for node in step.children() {
        match node.name.text.as_str() {
            WHEN => paths(node, add),
            "output" => node.values().filter_map(Entry::text).for_each(&mut *add),
            "put" | "match" | "link" | "text" => {
                node.values().next().and_then(Entry::text).into_iter().for_each(&mut *add)
            }
            _ => {}
        }
    }
}
