//! Every node held against the table, and every name against what is declared: once for each place in a file,
//! whether or not anything uses it.

use std::collections::BTreeMap;

use super::kind::Kind;
use super::matrix::MatrixDecl;
use super::rules::never_in_when;
use super::shape::{Shape, Slot, placeholder};
use super::table::{self, Body, HOST_FACTS, NodeSpec, WHEN};
use super::value::{self, MEANINGS, UNITS};
use super::world::{ParamDecl, Recipe, World, twice};
use super::{cells, eval, import::Module, judge, product};
use crate::diag::{At, Diagnostic, ENOUGH, choices, list, nearest, suggest, suggest_or};
use crate::pipeline::metric;
use crate::syntax::{Entry, Literal, Node};

/// Settings whose value must stand there as it is: they decide what there is to resolve.
const LITERAL: &[&str] = &["name", "for-each", "class", "type", "optional", "many", "outside-project", "reason"];

/// After so many findings, no more suggestions are looked for.
const MANY: usize = 500;

/// Collects what is wrong.
pub struct Checker<'a, 'd> {
    pub world: &'a World<'d>,
    pub modules: &'d [Module],
    pub matrices: &'a [MatrixDecl<'d>],
    /// Parameters of the pipeline.
    pub params: &'a [ParamDecl<'d>],
    pub found: Vec<Diagnostic>,
}

/// The names that a body sees.
pub(super) struct Names<'a, 'd> {
    module: usize,
    recipe: Option<&'a Recipe<'d>>,
    params: &'a [ParamDecl<'d>],
    steps: BTreeMap<&'d str, At>,
    /// The matrix whose axes the node has.
    matrix: Option<&'a MatrixDecl<'d>>,
    /// It has a `for-each` whose matrix is not there, which has been told.
    unsure: bool,
}

impl<'a, 'd> Checker<'a, 'd> {
    /// Checks all files.
    pub fn run(&mut self) {
        for (index, module) in self.modules.iter().enumerate() {
            match index {
                0 => self.pipeline(&module.document.nodes),
                _ => self.library(index, &module.document.nodes),
            }
        }
        for recipe in &self.world.recipes {
            self.recipe(recipe);
        }
        self.recipe_cycles();
    }

    fn pipeline(&mut self, nodes: &'d [Node]) {
        if let Some(first) = nodes.first().filter(|node| node.name.text != "pipeline") {
            self.found.push(match nodes.iter().find(|node| node.name.text == "pipeline") {
                Some(late) => {
                    let fault = Diagnostic::error("pipe::pipeline-not-first", "`pipeline` is not the first node");
                    let fault = fault.at(late.header(), "it stands here").at(first.header(), "this stands before it");
                    fault.help("move it to the top of the file")
                }
                None => {
                    let message = "this file does not say which pipeline it is";
                    let fault = Diagnostic::error("pipe::no-pipeline", message);
                    let fault = fault.at(first.header(), "`pipeline` comes first");
                    fault.help("begin with `pipeline \"NAME\" about=\"what it answers\"`")
                }
            });
        }
        let mut names =
            Names { module: 0, recipe: None, params: self.params, steps: BTreeMap::new(), matrix: None, unsure: false };
        self.step_names(nodes, &mut names, false);
        for (index, node) in nodes.iter().enumerate() {
            let name = node.name.text.as_str();
            let known = nodes[..index].iter().find(|node| node.name.text == "pipeline");
            if let Some(known) = known.filter(|_| name == "pipeline") {
                let fault = Diagnostic::error("pipe::duplicate-pipeline", "this file names two pipelines");
                let fault = fault.at(node.header(), "the second").at(known.header(), "the first");
                self.found.push(fault.help("take one away, or move it into a file of its own with its steps"));
            } else if name == WHEN {
                self.when_in_file(node, &mut names);
            } else if name == "profile" {
                self.profile(node, &names);
            } else if let Some(spec) = table::FILE_NODES.iter().find(|spec| spec.name == name) {
                // Recipes are checked with those of the other files.
                if name != "recipe" || node.values().next().and_then(Entry::text).is_none() {
                    self.node(node, &Shape::of(spec), &names);
                }
            } else {
                self.step_node(node, &mut names, true);
            }
        }
    }

    fn library(&mut self, module: usize, nodes: &'d [Node]) {
        let names = Names { module, recipe: None, params: &[], steps: BTreeMap::new(), matrix: None, unsure: false };
        for node in nodes {
            match node.name.text.as_str() {
                "use" => self.node(node, &Shape::of(&table::USE), &names),
                "recipe" if node.values().next().and_then(Entry::text).is_some() => {}
                "recipe" => self.node(node, &Shape::of(&table::RECIPE), &names),
                other => {
                    let fault = Diagnostic::error(
                        "pipe::not-in-library",
                        format!("`{other}` cannot stand in a file that others use"),
                    );
                    let fault = fault.at(node.header(), "only `use` and `recipe` can");
                    self.found.push(fault.help("put it into a recipe, or into the pipeline"));
                }
            }
        }
    }

    fn recipe(&mut self, recipe: &'a Recipe<'d>) {
        let mut names = Names {
            module: recipe.module,
            recipe: Some(recipe),
            params: &recipe.params,
            steps: BTreeMap::new(),
            matrix: None,
            unsure: false,
        };
        self.step_names(recipe.node.children(), &mut names, false);
        for param in &recipe.params {
            if let (true, Some(&step)) = (param.kind.takes_step(), names.steps.get(param.name)) {
                let message = format!("a step and a parameter are both named `{}`", param.name);
                let fault = Diagnostic::error("pipe::duplicate-step", message).at(step, "the step");
                self.found.push(fault.at(param.at, "the parameter").help("rename one of them"));
            }
        }
        self.header(recipe.node, &Shape::of(&table::RECIPE), &names);
        self.recipe_body(recipe.node.children(), &mut names);
        match recipe.node.children().iter().filter(|node| node.name.text == "result").count() {
            0 => {
                let fault = Diagnostic::error(
                    "pipe::recipe-without-result",
                    format!("recipe `{}` has no `result`", recipe.name),
                );
                let fault = fault.at(recipe.at, "what is its output?");
                self.found.push(fault.help("write `result (step)\"NAME\"` with the name of one of its steps"));
            }
            1 => {}
            _ => {
                let results = recipe.node.children().iter().filter(|node| node.name.text == "result");
                let places: Vec<At> = results.map(Node::header).collect();
                let fault =
                    Diagnostic::error("pipe::several-results", format!("recipe `{}` has several results", recipe.name));
                let fault = fault.at(places[1], "the second").at(places[0], "the first");
                self.found.push(fault.help("leave one; a `tree` puts several steps together into one"));
            }
        }
        self.promised(recipe);
        if let Some(result) = recipe.result
            && !names.steps.contains_key(result)
        {
            let node = recipe.node.children().iter().find(|node| node.name.text == "result");
            let at = node.and_then(|node| node.values().next()).map_or(recipe.at, |entry| entry.at);
            if result.contains('/') {
                let fault = Diagnostic::error("pipe::path-in-result", "a result is a step, not a path in one");
                let help = "name the step alone; a `tree` with `put \"\" (step)\"NAME/PATH\"` makes a step of a path";
                self.found.push(fault.at(at, "here").help(help));
                return;
            }
            self.found.push(eval::unknown_step(result, at, names.steps.keys().copied().collect()));
        }
    }

    fn recipe_body(&mut self, nodes: &'d [Node], names: &mut Names<'a, 'd>) {
        for node in nodes {
            match node.name.text.as_str() {
                "output" => self.node(node, &Shape::of(&table::RECIPE_OUTPUT), names),
                WHEN => {
                    self.when(node, names);
                    let declares = |child: &&Node| matches!(child.name.text.as_str(), "param" | "output" | "result");
                    for child in node.children().iter().filter(declares) {
                        self.found.push(never_in_when(child, "a recipe declares it whatever its values are"));
                    }
                    let steps = node.children().iter().filter(|child| !declares(child));
                    steps.for_each(|child| self.recipe_body(std::slice::from_ref(child), names));
                }
                "param" => self.recipe_param(node, names),
                "result" => self.node(node, &Shape::of(&table::RESULT), names),
                "about" => self.found.extend(self.about_as_child(node)),
                _ => self.step_node(node, names, true),
            }
        }
    }

    /// `about` of a recipe may stand as a child, and must be a text.
    pub(super) fn about_as_child(&self, node: &Node) -> Option<Diagnostic> {
        let entry = node.values().next()?;
        value::literal(entry, Kind::Text, "`about`").err()
    }

    fn recipe_param(&mut self, node: &'d Node, names: &mut Names<'a, 'd>) {
        let shape = Shape::of(&table::RECIPE_PARAM);
        self.header(node, &shape, names);
        for child in node.children() {
            match self.world.makes_step(names.module, &child.name.text) {
                true => self.step_node(child, names, false),
                false => self.child(child, &shape, names),
            }
        }
    }

    /// The names of the steps of a body; two of one name are reported where no `when` parts them.
    fn step_names(&mut self, nodes: &'d [Node], names: &mut Names<'a, 'd>, parted: bool) {
        for node in nodes {
            if node.name.text == WHEN {
                self.step_names(node.children(), names, true);
                continue;
            }
            let steps = self.world.makes_step(names.module, &node.name.text);
            let Some(entry) = node.values().next().filter(|_| steps) else {
                continue;
            };
            let Some(name) = entry.text() else { continue };
            match names.steps.get(name) {
                Some(first) if !parted => {
                    self.found.push(twice("pipe::duplicate-step", "steps", name, entry.at, *first));
                }
                Some(_) => {}
                None => {
                    names.steps.insert(name, entry.at);
                }
            }
        }
    }

    /// A node that makes a step, or one that nobody knows.
    pub(super) fn step_node(&mut self, node: &'d Node, names: &mut Names<'a, 'd>, named: bool) {
        if self.found.len() >= ENOUGH {
            return;
        }
        let name = node.name.text.as_str();
        let shape = match (table::step_node(name), self.world.recipe(names.module, name)) {
            (Some(spec), _) => Shape::of_step(spec, named),
            (None, Some(recipe)) => Shape::of_recipe(&self.world.recipes[recipe], named),
            (None, None) => return self.unknown_node(node, names),
        };
        names.matrix = self.for_each(node, names);
        names.unsure = names.matrix.is_none() && !product::for_each(node).is_empty();
        self.node(node, &shape, names);
        (names.matrix, names.unsure) = (None, false);
    }

    fn for_each(&mut self, node: &'d Node, names: &Names<'a, 'd>) -> Option<&'a MatrixDecl<'d>> {
        for entry in product::for_each(node) {
            let Some(name) = entry.text().filter(|_| entry.annotation.is_none()) else {
                continue;
            };
            if names.recipe.is_some() {
                let fault = Diagnostic::error("pipe::for-each-in-recipe", "a step in a recipe has no `for-each`");
                self.found.push(fault.at(entry.at, "here").help("write it where the recipe is used"));
                return None;
            }
            let declared = || self.matrices.iter().filter(|matrix| matrix.parts.is_empty());
            if !declared().any(|matrix| matrix.name == name) {
                let fault = Diagnostic::error("pipe::unknown-matrix", format!("there is no matrix `{name}`"));
                let known = declared().map(|m| m.name.as_str()).collect();
                let declare = || format!("declare it: `matrix \"{name}\" {{ axis \"…\" … }}`");
                let help = suggest_or(name, known, "there are", declare);
                self.found.push(fault.at(entry.at, "not declared").help(help));
            }
        }
        product::of_node(self.matrices, node).map(|matrix| &self.matrices[matrix])
    }

    fn unknown_node(&mut self, node: &'d Node, names: &Names<'a, 'd>) {
        let name = node.name.text.as_str();
        let unknown = || {
            let fault = Diagnostic::error("pipe::unknown-node", format!("there is no node or recipe `{name}`"));
            fault.at(node.name.at, "not known here")
        };
        if self.found.len() > MANY {
            // Nobody reads so many, and looking for what was meant takes time.
            return self.found.push(unknown());
        }
        if let Some(home) = crate::stdlib::home_of(name) {
            let fault = Diagnostic::error("pipe::missing-use", format!("`{name}` is a recipe of `{home}`"));
            let fault = fault.at(node.name.at, "not known in this file");
            return self.found.push(fault.help(format!("write `use \"{home}\"` near the top of this file")));
        }
        if let Some(parent) = table::parent_of(name) {
            let fault = Diagnostic::error("pipe::misplaced-node", format!("`{name}` cannot stand here"));
            let fault = fault.at(node.name.at, format!("it stands inside `{parent}`"));
            return self.found.push(fault.help(format!("move it between the braces of a `{parent}`")));
        }
        let body = match names.recipe {
            Some(_) => table::RECIPE_NODES,
            None => table::FILE_NODES,
        };
        let kernel = body.iter().chain(table::STEP_NODES).map(|spec| spec.name);
        let known: Vec<&str> = kernel.chain(self.world.names(names.module)).collect();
        let help = if let Some(near) = crate::diag::nearest(name, known.iter().copied()) {
            format!("did you mean `{near}`?")
        } else if let Some((home, near)) = crate::stdlib::nearest_recipe(name) {
            format!("did you mean `{near}`? Then write `use \"{home}\"` near the top of this file")
        } else {
            format!("these can stand here: {}", list(&known))
        };
        self.found.push(unknown().help(help));
    }

    fn node(&mut self, node: &'d Node, shape: &Shape<'_>, names: &Names<'a, 'd>) {
        self.header(node, shape, names);
        // A setting is written as a property or as a child, and not as both.
        let keys = node.entries.iter().filter_map(|entry| entry.key.as_ref());
        let settings = keys.filter(|key| shape.setting(&key.text).is_some());
        let mut seen = settings.map(|key| (key.text.as_str(), key.at)).collect();
        self.children(node.children(), shape, names, &mut seen, false);
        for spec in shape.nodes.iter().filter(|spec| spec.required && !shape.partial) {
            if !has(node, spec.name) {
                let fault = Diagnostic::error("pipe::missing-node", format!("`{}` has no `{}`", shape.name, spec.name));
                self.found.push(fault.at(node.header(), "not in it").help(shape.how_to(spec)));
            }
        }
        self.variables(node);
        if shape.metrics && !node.children().iter().any(|child| shape.setting(&child.name.text).is_none()) {
            let fault = Diagnostic::error("pipe::missing-node", format!("`{}` has no figure", shape.name));
            let help = "write each as a name and a number between its braces: `images-per-second 265`";
            self.found.push(fault.at(node.header(), "what was published?").help(help));
        }
        for setting in shape.settings.iter().filter(|setting| setting.required) {
            if node.property(setting.name).is_none() && !has(node, setting.name) {
                self.found.push(shape.missing(setting, node.header()));
            }
        }
    }

    /// Values and properties.
    pub(super) fn header(&mut self, node: &'d Node, shape: &Shape<'_>, names: &Names<'a, 'd>) {
        if let Some(word) = &node.annotation {
            let fault = Diagnostic::error("pipe::misplaced-annotation", "a node has no annotation");
            let help = format!("write `({})` before the value that it belongs to", word.text);
            self.found.push(fault.at(word.at, "here").help(help));
        }
        self.values(node, shape, names);
        let mut seen: Vec<&str> = Vec::new();
        for entry in &node.entries {
            let Some(key) = &entry.key else { continue };
            let text = key.text.as_str();
            if seen.contains(&text) {
                let fault = Diagnostic::error("pipe::duplicate-setting", format!("`{text}` is set twice"));
                self.found.push(fault.at(entry.at, "the second time").help("take one away"));
            }
            seen.push(text);
            match (shape.setting(text), shape.open) {
                (Some(slot), _) => self.slot(entry, slot, names),
                (None, Some(kind)) => self.entry(entry, kind, &format!("`{text}`"), false, names),
                (None, None) => self.found.push(shape.unknown_setting(text, key.at)),
            }
        }
    }

    fn values(&mut self, node: &'d Node, shape: &Shape<'_>, names: &Names<'a, 'd>) {
        let values: Vec<&Entry> = node.values().collect();
        for (index, entry) in values.iter().enumerate() {
            let Some(spec) = shape.values.get(index).copied().or(shape.rest) else {
                let fault = Diagnostic::error("pipe::too-many-values", format!("`{}` has too many values", shape.name));
                let help = match shape.values.len() {
                    0 => "it takes none; a setting is written `name=value`".to_owned(),
                    _ => {
                        let taken: Vec<&str> = shape.values.iter().map(|spec| spec.name).collect();
                        format!("it takes {}; a setting is written `name=value`", list(&taken))
                    }
                };
                self.found.push(fault.at(entry.at, "nothing stands here").help(help));
                continue;
            };
            let what = format!("the {} of `{}`", spec.name, shape.name);
            if LITERAL.contains(&spec.name) {
                self.name(entry, &what, shape.names_things);
            } else {
                self.entry(entry, spec.kind, &what, spec.spreads, names);
                self.choice(entry, &what, spec.choices);
            }
        }
        for spec in shape.values.iter().skip(values.len()).filter(|spec| spec.required) {
            let fault = Diagnostic::error("pipe::missing-value", format!("`{}` lacks its {}", shape.name, spec.name));
            let fault = fault.at(node.header(), format!("no {} here", spec.name));
            self.found.push(fault.help(format!(
                "write it behind the word: `{} {}` ({})",
                shape.name,
                placeholder(spec),
                spec.doc
            )));
        }
        let few = shape.values.is_empty() && values.is_empty() && shape.open.is_none();
        if let Some(rest) = shape.rest.filter(|_| few) {
            let fault = Diagnostic::error("pipe::missing-value", format!("`{}` lacks its {}", shape.name, rest.name));
            self.found.push(
                fault.at(node.header(), "nothing is named").help(format!("write it behind the word: {}", rest.doc)),
            );
        }
    }

    /// A name, which stands there as it is.
    fn name(&mut self, entry: &Entry, what: &str, thing: bool) {
        match (entry.annotated(), &entry.literal) {
            (None, Literal::Text(text)) => {
                let good = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
                let bad = text.is_empty() || !text.chars().all(good) || text.starts_with(['-', '.']);
                if thing && bad {
                    let fault = Diagnostic::error("pipe::bad-name", format!("`{text}` cannot be a name"));
                    let help = "a name has letters, digits, `-`, `_` and `.`, and begins with a letter or digit";
                    self.found.push(fault.at(entry.at, "here").help(help));
                }
            }
            _ => {
                let fault = value::wrong_type(entry, Kind::Text, what);
                self.found.push(fault.help("a name stands there as it is: \"text\""));
            }
        }
    }

    fn slot(&mut self, entry: &'d Entry, slot: &Slot<'_>, names: &Names<'a, 'd>) {
        let what = format!("`{}`", slot.name);
        if LITERAL.contains(&slot.name) && slot.recipe.is_none() {
            match value::literal(entry, slot.kind, &what) {
                Ok(_) => {}
                Err(fault) => self.found.push(fault),
            }
        } else {
            self.entry(entry, slot.kind, &what, slot.many && slot.recipe.is_some(), names);
        }
        if slot.kind == Kind::Text {
            self.choice(entry, &what, &slot.choices);
        }
    }

    /// A text that stands there as it is must be one of the choices, where there are any.
    fn choice(&mut self, entry: &Entry, what: &str, known: &[impl AsRef<str>]) {
        let Some(text) = entry.text().filter(|_| entry.annotation.is_none()) else {
            return;
        };
        if !known.is_empty() && !known.iter().any(|choice| choice.as_ref() == text) {
            let fault = Diagnostic::error("pipe::not-a-choice", format!("{what} cannot be `{text}`"));
            let help = match value::usual_choice(text).filter(|usual| known.iter().any(|k| k.as_ref() == *usual)) {
                Some(usual) => format!("did you mean `{usual}`?"),
                None => choices(text, known),
            };
            self.found.push(fault.at(entry.at, "here").help(help));
        }
    }

    fn children(
        &mut self,
        nodes: &'d [Node],
        shape: &Shape<'_>,
        names: &Names<'a, 'd>,
        seen: &mut BTreeMap<&'d str, At>,
        parted: bool,
    ) {
        for child in nodes {
            if child.name.text == WHEN {
                self.when(child, names);
                for inner in child.children().iter().filter(|inner| inner.name.text == "for-each") {
                    let why = "which cells there are does not depend on values: exclude some in the matrix";
                    self.found.push(never_in_when(inner, why));
                }
                self.children(child.children(), shape, names, &mut BTreeMap::new(), true);
                continue;
            }
            self.child(child, shape, names);
            let once = shape.metrics
                || shape.setting(&child.name.text).is_some()
                || shape.nodes.iter().any(|spec| spec.name == child.name.text && !spec.repeats);
            if let Some(first) = seen.insert(&child.name.text, child.name.at).filter(|_| once && !parted) {
                let fault = Diagnostic::error(
                    "pipe::duplicate-setting",
                    format!("`{}` stands twice in `{}`", child.name.text, shape.name),
                );
                self.found.push(fault.at(child.name.at, "the second").at(first, "the first").help("take one away"));
            }
        }
    }

    fn child(&mut self, child: &'d Node, shape: &Shape<'_>, names: &Names<'a, 'd>) {
        if self.found.len() >= ENOUGH {
            return;
        }
        let name = child.name.text.as_str();
        if let Some(slot) = shape.setting(name) {
            return self.setting_child(child, slot, names);
        }
        if let Some(spec) = shape.nodes.iter().find(|spec| spec.name == name) {
            return self.node(child, &Shape::of(spec), names);
        }
        if shape.metrics {
            return self.metric(child);
        }
        self.found.push(shape.unknown_child(name, child.name.at));
    }

    /// A metric of a published result, with its value.
    fn metric(&mut self, child: &'d Node) {
        let name = child.name.text.as_str();
        let Some(kind) = judge::kind_of_published(name) else {
            let fault = Diagnostic::error("pipe::unknown-metric", format!("there is no metric `{name}`"));
            let known = metric::Metric::ALL.map(metric::Metric::name);
            let help = match nearest(name, known) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("there are {}; a rate of anything else is named `…-per-second`", list(&known)),
            };
            return self.found.push(fault.at(child.name.at, "not known").help(help));
        };
        let mut values = child.entries.iter();
        match (values.next(), values.next()) {
            (Some(entry), None) if entry.key.is_none() && child.children().is_empty() => {
                self.found.extend(value::literal(entry, kind, &format!("`{name}`")).err());
            }
            _ => {
                let fault = Diagnostic::error("pipe::missing-value", format!("`{name}` has exactly one value"));
                self.found.push(fault.at(child.header(), "here").help(format!("write `{name} {}`", kind.example())));
            }
        }
    }

    /// `retry 2`: one value, and nothing else; `flags "-a" "-b"`: any number where it is a list.
    fn setting_child(&mut self, child: &'d Node, slot: &Slot<'_>, names: &Names<'a, 'd>) {
        let values: Vec<&Entry> = child.values().collect();
        let taken = if slot.many { values.len() } else { 1 };
        values.iter().take(taken).for_each(|entry| self.slot(entry, slot, names));
        let extra = child.entries.iter().find(|e| e.key.is_some()).or(values.get(taken).copied());
        let filter = slot.kind.takes_file() && slot.name != "default";
        if filter {
            self.children(child.children(), &Shape::of(&table::FILTER), names, &mut BTreeMap::new(), true);
        }
        let inner = !filter && !child.children().is_empty();
        if slot.name == "for-each" && values.is_empty() {
            let fault = Diagnostic::error("pipe::missing-value", "`for-each` names no matrix");
            self.found.push(fault.at(child.header(), "here").help("write `for-each \"MATRIX\"`"));
        } else if slot.many && (extra.is_some() || inner) {
            let fault =
                Diagnostic::error("pipe::too-many-values", format!("`{}` has values and nothing else", slot.name));
            let at = extra.map_or_else(|| child.header(), |entry| entry.at);
            let help = format!("write `{} {} {}`", slot.name, slot.kind.example(), slot.kind.example());
            self.found.push(fault.at(at, "here").help(help));
        } else if !slot.many && (values.is_empty() || extra.is_some() || inner) {
            let inside = child.children().first().map(|node| node.header());
            let fault = match extra.map(|entry| entry.at).or(inside) {
                None => {
                    let fault = Diagnostic::error("pipe::missing-value", format!("`{}` lacks its value", slot.name));
                    fault.at(child.header(), "nothing behind it")
                }
                Some(at) => {
                    let message = format!("`{}` has just one value", slot.name);
                    Diagnostic::error("pipe::too-many-values", message).at(at, "nothing stands here")
                }
            };
            let list = match slot.recipe {
                Some(_) if values.len() > 1 => "; it is a list only where it is declared with `many=#true`",
                _ => "",
            };
            self.found.push(fault.help(format!("write `{} {}`{list}", slot.name, slot.kind.example())));
        }
    }

    /// One value with its annotation.
    fn entry(&mut self, entry: &'d Entry, kind: Kind, what: &str, spreads: bool, names: &Names<'a, 'd>) {
        if self.found.len() >= ENOUGH {
            return;
        }
        let Some(word) = &entry.annotation else {
            if kind.takes_plain() {
                self.found.extend(value::literal(entry, kind, what).err());
            } else {
                self.found.push(value::wrong_type(entry, kind, what));
            }
            return;
        };
        let annotation = word.text.as_str();
        if UNITS.contains(&annotation) {
            return self.found.extend(value::literal(entry, kind, what).err());
        }
        if !MEANINGS.contains(&annotation) {
            let fault = Diagnostic::error(
                "pipe::unknown-annotation",
                format!("there is no annotation or unit `({annotation})`"),
            );
            let help = match value::usual_unit(annotation) {
                Some(unit) => Some(format!("did you mean `({unit})`?")),
                None => suggest(annotation, MEANINGS.iter().chain(UNITS).copied(), "there are"),
            };
            return self.found.push(fault.at(word.at, "not known").maybe_help(help));
        }
        let Some(text) = entry.text() else {
            let found = entry.literal.describe();
            let message = format!("`({annotation})` stands before a text in quotes");
            let fault = Diagnostic::error("pipe::annotation-without-name", message);
            let text = if annotation == "range" { "1..8" } else { "NAME" };
            let help = format!("write `({annotation})\"{text}\"`");
            return self.found.push(fault.at(entry.at, format!("this is {found}")).help(help));
        };
        match annotation {
            "param" => self.param_reference(entry, text, kind, what, spreads, names),
            "axis" => self.axis_reference(entry, text, kind, what, names),
            "range" if kind == Kind::Points => {}
            "cells" if !kind.takes_cells() => self.found.push(cells::misplaced(text, entry.at, what)),
            "step" | "cells" if kind.takes_step() => {
                let name = match cells::read(text, entry.at) {
                    Ok(named) => named.name,
                    Err(fault) => return self.found.push(fault),
                };
                let param =
                    names.params.iter().any(|p| p.name == name && (p.kind.takes_step() || p.kind == Kind::File));
                let known = names.steps.contains_key(name) || (param && names.recipe.is_some());
                if !known {
                    let params =
                        names.params.iter().filter(|p| names.recipe.is_some() && p.kind.takes_step()).map(|p| p.name);
                    let known: Vec<&str> = names.steps.keys().copied().chain(params).collect();
                    self.found.push(eval::unknown_step(name, entry.at, known));
                }
            }
            "file" if kind.takes_file() => {}
            "output" if kind == Kind::Arg => {}
            "builtin" if matches!(kind, Kind::Input | Kind::Inputs | Kind::Arg) => {
                if text != "engine-sources" {
                    let fault =
                        Diagnostic::error("pipe::unknown-builtin", format!("nothing built in is named `{text}`"));
                    self.found.push(fault.at(entry.at, "here").help("there is `engine-sources`"));
                }
            }
            "secret" if kind.takes_file() => {
                if !eval::is_secret_name(text) {
                    let fault = Diagnostic::error(
                        "pipe::bad-secret-name",
                        format!("{} cannot name a secret", eval::quoted(text)),
                    );
                    let help = format!(
                        "a secret is named like an environment variable, with A to Z, 0 to 9 and `_`: `(secret)\"{}\"`",
                        secret_like(text)
                    );
                    self.found.push(fault.at(entry.at, "here").help(help));
                }
            }
            "range" => {
                let help = "a range stands for the values of an axis: `axis \"batch\" (range)\"1..32\" step=\"*2\"`";
                self.found.push(value::wrong_type(entry, kind, what).help(help));
            }
            _ => self.found.push(value::wrong_type(entry, kind, what)),
        }
    }

    fn param_reference(
        &mut self,
        entry: &Entry,
        text: &str,
        kind: Kind,
        what: &str,
        spreads: bool,
        names: &Names<'a, 'd>,
    ) {
        let Some(param) = names.params.iter().find(|param| param.name == text) else {
            let known: Vec<&str> = names.params.iter().map(|param| param.name).collect();
            return self.found.push(eval::unknown_param(text, entry.at, known));
        };
        if param.many && !spreads {
            self.found.push(eval::list_here(text, entry.at, what).at(param.at, "declared here"));
        } else if !kind.accepts(param.kind) {
            let message = format!("{what} is {}, but parameter `{text}` is {}", kind.describe(), param.kind.describe());
            let fault =
                Diagnostic::error("pipe::wrong-type", message).at(entry.at, "used here").at(param.at, "declared here");
            self.found.push(fault.help("use another parameter, or change its type"));
        }
    }

    fn axis_reference(&mut self, entry: &Entry, text: &str, kind: Kind, what: &str, names: &Names<'a, 'd>) {
        let Some(matrix) = names.matrix else {
            if names.unsure {
                return;
            }
            return self.found.push(eval::no_axis_here(text, entry.at, names.recipe.is_some()));
        };
        if matrix.axis(text).is_none() {
            return self.found.push(matrix.unknown_axis(text, entry.at));
        }
        if !kind.takes_plain() {
            self.found
                .push(value::wrong_type(entry, kind, what).help("an axis holds plain values; choose with `when`"));
        }
    }

    /// A `when`: the parameters and axes that it names, and the values that they can have.
    pub(super) fn when(&mut self, node: &'d Node, names: &Names<'a, 'd>) {
        if node.entries.is_empty() {
            let fault = Diagnostic::error("pipe::when-without-condition", "`when` does not say when");
            self.found.push(
                fault
                    .at(node.header(), "here")
                    .help("write `when NAME=\"value\" { … }`, with a parameter, an axis or `host-os`"),
            );
        }
        for entry in &node.entries {
            let (name, at) = match (&entry.key, entry.text()) {
                (Some(key), _) => (key.text.as_str(), key.at),
                (None, Some(text)) => (text, entry.at),
                (None, None) => {
                    let fault = Diagnostic::error("pipe::when-without-condition", "`when` names a parameter here");
                    self.found.push(
                        fault.at(entry.at, "this is no name").help("write `when \"NAME\"`, or `when NAME=VALUE`"),
                    );
                    continue;
                }
            };
            if let Some(axis) = names.matrix.and_then(|matrix| matrix.axis(name).map(|_| matrix)) {
                if entry.key.is_some() {
                    self.found.extend(axis.pair(name, at, entry).err());
                }
            } else if let Some(param) = names.params.iter().find(|param| param.name == name && param.many) {
                if entry.key.is_some() {
                    let fault =
                        Diagnostic::error("pipe::list-here", format!("`{name}` is a list, and has no one value"));
                    let help = format!("`when \"{name}\" {{ … }}` holds where the list has any value");
                    self.found.push(fault.at(entry.at, "never so").at(param.at, "declared here").help(help));
                }
            } else if let Some(param) = names.params.iter().find(|param| param.name == name) {
                let literal = value::literal(entry, param.kind, &format!("`{name}`"));
                let null = entry.literal == Literal::Null && param.optional;
                match literal {
                    _ if entry.key.is_none() || null => {}
                    Ok(value) => {
                        if let Some((code, message, help)) = param.refuse(&value) {
                            self.found.push(Diagnostic::error(code, message).at(entry.at, "never so").maybe_help(help));
                        }
                    }
                    Err(fault) => self.found.push(fault),
                }
            } else if let Some((_, answers)) = HOST_FACTS.iter().find(|(fact, _)| *fact == name) {
                let wrong = entry.key.is_some() && entry.text().is_none_or(|text| !answers.contains(&text));
                if wrong || entry.annotation.is_some() {
                    let written = entry.text().unwrap_or("this");
                    let fault = Diagnostic::error("pipe::not-a-choice", format!("`{name}` is never `{written}`"));
                    self.found.push(fault.at(entry.at, "never so").help(choices(written, answers)));
                }
            } else if !names.unsure {
                let fault = Diagnostic::error(
                    "pipe::unknown-condition",
                    format!("there is no parameter or axis `{name}` here"),
                );
                let axes = names.matrix.iter().flat_map(|matrix| matrix.axes.iter().map(|axis| axis.name));
                let known: Vec<&str> = names
                    .params
                    .iter()
                    .map(|p| p.name)
                    .chain(axes)
                    .chain(HOST_FACTS.iter().map(|(fact, _)| *fact))
                    .collect();
                self.found.push(fault.at(at, "not known").maybe_help(suggest(name, known, "there are")));
            }
        }
    }
}

/// What a name would be as that of a secret.
fn secret_like(text: &str) -> String {
    let upper = text.to_ascii_uppercase();
    let name: String = upper.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    if eval::is_secret_name(&name) { name } else { "HF_TOKEN".to_owned() }
}

/// True where a child of this name stands in the node, under a `when` or not.
fn has(node: &Node, name: &str) -> bool {
    node.children().iter().any(|child| child.name.text == name || (child.name.text == WHEN && has(child, name)))
}

/// True where the body of a node takes any name.
pub fn is_metrics(spec: &NodeSpec) -> bool {
    matches!(spec.body, Body::Metrics)
}
