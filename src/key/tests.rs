//! A test for each row of the key table: what is changed, and whether the key may notice.

use std::path::PathBuf;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::pipeline::{
    Arg, Bound, CellPattern, Expect, FetchFile, FetchWheel, Filter, HostPackages, Limit, Limits, Needs, Parity,
    Published, Sampling, Spanned, UnpackWheels, Value, WarmUp,
};
use pipe_engine::message::{Device, Dtype, Optimization};

pub(super) fn at<T>(value: T) -> Spanned<T> {
    Spanned { value, origin: origin() }
}

/// An origin that can be written and read again, as `field_tests` does with all of a step.
fn origin() -> Origin {
    Origin::File { source: 0, start: 0, end: 0 }
}

pub(super) fn text(text: &str) -> Spanned<String> {
    at(text.to_owned())
}

pub(super) fn word(word: &str) -> Spanned<Arg> {
    at(Arg::Value(Value::Text(word.to_owned())))
}

pub(super) fn output(step: usize, path: &str) -> Input {
    Input::Step { step: StepId(step), path: path.to_owned() }
}

pub(super) fn file(path: &str) -> Input {
    let path = PathBuf::from(path);
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Input::File { path, name, filter: Filter::default() }
}

/// Step 0 and step 9 hold the same, every other step and every file something of its own.
pub(super) struct Fixed;

fn content(text: &str) -> Option<Entry> {
    Some(Entry::File { digest: Digest::of(text.as_bytes()), size: 1, executable: false })
}

impl Contents for Fixed {
    fn entry(&self, input: &Input) -> Option<Entry> {
        match input {
            Input::Step { step: StepId(0 | 9), .. } => content("the same"),
            Input::Step { step, path } => content(&format!("{step:?} {path}")),
            Input::File { .. } => content("a file"),
            Input::Embedded { .. } | Input::EngineSources => content("ours"),
            Input::Secret { .. } => None,
        }
    }

    fn output(&self, step: StepId) -> Option<Entry> {
        self.entry(&output(step.0, ""))
    }
}

pub(super) fn step(action: Action) -> Step {
    let class = match action {
        Action::FetchFile(_) | Action::FetchWheel(_) => Class::Fetch,
        Action::Measure(_) => Class::Measure,
        _ => Class::Build,
    };
    Step {
        name: "step".to_owned(),
        also: Vec::new(),
        group: "step".to_owned(),
        cell: None,
        recipe: None,
        about: None,
        origin: origin(),
        class,
        action,
        needs: Needs::default(),
        limits: Limits::default(),
        export: None,
    }
}

pub(super) fn world() -> World {
    World {
        platform: "linux-x86_64-glibc2.36".to_owned(),
        tools: [("python3", "3.11.7"), ("cc", "12.2.0")].map(|(name, v)| (name.to_owned(), v.to_owned())).into(),
        host_packages: [("package torch".to_owned(), "2.11.0".to_owned())].into(),
        host_libraries: [("libc.so.6".to_owned(), Digest::of(b"libc"))].into(),
        sandbox: Some(Sandbox::Strict),
        cells: vec![("engine=torch".to_owned(), "sessions a".to_owned())],
    }
}

pub(super) fn key(step: &Step, world: &World) -> Digest {
    manifest(step, world, &Fixed).expect("every input is known").key()
}

/// True where an edit of the step gives another key.
fn edited(action: Action, edit: impl FnOnce(&mut Step)) -> bool {
    let before = step(action);
    let mut after = before.clone();
    edit(&mut after);
    key(&before, &world()) != key(&after, &world())
}

/// True where an edit of the world gives another key.
fn moved(action: Action, edit: impl FnOnce(&mut World)) -> bool {
    let mut after = world();
    edit(&mut after);
    let step = step(action);
    key(&step, &world()) != key(&step, &after)
}

fn platform(world: &mut World) {
    world.platform = "linux-aarch64-glibc2.36".to_owned();
}

/// What an edit changes, and the edit.
type Edit<'a, T> = (&'a str, &'a dyn Fn(&mut T));

/// An edit of one kind of action, as an edit of a step.
macro_rules! of {
    ($variant:ident, $edit:expr) => {
        move |step: &mut Step| {
            let Action::$variant(action) = &mut step.action else { unreachable!("the action was made here") };
            ($edit)(action)
        }
    };
}

pub(super) fn fetch() -> Action {
    Action::FetchFile(FetchFile { url: text("https://here/a"), sha256: text("00"), name: "a".to_owned() })
}

pub(super) fn wheel() -> Action {
    Action::FetchWheel(FetchWheel {
        package: "torch".to_owned(),
        version: "2.11.0".to_owned(),
        sha256: vec!["00".to_owned()],
        origin: origin(),
    })
}

pub(super) fn run() -> Action {
    Action::Run(Run {
        program: word("python3"),
        args: vec![at(Arg::Input(file("/home/a/script.py"))), at(Arg::Input(output(0, "x.txt"))), word("64")],
        env: [("LEVEL".to_owned(), word("1"))].into(),
        inputs: vec![("model".to_owned(), at(output(2, "")))],
        outputs: vec![text("y.txt")],
        tools: vec![text("cc")],
        network: at(false),
    })
}

pub(super) fn tree(host_libraries: &[&str]) -> Action {
    Action::Tree(TreeOf {
        puts: vec![
            Put { at: text("lib"), what: PutWhat::Input(at(output(1, ""))) },
            Put { at: text("note"), what: PutWhat::Text(text("hello")) },
        ],
        host_libraries: host_libraries.iter().map(|name| text(name)).collect(),
    })
}

pub(super) fn image() -> Action {
    Action::Image(Image {
        layers: vec![(text("/"), at(output(1, "")))],
        entrypoint: vec![text("/bin/engine")],
        env: [("HOME".to_owned(), text("/tmp"))].into(),
    })
}

pub(super) fn measure() -> Action {
    Action::Measure(Box::new(Measure {
        engine: at(output(1, "")),
        program: text("bin/engine"),
        model: at(output(2, "")),
        cuda_libraries: None,
        place: Place::Container { image: at(output(4, "")), cpus: at(2), memory: at(6 << 30) },
        device: at(Device::Cpu),
        dtype: at(Dtype::Fp32),
        threads: at(2),
        reduced_precision: at(false),
        optimization: at(Optimization::All),
        workload: sequence("tokens.npy", 64, 32),
        warm_up: WarmUp { min: 2, max: 10 },
        sampling: Sampling {
            min_samples: 10,
            min_time: Duration::from_secs(5),
            target: 0.02,
            max_time: Duration::from_secs(60),
            max_samples: 2000,
        },
        memory_budget: None,
    }))
}

fn sequence(tokens: &str, prompt: u32, new: u32) -> Workload {
    Workload::Sequence { tokens: at(output(3, tokens)), prompt_tokens: at(prompt), new_tokens: at(new) }
}

pub(super) fn inference(inputs: &str, items: Option<u32>) -> Workload {
    Workload::Inference { inputs: at(output(3, inputs)), items: items.map(at) }
}

pub(super) fn pattern(text: &str) -> Spanned<CellPattern> {
    at(CellPattern::parse(text).expect("a pattern"))
}

pub(super) fn compare() -> Action {
    Action::Compare(Box::new(Compare {
        of: vec![StepId(1)],
        group: "decode".to_owned(),
        matrix: None,
        baseline: Some(pattern("engine=torch")),
        parity: Some(Parity {
            reference: pattern("engine=torch"),
            limits: vec![Limit { bound: Bound::MaxAbs, limit: at(1e-3) }],
            top_k: None,
            outputs: Vec::new(),
            calibrated: None,
        }),
        expects: vec![Expect { metric: text("speed-up"), cell: pattern("engine=*"), min: Some(1.0), max: None }],
        published: Vec::new(),
    }))
}

fn all() -> Vec<Action> {
    vec![fetch(), wheel(), run(), tree(&["libc.so.6"]), image(), measure(), compare()]
}

#[test]
fn class_and_action_are_in_every_key() {
    for action in all() {
        let manifest = manifest(&step(action), &world(), &Fixed).expect("known");
        assert_eq!(manifest.leaves()[0].path, "class");
        let version = manifest.leaves()[1].value.rsplit(' ').next().and_then(|version| version.parse::<u32>().ok());
        assert!(manifest.leaves()[1].path == "action" && version.is_some(), "{:?}", manifest.leaves()[1]);
    }
    assert!(edited(run(), |step| step.class = Class::Fetch));
}

#[test]
fn the_platform_is_in_the_keys_of_what_depends_on_it() {
    for action in [wheel(), run(), tree(&["libc.so.6"]), image()] {
        assert!(moved(action.clone(), platform), "{action:?}");
    }
    for action in [fetch(), tree(&[]), measure(), compare()] {
        assert!(!moved(action.clone(), platform), "{action:?}");
    }
    assert!(!moved(image(), |world| world.platform = "macos-x86_64".to_owned()), "an image is of Linux");
}

#[test]
fn digests_name_what_is_fetched() {
    assert!(edited(fetch(), of!(FetchFile, |f: &mut FetchFile| f.sha256 = text("01"))));
    assert!(edited(fetch(), of!(FetchFile, |f: &mut FetchFile| f.name = "b".to_owned())));
    assert!(!edited(fetch(), of!(FetchFile, |f: &mut FetchFile| f.url = text("https://there/a"))));
    assert!(edited(wheel(), of!(FetchWheel, |w: &mut FetchWheel| w.sha256.push("01".to_owned()))));
    assert!(edited(wheel(), of!(FetchWheel, |w: &mut FetchWheel| w.version = "2.12.0".to_owned())));
}

#[test]
fn a_process_depends_on_its_words_and_on_the_names_it_sees() {
    let edits: [fn(&mut Run); 8] = [
        |run| run.program = word("cc"),
        |run| run.args[2] = word("65"),
        |run| run.args.swap(1, 2),
        |run| run.env = [("LEVEL".to_owned(), word("2"))].into(),
        |run| run.env = [("LEVELS".to_owned(), word("1"))].into(),
        |run| run.inputs[0].0 = "weights".to_owned(),
        |run| run.outputs[0] = text("z.txt"),
        |run| run.args[0] = at(Arg::Input(file("/home/a/other.py"))),
    ];
    for (number, edit) in edits.into_iter().enumerate() {
        assert!(edited(run(), of!(Run, edit)), "edit {number}");
    }
    let renamed = of!(Run, |run: &mut Run| run.args[1] = at(Arg::Input(output(0, "z.txt"))));
    assert!(edited(run(), renamed), "the program sees `in/1/z.txt`");
    let doubled = |second: usize| {
        let mut action = run();
        let Action::Run(run) = &mut action else { unreachable!("the action was made here") };
        run.args = vec![at(Arg::Input(output(0, ""))), at(Arg::Input(output(second, "")))];
        key(&step(action), &world())
    };
    assert_ne!(doubled(0), doubled(9), "the program sees `in/1 in/1` of one, and `in/1 in/2` of the other");
}

#[test]
fn tools_enter_by_name_and_version() {
    let newer = |name: &'static str, version: &'static str| {
        move |world: &mut World| drop(world.tools.insert(name.to_owned(), version.to_owned()))
    };
    assert!(moved(run(), newer("python3", "3.11.8")));
    assert!(moved(run(), newer("cc", "13.1.0")));
    assert!(!moved(run(), newer("ninja", "1.12")), "no tool of this step");
    assert!(edited(run(), of!(Run, |run: &mut Run| run.tools.clear())));
    assert!(moved(wheel(), newer("python3", "3.12.1")));
    assert!(!moved(wheel(), newer("python3", "3.11.8")), "wheels fit a minor version");
    assert!(!moved(measure(), newer("python3", "3.12.1")));
}

#[test]
fn inputs_enter_by_content() {
    let other = |step| of!(Run, move |run: &mut Run| run.args[1] = at(Arg::Input(output(step, "x.txt"))));
    assert!(edited(run(), other(5)));
    assert!(!edited(run(), other(9)), "another step with the same bytes under the same name");
    assert!(edited(run(), of!(Run, |run: &mut Run| run.inputs[0].1 = at(output(5, "")))));
    assert!(!edited(run(), of!(Run, |run: &mut Run| run.args[0] = at(Arg::Input(file("/else/script.py"))))));
    assert!(edited(image(), of!(Image, |image: &mut Image| image.layers[0].1 = at(output(5, "")))));
    let edits: [fn(&mut Measure); 5] = [
        |measure| measure.engine = at(output(5, "")),
        |measure| measure.model = at(output(5, "")),
        |measure| *measure.workload.data_mut() = at(output(5, "")),
        |measure| measure.cuda_libraries = Some(at(output(5, ""))),
        |measure| measure.place = Place::Container { image: at(output(5, "")), cpus: at(2), memory: at(6 << 30) },
    ];
    for (number, edit) in edits.into_iter().enumerate() {
        assert!(edited(measure(), of!(Measure, |m: &mut Box<Measure>| edit(m))), "edit {number}");
    }
    assert!(moved(compare(), |world| world.cells[0].1 = "sessions a b".to_owned()));
    let wheels = |wheels: [usize; 2]| {
        key(&step(Action::UnpackWheels(UnpackWheels { wheels: wheels.map(StepId).to_vec() })), &world())
    };
    assert_ne!(wheels([1, 2]), wheels([1, 3]));
    assert_eq!(wheels([1, 0]), wheels([1, 9]));
}

#[test]
fn a_filter_is_in_the_key_by_what_it_leaves() {
    let mut filtered = file("/some/script.py");
    let Input::File { filter, .. } = &mut filtered else { unreachable!("a file was made") };
    filter.extend(["*.tmp".to_owned()]);
    let plain = of!(Run, |run: &mut Run| run.args[0] = at(Arg::Input(file("/some/script.py"))));
    let with = of!(Run, move |run: &mut Run| run.args[0] = at(Arg::Input(filtered)));
    assert_eq!(edited(run(), plain), edited(run(), with), "the content is the same");
}

#[test]
fn secrets_enter_by_name() {
    let secret = |name: &str| Input::Secret { name: name.to_owned() };
    let with = |name: &str| {
        let mut step = step(run());
        let Action::Run(run) = &mut step.action else { unreachable!("the action was made here") };
        run.args.push(at(Arg::Input(secret(name))));
        run.inputs.push(("token".to_owned(), at(secret("OTHER"))));
        step
    };
    assert_ne!(key(&with("A"), &world()), key(&with("B"), &world()));
    let text = manifest(&with("A"), &world(), &Fixed).expect("secrets need no content").text();
    assert!(text.contains("\"input secret/A secret:A\"") && text.contains("input.token \"secret:OTHER\""), "{text}");
}

#[test]
fn an_input_that_is_not_known_is_named() {
    struct Empty;
    impl Contents for Empty {
        fn entry(&self, _: &Input) -> Option<Entry> {
            None
        }
        fn output(&self, _: StepId) -> Option<Entry> {
            None
        }
    }
    let unknown = manifest(&step(measure()), &world(), &Empty);
    assert_eq!(unknown, Err(Unknown(output(1, ""))));
}

#[test]
fn the_network_is_in_the_key() {
    assert!(edited(run(), of!(Run, |run: &mut Run| run.network = at(true))));
}

#[test]
fn that_a_gpu_is_lent_is_in_the_key_and_how_many_is_not() {
    let with = |gpu| {
        let mut step = step(run());
        step.needs.gpu = gpu;
        key(&step, &world())
    };
    assert_ne!(with(0), with(1), "the process sees its devices, or none");
    assert_eq!(with(1), with(4));
    assert!(!edited(measure(), |step| step.needs.gpu = 1), "a measurement has its device");
}

#[test]
fn the_text_of_a_manifest_and_its_key_are_what_they_always_were() {
    let manifest = manifest(&step(run()), &world(), &Fixed).expect("known");
    assert_eq!(manifest.text(), include_str!("manifest.txt"));
    assert_eq!(
        manifest.key().to_string(),
        "6fb28b233d04c460881fbda9d121949b05c89d846c4f27fa5b5d4ab8015b864b",
        "other keys: every store loses its results; see `tests/keys.rs`"
    );
}

#[test]
fn what_the_machine_lends_enters_by_content() {
    let library = |world: &mut World| world.host_libraries = [("libc.so.6".to_owned(), Digest::of(b"newer"))].into();
    assert!(moved(tree(&["libc.so.6"]), library));
    assert!(!moved(tree(&[]), library));
    assert!(edited(tree(&[]), of!(Tree, |tree: &mut TreeOf| tree.host_libraries.push(text("libc.so.6")))));
    let packages = Action::HostPackages(HostPackages { packages: vec![text("torch")] });
    assert!(moved(packages, |world| world.host_packages = [("package torch".to_owned(), "2.12.0".to_owned())].into()));
}

#[test]
fn a_tree_depends_on_every_part_and_its_place() {
    let edits: [fn(&mut TreeOf); 5] = [
        |tree| tree.puts[0].at = text("libs"),
        |tree| tree.puts[0].what = PutWhat::Input(at(output(5, ""))),
        |tree| tree.puts[1].what = PutWhat::Text(text("bye")),
        |tree| tree.puts[1].what = PutWhat::Link(text("hello")),
        |tree| drop(tree.puts.pop()),
    ];
    for (number, edit) in edits.into_iter().enumerate() {
        assert!(edited(tree(&[]), of!(Tree, edit)), "edit {number}");
    }
    let with = |place: &str, content: &str| {
        let put = Put { at: text(place), what: PutWhat::Text(text(content)) };
        key(&step(Action::Tree(TreeOf { puts: vec![put], host_libraries: Vec::new() })), &world())
    };
    assert_ne!(with("a", "b <- text c"), with("a <- text b", "c"), "no place runs over into its content");
}

#[test]
fn an_image_depends_on_where_its_layers_lie_and_how_it_starts() {
    let edits: [fn(&mut Image); 4] = [
        |image| image.layers[0].0 = text("/opt"),
        |image| image.entrypoint.push(text("--fast")),
        |image| drop(image.env.insert("HOME".to_owned(), text("/home/engine"))),
        |image| drop(image.env.insert("MORE".to_owned(), text("1"))),
    ];
    for (number, edit) in edits.into_iter().enumerate() {
        assert!(edited(image(), of!(Image, edit)), "edit {number}");
    }
}

#[test]
fn a_measurement_depends_on_what_shapes_its_distribution() {
    let container = |cpus, memory| Place::Container { image: at(output(4, "")), cpus: at(cpus), memory: at(memory) };
    let edits: [Edit<Measure>; 15] = [
        ("program", &|m| m.program = text("bin/other")),
        ("place", &|m| m.place = Place::Native),
        ("cpus", &|m| m.place = container(1, 6 << 30)),
        ("memory", &|m| m.place = container(2, 4 << 30)),
        ("device", &|m| m.device = at(Device::Cuda)),
        ("dtype", &|m| m.dtype = at(Dtype::Bf16)),
        ("threads", &|m| m.threads = at(1)),
        ("reduced precision", &|m| m.reduced_precision = at(true)),
        ("optimization", &|m| m.optimization = at(Optimization::Basic)),
        ("prompt tokens", &|m| m.workload = sequence("tokens.npy", 128, 32)),
        ("new tokens", &|m| m.workload = sequence("tokens.npy", 64, 64)),
        ("warm-up min", &|m| m.warm_up.min = 3),
        ("warm-up max", &|m| m.warm_up.max = 20),
        ("tokens", &|m| m.workload = sequence("others.npy", 64, 32)),
        ("workload", &|m| m.workload = inference("tokens.npy", None)),
    ];
    for (what, edit) in edits {
        assert!(edited(measure(), of!(Measure, |m: &mut Box<Measure>| edit(m))), "{what}");
    }
    assert!(moved(measure(), |world| world.sandbox = Some(Sandbox::Fs)));
}

#[test]
fn an_inference_depends_on_its_inputs_and_on_what_is_said_of_them() {
    let with = |workload: Workload| {
        let mut step = step(measure());
        of!(Measure, |m: &mut Box<Measure>| m.workload = workload)(&mut step);
        key(&step, &world())
    };
    let plain = with(inference("inputs", None));
    assert_ne!(plain, with(inference("others", None)), "what the inputs hold: values, shapes and types");
    assert_ne!(plain, with(inference("inputs", Some(8))), "items that are said");
    assert_ne!(with(inference("inputs", Some(4))), with(inference("inputs", Some(8))));
    assert_eq!(plain, with(inference("inputs", None)));
}

#[test]
fn a_comparison_depends_on_what_it_judges_by() {
    let edits: [Edit<Compare>; 5] = [
        ("baseline", &|c| c.baseline = Some(pattern("engine=onnx"))),
        ("reference", &|c| c.parity.as_mut().expect("parity").reference = pattern("engine=onnx")),
        ("max-abs", &|c| c.parity.as_mut().expect("parity").limits[0].limit = at(1e-4)),
        ("max-rel", &|c| c.parity.as_mut().expect("parity").limits[0].bound = Bound::MaxRel),
        ("expect", &|c| c.expects[0].min = Some(2.0)),
    ];
    for (what, edit) in edits {
        assert!(edited(compare(), of!(Compare, |c: &mut Box<Compare>| edit(c))), "{what}");
    }
}

#[test]
fn names_and_words_for_people_are_in_no_key() {
    for action in all() {
        let edit = |step: &mut Step| {
            step.name = "renamed".to_owned();
            step.also = vec!["another".to_owned()];
            step.group = "renamed".to_owned();
            step.recipe = Some("recipe".to_owned());
            step.about = Some("about".to_owned());
            step.origin = Origin::File { source: 0, start: 7, end: 9 };
            step.export = Some("given-back".to_owned());
            let (os, arch) = (Some("macos".to_owned()), Some("aarch64".to_owned()));
            step.needs = Needs { cpu: 8, memory: 1 << 40, download: 1, disk: 1, gpu: 0, os, arch };
            step.limits = Limits { timeout: Some(Duration::from_secs(1)), retries: 3 };
        };
        assert!(!edited(action.clone(), edit), "{action:?}");
    }
}

#[test]
fn how_much_is_sampled_and_what_the_report_judges_is_in_no_key() {
    let edits: [fn(&mut Measure); 4] = [
        |measure| measure.sampling.min_samples = 99,
        |measure| measure.sampling.max_samples = 99,
        |measure| measure.sampling.target = 0.5,
        |measure| measure.memory_budget = Some(at(1)),
    ];
    for edit in edits {
        assert!(!edited(measure(), of!(Measure, |m: &mut Box<Measure>| edit(m))));
    }
    let published = |label: &str| {
        let published = Published { label: label.to_owned(), source: label.to_owned(), metrics: Vec::new() };
        let mut step = step(compare());
        of!(Compare, |c: &mut Box<Compare>| c.published = vec![published])(&mut step);
        key(&step, &world())
    };
    assert_eq!(published("one"), published("two"));
}

#[test]
fn a_change_names_the_leaf_with_old_and_new() {
    let before = manifest(&step(measure()), &world(), &Fixed).expect("known");
    let mut after = step(measure());
    of!(Measure, |m: &mut Box<Measure>| {
        m.workload = sequence("tokens.npy", 128, 32);
        m.place = Place::Native;
    })(&mut after);
    let after = manifest(&after, &world(), &Fixed).expect("known");
    let changes = after.changes_since(&before);
    let brief: Vec<(&str, bool, Option<&str>)> =
        changes.iter().map(|c| (c.path.as_str(), c.old.is_some(), c.new.as_deref())).collect();
    let wanted = [
        ("place", true, Some("native")),
        ("prompt-tokens", true, Some("128")),
        ("container.image", true, None),
        ("container.cpus", true, None),
        ("container.memory", true, None),
    ];
    assert_eq!(brief, wanted);
    assert_eq!(before.changes_since(&before), []);
}

fn leaves() -> impl Strategy<Value = Manifest> {
    // Few characters, those with a meaning of their own among them, so that clashes would be found.
    let word = || proptest::string::string_regex("[a\" \\\\\n.é]{0,4}").expect("a pattern");
    let leaf = (word(), word()).prop_map(|(path, value)| Leaf { path, value, origin: None });
    proptest::collection::vec(leaf, 0..4).prop_map(|leaves| Manifest { leaves })
}

proptest! {
    #[test]
    fn a_text_is_read_back_as_it_was(manifest in leaves()) {
        prop_assert_eq!(Manifest::parse(&manifest.text()), Some(manifest));
    }

    #[test]
    fn no_two_manifests_have_the_same_text(one in leaves(), two in leaves()) {
        prop_assert_eq!(one.text() == two.text(), one == two);
        prop_assert_eq!(one.key() == two.key(), one == two);
    }

    #[test]
    fn any_text_is_read_or_refused(text in "(pipe-manifest 1\n)?[a\" \n\\\\]{0,40}") {
        if let Some(manifest) = Manifest::parse(&text) {
            prop_assert_eq!(Manifest::parse(&manifest.text()), Some(manifest));
        }
    }
}

#[test]
fn texts_of_other_versions_are_refused() {
    assert_eq!(Manifest::parse("pipe-manifest 2\nclass \"build\"\n"), None);
    assert_eq!(Manifest::parse(""), None);
}
