//! Text as tokens that lose nothing: every byte belongs to one. For text that has passed the guard and the
//! parser; it does not know what may follow what.

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
}

/// A token, with its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token<'a> {
    pub(super) kind: Kind,
    pub(super) text: &'a str,
    /// Where it starts, in bytes.
    pub(super) start: usize,
}

/// A line end of KDL; `\r\n` is one.
pub(super) fn is_newline(c: char) -> bool {
    matches!(c, '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

/// White space of KDL that ends no line.
pub(super) fn is_space(c: char) -> bool {
    matches!(c, '\t' | ' ' | '\u{a0}' | '\u{1680}' | '\u{2000}'..='\u{200a}' | '\u{202f}' | '\u{205f}' | '\u{3000}')
}

/// The tokens of a text.
pub(super) fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        let (kind, length) = token(rest);
        found.push(Token { kind, text: &rest[..length], start: at });
        at += length;
    }
    found
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
        '"' => (Kind::Word, quoted(rest)),
        '#' => (Kind::Word, raw(rest)),
        '/' if rest.starts_with("//") => (Kind::LineComment, rest.find(is_newline).unwrap_or(rest.len())),
        '/' if rest.starts_with("/*") => (Kind::BlockComment, comment(rest)),
        '/' if rest.starts_with("/-") => (Kind::Slashdash, 2),
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

/// The bytes of a quoted string.
fn quoted(rest: &str) -> usize {
    let quotes = if rest.starts_with("\"\"\"") { "\"\"\"" } else { "\"" };
    let bytes = rest.as_bytes();
    let mut at = quotes.len();
    while at < bytes.len() {
        match bytes[at] {
            // What is behind the backslash is no quote; it may be a part of a longer character.
            b'\\' => at += 2,
            b'"' if bytes[at..].starts_with(quotes.as_bytes()) => return at + quotes.len(),
            _ => at += 1,
        }
    }
    rest.len()
}

/// The bytes of a raw string, or of a keyword such as `#true`.
fn raw(rest: &str) -> usize {
    let hashes = rest.bytes().take_while(|&byte| byte == b'#').count();
    let body = &rest[hashes..];
    if !body.starts_with('"') {
        return hashes + bare(body);
    }
    let multi = body.strip_prefix("\"\"\"").is_some_and(|body| body.starts_with(is_newline));
    let quotes = if multi { "\"\"\"" } else { "\"" };
    let end = format!("{quotes}{}", &rest[..hashes]);
    let from = hashes + quotes.len();
    rest[from..].find(&end).map_or(rest.len(), |found| from + found + end.len())
}

/// The bytes of a block comment.
fn comment(rest: &str) -> usize {
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
                    return at;
                }
            }
            _ => at += 1,
        }
    }
    rest.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_the_text() {
        let text = "\u{feff}a \"b\\\"\" (t)c=#\"d\"\"#{/*e/*f*/*/}\r\n/-g \\ // h\n\"\"\"\n x\n \"\"\"; #true ##\"\"\"\ny\"#\n\"\"\"##";
        let found = tokens(text);
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
            let found = tokens(text);
            assert_eq!(found.iter().map(|token| token.text).collect::<String>(), text);
        }
    }
}
