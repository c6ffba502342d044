//! `pipe graph` from text to text: each format of a small pipeline, and the flags through the program.

use std::path::Path;

use pipe::pipeline::StepId;
use pipe::plan::Plan;
use pipe::report::graph::fold::{Collapse, fold};
use pipe::report::graph::{GraphView, NodeState, dot, mermaid, page, planned, svg, tree};
use pipe::resolve::{Facts, Memory, Options, load};

#[expect(dead_code, reason = "engines are for tests that measure")]
mod common;

use common::Place;

/// A model, a matrix of four cells with two steps each, and a step that reads two of them.
const TEXT: &str = r#"
pipeline "small" about="Every shape of a graph"
param "size" 3
step "model" about="What is measured" { run "echo" (param)"size" "<model> & co" (output)"m"; output "m"; }
matrix "cells" {
    axis "engine" "torch" "onnx"
    axis "place" "native" "container"
}
step "pack" for-each="cells" { run "cp" (step)"model/m" (axis)"engine" (axis)"place" (output)"p"; output "p"; }
step "test" for-each="cells" { run "cp" (step)"pack/p" (step)"model/m" (output)"t"; output "t"; }
step "notes" { run "touch" (output)"n"; output "n"; }
"#;

fn view(text: &str) -> GraphView {
    let facts = Facts { os: "linux".to_owned(), arch: "x86_64".to_owned(), gpu: "none".to_owned(), python: None };
    let disk = Memory::default().with("p.kdl", text);
    let (pipeline, found) = load(Path::new("p.kdl"), &Options::default(), &disk, &facts);
    let pipeline = pipeline.unwrap_or_else(|| panic!("{}", found.render(false, 100)));
    let plan = Plan::new(&pipeline).expect("no circle");
    planned::view(&pipeline, &plan, |StepId(at)| match at {
        0 => NodeState::Cached,
        1 | 2 => NodeState::Runs("size: 2 → 3".to_owned()),
        3 => NodeState::Unavailable("no runtime <answers>".to_owned()),
        _ => NodeState::DependsOn("pack".to_owned()),
    })
}

fn rows() -> svg::Style {
    svg::Style { rows: true }
}

#[test]
fn a_tree() {
    insta::assert_snapshot!(tree::render(&fold(&view(TEXT), Collapse::Cells), tree::Style::default()));
}

#[test]
fn a_tree_of_every_step() {
    insta::assert_snapshot!(tree::render(&view(TEXT), tree::Style { colour: false, width: 72 }));
}

#[test]
fn graphviz_text() {
    insta::assert_snapshot!(dot::render(&fold(&view(TEXT), Collapse::Cells)));
}

#[test]
fn mermaid_text() {
    insta::assert_snapshot!(mermaid::render(&fold(&view(TEXT), Collapse::Cells)));
}

/// The names of all steps that a title in the picture begins with.
fn titled(document: &roxmltree::Document<'_>) -> Vec<String> {
    let titles = document.descendants().filter(|node| node.has_tag_name("title") || node.tag_name().name() == "title");
    titles.filter_map(|node| node.text()).map(str::to_owned).collect()
}

#[test]
fn a_picture_is_sound_xml_and_holds_every_step() {
    let view = view(TEXT);
    for (level, style) in
        [(Collapse::Cells, rows()), (Collapse::None, rows()), (Collapse::Recipes, svg::Style { rows: false })]
    {
        let picture = svg::render(&fold(&view, level), style).expect("it can be drawn");
        assert_eq!(picture, svg::render(&fold(&view, level), style).expect("twice"), "the bytes differ");
        let document = roxmltree::Document::parse(&picture).expect("sound XML");
        let titles = titled(&document);
        if style.rows {
            for node in &view.nodes {
                assert!(titles.iter().any(|title| title.starts_with(&node.name)), "{level:?}: {}", node.name);
            }
        }
        assert!(!picture.replace("http://www.w3.org/2000/svg", "").contains("://"), "{level:?}: an address");
    }
}

#[test]
fn text_stays_inside_of_its_box() {
    let long = TEXT.replace("\"model\"", "\"a-model-with-a-very-long-name-that-nobody-would-want-to-type-twice\"");
    let long = long.replace("model/m", "a-model-with-a-very-long-name-that-nobody-would-want-to-type-twice/m");
    for text in [TEXT, &long] {
        let picture = svg::render(&fold(&view(text), Collapse::Cells), rows()).expect("it can be drawn");
        let document = roxmltree::Document::parse(&picture).expect("sound XML");
        let number =
            |node: roxmltree::Node<'_, '_>, name: &str| node.attribute(name).and_then(|x| x.parse::<f64>().ok());
        for block in
            document.descendants().filter(|node| node.attribute("class").is_some_and(|c| c.starts_with("block")))
        {
            let box_ = block.children().find(|node| node.attribute("class") == Some("box")).expect("a box");
            let (width, height) = (number(box_, "width").expect("a width"), number(box_, "height").expect("a height"));
            for text in block.children().filter(|node| node.has_tag_name(("http://www.w3.org/2000/svg", "text"))) {
                let words: String =
                    text.descendants().filter_map(|node| node.text().filter(|_| node.is_text())).collect();
                let right = number(text, "x").expect("x") + words.chars().count() as f64 * 7.25;
                assert!(right <= width, "`{words}` ends at {right} of {width}");
                assert!(number(text, "y").expect("y") < height, "`{words}`");
            }
        }
    }
}

#[test]
fn a_page_needs_nothing_from_elsewhere_and_holds_every_step() {
    let view = view(TEXT);
    let page = page::render(&fold(&view, Collapse::Cells), &view, rows()).expect("it can be drawn");
    assert_eq!(page, page::render(&fold(&view, Collapse::Cells), &view, rows()).expect("twice"), "the bytes differ");
    for outside in ["://", "src=", "href", "url(", "@import", "<link", "fetch(", "XMLHttp", "import("] {
        assert!(!page.contains(outside), "`{outside}` is in the page");
    }
    let part = |from: &str, to: &str| {
        let rest = page.split_once(from).unwrap_or_else(|| panic!("no {from}")).1;
        rest.split_once(to).unwrap_or_else(|| panic!("no {to}")).0.to_owned()
    };
    let picture = format!("<svg {}</svg>", part("<svg ", "</svg>"));
    roxmltree::Document::parse(&picture).expect("the picture inside is sound XML");
    let data = part("<script type=\"application/json\" id=\"data\">", "</script>");
    let data: serde_json::Value = serde_json::from_str(&data).expect("the data is JSON");
    let steps = data["steps"].as_array().expect("steps");
    let mut names: Vec<&str> = steps.iter().filter_map(|step| step["name"].as_str()).collect();
    let mut wanted: Vec<&str> = view.nodes.iter().map(|node| node.name.as_str()).collect();
    names.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(names, wanted);
    assert_eq!(data["reads"].as_array().map(Vec::len), Some(view.edges.len()));
    assert!(steps.iter().any(|step| step["reason"] == "no runtime <answers>"));
}

#[test]
fn hostile_names_end_nothing_in_a_page() {
    let mut view = view(TEXT);
    let hostile = "</script><script>alert(1)</script><!--\"'&";
    for node in &mut view.nodes {
        node.name = hostile.to_owned();
        node.group = hostile.to_owned();
        node.detail = Some(hostile.to_owned());
        node.state = NodeState::Runs(hostile.to_owned());
    }
    view.title = hostile.to_owned();
    let page = page::render(&fold(&view, Collapse::None), &view, rows()).expect("it can be drawn");
    assert_eq!(page.matches("<script").count(), 2, "the data and the script");
    assert_eq!(page.matches("</script").count(), 2);
    assert!(!page.contains("<!--"));
}

/// A pipeline that any host runs.
fn place() -> Place {
    let place = Place::new();
    let text = r#"
pipeline "small"
step "say" { run "sh" "-c" "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do echo line $i; done; echo x > $1" "sh" (output)"x"; output "x"; }
matrix "cells" { axis "n" "1" "2" "3"; }
step "use" for-each="cells" { run "cp" (step)"say/x" (output)"y"; output "y"; env "N" (axis)"n"; }
"#;
    place.write("p.kdl", text);
    place
}

#[test]
fn a_file_says_its_format_and_the_flags_choose_what_is_shown() {
    let place = place();
    let graph = |args: &[&str]| place.pipe(&[&["graph", "p.kdl"], args].concat());
    let tree = graph(&[]).expect(0).out;
    assert!(tree.starts_with("small: 4 steps\nuse[n=1]") && tree.contains("└─ say"), "{tree}");
    assert!(graph(&["--collapse"]).expect(0).out.contains("use ×3"));
    assert!(graph(&["--collapse=none", "--format", "dot"]).expect(0).out.contains("use 3"));
    let focused = graph(&["--focus", "use[n=2]"]).expect(0).out;
    assert!(focused.contains("use[n=2]") && !focused.contains("use[n=1]") && focused.contains("say"), "{focused}");
    let near = graph(&["--focus", "use", "--depth", "0", "--collapse=cells"]).expect(0).out;
    assert!(near.contains("use ×3") && !near.contains("└─"), "{near}");
    let json = graph(&["--format", "json", "--depth=0"]).expect(0).out;
    assert!(json.contains("use[n=3]") && !json.contains("\"name\": \"say\""), "{json}");

    for (file, begins) in
        [("g.html", "<!DOCTYPE html>"), ("g.svg", "<svg"), ("g.mmd", "flowchart"), ("g.txt", "small:")]
    {
        assert_eq!(graph(&["-o", file]).expect(0).out, "");
        let text = std::fs::read_to_string(place.path().join(file)).expect(file);
        assert!(text.starts_with(begins), "{file}: {text}");
    }
    let lost = graph(&["-o", "no/such/g.svg"]).expect(5).err;
    assert!(lost.contains("`no/such/g.svg` can't be written"), "{lost}");
    let unknown = graph(&["--focus", "sya"]).expect(2).err;
    assert!(unknown.contains("no step is called `sya`; did you mean `say`?"), "{unknown}");
    graph(&["--depth", "x"]).expect(2);
    graph(&["--collapse=some"]).expect(2);
}

#[test]
fn a_page_tells_what_the_store_knows() {
    let place = place();
    place.pipe(&["run", "p.kdl"]).expect(0);
    let page = place.pipe(&["graph", "p.kdl", "--format", "html"]).expect(0).out;
    assert_eq!(page, place.pipe(&["graph", "p.kdl", "--format", "html"]).expect(0).out, "the bytes differ");
    for words in ["\"took\":", "\"size\":\"2 B\"", "\"key\":", "line 15", "\"before\":3", "pipe log "] {
        assert!(page.contains(words), "{words}");
    }
    assert!(!page.contains("line 3\""), "only the last lines");
    let key = page.split_once("pipe log ").and_then(|(_, rest)| rest.get(..12)).expect("a key");
    let log = place.pipe(&["log", key]).expect(0).out;
    assert_eq!(log.lines().count(), 15, "{log}");
}
