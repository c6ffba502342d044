//! `pipe fulfil WANTED`: measures here what another machine could not, and writes the pack that brings it back.
//!
//! It does what `pipe run --only` does for each wanted cell, after it has made sure that this is the same pipeline.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::{Args, Parser};

use super::output::note;
use super::wanted::{Wanted, WantedCell};
use super::{Global, Target, exit, load, pack, run};
use crate::exec::outcome::{Product, Standing};
use crate::exec::share::export::{Outputs, Wish};
use crate::exec::share::identity::{self, Identity};
use crate::exec::site::Site;

/// The flags of `pipe fulfil`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// What `pipe run --wanted` wrote on the other machine
    wanted: PathBuf,
    /// The pipeline, where it does not lie as it did there
    file: Option<PathBuf>,
    /// Writes a pack with the cells, for `pipe store import` on the other machine
    #[arg(long, value_name = "PACK")]
    to: Option<PathBuf>,
    /// What this machine shall be called, for `--accept-machine`
    #[arg(long = "as", value_name = "NAME", value_parser = pack::name)]
    name: Option<String>,
    /// Reads a secret from a file instead of the environment variable of its name
    #[arg(long = "secret", value_name = "NAME=FILE")]
    secrets: Vec<String>,
    /// Lets an untrusted job write a pack: a file outside of the project that says so
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
}

/// The arguments of a command, told by words.
#[derive(Parser)]
struct Told<T: Args> {
    #[command(flatten)]
    told: T,
}

/// Measures what is wanted.
pub fn main(global: &Global, arguments: &Arguments) -> u8 {
    fulfil(global, arguments).unwrap_or_else(|code| code)
}

fn fulfil(global: &Global, arguments: &Arguments) -> Result<u8, u8> {
    let wrong = |message: String| {
        note(&format!("pipe: {message}"));
        exit::USAGE
    };
    let wanted = Wanted::read(&arguments.wanted).map_err(wrong)?;
    let file = arguments.file.clone().unwrap_or_else(|| wanted.file.clone());
    let sharing = pack::Sharing {
        outputs: pack::Which::None,
        max_blob: 1 << 20,
        with_secret_steps: false,
        name: arguments.name.clone(),
        policy: arguments.policy.clone(),
    };
    if arguments.to.is_some() {
        pack::allowed(&file, &sharing)?;
    }
    if wanted.cells.is_empty() {
        note("nothing is wanted: every cell was measured there");
        return Ok(exit::DONE);
    }
    let words = words(&wanted, arguments, &file);
    let target: Target = told(&words).map_err(wrong)?;
    let site = load::site(global, &target, None)?;
    same(&site, &wanted)?;
    drop(site);
    let code = run::main(global, &told(&words).map_err(wrong)?);
    if code == exit::INTERRUPTED {
        return Ok(code);
    }
    let (site, survey) = load::surveyed(global, &target)?;
    let measured = |cell: &&WantedCell| {
        let of = |id: &&crate::pipeline::StepId| site.step(**id).name == cell.step;
        let standing = survey.standings.iter().find(|(id, _)| of(id)).map(|(_, standing)| standing);
        matches!(standing, Some(Standing::Cached(Product::Sessions(_))))
    };
    let here = wanted.cells.iter().filter(measured).count();
    note(&format!("{here} of {} wanted cells are measured on {}", wanted.cells.len(), site.facts.machine.line()));
    let Some(to) = &arguments.to else { return Ok(code) };
    let wish = Wish {
        outputs: Outputs::None,
        most: sharing.max_blob,
        secret_steps: false,
        name: sharing.name,
        identity: Some(wanted.identity),
        cells_only: true,
    };
    Ok(code.max(pack::write(&site, &survey, to, &[], &wish)))
}

/// Refuses another pipeline, with what differs.
fn same(site: &Site, wanted: &Wanted) -> Result<(), u8> {
    let differences = identity::of(site).differences(&Identity(wanted.parts.clone()));
    if differences.is_empty() {
        return Ok(());
    }
    note(&format!("pipe: this is not the pipeline `{}` that wants cells:", wanted.pipeline));
    differences.iter().take(10).for_each(|difference| note(&format!("  {difference}")));
    if differences.len() > 10 {
        note(&format!("  and {} more", differences.len() - 10));
    }
    note("  help: check out the same commit, with nothing edited");
    Err(exit::USAGE)
}

/// A pattern for each cell; none where a step has no cell to be chosen by.
fn only(cells: &[WantedCell]) -> Vec<String> {
    if cells.iter().any(|cell| cell.cell.is_empty()) {
        return Vec::new();
    }
    let pattern = |cell: &WantedCell| {
        let pairs: Vec<String> = cell.cell.iter().map(|(axis, value)| format!("{axis}={value}")).collect();
        pairs.join(" ")
    };
    cells.iter().map(pattern).collect()
}

/// What a person would say to `pipe run`.
fn words(wanted: &Wanted, arguments: &Arguments, file: &Path) -> Vec<OsString> {
    let mut words: Vec<OsString> = vec!["pipe".into()];
    let lists = [("--set", &wanted.set), ("--secret", &arguments.secrets), ("--only", &only(&wanted.cells))];
    for (flag, values) in lists {
        words.extend(values.iter().map(|value| format!("{flag}={value}").into()));
    }
    words.extend(wanted.profile.iter().map(|profile| format!("--profile={profile}").into()));
    // The file may have been written by anybody: a name is never a flag.
    words.extend(["--".into(), file.as_os_str().to_owned()]);
    words
}

/// The same as arguments; through the parser, so that every other flag is at its default.
pub(super) fn told<T: Args>(words: &[OsString]) -> Result<T, String> {
    Told::try_parse_from(words).map(|told| told.told).map_err(|error| error.to_string())
}
