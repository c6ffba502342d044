//! Recipes that use themselves: unfolding them would not end.

use super::check::Checker;
use super::table::WHEN;
use super::world::{Recipe, World};
use crate::diag::{At, Diagnostic};
use crate::syntax::Node;

impl<'d> Checker<'_, 'd> {
    /// Recipes that use themselves, by whatever way.
    pub(super) fn recipe_cycles(&mut self) {
        let calls: Vec<Vec<(usize, At)>> = self.world.recipes.iter().map(|recipe| self.calls(recipe)).collect();
        let mut done = vec![false; calls.len()];
        for start in 0..calls.len() {
            self.walk(start, &calls, &mut Vec::new(), &mut done);
        }
    }

    fn walk(&mut self, at: usize, calls: &[Vec<(usize, At)>], way: &mut Vec<usize>, done: &mut [bool]) {
        if done[at] {
            return;
        }
        way.push(at);
        for (called, place) in &calls[at] {
            if let Some(from) = way.iter().position(|recipe| recipe == called) {
                let name = |recipe: &usize| format!("`{}`", self.world.recipes[*recipe].name);
                let mut names: Vec<String> = way[from..].iter().map(name).collect();
                names.push(name(called));
                let message = format!("recipes use each other in a circle: {}", names.join(" → "));
                let fault = Diagnostic::error("pipe::recipe-cycle", message).at(*place, "this closes the circle");
                self.found.push(fault.help("a recipe cannot be made of itself: take this use away"));
            } else {
                self.walk(*called, calls, way, done);
            }
        }
        way.pop();
        done[at] = true;
    }

    fn calls(&self, recipe: &Recipe<'d>) -> Vec<(usize, At)> {
        fn visit(world: &World<'_>, module: usize, nodes: &[Node], out: &mut Vec<(usize, At)>) {
            for node in nodes {
                if let Some(called) = world.recipe(module, &node.name.text) {
                    out.push((called, node.header()));
                } else if matches!(node.name.text.as_str(), WHEN | "param") {
                    visit(world, module, node.children(), out);
                }
            }
        }
        let mut out = Vec::new();
        visit(self.world, recipe.module, recipe.node.children(), &mut out);
        out
    }
}
