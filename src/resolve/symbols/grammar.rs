//! What may stand in a node, by the words on the way to it: from the table, or from a recipe's parameters.

use super::{Index, Param};
use crate::resolve::kind::Kind;
use crate::resolve::table::{self, Body, NodeSpec, STEP_SETTINGS, Setting, ValueSpec};

/// One node's grammar, for an editor.
#[derive(Debug, Clone)]
pub struct Grammar {
    pub doc: String,
    /// Values without a name, in order.
    pub values: Vec<Slot>,
    /// Any number of further values.
    pub rest: Option<Slot>,
    pub settings: Vec<Slot>,
    /// Properties of any name.
    pub open: Option<Kind>,
    pub nodes: Vec<&'static NodeSpec>,
    pub holds: Holds,
    /// It makes a step.
    pub step: bool,
    /// It is a use of this recipe: the number of its file, and of the recipe there.
    pub recipe: Option<(usize, usize)>,
}

/// What else stands between the braces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holds {
    Nothing,
    /// Nodes of a file.
    File,
    /// Nodes of a recipe.
    Recipe,
    /// One step without a name: the default of a parameter.
    Default,
}

/// A value, with or without a name.
#[derive(Debug, Clone)]
pub struct Slot {
    pub name: String,
    pub kind: Kind,
    pub required: bool,
    /// Several values may stand there, where it is written as a child.
    pub many: bool,
    pub choices: Vec<String>,
    pub doc: String,
    /// Its value where none is given, as it was written.
    pub default: Option<String>,
}

impl Index {
    /// The grammar at the end of a path of words, the file's where it is empty; `None` for an unknown word.
    pub fn grammar<'w>(&self, file: usize, words: impl IntoIterator<Item = &'w str>) -> Option<Grammar> {
        let mut grammar = Grammar { holds: Holds::File, ..Grammar::empty() };
        for word in words {
            if word != table::WHEN {
                grammar = self.inside(file, &grammar, word)?;
            }
        }
        Some(grammar)
    }

    fn inside(&self, file: usize, outer: &Grammar, word: &str) -> Option<Grammar> {
        let known = outer.nodes.iter().find(|spec| spec.name == word);
        if let Some(spec) = known.copied().or_else(|| body_nodes(outer.holds).find(|spec| spec.name == word)) {
            let mut grammar = Grammar::of(spec);
            if word == "profile" {
                let params = &self.files.get(file)?.top.params;
                grammar.settings.extend(params.iter().map(Slot::of_param));
            }
            return Some(grammar);
        }
        if outer.holds != Holds::Nothing {
            let named = outer.holds != Holds::Default;
            if let Some(spec) = table::step_node(word) {
                let mut grammar = Grammar { step: true, ..Grammar::of(spec) };
                grammar.settings.extend(STEP_SETTINGS.iter().map(Slot::of));
                grammar.values.retain(|_| named);
                return Some(grammar);
            }
            if let Some(&(home, recipe)) = self.files.get(file)?.visible.get(word) {
                let declared = &self.files[home].recipes[recipe];
                let name = Slot::text("name", "the name of the step");
                let params = declared.body.params.iter().map(Slot::of_param);
                return Some(Grammar {
                    doc: declared.about.clone().unwrap_or_default(),
                    values: if named { vec![name] } else { Vec::new() },
                    settings: params.chain(STEP_SETTINGS.iter().map(Slot::of)).collect(),
                    step: true,
                    recipe: Some((home, recipe)),
                    ..Grammar::empty()
                });
            }
        }
        // `retry 2`: a setting as a child has one value.
        let slot = outer.settings.iter().find(|slot| slot.name == word)?;
        let rest = slot.many.then(|| slot.clone());
        Some(Grammar { doc: slot.doc.clone(), values: vec![slot.clone()], rest, ..Grammar::empty() })
    }
}

/// The nodes of the table that a body takes, steps apart.
pub fn body_nodes(holds: Holds) -> impl Iterator<Item = &'static NodeSpec> {
    let nodes: &[&'static NodeSpec] = match holds {
        Holds::File => table::FILE_NODES,
        Holds::Recipe => table::RECIPE_NODES,
        Holds::Nothing | Holds::Default => &[],
    };
    nodes.iter().copied()
}

impl Grammar {
    fn empty() -> Grammar {
        Grammar {
            doc: String::new(),
            values: Vec::new(),
            rest: None,
            settings: Vec::new(),
            open: None,
            nodes: Vec::new(),
            holds: Holds::Nothing,
            step: false,
            recipe: None,
        }
    }

    fn of(spec: &'static NodeSpec) -> Grammar {
        let nodes = match spec.body {
            Body::Nodes(nodes) => nodes.to_vec(),
            _ => Vec::new(),
        };
        let holds = match spec.body {
            Body::Recipe => Holds::Recipe,
            _ if std::ptr::eq(spec, &table::RECIPE_PARAM) => Holds::Default,
            _ => Holds::Nothing,
        };
        Grammar {
            doc: spec.doc.to_owned(),
            values: spec.values.iter().map(Slot::of_value).collect(),
            rest: spec.rest.as_ref().map(Slot::of_value),
            settings: spec.settings.iter().map(Slot::of).collect(),
            open: spec.open,
            nodes,
            holds,
            ..Grammar::empty()
        }
    }

    /// The slot of the value number `index`.
    pub fn value(&self, index: usize) -> Option<&Slot> {
        self.values.get(index).or(self.rest.as_ref())
    }

    /// The setting of this name.
    pub fn setting(&self, name: &str) -> Option<&Slot> {
        self.settings.iter().find(|slot| slot.name == name)
    }
}

impl Slot {
    fn text(name: &str, doc: &str) -> Slot {
        Slot {
            name: name.to_owned(),
            kind: Kind::Text,
            required: true,
            many: false,
            choices: Vec::new(),
            doc: doc.to_owned(),
            default: None,
        }
    }

    fn of_value(spec: &ValueSpec) -> Slot {
        let choices = spec.choices.iter().map(|&choice| choice.to_owned()).collect();
        Slot { kind: spec.kind, required: spec.required, choices, ..Slot::text(spec.name, spec.doc) }
    }

    fn of(setting: &Setting) -> Slot {
        Slot {
            kind: setting.kind,
            required: setting.required,
            many: setting.many,
            choices: setting.choices.iter().map(|&choice| choice.to_owned()).collect(),
            ..Slot::text(setting.name, setting.doc)
        }
    }

    fn of_param(param: &Param) -> Slot {
        Slot {
            name: param.name.clone(),
            kind: param.kind,
            required: param.required(),
            many: param.many,
            choices: param.choices.clone(),
            doc: param.about.clone().unwrap_or_default(),
            default: param.default.clone(),
        }
    }
}
