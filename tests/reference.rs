//! `docs/language.md`, made from the table of the language and the examples, and what keeps both whole: every
//! node has an example that shows it, every example is named, and every default is what the sources use.
//!
//! `PIPE_BLESS=1 cargo test --test reference` writes the page anew.

#[expect(dead_code, reason = "this test needs no engine")]
mod common;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use pipe::pipeline::{Action, Measure};
use pipe::resolve::table::{
    ANNOTATIONS, Body, FACTS, FILE_NODES, MEASURE, NodeSpec, RECIPE_NODES, STEP_NODES, STEP_SETTINGS, Setting, UNITS,
    ValueSpec, WHEN_NODE,
};
use pipe::resolve::{Facts, Kind, Memory, Options, ParamDoc, RecipeDoc, load, std_recipes};
use pipe::syntax::{Node, parse};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The names of the pipelines in a folder.
fn pipelines(folder: &str) -> Vec<String> {
    let mut found: Vec<String> = fs::read_dir(root().join(folder))
        .expect("the folder")
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name.ends_with(".kdl"))
        .collect();
    found.sort();
    found
}

/// All nodes, each with the nodes that it stands in.
fn all_nodes() -> Vec<(Vec<&'static str>, &'static NodeSpec)> {
    fn inside(way: &[&'static str], spec: &'static NodeSpec, found: &mut Vec<(Vec<&'static str>, &'static NodeSpec)>) {
        let way: Vec<&str> = way.iter().copied().chain([spec.name]).collect();
        found.push((way.clone(), spec));
        if let Body::Nodes(nodes) = spec.body {
            nodes.iter().for_each(|child| inside(&way, child, found));
        }
    }
    let mut found = Vec::new();
    FILE_NODES.iter().chain(STEP_NODES).for_each(|spec| inside(&[], spec, &mut found));
    RECIPE_NODES.iter().for_each(|spec| inside(&["recipe"], spec, &mut found));
    inside(&[], &WHEN_NODE, &mut found);
    found
}

/// The node of a file that the names lead to: the first, whatever is between them.
fn find<'d>(nodes: &'d [Node], way: &[&str]) -> Option<&'d Node> {
    nodes.iter().find_map(|node| match way {
        [last] if node.name.text == *last => Some(node),
        [first, rest @ ..] if node.name.text == *first && !rest.is_empty() => find(node.children(), rest),
        _ => find(node.children(), way),
    })
}

/// The part of an example that shows a node, with the indentation of its first line taken off.
fn excerpt(way: &[&str], example: &str) -> String {
    let text = read(&format!("examples/{example}"));
    let (document, found) = parse(0, &text);
    assert!(found.is_empty(), "examples/{example} is no KDL");
    // A node that several others have is shown in one of them.
    let node = find(&document.nodes, way).or_else(|| find(&document.nodes, &way[way.len() - 1..]));
    let node = node.unwrap_or_else(|| panic!("examples/{example} has no `{}`", way.join(" > ")));
    let start = text[..node.at.start].rfind('\n').map_or(0, |at| at + 1);
    let indent = node.at.start - start;
    let part = text[node.at.start..node.at.end].trim_end().trim_end_matches(';');
    let line = |line: &str| line.get(indent..).filter(|_| line[..indent].trim().is_empty()).unwrap_or(line).to_owned();
    part.lines().enumerate().map(|(n, l)| if n == 0 { l.to_owned() } else { line(l) } + "\n").collect()
}

/// Text in a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

fn code(words: &[impl AsRef<str>]) -> String {
    words.iter().map(|word| format!("`{}`", word.as_ref())).collect::<Vec<_>>().join(", ")
}

fn placeholder(value: &ValueSpec) -> String {
    match value.kind {
        Kind::Step => format!("(step)\"{}\"", value.name.to_uppercase()),
        Kind::File => format!("(file)\"{}\"", value.name.to_uppercase()),
        Kind::Int | Kind::Float => value.name.to_uppercase(),
        _ => format!("\"{}\"", value.name.to_uppercase()),
    }
}

/// `run "TOOL" "ARGUMENT"… { … }`.
fn signature(spec: &NodeSpec, settings: bool) -> String {
    let mut out = spec.name.to_owned();
    for value in spec.values {
        let word = placeholder(value);
        let _ = if value.required { write!(out, " {word}") } else { write!(out, " [{word}]") };
    }
    if let Some(rest) = &spec.rest {
        let _ = write!(out, " {}…", placeholder(rest));
    }
    if spec.open.is_some() {
        out += " NAME=VALUE…";
    }
    let braces = !matches!(spec.body, Body::Nodes([]));
    if braces || (settings && !spec.settings.is_empty()) {
        out += if braces { " SETTINGS { … }" } else { " SETTINGS" };
    }
    if spec.settings.is_empty() && !settings { out.replace(" SETTINGS", "") } else { out }
}

fn settings_table(settings: &[Setting]) -> String {
    let mut out = String::from("\n| setting | takes | | |\n|---|---|---|---|\n");
    for setting in settings {
        let takes = match setting.choices {
            [] => setting.kind.name().to_owned(),
            choices => code(choices),
        };
        let default = match (setting.required, setting.default) {
            (true, _) => "required".to_owned(),
            (false, "") => String::new(),
            (false, default) => format!("`{default}` unless said"),
        };
        let _ = writeln!(out, "| `{}` | {takes} | {default} | {} |", setting.name, cell(setting.doc));
    }
    out
}

/// A node and those inside it; one that several nodes have is described in the first of them.
fn describe(told: &mut Told, way: &[&'static str], spec: &'static NodeSpec, depth: usize, step: bool) -> String {
    if let Some((_, first)) = told.iter().find(|(known, _)| std::ptr::eq(*known, spec)) {
        let first = first[..first.len() - 1].join("` in `");
        return format!("\n{} `{}` in `{}`\n\nAs in `{first}`.\n", "#".repeat(depth), spec.name, way[way.len() - 2]);
    }
    told.push((spec, way.to_vec()));
    let place = match way {
        [.., parent, name] if depth > 3 || *parent == "recipe" => format!("`{name}` in `{parent}`"),
        _ => format!("`{}`", spec.name),
    };
    let mut out = format!("\n{} {place}\n\n{}\n\n", "#".repeat(depth), spec.doc);
    let _ = write!(out, "```\n{}\n```\n", signature(spec, step || !spec.settings.is_empty()));
    let values: Vec<&ValueSpec> = spec.values.iter().chain(&spec.rest).collect();
    if !values.is_empty() {
        out += "\n| value | takes | |\n|---|---|---|\n";
    }
    for value in values {
        let optional = if value.required { "" } else { " (may be left out)" };
        let _ = writeln!(out, "| {} | {} | {}{optional} |", value.name, value.kind.name(), cell(value.doc));
    }
    if !spec.settings.is_empty() {
        out += &settings_table(spec.settings);
    }
    match spec.body {
        Body::Nodes([]) => {}
        Body::Nodes(nodes) => {
            let names: Vec<String> = nodes
                .iter()
                .map(|child| {
                    let how = match (child.required, child.repeats) {
                        (true, true) => " (at least one)",
                        (true, false) => " (one)",
                        (false, true) => " (any number)",
                        (false, false) => "",
                    };
                    format!("`{}`{how}", child.name)
                })
                .collect();
            let _ = write!(out, "\nBetween the braces: {}.\n", names.join(", "));
        }
        Body::Recipe => out += "\nBetween the braces: `param`, `result`, steps, and uses of recipes.\n",
        Body::Metrics => out += "\nBetween the braces: metrics by their names, each with a number.\n",
        Body::Profile => out += "\nBetween the braces: parameters by their names, each with its value or values.\n",
    }
    let part = excerpt(way, spec.example);
    let _ = write!(out, "\nFrom [`examples/{0}`](../examples/{0}):\n\n```kdl\n{part}```\n", spec.example);
    if let Body::Nodes(nodes) = spec.body {
        for child in nodes {
            let way: Vec<&str> = way.iter().copied().chain([child.name]).collect();
            out += &describe(told, &way, child, depth + 1, false);
        }
    }
    out
}

fn parameter(param: &ParamDoc) -> String {
    let mut takes = match &param.choices[..] {
        [] => param.kind.name().to_owned(),
        choices => code(choices),
    };
    for (word, bound) in [("from", &param.min), ("to", &param.max)] {
        let _ = bound.as_ref().map(|bound| write!(takes, " {word} {bound}"));
    }
    let default = match (&param.default, &param.default_step) {
        (Some(default), _) => format!("`{default}` unless said"),
        (None, Some(node)) => format!("a `{node}` of its own unless said"),
        (None, None) if param.optional => "may be left out".to_owned(),
        (None, None) => "required".to_owned(),
    };
    format!("| `{}` | {takes} | {default} | {} |\n", param.name, cell(param.about.as_deref().unwrap_or_default()))
}

fn recipe(recipe: &RecipeDoc) -> String {
    let mut out = format!(
        "\n### `{}`\n\n{}. From `{}`.\n",
        recipe.name,
        recipe.about.as_deref().unwrap_or_default(),
        recipe.home
    );
    if !recipe.params.is_empty() {
        out += "\n| parameter | takes | | |\n|---|---|---|---|\n";
        recipe.params.iter().for_each(|param| out += &parameter(param));
    }
    let paths: Vec<&str> = recipe.outputs.iter().map(|output| output.path.as_str()).collect();
    if !paths.is_empty() {
        let _ = write!(out, "\nIts output has {}.\n", code(&paths));
    }
    let _ = write!(out, "\n```kdl\n{}```\n", recipe.example.unwrap_or_default());
    out
}

/// The first line of an example, which says what it shows.
fn shows(text: &str) -> String {
    let comment: Vec<&str> = text.lines().map_while(|line| line.strip_prefix("//")).map(str::trim).collect();
    let comment = comment.join(" ");
    let end = comment.find(". ").map_or(comment.trim_end_matches('.').len(), |end| end);
    comment[..end].to_owned()
}

/// The nodes that the page has described, and where.
type Told = Vec<(&'static NodeSpec, Vec<&'static str>)>;

fn page() -> String {
    let mut told = Told::new();
    let mut out = read("tests/reference/introduction.md");
    out += "\n## Nodes of a file\n\n`pipeline` comes first; the order of all others is free.\n";
    FILE_NODES.iter().for_each(|spec| out += &describe(&mut told, &[spec.name], spec, 3, false));
    out += "\n## Steps\n\nThey stand in files and in recipes. Each has these settings beside its own, and so has a use of a recipe:\n";
    out += &settings_table(STEP_SETTINGS);
    STEP_NODES.iter().for_each(|spec| out += &describe(&mut told, &[spec.name], spec, 3, true));
    out += "\n## Inside a recipe\n\nBeside steps, and uses of other recipes:\n";
    RECIPE_NODES.iter().for_each(|spec| out += &describe(&mut told, &["recipe", spec.name], spec, 3, false));
    out += "\n## Conditions\n";
    out += &describe(&mut told, &["when"], &WHEN_NODE, 3, false);
    out += "\n### What `when` may ask of the machine\n\n| fact | values | |\n|---|---|---|\n";
    for fact in FACTS {
        let _ = writeln!(out, "| `{}` | {} | {} |", fact.name, code(fact.values), cell(fact.doc));
    }
    out += "\n## Annotations\n\n| | | |\n|---|---|---|\n";
    for annotation in ANNOTATIONS {
        let _ = writeln!(out, "| `({})` | `{}` | {} |", annotation.name, annotation.example, cell(annotation.doc));
    }
    out += "\n## Units\n\n| | makes a | of |\n|---|---|---|\n";
    for unit in UNITS {
        let _ = writeln!(out, "| `({})` | {} | {} |", unit.name, unit.kind.name(), unit.doc);
    }
    out += "\n## Types\n\nWhat the tables above call them. Those with a `yes` can be the `type` of a parameter.\n\n| | of a parameter | for example | |\n|---|---|---|---|\n";
    for kind in Kind::ALL {
        let yes = if Kind::PARAM_TYPES.contains(&kind.name()) { "yes" } else { "" };
        let _ = writeln!(out, "| {} | {yes} | `{}` | {} |", kind.name(), kind.example(), cell(kind.doc()));
    }
    out += "\n## Recipes of the standard library\n\n`pipe recipes` lists them, and `pipe recipes NAME` shows one.\n";
    std_recipes().iter().for_each(|doc| out += &recipe(doc));
    out += "\n## Examples\n\nEach is a whole pipeline, checked and run by a test.\n\n| | |\n|---|---|\n";
    for name in pipelines("examples") {
        let _ =
            writeln!(out, "| [`{name}`](../examples/{name}) | {} |", cell(&shows(&read(&format!("examples/{name}")))));
    }
    out
}

#[test]
fn the_page_is_fresh() {
    let (path, page) = (root().join("docs/language.md"), page());
    if option_env!("PIPE_BLESS").is_some() {
        fs::write(&path, &page).expect("a page that can be written");
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    let differs = kept.lines().zip(page.lines()).find(|(kept, made)| kept != made);
    assert!(kept == page, "docs/language.md is stale: PIPE_BLESS=1 cargo test --test reference\n{differs:?}");
}

#[test]
fn every_node_has_an_example_and_words() {
    for (way, spec) in all_nodes() {
        let name = way.join(" > ");
        assert!(!spec.example.is_empty(), "`{name}` has no example");
        excerpt(&way, spec.example);
        assert!(spec.doc.len() > 15 && spec.doc.ends_with('.'), "`{name}`: {}", spec.doc);
        let mut names = BTreeSet::new();
        for setting in spec.settings {
            assert!(names.insert(setting.name), "`{name}` has `{}` twice", setting.name);
            assert!(!setting.doc.is_empty(), "`{name} {}` has no words", setting.name);
        }
        assert!(
            spec.values.iter().chain(&spec.rest).all(|value| !value.doc.is_empty()),
            "`{name}`: a value has no words"
        );
    }
}

#[test]
fn every_example_and_pipeline_is_named_and_says_how_to_run_it() {
    let told = page() + &read("README.md");
    for folder in ["examples", "pipelines"] {
        for name in pipelines(folder) {
            let text = read(&format!("{folder}/{name}"));
            assert!(told.contains(&name), "{folder}/{name} is named in no documentation");
            let comment = text.lines().take_while(|line| line.starts_with("//")).any(|line| line.contains(&name));
            assert!(comment, "{folder}/{name} does not say how to run it");
        }
    }
}

#[test]
fn every_recipe_has_words_and_an_example_that_is_clean() {
    let recipes = std_recipes();
    assert!(recipes.len() >= 9, "{} recipes", recipes.len());
    for recipe in &recipes {
        assert!(recipe.about.is_some(), "`{}` has no `about`", recipe.name);
        for param in &recipe.params {
            assert!(param.about.is_some(), "`{}` of `{}` has no `about`", param.name, recipe.name);
        }
        let text = recipe.example.unwrap_or_else(|| panic!("stdlib/examples has no {}.kdl", recipe.name));
        assert!(text.lines().any(|line| line.starts_with(&format!("{} \"", recipe.name))), "{}", recipe.name);
        let files = Memory::default().with("example.kdl", text).with("net.py", "").with("model.onnx", "");
        let facts = Facts {
            os: "linux".to_owned(),
            arch: "x86_64".to_owned(),
            python: Some("3.11.7".to_owned()),
            gpu: "none".to_owned(),
        };
        let (_, diagnostics) = load(Path::new("example.kdl"), &Options::default(), &files, &facts);
        assert!(diagnostics.is_empty(), "{}: {}", recipe.name, diagnostics.render(false, 100));
    }
    let known: BTreeSet<String> = recipes.iter().map(|recipe| format!("{}.kdl", recipe.name)).collect();
    assert_eq!(pipelines("stdlib/examples"), known.into_iter().collect::<Vec<_>>(), "examples without a recipe");
}

/// A measurement with these settings beside what it needs.
fn measurement(settings: &str, nodes: &str) -> Measure {
    let text = format!(
        "pipeline \"p\"\nmeasure \"m\" engine=(file)\"x\" program=\"x\" model=(file)\"x\" tokens=(file)\"x\" device=\"cpu\" \
         threads=1 prompt-tokens=1 new-tokens=1 {settings} {{\n{nodes}\n}}\n"
    );
    let files = Memory::default().with("m.kdl", text).with("x", "");
    let facts = Facts { os: "linux".to_owned(), arch: "x86_64".to_owned(), python: None, gpu: "none".to_owned() };
    let (pipeline, diagnostics) = load(Path::new("m.kdl"), &Options::default(), &files, &facts);
    assert!(diagnostics.is_empty(), "{}", diagnostics.render(false, 100));
    match &pipeline.expect("a pipeline").steps[0].action {
        Action::Measure(measure) => (**measure).clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_defaults_of_the_table_are_those_that_count() {
    let written = |spec: &NodeSpec, between: &str| -> String {
        let settings = spec.settings.iter().filter(|setting| !setting.default.is_empty() && setting.name != "retry");
        settings.map(|setting| format!("{between}{}={}", setting.name, setting.default)).collect()
    };
    let Body::Nodes(children) = MEASURE.body else { panic!("`measure` has nodes") };
    let nodes: String = children
        .iter()
        .filter(|child| child.settings.iter().any(|setting| !setting.default.is_empty()))
        .map(|child| format!("{}{}\n", child.name, written(child, " ")))
        .collect();
    assert!(nodes.contains("warm-up min=2") && nodes.contains("samples min=10"), "{nodes}");
    let (plain, said) = (measurement("", ""), measurement(&written(&MEASURE, " "), &nodes));
    assert_eq!(plain.warm_up, said.warm_up);
    assert_eq!(plain.sampling, said.sampling);
    assert_eq!(plain.dtype.value, said.dtype.value);
    assert_eq!(plain.reduced_precision.value, said.reduced_precision.value);
    assert_eq!(plain.optimization.value, said.optimization.value);
}

#[test]
fn the_schema_has_every_node_annotation_unit_and_recipe() {
    let place = common::Place::new();
    let said = place.pipe(&["schema"]).expect(0);
    let schema: serde_json::Value = serde_json::from_str(&said.out).expect("JSON");
    assert_eq!((&schema["format"], &schema["version"]), (&"pipe-schema".into(), &1.into()));
    let names = |key: &str| -> Vec<String> {
        let list = schema[key].as_array().unwrap_or_else(|| panic!("no `{key}`"));
        list.iter().map(|entry| entry["name"].as_str().expect("a name").to_owned()).collect()
    };
    let specs = |specs: &[&NodeSpec]| specs.iter().map(|spec| spec.name.to_owned()).collect::<Vec<_>>();
    assert_eq!(names("file_nodes"), specs(FILE_NODES));
    assert_eq!(names("step_nodes"), specs(STEP_NODES));
    assert_eq!(names("recipe_nodes"), specs(RECIPE_NODES));
    assert_eq!(names("annotations").len(), ANNOTATIONS.len());
    assert_eq!(names("units").len(), UNITS.len());
    assert_eq!(names("host_facts").len(), FACTS.len());
    assert_eq!(names("recipes"), std_recipes().into_iter().map(|recipe| recipe.name).collect::<Vec<_>>());
    let steps = schema["step_nodes"].as_array().expect("steps");
    let measure = steps.iter().find(|node| node["name"] == "measure").expect("`measure`");
    let settings = measure["settings"].as_array().expect("settings");
    let dtype = settings.iter().find(|setting| setting["name"] == "dtype").expect("`dtype`");
    assert_eq!((&dtype["default"], &dtype["choices"][1]), (&"\"fp32\"".into(), &"fp16".into()));
    // What the documentation of the format names is there, and the other way round.
    let doc = read("docs/schema.md");
    for key in schema.as_object().expect("an object").keys() {
        assert!(doc.contains(&format!("`{key}`")), "docs/schema.md does not tell of `{key}`");
    }
    for key in measure.as_object().expect("an object").keys().chain(dtype.as_object().expect("an object").keys()) {
        assert!(doc.contains(&format!("`{key}`")), "docs/schema.md does not tell of `{key}`");
    }
}

#[test]
fn recipes_are_listed_and_shown() {
    let place = common::Place::new();
    let list = place.pipe(&["recipes"]).expect(0);
    for recipe in std_recipes() {
        assert!(list.out.contains(&format!("  {} ", recipe.name)), "{}", list.out);
        let one = place.pipe(&["recipes", &recipe.name]).expect(0);
        let example: Vec<&str> = recipe.example.unwrap_or_default().lines().collect();
        assert!(example.iter().all(|line| one.out.contains(line)), "{}", one.out);
        assert!(recipe.params.iter().all(|param| one.out.contains(&format!("\n  {}  ", param.name))), "{}", one.out);
    }
    let slip = place.pipe(&["recipes", "lama"]).expect(2);
    assert!(slip.err.contains("did you mean `llama`?"), "{}", slip.err);
    place.write("lib.kdl", "recipe \"greet\" about=\"Says hello\" {\n    param \"who\" type=\"string\"\n    param \"n\" default=3 min=1\n\n    step \"s\" {\n        run \"echo\" (param)\"who\" (param)\"n\"\n        output \"a.txt\"\n    }\n    result (step)\"s\"\n}\n");
    place.write("main.kdl", "pipeline \"p\"\n\nuse \"lib.kdl\"\n\ngreet \"a\" who=\"you\"\n");
    let list = place.pipe(&["recipes", "--in", "main.kdl"]).expect(0);
    assert!(list.out.contains("greet  Says hello") && !list.out.contains("llama"), "{}", list.out);
    let json = place.pipe(&["recipes", "greet", "--in", "main.kdl", "--format", "json"]).expect(0);
    let json: serde_json::Value = serde_json::from_str(&json.out).expect("JSON");
    let recipe = &json["recipes"][0];
    assert_eq!((&recipe["use"], &recipe["outputs"][0]["path"]), (&"lib.kdl".into(), &"a.txt".into()), "{recipe:#}");
    let (who, n) = (&recipe["parameters"][0], &recipe["parameters"][1]);
    assert_eq!((&who["required"], &who["kind"]), (&true.into(), &"string".into()), "{recipe:#}");
    assert_eq!((&n["default"], &n["min"], &n["kind"]), (&"3".into(), &"1".into(), &"int".into()), "{recipe:#}");
    assert_eq!(recipe["example"], "greet \"NAME\" who=\"text\"");
    place.write("wrong.kdl", "pipeline \"p\"\nuse \"none.kdl\"\n");
    let said = place.pipe(&["recipes", "--in", "wrong.kdl"]).expect(2);
    assert!(said.err.contains("pipe::missing-path"), "{}", said.err);
}
