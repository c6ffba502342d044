//! Whole sessions with the simulated engine, in memory.

use std::path::PathBuf;

use super::*;
use crate::message::{Device, Dtype, Optimization, WarmUp, Warmed, Workload};
use crate::npy;
use crate::tensor::{Element, Tensor};

/// A folder with a script and a token file, which goes when the test does.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str, script: &str) -> Self {
        let path = std::env::temp_dir().join(format!("pipe-engine-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a folder");
        std::fs::write(path.join("sim.json"), script).expect("a script");
        let file = std::fs::File::create(path.join("tokens.npy")).expect("a file");
        npy::write_i64(file, &[1, 2, 3, 4, 5, 6, 7, 8]).expect("tokens");
        Self(path)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }

    fn prepare(&self) -> Request {
        let tokens = self.path("tokens.npy");
        self.prepare_for(Workload::Llm { tokens, prompt_tokens: 4, new_tokens: 3 })
    }

    /// Makes a folder of inputs, with `x` of this shape.
    fn prepare_inference(&self, shape: &[u64]) -> Request {
        let inputs = self.0.join("inputs");
        std::fs::create_dir_all(&inputs).expect("a folder");
        let count = shape.iter().product::<u64>();
        let bytes = (0..count).flat_map(|number| (number as f32).to_le_bytes()).collect();
        let x = Tensor { element: Element::Float32, shape: shape.to_vec(), bytes };
        npy::write(std::fs::File::create(inputs.join("x.npy")).expect("a file"), &x).expect("written");
        self.prepare_for(Workload::Inference { inputs: self.path("inputs") })
    }

    fn prepare_for(&self, workload: Workload) -> Request {
        Request::Prepare(Prepare {
            protocol: PROTOCOL,
            device: Device::Cpu,
            dtype: Dtype::Fp32,
            threads: 2,
            reduced_precision: false,
            optimization: Optimization::All,
            model: self.path(""),
            cuda_libraries: None,
            workload,
        })
    }

    /// Everything that the engine says to these requests, the hello apart.
    fn talk(&self, requests: &[Request]) -> Vec<Answer> {
        let mut lines = Vec::new();
        for request in requests {
            write_line(&mut lines, request).expect("memory");
        }
        let mut out = Vec::new();
        talk(&lines[..], &mut out).expect("memory");
        let text = String::from_utf8(out).expect("text");
        let mut said = text.lines();
        let hello: Hello = serde_json::from_str(said.next().expect("a hello")).expect("a hello");
        assert!(hello.simulated);
        said.map(|line| serde_json::from_str(line).expect("an answer")).collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_whole_session_is_the_same_twice() {
    let folder = Folder::new("session", "{}");
    let requests = [
        folder.prepare(),
        Request::WarmUp(WarmUp { min: 2, max: 9 }),
        Request::Measure { samples: 3, every: 1 },
        Request::Measure { samples: 1, every: 1 },
        Request::Finish,
    ];
    let said = folder.talk(&requests);
    let [
        Answer::Prepared(prepared),
        Answer::Warmed(Warmed { samples: warm, steady: true }),
        Answer::Samples { samples },
        Answer::Samples { samples: more },
        Answer::Finished(usage),
    ] = &said[..]
    else {
        unreachable!("{said:?}")
    };
    assert_eq!((prepared.threads, prepared.load_ns), (2, 200_000_000));
    assert_eq!(warm[0].at_ns, 200_000_000);
    assert!(samples.len() == 3 && more.len() == 1);
    assert!(samples[0].decode_ns.len() == 3 && samples[0].prefill_ns >= 50_000_000);
    assert!(samples[2].at_ns < more[0].at_ns);
    assert_eq!(usage.peak_resident, Some(1 << 30));
    assert_eq!(folder.talk(&requests), said);
}

#[test]
fn outputs_hold_a_row_for_each_token() {
    let rows = |name: &str, script: &str| {
        let folder = Folder::new(name, script);
        let said = folder.talk(&[folder.prepare(), Request::Outputs { folder: folder.path("out") }]);
        assert!(matches!(&said[1], Answer::Outputs(outputs) if outputs.files == ["logits.npy"]), "{said:?}");
        let bytes = std::fs::read(folder.0.join("out/logits.npy")).expect("a file");
        let (floats, _) = bytes[128..].as_chunks::<4>();
        floats.iter().map(|float| f32::from_le_bytes(*float)).collect::<Vec<_>>()
    };
    let right = rows("right", "{}");
    let wrong = rows("wrong", r#"{"behaviour":"wrong"}"#);
    assert_eq!(right.len(), 7 * 16);
    assert!(right.iter().zip(&wrong).all(|(right, wrong)| right + 1.0 == *wrong));
}

#[test]
fn inferences_are_timed_one_by_one_and_their_outputs_written() {
    let folder = Folder::new("inference", r#"{"infer-ns":1000000}"#);
    let requests = [
        folder.prepare_inference(&[2, 3]),
        Request::WarmUp(WarmUp { min: 2, max: 9 }),
        Request::Measure { samples: 3, every: 1 },
        Request::Outputs { folder: folder.path("out") },
    ];
    let said = folder.talk(&requests);
    let [Answer::Prepared(prepared), Answer::Warmed(_), Answer::Samples { samples }, Answer::Outputs(outputs)] =
        &said[..]
    else {
        unreachable!("{said:?}")
    };
    assert_eq!(prepared.items, Some(2));
    assert!(samples.len() == 3 && samples.iter().all(|one| one.decode_ns.is_empty() && one.prefill_ns >= 1_000_000));
    assert!(samples[1].at_ns > samples[0].at_ns);
    assert_eq!(outputs.files, ["y.npy"]);
    let y = npy::read(std::fs::File::open(folder.0.join("out/y.npy")).expect("a file")).expect("an array");
    assert_eq!((y.shape, &y.bytes[20..]), (vec![2, 3], &10.0_f32.to_le_bytes()[..]));
}

#[test]
fn samples_may_be_spread_over_more_passes() {
    let folder = Folder::new("spread", r#"{"infer-ns":1000,"noise-milli":0}"#);
    let said = folder.talk(&[folder.prepare_inference(&[1, 1]), Request::Measure { samples: 3, every: 10 }]);
    let Answer::Samples { samples } = &said[1] else { unreachable!("{said:?}") };
    let at: Vec<u64> = samples.iter().map(|sample| sample.at_ns - samples[0].at_ns).collect();
    assert_eq!(at, [0, 10_000, 20_000]);
    assert!(samples.iter().all(|sample| sample.prefill_ns == 1000));
}

#[test]
fn inputs_that_do_not_fit_the_model_are_named() {
    let folder = Folder::new("misfit", "{}");
    let said = folder.talk(&[folder.prepare_inference(&[2])]);
    assert!(matches!(&said[0], Answer::Failed(fault) if fault.message.contains("takes (any, any)")), "{said:?}");
}

#[test]
fn faults_come_at_their_moment() {
    let check = |script: &str, kind: FaultKind| {
        let folder = Folder::new(&format!("{kind:?}"), script);
        let said = folder.talk(&[folder.prepare(), Request::Measure { samples: 1, every: 1 }]);
        let fault = said.iter().find_map(|answer| match answer {
            Answer::Failed(fault) => Some(fault.kind),
            _ => None,
        });
        assert_eq!(fault, Some(kind), "{said:?}");
    };
    check(r#"{"behaviour":"out-of-memory"}"#, FaultKind::OutOfMemory);
    check(r#"{"behaviour":"no-device"}"#, FaultKind::NoDevice);
    check(r#"{"behaviour":"fail","at":"prepare"}"#, FaultKind::Failed);
    check(r#"{"behaviour":"eats-memory","appetite":40000000}"#, FaultKind::OutOfMemory);
}

#[test]
fn a_short_or_foreign_token_file_is_named() {
    let check = |tokens: &[i64], words: &str| {
        let folder = Folder::new(&format!("tokens{}", tokens.len()), "{}");
        let file = std::fs::File::create(folder.0.join("tokens.npy")).expect("a file");
        npy::write_i64(file, tokens).expect("tokens");
        let said = folder.talk(&[folder.prepare()]);
        assert!(matches!(&said[0], Answer::Failed(fault) if fault.message.contains(words)), "{said:?}");
    };
    check(&[1, 2, 3], "7 tokens are asked for, and it holds 3");
    check(&[1, 2, 3, 4, 5, 6, 16], "token 16 lies outside of the vocabulary of 16");
}
