//! A `matrix` node as its cells.

use std::rc::Rc;

use super::kind::Kind;
use super::value;
use crate::diag::{At, Diagnostic, list, suggest};
use crate::pipeline::{Cell, Matrix};
use crate::syntax::{Entry, Node};

/// More cells than this are not made.
const MOST_CELLS: usize = 100_000;

/// A matrix with the places of its words.
pub struct MatrixDecl<'d> {
    pub name: &'d str,
    pub at: At,
    pub axes: Vec<Axis<'d>>,
    /// In the order of the axes, the last one turning fastest.
    pub cells: Vec<Rc<Cell>>,
    pub excluded: Vec<(Cell, String)>,
}

/// One axis.
pub struct Axis<'d> {
    pub name: &'d str,
    pub at: At,
    pub values: Vec<(String, At)>,
}

impl<'d> MatrixDecl<'d> {
    /// Reads a `matrix` node.
    pub fn new(node: &'d Node, found: &mut Vec<Diagnostic>) -> Option<MatrixDecl<'d>> {
        let name = node.values().next()?;
        let mut axes: Vec<Axis> = Vec::new();
        for child in node.children().iter().filter(|child| child.name.text == "axis") {
            let Some(axis) = Axis::new(child, found) else {
                continue;
            };
            match axes.iter().find(|known| known.name == axis.name) {
                Some(first) => {
                    let fault =
                        Diagnostic::error("pipe::duplicate-axis", format!("two axes are named `{}`", axis.name));
                    found.push(fault.at(axis.at, "the second").at(first.at, "the first").help("rename one of them"));
                }
                None => axes.push(axis),
            }
        }
        let mut matrix = MatrixDecl { name: name.text()?, at: name.at, axes, cells: Vec::new(), excluded: Vec::new() };
        let count = matrix.axes.iter().try_fold(1usize, |n, axis| n.checked_mul(axis.values.len()));
        if count.is_none_or(|n| n > MOST_CELLS) {
            let fault = Diagnostic::error(
                "pipe::too-many-cells",
                format!("matrix `{}` has more than {MOST_CELLS} cells", matrix.name),
            );
            let sizes: Vec<String> = matrix.axes.iter().map(|axis| axis.values.len().to_string()).collect();
            let fault = fault.at(node.header(), format!("{} of them", sizes.join(" × ")));
            found.push(fault.help("take values out of its axes, or make two matrices of it"));
            return Some(matrix);
        }
        let excludes: Vec<(Vec<(&str, String)>, String)> = node
            .children()
            .iter()
            .filter(|child| child.name.text == "exclude")
            .filter_map(|child| matrix.exclude(child, found))
            .collect();
        for cell in matrix.product() {
            match excludes.iter().find(|(pairs, _)| pairs.iter().all(|(axis, value)| cell.get(axis) == Some(value))) {
                Some((_, reason)) => matrix.excluded.push((cell, reason.clone())),
                None => matrix.cells.push(Rc::new(cell)),
            }
        }
        Some(matrix)
    }

    fn product(&self) -> Vec<Cell> {
        let mut cells = vec![Cell::default()];
        for axis in &self.axes {
            let with = |cell: &Cell, value: &str| {
                let mut pairs = cell.0.clone();
                pairs.push((axis.name.to_owned(), value.to_owned()));
                Cell(pairs)
            };
            cells = cells.iter().flat_map(|cell| axis.values.iter().map(move |(value, _)| with(cell, value))).collect();
        }
        cells
    }

    fn exclude(&self, node: &'d Node, found: &mut Vec<Diagnostic>) -> Option<(Vec<(&'d str, String)>, String)> {
        let reason = node.property_or_child("reason").and_then(Entry::text)?;
        let mut pairs = Vec::new();
        let mut sound = true;
        for entry in node.entries.iter() {
            let Some(key) = entry.key.as_ref().filter(|key| key.text != "reason") else {
                continue;
            };
            match self.pair(&key.text, key.at, entry) {
                Ok(value) => pairs.push((key.text.as_str(), value)),
                Err(fault) => {
                    found.push(fault);
                    sound = false;
                }
            }
        }
        if sound && pairs.is_empty() {
            let fault = Diagnostic::error("pipe::exclude-without-axis", "this `exclude` names no axis");
            let names: Vec<&str> = self.axes.iter().map(|axis| axis.name).collect();
            found.push(
                fault
                    .at(node.header(), "it would rule out every cell")
                    .help(format!("name values of {}", list(&names))),
            );
            return None;
        }
        sound.then(|| (pairs, reason.to_owned()))
    }

    /// The value that `axis=value` names, where the matrix has both.
    pub fn pair(&self, axis: &str, at: At, entry: &Entry) -> Result<String, Diagnostic> {
        let text = value::literal(entry, Kind::Plain, &format!("axis `{axis}`"))?.to_string();
        self.known(axis, at, &text, entry.at)?;
        Ok(text)
    }

    /// Refuses an axis or a value that the matrix has not.
    pub fn known(&self, axis: &str, axis_at: At, value: &str, value_at: At) -> Result<(), Diagnostic> {
        let Some(known) = self.axis(axis) else {
            return Err(self.unknown_axis(axis, axis_at));
        };
        if known.values.iter().any(|(v, _)| v == value) {
            return Ok(());
        }
        let fault = Diagnostic::error("pipe::unknown-axis-value", format!("axis `{axis}` has no value `{value}`"));
        let help = suggest(value, known.values.iter().map(|(v, _)| v.as_str()), "it has");
        Err(fault.at(value_at, "no such value").at(known.at, "the axis").maybe_help(help))
    }

    /// "matrix `m` has no axis `x`".
    pub fn unknown_axis(&self, axis: &str, at: At) -> Diagnostic {
        let fault = Diagnostic::error("pipe::unknown-axis", format!("matrix `{}` has no axis `{axis}`", self.name));
        fault.at(at, "no such axis").maybe_help(suggest(axis, self.axes.iter().map(|a| a.name), "it has"))
    }

    /// The axis of this name.
    pub fn axis(&self, name: &str) -> Option<&Axis<'d>> {
        self.axes.iter().find(|axis| axis.name == name)
    }

    /// As the pipeline holds it.
    pub fn plain(&self) -> Matrix {
        let values = |axis: &Axis| axis.values.iter().map(|(value, _)| value.clone()).collect();
        Matrix {
            name: self.name.to_owned(),
            axes: self.axes.iter().map(|axis| (axis.name.to_owned(), values(axis))).collect(),
            excluded: self.excluded.clone(),
        }
    }
}

impl<'d> Axis<'d> {
    fn new(node: &'d Node, found: &mut Vec<Diagnostic>) -> Option<Axis<'d>> {
        let mut entries = node.values();
        let name = entries.next()?;
        let text = name.text()?;
        let mut values: Vec<(String, At)> = Vec::new();
        for entry in entries {
            let Ok(value) = value::literal(entry, Kind::Plain, "an axis value") else {
                continue;
            };
            let value = value.to_string();
            if value.is_empty() || value.contains(|c: char| c.is_whitespace() || ",=[]*".contains(c)) {
                let fault =
                    Diagnostic::error("pipe::bad-axis-value", format!("`{value}` cannot be a value of an axis"));
                let help = "it becomes part of a cell's name: leave out spaces and the signs , = [ ] *";
                found.push(fault.at(entry.at, "here").help(help));
                continue;
            }
            match values.iter().find(|(known, _)| *known == value) {
                Some((_, first)) => {
                    let fault = Diagnostic::error(
                        "pipe::duplicate-axis-value",
                        format!("axis `{text}` has the value `{value}` twice"),
                    );
                    found.push(fault.at(entry.at, "the second").at(*first, "the first").help("take one away"));
                }
                None => values.push((value, entry.at)),
            }
        }
        if node.values().count() < 2 {
            let fault = Diagnostic::error("pipe::axis-without-values", format!("axis `{text}` has no values"));
            found.push(
                fault
                    .at(node.header(), "here")
                    .help(format!("write them behind its name: `axis \"{text}\" \"a\" \"b\"`")),
            );
        }
        Some(Axis { name: text, at: name.at, values })
    }
}
