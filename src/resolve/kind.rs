//! What a value may be, in words that a message can use.

/// The kind of a value that a node wants or a parameter takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Text,
    Int,
    Float,
    Bool,
    /// Bytes, with a unit.
    Size,
    /// A time, with a unit.
    Time,
    Percent,
    /// A file or folder beside the KDL file.
    File,
    /// Another step's output.
    Step,
    /// A step's output or a file.
    Input,
    /// The same, or many: all cells of a step.
    Inputs,
    /// A step, or some of its cells.
    Cells,
    /// Values of an axis: a value, a range, or a parameter.
    Points,
    /// Any value that is no file and no step.
    Plain,
    /// A piece of a command line.
    Arg,
    /// The value of a parameter whose type is still to be found out.
    Any,
}

impl Kind {
    /// The names of types as `param type=` takes them.
    pub const PARAM_TYPES: &'static [&'static str] =
        &["string", "int", "float", "bool", "size", "time", "percent", "file", "step", "input"];

    /// The kind of `param type=NAME`.
    pub fn of_type(name: &str) -> Option<Kind> {
        Some(match name {
            "string" => Kind::Text,
            "int" => Kind::Int,
            "float" => Kind::Float,
            "bool" => Kind::Bool,
            "size" => Kind::Size,
            "time" => Kind::Time,
            "percent" => Kind::Percent,
            "file" => Kind::File,
            "step" => Kind::Step,
            "input" => Kind::Input,
            _ => return None,
        })
    }

    /// With its article: `a whole number`.
    pub fn describe(self) -> &'static str {
        match self {
            Kind::Text => "a string",
            Kind::Int => "a whole number",
            Kind::Float => "a number",
            Kind::Bool => "a truth value",
            Kind::Size => "a size",
            Kind::Time => "a time",
            Kind::Percent => "a percentage",
            Kind::File => "a file",
            Kind::Step => "a step",
            Kind::Input => "a step or a file",
            Kind::Inputs => "a step, its cells or a file",
            Kind::Cells => "a step or its cells",
            Kind::Plain | Kind::Any | Kind::Points => "a value",
            Kind::Arg => "an argument",
        }
    }

    /// How to write one.
    pub fn example(self) -> &'static str {
        match self {
            Kind::Text | Kind::Plain | Kind::Arg | Kind::Any | Kind::Points => "\"text\"",
            Kind::Int => "4",
            Kind::Float => "0.5",
            Kind::Bool => "#true",
            Kind::Size => "(GiB)4",
            Kind::Time => "(s)30",
            Kind::Percent => "(percent)2",
            Kind::File => "(file)\"data.txt\"",
            Kind::Step | Kind::Cells => "(step)\"model\"",
            Kind::Input | Kind::Inputs => "(step)\"model\"",
        }
    }

    /// Units that make a value of this kind.
    pub fn units(self) -> &'static [&'static str] {
        match self {
            Kind::Size => &["KiB", "MiB", "GiB"],
            Kind::Time => &["ms", "s", "min", "h"],
            Kind::Percent => &["percent"],
            _ => &[],
        }
    }

    /// True where `(step)` may stand.
    pub fn takes_step(self) -> bool {
        matches!(self, Kind::Step | Kind::Input | Kind::Inputs | Kind::Cells | Kind::Arg | Kind::Any)
    }

    /// True where `(file)` may stand.
    pub fn takes_file(self) -> bool {
        matches!(self, Kind::File | Kind::Input | Kind::Inputs | Kind::Arg | Kind::Any)
    }

    /// True where `(cells)` may stand.
    pub fn takes_cells(self) -> bool {
        matches!(self, Kind::Inputs | Kind::Cells)
    }

    /// True where a plain value may stand.
    pub fn takes_plain(self) -> bool {
        !matches!(self, Kind::File | Kind::Step | Kind::Input | Kind::Inputs | Kind::Cells)
    }

    /// True where a parameter of kind `given` may stand for one of kind `self`.
    pub fn accepts(self, given: Kind) -> bool {
        match (self, given) {
            (_, Kind::Any) | (Kind::Any, _) => true,
            (Kind::Float, Kind::Int) => true,
            (Kind::Plain | Kind::Points, given) => given.takes_plain(),
            // A step or a file turns out to be the one or the other only when the recipe is used.
            (Kind::Arg, _) => true,
            (Kind::Input | Kind::Inputs, Kind::Step | Kind::File | Kind::Input) => true,
            (Kind::Cells, Kind::Step) => true,
            (wanted, given) => wanted == given,
        }
    }
}
