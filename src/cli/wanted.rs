//! `pipe run --wanted FILE`: the cells that could not be measured here, for a machine that can.
//!
//! The file says which pipeline it is about, part by part, so that the other machine can tell whether it has the same.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use pipe_cache::Digest;
use serde::{Deserialize, Serialize};

use super::Target;
use super::results::why_not;
use crate::exec::runner::Done;
use crate::exec::share::identity::{self, Identity};
use crate::exec::site::Site;
use crate::pipeline::Action;

/// What the file calls itself.
const SCHEMA: &str = "pipe-wanted/1";

/// The file, as JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Wanted {
    schema: String,
    /// The pipeline's name, and its file as it was given.
    pub pipeline: String,
    pub file: PathBuf,
    /// One digest for all parts.
    pub identity: Digest,
    pub parts: BTreeMap<String, String>,
    /// The flags that chose the parameters' values.
    pub set: Vec<String>,
    pub profile: Option<String>,
    /// The machine that wants them.
    pub machine: String,
    pub cells: Vec<WantedCell>,
}

/// A cell, and why it has no figures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WantedCell {
    pub step: String,
    /// Its axes and values, in the order of the matrix.
    pub cell: Vec<(String, String)>,
    pub state: String,
    pub reason: String,
    pub remedy: Option<String>,
}

impl Wanted {
    /// What a run could not do.
    pub fn of(site: &Site, done: &Done, target: &Target) -> Wanted {
        let identity = identity::of(site);
        let cells = site.plan.order().iter().filter_map(|id| {
            let step = site.step(*id);
            let (state, reason, remedy) = why_not(site, &done.outcomes[id])?;
            matches!(step.action, Action::Measure(_)).then(|| WantedCell {
                step: step.name.clone(),
                cell: step.cell.as_ref().map(|cell| cell.0.clone()).unwrap_or_default(),
                state: state.to_owned(),
                reason,
                remedy,
            })
        });
        Wanted {
            schema: SCHEMA.to_owned(),
            pipeline: site.pipeline.name.clone(),
            file: target.file.clone(),
            identity: identity.digest(),
            parts: identity.0,
            set: target.sets.clone(),
            profile: target.profile.clone(),
            machine: site.facts.machine.line(),
            cells: cells.collect(),
        }
    }

    /// Writes the file.
    pub fn write(&self, path: &Path) -> Result<(), String> {
        let text = serde_json::to_string_pretty(self).unwrap_or_default() + "\n";
        std::fs::write(path, text).map_err(|error| format!("`--wanted {}` can't be written: {error}", path.display()))
    }

    /// Reads such a file.
    pub fn read(path: &Path) -> Result<Wanted, String> {
        let wrong = |why: String| format!("`{}` {why}", path.display());
        let bytes = std::fs::read(path).map_err(|error| wrong(format!("can't be read: {error}")))?;
        let value: serde_json::Value = serde_json::from_slice(&bytes).map_err(|error| {
            wrong(format!("is no list of wanted cells: {error}; `pipe run --wanted FILE` writes one"))
        })?;
        match value["schema"].as_str() {
            Some(SCHEMA) => {}
            Some(other) => {
                let other: String = other.chars().filter(|c| !c.is_control()).take(40).collect();
                return Err(wrong(format!("is `{other}`, and this pipe reads `{SCHEMA}`: use the same version")));
            }
            None => return Err(wrong("is no list of wanted cells; `pipe run --wanted FILE` writes one".to_owned())),
        }
        let wanted: Wanted = serde_json::from_value(value).map_err(|error| wrong(format!("is damaged: {error}")))?;
        match Identity(wanted.parts.clone()).digest() == wanted.identity {
            true => Ok(wanted),
            false => Err(wrong("is damaged: its digest is not that of its parts".to_owned())),
        }
    }
}
