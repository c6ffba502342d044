//! The axes of a matrix: their values, from literals, ranges and lists, and which axes advance together.

use std::collections::BTreeMap;

use super::kind::Kind;
use super::range::{self, Step};
use super::scope::{Bound, origin};
use super::table::WHEN;
use super::value;
use crate::diag::{At, Diagnostic, list};
use crate::pipeline::{Origin, Value};
use crate::syntax::{Entry, Node};

/// One axis.
#[derive(Clone)]
pub struct Axis<'d> {
    pub name: &'d str,
    pub at: At,
    pub values: Vec<AxisValue>,
    /// The values by their places, in the order in which they were written: in a `zip` one may stand again.
    pub rows: Vec<usize>,
    /// Values that only an `include` has.
    extra: Vec<AxisValue>,
    /// The place of each value in `values`, then in `extra`.
    pub index: BTreeMap<String, usize>,
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
pub struct Dimension {
    pub axes: Vec<usize>,
    pub length: usize,
}

/// The axes of a matrix while they are read.
#[derive(Default)]
struct Reading<'d> {
    axes: Vec<Axis<'d>>,
    dimensions: Vec<Dimension>,
}

/// The axes of a matrix, and which of them advance together.
pub fn axes<'d>(
    node: &'d Node,
    around: &Around<'_, 'd>,
    found: &mut Vec<Diagnostic>,
) -> (Vec<Axis<'d>>, Vec<Dimension>) {
    let mut reading = Reading::default();
    for child in node.children() {
        match child.name.text.as_str() {
            "axis" => {
                if let Some(axis) = reading.axis(child, false, around, found) {
                    let length = reading.axes[axis].rows.len();
                    reading.dimensions.push(Dimension { axes: vec![axis], length });
                }
            }
            "zip" => reading.zip(child, around, found),
            WHEN => {
                for inner in child.children().iter().filter(|inner| is_axis(inner)) {
                    let fault = Diagnostic::error("pipe::misplaced-node", "an axis stands in no `when`");
                    let help =
                        "cells would have other names on other hosts: put `exclude` or `include` into the `when`";
                    found.push(fault.at(inner.header(), "here").help(help));
                }
            }
            _ => {}
        }
    }
    (reading.axes, reading.dimensions)
}

/// True for a node that makes axes.
pub fn is_axis(node: &Node) -> bool {
    matches!(node.name.text.as_str(), "axis" | "zip")
}

impl<'d> Reading<'d> {
    /// Reads one axis, and tells its number.
    fn axis(
        &mut self,
        node: &'d Node,
        zipped: bool,
        around: &Around<'_, 'd>,
        found: &mut Vec<Diagnostic>,
    ) -> Option<usize> {
        let axis = Axis::new(node, zipped, around, found)?;
        if let Some(first) = self.axes.iter().find(|known| known.name == axis.name) {
            let fault = Diagnostic::error("pipe::duplicate-name", format!("two axes are named `{}`", axis.name));
            found.push(fault.at(axis.at, "the second").at(first.at, "the first").help("rename one of them"));
            return None;
        }
        self.axes.push(axis);
        Some(self.axes.len() - 1)
    }

    /// Axes that advance together: equally long, and no two rows of them the same.
    fn zip(&mut self, node: &'d Node, around: &Around<'_, 'd>, found: &mut Vec<Diagnostic>) {
        let mut members: Vec<(usize, At)> = Vec::new();
        for child in node.children().iter().filter(|child| child.name.text == "axis") {
            members.extend(self.axis(child, true, around, found).map(|axis| (axis, child.header())));
        }
        let Some(&(first, first_at)) = members.first() else {
            if !node.children().iter().any(is_axis) {
                let fault = Diagnostic::error("pipe::missing-node", "this `zip` has no axis");
                found
                    .push(fault.at(node.header(), "here").help("write `axis \"NAME\" \"a\" \"b\"` between its braces"));
            }
            return;
        };
        let length = |axis: usize| self.axes[axis].rows.len();
        if let Some((other, at)) = members.iter().find(|(other, _)| length(*other) != length(first)) {
            let fault = Diagnostic::error("pipe::zip-lengths", "axes that advance together are equally long");
            let values = |n: usize| format!("{n} value{}", if n == 1 { "" } else { "s" });
            let fault = fault.at(*at, values(length(*other))).at(first_at, values(length(first)));
            found.push(fault.help("add or take away values, or take an axis out of the `zip`"));
            return;
        }
        let mut seen: BTreeMap<Vec<usize>, usize> = BTreeMap::new();
        for row in 0..length(first) {
            let values: Vec<usize> = members.iter().map(|(axis, _)| self.axes[*axis].rows[row]).collect();
            if let Some(before) = seen.insert(values, row) {
                let named = |(axis, _): &(usize, At)| self.axes[*axis].shown(row);
                let point: Vec<String> = members.iter().map(named).collect();
                let fault =
                    Diagnostic::error("pipe::duplicate-cell", format!("this `zip` makes {} twice", list(&point)));
                let places = format!("by the values in places {} and {}", before + 1, row + 1);
                found.push(fault.at(node.header(), places).help("take one of them away on each axis"));
                return;
            }
        }
        let length = length(first);
        self.dimensions.push(Dimension { axes: members.into_iter().map(|(axis, _)| axis).collect(), length });
    }
}

/// The single value of a property; `None` where there is none, which the checker tells.
pub fn one(entry: &Entry, axis: &str, around: &Around<'_, '_>) -> Option<AxisValue> {
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
    fn new(node: &'d Node, zipped: bool, around: &Around<'_, 'd>, found: &mut Vec<Diagnostic>) -> Option<Axis<'d>> {
        let mut entries = node.values();
        let name = entries.next()?;
        let mut axis = Axis {
            name: name.text()?,
            at: name.at,
            values: Vec::new(),
            rows: Vec::new(),
            extra: Vec::new(),
            index: BTreeMap::new(),
        };
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
                if entry.text().is_none() {
                    sound = false;
                    continue;
                }
                match range::values(entry, by) {
                    Ok(numbers) => {
                        for n in numbers {
                            let value = Value::Integer(n);
                            let text = value.to_string();
                            let value = AxisValue { text, value, origin: origin(entry.at), at: entry.at };
                            sound &= axis.add(value, zipped, found);
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
                sound &= axis.add(value, zipped, found);
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
    fn add(&mut self, value: AxisValue, zipped: bool, found: &mut Vec<Diagnostic>) -> bool {
        if let Some(fault) = value.refuse() {
            found.push(fault);
            return false;
        }
        if let Some(first) = self.index.get(&value.text).copied() {
            if zipped {
                self.rows.push(first);
                return true;
            }
            let fault = Diagnostic::error(
                "pipe::duplicate-name",
                format!("axis `{}` has the value `{}` twice", self.name, value.text),
            );
            let first = self.values[first].at;
            found.push(fault.at(value.at, "the second").at(first, "the first").help("take one away"));
            return false;
        }
        self.index.insert(value.text.clone(), self.values.len());
        self.rows.push(self.values.len());
        self.values.push(value);
        true
    }

    /// The text of a value that an `include` gives, which becomes known.
    pub fn admit(&mut self, value: AxisValue, found: &mut Vec<Diagnostic>) -> Option<String> {
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

    /// `batch=8`: the value in a place of the axis as it was written.
    fn shown(&self, row: usize) -> String {
        format!("{}={}", self.name, self.values[self.rows[row]].text)
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
