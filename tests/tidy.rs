//! What reviewers would otherwise have to watch: layering, module documentation, file length, one owner for
//! each dependency, and that nothing of a developer's machine is in the tree.

use std::fs;
use std::path::{Path, PathBuf};

/// Modules in reading order; each may use only those above it.
const LAYERS: [&str; 15] = [
    "diag", "syntax", "stdlib", "pipeline", "resolve", "plan", "host", "record", "key", "event", "measure", "exec",
    "report", "lsp", "cli",
];

/// Dependency → the modules that may name it.
const OWNERS: &[(&str, &[&str])] = &[
    ("kdl::", &[]),
    ("postcard::", &["resolve", "exec/settled", "exec/supervisor/wire"]),
    ("petgraph::", &["plan"]),
    ("clap::", &["cli"]),
    ("indicatif::", &["cli"]),
    ("bollard::", &["exec/container"]),
    ("dugong::", &["report"]),
    ("maud::", &["report"]),
    ("comfy_table::", &["report"]),
    ("nvml_wrapper::", &["host"]),
    ("lsp_server::", &["lsp"]),
    ("lsp_types::", &["lsp"]),
    ("url::", &["lsp"]),
    ("similar::", &["cli"]),
    ("ignore::", &["pipeline/filter"]),
    ("memchr::", &["exec/process"]),
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for folder in ["src", "cache", "engines", "tests", "examples", "benches"] {
        collect(&root().join(folder), &mut found);
    }
    found.sort();
    assert!(found.len() > 40, "only {} files found: the walk is broken", found.len());
    found
}

fn collect(folder: &Path, found: &mut Vec<(String, String)>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.is_dir() {
            if !path.ends_with("target") {
                collect(&path, found);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(root()).unwrap_or(&path).to_string_lossy().into_owned();
            found.push((name, fs::read_to_string(&path).expect("sources are UTF-8")));
        }
    }
}

fn layer(file: &str) -> Option<usize> {
    let inside = file.strip_prefix("src/")?;
    let module = inside.split('/').next()?.trim_end_matches(".rs");
    LAYERS.iter().position(|layer| *layer == module)
}

#[test]
fn modules_use_only_those_above_them() {
    let mut wrong = Vec::new();
    for (file, text) in rust_files() {
        let Some(own) = layer(&file) else { continue };
        // Tests at the end of a file may look anywhere.
        let code = text.split("#[cfg(test)]").next().unwrap_or("");
        for (line, content) in code.lines().enumerate() {
            if content.trim_start().starts_with("//") || file.ends_with("_tests.rs") || file.ends_with("/tests.rs") {
                continue;
            }
            for (index, other) in LAYERS.iter().enumerate() {
                if index > own && content.contains(&format!("crate::{other}::")) {
                    wrong.push(format!("{file}:{}: `{}` may not use `{other}`", line + 1, LAYERS[own]));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn each_dependency_has_one_owner() {
    let mut wrong = Vec::new();
    for (file, text) in rust_files() {
        let Some(inside) = file.strip_prefix("src/") else { continue };
        for (dependency, owners) in OWNERS {
            let named = text.lines().any(|line| {
                let code = line.split("//").next().unwrap_or("");
                code.match_indices(dependency)
                    .any(|(at, _)| !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':'))
            });
            if named && !owners.iter().any(|owner| inside.starts_with(owner)) {
                wrong.push(format!("{file} names `{dependency}`, which belongs to {owners:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_file_says_what_it_does() {
    let silent: Vec<String> = rust_files()
        .into_iter()
        .filter(|(_, text)| !text.trim_start().starts_with("//!"))
        .map(|(file, _)| file)
        .collect();
    assert!(silent.is_empty(), "no `//!` at the top of: {silent:?}");
}

#[test]
fn no_file_is_too_long_to_read() {
    let long: Vec<String> = rust_files()
        .into_iter()
        .map(|(file, text)| (file, text.lines().count()))
        .filter(|(_, lines)| *lines > 800)
        .map(|(file, lines)| format!("{file} ({lines} lines)"))
        .collect();
    assert!(long.is_empty(), "over 800 lines: {long:?}");
}

#[test]
fn the_runner_links_no_engine() {
    let lock = fs::read_to_string(root().join("Cargo.lock")).expect("the lock file is committed");
    for library in ["name = \"tch\"", "name = \"torch-sys\"", "name = \"ort\"", "name = \"ort-sys\""] {
        assert!(!lock.contains(library), "the root's lock file holds {library}");
    }
}
