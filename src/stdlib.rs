//! The standard library: recipes in KDL and the files that they use, embedded in the binary.

/// `std/NAME` and its text.
const MODULES: &[(&str, &str)] = &[
    ("std/python", include_str!("../stdlib/python.kdl")),
    ("std/model", include_str!("../stdlib/model.kdl")),
    ("std/onnx", include_str!("../stdlib/onnx.kdl")),
    ("std/engine", include_str!("../stdlib/engine.kdl")),
    ("std/container", include_str!("../stdlib/container.kdl")),
    ("std/bench", include_str!("../stdlib/bench.kdl")),
];

/// Paths as the recipes write them, and the bytes.
static FILES: &[(&str, &[u8])] = &[
    ("locks/torch-2.11.txt", include_bytes!("../stdlib/locks/torch-2.11.txt")),
    ("scripts/llama.py", include_bytes!("../stdlib/scripts/llama.py")),
    ("scripts/exact_llama.py", include_bytes!("../stdlib/scripts/exact_llama.py")),
    ("scripts/make_llama.py", include_bytes!("../stdlib/scripts/make_llama.py")),
    ("scripts/tokens.py", include_bytes!("../stdlib/scripts/tokens.py")),
    ("scripts/torchscript.py", include_bytes!("../stdlib/scripts/torchscript.py")),
    ("scripts/exported.py", include_bytes!("../stdlib/scripts/exported.py")),
    ("scripts/tensors.py", include_bytes!("../stdlib/scripts/tensors.py")),
    ("scripts/python_model.py", include_bytes!("../stdlib/scripts/python_model.py")),
    ("scripts/onnx_card.py", include_bytes!("../stdlib/scripts/onnx_card.py")),
    ("scripts/random_inputs.py", include_bytes!("../stdlib/scripts/random_inputs.py")),
    ("scripts/onnx_cuts.py", include_bytes!("../stdlib/scripts/onnx_cuts.py")),
    ("scripts/parity_reference.py", include_bytes!("../stdlib/scripts/parity_reference.py")),
    ("scripts/parity_bisect.py", include_bytes!("../stdlib/scripts/parity_bisect.py")),
    ("scripts/export_onnx.py", include_bytes!("../stdlib/scripts/export_onnx.py")),
];

/// The engines' sources, by their path below `engines/`; `build.rs` lists them.
pub const ENGINE_SOURCES: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/engine_sources.rs"));

/// A pipeline for each recipe, by `NAME.kdl`; `build.rs` lists them.
const EXAMPLES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/recipe_examples.rs"));

/// A pipeline that shows a recipe of the standard library.
pub fn example(recipe: &str) -> Option<&'static str> {
    EXAMPLES.iter().find(|(file, _)| file.strip_suffix(".kdl") == Some(recipe)).map(|(_, text)| *text)
}

/// The text behind `use "std/NAME"`.
pub fn module(name: &str) -> Option<&'static str> {
    MODULES.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}

/// The names of all modules.
pub fn modules() -> impl Iterator<Item = &'static str> {
    MODULES.iter().map(|(name, _)| *name)
}

/// The file that a recipe of the standard library names by `(file)"path"`.
pub fn file(path: &str) -> Option<&'static [u8]> {
    FILES.iter().find(|(known, _)| *known == path).map(|(_, bytes)| *bytes)
}

/// Where an embedded file lies, by its bytes: two files may have the same name.
pub fn path_of(bytes: &'static [u8]) -> Option<&'static str> {
    FILES.iter().find(|(_, known)| std::ptr::eq(*known, bytes)).map(|(path, _)| *path)
}

/// True where embedded files lie in a folder of this path.
pub fn has_folder(path: &str) -> bool {
    FILES.iter().any(|(known, _)| known.strip_prefix(path).is_some_and(|rest| rest.starts_with('/')))
}

/// All files that recipes name, by their paths there.
pub fn files() -> impl Iterator<Item = (&'static str, &'static [u8])> {
    FILES.iter().copied()
}

/// Embedded bytes as the path that [`file`] finds them by, for whoever writes them down.
pub mod by_path {
    use serde::{Deserialize, Deserializer, Serializer, de, ser};

    /// Writes the path of bytes that are embedded.
    pub fn serialize<S: Serializer>(bytes: &&'static [u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(super::path_of(bytes).ok_or_else(|| ser::Error::custom("bytes that are not embedded"))?)
    }

    /// Reads a path back as the bytes.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<&'static [u8], D::Error> {
        let path = String::deserialize(from)?;
        super::file(&path).ok_or_else(|| de::Error::custom(format!("nothing is embedded at `{path}`")))
    }
}

/// The module that defines a recipe of this name.
pub fn home_of(recipe: &str) -> Option<&'static str> {
    let line = format!("recipe \"{recipe}\"");
    MODULES.iter().find(|(_, text)| text.lines().any(|l| l.starts_with(&line))).map(|(name, _)| *name)
}

/// All recipes: the module, and the name.
pub fn recipes() -> impl Iterator<Item = (&'static str, &'static str)> {
    MODULES.iter().flat_map(|(module, text)| {
        text.lines()
            .filter_map(|line| line.strip_prefix("recipe \"")?.split('"').next())
            .map(move |name| (*module, name))
    })
}

/// The recipe whose name is nearest to `name`, and its module.
pub fn nearest_recipe(name: &str) -> Option<(&'static str, &'static str)> {
    let names: Vec<(&str, &str)> = recipes().collect();
    let near = crate::diag::nearest(name, names.iter().map(|(_, recipe)| *recipe))?;
    names.into_iter().find(|(_, recipe)| *recipe == near)
}
