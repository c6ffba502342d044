//! What the store has of each step, shown at the end of its line: looked up in the background when a file is
//! opened or saved, never while someone types.
//!
//! Whoever starts the server says how a file is surveyed ([`Standings`]); this module only knows the words.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use lsp_types::{InlayHint, InlayHintLabel, InlayHintTooltip, Range};

use super::documents::Overlay;
use super::position::Lines;
use crate::resolve::Files;
use crate::resolve::symbols::{Index, NameKind};

/// Where one step stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Its name, and those of equal steps that were merged into it: `model/weights`, `decode[engine=onnx]`.
    pub names: Vec<String>,
    /// One word: `cached`, `runs`, `depends`, `unavailable`, `not-needed`, `not-selected`.
    pub word: &'static str,
    /// The same with the reason: `runs (prompt-tokens: 64 → 128)`.
    pub said: String,
}

/// How a pipeline stands; it must run nothing and ask nobody.
pub trait Standings: Send {
    /// The steps of a pipeline, or `None` where it has mistakes or nothing is known.
    fn standings(&self, path: &Path, files: &dyn Files) -> Option<Vec<Standing>>;
}

/// What is known of each open file, by real path.
pub type Surveyed = Arc<Mutex<BTreeMap<PathBuf, Vec<Standing>>>>;

/// A file to survey.
pub struct Job {
    pub overlay: Overlay,
    pub path: PathBuf,
}

/// Starts the thread; `done` is called after each answer that differs from the one before.
pub fn start(
    standings: Box<dyn Standings>,
    surveyed: Surveyed,
    done: Box<dyn Fn() + Send>,
) -> std::io::Result<Sender<Job>> {
    let (sender, jobs) = channel::<Job>();
    std::thread::Builder::new().name("survey".to_owned()).spawn(move || {
        while let Ok(job) = jobs.recv() {
            for job in latest(job, &jobs) {
                let path = job.overlay.real(&job.path);
                let found = catch_unwind(AssertUnwindSafe(|| standings.standings(&job.path, &job.overlay)));
                let Ok(mut map) = surveyed.lock() else { return };
                let found = found.ok().flatten().unwrap_or_default();
                let changed = map.get(&path).map(Vec::as_slice).unwrap_or_default() != found;
                map.insert(path, found);
                drop(map);
                if changed {
                    done();
                }
            }
        }
    })?;
    Ok(sender)
}

/// This job and those that wait, the last of each file.
fn latest(first: Job, jobs: &Receiver<Job>) -> Vec<Job> {
    let mut all: BTreeMap<PathBuf, Job> = BTreeMap::new();
    for job in std::iter::once(first).chain(jobs.try_iter()) {
        all.insert(job.path.clone(), job);
    }
    all.into_values().collect()
}

/// The hints of the steps that a file names, in a range of lines.
pub fn hints(index: &Index, file: usize, lines: &Lines, range: Range, known: &[Standing]) -> Vec<InlayHint> {
    let mut found = Vec::new();
    for step in &index.files[file].top.steps {
        let Some(node) = index.node(step.node).filter(|node| index.makes_step(file, &node.name.text)) else { continue };
        let position = lines.position(node.header().end);
        if position.line < range.start.line || position.line > range.end.line {
            continue;
        }
        let Some((text, tooltip)) = said(&step.name, known) else { continue };
        found.push(InlayHint {
            position,
            label: InlayHintLabel::String(text),
            kind: None,
            text_edits: None,
            tooltip: Some(InlayHintTooltip::String(tooltip)),
            padding_left: Some(true),
            padding_right: None,
            data: None,
        });
    }
    found
}

/// The words for one step of the file: of the step itself, or of its cells; steps inside it are in the tooltip.
pub fn said(name: &str, known: &[Standing]) -> Option<(String, String)> {
    let of = |standing: &&Standing, test: &dyn Fn(&str) -> bool| standing.names.iter().any(|name| test(name));
    let own = |full: &str| full.strip_prefix(name).is_some_and(|rest| rest.is_empty() || is_cell(rest));
    let inner = |full: &str| full.strip_prefix(name).is_some_and(|rest| rest.starts_with(['/', '[']));
    let cells: Vec<&Standing> = known.iter().filter(|standing| of(standing, &own)).collect();
    let parts: Vec<&Standing> = known.iter().filter(|standing| of(standing, &own) || of(standing, &inner)).collect();
    let tooltip = |parts: &[&Standing]| {
        const SHOWN: usize = 24;
        let mut lines: Vec<String> = parts
            .iter()
            .take(SHOWN)
            .map(|part| {
                let of_this = part.names.iter().find(|name| own(name) || inner(name));
                format!("{}: {}", of_this.unwrap_or(&part.names[0]), part.said)
            })
            .collect();
        if parts.len() > SHOWN {
            lines.push(format!("and {} more", parts.len() - SHOWN));
        }
        lines.join("\n")
    };
    let text = match cells.as_slice() {
        [] if parts.is_empty() => return None,
        [] => counted("step", &parts),
        [one] if one.names.iter().any(|full| full == name) => one.said.clone(),
        cells => counted("cell", cells),
    };
    Some((text, tooltip(&parts)))
}

/// True for `[engine=onnx]` and nothing behind it.
fn is_cell(rest: &str) -> bool {
    rest.starts_with('[') && rest.find(']') == Some(rest.len() - 1)
}

/// `12 cells: 4 cached, 8 to run`.
fn counted(what: &str, all: &[&Standing]) -> String {
    let words: BTreeSet<&str> = all.iter().map(|standing| standing.word).collect();
    let order = ["cached", "runs", "depends", "unavailable", "not-needed", "not-selected"];
    let parts = order.iter().filter(|word| words.contains(*word)).map(|word| {
        let count = all.iter().filter(|standing| standing.word == *word).count();
        let said = match *word {
            "runs" => "to run",
            "depends" => "that depend on others",
            "not-needed" => "not needed",
            "not-selected" => "not selected",
            word => word,
        };
        format!("{count} {said}")
    });
    let parts: Vec<String> = parts.collect();
    format!("{} {what}{}: {}", all.len(), if all.len() == 1 { "" } else { "s" }, parts.join(", "))
}

/// The line about the store in a hover over a step of the file.
pub fn line(kind: NameKind, name: &str, known: &[Standing]) -> Option<String> {
    (kind == NameKind::Step).then(|| said(name, known)).flatten().map(|(text, _)| text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(name: &str, word: &'static str, said: &str) -> Standing {
        Standing { names: vec![name.to_owned()], word, said: said.to_owned() }
    }

    #[test]
    fn cells_are_counted_and_single_steps_are_said() {
        let known = [
            standing("model", "cached", "cached"),
            standing("model/weights", "runs", "runs (never ran)"),
            standing("decode[engine=onnx]", "cached", "cached"),
            standing("decode[engine=torch]", "runs", "runs (first time)"),
            standing("decode[engine=torch]/in", "cached", "cached"),
            standing("model-2", "runs", "runs"),
        ];
        assert_eq!(said("model", &known).map(|said| said.0).as_deref(), Some("cached"));
        assert_eq!(
            said("decode", &known),
            Some((
                "2 cells: 1 cached, 1 to run".to_owned(),
                "decode[engine=onnx]: cached\ndecode[engine=torch]: runs (first time)\ndecode[engine=torch]/in: cached"
                    .to_owned()
            ))
        );
        assert_eq!(said("other", &known), None);
    }
}
