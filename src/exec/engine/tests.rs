//! An engine played from a script: each line waits for a request, then says its text.

use super::*;
use pipe_engine::message::{Device, Dtype, Optimization};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream};

const HELLO: &str = r#"{"protocol":2,"engine":"sim","version":"1","simulated":true}"#;
const PREPARED: &str = r#"{"answer":"prepared","process_ns":1,"load_ns":2,"libraries":{},"threads":2,"reduced_precision":false,"placement":{},"inside":{"cpus":2,"uid":0,"root_writable":false,"network_interfaces":[],"architecture":"x86_64","cpu_quota_milli":null,"memory_limit":null}}"#;
const WARMED: &str = r#"{"answer":"warmed","samples":[{"at_ns":1,"prefill_ns":1,"decode_ns":[1,1]}],"steady":true}"#;
const OUTPUTS: &str = r#"{"answer":"outputs","files":["logits.npy"]}"#;
const FINISHED: &str =
    r#"{"answer":"finished","peak_resident":1,"peak_device":null,"cpu_ns":null,"major_faults":null}"#;

fn samples(count: usize) -> String {
    let one = r#"{"at_ns":1,"prefill_ns":1,"decode_ns":[1,1]}"#;
    format!(r#"{{"answer":"samples","samples":[{}]}}"#, vec![one; count].join(","))
}

fn limits() -> Limits {
    let short = Duration::from_millis(200);
    Limits { hello: short, prepare: short, warm_up: short, measure: short, outputs: short, finish: short }
}

fn how() -> Prepare {
    Prepare {
        protocol: PROTOCOL,
        device: Device::Cpu,
        dtype: Dtype::Fp32,
        threads: 2,
        reduced_precision: false,
        optimization: Optimization::All,
        model: "in/model".into(),
        cuda_libraries: None,
        workload: Workload::Llm { tokens: "in/tokens.npy".into(), prompt_tokens: 4, new_tokens: 2 },
    }
}

/// All that is asked of an engine, with two blocks.
async fn whole(talk: &mut Talk) -> Result<(Vec<Sample>, Usage), EngineFault> {
    talk.greet().await?;
    talk.prepare(how()).await?;
    assert_eq!(talk.warm_up(WarmUp { min: 1, max: 2 }).await?, Duration::from_nanos(3));
    let mut samples = talk.measure(3, 1).await?;
    samples.extend(talk.measure(2, 100).await?);
    assert_eq!(talk.outputs("out").await?.files, ["logits.npy"]);
    Ok((samples, talk.finish().await?))
}

/// What the peer does at one turn.
enum Turn {
    Says(String),
    Stalls,
}

fn says(lines: &[&str]) -> Vec<Turn> {
    lines.iter().map(|line| Turn::Says((*line).to_owned())).collect()
}

/// Says the first turn unasked, each other one after a request, then ends; gives back what it was asked.
async fn play(stream: DuplexStream, turns: Vec<Turn>) -> Vec<String> {
    let (reader, mut writer) = tokio::io::split(stream);
    let mut requests = BufReader::new(reader).lines();
    let mut asked = Vec::new();
    for (at, turn) in turns.into_iter().enumerate() {
        if at > 0 {
            let Ok(Some(request)) = requests.next_line().await else {
                return asked;
            };
            asked.push(request);
        }
        match turn {
            Turn::Says(text) => {
                if writer.write_all(text.as_bytes()).await.is_err() {
                    return asked;
                }
                let _ = writer.write_all(b"\n").await;
            }
            Turn::Stalls => tokio::time::sleep(Duration::from_secs(30)).await,
        }
    }
    asked
}

type Whole = Result<(Vec<Sample>, Usage), EngineFault>;

async fn outcome_of(turns: Vec<Turn>) -> (Whole, Talk, Vec<String>) {
    let (ours, theirs) = tokio::io::duplex(1 << 16);
    let peer = tokio::spawn(play(theirs, turns));
    let (reader, writer) = tokio::io::split(ours);
    let mut talk = Talk::new(reader, writer, Instant::now(), limits());
    let result = whole(&mut talk).await;
    let asked = if result.is_ok() { peer.await.unwrap() } else { Vec::new() };
    (result, talk, asked)
}

async fn fault_of(turns: Vec<Turn>) -> String {
    outcome_of(turns).await.0.unwrap_err().to_string()
}

#[tokio::test]
async fn a_whole_session() {
    let turns = says(&[HELLO, PREPARED, WARMED, &samples(3), &samples(2), OUTPUTS, FINISHED]);
    let (result, talk, asked) = outcome_of(turns).await;
    let (samples, usage) = result.unwrap();
    assert_eq!((samples.len(), usage.peak_resident), (5, Some(1)));
    assert!(talk.learned().warmed.is_some() && talk.learned().start_ns.is_some());
    let kinds: Vec<String> = asked
        .iter()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["ask"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(kinds, ["prepare", "warm-up", "measure", "measure", "outputs", "finish"]);
    assert_eq!(asked[3], r#"{"ask":"measure","samples":2,"every":100}"#);
}

#[tokio::test]
async fn an_engine_that_ends_early() {
    assert_eq!(fault_of(says(&[])).await, "the engine ended during `hello`");
    assert_eq!(fault_of(says(&[HELLO])).await, "the engine ended during `prepare`");
    assert_eq!(fault_of(says(&[HELLO, PREPARED, WARMED])).await, "the engine ended during `measure`");
    let fault = EngineFault::Crashed { phase: Phase::Measure, how: None, log: Vec::new() };
    assert_eq!(
        fault.with_end("signal 11 (SIGSEGV)", vec!["about to crash".into()]).to_string(),
        "the engine ended during `measure` with signal 11 (SIGSEGV); it last said:\n  about to crash"
    );
}

#[tokio::test]
async fn an_engine_that_hangs() {
    let hung = "the engine gave no answer to `hello` within 0.2 s and was ended";
    assert_eq!(fault_of(vec![Turn::Stalls]).await, hung);
    let mut turns = says(&[HELLO, PREPARED]);
    turns.push(Turn::Stalls);
    assert_eq!(fault_of(turns).await, hung.replace("hello", "warm-up"));
}

#[tokio::test]
async fn an_engine_that_speaks_nonsense() {
    let fault = fault_of(says(&["Loading \u{1b}[31mmodel…"])).await;
    assert_eq!(
        fault,
        "the engine spoke no protocol during `hello`: expected value at line 1 column 1: `Loading [31mmodel…`"
    );
    for line in ["", "{}", "null", "[1]", r#"{"answer":"surprise"}"#, r#"{"answer":"prepared"}"#] {
        let fault = fault_of(says(&[HELLO, line])).await;
        assert!(fault.starts_with("the engine spoke no protocol during `prepare`"), "{fault}");
    }
}

#[tokio::test]
async fn an_engine_that_breaks_off_in_a_line() {
    let (ours, mut theirs) = tokio::io::duplex(1 << 10);
    theirs.write_all(&HELLO.as_bytes()[..9]).await.unwrap();
    drop(theirs);
    let (reader, writer) = tokio::io::split(ours);
    let fault = Talk::new(reader, writer, Instant::now(), limits()).greet().await.unwrap_err();
    assert!(fault.to_string().contains("the line breaks off"), "{fault}");
}

#[tokio::test]
async fn an_engine_whose_line_never_ends() {
    let endless = tokio::io::repeat(b'x');
    let limits = Limits { hello: Duration::from_secs(20), ..limits() };
    let fault = Talk::new(endless, tokio::io::sink(), Instant::now(), limits).greet().await.unwrap_err();
    assert!(fault.to_string().contains("a line of more than 64 MiB"), "{fault}");
    assert!(fault.to_string().len() < 400);
}

#[tokio::test]
async fn an_engine_that_answers_something_else() {
    assert_eq!(
        fault_of(says(&[HELLO, WARMED])).await,
        "the engine broke the protocol: wanted the answer to `prepare`, got `warmed`"
    );
    assert_eq!(
        fault_of(says(&[HELLO, PREPARED, WARMED, &samples(2)])).await,
        "the engine broke the protocol: wanted 3 samples, got 2 samples"
    );
    assert_eq!(
        fault_of(says(&[HELLO, PREPARED, &WARMED.replace("[1,1]", "[1]")])).await,
        "the engine broke the protocol: wanted 2 times for one sequence, got 1 times"
    );
    assert_eq!(
        fault_of(says(&[&HELLO.replace(r#""protocol":2"#, r#""protocol":0"#)])).await,
        "the engine broke the protocol: wanted version 2, got version 0 of `sim` 1"
    );
}

#[tokio::test]
async fn an_engine_that_tells_its_fault_is_believed_and_what_it_said_before_is_kept() {
    let failed = |kind: &str| format!(r#"{{"answer":"failed","kind":"{kind}","message":"told"}}"#);
    assert_eq!(fault_of(says(&[HELLO, &failed("no-device")])).await, "told");
    assert_eq!(fault_of(says(&[HELLO, &failed("failed")])).await, "the engine failed during `prepare`: told");
    let (result, talk, _) = outcome_of(says(&[HELLO, PREPARED, &failed("out-of-memory")])).await;
    let fault = result.unwrap_err();
    assert_eq!(fault, EngineFault::OutOfMemory("told".into()));
    assert!(fault.to_record().is_some());
    let learned = talk.learned();
    assert!(learned.hello.is_some() && learned.prepared.is_some() && learned.warmed.is_none());
}
