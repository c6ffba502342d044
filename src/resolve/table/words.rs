//! The small words of the language, with their documentation: annotations, units, and what `when` may ask of
//! the machine.

use super::{HOST_ARCH, HOST_GPU, HOST_OS};
use crate::resolve::Kind;

/// An annotation that says what a text means.
#[derive(Debug)]
pub struct Annotation {
    pub name: &'static str,
    pub doc: &'static str,
    /// How it is written.
    pub example: &'static str,
}

/// An annotation that makes a quantity of a number.
#[derive(Debug)]
pub struct Unit {
    pub name: &'static str,
    /// What it makes: a size, a time or a percentage.
    pub kind: Kind,
    /// Bytes, seconds or parts of one in one of it.
    pub factor: f64,
    pub doc: &'static str,
    /// What people write for it, in lower case, and is refused with this one named.
    pub also: &'static [&'static str],
}

/// Something that `when` may ask of the machine.
#[derive(Debug)]
pub struct HostFact {
    pub name: &'static str,
    pub doc: &'static str,
    pub values: &'static [&'static str],
}

/// Annotations that are no units, in the order in which messages list them.
pub const ANNOTATIONS: &[Annotation] = &[
    Annotation {
        name: "step",
        doc: "The output of another step: all of it, or a path in it. The step runs first. In a recipe it also \
              names a parameter that holds a step or a file.",
        example: "(step)\"model/config.json\"",
    },
    Annotation {
        name: "cells",
        doc: "All cells of a step, as a folder with an entry for each; with a pattern, those that match.",
        example: "(cells)\"decode[engine=onnx]\"",
    },
    Annotation {
        name: "param",
        doc: "The value of a parameter: of the pipeline, or of the recipe in which it stands.",
        example: "(param)\"batch\"",
    },
    Annotation {
        name: "axis",
        doc: "The value that the step's cell has on an axis of its matrix; only in a step with `for-each`.",
        example: "(axis)\"device\"",
    },
    Annotation {
        name: "file",
        doc: "A file or folder, by a path from the KDL file that names it. Its contents count, and its name; \
              nothing above the project's root is read.",
        example: "(file)\"export.py\"",
    },
    Annotation {
        name: "output",
        doc: "A path below the step's own output folder, for the tool to write to; `(output)\"\"` is the folder.",
        example: "(output)\"model.onnx\"",
    },
    Annotation {
        name: "range",
        doc: "Whole numbers from the first to the last, as values of an axis; `step=` says how far apart.",
        example: "(range)\"1..32\"",
    },
    Annotation {
        name: "secret",
        doc: "A secret by its name. This version of `pipe` refuses it.",
        example: "(secret)\"TOKEN\"",
    },
    Annotation {
        name: "builtin",
        doc: "Something that travels in `pipe` itself. There is `engine-sources`: what the engines are built from.",
        example: "(builtin)\"engine-sources\"",
    },
];

/// All units.
pub const UNITS: &[Unit] = &[
    unit_of("KiB", Kind::Size, 1024.0, "1,024 bytes", &["k", "kb", "kib"]),
    unit_of("MiB", Kind::Size, 1_048_576.0, "1,024 KiB", &["m", "mb", "mib"]),
    unit_of("GiB", Kind::Size, 1_073_741_824.0, "1,024 MiB", &["g", "gb", "gib"]),
    unit_of("ms", Kind::Time, 1e-3, "milliseconds", &["msec", "millis", "milliseconds"]),
    unit_of("s", Kind::Time, 1.0, "seconds", &["sec", "secs", "second", "seconds"]),
    unit_of("min", Kind::Time, 60.0, "minutes", &["mins", "minute", "minutes"]),
    unit_of("h", Kind::Time, 3600.0, "hours", &["hr", "hour", "hours"]),
    unit_of("percent", Kind::Percent, 0.01, "hundredths", &["%", "pct"]),
];

const fn unit_of(
    name: &'static str,
    kind: Kind,
    factor: f64,
    doc: &'static str,
    also: &'static [&'static str],
) -> Unit {
    Unit { name, kind, factor, doc, also }
}

/// What `when` may ask of the machine.
pub const FACTS: &[HostFact] = &[
    HostFact { name: HOST_OS, doc: "the operating system", values: &["linux", "macos"] },
    HostFact { name: HOST_ARCH, doc: "the kind of processor", values: &["x86_64", "aarch64"] },
    HostFact { name: HOST_GPU, doc: "the accelerator", values: &["nvidia", "metal", "none"] },
];

/// The names of the annotations.
pub const MEANINGS: &[&str] = &{
    let mut names = [""; ANNOTATIONS.len()];
    let mut at = 0;
    while at < names.len() {
        names[at] = ANNOTATIONS[at].name;
        at += 1;
    }
    names
};

/// The names of the units.
pub const UNIT_NAMES: &[&str] = &{
    let mut names = [""; UNITS.len()];
    let mut at = 0;
    while at < names.len() {
        names[at] = UNITS[at].name;
        at += 1;
    }
    names
};

/// The names of the facts, each with the answers that there are.
pub const HOST_FACTS: &[(&str, &[&str])] = &{
    let mut facts: [(&str, &[&str]); FACTS.len()] = [("", &[]); FACTS.len()];
    let mut at = 0;
    while at < facts.len() {
        facts[at] = (FACTS[at].name, FACTS[at].values);
        at += 1;
    }
    facts
};

/// The unit of this name.
pub fn unit(name: &str) -> Option<&'static Unit> {
    UNITS.iter().find(|unit| unit.name == name)
}
