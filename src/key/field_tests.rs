//! Every field that a step has, one at a time: edited, the key changes, or the field is named here as one of no key.
//!
//! The fields are found by writing a step down as JSON, so that a new one can't be forgotten. And steps that differ in
//! how their words are cut have different keys.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value as Json;

use super::tests::{
    Fixed, at, compare, fetch, file, image, inference, key, measure, output, pattern, run, step, text, tree, wheel,
    word, world,
};
use super::*;
use crate::pipeline::{Bound, Cell, Matrix, Value};

/// Fields of no key: the action (`*` for all), and the path in the step; `*` in it stands for any place in a list.
const IN_NO_KEY: &[(&str, &str)] = &[
    ("*", "name"),
    ("*", "also"),
    ("*", "group"),
    ("*", "cell"),
    ("*", "recipe"),
    ("*", "about"),
    ("*", "origin"),
    ("*", "needs.cpu"),
    ("*", "needs.memory"),
    ("*", "needs.download"),
    ("*", "needs.disk"),
    ("*", "needs.os"),
    ("*", "needs.arch"),
    ("*", "limits"),
    ("*", "export"),
    // An action of ours has the class that it has, and no GPU.
    ("FetchFile", "class"),
    ("FetchFile", "needs.gpu"),
    ("FetchFile", "action.FetchFile.url"),
    ("FetchWheel", "class"),
    ("FetchWheel", "needs.gpu"),
    ("UnpackWheels", "class"),
    ("UnpackWheels", "needs.gpu"),
    ("HostPackages", "class"),
    ("HostPackages", "needs.gpu"),
    // What was found is in the key, by name, version and content.
    ("HostPackages", "action.HostPackages.packages"),
    ("Tree", "class"),
    ("Tree", "needs.gpu"),
    ("Image", "class"),
    ("Image", "needs.gpu"),
    ("Measure", "class"),
    ("Measure", "needs.gpu"),
    ("Measure", "action.Measure.sampling"),
    ("Measure", "action.Measure.memory_budget"),
    ("Compare", "class"),
    ("Compare", "needs.gpu"),
    // The cells enter with their samples, and a matrix only orders them.
    ("Compare", "action.Compare.of"),
    ("Compare", "action.Compare.group"),
    ("Compare", "action.Compare.matrix"),
    ("Compare", "action.Compare.published.*.label"),
    ("Compare", "action.Compare.published.*.source"),
    // The content of what they keep is in the key, and where it lies is not.
    ("Run", "action.Run.args.*.value.Input.File.path"),
    ("Run", "action.Run.args.*.value.Input.File.filter"),
];

/// A step of every kind, with every list filled and every option given.
fn steps() -> Vec<Step> {
    let mut process = run();
    if let Action::Run(run) = &mut process {
        let values = [
            Value::Integer(7),
            Value::Float(0.5),
            Value::Bool(true),
            Value::Bytes(1 << 20),
            Value::Time(Duration::from_secs(3)),
        ];
        run.args.extend(values.map(|value| at(Arg::Value(value))));
        run.args.push(at(Arg::Input(file("/home/a/data"))));
        run.args.push(at(Arg::Input(Input::Secret { name: "TOKEN".to_owned() })));
        run.args.push(at(Arg::Output("z.txt".to_owned())));
        run.args.push(at(Arg::Joined(vec![Arg::Value(Value::Text("a=".to_owned())), Arg::Input(output(3, "b"))])));
        for arg in &mut run.args {
            if let Arg::Input(Input::File { filter, .. }) = &mut arg.value {
                filter.extend(["*.tmp".to_owned()]);
            }
        }
    }
    let mut parts = tree(&["libc.so.6"]);
    if let Action::Tree(tree) = &mut parts {
        let (folder, pattern) = (at(output(2, "lib")), text("*.so"));
        tree.puts.push(Put { at: text("one"), what: PutWhat::Matching { folder, pattern } });
        tree.puts.push(Put { at: text("link"), what: PutWhat::Link(text("note")) });
    }
    let mut sequence = measure();
    if let Action::Measure(measure) = &mut sequence {
        measure.cuda_libraries = Some(at(output(5, "")));
        measure.memory_budget = Some(at(1 << 30));
    }
    let mut native = sequence.clone();
    if let Action::Measure(measure) = &mut native {
        measure.place = Place::Native;
        measure.workload = inference("inputs", Some(8));
    }
    let mut judged = compare();
    if let Action::Compare(compare) = &mut judged {
        let cell = || Cell(vec![("engine".to_owned(), "torch".to_owned())]);
        compare.matrix = Some(Matrix {
            name: "cells".to_owned(),
            axes: vec![("engine".to_owned(), vec!["torch".to_owned()])],
            points: vec![cell()],
            excluded: vec![(cell(), "reason".to_owned())],
            included: vec![(cell(), Some("reason".to_owned()))],
        });
        if let Some(parity) = &mut compare.parity {
            parity.top_k = Some(at(3));
            let limits = vec![Limit { bound: Bound::MinCosine, limit: at(0.5) }];
            parity.outputs = vec![OutputRule { name: text("boxes"), ignore: at(false), limits }];
            parity.calibrated = Some(Calibrated { exact: at(output(3, "b")), k: at(2.5) });
        }
        compare.expects[0].max = Some(9.5);
        let metrics = vec![("items-per-second".to_owned(), 265.5)];
        compare.published = vec![Published { label: "elsewhere".to_owned(), source: "a page".to_owned(), metrics }];
        compare.baseline = Some(pattern("engine=onnx"));
    }
    let wheels = Action::UnpackWheels(UnpackWheels { wheels: vec![StepId(1), StepId(2)] });
    let packages = Action::HostPackages(HostPackages { packages: vec![text("torch")] });
    let actions = [fetch(), wheel(), wheels, packages, process, parts, image(), sequence, native, judged];
    actions.into_iter().map(filled).collect()
}

/// The step of an action, with all that steps have.
fn filled(action: Action) -> Step {
    Step {
        also: vec!["another".to_owned()],
        cell: Some(Cell(vec![("size".to_owned(), "1".to_owned())])),
        recipe: Some("recipe".to_owned()),
        about: Some("about".to_owned()),
        export: Some("given-back".to_owned()),
        needs: Needs { os: Some("linux".to_owned()), arch: Some("x86_64".to_owned()), ..Needs::default() },
        limits: Limits { timeout: Some(Duration::from_secs(5)), retries: 1 },
        ..step(action)
    }
}

/// What else a value may be; the first that makes a step is taken.
fn others(value: &Json) -> Vec<Json> {
    let words = ["Build", "Fetch", "Native", "cuda", "bf16", "Cuda", "Bf16", "MaxRel", "basic"];
    match value {
        Json::String(text) => {
            let words = words.iter().filter(|word| *word != text).map(|word| Json::from(*word));
            let place = match measure() {
                Action::Measure(measure) => serde_json::to_value(&measure.place).ok(),
                _ => None,
            };
            std::iter::once(Json::from(format!("{text}x"))).chain(words).chain(place).collect()
        }
        Json::Bool(known) => vec![Json::from(!known)],
        Json::Number(number) => match number.as_u64() {
            Some(whole) => vec![Json::from(whole + 1)],
            None => vec![Json::from(number.as_f64().unwrap_or_default() + 1.0)],
        },
        Json::Array(all) => {
            let more = all.iter().chain(all.last()).cloned().collect();
            vec![Json::Array(more)]
        }
        Json::Null | Json::Object(_) => Vec::new(),
    }
}

/// The paths of every value in a JSON text, lists among them.
fn paths(value: &Json, at: &str, found: &mut Vec<String>) {
    match value {
        Json::Object(fields) => fields.iter().for_each(|(name, inner)| paths(inner, &format!("{at}/{name}"), found)),
        Json::Array(all) => {
            if !all.is_empty() {
                found.push(at.to_owned());
            }
            all.iter().enumerate().for_each(|(place, inner)| paths(inner, &format!("{at}/{place}"), found));
        }
        Json::Null => panic!("`{at}` is not given, so nobody can edit it: fill it in `steps`"),
        _ => found.push(at.to_owned()),
    }
}

/// `/action/Run/args/3/value` as `action.Run.args.*.value`.
fn shown(pointer: &str) -> String {
    let parts = pointer.split('/').skip(1);
    parts.map(|part| if part.parse::<usize>().is_ok() { "*" } else { part }).collect::<Vec<_>>().join(".")
}

fn in_no_key<'a>(action: &str, path: &str) -> Option<&'a (&'static str, &'static str)> {
    if path.split('.').any(|part| part == "origin") {
        return IN_NO_KEY.iter().find(|(_, field)| *field == "origin");
    }
    IN_NO_KEY.iter().find(|(of, field)| {
        (*of == "*" || *of == action)
            && path.strip_prefix(field).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    })
}

#[test]
fn every_field_is_in_the_key_or_named_as_one_of_no_key() {
    let (mut wrong, mut used, mut edited) = (Vec::new(), BTreeSet::new(), 0);
    for step in steps() {
        let written = serde_json::to_value(&step).expect("a step can be written");
        let before = key(&step, &world());
        let action = written["action"].as_object().and_then(|action| action.keys().next()).expect("a name").clone();
        let mut pointers = Vec::new();
        paths(&written, "", &mut pointers);
        for pointer in pointers {
            let path = shown(&pointer);
            let excused = in_no_key(&action, &path);
            let value = written.pointer(&pointer).expect("the path was found here");
            let edits = others(value).into_iter().filter_map(|other| {
                let mut written = written.clone();
                *written.pointer_mut(&pointer)? = other;
                serde_json::from_value::<Step>(written).ok()
            });
            let Some(after) = edits.into_iter().next() else {
                // A pair takes no third value, and its values are edited by themselves.
                if !value.is_array() {
                    wrong.push(format!("{action}: nothing else fits into `{path}`; tell `others` what does"));
                }
                continue;
            };
            edited += 1;
            let changed = manifest(&after, &world(), &Fixed).expect("known").key() != before;
            match (changed, excused) {
                (true, None) => {}
                (false, Some(row)) => drop(used.insert(row)),
                (false, None) => wrong.push(format!("{action}: `{path}` is in no key, and not named as such")),
                (true, Some(_)) => wrong.push(format!("{action}: `{path}` is in the key, and named as one of no key")),
            }
        }
    }
    let unused = IN_NO_KEY.iter().filter(|row| !used.contains(row));
    wrong.extend(unused.map(|(action, path)| format!("{action}: no step of this test has `{path}`")));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(edited > 200, "only {edited} edits");
}

#[test]
fn steps_whose_words_are_cut_otherwise_have_other_keys() {
    let words = ["", "a", "b", "ab", "a b", "b\n", "\"a\"", "value a", "in/1"];
    let mut lists: Vec<Vec<&str>> = vec![Vec::new()];
    for length in 1..=3 {
        let shorter: Vec<Vec<&str>> = lists.iter().filter(|list| list.len() == length - 1).cloned().collect();
        lists.extend(shorter.iter().flat_map(|list| words.map(|word| [list.as_slice(), &[word]].concat())));
    }
    let environments: [&[(&str, &str)]; 5] = [&[], &[("A", "")], &[("A", "b")], &[("AB", "")], &[("A", ""), ("B", "")]];
    let mut keys = BTreeSet::new();
    let mut count = 0;
    for list in &lists {
        for variables in environments {
            let mut step = step(run());
            let Action::Run(run) = &mut step.action else { unreachable!("the action was made here") };
            run.args = list.iter().map(|text| word(text)).collect();
            run.env = variables.iter().map(|(name, value)| ((*name).to_owned(), word(value))).collect();
            keys.insert(key(&step, &world()));
            count += 1;
        }
    }
    // Each is told from each other: eight million pairs.
    assert_eq!((keys.len(), count), (4100, 4100));
}

#[test]
fn what_is_not_given_is_not_what_is_empty() {
    let with = |edit: &dyn Fn(&mut Compare)| {
        let mut action = compare();
        if let Action::Compare(compare) = &mut action {
            edit(compare);
        }
        key(&step(action), &world())
    };
    let keys = [
        with(&|compare| compare.baseline = None),
        with(&|compare| compare.baseline = Some(pattern(""))),
        with(&|compare| compare.parity = None),
        with(&|compare| compare.expects.clear()),
        with(&|compare| compare.expects[0].min = None),
        with(&|compare| compare.expects[0].min = Some(0.0)),
        with(&|compare| compare.expects[0].max = Some(0.0)),
    ];
    assert_eq!(keys.iter().collect::<BTreeSet<_>>().len(), keys.len());
}
