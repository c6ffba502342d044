//! Diagnostics: what is wrong with a text, where, and what to write instead.
//!
//! Front ends collect them and never bail at the first; nothing here prints. A diagnostic points into
//! sources by number and byte range; [`Diagnostics`] holds those sources, so that it can be rendered
//! anywhere. This module knows nothing of KDL or of pipelines.

pub mod catalogue;
mod json;
mod render;

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// More diagnostics than this help nobody; the rest are counted.
const MOST: usize = 100;

/// Whoever has found so many looks no further: they would take room, and say nothing new.
pub const ENOUGH: usize = 1_000;

/// Bytes of a message that are shown.
const MOST_TEXT: usize = 1_000;

/// The text of one file.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Source {
    /// As a person would write it: relative to the working folder, or `std/model` for one of ours.
    pub name: String,
    pub text: Arc<str>,
}

/// Bytes `start..end` of source number `source`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct At {
    pub source: usize,
    pub start: usize,
    pub end: usize,
}

/// A place and what is to be said of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Label {
    pub at: At,
    pub text: String,
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    Error,
    Warning,
}

impl Severity {
    /// The word that reports use.
    pub fn name(self) -> &'static str {
        match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
        }
    }
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Stable, for `pipe explain` and for scripts: `pipe::unknown-node`.
    pub code: &'static str,
    pub severity: Severity,
    pub message: String,
    /// The first is the place of the fault; the others explain it.
    pub labels: Vec<Label>,
    /// What to do about it.
    pub help: Option<String>,
    /// The recipes through which the place was reached, innermost first.
    pub trail: Vec<Label>,
}

impl Diagnostic {
    /// An error without a place yet.
    pub fn error(code: &'static str, message: impl Into<String>) -> Diagnostic {
        Diagnostic {
            code,
            severity: Severity::Error,
            message: message.into(),
            labels: Vec::new(),
            help: None,
            trail: Vec::new(),
        }
    }

    /// A warning without a place yet: what runs, and is likely not what was meant.
    pub fn warning(code: &'static str, message: impl Into<String>) -> Diagnostic {
        Diagnostic { severity: Severity::Warning, ..Diagnostic::error(code, message) }
    }

    /// Adds a place; the first one added is the place of the fault.
    pub fn at(mut self, at: At, text: impl Into<String>) -> Diagnostic {
        self.labels.push(Label { at, text: text.into() });
        self
    }

    /// Says what to do about it.
    pub fn help(mut self, help: impl Into<String>) -> Diagnostic {
        self.help = Some(help.into());
        self
    }

    /// Says what to do about it, where there is something to say.
    pub fn maybe_help(mut self, help: Option<String>) -> Diagnostic {
        self.help = help.or(self.help);
        self
    }
}

/// All findings about a set of files, with the files.
#[derive(Debug, Clone, Default)]
pub struct Diagnostics {
    sources: Vec<Source>,
    list: Vec<Diagnostic>,
    left_out: usize,
}

impl Diagnostics {
    /// Puts findings into the order of their places, without repetitions.
    pub fn new(sources: Vec<Source>, mut list: Vec<Diagnostic>) -> Diagnostics {
        list.iter_mut().for_each(shorten);
        list.sort_by(|a, b| key(a).cmp(&key(b)));
        // A fault inside a recipe shows once, however many cells reach it.
        let mut seen = BTreeSet::new();
        list.retain(|d| seen.insert((d.code, d.message.clone(), d.labels.first().map(|l| l.at))));
        let left_out = list.len().saturating_sub(MOST);
        list.truncate(MOST);
        Diagnostics { sources, list, left_out }
    }

    /// The findings in the order of their places.
    pub fn iter(&self) -> impl Iterator<Item = &Diagnostic> {
        self.list.iter()
    }

    /// True where nothing was found.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The number of findings, those that are left out included.
    pub fn len(&self) -> usize {
        self.list.len() + self.left_out
    }

    /// True where something must be mended before the pipeline can run.
    pub fn has_errors(&self) -> bool {
        self.list.iter().any(|d| d.severity == Severity::Error)
    }

    /// The files that the findings point into.
    pub fn sources(&self) -> &[Source] {
        &self.sources
    }
}

/// Cuts words that nobody reads: a name may be a megabyte long.
fn shorten(diagnostic: &mut Diagnostic) {
    let labels = diagnostic.labels.iter_mut().chain(&mut diagnostic.trail).map(|label| &mut label.text);
    for text in labels.chain([&mut diagnostic.message]).chain(&mut diagnostic.help) {
        if text.len() > MOST_TEXT {
            let end = (0..=MOST_TEXT).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
            text.truncate(end);
            text.push('…');
        }
    }
}

fn key(diagnostic: &Diagnostic) -> (Option<At>, &'static str, &str) {
    (diagnostic.labels.first().map(|l| l.at), diagnostic.code, &diagnostic.message)
}

/// Line and column of a byte offset, both from 1; columns count characters.
pub fn line_column(text: &str, offset: usize) -> (usize, usize) {
    let mut offset = offset.min(text.len());
    while !text.is_char_boundary(offset) {
        offset -= 1;
    }
    let before = &text[..offset];
    let line_start = before.rfind('\n').map_or(0, |i| i + 1);
    let line = before.bytes().filter(|&b| b == b'\n').count() + 1;
    (line, before[line_start..].chars().filter(|&c| c != '\u{feff}').count() + 1)
}

/// The one of `known` that a person most likely meant by `word`.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Two of three letters are not a slip but another word.
    let most = match word.chars().count() {
        0..=3 => 1,
        length => length / 3 + 1,
    };
    known
        .into_iter()
        .filter(|candidate| *candidate != word)
        .map(|candidate| {
            let distance = strsim::osa_distance(word, candidate);
            // `model` for `model-size` is a likelier slip than its distance says.
            let prefix = word.len() >= 3 && (candidate.starts_with(word) || word.starts_with(candidate));
            (if prefix { distance.min(most) } else { distance }, candidate)
        })
        .filter(|(distance, candidate)| *distance <= most && *distance < candidate.chars().count().max(2))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// "Did you mean `x`?", else the list of what is known.
pub fn suggest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>, what: &str) -> Option<String> {
    let known: Vec<&str> = known.into_iter().collect();
    if let Some(near) = nearest(word, known.iter().copied()) {
        return Some(format!("did you mean `{near}`?"));
    }
    if known.is_empty() {
        return Some(format!("{what} none"));
    }
    Some(format!("{what}: {}", list(&known)))
}

/// The same; where nothing is known, `none` says what to do.
pub fn suggest_or(word: &str, known: Vec<&str>, what: &str, none: impl FnOnce() -> String) -> String {
    let help = suggest(word, known.iter().copied(), what).filter(|_| !known.is_empty());
    help.unwrap_or_else(none)
}

/// `a`, `b` and `c`; long lists are cut.
pub fn list<T: AsRef<str>>(words: &[T]) -> String {
    joined(words, "and")
}

/// `a`, `b` or `c`; long lists are cut.
pub fn either<T: AsRef<str>>(words: &[T]) -> String {
    joined(words, "or")
}

/// What a value may be, the likeliest first: "did you mean `a`? It may be `a` or `b`".
pub fn choices<T: AsRef<str>>(word: &str, choices: &[T]) -> String {
    match nearest(word, choices.iter().map(AsRef::as_ref)) {
        Some(near) => format!("did you mean `{near}`? It may be {}", either(choices)),
        None => format!("it may be {}", either(choices)),
    }
}

fn joined<T: AsRef<str>>(words: &[T], word: &str) -> String {
    const SHOWN: usize = 16;
    let mut quoted: Vec<String> = words.iter().take(SHOWN).map(|w| format!("`{}`", w.as_ref())).collect();
    if words.len() > SHOWN {
        return format!("{} and {} more", quoted.join(", "), words.len() - SHOWN);
    }
    match quoted.pop() {
        None => "none".to_owned(),
        Some(last) if quoted.is_empty() => last,
        Some(last) => format!("{} {word} {last}", quoted.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_characters() {
        assert_eq!(line_column("é x", 3), (1, 3));
        assert_eq!(line_column("a\r\nbc", 4), (2, 2));
        assert_eq!(line_column("a", 99), (1, 2));
        assert_eq!(line_column("\u{feff}ab", 3), (1, 1));
    }

    #[test]
    fn nearest_finds_slips_and_nothing_far() {
        assert_eq!(nearest("lama", ["llama", "python-env"]), Some("llama"));
        assert_eq!(nearest("prompt", ["prompt-tokens", "size"]), Some("prompt-tokens"));
        assert_eq!(nearest("banana", ["llama", "python-env"]), None);
    }

    #[test]
    fn lists_read_as_english() {
        assert_eq!(list(&["a"]), "`a`");
        assert_eq!(list(&["a", "b", "c"]), "`a`, `b` and `c`");
    }
}
