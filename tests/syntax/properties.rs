//! What holds for every text: formatting twice is formatting once, and loses nothing.

use pipe::diag::Diagnostic;
use pipe::syntax::{format, parse, same};
use proptest::prelude::*;

use super::texts::{corpus, document, mutant};

/// The formatted text, with all that must be true of it; `None` where the text does not parse.
pub fn check(text: &str) -> Option<String> {
    let (document, found) = parse(0, text);
    if !found.is_empty() {
        assert!(format(text).is_err(), "formatted what does not parse: {text:?}");
        return None;
    }
    let formatted = format(text).unwrap_or_else(|found| panic!("not formatted: {text:?}: {}", messages(&found)));
    let (again, found) = parse(0, &formatted);
    assert!(found.is_empty(), "no longer parses: {text:?} as {formatted:?}: {}", messages(&found));
    assert!(same(&document.nodes, &again.nodes), "says something else: {text:?} as {formatted:?}");
    assert_eq!(format(&formatted).as_deref(), Ok(&*formatted), "not stable: {text:?}");
    assert_eq!(comments(text), comments(&formatted), "comments differ: {text:?} as {formatted:?}");
    assert!(!formatted.contains('\r') || text.contains('"'), "{formatted:?}");
    assert!(formatted.is_empty() || formatted.ends_with('\n') && !formatted.ends_with("\n\n"), "{formatted:?}");
    Some(formatted)
}

fn messages(found: &[Diagnostic]) -> String {
    found.iter().map(|d| format!("{}: {} {:?}", d.code, d.message, d.help)).collect::<Vec<_>>().join("; ")
}

/// The words of all comments, in order: a reader of its own, so that it shares no mistake with the printer's.
fn comments(text: &str) -> Vec<String> {
    let chars: Vec<char> = text.chars().collect();
    let newline = |c: char| "\n\r\u{b}\u{c}\u{85}\u{2028}\u{2029}".contains(c);
    let starts = |at: usize, word: &str| word.chars().enumerate().all(|(i, c)| chars.get(at + i) == Some(&c));
    let mut found = Vec::new();
    let mut at = 0;
    while at < chars.len() {
        let start = at;
        if starts(at, "//") {
            while at < chars.len() && !newline(chars[at]) {
                at += 1;
            }
            found.push(chars[start..at].iter().collect::<String>());
        } else if starts(at, "/*") {
            let mut depth = 0;
            loop {
                if starts(at, "/*") {
                    depth += 1;
                    at += 2;
                } else if starts(at, "*/") {
                    depth -= 1;
                    at += 2;
                } else {
                    at += 1;
                }
                if depth == 0 || at >= chars.len() {
                    break;
                }
            }
            found.push(chars[start..at.min(chars.len())].iter().collect::<String>());
        } else if chars[at] == '"' || chars[at] == '#' {
            let mut hashes = 0;
            while chars.get(at) == Some(&'#') {
                hashes += 1;
                at += 1;
            }
            if chars.get(at) != Some(&'"') {
                continue;
            }
            let multi = starts(at, "\"\"\"") && chars.get(at + 3).is_some_and(|&c| newline(c));
            let end = format!("{}{}", if multi { "\"\"\"" } else { "\"" }, "#".repeat(hashes));
            at += if multi { 3 } else { 1 };
            while at < chars.len() && !starts(at, &end) {
                at += if hashes == 0 && chars[at] == '\\' { 2 } else { 1 };
            }
            at += end.chars().count();
        } else {
            at += 1;
        }
    }
    found.iter().map(|comment| comment.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn generated_documents_keep_what_they_say(text in document()) {
        prop_assert!(check(&text).is_some(), "not KDL: {:?}: {}", text, messages(&parse(0, &text).1));
    }

    #[test]
    fn mutated_files_keep_what_they_say(seed in any::<u64>()) {
        let corpus = corpus();
        check(&mutant(&corpus, seed));
    }
}

#[test]
fn our_own_files_are_formatted() {
    for folder in ["stdlib", "pipelines", "examples"] {
        for (path, text) in super::texts::files(folder) {
            let formatted = check(&text).unwrap_or_else(|| panic!("{} does not parse", path.display()));
            assert!(formatted == text, "`pipe fmt {}` changes it", path.display());
        }
    }
}
