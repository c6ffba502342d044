//! Which part of a folder counts: patterns as in `.gitignore`, and what never counts.
//!
//! The sole user of the `ignore` crate. A filter is no part of a key: only what it leaves is. Nothing here reads a
//! folder; who lists one asks about each path from the top down, and looks into no folder that is left out.

use ignore::gitignore::{Gitignore, GitignoreBuilder};
use serde::{Deserialize, Serialize};

/// What is left out of every folder on every machine: what version control, Python and a Mac's file browser put
/// beside the files that a person means.
pub const NEVER: [&str; 3] = [".git", "__pycache__", ".DS_Store"];

/// The patterns of a folder, in the order in which they were written; the last that matches a path decides. Most
/// inputs have none, and there are many inputs, so that one without takes no room.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Filter(Option<Box<Patterns>>);

#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Patterns {
    lines: Vec<String>,
    /// The part of the folder that is meant, where it is not all of it: patterns are about the whole.
    below: String,
}

impl Filter {
    /// Adds patterns below those that are there.
    pub fn extend(&mut self, patterns: impl IntoIterator<Item = String>) {
        self.0.get_or_insert_default().lines.extend(patterns);
    }

    /// The same patterns, for the file or folder at `path` inside the folder.
    pub fn inside(&self, path: &str) -> Filter {
        let inner = |patterns: &Patterns| {
            let above = &patterns.below;
            let below = if above.is_empty() { path.to_owned() } else { format!("{above}/{path}") };
            Box::new(Patterns { lines: patterns.lines.clone(), below })
        };
        Filter(self.0.as_deref().map(inner))
    }

    /// True where the patterns leave out the very file or folder that is meant.
    pub fn leaves_itself_out(&self, is_folder: bool) -> bool {
        let Some(patterns) = self.0.as_deref().filter(|patterns| !patterns.below.is_empty()) else { return false };
        let whole = Patterns { lines: patterns.lines.clone(), below: String::new() };
        Filter(Some(Box::new(whole))).leaves_out(&patterns.below, is_folder)
    }

    /// The filter ready for use.
    pub fn matcher(&self) -> Matcher {
        let mut builder = GitignoreBuilder::new("");
        for pattern in self.0.iter().flat_map(|patterns| &patterns.lines) {
            // Each was checked where it was written; one that is wrong all the same leaves nothing out.
            let _ = builder.add_line(None, pattern);
        }
        Matcher {
            patterns: builder.build().unwrap_or_else(|_| Gitignore::empty()),
            below: self.0.as_ref().map(|patterns| patterns.below.clone()).unwrap_or_default(),
        }
    }

    /// True where the filter leaves out what lies at `path`, or a folder above it.
    pub fn leaves_out(&self, path: &str, is_folder: bool) -> bool {
        let matcher = self.matcher();
        let above = path.match_indices('/').map(|(end, _)| &path[..end]);
        above.into_iter().any(|folder| !matcher.keeps(folder, true)) || !matcher.keeps(path, is_folder)
    }
}

/// What is wrong with a pattern, if anything.
pub fn fault(pattern: &str) -> Option<&'static str> {
    if pattern.trim().is_empty() {
        return Some("it is empty");
    }
    if pattern.starts_with('#') {
        return Some("a line that begins with `#` is a comment; write `\\\\#` for a name that does");
    }
    if pattern.contains('\n') {
        return Some("it has a line break; write each pattern as a value of its own");
    }
    let mut builder = GitignoreBuilder::new("");
    match builder.add_line(None, pattern).is_err() {
        true => Some("its brackets or braces are not closed, or a range in them is wrong"),
        false => None,
    }
}

/// A filter that answers.
#[derive(Debug, Clone)]
pub struct Matcher {
    patterns: Gitignore,
    below: String,
}

impl Matcher {
    /// True where `path`, relative to the folder that is listed, is kept. Folders above it are not looked at again.
    pub fn keeps(&self, path: &str, is_folder: bool) -> bool {
        let name = path.rsplit('/').next().unwrap_or(path);
        if NEVER.contains(&name) {
            return false;
        }
        match self.below.is_empty() {
            true => !self.patterns.matched(path, is_folder).is_ignore(),
            false => !self.patterns.matched(format!("{}/{path}", self.below), is_folder).is_ignore(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(patterns: &[&str], paths: &[&str]) -> Vec<String> {
        let mut filter = Filter::default();
        filter.extend(patterns.iter().map(|pattern| (*pattern).to_owned()));
        let keeps = |path: &&&str| !filter.leaves_out(path.trim_end_matches('/'), path.ends_with('/'));
        paths.iter().filter(keeps).map(|path| (*path).to_owned()).collect()
    }

    #[test]
    fn patterns_mean_what_git_means_by_them() {
        let paths = ["a.tmp", "sub/a.tmp", "build/", "sub/build/", "sub/keep.tmp", "x/y/z/a.bin", "docs/a.txt"];
        assert_eq!(kept(&["*.tmp"], &paths), ["build/", "sub/build/", "x/y/z/a.bin", "docs/a.txt"]);
        assert_eq!(kept(&["/build/"], &["build/", "build/x", "sub/build/", "build"]), ["sub/build/", "build"]);
        assert_eq!(kept(&["build/"], &["build/", "sub/build/x", "sub/build"]), ["sub/build"]);
        assert_eq!(kept(&["*.tmp", "!keep.tmp"], &["a.tmp", "sub/keep.tmp"]), ["sub/keep.tmp"]);
        assert_eq!(kept(&["x/**/*.bin"], &["x/y/z/a.bin", "x/a.bin", "y/a.bin"]), ["y/a.bin"]);
        assert_eq!(
            kept(&["docs/*.txt"], &["docs/a.txt", "docs/b/a.txt", "sub/docs/a.txt"]),
            ["docs/b/a.txt", "sub/docs/a.txt"]
        );
        assert_eq!(kept(&["/*", "!/a/"], &["a/", "a/x", "b/", "c"]), ["a/", "a/x"]);
        // As in git, what lies in a folder that is left out can't be taken back.
        assert_eq!(kept(&["out/", "!out/keep"], &["out/keep"]), Vec::<String>::new());
    }

    #[test]
    fn some_names_never_count() {
        let paths = [".git/", ".git", "a/__pycache__/x.pyc", "a/.DS_Store", ".gitignore", "a/b"];
        assert_eq!(kept(&["!.git", "!__pycache__"], &paths), [".gitignore", "a/b"]);
    }

    #[test]
    fn patterns_are_about_the_whole_folder() {
        let mut filter = Filter::default();
        filter.extend(["/a/x.txt".to_owned(), "*.tmp".to_owned()]);
        let inside = filter.inside("a").matcher();
        assert!(!inside.keeps("x.txt", false) && !inside.keeps("b/x.tmp", false) && inside.keeps("b/x.txt", false));
    }

    #[test]
    fn patterns_that_do_nothing_are_told() {
        for good in ["*.tmp", "/a/", "!x", "[ab]", "[a", "a b", "\\#x"] {
            assert_eq!(fault(good), None, "{good}");
        }
        for bad in ["", "  ", "# a", "a\nb", "{a", "a[z-a]"] {
            assert!(fault(bad).is_some(), "{bad}");
        }
    }
}
