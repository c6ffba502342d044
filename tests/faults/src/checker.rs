//! The checker: reads a store, outputs and words, and says which invariant is broken. It shares no code with what it
//! checks, believes no index, and reads every byte.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::Value;

use crate::folder;
use crate::format::{self, BLOB, Entry, Frame, Hex, RECORD, RUN, SESSION, TREE};
use crate::verdict::{Bad, Rule};

#[cfg(test)]
mod tests;

/// All that a store holds.
#[derive(Debug, Default)]
pub struct View {
    /// Content in files of its own, by digest, with its size.
    blobs: BTreeMap<Hex, u64>,
    /// Small content.
    packed: BTreeMap<Hex, u64>,
    trees: BTreeMap<Hex, BTreeMap<Vec<u8>, Entry>>,
    records: Vec<Frame>,
    /// What breaks an invariant.
    pub bad: Vec<Bad>,
    /// What is in the store's folder and not in the format's description: listed, and no fault.
    pub strangers: Vec<String>,
    /// Bytes of logs that belong to no sound frame.
    pub torn: usize,
}

/// What a run made: step → its key and its output.
pub type Made = BTreeMap<String, (Hex, Entry)>;

/// Reads a whole store. One that is not there yet is empty.
pub fn view(root: &Path) -> View {
    let mut view = View::default();
    if !root.exists() {
        return view;
    }
    const KNOWN: [&str; 15] = [
        "format",
        "lock",
        "gc.lock",
        "gc.gate",
        "blobs",
        "small.pack",
        "records.log",
        "stat.cache",
        "advice",
        "checkouts",
        "seals",
        "locks",
        "tmp",
        "kept",
        "quarantine",
    ];
    for child in fs::read_dir(root).into_iter().flatten().flatten() {
        let name = child.file_name().to_string_lossy().into_owned();
        if !KNOWN.contains(&name.as_str()) {
            view.strangers.push(name);
        }
    }
    read_blobs(root, &mut view);
    read_pack(root, &mut view);
    let (records, gaps) = format::frames(&fs::read(root.join("records.log")).unwrap_or_default());
    view.torn += gaps.iter().map(|(from, to)| to - from).sum::<usize>();
    view.records = records;
    read_records(&mut view);
    read_checkouts(root, &mut view);
    view
}

fn read_blobs(root: &Path, view: &mut View) {
    for fan in fs::read_dir(root.join("blobs")).into_iter().flatten().flatten() {
        let prefix = fan.file_name().to_string_lossy().into_owned();
        if !fan.file_type().is_ok_and(|kind| kind.is_dir()) {
            view.bad.push(Bad::new(Rule::Content, format!("`blobs/{prefix}` is no folder")));
            continue;
        }
        for file in fs::read_dir(fan.path()).into_iter().flatten().flatten() {
            let name = file.file_name().to_string_lossy().into_owned();
            read_blob(&file.path(), &prefix, &name, view);
        }
    }
}

fn read_blob(path: &Path, prefix: &str, name: &str, view: &mut View) {
    let shown = format!("`blobs/{prefix}/{name}`");
    let mut wrong = |what: &str| view.bad.push(Bad::new(Rule::Content, format!("{shown} {what}")));
    let (digest, executable) = match name.strip_suffix(".x") {
        Some(digest) => (digest, true),
        None => (name, false),
    };
    if digest.len() != 64 || !digest.starts_with(prefix) || !digest.bytes().all(|b| b.is_ascii_hexdigit()) {
        return wrong("has a name that is no digest, or lies in the wrong folder");
    }
    let Ok(meta) = path.symlink_metadata() else { return };
    if !meta.is_file() {
        return wrong("is no regular file");
    }
    let mode = meta.permissions().mode() & 0o7777;
    if mode != if executable { 0o555 } else { 0o444 } {
        wrong(&format!("has mode {mode:o}"));
    }
    match fs::read(path) {
        Err(error) => wrong(&format!("can't be read: {error}")),
        Ok(bytes) if format::content_digest(&bytes) != digest => {
            wrong(&format!("({} bytes) does not hash to its name", bytes.len()));
        }
        Ok(bytes) => {
            view.blobs.insert(digest.to_owned(), bytes.len() as u64);
        }
    }
}

fn read_pack(root: &Path, view: &mut View) {
    let (frames, gaps) = format::frames(&fs::read(root.join("small.pack")).unwrap_or_default());
    view.torn += gaps.iter().map(|(from, to)| to - from).sum::<usize>();
    for frame in frames {
        let at = format!("the frame at {} of `small.pack`", frame.offset);
        match frame.kind {
            BLOB if format::content_digest(&frame.payload) == frame.key => {
                view.packed.insert(frame.key, frame.payload.len() as u64);
            }
            TREE if format::tree_digest(&frame.payload) == frame.key => match format::read_tree(&frame.payload) {
                Some(tree) => {
                    view.trees.insert(frame.key, tree);
                }
                None => view.bad.push(Bad::new(Rule::Content, format!("{at} hashes to its name and is no tree"))),
            },
            BLOB | TREE => view.bad.push(Bad::new(Rule::Content, format!("{at} does not hash to its name"))),
            _ => view.strangers.push(format!("{at}: kind {}", frame.kind)),
        }
    }
}

/// The newest record of each key counts: it is what a look-up takes.
fn read_records(view: &mut View) {
    let mut newest: BTreeMap<(u8, &Hex), Value> = BTreeMap::new();
    let mut bad = Vec::new();
    for frame in view.records.iter().filter(|frame| matches!(frame.kind, RECORD | SESSION)) {
        match serde_json::from_slice(&frame.payload) {
            Ok(value) => drop(newest.insert((frame.kind, &frame.key), value)),
            Err(error) => bad.push(Bad::new(Rule::Records, format!("record {}: not JSON: {error}", frame.key))),
        }
    }
    for ((_, key), record) in &newest {
        for field in ["output", "outputs", "log"] {
            let Some(entry) = record.get(field).filter(|value| !value.is_null()) else { continue };
            let lacks = match Entry::of_json(entry) {
                None => Some(format!("`{entry}` is no entry")),
                Some(entry) => view.lacks(&entry, 0),
            };
            bad.extend(lacks.map(|lacks| Bad::new(Rule::Records, format!("record {key}: its {field}: {lacks}"))));
        }
    }
    view.bad.extend(bad);
}

fn read_checkouts(root: &Path, view: &mut View) {
    for child in fs::read_dir(root.join("checkouts")).into_iter().flatten().flatten() {
        let name = child.file_name().to_string_lossy().into_owned();
        let digest = name.strip_suffix(".x").unwrap_or(&name);
        let holds = match folder::print(&child.path()) {
            Ok(Some(Entry::Tree { digest: found } | Entry::File { digest: found, .. })) => found == digest,
            _ => false,
        };
        if !holds {
            view.bad.push(Bad::new(Rule::Content, format!("`checkouts/{name}` does not hold what its name says")));
        }
    }
}

impl View {
    /// The first thing that an entry needs and the store does not have.
    fn lacks(&self, entry: &Entry, depth: usize) -> Option<String> {
        match entry {
            Entry::Link { .. } => None,
            Entry::File { digest, size, .. } => match self.blobs.get(digest).or_else(|| self.packed.get(digest)) {
                None => Some(format!("the file {digest} ({size} bytes) is not there")),
                Some(found) if found != size => Some(format!("the file {digest} has {found} bytes, not {size}")),
                Some(_) => None,
            },
            Entry::Tree { digest } if depth > 64 => Some(format!("the tree {digest} is too deep")),
            Entry::Tree { digest } => match self.trees.get(digest) {
                None => Some(format!("the tree {digest} is not there")),
                Some(tree) => tree.values().find_map(|entry| self.lacks(entry, depth + 1)),
            },
        }
    }

    /// What the last run that came to its end made, by its own record and the records of its keys.
    pub fn made(&self) -> Made {
        let mut outputs: BTreeMap<&Hex, Entry> = BTreeMap::new();
        let mut run: Option<Value> = None;
        for frame in &self.records {
            let value = || serde_json::from_slice::<Value>(&frame.payload).ok();
            match frame.kind {
                RECORD => {
                    let output = value().and_then(|value| Entry::of_json(value.get("output")?));
                    outputs.extend(output.map(|output| (&frame.key, output)));
                }
                RUN => run = value().or(run),
                _ => {}
            }
        }
        let steps = run.as_ref().and_then(|run| run.get("steps")?.as_object());
        steps
            .into_iter()
            .flatten()
            .filter_map(|(name, step)| {
                let key = step.get("key")?.as_str()?.to_owned();
                let output = outputs.get(&key)?.clone();
                Some((name.clone(), (key, output)))
            })
            .collect()
    }

    /// How often each key was recorded, and the outputs that were recorded for it.
    pub fn histories(&self) -> BTreeMap<Hex, Vec<Option<Entry>>> {
        let mut histories: BTreeMap<Hex, Vec<Option<Entry>>> = BTreeMap::new();
        for frame in self.records.iter().filter(|frame| frame.kind == RECORD) {
            let value = serde_json::from_slice::<Value>(&frame.payload).ok();
            let output = value.and_then(|value| Entry::of_json(value.get("output")?));
            histories.entry(frame.key.clone()).or_default().push(output);
        }
        histories
    }
}

/// What a run made must be what a run without faults makes.
pub fn same(expected: &Made, found: &Made) -> Vec<Bad> {
    let mut bad = Vec::new();
    for (step, expected) in expected {
        match found.get(step) {
            None => bad.push(Bad::new(Rule::Same, format!("`{step}` has no record"))),
            Some(found) if found != expected => {
                bad.push(Bad::new(Rule::Same, format!("`{step}` is {found:?}, not {expected:?}")));
            }
            Some(_) => {}
        }
    }
    bad
}

/// What is given back, by its name below the folder of outputs.
pub type Exports = BTreeMap<String, Entry>;

/// Reads what is given back.
pub fn exports(out: &Path) -> Result<Exports, String> {
    let mut found = BTreeMap::new();
    for child in fs::read_dir(out).into_iter().flatten().flatten() {
        let name = child.file_name().to_string_lossy().into_owned();
        let print = folder::print(&child.path()).map_err(|error| error.to_string())?;
        found.extend(print.map(|print| (name, print)));
    }
    Ok(found)
}

/// Every export is as one of these had it, or not there if one of these did not have it. Names that begin with a dot
/// are scratch beside it, which only the next run has to remove.
pub fn old_or_new(states: &[&Exports], found: &Exports) -> Vec<Bad> {
    let mut bad = Vec::new();
    let names: BTreeSet<&String> = states.iter().flat_map(|state| state.keys()).chain(found.keys()).collect();
    for name in names {
        let now = found.get(name);
        let scratch = name.starts_with('.') && states.iter().all(|state| !state.contains_key(name));
        if !scratch && !states.iter().any(|state| state.get(name) == now) {
            bad.push(Bad::new(Rule::Exports, format!("`{name}` is neither as before nor as after: {now:?}")));
        }
    }
    bad
}

/// Two prints of what nobody may touch.
pub fn outside(what: &str, before: &Option<Entry>, after: &Option<Entry>) -> Vec<Bad> {
    let changed = before != after;
    changed.then(|| Bad::new(Rule::Outside, format!("{what} was {before:?} and is {after:?}"))).into_iter().collect()
}

/// Scratch that is left where no process of the store's lives any more.
pub fn scratch(root: &Path) -> Vec<Bad> {
    let left: Vec<String> = fs::read_dir(root.join("tmp"))
        .into_iter()
        .flatten()
        .flatten()
        .map(|child| child.file_name().to_string_lossy().into_owned())
        .collect();
    if left.is_empty() {
        return Vec::new();
    }
    vec![Bad::new(Rule::Left, format!("`tmp` of the store holds {left:?}"))]
}

/// How a command ended.
#[derive(Debug, Clone, Default)]
pub struct Ended {
    pub code: Option<i32>,
    pub signal: Option<i32>,
    /// It had to be killed, since it did not end.
    pub hung: bool,
    pub out: String,
    pub err: String,
}

/// Exit codes that the manual names.
const CODES: [i32; 7] = [0, 1, 2, 3, 4, 5, 130];

/// Whether the words of a command are those of a program that knows what happened to it.
pub fn words(ended: &Ended) -> Vec<Bad> {
    let mut bad = Vec::new();
    let mut wrong = |what: String| bad.push(Bad::new(Rule::Words, format!("{what}\n{}", indented(&ended.err))));
    if ended.hung {
        wrong("it hangs".to_owned());
        return bad;
    }
    match (ended.code, ended.signal) {
        (Some(code), _) if !CODES.contains(&code) => wrong(format!("exit code {code} is not documented")),
        (None, signal) => wrong(format!("it was ended by signal {signal:?}")),
        _ => {}
    }
    for sign in ["panicked at", "stack backtrace", "RUST_BACKTRACE", "overflowed its stack", "internal error"] {
        if ended.err.contains(sign) || ended.out.contains(sign) {
            wrong(format!("it says `{sign}`"));
        }
    }
    // A step or a path stands in backticks, or behind a cross; what was looked for is told on the other stream.
    let named = ended.err.contains(['`', '✗', '/']) || !ended.out.is_empty();
    if !matches!(ended.code, Some(0 | 130) | None) && !named {
        wrong(format!("exit code {:?}, and no step or path is named", ended.code));
    }
    bad
}

/// Text that stands out below a line of ours.
pub fn indented(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let from = lines.len().saturating_sub(12);
    lines[from..].iter().map(|line| format!("        | {line}")).collect::<Vec<_>>().join("\n")
}
