//! `pipe show`: what a run did, or all that is known of a key: manifest, output, usage, samples and log.

use clap::Args;
use pipe_cache::{Digest, Entry, Store, StoreError};
use serde_json::{Value, json};

use super::estimate::size;
use super::history::{self, Named, Past};
use super::output::{Format, print};
use super::progress::time;
use super::{Global, exit, load, runs};
use crate::exec::history::Run;
use crate::exec::process::log::harmless;
use crate::exec::share::{self, Origin};
use crate::measure::stats::median;
use crate::record::{RunRecord, Sandbox, Session, StepRecord};
use crate::report::units::columns;

/// At most so many files of an output, and lines of a log, are shown.
const FILES: usize = 20;
const LINES: usize = 10;

/// The flags of `pipe show`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// A run or a key by its first digits, `last` or `last~1` for a run, or a step by its name
    name: String,
    /// How it is written
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// Shows a run or a key.
pub fn main(global: &Global, arguments: &Arguments) -> u8 {
    show(global, arguments).unwrap_or_else(|code| code)
}

fn show(global: &Global, arguments: &Arguments) -> Result<u8, u8> {
    let store = load::store(global)?;
    let text = match (history::named(&store, &arguments.name)?, arguments.format) {
        (Named::Run(run), Format::Text) => of_run(&store, &run),
        (Named::Run(run), Format::Json) => pretty(&run_json(&store, &run)),
        (Named::Key(key), Format::Text) => {
            let past = history::past(&store, &key).map_err(history::fault)?;
            of_key(&store, &key, &past).map_err(history::fault)?
        }
        (Named::Key(key), Format::Json) => {
            let past = history::past(&store, &key).map_err(history::fault)?;
            pretty(&key_json(&store, &key, &past).map_err(history::fault)?)
        }
    };
    print(&text);
    Ok(exit::DONE)
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}

/// What happened to each step, those that ran first.
fn of_run(store: &Store, run: &Run) -> String {
    let Run { id, record } = run;
    let mut out = format!("run      {id}\n");
    let mut row = |what: &str, said: &str| out.push_str(&format!("{what:7}  {said}\n"));
    let took = record.wall_ns.map(|ns| format!(", in {}", seconds(ns))).unwrap_or_default();
    let code = record.exit.map(|code| format!(", exit code {code}")).unwrap_or_default();
    row("of", &format!("{} at {}{took}{code}", record.pipeline, history::when(record.started)));
    if !record.flags.is_empty() {
        row("flags", &record.flags.join(" "));
    }
    if let Some(machine) = &record.machine {
        row("machine", &machine.line());
    }
    if !record.pipe.is_empty() {
        row("pipe", &format!("{}, sandbox {}", record.pipe, record.sandbox.map_or("not recorded", Sandbox::name)));
    }
    out.push('\n');
    let rows = step_rows(store, record);
    let width = rows.iter().map(|row| columns(row.name)).max().unwrap_or(0).min(40);
    for row in rows {
        let blanks = " ".repeat(width.saturating_sub(columns(row.name)));
        let key = row.key.map_or(" ".repeat(12), |key| key.short());
        let took = row.took.map(seconds).unwrap_or_default();
        let line = format!("  {}{blanks}  {:11}  {key}  {took:>8}", row.name, row.state);
        out.push_str(line.trim_end());
        out.push('\n');
        if let Some(said) = row.said {
            out.push_str(&format!("  {}  {}\n", " ".repeat(width), harmless(said)));
        }
    }
    out.push_str("\n`pipe show STEP` or `pipe show KEY` tells more of one, `pipe why FILE --run RUN` why it ran\n");
    out
}

/// A step of a run.
struct Row<'a> {
    name: &'a str,
    state: &'a str,
    key: Option<Digest>,
    said: Option<&'a str>,
    /// What its result took, for one that ran.
    took: Option<u64>,
}

fn step_rows<'a>(store: &Store, record: &'a RunRecord) -> Vec<Row<'a>> {
    let steps = record.steps.iter().map(|(name, step)| {
        let took = (step.state == "ran").then(|| history::step_record(store, &step.key).ok().flatten()).flatten();
        let took = took.map(|record| record.usage.wall_ns);
        Row { name, state: &step.state, key: Some(step.key), said: step.said.as_deref(), took }
    });
    let keyless = record.keyless.iter();
    let keyless =
        keyless.map(|(name, lack)| Row { name, state: &lack.state, key: None, said: Some(&lack.said), took: None });
    let mut rows: Vec<Row> = steps.chain(keyless).collect();
    let rank = |row: &Row| ["failed", "ran", "unavailable", "skipped"].iter().position(|state| *state == row.state);
    rows.sort_by_key(|row| (rank(row).unwrap_or(9), row.name));
    rows
}

fn run_json(store: &Store, run: &Run) -> Value {
    let rows = step_rows(store, &run.record).into_iter();
    let steps = rows.map(|row| {
        let took = row.took.map(|ns| ns as f64 / 1e9);
        let key = row.key.map(|key| key.to_string());
        json!({ "step": row.name, "state": row.state, "key": key, "said": row.said, "wall_seconds": took })
    });
    let mut value = json!({ "schema": "pipe-show/1", "kind": "run" });
    value["run"] = runs::head(run);
    value["steps"] = steps.collect();
    value
}

fn seconds(ns: u64) -> String {
    time(ns as f64 / 1e9)
}

fn of_key(store: &Store, key: &Digest, past: &Past) -> Result<String, StoreError> {
    let mut out = format!("key     {key}\n");
    for name in &past.names {
        out.push_str(&format!("step    {name}\n"));
    }
    if let Some(record) = &past.record {
        out.push_str(&result(store, record)?);
        if let Some(origin) = share::origin_of_record(store, key)? {
            out.push_str(&format!("from    {}\n", history::came(&origin)));
        }
    }
    for session in &past.sessions {
        out.push_str(&samples(session));
        if let Some(origin) = share::origin_of_session(store, session)? {
            out.push_str(&format!("        from {}\n", history::came(&origin)));
        }
    }
    if let Some(log) = newest_log(past) {
        out.push_str(&log_tail(store, key, log)?);
    }
    if past.record.is_none() && past.sessions.is_empty() {
        out.push_str("result  none is kept: the step never ended well under this key, or it was collected\n");
    }
    if let Some(manifest) = &past.manifest {
        out.push_str("\nall that the result depends on:\n");
        let leaves = history::leaves(manifest);
        let width = leaves.iter().map(|(path, _)| columns(path)).max().unwrap_or(0).min(40);
        for (path, value) in leaves {
            out.push_str(&format!("  {path:width$}  {}\n", harmless(&value)));
        }
    }
    Ok(out)
}

/// The log of the result, or of the newest session that has one.
fn newest_log(past: &Past) -> Option<&Entry> {
    let log = past.record.as_ref().and_then(|record| record.log.as_ref());
    log.or_else(|| past.sessions.iter().rev().find_map(|session| session.log.as_ref()))
}

fn result(store: &Store, record: &StepRecord) -> Result<String, StoreError> {
    let mut out = format!("output  {}\n", record.output);
    match files(store, record)? {
        Some(files) => {
            let totals = store.totals(&record.output)?;
            let s = if totals.files == 1 { "" } else { "s" };
            out.push_str(&format!("        {} file{s}, {}\n", totals.files, size(totals.bytes)));
            for (path, bytes) in files.iter().take(FILES).filter(|(path, _)| !path.is_empty()) {
                out.push_str(&format!(
                    "        {:>10}  {path}\n",
                    bytes.map(size).unwrap_or_else(|| "link".to_owned())
                ));
            }
            if files.len() > FILES {
                out.push_str(&format!("        and {} more\n", files.len() - FILES));
            }
        }
        None => out.push_str("        no longer whole in the store: the step runs again when it is needed\n"),
    }
    let usage = &record.usage;
    out.push_str(&format!("made    in {}, sandbox {}\n", seconds(usage.wall_ns), record.sandbox.name()));
    if usage.user_ns + usage.system_ns > 0 {
        out.push_str(&format!("cpu     {} user, {} system\n", seconds(usage.user_ns), seconds(usage.system_ns)));
    }
    if let Some(peak) = usage.peak_resident {
        out.push_str(&format!("memory  {} at most, in its largest process\n", size(peak)));
    }
    if let Some(peak) = usage.peak_tree {
        out.push_str(&format!("        {} at most seen, in all its processes together\n", size(peak)));
    }
    Ok(out)
}

/// A path and its size; a link has none.
type Listed = (String, Option<u64>);

/// The files of an output; `None` where some of it is gone.
fn files(store: &Store, record: &StepRecord) -> Result<Option<Vec<Listed>>, StoreError> {
    if !store.complete(&record.output) {
        return Ok(None);
    }
    let mut files = Vec::new();
    store.walk(&record.output, |path, entry| match entry {
        Entry::File { size, .. } => files.push((path.to_owned(), Some(*size))),
        Entry::Link { .. } => files.push((path.to_owned(), None)),
        Entry::Tree { .. } => {}
    })?;
    Ok(Some(files))
}

/// How long the samples of a session took each, in the middle.
fn middle(session: &Session) -> Option<f64> {
    let lengths =
        session.samples.iter().map(|sample| (sample.prefill_ns + sample.decode_ns.iter().sum::<u64>()) as f64);
    median(&lengths.collect::<Vec<f64>>())
}

fn samples(session: &Session) -> String {
    let mut out = format!(
        "session {} samples at {}, sandbox {}\n",
        session.samples.len(),
        history::when(session.started),
        session.sandbox.name()
    );
    out.push_str(&format!("        on {}\n", session.facts.machine.line()));
    if let Some(middle) = middle(session) {
        out.push_str(&format!("        {} a sample in the middle\n", crate::report::units::time(middle)));
    }
    if let Some(peak) = session.usage.as_ref().and_then(|usage| usage.peak_resident) {
        out.push_str(&format!("        {} of memory at most\n", size(peak)));
    }
    for caution in &session.cautions {
        out.push_str(&format!("        {}: {}\n", caution.code.name(), caution.seen));
    }
    if let Some(fault) = &session.fault {
        out.push_str(&format!("        ended: {}\n", fault.message));
    }
    out
}

/// The last lines of a log.
fn log_tail(store: &Store, key: &Digest, log: &Entry) -> Result<String, StoreError> {
    let Entry::File { digest, size: bytes, .. } = log else { return Ok(String::new()) };
    if *bytes == 0 {
        return Ok("log     nothing was printed\n".to_owned());
    }
    let Some(text) = store.read(digest)? else {
        return Ok("log     no longer in the store\n".to_owned());
    };
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    let shown = &lines[lines.len().saturating_sub(LINES)..];
    let more = match lines.len() - shown.len() {
        0 => String::new(),
        more => format!(", {more} lines before these: pipe log {}", key.short()),
    };
    let mut out = format!("log     {}{more}\n", size(*bytes));
    shown.iter().for_each(|line| out.push_str(&format!("      | {}\n", harmless(line))));
    Ok(out)
}

/// The pack that something came in.
fn origin(origin: &Origin) -> Value {
    json!({
        "pack": origin.pack.to_string(),
        "name": origin.name,
        "machine": origin.machine,
        "written": origin.written,
        "imported": origin.imported,
    })
}

fn key_json(store: &Store, key: &Digest, past: &Past) -> Result<Value, StoreError> {
    let leaves = past.manifest.as_ref().map(|manifest| {
        let leaves = manifest.leaves().iter();
        leaves.map(|leaf| json!({ "leaf": leaf.path, "value": leaf.value })).collect::<Vec<_>>()
    });
    let record = past.record.as_ref().map(|record| -> Result<Value, StoreError> {
        let files = files(store, record)?.map(|files| {
            let files = files.into_iter();
            files.map(|(path, bytes)| json!({ "path": path, "bytes": bytes })).collect::<Vec<_>>()
        });
        Ok(json!({
            "output": record.output.to_string(),
            "files": files,
            "sandbox": record.sandbox.name(),
            "wall_seconds": record.usage.wall_ns as f64 / 1e9,
            "user_seconds": record.usage.user_ns as f64 / 1e9,
            "system_seconds": record.usage.system_ns as f64 / 1e9,
            "peak_resident_bytes": record.usage.peak_resident,
            "peak_tree_bytes": record.usage.peak_tree,
            "origin": share::origin_of_record(store, key)?.as_ref().map(origin),
        }))
    });
    let sessions = past.sessions.iter().map(|session| -> Result<Value, StoreError> {
        Ok(json!({
            "started": session.started,
            "machine": session.facts.machine.line(),
            "sandbox": session.sandbox.name(),
            "samples": session.samples.len(),
            "median_seconds": middle(session).map(|ns| ns / 1e9),
            "peak_resident_bytes": session.usage.as_ref().and_then(|usage| usage.peak_resident),
            "cautions": session.cautions.iter().map(|caution| caution.code.name()).collect::<Vec<_>>(),
            "fault": session.fault.as_ref().map(|fault| &fault.message),
            "origin": share::origin_of_session(store, session)?.as_ref().map(origin),
        }))
    });
    Ok(json!({
        "schema": "pipe-show/1",
        "kind": "key",
        "key": key.to_string(),
        "steps": past.names,
        "result": record.transpose()?,
        "sessions": sessions.collect::<Result<Vec<_>, _>>()?,
        "log": newest_log(past).map(ToString::to_string),
        "manifest": leaves,
    }))
}
