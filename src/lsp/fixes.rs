//! Quick fixes, out of what a diagnostic says: "did you mean `x`?", "write `use "std/x"`", "write one of …".
//!
//! The help of a diagnostic is the one description of its fix, for people and for editors; what cannot be read
//! out of it with certainty is no quick fix.

use crate::diag::{At, Diagnostic};
use crate::syntax::{Document, Node};

/// One way to mend a mistake: edits of the file in which it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fix {
    pub title: String,
    pub edits: Vec<(At, String)>,
}

/// The ways to mend a mistake, the likeliest first.
pub fn fixes(fault: &Diagnostic, text: &str, document: &Document) -> Vec<Fix> {
    let (Some(help), Some(label)) = (&fault.help, fault.labels.first()) else { return Vec::new() };
    let at = label.at;
    let Some(written) = text.get(at.start..at.end) else { return Vec::new() };
    let mut edits = Vec::new();
    let mut titles = Vec::new();
    if let Some(meant) = between(help, "did you mean `", "`?") {
        let Some(place) = wrong_word(&fault.message, written) else { return Vec::new() };
        let meant = meant.trim_start_matches('(').trim_end_matches(')');
        titles.push(format!("change to `{meant}`"));
        edits.push((At { start: at.start + place.0, end: at.start + place.1, ..at }, meant.to_owned()));
    }
    if let Some(module) = between(help, "write `use \"", "\"`") {
        titles.push(format!("add `use \"{module}\"`"));
        edits.push(use_line(document, text, at.source, module));
    }
    if !edits.is_empty() {
        return vec![Fix { title: titles.join(" and "), edits }];
    }
    let place = At { start: at.start + value_start(written), end: at.start + written.trim_end().len(), ..at };
    values(fault.code, help)
        .into_iter()
        .map(|value| Fix { title: format!("change to `{value}`"), edits: vec![(place, value)] })
        .collect()
}

/// Whole values that a help offers in place of what is written.
fn values(code: &str, help: &str) -> Vec<String> {
    let offered: Vec<String> = help.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    let rest: String = help.split('`').step_by(2).collect();
    match code {
        "pipe::missing-unit" if help.starts_with("write one of `") => offered,
        // "write `4`" alone; a help with more words shows how such a value looks, not which it is.
        "pipe::wrong-type" if rest == "write " || rest == "write  or " => {
            let concrete = |value: &String| !["NAME", "VALUE", "…"].iter().any(|word| value.contains(word));
            offered.into_iter().filter(concrete).collect()
        }
        _ => Vec::new(),
    }
}

fn between<'t>(text: &'t str, before: &str, after: &str) -> Option<&'t str> {
    let from = text.find(before)? + before.len();
    text[from..].find(after).map(|to| &text[from..from + to])
}

/// Where in `written` the word stands that a message calls wrong; it is the last word in backticks that does.
fn wrong_word(message: &str, written: &str) -> Option<(usize, usize)> {
    let words: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    words.into_iter().rev().find_map(|word| {
        let word = word.trim_start_matches('(').trim_end_matches(')');
        let from = value_start(written);
        find_word(written, from, word).or_else(|| find_word(written, 0, word))
    })
}

fn find_word(text: &str, from: usize, word: &str) -> Option<(usize, usize)> {
    let part = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
    let mut found = text[from..].match_indices(word).map(|(index, _)| (from + index, from + index + word.len()));
    found.find(|(start, end)| !word.is_empty() && !text[..*start].ends_with(part) && !text[*end..].starts_with(part))
}

/// Where the value of `key=(annotation)value` begins.
fn value_start(written: &str) -> usize {
    let quote = written.find('"').unwrap_or(written.len());
    let key = written[..quote].rfind('=').map_or(0, |i| i + 1);
    match written[..quote].rfind(')') {
        // A unit is part of the value that replaces it, an annotation before a text is not part of the word.
        Some(end) if end > key && quote < written.len() => end + 1,
        _ => key,
    }
}

/// The edit that makes a file use a module: a line behind the last `use`, or behind `pipeline`.
pub fn use_line(document: &Document, text: &str, source: usize, module: &str) -> (At, String) {
    let last = |word: &str| document.nodes.iter().rfind(|node| node.name.text == word);
    let behind = |node: &Node| {
        let rest = &text[node.at.end.min(text.len())..];
        node.at.end.min(text.len()) + rest.find('\n').unwrap_or(rest.len())
    };
    let (at, line) = match (last("use"), last("pipeline")) {
        (Some(node), _) => (behind(node), format!("\nuse \"{module}\"")),
        (None, Some(node)) => (behind(node), format!("\n\nuse \"{module}\"")),
        (None, None) => (0, format!("use \"{module}\"\n")),
    };
    (At { source, start: at, end: at }, line)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::lsp::scan;
    use crate::resolve::{Facts, Memory, Options, load};

    /// What the first finding's fixes make of a text.
    fn mended(text: &str) -> Vec<String> {
        let files = Memory::default().with("a/.git/HEAD", "").with("a/p.kdl", text);
        let facts = Facts { os: "linux".to_owned(), arch: "x86_64".to_owned(), gpu: "none".to_owned(), python: None };
        let (_, diagnostics) = load(Path::new("a/p.kdl"), &Options::default(), &files, &facts);
        let Some(first) = diagnostics.iter().next() else { return Vec::new() };
        let found = fixes(first, text, &scan::tree(0, text));
        found
            .into_iter()
            .map(|mut fix| {
                fix.edits.sort_by_key(|(at, _)| std::cmp::Reverse(at.start));
                let mut text = text.to_owned();
                for (at, new) in fix.edits {
                    text.replace_range(at.start..at.end, &new);
                }
                text
            })
            .collect()
    }

    /// The fix turns `wrong` into `right` in a small pipeline.
    fn check(before: &str, wrong: &str, right: &str) {
        assert_eq!(mended(&before.replace('@', wrong)), [before.replace('@', right)], "{wrong}");
    }

    const FILE: &str = "pipeline \"p\"\nparam \"size\" \"s\" { choices \"small\" \"s\"; }\nmatrix \"cells\" { axis \"engine\" \"torch\" \"onnx\"; }\n";

    #[test]
    fn near_names_are_changed_in_place() {
        let step = |line: &str| format!("{FILE}step \"make\" {{ run \"true\"; }}\n{line}\n");
        check(&step("step \"b\" { run \"cat\" (step)\"@/make\"; }"), "mak", "make");
        check(&step("@ \"b\" { run \"true\"; }"), "stp", "step");
        check(&step("step \"b\" { run \"cat\" (param)\"@\"; }"), "sise", "size");
        check(&step("step \"b\" for-each=\"@\" { run \"true\"; }"), "cell", "cells");
        check(&step("step \"b\" for-each=\"cells\" { run \"cat\" (axis)\"@\"; }"), "engin", "engine");
        check(&step("step \"b\" for-each=\"cells\" { run \"cat\"; when engine=\"@\" { retry 2; }; }"), "onx", "onnx");
        check(&step("step \"b\" @=2 { run \"true\"; }"), "retri", "retry");
        check(&step("step \"b\" { run \"true\"; @ 2; }"), "retri", "retry");
        check(&step("step \"b\" class=\"@\" { run \"true\"; }"), "biuld", "build");
        check(&step("step \"b\" timeout=(@)2 { run \"true\"; }"), "sec", "s");
        let cells =
            "step \"each\" for-each=\"cells\" { run \"true\"; output \"a.txt\"; }\nstep \"b\" { run \"cat\" (step)";
        check(&step(&format!("{cells}\"each[@=onnx]\"; }}")), "engin", "engine");
        check(&step(&format!("{cells}\"each[engine=@]/a.txt\"; }}")), "onx", "onnx");
        check(&step(&format!("{cells}\"each[engine=onnx]/@\"; }}")), "b.txt", "a.txt");
        check(&step("profile \"quick\" { @ \"s\"; }"), "sise", "size");
        check(&step("use \"std/@\"\nstep \"b\" { run \"true\"; }"), "modle", "model");
    }

    #[test]
    fn a_module_is_used_where_its_recipe_is_named() {
        let text = "pipeline \"p\" about=\"x\"\n\nllama \"m\"\n";
        assert_eq!(mended(text), ["pipeline \"p\" about=\"x\"\n\nuse \"std/model\"\n\nllama \"m\"\n"]);
        let text = "pipeline \"p\"\nuse \"std/bench\"\n\nlama \"m\"\n";
        assert_eq!(mended(text), ["pipeline \"p\"\nuse \"std/bench\"\nuse \"std/model\"\n\nllama \"m\"\n"]);
    }

    #[test]
    fn values_are_changed_where_the_right_one_is_known() {
        let step = |line: &str| format!("{FILE}step \"a\" {line} {{ run \"true\"; }}\n");
        check(&step("retry=@"), "\"2\"", "2");
        assert_eq!(mended(&step("timeout=2")).len(), 4);
        assert!(mended(&step("timeout=2"))[2].contains("timeout=(min)2 {"));
        assert!(mended(&step("retry=#true")).is_empty());
    }
}
