//! A tree put together of parts of others, without a process and without copying what the store has.

use pipe_cache::{Entry, Store, StoreError, TreeBuilder};
use thiserror::Error;

use super::closure::{self, ClosureError};
use super::host_libraries::{HostLibrary, LibraryError};
use crate::pipeline::glob;

/// Why a tree can't be put together.
#[derive(Debug, Error)]
pub enum TreeError {
    /// A file or link has no name to go by.
    #[error("a file can't be put at the root of a tree: say where it goes (`put \"bin/tool\" …`)")]
    NoPlace,
    /// A pattern matches nothing, or more than one file.
    #[error("`{pattern}` must match one file, and matches {}; there {}", count(.found), candidates(.there))]
    Matches { pattern: String, found: Vec<String>, there: Vec<String> },
    /// The input of a pattern is no folder.
    #[error("`{pattern}` looks for a file in a folder, and its input is a file")]
    NoFolder { pattern: String },
    /// The store lost a tree since the step that made it ran.
    #[error("the tree `{0}` is not in the store any more; a run makes it again")]
    Gone(String),
    /// A library of the host is missing.
    #[error(transparent)]
    Library(#[from] LibraryError),
    /// The tree lacks libraries.
    #[error(transparent)]
    Closure(#[from] ClosureError),
    /// The store failed, or refuses a path.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn count(found: &[String]) -> String {
    if found.is_empty() { "none".to_owned() } else { format!("{} ({})", found.len(), found.join(", ")) }
}

fn candidates(there: &[String]) -> String {
    const SHOWN: usize = 12;
    match there.len() {
        0 => "is nothing".to_owned(),
        n if n > SHOWN => format!("are {} and {} more", there[..SHOWN].join(", "), n - SHOWN),
        _ => format!("are {}", there.join(", ")),
    }
}

/// One part, with its input found.
#[derive(Debug, Clone)]
pub struct Part {
    /// Where it goes; empty or `.` for a tree whose entries go to the root; ending in `/` for a folder into which a
    /// matched file goes under its own name.
    pub at: String,
    pub what: PartWhat,
}

/// What is put.
#[derive(Debug, Clone)]
pub enum PartWhat {
    Entry(Entry),
    /// The single file of a folder (not of those below it) whose name matches.
    Matching {
        folder: Entry,
        pattern: String,
    },
    Link(String),
    Text(String),
}

/// Puts the parts and libraries together. With libraries of the host the result is checked to be complete.
pub fn build(store: &Store, parts: &[Part], libraries: &[HostLibrary]) -> Result<Entry, TreeError> {
    let mut tree = TreeBuilder::new();
    for part in parts {
        put(store, &mut tree, part)?;
    }
    for library in libraries {
        tree.insert(&library.place, store.put_file(&library.file, library.is_loader)?)?;
    }
    let entry = tree.build(store)?;
    if !libraries.is_empty() {
        closure::check(store, &entry)?;
    }
    Ok(entry)
}

fn put(store: &Store, tree: &mut TreeBuilder, part: &Part) -> Result<(), TreeError> {
    let at = part.at.trim_end_matches('/');
    let at = if at == "." { "" } else { at };
    let (at, entry) = match &part.what {
        PartWhat::Entry(Entry::Tree { digest }) if at.is_empty() => {
            tree.merge(digest);
            return Ok(());
        }
        PartWhat::Entry(entry) => (at.to_owned(), entry.clone()),
        PartWhat::Link(target) => (at.to_owned(), Entry::Link { target: target.clone() }),
        PartWhat::Text(text) => (at.to_owned(), store.put_bytes(text.as_bytes())?),
        PartWhat::Matching { folder, pattern } => {
            let (name, entry) = the_one_match(store, folder, pattern)?;
            let into_folder = at.is_empty() || part.at.ends_with('/');
            let place = match (into_folder, at.is_empty()) {
                (true, true) => name,
                (true, false) => format!("{at}/{name}"),
                (false, _) => at.to_owned(),
            };
            (place, entry)
        }
    };
    if at.is_empty() {
        return Err(TreeError::NoPlace);
    }
    Ok(tree.insert(&at, entry)?)
}

fn the_one_match(store: &Store, folder: &Entry, pattern: &str) -> Result<(String, Entry), TreeError> {
    let Entry::Tree { digest } = folder else {
        return Err(TreeError::NoFolder { pattern: pattern.to_owned() });
    };
    let tree = store.tree(digest)?.ok_or_else(|| TreeError::Gone(digest.short()))?;
    let files: Vec<(String, Entry)> = tree
        .entries()
        .filter(|(_, entry)| matches!(entry, Entry::File { .. }))
        .map(|(name, entry)| (name.to_owned(), entry.clone()))
        .collect();
    let matches: Vec<&(String, Entry)> = files.iter().filter(|(name, _)| glob(pattern, name)).collect();
    match matches[..] {
        [one] => Ok(one.clone()),
        _ => Err(TreeError::Matches {
            pattern: pattern.to_owned(),
            found: matches.iter().map(|(name, _)| format!("`{name}`")).collect(),
            there: files.iter().map(|(name, _)| format!("`{name}`")).collect(),
        }),
    }
}

#[cfg(test)]
#[path = "tree_tests.rs"]
mod tests;
