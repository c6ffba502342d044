//! `pipe store export` and `pipe store import`: results in a file, for a machine that has no server to ask.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use pipe_cache::{PACK_CHAIN, Pack, PackError, Store};

use super::estimate::size;
use super::output::{note, print};
use super::{Global, Target, env, exit, load, trust};
use crate::exec::share::admit::{Admitted, admit};
use crate::exec::share::export::{self as share, Exported, Outputs, Wish};
use crate::exec::site::Site;
use crate::exec::survey::Survey;

/// More records than this that are refused say no more than how many there are.
const MOST_REFUSALS: usize = 20;

/// The flags of `pipe store export`.
#[derive(Debug, Args)]
pub struct ExportArguments {
    #[command(flatten)]
    target: Target,
    /// The pack to write
    #[arg(long, value_name = "PACK")]
    to: PathBuf,
    /// Writes only what these packs lack: all packs of the chain, the oldest first
    #[arg(long, value_name = "PACK", num_args = 1..)]
    since: Vec<PathBuf>,
    #[command(flatten)]
    sharing: Sharing,
}

/// What travels in a pack.
#[derive(Debug, Clone, Args)]
pub struct Sharing {
    /// Whose outputs travel: of all steps, of those that a measurement or an export reads, or of none; wheels never do
    #[arg(long, value_enum, default_value_t = Which::Needed)]
    pub outputs: Which,
    /// Leaves out larger files; a step that reads one makes it again
    #[arg(long, value_name = "SIZE", default_value = "1MiB", value_parser = bytes)]
    pub max_blob: u64,
    /// Lets steps travel that saw a secret
    #[arg(long)]
    pub with_secret_steps: bool,
    /// What this machine shall be called, for `--accept-machine`
    #[arg(long = "as", value_name = "NAME", value_parser = name)]
    pub name: Option<String>,
    /// Lets an untrusted job write a pack: a file outside of the project that says so
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,
}

/// `--outputs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Which {
    All,
    Needed,
    None,
}

/// The flags of `pipe store import`.
#[derive(Debug, Args)]
pub struct ImportArguments {
    /// The packs: a chain in any order, or packs that have nothing to do with each other
    #[arg(required = true, value_name = "PACK")]
    packs: Vec<PathBuf>,
}

/// Writes a pack.
pub fn export(global: &Global, arguments: &ExportArguments) -> u8 {
    // Nothing is read before it is clear that this job may write at all.
    if let Err(code) = allowed(&arguments.target.file, &arguments.sharing) {
        return code;
    }
    let (site, survey) = match load::surveyed(global, &arguments.target) {
        Ok(pair) => pair,
        Err(code) => return code,
    };
    let since = match base(&arguments.since) {
        Ok(since) => since,
        Err(code) => return code,
    };
    let wish = wish(&arguments.sharing);
    write(&site, &survey, &arguments.to, &since, &wish)
}

/// The wish that the flags make.
pub fn wish(sharing: &Sharing) -> Wish {
    Wish {
        outputs: match sharing.outputs {
            Which::All => Outputs::All,
            Which::Needed => Outputs::Needed,
            Which::None => Outputs::None,
        },
        most: sharing.max_blob,
        secret_steps: sharing.with_secret_steps,
        name: sharing.name.clone(),
        identity: None,
        cells_only: false,
    }
}

/// Refuses where others could make this job write what trusted jobs then read.
pub fn allowed(pipeline: &Path, sharing: &Sharing) -> Result<(), u8> {
    let Err(why) = trust::judge(&env::all(), &trust::event_of_disk) else { return Ok(()) };
    let refusal = match &sharing.policy {
        None => None,
        Some(policy) => match trust::policy_allows(policy, pipeline) {
            Ok(()) => return Ok(()),
            Err(wrong) => Some(wrong),
        },
    };
    note(&format!("pipe: no pack is written: {why}"));
    match refusal {
        Some(wrong) => note(&format!("  the policy does not count: {wrong}")),
        None => note(
            "  help: jobs of the default branch write packs, and this one may read them; `--policy FILE`, a file \
             outside of the project, can say otherwise",
        ),
    }
    Err(exit::FAULT)
}

/// Writes the pack and says what is in it and what is not.
pub fn write(site: &Site, survey: &Survey, to: &Path, since: &[Pack], wish: &Wish) -> u8 {
    match share::export(site, survey, to, since, wish, now()) {
        Ok(exported) => {
            print(&told(to, &exported));
            exit::DONE
        }
        Err(error) => fault(&error),
    }
}

/// The packs that a delta builds on; none where the chain is as long as it may be, so that a whole one is written.
fn base(paths: &[PathBuf]) -> Result<Vec<Pack>, u8> {
    let packs = read(paths)?;
    let ids: Vec<_> = packs.iter().flat_map(Pack::sections).map(|section| section.id).collect();
    let missing = packs.iter().flat_map(Pack::sections).flat_map(|section| &section.since).find(|id| !ids.contains(id));
    if let Some(missing) = missing {
        note(&format!(
            "pipe: the packs of `--since` build on another one ({}); name it too, the oldest first",
            missing.short()
        ));
        return Err(exit::USAGE);
    }
    if packs.len() >= PACK_CHAIN {
        note(&format!("{} packs are a long chain: this one is whole, and needs none of them", packs.len()));
        return Ok(Vec::new());
    }
    Ok(packs)
}

fn told(to: &Path, exported: &Exported) -> String {
    let Exported { written, steps, cells, without, secret, large } = exported;
    let mut out = format!(
        "{}: {}, {} and {}, in {}\n",
        to.display(),
        counted(*steps, "step"),
        counted(*cells, "cell"),
        counted(written.blobs as usize, "file"),
        size(written.bytes)
    );
    if *without > 0 {
        out.push_str(&format!("  {} without a result, or left out by a need of theirs\n", counted(*without, "step")));
    }
    if !large.is_empty() {
        let some: Vec<String> = share::largest(large, 3).into_iter().map(|(n, b)| format!("{n} {}", size(b))).collect();
        out.push_str(&format!(
            "  left out for their size: {}{}; a step that reads them makes them again, or take them along with \
             `--max-blob`\n",
            some.join(", "),
            if large.len() > 3 { format!(" and {} more", large.len() - 3) } else { String::new() }
        ));
    }
    if !secret.is_empty() {
        let names: Vec<&str> = secret.iter().map(String::as_str).collect();
        out.push_str(&format!(
            "  left out, since they saw a secret or hold what such a step made: {}; `--with-secret-steps` takes them\n",
            super::explain::some(&names, 3)
        ));
    }
    out
}

/// Takes packs in.
pub fn import(store: &Store, arguments: &ImportArguments) -> u8 {
    let packs = match read(&arguments.packs) {
        Ok(packs) => packs,
        Err(code) => return code,
    };
    match admit(store, &packs, now()) {
        Ok(admitted) => {
            for error in admitted.refused.iter().take(MOST_REFUSALS) {
                note(&format!("pipe: {error}"));
            }
            let more = admitted.refused.len().saturating_sub(MOST_REFUSALS);
            if more > 0 {
                note(&format!("pipe: {} more were refused", counted(more, "record")));
            }
            print(&taken(&admitted));
            if admitted.refused.is_empty() { exit::DONE } else { exit::FAULT }
        }
        Err(error) => fault(&error),
    }
}

fn taken(admitted: &Admitted) -> String {
    let from: Vec<&str> = admitted.from.iter().map(String::as_str).collect();
    let mut out = format!("{} and {}", counted(admitted.steps, "step"), counted(admitted.cells, "cell"));
    if !from.is_empty() {
        out.push_str(&format!(" from {}", super::explain::some(&from, 3)));
    }
    if admitted.light > 0 {
        out.push_str(&format!(", {} without all bytes of their outputs", admitted.light));
    }
    if admitted.kept > 0 {
        out.push_str(&format!("; {} were here already", counted(admitted.kept, "record")));
    }
    out.push('\n');
    out
}

fn read(paths: &[PathBuf]) -> Result<Vec<Pack>, u8> {
    paths.iter().map(|path| Pack::read(path).map_err(|error| fault(&error))).collect()
}

fn fault(error: &PackError) -> u8 {
    note(&format!("pipe: {error}"));
    exit::FAULT
}

fn counted(n: usize, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

/// `1MiB`, `512 KiB`, `20`: whole bytes, or a unit of 1024.
fn bytes(text: &str) -> Result<u64, String> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let scale: u64 = match text[digits..].trim() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err("write a size like 512KiB, 20MiB or 1GiB".to_owned()),
    };
    let number: u64 = text[..digits].parse().map_err(|_| "write a size like 512KiB, 20MiB or 1GiB".to_owned())?;
    number.checked_mul(scale).ok_or_else(|| "no file is so large".to_owned())
}

/// A name for a machine: a short line of text.
pub fn name(text: &str) -> Result<String, String> {
    let text = text.trim();
    match text.is_empty() || text.chars().count() > 60 || text.chars().any(char::is_control) {
        true => Err("a machine's name is a line of 1 to 60 characters".to_owned()),
        false => Ok(text.to_owned()),
    }
}

#[expect(clippy::disallowed_methods, reason = "a pack remembers when it was written; no key and no report does")]
fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map(|d| d.as_secs()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_whole_and_have_units_of_1024() {
        assert_eq!(bytes("20"), Ok(20));
        assert_eq!(bytes("512KiB"), Ok(512 << 10));
        assert_eq!(bytes("1 GiB"), Ok(1 << 30));
        for wrong in ["", "MiB", "1.5MiB", "1MB", "-1", "99999999999GiB"] {
            assert!(bytes(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn names_are_lines() {
        assert_eq!(name(" M2 desk "), Ok("M2 desk".to_owned()));
        for wrong in ["", "  ", "a\nb", "a\u{1b}[1m", &"x".repeat(61)] {
            assert!(name(wrong).is_err(), "{wrong:?}");
        }
    }
}
