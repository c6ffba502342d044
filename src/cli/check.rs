//! `pipe check`: reads pipelines and reports every mistake in them; runs nothing.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use pipe_cache::Store;

use super::output::{To, colour, note, print, width};
use super::{Global, exit, load};
use crate::host::probe;
use crate::resolve;

/// The flags of `pipe check`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Pipelines: KDL files
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Gives a parameter a value, as `run` would
    #[arg(long = "set", value_name = "NAME=VALUE")]
    sets: Vec<String>,
    /// How mistakes are written
    #[arg(long, value_enum, default_value_t = Format::Text)]
    error_format: Format,
}

/// `--error-format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
}

/// Checks every file, whatever is wrong with the others.
pub fn main(global: &Global, arguments: &Arguments) -> u8 {
    let sets = match load::sets(&arguments.sets) {
        Ok(sets) => sets,
        Err(code) => return code,
    };
    let disk = match load::disk() {
        Ok(disk) => disk,
        Err(code) => return code,
    };
    let machine = probe::probe().machine;
    let facts = resolve::Facts { os: machine.os, arch: machine.architecture, python: None };
    // Without a store, as on a read-only disk, every file is read anew.
    let store = load::store_path(global).ok().and_then(|path| Store::open(&path).ok());
    let mut wrong = false;
    for file in &arguments.files {
        let options = resolve::Options { sets: sets.clone() };
        let (pipeline, diagnostics) = load::resolved(store.as_ref(), file, &options, &disk, &facts);
        wrong |= diagnostics.has_errors();
        if !diagnostics.is_empty() {
            match arguments.error_format {
                Format::Text => note(&diagnostics.render(colour(global.color, To::Err), width())),
                Format::Json => print(&diagnostics.json_lines()),
            }
        }
        if let (Some(pipeline), false, Format::Text) = (&pipeline, diagnostics.has_errors(), arguments.error_format) {
            let steps = pipeline.steps.len();
            print(&format!("{}: ok, {steps} step{}", file.display(), if steps == 1 { "" } else { "s" }));
        }
    }
    if wrong { exit::USAGE } else { exit::DONE }
}
