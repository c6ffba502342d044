//! What a hover says: the documentation of the word under the cursor, and what the file says about it.

use std::collections::BTreeSet;
use std::path::Path;

use super::hints::{self, Standing};
use super::words;
use crate::diag::At;
use crate::resolve::symbols::{Index, Name, NameKind, Occurrence, Param, Recipe, Slot, Step, setting};
use crate::resolve::{Kind, table};
use crate::syntax::{Entry, Node};

/// The text of a hover, in Markdown, and the place that it is about.
pub fn hover(index: &Index, file: usize, offset: usize, known: &[Standing]) -> Option<(String, At)> {
    if let Some(occurrence) = index.at(file, offset)
        && let Some(text) = of_name(index, occurrence, known)
    {
        return Some((text, occurrence.at));
    }
    let way = way(&index.files[file].unit.document.nodes, offset);
    let node = *way.last()?;
    let words: Vec<&str> = way.iter().map(|node| node.name.text.as_str()).collect();
    if covers(node.name.at, offset) {
        return Some((of_node(index, file, &words)?, node.name.at));
    }
    let entry = node.entries.iter().find(|entry| covers(entry.at, offset))?;
    if let Some(word) = entry.annotation.as_ref().filter(|word| covers(word.at, offset)) {
        return Some((format!("`({})`\n\n{}", word.text, words::annotation(&word.text)?), word.at));
    }
    let key = entry.key.as_ref().filter(|key| covers(key.at, offset))?;
    if let Some((name, values)) = table::HOST_FACTS.iter().find(|(name, _)| *name == key.text) {
        let doc = words::host_fact(name).unwrap_or_default();
        return Some((format!("host fact `{name}`\n\n{doc} It is {}.", crate::diag::either(values)), key.at));
    }
    let grammar = index.grammar(file, words.iter().copied())?;
    Some((of_slot(grammar.setting(&key.text)?), key.at))
}

fn covers(at: At, offset: usize) -> bool {
    at.start <= offset && offset <= at.end
}

/// The nodes around a place, the outermost first.
pub fn way(nodes: &[Node], offset: usize) -> Vec<&Node> {
    let mut found = Vec::new();
    let mut nodes = nodes;
    while let Some(node) = nodes.iter().rfind(|node| covers(node.at, offset)) {
        found.push(node);
        nodes = node.children();
    }
    found
}

fn of_node(index: &Index, file: usize, words: &[&str]) -> Option<String> {
    let word = *words.last()?;
    if word == table::WHEN {
        return Some(format!("`when`\n\n{}", words::WHEN));
    }
    let outer = index.grammar(file, words[..words.len() - 1].iter().copied())?;
    if let Some(slot) = outer.setting(word)
        && !outer.nodes.iter().any(|spec| spec.name == word)
    {
        return Some(of_slot(slot));
    }
    let grammar = index.grammar(file, words.iter().copied())?;
    let mut text = format!("`{word}`\n\n{}", grammar.doc);
    for slot in grammar.values.iter().chain(&grammar.rest) {
        text.push_str(&format!("\n- {}: {}", slot.name, slot.doc));
    }
    if !grammar.settings.is_empty() {
        text.push_str("\n\nSettings:\n");
        text.push_str(&slots(&grammar.settings));
    }
    if !grammar.nodes.is_empty() {
        let nodes: Vec<&str> = grammar.nodes.iter().map(|spec| spec.name).collect();
        text.push_str(&format!("\n\nIn it: {}", crate::diag::list(&nodes)));
    }
    Some(text)
}

/// A list of settings, those that must be given first.
fn slots(slots: &[Slot]) -> String {
    let mut all: Vec<&Slot> = slots.iter().collect();
    all.sort_by_key(|slot| !slot.required);
    let line = |slot: &&Slot| {
        let required = if slot.required { " (required)" } else { "" };
        let default = slot.default.as_ref().map(|value| format!(", `{value}` unless given")).unwrap_or_default();
        format!("- `{}`{required}: {}{default}", slot.name, slot.doc)
    };
    all.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// One setting.
pub fn of_slot(slot: &Slot) -> String {
    let mut text = format!("setting `{}`: {}", slot.name, slot.kind.describe());
    if slot.many {
        text.push_str(", or several as a child");
    }
    if slot.required {
        text.push_str(", required");
    }
    if !slot.doc.is_empty() {
        text.push_str(&format!("\n\n{}", slot.doc));
    }
    about_values(&mut text, slot.kind, slot.default.as_deref(), &slot.choices);
    text
}

fn about_values(text: &mut String, kind: Kind, default: Option<&str>, choices: &[String]) {
    if let Some(default) = default {
        text.push_str(&format!("\n\nIt is `{default}` unless given."));
    }
    if !choices.is_empty() {
        text.push_str(&format!("\n\nIt may be {}.", crate::diag::either(choices)));
    }
    if !kind.units().is_empty() {
        let units: Vec<String> = kind.units().iter().map(|unit| format!("({unit})")).collect();
        text.push_str(&format!("\n\nUnits: {}.", crate::diag::list(&units)));
    }
}

fn of_name(index: &Index, occurrence: &Occurrence, known: &[Standing]) -> Option<String> {
    let name = &occurrence.name;
    let file = index.files.get(name.file)?;
    let recipe = name.recipe.as_ref().and_then(|text| file.recipes.iter().find(|recipe| recipe.name == *text));
    let body = recipe.map_or(&file.top, |recipe| &recipe.body);
    match name.kind {
        NameKind::Step => {
            let step = body.step(&name.text)?;
            let line = if recipe.is_none() { hints::line(name.kind, &name.text, known) } else { None };
            Some(of_step(index, name, step, line))
        }
        NameKind::Param => Some(of_param(body.param(&name.text)?, recipe)),
        NameKind::Axis => {
            let fits = |m: &&crate::resolve::symbols::Matrix| {
                occurrence.matrices.is_empty() || occurrence.matrices.contains(&m.name)
            };
            let axes = file.matrices.iter().filter(fits).flat_map(|m| m.axes.iter().map(move |axis| (m, axis)));
            let lines: Vec<String> = axes
                .filter(|(_, axis)| axis.name == name.text)
                .map(|(matrix, axis)| {
                    format!("axis `{}` of matrix `{}`: {}", axis.name, matrix.name, crate::diag::list(&axis.values))
                })
                .collect();
            (!lines.is_empty()).then(|| lines.join("\n\n"))
        }
        NameKind::Matrix => {
            let matrix = file.matrices.iter().find(|matrix| matrix.name == name.text)?;
            let axes =
                matrix.axes.iter().map(|axis| format!("\n- `{}`: {}", axis.name, crate::diag::list(&axis.values)));
            Some(format!("matrix `{}`\n{}", matrix.name, axes.collect::<String>()))
        }
        NameKind::Profile => Some(format!("profile `{}`: `--profile {}` takes its values", name.text, name.text)),
        NameKind::Recipe => {
            let recipe = file.recipes.iter().find(|recipe| recipe.name == name.text)?;
            Some(of_recipe(recipe, &file.unit.id))
        }
        NameKind::File if name.text.starts_with("std/") => Some(format!("`{}` of the standard library", name.text)),
        NameKind::File => {
            let path = Path::new(&name.text);
            Some(match std::fs::metadata(path) {
                Ok(facts) if facts.is_dir() => format!("folder `{}`", name.text),
                Ok(facts) => format!("file `{}`, {} bytes", name.text, facts.len()),
                Err(_) => format!("`{}` is not there", name.text),
            })
        }
    }
}

fn of_param(param: &Param, recipe: Option<&Recipe>) -> String {
    let of = recipe.map_or("of the pipeline".to_owned(), |recipe| format!("of recipe `{}`", recipe.name));
    let mut text = format!("parameter `{}` {of}: {}", param.name, param.kind.describe());
    if param.many {
        text.push_str(", a list");
    }
    if param.optional {
        text.push_str(", optional");
    } else if param.required() && recipe.is_some() {
        text.push_str(", required");
    }
    if let Some(about) = &param.about {
        text.push_str(&format!("\n\n{about}"));
    }
    about_values(&mut text, param.kind, param.default.as_deref(), &param.choices);
    if recipe.is_none() {
        text.push_str(&format!("\n\nSet it with `--set {}=VALUE`.", param.name));
    }
    text
}

fn of_recipe(recipe: &Recipe, home: &Path) -> String {
    let home = if home.is_relative() { home.display().to_string() } else { file_name(home) };
    let mut text = format!("recipe `{}` of `{home}`", recipe.name);
    if let Some(about) = &recipe.about {
        text.push_str(&format!("\n\n{about}"));
    }
    let mut params: Vec<&Param> = recipe.body.params.iter().collect();
    params.sort_by_key(|param| !param.required());
    if !params.is_empty() {
        text.push_str("\n\nParameters:\n");
    }
    for param in params {
        let required = if param.required() { " (required)" } else { "" };
        let about = param.about.as_deref().map(|about| format!(": {about}")).unwrap_or_default();
        let default = param.default.as_ref().map(|value| format!(" = `{value}`")).unwrap_or_default();
        text.push_str(&format!("\n- `{}`{default}{required}{about}", param.name));
    }
    text
}

fn of_step(index: &Index, name: &Name, step: &Step, standing: Option<String>) -> String {
    let mut text = format!("step `{}`: `{}`", step.name, step.word);
    if let Some(class) = class(index, name.file, step, 0) {
        text.push_str(&format!(", class {class}"));
    }
    if let Some(about) = index.recipe(name.file, &step.word).and_then(|recipe| recipe.about.as_ref()) {
        text.push_str(&format!("\n\n{about}"));
    }
    let reads: BTreeSet<&str> = index
        .within(step.node)
        .filter(|o| o.declares.is_none() && matches!(o.name.kind, NameKind::Step | NameKind::File))
        .map(|o| match o.name.kind {
            NameKind::File => o.name.text.rsplit('/').next().unwrap_or_default(),
            _ => o.name.text.as_str(),
        })
        .collect();
    let reads: Vec<&str> = reads.into_iter().collect();
    if !reads.is_empty() {
        text.push_str(&format!("\n\nReads {}.", crate::diag::list(&reads)));
    }
    let outputs = index.outputs(name.file, step);
    if !outputs.is_empty() {
        text.push_str(&format!("\n\nMakes {}.", crate::diag::list(&outputs)));
    }
    if !step.for_each.is_empty() {
        text.push_str(&format!("\n\nOne for each cell of {}.", crate::diag::list(&step.for_each)));
    }
    if let Some(standing) = standing {
        text.push_str(&format!("\n\nStore: {standing}."));
    }
    text
}

/// The class of a step, for a use of a recipe that of its result.
fn class(index: &Index, file: usize, step: &Step, depth: usize) -> Option<&'static str> {
    if let Some(&(home, number)) = index.files[file].visible.get(&step.word).filter(|_| depth < 16) {
        let recipe = &index.files[home].recipes[number];
        return class(index, home, recipe.body.step(recipe.result.as_ref()?)?, depth + 1);
    }
    let node = index.node(step.node)?;
    let fetches = setting(node, "class").and_then(Entry::text) == Some("fetch");
    match step.word.as_str() {
        "fetch" => Some("fetch"),
        "measure" => Some("measure"),
        "step" if fetches => Some("fetch"),
        word => table::step_node(word).map(|_| "build"),
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
