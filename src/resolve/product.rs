//! Which matrix a step is made for, and the product of several.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::matrix::{Fate, MOST_CELLS, MatrixDecl, too_many};
use super::table::WHEN;
use crate::diag::{At, Diagnostic};
use crate::pipeline::Cell;
use crate::syntax::{Entry, Node};

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
        }
        let mut product = matrices[parts[0]].alone(named[0].at);
        for (part, entry) in parts.iter().zip(&named).skip(1).filter(|_| twice.is_none()) {
            product = product.with(&matrices[*part], entry.at, found);
        }
        product.settle();
        product.parts = parts;
        matrices.push(product);
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
            reasons: BTreeMap::new(),
            parts: Vec::new(),
        }
    }

    /// Every point of `self` with every point of `other` that has the same values on the axes of both. Where that
    /// is a fault, the product has the axes and no points.
    fn with(mut self, other: &MatrixDecl<'d>, at: At, found: &mut Vec<Diagnostic>) -> MatrixDecl<'d> {
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
        let large = count > MOST_CELLS;
        found.extend(large.then(|| too_many(&name, at)));
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
            .filter(|_| !large)
            .flat_map(|(point, places)| places.iter().map(move |place| join(point, *place)))
            .collect();
        let more = other.axes.iter().filter(|axis| !shared.contains(&axis.name)).cloned();
        self.axes.extend(more);
        self.points = points;
        self.name = name;
        self
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
