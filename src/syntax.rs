//! KDL text to a [`Document`] of plain types with places, and to its one layout.
//!
//! In reading order: `guard` refuses what no reader should see, and what one pass over the text explains best;
//! `lex` makes tokens, `value` says what a word means, `read` is the grammar. For the layout, `tree` keeps what a
//! document forgets, and `format` prints it. This module knows the grammar of KDL and no word of the language
//! that is written in it.

mod format;
mod guard;
mod lex;
mod read;
mod tree;
mod value;

use crate::diag::{At, Diagnostic};

/// The largest file that is read.
pub const MOST_BYTES: usize = 4 << 20;

/// One file.
#[derive(Debug, Clone, Default)]
pub struct Document {
    pub nodes: Vec<Node>,
}

/// A node: `name "value" key="value" { … }`.
#[derive(Debug, Clone)]
pub struct Node {
    pub name: Word,
    /// A type annotation before the name; the language has none. In a box, since few words have one.
    pub annotation: Option<Box<Word>>,
    pub entries: Vec<Entry>,
    /// `None` where there are no braces.
    pub children: Option<Vec<Node>>,
    pub at: At,
}

impl Node {
    /// The place of the name and the values, without the children.
    pub fn header(&self) -> At {
        let end = self.entries.last().map_or(self.name.at.end, |entry| entry.at.end);
        At { source: self.at.source, start: self.name.at.start, end }
    }

    /// The child nodes, none where there are no braces.
    pub fn children(&self) -> &[Node] {
        self.children.as_deref().unwrap_or_default()
    }

    /// The values without a name, in order.
    pub fn values(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|entry| entry.key.is_none())
    }

    /// The property `name=…`.
    pub fn property(&self, name: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.key.as_ref().is_some_and(|key| key.text == name))
    }
}

/// A name or an annotation, with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    pub text: String,
    pub at: At,
}

/// A value, or a property: `(GiB)6` or `memory=(GiB)6`.
#[derive(Debug, Clone)]
pub struct Entry {
    pub key: Option<Word>,
    pub annotation: Option<Box<Word>>,
    pub literal: Literal,
    /// All of it: key, annotation and value.
    pub at: At,
}

impl Entry {
    /// The text, where the literal is a string.
    pub fn text(&self) -> Option<&str> {
        match &self.literal {
            Literal::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The name of the annotation, where there is one.
    pub fn annotated(&self) -> Option<&str> {
        self.annotation.as_ref().map(|word| word.text.as_str())
    }
}

/// A value as written.
#[derive(Debug, Clone, PartialEq)]
pub enum Literal {
    Text(String),
    Integer(i64),
    Float(f64),
    Bool(bool),
    Null,
}

impl Literal {
    /// What a person calls it.
    pub fn describe(&self) -> &'static str {
        match self {
            Literal::Text(_) => "a string",
            Literal::Integer(_) => "a whole number",
            Literal::Float(_) => "a decimal number",
            Literal::Bool(_) => "a truth value",
            Literal::Null => "`#null`",
        }
    }
}

/// Bytes as text that can be shown and parsed, with what is wrong with them; findings point into the text.
pub fn decode(source: usize, bytes: &[u8]) -> (String, Vec<Diagnostic>) {
    guard::decode(source, bytes)
}

/// Parses text that [`decode`] passed.
pub fn parse(source: usize, text: &str) -> (Document, Vec<Diagnostic>) {
    let found = guard::scan(source, text);
    match found.is_empty() {
        true => read::read(source, text),
        false => (Document::default(), found),
    }
}

/// The text in its one layout, with the same comments and values; what is wrong with it where it does not parse,
/// in source 0.
pub fn format(text: &str) -> Result<String, Vec<Diagnostic>> {
    let found = guard::characters(0, text);
    if !found.is_empty() {
        return Err(found);
    }
    let (document, found) = parse(0, text);
    if !found.is_empty() {
        return Err(found);
    }
    let formatted = format::print(text);
    if formatted == text {
        return Ok(formatted);
    }
    // Whatever the printer gets wrong must not reach a person's file.
    let (again, _) = parse(0, &formatted);
    if same(&document.nodes, &again.nodes) {
        return Ok(formatted);
    }
    let fault = Diagnostic::error("pipe::format-failed", "this file has a layout that `pipe fmt` can't keep")
        .at(At { source: 0, start: 0, end: 1 }, "its formatted text would say something else, so it is left alone")
        .help("format parts of the file until you find the one, and report it");
    Err(vec![fault])
}

/// True where nodes say the same, wherever they stand.
pub fn same(left: &[Node], right: &[Node]) -> bool {
    let word = |word: Option<&Word>| word.map(|word| word.text.clone());
    let entry = |(left, right): (&Entry, &Entry)| {
        left.literal == right.literal
            && word(left.key.as_ref()) == word(right.key.as_ref())
            && word(left.annotation.as_deref()) == word(right.annotation.as_deref())
    };
    let node = |(left, right): (&Node, &Node)| {
        left.name.text == right.name.text
            && word(left.annotation.as_deref()) == word(right.annotation.as_deref())
            && left.entries.len() == right.entries.len()
            && left.entries.iter().zip(&right.entries).all(entry)
            && left.children.is_some() == right.children.is_some()
            && same(left.children(), right.children())
    };
    left.len() == right.len() && left.iter().zip(right).all(node)
}
