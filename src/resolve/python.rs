//! What a Python text imports, found by a small tokenizer: `import`, `from`, and `import_module` or `__import__`
//! with a plain text. Comments and strings do not count; whether a statement is ever reached is not asked.
//!
//! It knows no file and no folder; `beside` looks for the modules.

use std::ops::Range;

/// One import.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Import {
    /// Dots before the name: 0 is absolute, 1 the own package.
    pub dots: usize,
    /// The parts of the module's name; none in `from . import x`.
    pub module: Vec<String>,
    /// What `from … import` names, each a module or something in one.
    pub names: Vec<String>,
    /// Where the text says so.
    pub at: Range<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token<'t> {
    Name(&'t str),
    /// What is between the quotes of a text without prefix.
    Text(&'t str),
    Sign(u8),
    /// The end of a statement's line: those inside brackets are none.
    Line,
}

/// The imports of a text, in order.
pub fn imports(text: &str) -> Vec<Import> {
    let tokens = Tokens { text, at: 0, depth: 0 }.collect::<Vec<_>>();
    let mut found = Vec::new();
    for (index, (token, at)) in tokens.iter().enumerate() {
        let rest = &tokens[index + 1..];
        let depth_zero = |sign: u8| sign == b';' || sign == b':';
        let begins = match index.checked_sub(1).map(|before| tokens[before].0) {
            None | Some(Token::Line) => true,
            Some(Token::Sign(sign)) => depth_zero(sign),
            Some(_) => false,
        };
        match token {
            Token::Name("import") if begins => plain(rest, &mut found),
            Token::Name("from") if begins => found.extend(from(rest)),
            Token::Name("import_module" | "__import__") => found.extend(called(rest, at.start)),
            _ => {}
        }
    }
    found
}

type Placed<'t> = (Token<'t>, Range<usize>);

/// `a.b as c, d`.
fn plain(tokens: &[Placed<'_>], found: &mut Vec<Import>) {
    let mut rest = tokens;
    loop {
        let (module, at, after) = dotted(rest);
        let (Some(at), false) = (at, module.is_empty()) else { return };
        found.push(Import { dots: 0, module, names: Vec::new(), at });
        rest = after;
        if let [(Token::Name("as"), _), (Token::Name(_), _), after @ ..] = rest {
            rest = after;
        }
        match rest {
            [(Token::Sign(b','), _), after @ ..] => rest = after,
            _ => return,
        }
    }
}

/// `..a.b import (c as d, e)`.
fn from(tokens: &[Placed<'_>]) -> Option<Import> {
    let dots = tokens.iter().take_while(|(token, _)| *token == Token::Sign(b'.')).count();
    let (module, named, rest) = dotted(&tokens[dots..]);
    let start = tokens.first()?.1.start;
    let end = named.map_or(tokens.get(dots.checked_sub(1).unwrap_or(dots))?.1.end, |at| at.end);
    let [(Token::Name("import"), _), rest @ ..] = rest else { return None };
    let mut names = Vec::new();
    let mut renamed = false;
    for (token, _) in rest {
        match token {
            Token::Name("as") => renamed = true,
            Token::Name(_) if renamed => renamed = false,
            Token::Name(name) => names.push((*name).to_owned()),
            Token::Sign(b'(' | b',') => {}
            _ => break,
        }
    }
    Some(Import { dots, module, names, at: start..end })
}

/// `("a.b")` behind `import_module`.
fn called(tokens: &[Placed<'_>], start: usize) -> Option<Import> {
    let [(Token::Sign(b'('), _), (Token::Text(name), at), (Token::Sign(b')' | b','), _), ..] = tokens else {
        return None;
    };
    let dots = name.bytes().take_while(|byte| *byte == b'.').count();
    let module: Vec<String> = name[dots..].split('.').map(str::to_owned).collect();
    let sound = module.iter().all(|part| !part.is_empty() && part.chars().all(is_name));
    sound.then(|| Import { dots, module, names: Vec::new(), at: start..at.end })
}

/// A dotted name, its place, and what follows.
fn dotted<'a, 't>(tokens: &'a [Placed<'t>]) -> (Vec<String>, Option<Range<usize>>, &'a [Placed<'t>]) {
    let mut parts = Vec::new();
    let mut at: Option<Range<usize>> = None;
    let mut rest = tokens;
    while let [(Token::Name(name), place), after @ ..] = rest {
        if *name == "import" {
            break;
        }
        parts.push((*name).to_owned());
        at = Some(at.map_or(place.clone(), |at| at.start..place.end));
        rest = after;
        match rest {
            [(Token::Sign(b'.'), _), after @ ..] => rest = after,
            _ => break,
        }
    }
    (parts, at, rest)
}

/// The tokens of a text; what Python would refuse gives some tokens all the same.
struct Tokens<'t> {
    text: &'t str,
    at: usize,
    /// Open brackets.
    depth: usize,
}

fn is_name(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

impl<'t> Iterator for Tokens<'t> {
    type Item = Placed<'t>;

    fn next(&mut self) -> Option<Placed<'t>> {
        loop {
            let start = self.at;
            let rest = &self.text[start..];
            let letter = rest.chars().next()?;
            match letter {
                '#' => self.at += rest.find('\n').unwrap_or(rest.len()),
                '\\' if rest[1..].starts_with("\r\n") => self.at += 3,
                '\\' => self.at += 1 + rest[1..].chars().next().map_or(0, char::len_utf8),
                '\n' => {
                    self.at += 1;
                    if self.depth == 0 {
                        return Some((Token::Line, start..self.at));
                    }
                }
                '"' | '\'' => {
                    let inner = self.string();
                    return Some((Token::Text(inner), start..self.at));
                }
                _ if is_name(letter) => {
                    self.at += rest.find(|c: char| !is_name(c)).unwrap_or(rest.len());
                    let word = &self.text[start..self.at];
                    let quoted = self.text[self.at..].starts_with(['"', '\'']);
                    if quoted && word.len() <= 2 && word.chars().all(|c| "rRbBuUfFtT".contains(c)) {
                        // A text with a prefix names no module, or one that only Python can tell.
                        self.string();
                        return Some((Token::Sign(b'"'), start..self.at));
                    }
                    return Some((Token::Name(word), start..self.at));
                }
                _ if letter.is_ascii_punctuation() => {
                    self.at += 1;
                    match letter {
                        '(' | '[' | '{' => self.depth += 1,
                        ')' | ']' | '}' => self.depth = self.depth.saturating_sub(1),
                        _ => {}
                    }
                    // A colon in brackets begins no statement: there it is any other sign.
                    let sign = if letter == ':' && self.depth > 0 { b'=' } else { letter as u8 };
                    return Some((Token::Sign(sign), start..self.at));
                }
                _ => self.at += letter.len_utf8(),
            }
        }
    }
}

impl<'t> Tokens<'t> {
    /// Steps over the string that begins here, and gives what is in it.
    fn string(&mut self) -> &'t str {
        let text = self.text;
        let quote = &text[self.at..=self.at];
        let triple = quote.repeat(3);
        let long = text[self.at..].starts_with(&triple);
        let close = if long { triple.as_str() } else { quote };
        let start = self.at + close.len();
        let mut at = start;
        while let Some(letter) = text[at..].chars().next() {
            if text[at..].starts_with(close) {
                self.at = at + close.len();
                return &text[start..at];
            }
            if letter == '\n' && !long {
                // It is not closed: the line's end is the end of it.
                break;
            }
            at += letter.len_utf8();
            if letter == '\\' {
                at += text[at..].chars().next().map_or(0, char::len_utf8);
            }
        }
        self.at = at;
        &text[start..at]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Imports in short: `..a.b:x,y`.
    fn short(text: &str) -> Vec<String> {
        let one = |import: Import| {
            let names = if import.names.is_empty() { String::new() } else { format!(":{}", import.names.join(",")) };
            format!("{}{}{names}", ".".repeat(import.dots), import.module.join("."))
        };
        imports(text).into_iter().map(one).collect()
    }

    #[test]
    fn every_way_to_import_is_found() {
        assert_eq!(short("import a"), ["a"]);
        assert_eq!(short("import a.b as c, d\nimport e;import f"), ["a.b", "d", "e", "f"]);
        assert_eq!(short("from a import b"), ["a:b"]);
        assert_eq!(short("from a.b import (c as d,  # why\n  e,\n)\n"), ["a.b:c,e"]);
        assert_eq!(short("from . import z, y"), [".:z,y"]);
        assert_eq!(short("from ..p.q import z\nfrom ... import w"), ["..p.q:z", "...:w"]);
        assert_eq!(short("from a import *"), ["a"]);
        assert_eq!(short("try:\n    import a\nexcept ImportError: import b\nelse: from c import d"), ["a", "b", "c:d"]);
        assert_eq!(short("import \\\n  a\nfrom \\\r\n b import c"), ["a", "b:c"]);
        assert_eq!(short("m = importlib.import_module(\"a.b\")\n__import__('c')"), ["a.b", "c"]);
        assert_eq!(short("import_module('.x', package='p')"), [".x"]);
        assert_eq!(short("def f():\n\timport \u{e9}t\u{e9}\n"), ["\u{e9}t\u{e9}"]);
    }

    #[test]
    fn comments_strings_and_other_words_are_none() {
        assert_eq!(short("# import a\n'import b'\n\"\"\"\nimport c\n\"\"\"\nr'\\'\nx = 1 # from d import e"), [""; 0]);
        assert_eq!(short("def g():\n  yield from a\nraise X from y\nz = {'k': important, 'from': 1}"), [""; 0]);
        assert_eq!(short("'it\\'s'; import a\nf\"{x}\"\nimport b\n'''a\\''' b''' \nimport c"), ["a", "b", "c"]);
        assert_eq!(short("import_module(name)\nimport_module(f'a{b}')\nimport_module('a' + b)\n"), [""; 0]);
        assert_eq!(short("s = 'open\nimport a"), ["a"]);
        assert_eq!(short("x = f(a[1:\nimport_b])\nlambda x: x"), [""; 0]);
    }

    #[test]
    fn places_are_those_of_the_names() {
        let text = "import os\nfrom .a.b import c";
        let at: Vec<&str> = imports(text).into_iter().map(|import| &text[import.at]).collect();
        assert_eq!(at, ["os", ".a.b"]);
    }

    #[test]
    fn half_written_texts_are_read_to_their_end() {
        for text in ["import", "from", "from .", "from . import", "import a.", "from a", "'", "\"\"\"", "\\", "(", "f'"]
        {
            imports(text);
        }
    }
}
