//! A `matrix` node as its cells.
//!
//! A *point* is what the axes make, zipped or each with each; a *cell* is a point that no `exclude` rules out,
//! or what an `include` adds. Points keep the order of the axes, the last one turning fastest. It knows the
//! values of the pipeline's parameters, and nothing of steps.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::axis::{Around, Axis, Dimension, axes, is_axis, one};
use super::kind::Kind;
use super::table::WHEN;
use super::value;
use crate::diag::{At, Diagnostic, list, suggest};
use crate::pipeline::{Cell, Matrix};
use crate::syntax::{Entry, Node};

/// More cells than this are not made.
pub const MOST_CELLS: usize = 100_000;

/// A matrix with the places of its words.
pub struct MatrixDecl<'d> {
    pub name: String,
    pub at: At,
    pub axes: Vec<Axis<'d>>,
    pub points: Vec<(Rc<Cell>, Fate)>,
    /// Those of the points that are made, in their order.
    pub cells: Vec<Rc<Cell>>,
    /// Why an `include` added some of the cells, by their numbers.
    pub reasons: BTreeMap<usize, String>,
    /// The matrices of which this is the product, by their numbers; of a declared one, none.
    pub parts: Vec<usize>,
}

/// What becomes of a point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    Cell,
    Included(Option<String>),
    Excluded(String),
}

/// An `exclude`: the numbers of axes and values, and the reason.
type Rule = (Vec<(usize, usize)>, String);

impl<'d> MatrixDecl<'d> {
    /// Reads a `matrix` node.
    pub fn new(node: &'d Node, around: &Around<'_, 'd>, found: &mut Vec<Diagnostic>) -> Option<MatrixDecl<'d>> {
        let name = node.values().next()?;
        let (axes, dimensions) = axes(node, around, found);
        let mut matrix = MatrixDecl {
            name: name.text()?.to_owned(),
            at: name.at,
            axes,
            points: Vec::new(),
            cells: Vec::new(),
            reasons: BTreeMap::new(),
            parts: Vec::new(),
        };
        if dimensions.is_empty() && node.children().iter().any(is_axis) {
            // What is wrong with them has been told.
            return Some(matrix);
        }
        if dimensions.is_empty() {
            let fault = Diagnostic::error("pipe::missing-node", format!("matrix `{}` has no axis", matrix.name));
            found.push(fault.at(node.header(), "here").help("write `axis \"NAME\" \"a\" \"b\"` between its braces"));
            return Some(matrix);
        }
        let count = dimensions.iter().try_fold(1usize, |n, dimension| n.checked_mul(dimension.length));
        if count.is_none_or(|n| n > MOST_CELLS) {
            found.push(too_many(&matrix.name, node.header()));
            return Some(matrix);
        }
        // Values of all `include`s are known, whether or not their `when` holds: what names them is then no slip.
        let mut includes = Vec::new();
        for (include, holds) in rules(node.children(), "include", true, around) {
            includes.extend(matrix.read_include(include, around, found).filter(|_| holds));
        }
        let mut excludes = Vec::new();
        for (exclude, holds) in rules(node.children(), "exclude", true, around) {
            excludes.extend(matrix.read_exclude(exclude, around, found).filter(|_| holds));
        }
        matrix.points = matrix.product(&dimensions, &excludes);
        matrix.include(includes, found);
        matrix.settle();
        Some(matrix)
    }

    /// Every point, the last axis turning fastest, and whether a rule takes it out.
    fn product(&self, dimensions: &[Dimension], excludes: &[Rule]) -> Vec<(Rc<Cell>, Fate)> {
        let mut coordinates: Vec<Vec<usize>> = vec![vec![0; self.axes.len()]];
        for dimension in dimensions {
            let with = |point: &Vec<usize>, row: usize| {
                let mut point = point.clone();
                dimension.axes.iter().for_each(|axis| point[*axis] = self.axes[*axis].rows[row]);
                point
            };
            coordinates = coordinates.iter().flat_map(|p| (0..dimension.length).map(move |row| with(p, row))).collect();
        }
        let cell = |point: &[usize]| {
            let pair = |(axis, row): (&Axis, &usize)| (axis.name.to_owned(), axis.values[*row].text.clone());
            Cell(self.axes.iter().zip(point).map(pair).collect())
        };
        let fate = |point: &[usize]| {
            let rule = excludes.iter().find(|(pairs, _)| pairs.iter().all(|(axis, row)| point[*axis] == *row));
            rule.map_or(Fate::Cell, |(_, reason)| Fate::Excluded(reason.clone()))
        };
        coordinates.iter().map(|point| (Rc::new(cell(point)), fate(point))).collect()
    }

    /// Adds the cells of `include`s: in its place what was excluded, behind the others what is new.
    fn include(&mut self, includes: Vec<(Cell, Option<String>, At)>, found: &mut Vec<Diagnostic>) {
        if includes.is_empty() {
            return;
        }
        let mut known: BTreeMap<Rc<Cell>, usize> =
            self.points.iter().enumerate().map(|(place, (cell, _))| (cell.clone(), place)).collect();
        for (cell, reason, at) in includes {
            match known.get(&cell) {
                Some(place) if matches!(self.points[*place].1, Fate::Excluded(_)) => {
                    self.points[*place].1 = Fate::Included(reason);
                }
                Some(_) => {
                    let fault = Diagnostic::error(
                        "pipe::duplicate-cell",
                        format!("matrix `{}` has the cell {cell} already", self.name),
                    );
                    found.push(fault.at(at, "added once more").help("take this `include` away"));
                }
                None => {
                    let cell = Rc::new(cell);
                    known.insert(cell.clone(), self.points.len());
                    self.points.push((cell, Fate::Included(reason)));
                }
            }
        }
    }

    fn read_include(
        &mut self,
        node: &'d Node,
        around: &Around<'_, 'd>,
        found: &mut Vec<Diagnostic>,
    ) -> Option<(Cell, Option<String>, At)> {
        let reason = node.property_or_child("reason").and_then(Entry::text).map(str::to_owned);
        let mut values: BTreeMap<&str, String> = BTreeMap::new();
        let mut sound = true;
        for entry in &node.entries {
            let Some(key) = entry.key.as_ref().filter(|key| key.text != "reason") else {
                continue;
            };
            let Some(axis) = self.axes.iter_mut().find(|axis| axis.name == key.text) else {
                found.push(self.unknown_axis(&key.text, key.at));
                sound = false;
                continue;
            };
            match one(entry, &key.text, around).and_then(|value| axis.admit(value, found)) {
                Some(text) => {
                    values.insert(axis.name, text);
                }
                None => sound = false,
            }
        }
        let missing: Vec<&str> = self.axes.iter().map(|a| a.name).filter(|name| !values.contains_key(name)).collect();
        if !missing.is_empty() && sound {
            let fault = Diagnostic::error("pipe::missing-axis", "`include` adds one cell, and this is not a whole one");
            let written: Vec<String> = missing.iter().map(|axis| format!("{axis}=…")).collect();
            let fault = fault.at(node.header(), format!("it says nothing of {}", list(&missing)));
            found.push(fault.help(format!("name every axis: write also `{}`", written.join(" "))));
            return None;
        }
        let pair = |axis: &Axis| Some((axis.name.to_owned(), values.remove(axis.name)?));
        let cell = Cell(self.axes.iter().map(pair).collect::<Option<_>>().filter(|_| sound)?);
        Some((cell, reason, node.header()))
    }

    fn read_exclude(&self, node: &'d Node, around: &Around<'_, 'd>, found: &mut Vec<Diagnostic>) -> Option<Rule> {
        let reason = node.property_or_child("reason").and_then(Entry::text)?;
        let mut pairs = Vec::new();
        let mut sound = true;
        for entry in &node.entries {
            let Some(key) = entry.key.as_ref().filter(|key| key.text != "reason") else {
                continue;
            };
            // What is no value at all, the checker tells.
            let Some(value) = one(entry, &key.text, around).map(|value| value.value.to_string()) else {
                sound = false;
                continue;
            };
            match self.known(&key.text, key.at, &value, entry.at) {
                Ok((axis, row)) => pairs.push((axis, row)),
                Err(fault) => {
                    found.push(fault);
                    sound = false;
                }
            }
        }
        if sound && pairs.is_empty() {
            let fault = Diagnostic::error("pipe::missing-setting", "this `exclude` names no axis");
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

    /// The numbers of an axis and of its value; refuses what the matrix has not.
    pub fn known(&self, axis: &str, axis_at: At, value: &str, value_at: At) -> Result<(usize, usize), Diagnostic> {
        let Some(place) = self.axes.iter().position(|known| known.name == axis) else {
            return Err(self.unknown_axis(axis, axis_at));
        };
        let known = &self.axes[place];
        if let Some(row) = known.index.get(value) {
            return Ok((place, *row));
        }
        let fault = Diagnostic::error("pipe::unknown-value", format!("axis `{axis}` has no value `{value}`"));
        let help = suggest(value, known.all().map(|v| v.text.as_str()), "it has");
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

    /// Why a pattern of cells fits none that is made, where an `exclude` is the reason.
    pub fn why_excluded(&self, fits: impl Fn(&Cell) -> bool) -> Option<&str> {
        self.points.iter().find_map(|(cell, fate)| match fate {
            Fate::Excluded(reason) if fits(cell) => Some(reason.as_str()),
            _ => None,
        })
    }

    /// Takes the cells out of the points.
    pub fn settle(&mut self) {
        for (cell, fate) in &self.points {
            match fate {
                Fate::Excluded(_) => continue,
                Fate::Included(Some(reason)) => {
                    self.reasons.insert(self.cells.len(), reason.clone());
                }
                Fate::Included(None) | Fate::Cell => {}
            }
            self.cells.push(cell.clone());
        }
    }

    /// As the pipeline holds it.
    pub fn plain(&self) -> Matrix {
        let values = |axis: &Axis| axis.values.iter().map(|value| value.text.clone()).collect();
        let mut matrix = Matrix {
            name: self.name.clone(),
            axes: self.axes.iter().map(|axis| (axis.name.to_owned(), values(axis))).collect(),
            points: self.points.iter().map(|(cell, _)| (**cell).clone()).collect(),
            excluded: Vec::new(),
            included: Vec::new(),
        };
        for (cell, fate) in &self.points {
            match fate {
                Fate::Cell => {}
                Fate::Included(reason) => matrix.included.push(((**cell).clone(), reason.clone())),
                Fate::Excluded(reason) => matrix.excluded.push(((**cell).clone(), reason.clone())),
            }
        }
        matrix
    }
}

/// The nodes of a name in a body and its `when`s, and whether all of those hold.
fn rules<'d>(nodes: &'d [Node], name: &str, holds: bool, around: &Around<'_, 'd>) -> Vec<(&'d Node, bool)> {
    let mut out = Vec::new();
    for node in nodes {
        if node.name.text == WHEN {
            out.extend(rules(node.children(), name, holds && (around.holds)(node), around));
        } else if node.name.text == name {
            out.push((node, holds));
        }
    }
    out
}

pub fn too_many(name: &str, at: At) -> Diagnostic {
    let fault = Diagnostic::error("pipe::too-many-cells", format!("matrix `{name}` has more than {MOST_CELLS} cells"));
    fault.at(at, "here").help("take values out of its axes")
}
