//! Reads the main file and all that it uses, and finds what `(file)` means.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::beside;
use super::files::{FileKind, Files, normal};
use crate::diag::{At, Diagnostic, Source, suggest};
use crate::pipeline::{Filter, Input};
use crate::stdlib;
use crate::syntax::{self, Document, Entry};

/// Faults after which no further file is looked for.
const MOST_FINDINGS: usize = 100;

/// One KDL file.
#[derive(Debug)]
pub struct Module {
    pub source: usize,
    pub home: Home,
    pub document: Document,
    /// The modules that it uses, and where it says so.
    pub uses: Vec<(usize, At)>,
}

/// Where a file lies, and so what its relative paths mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Home {
    /// A real folder, and how a person writes it.
    Folder { real: PathBuf, shown: PathBuf },
    /// In the `pipe` binary.
    Std,
}

/// All files of a pipeline.
pub struct Loader<'f> {
    pub(super) files: &'f dyn Files,
    /// Nothing outside of it is read, unless a `use` says so.
    pub(super) root: PathBuf,
    /// The projects of files that a `use` takes from outside; they may read what lies in theirs.
    pub(super) others: Vec<PathBuf>,
    pub sources: Vec<Source>,
    /// The main file is the first.
    pub modules: Vec<Module>,
    /// The identity of each module: its real path, or `std/…`.
    known: Vec<String>,
    pub found: Vec<Diagnostic>,
    pub(super) python: beside::Known,
    /// Findings of what is looked for while steps are built.
    pub(super) late: Vec<Diagnostic>,
}

impl<'f> Loader<'f> {
    /// Reads `main` and what it uses.
    pub fn load(main: &Path, files: &'f dyn Files) -> Loader<'f> {
        let real = files.real(main);
        let folder = real.parent().map_or_else(|| PathBuf::from("/"), Path::to_owned);
        let root = project(files, &folder);
        let mut loader = Loader {
            files,
            root,
            others: Vec::new(),
            sources: Vec::new(),
            modules: Vec::new(),
            known: Vec::new(),
            found: Vec::new(),
            python: beside::Known::default(),
            late: Vec::new(),
        };
        let shown = main.parent().map(Path::to_owned).unwrap_or_default();
        let home = Home::Folder { real: folder, shown };
        match files.read(main, syntax::MOST_BYTES) {
            Ok(bytes) => {
                loader.module(main.display().to_string(), real.display().to_string(), home, &bytes, &mut Vec::new());
            }
            Err(error) => {
                let fault =
                    Diagnostic::error("pipe::cannot-read", format!("`{}` cannot be read: {error}", main.display()));
                let help = match files.kind(main) {
                    FileKind::Folder => "this is a folder; name the KDL file in it",
                    FileKind::File => "see who may read it",
                    FileKind::Missing => "name a KDL file that is there, as `pipelines/llm-6gb.kdl`",
                };
                loader.found.push(fault.help(help));
            }
        }
        loader
    }

    fn module(&mut self, name: String, id: String, home: Home, bytes: &[u8], stack: &mut Vec<usize>) -> usize {
        let source = self.sources.len();
        let (text, mut found) = syntax::decode(source, bytes);
        let mut document = Document::default();
        if found.is_empty() {
            (document, found) = syntax::parse(source, &text);
        }
        if found.is_empty() && document.nodes.is_empty() {
            let fault = Diagnostic::error("pipe::empty-file", "this file is empty");
            let fault = fault.at(At { source, start: 0, end: text.len().min(1) }, "no node here");
            found.push(fault.help("a pipeline begins with `pipeline \"NAME\"`; `examples/hello.kdl` is a small one"));
        }
        self.sources.push(Source { name, text: Arc::from(text) });
        self.found.extend(found);
        let index = self.modules.len();
        let wanted: Vec<(String, bool, At)> = document
            .nodes
            .iter()
            .filter(|node| node.name.text == "use")
            .map(|node| (node, node.truth("outside-project")))
            .flat_map(|(node, outside)| node.values().map(move |entry| (entry, outside)))
            .filter_map(|(entry, outside)| Some((entry.text()?.to_owned(), outside, entry.at)))
            .collect();
        self.modules.push(Module { source, home, document, uses: Vec::new() });
        self.known.push(id);
        stack.push(index);
        for (path, outside, at) in wanted {
            // Each is looked for in its folder, which takes its time; after so many the rest is noise.
            if self.found.len() >= MOST_FINDINGS {
                break;
            }
            if let Some(used) = self.used(index, &path, outside, at, stack) {
                self.modules[index].uses.push((used, at));
            }
        }
        stack.pop();
        index
    }

    /// The module behind `use "path"`.
    fn used(&mut self, from: usize, path: &str, outside: bool, at: At, stack: &mut Vec<usize>) -> Option<usize> {
        if path.starts_with("std/") || path == "std" {
            let Some(text) = stdlib::module(path) else {
                let fault =
                    Diagnostic::error("pipe::unknown-module", format!("there is no `{path}` in the standard library"));
                let help = suggest(path, stdlib::modules(), "it has");
                self.found.push(fault.at(at, "not known").maybe_help(help));
                return None;
            };
            return self.enter(path.to_owned(), path.to_owned(), Home::Std, text.as_bytes(), at, stack);
        }
        let Home::Folder { real, shown } = self.modules[from].home.clone() else {
            let fault = Diagnostic::error("pipe::unknown-module", "the standard library uses only itself");
            self.found.push(fault.at(at, "here").help("report this: the standard library of this build is not whole"));
            return None;
        };
        if outside {
            let target = self.files.real(&real.join(path));
            let folder = target.parent().unwrap_or(&target);
            if !self.may_read(&real, &target) {
                self.others.push(project(self.files, folder));
            }
        }
        let found = if outside { self.there(&real, path, at) } else { self.place(&real, path, at) };
        let target = match found {
            Ok(target) => target,
            Err(fault) => {
                // The way out is another one than for a file that a step reads.
                let help = (fault.code == "pipe::outside-project").then(|| {
                    format!("say that you mean it, `use \"{path}\" outside-project=#true`, or copy it into the project")
                });
                self.found.push(fault.maybe_help(help));
                return None;
            }
        };
        if self.files.kind(&target) == FileKind::Folder {
            let fault = Diagnostic::error("pipe::folder-for-file", format!("`{path}` is a folder"));
            self.found.push(fault.at(at, "a KDL file is wanted").help("name the file in it"));
            return None;
        }
        let shown = normal(&shown.join(path));
        let home = Home::Folder {
            real: target.parent().map(Path::to_owned).unwrap_or_default(),
            shown: shown.parent().map(Path::to_owned).unwrap_or_default(),
        };
        let id = target.display().to_string();
        match self.known.contains(&id) {
            true => self.enter(shown.display().to_string(), id, home, &[], at, stack),
            false => match self.files.read(&target, syntax::MOST_BYTES) {
                Ok(bytes) => self.enter(shown.display().to_string(), id, home, &bytes, at, stack),
                Err(error) => {
                    let fault = Diagnostic::error("pipe::cannot-read", format!("`{path}` cannot be read: {error}"));
                    self.found.push(fault.at(at, "used here").help("see who may read it"));
                    None
                }
            },
        }
    }

    fn enter(
        &mut self,
        name: String,
        id: String,
        home: Home,
        bytes: &[u8],
        at: At,
        stack: &mut Vec<usize>,
    ) -> Option<usize> {
        let Some(index) = self.known.iter().position(|known| *known == id) else {
            return Some(self.module(name, id, home, bytes, stack));
        };
        if let Some(depth) = stack.iter().position(|&m| m == index) {
            let way: Vec<&str> =
                stack[depth..].iter().map(|&m| self.sources[self.modules[m].source].name.as_str()).collect();
            let message = format!("files use each other in a circle: `{}` → `{}`", way.join("` → `"), way[0]);
            let fault = Diagnostic::error("pipe::import-cycle", message).at(at, "this closes the circle");
            self.found.push(fault.help("move what both need into a third file"));
        }
        Some(index)
    }

    /// The real path of `path` beside a file in `folder`, which must be there and inside the project.
    fn place(&self, folder: &Path, path: &str, at: At) -> Result<PathBuf, Diagnostic> {
        let target = self.files.real(&folder.join(path));
        if !self.may_read(folder, &target) {
            let fault = Diagnostic::error(
                "pipe::outside-project",
                format!("`{path}` lies outside the project `{}`", self.root.display()),
            );
            let fault = fault.at(at, format!("this is `{}`", target.display()));
            return Err(fault.help("copy it into the project: a pipeline must not depend on what lies around it"));
        }
        self.there(folder, path, at)
    }

    /// True inside the project, and for a file from another project inside that.
    pub(super) fn may_read(&self, folder: &Path, target: &Path) -> bool {
        let together = |root: &PathBuf| folder.starts_with(root) && target.starts_with(root);
        // A project around ours opens nothing to our own files.
        target.starts_with(&self.root) || (!folder.starts_with(&self.root) && self.others.iter().any(together))
    }

    /// The real path of what lies beside a file in `folder`, wherever that is.
    fn there(&self, folder: &Path, path: &str, at: At) -> Result<PathBuf, Diagnostic> {
        let target = self.files.real(&folder.join(path));
        if self.files.kind(&target) == FileKind::Missing {
            let fault = Diagnostic::error("pipe::missing-path", format!("`{path}` is not there"));
            let fault = fault.at(at, format!("looked for `{}`", target.display()));
            return Err(fault.help("paths are relative to the file that names them; mend the path, or make the file"));
        }
        Ok(target)
    }

    /// What `(file)"path"` in a module of this home means.
    pub fn file(&self, home: &Home, entry: &Entry) -> Result<Input, Diagnostic> {
        let path = entry.text().unwrap_or_default();
        match home {
            Home::Folder { real, .. } => self.file_in(real, path, entry.at),
            Home::Std => match stdlib::file(path) {
                Some(bytes) => Ok(Input::Embedded { name: last(path), bytes }),
                None => {
                    let fault =
                        Diagnostic::error("pipe::missing-path", format!("`{path}` is not in the standard library"));
                    let fault = fault.at(entry.at, "looked for among the files that travel in `pipe`");
                    Err(fault.help("report this: the standard library of this build is not whole"))
                }
            },
        }
    }

    /// A file by a path relative to `folder`.
    pub fn file_in(&self, folder: &Path, path: &str, at: At) -> Result<Input, Diagnostic> {
        let target = self.place(folder, path, at)?;
        let name = target.file_name().map_or_else(|| last(path), |name| name.to_string_lossy().into_owned());
        Ok(Input::File { path: target, name, filter: Filter::default() })
    }

    /// A file that a flag names, relative to the working folder; the user may name any file by hand.
    pub fn file_of_flag(&self, path: &str) -> Option<Input> {
        let target = self.files.real(Path::new(path));
        if self.files.kind(&target) == FileKind::Missing {
            return None;
        }
        let name = target.file_name().map_or_else(|| last(path), |name| name.to_string_lossy().into_owned());
        Some(Input::File { path: target, name, filter: Filter::default() })
    }

    /// The text of a file that resolving itself reads, as a further source: a lock.
    pub fn text(&mut self, input: &Input, at: At) -> Result<(usize, Arc<str>), Diagnostic> {
        let unreadable = |why: String| {
            let fault = Diagnostic::error("pipe::cannot-read", why).at(at, "named here");
            fault.help("name a file that you may read, below 4 MiB")
        };
        let (name, bytes) = match input {
            Input::Embedded { name, bytes } => (format!("std/{name}"), bytes.to_vec()),
            Input::File { path, .. } => {
                let bytes = self.files.read(path, syntax::MOST_BYTES);
                let bytes =
                    bytes.map_err(|error| unreadable(format!("`{}` cannot be read: {error}", path.display())))?;
                (path.strip_prefix(&self.root).unwrap_or(path).display().to_string(), bytes)
            }
            Input::Step { .. } | Input::EngineSources | Input::Secret { .. } => {
                let fault = Diagnostic::error("pipe::wrong-type", "a lock is a file, and this is none");
                let fault = fault.at(at, "it is read before anything runs");
                return Err(fault.help("write the lock once, keep it beside the pipeline, and name it by `(file)`"));
            }
        };
        if let Some(source) = self.sources.iter().position(|source| source.name == name) {
            return Ok((source, self.sources[source].text.clone()));
        }
        let source = self.sources.len();
        let (text, found) = syntax::decode(source, &bytes);
        let text: Arc<str> = Arc::from(text);
        self.sources.push(Source { name, text: text.clone() });
        match found.into_iter().next() {
            Some(fault) => Err(fault),
            None => Ok((source, text)),
        }
    }
}

/// The root of the project around a folder: the nearest one with `.git`, else itself.
fn project(files: &dyn Files, folder: &Path) -> PathBuf {
    let root = folder.ancestors().find(|dir| files.kind(&dir.join(".git")) != FileKind::Missing);
    root.unwrap_or(folder).to_owned()
}

fn last(path: &str) -> String {
    path.rsplit('/').next().unwrap_or(path).to_owned()
}
