//! Warnings: parameters, matrices and files that are declared and never used.
//!
//! They are looked for only where nothing is wrong, because what a faulty line uses is not known; and never in
//! the standard library, whose users cannot mend it.

use std::collections::BTreeSet;

use super::import::{Home, Module};
use super::matrix::MatrixDecl;
use super::table::WHEN;
use super::world::{ParamDecl, World};
use crate::diag::{At, Diagnostic};
use crate::syntax::{Entry, Node};

/// The names that some nodes use.
#[derive(Default)]
struct Used<'d> {
    /// Behind `(param)` and `(step)`, and in `when`.
    values: BTreeSet<&'d str>,
    matrices: BTreeSet<&'d str>,
    nodes: BTreeSet<&'d str>,
}

/// What is declared in these files, and used by nothing.
pub fn warnings<'d>(
    world: &World<'d>,
    modules: &'d [Module],
    matrices: &[MatrixDecl<'d>],
    params: &[ParamDecl<'d>],
) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    let ours = |module: usize| modules[module].home != Home::Std;
    let mut pipeline = Used::default();
    if let Some(main) = modules.first() {
        pipeline.nodes(main.document.nodes.iter().filter(|node| node.name.text != "recipe"));
    }
    unused_params(params, &pipeline, &mut found);
    // Products of matrices have parts, and are declared nowhere.
    let declared = matrices.iter().filter(|matrix| matrix.parts.is_empty());
    for matrix in declared.filter(|matrix| !pipeline.matrices.contains(matrix.name.as_str())) {
        let fault = Diagnostic::warning("pipe::unused-matrix", format!("nothing uses the matrix `{}`", matrix.name));
        let help = format!("give a step `for-each=\"{}\"`, or take the matrix away", matrix.name);
        found.push(fault.at(matrix.at, "declared here").help(help));
    }
    for recipe in world.recipes.iter().filter(|recipe| ours(recipe.module)) {
        let mut used = Used::default();
        used.nodes(recipe.node.children().iter());
        unused_params(&recipe.params, &used, &mut found);
    }
    for (index, module) in modules.iter().enumerate().filter(|(index, _)| ours(*index)) {
        let mut used = Used::default();
        used.nodes(module.document.nodes.iter());
        for (from, at) in &module.uses {
            let mut recipes = world.recipes.iter().filter(|recipe| recipe.module == *from);
            if *from != index && !recipes.any(|recipe| used.nodes.contains(recipe.name)) {
                found.push(unused_use(*at, &recipe_names(world, *from)));
            }
        }
    }
    found
}

fn recipe_names<'d>(world: &World<'d>, module: usize) -> Vec<&'d str> {
    world.recipes.iter().filter(|recipe| recipe.module == module).map(|recipe| recipe.name).collect()
}

fn unused_params(params: &[ParamDecl<'_>], used: &Used<'_>, found: &mut Vec<Diagnostic>) {
    for param in params.iter().filter(|param| !used.values.contains(param.name)) {
        let name = param.name;
        let fault = Diagnostic::warning("pipe::unused-parameter", format!("nothing uses the parameter `{name}`"));
        let help = format!("write `(param)\"{name}\"` where its value belongs, or take the parameter away");
        found.push(fault.at(param.at, "declared here").help(help));
    }
}

fn unused_use(at: At, recipes: &[&str]) -> Diagnostic {
    let fault = Diagnostic::warning("pipe::unused-use", "nothing of this file is used").at(at, "named here");
    fault.help(match recipes {
        [] => "it has no recipes; take this name away".to_owned(),
        recipes => format!("it has {}; use one, or take this name away", crate::diag::list(recipes)),
    })
}

impl<'d> Used<'d> {
    fn nodes(&mut self, nodes: impl Iterator<Item = &'d Node>) {
        for node in nodes {
            self.nodes.insert(&node.name.text);
            for entry in &node.entries {
                self.entry(node, entry);
            }
            self.nodes(node.children().iter());
        }
    }

    fn entry(&mut self, node: &'d Node, entry: &'d Entry) {
        let key = entry.key.as_ref().map(|key| key.text.as_str());
        if node.name.text == WHEN {
            self.values.extend(key.or(entry.text()));
        }
        let Some(text) = entry.text() else { return };
        match entry.annotated() {
            Some("param" | "step") => drop(self.values.insert(text.split('/').next().unwrap_or_default())),
            None if key == Some("for-each") || node.name.text == "for-each" => drop(self.matrices.insert(text)),
            _ => {}
        }
    }
}
