//! What names mean while steps are expanded.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::fields::Fields;
use super::matrix::MatrixDecl;
use crate::diag::{At, Label};
use crate::pipeline::{Action, Cell, CellPattern, Class, Input, Limits, Needs, Origin, Spanned, Value};
use crate::syntax::Node;

/// One set of names: the pipeline's, or those inside one use of a recipe.
pub struct Scope<'d> {
    pub module: usize,
    /// The name of this use of a recipe, and the same without the cell; `None` for the pipeline itself.
    pub instance: Option<(String, String)>,
    /// The step of the body that takes the instance's own name.
    pub result: Option<&'d str>,
    pub params: BTreeMap<&'d str, Bound>,
    pub names: BTreeMap<&'d str, Entity>,
    /// All names that the body gives to steps, those that are not expanded yet too: steps may stand in any order.
    pub declared: BTreeSet<&'d str>,
    /// The cell for which the recipe is used; its steps carry it.
    pub cell: Option<Rc<Cell>>,
    /// The recipe that the user's file named, and where.
    pub recipe: Option<(String, At)>,
    pub export: Option<String>,
    /// The recipes on the way here, innermost first.
    pub trail: Vec<Label>,
}

/// What a parameter is.
#[derive(Debug, Clone)]
pub enum Bound {
    Value(Spanned<Value>),
    /// A file, or something built in.
    Input(Spanned<Input>),
    Step(Ref),
    /// A path below `out/`.
    Output(String),
    /// The values of a list parameter.
    List(Vec<Bound>),
    /// Cells of a step, each on its own.
    Cells(Ref),
    /// It is optional and not given.
    Absent,
    /// It could not be found out, which has been reported.
    Wrong,
}

/// A step by the name that it has somewhere.
#[derive(Debug, Clone)]
pub struct Ref {
    pub scope: usize,
    pub name: String,
    /// A path in its output; empty for all of it.
    pub path: String,
    /// The cell from which it is named: of several cells of that step, the one that agrees is meant.
    pub cell: Option<Rc<Cell>>,
    /// The matrix of that cell, and its number there.
    pub of: Option<(usize, usize)>,
    /// What stands in brackets behind the name: the cells that are meant, on the axes that it names.
    pub chosen: Option<CellPattern>,
    pub at: At,
}

/// What a name of a scope stands for: one step, or one for each cell of a matrix.
#[derive(Debug, Clone)]
pub struct Entity {
    pub at: At,
    pub matrix: Option<usize>,
    pub targets: Vec<(Option<Rc<Cell>>, Target)>,
    /// Its outputs, where the recipe that makes it names them; empty: anything may be there.
    pub outputs: Vec<String>,
}

/// The slot of a step; `None` where it could not be made, which has been reported.
pub type Target = Option<usize>;

/// A step on its way to being built.
pub struct Slot<'d> {
    pub name: String,
    pub group: String,
    pub site: Site,
    /// The cell that the step carries, also deep inside recipes.
    pub cell: Option<Rc<Cell>>,
    pub recipe: Option<String>,
    pub about: Option<String>,
    pub at: At,
    pub export: Option<String>,
    pub class: Class,
    pub needs: Needs,
    pub limits: Limits,
    pub work: Work<'d>,
    /// The slots that it reads, and where it says so.
    pub reads: Vec<(usize, At)>,
    /// The outputs that it declares, once somebody asked.
    pub outputs: Option<Rc<[String]>>,
}

/// What a slot becomes an action of.
pub enum Work<'d> {
    Node(&'d Node),
    Ready(Box<Action>),
}

/// Where an expression is read: its scope, and the cell of the step that it belongs to.
#[derive(Debug, Clone)]
pub struct Site {
    pub scope: usize,
    pub cell: Option<Rc<Cell>>,
    /// The matrix of that cell, and its number there.
    pub of: Option<(usize, usize)>,
}

/// The matrices of a pipeline by number.
pub type Matrices<'d> = [MatrixDecl<'d>];

/// The origin of a place.
pub fn origin(at: At) -> Origin {
    Origin::File { source: at.source, start: at.start, end: at.end }
}

/// The place of an origin, where it is in a file.
pub fn place(origin: &Origin) -> Option<At> {
    match origin {
        Origin::File { source, start, end } => Some(At { source: *source, start: *start, end: *end }),
        Origin::Profile(from) => Some(At { source: from.source, start: from.start, end: from.end }),
        Origin::Flag(_) | Origin::Builtin(_) => None,
    }
}

/// A node opened for decoding, with its site.
pub struct Open<'d> {
    pub node: &'d Node,
    pub fields: Fields<'d>,
    pub site: Site,
}
