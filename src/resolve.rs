//! Documents to a [`Pipeline`]: names, types, recipes and matrices, with every error of the files at once.
//!
//! In reading order: `import` reads the files, `world` finds recipes and parameters, `flags` gives those their
//! values; `axis`, `range`, `matrix` and `product` make the cells; `check` and `rules` hold every node against the
//! `table` and every name against what is declared; `expand` unfolds recipes and cells into slots; `eval`, `cells`,
//! `build`, `judge` and `parity` make their actions, with `filters` of folders and the Python modules `beside` a script;
//! `order` sorts and merges them, and `unused` warns. Nothing here knows of plans, of keys or of the machine beyond
//! [`Facts`], and nothing runs.

mod axis;
mod beside;
mod build;
mod canonical;
mod cells;
mod check;
mod cycles;
mod eval;
mod expand;
mod fields;
mod files;
mod filters;
mod flags;
mod import;
mod judge;
pub mod kept;
mod kind;
mod lock;
mod matrix;
mod order;
mod parity;
mod product;
mod python;
mod range;
mod recipes;
mod rules;
mod scope;
mod shape;
pub mod symbols;
pub mod table;
mod unused;
mod value;
mod witness;
mod world;

use std::collections::BTreeMap;
use std::path::Path;

pub use files::{Disk, FileKind, Files, Memory};
pub use kind::Kind;
pub use recipes::{OutputDoc, ParamDoc, RecipeDoc, recipes_of, std_recipes};
pub use value::{MEANINGS, UNITS};

use crate::diag::{At, Diagnostic, Diagnostics, ENOUGH};
use crate::pipeline::{Param, Pipeline, Profile, Spanned, Value};
use crate::syntax::{Entry, Node};
use axis::Around;
use check::Checker;
use expand::Expander;
use import::Loader;
use matrix::MatrixDecl;
use scope::{Bound, Scope, Site, Slot, Work};
use world::{ParamDecl, ProfileDecl, World};

/// Host facts that decide what a pipeline is: what `when` asks, and markers of Python locks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// `linux` or `macos`.
    pub os: String,
    /// `x86_64` or `aarch64`.
    pub arch: String,
    /// The kind of accelerator that is there: `nvidia`, `metal` or `none`.
    pub gpu: String,
    /// The version of `python3`, as `3.11.7`, where there is one.
    pub python: Option<String>,
}

/// What the command line says about the pipeline.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// `--set NAME=VALUE`, in order; the last of a name counts, and all of a list's.
    pub sets: Vec<(String, String)>,
    /// `--profile NAME`.
    pub profile: Option<String>,
}

/// Reads the pipeline at `path`; it is there only where nothing is wrong with it.
pub fn load(path: &Path, options: &Options, files: &dyn Files, facts: &Facts) -> (Option<Pipeline>, Diagnostics) {
    let mut loader = Loader::load(path, files);
    let modules = std::mem::take(&mut loader.modules);
    let mut found = std::mem::take(&mut loader.found);
    // A file that cannot be read as KDL has no names; findings about the rest of the set would mislead.
    let unreadable = !found.is_empty() && modules.iter().any(|module| module.document.nodes.is_empty());
    if modules.is_empty() || unreadable {
        return (None, Diagnostics::new(loader.sources, found));
    }
    let world = World::new(&modules, &mut found);
    let main = &modules[0].document.nodes;
    let header = main.first().filter(|node| node.name.text == "pipeline");
    let params = declared(main, "param", &mut found, |node, found| {
        ParamDecl::new(node, node.values().skip(1).collect(), found).map(|param| (param.name, param.at, param))
    });
    let profiles = declared(main, "profile", &mut found, |node, _| {
        ProfileDecl::new(node).map(|profile| (profile.name, profile.at, profile))
    });
    let mut matrices;
    let mut expander = Expander {
        world: &world,
        modules: &modules,
        matrices: &[],
        loader,
        facts,
        scopes: vec![Scope::top()],
        slots: Vec::new(),
        index: Default::default(),
        taken: 0,
        found: Vec::new(),
    };
    // Parameters first: a matrix may take the values of an axis from one.
    expander.parameters(&params, &profiles, options);
    {
        let site = Site { scope: 0, cell: None, of: None };
        let holds = |when| expander.holds(&site, when);
        let around = Around { params: &expander.scopes[0].params, holds: &holds };
        matrices = declared(main, "matrix", &mut found, |node, found| {
            let name = node.values().next().and_then(Entry::text)?;
            MatrixDecl::new(node, &around, found).map(|matrix| (name, matrix.at, matrix))
        });
    }
    product::products(main, &mut matrices, &mut found);
    let mut checker =
        Checker { world: &world, modules: &modules, matrices: &matrices, params: &params, found: Vec::new() };
    checker.run();
    found.append(&mut checker.found);
    if found.len() >= ENOUGH || found.iter().any(|fault| fault.code == "pipe::recipe-cycle") {
        // Unfolding would not end, or say nothing that anybody reads.
        return (None, Diagnostics::new(expander.loader.sources, found));
    }
    let checked = Places::new(found.iter().filter_map(place).collect());
    expander.matrices = &matrices;
    expander.body(0, main);
    let actions = expander.build_all();
    let Expander { slots, scopes, found: more, loader, .. } = expander;
    // What the checker has said of a place is not said again of each cell that reaches it.
    found.extend(more.into_iter().filter(|fault| !place(fault).is_some_and(|at| checked.touch(at))));
    if found.is_empty() {
        found.extend(slots.iter().zip(&actions).filter(|(_, action)| action.is_none()).map(|(slot, _)| unmade(slot)));
    }
    let steps = order::order(slots, actions, &mut found);
    if found.is_empty() {
        found = unused::warnings(&world, &modules, &matrices, &params);
    }
    let diagnostics = Diagnostics::new(loader.sources.clone(), found);
    let text = |entry: Option<&Entry>| entry.and_then(Entry::text).map(str::to_owned);
    let Some(header) = header.filter(|_| !diagnostics.has_errors()) else {
        return (None, diagnostics);
    };
    let pipeline = Pipeline {
        name: text(header.values().next()).unwrap_or_default(),
        about: text(header.property_or_child("about")),
        sources: loader.sources,
        params: params.iter().filter_map(|param| plain_param(param, &scopes[0])).collect(),
        matrices: matrices.iter().map(MatrixDecl::plain).collect(),
        profiles: profiles
            .iter()
            .map(|profile| Profile { name: profile.name.to_owned(), about: profile.about.map(str::to_owned) })
            .collect(),
        steps,
    };
    (Some(pipeline), diagnostics)
}

/// What the nodes of a name declare; of two that have one name, the first.
fn declared<'d, T>(
    nodes: &'d [Node],
    kind: &str,
    found: &mut Vec<Diagnostic>,
    read: impl Fn(&'d Node, &mut Vec<Diagnostic>) -> Option<(&'d str, At, T)>,
) -> Vec<T> {
    let mut known: BTreeMap<&str, At> = BTreeMap::new();
    let mut all = Vec::new();
    for node in nodes.iter().filter(|node| node.name.text == kind) {
        let Some((name, at, one)) = read(node, found) else {
            continue;
        };
        match known.get(name) {
            Some(first) => {
                let (code, what) = match kind {
                    "param" => ("pipe::duplicate-parameter", "parameters"),
                    "profile" => ("pipe::duplicate-profile", "profiles"),
                    _ => ("pipe::duplicate-matrix", "matrices"),
                };
                found.push(world::twice(code, what, name, at, *first));
            }
            None => {
                known.insert(name, at);
                all.push(one);
            }
        }
    }
    all
}

/// Places in their order, each with the furthest end of those up to it in its source.
struct Places(Vec<(At, usize)>);

impl Places {
    fn new(mut places: Vec<At>) -> Places {
        places.sort_unstable();
        let mut with_ends: Vec<(At, usize)> = Vec::with_capacity(places.len());
        for at in places {
            let before = with_ends.last().filter(|(last, _)| last.source == at.source).map_or(0, |(_, end)| *end);
            with_ends.push((at, before.max(at.end)));
        }
        Places(with_ends)
    }

    /// True where a place has bytes in common with one of these.
    fn touch(&self, at: At) -> bool {
        let before = self.0.partition_point(|(known, _)| (known.source, known.start) < (at.source, at.end));
        before > 0 && self.0[before - 1].0.source == at.source && self.0[before - 1].1 > at.start
    }
}

/// The place of a fault.
fn place(fault: &Diagnostic) -> Option<At> {
    fault.labels.first().map(|label| label.at)
}

/// A step that lacks something optional that it needs.
fn unmade(slot: &Slot<'_>) -> Diagnostic {
    let fault = Diagnostic::error(
        "pipe::absent-parameter",
        format!("step `{}` needs a parameter that is not given", slot.name),
    );
    let at = match &slot.work {
        Work::Node(node) => node.header(),
        Work::Ready(_) => slot.at,
    };
    let fault = fault.at(at, "something that it reads is optional, and was left out");
    fault.help("give the parameter, or put the step into `when \"NAME\" { … }`")
}

/// A parameter as the pipeline shows it.
fn plain_param(param: &ParamDecl<'_>, scope: &Scope<'_>) -> Option<Param> {
    let value = match scope.params.get(param.name)? {
        Bound::Value(value) => value.clone(),
        Bound::Input(input) => {
            Spanned { value: Value::Text(flags::input_name(&input.value)), origin: input.origin.clone() }
        }
        Bound::List(items) => {
            let text = |item: &Bound| match item {
                Bound::Value(value) => value.value.to_string(),
                Bound::Input(input) => flags::input_name(&input.value),
                _ => String::new(),
            };
            let origin = items.iter().find_map(|item| match item {
                Bound::Value(value) => Some(value.origin.clone()),
                Bound::Input(input) => Some(input.origin.clone()),
                _ => None,
            });
            let items: Vec<String> = items.iter().map(text).collect();
            let value = Value::Text(items.join(","));
            Spanned { value, origin: origin.unwrap_or_else(|| scope::origin(param.at)) }
        }
        Bound::Step(_) | Bound::Output(_) | Bound::Cells(_) | Bound::Absent | Bound::Wrong => return None,
    };
    Some(Param { name: param.name.to_owned(), about: param.about.map(str::to_owned), value })
}
