//! Lists the engines' sources, so that they travel in the binary.

#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "this is how cargo speaks with a build script"
)]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let mut files = Vec::new();
    collect(&root.join("engines"), &mut files)?;
    files.sort();
    let mut table = String::from("&[\n");
    for file in &files {
        let name = file.strip_prefix(root.join("engines")).unwrap_or(file);
        let _ = writeln!(table, "    ({:?}, include_bytes!({:?})),", name.to_string_lossy(), file.to_string_lossy());
    }
    table.push_str("]\n");
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    fs::write(out.join("engine_sources.rs"), table)?;
    println!("cargo::rerun-if-changed=engines");
    Ok(())
}

/// What a build of the engines reads: manifests, the lock file, Rust and C++ sources; no target folder.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            if name != "target" && !name.starts_with('.') {
                collect(&path, files)?;
            }
        } else if ["rs", "toml", "lock", "cpp", "h"].iter().any(|e| path.extension().is_some_and(|x| x == *e)) {
            files.push(path);
        }
    }
    Ok(())
}
