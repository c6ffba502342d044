//! The KDL project's own cases for version 2, from where `PIPE_KDL_SUITE` says that they are: its folder
//! `tests/test_cases`, with `input` and `expected_kdl`. They are not part of this repository, because their
//! licence is another.
//!
//! `PIPE_KDL_SUITE=…/tests/test_cases cargo test --test syntax suite -- --nocapture`

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use pipe::diag::Diagnostic;
use pipe::syntax::{Document, Literal, Node, decode, parse};

use super::properties::check;

/// What is refused though it is KDL: numbers beyond 64 bits, and what is none.
const BEYOND: [&str; 1] = ["pipe::number-too-large"];

fn read(bytes: &[u8]) -> Result<(String, Document), Vec<Diagnostic>> {
    let (text, found) = decode(0, bytes);
    if !found.is_empty() {
        return Err(found);
    }
    let (document, found) = parse(0, &text);
    if found.is_empty() { Ok((text, document)) } else { Err(found) }
}

/// A node as the suite writes what it expects: of a property's values the last counts, and their order does not.
fn plain(node: &Node) -> String {
    let word = |annotation: Option<&str>| annotation.map(|word| format!("({word:?})")).unwrap_or_default();
    let literal = |literal: &Literal| match literal {
        // What is expected may be written with another exponent.
        Literal::Float(x) => format!("{x:e}"),
        other => format!("{other:?}"),
    };
    let mut properties = BTreeMap::new();
    let mut text = format!("{}{:?}", word(node.annotation.as_ref().map(|word| &*word.text)), node.name.text);
    for entry in &node.entries {
        let value = format!("{}{}", word(entry.annotated()), literal(&entry.literal));
        match &entry.key {
            Some(key) => drop(properties.insert(key.text.clone(), value)),
            None => text += &format!(" {value}"),
        }
    }
    // An empty block says nothing more than none.
    let children: Vec<String> = node.children().iter().map(plain).collect();
    format!("{text} {properties:?} {{{}}}", children.join("; "))
}

fn outline(document: &Document) -> Vec<String> {
    document.nodes.iter().map(plain).collect()
}

#[test]
#[expect(clippy::disallowed_methods, clippy::disallowed_macros, reason = "where the cases are, and how many passed")]
fn the_suite_of_the_kdl_project_is_read_as_it_says() {
    let Some(folder) = std::env::var_os("PIPE_KDL_SUITE") else {
        eprintln!("passed over: PIPE_KDL_SUITE does not say where the suite is");
        return;
    };
    let folder = Path::new(&folder);
    let mut cases: Vec<_> = fs::read_dir(folder.join("input"))
        .unwrap_or_else(|error| panic!("`{}` has no `input`: {error}", folder.display()))
        .map(|entry| entry.expect("an entry").path())
        .collect();
    cases.sort();
    assert!(cases.len() > 300, "only {} cases", cases.len());
    let (mut valid, mut invalid, mut beyond) = (0, 0, Vec::new());
    let mut wrong = Vec::new();
    for case in &cases {
        let name = case.file_name().expect("a name").to_string_lossy().into_owned();
        let answer = read(&fs::read(case).expect("a case"));
        let codes = |found: &[Diagnostic]| found.iter().map(|fault| fault.code).collect::<Vec<_>>();
        match (fs::read(folder.join("expected_kdl").join(&name)), answer) {
            (Ok(expected), Ok((text, document))) => {
                valid += 1;
                check(&text);
                match read(&expected) {
                    Ok((_, expected)) if outline(&expected) == outline(&document) => {}
                    Ok((_, expected)) => {
                        wrong.push(format!("{name}: {:?} for {:?}", outline(&document), outline(&expected)))
                    }
                    Err(found) => wrong.push(format!("{name}: what is expected is refused: {:?}", codes(&found))),
                }
            }
            (Ok(_), Err(found)) if codes(&found).iter().all(|code| BEYOND.contains(code)) => beyond.push(name),
            (Ok(_), Err(found)) => wrong.push(format!("{name}: refused: {:?}", codes(&found))),
            (Err(_), Ok((text, _))) => wrong.push(format!("{name}: accepted: {text:?}")),
            (Err(_), Err(_)) => invalid += 1,
        }
    }
    eprintln!("{valid} valid, {invalid} invalid, {} beyond the limits: {beyond:?}", beyond.len());
    assert!(wrong.is_empty(), "{} cases:\n{}", wrong.len(), wrong.join("\n"));
}
