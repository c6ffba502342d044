//! Text to a tree whatever is wrong with it, and what stands around a cursor: while someone types, a file is
//! broken most of the time.
//!
//! The tree has the same types as the parser's, so one index reads both whole and broken files. Nothing is
//! reported here: mistakes are found by the code of `pipe check`. Where braces do not match, a block also ends
//! before the next line that is indented no further than the line that opened it.

mod lex;

use super::position::line_starts;
use crate::diag::At;
use crate::syntax::{Document, Entry, Literal, MOST_BYTES, Node, Word};
use lex::{Token, TokenKind, lex};

/// Blocks deeper than this are read as one.
const MOST_DEPTH: usize = 64;

/// What stands around a cursor.
#[derive(Debug, Clone, Default)]
pub struct Context {
    /// The nodes between whose braces it stands, the outermost first; their children only up to the cursor.
    pub stack: Vec<Node>,
    /// The node in whose header it stands, with what is written before the cursor.
    pub node: Option<Node>,
    /// `(word)` right before it.
    pub annotation: Option<Word>,
    /// It stands behind `(`, in a word or before one.
    pub in_annotation: bool,
    /// The key before an `=`.
    pub key: Option<Word>,
    pub touched: Touched,
}

/// What the cursor touches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Touched {
    #[default]
    Nothing,
    /// A word that begins here.
    Word {
        start: usize,
    },
    /// A text whose content begins here.
    Text {
        from: usize,
        closed: bool,
    },
    Comment,
}

/// The tree of a text; empty where the text is too large to be a pipeline.
pub fn tree(source: usize, text: &str) -> Document {
    if text.len() > MOST_BYTES {
        return Document::default();
    }
    let mut builder = Builder::new(source, text);
    for index in 0..builder.tokens.len() {
        builder.take(index);
    }
    Document { nodes: builder.finish() }
}

/// What stands around the byte `cursor`.
pub fn context(text: &str, cursor: usize) -> Context {
    if text.len() > MOST_BYTES {
        return Context { touched: Touched::Comment, ..Context::default() };
    }
    let mut builder = Builder::new(0, text);
    let mut touched = Touched::Nothing;
    for index in 0..builder.tokens.len() {
        let token = builder.tokens[index];
        if token.start >= cursor {
            break;
        }
        let within = match token.kind {
            TokenKind::Word => (cursor <= token.end).then_some(Touched::Word { start: token.start }),
            TokenKind::Text { from, closed, .. } => {
                let inside = cursor >= from && (cursor < token.end || !closed);
                (inside && cursor <= token.end).then_some(Touched::Text { from, closed })
            }
            TokenKind::Comment => (cursor <= token.end).then_some(Touched::Comment),
            _ => None,
        };
        if let Some(within) = within {
            touched = within;
            builder.indent(index);
            break;
        }
        builder.take(index);
    }
    let Builder { frames, node, annotation, key, in_annotation, .. } = builder;
    let mut stack = Vec::new();
    for frame in frames {
        if let Some(mut opened) = frame.node {
            opened.node.children = None;
            stack.push(opened.node);
        }
        if let Some(last) = stack.last_mut() {
            last.children = Some(frame.nodes);
        }
    }
    Context { stack, node: node.map(|building| building.node), annotation, in_annotation, key, touched }
}

/// A node, and whether `/-` stands before it.
struct Building {
    node: Node,
    hidden: bool,
    indent: usize,
}

/// An open block.
struct Frame {
    /// `None` for the file, and for a block without a node.
    node: Option<Building>,
    nodes: Vec<Node>,
    indent: usize,
    /// `/-` stands before the brace.
    hidden: bool,
}

struct Builder<'t> {
    source: usize,
    text: &'t str,
    tokens: Vec<Token>,
    lines: Vec<usize>,
    /// Braces do not match.
    unbalanced: bool,
    frames: Vec<Frame>,
    node: Option<Building>,
    in_annotation: bool,
    annotation: Option<Word>,
    annotation_start: usize,
    key: Option<Word>,
    slashdash: bool,
    /// Braces beyond the deepest block that is kept.
    too_deep: usize,
}

impl<'t> Builder<'t> {
    fn new(source: usize, text: &'t str) -> Builder<'t> {
        let tokens = lex(text);
        let mut depth = 0i64;
        let mut unbalanced = false;
        for token in &tokens {
            match token.kind {
                TokenKind::Open => depth += 1,
                TokenKind::Close => depth -= 1,
                _ => {}
            }
            unbalanced |= depth < 0;
        }
        let root = Frame { node: None, nodes: Vec::new(), indent: 0, hidden: false };
        Builder {
            source,
            text,
            tokens,
            lines: line_starts(text),
            unbalanced: unbalanced || depth != 0,
            frames: vec![root],
            node: None,
            in_annotation: false,
            annotation: None,
            annotation_start: 0,
            key: None,
            slashdash: false,
            too_deep: 0,
        }
    }

    fn at(&self, start: usize, end: usize) -> At {
        At { source: self.source, start, end }
    }

    fn word(&self, token: Token) -> Word {
        let text = match token.kind {
            TokenKind::Text { from, to, escapes, .. } => plain(&self.text[from..to], escapes),
            _ => self.text[token.start..token.end].to_owned(),
        };
        Word { text, at: self.at(token.start, token.end) }
    }

    /// The text before a token on its line.
    fn before(&self, token: Token) -> &str {
        let line = self.lines[self.lines.partition_point(|start| *start <= token.start) - 1];
        &self.text[line..token.start]
    }

    /// The column of a token that is the first of its line.
    fn first_of_line(&self, token: Token) -> Option<usize> {
        let before = self.before(token);
        before.chars().all(blank).then(|| before.chars().count())
    }

    /// Where braces do not match, closes the blocks that a line ends by its indentation.
    fn indent(&mut self, index: usize) {
        let token = self.tokens[index];
        if !self.unbalanced || self.node.is_some() || matches!(token.kind, TokenKind::End | TokenKind::Comment) {
            return;
        }
        let Some(column) = self.first_of_line(token) else { return };
        let closes = token.kind == TokenKind::Close;
        while self.frames.len() > 1
            && self.frames.last().is_some_and(|f| f.indent > column || (f.indent == column && !closes))
        {
            let end = self.text[..token.start].trim_end().len();
            self.close(end);
        }
    }

    fn take(&mut self, index: usize) {
        self.indent(index);
        let token = self.tokens[index];
        let next = self.tokens.get(index + 1).map(|next| next.kind);
        match token.kind {
            TokenKind::Comment => {}
            TokenKind::Slashdash => self.slashdash = true,
            TokenKind::End => {
                self.in_annotation = false;
                self.end_node();
            }
            TokenKind::AnnotationOpen => {
                self.in_annotation = true;
                self.annotation = None;
                self.annotation_start = token.start;
            }
            TokenKind::AnnotationClose => self.in_annotation = false,
            TokenKind::Equals => {}
            TokenKind::Open => self.open(token),
            TokenKind::Close => {
                self.end_node();
                let stray = self.unbalanced
                    && self
                        .first_of_line(token)
                        .is_some_and(|column| self.frames.last().is_some_and(|f| f.indent < column));
                if self.too_deep > 0 {
                    self.too_deep -= 1;
                } else if self.frames.len() > 1 && !stray {
                    self.close(token.end);
                }
            }
            TokenKind::Word | TokenKind::Text { .. } if self.in_annotation => {
                let word = self.word(token);
                let closed = next == Some(TokenKind::AnnotationClose);
                self.annotation = closed.then_some(word);
                if !closed {
                    self.in_annotation = false;
                }
            }
            TokenKind::Word | TokenKind::Text { .. } if self.node.is_none() => self.begin(token),
            TokenKind::Word | TokenKind::Text { .. } if next == Some(TokenKind::Equals) => {
                self.unfinished();
                self.key = Some(self.word(token));
            }
            TokenKind::Word | TokenKind::Text { .. } => self.value(token),
        }
    }

    fn begin(&mut self, token: Token) {
        let indent = self.before(token).chars().take_while(|c| blank(*c)).count();
        let node = Node {
            name: self.word(token),
            annotation: self.annotation.take().map(Box::new),
            entries: Vec::new(),
            children: None,
            at: self.at(token.start, token.end),
        };
        self.node = Some(Building { node, hidden: std::mem::take(&mut self.slashdash), indent });
    }

    fn value(&mut self, token: Token) {
        let literal = match token.kind {
            TokenKind::Text { .. } => Literal::Text(self.word(token).text),
            _ => bare(&self.text[token.start..token.end]),
        };
        self.entry(literal, token.start, token.end);
    }

    fn entry(&mut self, literal: Literal, start: usize, end: usize) {
        let (key, annotation) = (self.key.take(), self.annotation.take());
        let start = match (&key, &annotation) {
            (Some(key), _) => key.at.start,
            (None, Some(_)) => self.annotation_start,
            (None, None) => start,
        };
        let at = self.at(start, end);
        let hidden = std::mem::take(&mut self.slashdash);
        if let Some(building) = self.node.as_mut().filter(|_| !hidden) {
            building.node.entries.push(Entry { key, annotation: annotation.map(Box::new), literal, at });
            building.node.at.end = end;
        }
    }

    /// `key=` without a value stays in the tree, so that the key is known.
    fn unfinished(&mut self) {
        if let Some(end) = self.key.as_ref().map(|key| key.at.end + 1) {
            self.entry(Literal::Null, end, end.min(self.text.len()));
        }
        self.annotation = None;
    }

    fn end_node(&mut self) {
        self.unfinished();
        if let Some(building) = self.node.take() {
            self.keep(building);
        }
    }

    fn keep(&mut self, building: Building) {
        if !building.hidden
            && let Some(frame) = self.frames.last_mut()
        {
            frame.nodes.push(building.node);
        }
    }

    fn open(&mut self, token: Token) {
        self.unfinished();
        self.in_annotation = false;
        if self.frames.len() > MOST_DEPTH {
            self.too_deep += 1;
            self.end_node();
            return;
        }
        let node = self.node.take();
        let indent = node.as_ref().map_or_else(|| self.first_of_line(token).unwrap_or(0), |node| node.indent);
        self.frames.push(Frame { node, nodes: Vec::new(), indent, hidden: std::mem::take(&mut self.slashdash) });
    }

    /// Ends the innermost block.
    fn close(&mut self, end: usize) {
        self.end_node();
        let Some(frame) = self.frames.pop() else { return };
        let Some(mut building) = frame.node else { return };
        if frame.hidden {
            // The node goes on behind a block that `/-` takes away.
            self.node = Some(building);
            return;
        }
        building.node.at.end = end.max(building.node.at.end);
        building.node.children.get_or_insert_default().extend(frame.nodes);
        self.keep(building);
    }

    fn finish(mut self) -> Vec<Node> {
        self.end_node();
        while self.frames.len() > 1 {
            self.close(self.text.trim_end().len());
        }
        self.end_node();
        self.frames.pop().map(|frame| frame.nodes).unwrap_or_default()
    }
}

/// White space, and the mark that some editors begin a file with.
fn blank(c: char) -> bool {
    c.is_whitespace() || c == '\u{feff}'
}

/// A bare word as a value: what is no number and no keyword is text.
fn bare(word: &str) -> Literal {
    match word {
        "#true" => Literal::Bool(true),
        "#false" => Literal::Bool(false),
        "#null" => Literal::Null,
        _ => match (word.parse::<i64>(), word.parse::<f64>()) {
            (Ok(number), _) => Literal::Integer(number),
            (_, Ok(number)) if word.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c)) => {
                Literal::Float(number)
            }
            _ => Literal::Text(word.to_owned()),
        },
    }
}

/// The content of a text, with the simple escapes undone.
fn plain(content: &str, escapes: bool) -> String {
    if !escapes {
        return content.to_owned();
    }
    let mut out = String::with_capacity(content.len());
    let mut chars = content.chars();
    while let Some(c) = chars.next() {
        match (c, chars.clone().next()) {
            ('\\', Some(next)) => {
                chars.next();
                out.push(match next {
                    'n' => '\n',
                    't' => '\t',
                    's' => ' ',
                    other => other,
                });
            }
            (c, _) => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(nodes: &[Node]) -> String {
        let entry = |entry: &Entry| {
            let key = entry.key.as_ref().map(|key| format!("{}=", key.text)).unwrap_or_default();
            let annotation = entry.annotation.as_ref().map(|word| format!("({})", word.text)).unwrap_or_default();
            let value = match &entry.literal {
                Literal::Text(text) => format!("'{text}'"),
                Literal::Null => "?".to_owned(),
                other => format!("{other:?}"),
            };
            format!(" {key}{annotation}{value}")
        };
        let node = |node: &Node| {
            let entries: String = node.entries.iter().map(entry).collect();
            let children = node.children.as_ref().map(|nodes| format!(" {{{}}}", shape(nodes))).unwrap_or_default();
            format!("{}{entries}{children}", node.name.text)
        };
        nodes.iter().map(node).collect::<Vec<_>>().join("; ")
    }

    fn check(text: &str, expect: &str) {
        assert_eq!(shape(&tree(0, text).nodes), expect, "{text}");
    }

    #[test]
    fn whole_text_is_a_tree() {
        check("a \"x\" k=(GiB)6 { b; /-c 1 { d; }\n e /-2 3 }", "a 'x' k=(GiB)Integer(6) {b; e Integer(3)}");
        check("a /-{ b; } { c; }", "a {c}");
    }

    #[test]
    fn broken_text_keeps_what_stands_around() {
        check("a \"x\nb \"y\"", "a 'x'; b 'y'");
        check("a k= \nb (step)\nc (st \"x\"", "a k=?; b; c 'x'");
        check("a k= j=1", "a k=? j=Integer(1)");
    }

    #[test]
    fn an_open_block_ends_by_its_indentation() {
        check("a {\n    b\n    c {\n        d\n\ne {\n    f\n}\n", "a {b; c {d}}; e {f}");
        check("a {\n    b {\n        c\n}\nd\n", "a {b {c}}; d");
        check("a {\n}\n}\nb {\n    c\n}", "a {}; b {c}");
    }

    #[test]
    fn depth_costs_no_stack() {
        let deep = "a { ".repeat(100_000);
        assert_eq!(tree(0, &deep).nodes.len(), 1);
        assert_eq!(context(&deep, deep.len()).stack.len(), MOST_DEPTH);
    }

    /// The context at `|`: enclosing nodes, the node, the key, the annotation, and what is touched.
    fn around(text: &str) -> String {
        let cursor = text.find('|').expect("a cursor");
        let context = context(&text.replacen('|', "", 1), cursor);
        let names: Vec<&str> = context.stack.iter().map(|node| node.name.text.as_str()).collect();
        let touched = match context.touched {
            Touched::Nothing => "",
            Touched::Word { .. } => "word",
            Touched::Text { .. } => "text",
            Touched::Comment => "comment",
        };
        let node = context.node.as_ref().map_or("-", |node| node.name.text.as_str());
        let key = context.key.map(|key| key.text + "=").unwrap_or_default();
        let annotation = context.annotation.map(|word| format!("({})", word.text)).unwrap_or_default();
        format!("{} {node} {key}{annotation}{}{touched}", names.join("/"), if context.in_annotation { "(" } else { "" })
    }

    #[test]
    fn the_cursor_knows_where_it_stands() {
        assert_eq!(around("ste|"), " - word");
        assert_eq!(around("a {\n  b \"x\" {\n    |"), "a/b - ");
        assert_eq!(around("a {\n  b \"x\" k=|\n}"), "a b k=");
        assert_eq!(around("a {\n  b k=(step)\"mo|\n}"), "a b k=(step)text");
        assert_eq!(around("a (st|"), " a (word");
        assert_eq!(around("a k=(|"), " a k=(");
        assert_eq!(around("a // k|"), " a comment");
        assert_eq!(around("a {\n    b\n\nc|"), " - word");
        assert_eq!(around("a \"x\"|"), " a ");
    }
}
