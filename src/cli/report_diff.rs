//! `pipe report --diff A B`: two runs, or the records of two machines, held against each other.

use std::collections::BTreeMap;

use pipe_cache::{Digest, Store, StoreError};

use super::history::Named;
use super::output::{To, colour, note, print, width};
use super::report::{Arguments, Written};
use super::{Global, cause, exit, explain, history, load};
use crate::exec::history::{self as past, Run};
use crate::exec::share::accept::MachinePattern;
use crate::exec::share::machine_name;
use crate::measure::diff::{Cell, Side, diff};
use crate::record::Session;
use crate::report;

/// What says that a machine is meant and no run.
const MACHINE: &str = "machine:";

/// What the store has of every question.
struct Records {
    sessions: BTreeMap<Digest, Vec<Session>>,
    /// The newest first.
    runs: Vec<Run>,
}

/// Prints what differs.
pub fn report(global: &Global, arguments: &Arguments, old: &str, new: &str) -> Result<u8, u8> {
    let store = load::store(global)?;
    let sessions = past::sessions(&store).map_err(history::fault)?;
    let mut runs = past::all(&store).map_err(history::fault)?;
    let pipeline =
        arguments.file.as_ref().map(|file| file.file_stem().unwrap_or_default().to_string_lossy().into_owned());
    if let Some(pipeline) = &pipeline {
        runs.retain(|run| run.record.pipeline == *pipeline);
    }
    let records = Records { sessions, runs };
    let side = |name: &str| match name.strip_prefix(MACHINE) {
        Some(pattern) => of_machine(&store, &records, pattern),
        None => of_run(&store, &records, name, pipeline.as_deref()),
    };
    let (old, new) = (side(old)?, side(new)?);
    if let (Some(a), Some(b)) = (old.about.get("pipeline"), new.about.get("pipeline"))
        && a != b
    {
        note(&format!(
            "these are runs of two pipelines, `{a}` and `{b}`; cells are matched by the names of their steps"
        ));
    }
    let found = diff(&old, &new, arguments.force);
    let coloured = colour(global.color, To::Out);
    match arguments.format {
        Written::Text => {
            print(&report::diff::text(&found, report::terminal::Style { colour: coloured, width: width() as u16 }));
        }
        Written::Json => print(&format!("{:#}\n", report::diff::json(&found))),
        Written::Md | Written::Csv | Written::Html => {
            note("pipe: two runs are compared as text or JSON: `--format text`, `--format json`");
            return Err(exit::USAGE);
        }
    }
    Ok(exit::DONE)
}

/// A run by its name, with the sessions that it saw.
fn of_run(store: &Store, records: &Records, name: &str, pipeline: Option<&str>) -> Result<Side, u8> {
    let run = match pipeline {
        Some(pipeline) => history::run(store, pipeline, name)?,
        None => match history::named(store, name)? {
            Named::Run(run) => *run,
            Named::Key(_) => {
                note(&format!("pipe: `{name}` is no run; `--diff` takes two runs, or `machine:PATTERN`"));
                note("  help: a run is `last`, `last~1`, or the first digits that `pipe runs` prints");
                return Err(exit::USAGE);
            }
        },
    };
    let record = &run.record;
    let mut side = Side { name: format!("{} of `{}`", history::run_line(&run), record.pipeline), ..Side::default() };
    side.about.insert("pipeline", record.pipeline.clone());
    side.about.insert("flags", if record.flags.is_empty() { "none".to_owned() } else { record.flags.join(" ") });
    let known = [
        ("pipe", (!record.pipe.is_empty()).then(|| record.pipe.clone())),
        ("machine", record.machine.as_ref().map(crate::host::Machine::line)),
        ("sandbox", record.sandbox.map(|sandbox| sandbox.name().to_owned())),
    ];
    side.about.extend(known.into_iter().filter_map(|(what, text)| Some((what, text?))));
    let compared = past::compared(store, record).map_err(history::fault)?;
    for (name, step) in &record.steps {
        let Some(all) = records.sessions.get(&step.key) else { continue };
        let sessions = past::of_run(all, record, &compared);
        let lack = sessions.is_empty().then(|| step.said.clone().unwrap_or_else(|| step.state.clone()));
        let question = question(store, &step.key).map_err(history::fault)?;
        side.cells.insert(name.clone(), Cell { sessions, question, lack });
    }
    for (name, lack) in &record.keyless {
        let lack = Some(format!("{}: {}", lack.state, lack.said));
        side.cells.insert(name.clone(), Cell { lack, ..Cell::default() });
    }
    Ok(side)
}

/// The last records of a machine, of every step that a run knows: under the newest question that it has any of.
fn of_machine(store: &Store, records: &Records, pattern: &str) -> Result<Side, u8> {
    let wanted = MachinePattern(pattern.to_owned());
    let mut lines: BTreeMap<Digest, bool> = BTreeMap::new();
    let mut side = Side::default();
    let mut machines: Vec<String> = Vec::new();
    let steps = records.runs.iter().flat_map(|run| &run.record.steps);
    for (name, step) in steps {
        if side.cells.contains_key(name) {
            continue;
        }
        let Some(all) = records.sessions.get(&step.key) else { continue };
        let mut theirs = Vec::new();
        for session in all {
            let fits = match lines.get(&session.machine) {
                Some(fits) => *fits,
                None => {
                    let called = machine_name(store, &session.machine).map_err(history::fault)?;
                    let fits = wanted.matches(called.as_deref(), &session.facts.machine.line());
                    *lines.entry(session.machine).or_insert(fits)
                }
            };
            theirs.extend(fits.then_some(session));
        }
        let sessions = past::current(theirs.into_iter());
        let Some(session) = sessions.last() else { continue };
        let line = session.facts.machine.line();
        if !machines.contains(&line) {
            machines.push(line);
        }
        let question = question(store, &step.key).map_err(history::fault)?;
        side.cells.insert(name.clone(), Cell { sessions, question, lack: None });
    }
    match &machines[..] {
        [] => {
            note(&format!("pipe: `machine:{pattern}`: no machine of that name has measured a step of these runs"));
            note("  help: part of its name or line, as `pipe show` prints it; `*` stands for any text");
            Err(exit::USAGE)
        }
        [one] => {
            side.name = format!("the last records of {one}");
            side.about.insert("machine", one.clone());
            Ok(side)
        }
        several => {
            note(&format!("pipe: `machine:{pattern}` fits {} machines:", several.len()));
            several.iter().for_each(|line| note(&format!("  {line}")));
            Err(exit::USAGE)
        }
    }
}

/// The components of a question, digests cut short; none where its manifest is gone.
fn question(store: &Store, key: &Digest) -> Result<BTreeMap<String, String>, StoreError> {
    let manifest = cause::stored_manifest(store, key)?;
    let leaves = manifest.iter().flat_map(|manifest| manifest.leaves());
    Ok(leaves.map(|leaf| (leaf.path.clone(), explain::short(&leaf.value))).collect())
}
