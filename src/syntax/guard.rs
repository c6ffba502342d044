//! What is refused before the parser sees it: hostile sizes and depths, bytes that are no text, and the
//! mistakes that one pass over the tokens explains better than the parser does.
//!
//! The `kdl` parser aborts the process on deep nesting (1,500 blocks in a release build, 50 in a debug one on
//! a small stack), and takes time that doubles with each level of `/-{`. The pass here is linear and keeps its
//! stack on the heap.

use super::MOST_BYTES;
use super::lex::{is_newline, is_space};
use crate::diag::{At, Diagnostic};

const MOST_DEPTH: usize = 64;
const MOST_COMMENT_DEPTH: usize = 16;
const MOST_SLASHDASH: usize = 8;
const MOST_TOKENS: usize = 1_000_000;

/// The parser reads a block behind `/-` twice, and so one in n of them 2^n times; this bounds the sum.
const MOST_REREADING: usize = 4_096;

/// Bytes of a piece that the parser gets at once.
const PIECE: usize = 16 << 10;

/// After so many the rest is noise.
const MOST_FINDINGS: usize = 100;

/// Bytes as text; on a fault, so much of the text as can be shown.
pub(super) fn decode(source: usize, bytes: &[u8]) -> (String, Vec<Diagnostic>) {
    if bytes.len() > MOST_BYTES {
        let fault = Diagnostic::error(
            "pipe::file-too-large",
            format!("this file has {} MiB; at most {} MiB are read", bytes.len() >> 20, MOST_BYTES >> 20),
        );
        let fault = fault.at(At { source, start: 0, end: 0 }, "the file");
        return (String::new(), vec![fault.help("a matrix keeps a file short: `matrix` and `for-each`")]);
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => {
            let found = characters(source, text);
            (text.to_owned(), found)
        }
        Err(error) => {
            let valid = error.valid_up_to();
            let text = format!("{}?", String::from_utf8_lossy(&bytes[..valid]));
            let fault = Diagnostic::error("pipe::not-text", "this file is not text in UTF-8")
                .at(At { source, start: valid, end: valid + 1 }, "the first byte that is not")
                .help("give a KDL file, saved as UTF-8");
            (text, vec![fault])
        }
    }
}

/// Characters that KDL forbids: they steer terminals or turn the reading direction.
fn characters(source: usize, text: &str) -> Vec<Diagnostic> {
    let forbidden = |(i, c): &(usize, char)| match c {
        '\u{feff}' => *i != 0,
        '\u{0}'..='\u{8}' | '\u{e}'..='\u{1f}' | '\u{7f}' => true,
        '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => true,
        _ => false,
    };
    let mut found = Vec::new();
    for (start, c) in text.char_indices().filter(forbidden).take(8) {
        let at = At { source, start, end: start + c.len_utf8() };
        if c == '\0' {
            let fault = Diagnostic::error("pipe::not-text", "this file is binary: it holds a NUL character");
            return vec![fault.at(at, "here").help("give a KDL file, saved as UTF-8")];
        }
        let fault =
            Diagnostic::error("pipe::forbidden-character", format!("the character U+{:04X} is not allowed", c as u32));
        let help = "it does not show, or makes the text read differently from what it says; \
                    inside a string write it as `\\u{…}`";
        found.push(fault.at(at, "here").help(help));
    }
    found
}

/// A text as the parser gets it.
#[derive(Debug)]
pub(super) struct Clean {
    /// Byte for byte in the same places. Comments are blanks: the parser takes a stack frame for each `*` in one.
    /// A `;` behind a node that `/-` takes out is a line end: the parser takes no `;` for the end of such a node.
    pub(super) text: String,
    /// Where pieces of the text end; each is of whole nodes. The parser's own tree is large, so it is made piece
    /// by piece.
    pub(super) ends: Vec<usize>,
}

/// One linear pass over the tokens: the text for the parser, or what is wrong.
pub(super) fn scan(source: usize, text: &str) -> Result<Clean, Vec<Diagnostic>> {
    if let Some(fault) = another_language(source, text) {
        return Err(vec![fault]);
    }
    let mut scanner = Scanner {
        source,
        text,
        at: 0,
        blocks: Vec::new(),
        tokens: 0,
        pending: false,
        hidden: false,
        dangling: None,
        rereading: 0,
        clean: text.as_bytes().to_vec(),
        ends: Vec::new(),
        found: Vec::new(),
    };
    if text.starts_with('\u{feff}') {
        scanner.at = '\u{feff}'.len_utf8();
    }
    scanner.run();
    scanner.ends.push(text.len());
    match scanner.found.is_empty() {
        true => {
            let text = String::from_utf8(scanner.clean).unwrap_or_else(|_| text.to_owned());
            Ok(Clean { text, ends: scanner.ends })
        }
        false => Err(scanner.found),
    }
}

/// True for a number of KDL without its sign.
fn is_number(word: &str) -> bool {
    let digits = |text: &str, of: fn(char) -> bool| text.starts_with(of) && text.chars().all(|c| of(c) || c == '_');
    let decimal = |text: &str| digits(text, |c| c.is_ascii_digit());
    match (word.strip_prefix("0x"), word.strip_prefix("0o"), word.strip_prefix("0b")) {
        (Some(hex), _, _) => return digits(hex, |c| c.is_ascii_hexdigit()),
        (_, Some(octal), _) => return digits(octal, |c| ('0'..='7').contains(&c)),
        (_, _, Some(binary)) => return digits(binary, |c| c == '0' || c == '1'),
        _ => {}
    }
    let (mantissa, exponent) = word.split_once(['e', 'E']).map_or((word, None), |(m, e)| (m, Some(e)));
    let (whole, fraction) = mantissa.split_once('.').map_or((mantissa, None), |(w, f)| (w, Some(f)));
    let exponent = exponent.map(|e| e.strip_prefix(['+', '-']).unwrap_or(e));
    decimal(whole) && fraction.is_none_or(decimal) && exponent.is_none_or(decimal)
}

/// JSON and YAML by their first line, for which the parser would list every line as a fault.
fn another_language(source: usize, text: &str) -> Option<Diagnostic> {
    let mut lines = text.trim_start_matches('\u{feff}').split_inclusive('\n');
    // `#` begins comments of YAML, and raw strings of KDL.
    let comment = |line: &str| line.starts_with("//") || line.starts_with('#') && !line.contains('"');
    let first = lines.find(|line| !line.trim().is_empty() && !comment(line.trim_start()))?.trim();
    let word = first.split_whitespace().next()?;
    let name = if first.starts_with(['{', '[']) {
        "JSON"
    } else if word.ends_with(':') || word == "---" {
        "YAML"
    } else {
        return None;
    };
    let start = text.find(first)?;
    let fault = Diagnostic::error("pipe::not-kdl", format!("this looks like {name}; `pipe` reads KDL version 2"));
    let fault = fault.at(At { source, start, end: start + first.len() }, "the first line");
    Some(fault.help(
        "a pipeline begins with `pipeline \"NAME\"`, and a step reads `step \"NAME\" { run \"TOOL\" \"ARGUMENT\"; }`",
    ))
}

/// An open `{`.
struct Block {
    start: usize,
    slashdash: bool,
    /// `hidden` of the node that the block belongs to.
    hidden: bool,
}

struct Scanner<'a> {
    source: usize,
    text: &'a str,
    at: usize,
    blocks: Vec<Block>,
    tokens: usize,
    /// True after a `/-` until a block begins or the node ends.
    pending: bool,
    /// True after a `/-` until the node ends.
    hidden: bool,
    /// A `/-` that has nothing behind it yet.
    dangling: Option<usize>,
    rereading: usize,
    /// The text for the parser.
    clean: Vec<u8>,
    ends: Vec<usize>,
    found: Vec<Diagnostic>,
}

impl Scanner<'_> {
    fn run(&mut self) {
        while let Some(first) = self.rest().chars().next() {
            let blank = is_space(first) || is_newline(first);
            self.tokens += usize::from(!blank);
            if self.found.len() >= MOST_FINDINGS || !self.slashdash_has_something(first) {
                return;
            }
            if self.tokens > MOST_TOKENS {
                let fault =
                    self.error("pipe::too-many-tokens", "this file has over a million words", self.at, self.at + 1);
                return self.found.push(fault.help("a matrix keeps a file short: `matrix` and `for-each`"));
            }
            let go_on = match first {
                '/' => self.slash(),
                '"' => self.string(0),
                '#' => self.hash(),
                '[' | ']' => self.bracket(),
                '(' => self.annotation(),
                '{' => self.open(),
                '}' => self.close(),
                '\\' => self.backslash(),
                ';' => {
                    if self.hidden {
                        self.clean[self.at] = b'\n';
                    }
                    self.at += 1;
                    self.end_node();
                    true
                }
                _ if blank => {
                    // The line ends between `/-` and what it comments out end no node.
                    self.at += first.len_utf8();
                    if is_newline(first) && self.dangling.is_none() {
                        self.end_node();
                    }
                    true
                }
                _ => self.word(),
            };
            if !go_on {
                return;
            }
        }
        if let Some(start) = self.dangling {
            return self.nothing_commented(start);
        }
        // The outermost is the likeliest to be the wrong one only when the innermost is closed; point at the
        // innermost, whose `}` a person looks for first.
        if let Some(block) = self.blocks.last() {
            let fault = self.error("pipe::unclosed-block", "this block is never closed", block.start, block.start + 1);
            self.found.push(fault.help("write the missing `}`"));
        }
    }

    /// Behind the `;` or the line end of a node.
    fn end_node(&mut self) {
        self.pending = false;
        self.hidden = false;
        let last = self.ends.last().copied().unwrap_or(0);
        if self.blocks.is_empty() && self.at - last >= PIECE {
            self.ends.push(self.at);
        }
    }

    fn peek(&self, ahead: usize) -> Option<u8> {
        self.text.as_bytes().get(self.at + ahead).copied()
    }

    fn rest(&self) -> &str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn error(&self, code: &'static str, message: &str, start: usize, end: usize) -> Diagnostic {
        Diagnostic::error(code, message).at(At { source: self.source, start, end }, "here")
    }

    /// A `/-` needs something behind it; the parser takes minutes to find out that a row of them has nothing.
    fn slashdash_has_something(&mut self, first: char) -> bool {
        let Some(start) = self.dangling else { return true };
        let next = self.peek(1);
        if is_space(first) || is_newline(first) || first == '\\' || (first == '/' && matches!(next, Some(b'/' | b'*')))
        {
            return true;
        }
        self.dangling = None;
        let nothing = matches!(first, ';' | '}') || (first == '/' && next == Some(b'-'));
        if nothing {
            self.nothing_commented(start);
        }
        !nothing
    }

    fn nothing_commented(&mut self, start: usize) {
        let fault = self.error("pipe::empty-slashdash", "this `/-` comments nothing out", start, start + 2);
        self.found.push(fault.help("write it before a node, a value or a `{ … }`, or take it away"));
    }

    fn slash(&mut self) -> bool {
        match self.peek(1) {
            Some(b'/') => {
                let start = self.at;
                self.at += self.rest().find(is_newline).unwrap_or(self.rest().len());
                self.clean[start..self.at].fill(b' ');
                true
            }
            Some(b'*') => self.comment(),
            Some(b'-') => {
                let parted = |c: char| is_space(c) || is_newline(c) || ";{}/".contains(c);
                if !self.text[..self.at].ends_with(parted) && self.at > 0 && !self.text[..self.at].ends_with('\u{feff}')
                {
                    let fault =
                        self.error("pipe::missing-space", "this `/-` follows without a space", self.at, self.at + 2);
                    self.found.push(fault.help("write a space before it: `a \"kept\" /-\"taken out\"`"));
                }
                self.pending = true;
                self.hidden = true;
                self.dangling = Some(self.at);
                self.at += 2;
                true
            }
            _ => {
                self.at += 1;
                true
            }
        }
    }

    /// `\`, which takes the line end behind it out of the grammar.
    fn backslash(&mut self) -> bool {
        self.at += 1;
        loop {
            let rest = self.rest();
            self.at += rest.find(|c| !is_space(c)).unwrap_or(rest.len());
            let rest = self.rest();
            if rest.starts_with("/*") {
                if !self.comment() {
                    return false;
                }
                continue;
            }
            if rest.starts_with("//") {
                self.slash();
            }
            let rest = self.rest();
            if let Some(end) = rest.chars().next().filter(|&c| is_newline(c)) {
                self.at += if rest.starts_with("\r\n") { 2 } else { end.len_utf8() };
            }
            return true;
        }
    }

    fn comment(&mut self) -> bool {
        let start = self.at;
        let mut depth = 0;
        while let Some(byte) = self.peek(0) {
            match (byte, self.peek(1)) {
                (b'/', Some(b'*')) => {
                    depth += 1;
                    self.at += 2;
                }
                (b'*', Some(b'/')) => {
                    depth -= 1;
                    self.at += 2;
                    if depth == 0 {
                        self.clean[start..self.at].fill(b' ');
                        return true;
                    }
                }
                _ => self.at += 1,
            }
            if depth > MOST_COMMENT_DEPTH {
                let message = format!("comments are nested more than {MOST_COMMENT_DEPTH} deep");
                let fault = self.error("pipe::too-deep", &message, self.at - 2, self.at);
                self.found.push(fault.help("close the comments before this one with `*/`"));
                return false;
            }
        }
        let fault = self.error("pipe::unclosed-comment", "this comment is never closed", start, start + 2);
        self.found.push(fault.help("write the missing `*/`"));
        false
    }

    /// A quoted string behind `hashes` hashes; the scanner stands on its first quote.
    fn string(&mut self, hashes: usize) -> bool {
        let start = self.at - hashes;
        let multi = self.rest().starts_with("\"\"\"");
        if multi && !self.rest()[3..].starts_with(is_newline) {
            let message = "`\"\"\"` begins a text of several lines, and has to end its line";
            let fault = self.error("pipe::triple-quotes", message, start, self.at + 3);
            self.found.push(fault.help(
                "write the text on the lines below, and the closing `\"\"\"` on a line of its own; one line of text stands in `\"`",
            ));
            return false;
        }
        let quotes = if multi { "\"\"\"" } else { "\"" };
        let end = format!("{quotes}{}", "#".repeat(hashes));
        self.at += quotes.len();
        while let Some(byte) = self.peek(0) {
            if self.rest().as_bytes().starts_with(end.as_bytes()) {
                self.at += end.len();
                self.after_string();
                return true;
            }
            if byte == b'\n' && !multi {
                break;
            }
            let escape = byte == b'\\' && hashes == 0;
            if escape && self.peek(1).is_some_and(|b| b.is_ascii_whitespace()) {
                // A backslash swallows all white space behind it, line ends included.
                let rest = &self.rest()[1..];
                self.at += 1 + rest.len() - rest.trim_start().len();
                continue;
            }
            self.at += if escape { 2 } else { 1 };
            while !self.text.is_char_boundary(self.at.min(self.text.len())) {
                self.at += 1;
            }
        }
        let fault = self.error("pipe::unclosed-string", "this string is never closed", start, start + quotes.len());
        let help = match multi {
            true => format!("write the closing `{end}` on a line of its own"),
            false => format!("write the closing `{end}` on the same line; a text of several lines stands in `\"\"\"`"),
        };
        self.found.push(fault.help(help));
        false
    }

    /// A text ends where white space, a sign of the grammar or `=` follows.
    fn after_string(&mut self) {
        let Some(next) = self.rest().chars().next() else { return };
        if next.is_whitespace() || ";{}()=/\\[]".contains(next) {
            return;
        }
        let end = self.at + next.len_utf8();
        let (code, message, help) = match next {
            ',' => ("pipe::comma", "values are not parted by commas", "write a space in its place: `\"one\" \"two\"`"),
            _ => (
                "pipe::missing-space",
                "this follows a text without a space",
                "write a space between them; inside a text a quote is `\\\"`",
            ),
        };
        let fault = self.error(code, message, self.at, end);
        self.found.push(fault.help(help));
    }

    /// KDL has no lists.
    fn bracket(&mut self) -> bool {
        let sign = &self.text[self.at..self.at + 1];
        let fault = self.error("pipe::bracket", &format!("`{sign}` has no meaning in KDL"), self.at, self.at + 1);
        let help = "several values stand beside each other: `choices \"a\" \"b\"`; inside a text anything goes";
        self.found.push(fault.help(help));
        self.at += 1;
        true
    }

    /// `(` opens an annotation, which is a word and `)`.
    fn annotation(&mut self) -> bool {
        // Comments, strings and continued lines are the parser's to judge.
        let sign = self.rest()[1..].chars().find(|&c| is_newline(c) || ")(;{}\"#/\\".contains(c));
        if sign.is_none_or(|sign| is_newline(sign) || "(;{}".contains(sign)) {
            let fault =
                self.error("pipe::unclosed-annotation", "this annotation is never closed", self.at, self.at + 1);
            self.found.push(fault.help("write `)` behind its word: `(file)\"data.txt\"`"));
        }
        self.at += 1;
        true
    }

    /// A raw string or a keyword such as `#true`.
    fn hash(&mut self) -> bool {
        let hashes = self.rest().bytes().take_while(|&b| b == b'#').count();
        self.at += hashes;
        match self.peek(0) {
            Some(b'"') => self.string(hashes),
            _ => {
                let keyword = |c: char| c.is_ascii_alphabetic() || c == '-';
                self.at += self.rest().find(|c| !keyword(c)).unwrap_or(self.rest().len());
                true
            }
        }
    }

    fn open(&mut self) -> bool {
        let hidden = std::mem::take(&mut self.hidden);
        self.blocks.push(Block { start: self.at, slashdash: self.pending, hidden });
        let deep = self.blocks.len() > MOST_DEPTH;
        let slashdashes = self.blocks.iter().filter(|block| block.slashdash).count();
        if self.pending {
            self.rereading += 1 << slashdashes.min(MOST_SLASHDASH);
        }
        self.pending = false;
        if self.rereading > MOST_REREADING {
            let message = "too many blocks are commented out by `/-` inside others";
            let fault = self.error("pipe::too-deep", message, self.at, self.at + 1);
            self.found.push(fault.help("use `/* … */` for those on the outside"));
            return false;
        }
        if deep || slashdashes > MOST_SLASHDASH {
            let message = match deep {
                true => format!("blocks are nested more than {MOST_DEPTH} deep"),
                false => format!("blocks commented out by `/-` are nested more than {MOST_SLASHDASH} deep"),
            };
            let fault = self.error("pipe::too-deep", &message, self.at, self.at + 1);
            self.found.push(fault.help("close the blocks before this one with `}`, or take some levels out"));
            return false;
        }
        self.at += 1;
        true
    }

    fn close(&mut self) -> bool {
        let Some(block) = self.blocks.pop() else {
            let fault = self.error("pipe::unopened-block", "this `}` closes nothing", self.at, self.at + 1);
            self.found.push(fault.help("take it away, or write the `{` that it belongs to"));
            return false;
        };
        self.pending = false;
        self.hidden = block.hidden;
        self.at += 1;
        true
    }

    /// A bare word, white space, or a single sign.
    fn word(&mut self) -> bool {
        let part_of_word = |c: char| !c.is_whitespace() && !"(){}[]/\\\"#;=".contains(c);
        let length = self.rest().find(|c| !part_of_word(c)).unwrap_or(self.rest().len());
        if length == 0 {
            self.at += self.rest().chars().next().map_or(1, char::len_utf8);
            return true;
        }
        let start = self.at;
        self.at += length;
        let word = &self.text[start..self.at];
        let version_1 = |this: &Self, end: usize, instead: String| {
            let fault = this.error("pipe::kdl-version-1", "this is KDL version 1; `pipe` reads version 2", start, end);
            fault.help(instead)
        };
        let signless = word.trim_start_matches(['+', '-']);
        if signless.starts_with(|c: char| c.is_ascii_digit()) && !is_number(signless) {
            let fault = self.error("pipe::bad-number", &format!("`{word}` is no number"), start, self.at);
            let help = format!("write a number as `12`, `1.5` or `1e-3`, or a text in quotes: `\"{word}\"`");
            self.found.push(fault.help(help));
        }
        match word {
            "true" | "false" | "null" => {
                let fault = version_1(self, self.at, format!("write `#{word}`"));
                self.found.push(fault);
            }
            "r" if matches!(self.peek(0), Some(b'"' | b'#')) => {
                let fault = version_1(self, self.at + 1, "write a raw string without the `r`: `#\"…\"#`".to_owned());
                self.found.push(fault);
                // Version 1 allows a raw string without any hash.
                return match self.peek(0) {
                    Some(b'"') => self.string(0),
                    _ => self.hash(),
                };
            }
            _ => {}
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_kdl() {
        for good in ["0", "12", "1_000", "1.5", "1e-3", "1.5E+10", "0xFF_0", "0o17", "0b1_0"] {
            assert!(is_number(good), "{good}");
        }
        for bad in ["1.2.3", "12abc", "1.", "1e", "0x", "0b2", "1._5", "0o8"] {
            assert!(!is_number(bad), "{bad}");
        }
    }

    #[test]
    fn good_texts_pass() {
        for text in [
            "a \"b\" c=\"d\";b #true {c 1}",
            "a #\"raw \" text\"# (s)10",
            "a \"\"\"\n  many \"lines\"\n  \"\"\"",
            "a \"x\"/*c*/\"y\" \\\n \"z\"",
            "a -1 +2 -foo 0x1F #-inf",
            "/- a { b } \nc (\"q\")\"d\"",
            "\"a\"=1",
        ] {
            assert!(scan(0, text).err().is_none(), "{text}: {:?}", scan(0, text).err());
        }
    }
}
