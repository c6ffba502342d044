//! Diagnostics as text for people, drawn by miette.
//!
//! Spans are clamped and characters that would disturb a terminal are masked here, because miette panics on
//! the one and passes the other through.

use std::fmt;
use std::sync::Arc;

use miette::{
    GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, Severity as Level, SourceCode, SourceSpan,
};

use super::{At, Diagnostic, Diagnostics, ENOUGH, Label, Severity, Source, line_column};

/// A line longer than this is not shown, only named.
const LONGEST_LINE: usize = 400;

impl Diagnostics {
    /// All findings as a person reads them, then one line that counts them.
    pub fn render(&self, color: bool, width: usize) -> String {
        let theme = if color { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
        let handler = GraphicalReportHandler::new_themed(theme).with_width(width.max(40)).with_links(false);
        let mut out = String::new();
        for diagnostic in &self.list {
            let drawn = Drawn::new(diagnostic, &self.sources);
            // Writing into a `String` fails only where a `Display` does, and ours do not.
            let _ = handler.render_report(&mut out, &drawn);
            out.push('\n');
        }
        out.push_str(&self.count_line());
        out
    }

    fn count_line(&self) -> String {
        if self.list.is_empty() {
            return String::new();
        }
        let plural = |n: usize, word: &str| format!("{n} {word}{}", if n == 1 { "" } else { "s" });
        let warnings = self.list.iter().filter(|d| d.severity == Severity::Warning).count();
        let errors = self.len() - warnings;
        let mut parts = Vec::new();
        if errors > 0 {
            let counted = if errors >= ENOUGH { "at least " } else { "" };
            parts.push(format!("{counted}{}", plural(errors, "error")));
        }
        if warnings > 0 {
            parts.push(plural(warnings, "warning"));
        }
        let hidden = match self.left_out {
            0 => String::new(),
            n => format!(" ({n} not shown)"),
        };
        format!("{}{hidden}\n", parts.join(", "))
    }
}

/// One diagnostic in the shape that miette draws: one source, and notes with sources of their own.
#[derive(Debug)]
struct Drawn {
    code: Option<&'static str>,
    level: Level,
    message: String,
    help: Option<String>,
    source: Option<NamedSource<Arc<str>>>,
    labels: Vec<LabeledSpan>,
    notes: Vec<Drawn>,
}

impl Drawn {
    fn new(diagnostic: &Diagnostic, sources: &[Source]) -> Drawn {
        let main = diagnostic.labels.first().map(|label| label.at.source);
        let (here, elsewhere): (Vec<&Label>, Vec<&Label>) =
            diagnostic.labels.iter().partition(|label| Some(label.at.source) == main);
        let mut drawn = Drawn {
            code: Some(diagnostic.code),
            level: match diagnostic.severity {
                Severity::Error => Level::Error,
                Severity::Warning => Level::Warning,
            },
            message: mask(&diagnostic.message),
            help: diagnostic.help.as_deref().map(mask),
            source: None,
            labels: Vec::new(),
            notes: Vec::new(),
        };
        drawn.place(&here, sources);
        drawn.notes = elsewhere.into_iter().chain(&diagnostic.trail).map(|label| Drawn::note(label, sources)).collect();
        drawn
    }

    /// A place in another file, or a step of the way through recipes.
    fn note(label: &Label, sources: &[Source]) -> Drawn {
        let mut drawn = Drawn {
            code: None,
            level: Level::Advice,
            message: mask(&label.text),
            help: None,
            source: None,
            labels: Vec::new(),
            notes: Vec::new(),
        };
        drawn.place(&[&Label { at: label.at, text: "here".to_owned() }], sources);
        drawn
    }

    fn place(&mut self, labels: &[&Label], sources: &[Source]) {
        let Some(first) = labels.first() else { return };
        let Some(source) = sources.get(first.at.source) else {
            return;
        };
        if labels.iter().any(|label| longest_line(&source.text, label.at) > LONGEST_LINE) {
            let (line, column) = line_column(&source.text, first.at.start);
            self.message = format!("{}:{line}:{column}: {} ({})", source.name, self.message, mask(&first.text));
            return;
        }
        let text: Arc<str> = Arc::from(mask(&source.text));
        self.labels = labels
            .iter()
            .enumerate()
            .map(|(i, label)| {
                let span = clamp(&text, label.at);
                let text = Some(mask(&label.text));
                match i {
                    0 => LabeledSpan::new_primary_with_span(text, span),
                    _ => LabeledSpan::new_with_span(text, span),
                }
            })
            .collect();
        self.source = Some(NamedSource::new(&source.name, text));
    }
}

/// The longest line that a snippet of `at` would show.
fn longest_line(text: &str, at: At) -> usize {
    let start = at.start.min(text.len());
    let end = at.end.clamp(start, text.len());
    let bytes = text.as_bytes();
    let from = bytes[..start].iter().rposition(|&b| b == b'\n').map_or(0, |i| i + 1);
    let to = bytes[end..].iter().position(|&b| b == b'\n').map_or(bytes.len(), |i| end + i);
    bytes[from..to].split(|&b| b == b'\n').map(<[u8]>::len).max().unwrap_or(0)
}

/// A span inside the text: miette draws no label at the very end, so that one moves to the last character
/// that is not blank.
fn clamp(text: &str, at: At) -> SourceSpan {
    let last = text.trim_end().len();
    let mut start = at.start.min(text.len());
    if start >= last {
        start = last.saturating_sub(1);
    }
    while !text.is_char_boundary(start) {
        start -= 1;
    }
    let mut end = at.end.min(text.len());
    // A span that runs over several lines is drawn as its first line: the header of a node says enough.
    if let Some(newline) = text.get(start..end).and_then(|part| part.find(['\n', '\r'])) {
        end = start + newline;
    }
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    SourceSpan::new(start.into(), end.saturating_sub(start))
}

/// Replaces what would steer a terminal or turn the reading direction, byte for byte.
fn mask(text: &str) -> String {
    if !text.chars().any(is_unsafe) {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match is_unsafe(c) {
            true => (0..c.len_utf8()).for_each(|_| out.push('?')),
            false => out.push(c),
        }
    }
    out
}

fn is_unsafe(c: char) -> bool {
    let bidi = matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}');
    bidi || (c.is_control() && !matches!(c, '\n' | '\r' | '\t'))
}

impl fmt::Display for Drawn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Drawn {}

impl miette::Diagnostic for Drawn {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.code.map(|code| Box::new(code) as Box<dyn fmt::Display>)
    }

    fn severity(&self) -> Option<Level> {
        Some(self.level)
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.source.as_ref().map(|source| source as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        Some(Box::new(self.labels.iter().cloned()))
    }

    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn miette::Diagnostic> + 'a>> {
        if self.notes.is_empty() {
            return None;
        }
        Some(Box::new(self.notes.iter().map(|note| note as &dyn miette::Diagnostic)))
    }
}
