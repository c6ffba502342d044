//! `pipe check`: reads pipelines and reports every mistake in them; runs nothing.

use std::path::{Path, PathBuf};

use clap::Args;
use pipe_cache::Store;

use super::explain_code::more;
use super::output::{Format, To, colour, note, print, width};
use super::{Global, exit, load};
use crate::diag::Diagnostics;
use crate::host::probe;
use crate::resolve::Options;

/// The flags of `pipe check`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Pipelines: KDL files
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Gives a parameter a value, as `run` would
    #[arg(long = "set", value_name = "NAME=VALUE")]
    sets: Vec<String>,
    /// Takes the parameters' values from a profile, as `run` would [default: with each profile and without]
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
    /// How mistakes are written
    #[arg(long, value_enum, default_value_t = Format::Text)]
    error_format: Format,
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
    let facts = load::asked(&probe::probe().machine, None);
    // Without a store, as on a read-only disk, every file is read anew.
    let store = load::store_path(global).ok().and_then(|path| Store::open(&path).ok());
    let read = |file: &Path, profile: Option<String>| {
        let options = Options { sets: sets.clone(), profile };
        load::resolved(store.as_ref(), file, &options, &disk, &facts)
    };
    let mut wrong = false;
    for file in &arguments.files {
        let (known, diagnostics) = read(file, arguments.profile.clone());
        show(global, arguments, &diagnostics);
        let Some(known) = known.filter(|_| !diagnostics.has_errors()) else {
            wrong = true;
            continue;
        };
        // A profile that nobody has chosen yet must not be wrong when somebody does.
        let profiles = known.pipeline.profiles.iter().filter(|_| arguments.profile.is_none());
        let mut sound = true;
        for profile in profiles {
            let (_, diagnostics) = read(file, Some(profile.name.clone()));
            if diagnostics.has_errors() && arguments.error_format == Format::Text {
                note(&format!("with `--profile {}`:", profile.name));
            }
            show(global, arguments, &diagnostics);
            sound &= !diagnostics.has_errors();
        }
        wrong |= !sound;
        if sound && arguments.error_format == Format::Text {
            let steps = known.pipeline.steps.len();
            print(&format!("{}: ok, {steps} step{}", file.display(), if steps == 1 { "" } else { "s" }));
        }
    }
    if wrong { exit::USAGE } else { exit::DONE }
}

/// Writes what was found, if anything.
fn show(global: &Global, arguments: &Arguments, diagnostics: &Diagnostics) {
    if diagnostics.is_empty() {
        return;
    }
    match arguments.error_format {
        Format::Text => {
            note(&diagnostics.render(colour(global.color, To::Err), width()));
            more(diagnostics).iter().for_each(|line| note(line));
        }
        Format::Json => print(&diagnostics.json_lines()),
    }
}
