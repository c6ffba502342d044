//! The nodes of measurements and comparisons.

use super::{
    Body, Kind, NAME, NEEDS, NODE, NodeSpec, RETRY, Setting, TIMEOUT, ValueSpec, choice, required, setting, value,
};
use crate::pipeline::metric;
use crate::pipeline::parity::TOLERANCES;

static CONTAINER: NodeSpec = NodeSpec {
    name: "container",
    doc: "Measure inside a container of this image, with these limits; without it, natively.",
    values: &[value("image", Kind::Step, "`(step)\"image\"`")],
    settings: &[
        required("cpus", Kind::Int, "processors that the container sees"),
        required("memory", Kind::Size, "its memory limit, as `(GiB)6`"),
    ],
    example: "measure.kdl",
    ..NODE
};

static WARM_UP: NodeSpec = NodeSpec {
    name: "warm-up",
    doc: "Untimed samples before the timed ones, until they show no trend.",
    settings: &[
        setting("min", Kind::Int, "at least so many").or("2"),
        setting("max", Kind::Int, "at most so many").or("10"),
    ],
    example: "measure.kdl",
    ..NODE
};

static SAMPLES: NodeSpec = NodeSpec {
    name: "samples",
    doc: "How much to sample: until all of `min`, `time` and `target` hold, no longer than `max-time` and no more \
          than `max`. None of it is part of the key.",
    settings: &[
        setting("min", Kind::Int, "samples, at least").or("10"),
        setting("max", Kind::Int, "samples, at most").or("2000"),
        setting("time", Kind::Time, "time spent sampling, at least").or("(s)5"),
        setting("target", Kind::Percent, "half-width of the median's 95 % interval, at most").or("(percent)2"),
        setting("max-time", Kind::Time, "time spent sampling, at most").or("(s)60"),
    ],
    example: "measure.kdl",
    ..NODE
};

/// What a model can run on.
pub const DEVICES: &[&str] = &["cpu", "mps", "cuda", "coreml"];

/// Types of weights and arithmetic.
pub const DTYPES: &[&str] = &["fp32", "fp16", "bf16"];

/// Levels of ONNX Runtime, each with those before it.
pub const OPTIMIZATIONS: &[&str] = &["disable", "basic", "extended", "all"];

pub static MEASURE: NodeSpec = NodeSpec {
    name: "measure",
    doc: "Measures a model on an engine, in a fresh process, in turn with the cells that it is compared with, and with nothing else beside.",
    values: &[NAME],
    settings: &[
        required("engine", Kind::Input, "a folder with `bin/` and `lib/`, or the program itself"),
        required("program", Kind::Text, "the engine's file in that folder: `bin/pipe-engine-onnx`"),
        required("model", Kind::Input, "a folder with `pipe-model.json`"),
        setting("inputs", Kind::Input, "what one inference works on: a folder with a `.npy` file for each input"),
        setting("items", Kind::Int, "how many things that is; the first dimension of the first input unless said"),
        setting("tokens", Kind::Input, "of a language model, in place of `inputs`: a `.npy` file of token numbers"),
        setting("cuda-libraries", Kind::Step, "a Python environment with the CUDA libraries, for `cuda`"),
        choice("device", DEVICES, "what the engine runs on").must(),
        choice("dtype", DTYPES, "weights and arithmetic").or("\"fp32\""),
        required("threads", Kind::Int, "threads inside one operator"),
        setting("reduced-precision", Kind::Bool, "TF32 and reduced-precision sums").or("#false"),
        choice("optimization", OPTIMIZATIONS, "of the onnx engine: how far it rewrites the model").or("\"all\""),
        setting("prompt-tokens", Kind::Int, "with `tokens`: tokens of the prompt"),
        setting("new-tokens", Kind::Int, "with `tokens`: tokens decoded after it"),
        setting("memory-budget", Kind::Size, "the report judges peak memory against it"),
        TIMEOUT,
        RETRY,
    ],
    body: Body::Nodes(&[&CONTAINER, &WARM_UP, &SAMPLES, &NEEDS]),
    repeats: true,
    example: "measure.kdl",
    ..NODE
};

static BASELINE: NodeSpec = NodeSpec {
    name: "baseline",
    doc: "The cell against which speed-ups are told.",
    open: Some(Kind::Plain),
    example: "compare.kdl",
    ..NODE
};

/// The limits of `parity` and of an `output` in it, in the order of [`Bound::ALL`](crate::pipeline::Bound::ALL).
const LIMITS: [Setting; 6] = [
    setting("max-abs", Kind::Float, "the largest absolute error of a value, at most"),
    setting(
        "max-rel",
        Kind::Float,
        "the largest relative error, at most: a part of the largest magnitude in the reference's output, of a language \
         model at the same position",
    ),
    setting(
        "max-ulp",
        Kind::Float,
        "the largest distance in ULP, at most: how many numbers of the narrower data type of the two lie between. \
         Numbers are dense near zero, so a tiny error there is many ULP",
    ),
    setting(
        "min-cosine",
        Kind::Float,
        "the cosine of the angle between the two outputs, at least: of each position of a language model, of each item \
         of a batch. 1 where one is a multiple of the other",
    ),
    setting(
        "min-top-k",
        Kind::Percent,
        "the share of the reference's `top-k` best values in a row that are among the cell's, at least: `(percent)99`",
    ),
    setting(
        "min-greedy-prefix",
        Kind::Int,
        "of a language model: how many positions from the first on prefer the same token, at least",
    ),
];

static PARITY_OUTPUT: NodeSpec = NodeSpec {
    name: "output",
    doc: "What holds for one output of the model in place of the same limit for all.",
    values: &[value("name", Kind::Text, "as the model calls it; `logits` of a language model")],
    settings: &[
        setting("ignore", Kind::Bool, "`#true`: it is not compared at all").or("#false"),
        LIMITS[0],
        LIMITS[1],
        LIMITS[2],
        LIMITS[3],
        LIMITS[4],
        LIMITS[5],
    ],
    repeats: true,
    example: "parity.kdl",
    ..NODE
};

static PARITY: NodeSpec = NodeSpec {
    name: "parity",
    doc: "How far a cell's outputs may be from the reference cell's; a cell beyond it is wrong, however fast, and the run \
          ends with code 1. Every limit that is given must hold, for every output. A NaN or an infinity agrees with \
          nothing, and outputs of other names or shapes are wrong.",
    settings: &[
        required("reference", Kind::Text, "a cell: `engine=torch place=native device=cpu`"),
        LIMITS[0],
        LIMITS[1],
        LIMITS[2],
        LIMITS[3],
        LIMITS[4],
        LIMITS[5],
        setting("top-k", Kind::Int, "how many of the best values of a row `min-top-k` looks at").or("5"),
        choice(
            "tolerance",
            TOLERANCES,
            "`calibrated`: the absolute error of an output is at most `k` × how far the reference's own output is from \
             `exact`, its noise",
        ),
        setting(
            "exact",
            Kind::Input,
            "of a calibrated tolerance: a folder with the outputs of the same model in fp64, as `exact-llama` \
             makes it",
        ),
        setting("k", Kind::Float, "of a calibrated tolerance").or("4"),
    ],
    body: Body::Nodes(&[&PARITY_OUTPUT]),
    example: "parity.kdl",
    ..NODE
};

static EXPECT: NodeSpec = NodeSpec {
    name: "expect",
    doc: "A claim that the report judges: it fails only where the whole interval lies outside.",
    values: &[ValueSpec {
        choices: &metric::EXPECTED,
        ..value("metric", Kind::Text, "`speed-up` against the baseline, or a metric of a cell")
    }],
    settings: &[
        setting("cell", Kind::Text, "which cells, as `engine=onnx place=*`; all unless said"),
        setting("min", Kind::Plain, "the least: a time `(ms)20`, a size `(GiB)4`, or the number of a rate or ratio"),
        setting("max", Kind::Plain, "the most, written like `min`"),
    ],
    repeats: true,
    example: "compare.kdl",
    ..NODE
};

static PUBLISHED: NodeSpec = NodeSpec {
    name: "published",
    doc: "A result from elsewhere, shown beside ours and marked as not measured here: metrics by name, as \
          `time-to-first-token (ms)61`, and rates of other things, as `images-per-second 265`.",
    values: &[value("label", Kind::Text, "`M1 Max (published)`")],
    settings: &[required("source", Kind::Text, "where it was published")],
    body: Body::Metrics,
    repeats: true,
    example: "compare.kdl",
    ..NODE
};

pub static COMPARE: NodeSpec = NodeSpec {
    name: "compare",
    doc: "Compares all cells of a measurement, and makes the report. `of=(cells)\"decode[place=native]\"` looks at some.",
    values: &[NAME],
    settings: &[required(
        "of",
        Kind::Cells,
        "the measurement: `(step)\"decode\"`, or `(cells)\"decode[place=native]\"`",
    )],
    body: Body::Nodes(&[&BASELINE, &PARITY, &EXPECT, &PUBLISHED]),
    repeats: true,
    example: "compare.kdl",
    ..NODE
};
