//! From a name to where it is declared and used, its new name everywhere, and the outline of a file.

use std::collections::BTreeMap;

use lsp_types::{DocumentSymbol, SymbolKind};

use super::position::Lines;
use crate::diag::At;
use crate::resolve::symbols::{Index, NameKind, Occurrence};
use crate::resolve::table;
use crate::syntax::{Entry, Node};

/// Words that KDL does not take without quotes.
const KEYWORDS: &[&str] = &["true", "false", "null", "inf", "-inf", "nan"];

/// What can be renamed at a place: its name alone; or why it can't be.
pub fn renamable(index: &Index, file: usize, offset: usize) -> Result<&Occurrence, String> {
    let Some(occurrence) = index.at(file, offset) else {
        return Err("no name of a step, parameter, axis, matrix or recipe stands here".to_owned());
    };
    let name = &occurrence.name;
    if name.kind == NameKind::File {
        return Err("rename the file itself; the text names it by its path".to_owned());
    }
    if index.files.get(name.file).is_some_and(|file| file.unit.is_std()) {
        return Err(format!("`{}` belongs to the standard library", name.text));
    }
    if !index.all(name).any(|other| other.declares.is_some()) {
        return Err(format!("`{}` is declared nowhere", name.text));
    }
    Ok(occurrence)
}

/// The places to change so that a name is `new` everywhere.
pub fn rename(index: &Index, file: usize, offset: usize, new: &str) -> Result<BTreeMap<usize, Vec<At>>, String> {
    let name = &renamable(index, file, offset)?.name;
    let good = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
    if new.is_empty() || !new.chars().all(good) || new.starts_with(['-', '.']) {
        return Err(format!(
            "`{new}` cannot be a name: it has letters, digits, `-`, `_` and `.`, and begins with a letter or digit"
        ));
    }
    let bare = matches!(name.kind, NameKind::Param | NameKind::Axis | NameKind::Recipe);
    if bare && (new.starts_with(|c: char| c.is_ascii_digit()) || KEYWORDS.contains(&new)) {
        return Err(format!("`{new}` cannot be written without quotes, as this name is: begin with a letter"));
    }
    if new == name.text {
        return Ok(BTreeMap::new());
    }
    if let Some(why) = taken(index, name, new) {
        return Err(why);
    }
    let mut places: BTreeMap<usize, Vec<At>> = BTreeMap::new();
    for occurrence in index.all(name) {
        let text = &index.files[occurrence.at.source].unit.text;
        if text.get(occurrence.at.start..occurrence.at.end) != Some(&name.text) {
            return Err(format!("`{}` is written with escapes somewhere; change it by hand", name.text));
        }
        places.entry(occurrence.at.source).or_default().push(occurrence.at);
    }
    for list in places.values_mut() {
        list.sort();
        list.dedup();
    }
    Ok(places)
}

/// Why a name is not free.
fn taken(index: &Index, name: &crate::resolve::symbols::Name, new: &str) -> Option<String> {
    let file = &index.files[name.file];
    let recipe = name.recipe.as_ref().and_then(|text| file.recipes.iter().find(|recipe| recipe.name == *text));
    let body = recipe.map_or(&file.top, |recipe| &recipe.body);
    let both = recipe.is_some();
    let clash = match name.kind {
        NameKind::Step if body.step(new).is_some() => "a step",
        // In a recipe `(step)` may name a parameter.
        NameKind::Step if both && body.param(new).is_some() => "a parameter",
        NameKind::Param if body.param(new).is_some() => "a parameter",
        NameKind::Param if both && body.step(new).is_some() => "a step",
        NameKind::Param if both && table::STEP_SETTINGS.iter().any(|setting| setting.name == new) => {
            "a setting of every step"
        }
        NameKind::Axis => {
            let has =
                |matrix: &&crate::resolve::symbols::Matrix, axis: &str| matrix.axes.iter().any(|a| a.name == axis);
            file.matrices.iter().find(|m| has(m, new) && has(m, &name.text)).map(|_| "an axis of the same matrix")?
        }
        NameKind::Matrix if file.matrices.iter().any(|matrix| matrix.name == new) => "a matrix",
        NameKind::Recipe => {
            let kernel = table::FILE_NODES.iter().chain(table::STEP_NODES).chain(table::RECIPE_NODES);
            if new == table::WHEN || kernel.into_iter().any(|spec| spec.name == new) {
                "a node of the language"
            } else {
                let number = file.recipes.iter().position(|recipe| recipe.name == name.text)?;
                let sees = |other: &&crate::resolve::symbols::FileIndex| {
                    other.visible.get(&name.text) == Some(&(name.file, number)) && other.visible.contains_key(new)
                };
                index.files.iter().find(sees).map(|_| "a recipe")?
            }
        }
        _ => return None,
    };
    Some(format!("`{new}` is taken: it is the name of {clash}"))
}

/// The outline of a file.
#[expect(deprecated, reason = "the type has a field that must be written and is not used")]
pub fn outline(nodes: &[Node], lines: &Lines) -> Vec<DocumentSymbol> {
    let mut found = Vec::new();
    for node in nodes {
        let word = node.name.text.as_str();
        if matches!(word, table::WHEN | "zip") {
            found.extend(outline(node.children(), lines));
            continue;
        }
        let kind = match word {
            "use" | "result" | "exclude" | "include" | "about" => continue,
            "pipeline" => SymbolKind::MODULE,
            "param" => SymbolKind::VARIABLE,
            "matrix" => SymbolKind::ENUM,
            "axis" => SymbolKind::ENUM_MEMBER,
            "recipe" => SymbolKind::FUNCTION,
            "profile" => SymbolKind::CONSTANT,
            _ => SymbolKind::OBJECT,
        };
        let Some((name, at)) = node.values().next().and_then(|entry| Some((entry.text()?, entry.at))) else { continue };
        let values = || node.values().skip(1).filter_map(Entry::text).collect::<Vec<_>>().join(" ");
        let detail = if word == "axis" { values() } else { word.to_owned() };
        let children = if matches!(word, "matrix" | "recipe") { outline(node.children(), lines) } else { Vec::new() };
        let name = if name.is_empty() { word } else { name };
        found.push(DocumentSymbol {
            name: name.to_owned(),
            detail: Some(detail),
            kind,
            tags: None,
            deprecated: None,
            range: lines.range(node.at.start, node.at.end),
            selection_range: lines.range(at.start, at.end),
            children: Some(children),
        });
    }
    found
}
