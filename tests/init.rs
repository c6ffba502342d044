//! `pipe init`: what it writes checks clean and is formatted, and each bad input has its message and its fix.

#[expect(dead_code, reason = "it serves the tests of running too")]
mod common;

use std::fs;
use std::path::Path;

use common::Place;

/// `layer.onnx`: `y = relu(x w + b)` for a free batch of eight numbers; `net.py`: a small net.
const LAYER: &str = "examples/data/layer.onnx";
const NET: &str = "examples/data/net.py";

fn place() -> Place {
    let place = Place::new();
    for file in [LAYER, NET] {
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
        let to = place.write(&format!("data/{}", from.file_name().expect("a name").to_string_lossy()), "");
        fs::copy(&from, to).expect("a copy");
    }
    place
}

fn text(place: &Place, name: &str) -> String {
    fs::read_to_string(place.path().join(name)).expect("a pipeline")
}

#[test]
fn without_a_model_it_is_a_pipeline_that_runs() {
    let place = place();
    let said = place.pipe(&["init"]).expect(0);
    assert!(
        said.out.contains("pipeline.kdl is written") && said.out.contains("next: pipe run pipeline.kdl"),
        "{}",
        said.out
    );
    place.pipe(&["fmt", "--check", "pipeline.kdl"]).expect(0);
    place.pipe(&["run", "pipeline.kdl"]).expect(0);
    place.pipe(&["run", "pipeline.kdl", "--require-cached"]).expect(0);
    assert!(place.path().join("out/pipeline/numbers/numbers.txt").is_file());
}

#[test]
fn an_onnx_model_gets_the_sizes_that_it_leaves_free() {
    let place = place();
    let said = place.pipe(&["init", "--onnx", "data/layer.onnx"]).expect(0);
    assert!(said.out.contains("layer.onnx takes x float32 batch × 8"), "{}", said.out);
    assert!(said.out.contains("next: pipe run data/layer.kdl"), "{}", said.out);
    let written = text(&place, "data/layer.kdl");
    place.pipe(&["fmt", "--check", "data/layer.kdl"]).expect(0);
    assert!(written.contains(r#"onnx-model "model" model=(file)"layer.onnx" env=(step)"env""#), "{written}");
    assert!(written.contains(r#"param "batch" 1"#) && !written.contains(r#"param "dims""#), "{written}");
    let plan = place.pipe(&["plan", "data/layer.kdl", "--set", "batch=16"]).expect(0);
    assert!(plan.out.contains("infer[engine=onnx,place=native,device=cpu]"), "{}", plan.out);
}

#[test]
fn the_example_is_what_init_writes_for_a_python_function() {
    let place = place();
    place.pipe(&["init", "--python", "data/net.py:make", "--output", "model.kdl"]).expect(0);
    let written = text(&place, "model.kdl");
    place.pipe(&["fmt", "--check", "model.kdl"]).expect(0);
    let example = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/model.kdl")).expect("it");
    assert!(written == example, "examples/model.kdl is to be written anew:\n{written}");
}

#[test]
fn a_file_that_is_there_stays_unless_it_is_said() {
    let place = place();
    place.write("data/layer.kdl", "mine");
    let said = place.pipe(&["init", "--onnx", "data/layer.onnx"]).expect(2);
    assert!(said.err.contains("is there already") && said.err.contains("--force"), "{}", said.err);
    assert_eq!(text(&place, "data/layer.kdl"), "mine");
    place.pipe(&["init", "--onnx", "data/layer.onnx", "--force"]).expect(0);
    assert!(text(&place, "data/layer.kdl").contains("bench-model"));
}

#[test]
fn odd_names_are_quoted_wherever_they_stand() {
    let place = place();
    let name = "a \"b\" {file} 'c'.onnx";
    fs::copy(place.path().join("data/layer.onnx"), place.path().join(name)).expect("a copy");
    let said = place.pipe(&["init", "--onnx", name]).expect(0);
    assert!(said.out.contains(r#"pipe run 'a "b" {file} '\''c'\''.kdl'"#), "{}", said.out);
    assert!(text(&place, "a \"b\" {file} 'c'.kdl").contains(r#"(file)"a \"b\" {file} 'c'.onnx""#));
    place.pipe(&["check", "a \"b\" {file} 'c'.kdl"]).expect(0);
}

#[test]
fn what_the_checker_finds_is_said_and_nothing_is_written() {
    let place = place();
    fs::create_dir(place.path().join("apart")).expect("a folder");
    fs::create_dir(place.path().join("apart/.git")).expect("a folder");
    let said = place.pipe(&["init", "--python", "data/net.py:make", "-o", "apart/x.kdl"]).expect(2);
    assert!(said.err.contains("pipe::outside-project") && said.err.contains("is not written"), "{}", said.err);
    assert_eq!(fs::read_dir(place.path().join("apart")).expect("the folder").count(), 1, "nothing but `.git`");
}

#[test]
fn each_bad_input_has_its_message_and_its_fix() {
    let place = place();
    place.write("lfs.onnx", "version https://git-lfs.github.com/spec/v1\noid sha256:aa\nsize 3\n");
    place.write("archive.pt", "PK\u{3}\u{4} and so on");
    place.write("text.onnx", "no model");
    place.write("empty.onnx", "");
    place.write("empty.py", "x = 1\n");
    fs::write(place.path().join("odd.py"), [0xff, 0xfe]).expect("a file");
    let whole = fs::read(place.path().join("data/layer.onnx")).expect("a model");
    fs::write(place.path().join("cut.onnx"), &whole[..whole.len() / 2]).expect("a file");
    let cases: [(&[&str], &str, &str); 16] = [
        (&["--onnx", "nope.onnx"], "`nope.onnx` is not there", "a path from the folder you are in"),
        (&["--onnx", "data"], "`data` is a folder", "name the file in it"),
        (&["--onnx", "lfs.onnx"], "is a pointer of Git LFS", "git lfs pull"),
        (&["--onnx", "archive.pt"], "is no ONNX file", "--python FILE.py:FUNCTION"),
        (&["--onnx", "text.onnx"], "is no ONNX file", "torch.onnx.export"),
        (&["--onnx", "empty.onnx"], "is no ONNX file", "torch.onnx.export"),
        (&["--onnx", "cut.onnx"], "is no ONNX file", "export the model again"),
        (&["--onnx", "data/net.py"], "is no ONNX file", "--python FILE.py:FUNCTION"),
        (&["--python", "nope.py:make"], "`nope.py` is not there", "a path from the folder you are in"),
        (&["--python", "data/net.py"], "names no function", "`--python data/net.py:make`"),
        (&["--python", "data/net.py:mak"], "has no function `mak`", "did you mean `--python data/net.py:make`?"),
        (&["--python", "empty.py:make"], "has no function `make`", "def make(): return model, example"),
        (&["--python", "odd.py:make"], "is no Python file", "give a file.py"),
        (&["--onnx", "a", "--python", "b:c"], "each make a pipeline of their own", "give one of them"),
        (&["--output", "x.txt"], "would be no KDL file", "--output x.kdl"),
        (
            &["--onnx", "data/layer.onnx", "-o", "no/x.kdl"],
            "the folder `no` is not there",
            "make it, or write elsewhere",
        ),
    ];
    for (arguments, message, fix) in cases {
        let said = place.pipe(&[&["init"], arguments].concat()).expect(2);
        assert!(said.err.contains(message) && said.err.contains(fix), "{arguments:?}:\n{}", said.err);
        assert!(said.out.is_empty(), "{arguments:?}: {}", said.out);
    }
}
