//! `pipe runs`: the runs that the store remembers, the newest first.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::history;
use super::output::{Format, print};
use super::progress::time;
use super::{Global, exit, load};
use crate::exec::history::{self as past, Run};
use crate::report::units::{columns, cut};

/// The flags of `pipe runs`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Runs of this pipeline alone: its name, or its KDL file
    pipeline: Option<PathBuf>,
    /// At most so many, the newest
    #[arg(short = 'n', long, default_value_t = 20)]
    number: usize,
    /// How they are written
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// What can become of a step, in the order of the columns.
const STATES: [&str; 6] = ["ran", "cached", "failed", "unavailable", "skipped", "cancelled"];

/// Lists runs.
pub fn main(global: &Global, arguments: &Arguments) -> u8 {
    list(global, arguments).unwrap_or_else(|code| code)
}

fn list(global: &Global, arguments: &Arguments) -> Result<u8, u8> {
    let store = load::store(global)?;
    let mut runs = past::all(&store).map_err(history::fault)?;
    if let Some(wanted) = &arguments.pipeline {
        // A pipeline is mostly called like its file; the name in the file is what counts.
        let stem = wanted.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let text = wanted.to_string_lossy().into_owned();
        runs.retain(|run| run.record.pipeline == text || run.record.pipeline == stem);
    }
    let all = runs.len();
    runs.truncate(arguments.number);
    match arguments.format {
        Format::Text => print(&text(&runs, all)),
        Format::Json => print(&serde_json::to_string_pretty(&json(&runs)).unwrap_or_default()),
    }
    Ok(exit::DONE)
}

fn count(run: &Run, state: &str) -> usize {
    let keyless = run.record.keyless.values().filter(|step| step.state == state).count();
    keyless + run.record.steps.values().filter(|step| step.state == state).count()
}

fn text(runs: &[Run], all: usize) -> String {
    if runs.is_empty() {
        return "no run is remembered here; a run that finds everything as the last one left it adds none\n".to_owned();
    }
    let widest = runs.iter().map(|run| columns(&run.record.pipeline)).max().unwrap_or(0);
    let width = widest.clamp("PIPELINE".len(), 20);
    let mut out = format!("{:12}  {:16}  {:width$}  {:>11}  EXIT  STEPS\n", "RUN", "WHEN", "PIPELINE", "TOOK");
    for run in runs {
        let states: Vec<String> = STATES
            .iter()
            .map(|state| (count(run, state), state))
            .filter(|(count, _)| *count > 0)
            .map(|(count, state)| format!("{count} {state}"))
            .collect();
        let record = &run.record;
        let when = history::when(record.started);
        // Seconds tell runs apart no better than their names do.
        let when = when.rsplit_once(':').map_or(when.as_str(), |(minutes, _)| minutes);
        let name = cut(&record.pipeline, width);
        let blanks = " ".repeat(width.saturating_sub(columns(&name)));
        let took = record.wall_ns.map_or("-".to_owned(), |ns| time(ns as f64 / 1e9));
        let code = record.exit.map_or("-".to_owned(), |code| code.to_string());
        let id = run.id.short();
        out.push_str(&format!("{id:12}  {when:16}  {name}{blanks}  {took:>11}  {code:>4}  {}\n", states.join(", ")));
    }
    if all > runs.len() {
        out.push_str(&format!("and {} older: -n {all} shows them\n", all - runs.len()));
    }
    out
}

fn json(runs: &[Run]) -> serde_json::Value {
    let runs: Vec<serde_json::Value> = runs
        .iter()
        .map(|run| {
            let states: serde_json::Map<String, serde_json::Value> =
                STATES.iter().map(|state| ((*state).to_owned(), json!(count(run, state)))).collect();
            let mut value = head(run);
            value["steps"] = json!(states);
            value
        })
        .collect();
    json!({ "schema": "pipe-runs/1", "runs": runs })
}

/// What a run is as a whole, for programs.
pub fn head(run: &Run) -> serde_json::Value {
    let record = &run.record;
    json!({
        "id": run.id.to_string(),
        "pipeline": record.pipeline,
        "started": record.started,
        "wall_seconds": record.wall_ns.map(|ns| ns as f64 / 1e9),
        "exit": record.exit,
        "flags": record.flags,
        "pipe": (!record.pipe.is_empty()).then_some(&record.pipe),
        "sandbox": record.sandbox.map(crate::record::Sandbox::name),
        "machine": record.machine.as_ref().map(crate::host::Machine::line),
    })
}
