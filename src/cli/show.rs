//! `pipe show`: what a run did, or all that is known of a key: manifest, output, usage, samples and log.

use clap::Args;
use pipe_cache::{Digest, Entry, Store, StoreError};

use super::estimate::size;
use super::history::{self, Named, Past, Run};
use super::output::print;
use super::progress::time;
use super::{Global, exit, load};
use crate::exec::share;
use crate::record::{Session, StepRecord};

/// The flags of `pipe show`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// A run or a key by its first digits, or a step by its name
    name: String,
}

/// Shows a run or a key.
pub fn main(global: &Global, arguments: &Arguments) -> u8 {
    show(global, arguments).unwrap_or_else(|code| code)
}

fn show(global: &Global, arguments: &Arguments) -> Result<u8, u8> {
    let store = load::store(global)?;
    let text = match history::named(&store, &arguments.name)? {
        Named::Run(run) => Ok(of_run(&run)),
        Named::Key(key) => history::past(&store, &key).and_then(|past| of_key(&store, &key, &past)),
    };
    print(&text.map_err(history::fault)?);
    Ok(exit::DONE)
}

fn of_run(run: &Run) -> String {
    let Run { id, record } = run;
    let mut out = format!("run {id}\n{} at {}\n\n", record.pipeline, history::when(record.started));
    let width = record.steps.keys().map(|name| name.chars().count()).max().unwrap_or(0).min(60);
    for (name, step) in &record.steps {
        out.push_str(&format!("  {name:width$}  {:11}  {}\n", step.state, step.key.short()));
    }
    out.push_str("\n`pipe show STEP` or `pipe show KEY` tells more of one\n");
    out
}

fn of_key(store: &Store, key: &Digest, past: &Past) -> Result<String, StoreError> {
    let mut out = format!("key     {key}\n");
    for name in &past.names {
        out.push_str(&format!("step    {name}\n"));
    }
    if let Some(record) = &past.record {
        out.push_str(&result(store, record)?);
        if let Some(origin) = share::origin_of_record(store, key)? {
            let (when, imported) = (history::when(origin.written), history::when(origin.imported));
            let from = origin.from();
            out.push_str(&format!(
                "from    pack {} of {from}, written {when}, imported {imported}\n",
                origin.pack.short()
            ));
        }
    }
    for session in &past.sessions {
        out.push_str(&samples(session));
    }
    let log = past.record.as_ref().and_then(|record| record.log.as_ref());
    if let Some(Entry::File { size: bytes, .. }) = log.or(past.sessions.iter().find_map(|s| s.log.as_ref())) {
        match bytes {
            0 => out.push_str("log     nothing was printed\n"),
            _ => out.push_str(&format!("log     {}: pipe log {}\n", size(*bytes), key.short())),
        }
    }
    if past.record.is_none() && past.sessions.is_empty() {
        out.push_str("result  none is kept: the step never ended well under this key, or it was collected\n");
    }
    if let Some(manifest) = &past.manifest {
        out.push_str("\nall that the result depends on:\n");
        let leaves = history::leaves(manifest);
        let width = leaves.iter().map(|(path, _)| path.chars().count()).max().unwrap_or(0).min(40);
        for (path, value) in leaves {
            out.push_str(&format!("  {path:width$}  {value}\n"));
        }
    }
    Ok(out)
}

fn result(store: &Store, record: &StepRecord) -> Result<String, StoreError> {
    let mut out = format!("output  {}\n", record.output);
    let there = if store.complete(&record.output) {
        let totals = store.totals(&record.output)?;
        format!("{} file{}, {}", totals.files, if totals.files == 1 { "" } else { "s" }, size(totals.bytes))
    } else {
        "no longer whole in the store: the step runs again when it is needed".to_owned()
    };
    out.push_str(&format!("        {there}\n"));
    let usage = &record.usage;
    let seconds = |ns: u64| time(ns as f64 / 1e9);
    out.push_str(&format!("made    in {}, sandbox {}\n", seconds(usage.wall_ns), record.sandbox.name()));
    if usage.user_ns + usage.system_ns > 0 {
        out.push_str(&format!("cpu     {} user, {} system\n", seconds(usage.user_ns), seconds(usage.system_ns)));
    }
    if let Some(peak) = usage.peak_resident {
        out.push_str(&format!("memory  {} at most, in its largest process\n", size(peak)));
    }
    Ok(out)
}

fn samples(session: &Session) -> String {
    let mut out = format!(
        "session {} samples at {} on {}, sandbox {}\n",
        session.samples.len(),
        history::when(session.started),
        session.facts.machine.line(),
        session.sandbox.name()
    );
    for caution in &session.cautions {
        out.push_str(&format!("        {}: {}\n", caution.code.name(), caution.seen));
    }
    if let Some(fault) = &session.fault {
        out.push_str(&format!("        ended: {}\n", fault.message));
    }
    out
}
