//! The reader against the `kdl` crate: whatever both take says the same, and what one of them refuses is known.

use kdl::{KdlDocument, KdlNode, KdlValue};
use pipe::syntax::{Literal, Node, decode, parse};
use proptest::prelude::*;

use super::texts::{corpus, document, mutant};

/// Where the reader is stricter: what the language has no use for, and mistakes that deserve better words.
const STRICTER: [&str; 7] = [
    "pipe::quotes",
    "pipe::not-kdl",
    "pipe::number-too-large",
    "pipe::forbidden-character",
    "pipe::not-text",
    "pipe::triple-quotes",
    "pipe::empty-slashdash",
];

fn same(ours: &[Node], theirs: &[KdlNode]) -> bool {
    let literal = |ours: &Literal, theirs: &KdlValue| match (ours, theirs) {
        (Literal::Text(ours), KdlValue::String(theirs)) => ours == theirs,
        (Literal::Integer(ours), KdlValue::Integer(theirs)) => i128::from(*ours) == *theirs,
        (Literal::Float(ours), KdlValue::Float(theirs)) => ours == theirs,
        (Literal::Bool(ours), KdlValue::Bool(theirs)) => ours == theirs,
        (Literal::Null, KdlValue::Null) => true,
        _ => false,
    };
    let node = |(ours, theirs): (&Node, &KdlNode)| {
        ours.name.text == theirs.name().value()
            && ours.annotation.as_ref().map(|word| &*word.text) == theirs.ty().map(|word| word.value())
            && ours.entries.len() == theirs.entries().len()
            && ours.entries.iter().zip(theirs.entries()).all(|(ours, theirs)| {
                ours.key.as_ref().map(|word| &*word.text) == theirs.name().map(|word| word.value())
                    && ours.annotated() == theirs.ty().map(|word| word.value())
                    && literal(&ours.literal, theirs.value())
            })
            && match (&ours.children, theirs.children()) {
                (Some(ours), Some(theirs)) => same(ours, theirs.nodes()),
                (None, None) => true,
                _ => false,
            }
    };
    ours.len() == theirs.len() && ours.iter().zip(theirs).all(node)
}

/// Why the two differ on a text, if they do.
fn differ(text: &str) -> Option<String> {
    let (text, mut found) = decode(0, text.as_bytes());
    let mut ours = Default::default();
    if found.is_empty() {
        (ours, found) = parse(0, &text);
    }
    // The crate takes a byte-order mark for a part of the first name.
    let theirs = KdlDocument::parse_v2(text.trim_start_matches('\u{feff}'));
    match (found.first(), theirs) {
        (None, Ok(theirs)) if same(&ours.nodes, theirs.nodes()) => None,
        // It takes a raw line of backslashes for an empty one.
        (None, Ok(_)) if text.contains("#\"\"\"") && text.contains("\\\n") => None,
        (None, Ok(theirs)) => Some(format!("other values: {text:?}: {theirs:?}")),
        // It refuses `a { /-b; c }` and `a/-1`.
        (None, Err(_)) if text.contains("/-") => None,
        (None, Err(error)) => Some(format!("only the crate refuses {text:?}: {:?}", error.diagnostics)),
        // It takes `0X1F`, where KDL has a small x.
        (Some(fault), Ok(_)) if fault.code == "pipe::bad-number" && text.contains(['X', 'O', 'B']) => None,
        // It takes `a {} /-b` for two nodes.
        (Some(fault), Ok(_)) if fault.code == "pipe::after-block" && text.contains("/-") => None,
        (Some(fault), Ok(_)) if STRICTER.contains(&fault.code) => None,
        (Some(fault), Ok(_)) => Some(format!("refused with {}: {text:?}", fault.code)),
        (Some(_), Err(_)) => None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn generated_documents_say_the_same(text in document()) {
        prop_assert_eq!(differ(&text), None);
    }
}

#[test]
fn mutated_files_say_the_same() {
    let corpus = corpus();
    let wrong: Vec<String> = (0..5_000).filter_map(|seed| differ(&mutant(&corpus, seed))).collect();
    assert!(wrong.is_empty(), "{} texts:\n{}", wrong.len(), wrong[..wrong.len().min(5)].join("\n"));
}
