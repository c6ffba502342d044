//! Why a step has another key than before: the chain from its leaves, through what other steps made, down to the
//! first components that differ.
//!
//! A [`Side`] is a run of the past, or what a run would find now; two of them are compared. Nothing here prints, and
//! the words of it are in `why`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

use pipe_cache::{Digest, Entry, Kind, Store, StoreError};
use serde::Serialize;

use super::explain;
use crate::exec::history::Run;
use crate::exec::outcome::Product;
use crate::exec::site::Site;
use crate::exec::survey::{Look, Survey};
use crate::key::{Change, Manifest};
use crate::pipeline::StepId;
use crate::record::{FORMAT, StepRecord};

/// At most so many files of a folder are told.
const FILES: usize = 20;
/// Files up to this size are looked into for the first line that differs.
const TEXT: u64 = 1 << 20;

/// What one component was and is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difference {
    pub leaf: String,
    pub old: Option<String>,
    pub new: Option<String>,
    /// `file.kdl:line:column`, or the flag, of the newer value.
    pub place: Option<String>,
    #[serde(flatten)]
    pub within: Within,
}

/// What lies behind a value that differs.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Within {
    /// The value is the component itself.
    Itself {},
    /// Files that differ; with more of them than are listed, how many more.
    Files { files: Vec<FileChange>, more: usize },
    /// Another step made it, and that step's own cause.
    MadeBy(Box<Cause>),
}

/// A step and what differs in all that it depends on.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Cause {
    pub step: String,
    pub found: Found,
    pub differences: Vec<Difference>,
}

/// What came of a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Found {
    Differs,
    /// All that the step depends on is the same; when it made something else, it does not repeat its bytes.
    Same,
    /// The store no longer has one of the two manifests.
    NotKept,
    /// Told before, further up.
    Told,
}

/// A file of a folder that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileChange {
    /// Below the folder; empty where the input is one file.
    pub path: String,
    pub what: String,
}

/// One of the two things that are compared.
pub enum Side<'a> {
    Past(&'a Store, &'a Run),
    Now(&'a Site, &'a Survey),
}

impl Side<'_> {
    fn store(&self) -> &Store {
        match self {
            Side::Past(store, _) => store,
            Side::Now(site, _) => &site.store,
        }
    }

    fn id(site: &Site, step: &str) -> Option<StepId> {
        site.pipeline.steps.iter().position(|other| other.name == step).map(StepId)
    }

    /// The names of all steps that have a key.
    pub fn steps(&self) -> Vec<String> {
        match self {
            Side::Past(_, run) => run.record.steps.keys().cloned().collect(),
            Side::Now(site, survey) => {
                let known = survey.looks.iter().filter(|(_, look)| matches!(look, Look::Known { .. }));
                known.map(|(id, _)| site.step(*id).name.clone()).collect()
            }
        }
    }

    /// The key that a step had or has.
    pub fn key(&self, step: &str) -> Option<Digest> {
        match self {
            Side::Past(_, run) => run.record.steps.get(step).map(|step| step.key),
            Side::Now(site, survey) => match survey.looks.get(&Self::id(site, step)?)? {
                Look::Known { key, .. } => Some(*key),
                _ => None,
            },
        }
    }

    fn manifest(&self, step: &str) -> Result<Option<Manifest>, StoreError> {
        match self {
            Side::Now(site, survey) => {
                Ok(Self::id(site, step).and_then(|id| Some(survey.manifests.get(&id)?.1.as_ref().clone())))
            }
            Side::Past(store, _) => self.key(step).map_or(Ok(None), |key| stored_manifest(store, &key)),
        }
    }

    fn place(&self, step: &str, leaf: &str) -> Option<String> {
        match self {
            Side::Past(_, run) => run.record.steps.get(step)?.origins.get(leaf).cloned(),
            Side::Now(site, survey) => {
                let (_, manifest) = survey.manifests.get(&Self::id(site, step)?)?;
                let leaf = manifest.leaves().iter().find(|other| other.path == leaf)?;
                Some(explain::place(&site.pipeline, leaf.origin.as_ref()?))
            }
        }
    }

    /// What a step made, as far as it is known.
    fn output(&self, step: &str) -> Option<Entry> {
        if let Side::Now(site, survey) = self {
            let Look::Known { found, .. } = survey.looks.get(&Self::id(site, step)?)? else { return None };
            return found.as_ref().ok().and_then(Product::entry).cloned();
        }
        let bytes = self.store().last(Kind::Record, &self.key(step)?).ok()??;
        let record: StepRecord = serde_json::from_slice(&bytes).ok()?;
        (record.format == FORMAT).then_some(record.output)
    }
}

/// A manifest that the store keeps.
pub fn stored_manifest(store: &Store, key: &Digest) -> Result<Option<Manifest>, StoreError> {
    let bytes = store.last(Kind::Manifest, key)?;
    Ok(bytes.and_then(|bytes| String::from_utf8(bytes).ok()).and_then(|text| Manifest::parse(&text)))
}

/// Compares two sides, step by step; each step's cause is told once.
pub struct Comparison<'a> {
    pub old: Side<'a>,
    pub new: Side<'a>,
    told: BTreeSet<String>,
    /// The pipeline as it is now.
    site: &'a Site,
    /// What each step made on both sides, read when the first chain is followed.
    made: Option<BTreeMap<String, [Vec<Entry>; 2]>>,
}

impl<'a> Comparison<'a> {
    /// Nothing is read yet.
    pub fn new(site: &'a Site, old: Side<'a>, new: Side<'a>) -> Comparison<'a> {
        Comparison { old, new, told: BTreeSet::new(), site, made: None }
    }

    /// Why the key of a step differs between the sides.
    pub fn cause(&mut self, step: &str) -> Result<Cause, StoreError> {
        let cause = |found, differences| Cause { step: step.to_owned(), found, differences };
        if !self.told.insert(step.to_owned()) {
            return Ok(cause(Found::Told, Vec::new()));
        }
        if self.old.key(step) == self.new.key(step) {
            return Ok(cause(Found::Same, Vec::new()));
        }
        let (Some(old), Some(new)) = (self.old.manifest(step)?, self.new.manifest(step)?) else {
            return Ok(cause(Found::NotKept, Vec::new()));
        };
        let mut differences = Vec::new();
        for change in new.changes_since(&old) {
            let within = self.within(step, change.old.as_deref(), change.new.as_deref())?;
            let place = self.new.place(step, &change.path).or_else(|| self.old.place(step, &change.path));
            differences.push(Difference { leaf: change.path, old: change.old, new: change.new, place, within });
        }
        Ok(cause(Found::Differs, differences))
    }

    /// True where every difference of a step comes from another step.
    pub fn follows(cause: &Cause) -> bool {
        !cause.differences.is_empty() && cause.differences.iter().all(|d| matches!(d.within, Within::MadeBy(_)))
    }

    fn within(&mut self, step: &str, old: Option<&str>, new: Option<&str>) -> Result<Within, StoreError> {
        let (Some(old), Some(new)) = (old, new) else { return Ok(Within::Itself {}) };
        if let (Some(old), Some(new)) = (question(old), question(new)) {
            let same = |side: &Side, name: &str, key: &Digest| side.key(name).as_ref() == Some(key);
            let steps = self.new.steps();
            return match steps.iter().find(|name| same(&self.old, name, &old) && same(&self.new, name, &new)) {
                Some(name) => Ok(Within::MadeBy(Box::new(self.cause(name)?))),
                None => Ok(Within::Itself {}),
            };
        }
        let (Some(old), Some(new)) = (entry(old), entry(new)) else { return Ok(Within::Itself {}) };
        match self.maker(step, &old, &new)? {
            Some(name) => Ok(Within::MadeBy(Box::new(self.cause(&name)?))),
            None => files(self.new.store(), &old, &new),
        }
    }

    /// The step that made both contents, each on its side: one that the reader reads in the pipeline as it is now, else
    /// any that fits.
    fn maker(&mut self, reader: &str, old: &Entry, new: &Entry) -> Result<Option<String>, StoreError> {
        if self.made.is_none() {
            self.made = Some(made(&self.old, &self.new));
        }
        let Some(made) = &self.made else { return Ok(None) };
        let read: BTreeSet<&str> = match Side::id(self.site, reader) {
            Some(id) => self.site.plan.reads(id).iter().map(|read| self.site.step(*read).name.as_str()).collect(),
            None => BTreeSet::new(),
        };
        let hold = |entries: &[Entry], entry: &Entry| entries.iter().any(|other| other.digest() == entry.digest());
        let fitting = || made.iter().filter(|(name, [_, after])| *name != reader && hold(after, new));
        // A step whose key is the same has one record: what it made before is no longer known.
        let before = |(name, [before, _]): &(&String, &[Vec<Entry>; 2])| {
            hold(before, old) || (before.is_empty() || self.same_key(name)) && self.old.key(name).is_some()
        };
        let chosen = fitting().filter(|(name, _)| read.contains(name.as_str())).find(before);
        let chosen = chosen.or_else(|| fitting().find(|(_, [before, _])| hold(before, old)));
        Ok(chosen.map(|(name, _)| name.clone()))
    }

    fn same_key(&self, step: &str) -> bool {
        self.old.key(step) == self.new.key(step)
    }
}

/// The cause from changes alone, where no run is known to follow them through.
pub fn plain(site: &Site, step: &str, changes: &[Change]) -> Result<Cause, StoreError> {
    let mut differences = Vec::new();
    for change in changes {
        let contents = [&change.old, &change.new].map(|value| value.as_deref().and_then(entry));
        let within = match contents {
            [Some(old), Some(new)] => files(&site.store, &old, &new)?,
            _ => Within::Itself {},
        };
        let place = change.origin.as_ref().map(|origin| explain::place(&site.pipeline, origin));
        let (old, new) = (change.old.clone(), change.new.clone());
        differences.push(Difference { leaf: change.path.clone(), old, new, place, within });
    }
    Ok(Cause { step: step.to_owned(), found: Found::Differs, differences })
}

/// What the steps of both sides made, with the folders and files in it.
fn made(old: &Side, new: &Side) -> BTreeMap<String, [Vec<Entry>; 2]> {
    let all = |side: &Side, output: Option<Entry>| {
        let mut all: Vec<Entry> = output.iter().cloned().collect();
        // What is gone from the store is in no chain.
        let _ = output.map(|output| side.store().walk(&output, |_, entry| all.push(entry.clone())));
        all
    };
    let steps = new.steps().into_iter();
    steps.map(|step| (step.clone(), [all(old, old.output(&step)), all(new, new.output(&step))])).collect()
}

/// The key of the question in what a comparison depends on: `KEY DIGEST` of a cell's samples.
fn question(value: &str) -> Option<Digest> {
    let (key, samples) = value.split_once(' ')?;
    samples.parse::<Digest>().ok()?;
    key.parse().ok()
}

/// The content that a value names: `tree:…` alone, or at the end of `input in/1 tree:…`. Its size is not known.
fn entry(value: &str) -> Option<Entry> {
    let (kind, digest) = value.rsplit(' ').next()?.split_once(':')?;
    let digest = digest.parse().ok()?;
    match kind {
        "tree" => Some(Entry::Tree { digest }),
        "file" | "exec" => Some(Entry::File { digest, size: 0, executable: kind == "exec" }),
        _ => None,
    }
}

fn files(store: &Store, old: &Entry, new: &Entry) -> Result<Within, StoreError> {
    let (mut files, mut more) = (Vec::new(), 0);
    differing(store, old, new, "", &mut files, &mut more)?;
    Ok(Within::Files { files, more })
}

/// Collects the files in which two contents differ.
fn differing(
    store: &Store,
    old: &Entry,
    new: &Entry,
    path: &str,
    files: &mut Vec<FileChange>,
    more: &mut usize,
) -> Result<(), StoreError> {
    let mut push = |path: String, what: String| match files.len() < FILES {
        true => files.push(FileChange { path, what }),
        false => *more += 1,
    };
    let (Entry::Tree { digest: from }, Entry::Tree { digest: to }) = (old, new) else {
        push(path.to_owned(), changed(store, old, new)?);
        return Ok(());
    };
    let (Some(from), Some(to)) = (store.tree(from)?, store.tree(to)?) else {
        push(path.to_owned(), "the store no longer has both of the folders to compare".to_owned());
        return Ok(());
    };
    let names: BTreeSet<&str> = from.entries().chain(to.entries()).map(|(name, _)| name).collect();
    for name in names {
        let below = if path.is_empty() { name.to_owned() } else { format!("{path}/{name}") };
        match (from.get(name), to.get(name)) {
            (Some(old), Some(new)) if old == new => {}
            (Some(old), Some(new)) => differing(store, old, new, &below, files, more)?,
            (None, Some(_)) if files.len() < FILES => files.push(FileChange { path: below, what: "is new".to_owned() }),
            (Some(_), None) if files.len() < FILES => {
                files.push(FileChange { path: below, what: "is gone".to_owned() })
            }
            _ => *more += 1,
        }
    }
    Ok(())
}

/// How one file or link became another.
fn changed(store: &Store, old: &Entry, new: &Entry) -> Result<String, StoreError> {
    Ok(match (old, new) {
        (Entry::Link { target: old }, Entry::Link { target: new }) => format!("points to {new}, was {old}"),
        (Entry::File { digest: a, executable: x, .. }, Entry::File { digest: b, executable: y, .. }) if a == b => {
            debug_assert_ne!(x, y);
            format!("{} executable", if *y { "became" } else { "is no longer" })
        }
        (Entry::File { digest: old, .. }, Entry::File { digest: new, .. }) => {
            match (text(store, old)?, text(store, new)?) {
                (Some(old), Some(new)) => match first_line(&old, &new) {
                    Some(line) => format!("differs from line {line} on"),
                    None => format!("{} became {}", bytes(old.len()), bytes(new.len())),
                },
                _ => "holds something else".to_owned(),
            }
        }
        (old, new) => format!("is {} now, was {}", kind(new), kind(old)),
    })
}

fn bytes(count: usize) -> String {
    super::estimate::size(count as u64)
}

fn kind(entry: &Entry) -> &'static str {
    match entry {
        Entry::File { .. } => "a file",
        Entry::Tree { .. } => "a folder",
        Entry::Link { .. } => "a link",
    }
}

/// A file's bytes, where the store has them and they are few.
fn text(store: &Store, digest: &Digest) -> Result<Option<Vec<u8>>, StoreError> {
    let Some(blob) = store.open_blob(digest)? else { return Ok(None) };
    let mut bytes = Vec::new();
    let read = blob.take(TEXT + 1).read_to_end(&mut bytes).is_ok();
    Ok((read && bytes.len() as u64 <= TEXT).then_some(bytes))
}

/// The first line that differs, of two texts.
fn first_line(old: &[u8], new: &[u8]) -> Option<usize> {
    let (old, new) = (std::str::from_utf8(old).ok()?, std::str::from_utf8(new).ok()?);
    let same = old.split('\n').zip(new.split('\n')).take_while(|(a, b)| a == b).count();
    Some(same + 1)
}

#[cfg(test)]
mod tests {
    use pipe_cache::TreeBuilder;

    use super::*;

    #[test]
    fn values_name_contents() {
        let digest = Digest::of(b"x");
        assert_eq!(entry(&format!("input in/1 tree:{digest}")), Some(Entry::Tree { digest }));
        assert_eq!(entry(&format!("exec:{digest}")), Some(Entry::File { digest, size: 0, executable: true }));
        assert_eq!(entry("value tree:12"), None);
        assert_eq!(entry("secret:TOKEN"), None);
        assert_eq!(question(&format!("{digest} {digest}")), Some(digest));
        assert_eq!(question("open"), None);
    }

    #[test]
    fn folders_are_compared_file_by_file() {
        let folder = tempfile::TempDir::new().expect("a folder");
        let store = Store::open(folder.path()).expect("a store");
        let tree = |files: &[(&str, &str)]| {
            let mut tree = TreeBuilder::new();
            for (path, text) in files {
                tree.insert(path, store.put_bytes(text.as_bytes()).expect("stored")).expect("a path");
            }
            tree.build(&store).expect("a tree")
        };
        let old = tree(&[("a", "one\ntwo\n"), ("b/c", "same"), ("b/d", "gone"), ("e", "\u{1}\u{ff}")]);
        let new = tree(&[("a", "one\n2\n"), ("b/c", "same"), ("f/g", "new"), ("e/x", "")]);
        let (mut files, mut more) = (Vec::new(), 0);
        differing(&store, &old, &new, "", &mut files, &mut more).expect("compared");
        let told: Vec<String> = files.iter().map(|file| format!("{} {}", file.path, file.what)).collect();
        assert_eq!(told, ["a differs from line 2 on", "b/d is gone", "e is a folder now, was a file", "f is new"]);
        assert_eq!(more, 0);
        let many: Vec<(String, String)> = (0..30).map(|n| (format!("f{n:02}"), n.to_string())).collect();
        let many: Vec<(&str, &str)> = many.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
        let mut files = Vec::new();
        differing(&store, &tree(&[]), &tree(&many), "", &mut files, &mut more).expect("compared");
        assert_eq!((files.len(), more), (20, 10));
    }

    #[test]
    fn the_first_line_that_differs_is_found() {
        assert_eq!(first_line(b"a\nb\n", b"a\nc\n"), Some(2));
        assert_eq!(first_line(b"a\n", b"a\nb\n"), Some(2));
        assert_eq!(first_line(b"\xff", b"a"), None);
    }
}
