//! Texts to try: generated documents, the KDL files of this repository, and mutants of them.

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use proptest::sample::select;
use rand::SeedableRng as _;
use rand::rngs::StdRng;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The KDL files below a folder of the repository, by name.
pub fn files(folder: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    walk(&root().join(folder), &mut found);
    found.sort();
    assert!(!found.is_empty(), "no KDL files in {folder}");
    found
}

fn walk(folder: &Path, found: &mut Vec<(PathBuf, String)>) {
    for path in std::fs::read_dir(folder).expect("a folder").flatten().map(|entry| entry.path()) {
        if path.is_dir() {
            walk(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "kdl") {
            let text = std::fs::read_to_string(&path).expect("KDL files are UTF-8");
            found.push((path, text));
        }
    }
}

/// What mutants are made of: every KDL file of the repository in pieces, and the odd corners
/// of the grammar.
pub fn corpus() -> Vec<String> {
    let mut texts: Vec<String> = Vec::new();
    for folder in ["stdlib", "pipelines", "examples", "tests/language"] {
        for (_, text) in files(folder) {
            // Nodes of the file, as far as one can tell them by their braces.
            let (mut piece, mut depth) = (String::new(), 0i32);
            for line in text.split_inclusive('\n') {
                piece += line;
                depth += line.matches('{').count() as i32 - line.matches('}').count() as i32;
                if depth == 0 && piece.len() > 200 {
                    texts.push(std::mem::take(&mut piece));
                }
            }
            texts.push(piece);
        }
    }
    texts.extend(CORNERS.iter().map(|text| (*text).to_owned()));
    texts
}

const CORNERS: [&str; 9] = [
    "a /-1 2 /-k=3 { b } /- { c }\n/-d { e }\n",
    "a \"\"\"\n    one\n      two\n\n    \"\"\" #\"\"\"\n  raw \\\n  \"\"\"# ##\"x\"#\"##\n",
    "(t)a (u)1 k=(v)\"w\" { b; c; (d)e }\n",
    "a 1 \\\n  2 \\ // why\n  3 /* in /* side */ */ { // here\n  b // there\n}\n",
    "pipeline \"p\"\nstep \"a\" { run \"x\" (output)\"o\"; output \"o\"; needs memory=(GiB)4; timeout (min)1 }\n",
    "pipeline \"p\"\nmatrix \"m\" { axis \"a\" 1 2; exclude a=1 reason=\"r\" }\nstep \"s\" for-each=\"m\" { run \"x\" (axis)\"a\" }\n",
    "pipeline \"p\"\nrecipe \"r\" { param \"x\" type=\"int\" max=3; step \"s\" { run \"x\" (param)\"x\" }; result (step)\"s\" }\nr \"q\" x=2\n",
    "\u{feff}a -1.5e-3 +0x1F 0b1_0 #-inf #nan \"\\u{1F600}\\s\\\n   \\\"\"\r\nb\r\n",
    "\u{e9}\u{4e16} \u{a0}\u{3000}1\u{2028}b\u{85}c \"\u{1f600}\"\n",
];

/// What is spliced into mutants.
const SPLICES: [&str; 44] = [
    "/-",
    "/- ",
    "{",
    "}",
    "\"\"\"",
    "\"\"\"\n",
    "#\"",
    "\"#",
    "##",
    "#",
    "(",
    ")",
    "(s)",
    "(GiB)",
    "(ms)",
    "(percent)",
    "(step)",
    "(param)",
    "(axis)",
    "(file)",
    "=",
    ";",
    "\\",
    "\\\n",
    "//",
    "/*",
    "*/",
    "\n",
    "\r\n",
    "\u{feff}",
    "\u{202e}",
    "\u{0}",
    "\u{85}",
    "é",
    "\"",
    " ",
    "#true",
    "#null",
    "1_0",
    "-",
    "0x",
    "when",
    "for-each=\"m\"",
    "[",
];

/// A text that was changed in one to four places; the same for the same seed.
pub fn mutant(corpus: &[String], seed: u64) -> String {
    String::from_utf8_lossy(&mutant_bytes(corpus, seed)).into_owned()
}

/// As [`mutant`], and it may be no text.
pub fn mutant_bytes(corpus: &[String], seed: u64) -> Vec<u8> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut bytes = corpus[rng.random_range(0..corpus.len())].clone().into_bytes();
    for _ in 0..rng.random_range(1..=4) {
        let at = rng.random_range(0..=bytes.len());
        let end = (at + rng.random_range(0..24)).min(bytes.len());
        match rng.random_range(0..8) {
            0 if at < bytes.len() => bytes[at] ^= 1 << rng.random_range(0..8),
            1 => drop(bytes.drain(at..end)),
            2 => {
                let part = bytes[at..end].to_vec();
                bytes.splice(at..at, part);
            }
            3 => {
                let other = corpus[rng.random_range(0..corpus.len())].as_bytes();
                let from = rng.random_range(0..=other.len());
                let to = (from + rng.random_range(0..60)).min(other.len());
                bytes.splice(at..at, other[from..to].iter().copied());
            }
            _ => {
                let splice = SPLICES[rng.random_range(0..SPLICES.len())];
                bytes.splice(at..at, splice.bytes());
            }
        }
    }
    bytes
}

/// A document of KDL that the guard and the parser take.
pub fn document() -> impl Strategy<Value = String> {
    (select(vec!["", "", "\u{feff}", "\n\n"]), nodes(3), select(vec!["", "\n", "// end", " /* end */"]))
        .prop_map(|(start, nodes, end)| format!("{start}{nodes}{end}"))
}

fn string() -> impl Strategy<Value = &'static str> {
    select(vec![
        "a",
        "b-c",
        "é.x",
        "-",
        "+d",
        "\"\"",
        "\"x y\"",
        "\"\\\"\\u{41}\\n// no\"",
        "\"/* no */\"",
        "\"one \\\n   two\"",
        "#\"r \" s\"#",
        "##\"r\"# s\"##",
        "\"\"\"\n  m\n    n\n\n  \"\"\"",
        "\"\"\"\n\"\"\"",
        "\"\"\"\r\n\tm // no\r\n\t\tn \\\"\"\"\r\n\t\"\"\"",
        "\"\"\"\n      m \\\n  n\n      \"\"\"",
        "#\"\"\"\n m \\\n   \n  \"n\"\n \"\"\"#",
        "#\"\"\"\n \\\n \"\"\"#",
    ])
}

fn literal() -> impl Strategy<Value = &'static str> {
    prop_oneof![
        2 => string(),
        1 => select(vec!["0", "12", "-1_000", "0x1F", "0b1_1", "0o17", "1.50", "+2e-3", "#true", "#false", "#null"]),
    ]
}

/// White space inside of a node, never none.
fn gap() -> impl Strategy<Value = &'static str> {
    prop_oneof![
        8 => Just(" "),
        4 => select(vec!["  ", "\t", "\u{a0}", " /* c */ ", "/* c\n   d\n */", " \\\n", " \\\r\n  ", " \\ // c\n", "\\\n\\\n",
            " /* c */ \\ /* d */ // e\n "]),
    ]
}

fn maybe_gap() -> impl Strategy<Value = &'static str> {
    prop_oneof![6 => Just(""), 1 => gap()]
}

/// White space around nodes.
fn line_gap() -> impl Strategy<Value = &'static str> {
    prop_oneof![
        6 => select(vec!["", "\n", "  ", "\n\n\n"]),
        3 => select(vec!["// c\n", "\n// c\n", "/* c */", "\n  /* c\n      d\n  */\n", "/* c */ /* d */ // e\n\n", "\\\n", " \\ // c\n"]),
    ]
}

fn annotation() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => Just(String::new()),
        1 => (maybe_gap(), string(), maybe_gap(), maybe_gap())
            .prop_map(|(before, word, after, behind)| format!("({before}{word}{after}){behind}")),
    ]
}

/// `/-`, or nothing.
fn slashdash() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => Just(String::new()),
        1 => line_gap().prop_map(|gap| format!("/-{gap}")),
    ]
}

fn entry() -> impl Strategy<Value = String> {
    let key = prop_oneof![
        2 => Just(String::new()),
        1 => (string(), maybe_gap(), maybe_gap()).prop_map(|(key, before, after)| format!("{key}{before}={after}")),
    ];
    (gap(), slashdash(), key, annotation(), literal())
        .prop_map(|(gap, slashdash, key, annotation, literal)| format!("{gap}{slashdash}{key}{annotation}{literal}"))
}

fn nodes(depth: u32) -> BoxedStrategy<String> {
    let end = select(vec!["\n", "\n", ";", "; ", " // c\n", "\r\n", "\n\n\n", ";\n", "; // c\n", " /* c */;"]);
    prop::collection::vec((line_gap(), node(depth), maybe_gap(), end, line_gap()), 0..4)
        .prop_map(|nodes| {
            nodes.into_iter().map(|(lead, node, gap, end, behind)| format!("{lead}{node}{gap}{end}{behind}")).collect()
        })
        .boxed()
}

fn node(depth: u32) -> BoxedStrategy<String> {
    let head = (slashdash(), annotation(), string(), prop::collection::vec(entry(), 0..4))
        .prop_map(|(slashdash, annotation, name, entries)| format!("{slashdash}{annotation}{name}{}", entries.concat()))
        .boxed();
    if depth == 0 {
        return head;
    }
    let block = || {
        (maybe_gap(), nodes(depth - 1), node(depth - 1), any::<bool>(), maybe_gap()).prop_map(
            |(before, nodes, last, with_last, after)| {
                format!("{before}{{{nodes}{}{after}}}", if with_last { last } else { String::new() })
            },
        )
    };
    let hidden = || {
        prop_oneof![
            6 => Just(String::new()),
            1 => (gap(), line_gap(), block()).prop_map(|(gap, inner, block)| format!("{gap}/-{inner}{}", block.trim_start())),
        ]
    };
    prop_oneof![
        2 => head.clone(),
        1 => (head, hidden(), block(), hidden()).prop_map(|(head, before, block, after)| format!("{head}{before}{block}{after}")),
    ]
    .boxed()
}
