//! Sessions as a real run gives them, from a seed: four cells on a CPU, the rest with reasons.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use pipe::host::{Facts, Machine, Runtime};
use pipe::measure::comparison::State;
use pipe::measure::stats::Random;
use pipe::measure::{CellInput, CompareInput, Comparison, Outcome, Outputs, compare};
use pipe::pipeline::*;
use pipe::record::{Block, Caution, CautionCode, FORMAT, Sandbox, Session, Turns, Work};
use pipe::report::graph::{Edge, GraphView, Node, NodeState};
use pipe_cache::Digest;
use pipe_engine::message::{Hello, Inside, Prepared, Sample, Usage, Warmed};

const MS: f64 = 1e6;

/// What a scenario changes in the plain matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scenario {
    /// All four CPU cells are there and right.
    Plain,
    /// One cell is wrong, one over its budget, one cautioned; results from elsewhere; an expectation fails.
    Troubled,
    /// No container runtime answers: the baseline is missing.
    NoDocker,
    /// The cells are inferences of a model of tensors.
    Inference,
}

fn spanned<T>(value: T) -> Spanned<T> {
    Spanned { value, origin: Origin::Builtin("a test") }
}

pub fn facts() -> Facts {
    Facts {
        machine: Machine {
            os: "linux".into(),
            os_version: "debian 12".into(),
            architecture: "x86_64".into(),
            libc: "glibc 2.36".into(),
            cpu_model: "AMD EPYC 7763".into(),
            physical_cores: Some(1),
            logical_cores: 2,
            usable_cores: 2,
            cpu_quota_milli: None,
            memory_gib: 24,
            gpus: Vec::new(),
            virtualisation: "firecracker".into(),
        },
        ..Facts::default()
    }
}

fn matrix() -> Matrix {
    let axis = |name: &str, values: &[&str]| {
        (name.to_owned(), values.iter().map(|value| (*value).to_owned()).collect::<Vec<_>>())
    };
    let excluded = |pairs: &[(&str, &str)], reason: &str| (cell(pairs), reason.to_owned());
    let coreml = "CoreML is part of macOS; a Linux container cannot reach it";
    let metal = "Metal is part of macOS; a Linux container cannot reach it";
    let rules = [
        excluded(
            &[("engine", "onnx"), ("device", "mps")],
            "ONNX Runtime reaches Apple GPUs through CoreML: device coreml",
        ),
        excluded(&[("engine", "torch"), ("device", "coreml")], "CoreML is an ONNX Runtime provider"),
        excluded(&[("place", "container"), ("device", "mps")], metal),
        excluded(&[("place", "container"), ("device", "coreml")], coreml),
    ];
    let axes = vec![
        axis("engine", &["torch", "onnx"]),
        axis("place", &["native", "container"]),
        axis("device", &["cpu", "mps", "coreml", "cuda"]),
    ];
    let points = axes.iter().fold(vec![Cell::default()], |points, (axis, values)| {
        let with = |point: &Cell, value: &String| {
            Cell(point.0.iter().cloned().chain([(axis.clone(), value.clone())]).collect())
        };
        points.iter().flat_map(|point| values.iter().map(move |value| with(point, value))).collect()
    });
    let rule = |point: &Cell| {
        let covers = |part: &Cell| part.0.iter().all(|(axis, value)| point.get(axis) == Some(value));
        rules.iter().find(|(part, _)| covers(part)).map(|(_, reason)| (point.clone(), reason.clone()))
    };
    let excluded = points.iter().filter_map(rule).collect();
    Matrix { name: "cells".into(), axes, points, excluded, included: Vec::new() }
}

fn cell(pairs: &[(&str, &str)]) -> Cell {
    Cell(pairs.iter().map(|(axis, value)| ((*axis).to_owned(), (*value).to_owned())).collect())
}

fn measure(place: &str, device: &str, scenario: Scenario) -> Measure {
    let input = || spanned(Input::EngineSources);
    let workload = match scenario {
        Scenario::Inference => Workload::Inference { inputs: input(), items: None },
        _ => Workload::Sequence { tokens: input(), prompt_tokens: spanned(64), new_tokens: spanned(32) },
    };
    Measure {
        engine: input(),
        program: spanned("bin/pipe-engine".into()),
        model: input(),
        cuda_libraries: None,
        place: match place {
            "native" => Place::Native,
            _ => Place::Container { image: input(), cpus: spanned(2), memory: spanned(8 << 30) },
        },
        device: spanned(device.parse().expect("a device")),
        dtype: spanned(Dtype::Fp32),
        threads: spanned(2),
        reduced_precision: spanned(false),
        optimization: spanned(Default::default()),
        workload,
        warm_up: WarmUp { min: 3, max: 20 },
        sampling: Sampling {
            min_samples: 10,
            min_time: Duration::from_secs(5),
            target: 0.02,
            max_time: Duration::from_secs(60),
            max_samples: 80,
        },
        memory_budget: Some(spanned(6 << 30)),
    }
}

fn key(text: &str) -> Digest {
    Digest::derive("pipe 2026 test v1", text.as_bytes())
}

fn sample(random: &mut Random, at: u64, prefill: f64, token: f64) -> Sample {
    let drift = 1.0 + 0.012 * random.normal();
    let slow = if random.unit() < 0.04 { 1.15 } else { 1.0 };
    let mut time = |middle: f64| (middle * slow * drift * (1.0 + 0.01 * random.normal()) * MS) as u64;
    Sample { at_ns: at, prefill_ns: time(prefill), decode_ns: (0..32).map(|_| time(token)).collect() }
}

/// One session of `engine`, whose sequences take about `prefill` and 32 × `token` milliseconds.
fn session(engine: &str, place: &str, prefill: f64, token: f64, count: u64, resident: u64) -> Session {
    let mut random = Random::seeded(u64::from(engine == "onnx") * 2 + u64::from(place == "native") + 17);
    let mut at = 0;
    let mut next = |slower: f64, random: &mut Random| {
        let sample = sample(random, at, prefill * slower, token);
        at += sample.prefill_ns + sample.decode_ns.iter().sum::<u64>();
        sample
    };
    let warm = vec![next(2.4, &mut random), next(1.05, &mut random), next(1.0, &mut random), next(1.0, &mut random)];
    let samples = (0..count).map(|_| next(1.0, &mut random)).collect();
    let facts = facts();
    let runtime = (place == "container").then(|| Runtime {
        name: "docker".into(),
        version: "20.10".into(),
        platform: "linux/x86_64".into(),
        cgroup_version: "1".into(),
        cpus: 2,
        memory_gib: 24,
    });
    let version = if engine == "torch" { ("libtorch", "2.11.0") } else { ("onnxruntime", "1.24.1") };
    Session {
        format: FORMAT,
        fresh: false,
        question: key(&format!("engine={engine},place={place},device=cpu")),
        machine: facts.machine.key(runtime.as_ref()),
        facts,
        runtime,
        started: 1_790_000_000,
        sandbox: if place == "native" { Sandbox::Strict } else { Sandbox::Off },
        hello: Hello { protocol: 1, engine: engine.into(), version: "0.1.0".into(), simulated: false },
        start_ns: if place == "native" { 41_000_000 } else { 512_000_000 },
        prepared: Some(Prepared {
            process_ns: Some(21_000_000),
            load_ns: if engine == "torch" { 1_234_000_000 } else { 711_000_000 },
            libraries: BTreeMap::from([(version.0.to_owned(), version.1.to_owned()), ("simd".into(), "avx2".into())]),
            threads: 2,
            reduced_precision: false,
            optimization: Default::default(),
            placement: BTreeMap::from([("cpu".to_owned(), 1_204)]),
            items: None,
            inside: Inside { cpus: 2, architecture: "x86_64".into(), ..Inside::default() },
        }),
        warmed: Some(Warmed { samples: warm, steady: true }),
        samples,
        turns: Some(turns(engine, place, count)),
        work: Work::Sequence { prompt_tokens: 64, new_tokens: 32 },
        usage: Some(Usage {
            peak_resident: Some(resident),
            peak_device: None,
            cpu_ns: Some(31_000_000_000),
            major_faults: Some(3),
        }),
        outputs: None,
        cautions: Vec::new(),
        fault: None,
        log: None,
    }
}

/// Ten blocks, in turn with the other cells of the matrix that can be measured here.
fn turns(engine: &str, place: &str, count: u64) -> Turns {
    let all = [("torch", "native"), ("torch", "container"), ("onnx", "native"), ("onnx", "container")];
    let others = all.into_iter().filter(|cell| *cell != (engine, place));
    let blocks = (0..10_u32).map(|round| Block {
        round,
        place: 0,
        at_ns: u64::from(round) * 4_000_000_000,
        took_ns: 900_000_000,
        samples: (count / 10).max(1) as u32,
    });
    Turns {
        seed: 7,
        with: others.map(|(engine, place)| key(&format!("engine={engine},place={place},device=cpu"))).collect(),
        stopped: true,
        settling: 0,
        blocks: blocks.collect(),
    }
}

/// A `logits.npy` of 95 positions × 64 tokens, each value `off` away from the plain one.
fn logits(off: f32) -> Vec<u8> {
    let (rows, columns) = (95usize, 64usize);
    let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {columns}), }}\n");
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    let mut random = Random::seeded(99);
    for i in 0..rows * columns {
        let value = random.normal() as f32 * 4.0;
        let sign = if i % 2 == 0 { 1.0 } else { -1.0 };
        bytes.extend((value + sign * off).to_le_bytes());
    }
    bytes
}

/// A cell's outcome in a scenario.
fn outcome(engine: &str, place: &str, device: &str, scenario: Scenario) -> Outcome<'static> {
    let unavailable = |reason: &str, remedy: Option<&str>| Outcome::Unavailable {
        reason: reason.to_owned(),
        remedy: remedy.map(str::to_owned),
    };
    match (device, place) {
        ("mps", _) => {
            unavailable("Metal needs macOS on Apple silicon; this is linux x86_64", Some("run `pipe` on a Mac"))
        }
        ("coreml", _) => unavailable("CoreML needs macOS; this is linux x86_64", Some("run `pipe` on a Mac")),
        ("cuda", "container") => unavailable(
            "containers get no GPU here: the runtime has no NVIDIA hook",
            Some("install the NVIDIA container toolkit on a machine with an NVIDIA GPU"),
        ),
        ("cuda", _) => unavailable(
            "no NVIDIA driver answers: libnvidia-ml.so.1 is not there",
            Some("run on a machine with an NVIDIA GPU; `pipe doctor` says what it sees"),
        ),
        (_, "container") if scenario == Scenario::NoDocker => unavailable(
            "no container runtime answers at /var/run/docker.sock",
            Some("apt-get install docker.io && service docker start"),
        ),
        _ => measured(engine, place, scenario),
    }
}

fn measured(engine: &str, place: &str, scenario: Scenario) -> Outcome<'static> {
    let troubled = scenario == Scenario::Troubled;
    let (prefill, token, off) = match (engine, place) {
        ("torch", "native") => (152.0, 29.9, 0.0),
        ("torch", _) => (155.0, 30.3, 0.0),
        (_, "native") => (101.0, 21.2, 8.1e-5),
        _ => (102.0, 21.4, if troubled { 0.42 } else { 8.1e-5 }),
    };
    let resident = match (engine, place) {
        ("torch", "container") if troubled => (6 << 30) + (217 << 20),
        ("torch", _) => 1_310 << 20,
        _ => 812 << 20,
    };
    let count = match (engine, scenario) {
        ("torch", _) => 24,
        (_, Scenario::Inference) => 80,
        _ => 31,
    };
    let mut session = session(engine, place, prefill, token, count, resident);
    let outputs = match scenario {
        Scenario::Inference => {
            session.work = Work::Inference { items: Some(8) };
            let warm = session.warmed.iter_mut().flat_map(|warmed| &mut warmed.samples);
            session.samples.iter_mut().chain(warm).for_each(|sample| sample.decode_ns.clear());
            Outputs::Tensors(BTreeMap::from([("scores.npy".to_owned(), Cow::Owned(logits(off)))]))
        }
        _ => Outputs::Logits(Cow::Owned(logits(off))),
    };
    if troubled && (engine, place) == ("onnx", "native") {
        session.cautions.push(Caution {
            code: CautionCode::ForeignLoad,
            seen: "other processes used 37 % of the processors while this was measured".into(),
        });
    }
    Outcome::Measured { sessions: Cow::Owned(vec![session]), outputs, from_store: engine == "torch" }
}

/// The comparison of a scenario.
pub fn comparison(scenario: Scenario) -> Comparison {
    comparison_with(scenario, |_, outcome| outcome)
}

/// The same, with `change` made to each cell's outcome: it gets `torch native cpu` and what became of it.
pub fn comparison_with(scenario: Scenario, change: impl Fn(&str, Outcome<'static>) -> Outcome<'static>) -> Comparison {
    let matrix = matrix();
    let pattern = |text: &str| CellPattern::parse(text).expect("a pattern");
    let troubled = scenario == Scenario::Troubled;
    let published = Published {
        label: "M1 Max (published)".into(),
        source: "a blog".into(),
        metrics: vec![("tokens-per-second".into(), 88.2), ("time-to-first-token".into(), 0.061)],
    };
    let asked = Compare {
        of: Vec::new(),
        group: "decode".into(),
        matrix: Some(matrix.clone()),
        baseline: Some(spanned(pattern("engine=torch place=container device=cpu"))),
        parity: Some(Parity {
            reference: spanned(pattern("engine=torch place=native device=cpu")),
            limits: vec![Limit { bound: Bound::MaxAbs, limit: spanned(1e-3) }],
            top_k: None,
            outputs: Vec::new(),
            calibrated: None,
        }),
        expects: vec![Expect {
            metric: spanned("speed-up".into()),
            cell: spanned(pattern("engine=onnx place=native")),
            min: Some(if troubled { 2.0 } else { 1.0 }),
            max: None,
        }],
        published: if troubled { vec![published] } else { Vec::new() },
    };
    let mut cells = Vec::new();
    for engine in ["torch", "onnx"] {
        for place in ["native", "container"] {
            for device in ["cpu", "mps", "coreml", "cuda"] {
                let point = cell(&[("engine", engine), ("place", place), ("device", device)]);
                let ruled_out = matrix
                    .excluded
                    .iter()
                    .any(|(part, _)| part.0.iter().all(|(axis, value)| point.get(axis) == Some(value)));
                if !ruled_out {
                    let step = format!("decode[{point}]");
                    let changed =
                        change(&format!("{engine} {place} {device}"), outcome(engine, place, device, scenario));
                    cells.push((step, point, measure(place, device, scenario), changed));
                }
            }
        }
    }
    let facts = facts();
    compare(CompareInput {
        pipeline: "llm-6gb",
        about: Some("One LLM that fits in 6 GB, on every engine and place this host offers"),
        compare: &asked,
        noise: None,
        cells: cells
            .iter()
            .map(|(step, point, measure, outcome)| CellInput {
                step,
                cell: Some(point),
                measure,
                question: Some(key(&format!("{point}"))),
                outcome: outcome.clone(),
            })
            .collect(),
        facts: &facts,
    })
}

/// The graph of a scenario, as a plan would give it; `seen_before` changes nothing but cache states.
pub fn graph(comparison: &Comparison, seen_before: bool) -> GraphView {
    let mut view = GraphView { title: comparison.pipeline.clone(), ..GraphView::default() };
    let state = || if seen_before { NodeState::Cached } else { NodeState::Runs("never run".into()) };
    let mut add = |name: &str, class: Class, state: NodeState, cell: Option<Cell>, reads: &[usize]| {
        let to = view.nodes.len();
        let mut node = Node::new(format!("s{to}"), name, class, state);
        node.group = name.split('[').next().unwrap_or_default().to_owned();
        node.detail = seen_before.then(|| "1.2 GiB".to_owned());
        node.cell = cell;
        view.nodes.push(node);
        view.edges.extend(reads.iter().map(|&from| Edge { from, to }));
        to
    };
    let wheels: Vec<usize> =
        (0..38).map(|i| add(&format!("env/wheel-{i}"), Class::Fetch, state(), None, &[])).collect();
    let env = add("env", Class::Build, state(), None, &wheels);
    let model = add("model", Class::Build, state(), None, &[env]);
    let tokens = add("tokens", Class::Build, state(), None, &[]);
    let sources = add("engine-sources", Class::Fetch, state(), None, &[]);
    let mut engines = Vec::new();
    for (engine, file) in [("torch", "script"), ("onnx", "onnx")] {
        let export = add(file, Class::Build, state(), None, &[env, model]);
        let built = add(&format!("engine/{engine}"), Class::Build, state(), None, &[sources, env]);
        let image = add(&format!("image/{engine}"), Class::Build, state(), None, &[built, export]);
        engines.push((export, built, image));
    }
    let mut cells = Vec::new();
    for row in &comparison.rows {
        let (Some(step), Some(cell)) = (&row.step, &row.cell) else { continue };
        let (export, built, image) = engines[usize::from(cell.get("engine") == Some("onnx"))];
        let native = cell.get("place") == Some("native");
        let reads = if native { vec![tokens, export, built] } else { vec![tokens, image] };
        let state = match &row.state {
            State::Unavailable(hole) => NodeState::Unavailable(hole.reason.clone()),
            _ => state(),
        };
        cells.push(add(step, Class::Measure, state, Some(cell.clone()), &reads));
    }
    add("report", Class::Build, state(), None, &cells);
    view
}
