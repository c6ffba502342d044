//! The `kdl` crate's document as ours, and its errors as diagnostics.

use kdl::{KdlDocument, KdlEntry, KdlIdentifier, KdlNode, KdlValue};

use super::{Entry, Literal, Node, Word};
use crate::diag::{At, Diagnostic};

/// After so many the parser has lost its way.
pub(super) const MOST_FINDINGS: usize = 5;

/// The nodes of a piece, unless it does not parse, and what is wrong in it.
pub(super) type Parsed = (Option<Vec<Node>>, Vec<Diagnostic>);

/// Parses bytes `start..end` of a text as the guard has cleaned it; places are those of the text.
pub(super) fn parse(source: usize, text: &str, clean: &str, start: usize, end: usize) -> Parsed {
    // The parser keeps a byte-order mark as a part of the first name.
    let mark = '\u{feff}'.len_utf8();
    let skip = if start == 0 && text.starts_with('\u{feff}') { mark } else { start };
    let mut converter = Converter { source, text, skip, found: Vec::new() };
    match KdlDocument::parse_v2(clean.get(skip..end).unwrap_or_default()) {
        Ok(document) => {
            let nodes = document.nodes().iter().map(|node| converter.node(node)).collect();
            (Some(nodes), converter.found)
        }
        Err(error) => {
            // One slip makes the parser stumble on: only the first finding of a line is likely to be one.
            let mut line = 0..0;
            for d in &error.diagnostics {
                let offset = d.span.offset().saturating_add(skip).min(text.len());
                if !line.contains(&offset) {
                    converter.syntax_error(d);
                    line.start = text[..offset].rfind('\n').map_or(0, |at| at + 1);
                    line.end = text[offset..].find('\n').map_or(text.len() + 1, |at| offset + at + 1);
                }
                if converter.found.len() == MOST_FINDINGS {
                    break;
                }
            }
            (None, converter.found)
        }
    }
}

struct Converter<'a> {
    source: usize,
    text: &'a str,
    /// Bytes before the piece.
    skip: usize,
    found: Vec<Diagnostic>,
}

impl Converter<'_> {
    fn at(&self, span: miette::SourceSpan) -> At {
        let start = (span.offset() + self.skip).min(self.text.len());
        let end = (start + span.len()).min(self.text.len());
        // Spans of the parser may take in blanks beside the thing itself.
        let part = self.text.get(start..end).unwrap_or_default();
        let lead = part.len() - part.trim_start().len();
        let trail = part.len() - part.trim_end().len();
        match part.trim().is_empty() {
            true => At { source: self.source, start, end },
            false => At { source: self.source, start: start + lead, end: end - trail },
        }
    }

    fn word(&self, identifier: &KdlIdentifier) -> Word {
        Word { text: identifier.value().to_owned(), at: self.at(identifier.span()) }
    }

    fn node(&mut self, node: &KdlNode) -> Node {
        let entries = node.entries().iter().map(|entry| self.entry(entry)).collect();
        let children = node.children().map(|doc| doc.nodes().iter().map(|child| self.node(child)).collect());
        Node {
            name: self.word(node.name()),
            annotation: node.ty().map(|word| self.word(word)),
            entries,
            children,
            at: self.at(node.span()),
        }
    }

    fn entry(&mut self, entry: &KdlEntry) -> Entry {
        let at = self.at(entry.span());
        let literal = match entry.value() {
            KdlValue::String(text) => Literal::Text(text.clone()),
            KdlValue::Integer(n) => match i64::try_from(*n) {
                Ok(n) => Literal::Integer(n),
                Err(_) => {
                    self.too_big(at, "a whole number between -2^63 and 2^63 - 1");
                    Literal::Integer(0)
                }
            },
            KdlValue::Float(x) if x.is_finite() => Literal::Float(*x),
            KdlValue::Float(_) => {
                self.too_big(at, "a number that is finite");
                Literal::Float(0.0)
            }
            KdlValue::Bool(b) => Literal::Bool(*b),
            KdlValue::Null => Literal::Null,
        };
        Entry {
            key: entry.name().map(|word| self.word(word)),
            annotation: entry.ty().map(|word| self.word(word)),
            literal,
            at,
        }
    }

    fn too_big(&mut self, at: At, wanted: &str) {
        let fault = Diagnostic::error("pipe::number-too-large", "this number is out of range");
        self.found.push(fault.at(at, "too large").help(format!("write {wanted}")));
    }

    /// The parser's own words, with its place; its help where it has one.
    fn syntax_error(&mut self, d: &kdl::KdlDiagnostic) {
        let message = d.message.as_deref().unwrap_or("this is not KDL");
        let mut at = self.at(d.span);
        if at.end == at.start {
            at.end = (at.start + 1).min(self.text.len());
        }
        let lower = lower_first(message.trim_end_matches('.'));
        let label = d.label.clone().unwrap_or_else(|| "not understood from here on".to_owned());
        let help = d.help.clone().unwrap_or_else(|| {
            "a node is a name, then values (`\"text\"`, `12`, `#true`) and properties (`key=value`), then \
             `{ children }`; it ends with the line or with `;`"
                .to_owned()
        });
        let fault = Diagnostic::error("pipe::syntax", format!("this is not KDL: {lower}"));
        self.found.push(fault.at(at, label).help(help));
    }
}

fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_lowercase().chain(chars).collect(),
        None => String::new(),
    }
}
