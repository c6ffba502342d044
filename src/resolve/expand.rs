//! Recipes and matrices unfolded: every step of every cell gets a slot and a name.
//!
//! Nothing is built here. References stay names until every slot is known, so that steps may stand in any
//! order.

use std::rc::Rc;

use super::fields::{Fields, flatten};
use super::import::{Loader, Module};
use super::scope::{Bound, Entity, Matrices, Open, Ref, Scope, Site, Slot, Target, Work, origin, place};
use super::table::{self, STEP_SETTINGS};
use super::world::{ParamDecl, Preset, World, twice};
use super::{Facts, cells, kind::Kind, lock, product};
use crate::diag::{At, Diagnostic, ENOUGH, Label};
use crate::pipeline::{Action, Cell, Class, FetchWheel, Limits, Needs, StepId, UnpackWheels};
use crate::syntax::{Entry, Node};

/// More steps than this are not made.
const MOST_STEPS: usize = 400_000;

/// The state of expansion.
pub struct Expander<'d, 'f> {
    pub world: &'d World<'d>,
    pub modules: &'d [Module],
    pub matrices: &'d Matrices<'d>,
    pub loader: Loader<'f>,
    pub facts: &'d Facts,
    pub scopes: Vec<Scope<'d>>,
    pub slots: Vec<Slot<'d>>,
    /// Cells by what they have on some axes, for references that were looked up.
    pub index: cells::Index,
    /// How many inputs were taken by `(cells)`.
    pub taken: usize,
    pub found: Vec<Diagnostic>,
}

/// A step node on its way to a slot: what it is called, and for which cell.
struct Call<'d> {
    node: &'d Node,
    /// The place of its name.
    at: At,
    name: String,
    group: String,
    site: Site,
}

impl<'d> Expander<'d, '_> {
    /// Adds a finding, with the recipes that led to `scope`.
    pub fn report(&mut self, scope: usize, mut fault: Diagnostic) {
        if self.found.len() < ENOUGH {
            fault.trail = self.scopes[scope].trail.clone();
            self.found.push(fault);
        }
    }

    /// Unfolds the step nodes of a body into a scope.
    pub fn body(&mut self, scope: usize, nodes: &'d [Node]) {
        let site = Site { scope, cell: None, of: None };
        let module = self.scopes[scope].module;
        let steps: Vec<&'d Node> = flatten(nodes, &|when| self.holds(&site, when))
            .into_iter()
            .filter(|node| self.world.makes_step(module, &node.name.text))
            .collect();
        let names = steps.iter().filter_map(|node| node.values().next().and_then(Entry::text));
        self.scopes[scope].declared.extend(names);
        for node in steps {
            let Some(name) = node.values().next() else {
                continue;
            };
            let Some(text) = name.text() else { continue };
            let entity = self.step(scope, node, name.at, text);
            let names = &mut self.scopes[scope].names;
            match names.get(text) {
                Some(first) => {
                    let fault = twice("pipe::duplicate-step", "steps", text, name.at, first.at);
                    self.report(scope, fault);
                }
                None => {
                    names.insert(text, entity);
                }
            }
        }
    }

    /// One node as one step, or as one for each cell of its matrix.
    fn step(&mut self, scope: usize, node: &'d Node, at: At, text: &str) -> Entity {
        let matrix = product::of_node(self.matrices, node);
        let cells: Vec<Option<Rc<Cell>>> = match matrix {
            Some(matrix) => self.matrices[matrix].cells.iter().cloned().map(Some).collect(),
            // Of matrices that are not there, or have no product, the checker has told.
            None if !product::for_each(node).is_empty() => Vec::new(),
            None => vec![None],
        };
        let (name, group) = self.full_name(scope, text);
        let mut targets = Vec::new();
        for (index, cell) in cells.into_iter().enumerate() {
            let name = cell.as_ref().map_or_else(|| name.clone(), |cell| format!("{name}[{cell}]"));
            let site = Site { scope, cell: cell.clone(), of: matrix.map(|matrix| (matrix, index)) };
            let target = self.call(Call { node, at, name, group: group.clone(), site });
            let reason = matrix.and_then(|matrix| self.matrices[matrix].reasons.get(&index));
            if let (Some(slot), Some(reason)) = (target, reason) {
                let about = &mut self.slots[slot].about;
                *about = Some(about.take().map_or_else(|| reason.clone(), |about| format!("{about} ({reason})")));
            }
            targets.push((cell, target));
        }
        let recipe = self.world.recipe(self.scopes[scope].module, &node.name.text);
        let outputs = recipe.map(|recipe| self.world.recipes[recipe].outputs.iter().map(|o| (*o).to_owned()).collect());
        Entity { at, matrix, targets, outputs: outputs.unwrap_or_default() }
    }

    /// A step's name for people, with and without its cell.
    fn full_name(&self, scope: usize, text: &str) -> (String, String) {
        let scope = &self.scopes[scope];
        match &scope.instance {
            None => (text.to_owned(), text.to_owned()),
            Some((name, group)) if scope.result == Some(text) => (name.clone(), group.clone()),
            Some((name, group)) => (format!("{name}/{text}"), format!("{group}/{text}")),
        }
    }

    fn call(&mut self, call: Call<'d>) -> Target {
        if self.slots.len() >= MOST_STEPS {
            let fault =
                Diagnostic::error("pipe::too-many-steps", format!("this pipeline has more than {MOST_STEPS} steps"));
            self.report(call.site.scope, fault.at(call.at, "from here on").help("take values out of the axes"));
            return None;
        }
        let module = self.scopes[call.site.scope].module;
        match self.world.recipe(module, &call.node.name.text) {
            Some(recipe) => self.instance(recipe, call),
            None => Some(self.kernel(call)),
        }
    }

    /// A slot for a node that `pipe` itself understands.
    fn kernel(&mut self, call: Call<'d>) -> usize {
        let fields = self.open(&call.site, call.node);
        let site = &call.site;
        let about = self.text(site, &fields, "about");
        let export = self.text(site, &fields, "export");
        let class = match (call.node.name.text.as_str(), fields.setting("class").and_then(Entry::text)) {
            ("fetch", _) | (_, Some("fetch")) => Class::Fetch,
            ("measure", _) => Class::Measure,
            _ => Class::Build,
        };
        let scope = &self.scopes[site.scope];
        let own = scope.instance.as_ref().is_some_and(|(name, _)| *name == call.name);
        let slot = Slot {
            site: call.site.clone(),
            cell: call.site.cell.clone().or_else(|| scope.cell.clone()),
            recipe: scope.recipe.as_ref().map(|(name, _)| name.clone()),
            about,
            at: scope.recipe.as_ref().map_or_else(|| call.node.header(), |(_, at)| *at),
            export: export.or_else(|| scope.export.clone().filter(|_| own)),
            class,
            needs: Needs::default(),
            limits: Limits::default(),
            work: Work::Node(call.node),
            reads: Vec::new(),
            outputs: None,
            name: call.name,
            group: call.group,
        };
        self.slots.push(slot);
        let index = self.slots.len() - 1;
        if call.node.name.text == "wheels" {
            let site = self.slots[index].site.clone();
            self.wheels(index, &Open { node: call.node, fields, site });
        }
        index
    }

    /// One step for each package of a lock, and the slot itself unpacks them.
    fn wheels(&mut self, index: usize, open: &Open<'d>) {
        let site = &open.site;
        let Some(entry) = open.fields.setting("lock") else {
            return;
        };
        self.limits(index, open);
        let Bound::Input(input) = self.bind(site, entry, Kind::File, "`lock`") else {
            return;
        };
        let packages = match self.loader.text(&input.value, entry.at) {
            Ok((source, text)) => lock::packages(source, &text, self.facts),
            Err(fault) => return self.report(site.scope, fault),
        };
        let packages = match packages {
            Ok(packages) => packages,
            Err(faults) => {
                return faults
                    .into_iter()
                    .for_each(|fault| self.report(site.scope, fault.at(entry.at, "the lock is named here")));
            }
        };
        let mut wheels = Vec::new();
        for package in packages {
            let (name, group) = {
                let slot = &self.slots[index];
                (format!("{}/{}", slot.name, package.name), format!("{}/{}", slot.group, package.name))
            };
            let parent = &self.slots[index];
            let action = Action::FetchWheel(FetchWheel {
                package: package.name,
                version: package.version,
                sha256: package.sha256,
                origin: origin(package.at),
            });
            let slot = Slot {
                name,
                group,
                site: site.clone(),
                cell: parent.cell.clone(),
                recipe: parent.recipe.clone(),
                about: None,
                at: parent.at,
                export: None,
                class: Class::Fetch,
                needs: Needs { download: package.size, disk: package.size, ..Needs::default() },
                limits: Limits { timeout: None, retries: 2 },
                work: Work::Ready(Box::new(action)),
                reads: Vec::new(),
                outputs: None,
            };
            wheels.push((self.slots.len(), package.at));
            self.slots.push(slot);
        }
        let unpack = UnpackWheels { wheels: wheels.iter().map(|(slot, _)| StepId(*slot)).collect() };
        self.slots[index].work = Work::Ready(Box::new(Action::UnpackWheels(unpack)));
        self.slots[index].reads = wheels;
    }

    /// One use of a recipe: a scope of its own.
    fn instance(&mut self, recipe: usize, call: Call<'d>) -> Target {
        let recipe = &self.world.recipes[recipe];
        let setting = |name: &str| recipe.param(name).is_some() || STEP_SETTINGS.iter().any(|s| s.name == name);
        let fields = Fields::new(call.node, &setting, &|when| self.holds(&call.site, when));
        let from = &self.scopes[call.site.scope];
        let header = call.node.header();
        let mut trail = vec![Label { at: header, text: format!("in recipe `{}`, used here", recipe.name) }];
        trail.extend(from.trail.iter().cloned());
        let own = from.instance.as_ref().is_some_and(|(name, _)| *name == call.name);
        let outer = from.recipe.clone();
        let inherited = from.export.clone().filter(|_| own);
        let cell = call.site.cell.clone().or_else(|| from.cell.clone());
        let export = self.text(&call.site, &fields, "export").or(inherited);
        let scope = self.scopes.len();
        self.scopes.push(Scope {
            module: recipe.module,
            instance: Some((call.name.clone(), call.group.clone())),
            result: recipe.result,
            params: Default::default(),
            names: Default::default(),
            declared: Default::default(),
            cell,
            recipe: Some(outer.unwrap_or_else(|| (recipe.name.to_owned(), header))),
            export,
            trail,
        });
        let mut sound = true;
        for param in &recipe.params {
            let bound = match (param.many, fields.setting(param.name)) {
                (true, _) => self.list(scope, param, &fields, &call, recipe.name),
                (false, Some(entry)) => self.given(&call.site, param, entry),
                (false, None) => self.preset(scope, param, &call, recipe.name),
            };
            let bound = match fields.setting_node(param.name) {
                Some(node) => self.filtered_bound(&call.site, node, bound),
                None => bound,
            };
            let inside = Site { scope, cell: None, of: None };
            let bound = self.filtered_bound(&inside, param.node, bound);
            sound &= !matches!(bound, Bound::Wrong);
            self.scopes[scope].params.insert(param.name, bound);
        }
        if !sound {
            return None;
        }
        self.body(scope, recipe.node.children());
        // A result that is no step of the recipe at all was reported where it is written.
        let result = recipe.result.filter(|result| declares(recipe.node.children(), result))?;
        let Some(entity) = self.scopes[scope].names.get(result) else {
            if !recipe.has_step(result) {
                // There is none whatever the parameters are, which the checker has told.
                return None;
            }
            let fault = Diagnostic::error(
                "pipe::result-left-out",
                format!("recipe `{}` makes no step `{result}` with these parameters", recipe.name),
            );
            let fault = fault.at(header, "used here").at(recipe.at, "its `when` leaves its result out");
            let help = format!("make a step `{result}` in every case: one `when` for each value of the parameter");
            self.report(call.site.scope, fault.help(help));
            return None;
        };
        let [(_, target)] = entity.targets[..] else {
            return None;
        };
        // The user's words about the whole belong to the step that stands for it.
        if let Some(slot) = target
            && let about @ Some(_) = self.text(&call.site, &fields, "about")
        {
            self.slots[slot].about = about;
        }
        target
    }

    /// A parameter that the call sets.
    fn given(&mut self, site: &Site, param: &ParamDecl<'d>, entry: &'d Entry) -> Bound {
        let bound = self.bind(site, entry, param.kind, &format!("`{}`", param.name));
        match &bound {
            Bound::Absent if !param.optional => match param.default {
                // An optional parameter of the caller that was not given leaves ours at its default.
                Preset::Value(entry) => self.bind(site, entry, param.kind, param.name),
                _ => {
                    let fault = Diagnostic::error(
                        "pipe::absent-parameter",
                        format!("`{}` must be given, and this is not", param.name),
                    );
                    let fault = fault.at(entry.at, "optional, and not given").at(param.at, "declared here");
                    let name = entry.text().unwrap_or_default();
                    self.report(
                        site.scope,
                        fault.help(format!("put it into `when \"{name}\" {{ … }}`, or give `{name}`")),
                    );
                    Bound::Wrong
                }
            },
            _ => self.fitting_value(site, param, entry, bound),
        }
    }

    /// A value that a call gives, unless it is none of the parameter's choices or out of its bounds.
    pub fn fitting_value(&mut self, site: &Site, param: &ParamDecl<'d>, entry: &'d Entry, bound: Bound) -> Bound {
        let Bound::Value(value) = &bound else {
            return bound;
        };
        let Some((code, message, help)) = param.refuse(&value.value) else {
            return bound;
        };
        let at = place(&value.origin).unwrap_or(entry.at);
        let mut fault = Diagnostic::error(code, message).at(at, "here").maybe_help(help);
        if at != entry.at {
            fault = fault.at(entry.at, "used here");
        }
        self.refuse(site, fault)
    }

    /// A list parameter: what the call gives, else its default, else nothing where it may be left out.
    fn list(
        &mut self,
        scope: usize,
        param: &ParamDecl<'d>,
        fields: &Fields<'d>,
        call: &Call<'d>,
        recipe: &str,
    ) -> Bound {
        let (site, entries) = match (fields.list(param.name), param.default) {
            (Some(entries), _) => (call.site.clone(), entries),
            (None, Preset::None) if param.optional => return Bound::List(Vec::new()),
            (None, Preset::None | Preset::Step(_)) => {
                return match self.preset(scope, param, call, recipe) {
                    Bound::Wrong => Bound::Wrong,
                    one => Bound::List(vec![one]),
                };
            }
            (None, Preset::Value(_)) => (Site { scope, cell: None, of: None }, param.values.clone()),
        };
        let mut items = Vec::new();
        for entry in entries {
            for bound in self.spread(&site, entry, param.kind, &format!("a value of `{}`", param.name)) {
                match self.fitting_value(&site, param, entry, bound) {
                    // An optional parameter of the caller that was not given adds nothing.
                    Bound::Absent => {}
                    Bound::Wrong => return Bound::Wrong,
                    bound => items.push(bound),
                }
            }
        }
        Bound::List(items)
    }

    /// A parameter that the call leaves out.
    fn preset(&mut self, scope: usize, param: &ParamDecl<'d>, call: &Call<'d>, recipe: &str) -> Bound {
        let site = Site { scope, cell: None, of: None };
        match param.default {
            Preset::Value(entry) => self.bind(&site, entry, param.kind, &format!("`{}`", param.name)),
            Preset::Step(node) => {
                let (name, group) = self.full_name(scope, param.name);
                let target = self.call(Call { node, at: param.at, name, group, site });
                let entity = Entity { at: param.at, matrix: None, targets: vec![(None, target)], outputs: Vec::new() };
                self.scopes[scope].names.insert(param.name, entity);
                self.scopes[scope].declared.insert(param.name);
                Bound::Step(Ref {
                    scope,
                    name: param.name.to_owned(),
                    path: String::new(),
                    cell: None,
                    of: None,
                    chosen: None,
                    at: param.at,
                })
            }
            Preset::None if param.optional => Bound::Absent,
            Preset::None => {
                let fault = missing_param(recipe, param, call.node.header());
                self.report(call.site.scope, fault);
                Bound::Wrong
            }
        }
    }

    /// A kernel node with its settings and children told apart.
    pub fn open(&self, site: &Site, node: &'d Node) -> Fields<'d> {
        let spec = table::step_node(&node.name.text);
        let own = spec.map_or(&[][..], |spec| spec.settings);
        let setting = |name: &str| own.iter().chain(STEP_SETTINGS).any(|s| s.name == name);
        Fields::new(node, &setting, &|when| self.holds(site, when))
    }

    /// A setting that is a text.
    pub fn text(&mut self, site: &Site, fields: &Fields<'d>, name: &str) -> Option<String> {
        let entry = fields.setting(name)?;
        self.value(site, entry, Kind::Text, &format!("`{name}`")).map(|spanned| spanned.value.to_string())
    }
}

/// True where a body has a step of this name, under a `when` or not.
fn declares(nodes: &[Node], name: &str) -> bool {
    let named = |node: &Node| node.values().next().and_then(Entry::text) == Some(name);
    nodes.iter().any(|node| match node.name.text.as_str() {
        table::WHEN => declares(node.children(), name),
        "param" | "result" => false,
        _ => named(node),
    })
}

/// "`llama` needs `env`".
pub fn missing_param(recipe: &str, param: &ParamDecl<'_>, at: At) -> Diagnostic {
    let name = param.name;
    let fault =
        Diagnostic::error("pipe::missing-parameter", format!("`{recipe}` needs `{name}`, {}", param.kind.describe()));
    let about = param.about.map(|about| format!(" ({about})")).unwrap_or_default();
    fault.at(at, format!("`{name}` is not given")).help(format!("write `{name}={}`{about}", param.example()))
}
