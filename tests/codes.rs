//! The pages about mistakes, `docs/errors/NAME.md`: each code of the sources has one, each wrong example yields
//! just that code, each right one is clean, and `tests/errors/NAME.txt` holds what a person reads.
//!
//! `PIPE_BLESS=1 cargo test --test codes` writes the texts anew; read the difference before you keep it.

#[expect(dead_code, reason = "this test needs no engine")]
mod common;

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use pipe::diag::catalogue::{Block, Page, pages};
use pipe::diag::{Diagnostics, Severity};
use pipe::pipeline::Pipeline;
use pipe::resolve::{Facts, FileKind, Files, Memory, Options, load};
use pipe::syntax::format;

/// Files of a project in which `pipe` was started, with something beside it.
struct Project(Memory);

impl Project {
    fn inside(path: &Path) -> PathBuf {
        Path::new("/project").join(path)
    }

    fn with(self, path: &str, text: impl Into<Vec<u8>>) -> Project {
        Project(self.0.with(Project::inside(Path::new(path)), text))
    }
}

impl Files for Project {
    fn read(&self, path: &Path, most: usize) -> io::Result<Vec<u8>> {
        self.0.read(&Project::inside(path), most)
    }

    fn kind(&self, path: &Path) -> FileKind {
        self.0.kind(&Project::inside(path))
    }

    fn real(&self, path: &Path) -> PathBuf {
        self.0.real(&Project::inside(path))
    }
}

/// One of the two examples of a page: the pipeline, the flags that go with it, and further files.
#[derive(Default)]
struct Example {
    text: String,
    flags: String,
    files: Vec<(String, String)>,
}

/// The examples below the headings `Wrong` and `Right`; none where no text can show the mistake.
fn examples(page: &Page) -> Vec<Example> {
    let mut found: Vec<(String, Example)> = Vec::new();
    for block in page.blocks() {
        match block {
            Block::Heading(heading) => found.push((heading, Example::default())),
            Block::Paragraph(_) => {}
            Block::Code(info, text) => {
                let (_, example) = found.last_mut().expect("a heading comes first");
                let part = |name: &str| info.split_once(&format!("{name}=")).map(|(_, rest)| rest.trim_matches('"'));
                match part("file") {
                    Some(file) => example.files.push((file.to_owned(), text)),
                    None => {
                        assert!(example.text.is_empty(), "{}: two pipelines in one section", page.name);
                        assert!(info.starts_with("kdl"), "{}: the fence says `{info}`", page.name);
                        example.flags = part("flags").unwrap_or_default().to_owned();
                        example.text = text;
                    }
                }
            }
        }
    }
    let headings: Vec<&str> = found.iter().map(|(heading, _)| heading.as_str()).collect();
    assert!(
        headings == [page.name] || headings == [page.name, "Wrong", "Right"],
        "{}: the headings are {headings:?}",
        page.name
    );
    found.into_iter().skip(1).map(|(_, example)| example).collect()
}

fn facts() -> Facts {
    Facts {
        os: "linux".to_owned(),
        arch: "x86_64".to_owned(),
        python: Some("3.11.7".to_owned()),
        gpu: "none".to_owned(),
    }
}

fn read(example: &Example) -> (Option<Pipeline>, Diagnostics) {
    let mut project = Project(Memory::default().with("/outside.txt", "").with("/project/.git/HEAD", ""))
        .with("example.kdl", example.text.as_bytes());
    for (name, text) in &example.files {
        project = project.with(name, text.as_bytes());
    }
    let mut words = example.flags.split_whitespace();
    let mut options = Options::default();
    while let Some(flag) = words.next() {
        let value = words.next().expect("a flag has a value");
        match (flag, value.split_once('=')) {
            ("--set", Some((name, value))) => options.sets.push((name.to_owned(), value.to_owned())),
            ("--profile", _) => options.profile = Some(value.to_owned()),
            _ => panic!("{}: flags of an example: {flag} {value}", example.flags),
        }
    }
    load(Path::new("example.kdl"), &options, &project, &facts())
}

/// The codes that the sources name, tests apart.
fn codes_of_the_sources() -> BTreeSet<String> {
    fn visit(folder: &Path, found: &mut BTreeSet<String>) {
        for path in std::fs::read_dir(folder).expect("the sources").flatten().map(|entry| entry.path()) {
            if path.is_dir() {
                visit(&path, found);
                continue;
            }
            let text = std::fs::read_to_string(&path).expect("sources are UTF-8");
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            for (at, start) in code.match_indices("\"pipe::") {
                let name: String = code[at + start.len()..].chars().take_while(|&c| c != '"').collect();
                if !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-') {
                    found.insert(name);
                }
            }
        }
    }
    let mut found = BTreeSet::new();
    visit(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
    found
}

#[test]
fn each_code_has_a_page_and_each_page_a_code() {
    let codes = codes_of_the_sources();
    assert!(codes.len() > 90, "only {} codes found: the walk is broken", codes.len());
    let known: BTreeSet<String> = pages().map(|page| page.name.to_owned()).collect();
    let without: Vec<&String> = codes.difference(&known).collect();
    let unused: Vec<&String> = known.difference(&codes).collect();
    assert!(without.is_empty(), "without a page in docs/errors: {without:?}");
    assert!(unused.is_empty(), "pages of codes that nothing yields: {unused:?}");
}

#[test]
fn each_wrong_example_yields_its_code_and_no_other() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/errors");
    let mut failures = Vec::new();
    let mut texts = BTreeSet::new();
    for page in pages() {
        let Some(wrong) = examples(&page).into_iter().next() else { continue };
        let (pipeline, diagnostics) = read(&wrong);
        let rendered = diagnostics.render(false, 100);
        let code = format!("pipe::{}", page.name);
        let codes: BTreeSet<&str> = diagnostics.iter().map(|found| found.code).collect();
        if codes != BTreeSet::from([code.as_str()]) {
            failures.push(format!("{} yields {codes:?}\n{rendered}", page.name));
        }
        let warns = diagnostics.iter().all(|found| found.severity == Severity::Warning);
        assert_eq!(pipeline.is_some(), warns, "{}: a pipeline with only warnings can run", page.name);
        for found in diagnostics.iter() {
            assert!(found.help.is_some(), "{} does not say what to do\n{rendered}", page.name);
        }
        let path = folder.join(format!("{}.txt", page.name));
        texts.insert(path.clone());
        if option_env!("PIPE_BLESS").is_some() {
            std::fs::write(&path, &rendered).expect("a file that can be written");
        } else if std::fs::read_to_string(&path).unwrap_or_default() != rendered {
            failures.push(format!("{} differs; found\n{rendered}", path.display()));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    for path in std::fs::read_dir(&folder).expect("the texts").flatten().map(|entry| entry.path()) {
        assert!(texts.contains(&path), "{} belongs to no page", path.display());
    }
}

#[test]
fn each_right_example_is_clean() {
    let mut failures = Vec::new();
    let mut count = 0;
    for page in pages() {
        let examples = examples(&page);
        let Some(right) = examples.get(1) else { continue };
        count += 1;
        let (pipeline, diagnostics) = read(right);
        if pipeline.is_none() || !diagnostics.is_empty() {
            failures.push(format!("{}\n{}", page.name, diagnostics.render(false, 100)));
        }
        if format(&right.text).ok().as_deref() != Some(&right.text) {
            failures.push(format!("{}: `pipe fmt` would change the right example", page.name));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(count > 80, "{count} examples");
}

/// What no small text can show, made in other ways.
#[test]
fn mistakes_without_an_example_have_their_codes() {
    let code = |bytes: &[u8]| {
        let project = Project(Memory::default()).with("example.kdl", bytes);
        let (_, diagnostics) = load(Path::new("example.kdl"), &Options::default(), &project, &facts());
        diagnostics.iter().next().map(|found| found.code).expect("something is wrong")
    };
    assert_eq!(code(&vec![b'a'; 5 << 20]), "pipe::file-too-large");
    assert_eq!(code(b"pipeline \"\xff\""), "pipe::not-text");
    assert_eq!(code("pipeline \"a\u{202e}\"".as_bytes()), "pipe::forbidden-character");
    assert_eq!(code(&b"a;".repeat(600_000)), "pipe::too-many-tokens");
    let nothing = Project(Memory::default());
    let (_, diagnostics) = load(Path::new("none.kdl"), &Options::default(), &nothing, &facts());
    assert_eq!(diagnostics.iter().next().map(|found| found.code), Some("pipe::cannot-read"));
}

#[test]
fn explain_prints_pages_and_lists_them() {
    let place = common::Place::new();
    let page = place.pipe(&["explain", "pipe::unknown-node"]).expect(0);
    assert!(page.out.contains("unknown-node\n\n") && page.out.contains("    stepp \"hello\" {"), "{}", page.out);
    assert!(!page.out.contains("```") && !page.out.contains('\u{1b}'), "{}", page.out);
    assert_eq!(page.out, place.pipe(&["explain", "unknown-node"]).expect(0).out);
    let coloured = place.pipe(&["explain", "unknown-node", "--color", "always"]).expect(0);
    assert!(coloured.out.contains('\u{1b}'), "{}", coloured.out);
    let list = place.pipe(&["explain"]).expect(0);
    for page in pages() {
        assert!(list.out.contains(&format!("  {} ", page.name)), "{} is not listed", page.name);
    }
    let slip = place.pipe(&["explain", "unknown-nod"]).expect(2);
    assert!(slip.err.contains("did you mean `pipe explain unknown-node`?"), "{}", slip.err);
    let json = place.pipe(&["explain", "--format", "json"]).expect(0);
    let json: serde_json::Value = serde_json::from_str(&json.out).expect("JSON");
    assert_eq!(json["codes"].as_array().map(Vec::len), Some(pages().count()));
}

#[test]
fn check_names_the_page_and_shows_warnings_that_run_leaves_out() {
    let place = common::Place::new();
    place.write("wrong.kdl", "pipeline \"p\"\nstepp \"a\" {\n    run \"true\"\n}\n");
    let said = place.pipe(&["check", "wrong.kdl"]).expect(2);
    assert!(said.err.contains("`pipe explain unknown-node` says more"), "{}", said.err);
    place.write("idle.kdl", "pipeline \"p\"\n\nparam \"n\" 3\n\nstep \"a\" {\n    run \"true\"\n}\n");
    let said = place.pipe(&["check", "idle.kdl"]).expect(0);
    assert!(said.err.contains("pipe::unused-parameter") && said.out.contains("ok, 1 step"), "{}{}", said.err, said.out);
    let said = place.pipe(&["plan", "idle.kdl"]).expect(0);
    assert!(!said.err.contains("unused"), "{}", said.err);
}

/// What `docs/diagnostics.md` says of the JSON form.
#[test]
fn json_has_places_labels_and_the_way_through_recipes() {
    let place = common::Place::new();
    place.write(
        "lib.kdl",
        "recipe \"r\" {\n    param \"t\" type=\"int\"\n\n    step \"s\" {\n        run \"true\"\n        retry (param)\"t\"\n    }\n    result (step)\"s\"\n}\n",
    );
    place.write("main.kdl", "pipeline \"p\"\n\nuse \"lib.kdl\"\n\nr \"é\" t=-1\n");
    let said = place.pipe(&["check", "main.kdl", "--error-format", "json"]).expect(2);
    let found: serde_json::Value = serde_json::from_str(said.out.lines().next().expect("a line")).expect("JSON");
    assert_eq!(found["code"], "pipe::out-of-range", "{found:#}");
    assert_eq!(found["severity"], "error");
    assert_eq!(
        (&found["file"], &found["line"], &found["column"], &found["end_line"], &found["end_column"]),
        (&"main.kdl".into(), &5.into(), &7.into(), &5.into(), &11.into()),
        "{found:#}"
    );
    assert!(found["help"].is_string() && found["labels"][0]["text"].is_string(), "{found:#}");
    let trail = &found["trail"][0];
    assert_eq!((&trail["file"], &trail["line"]), (&"main.kdl".into(), &5.into()), "{found:#}");
    assert_eq!(trail["text"], "in recipe `r`, used here");
}
