//! Builds a step a second time and compares: what differs between two makings of the same key differs for everybody
//! who shares results.
//!
//! The second making has a folder, a process and a time of its own; where the folder can be seen (at `fs` and `off`),
//! its name differs too. What it made is compared in the store, where nothing is overwritten and no record points to it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::Read;
use std::time::Instant;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use pipe_cache::{Digest, Entry, Store, StoreError};
use tokio::sync::mpsc::unbounded_channel;

use super::commits::Desk;
use super::outcome::{Failure, Product};
use super::pools::{Grant, Pools};
use super::process::Cancel;
use super::runner::{Done, LOOK};
use super::site::Site;
use super::work::{self, Job, Unmade};
use crate::event::{Event, Listener, OutcomeKind};
use crate::pipeline::{Action, Class, StepId};

/// Bytes shown of each side, from the first that differs.
const SHOWN: usize = 16;

/// What a second making showed.
#[derive(Debug)]
pub enum Verdict {
    Same,
    Differs(Difference),
    /// It could be built once and not again.
    Failed(Failure),
    /// The run was stopped first.
    Open,
}

/// The first path, in order of bytes, at which two outputs differ.
#[derive(Debug, PartialEq, Eq)]
pub struct Difference {
    /// Inside the output; empty where the output is one file.
    pub path: String,
    pub what: What,
    /// The two outputs, as the store has them.
    pub outputs: [Entry; 2],
}

/// How two outputs differ at a path.
#[derive(Debug, PartialEq, Eq)]
pub enum What {
    /// Only the first or only the second has it.
    Only { second: bool },
    /// One is a file and the other is not, or only one can be executed, or links lead elsewhere.
    Kind([String; 2]),
    /// Bytes of a file, from the first that differs; empty where that file has ended.
    Bytes { offset: u64, kind: &'static str, sizes: [u64; 2], bytes: [Vec<u8>; 2] },
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            What::Only { second: false } => f.write_str("only the first has it"),
            What::Only { second: true } => f.write_str("only the second has it"),
            What::Kind([first, second]) => write!(f, "first {first}, then {second}"),
            What::Bytes { offset, kind, sizes: [first, second], bytes } => {
                write!(f, "{kind}, {first} bytes")?;
                if first != second {
                    write!(f, " and then {second}")?;
                }
                write!(f, "; they differ from byte {offset} ({offset:#x}) on:")?;
                for (name, bytes) in ["first", "then "].into_iter().zip(bytes) {
                    write!(f, "\n    {name}  {}", dump(bytes))?;
                }
                Ok(())
            }
        }
    }
}

/// `68 65 6c  hel`
fn dump(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        return "(its end)".to_owned();
    }
    let hex: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let text: String =
        bytes.iter().map(|&byte| if byte.is_ascii_graphic() || byte == b' ' { byte as char } else { '.' }).collect();
    format!("{:<width$}  {text}", hex.join(" "), width = SHOWN * 3 - 1)
}

/// True for a step of which a second making can be expected to be the same.
pub fn can_be_checked(site: &Site, id: StepId) -> bool {
    let step = site.step(id);
    step.class == Class::Build && !matches!(step.action, Action::Measure(_) | Action::Compare(_))
}

/// Builds steps again that have a result, and compares.
pub async fn check(
    site: &Site,
    done: &Done,
    steps: &BTreeSet<StepId>,
    cancel: &Cancel,
    listener: &mut dyn Listener,
) -> BTreeMap<StepId, Verdict> {
    let (progress, mut heard) = unbounded_channel();
    let (mut pools, _) = Pools::open(site);
    let output = |id: &StepId| done.outcomes.get(id).and_then(|o| o.product()).and_then(Product::entry).cloned();
    let mut waiting: Vec<(StepId, Entry)> = steps.iter().rev().filter_map(|id| Some((*id, output(id)?))).collect();
    let mut verdicts = BTreeMap::new();
    let mut works = FuturesUnordered::new();
    let mut held: BTreeMap<StepId, (Grant, Instant)> = BTreeMap::new();
    loop {
        let mut waits = false;
        while let Some((id, first)) = waiting.last().filter(|_| !cancel.is_cancelled()).cloned() {
            let Some((key, manifest)) = done.manifests.get(&id).cloned() else {
                waiting.pop();
                continue;
            };
            let demand = pools.demand(&site.step(id).needs);
            if !demand.fits(pools.free()) {
                break;
            }
            let Ok(grant) = pools.take(demand, held.is_empty()) else {
                waits = true;
                break;
            };
            waiting.pop();
            let inputs = site.plan.reads(id).into_iter().filter_map(|read| Some((read, output(&read)?))).collect();
            let (cancel, progress, gpus) = (cancel.clone(), progress.clone(), grant.gpus());
            // Nothing is left at this desk: what is built again is compared, and not kept.
            let desk = Desk::default();
            let job = Job { site, id, manifest, key, inputs, gpus, cancel, progress, desk };
            listener.hear(&started(site, id));
            held.insert(id, (grant, Instant::now()));
            works.push(async move { (id, again(&job, first).await) });
        }
        if works.is_empty() && !waits {
            break;
        }
        tokio::select! {
            Some((id, verdict)) = works.next() => {
                let mut seconds = 0.0;
                if let Some((grant, since)) = held.remove(&id) {
                    pools.give(grant);
                    seconds = since.elapsed().as_secs_f64();
                }
                listener.hear(&finished(site, id, &verdict, seconds));
                verdicts.insert(id, verdict);
            }
            Some(event) = heard.recv() => listener.hear(&event),
            () = tokio::time::sleep(LOOK), if waits => {}
        }
    }
    verdicts.extend(waiting.into_iter().map(|(id, _)| (id, Verdict::Open)));
    verdicts
}

fn name(site: &Site, id: StepId) -> String {
    format!("{} (again)", site.step(id).name)
}

fn started(site: &Site, id: StepId) -> Event {
    Event::Started { step: name(site, id), class: "check" }
}

fn finished(site: &Site, id: StepId, verdict: &Verdict, seconds: f64) -> Event {
    let (outcome, detail) = match verdict {
        Verdict::Same => (OutcomeKind::Ran, None),
        Verdict::Differs(difference) => (OutcomeKind::Failed, Some(format!("`{}` differs", difference.path))),
        Verdict::Failed(failure) => (OutcomeKind::Failed, Some(failure.message.clone())),
        Verdict::Open => (OutcomeKind::Cancelled, None),
    };
    Event::Finished { step: name(site, id), outcome, seconds, key: None, detail }
}

async fn again(job: &Job<'_>, first: Entry) -> Verdict {
    let second = match work::attempt(job).await {
        Ok(made) => made.output,
        Err(Unmade::Cancelled) => return Verdict::Open,
        Err(Unmade::Failed(_) | Unmade::Passing(_)) if job.cancel.is_cancelled() => return Verdict::Open,
        Err(Unmade::Failed(failure) | Unmade::Passing(failure)) => return Verdict::Failed(failure),
    };
    match difference(&job.site.store, &first, &second) {
        Ok(None) => Verdict::Same,
        Ok(Some(difference)) => Verdict::Differs(difference),
        Err(error) => Verdict::Failed(Failure { message: error.to_string(), ..Failure::default() }),
    }
}

/// The first difference of two outputs; `None` where they are the same bytes.
pub fn difference(store: &Store, first: &Entry, second: &Entry) -> Result<Option<Difference>, StoreError> {
    if first == second {
        return Ok(None);
    }
    let (one, two) = (listed(store, first)?, listed(store, second)?);
    let paths: BTreeSet<&String> = one.keys().chain(two.keys()).collect();
    for path in paths {
        let what = match (one.get(path), two.get(path)) {
            (Some(one), Some(two)) => between(store, one, two)?,
            (one, _) => Some(What::Only { second: one.is_none() }),
        };
        if let Some(what) = what {
            return Ok(Some(Difference { path: path.clone(), what, outputs: [first.clone(), second.clone()] }));
        }
    }
    Ok(None)
}

fn listed(store: &Store, entry: &Entry) -> Result<BTreeMap<String, Entry>, StoreError> {
    let mut found = BTreeMap::new();
    store.walk(entry, |path, entry| drop(found.insert(path.to_owned(), entry.clone())))?;
    Ok(found)
}

fn between(store: &Store, one: &Entry, two: &Entry) -> Result<Option<What>, StoreError> {
    Ok(match (one, two) {
        // What is in them has paths of its own.
        (Entry::Tree { .. }, Entry::Tree { .. }) => None,
        (
            Entry::File { digest: first, size: one_size, executable: one_runs },
            Entry::File { digest: second, size: two_size, executable: two_runs },
        ) if one_runs == two_runs => {
            if first == second {
                None
            } else {
                Some(bytes(store, [first, second], [*one_size, *two_size])?)
            }
        }
        _ if one == two => None,
        _ => Some(What::Kind([kind(one), kind(two)])),
    })
}

fn kind(entry: &Entry) -> String {
    match entry {
        Entry::Tree { .. } => "a folder".to_owned(),
        Entry::File { executable: true, .. } => "a file that can be executed".to_owned(),
        Entry::File { .. } => "a file that can't be executed".to_owned(),
        Entry::Link { target } => format!("a link to `{target}`"),
    }
}

/// Reads two files side by side up to the first byte that differs.
fn bytes(store: &Store, digests: [&Digest; 2], sizes: [u64; 2]) -> Result<What, StoreError> {
    const BLOCK: usize = 1 << 16;
    let open = |digest: &Digest| store.open_blob(digest)?.ok_or(StoreError::Missing { digest: *digest });
    let mut files = [open(digests[0])?, open(digests[1])?];
    let mut blocks = [Vec::new(), Vec::new()];
    let (mut offset, mut head) = (0u64, None);
    loop {
        for ((file, block), digest) in files.iter_mut().zip(&mut blocks).zip(digests) {
            block.clear();
            let read = file.by_ref().take(BLOCK as u64).read_to_end(block);
            read.map_err(|_| StoreError::Missing { digest: *digest })?;
        }
        let [one, two] = &blocks;
        let kind = *head.get_or_insert_with(|| magic(one));
        let same = one.iter().zip(two).take_while(|(one, two)| one == two).count();
        if same < one.len().max(two.len()) || one.is_empty() {
            let mut shown = blocks.map(|block| block[same.min(block.len())..].to_vec());
            for (shown, file) in shown.iter_mut().zip(&mut files) {
                // Near the end of a block a little of the next one belongs to what is shown.
                let more = SHOWN.saturating_sub(shown.len()) as u64;
                let _ = file.take(more).read_to_end(shown);
                shown.truncate(SHOWN);
            }
            return Ok(What::Bytes { offset: offset + same as u64, kind, sizes, bytes: shown });
        }
        offset += one.len() as u64;
    }
}

/// What a file is by its first bytes: it hints at what writes times and paths into it.
fn magic(head: &[u8]) -> &'static str {
    const KNOWN: [(&[u8], &str); 12] = [
        (b"\x7fELF", "an ELF program or library"),
        (b"PK\x03\x04", "a zip archive"),
        (b"\x1f\x8b", "a gzip file"),
        (b"\x28\xb5\x2f\xfd", "a zstd file"),
        (b"\xfd7zXZ", "an xz file"),
        (b"\x93NUMPY", "a NumPy array"),
        (b"!<arch>\n", "a static library"),
        (b"\x89PNG", "a PNG picture"),
        (b"%PDF", "a PDF document"),
        (b"SQLite format 3", "an SQLite database"),
        (b"\xcf\xfa\xed\xfe", "a Mach-O program or library"),
        (b"\x00asm", "a WebAssembly module"),
    ];
    if let Some((_, name)) = KNOWN.iter().find(|(magic, _)| head.starts_with(magic)) {
        return name;
    }
    if head.get(257..262).is_some_and(|magic| magic == b"ustar") {
        return "a tar archive";
    }
    match std::str::from_utf8(head) {
        Ok(text) if !text.contains('\0') => "text",
        _ => "a file",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(one: &[(&str, &[u8])], two: &[(&str, &[u8])]) -> String {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(&folder.path().join("store")).expect("a store");
        let tree = |files: &[(&str, &[u8])]| {
            let mut tree = pipe_cache::TreeBuilder::new();
            for (path, bytes) in files {
                tree.insert(path, store.put_bytes(bytes).expect("bytes")).expect("a path");
            }
            tree.build(&store).expect("a tree")
        };
        let found = difference(&store, &tree(one), &tree(two)).expect("an answer");
        found.map_or("same".to_owned(), |found| format!("{}: {}", found.path, found.what))
    }

    #[test]
    fn the_first_path_and_byte_that_differ_are_told() {
        assert_eq!(said(&[("a", b"1")], &[("a", b"1")]), "same");
        assert_eq!(said(&[("a", b"1")], &[("a", b"1"), ("b", b"2")]), "b: only the second has it");
        assert_eq!(said(&[("d/a", b"1")], &[("d", b"1")]), "d: first a folder, then a file that can't be executed");
        assert_eq!(
            said(&[("a", b"same"), ("b", b"made at 10:05")], &[("a", b"same"), ("b", b"made at 11:07")]),
            "b: text, 13 bytes; they differ from byte 9 (0x9) on:\n    first  30 3a 30 35                                      0:05\n    then   31 3a 30 37                                      1:07"
        );
        let longer = said(&[("b", b"PK\x03\x04")], &[("b", b"PK\x03\x04\xff")]);
        assert!(longer.starts_with("b: a zip archive, 4 bytes and then 5; they differ from byte 4"), "{longer}");
        assert!(longer.contains("first  (its end)") && longer.contains("then   ff "), "{longer}");
    }

    #[test]
    fn large_files_are_read_in_pieces() {
        let one = vec![7u8; 200_000];
        let mut two = one.clone();
        two[131_071] = 8;
        let said = said(&[("x", &one)], &[("x", &two)]);
        assert!(said.contains("they differ from byte 131071 (0x1ffff) on"), "{said}");
        assert!(said.contains("08 07 07 07 07 07 07 07 07 07 07 07 07 07 07 07"), "{said}");
    }
}
