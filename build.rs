//! Lists what travels in the binary: the engines' sources, the pages about mistakes, the examples of recipes.

#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "this is how cargo speaks with a build script"
)]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    // What a build of the engines reads: manifests, the lock file, Rust and C++ sources; no target folder.
    embed("engines", &["rs", "toml", "lock", "cpp", "h"], "include_bytes!", "engine_sources.rs")?;
    embed("docs/errors", &["md"], "include_str!", "error_pages.rs")?;
    embed("stdlib/examples", &["kdl"], "include_str!", "recipe_examples.rs")
}

/// Writes a table of the files below a folder with one of these endings: their paths there, and their contents.
fn embed(folder: &str, endings: &[&str], include: &str, table: &str) -> io::Result<()> {
    let folder = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default()).join(folder);
    let mut files = Vec::new();
    collect(&folder, endings, &mut files)?;
    files.sort();
    let mut text = String::from("&[\n");
    for file in &files {
        let name = file.strip_prefix(&folder).unwrap_or(file);
        let _ = writeln!(text, "    ({:?}, {include}({:?})),", name.to_string_lossy(), file.to_string_lossy());
    }
    text.push_str("]\n");
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    fs::write(out.join(table), text)?;
    println!("cargo::rerun-if-changed={}", folder.display());
    Ok(())
}

fn collect(folder: &Path, endings: &[&str], files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            if name != "target" && !name.starts_with('.') {
                collect(&path, endings, files)?;
            }
        } else if endings.iter().any(|ending| path.extension().is_some_and(|found| found == *ending)) {
            files.push(path);
        }
    }
    Ok(())
}
