//! Tokens of text that may be half written: nothing is an error, a text that is never closed ends with its line.
//!
//! It knows the signs of KDL and not what they may mean together.

/// One token, and the bytes that it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token {
    pub kind: TokenKind,
    pub start: usize,
    pub end: usize,
}

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenKind {
    /// A bare word: a name, a number, `#true`.
    Word,
    /// A quoted text; its content lies between `from` and `to`.
    Text {
        from: usize,
        to: usize,
        closed: bool,
        escapes: bool,
    },
    Comment,
    Open,
    Close,
    AnnotationOpen,
    AnnotationClose,
    Equals,
    Slashdash,
    /// The end of a line, or `;`.
    End,
}

/// The tokens of a text.
pub fn lex(text: &str) -> Vec<Token> {
    let mut lexer = Lexer { text, at: 0, tokens: Vec::new() };
    while lexer.next() {}
    lexer.tokens
}

struct Lexer<'t> {
    text: &'t str,
    at: usize,
    tokens: Vec<Token>,
}

impl Lexer<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn push(&mut self, kind: TokenKind, length: usize) {
        self.tokens.push(Token { kind, start: self.at, end: self.at + length });
        self.at += length;
    }

    /// Takes one token; false at the end of the text.
    fn next(&mut self) -> bool {
        let Some(first) = self.rest().chars().next() else { return false };
        match first {
            '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{85}' | '\u{2028}' | '\u{2029}' => {
                let length = if self.rest().starts_with("\r\n") { 2 } else { first.len_utf8() };
                self.push(TokenKind::End, length);
            }
            c if c.is_whitespace() || c == '\u{feff}' => self.at += c.len_utf8(),
            '{' => self.push(TokenKind::Open, 1),
            '}' => self.push(TokenKind::Close, 1),
            '(' => self.push(TokenKind::AnnotationOpen, 1),
            ')' => self.push(TokenKind::AnnotationClose, 1),
            '=' => self.push(TokenKind::Equals, 1),
            ';' => self.push(TokenKind::End, 1),
            '/' if self.rest().starts_with("//") => {
                let length = self.line();
                self.push(TokenKind::Comment, length);
            }
            '/' if self.rest().starts_with("/*") => self.comment(),
            '/' if self.rest().starts_with("/-") => self.push(TokenKind::Slashdash, 2),
            '\\' => self.at += self.continued(),
            '"' => self.quoted(0),
            '#' => {
                let hashes = self.rest().len() - self.rest().trim_start_matches('#').len();
                match self.rest()[hashes..].starts_with('"') {
                    true => self.quoted(hashes),
                    false => self.word(),
                }
            }
            _ => self.word(),
        }
        true
    }

    /// The bytes up to the end of the line.
    fn line(&self) -> usize {
        self.rest().find(['\n', '\r']).unwrap_or(self.rest().len())
    }

    /// A backslash and the line end that it hides.
    fn continued(&self) -> usize {
        let rest = &self.rest()[1..];
        let blank = rest.len() - rest.trim_start_matches([' ', '\t']).len();
        let behind = &rest[blank..];
        if behind.starts_with("\r\n") {
            1 + blank + 2
        } else if behind.starts_with(['\n', '\r']) {
            1 + blank + 1
        } else {
            1
        }
    }

    fn comment(&mut self) {
        let (mut depth, mut length) = (0usize, 0usize);
        let rest = self.rest();
        while length < rest.len() {
            let here = &rest[length..];
            if here.starts_with("/*") {
                depth += 1;
                length += 2;
            } else if here.starts_with("*/") {
                depth -= 1;
                length += 2;
                if depth == 0 {
                    break;
                }
            } else {
                length += here.chars().next().map_or(1, char::len_utf8);
            }
        }
        self.push(TokenKind::Comment, length);
    }

    fn word(&mut self) {
        let rest = self.rest();
        let stops = |c: char| c.is_whitespace() || "(){}=;\\\"/".contains(c);
        let first = rest.chars().next().map_or(1, char::len_utf8);
        let length = rest[first..].find(stops).map_or(rest.len(), |end| first + end);
        self.push(TokenKind::Word, length);
    }

    /// A text behind `hashes` hashes.
    fn quoted(&mut self, hashes: usize) {
        let behind = &self.rest()[hashes..];
        let multi =
            behind.starts_with("\"\"\"") && behind[3..].trim_start_matches([' ', '\t']).starts_with(['\n', '\r']);
        let quotes = if multi { "\"\"\"" } else { "\"" };
        let close = format!("{quotes}{}", "#".repeat(hashes));
        let from = self.at + hashes + quotes.len();
        let mut to = from;
        let mut escapes = false;
        let (mut end, mut closed) = (None, false);
        while let Some(c) = self.text[to..].chars().next() {
            if self.text[to..].starts_with(&close) {
                (end, closed) = (Some(to + close.len()), true);
                break;
            }
            if !multi && matches!(c, '\n' | '\r') {
                break;
            }
            to += c.len_utf8();
            if c == '\\' && hashes == 0 {
                escapes = true;
                to += match self.text[to..].chars().next() {
                    // A backslash before the end of a line hides it; a text that was never closed must not go on.
                    Some('\n' | '\r') if !multi => 0,
                    Some(next) => next.len_utf8(),
                    None => 0,
                };
            }
        }
        let length = end.unwrap_or(to) - self.at;
        self.push(TokenKind::Text { from, to, closed, escapes }, length);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &str) -> String {
        let tokens = lex(text);
        for pair in tokens.windows(2) {
            assert!(pair[0].end <= pair[1].start, "{pair:?} overlap in {text:?}");
        }
        let name = |token: &Token| match token.kind {
            TokenKind::Word => text[token.start..token.end].to_owned(),
            TokenKind::Text { from, to, closed, .. } => {
                format!("<{}{}>", &text[from..to], if closed { "" } else { "…" })
            }
            TokenKind::End => ";".to_owned(),
            TokenKind::Comment => "//".to_owned(),
            _ => text[token.start..token.end].to_owned(),
        };
        tokens.iter().map(name).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn whole_text_is_read() {
        assert_eq!(kinds("a \"b\" c=(GiB)6 { d #true; }"), "a <b> c = ( GiB ) 6 { d #true ; }");
        assert_eq!(kinds("a #\"x \"y\" z\"# // no\nb"), "a <x \"y\" z> // ; b");
        assert_eq!(kinds("a \"\"\"\n  x\n  \"\"\"\nb /* c /* d */ */ /-e"), "a <\n  x\n  > ; b // /- e");
        assert_eq!(kinds("a \\\n b \"\" \"é\\\"q\""), "a b <> <é\\\"q>");
    }

    #[test]
    fn half_a_text_ends_with_its_line() {
        assert_eq!(kinds("a \"b\nc"), "a <b…> ; c");
        assert_eq!(kinds("a (step\nb \"\\"), "a ( step ; b <\\…>");
        assert_eq!(kinds("a \"\"\"\nx"), "a <\nx…>");
        assert_eq!(kinds("[1, 2] /"), "[1, 2] /");
    }
}
