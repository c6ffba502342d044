//! What a run leaves for its user: the comparison, its report files, exports, and words about what failed.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

use pipe_cache::{Entry, StoreError};

use super::Global;
use super::output::{To, colour, width};
use super::progress::time;
use crate::exec::outcome::{Outcome, Product};
use crate::exec::runner::{Done, failures as failed};
use crate::exec::share::accept::{self, Accepted};
use crate::exec::site::Site;
use crate::exec::survey::Known;
use crate::exec::work::{self, Parities};
use crate::key::Contents;
use crate::measure::{self, CellInput, CompareInput, Comparison, Outputs, ParityRecord};
use crate::pipeline::{Action, CellPattern, Compare, Measure, Parity, StepId};
use crate::record::Session;
use crate::report;

/// The comparison of a `compare` step, from what became of its cells.
pub fn comparison(
    site: &Site,
    done: &Done,
    compare: &Compare,
    outcome: &Outcome,
    accepted: &BTreeMap<StepId, Accepted>,
) -> Result<Comparison, StoreError> {
    let judged = match outcome.product() {
        Some(Product::Compared(entry)) => Parities::read(&site.store, entry)?,
        _ => Parities::default(),
    };
    let cells = compare
        .of
        .iter()
        .filter_map(|&id| match &site.step(id).action {
            Action::Measure(measure) => Some(match accepted.get(&id) {
                Some(theirs) => from_elsewhere(site, done, compare, id, measure, theirs, accepted),
                None => Ok(cell(site, done, id, measure, &judged)),
            }),
            _ => None,
        })
        .collect::<Result<_, _>>()?;
    Ok(measure::compare(CompareInput {
        pipeline: &site.pipeline.name,
        about: site.pipeline.about.as_deref(),
        compare,
        cells,
        noise: judged.noise.clone(),
        facts: &site.facts,
    }))
}

/// The cells that this machine could not measure and that the user takes from others.
pub fn accepted(site: &Site, done: &Done) -> Result<BTreeMap<StepId, Accepted>, StoreError> {
    let unavailable = done.outcomes.iter().filter(|(_, outcome)| matches!(outcome, Outcome::Unavailable(_)));
    accept::accepted(site, unavailable.map(|(id, _)| *id))
}

/// The exact outputs of a calibrated tolerance, where they are there.
fn exact(site: &Site, done: &Done, parity: &Parity) -> Option<Entry> {
    let input = &parity.calibrated.as_ref()?.exact.value;
    let outputs = |id: StepId| done.outcomes.get(&id)?.product()?.entry().cloned();
    Known { site, outputs: &outputs }.entry(input)
}

/// A cell as another machine measured it; its outputs are held against the reference's here and now.
fn from_elsewhere<'a>(
    site: &'a Site,
    done: &Done,
    compare: &Compare,
    id: StepId,
    measure: &'a Measure,
    theirs: &'a Accepted,
    accepted: &'a BTreeMap<StepId, Accepted>,
) -> Result<CellInput<'a>, StoreError> {
    let missing = |reason: &str| Outputs::Missing { reason: reason.to_owned() };
    let outputs = match &compare.parity {
        None => missing("no parity is asked for"),
        Some(parity) => {
            let is_reference =
                |id: &&StepId| site.step(**id).cell.as_ref().is_some_and(|cell| parity.reference.value.matches(cell));
            let sessions = |id: &StepId| match (done.outcomes[id].product(), accepted.get(id)) {
                (Some(Product::Sessions(sessions)), _) => Some((*id, sessions.as_slice())),
                (_, Some(theirs)) => Some((*id, theirs.sessions.as_slice())),
                _ => None,
            };
            match compare.of.iter().filter(is_reference).find_map(sessions) {
                None => missing("the reference has no figures"),
                Some(reference) => match work::parity_between(
                    site,
                    parity,
                    exact(site, done, parity),
                    reference,
                    (id, &theirs.sessions),
                )? {
                    Some(result) => Outputs::Judged(result),
                    None => missing("the outputs to compare are not in the store"),
                },
            }
        }
    };
    let machine = match theirs.others.len() {
        0 => theirs.machine.clone(),
        n => format!("{}, the last of {} that match", theirs.machine, n + 1),
    };
    let outcome = measure::Outcome::Accepted { sessions: Cow::Borrowed(&theirs.sessions), outputs, machine };
    let question = theirs.sessions.last().map(|session| session.question);
    let step = site.step(id);
    Ok(CellInput { step: &step.name, cell: step.cell.as_ref(), measure, question, outcome })
}

fn cell<'a>(site: &'a Site, done: &'a Done, id: StepId, measure: &'a Measure, judged: &Parities) -> CellInput<'a> {
    let step = site.step(id);
    let outcome = match &done.outcomes[&id] {
        Outcome::Cached(Product::Sessions(sessions)) => measured(&step.coordinates(), sessions, true, judged),
        Outcome::Ran(Product::Sessions(sessions)) => measured(&step.coordinates(), sessions, false, judged),
        Outcome::Unavailable(lack) => {
            measure::Outcome::Unavailable { reason: lack.reason.clone(), remedy: lack.remedy.clone() }
        }
        Outcome::Failed(failure) => {
            measure::Outcome::Failed { reason: failure.message.clone(), remedy: failure.help.clone() }
        }
        Outcome::Skipped { because } => measure::Outcome::Failed {
            reason: format!("`{}`, which it needs, failed", site.step(*because).name),
            remedy: None,
        },
        Outcome::NotSelected => measure::Outcome::NotSelected {
            reason: "left out by `--only`".to_owned(),
            remedy: Some("run without `--only`".to_owned()),
        },
        Outcome::Cancelled => measure::Outcome::NotSelected {
            reason: "the run was stopped before it".to_owned(),
            remedy: Some("run again".to_owned()),
        },
        Outcome::NotNeeded | Outcome::Cached(_) | Outcome::Ran(_) => {
            measure::Outcome::NotSelected { reason: "not needed".to_owned(), remedy: None }
        }
    };
    let question = done.manifests.get(&id).map(|(key, _)| *key);
    CellInput { step: &step.name, cell: step.cell.as_ref(), measure, question, outcome }
}

fn measured<'a>(
    coordinates: &str,
    sessions: &'a [Session],
    from_store: bool,
    judged: &Parities,
) -> measure::Outcome<'a> {
    let outputs = match judged.cells.get(coordinates).and_then(ParityRecord::result) {
        Some(result) => Outputs::Judged(result),
        None => Outputs::Missing { reason: "the comparison did not run".to_owned() },
    };
    measure::Outcome::Measured { sessions: Cow::Borrowed(sessions), outputs, from_store }
}

/// The terminal's table.
pub fn table(global: &Global, comparison: &Comparison) -> String {
    let style = report::terminal::Style { colour: colour(global.color, To::Out), width: width() as u16 };
    report::terminal::render(comparison, style)
}

/// Writes `report.md`, `.csv`, `.json` and `.html` to `out/PIPELINE/`.
pub fn write(global: &Global, site: &Site, id: StepId, comparison: &Comparison) -> Result<(), String> {
    let folder = global.out.join(&site.pipeline.name);
    std::fs::create_dir_all(&folder)
        .map_err(|error| format!("the folder `{}` can't be made: {error}", folder.display()))?;
    let name = site.step(id).name.replace(['/', '\\'], "-");
    let graph = super::graph::drawing(site);
    let files = [
        ("md", report::markdown::render(comparison)),
        ("csv", report::csv::render(comparison)),
        ("json", report::json::render(comparison).map_err(|error| format!("the JSON report: {error}"))?),
        ("html", report::html::render(comparison, Some(&graph))),
    ];
    for (extension, text) in files {
        replace(&folder.join(format!("{name}.{extension}")), text.as_bytes())?;
    }
    Ok(())
}

/// Writes a file whole or not at all, and not where it already holds this.
fn replace(path: &Path, bytes: &[u8]) -> Result<(), String> {
    let wrong = |error: std::io::Error| format!("`{}` can't be written: {error}", path.display());
    if std::fs::read(path).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(wrong)?;
    std::io::Write::write_all(&mut file, bytes).map_err(wrong)?;
    // A report is for reading by anybody; a temporary file is private.
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    file.as_file().set_permissions(mode).map_err(wrong)?;
    file.persist(path).map_err(|error| wrong(error.error))?;
    Ok(())
}

/// Gives back what the pipeline exports, where it is missing or was edited.
pub fn export(global: &Global, site: &Site, done: &Done) -> Result<(), String> {
    for (&id, outcome) in &done.outcomes {
        let (Some(name), Some(Product::Output(entry))) = (&site.step(id).export, outcome.product()) else { continue };
        let place = global.out.join(&site.pipeline.name).join(name);
        give_back(site, entry, &place)
            .map_err(|error| format!("`{}` can't be given back: {error}", place.display()))?;
    }
    Ok(())
}

/// Makes the place hold this and nothing else. It is made beside it and then takes its place, so that whoever looks,
/// also after a kill, finds what was there or what is there now, and no part of either.
fn give_back(site: &Site, entry: &Entry, place: &Path) -> Result<(), StoreError> {
    let wrong = |source: std::io::Error| StoreError::Io { action: "give back", path: place.to_owned(), source };
    let (Some(folder), Some(name)) = (place.parent(), place.file_name()) else { return Ok(()) };
    let beside = folder.join(format!(".{}.new", name.to_string_lossy()));
    let is_left = beside.symlink_metadata().is_ok();
    let is_same = site.store.same_as(entry, place).unwrap_or(false);
    if is_same && !is_left {
        return Ok(());
    }
    std::fs::create_dir_all(folder).map_err(wrong)?;
    // Who has the turn may wait for a collection, which must not wait for us.
    site.store.settle();
    // Two runs that give back the same take turns. A file system without such locks has to do without.
    let turn = std::fs::File::open(folder).map_err(wrong)?;
    let _ = turn.lock();
    remove(&beside).map_err(wrong)?;
    if is_same {
        return Ok(());
    }
    let done = site.store.copy_out(entry, &beside).and_then(|()| swap(&beside, place).map_err(wrong));
    done.and(remove(&beside).map_err(wrong))
}

/// Gives a new thing the name of an old one. What was there is then under the other name, or gone.
fn swap(new: &Path, place: &Path) -> std::io::Result<()> {
    if place.symlink_metadata().is_ok() {
        #[cfg(target_os = "linux")]
        {
            use rustix::fs::{CWD, RenameFlags};
            match rustix::fs::renameat_with(CWD, new, CWD, place, RenameFlags::EXCHANGE) {
                // Some network and FUSE file systems can't.
                Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {}
                other => return Ok(other?),
            }
        }
        remove(place)?;
    }
    std::fs::rename(new, place)
}

/// Removes whatever is there, which may be nothing.
fn remove(path: &Path) -> std::io::Result<()> {
    match path.symlink_metadata() {
        Ok(found) if found.is_dir() => std::fs::remove_dir_all(path),
        Ok(_) => std::fs::remove_file(path),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// What is to be said of a step that came to no result.
pub fn said(site: &Site, outcome: &Outcome) -> Option<String> {
    match outcome {
        Outcome::Failed(failure) => Some(failure.message.clone()),
        Outcome::Unavailable(lack) => Some(lack.reason.clone()),
        Outcome::Skipped { because } => Some(format!("`{}` failed", site.step(*because).name)),
        Outcome::Cancelled => Some("the run was stopped".to_owned()),
        Outcome::Cached(_) | Outcome::Ran(_) | Outcome::NotNeeded | Outcome::NotSelected => None,
    }
}

/// The word for what became of a step.
pub fn state(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Cached(_) => "cached",
        Outcome::Ran(_) => "ran",
        Outcome::Failed(_) => "failed",
        Outcome::Unavailable(_) => "unavailable",
        Outcome::Skipped { .. } => "skipped",
        Outcome::Cancelled => "cancelled",
        Outcome::NotNeeded => "not-needed",
        Outcome::NotSelected => "not-selected",
    }
}

/// Each failed step with its cause, its last lines and what to do; empty where none failed.
pub fn failures(site: &Site, done: &Done, file: &Path) -> String {
    let mut out = String::new();
    let ids = failed(done);
    for id in &ids {
        let (step, Outcome::Failed(failure)) = (site.step(*id), &done.outcomes[id]) else { continue };
        out.push_str(&format!("\n✗ {} failed: {}\n", step.name, failure.message));
        for line in &failure.tail {
            out.push_str(&format!("  | {line}\n"));
        }
        if let Some(command) = &failure.command {
            out.push_str(&format!("  command: {command}\n"));
        }
        if let Some(workdir) = &failure.workdir {
            out.push_str(&format!("  look around: cd {}\n", workdir.display()));
        }
        if let Some(help) = &failure.help {
            out.push_str(&format!("  help: {help}\n"));
        }
        let skipped = done
            .outcomes
            .iter()
            .filter(|(_, outcome)| matches!(outcome, Outcome::Skipped { because } if because == id))
            .count();
        if skipped > 0 {
            out.push_str(&format!("  {skipped} step(s) that need it were skipped\n"));
        }
    }
    if !ids.is_empty() {
        out.push_str(&format!("\nWhat was done is kept. To go on: pipe run {}\n", file.display()));
    }
    out
}

/// Cells that `--require` asks for and that have no figures; empty where all have.
pub fn unmet(site: &Site, done: &Done, required: &[CellPattern]) -> String {
    let mut out = String::new();
    for pattern in required {
        let mut any = false;
        for (&id, outcome) in &done.outcomes {
            let step = site.step(id);
            let (Action::Measure(_), Some(cell)) = (&step.action, &step.cell) else { continue };
            if !pattern.matches(cell) {
                continue;
            }
            any = true;
            let reason = match outcome {
                Outcome::Cached(_) | Outcome::Ran(_) => continue,
                Outcome::Unavailable(lack) => format!("unavailable: {}", lack.reason),
                other => state(other).to_owned(),
            };
            out.push_str(&format!("pipe: `--require '{pattern}'`: {} is {reason}\n", step.name));
        }
        if !any {
            out.push_str(&format!("pipe: `--require '{pattern}'` matches no cell of this pipeline\n"));
        }
    }
    out
}

/// The state of a step that has no figures though it was asked for, why, and what would change that.
pub fn why_not(site: &Site, outcome: &Outcome) -> Option<(&'static str, String, Option<String>)> {
    let reason = match outcome {
        Outcome::Cached(_) | Outcome::Ran(_) | Outcome::NotSelected => return None,
        Outcome::Unavailable(lack) => return Some((state(outcome), lack.reason.clone(), lack.remedy.clone())),
        Outcome::Failed(failure) => return Some((state(outcome), failure.message.clone(), failure.help.clone())),
        Outcome::Skipped { because } => format!("`{}`, which it needs, failed", site.step(*because).name),
        Outcome::Cancelled => "the run was stopped before it".to_owned(),
        Outcome::NotNeeded => "nothing that this host can do reads it".to_owned(),
    };
    Some((state(outcome), reason, None))
}

/// What a stopped run kept.
pub fn interrupted(site: &Site, done: &Done, file: &Path) -> String {
    let count = |f: fn(&Outcome) -> bool| done.outcomes.values().filter(|outcome| f(outcome)).count();
    let kept = count(|o| matches!(o, Outcome::Ran(_) | Outcome::Cached(_)));
    let open = count(|o| matches!(o, Outcome::Cancelled));
    format!(
        "\nStopped. {kept} finished step(s) are kept in {}, {open} were not finished and left nothing behind.\nTo go on: pipe run {}\n",
        site.store.root().display(),
        file.display()
    )
}

/// What `--fail-fast` kept from starting.
pub fn stopped(site: &Site, done: &Done, step: StepId) -> String {
    let open = done.outcomes.values().filter(|outcome| matches!(outcome, Outcome::Cancelled)).count();
    format!("`--fail-fast`: {open} more step(s) were not started, since `{}` failed\n", site.step(step).name)
}

/// The last line of a run that went well.
pub fn summary(done: &Done) -> String {
    let count = |f: fn(&Outcome) -> bool| done.outcomes.values().filter(|outcome| f(outcome)).count();
    let ran = count(|o| matches!(o, Outcome::Ran(_)));
    let cached = count(|o| matches!(o, Outcome::Cached(_)));
    counts(ran, cached, count(|o| matches!(o, Outcome::Unavailable(_))), done.seconds)
}

/// The same of a run that had nothing to do.
pub fn all_cached(cached: usize, seconds: f64) -> String {
    counts(0, cached, 0, seconds)
}

fn counts(ran: usize, cached: usize, unavailable: usize, seconds: f64) -> String {
    format!("{ran} ran, {cached} cached, {unavailable} unavailable, in {}", time(seconds))
}
