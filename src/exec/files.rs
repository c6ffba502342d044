//! Files and folders of the user's as content of the store, and why one cannot be.
//!
//! A folder is taken without what its filter leaves out. Each is looked at once for a run: what a step reads is just
//! what its key says, whatever happens to the file meanwhile.

use std::path::{Path, PathBuf};

use pipe_cache::{Digest, Entry, StoreError};

use super::outcome::Lack;
use super::site::Site;
use crate::pipeline::{Filter, Input, inputs};
use crate::stdlib;

/// The content of an input that no step makes.
pub fn content(site: &Site, input: &Input) -> Option<Entry> {
    match input {
        Input::Step { .. } | Input::Secret { .. } => None,
        Input::Embedded { bytes, .. } => site.store.put_bytes(bytes).ok(),
        Input::EngineSources => engine_sources(site),
        Input::File { path, filter, .. } => own(site, path, filter).ok(),
    }
}

/// Why an input has no content.
pub fn missing(site: &Site, input: &Input) -> Lack {
    match input {
        Input::File { path, filter, .. } => own(site, path, filter).err().unwrap_or_else(|| {
            Lack::new(format!("`{}` can't be read", path.display()), "check that you may read it, and run again")
        }),
        Input::Step { step, path } => Lack::new(
            format!("`{}` has no `{path}` in its output", site.step(*step).name),
            "look at what the step makes: `pipe why FILE STEP` names its output",
        ),
        Input::Embedded { name, .. } => Lack::new(format!("`{name}` can't be put into the store"), "check the store"),
        Input::EngineSources => Lack::new("the engines' sources can't be put into the store", "check the store"),
        Input::Secret { name } => Lack::final_(format!("the secret `{name}` has no content that could be kept")),
    }
}

/// The files and folders that could not be taken, each with the reason.
pub fn faults(site: &Site) -> Vec<Lack> {
    site.asked.files.borrow().values().filter_map(|known| known.as_ref().err().cloned()).collect()
}

/// Lets a file of the user's count as changed, for a plan of what would run then, and tells how many inputs read it: the
/// file itself, or a folder that holds it. What those hold is looked at no more.
pub fn suppose_changed(site: &Site, file: &Path) -> usize {
    let same = |path: &Path| path == file || real(path) == real(file);
    let mut found = 0;
    for input in site.pipeline.steps.iter().flat_map(|step| inputs(&step.action)) {
        let Input::File { path, filter, .. } = input else { continue };
        let inner = file.strip_prefix(path).map(|inner| inner.to_string_lossy().into_owned());
        let holds = inner.is_ok_and(|inner| !inner.is_empty() && path.is_dir() && !filter.leaves_out(&inner, false));
        if !same(path) && !holds {
            continue;
        }
        found += 1;
        let text = file.to_string_lossy();
        let digest = Digest::derive("pipe 2026 supposed content v1", text.as_bytes());
        let supposed = match holds || path.is_dir() {
            true => Entry::Tree { digest },
            false => Entry::File { digest, size: 0, executable: false },
        };
        site.asked.files.borrow_mut().insert((path.clone(), filter.clone()), Ok(supposed));
    }
    found
}

/// A file or folder of the user's; looked at once for a run.
fn own(site: &Site, path: &Path, filter: &Filter) -> Result<Entry, Lack> {
    let asked = (path.to_owned(), filter.clone());
    if let Some(known) = site.asked.files.borrow().get(&asked) {
        return known.clone();
    }
    let taken = if path.is_dir() { folder(site, path, filter) } else { file(site, path) };
    site.asked.files.borrow_mut().insert(asked, taken.clone());
    taken
}

fn file(site: &Site, path: &Path) -> Result<Entry, Lack> {
    let store = &site.store;
    let taken = store.hash_file(path).and_then(|entry| {
        let executable = matches!(entry, Entry::File { executable: true, .. });
        if site.asked.only_kept || store.contains(&entry) { Ok(entry) } else { store.put_file(path, executable) }
    });
    taken.map_err(|error| Lack::new(error.to_string(), "mend the file, and run again"))
}

fn folder(site: &Site, path: &Path, filter: &Filter) -> Result<Entry, Lack> {
    own_work(site, path, filter)?;
    let matcher = filter.matcher();
    let keeps = |path: &str, is_folder: bool| matcher.keeps(path, is_folder);
    let store = &site.store;
    let taken = store.hash_part(path, &keeps).and_then(|entry| {
        // A collection may have taken files and left the folder, which lies in the pack.
        if site.asked.only_kept || store.complete(&entry) { Ok(entry) } else { store.put_part(path, &keeps) }
    });
    taken.map_err(|error| {
        let leave = |inner: &str| format!("mend it, or leave it out: `ignore \"/{inner}\"` where the folder is named");
        match &error {
            StoreError::Unstorable { path: inner, .. } => {
                Lack::new(format!("in the folder `{}`, {error}", path.display()), leave(inner))
            }
            StoreError::Io { path: inner, .. } if inner.is_relative() && !inner.as_os_str().is_empty() => {
                Lack::new(format!("in the folder `{}`: {error}", path.display()), leave(&inner.to_string_lossy()))
            }
            _ => Lack::new(format!("the folder `{}`: {error}", path.display()), "mend it, and run again"),
        }
    })
}

/// Refuses a folder that holds what `pipe` itself writes: it would change with every run.
fn own_work(site: &Site, folder: &Path, filter: &Filter) -> Result<(), Lack> {
    let places = [("the store", real(site.store.root())), ("reports and exports", real(&site.out))];
    for (what, place) in places {
        let Ok(inner) = place.strip_prefix(folder) else { continue };
        let inner = inner.to_string_lossy();
        let shown = folder.display();
        if inner.is_empty() {
            let reason = format!("the folder `{shown}` is where pipe keeps {what}, which every run changes");
            return Err(Lack::new(reason, "name another folder"));
        }
        if !filter.leaves_out(&inner, true) {
            let reason =
                format!("the folder `{shown}` holds `{inner}`, where pipe keeps {what}, which every run changes");
            let remedy = format!("leave it out where the folder is named: `ignore \"/{inner}/\"`");
            return Err(Lack::new(reason, remedy));
        }
    }
    Ok(())
}

/// The path without links, also where its last part is still to be made.
fn real(path: &Path) -> PathBuf {
    if let Ok(real) = path.canonicalize() {
        return real;
    }
    match (path.parent(), path.file_name()) {
        (Some(above), Some(name)) => real(above).join(name),
        _ => path.to_owned(),
    }
}

fn engine_sources(site: &Site) -> Option<Entry> {
    let mut tree = pipe_cache::TreeBuilder::new();
    for (path, bytes) in stdlib::ENGINE_SOURCES {
        tree.insert(path, site.store.put_bytes(bytes).ok()?).ok()?;
    }
    tree.build(&site.store).ok()
}
