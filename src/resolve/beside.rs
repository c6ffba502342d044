//! The Python modules that a script imports from beside it, and what those import.
//!
//! Python looks for a module first in the folder of the script that it runs, so a module that lies there hides one
//! of the same name elsewhere; here it is found by the same rule: a package (`x/__init__.py`) before a module
//! (`x.py`) before a folder without `__init__.py`. Modules that only a running program can name are not found.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use super::files::FileKind;
use super::import::Loader;
use super::python::{Import, imports};
use crate::diag::{At, Diagnostic, Source};
use crate::pipeline::{Filter, Input};
use crate::{stdlib, syntax};

/// More modules than this nobody means to give one script.
const MOST: usize = 5_000;

/// One module beside a script.
#[derive(Debug, Clone)]
pub struct Module {
    /// Its path below the folder of the script.
    pub path: String,
    pub input: Input,
    /// The first import of it.
    pub at: At,
}

/// What is known of the scripts that were looked at.
#[derive(Debug, Default)]
pub struct Known {
    scripts: BTreeMap<Script, Rc<Vec<Module>>>,
    /// Python texts by their number among the sources.
    sources: BTreeMap<String, usize>,
}

/// A script by where it lies.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Script {
    File(PathBuf),
    /// By its path in the standard library.
    Std(&'static str),
}

/// The folder of a script: what lies in it, and what is in that.
enum Folder<'s> {
    Real(&'s Path),
    Std(&'s str),
}

/// True for a file that Python may be given to run.
pub fn is_script(input: &Input) -> bool {
    matches!(input, Input::File { name, .. } | Input::Embedded { name, .. } if name.ends_with(".py"))
}

impl Loader<'_> {
    /// The modules beside a script and all that they import from there; none of what is no Python file.
    pub fn beside(&mut self, script: &Input) -> Rc<Vec<Module>> {
        let script = match script {
            Input::File { path, .. } if is_script(script) => Script::File(path.clone()),
            Input::Embedded { bytes, .. } if is_script(script) => match stdlib::path_of(bytes) {
                Some(path) => Script::Std(path),
                None => return Rc::default(),
            },
            _ => return Rc::default(),
        };
        if let Some(known) = self.python.scripts.get(&script) {
            return Rc::clone(known);
        }
        let modules = Rc::new(self.closure(&script));
        self.python.scripts.insert(script, Rc::clone(&modules));
        modules
    }

    fn closure(&mut self, script: &Script) -> Vec<Module> {
        let (folder, name) = match script {
            Script::File(path) => {
                let Some((folder, name)) = path.parent().zip(path.file_name()) else { return Vec::new() };
                (Folder::Real(folder), name.to_string_lossy().into_owned())
            }
            Script::Std(path) => {
                let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
                (Folder::Std(folder), name.to_owned())
            }
        };
        let mut found: Vec<Module> = Vec::new();
        let mut seen = BTreeSet::from([name.clone()]);
        let mut open = vec![name];
        while let Some(path) = open.pop() {
            let Some((text, shown)) = self.python_text(&folder, &path) else { continue };
            for import in imports(&text) {
                for module in self.files_of(&folder, &path, &import) {
                    if found.len() >= MOST || !seen.insert(module.clone()) {
                        continue;
                    }
                    let at = self.place_of(&shown, &text, &import);
                    if let Some(input) = self.module_input(&folder, &module, at) {
                        found.push(Module { path: module.clone(), input, at });
                        open.push(module);
                    }
                }
            }
        }
        found.sort_by(|a, b| a.path.cmp(&b.path));
        found
    }

    /// The text of a Python file, and what a person calls the file.
    fn python_text(&self, folder: &Folder<'_>, path: &str) -> Option<(Arc<str>, String)> {
        match folder {
            Folder::Real(folder) => {
                let file = folder.join(path);
                // What can't be read is told when its content is asked for.
                let bytes = self.files.read(&file, syntax::MOST_BYTES).ok()?;
                let shown = file.strip_prefix(&self.root).unwrap_or(&file).display().to_string();
                Some((String::from_utf8_lossy(&bytes).into(), shown))
            }
            Folder::Std(folder) => {
                let path = join(folder, path);
                Some((String::from_utf8_lossy(stdlib::file(&path)?).into(), format!("std/{path}")))
            }
        }
    }

    /// The files that an import in `path` reads, in the order in which Python does.
    fn files_of(&self, folder: &Folder<'_>, path: &str, import: &Import) -> Vec<String> {
        let mut parts: Vec<&str> = Vec::new();
        if let Some(up) = import.dots.checked_sub(1) {
            let package: Vec<&str> = path.split('/').collect();
            // The file itself is no part of its package; further up than the script is nowhere.
            let Some(depth) = (package.len() - 1).checked_sub(up) else { return Vec::new() };
            parts.extend(&package[..depth]);
        }
        parts.extend(import.module.iter().map(String::as_str));
        let mut files = Vec::new();
        if self.walk(folder, &parts, &mut files) {
            for name in &import.names {
                let mut inner = parts.clone();
                inner.push(name);
                self.walk(folder, &inner, &mut files);
            }
        }
        files
    }

    /// Adds the files of a module and the packages around it; true where more modules can lie in it.
    fn walk(&self, folder: &Folder<'_>, parts: &[&str], files: &mut Vec<String>) -> bool {
        let mut path = String::new();
        for part in parts {
            path = join(&path, part);
            let (package, module) = (format!("{path}/__init__.py"), format!("{path}.py"));
            if self.lies(folder, &package, FileKind::File) {
                files.push(package);
            } else if self.lies(folder, &module, FileKind::File) {
                files.push(module);
                return false;
            } else if !self.lies(folder, &path, FileKind::Folder) {
                return false;
            }
        }
        true
    }

    fn lies(&self, folder: &Folder<'_>, path: &str, kind: FileKind) -> bool {
        match folder {
            Folder::Real(folder) => self.files.kind(&folder.join(path)) == kind,
            Folder::Std(folder) => match kind {
                FileKind::File => stdlib::file(&join(folder, path)).is_some(),
                _ => stdlib::has_folder(&join(folder, path)),
            },
        }
    }

    fn module_input(&mut self, folder: &Folder<'_>, path: &str, at: At) -> Option<Input> {
        let name = path.rsplit('/').next().unwrap_or(path).to_owned();
        match folder {
            Folder::Std(folder) => Some(Input::Embedded { name, bytes: stdlib::file(&join(folder, path))? }),
            Folder::Real(folder) => {
                let target = self.files.real(&folder.join(path));
                // A script that a flag names may lie anywhere, and then what is really beside it counts as well.
                if !self.may_read(folder, &target) && !target.starts_with(folder) {
                    let fault = Diagnostic::error(
                        "pipe::outside-project",
                        format!("the module `{path}` lies outside the project `{}`", self.root.display()),
                    );
                    let fault = fault.at(at, format!("imported here; it is a link to `{}`", target.display()));
                    let help = "copy it into the project: a pipeline must not depend on what lies around it";
                    self.late.push(fault.help(help));
                    return None;
                }
                Some(Input::File { path: target, name, filter: Filter::default() })
            }
        }
    }

    /// The place of an import, its file being one of the sources from now on.
    fn place_of(&mut self, shown: &str, text: &Arc<str>, import: &Import) -> At {
        let source = match self.python.sources.get(shown) {
            Some(source) => *source,
            None => {
                self.sources.push(Source { name: shown.to_owned(), text: Arc::clone(text) });
                self.python.sources.insert(shown.to_owned(), self.sources.len() - 1);
                self.sources.len() - 1
            }
        };
        At { source, start: import.at.start, end: import.at.end }
    }
}

fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resolve::Memory;

    fn files(texts: &[(&str, &str)]) -> Memory {
        let main = Memory::default().with(".git/HEAD", "").with("p.kdl", "pipeline \"p\"\n");
        texts.iter().fold(main, |files, (path, text)| files.with(path, *text))
    }

    /// The paths of the modules that come with `script`.
    fn brought(files: &Memory, script: &str) -> Vec<String> {
        let mut loader = Loader::load(Path::new("p.kdl"), files);
        let name = script.rsplit('/').next().unwrap_or(script).to_owned();
        let script = Input::File { path: Path::new("/").join(script), name, filter: Filter::default() };
        let modules = loader.beside(&script);
        assert!(loader.late.is_empty());
        modules.iter().map(|module| module.path.clone()).collect()
    }

    #[test]
    fn what_is_imported_comes_with_what_that_imports() {
        let files = files(&[
            ("s/main.py", "import a\nfrom p import q\nimport p.r.t as t, sys\n"),
            ("s/a.py", "import b.c\nimport main\n"),
            ("s/b/c.py", "from b import d\n"),
            ("s/b/d.py", ""),
            ("s/b/e.py", ""),
            ("s/p/__init__.py", "from .z import Z\n"),
            ("s/p/q.py", "from . import z\nfrom ..a import x\nfrom ... import beyond\n"),
            ("s/p/z.py", ""),
            ("s/p/r/__init__.py", ""),
            ("s/p/r/t.py", "from ..w import *\n"),
            ("s/p/w/__init__.py", ""),
            ("beyond.py", ""),
        ]);
        let wanted = [
            "a.py",
            "b/c.py",
            "b/d.py",
            "p/__init__.py",
            "p/q.py",
            "p/r/__init__.py",
            "p/r/t.py",
            "p/w/__init__.py",
            "p/z.py",
        ];
        assert_eq!(brought(&files, "s/main.py"), wanted);
    }

    #[test]
    fn a_package_comes_before_a_module_and_that_before_a_folder() {
        let with = |more: &[(&str, &str)]| {
            let main = ("s/main.py", "import x.y\n");
            brought(&files(&[&[main, ("s/x/y.py", "")], more].concat()), "s/main.py")
        };
        assert_eq!(with(&[]), ["x/y.py"]);
        assert_eq!(with(&[("s/x.py", "")]), ["x.py"]);
        assert_eq!(with(&[("s/x.py", ""), ("s/x/__init__.py", "")]), ["x/__init__.py", "x/y.py"]);
    }

    #[test]
    fn what_is_no_script_brings_nothing() {
        let files = files(&[("s/main.txt", "import a\n"), ("s/a.py", ""), ("s/self.py", "import self, none.such\n")]);
        assert_eq!(brought(&files, "s/main.txt"), [""; 0]);
        assert_eq!(brought(&files, "s/self.py"), [""; 0]);
        assert_eq!(brought(&files, "s/gone.py"), [""; 0]);
    }

    #[test]
    fn scripts_of_the_standard_library_find_theirs() {
        let files = files(&[]);
        let mut loader = Loader::load(Path::new("p.kdl"), &files);
        let bytes = stdlib::file("scripts/tokens.py").expect("a script");
        let modules = loader.beside(&Input::Embedded { name: "tokens.py".to_owned(), bytes });
        let found: Vec<&str> = modules.iter().map(|module| module.path.as_str()).collect();
        assert_eq!(found, ["make_llama.py"]);
        assert!(
            matches!(&modules[0].input, Input::Embedded { bytes, .. } if *bytes == stdlib::file("scripts/make_llama.py").expect("a script"))
        );
        let source = &loader.sources[modules[0].at.source];
        assert_eq!(source.name, "std/scripts/tokens.py");
        assert!(source.text[..modules[0].at.end].ends_with("make_llama"));
    }
}
