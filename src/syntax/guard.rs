//! What is refused before it is read: hostile sizes and depths, bytes that are no text, another language, and
//! what is opened and never closed.
//!
//! The reader takes a stack frame for each level of nesting, and memory for each word. The pass here is linear,
//! takes no memory but for the open blocks, and keeps those on the heap.

use super::MOST_BYTES;
use super::lex::{Kind, Token, is_newline, tokens};
use crate::diag::{At, Diagnostic};

const MOST_DEPTH: usize = 64;
const MOST_COMMENT_DEPTH: usize = 16;
const MOST_SLASHDASH: usize = 8;

/// Words of a short text; a longer one may have one more for each [`BYTES_OF_A_WORD`]. A word takes some 400
/// bytes of memory until the pipeline is resolved; a step written out has one for each 7 bytes or more.
const MOST_WORDS: usize = 50_000;
const BYTES_OF_A_WORD: usize = 8;

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
pub(super) fn characters(source: usize, text: &str) -> Vec<Diagnostic> {
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

/// One linear pass over the tokens: what no reader should see, or can make sense of.
pub(super) fn scan(source: usize, text: &str) -> Vec<Diagnostic> {
    if let Some(fault) = another_language(source, text) {
        return vec![fault];
    }
    let mut scanner = Scanner {
        source,
        most: MOST_WORDS + text.len() / BYTES_OF_A_WORD,
        words: 0,
        blocks: Vec::new(),
        slashdash: None,
        pending: false,
    };
    let found = tokens(text).find_map(|token| scanner.token(token).err()).or_else(|| scanner.end().err());
    found.map(|fault| vec![*fault]).unwrap_or_default()
}

/// JSON, YAML, TOML and XML by their first words, for which the reader would list every line as a fault. The
/// blanks between them count for nothing, so that no layout makes KDL look like one of these.
fn another_language(source: usize, text: &str) -> Option<Diagnostic> {
    // `#` begins comments of YAML and TOML, and raw strings of KDL.
    let comment = |line: &&str| {
        let line = line.trim();
        line.is_empty() || line.starts_with("//") || line.starts_with('#') && !line.contains('"')
    };
    let mark = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
    let skipped: usize =
        mark + text[mark..].split_inclusive(is_newline).take_while(comment).map(str::len).sum::<usize>();
    let blank = |token: &Token<'_>| {
        matches!(token.kind, Kind::Space | Kind::Newline | Kind::LineComment | Kind::BlockComment | Kind::Backslash)
    };
    let mut words = tokens(&text[skipped..]).filter(|token| !blank(token));
    let first = words.next()?;
    let second = words.next().map_or("", |token| token.text);
    let name = match first.kind {
        Kind::Other if first.text == "[" && second.starts_with(|c: char| c.is_alphabetic() || c == '[') => "TOML",
        Kind::Other if first.text == "[" => "JSON",
        Kind::OpenBlock => "JSON",
        Kind::Word if first.text.starts_with('<') => "XML",
        Kind::Word if first.text == "---" || first.text.ends_with(':') => "YAML",
        _ => return None,
    };
    let start = skipped + first.start;
    let first = text[start..].lines().next().unwrap_or_default();
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
}

struct Scanner {
    source: usize,
    /// The words that a text of this length may have.
    most: usize,
    words: usize,
    blocks: Vec<Block>,
    /// A `/-` that has nothing behind it yet.
    slashdash: Option<usize>,
    /// True after a `/-` until a block begins or the node ends.
    pending: bool,
}

/// A text that is read no further, and why.
type Scan = Result<(), Box<Diagnostic>>;

impl Scanner {
    fn token(&mut self, token: Token<'_>) -> Scan {
        let blank = matches!(token.kind, Kind::Space | Kind::Newline | Kind::LineComment | Kind::BlockComment);
        // Signs and comments leave nothing behind.
        self.words += usize::from(token.kind == Kind::Word);
        if self.words > self.most {
            let message = format!("this file has over {} words, too many for its length", self.most);
            let help = "a matrix keeps a file short: `matrix` and `for-each`";
            return self.refuse("pipe::too-many-tokens", message, token.start, token.start + 1, help);
        }
        if !blank && token.kind != Kind::Backslash {
            self.slashdash_has_something(token)?;
        }
        match token.kind {
            Kind::BlockComment => return self.comment(token),
            Kind::Unclosed => return self.unclosed(token),
            Kind::Word => return self.triple_quotes(token),
            Kind::Slashdash => {
                self.pending = true;
                self.slashdash = Some(token.start);
            }
            Kind::OpenBlock => return self.open(token.start),
            Kind::CloseBlock => {
                self.pending = false;
                if self.blocks.pop().is_none() {
                    let help = "take it away, or write the `{` that it belongs to";
                    return self.refuse(
                        "pipe::unopened-block",
                        "this `}` closes nothing",
                        token.start,
                        token.end(),
                        help,
                    );
                }
            }
            // The line ends between `/-` and what it comments out end no node.
            Kind::Newline => self.pending &= self.slashdash.is_some(),
            Kind::Semicolon => self.pending = false,
            _ => {}
        }
        Ok(())
    }

    fn end(&self) -> Scan {
        if let Some(start) = self.slashdash {
            return self.nothing_commented(start);
        }
        // The innermost: a person looks for its `}` first.
        match self.blocks.last() {
            Some(block) => {
                let (start, end) = (block.start, block.start + 1);
                self.refuse("pipe::unclosed-block", "this block is never closed", start, end, "write the missing `}`")
            }
            None => Ok(()),
        }
    }

    fn refuse(&self, code: &'static str, message: impl Into<String>, start: usize, end: usize, help: &str) -> Scan {
        Err(Box::new(Diagnostic::error(code, message).at(At { source: self.source, start, end }, "here").help(help)))
    }

    /// A `/-` needs something behind it.
    fn slashdash_has_something(&mut self, token: Token<'_>) -> Scan {
        match self.slashdash.take() {
            Some(start) if matches!(token.kind, Kind::Semicolon | Kind::CloseBlock | Kind::Slashdash) => {
                self.nothing_commented(start)
            }
            _ => Ok(()),
        }
    }

    fn nothing_commented(&self, start: usize) -> Scan {
        let help = "write it before a node, a value or a `{ … }`, or take it away";
        self.refuse("pipe::empty-slashdash", "this `/-` comments nothing out", start, start + 2, help)
    }

    fn comment(&self, token: Token<'_>) -> Scan {
        let (mut at, mut depth) = (0, 0usize);
        let bytes = token.text.as_bytes();
        while at < bytes.len() {
            match &bytes[at..] {
                [b'/', b'*', ..] => depth += 1,
                [b'*', b'/', ..] => depth = depth.saturating_sub(1),
                _ => {
                    at += 1;
                    continue;
                }
            }
            at += 2;
            if depth > MOST_COMMENT_DEPTH {
                let message = format!("comments are nested more than {MOST_COMMENT_DEPTH} deep");
                let end = token.start + at;
                let help = "close the comments before this one with `*/`";
                return self.refuse("pipe::too-deep", message, end - 2, end, help);
            }
        }
        Ok(())
    }

    fn unclosed(&self, token: Token<'_>) -> Scan {
        if token.text.starts_with("/*") {
            self.comment(token)?;
            let (start, end) = (token.start, token.start + 2);
            return self.refuse(
                "pipe::unclosed-comment",
                "this comment is never closed",
                start,
                end,
                "write the missing `*/`",
            );
        }
        self.triple_quotes(token)?;
        let hashes = token.text.bytes().take_while(|&byte| byte == b'#').count();
        let multi = token.text[hashes..].starts_with("\"\"\"");
        let quotes = if multi { "\"\"\"" } else { "\"" };
        let end = format!("{quotes}{}", "#".repeat(hashes.min(16)));
        let help = match multi {
            true => format!("write the closing `{end}` on a line of its own"),
            false => format!("write the closing `{end}` on the same line; a text of several lines stands in `\"\"\"`"),
        };
        let start = token.start;
        self.refuse("pipe::unclosed-string", "this string is never closed", start, start + hashes + quotes.len(), &help)
    }

    /// `"""` has to end its line.
    fn triple_quotes(&self, token: Token<'_>) -> Scan {
        let quoted = token.text.trim_start_matches('#');
        if quoted.strip_prefix("\"\"\"").is_none_or(|body| body.starts_with(is_newline)) {
            return Ok(());
        }
        let end = token.start + token.text.len() - quoted.len() + 3;
        let message = "`\"\"\"` begins a text of several lines, and has to end its line";
        let help = "write the text on the lines below, and the closing `\"\"\"` on a line of its own; one line of text \
                    stands in `\"`";
        self.refuse("pipe::triple-quotes", message, token.start, end, help)
    }

    fn open(&mut self, start: usize) -> Scan {
        self.blocks.push(Block { start, slashdash: std::mem::take(&mut self.pending) });
        let slashdashes = self.blocks.iter().filter(|block| block.slashdash).count();
        let message = if self.blocks.len() > MOST_DEPTH {
            format!("blocks are nested more than {MOST_DEPTH} deep")
        } else if slashdashes > MOST_SLASHDASH {
            format!("blocks commented out by `/-` are nested more than {MOST_SLASHDASH} deep")
        } else {
            return Ok(());
        };
        let help = "close the blocks before this one with `}`, or take some levels out";
        self.refuse("pipe::too-deep", message, start, start + 1, help)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            assert!(scan(0, text).is_empty(), "{text}: {:?}", scan(0, text));
        }
    }
}
