//! `pipe runs`: the runs that the store remembers, the newest first.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::history::{self, Run};
use super::output::{Format, print};
use super::{Global, exit, load};

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
const STATES: [&str; 5] = ["ran", "cached", "failed", "unavailable", "skipped"];

/// Lists runs.
pub fn main(global: &Global, arguments: &Arguments) -> u8 {
    list(global, arguments).unwrap_or_else(|code| code)
}

fn list(global: &Global, arguments: &Arguments) -> Result<u8, u8> {
    let store = load::store(global)?;
    let mut runs = history::runs(&store).map_err(history::fault)?;
    if let Some(wanted) = &arguments.pipeline {
        // A pipeline is mostly called like its file; the name in the file is what counts.
        let stem = wanted.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let text = wanted.to_string_lossy().into_owned();
        runs.retain(|run| run.record.pipeline == text || run.record.pipeline == stem);
    }
    runs.truncate(arguments.number);
    match arguments.format {
        Format::Text => print(&text(&runs)),
        Format::Json => print(&serde_json::to_string_pretty(&json(&runs)).unwrap_or_default()),
    }
    Ok(exit::DONE)
}

fn count(run: &Run, state: &str) -> usize {
    run.record.steps.values().filter(|step| step.state == state).count()
}

fn text(runs: &[Run]) -> String {
    if runs.is_empty() {
        return "no run is remembered here; a run that finds everything as the last one left it adds none\n".to_owned();
    }
    let mut out = String::new();
    for run in runs {
        let states: Vec<String> = STATES
            .iter()
            .map(|state| (count(run, state), state))
            .filter(|(count, _)| *count > 0)
            .map(|(count, state)| format!("{count} {state}"))
            .collect();
        let (id, when) = (run.id.short(), history::when(run.record.started));
        out.push_str(&format!("{id}  {when}  {}  {}\n", run.record.pipeline, states.join(", ")));
    }
    out
}

fn json(runs: &[Run]) -> serde_json::Value {
    let runs: Vec<serde_json::Value> = runs
        .iter()
        .map(|run| {
            let states: serde_json::Map<String, serde_json::Value> =
                STATES.iter().map(|state| ((*state).to_owned(), json!(count(run, state)))).collect();
            json!({
                "id": run.id.to_string(),
                "pipeline": run.record.pipeline,
                "started": run.record.started,
                "steps": states,
            })
        })
        .collect();
    json!({ "schema": "pipe-runs/1", "runs": runs })
}
