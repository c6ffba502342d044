//! The language, text in and text out: every `tests/language/NAME.kdl` says what `NAME.txt` holds.
//!
//! `PIPE_BLESS=1 cargo test --test language` writes the texts anew; read the difference before you keep it.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use pipe::pipeline::{Pipeline, reads};
use pipe::resolve::{Disk, Facts, Memory, Options, load};

fn facts() -> Facts {
    Facts {
        os: "linux".to_owned(),
        arch: "x86_64".to_owned(),
        gpu: "none".to_owned(),
        python: Some("3.11.7".to_owned()),
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// A project in memory around one text.
fn project(text: impl Into<Vec<u8>>) -> Memory {
    Memory::default()
        .with(".git/HEAD", "")
        .with("outside.txt", "")
        .with("project/.git/HEAD", "")
        .with("project/case.kdl", text)
        .with("project/data.txt", "hello")
        .with(
            "project/lib/one.kdl",
            "use \"two.kdl\"\nrecipe \"one\" { step \"s\" { run \"true\"; }; result (step)\"s\"; }\n",
        )
        .with("project/lib/two.kdl", "use \"one.kdl\"\nrecipe \"two\" { one \"s\"; result (step)\"s\"; }\n")
}

fn answer(text: impl Into<Vec<u8>>, sets: &[(&str, &str)]) -> String {
    let sets = sets.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let (pipeline, diagnostics) =
        load(Path::new("project/case.kdl"), &Options { sets, profile: None }, &project(text), &facts());
    assert_eq!(pipeline.is_none(), diagnostics.has_errors());
    for line in diagnostics.json_lines().lines() {
        let parsed: serde_json::Value = serde_json::from_str(line).expect("a JSON object");
        let placed = parsed["line"].as_u64().is_some();
        assert!(placed || parsed["message"].as_str().is_some_and(|m| m.contains("--set")), "no place: {line}");
    }
    let rendered = diagnostics.render(false, 100);
    rendered + &pipeline.map(|pipeline| outline(&pipeline)).unwrap_or_default()
}

/// What a pipeline is, without its origins.
fn outline(pipeline: &Pipeline) -> String {
    let mut out = format!("pipeline {}\n", pipeline.name);
    for param in &pipeline.params {
        out += &format!("param {} = {}\n", param.name, param.value.value);
    }
    for (index, step) in pipeline.steps.iter().enumerate() {
        let needs: Vec<&str> = reads(&step.action).iter().map(|id| pipeline.steps[id.0].name.as_str()).collect();
        assert!(reads(&step.action).iter().all(|id| id.0 < index), "{} comes before what it reads", step.name);
        out += &format!("{:?} {}", step.class, step.name);
        if !step.also.is_empty() {
            out += &format!(" also {}", step.also.join(" "));
        }
        if let Some(export) = &step.export {
            out += &format!(" export {export}");
        }
        if !needs.is_empty() {
            out += &format!(" <- {}", needs.join(" "));
        }
        out.push('\n');
    }
    out
}

/// Holds `answer` against a file, or writes it there.
fn golden(path: &Path, answer: &str, failures: &mut Vec<String>) {
    if option_env!("PIPE_BLESS").is_some() {
        std::fs::write(path, answer).expect("a file that can be written");
        return;
    }
    let expected = std::fs::read_to_string(path).unwrap_or_default();
    if expected != answer {
        failures.push(format!("{}:\n--- expected\n{expected}\n--- found\n{answer}", path.display()));
    }
}

#[test]
fn each_text_has_its_answer() {
    let folder = root().join("tests/language");
    let mut cases: Vec<PathBuf> = std::fs::read_dir(&folder)
        .expect("the folder of cases")
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|ext| ext == "kdl"))
        .collect();
    cases.sort();
    assert!(cases.len() > 20, "{} cases in {}", cases.len(), folder.display());
    let mut failures = Vec::new();
    for case in cases {
        let text = std::fs::read(&case).expect("a case");
        golden(&case.with_extension("txt"), &answer(text, &[]), &mut failures);
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn flags_are_checked_like_the_file() {
    let text = "pipeline \"p\"\nparam \"n\" 3 max=9\nparam \"memory\" (GiB)6\nparam \"size\" \"s\" { choices \"s\" \"m\"; }\n\
                param \"data\" type=\"file\" optional=#true\nstep \"a\" { run \"echo\" (param)\"n\" (param)\"size\"; }\n";
    let mut failures = Vec::new();
    let good = answer(text, &[("n", "1"), ("n", "4"), ("memory", "2GiB"), ("size", "m"), ("data", "project/data.txt")]);
    let bad = answer(text, &[("n", "10"), ("memory", "2"), ("size", "x"), ("data", "none.txt"), ("sise", "m")]);
    golden(&root().join("tests/language/flags.txt"), &format!("{good}\n{bad}"), &mut failures);
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn hostile_texts_are_refused_at_once() {
    let nested = |n: usize| format!("pipeline \"p\"\n{}{}", "a {\n".repeat(n), "}\n".repeat(n));
    let hostile: Vec<(&str, Vec<u8>, &str)> = vec![
        ("1,500 nested blocks", nested(1_500).into_bytes(), "pipe::too-deep"),
        ("100,000 nested blocks", nested(100_000).into_bytes(), "pipe::too-deep"),
        ("unclosed blocks", "a {\n".repeat(1_500).into_bytes(), "pipe::too-deep"),
        ("commented blocks", "a /-{\n".repeat(100).into_bytes(), "pipe::too-deep"),
        ("commented nodes", "/-a {\n".repeat(100).into_bytes(), "pipe::too-deep"),
        ("5,000 comments", "/*".repeat(5_000).into_bytes(), "pipe::too-deep"),
        ("10 MB of one line", vec![b'a'; 10_000_000], "pipe::file-too-large"),
        ("commented nothing", "a /- /- ".repeat(3_000).into_bytes(), "pipe::empty-slashdash"),
        (
            "commented often",
            format!("{}{}", "a /-{\n".repeat(8), "}\n".repeat(8)).repeat(100).into_bytes(),
            "pipe::unknown-node",
        ),
        ("brackets", vec![b'('; 4_000_000], "pipe::unclosed-annotation"),
        ("binary", vec![0, 159, 146, 150], "pipe::not-text"),
        ("NUL in text", b"pipeline \"a\0b\"".to_vec(), "pipe::not-text"),
        ("invalid UTF-8", b"pipeline \"\xff\"".to_vec(), "pipe::not-text"),
        ("words", b"a;".repeat(600_000), "pipe::too-many-tokens"),
        ("many cells", many_cells().into_bytes(), "pipe::too-many-cells"),
    ];
    for (what, text, code) in hostile {
        let start = Instant::now();
        let said = answer(text, &[]);
        assert!(said.contains(code), "{what}: {said}");
        assert!(said.len() < 40_000, "{what}: {} bytes of message", said.len());
        // Far above what it takes, far below what a parser takes that was let loose on it.
        assert!(start.elapsed() < Duration::from_secs(20), "{what}: {:?}", start.elapsed());
    }
}

#[test]
fn what_has_very_many_mistakes_is_not_searched_to_its_end() {
    let said = answer(format!("pipeline \"p\"\n{}", "unknown\n".repeat(3_000)).as_bytes(), &[]);
    assert!(said.ends_with("at least 1000 errors (900 not shown)\n"), "{}", &said[said.len() - 200..]);
}

fn many_cells() -> String {
    let axis = |name: usize| {
        let values: Vec<String> = (0..100).map(|v| v.to_string()).collect();
        format!("axis \"a{name}\" {}\n", values.join(" "))
    };
    let axes: String = (0..12).map(axis).collect();
    format!("pipeline \"p\"\nmatrix \"m\" {{\n{axes}}}\nstep \"s\" for-each=\"m\" {{ run \"true\"; }}\n")
}

#[test]
fn blocks_up_to_the_limit_are_parsed() {
    for depth in [10, 60] {
        let text = format!("pipeline \"p\"\n{}{}", "a {\n".repeat(depth), "}\n".repeat(depth));
        assert!(answer(text, &[]).contains("pipe::unknown-node"));
    }
    let commented =
        format!("pipeline \"p\"\n{}{}\nstep \"s\" {{ run \"true\"; }}\n", "a /-{\n".repeat(7), "}\n".repeat(7));
    let start = Instant::now();
    assert!(answer(commented, &[]).contains("pipe::unknown-node"));
    assert!(start.elapsed() < Duration::from_secs(20));
}

#[test]
fn byte_order_mark_and_windows_lines_are_read() {
    let text = "\u{feff}pipeline \"p\"\r\nstep \"a\" {\r\n    run \"true\"\r\n}\r\nzebra \"x\"\r\n";
    let said = answer(text, &[]);
    assert!(said.contains("case.kdl:5:1"), "{said}");
    assert!(said.contains("1 error\n"), "{said}");
}

/// Texts that nobody wrote: pieces of the cases cut out, doubled and swapped. Nothing may panic, and every
/// place must lie in its file.
#[test]
fn mangled_texts_get_an_answer() {
    let folder = root().join("tests/language");
    let mut cases: Vec<String> = std::fs::read_dir(&folder)
        .expect("the folder of cases")
        .filter_map(|entry| std::fs::read_to_string(entry.ok()?.path()).ok())
        .filter(|text| text.starts_with("pipeline"))
        .collect();
    cases.push(std::fs::read_to_string(root().join("pipelines/llm-6gb.kdl")).expect("the pipeline"));
    cases.sort();
    // A fixed sequence, so that a failure can be repeated (Knuth, MMIX).
    let mut state = 42u64;
    let mut next = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below.max(1)
    };
    for _ in 0..400 {
        let mut bytes = cases[next(cases.len())].clone().into_bytes();
        for _ in 0..=next(4) {
            let start = next(bytes.len());
            let end = (start + next(12)).min(bytes.len());
            let piece = bytes[start..end].to_vec();
            match next(4) {
                0 => drop(bytes.drain(start..end)),
                1 => drop(bytes.splice(start..start, piece)),
                2 => drop(bytes.splice(start..start, *b"{")),
                _ => {
                    let at = next(bytes.len());
                    drop(bytes.splice(at..at, piece));
                }
            }
        }
        let (pipeline, diagnostics) =
            load(Path::new("project/case.kdl"), &Options::default(), &project(bytes), &facts());
        assert_eq!(pipeline.is_none(), diagnostics.has_errors());
        for label in diagnostics.iter().flat_map(|d| d.labels.iter().chain(&d.trail)) {
            let text = &diagnostics.sources()[label.at.source].text;
            assert!(label.at.start <= label.at.end && label.at.end <= text.len().max(1), "{label:?}");
        }
        assert!(diagnostics.is_empty() || diagnostics.render(false, 80).contains("pipe::"));
    }
}

#[test]
fn our_own_files_are_clean() {
    let files = Disk::new(root());
    let mut seen = 0;
    for folder in ["pipelines", "examples"] {
        for entry in std::fs::read_dir(root().join(folder)).expect("the folder") {
            let path = entry.expect("an entry").path();
            if path.extension().is_none_or(|ext| ext != "kdl") {
                continue;
            }
            let shown = path.strip_prefix(root()).expect("below the root");
            let (pipeline, diagnostics) = load(shown, &Options::default(), &files, &facts());
            assert!(diagnostics.is_empty(), "{}", diagnostics.render(false, 100));
            let text = std::fs::read_to_string(&path).expect("text");
            assert!(text.starts_with("// "), "{} begins with a line that says what it shows", shown.display());
            assert!(!pipeline.expect("a clean file is a pipeline").steps.is_empty());
            seen += 1;
        }
    }
    assert!(seen >= 6, "{seen} files");
}

#[test]
fn the_main_pipeline_resolves_with_each_flag_and_on_each_host() {
    let files = Disk::new(root());
    let sets: [&[(&str, &str)]; 7] = [
        &[("python", "host")],
        &[("python", "host-torch"), ("torch-engine", "Cargo.toml"), ("onnx-engine", "Cargo.toml")],
        &[("size", "test"), ("threads", "1"), ("opset", "21")],
        &[("checkpoint", "examples")],
        &[("prompt-tokens", "128"), ("new-tokens", "8")],
        &[("onnx-engine", "Cargo.toml")],
        &[],
    ];
    for sets in sets {
        for (os, arch) in [("linux", "x86_64"), ("linux", "aarch64"), ("macos", "aarch64")] {
            let sets = sets.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            let facts = Facts { os: os.to_owned(), arch: arch.to_owned(), gpu: "none".to_owned(), python: None };
            let (pipeline, diagnostics) =
                load(Path::new("pipelines/llm-6gb.kdl"), &Options { sets, profile: None }, &files, &facts);
            assert!(diagnostics.is_empty(), "{}", diagnostics.render(false, 100));
            let measured = pipeline.expect("a clean file is a pipeline");
            let measured = measured.steps.iter().filter(|step| step.group == "decode").count();
            assert_eq!(measured, 10, "cells of `decode`");
        }
    }
}

#[test]
fn ten_thousand_cells_are_soon_resolved() {
    let axis: Vec<String> = (0..100).map(|n| n.to_string()).collect();
    let axis = axis.join(" ");
    let text = format!(
        "pipeline \"p\"\nmatrix \"m\" {{ axis \"a\" {axis}; axis \"b\" {axis}; }}\n\
         step \"s\" for-each=\"m\" {{ run \"echo\" (axis)\"a\" (axis)\"b\"; }}\n\
         step \"t\" for-each=\"m\" {{ run \"cat\" (step)\"s/x\"; }}\n"
    );
    let start = Instant::now();
    let (pipeline, _) = load(Path::new("project/case.kdl"), &Options::default(), &project(text), &facts());
    assert_eq!(pipeline.expect("it resolves").steps.len(), 20_000);
    // A step that looked at every cell of another would take minutes.
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
}

#[test]
fn the_main_pipeline_keeps_its_shape() {
    let files = Disk::new(root());
    let mut failures = Vec::new();
    let (pipeline, _) = load(Path::new("pipelines/llm-6gb.kdl"), &Options::default(), &files, &facts());
    let pipeline = pipeline.expect("it resolves");
    let env = pipeline.steps.iter().find(|step| step.name == "env").expect("the environment");
    assert!(env.needs.disk > 4 << 30, "what a run says that it takes: {:?}", env.needs);
    let outline: String =
        outline(&pipeline).lines().filter(|line| !line.starts_with("Fetch env/")).map(|l| format!("{l}\n")).collect();
    // One line lists every wheel.
    let outline: String = outline
        .lines()
        .map(|line| if line.starts_with("Build env <-") { "Build env\n".to_owned() } else { format!("{line}\n") })
        .collect();
    golden(&root().join("tests/language/llm-6gb.txt"), &outline, &mut failures);
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
