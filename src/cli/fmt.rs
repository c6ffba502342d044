//! `pipe fmt`: brings KDL files into their one layout.
//!
//! A file is replaced whole or not at all, and not touched where it is formatted already. One that does not
//! parse is left alone; the others are still formatted.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use similar::{ChangeTag, TextDiff};

use super::output::{To, colour, note, out, print, width};
use super::{Global, exit};
use crate::diag::{Diagnostics, Source};
use crate::syntax;

/// Folders that hold nothing to format.
const PASSED_OVER: [&str; 3] = [".git", "target", "out"];

/// Lines of a difference that are shown.
const MOST_LINES: usize = 60;

/// After so long a difference is shown that may not be the shortest.
const DIFF_TIME: Duration = Duration::from_millis(500);

/// The flags of `pipe fmt`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// KDL files, folders with KDL files, or `-` for standard input to standard output
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Changes nothing: shows what would change, and exits with 1 where something would
    #[arg(long)]
    check: bool,
}

/// What became of a file.
enum Done {
    Unchanged,
    Changed,
    /// Its code; what was wrong has been printed.
    Wrong(u8),
}

/// Formats every file, whatever is wrong with the others.
pub fn main(global: &Global, arguments: &Arguments) -> u8 {
    let mut code = exit::DONE;
    let mut files = Vec::new();
    for path in &arguments.files {
        match path.is_dir() {
            true => code = code.max(walk(path, &mut files)),
            false => files.push(path.clone()),
        }
    }
    let (mut changed, mut unchanged) = (0, 0);
    for path in &files {
        match one(global, arguments.check, path) {
            Done::Unchanged => unchanged += 1,
            Done::Changed => changed += 1,
            Done::Wrong(wrong) => code = code.max(wrong),
        }
    }
    if arguments.files.iter().all(|path| path != Path::new("-")) {
        note(&summary(arguments.check, changed, unchanged));
    }
    match arguments.check && changed > 0 {
        true => code.max(exit::JUDGED),
        false => code,
    }
}

fn summary(check: bool, changed: usize, unchanged: usize) -> String {
    let files = |n: usize| format!("{n} file{}", if n == 1 { "" } else { "s" });
    match (check, changed) {
        (_, 0) => format!("{} formatted already", files(unchanged)),
        (true, _) => format!("{} would change, {} formatted already", files(changed), files(unchanged)),
        (false, _) => format!("{} changed, {} formatted already", files(changed), files(unchanged)),
    }
}

/// The KDL files below a folder, in the order of their names.
fn walk(folder: &Path, files: &mut Vec<PathBuf>) -> u8 {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) => {
            note(&format!("pipe: `{}` can't be read: {error}", folder.display()));
            return exit::FAULT;
        }
    };
    let mut code = exit::DONE;
    let mut entries: Vec<std::fs::DirEntry> = entries.flatten().collect();
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        // Links are not followed: they may lead out of the folder, or in a circle.
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() && !PASSED_OVER.iter().any(|name| entry.file_name() == *name) {
            code = code.max(walk(&path, files));
        } else if kind.is_file() && path.extension().is_some_and(|extension| extension == "kdl") {
            files.push(path);
        }
    }
    code
}

fn one(global: &Global, check: bool, path: &Path) -> Done {
    let standard = path == Path::new("-");
    let name = if standard { "standard input".to_owned() } else { path.display().to_string() };
    let bytes = match read(path, standard) {
        Ok(bytes) => bytes,
        Err(error) => {
            note(&format!("pipe: `{name}` can't be read: {error}"));
            return Done::Wrong(exit::USAGE);
        }
    };
    let (text, mut found) = syntax::decode(0, &bytes);
    let mut formatted = None;
    if found.is_empty() {
        match syntax::format(&text) {
            Ok(text) => formatted = Some(text),
            Err(wrong) => found = wrong,
        }
    }
    let Some(formatted) = formatted else {
        let source = Source { name, text: Arc::from(text) };
        note(&Diagnostics::new(vec![source], found).render(colour(global.color, To::Err), width()));
        return Done::Wrong(exit::USAGE);
    };
    if check {
        if formatted == text {
            return Done::Unchanged;
        }
        print(&difference(&name, &text, &formatted, colour(global.color, To::Out)));
        return Done::Changed;
    }
    if standard {
        out(To::Out, &formatted);
        return Done::Unchanged;
    }
    if formatted == text {
        return Done::Unchanged;
    }
    if let Err(error) = replace(path, formatted.as_bytes()) {
        note(&format!("pipe: `{name}` can't be written: {error}"));
        return Done::Wrong(exit::FAULT);
    }
    print(&format!("{name}: formatted"));
    Done::Changed
}

/// The bytes of a file, and no more than one above what is formatted at all.
fn read(path: &Path, standard: bool) -> std::io::Result<Vec<u8>> {
    let most = syntax::MOST_BYTES as u64 + 1;
    let mut bytes = Vec::new();
    match standard {
        true => std::io::stdin().lock().take(most).read_to_end(&mut bytes)?,
        false => std::fs::File::open(path)?.take(most).read_to_end(&mut bytes)?,
    };
    Ok(bytes)
}

/// Replaces a file by one with the same mode; of a link, what it leads to.
fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let path = std::fs::canonicalize(path)?;
    let folder = path.parent().unwrap_or(Path::new("/"));
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().set_permissions(std::fs::metadata(&path)?.permissions())?;
    file.persist(&path).map_err(|error| error.error)?;
    Ok(())
}

/// What would change, as a unified difference; long ones are cut.
fn difference(name: &str, old: &str, new: &str, colour: bool) -> String {
    let paint = |code: &str, text: &str| if colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() };
    let diff = TextDiff::configure().timeout(DIFF_TIME).diff_lines(old, new);
    let mut lines = vec![paint("1", &format!("--- {name}")), paint("1", &format!("+++ {name}, formatted"))];
    for hunk in diff.unified_diff().context_radius(2).iter_hunks() {
        lines.push(paint("36", &hunk.header().to_string()));
        for change in hunk.iter_changes() {
            let text = shown(change.value());
            lines.push(match change.tag() {
                ChangeTag::Delete => paint("31", &format!("-{text}")),
                ChangeTag::Insert => paint("32", &format!("+{text}")),
                ChangeTag::Equal => format!(" {text}"),
            });
        }
    }
    if lines.len() > MOST_LINES {
        let more = lines.len() - MOST_LINES;
        lines.truncate(MOST_LINES);
        lines.push(format!("… and {more} more lines"));
    }
    lines.join("\n")
}

/// A line without its end. What would not show, and is taken out, is named.
fn shown(line: &str) -> String {
    line.trim_end_matches('\n').replace('\r', "<CR>").replace('\u{feff}', "<BOM>")
}
