//! A `matrix` node as its cells, and several matrices as one.
//!
//! A *point* is what the axes make, zipped or each with each; a *cell* is a point that no `exclude` rules out,
//! or what an `include` adds. Points keep the order of the axes, the last one turning fastest. It knows the
//! values of the pipeline's parameters, and nothing of steps.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::kind::Kind;
use super::range::{self, Step};
use super::scope::{Bound, origin};
use super::table::WHEN;
use super::value;
use crate::diag::{At, Diagnostic, list, suggest};
use crate::pipeline::{Cell, Matrix, Origin, Value};
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

/// One axis.
#[derive(Clone)]
pub struct Axis<'d> {
    pub name: &'d str,
    pub at: At,
    pub values: Vec<AxisValue>,
    /// Values that only an `include` has.
    extra: Vec<AxisValue>,
    /// The place of each value in `values`, then in `extra`.
    index: BTreeMap<String, usize>,
}

/// One value of an axis.
#[derive(Debug, Clone)]
pub struct AxisValue {
    /// As cells are named by it.
    pub text: String,
    pub value: Value,
    pub origin: Origin,
    at: At,
}

/// What a matrix may ask of the pipeline around it.
pub struct Around<'a, 'd> {
    pub params: &'a BTreeMap<&'d str, Bound>,
    /// Decides a `when`.
    pub holds: &'a dyn Fn(&'d Node) -> bool,
}

/// Axes that advance together, by their numbers, and how many values each has.
struct Dimension {
    axes: Vec<usize>,
    length: usize,
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
            parts: Vec::new(),
        };
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
        matrix.cells = cells(&matrix.points);
        Some(matrix)
    }

    /// Every point, the last axis turning fastest, and whether a rule takes it out.
    fn product(&self, dimensions: &[Dimension], excludes: &[Rule]) -> Vec<(Rc<Cell>, Fate)> {
        let mut coordinates: Vec<Vec<usize>> = vec![vec![0; self.axes.len()]];
        for dimension in dimensions {
            let with = |point: &Vec<usize>, row: usize| {
                let mut point = point.clone();
                dimension.axes.iter().for_each(|axis| point[*axis] = row);
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

/// The cells among the points.
fn cells(points: &[(Rc<Cell>, Fate)]) -> Vec<Rc<Cell>> {
    points.iter().filter(|(_, fate)| !matches!(fate, Fate::Excluded(_))).map(|(cell, _)| cell.clone()).collect()
}

fn too_many(name: &str, at: At) -> Diagnostic {
    let fault = Diagnostic::error("pipe::too-many-cells", format!("matrix `{name}` has more than {MOST_CELLS} cells"));
    fault.at(at, "here").help("take values out of its axes")
}

/// The matrices that a step names in its `for-each`.
pub fn for_each(node: &Node) -> Vec<&Entry> {
    if let Some(entry) = node.property("for-each") {
        return vec![entry];
    }
    let child = node.children().iter().find(|child| child.name.text == "for-each");
    child.map(|child| child.values().collect()).unwrap_or_default()
}

/// The matrix, declared or a product, whose cells a step is made for.
pub fn of_node(matrices: &[MatrixDecl<'_>], node: &Node) -> Option<usize> {
    let named = |entry: &Entry| {
        let name = entry.text()?;
        matrices.iter().position(|matrix| matrix.parts.is_empty() && matrix.name == name)
    };
    match for_each(node)[..] {
        [] => None,
        [entry] => named(entry),
        ref several => {
            let parts: Vec<usize> = several.iter().map(|entry| named(entry)).collect::<Option<_>>()?;
            matrices.iter().position(|matrix| matrix.parts == parts)
        }
    }
}

/// Adds the product of every list of matrices that a step of the pipeline names.
pub fn products<'d>(nodes: &'d [Node], matrices: &mut Vec<MatrixDecl<'d>>, found: &mut Vec<Diagnostic>) {
    for node in nodes {
        if node.name.text == WHEN {
            products(node.children(), matrices, found);
            continue;
        }
        let named = for_each(node);
        if named.len() < 2 || of_node(matrices, node).is_some() {
            continue;
        }
        let number =
            |entry: &&Entry| matrices.iter().position(|m| m.parts.is_empty() && Some(m.name.as_str()) == entry.text());
        // A matrix that is not there, the checker tells.
        let Some(parts) = named.iter().map(number).collect::<Option<Vec<usize>>>() else {
            continue;
        };
        let twice = (1..parts.len()).find(|i| parts[..*i].contains(&parts[*i]));
        if let Some(second) = twice {
            let name = &matrices[parts[second]].name;
            let fault = Diagnostic::error("pipe::duplicate-name", format!("`for-each` names matrix `{name}` twice"));
            found.push(fault.at(named[second].at, "the second time").help("take one away"));
            continue;
        }
        let mut made: Option<MatrixDecl<'d>> = None;
        for (part, entry) in parts.iter().zip(&named) {
            made = match made {
                None => Some(matrices[*part].alone(entry.at)),
                Some(product) => product.with(&matrices[*part], entry.at, found),
            };
            if made.is_none() {
                break;
            }
        }
        if let Some(mut product) = made {
            product.cells = cells(&product.points);
            product.parts = parts;
            matrices.push(product);
        }
    }
}

impl<'d> MatrixDecl<'d> {
    /// The start of a product.
    fn alone(&self, at: At) -> MatrixDecl<'d> {
        MatrixDecl {
            name: self.name.clone(),
            at,
            axes: self.axes.clone(),
            points: self.points.clone(),
            cells: Vec::new(),
            parts: Vec::new(),
        }
    }

    /// Every point of `self` with every point of `other` that has the same values on the axes of both.
    fn with(mut self, other: &MatrixDecl<'d>, at: At, found: &mut Vec<Diagnostic>) -> Option<MatrixDecl<'d>> {
        let shared: Vec<&str> = other.axes.iter().map(|a| a.name).filter(|name| self.axis(name).is_some()).collect();
        let values = |cell: &Cell| -> Vec<String> {
            shared.iter().map(|axis| cell.get(axis).unwrap_or_default().to_owned()).collect()
        };
        let mut agreeing: BTreeMap<Vec<String>, Vec<usize>> = BTreeMap::new();
        for (place, (cell, _)) in other.points.iter().enumerate() {
            agreeing.entry(values(cell)).or_default().push(place);
        }
        let fits: Vec<&[usize]> = self
            .points
            .iter()
            .map(|(cell, _)| agreeing.get(&values(cell)).map(Vec::as_slice).unwrap_or_default())
            .collect();
        let name = format!("{} × {}", self.name, other.name);
        let count: usize = fits.iter().map(|places| places.len()).sum();
        if count > MOST_CELLS {
            found.push(too_many(&name, at));
            return None;
        }
        if count == 0 && !self.points.is_empty() && !other.points.is_empty() {
            let fault = Diagnostic::error(
                "pipe::no-common-cell",
                format!("no cell of `{}` agrees with any of `{}`", self.name, other.name),
            );
            let axis = shared.first().copied().unwrap_or_default();
            let mut fault = fault.at(at, "their product has no cells");
            for place in [self.axis(axis), other.axis(axis)].into_iter().flatten() {
                fault = fault.at(place.at, format!("one `{axis}`"));
            }
            found.push(fault.help("give the axis that they share a common value, or rename one of the two"));
            return None;
        }
        let join = |(cell, fate): &(Rc<Cell>, Fate), place: usize| {
            let (second, second_fate) = &other.points[place];
            let more = second.0.iter().filter(|(axis, _)| !shared.contains(&axis.as_str())).cloned();
            (Rc::new(Cell(cell.0.iter().cloned().chain(more).collect())), fate.and(second_fate))
        };
        let points: Vec<(Rc<Cell>, Fate)> = self
            .points
            .iter()
            .zip(&fits)
            .flat_map(|(point, places)| places.iter().map(move |place| join(point, *place)))
            .collect();
        let more = other.axes.iter().filter(|axis| !shared.contains(&axis.name)).cloned();
        self.axes.extend(more);
        self.points = points;
        self.name = name;
        Some(self)
    }
}

impl Fate {
    /// Of a point that is made of two: excluded where one is, else included where one is.
    fn and(&self, other: &Fate) -> Fate {
        match (self, other) {
            (Fate::Excluded(_), _) => self.clone(),
            (_, Fate::Excluded(_)) => other.clone(),
            (Fate::Included(Some(_)), _) => self.clone(),
            (_, Fate::Included(_)) => other.clone(),
            _ => self.clone(),
        }
    }
}

/// The axes of a matrix, and which of them advance together.
fn axes<'d>(node: &'d Node, around: &Around<'_, 'd>, found: &mut Vec<Diagnostic>) -> (Vec<Axis<'d>>, Vec<Dimension>) {
    let mut axes: Vec<Axis> = Vec::new();
    let mut dimensions = Vec::new();
    let mut one = |child: &'d Node, found: &mut Vec<Diagnostic>| -> Option<(usize, usize)> {
        let axis = Axis::new(child, around, found)?;
        if let Some(first) = axes.iter().find(|known| known.name == axis.name) {
            let fault = Diagnostic::error("pipe::duplicate-name", format!("two axes are named `{}`", axis.name));
            found.push(fault.at(axis.at, "the second").at(first.at, "the first").help("rename one of them"));
            return None;
        }
        axes.push(axis);
        Some((axes.len() - 1, axes[axes.len() - 1].values.len()))
    };
    for child in node.children() {
        match child.name.text.as_str() {
            "axis" => {
                dimensions.extend(one(child, found).map(|(axis, length)| Dimension { axes: vec![axis], length }));
            }
            "zip" => {
                let members: Vec<(usize, usize, At)> = child
                    .children()
                    .iter()
                    .filter(|axis| axis.name.text == "axis")
                    .filter_map(|axis| one(axis, found).map(|(number, length)| (number, length, axis.header())))
                    .collect();
                let Some(&(_, length, first)) = members.first() else {
                    continue;
                };
                if let Some((_, other, at)) = members.iter().find(|(_, other, _)| *other != length) {
                    let fault = Diagnostic::error("pipe::zip-lengths", "axes that advance together are equally long");
                    let values = |n: usize| format!("{n} value{}", if n == 1 { "" } else { "s" });
                    let fault = fault.at(*at, values(*other)).at(first, values(length));
                    found.push(fault.help("add or take away values, or take an axis out of the `zip`"));
                    continue;
                }
                dimensions.push(Dimension { axes: members.iter().map(|(axis, ..)| *axis).collect(), length });
            }
            WHEN => {
                for inner in child.children().iter().filter(|inner| matches!(inner.name.text.as_str(), "axis" | "zip"))
                {
                    let fault = Diagnostic::error("pipe::misplaced-node", "an axis stands in no `when`");
                    let help =
                        "cells would have other names on other hosts: put `exclude` or `include` into the `when`";
                    found.push(fault.at(inner.header(), "here").help(help));
                }
            }
            _ => {}
        }
    }
    (axes, dimensions)
}

/// The single value of a property; `None` where there is none, which the checker tells.
fn one(entry: &Entry, axis: &str, around: &Around<'_, '_>) -> Option<AxisValue> {
    let mut values = given(entry, &format!("axis `{axis}`"), around)?;
    values.pop().filter(|_| values.is_empty())
}

/// The values that an entry gives: itself, or those of a parameter.
fn given(entry: &Entry, what: &str, around: &Around<'_, '_>) -> Option<Vec<AxisValue>> {
    let value = |value: Value, origin: Origin| AxisValue { text: value.to_string(), value, origin, at: entry.at };
    let plain = |bound: &Bound| match bound {
        Bound::Value(spanned) => Some(value(spanned.value.clone(), spanned.origin.clone())),
        _ => None,
    };
    if entry.annotated() == Some("param") {
        return match around.params.get(entry.text()?)? {
            Bound::List(items) => items.iter().map(plain).collect(),
            bound => plain(bound).map(|value| vec![value]),
        };
    }
    value::literal(entry, Kind::Plain, what).ok().map(|literal| vec![value(literal, origin(entry.at))])
}

impl<'d> Axis<'d> {
    fn new(node: &'d Node, around: &Around<'_, 'd>, found: &mut Vec<Diagnostic>) -> Option<Axis<'d>> {
        let mut entries = node.values();
        let name = entries.next()?;
        let mut axis =
            Axis { name: name.text()?, at: name.at, values: Vec::new(), extra: Vec::new(), index: BTreeMap::new() };
        let step = node.property_or_child("step");
        let by = match step.filter(|step| step.text().is_some()).map(Step::read) {
            Some(Ok(step)) => step,
            Some(Err(fault)) => {
                found.push(fault);
                return Some(axis);
            }
            None => Step::Add(1),
        };
        let mut ranges = 0;
        // Of a value that is none, the checker tells.
        let mut sound = true;
        for entry in entries {
            if entry.annotated() == Some("range") {
                ranges += 1;
                match range::values(entry, by) {
                    Ok(numbers) => {
                        for n in numbers {
                            let value = Value::Integer(n);
                            let text = value.to_string();
                            let value = AxisValue { text, value, origin: origin(entry.at), at: entry.at };
                            sound &= axis.add(value, found);
                        }
                    }
                    Err(fault) => {
                        found.push(fault);
                        sound = false;
                    }
                }
                continue;
            }
            let values = given(entry, "an axis value", around);
            sound &= values.is_some();
            for value in values.into_iter().flatten() {
                sound &= axis.add(value, found);
            }
        }
        if let Some(step) = step.filter(|_| ranges == 0) {
            let fault = Diagnostic::error("pipe::step-without-range", "only a range has a step");
            let help = format!("write `axis \"{}\" (range)\"1..8\" step=…`, or take `step` away", axis.name);
            found.push(fault.at(step.at, "this belongs to no range").help(help));
        }
        if axis.values.is_empty() && sound {
            axis.empty(node, found);
        }
        Some(axis)
    }

    fn empty(&self, node: &'d Node, found: &mut Vec<Diagnostic>) {
        let fault = Diagnostic::error("pipe::missing-value", format!("axis `{}` has no values", self.name));
        let list = node.values().nth(1).filter(|entry| entry.annotated() == Some("param")).and_then(Entry::text);
        found.push(match list {
            Some(list) => {
                fault.at(node.header(), "the list is empty").help(format!("give `{list}` a value: `--set {list}=1,8`"))
            }
            None => fault
                .at(node.header(), "here")
                .help(format!("write them behind its name: `axis \"{}\" \"a\" \"b\"`", self.name)),
        });
    }

    /// Adds a value, or says what is wrong with it.
    fn add(&mut self, value: AxisValue, found: &mut Vec<Diagnostic>) -> bool {
        if let Some(fault) = value.refuse() {
            found.push(fault);
            return false;
        }
        if let Some(first) = self.index.get(&value.text) {
            let fault = Diagnostic::error(
                "pipe::duplicate-name",
                format!("axis `{}` has the value `{}` twice", self.name, value.text),
            );
            let first = self.values[*first].at;
            found.push(fault.at(value.at, "the second").at(first, "the first").help("take one away"));
            return false;
        }
        self.index.insert(value.text.clone(), self.values.len());
        self.values.push(value);
        true
    }

    /// The text of a value that an `include` gives, which becomes known.
    fn admit(&mut self, value: AxisValue, found: &mut Vec<Diagnostic>) -> Option<String> {
        if let Some(fault) = value.refuse() {
            found.push(fault);
            return None;
        }
        let text = value.text.clone();
        if !self.index.contains_key(&text) {
            self.index.insert(text.clone(), self.values.len() + self.extra.len());
            self.extra.push(value);
        }
        Some(text)
    }

    /// The value that cells name so.
    pub fn value(&self, text: &str) -> Option<&AxisValue> {
        let place = *self.index.get(text)?;
        self.values.get(place).or_else(|| self.extra.get(place - self.values.len()))
    }

    /// All values, those of an `include` last.
    pub fn all(&self) -> impl Iterator<Item = &AxisValue> {
        self.values.iter().chain(&self.extra)
    }
}

impl AxisValue {
    fn refuse(&self) -> Option<Diagnostic> {
        let bad = |c: char| c.is_whitespace() || ",=[]*".contains(c);
        if !self.text.is_empty() && !self.text.contains(bad) {
            return None;
        }
        let fault = Diagnostic::error("pipe::bad-name", format!("`{}` cannot be a value of an axis", self.text));
        let help = "it becomes part of a cell's name: leave out spaces and the signs , = [ ] *";
        Some(fault.at(self.at, "here").help(help))
    }
}
