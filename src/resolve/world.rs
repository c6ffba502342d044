//! What names mean before anything is expanded: recipes, which file sees them, and parameters.

use std::collections::BTreeMap;

use super::import::Module;
use super::kind::Kind;
use super::shape::blank;
use super::table::{self, RECIPE_NODES};
use super::value;
use crate::diag::{At, Diagnostic};
use crate::pipeline::Value;
use crate::syntax::{Entry, Literal, Node, Word};

/// All recipes, and which of them each module sees.
pub struct World<'d> {
    pub recipes: Vec<Recipe<'d>>,
    visible: Vec<BTreeMap<&'d str, usize>>,
}

/// A recipe as it was written.
pub struct Recipe<'d> {
    pub name: &'d str,
    pub module: usize,
    pub node: &'d Node,
    pub at: At,
    pub params: Vec<ParamDecl<'d>>,
    /// The name of the step that is the result.
    pub result: Option<&'d str>,
    /// What its result has, where it says so.
    pub outputs: Vec<&'d str>,
}

/// A parameter as it was declared.
pub struct ParamDecl<'d> {
    pub name: &'d str,
    pub at: At,
    pub about: Option<&'d str>,
    pub kind: Kind,
    pub node: &'d Node,
    pub default: Preset<'d>,
    /// All values of the default, where it is a list.
    pub values: Vec<&'d Entry>,
    pub optional: bool,
    /// It is a list; everything else said here holds for each value of it.
    pub many: bool,
    pub choices: Vec<Value>,
    pub min: Option<f64>,
    pub max: Option<f64>,
}

/// What a parameter is where nobody sets it.
#[derive(Clone, Copy)]
pub enum Preset<'d> {
    None,
    Value(&'d Entry),
    /// A step of its own.
    Step(&'d Node),
}

/// A profile as it was written.
pub struct ProfileDecl<'d> {
    pub name: &'d str,
    pub at: At,
    pub about: Option<&'d str>,
    /// The parameters that it sets, each with its values.
    pub values: Vec<(&'d Word, Vec<&'d Entry>)>,
}

impl<'d> World<'d> {
    /// Collects the recipes of all modules.
    pub fn new(modules: &'d [Module], found: &mut Vec<Diagnostic>) -> World<'d> {
        let mut world = World { recipes: Vec::new(), visible: vec![BTreeMap::new(); modules.len()] };
        let mut own: Vec<Vec<usize>> = Vec::new();
        for (module, content) in modules.iter().enumerate() {
            own.push(Vec::new());
            for node in content.document.nodes.iter().filter(|node| node.name.text == "recipe") {
                if let Some(recipe) = Recipe::new(module, node, found) {
                    own[module].push(world.recipes.len());
                    world.recipes.push(recipe);
                }
            }
        }
        for (module, content) in modules.iter().enumerate() {
            let used = content.uses.iter().flat_map(|(used, _)| &own[*used]);
            for &recipe in own[module].iter().chain(used) {
                world.show(module, recipe, found);
            }
        }
        world
    }

    fn show(&mut self, module: usize, recipe: usize, found: &mut Vec<Diagnostic>) {
        let name = self.recipes[recipe].name;
        match self.visible[module].get(name) {
            Some(&other) if other != recipe => {
                let (first, second) = (self.recipes[other].at, self.recipes[recipe].at);
                let fault = Diagnostic::error("pipe::duplicate-recipe", format!("two recipes are named `{name}`"));
                let fault = fault.at(second, "the second").at(first, "the first");
                found.push(fault.help("rename one of them, or use only one of the files"));
            }
            _ => {
                self.visible[module].insert(name, recipe);
            }
        }
    }

    /// The recipe that `name` means in a module.
    pub fn recipe(&self, module: usize, name: &str) -> Option<usize> {
        self.visible[module].get(name).copied()
    }

    /// The names of all recipes that a module sees.
    pub fn names(&self, module: usize) -> impl Iterator<Item = &'d str> {
        self.visible[module].keys().copied()
    }

    /// True where the node makes a step in this module.
    pub fn makes_step(&self, module: usize, name: &str) -> bool {
        table::step_node(name).is_some() || self.recipe(module, name).is_some()
    }
}

impl<'d> Recipe<'d> {
    fn new(module: usize, node: &'d Node, found: &mut Vec<Diagnostic>) -> Option<Recipe<'d>> {
        let name = node.values().next()?;
        let text = name.text()?;
        let taken = table::FILE_NODES.iter().chain(table::STEP_NODES).chain(RECIPE_NODES).any(|s| s.name == text);
        if taken || text == table::WHEN {
            let fault = Diagnostic::error("pipe::reserved-name", format!("`{text}` is a node of the language"));
            found.push(fault.at(name.at, "a recipe cannot have this name").help("choose another name"));
            return None;
        }
        let mut params: Vec<ParamDecl> = Vec::new();
        for child in node.children().iter().filter(|child| child.name.text == "param") {
            let Some(param) = ParamDecl::new(child, child.values_of("default"), found) else {
                continue;
            };
            if table::STEP_SETTINGS.iter().any(|setting| setting.name == param.name) {
                let fault = Diagnostic::error(
                    "pipe::reserved-name",
                    format!("every step has a setting `{}` already", param.name),
                );
                found.push(fault.at(param.at, "a parameter cannot have this name").help("choose another name"));
            }
            match params.iter().find(|known| known.name == param.name) {
                Some(first) => {
                    found.push(twice("pipe::duplicate-parameter", "parameters", param.name, param.at, first.at))
                }
                None => params.push(param),
            }
        }
        let result = node.children().iter().find(|child| child.name.text == "result");
        let result = result.and_then(|node| node.values().next()).and_then(Entry::text);
        let outputs = node.children().iter().filter(|child| child.name.text == "output");
        let outputs = outputs.flat_map(|child| child.values()).filter_map(Entry::text).collect();
        Some(Recipe { name: text, module, node, at: name.at, params, result, outputs })
    }

    /// True where the body has a step of this name, under a `when` or not.
    pub fn has_step(&self, name: &str) -> bool {
        fn any(nodes: &[Node], name: &str) -> bool {
            nodes.iter().any(|node| match node.name.text.as_str() {
                table::WHEN => any(node.children(), name),
                "param" | "result" | "output" => false,
                _ => node.values().next().and_then(Entry::text) == Some(name),
            })
        }
        any(self.node.children(), name)
    }

    /// The parameter of this name.
    pub fn param(&self, name: &str) -> Option<&ParamDecl<'d>> {
        self.params.iter().find(|param| param.name == name)
    }
}

/// "two parameters are named `x`".
pub fn twice(code: &'static str, what: &str, name: &str, second: At, first: At) -> Diagnostic {
    let fault = Diagnostic::error(code, format!("two {what} are named `{name}`"));
    fault.at(second, "the second").at(first, "the first").help("rename one of them")
}

impl Node {
    /// A setting, written either way.
    pub(super) fn property_or_child(&self, name: &str) -> Option<&Entry> {
        let child = || self.children().iter().find(|child| child.name.text == name);
        self.property(name).or_else(|| child().and_then(|child| child.values().next()))
    }

    /// True where a setting says `#true`.
    pub(super) fn truth(&self, name: &str) -> bool {
        self.property_or_child(name).is_some_and(|entry| entry.literal == Literal::Bool(true))
    }

    /// All values of a setting: one where it is a property, any number where it is a child.
    pub(super) fn values_of(&self, name: &str) -> Vec<&Entry> {
        if let Some(entry) = self.property(name) {
            return vec![entry];
        }
        let child = self.children().iter().find(|child| child.name.text == name);
        child.map(|child| child.values().collect()).unwrap_or_default()
    }
}

impl<'d> ProfileDecl<'d> {
    /// Reads a `profile` node.
    pub fn new(node: &'d Node) -> Option<ProfileDecl<'d>> {
        let name = node.values().next()?;
        let named = |child: &&Node| child.name.text != "about" && child.name.text != table::WHEN;
        let children = node.children().iter().filter(named);
        Some(ProfileDecl {
            name: name.text()?,
            at: name.at,
            about: node.property_or_child("about").and_then(Entry::text),
            values: children.map(|child| (&child.name, child.values().collect())).collect(),
        })
    }
}

impl<'d> ParamDecl<'d> {
    /// Reads a `param` node whose preset values are `presets`.
    pub fn new(node: &'d Node, presets: Vec<&'d Entry>, found: &mut Vec<Diagnostic>) -> Option<ParamDecl<'d>> {
        let name = node.values().next()?;
        let text = name.text()?;
        let what = format!("`{text}`");
        let steps = node.children().iter().find(|child| {
            let settings = table::RECIPE_PARAM.settings.iter().any(|setting| setting.name == child.name.text);
            !settings && !matches!(child.name.text.as_str(), "choices" | "ignore" | "ignore-file")
        });
        let many = node.truth("many");
        if let (false, Some(second)) = (many, presets.get(1)) {
            let fault =
                Diagnostic::error("pipe::several-values", format!("parameter {what} has {} values", presets.len()));
            let fault = fault.at(second.at, "one is enough, unless it is a list").at(name.at, "declared here");
            found.push(fault.help("say `many=#true` to make it a list, or leave one value"));
        }
        let default = match (presets.first().copied(), steps) {
            (Some(entry), _) => Preset::Value(entry),
            (None, Some(node)) => Preset::Step(node),
            (None, None) => Preset::None,
        };
        let named = node.property_or_child("type").and_then(Entry::text).and_then(Kind::of_type);
        let kind = match (named, default) {
            (Some(kind), _) => kind,
            (None, Preset::Value(entry)) => value::kind_of(entry).unwrap_or(Kind::Any),
            (None, Preset::Step(_)) => Kind::Step,
            (None, Preset::None) => {
                if node.property_or_child("type").is_none() {
                    let fault = Diagnostic::error(
                        "pipe::untyped-parameter",
                        format!("parameter {what} has neither a type nor a value"),
                    );
                    let help = format!("write `type=\"string\"` (or {})", crate::diag::either(&Kind::PARAM_TYPES[1..]));
                    found.push(fault.at(name.at, "declared here").help(help));
                }
                Kind::Any
            }
        };
        let mut plain = |entry: &Entry, what: &str| match value::literal(entry, kind, what) {
            Ok(value) => Some(value),
            Err(fault) => {
                found.push(fault);
                None
            }
        };
        for entry in &presets {
            if entry.annotated().is_none_or(|unit| table::unit(unit).is_some()) {
                plain(entry, &what);
            }
        }
        let choices: Vec<Value> = node
            .children()
            .iter()
            .filter(|child| child.name.text == "choices")
            .flat_map(|child| child.values())
            .filter_map(|entry| plain(entry, &format!("a choice of {what}")))
            .collect();
        let mut bound = |key: &str| {
            let entry = node.property_or_child(key)?;
            plain(entry, &format!("`{key}` of {what}")).and_then(|value| number(&value))
        };
        let (min, max) = (bound("min"), bound("max"));
        if let (Some(low), Some(high)) = (min, max)
            && low > high
        {
            let fault =
                Diagnostic::error("pipe::min-above-max", format!("{what} is at least {low} and at most {high}"));
            let fault = fault.at(node.header(), "no value is both");
            found.push(fault.help("make `max` at least `min`"));
        }
        let optional = node.truth("optional");
        let about = node.property_or_child("about").and_then(Entry::text);
        Some(ParamDecl {
            name: text,
            at: name.at,
            about,
            kind,
            node,
            default,
            values: presets,
            optional,
            many,
            choices,
            min,
            max,
        })
    }

    /// How to write a value of it.
    pub fn example(&self) -> String {
        match (self.choices.first(), self.kind) {
            (Some(choice), Kind::Text) => format!("\"{choice}\""),
            (Some(choice), _) => choice.to_string(),
            (None, kind) => blank(kind),
        }
    }

    /// What is wrong with a value of the right kind, if anything.
    pub fn refuse(&self, value: &Value) -> Option<(&'static str, String, Option<String>)> {
        if !self.choices.is_empty() && !self.choices.contains(value) {
            let choices: Vec<String> = self.choices.iter().map(Value::to_string).collect();
            let text = value.to_string();
            let help = crate::diag::choices(&text, &choices);
            return Some(("pipe::not-a-choice", format!("`{}` cannot be `{text}`", self.name), Some(help)));
        }
        let n = number(value)?;
        let (low, high) = (self.min.is_some_and(|min| n < min), self.max.is_some_and(|max| n > max));
        let (word, bound) = match (low, high) {
            (true, _) => ("at least", self.min?),
            (_, true) => ("at most", self.max?),
            _ => return None,
        };
        let help = format!("write a value that is {word} {bound}");
        Some(("pipe::out-of-range", format!("`{}` is {word} {bound}, not {value}", self.name), Some(help)))
    }
}

/// A value as a number, for bounds.
fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Integer(n) => Some(*n as f64),
        Value::Float(x) => Some(*x),
        Value::Bytes(n) => Some(*n as f64),
        Value::Time(t) => Some(t.as_secs_f64()),
        Value::Text(_) | Value::Bool(_) => None,
    }
}
