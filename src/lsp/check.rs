//! Diagnostics while typing, by the very code of `pipe check`, on a thread of its own.
//!
//! Approach:
//! - The server sends a job with all texts at each change; the thread waits until no further one comes for a
//!   moment, and then reads every open file that the change can concern, the changed one first.
//! - A newer job ends the round, so a burst of typing costs one reading.
//! - Findings of one file may come from several pipelines that use it: they are kept by pipeline, and a file is
//!   told the union.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lsp_types::{
    DiagnosticRelatedInformation, DiagnosticSeverity, Location, NumberOrString, PublishDiagnosticsParams, Range,
    TextEdit, Uri,
};

use super::documents::{Open, Overlay, materialised};
use super::fixes::fixes;
use super::position::{self, Encoding, Lines};
use super::scan;
use crate::diag::{Diagnostic, Diagnostics, Label, Severity, Source};
use crate::resolve::{Facts, Files, Options, load, table};
use crate::syntax::Document;

/// So long no further change must come before a text is read.
const PAUSE: Duration = Duration::from_millis(60);

/// What is to be read.
pub struct Job {
    pub overlay: Overlay,
    /// By real path.
    pub open: BTreeMap<PathBuf, Open>,
    /// The file that changed; `None` where all are to be read again.
    pub changed: Option<PathBuf>,
    pub encoding: Encoding,
}

/// A way to mend a finding, as the editor takes it.
#[derive(Debug, Clone)]
pub struct Remedy {
    pub diagnostic: lsp_types::Diagnostic,
    pub title: String,
    pub edits: Vec<TextEdit>,
    /// It is the only one.
    pub sure: bool,
}

/// The remedies of each file, with the version of the text for which they are made.
pub type Remedies = Arc<Mutex<BTreeMap<PathBuf, (i32, Vec<Remedy>)>>>;

/// What the thread needs besides jobs.
pub struct Checker {
    pub facts: Facts,
    /// Where the standard library can be shown.
    pub std: PathBuf,
    pub remedies: Remedies,
    pub publish: Box<dyn Fn(PublishDiagnosticsParams) + Send>,
}

/// A finding on its way to an editor.
#[derive(Debug, Clone, PartialEq)]
struct Finding {
    diagnostic: lsp_types::Diagnostic,
    fixes: Vec<(String, Vec<TextEdit>)>,
}

/// What was found for each pipeline.
#[derive(Default)]
struct Known {
    /// Pipeline → file → findings.
    found: BTreeMap<PathBuf, BTreeMap<PathBuf, Vec<Finding>>>,
    /// Pipeline → the files that it was read of.
    read: BTreeMap<PathBuf, BTreeSet<PathBuf>>,
}

/// Starts the thread; it ends when the sender is dropped.
pub fn start(checker: Checker) -> std::io::Result<Sender<Job>> {
    let (sender, jobs) = channel::<Job>();
    std::thread::Builder::new().name("check".to_owned()).spawn(move || rounds(&checker, &jobs))?;
    Ok(sender)
}

fn rounds(checker: &Checker, jobs: &Receiver<Job>) {
    let mut known = Known::default();
    let mut waiting: Option<Job> = None;
    // Files whose change no round has answered yet; `None` stands for all.
    let mut stale: BTreeSet<Option<PathBuf>> = BTreeSet::new();
    loop {
        let mut job = match waiting.take() {
            Some(job) => job,
            None => match jobs.recv() {
                Ok(job) => job,
                Err(_) => return,
            },
        };
        stale.insert(job.changed.clone());
        loop {
            match jobs.recv_timeout(PAUSE) {
                Ok(newer) => {
                    stale.insert(newer.changed.clone());
                    job = newer;
                }
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
        waiting = round(checker, &job, &stale, &mut known, jobs);
        if waiting.is_none() {
            stale.clear();
        }
    }
}

/// Reads what is stale; a newer job that came meanwhile ends it.
fn round(
    checker: &Checker,
    job: &Job,
    stale: &BTreeSet<Option<PathBuf>>,
    known: &mut Known,
    jobs: &Receiver<Job>,
) -> Option<Job> {
    let closed: Vec<PathBuf> = known.found.keys().filter(|main| !job.open.contains_key(*main)).cloned().collect();
    for main in closed {
        tell(checker, job, known, &main, BTreeMap::new(), BTreeSet::new());
    }
    let concerned = |main: &PathBuf| {
        stale.iter().any(|changed| match changed {
            None => true,
            Some(changed) => changed == main || known.read.get(main).is_none_or(|read| read.contains(changed)),
        })
    };
    let mut mains: Vec<PathBuf> = job.open.keys().filter(|main| concerned(main)).cloned().collect();
    // Who types looks at the file that changes.
    mains.sort_by_key(|main| job.changed.as_ref() != Some(main));
    for main in mains {
        if let Ok(newer) = jobs.try_recv() {
            return Some(newer);
        }
        let Some(open) = job.open.get(&main) else { continue };
        // A fault of ours must not end what the editor is told: the file keeps what was known of it.
        let read = catch_unwind(AssertUnwindSafe(|| read(checker, job, &main, open)));
        if let Ok((found, read)) = read {
            tell(checker, job, known, &main, found, read);
        }
    }
    None
}

/// The findings about one open file and what it uses, and the files that were read.
fn read(
    checker: &Checker,
    job: &Job,
    main: &Path,
    open: &Open,
) -> (BTreeMap<PathBuf, Vec<Finding>>, BTreeSet<PathBuf>) {
    let document = scan::tree(0, &open.text);
    let (all, synthetic) = match role(&document, &open.text) {
        Role::Other => return (BTreeMap::new(), BTreeSet::from([main.to_owned()])),
        Role::Pipeline => (pipeline(checker, job, open), false),
        Role::Library => (vec![library(checker, job, open)], true),
    };
    let mut found: BTreeMap<PathBuf, Vec<Finding>> = BTreeMap::new();
    let mut read = BTreeSet::from([main.to_owned()]);
    for diagnostics in &all {
        let places = Places::new(checker, job, &open.path, diagnostics, synthetic);
        for fault in diagnostics.iter() {
            if let Some((file, finding)) = places.finding(fault) {
                found.entry(file).or_default().push(finding);
            }
        }
        read.extend(places.files.iter().flatten().map(|file| file.real.clone()));
    }
    (found, read)
}

/// What is wrong with a pipeline; where that is nothing, what is wrong with it under each of its profiles.
fn pipeline(checker: &Checker, job: &Job, open: &Open) -> Vec<Diagnostics> {
    let with = |profile: Option<String>| {
        let options = Options { profile, ..Options::default() };
        load(&open.path, &options, &job.overlay, &checker.facts)
    };
    let (sound, diagnostics) = with(None);
    let profiles = sound.map(|pipeline| pipeline.profiles).unwrap_or_default();
    let further = profiles.into_iter().map(|profile| with(Some(profile.name)).1);
    std::iter::once(diagnostics).chain(further).collect()
}

/// What a text is.
enum Role {
    Pipeline,
    /// Recipes for others to use.
    Library,
    /// Not ours: an editor may call every KDL file ours.
    Other,
}

fn role(document: &Document, text: &str) -> Role {
    let Some(first) = document.nodes.first() else {
        // A large file has no tree, and must be told that it is large.
        return if text.len() > crate::syntax::MOST_BYTES { Role::Pipeline } else { Role::Other };
    };
    let word = |word: &str| table::FILE_NODES.iter().chain(table::STEP_NODES).any(|spec| spec.name == word);
    if first.name.text == "pipeline" || crate::diag::nearest(&first.name.text, ["pipeline"]).is_some() {
        return Role::Pipeline;
    }
    let library = |name: &str| matches!(name, "use" | "recipe");
    if library(&first.name.text) && !document.nodes.iter().any(|node| node.name.text == "pipeline") {
        return Role::Library;
    }
    match document.nodes.iter().any(|node| word(&node.name.text)) {
        true => Role::Pipeline,
        false => Role::Other,
    }
}

/// Reads a file of recipes as a pipeline that uses it and nothing else.
fn library(checker: &Checker, job: &Job, open: &Open) -> Diagnostics {
    let name = open.path.file_name().unwrap_or_default().to_string_lossy();
    let quoted = name.replace('\\', "\\\\").replace('"', "\\\"");
    let around = open.path.with_file_name(format!(".{name}.pipe-check"));
    let overlay = job.overlay.with(&around, &format!("pipeline \"check\"\nuse \"{quoted}\"\n"));
    load(&around, &Options::default(), &overlay, &checker.facts).1
}

/// Keeps what was found for a pipeline, and tells the editor of every file where that changes something.
fn tell(
    checker: &Checker,
    job: &Job,
    known: &mut Known,
    main: &Path,
    found: BTreeMap<PathBuf, Vec<Finding>>,
    read: BTreeSet<PathBuf>,
) {
    let mut files: BTreeSet<PathBuf> = found.keys().cloned().collect();
    files.extend(known.found.get(main).into_iter().flatten().map(|(file, _)| file.clone()));
    files.insert(main.to_owned());
    known.found.insert(main.to_owned(), found);
    known.read.insert(main.to_owned(), read);
    if !job.open.contains_key(main) {
        known.found.remove(main);
        known.read.remove(main);
    }
    for file in files {
        let mut all: Vec<&Finding> = Vec::new();
        for finding in known.found.values().filter_map(|files| files.get(&file)).flatten() {
            // Two pipelines that use a file find the same in it.
            let same = |other: &&Finding| {
                let (a, b) = (&other.diagnostic, &finding.diagnostic);
                a.range == b.range && a.code == b.code && a.message == b.message
            };
            if !all.iter().any(same) {
                all.push(finding);
            }
        }
        let open = job.open.get(&file);
        let remedies = all.iter().flat_map(|finding| {
            finding.fixes.iter().map(|(title, edits)| Remedy {
                diagnostic: finding.diagnostic.clone(),
                title: title.clone(),
                edits: edits.clone(),
                sure: finding.fixes.len() == 1,
            })
        });
        let version = open.map_or(0, |open| open.version);
        if let Ok(mut map) = checker.remedies.lock() {
            map.insert(file.clone(), (version, remedies.collect()));
        }
        let Some(uri) = open.map(|open| open.uri.clone()).or_else(|| position::uri(&file)) else { continue };
        let diagnostics = all.iter().map(|finding| finding.diagnostic.clone()).collect();
        (checker.publish)(PublishDiagnosticsParams { uri, diagnostics, version: open.map(|open| open.version) });
    }
}

/// A file that was read, as the editor knows it.
struct File<'s> {
    real: PathBuf,
    uri: Uri,
    source: &'s Source,
    lines: Lines<'s>,
    /// It can be edited: neither ours nor made up here.
    own: bool,
}

/// The files that findings point into.
struct Places<'s> {
    files: Vec<Option<File<'s>>>,
    main: Option<Uri>,
}

impl<'s> Places<'s> {
    fn new(checker: &Checker, job: &Job, main: &Path, all: &'s Diagnostics, synthetic: bool) -> Places<'s> {
        let named = |source: usize| {
            let mut labels = all.iter().flat_map(|fault| fault.labels.iter().chain(&fault.trail));
            labels.any(|label| label.at.source == source)
        };
        let folder = main.parent().unwrap_or(Path::new("/"));
        let root = folder.ancestors().find(|dir| dir.join(".git").exists()).unwrap_or(folder);
        let file = |(index, source): (usize, &'s Source)| {
            let lines = Lines::new(&source.text, job.encoding);
            if let Some(name) = source.name.strip_prefix("std/") {
                if !named(index) {
                    return None;
                }
                let name = if name.contains('.') { name.to_owned() } else { format!("{name}.kdl") };
                let real = materialised(&checker.std)?.join(name);
                return Some(File { uri: position::uri(&real)?, real, source, lines, own: false });
            }
            if index == 0 && synthetic {
                return None;
            }
            // Locks are named from the root of the project, everything else by its whole path.
            let real = job.overlay.real(&root.join(&source.name));
            let uri = job.open.get(&real).map(|open| open.uri.clone()).or_else(|| position::uri(&real))?;
            Some(File { uri, real, source, lines, own: true })
        };
        let main = job.open.get(&job.overlay.real(main)).map(|open| open.uri.clone());
        Places { files: all.sources().iter().enumerate().map(file).collect(), main }
    }

    fn file(&self, label: &Label) -> Option<&File<'s>> {
        self.files.get(label.at.source)?.as_ref()
    }

    fn range(&self, label: &Label) -> Option<Range> {
        let file = self.file(label)?;
        Some(file.lines.range(label.at.start, label.at.end))
    }

    /// A diagnostic at the first of its places that the user can edit; the others are told beside it.
    fn finding(&self, fault: &Diagnostic) -> Option<(PathBuf, Finding)> {
        let all = || fault.labels.iter().chain(&fault.trail);
        let primary = all().find(|label| self.file(label).is_some_and(|file| file.own));
        let Some(primary) = primary else {
            // Without a place it is about the main file as a whole; what is about the text made up here is not told.
            let main = self.files.first()?.as_ref().filter(|_| fault.labels.is_empty() && self.main.is_some())?;
            let diagnostic = self.diagnostic(fault, Range::default(), None);
            return Some((main.real.clone(), Finding { diagnostic, fixes: Vec::new() }));
        };
        let file = self.file(primary)?;
        let related = all().filter(|label| !std::ptr::eq(*label, primary)).filter_map(|label| {
            let location = Location::new(self.file(label)?.uri.clone(), self.range(label)?);
            Some(DiagnosticRelatedInformation { location, message: label.text.clone() })
        });
        let diagnostic = self.diagnostic(fault, self.range(primary)?, Some(related.collect()));
        // A fix belongs to the first label; where that lies in a file of ours there is nothing to mend here.
        let first = fault.labels.first().is_some_and(|label| std::ptr::eq(label, primary));
        let text = &file.source.text;
        let fixes = if first { fixes(fault, text, &scan::tree(primary.at.source, text)) } else { Vec::new() };
        let edit = |(at, new): &(crate::diag::At, String)| TextEdit {
            range: file.lines.range(at.start, at.end),
            new_text: new.clone(),
        };
        let fixes = fixes.iter().map(|fix| (fix.title.clone(), fix.edits.iter().map(edit).collect())).collect();
        Some((file.real.clone(), Finding { diagnostic, fixes }))
    }

    fn diagnostic(
        &self,
        fault: &Diagnostic,
        range: Range,
        related: Option<Vec<DiagnosticRelatedInformation>>,
    ) -> lsp_types::Diagnostic {
        let mut message = fault.message.clone();
        if let Some(help) = &fault.help {
            message.push_str(&format!("\nhelp: {help}"));
        }
        lsp_types::Diagnostic {
            range,
            severity: Some(match fault.severity {
                Severity::Error => DiagnosticSeverity::ERROR,
                Severity::Warning => DiagnosticSeverity::WARNING,
            }),
            code: Some(NumberOrString::String(fault.code.to_owned())),
            source: Some("pipe".to_owned()),
            message,
            related_information: related.filter(|related| !related.is_empty()),
            ..Default::default()
        }
    }
}
