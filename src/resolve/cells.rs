//! References to steps: which of a step's cells is meant, by agreement or by brackets, and whether a path is
//! one of its outputs.
//!
//! A cell is found through an index of the values that decide, so that ten thousand cells that each read one of
//! another ten thousand cost no more than twenty thousand look-ups.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::expand::Expander;
use super::kind::Kind;
use super::scope::{Bound, Entity, Ref, Site, Target, Work};
use crate::diag::{At, Diagnostic, list, suggest};
use crate::pipeline::{CellPattern, Class, Input, Spanned};
use crate::syntax::{Entry, Node};

/// More inputs than this are not taken from cells, all steps together.
const MOST_INPUTS: usize = 1_000_000;

/// The cells of one name, by what they have on certain axes.
pub type Index = BTreeMap<(usize, String, Vec<String>), BTreeMap<Vec<String>, Vec<usize>>>;

/// `decode[engine=onnx,place=native]/a/path`, taken apart.
pub struct Named<'t> {
    pub name: &'t str,
    pub pattern: Option<CellPattern>,
    pub path: &'t str,
}

/// Takes a reference apart; values in brackets may hold a `/`.
pub fn read(text: &str, at: At) -> Result<Named<'_>, Diagnostic> {
    let bad = |why: &str| {
        let fault = Diagnostic::error("pipe::bad-pattern", format!("`{text}` names no cells: {why}"));
        fault.at(at, "here").help("write `axis=value` pairs in brackets: `decode[engine=onnx,place=native]/a/path`")
    };
    let open = text.find(['[', '/']).filter(|open| text[*open..].starts_with('['));
    let Some(open) = open else {
        let (name, path) = text.split_once('/').unwrap_or((text, ""));
        return Ok(Named { name, pattern: None, path });
    };
    if open == 0 {
        return Err(bad("no step stands before the bracket"));
    }
    let Some((inside, rest)) = text[open + 1..].split_once(']') else {
        return Err(bad("the bracket is not closed"));
    };
    let path = match rest.strip_prefix('/') {
        Some(path) => path,
        None if rest.is_empty() => "",
        None => return Err(bad("behind the bracket comes a path, with a `/` before it")),
    };
    let pattern = CellPattern::parse(inside).ok_or_else(|| bad("what is in the brackets is no `axis=value` pairs"))?;
    Ok(Named { name: &text[..open], pattern: Some(pattern), path })
}

/// "`x` has no cells".
pub fn none(name: &str, at: At) -> Diagnostic {
    let fault = Diagnostic::error("pipe::no-cells", format!("`{name}` is one step, and has no cells"));
    fault.at(at, "cells of it are asked for").help(format!("write `(step)\"{name}\"`, or give `{name}` a `for-each`"))
}

/// "parameter `x` is one step".
pub fn none_in_recipe(name: &str, at: At) -> Diagnostic {
    let fault = Diagnostic::error("pipe::no-cells", format!("parameter `{name}` is one thing, and has no cells"));
    let help = format!("choose the cell where the recipe is used: `{name}=(step)\"STEP[axis=value]\"`");
    fault.at(at, "cells of it are asked for").help(help)
}

/// "`(cells)` cannot stand here".
pub fn misplaced(text: &str, at: At, what: &str) -> Diagnostic {
    let fault = Diagnostic::error("pipe::misplaced-cells", format!("{what} is one thing, and cells are many"));
    fault.at(at, "several cells").help(format!(
        "`(cells)` stands in `input`, `put` and `compare of=`; choose one: `(step)\"{text}\"` with all axes in the \
         brackets"
    ))
}

impl<'d> Expander<'d, '_> {
    /// The slot that a reference means, and the path in its output.
    pub fn resolve(&mut self, site: &Site, wanted: &Ref) -> Option<(usize, String)> {
        let fits = self.fitting(site, wanted)?;
        let entity = &self.scopes[wanted.scope].names[wanted.name.as_str()];
        if let [one] = fits[..] {
            return entity.targets[one].1.map(|slot| (slot, wanted.path.clone()));
        }
        let fault = match fits.is_empty() {
            true => self.no_cell(wanted, entity),
            false => several(wanted, entity, &fits),
        };
        self.report(site.scope, fault);
        None
    }

    /// Every cell that a reference means, each with the name of its entry.
    pub fn cells(&mut self, reader: usize, site: &Site, wanted: &Ref) -> Option<Vec<(String, Spanned<Input>)>> {
        let fits = self.fitting(site, wanted)?;
        let entity = &self.scopes[wanted.scope].names[wanted.name.as_str()];
        if entity.matrix.is_none() {
            self.report(site.scope, none(&wanted.name, wanted.at));
            return None;
        }
        if fits.is_empty() {
            let fault = self.no_cell(wanted, entity);
            self.report(site.scope, fault);
            return None;
        }
        self.taken += fits.len();
        if self.taken > MOST_INPUTS {
            let fault = Diagnostic::error(
                "pipe::too-many-inputs",
                format!("cells are read more than {MOST_INPUTS} times in this pipeline"),
            );
            let help = "each cell of a step reads all of these cells: choose fewer in the brackets";
            self.report(site.scope, fault.at(wanted.at, "from here on").help(help));
            return None;
        }
        let found: Vec<(String, Target)> = fits
            .into_iter()
            .map(|place| &entity.targets[place])
            .map(|(cell, target)| (cell.as_ref().map(|cell| file_name(&cell.to_string())).unwrap_or_default(), *target))
            .collect();
        let mut inputs = Vec::new();
        for (name, target) in found {
            // A cell that could not be made has been reported.
            inputs.push((name, self.read_of(reader, site, wanted, target?)?));
        }
        Some(inputs)
    }

    /// What a node reads: one input without a name, or each of several cells with the name of its entry.
    pub fn inputs(
        &mut self,
        reader: usize,
        site: &Site,
        entry: &'d Entry,
        what: &str,
    ) -> Option<Vec<(Option<String>, Spanned<Input>)>> {
        if entry.annotated() != Some("cells") {
            return self.input(reader, site, entry, Kind::Inputs, what).map(|input| vec![(None, input)]);
        }
        let Bound::Cells(wanted) = self.bind(site, entry, Kind::Inputs, what) else {
            return None;
        };
        let cells = self.cells(reader, site, &wanted)?;
        Some(cells.into_iter().map(|(name, input)| (Some(name), input)).collect())
    }

    /// The places of the cells that a reference can mean: those that match what it says in brackets, and agree
    /// with the cell that uses it on every other axis that both have.
    pub fn fitting(&mut self, site: &Site, wanted: &Ref) -> Option<Vec<usize>> {
        // The name was there when the reference was made; only a duplicate that was reported removes it.
        let entity = self.scopes[wanted.scope].names.get(wanted.name.as_str())?;
        let Some(matrix) = entity.matrix else {
            if wanted.chosen.is_some() {
                self.report(site.scope, none(&wanted.name, wanted.at));
                return None;
            }
            return Some((0..entity.targets.len()).collect());
        };
        // Cells of one matrix are made in one order, so the same number is the same cell.
        if let (Some((own, index)), None) = (wanted.of, &wanted.chosen)
            && own == matrix
        {
            return Some(vec![index]);
        }
        let chosen = wanted.chosen.clone().unwrap_or(CellPattern(Vec::new()));
        let mut axes: Vec<String> = Vec::new();
        let mut values: Vec<String> = Vec::new();
        for axis in &self.matrices[matrix].axes {
            let exact = chosen.0.iter().find(|(name, value)| name == axis.name && !value.contains('*'));
            let agreed = wanted.cell.as_ref().and_then(|cell| cell.get(axis.name));
            let value = match exact {
                Some((_, value)) => Some(value.as_str()),
                None => agreed.filter(|_| !chosen.names(axis.name)),
            };
            if let Some(value) = value {
                axes.push(axis.name.to_owned());
                values.push(value.to_owned());
            }
        }
        let key = (wanted.scope, wanted.name.clone(), axes);
        if !self.index.contains_key(&key) {
            let mut index: BTreeMap<Vec<String>, Vec<usize>> = BTreeMap::new();
            for (place, (cell, _)) in entity.targets.iter().enumerate() {
                let on = |axis: &String| cell.as_ref().and_then(|cell| cell.get(axis)).unwrap_or_default().to_owned();
                index.entry(key.2.iter().map(on).collect()).or_default().push(place);
            }
            self.index.insert(key.clone(), index);
        }
        let places = self.index[&key].get(&values).cloned().unwrap_or_default();
        if chosen.0.is_empty() {
            return Some(places);
        }
        let matches = |place: &usize| entity.targets[*place].0.as_ref().is_some_and(|cell| chosen.matches(cell));
        Some(places.into_iter().filter(matches).collect())
    }

    /// "no cell of `x` …".
    pub fn no_cell(&self, wanted: &Ref, entity: &Entity) -> Diagnostic {
        let name = &wanted.name;
        let from = wanted.cell.as_ref().map(|cell| format!(" in the cell {cell}")).unwrap_or_default();
        if entity.targets.is_empty() {
            let fault = Diagnostic::error("pipe::no-such-cell", format!("no cell of `{name}` is left"));
            let why = entity.matrix.and_then(|matrix| self.matrices[matrix].why_excluded(|_| true));
            let why = why.map_or("used here".to_owned(), |why| format!("the first is excluded: {why}"));
            let help = "its matrix rules all of them out: take an `exclude` away, or what uses them";
            return fault.at(wanted.at, why).at(entity.at, "made for no cell").help(help);
        }
        let Some(chosen) = &wanted.chosen else {
            let fault = Diagnostic::error(
                "pipe::no-such-cell",
                format!("no cell of `{name}` agrees with the cell that uses it"),
            );
            // The cell stands in the label, so that the same fault in each of many cells is told once.
            let fault = fault.at(wanted.at, format!("used{from}")).at(entity.at, "one step for each cell");
            return fault.help(
                "their matrices share an axis but not this value of it: exclude the cell here, or add the value there",
            );
        };
        let matrix = entity.matrix.map(|matrix| &self.matrices[matrix]);
        if let Some(matrix) = matrix {
            for (axis, value) in &chosen.0 {
                let axis = axis.trim_start_matches('!');
                let wild = value.contains('*') && matrix.axis(axis).is_some();
                if let Some(fault) = (!wild).then(|| matrix.known(axis, wanted.at, value, wanted.at).err()).flatten() {
                    return fault;
                }
            }
        }
        let fault =
            Diagnostic::error("pipe::no-such-cell", format!("no cell of `{name}` matches `{}`", brackets(chosen)));
        let why = matrix.and_then(|matrix| matrix.why_excluded(|cell| chosen.matches(cell)));
        let label = match why {
            Some(reason) => format!("the matrix excludes it: {reason}"),
            None => format!("no such cell{from}"),
        };
        fault.at(wanted.at, label).at(entity.at, "one step for each cell").help(format!(
            "it has {}; an axis that the brackets leave out agrees with the cell that uses it",
            some_cells(name, entity, 0..entity.targets.len())
        ))
    }

    /// Refuses what leaves no files, and paths that the step or recipe does not declare.
    fn read_of(&mut self, reader: usize, site: &Site, wanted: &Ref, slot: usize) -> Option<Spanned<Input>> {
        let path = &wanted.path;
        if self.slots[slot].class == Class::Measure {
            let fault = Diagnostic::error(
                "pipe::no-files",
                format!("`{}` is a measurement: it leaves samples, and no files", wanted.name),
            );
            let help = format!("a report reads it: `compare \"report\" of=(step)\"{}\"`", wanted.name);
            self.report(site.scope, fault.at(wanted.at, "files are wanted").help(help));
            return None;
        }
        self.undeclared(slot, site, wanted)?;
        self.slots[reader].reads.push((slot, wanted.at));
        let input = Input::Step { step: crate::pipeline::StepId(slot), path: path.clone() };
        Some(Spanned { value: input, origin: super::scope::origin(wanted.at) })
    }

    /// The input that a reference to one step means.
    pub fn step_input(&mut self, reader: usize, site: &Site, wanted: &Ref) -> Option<Spanned<Input>> {
        let (slot, _) = self.resolve(site, wanted)?;
        self.read_of(reader, site, wanted, slot)
    }

    /// Reports a path that is none of the declared outputs, where any are declared.
    fn undeclared(&mut self, slot: usize, site: &Site, wanted: &Ref) -> Option<()> {
        let path = wanted.path.as_str();
        if path.is_empty() {
            return Some(());
        }
        let entity = &self.scopes[wanted.scope].names[wanted.name.as_str()];
        let at = entity.at;
        let outputs: Rc<[String]> = match entity.outputs.is_empty() {
            true => self.outputs(slot),
            false => entity.outputs.clone().into(),
        };
        if outputs.is_empty() || covered(path, outputs.iter().map(String::as_str)) {
            return Some(());
        }
        let fault = Diagnostic::error("pipe::unknown-output", format!("`{}` has no output `{path}`", wanted.name));
        let fault = fault.at(wanted.at, "not declared").at(at, "its outputs are declared");
        let help = suggest(path, outputs.iter().map(String::as_str), "it has");
        self.report(site.scope, fault.maybe_help(help));
        None
    }

    /// The outputs that the node of a slot declares.
    fn outputs(&mut self, slot: usize) -> Rc<[String]> {
        if let Some(known) = &self.slots[slot].outputs {
            return known.clone();
        }
        let mut outputs = Vec::new();
        if let Work::Node(node) = self.slots[slot].work
            && node.name.text == "step"
        {
            let site = self.slots[slot].site.clone();
            let nodes: Vec<&'d Node> = self.open(&site, node).nodes("output").collect();
            for entry in nodes.into_iter().flat_map(Node::values) {
                outputs.extend(self.value(&site, entry, Kind::Text, "an output").map(|path| path.value.to_string()));
            }
        }
        let outputs: Rc<[String]> = outputs.into();
        self.slots[slot].outputs = Some(outputs.clone());
        outputs
    }
}

/// True for a path that is one of the outputs, lies below one, or is a folder around one.
pub fn covered<'o>(path: &str, mut outputs: impl Iterator<Item = &'o str>) -> bool {
    let below = |path: &str, folder: &str| path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'));
    outputs.any(|output| output == path || below(path, output) || below(output, path))
}

fn several(wanted: &Ref, entity: &Entity, fits: &[usize]) -> Diagnostic {
    let name = &wanted.name;
    let from = wanted.cell.as_ref().map(|cell| format!(" in the cell {cell}")).unwrap_or_default();
    let message = match &wanted.chosen {
        Some(chosen) => format!("`{}` fits several cells of `{name}`", brackets(chosen)),
        None => format!("`{name}` has several cells, and none is chosen"),
    };
    let fault = Diagnostic::error("pipe::ambiguous-step", message);
    let fault = fault.at(wanted.at, format!("which of them{from}?")).at(entity.at, "one step for each cell");
    fault.help(format!(
        "choose one in brackets, take them all with `(cells)`, or use it in a step with a `for-each` over the same \
         axes; there are {}",
        some_cells(name, entity, fits.iter().copied())
    ))
}

/// A pattern as references write it.
fn brackets(pattern: &CellPattern) -> String {
    format!("[{}]", pattern.to_string().replace(' ', ","))
}

fn some_cells(name: &str, entity: &Entity, places: impl Iterator<Item = usize>) -> String {
    let cells: Vec<String> =
        places.filter_map(|place| entity.targets[place].0.as_ref()).map(|cell| format!("{name}[{cell}]")).collect();
    list(&cells)
}

/// A cell's name as that of a file: `/` and `%` are written `%2F` and `%25`.
fn file_name(cell: &str) -> String {
    cell.replace('%', "%25").replace('/', "%2F")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_is_a_name_cells_and_a_path() {
        let at = At { source: 0, start: 0, end: 1 };
        let parts = |text: &str| {
            let named = read(text, at).map_err(|fault| fault.message)?;
            Ok((named.name.to_owned(), named.pattern.map(|p| p.to_string()), named.path.to_owned()))
        };
        let good = |name: &str, pattern: Option<&str>, path: &str| -> Result<_, String> {
            Ok((name.to_owned(), pattern.map(str::to_owned), path.to_owned()))
        };
        assert_eq!(parts("a"), good("a", None, ""));
        assert_eq!(parts("a/b/c[1]"), good("a", None, "b/c[1]"));
        assert_eq!(parts("a[x=1,y=*]"), good("a", Some("x=1 y=*"), ""));
        assert_eq!(parts("a[x=org/model]/w.bin"), good("a", Some("x=org/model"), "w.bin"));
        for (text, why) in [("a[x=1", "closed"), ("a[x=1]b", "path"), ("a[x]", "pairs")] {
            assert!(parts(text).expect_err(text).contains(why), "{text}");
        }
    }

    #[test]
    fn names_of_entries_hold_no_slash() {
        assert_eq!(file_name("model=org/m,p=50%"), "model=org%2Fm,p=50%25");
    }
}
