//! An editor's session with `pipe lsp`, over its standard streams: what is typed, and what is answered.
//!
//! `|` in a text is the cursor.

#[path = "lsp/client.rs"]
mod client;

use std::io::Write;
use std::path::Path;

use client::{Editor, edited, labels, place, short, span};
use serde_json::{Value, json};

const SMALL: &str = "pipeline \"small\"

param \"words\" 3 min=1 about=\"how many\"
param \"mood\" \"good\" {
    choices \"good\" \"bad\"
}

matrix \"cells\" {
    axis \"size\" 1 10
    axis \"tool\" \"cksum\" \"wc\"
    exclude size=10 tool=\"wc\" reason=\"an example\"
}

step \"data\" for-each=\"cells\" {
    run \"sh\" \"-c\" \"seq $1\" \"sh\" (axis)\"size\"
    output \"lines.txt\"
}
step \"sum\" {
    run \"cat\" (step)\"data[size=1,tool=wc]/lines.txt\" (param)\"words\"
}
";

#[test]
fn mistakes_are_told_while_typing() {
    let mut editor = Editor::start();
    editor.open("a.kdl", "pipeline \"é\" about=\"😀\"\nstep \"a\" { run \"cat\" \"😀\" (step)\"b\"; }\n");
    assert_eq!(editor.findings("a.kdl"), ["pipe::unknown-step 1:26-1:35"]);
    let told = editor.diagnostics("a.kdl").remove(0);
    assert_eq!((&told["severity"], &told["source"]), (&json!(1), &json!("pipe")));
    assert!(told["message"].as_str().is_some_and(|m| m.contains("there is no step `b`\nhelp: ")), "{told}");
    editor.change("a.kdl", "pipeline \"p\"\nstep \"b\" { run \"true\"; }\nstep \"a\" { run \"cat\" (step)\"b\"; }\n");
    assert_eq!(editor.findings("a.kdl"), [""; 0]);
    editor.change("a.kdl", "pipeline \"p\nstep \"b\" {");
    assert!(editor.findings("a.kdl").iter().any(|finding| finding.starts_with("pipe::unclosed-string 0:9-")));
    editor.change("a.kdl", SMALL);
    // What nothing uses is a warning.
    assert_eq!(editor.findings("a.kdl"), ["pipe::unused-parameter 3:6-3:12"]);
    assert_eq!(editor.diagnostics("a.kdl").remove(0)["severity"], json!(2));
    assert!(editor.leave().success());
}

#[test]
fn a_file_of_recipes_is_checked_alone_and_for_those_that_use_it() {
    let mut editor = Editor::start();
    let recipe = "recipe \"one\" {\n    param \"n\" type=\"int\"\n    step \"s\" { run \"echo\" (param)\"m\"; }\n    result (step)\"s\"\n}\n";
    editor.open("lib/one.kdl", recipe);
    assert_eq!(editor.findings("lib/one.kdl"), ["pipe::unknown-parameter 2:26-2:36"]);
    editor.change("lib/one.kdl", &recipe.replace("(param)\"m\"", "(param)\"n\""));
    assert_eq!(editor.findings("lib/one.kdl"), [""; 0]);
    // The unsaved text counts, not what lies on the disk.
    editor.write("lib/one.kdl", "recipe \"other\"\n");
    editor.open("p.kdl", "pipeline \"p\"\nuse \"lib/one.kdl\"\none \"a\" n=\"x\"\n");
    assert_eq!(editor.findings("p.kdl"), ["pipe::wrong-type 2:8-2:13"]);
    // What another file's change breaks is told of the file that breaks.
    editor.change("lib/one.kdl", "recipe \"two\" {\n    step \"s\" { run \"true\"; }\n    result (step)\"s\"\n}\n");
    assert_eq!(editor.findings("lib/one.kdl"), [""; 0]);
    let uri = editor.uri("p.kdl");
    while !editor.published.iter().any(|told| told["uri"] == uri.as_str() && told.to_string().contains("unknown-node"))
    {
        let message = editor.receive().expect("diagnostics");
        editor.published.push(message["params"].clone());
    }
}

#[test]
fn a_profile_that_nobody_chose_is_checked_too() {
    let mut editor = Editor::start();
    let text = "pipeline \"p\"\nparam \"data\" type=\"file\" optional=#true\nparam \"n\" 1\nprofile \"far\" { data (file)\"none.txt\"; }\nstep \"a\" { run \"echo\" (param)\"n\"; when \"data\" { input (param)\"data\" as=\"d\"; }; }\n";
    editor.open("p.kdl", text);
    assert_eq!(editor.findings("p.kdl"), ["pipe::missing-path 3:21-3:37"]);
    editor.change("p.kdl", &text.replace("data (file)\"none.txt\"", "n 2"));
    assert_eq!(editor.findings("p.kdl"), [""; 0]);
}

#[test]
fn a_quick_fix_mends_what_was_meant() {
    let mut editor = Editor::start();
    let text = "pipeline \"p\"\n\nllama \"m\" sise=\"test\"\n";
    editor.open("a.kdl", text);
    let found = editor.diagnostics("a.kdl");
    let uri = editor.uri("a.kdl");
    let mut text = text.to_owned();
    let asked = json!({"textDocument": {"uri": uri}, "range": found[0]["range"], "context": {"diagnostics": found}});
    let actions = editor.ask("textDocument/codeAction", asked);
    assert_eq!(actions[0]["title"], "add `use \"std/model\"`");
    text = edited(&text, actions[0]["edit"]["changes"][&uri].as_array().expect("edits"));
    editor.change("a.kdl", &text);
    let found = editor.diagnostics("a.kdl");
    assert_eq!(found.iter().map(short).collect::<Vec<_>>(), ["pipe::unknown-setting 4:10-4:14"]);
    let asked = json!({"textDocument": {"uri": uri}, "range": found[0]["range"], "context": {"diagnostics": found}});
    let actions = editor.ask("textDocument/codeAction", asked);
    assert_eq!(actions[0]["isPreferred"], true);
    text = edited(&text, actions[0]["edit"]["changes"][&uri].as_array().expect("edits"));
    assert_eq!(text, "pipeline \"p\"\n\nuse \"std/model\"\n\nllama \"m\" size=\"test\"\n");
    editor.change("a.kdl", &text);
    assert_eq!(editor.findings("a.kdl"), [""; 0]);
}

#[test]
fn completion_works_in_broken_text() {
    let mut editor = Editor::start();
    editor.write("data/a.txt", "");
    editor.write("data/more/b.txt", "");
    let file = |last: &str| format!("{SMALL}\n{last}");
    let offers = |editor: &mut Editor, last: &str| editor.offers(&file(last));

    // Names of nodes, where a node begins.
    let nodes = offers(&mut editor, "st|");
    assert!(
        ["step", "tree", "matrix", "llama", "compare"].iter().all(|node| nodes.iter().any(|n| n == node)),
        "{nodes:?}"
    );
    let inside = offers(&mut editor, "step \"b\" {\n    |");
    assert_eq!(inside[0], "run", "{inside:?}");
    assert!(inside.contains(&"output".to_owned()) && inside.contains(&"when".to_owned()));
    assert!(!inside.contains(&"matrix".to_owned()));
    let inside = offers(&mut editor, "measure \"b\" {\n    when size=1 {\n        |");
    assert!(inside.contains(&"model".to_owned()) && inside.contains(&"warm-up".to_owned()));

    // Settings, the required ones first.
    let settings = offers(&mut editor, "fetch \"b\" |");
    assert_eq!(settings[..2], ["url", "sha256"]);
    assert!(!offers(&mut editor, "fetch \"b\" url=\"x\" |").contains(&"url".to_owned()));

    // Annotations and units.
    assert_eq!(offers(&mut editor, "step \"b\" timeout=(|"), ["ms", "s", "min", "h", "param"]);
    assert!(offers(&mut editor, "step \"b\" {\n    run (|").contains(&"output".to_owned()));

    // Names in quotes that are not closed yet.
    assert_eq!(offers(&mut editor, "step \"b\" {\n    run \"cat\" (step)\"|"), ["data", "sum"]);
    assert_eq!(offers(&mut editor, "step \"b\" {\n    run \"cat\" (step)\"data/|")[0], "data/lines.txt");
    assert_eq!(offers(&mut editor, "step \"b\" {\n    run \"cat\" (step)\"data[|"), ["size", "tool"]);
    assert_eq!(offers(&mut editor, "step \"b\" {\n    run \"cat\" (step)\"data[tool=|"), ["cksum", "wc"]);
    assert_eq!(offers(&mut editor, "step \"b\" {\n    run \"cat\" (param)\"|"), ["words", "mood"]);
    assert_eq!(offers(&mut editor, "step \"b\" for-each=\"cells\" {\n    run \"cat\" (axis)\"|"), ["size", "tool"]);
    assert_eq!(offers(&mut editor, "step \"b\" {\n    run \"cat\" (file)\"data/|"), ["data/a.txt", "data/more/"]);
    assert_eq!(offers(&mut editor, "step \"b\" for-each=\"|"), ["cells"]);
    assert_eq!(offers(&mut editor, "step \"b\" class=\"|"), ["build", "fetch"]);
    assert_eq!(offers(&mut editor, "use \"std/m|").iter().filter(|name| *name == "std/model").count(), 1);

    // Axes and their values.
    assert!(offers(&mut editor, "step \"b\" for-each=\"cells\" {\n    when |").contains(&"tool".to_owned()));
    assert_eq!(offers(&mut editor, "step \"b\" for-each=\"cells\" {\n    when tool=\"|"), ["cksum", "wc"]);
    assert_eq!(offers(&mut editor, "step \"b\" {\n    when mood=\"|"), ["good", "bad"]);
    assert_eq!(offers(&mut editor, "step \"b\" {\n    when host-os=\"|"), ["linux", "macos"]);
    assert_eq!(offers(&mut editor, "compare \"r\" of=(step)\"data\" {\n    baseline |"), ["size", "tool"]);
    assert_eq!(
        offers(&mut editor, "compare \"r\" of=(step)\"data\" {\n    parity reference=\"size=1 to|"),
        ["size", "tool"]
    );
    assert_eq!(offers(&mut editor, "matrix \"m\" {\n    axis \"x\" 1 2\n    exclude |"), ["reason", "x"]);

    assert_eq!(offers(&mut editor, "matrix \"m\" {\n    axis \"x\" (|").last().map(String::as_str), Some("range"));
    assert_eq!(offers(&mut editor, "step \"b\" {\n    input (cells)\"|"), ["data"]);
    assert_eq!(offers(&mut editor, "step \"b\" {\n    for-each \"cells\" \"|"), ["cells"]);
    let profile = offers(&mut editor, "profile \"quick\" {\n    |");
    assert!(profile.contains(&"words".to_owned()) && profile.contains(&"mood".to_owned()), "{profile:?}");
    assert_eq!(offers(&mut editor, "profile \"quick\" {\n    mood \"|"), ["good", "bad"]);

    // Nothing in a comment, and nothing in a name.
    assert_eq!(offers(&mut editor, "// st|"), [""; 0]);
    assert_eq!(offers(&mut editor, "step \"|"), [""; 0]);
}

#[test]
fn what_completion_offers_can_be_taken() {
    let mut editor = Editor::start();
    let text = "pipeline \"p\"\n\nlla|";
    assert_eq!(editor.taken(text, "llama"), "pipeline \"p\"\n\nuse \"std/model\"\n\nllama");
    let text = "pipeline \"p\"\nuse \"std/model\"\nllama \"m\"\ntokens \"t\" model=|";
    assert_eq!(
        editor.taken(text, "(step)\"m\""),
        "pipeline \"p\"\nuse \"std/model\"\nllama \"m\"\ntokens \"t\" model=(step)\"m\""
    );
    let text = "pipeline \"p\"\nuse \"std/model\"\nllama \"m\" size=\"13|5m\"\n";
    assert!(editor.taken(text, "360m").contains("size=\"360m\"\n"));
    let text = "pipeline \"p\"\nuse \"std/model\"\nllama \"m\" size=\"|\n";
    assert!(editor.taken(text, "test").contains("size=\"test\"\n"));
    let text = "pipeline \"p\"\nstep \"a\" ret|ry=2 {\n";
    assert!(!editor.offers(text).contains(&"retry".to_owned()));
    let text = "pipeline \"p\"\nuse \"std/bench\"\nbench-llm \"b\" |\n";
    let items = editor.items(text);
    assert_eq!(labels(&items)[..4], ["engine", "kind", "model", "tokens"]);
    assert!(items[0]["documentation"]["value"].as_str().is_some_and(|doc| doc.contains("a folder with `bin/`")));

    let snippets = json!({"textDocument": {"completion": {"completionItem": {"snippetSupport": true}}}});
    let mut editor = Editor::with(snippets);
    let text = "pipeline \"p\"\nfetc|";
    assert_eq!(
        editor.taken(text, "fetch"),
        "pipeline \"p\"\nfetch \"${1:name}\" url=\"${2:text}\" sha256=\"${3:text}\""
    );
}

#[test]
fn hovers_explain_every_kind_of_word() {
    let mut editor = Editor::start();
    let mut says = |text: &str, parts: &[&str]| {
        let said = editor.hover(text);
        assert!(parts.iter().all(|part| said.contains(part)), "{text}\n--- {said}");
    };
    let put = |from: &str, to: &str| SMALL.replacen(from, to, 1);
    says(&put("run \"sh\"", "r|un \"sh\""), &["`run`", "The process"]);
    says(&put("for-each=", "for|-each="), &["setting `for-each`", "a matrix"]);
    says(
        &put("(axis)\"size\"", "(ax|is)\"size\""),
        &["the value that the cell has"].map(|_| "the cell has on this axis"),
    );
    says(&put("(axis)\"size\"", "(axis)\"si|ze\""), &["axis `size` of matrix `cells`", "`10`"]);
    says(
        &put("(param)\"words\"", "(param)\"wo|rds\""),
        &["parameter `words` of the pipeline", "how many", "`3`", "--set words"],
    );
    says(&put("\"mood\"", "\"mo|od\""), &["`good` or `bad`"]);
    says(
        &put("(step)\"data", "(step)\"da|ta"),
        &["step `data`: `step`, class build", "Makes `lines.txt`", "each cell of `cells`"],
    );
    says(&put("tool=wc]", "to|ol=wc]"), &["axis `tool`"]);
    says(
        "pipeline \"p\"\nuse \"std/model\"\nlla|ma \"m\"\n",
        &["recipe `llama` of `std/model`", "`size` = `\"135m\"`"],
    );
    says("pipeline \"p\"\nuse \"std/model\"\nllama \"m\" si|ze=\"test\"\n", &["of recipe `llama`", "the shape"]);
    says(
        "pipeline \"p\"\nuse \"std/bench\"\nbench-llm \"m\" memory-b|udget=(GiB)4\n",
        &["It is `(GiB)6` unless given", "`(KiB)`"],
    );
    says("pipeline \"p\"\nstep \"a\" timeout=(m|in)2 {", &["Minutes"]);
    says("pipeline \"p\"\nstep \"a\" { wh|en host-os=\"linux\" {", &["Holds its children"]);
    says("pipeline \"p\"\nstep \"a\" { when host-|os=\"linux\" {", &["operating system", "`macos`"]);
}

#[test]
fn definitions_are_found_in_every_file() {
    let mut editor = Editor::start();
    editor.write(
        "lib/one.kdl",
        "recipe \"one\" {\n    param \"n\" type=\"int\"\n    step \"s\" { run \"true\"; }\n    result (step)\"s\"\n}\n",
    );
    editor.write("data.txt", "");
    let mut goes = |text: &str| {
        let cursor = editor.cursor("typed.kdl", text);
        let found = editor.at("textDocument/definition", "typed.kdl", cursor);
        let root = editor.uri("");
        let name = |place: &Value| {
            let uri = place["uri"].as_str().unwrap_or_default();
            format!("{} {}", uri.strip_prefix(&root).unwrap_or(uri), span(&place["range"]))
        };
        found.as_array().map(|all| all.iter().map(name).collect::<Vec<_>>()).unwrap_or_default().join(", ")
    };
    let put = |from: &str, to: &str| SMALL.replacen(from, to, 1);
    assert_eq!(goes(&put("(step)\"data", "(step)\"da|ta")), "typed.kdl 13:6-13:10");
    assert_eq!(goes(&put("(param)\"words\"", "(param)\"wo|rds\"")), "typed.kdl 2:7-2:12");
    assert_eq!(goes(&put("(axis)\"size\"", "(axis)\"si|ze\"")), "typed.kdl 8:10-8:14");
    assert_eq!(goes(&put("for-each=\"cells\"", "for-each=\"ce|lls\"")), "typed.kdl 7:8-7:13");
    assert_eq!(goes(&put("exclude size", "exclude si|ze")), "typed.kdl 8:10-8:14");
    let use_one =
        "pipeline \"p\"\nuse \"lib/one.kdl\"\none \"a\" n=1\nstep \"b\" { run \"cat\" (file)\"data.txt\"; }\n";
    assert_eq!(goes(&use_one.replacen("one \"a\"", "on|e \"a\"", 1)), "lib/one.kdl 0:8-0:11");
    assert_eq!(goes(&use_one.replacen("n=1", "n|=1", 1)), "lib/one.kdl 1:11-1:12");
    assert_eq!(goes(&use_one.replacen("lib/one", "lib/o|ne", 1)), "lib/one.kdl 0:0-0:0");
    assert_eq!(goes(&use_one.replacen("data.txt", "da|ta.txt", 1)), "data.txt 0:0-0:0");
    assert_eq!(goes(&use_one.replacen("data.txt", "no|ne.txt", 1)), "");
    // Ours lie beside the store, as files that an editor can show.
    let ours = goes("pipeline \"p\"\nuse \"std/model\"\nlla|ma \"m\"\n");
    let (name, place) = ours.split_once(' ').expect("a name and a place");
    assert!(name.contains("store-std/") && name.ends_with("/model.kdl"), "{ours}");
    let path = editor.path(name);
    let text = std::fs::read_to_string(&path).expect("a file");
    let line = text.lines().position(|line| line.starts_with("recipe \"llama\"")).expect("the recipe");
    assert_eq!(place, format!("{line}:8-{line}:13"));
    assert!(std::fs::metadata(&path).expect("a file").permissions().readonly());
    assert!(path.with_file_name("scripts").join("llama.py").is_file());
}

#[test]
fn references_and_new_names_reach_every_file_of_the_project() {
    let mut editor = Editor::start();
    let recipe = "recipe \"one\" {\n    param \"n\" type=\"int\"\n    step \"s\" { run \"echo\" (param)\"n\"; when n=1 { retry 1; }; }\n    result (step)\"s\"\n}\n";
    editor.write("lib/one.kdl", recipe);
    editor.write("other.kdl", "pipeline \"o\"\nuse \"lib/one.kdl\"\none \"a\" { n 1; }\n");
    editor.open("p.kdl", "pipeline \"p\"\nuse \"lib/one.kdl\"\none \"a\" n=1\n");
    let uri = editor.uri("p.kdl");
    let asked = |declared: bool| {
        let mut params = place(&uri, 2, 8);
        params["context"] = json!({"includeDeclaration": declared});
        params
    };
    assert_eq!(editor.ask("textDocument/references", asked(true)).as_array().map(Vec::len), Some(5));
    assert_eq!(editor.ask("textDocument/references", asked(false)).as_array().map(Vec::len), Some(4));
    let prepared = editor.ask("textDocument/prepareRename", place(&uri, 2, 8));
    assert_eq!((prepared["placeholder"].as_str(), span(&prepared["range"])), (Some("n"), "2:8-2:9".to_owned()));

    let rename = |editor: &mut Editor, line: usize, column: usize, new: &str| {
        let mut params = place(&uri, line, column);
        params["newName"] = json!(new);
        editor.answer("textDocument/rename", params)
    };
    let answer = rename(&mut editor, 2, 8, "count");
    let changes = answer["result"]["changes"].as_object().expect("changes");
    assert_eq!(changes.len(), 3);
    for name in ["lib/one.kdl", "other.kdl", "p.kdl"] {
        let old = match name {
            "p.kdl" => "pipeline \"p\"\nuse \"lib/one.kdl\"\none \"a\" n=1\n".to_owned(),
            name => std::fs::read_to_string(editor.path(name)).expect("a file"),
        };
        let new = edited(&old, changes[&editor.uri(name)].as_array().expect("edits"));
        editor.write(name, &new);
    }
    let checked = editor.pipe(&["check", "p.kdl", "other.kdl"]);
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));

    let refused = |answer: Value| answer["error"]["message"].as_str().unwrap_or_default().to_owned();
    assert!(refused(rename(&mut editor, 2, 1, "step")).contains("a node of the language"));
    assert!(refused(rename(&mut editor, 2, 1, "a b")).contains("cannot be a name"));
    let answer = editor.answer("textDocument/prepareRename", place(&uri, 0, 2));
    assert!(refused(answer).contains("no name of a step"));
}

#[test]
fn a_renamed_axis_and_step_still_check() {
    let mut editor = Editor::start();
    let text =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines/llm-6gb.kdl")).expect("ours");
    editor.open("p.kdl", &text);
    assert_eq!(editor.findings("p.kdl"), [""; 0]);
    let uri = editor.uri("p.kdl");
    let mut now = text;
    for (old, new, least) in
        [("axis \"engine\"", "machine", 15), ("\"decode\" for-each", "speed", 2), ("matrix \"cells\"", "all", 2)]
    {
        let quote = now.find(old).map(|at| at + old.find('"').expect("a quote") + 1).expect("the name");
        let line = now[..quote].matches('\n').count();
        let column = quote - now[..quote].rfind('\n').map_or(0, |i| i + 1);
        let mut params = place(&uri, line, column);
        params["newName"] = json!(new);
        let answer = editor.ask("textDocument/rename", params);
        let edits = answer["changes"][&uri].as_array().expect("edits").clone();
        assert!(edits.len() >= least, "{old}: {}", edits.len());
        now = edited(&now, &edits);
        editor.change("p.kdl", &now);
        assert_eq!(editor.findings("p.kdl"), [""; 0], "{new}");
    }
    // Taken.
    let quote = now.find("axis \"machine\" \"torch\" \"onnx\"\n    axis").expect("the second matrix");
    let line = now[..quote].matches('\n').count();
    let mut params = place(&uri, line, 12);
    params["newName"] = json!("place");
    let answer = editor.answer("textDocument/rename", params);
    assert!(answer["error"]["message"].as_str().is_some_and(|m| m.contains("is taken")), "{answer}");
}

#[test]
fn names_are_found_wherever_they_may_stand() {
    let mut editor = Editor::start();
    let text = "pipeline \"p\"

param \"flags\" \"-a\" \"-b\" many=#true
param \"size\" \"small\"

profile \"quick\" {
    size \"test\"
}

matrix \"cells\" {
    zip {
        axis \"batch\" (range)\"1..8\" step=\"*2\"
        axis \"threads\" 1 2 3 4
    }
    include batch=16 threads=8 reason=\"one more\"
}
matrix \"sizes\" {
    axis \"batch\" 1
}
step \"made\" {
    for-each \"cells\" \"sizes\"
    run \"echo\" (param)\"flags\" (axis)\"batch\"
}
step \"all\" {
    input (cells)\"made[batch=1]\" as=\"runs\"
    run \"ls\" (step)\"made[batch=1,threads=1]\"
}
";
    editor.open("p.kdl", text);
    let uri = editor.uri("p.kdl");
    let mut uses = |line: usize, column: usize| {
        let mut params = place(&uri, line, column);
        params["context"] = json!({"includeDeclaration": true});
        let found = editor.ask("textDocument/references", params);
        found
            .as_array()
            .map(|all| all.iter().map(|place| span(&place["range"])).collect::<Vec<_>>())
            .unwrap_or_default()
    };
    assert_eq!(uses(2, 8), ["2:7-2:12", "21:23-21:28"], "a list");
    assert_eq!(uses(6, 5), ["3:7-3:11", "6:4-6:8"], "a parameter in a profile");
    assert_eq!(
        uses(11, 15),
        ["11:14-11:19", "14:12-14:17", "17:10-17:15", "21:37-21:42", "24:23-24:28", "25:25-25:30"],
        "an axis in all matrices"
    );
    assert_eq!(uses(20, 15), ["9:8-9:13", "20:14-20:19"], "the first of two matrices");
    assert_eq!(uses(20, 23), ["16:8-16:13", "20:22-20:27"], "the second");
    assert_eq!(uses(19, 7), ["19:6-19:10", "24:18-24:22", "25:20-25:24"], "a step by its cells");
    let said = editor.at("textDocument/hover", "p.kdl", (11, 15))["contents"]["value"].to_string();
    assert!(said.contains("`1`, `2`, `4` and `8`"), "{said}");
}

#[test]
fn the_layout_and_the_outline_of_a_file() {
    let mut editor = Editor::start();
    editor.open("a.kdl", "pipeline   \"p\"\nstep \"a\" {\n  run \"true\"\n}\n");
    let uri = editor.uri("a.kdl");
    let asked = json!({"textDocument": {"uri": uri}, "options": {"tabSize": 4, "insertSpaces": true}});
    let edits = editor.ask("textDocument/formatting", asked.clone());
    assert_eq!(
        edited("pipeline   \"p\"\nstep \"a\" {\n  run \"true\"\n}\n", edits.as_array().expect("edits")),
        "pipeline \"p\"\nstep \"a\" {\n    run \"true\"\n}\n"
    );
    editor.change("a.kdl", "pipeline \"p\nstep");
    assert!(editor.answer("textDocument/formatting", asked)["error"]["message"].as_str().is_some());

    editor.change("a.kdl", SMALL);
    let symbols = editor.ask("textDocument/documentSymbol", json!({"textDocument": {"uri": uri}}));
    let names: Vec<&str> = symbols.as_array().expect("a list").iter().filter_map(|s| s["name"].as_str()).collect();
    assert_eq!(names, ["small", "words", "mood", "cells", "data", "sum"]);
    assert_eq!(symbols[3]["children"][1]["name"], "tool");
    assert_eq!(symbols[3]["children"][1]["detail"], "cksum wc");
}

#[test]
fn hints_say_what_the_store_has() {
    let mut editor = Editor::start();
    let text = "pipeline \"p\"\n\nmatrix \"m\" { axis \"x\" 1 2; }\nstep \"a\" for-each=\"m\" {\n    run \"sh\" \"-c\" \"echo $1 > out/a\" \"sh\" (axis)\"x\"\n}\nstep \"b\" {\n    run \"sh\" \"-c\" \"echo b > out/b\"\n}\n";
    editor.write("p.kdl", text);
    let hints = |editor: &mut Editor| {
        let uri = editor.uri("p.kdl");
        let range = json!({"start": {"line": 0, "character": 0}, "end": {"line": 99, "character": 0}});
        let answer = editor.ask("textDocument/inlayHint", json!({"textDocument": {"uri": uri}, "range": range}));
        let hint =
            |hint: &Value| format!("{}:{}", hint["position"]["line"], hint["label"].as_str().unwrap_or_default());
        answer.as_array().map(|all| all.iter().map(hint).collect::<Vec<_>>()).unwrap_or_default()
    };
    // No store, no hints: an editor makes none.
    editor.open("p.kdl", text);
    assert_eq!(hints(&mut editor), [""; 0]);
    assert!(!editor.path("cache/store").exists());
    let run = editor.pipe(&["run", "p.kdl", "--sandbox", "off"]);
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let plan = editor.pipe(&["plan", "p.kdl"]);
    let planned = String::from_utf8_lossy(&plan.stdout).into_owned();
    let uri = editor.uri("p.kdl");
    let edited = text.replace("echo b", "echo c");
    for (text, runs) in [(text, false), (edited.as_str(), true)] {
        editor.change("p.kdl", text);
        editor.tell("textDocument/didSave", json!({"textDocument": {"uri": uri}}));
        // The server asks for a new look once it has one.
        while editor.receive().expect("a message")["method"] != "workspace/inlayHint/refresh" {}
        let found = hints(&mut editor);
        // Under a weaker sandbox than works here the plan says that the steps run, and so do the hints.
        let cached = planned.contains("3 cached");
        match (cached, runs) {
            (true, false) => assert_eq!(found, ["3:2 cells: 2 cached", "6:cached"]),
            (true, true) => assert!(found[0].contains("2 cached") && found[1].starts_with("6:runs ("), "{found:?}"),
            (false, _) => {
                assert!(found[0].contains("2 to run") && found[1].starts_with("6:runs ("), "{found:?}\n{planned}")
            }
        }
    }
}

#[test]
fn an_odd_client_is_answered_or_left() {
    let mut editor = Editor::silent();
    let early = editor.answer("textDocument/hover", json!({}));
    assert_eq!(early["error"]["code"], -32002);
    editor.ask("initialize", json!({"capabilities": {"general": {"positionEncodings": ["utf-32", "utf-8"]}}}));
    editor.frame("{ this is no JSON");
    assert_eq!(editor.receive().expect("an answer")["error"]["code"], -32700);
    assert_eq!(editor.answer("textDocument/frobnicate", json!({}))["error"]["code"], -32601);
    assert_eq!(editor.answer("textDocument/hover", json!({"textDocument": 3}))["error"]["code"], -32602);
    // Texts that are nobody's: of no project, of no file, of another language, huge, changed before they are open.
    editor.tell(
        "textDocument/didChange",
        json!({"textDocument": {"uri": "file:///no/such.kdl", "version": 1}, "contentChanges": [{"text": "x"}]}),
    );
    editor.tell("textDocument/didClose", json!({"textDocument": {"uri": "file:///no/such.kdl"}}));
    editor.open("keys.kdl", "keybinds {\n    bind \"Ctrl a\" { quit; }\n}\n");
    assert_eq!(editor.findings("keys.kdl"), [""; 0]);
    let untitled =
        json!({"uri": "untitled:Untitled-1", "languageId": "kdl", "version": 1, "text": "pipeline \"é\"\nstp \"a\""});
    editor.tell("textDocument/didOpen", json!({"textDocument": untitled}));
    let told = loop {
        let message = editor.receive().expect("diagnostics");
        if message["params"]["uri"] == "untitled:Untitled-1" {
            break message["params"]["diagnostics"].clone();
        }
    };
    assert_eq!(short(&told[0]), "pipe::unknown-node 1:0-1:3");
    let offered = editor.ask("textDocument/completion", place("untitled:Untitled-1", 1, 3));
    assert!(labels(offered.as_array().expect("a list")).contains(&"step"));
    editor.open("huge.kdl", &"a \"b\"\n".repeat(1 << 20));
    assert_eq!(editor.findings("huge.kdl"), ["pipe::file-too-large 0:0-0:0"]);
    assert_eq!(editor.ask("textDocument/completion", place(&editor.uri("huge.kdl"), 3, 1)), json!([]));
    // A column beyond a line, a line beyond the file, an address of nothing.
    let uri = editor.uri("keys.kdl");
    editor.ask("textDocument/hover", place(&uri, 999, 999));
    assert_eq!(editor.ask("textDocument/hover", place("file:///no/such.kdl", 0, 0)), Value::Null);
    assert_eq!(editor.ask("textDocument/definition", place("http://example.org/x", 0, 0)), Value::Null);
    assert_eq!(editor.ask("shutdown", Value::Null), Value::Null);
    assert_eq!(editor.answer("textDocument/hover", place(&uri, 0, 0))["error"]["code"], -32600);
    editor.tell("exit", Value::Null);
    assert_eq!(editor.end().code(), Some(0));

    // Leaving without a word is an error of the client; closing the stream is not.
    let mut editor = Editor::start();
    editor.tell("exit", Value::Null);
    assert_eq!(editor.end().code(), Some(1));
    let mut editor = Editor::start();
    assert_eq!(editor.end().code(), Some(0));
    let mut editor = Editor::silent();
    let to = editor.to.as_mut().expect("a stream");
    to.write_all(b"hello\r\n").expect("it reads");
    assert_eq!(editor.end().code(), Some(2));
}

#[test]
fn a_deleted_file_is_told_of_when_it_is_gone() {
    let mut editor = Editor::start();
    editor.write("data.txt", "1");
    editor.open("p.kdl", "pipeline \"p\"\nstep \"a\" { run \"cat\" (file)\"data.txt\"; }\n");
    assert_eq!(editor.findings("p.kdl"), [""; 0]);
    std::fs::remove_file(editor.path("data.txt")).expect("it was there");
    editor.published.clear();
    let gone = json!({"changes": [{"uri": editor.uri("data.txt"), "type": 3}]});
    editor.tell("workspace/didChangeWatchedFiles", gone);
    assert_eq!(editor.findings("p.kdl"), ["pipe::missing-path 1:21-1:37"]);
}

#[test]
fn a_text_typed_key_by_key_stays_in_step() {
    let mut editor = Editor::start();
    editor.open("p.kdl", "pipeline \"p\" about=\"😀\"\n");
    let uri = editor.uri("p.kdl");
    let typed = "step \"é\" {\n    run \"true\"\n}\n";
    for (index, c) in typed.chars().enumerate() {
        editor.version += 1;
        let before: String = typed.chars().take(index).collect();
        let line = 1 + before.matches('\n').count();
        let column = before.rsplit('\n').next().unwrap_or("").encode_utf16().count();
        let at = json!({"line": line, "character": column});
        let change = json!({"range": {"start": at, "end": at}, "text": c.to_string()});
        let document = json!({"uri": uri, "version": editor.version});
        editor.tell("textDocument/didChange", json!({"textDocument": document, "contentChanges": [change]}));
    }
    assert_eq!(editor.findings("p.kdl"), [""; 0]);
    let told = editor.published.iter().filter(|told| told["uri"] == uri.as_str()).count();
    assert!(told < typed.len() / 2, "{told} rounds for {} keys", typed.len());
}

#[test]
fn no_text_is_too_broken_to_answer() {
    let mut editor = Editor::start();
    let text =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines/llm-6gb.kdl")).expect("ours");
    editor.open("p.kdl", "");
    let uri = editor.uri("p.kdl");
    // A text that ends anywhere, and one that lacks a piece anywhere.
    let cuts: Vec<usize> = (0..text.len()).step_by(173).filter(|cut| text.is_char_boundary(*cut)).collect();
    for pair in cuts.windows(2) {
        for broken in [text[..pair[1]].to_owned(), format!("{}{}", &text[..pair[0]], &text[pair[1]..])] {
            let at = if broken.len() < pair[1] + 1 { broken.len() } else { pair[0] };
            editor.change("p.kdl", &broken);
            let line = broken[..at].matches('\n').count();
            let column = broken[..at].rsplit('\n').next().unwrap_or("").chars().count();
            for method in ["completion", "hover", "definition", "documentHighlight"] {
                editor.ask(&format!("textDocument/{method}"), place(&uri, line, column));
            }
            editor.ask("textDocument/documentSymbol", json!({"textDocument": {"uri": uri}}));
        }
    }
    editor.change("p.kdl", &text);
    assert_eq!(editor.findings("p.kdl"), [""; 0]);
}

#[test]
fn neovim_shows_and_mends_a_mistake() {
    let Some(said) = client::neovim("lsp/neovim.lua", NEOVIM) else { return };
    for line in [
        "finding pipe::unknown-step 7:21-34",
        "action change to `made`",
        "line     run \"cat\" \"😀\" (step)\"made/a\"",
        "findings 0",
        "definition 3:6",
        "hover step `made`: `step`, class build",
        "renamed step \"produced\" {",
        "formatted pipeline \"p\"",
    ] {
        assert!(said.lines().any(|said| said == line), "no `{line}` in\n{said}");
    }
}

const NEOVIM: &str = "pipeline   \"p\"

step \"made\" {
    run \"sh\" \"-c\" \"echo é😀 > out/a\"
    output \"a\"
}
step \"read\" {
    run \"cat\" \"😀\" (step)\"mde/a\"
}
";
