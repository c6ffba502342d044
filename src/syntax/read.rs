//! Tokens as a [`Document`]: the grammar of KDL version 2, for text that has passed the guard.
//!
//! Why not the `kdl` crate, which is the yardstick of the tests: it takes a stack frame for each fault, so that
//! 256 KiB of `=` abort the process, 2^n time for n blocks behind `/-`, and 600 MB and some seconds for a MiB
//! of short nodes; it refuses `a { /-b; c }` and `a/-1`. This reader makes one pass, and goes on behind a
//! mistake at the next node, so that all mistakes of a file are found at once.

use super::lex::{Kind, Token, tokens};
use super::value::{self, Value, Wrong};
use super::{Document, Entry, Literal, Node, Word};
use crate::diag::{At, Diagnostic};

/// After so many the rest is noise.
const MOST_FINDINGS: usize = 100;

/// A node that can't be read, and why.
type Read<T> = Result<T, Box<Diagnostic>>;

/// Reads text that passed the guard.
pub(super) fn read(source: usize, text: &str) -> (Document, Vec<Diagnostic>) {
    // A byte-order mark is no part of the first name.
    let mark = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
    let mut reader = Reader {
        source,
        mark,
        tokens: tokens(&text[mark..]),
        token: None,
        last: mark,
        before: "",
        broken: false,
        found: Vec::new(),
    };
    reader.next();
    let mut nodes = reader.nodes();
    while reader.token.is_some() && !reader.full() {
        // A `}` that closes nothing; the guard refuses it before.
        reader.next();
        nodes.extend(reader.nodes());
    }
    if reader.broken {
        nodes.clear();
    }
    (Document { nodes }, reader.found)
}

struct Reader<'a, T> {
    source: usize,
    /// Bytes before the first token.
    mark: usize,
    tokens: T,
    /// The one at hand; `None` at the end.
    token: Option<Token<'a>>,
    /// Behind the last token that is more than white space.
    last: usize,
    /// The text of that token.
    before: &'a str,
    /// True where a node could not be read.
    broken: bool,
    found: Vec<Diagnostic>,
}

/// How far a node has come.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Entries,
    /// Behind a block that `/-` takes out.
    HiddenBlock,
    Block,
}

impl<'a, T: Iterator<Item = Token<'a>>> Reader<'a, T> {
    fn next(&mut self) {
        self.token = self.tokens.next().map(|token| Token { start: token.start + self.mark, ..token });
    }

    /// Takes the token at hand as more than white space.
    fn take(&mut self, token: Token<'a>) -> At {
        self.last = token.end();
        self.before = token.text;
        self.next();
        self.at(token.start, token.end())
    }

    fn kind(&self) -> Option<Kind> {
        self.token.map(|token| token.kind)
    }

    fn at(&self, start: usize, end: usize) -> At {
        At { source: self.source, start, end }
    }

    fn full(&self) -> bool {
        self.found.len() >= MOST_FINDINGS
    }

    /// The nodes up to a `}`, which is left, or to the end.
    fn nodes(&mut self) -> Vec<Node> {
        let mut nodes = Vec::new();
        while let Some(token) = self.token {
            if self.full() {
                break;
            }
            let read = match token.kind {
                Kind::CloseBlock => break,
                Kind::Space | Kind::Newline | Kind::LineComment | Kind::BlockComment => {
                    self.next();
                    continue;
                }
                Kind::Backslash => self.line_break(),
                Kind::Slashdash => {
                    self.slashdash();
                    self.node().map(drop)
                }
                _ => self.node().map(|node| nodes.push(node)),
            };
            if let Err(fault) = read {
                self.tell(*fault);
                self.skip_node();
            }
        }
        nodes
    }

    /// Goes to the end of a node that can't be read, through the blocks in it.
    fn skip_node(&mut self) {
        while let Some(token) = self.token {
            match token.kind {
                Kind::Newline | Kind::CloseBlock | Kind::LineComment => return,
                Kind::Semicolon => return self.next(),
                Kind::OpenBlock => {
                    self.next();
                    self.nodes();
                    self.next();
                }
                Kind::Backslash => {
                    let _ = self.line_break();
                }
                _ => self.next(),
            }
        }
    }

    /// `base-node` and its terminator.
    fn node(&mut self) -> Read<Node> {
        let start = self.token.map_or(self.last, |token| token.start);
        let annotation = self.maybe_annotation()?.map(Box::new);
        let name = self.name()?;
        let mut node = Node { name, annotation, entries: Vec::new(), children: None, at: self.at(start, start) };
        let mut part = Part::Entries;
        loop {
            self.gap()?;
            let Some(token) = self.token else { break };
            let hidden = token.kind == Kind::Slashdash;
            let parted = hidden || token.start > self.last;
            if hidden {
                self.slashdash();
            }
            match self.kind() {
                Some(Kind::OpenBlock) if hidden => {
                    self.block();
                    part = part.max(Part::HiddenBlock);
                }
                Some(Kind::OpenBlock) if part < Part::Block => {
                    node.children = Some(self.block());
                    part = Part::Block;
                }
                None | Some(Kind::Newline | Kind::LineComment | Kind::Semicolon | Kind::CloseBlock) => break,
                _ if part > Part::Entries => return Err(self.after_block()),
                _ => {
                    if !parted {
                        self.missing_space(token)?;
                    }
                    let entry = self.entry()?;
                    if !hidden {
                        node.entries.push(entry);
                    }
                }
            }
        }
        node.at.end = self.last;
        if self.kind() == Some(Kind::Semicolon) {
            self.next();
        }
        Ok(node)
    }

    /// `{ … }`.
    fn block(&mut self) -> Vec<Node> {
        self.next();
        let nodes = self.nodes();
        if let Some(token) = self.token {
            self.take(token);
        }
        nodes
    }

    /// `/-`, and the comments and line ends behind it.
    fn slashdash(&mut self) {
        self.next();
        while let Some(Kind::Space | Kind::Newline | Kind::LineComment | Kind::BlockComment | Kind::Backslash) =
            self.kind()
        {
            self.next();
        }
    }

    /// White space inside of a node.
    fn gap(&mut self) -> Read<()> {
        loop {
            match self.kind() {
                Some(Kind::Space | Kind::BlockComment) => self.next(),
                Some(Kind::Backslash) => self.line_break()?,
                _ => return Ok(()),
            }
        }
    }

    /// `\`, then comments, then the line end.
    fn line_break(&mut self) -> Read<()> {
        let start = self.token.map_or(self.last, |token| token.start);
        self.next();
        while let Some(Kind::Space | Kind::BlockComment) = self.kind() {
            self.next();
        }
        if self.kind() == Some(Kind::LineComment) {
            self.next();
        }
        match self.kind() {
            None => Ok(()),
            Some(Kind::Newline) => {
                self.next();
                Ok(())
            }
            Some(_) => Err(self.fault(
                "pipe::stray-backslash",
                "a `\\` continues a line, and has to be the last sign on it",
                self.at(start, start + 1),
                "put the rest of the line on the next one; a text with backslashes stands in `#\"…\"#`",
            )),
        }
    }

    /// `(word)`, where there is one, and the white space behind it.
    fn maybe_annotation(&mut self) -> Read<Option<Word>> {
        let Some(open) = self.token.filter(|token| token.kind == Kind::OpenParenthesis) else { return Ok(None) };
        let open = self.take(open);
        let bad = |this: &Self| match this.kind() {
            Some(Kind::Word | Kind::CloseParenthesis | Kind::Equals | Kind::Other) => {
                let end = this.token.map_or(this.last, |token| token.end());
                this.fault(
                    "pipe::bad-annotation",
                    "an annotation is one word between parentheses",
                    this.at(open.start, end),
                    "write it as `(file)\"data.txt\"` or `(GiB)6`; inside a text in quotes anything goes",
                )
            }
            _ => this.fault(
                "pipe::unclosed-annotation",
                "this annotation is never closed",
                open,
                "write `)` behind its word: `(file)\"data.txt\"`",
            ),
        };
        self.gap()?;
        let Some(token) = self.token.filter(|token| token.kind == Kind::Word) else { return Err(bad(self)) };
        let Some(text) = value::string(token.text).map_err(|wrong| self.wrong(token, wrong))? else {
            return Err(bad(self));
        };
        let at = self.take(token);
        self.gap()?;
        let Some(close) = self.token.filter(|token| token.kind == Kind::CloseParenthesis) else {
            return Err(bad(self));
        };
        self.take(close);
        self.gap()?;
        Ok(Some(Word { text, at }))
    }

    /// The name of a node.
    fn name(&mut self) -> Read<Word> {
        let Some(token) = self.token else { return Err(self.no_name()) };
        if token.kind != Kind::Word {
            return Err(self.no_name());
        }
        match value::string(token.text).map_err(|wrong| self.wrong(token, wrong))? {
            Some(text) => {
                let at = self.take(token);
                Ok(Word { text, at })
            }
            None => Err(self.no_name()),
        }
    }

    /// A value, or a property.
    fn entry(&mut self) -> Read<Entry> {
        let start = self.token.map_or(self.last, |token| token.start);
        let Some(token) = self.token.filter(|token| token.kind == Kind::Word) else {
            let (annotation, literal) = self.annotated(None)?;
            return Ok(Entry { key: None, annotation, literal, at: self.at(start, self.last) });
        };
        let value = self.value(token);
        let at = self.at(token.start, token.end());
        self.gap()?;
        let Some(equals) = self.token.filter(|token| token.kind == Kind::Equals) else {
            let literal = self.literal(value, at);
            return Ok(Entry { key: None, annotation: None, literal, at });
        };
        let text = match value {
            Some(Value::Literal(Literal::Text(text))) => text,
            // What is wrong with it has been said.
            None => String::new(),
            Some(_) => {
                return Err(self.fault(
                    "pipe::bad-key",
                    "a number or a keyword can't be the name of a property",
                    at,
                    "a property is a word, `=` and a value: `seed=0`; a name that looks like a number stands in quotes",
                ));
            }
        };
        self.take(equals);
        self.gap()?;
        let (annotation, literal) = self.annotated(Some(at))?;
        Ok(Entry { key: Some(Word { text, at }), annotation, literal, at: self.at(start, self.last) })
    }

    /// A value with its annotation, behind the key of a property or by itself.
    fn annotated(&mut self, key: Option<At>) -> Read<(Option<Box<Word>>, Literal)> {
        let annotation = self.maybe_annotation()?.map(Box::new);
        match self.token {
            Some(token) if token.kind == Kind::Word => {
                let value = self.value(token);
                let literal = self.literal(value, self.at(token.start, token.end()));
                Ok((annotation, literal))
            }
            Some(token) if key.is_none() && annotation.is_none() => Err(self.stray(token)),
            _ => {
                let message = match annotation {
                    Some(_) => "this annotation has no value behind it",
                    None => "this property has no value",
                };
                let help = "write a value behind it: `seed=0`, `env=(step)\"env\"`; an empty text is `\"\"`";
                let start = key.or(annotation.map(|word| word.at)).map_or(self.last, |at| at.start);
                Err(self.fault("pipe::property-without-value", message, self.at(start, self.last), help))
            }
        }
    }

    /// Takes a word as a value. Where it is none, that is told and the node goes on: it may hold more mistakes.
    fn value(&mut self, token: Token<'a>) -> Option<Value> {
        let value = value::value(token.text).map_err(|wrong| self.wrong(token, wrong));
        self.take(token);
        value.map_err(|fault| self.tell(*fault)).ok()
    }

    /// Tells of a mistake in a node that goes on.
    fn tell(&mut self, fault: Diagnostic) {
        self.broken = true;
        self.found.push(fault);
    }

    fn literal(&mut self, value: Option<Value>, at: At) -> Literal {
        match value {
            None => Literal::Null,
            Some(Value::Literal(literal)) => literal,
            Some(Value::TooLarge(wanted)) => {
                let fault = Diagnostic::error("pipe::number-too-large", "this number is out of range");
                self.found.push(fault.at(at, "too large").help(format!("write {wanted}")));
                Literal::Integer(0)
            }
        }
    }

    fn fault(
        &self,
        code: &'static str,
        message: impl Into<String>,
        at: At,
        help: impl Into<String>,
    ) -> Box<Diagnostic> {
        Box::new(Diagnostic::error(code, message).at(at, "here").help(help))
    }

    fn wrong(&self, token: Token<'_>, wrong: Wrong) -> Box<Diagnostic> {
        let at = self.at(token.start + wrong.part.start, token.start + wrong.part.end);
        self.fault(wrong.code, wrong.message, at, wrong.help)
    }

    fn no_name(&self) -> Box<Diagnostic> {
        let Some(token) = self.token.filter(|token| token.kind != Kind::Newline) else {
            let at = self.at(self.last.saturating_sub(1), self.last);
            let help = "write the name of a node behind it, or take it away";
            return self.fault("pipe::missing-name", "no node follows this", at, help);
        };
        let at = self.at(token.start, token.end());
        match token.kind {
            Kind::OpenBlock => self.fault(
                "pipe::block-without-node",
                "this block belongs to no node",
                self.at(token.start, token.start + 1),
                "a block begins on the line of its node: `step \"a\" {`",
            ),
            Kind::Word if token.text.starts_with('#') => self.fault(
                "pipe::hash-comment",
                "no node begins with `#`",
                at,
                "a comment begins with `//`; a node begins with its name: `network #true`",
            ),
            Kind::Word => self.fault(
                "pipe::missing-name",
                "a node begins with its name, and this is a value",
                at,
                "write the name before it: `run \"echo\"`; a line goes on in the next one where it ends with `\\`",
            ),
            _ => self.stray(token),
        }
    }

    /// A sign where a name or a value should be.
    fn stray(&self, token: Token<'_>) -> Box<Diagnostic> {
        let at = self.at(token.start, token.start + token.text.chars().next().map_or(1, char::len_utf8));
        match token.kind {
            Kind::Equals => self.fault(
                "pipe::stray-equals",
                "nothing stands before this `=` that it could belong to",
                at,
                "a node takes its value without `=`: `timeout (s)10`; a property is `key=value`",
            ),
            Kind::Semicolon => self.fault(
                "pipe::stray-sign",
                "this `;` ends no node",
                at,
                "one `;` or a line end is enough: take it away",
            ),
            Kind::Other if token.text != "/" => self.fault(
                "pipe::bracket",
                format!("`{}` has no meaning in KDL", token.text),
                at,
                "several values stand beside each other: `choices \"a\" \"b\"`; inside a text anything goes",
            ),
            _ => self.fault(
                "pipe::stray-sign",
                format!("`{}` has no meaning here", &token.text[..at.end - at.start]),
                at,
                "take it away, or put the text that it belongs to in quotes; a comment begins with `//`",
            ),
        }
    }

    fn after_block(&self) -> Box<Diagnostic> {
        let at = self.token.map_or(self.at(self.last, self.last), |token| self.at(token.start, token.end()));
        self.fault(
            "pipe::after-block",
            "a node ends with its block",
            at,
            "begin the next node on a line of its own, or behind a `;`; values stand before the `{`",
        )
    }

    /// Two words with nothing between them. The node is lost, and what is behind is read all the same.
    fn missing_space(&mut self, token: Token<'_>) -> Read<()> {
        if !matches!(token.kind, Kind::Word | Kind::OpenParenthesis) {
            return Err(self.stray(token));
        }
        let fault = if token.text.starts_with(',') {
            self.wrong(token, value::comma())
        } else if self.before == "r" && token.text.starts_with(['"', '#']) {
            self.fault(
                "pipe::kdl-version-1",
                "this is KDL version 1; `pipe` reads version 2",
                self.at(self.last - 1, token.start + 1),
                "write a raw string without the `r`: `#\"…\"#`",
            )
        } else {
            self.fault(
                "pipe::missing-space",
                "this follows another word without a space",
                self.at(token.start, token.start + token.text.chars().next().map_or(1, char::len_utf8)),
                "write a space between them; inside a text a quote is `\\\"`",
            )
        };
        self.tell(*fault);
        Ok(())
    }
}
