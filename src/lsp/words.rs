//! What annotations, units and host facts mean, in a sentence each.

/// The meaning of the word in `(word)value`.
pub fn annotation(word: &str) -> Option<&'static str> {
    Some(match word {
        "step" => {
            "The output of a step of this file or recipe: `(step)\"model\"`, or a path in it: `(step)\"model/config.json\"`. From a cell of a matrix it is the cell that agrees on the axes of both; `(step)\"model[size=small]\"` chooses one by name."
        }
        "cells" => {
            "All cells of a step that match: `(cells)\"decode[engine=onnx]\"`, a folder with one entry for each."
        }
        "param" => {
            "The value of a parameter: of the pipeline (`--set NAME=VALUE` changes it), or of the recipe around it."
        }
        "axis" => "The value that the cell has on this axis of the step's matrix.",
        "file" => "A file or folder, by its path from this file. It is read by content.",
        "output" => "A path below `out/`, where the step leaves what it makes.",
        "secret" => "A secret by name: the path of a file that only the step sees. For steps with `class=\"fetch\"`.",
        "builtin" => "Something that travels in `pipe`: `engine-sources`.",
        "range" => "Whole numbers from one to another: `(range)\"1..32\" step=\"*2\"`.",
        "KiB" => "1,024 bytes.",
        "MiB" => "1,048,576 bytes.",
        "GiB" => "1,073,741,824 bytes.",
        "ms" => "Milliseconds.",
        "s" => "Seconds.",
        "min" => "Minutes.",
        "h" => "Hours.",
        "percent" => "Hundredths.",
        _ => return None,
    })
}

/// What a fact of the machine is, by its name in `when`.
pub fn host_fact(name: &str) -> Option<&'static str> {
    Some(match name {
        "host-os" => "The operating system of this machine.",
        "host-arch" => "The processor architecture of this machine.",
        "host-gpu" => "The kind of accelerator that this machine has.",
        _ => return None,
    })
}

/// What `when` is.
pub const WHEN: &str = "Holds its children only where a parameter or axis has a value: `when engine=\"onnx\" { … }`, \
                        where an optional parameter is given: `when \"NAME\" { … }`, or is not: `when NAME=#null { … }`. \
                        It may stand in every body.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_of_the_language_is_explained() {
        for word in crate::resolve::MEANINGS.iter().chain(crate::resolve::UNITS) {
            assert!(annotation(word).is_some(), "{word}");
        }
        for (name, _) in crate::resolve::table::HOST_FACTS {
            assert!(host_fact(name).is_some(), "{name}");
        }
    }
}
