//! Text as tokens that lose nothing: every byte belongs to one, whatever the text. It does not know what may
//! follow what.

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Space,
    Newline,
    /// `// …`, without the line end.
    LineComment,
    /// `/* … */`, with those inside it.
    BlockComment,
    /// `/-`.
    Slashdash,
    /// `\`, which takes the line end behind it out of the grammar.
    Backslash,
    OpenBlock,
    CloseBlock,
    Semicolon,
    OpenParenthesis,
    CloseParenthesis,
    Equals,
    /// A name, a number, a keyword or a string of any kind.
    Word,
    /// A sign that KDL has no use for: `[`, `]`, `/`.
    Other,
    /// A string that does not end: one of a line has all of it, one of many and a comment all of the text.
    Unclosed,
}

/// A token, with its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token<'a> {
    pub(super) kind: Kind,
    pub(super) text: &'a str,
    /// Where it starts, in bytes.
    pub(super) start: usize,
}

impl Token<'_> {
    /// Behind its last byte.
    pub(super) fn end(&self) -> usize {
        self.start + self.text.len()
    }
}

/// A line end of KDL; `\r\n` is one.
pub(super) fn is_newline(c: char) -> bool {
    matches!(c, '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

/// White space of KDL that ends no line.
pub(super) fn is_space(c: char) -> bool {
    matches!(c, '\t' | ' ' | '\u{a0}' | '\u{1680}' | '\u{2000}'..='\u{200a}' | '\u{202f}' | '\u{205f}' | '\u{3000}')
}

/// The lines of a text, whatever ends them.
pub(super) fn lines_of(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let Some(end) = text.find(is_newline) else {
            rest = None;
            return Some(text);
        };
        let length =
            if text[end..].starts_with("\r\n") { 2 } else { text[end..].chars().next().map_or(1, char::len_utf8) };
        rest = Some(&text[end + length..]);
        Some(&text[..end])
    })
}

/// The tokens of a text.
pub(super) fn tokens(text: &str) -> impl Iterator<Item = Token<'_>> {
    let mut start = 0;
    std::iter::from_fn(move || {
        let rest = text.get(start..).filter(|rest| !rest.is_empty())?;
        let (kind, length) = token(rest);
        let token = Token { kind, text: &rest[..length], start };
        start += length;
        Some(token)
    })
}

/// The kind and the bytes of the token that a text begins with.
fn token(rest: &str) -> (Kind, usize) {
    let Some(first) = rest.chars().next() else { return (Kind::Space, 0) };
    let one = first.len_utf8();
    match first {
        '{' => (Kind::OpenBlock, one),
        '}' => (Kind::CloseBlock, one),
        ';' => (Kind::Semicolon, one),
        '(' => (Kind::OpenParenthesis, one),
        ')' => (Kind::CloseParenthesis, one),
        '=' => (Kind::Equals, one),
        '\\' => (Kind::Backslash, one),
        '"' => string(rest, quoted(rest)),
        '#' => string(rest, raw(rest)),
        '/' if rest.starts_with("//") => (Kind::LineComment, rest.find(is_newline).unwrap_or(rest.len())),
        '/' if rest.starts_with("/*") => {
            comment(rest).map_or((Kind::Unclosed, rest.len()), |length| (Kind::BlockComment, length))
        }
        '/' if rest.starts_with("/-") => (Kind::Slashdash, 2),
        '/' | '[' | ']' => (Kind::Other, one),
        '\r' if rest.starts_with("\r\n") => (Kind::Newline, 2),
        c if is_newline(c) => (Kind::Newline, one),
        c if is_space(c) => (Kind::Space, rest.find(|c| !is_space(c)).unwrap_or(rest.len())),
        _ => (Kind::Word, bare(rest).max(one)),
    }
}

/// The bytes of a word without quotes.
fn bare(rest: &str) -> usize {
    let ends = |c: char| is_space(c) || is_newline(c) || "\\/(){};[]\"#=".contains(c);
    rest.find(ends).unwrap_or(rest.len())
}

/// A string, or what an unclosed one takes.
fn string(rest: &str, length: Option<usize>) -> (Kind, usize) {
    let multi = rest.trim_start_matches('#').starts_with("\"\"\"");
    let unclosed = || if multi { rest.len() } else { rest.find(is_newline).unwrap_or(rest.len()) };
    length.map_or_else(|| (Kind::Unclosed, unclosed()), |length| (Kind::Word, length))
}

/// The bytes of a quoted string.
fn quoted(rest: &str) -> Option<usize> {
    let multi = rest.starts_with("\"\"\"");
    let quotes = if multi { "\"\"\"" } else { "\"" };
    let mut at = quotes.len();
    loop {
        let here = rest.get(at..)?;
        let found = here.find(|c| c == '"' || c == '\\' || !multi && is_newline(c))?;
        at += found;
        let here = &here[found..];
        if here.starts_with(quotes) {
            return Some(at + quotes.len());
        }
        match here.strip_prefix('\\') {
            Some(escaped) => {
                // A backslash takes all white space behind it, line ends included.
                let blanks = escaped.len() - escaped.trim_start_matches(|c| is_space(c) || is_newline(c)).len();
                at += 1 + if blanks > 0 { blanks } else { escaped.chars().next()?.len_utf8() };
            }
            None if here.starts_with('"') => at += 1,
            None => return None,
        }
    }
}

/// The bytes of a raw string, or of a keyword such as `#true`.
fn raw(rest: &str) -> Option<usize> {
    let hashes = rest.bytes().take_while(|&byte| byte == b'#').count();
    let body = &rest[hashes..];
    if !body.starts_with('"') {
        return Some(hashes + bare(body));
    }
    let multi = body.starts_with("\"\"\"");
    let quotes = if multi { "\"\"\"" } else { "\"" };
    let from = hashes + quotes.len();
    let mut at = from;
    loop {
        let found = rest[at..].find(|c| c == '"' || !multi && is_newline(c))?;
        at += found;
        let behind = rest[at..].strip_prefix(quotes);
        if behind.is_some_and(|behind| behind.starts_with(&rest[..hashes])) {
            return Some(at + quotes.len() + hashes);
        }
        if !rest[at..].starts_with('"') {
            return None;
        }
        at += 1;
    }
}

/// The bytes of a block comment.
fn comment(rest: &str) -> Option<usize> {
    let bytes = rest.as_bytes();
    let (mut at, mut depth) = (0, 0usize);
    while at < bytes.len() {
        match &bytes[at..] {
            [b'/', b'*', ..] => {
                depth += 1;
                at += 2;
            }
            [b'*', b'/', ..] => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return Some(at);
                }
            }
            _ => at += 1,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_the_text() {
        let text = "\u{feff}a \"b\\\"\" (t)c=#\"d\"\"#{/*e/*f*/*/}\r\n/-g \\ // h\n\"\"\"\n x\n \"\"\"; #true ##\"\"\"\ny\"#\n\"\"\"##";
        let found: Vec<Token<'_>> = tokens(text).collect();
        assert_eq!(found.iter().map(|token| token.text).collect::<String>(), text);
        let words: Vec<&str> = found.iter().filter(|token| token.kind == Kind::Word).map(|token| token.text).collect();
        assert_eq!(
            words,
            [
                "\u{feff}a",
                "\"b\\\"\"",
                "t",
                "c",
                "#\"d\"\"#",
                "g",
                "\"\"\"\n x\n \"\"\"",
                "#true",
                "##\"\"\"\ny\"#\n\"\"\"##"
            ]
        );
    }

    #[test]
    fn any_text_is_taken_to_its_end() {
        for text in ["\"", "\"é\\", "\"\"\"", "#", "#\"", "/*", "/*/", "/", "[", "]", "\\", "#é", "é", "\"\\é\""] {
            let found: Vec<Token<'_>> = tokens(text).collect();
            assert_eq!(found.iter().map(|token| token.text).collect::<String>(), text);
        }
    }
}
