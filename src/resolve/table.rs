//! The one table of the language: every node that `pipe` itself understands, its values, settings and
//! children, with their documentation.
//!
//! The checker, the decoder, "did you mean", `pipe schema` and `docs/language.md` read it; measurements and
//! comparisons are in `table/measuring`, annotations, units and host facts in `table/words`. A *setting* is a
//! single value with a name, and may be written as a property (`retry=2`) or as a child (`retry 2`).

mod measuring;
mod words;

pub use measuring::{COMPARE, DEVICES, DTYPES, MEASURE, OPTIMIZATIONS};
pub use words::{ANNOTATIONS, Annotation, FACTS, HOST_FACTS, HostFact, MEANINGS, UNIT_NAMES, UNITS, Unit, unit};

use super::kind::Kind;

/// A node by its name.
#[derive(Debug)]
pub struct NodeSpec {
    pub name: &'static str,
    pub doc: &'static str,
    /// Values without a name, in order.
    pub values: &'static [ValueSpec],
    /// Any number of further values.
    pub rest: Option<ValueSpec>,
    pub settings: &'static [Setting],
    /// Properties of any name, as in `env NAME="value"`.
    pub open: Option<Kind>,
    pub body: Body,
    /// May stand more than once in its parent.
    pub repeats: bool,
    pub required: bool,
    /// A pipeline in `examples/` that shows it.
    pub example: &'static str,
}

/// What stands between the braces, settings apart.
#[derive(Debug)]
pub enum Body {
    /// These nodes.
    Nodes(&'static [&'static NodeSpec]),
    /// Parameters, steps and calls of recipes.
    Recipe,
    /// Names of the user's choice, each with one number.
    Metrics,
    /// Names of the pipeline's parameters, each with its value or values.
    Profile,
}

/// A value without a name.
#[derive(Debug, Clone, Copy)]
pub struct ValueSpec {
    pub name: &'static str,
    pub kind: Kind,
    pub required: bool,
    /// What it may be; empty: anything of its kind.
    pub choices: &'static [&'static str],
    /// A list parameter may stand here, and gives several values.
    pub spreads: bool,
    pub doc: &'static str,
}

/// A value with a name.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    pub name: &'static str,
    pub kind: Kind,
    pub required: bool,
    /// Takes several values, written as a child: `for-each "a" "b"`.
    pub many: bool,
    /// What it may be; empty: anything of its kind.
    pub choices: &'static [&'static str],
    /// What it is where nobody says, as a file would write it; empty: nothing.
    pub default: &'static str,
    pub doc: &'static str,
}

impl Setting {
    const fn or(self, default: &'static str) -> Setting {
        Setting { default, ..self }
    }

    const fn must(self) -> Setting {
        Setting { required: true, ..self }
    }
}

const fn value(name: &'static str, kind: Kind, doc: &'static str) -> ValueSpec {
    ValueSpec { name, kind, required: true, spreads: false, choices: &[], doc }
}

/// Values of which a list parameter gives several.
const fn values(name: &'static str, kind: Kind, doc: &'static str) -> ValueSpec {
    ValueSpec { name, kind, required: true, spreads: true, choices: &[], doc }
}

const fn setting(name: &'static str, kind: Kind, doc: &'static str) -> Setting {
    Setting { name, kind, required: false, many: false, choices: &[], default: "", doc }
}

const fn required(name: &'static str, kind: Kind, doc: &'static str) -> Setting {
    Setting { name, kind, required: true, many: false, choices: &[], default: "", doc }
}

const fn many(name: &'static str, kind: Kind, doc: &'static str) -> Setting {
    Setting { name, kind, required: false, many: true, choices: &[], default: "", doc }
}

const fn choice(name: &'static str, choices: &'static [&'static str], doc: &'static str) -> Setting {
    Setting { name, kind: Kind::Text, required: false, many: false, choices, default: "", doc }
}

/// The start of every entry; the rest is named by `..NODE`.
const NODE: NodeSpec = NodeSpec {
    name: "",
    doc: "",
    values: &[],
    rest: None,
    settings: &[],
    open: None,
    body: Body::Nodes(&[]),
    repeats: false,
    required: false,
    example: "",
};

const NAME: ValueSpec = value("name", Kind::Text, "the name of the step");

/// Settings of everything that makes a step, calls of recipes included.
pub const STEP_SETTINGS: &[Setting] = &[
    setting("about", Kind::Text, "what the step is for, in one line"),
    many(
        "for-each",
        Kind::Text,
        "a matrix: one step for each of its cells; in a file, not in a recipe. Several, as a child `for-each \"cells\" \"sizes\"`, make one step \
         for each combination of their cells; an axis that they share has the same value in all",
    ),
    setting("export", Kind::Text, "a folder name below `out/PIPELINE/` to which the output is given back"),
];

/// Nodes of a file, and their order does not matter, but that `pipeline` comes first.
pub const FILE_NODES: &[&NodeSpec] = &[&PIPELINE, &USE, &PARAM, &PROFILE, &MATRIX, &RECIPE];

/// Nodes that make a step, in files and in recipes.
pub const STEP_NODES: &[&NodeSpec] = &[&STEP, &FETCH, &WHEELS, &HOST_PACKAGES, &TREE, &IMAGE, &MEASURE, &COMPARE];

/// Nodes of a recipe's body that make no step.
pub const RECIPE_NODES: &[&NodeSpec] = &[&RECIPE_PARAM, &RESULT, &RECIPE_OUTPUT];

/// `when` holds its children only where a parameter or axis has a value; it may stand in every body.
pub const WHEN: &str = "when";

/// `when`, for the documentation: it is looked through before a node is held against its entry.
pub static WHEN_NODE: NodeSpec = NodeSpec {
    name: WHEN,
    doc: "Holds what is between its braces only where every condition is true. `NAME=VALUE` asks for the value of \
          a parameter, an axis or a host fact; `\"NAME\"` asks whether an optional parameter is given, and \
          `NAME=#null` whether it is not. It may stand in the body of any step, and in a file or a recipe around \
          steps.",
    rest: Some(value("parameter", Kind::Text, "the name of an optional parameter that must be given")),
    open: Some(Kind::Plain),
    repeats: true,
    example: "when.kdl",
    ..NODE
};

/// What `when` may ask of the machine: `linux` or `macos`.
pub const HOST_OS: &str = "host-os";

/// What `when` may ask of the machine: `x86_64` or `aarch64`.
pub const HOST_ARCH: &str = "host-arch";

/// What `when` may ask of the machine: its accelerator, `nvidia`, `metal` or `none`.
pub const HOST_GPU: &str = "host-gpu";

pub static PIPELINE: NodeSpec = NodeSpec {
    name: "pipeline",
    doc: "Names the pipeline. The first node of a file that can be run.",
    values: &[value("name", Kind::Text, "also the folder of its reports: `out/NAME/`")],
    settings: &[setting("about", Kind::Text, "what question the pipeline answers, in one line")],
    example: "hello.kdl",
    ..NODE
};

pub static USE: NodeSpec = NodeSpec {
    name: "use",
    doc: "Makes the recipes of other files known: `std/…` for ours, else a path from this file.",
    rest: Some(value("file", Kind::Text, "`std/model`, or `recipes/mine.kdl`")),
    settings: &[setting(
        "outside-project",
        Kind::Bool,
        "`#true`: the file may lie outside the project (the nearest folder with `.git`, else the pipeline's own); \
         `(file)` in it then means what lies in its own project",
    )],
    repeats: true,
    example: "use.kdl",
    ..NODE
};

static CHOICES: NodeSpec = NodeSpec {
    name: "choices",
    doc: "The only values that the parameter may have.",
    rest: Some(value("value", Kind::Plain, "a value")),
    example: "param.kdl",
    ..NODE
};

static IGNORE: NodeSpec = NodeSpec {
    name: "ignore",
    doc: "What of a folder beside the KDL file is left out: patterns as in `.gitignore`, of which the last that \
          matches decides. `.git`, `__pycache__` and `.DS_Store` never count. Only what is left is part of the key.",
    example: "filter.kdl",
    rest: Some(value("pattern", Kind::Text, "`*.tmp`, `/build/`, `!keep.tmp`")),
    repeats: true,
    ..NODE
};

static IGNORE_FILE: NodeSpec = NodeSpec {
    name: "ignore-file",
    doc: "A file in that folder whose lines are such patterns.",
    example: "filter.kdl",
    values: &[value("path", Kind::Text, "`.gitignore`, relative to the folder")],
    repeats: true,
    ..NODE
};

/// What may stand between the braces of a setting whose value is a folder beside the KDL file.
pub static FILTER: NodeSpec = NodeSpec { name: "a folder", body: Body::Nodes(&[&IGNORE, &IGNORE_FILE]), ..NODE };

pub static PARAM: NodeSpec = NodeSpec {
    name: "param",
    doc: "A value that `--set NAME=VALUE` and `--profile` can change; used as `(param)\"NAME\"`. With `many=#true` it \
          is a list: `param \"flags\" \"-a\" \"-b\" many=#true`. A list spreads where any number of values may stand \
          (`run`, `tools`, `entrypoint`, an axis, a list parameter of a recipe); `--set flags=-a,-b` sets it, several \
          `--set` of one list add up, and a comma that belongs to a value is written `\\,`.",
    values: &[
        value("name", Kind::Text, "its name"),
        ValueSpec { required: false, ..value("value", Kind::Any, "its value where no flag sets it") },
    ],
    rest: Some(value("value", Kind::Any, "further values of a list")),
    settings: &[
        setting("about", Kind::Text, "what it changes, in one line"),
        choice("type", Kind::PARAM_TYPES, "what it takes; else the type of its value"),
        setting("optional", Kind::Bool, "it may be left out").or("#false"),
        setting("many", Kind::Bool, "it is a list; choices and bounds hold for each value of it").or("#false"),
        setting("min", Kind::Plain, "the smallest value allowed"),
        setting("max", Kind::Plain, "the largest value allowed"),
    ],
    body: Body::Nodes(&[&CHOICES, &IGNORE, &IGNORE_FILE]),
    repeats: true,
    example: "param.kdl",
    ..NODE
};

pub static PROFILE: NodeSpec = NodeSpec {
    name: "profile",
    doc: "A named set of values for parameters, `profile \"quick\" { size \"test\"; prompt-tokens 16; }`, which \
          `--profile quick` chooses. `--set` beats the profile, and the profile beats the file. `pipe check` holds \
          every profile against the parameters, whether or not it is chosen.",
    values: &[value("name", Kind::Text, "its name")],
    settings: &[setting("about", Kind::Text, "what it is for, in one line")],
    body: Body::Profile,
    repeats: true,
    example: "profile.kdl",
    ..NODE
};

/// A parameter of a recipe; a body of its own may hold one step that serves as default.
pub static RECIPE_PARAM: NodeSpec = NodeSpec {
    name: "param",
    doc: "A parameter of the recipe; a step node inside it is its default. With `many=#true` it is a list: a call \
          gives it as a child, `flags \"-a\" \"-b\"` (as a property it has one value), and `(param)\"flags\"` spreads it.",
    values: &[value("name", Kind::Text, "its name")],
    settings: &[
        setting("about", Kind::Text, "what it changes, in one line"),
        choice("type", Kind::PARAM_TYPES, "what it takes; else the type of its default"),
        many("default", Kind::Any, "its value where a call gives none; of a list, as a child, several"),
        setting("optional", Kind::Bool, "it may be left out").or("#false"),
        setting("many", Kind::Bool, "it is a list; choices and bounds hold for each value of it").or("#false"),
        setting("min", Kind::Plain, "the smallest value allowed"),
        setting("max", Kind::Plain, "the largest value allowed"),
    ],
    body: Body::Nodes(&[&CHOICES, &IGNORE, &IGNORE_FILE]),
    repeats: true,
    example: "recipe.kdl",
    ..NODE
};

pub static RESULT: NodeSpec = NodeSpec {
    name: "result",
    doc: "The step of the recipe's body whose output is the recipe's own.",
    values: &[value("step", Kind::Step, "`(step)\"NAME\"`")],
    required: true,
    example: "recipe.kdl",
    ..NODE
};

/// What a recipe promises of its result.
pub static RECIPE_OUTPUT: NodeSpec = NodeSpec {
    name: "output",
    doc: "A file or folder that the result of the recipe has. Where a recipe names any, `(step)\"NAME/PATH\"` of a use \
          of it must name one of them, a folder around one, or what lies below one.",
    rest: Some(value("path", Kind::Text, "a path in the result")),
    settings: &[setting("about", Kind::Text, "what it is, in one line")],
    repeats: true,
    example: "list.kdl",
    ..NODE
};

pub static RECIPE: NodeSpec = NodeSpec {
    name: "recipe",
    doc: "Makes a new node name of a few steps and their parameters.",
    values: &[value("name", Kind::Text, "the new node name")],
    settings: &[setting("about", Kind::Text, "what it makes, in one line")],
    body: Body::Recipe,
    repeats: true,
    example: "recipe.kdl",
    ..NODE
};

static AXIS: NodeSpec = NodeSpec {
    name: "axis",
    doc: "One dimension of the matrix, and its values. A range of whole numbers, both ends included, is written \
          `(range)\"1..32\"`, with `step=\"*2\"` each twice the one before, with `step=\"+4\"` four more. \
          `(param)\"batches\"` stands for the values of a list parameter of the pipeline. A value becomes part of the \
          names of cells; numbers are written there in their shortest form, so 1.0 and 1 are one value.",
    values: &[value("name", Kind::Text, "its name; used as `(axis)\"NAME\"`")],
    rest: Some(values("value", Kind::Points, "a value, `(range)\"1..8\"` or `(param)\"LIST\"`")),
    settings: &[setting("step", Kind::Text, "of a range: `*N` or `+N`").or("\"+1\"")],
    repeats: true,
    example: "matrix.kdl",
    ..NODE
};

static ZIP: NodeSpec = NodeSpec {
    name: "zip",
    doc: "Axes that advance together, instead of each value with each: `zip { axis \"batch\" 1 8; axis \"threads\" 1 2; }` \
          makes two points. All have equally many values.",
    body: Body::Nodes(&[&AXIS]),
    repeats: true,
    example: "range.kdl",
    ..NODE
};

static INCLUDE: NodeSpec = NodeSpec {
    name: "include",
    doc: "Adds one cell: `include engine=\"onnx\" device=\"npu\" reason=\"…\"`. All axes are named; a value need not stand \
          on its axis. It beats `exclude`.",
    settings: &[setting("reason", Kind::Text, "why it is there")],
    open: Some(Kind::Plain),
    repeats: true,
    example: "range.kdl",
    ..NODE
};

static EXCLUDE: NodeSpec = NodeSpec {
    name: "exclude",
    doc: "Rules out the cells that have all these values, with the reason that the report shows. Like `include`, it \
          may stand in a `when` on facts of the host: `when host-gpu=\"none\" { exclude …; }`.",
    settings: &[required("reason", Kind::Text, "why these cells make no sense")],
    open: Some(Kind::Plain),
    repeats: true,
    example: "matrix.kdl",
    ..NODE
};

pub static MATRIX: NodeSpec = NodeSpec {
    name: "matrix",
    doc: "The product of its axes; a step with `for-each` is made once for each cell. Inside that step \
          `(step)\"other\"` is the cell of `other` that agrees on the axes of both, `(step)\"other[engine=onnx]\"` \
          chooses one, and `(cells)\"other[engine=*]\"` takes all that match.",
    values: &[value("name", Kind::Text, "its name")],
    body: Body::Nodes(&[&AXIS, &ZIP, &EXCLUDE, &INCLUDE]),
    repeats: true,
    example: "matrix.kdl",
    ..NODE
};

static NEEDS: NodeSpec = NodeSpec {
    name: "needs",
    doc: "What the machine must have. Where it lacks any of it the step is unavailable, with the reason, and so is \
          what reads it. No part of the key.",
    settings: &[
        setting("cpu", Kind::Int, "processors; so many must be free before the step starts"),
        setting("memory", Kind::Size, "memory, as `(GiB)4`"),
        setting("gpu", Kind::Int, "NVIDIA GPUs, which the step then sees; none unless said"),
        choice("os", &["linux", "macos"], "the operating system"),
        choice("arch", &["x86_64", "aarch64"], "the kind of processor"),
        setting("download", Kind::Size, "about how much it fetches; said before a run"),
        setting("disk", Kind::Size, "about how much its result takes in the store; said before a run"),
    ],
    example: "process.kdl",
    ..NODE
};

const TIMEOUT: Setting = setting("timeout", Kind::Time, "how long the step may take, as `(min)10`");
const RETRY: Setting = setting("retry", Kind::Int, "how often it is tried again after a failure").or("0");

static ARG: NodeSpec = NodeSpec {
    name: "arg",
    doc: "One more argument, put together of several pieces without a space between them.",
    rest: Some(value("piece", Kind::Arg, "text, or `(step)…`, `(param)…`, `(output)…`")),
    repeats: true,
    example: "process.kdl",
    ..NODE
};

static RUN: NodeSpec = NodeSpec {
    name: "run",
    doc: "The process: a tool of the host (or a file of a step) and its arguments. With a Python script \
          `(file)\"x.py\"` come the modules beside it that it imports, and those that they import; data, and modules \
          that it names only while it runs, are named with `input`.",
    values: &[value("tool", Kind::Arg, "`python3`, or `(step)\"build/bin/tool\"`")],
    rest: Some(values("argument", Kind::Arg, "text, or `(step)…`, `(file)…`, `(param)…`, `(output)…`, `(secret)…`")),
    body: Body::Nodes(&[&ARG]),
    required: true,
    example: "process.kdl",
    ..NODE
};

static INPUT: NodeSpec = NodeSpec {
    name: "input",
    doc: "Something that the step reads and that is no argument; it lies at `in/AS`. `(cells)\"decode[engine=onnx]\"` \
          gives a folder with one entry for each cell that matches, named by it: `in/AS/engine=onnx,place=native`. \
          What the brackets leave open agrees with the cell of the step that reads; `[engine=*]` takes all. In the \
          name of an entry `/` and `%` of a value are written `%2F` and `%25`.",
    values: &[value(
        "source",
        Kind::Inputs,
        "`(step)\"x/a.txt\"`, `(file)\"a.txt\"`, `(cells)\"x/a.txt\"` or `(secret)\"HF_TOKEN\"`",
    )],
    settings: &[required("as", Kind::Text, "its path below `in/`")],
    body: Body::Nodes(&[&IGNORE, &IGNORE_FILE]),
    repeats: true,
    example: "process.kdl",
    ..NODE
};

static OUTPUT: NodeSpec = NodeSpec {
    name: "output",
    doc: "Files or folders below `out/` that the step must make; without any, all that is there counts.",
    rest: Some(value("path", Kind::Text, "a path below `out/`")),
    repeats: true,
    example: "process.kdl",
    ..NODE
};

static ENV: NodeSpec = NodeSpec {
    name: "env",
    doc: "Environment variables, the only ones beside the fixed few: `env NAME=\"value\"`. A value of several \
          pieces is written `env \"NAME\" (step)\"a\" \":\" (step)\"b\"`. What `PATH` names is searched before the \
          step's tools. A secret becomes the path of a file that holds it.",
    rest: Some(value("piece", Kind::Arg, "the name, then the pieces of the value")),
    open: Some(Kind::Arg),
    repeats: true,
    example: "process.kdl",
    ..NODE
};

static TOOLS: NodeSpec = NodeSpec {
    name: "tools",
    doc: "Further tools of the host that the process starts.",
    rest: Some(values("tool", Kind::Text, "`cc`")),
    repeats: true,
    example: "process.kdl",
    ..NODE
};

pub static STEP: NodeSpec = NodeSpec {
    name: "step",
    doc: "Runs a process on declared inputs; what it leaves below `out/` is the step's output.",
    values: &[NAME],
    settings: &[
        choice(
            "class",
            &["build", "fetch"],
            "`build` (same inputs, same bytes), or `fetch` (may use the network; a lock fixes its result)",
        )
        .or("\"build\""),
        setting(
            "network",
            Kind::Bool,
            "it may use the network; for class `fetch` alone, where it is `#true` unless said",
        ),
        TIMEOUT,
        RETRY,
    ],
    body: Body::Nodes(&[&RUN, &INPUT, &OUTPUT, &ENV, &TOOLS, &NEEDS]),
    repeats: true,
    example: "hello.kdl",
    ..NODE
};

pub static FETCH: NodeSpec = NodeSpec {
    name: "fetch",
    doc: "Brings one file, known by its digest.",
    values: &[NAME],
    settings: &[
        required("url", Kind::Text, "where it is: `https:`, `http:` or `file:`"),
        required("sha256", Kind::Text, "the digest of its bytes, 64 hexadecimal digits"),
        setting("file", Kind::Text, "its name in the output; else the last part of the address"),
        TIMEOUT,
        RETRY,
    ],
    repeats: true,
    example: "fetch.kdl",
    ..NODE
};

pub static WHEELS: NodeSpec = NodeSpec {
    name: "wheels",
    doc: "A Python environment from a lock with digests (`pip` requirements with `--hash`): each wheel is \
          brought by its digest and unpacked into one folder that goes on `PYTHONPATH`.",
    values: &[NAME],
    settings: &[required("lock", Kind::File, "the lock file")],
    body: Body::Nodes(&[&NEEDS]),
    repeats: true,
    example: "wheels.kdl",
    ..NODE
};

static PACKAGE: NodeSpec = NodeSpec {
    name: "package",
    doc: "A distribution by name; what it requires comes with it.",
    values: &[value("distribution", Kind::Text, "`torch`")],
    repeats: true,
    required: true,
    example: "host-packages.kdl",
    ..NODE
};

pub static HOST_PACKAGES: NodeSpec = NodeSpec {
    name: "host-packages",
    doc: "The Python packages that the machine has, as a folder that goes on `PYTHONPATH`.",
    values: &[NAME],
    body: Body::Nodes(&[&PACKAGE]),
    repeats: true,
    example: "host-packages.kdl",
    ..NODE
};

static PUT: NodeSpec = NodeSpec {
    name: "put",
    doc: "Puts a file or folder at a path; at `\"\"`, the entries of a folder go to the root. `(cells)…` puts a folder \
          with one entry for each cell, as for `input`.",
    values: &[
        value("at", Kind::Text, "the path in the tree"),
        value("source", Kind::Inputs, "`(step)\"env/torch/lib/libc10.so\"`"),
    ],
    body: Body::Nodes(&[&IGNORE, &IGNORE_FILE]),
    repeats: true,
    example: "tree.kdl",
    ..NODE
};

static MATCH: NodeSpec = NodeSpec {
    name: "match",
    doc: "Puts the one file of a folder whose name matches a pattern.",
    values: &[
        value("at", Kind::Text, "the path in the tree"),
        value("folder", Kind::Input, "`(step)\"env/onnxruntime/capi\"`"),
        value("pattern", Kind::Text, "`libonnxruntime.so.*`"),
    ],
    repeats: true,
    example: "tree.kdl",
    ..NODE
};

static LINK: NodeSpec = NodeSpec {
    name: "link",
    doc: "Makes a symbolic link.",
    values: &[value("at", Kind::Text, "the path in the tree"), value("to", Kind::Text, "what it points to")],
    repeats: true,
    example: "tree.kdl",
    ..NODE
};

static TEXT: NodeSpec = NodeSpec {
    name: "text",
    doc: "Makes a small text file.",
    values: &[value("at", Kind::Text, "the path in the tree"), value("content", Kind::Plain, "what is in it")],
    repeats: true,
    example: "tree.kdl",
    ..NODE
};

static HOST_LIBRARY: NodeSpec = NodeSpec {
    name: "host-library",
    doc: "Shared libraries of this machine by file name; then every library that the tree needs must be in it.",
    rest: Some(value("library", Kind::Text, "`libc.so.6`")),
    repeats: true,
    example: "image.kdl",
    ..NODE
};

pub static TREE: NodeSpec = NodeSpec {
    name: "tree",
    doc: "A folder put together of parts of others, without a process.",
    values: &[NAME],
    body: Body::Nodes(&[&PUT, &MATCH, &LINK, &TEXT, &HOST_LIBRARY]),
    repeats: true,
    example: "tree.kdl",
    ..NODE
};

static LAYER: NodeSpec = NodeSpec {
    name: "layer",
    doc: "One layer of the image: a folder, and where it lies.",
    values: &[
        value("at", Kind::Text, "an absolute path in the image"),
        value("folder", Kind::Input, "`(step)\"engine\"`"),
    ],
    body: Body::Nodes(&[&IGNORE, &IGNORE_FILE]),
    repeats: true,
    required: true,
    example: "image.kdl",
    ..NODE
};

static ENTRYPOINT: NodeSpec = NodeSpec {
    name: "entrypoint",
    doc: "The program that the image starts, with its arguments.",
    rest: Some(values("word", Kind::Text, "`/bin/tool`")),
    example: "image.kdl",
    ..NODE
};

static IMAGE_ENV: NodeSpec = NodeSpec {
    name: "env",
    doc: "Environment variables of the image.",
    open: Some(Kind::Plain),
    repeats: true,
    example: "image.kdl",
    ..NODE
};

pub static IMAGE: NodeSpec = NodeSpec {
    name: "image",
    doc: "A container image, made without a daemon; equal layers give an equal digest.",
    values: &[NAME],
    body: Body::Nodes(&[&LAYER, &ENTRYPOINT, &IMAGE_ENV]),
    repeats: true,
    example: "image.kdl",
    ..NODE
};

/// The kernel step node of this name.
pub fn step_node(name: &str) -> Option<&'static NodeSpec> {
    STEP_NODES.iter().copied().find(|spec| spec.name == name)
}

/// True for a node that stands in a file or in a recipe's body, and in no other node.
pub fn stands_alone(name: &str) -> bool {
    FILE_NODES.iter().chain(STEP_NODES).any(|spec| spec.name == name)
}

/// The node inside which a node of this name stands.
pub fn parent_of(name: &str) -> Option<&'static str> {
    FILE_NODES.iter().chain(STEP_NODES).chain(RECIPE_NODES).find_map(|spec| inside(spec, name))
}

fn inside(spec: &'static NodeSpec, name: &str) -> Option<&'static str> {
    let Body::Nodes(nodes) = spec.body else {
        return None;
    };
    if nodes.iter().any(|child| child.name == name) || spec.settings.iter().any(|setting| setting.name == name) {
        return Some(spec.name);
    }
    nodes.iter().find_map(|child| inside(child, name))
}
