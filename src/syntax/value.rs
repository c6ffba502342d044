//! What a word says: strings with their escapes and indentation, numbers and keywords.

use super::Literal;
use super::lex::{is_newline, is_space, lines_of};

/// What is wrong with a word, and where in it.
#[derive(Debug)]
pub(super) struct Wrong {
    pub(super) code: &'static str,
    pub(super) message: String,
    pub(super) help: String,
    /// Bytes of the word; all of them where there is no better place.
    pub(super) part: std::ops::Range<usize>,
}

/// A value, or what a number should have been to be one.
#[derive(Debug)]
pub(super) enum Value {
    Literal(Literal),
    TooLarge(&'static str),
}

/// The value that a word is.
pub(super) fn value(word: &str) -> Result<Value, Wrong> {
    if let Some(text) = string(word)? {
        return Ok(Value::Literal(Literal::Text(text)));
    }
    let literal = match word {
        "#true" => Literal::Bool(true),
        "#false" => Literal::Bool(false),
        "#null" => Literal::Null,
        "#inf" | "#-inf" | "#nan" => return Ok(Value::TooLarge("a number that is finite")),
        _ if word.starts_with('#') => return Err(keyword(word)),
        _ => return number(word),
    };
    Ok(Value::Literal(literal))
}

/// The text of a word; `None` where it is a number or a keyword.
pub(super) fn string(word: &str) -> Result<Option<String>, Wrong> {
    let signless = word.strip_prefix(['+', '-']).unwrap_or(word);
    if word.starts_with('"') {
        return quoted(word).map(Some);
    }
    if word.starts_with('#') {
        return if word.trim_start_matches('#').starts_with('"') { raw(word).map(Some) } else { Ok(None) };
    }
    if signless.starts_with(|c: char| c.is_ascii_digit()) {
        return Ok(None);
    }
    match word {
        "true" | "false" | "null" | "inf" | "-inf" | "nan" => Err(keyword(word)),
        _ if signless.strip_prefix('.').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit())) => {
            Err(no_number(
                word,
                format!(
                    "write a digit before the point, `{}0{signless}`, or a text in quotes: `\"{word}\"`",
                    &word[..word.len() - signless.len()]
                ),
            ))
        }
        _ if word.starts_with(['\'', '‘', '’', '“', '”', '«', '„']) => Err(Wrong {
            code: "pipe::quotes",
            message: "a text stands in straight double quotes".to_owned(),
            help: "write `\"…\"`; where there are quotes in the text, `#\"…\"#`".to_owned(),
            part: 0..word.len(),
        }),
        _ => Ok(Some(word.to_owned())),
    }
}

fn keyword(word: &str) -> Wrong {
    if let "true" | "false" | "null" = word {
        return Wrong {
            code: "pipe::kdl-version-1",
            message: "this is KDL version 1; `pipe` reads version 2".to_owned(),
            help: format!("write `#{word}`, or a text in quotes: `\"{word}\"`"),
            part: 0..word.len(),
        };
    }
    let bare = word.trim_start_matches('#');
    let help = format!("there are `#true`, `#false` and `#null`; a text stands in quotes: `\"{bare}\"`");
    Wrong { code: "pipe::unknown-keyword", message: format!("`{word}` is no value"), help, part: 0..word.len() }
}

/// A comma between values.
pub(super) fn comma() -> Wrong {
    Wrong {
        code: "pipe::comma",
        message: "values are not parted by commas".to_owned(),
        help: "write a space in its place: `\"one\" \"two\"`".to_owned(),
        part: 0..1,
    }
}

/// `10s`, where KDL has `(s)10`.
fn unit_behind(word: &str) -> Option<Wrong> {
    let number = word.trim_end_matches(|c: char| c.is_alphabetic() || c == '%');
    let unit = &word[number.len()..];
    if unit.is_empty()
        || unit.starts_with(['x', 'o', 'b']) && number == "0"
        || !is_number(number.strip_prefix(['+', '-']).unwrap_or(number))
    {
        return None;
    }
    let unit = if unit == "%" { "percent" } else { unit };
    Some(Wrong {
        code: "pipe::unit-behind-number",
        message: "a unit stands before its number, in parentheses".to_owned(),
        help: format!("write `({unit}){number}`, or a text in quotes: `\"{word}\"`"),
        part: 0..word.len(),
    })
}

fn no_number(word: &str, help: String) -> Wrong {
    Wrong { code: "pipe::bad-number", message: format!("`{word}` is no number"), help, part: 0..word.len() }
}

/// A number, without its sign: the digits and their base, or a decimal.
fn number(word: &str) -> Result<Value, Wrong> {
    let signless = word.strip_prefix(['+', '-']).unwrap_or(word);
    if !is_number(signless) {
        if let Some(number) = word.strip_suffix(',').filter(|number| is_number(number)) {
            return Err(Wrong { part: number.len()..word.len(), ..comma() });
        }
        if let Some(wrong) = unit_behind(word) {
            return Err(wrong);
        }
        return Err(no_number(
            word,
            format!("write a number as `12`, `1.5` or `1e-3`, or a text in quotes: `\"{word}\"`"),
        ));
    }
    let plain = |text: &str| text.replace('_', "");
    let based = [("0x", 16), ("0o", 8), ("0b", 2)];
    let sign = if word.starts_with('-') { "-" } else { "" };
    let whole = match based.iter().find_map(|(prefix, base)| Some((signless.strip_prefix(prefix)?, *base))) {
        Some((digits, base)) => Some((plain(digits), base)),
        None if signless.contains(['.', 'e', 'E']) => None,
        None => Some((plain(signless), 10)),
    };
    if let Some((digits, base)) = whole {
        return Ok(match i64::from_str_radix(&format!("{sign}{digits}"), base) {
            Ok(n) => Value::Literal(Literal::Integer(n)),
            Err(_) => Value::TooLarge("a whole number between -2^63 and 2^63 - 1"),
        });
    }
    Ok(match plain(word).parse::<f64>() {
        Ok(x) if x.is_finite() => Value::Literal(Literal::Float(x)),
        _ => Value::TooLarge("a number that is finite"),
    })
}

/// True for a number of KDL without its sign.
pub(super) fn is_number(word: &str) -> bool {
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

/// The text between quotes, of one line or of many.
fn quoted(word: &str) -> Result<String, Wrong> {
    if word.starts_with("\"\"\"") {
        // Escaped line ends go first, so that the lines behind them need no indentation.
        let joined = without_escaped_blanks(word);
        let lines = dedented(&joined, word)?;
        return unescaped(&lines, word);
    }
    let body = word.get(1..word.len().saturating_sub(1)).unwrap_or_default();
    let joined = without_escaped_blanks(body);
    if let Some(at) = joined.find(is_newline) {
        let help = "a text of several lines stands in `\"\"\"`, each on a line of its own".to_owned();
        let part = 1 + at..word.len();
        return Err(Wrong {
            code: "pipe::unclosed-string",
            message: "this string is never closed".to_owned(),
            help,
            part,
        });
    }
    unescaped(&joined, word)
}

/// The text of a raw string, of one line or of many.
fn raw(word: &str) -> Result<String, Wrong> {
    let hashes = word.bytes().take_while(|&byte| byte == b'#').count();
    let quoted = word.get(hashes..word.len().saturating_sub(hashes)).unwrap_or_default();
    if quoted.starts_with("\"\"\"") {
        return dedented(quoted, word);
    }
    let body = quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default();
    match body.contains(is_newline) {
        false => Ok(body.to_owned()),
        true => Err(Wrong {
            code: "pipe::unclosed-string",
            message: "this string is never closed".to_owned(),
            help: "a text of several lines stands in `#\"\"\"` and `\"\"\"#`, each on a line of its own".to_owned(),
            part: 0..word.len(),
        }),
    }
}

/// The text without any `\` that blanks and line ends follow, and without those.
fn without_escaped_blanks(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let behind = &rest[at + 1..];
        let next = behind.trim_start_matches(|c| is_space(c) || is_newline(c));
        rest = match (next.len() < behind.len(), behind.chars().next()) {
            (true, _) => next,
            (false, Some(escaped)) => {
                out.push('\\');
                out.push(escaped);
                &behind[escaped.len_utf8()..]
            }
            (false, None) => behind,
        };
    }
    out + rest
}

/// The lines between `"""` and `"""`, without the indentation of the last.
fn dedented(text: &str, word: &str) -> Result<String, Wrong> {
    let wrong = |message: String| Wrong {
        code: "pipe::string-indent",
        message,
        help: "begin each line of the text with the same blanks as the line of the closing `\"\"\"`, which holds \
               nothing else"
            .to_owned(),
        part: 0..word.len(),
    };
    let lines: Vec<&str> = lines_of(text).collect();
    let [_, body @ .., last] = &*lines else {
        return Err(wrong("the closing `\"\"\"` does not stand on a line of its own".to_owned()));
    };
    let indent = last.trim_end_matches('"');
    if !indent.chars().all(is_space) {
        return Err(wrong("the closing `\"\"\"` does not stand on a line of its own".to_owned()));
    }
    let mut out = String::with_capacity(text.len());
    for (index, line) in body.iter().enumerate() {
        if index > 0 {
            out.push('\n');
        }
        if !line.chars().all(is_space) {
            let Some(line) = line.strip_prefix(indent) else {
                return Err(wrong(format!("line {} of this text is indented less than its end", index + 1)));
            };
            out.push_str(line);
        }
    }
    Ok(out)
}

/// The text with its escapes replaced.
fn unescaped(text: &str, word: &str) -> Result<String, Wrong> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let mut chars = rest[at + 1..].chars();
        let escaped = chars.next();
        out.push(match escaped {
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some('s') => ' ',
            Some('b') => '\u{8}',
            Some('f') => '\u{c}',
            Some(c @ ('\\' | '"')) => c,
            Some('u') => {
                let digits = chars.as_str().strip_prefix('{').and_then(|rest| rest.split_once('}')).map(|(digits, _)| digits);
                let known = digits.filter(|digits| digits.len() <= 6 && digits.bytes().all(|b| b.is_ascii_hexdigit()));
                let c = known.and_then(|digits| u32::from_str_radix(digits, 16).ok()).and_then(char::from_u32);
                let (Some(digits), Some(c)) = (digits, c) else {
                    return Err(bad_escape(word, "\\u", "write the number of a character in hexadecimal: `\\u{e9}` is é"));
                };
                chars = chars.as_str()[digits.len() + 2..].chars();
                c
            }
            _ => {
                let sign = format!("\\{}", escaped.map(String::from).unwrap_or_default());
                let help = format!(
                    "there are `\\\\`, `\\\"`, `\\n`, `\\t`, `\\s` and `\\u{{…}}`; write `\\{sign}` for a backslash, or the text as it \
                     is in `#\"…\"#`"
                );
                return Err(bad_escape(word, &sign, &help));
            }
        });
        rest = chars.as_str();
    }
    Ok(out + rest)
}

/// The first `escape` of a word is not one.
fn bad_escape(word: &str, escape: &str, help: &str) -> Wrong {
    let (mut at, mut part) = (0, 0..word.len());
    while let Some(found) = word[at..].find('\\') {
        at += found;
        if word[at..].starts_with(escape) {
            part = at..at + escape.len();
            break;
        }
        at += 1 + word[at + 1..].chars().next().map_or(0, char::len_utf8);
    }
    let message = format!("`{escape}` is no escape");
    Wrong { code: "pipe::bad-escape", message, help: help.to_owned(), part }
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
    fn strings_say_what_their_spelling_means() {
        let said = |word: &str| string(word).map_err(|wrong| wrong.code);
        for (word, text) in [
            ("a-b", "a-b"),
            ("-", "-"),
            ("\"\\\"\\u{e9}\\n\\s\"", "\"é\n "),
            ("\"a \\\n   b\"", "a b"),
            ("#\"\\n\"\"#", "\\n\""),
            ("\"\"\"\n  a\n    b\n \n  \"\"\"", "a\n  b\n"),
            ("\"\"\"\r\n\ta \\\r\n b\r\n\t\"\"\"", "a b"),
            ("\"\"\"\n\"\"\"", ""),
            ("##\"\"\"\n \"\"\"#\\\n \"\"\"##", "\"\"\"#\\"),
        ] {
            assert_eq!(said(word), Ok(Some(text.to_owned())), "{word}");
        }
        for (word, code) in [
            ("\"\\q\"", "pipe::bad-escape"),
            ("\"\\u{d800}\"", "pipe::bad-escape"),
            ("\"\\u{1234567}\"", "pipe::bad-escape"),
            ("\"a\u{85}b\"", "pipe::unclosed-string"),
            ("\"\"\"\n a\n  \"\"\"", "pipe::string-indent"),
            ("\"\"\"\n a \"\"\"", "pipe::string-indent"),
            (".5", "pipe::bad-number"),
            ("nan", "pipe::unknown-keyword"),
        ] {
            assert_eq!(said(word), Err(code), "{word}");
        }
    }
}
