//! What may stand in a node, whether the table says so or a recipe.

use super::check::is_metrics;
use super::kind::Kind;
use super::table::{self, Body, NodeSpec, STEP_SETTINGS, Setting, ValueSpec};
use super::world::{Preset, Recipe};
use crate::diag::{At, Diagnostic, list, nearest, suggest};
use crate::pipeline::Value;

/// One node's grammar.
pub struct Shape<'s> {
    pub name: &'s str,
    pub values: Vec<ValueSpec>,
    pub rest: Option<ValueSpec>,
    pub settings: Vec<Slot<'s>>,
    pub open: Option<Kind>,
    pub nodes: Vec<&'static NodeSpec>,
    /// Children of any name, each with a number.
    pub metrics: bool,
    /// Its name is one that others refer to.
    pub names_things: bool,
    /// Its children are checked elsewhere.
    pub partial: bool,
}

/// A setting.
pub struct Slot<'s> {
    pub name: &'s str,
    pub kind: Kind,
    pub required: bool,
    /// It takes several values, as a child.
    pub many: bool,
    pub choices: Vec<String>,
    pub doc: &'s str,
    /// The recipe whose parameter it is.
    pub recipe: Option<&'s str>,
}

impl<'s> Shape<'s> {
    /// A node of the table.
    pub fn of(spec: &'static NodeSpec) -> Shape<'s> {
        Shape {
            name: spec.name,
            values: spec.values.to_vec(),
            rest: spec.rest,
            settings: spec.settings.iter().map(Slot::of).collect(),
            open: spec.open,
            nodes: match spec.body {
                Body::Nodes(nodes) => nodes.to_vec(),
                Body::Recipe | Body::Metrics | Body::Profile => Vec::new(),
            },
            metrics: is_metrics(spec),
            names_things: !matches!(spec.name, "package" | "run"),
            partial: matches!(spec.body, Body::Recipe | Body::Profile),
        }
    }

    /// A node that makes a step; the default of a parameter has no name.
    pub fn of_step(spec: &'static NodeSpec, named: bool) -> Shape<'s> {
        let mut shape = Shape::of(spec);
        shape.settings.extend(STEP_SETTINGS.iter().map(Slot::of));
        if !named {
            shape.values.clear();
        }
        shape
    }

    /// A use of a recipe.
    pub fn of_recipe(recipe: &'s Recipe<'_>, named: bool) -> Shape<'s> {
        let name = ValueSpec {
            name: "name",
            kind: Kind::Text,
            required: true,
            spreads: false,
            choices: &[],
            doc: "the name of the step",
        };
        let params = recipe.params.iter().map(|param| Slot {
            name: param.name,
            kind: param.kind,
            required: matches!(param.default, Preset::None) && !param.optional,
            many: param.many,
            choices: param.choices.iter().map(Value::to_string).collect(),
            doc: param.about.unwrap_or_default(),
            recipe: Some(recipe.name),
        });
        Shape {
            name: recipe.name,
            values: if named { vec![name] } else { Vec::new() },
            rest: None,
            settings: params.chain(STEP_SETTINGS.iter().map(Slot::of)).collect(),
            open: None,
            nodes: Vec::new(),
            metrics: false,
            names_things: true,
            partial: false,
        }
    }

    /// The setting of this name.
    pub fn setting(&self, name: &str) -> Option<&Slot<'s>> {
        self.settings.iter().find(|slot| slot.name == name)
    }

    /// "`llama` needs `env`".
    pub fn missing(&self, slot: &Slot<'_>, at: At) -> Diagnostic {
        let (code, what) = match slot.recipe {
            Some(_) => ("pipe::missing-parameter", slot.kind.describe()),
            None => ("pipe::missing-setting", slot.kind.describe()),
        };
        let fault = Diagnostic::error(code, format!("`{}` needs `{}`, {what}", self.name, slot.name));
        let about = if slot.doc.is_empty() { String::new() } else { format!(" ({})", slot.doc) };
        let example = match slot.choices.first() {
            Some(choice) if slot.kind == Kind::Text => format!("\"{choice}\""),
            _ => blank(slot.kind),
        };
        fault.at(at, format!("`{}` is not given", slot.name)).help(format!("write `{}={example}`{about}", slot.name))
    }

    /// How to write a child that is missing.
    pub fn how_to(&self, spec: &NodeSpec) -> String {
        let values: Vec<String> = spec.values.iter().chain(&spec.rest).map(placeholder).collect();
        let first = spec.doc.split_once(". ").map_or(spec.doc, |(first, _)| first);
        let mut doc = first.trim_end_matches('.').to_owned();
        if let Some(first) = doc.get_mut(..1) {
            first.make_ascii_lowercase();
        }
        format!("write `{} {}` between the braces of `{}`: {doc}", spec.name, values.join(" "), self.name)
    }

    /// "`llama` has no setting `sise`".
    pub fn unknown_setting(&self, name: &str, at: At) -> Diagnostic {
        if self.nodes.iter().any(|spec| spec.name == name) {
            let fault = Diagnostic::error(
                "pipe::node-as-setting",
                format!("`{name}` is no setting of `{}`, but a node in it", self.name),
            );
            return fault.at(at, "here").help(format!("write it between the braces: `{} … {{ {name} … }}`", self.name));
        }
        let fault = Diagnostic::error("pipe::unknown-setting", format!("`{}` has no setting `{name}`", self.name));
        fault.at(at, "not known").maybe_help(self.similar(name))
    }

    /// "`compare` has no `basline`".
    pub fn unknown_child(&self, name: &str, at: At) -> Diagnostic {
        if self.name == "run" && matches!(name, "ignore" | "ignore-file") {
            let fault = Diagnostic::error("pipe::misplaced-node", format!("`{name}` cannot stand in `run`"));
            return fault.at(at, "it stands in `input`").help(format!(
                "a folder with a filter is an `input`: `input (file)\"…\" as=\"NAME\" {{ {name} … }}`, at `in/NAME`"
            ));
        }
        let near = self.settings.iter().map(|slot| slot.name).chain(self.nodes.iter().map(|spec| spec.name));
        let home = table::parent_of(name).filter(|_| nearest(name, near).is_none());
        if let Some(parent) = home.or_else(|| table::stands_alone(name).then_some("the file or a recipe")) {
            let fault = Diagnostic::error("pipe::misplaced-node", format!("`{name}` cannot stand in `{}`", self.name));
            let parent = if home.is_some() { format!("`{parent}`") } else { parent.to_owned() };
            let fault = fault.at(at, format!("it stands in {parent}"));
            let known: Vec<&str> =
                self.settings.iter().map(|slot| slot.name).chain(self.nodes.iter().map(|spec| spec.name)).collect();
            return fault.help(match known.is_empty() {
                true => format!("move it there, or take it away; nothing stands between the braces of `{}`", self.name),
                false => format!("move it there, or take it away; in `{}` can stand {}", self.name, list(&known)),
            });
        }
        let fault = Diagnostic::error("pipe::unknown-child", format!("`{name}` cannot stand in `{}`", self.name));
        let fault = fault.at(at, "not known here");
        match self.similar(name) {
            Some(help) => fault.help(help),
            None => fault.help("nothing stands between its braces"),
        }
    }

    fn similar(&self, name: &str) -> Option<String> {
        let known: Vec<&str> =
            self.settings.iter().map(|slot| slot.name).chain(self.nodes.iter().map(|spec| spec.name)).collect();
        suggest(name, known.iter().copied(), "it has")
            .or_else(|| (!known.is_empty()).then(|| format!("it has {}", list(&known))))
    }
}

/// A value of a kind with its name left to the reader: `(step)"…"`.
pub fn blank(kind: Kind) -> String {
    match kind {
        Kind::Text => "\"…\"".to_owned(),
        Kind::Step | Kind::Input => "(step)\"…\"".to_owned(),
        Kind::File => "(file)\"…\"".to_owned(),
        kind => kind.example().to_owned(),
    }
}

/// What to write for a value: `"NAME"` for a text, an example of its kind for another.
pub fn placeholder(spec: &ValueSpec) -> String {
    match spec.kind {
        Kind::Text | Kind::Plain | Kind::Arg => format!("\"{}\"", spec.name.to_uppercase()),
        kind => kind.example().to_owned(),
    }
}

impl<'s> Slot<'s> {
    fn of(setting: &Setting) -> Slot<'s> {
        Slot {
            name: setting.name,
            kind: setting.kind,
            required: setting.required,
            many: setting.many,
            choices: setting.choices.iter().map(|&choice| choice.to_owned()).collect(),
            doc: setting.doc,
            recipe: None,
        }
    }
}
