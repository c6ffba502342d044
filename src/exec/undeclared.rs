//! What a step reached for or left without declaring it: found from what a failed step says and from its folder, and
//! told with the line that declares it.
//!
//! A sandbox makes undeclared files absent, so a step that wants one fails and says which. That is a guess from its
//! words: a name is only told where a file of that name lies in the project and the step does not see it. A step that
//! goes on without a file says nothing, and nothing is found. Nor is it told of a declared input that was never read: a
//! program may read it or not as it finds the others, and it stays part of the key.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use super::sandbox::STRICT_WORKDIR;
use super::site::Site;
use super::workdir::Layout;
use crate::pipeline::{Action, Input, Origin, Run, Step, places};

/// How much of a log's end is looked through.
const LOOKED_AT: usize = 64 << 10;
/// Names told at once.
const MOST: usize = 3;

/// Words by which programs say that a file is not there, or not theirs; longer ones before those that they hold.
const ABSENT: [&str; 17] = [
    "no such file or directory",
    "no such file",
    "no such directory",
    "not found",
    "cannot open",
    "can't open",
    "could not open",
    "couldn't open",
    "failed to open",
    "unable to open",
    "error opening",
    "cannot find",
    "can't find",
    "does not exist",
    "permission denied",
    "not a directory",
    "filenotfound",
];

/// How Python says that it found no module.
const NO_MODULE: &str = "no module named ";

/// Signs that programs put around names.
const QUOTES: [char; 9] = ['\'', '"', '`', '\u{2018}', '\u{2019}', '\u{201c}', '\u{201d}', '\u{ab}', '\u{bb}'];

/// How to declare the files of the project that a failed step missed, where its last words name any.
pub fn inputs(site: &Site, step: &Step, log: &Path, root: &Path) -> Option<String> {
    let folders = folders(site, step);
    let text = end_of(log);
    let found = missed(&text, &folders, &[Path::new(STRICT_WORKDIR), root]);
    if found.is_empty() {
        return None;
    }
    // What is declared lies elsewhere than where it was looked for.
    let declared = declared(step, &folders);
    let seen_at = |name: &str| {
        let inner = |(path, at): &(PathBuf, String)| Some(Path::new(at).join(Path::new(name).strip_prefix(path).ok()?));
        declared.iter().find_map(inner)
    };
    if let Some((name, at)) = found.iter().find_map(|name| Some((name, seen_at(name)?))) {
        let at = at.to_string_lossy();
        let at = at.trim_end_matches('/');
        return Some(format!("`{name}` is an input of this step, which sees it at `{at}`: give it that path"));
    }
    let quoted: Vec<String> = found.iter().map(|name| format!("`{name}`")).collect();
    let lines: Vec<String> = found
        .iter()
        .map(|name| {
            let last = name.trim_end_matches('/').rsplit('/').next().unwrap_or(name);
            format!("`input (file)\"{name}\" as=\"{last}\"` puts it at `in/{last}`")
        })
        .collect();
    let (is, inputs) = if found.len() == 1 { ("is", "no input") } else { ("are", "no inputs") };
    Some(format!(
        "{} {is} in the project and {inputs} of this step, so that it does not see what it asked for: {}",
        quoted.join(", "),
        lines.join("; ")
    ))
}

/// The files that a step declares, by their paths in the project, each with where the step sees it.
fn declared(step: &Step, folders: &[PathBuf]) -> Vec<(PathBuf, String)> {
    let Action::Run(run) = &step.action else { return Vec::new() };
    let inside = |path: &Path| folders.iter().find_map(|folder| Some(path.strip_prefix(folder).ok()?.to_owned()));
    let named = places(run).into_iter().filter_map(|(input, at)| match input {
        Input::File { path, .. } => Some((inside(path)?, at)),
        _ => None,
    });
    named.collect()
}

/// What lies in a step's folder where nobody looks for outputs, sorted.
pub fn beside(root: &Path, layout: &Layout) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(root) else { return Vec::new() };
    let ours = |name: &str| {
        ["in", "out", "tmp"].contains(&name)
            || layout.files.iter().any(|(at, _)| at.split('/').next() == Some(name))
            || layout.mounts.iter().any(|(at, _)| at.split('/').next() == Some(name))
    };
    let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| !ours(name)).collect::<BTreeSet<String>>().into_iter().collect()
}

/// Says what will not be kept; `None` where nothing lies there.
pub fn not_kept(step: &Step, beside: &[String]) -> Option<String> {
    let first = beside.first()?;
    let more = if beside.len() > 1 { format!(" and {} more", beside.len() - 1) } else { String::new() };
    Some(format!(
        "`{}` left `{first}`{more} beside `out/`, which is not kept: an output belongs at `out/{first}`, and what is \
         only for now in `$TMPDIR`",
        step.name
    ))
}

/// How to mend an output that was written beside `out/`.
pub fn misplaced(run: &Run, out: &Path, beside: &[String]) -> Option<String> {
    let missing = run.outputs.iter().map(|output| &output.value).find(|output| !out.join(output).exists())?;
    let first = missing.split('/').next().unwrap_or(missing);
    beside.iter().any(|name| name == first).then(|| {
        format!("it wrote `{first}` beside `out/`: give it the path `(output)\"{missing}\"`, which is `out/{missing}`")
    })
}

/// The first path, relative to `out/`, that no output declares; a declared folder takes all that is in it.
pub fn output(run: &Run, out: &Path) -> std::io::Result<Option<String>> {
    if run.outputs.is_empty() {
        return Ok(None);
    }
    let mut open = vec![String::new()];
    while let Some(folder) = open.pop() {
        let mut names: Vec<(String, bool)> = Vec::new();
        for entry in std::fs::read_dir(out.join(&folder))? {
            let entry = entry?;
            names.push((entry.file_name().to_string_lossy().into_owned(), entry.file_type()?.is_dir()));
        }
        names.sort();
        for (name, is_folder) in names {
            let path = if folder.is_empty() { name } else { format!("{folder}/{name}") };
            let declared = |output: &str| Path::new(&path).starts_with(output);
            let above = |output: &str| Path::new(output).starts_with(&path);
            if run.outputs.iter().any(|output| declared(&output.value)) {
                continue;
            }
            if is_folder && run.outputs.iter().any(|output| above(&output.value)) {
                open.push(path);
                continue;
            }
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// Where the file that wrote the step lies, and the main file.
fn folders(site: &Site, step: &Step) -> Vec<PathBuf> {
    let own = match step.origin {
        Origin::File { source, .. } => Some(source),
        _ => None,
    };
    let sources = own.into_iter().chain([0]).filter_map(|index| site.pipeline.sources.get(index));
    sources.filter_map(|source| Some(std::path::absolute(&source.name).ok()?.parent()?.to_owned())).collect()
}

fn end_of(log: &Path) -> String {
    let bytes = std::fs::read(log).unwrap_or_default();
    String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(LOOKED_AT)..]).into_owned()
}

/// Names of files below one of the folders that the text says are not there. `roots` are names of the step's folder.
fn missed(text: &str, folders: &[PathBuf], roots: &[&Path]) -> Vec<String> {
    let mut found = Vec::new();
    let name_of = |word: &str| {
        let inner = roots.iter().find_map(|root| Path::new(word).strip_prefix(root).ok()).unwrap_or(Path::new(word));
        folders.iter().find_map(|folder| named_in(folder, inner))
    };
    for line in text.lines() {
        let names: Vec<String> = match module(line) {
            Some(module) => module.iter().find_map(|path| name_of(path)).into_iter().collect(),
            None => match without_reason(line) {
                None => continue,
                // A name with blanks, before the words that it is made of.
                Some(line) => match phrases(&line).find_map(name_of) {
                    Some(name) => vec![name],
                    None => likeliest(words(&line).filter_map(name_of).collect()),
                },
            },
        };
        for name in names {
            if !found.contains(&name) && found.len() < MOST {
                found.push(name);
            }
        }
    }
    found
}

/// Of several names in one line those that look like a path, where any does: `can't open file data.csv` may stand in a
/// project with a file called `file`.
fn likeliest(mut names: Vec<String>) -> Vec<String> {
    let is_path = |name: &String| name.contains(['.', '/']);
    if names.iter().any(is_path) {
        names.retain(is_path);
    }
    names
}

/// The line without the words that say that something is absent, which may be names as well; `None` where it says nothing
/// of the kind.
fn without_reason(line: &str) -> Option<String> {
    let mut line = line.to_owned();
    let mut says = false;
    for words in ABSENT {
        // Letters outside of ASCII keep their places.
        while let Some(at) = line.to_ascii_lowercase().find(words) {
            line.replace_range(at..at + words.len(), ":");
            says = true;
        }
    }
    says.then_some(line)
}

/// Where the module lies that a line says Python did not find: a file, or a folder.
fn module(line: &str) -> Option<[String; 2]> {
    let at = line.to_ascii_lowercase().find(NO_MODULE)?;
    let name = line[at + NO_MODULE.len()..].split(QUOTES).find(|part| !part.is_empty())?;
    let path = name.split(|c: char| c.is_whitespace() || c == ';').next()?.replace('.', "/");
    // Of a package its own folder is what is missing.
    let first = path.split('/').next()?.to_owned();
    Some([format!("{path}.py"), first])
}

/// What stands in quotes, between colons or in brackets of a line: names that may hold blanks.
fn phrases(line: &str) -> impl Iterator<Item = &str> {
    let apart = |c: char| QUOTES.contains(&c) || "()[]<>".contains(c);
    let parts = line.split(apart).flat_map(|part| part.split(": "));
    parts.map(|part| part.trim().trim_end_matches([':', '.', ','])).filter(|part| part.contains(' '))
}

/// The path relative to the folder, where something lies there and the step would not have it by that name anyway.
fn named_in(folder: &Path, word: &Path) -> Option<String> {
    let inner: PathBuf = match word.strip_prefix(folder) {
        Ok(inner) => inner.to_owned(),
        Err(_) if word.is_absolute() => return None,
        Err(_) => word.components().filter(|part| !matches!(part, Component::CurDir)).collect(),
    };
    let plain = inner.components().all(|part| matches!(part, Component::Normal(_)));
    let first = inner.components().next()?;
    let ours = ["in", "out", "tmp"].iter().any(|name| first.as_os_str() == *name);
    (plain && !ours && folder.join(&inner).exists()).then(|| inner.to_string_lossy().into_owned())
}

/// What may be a path in a line: words without the signs that programs put around them.
fn words(line: &str) -> impl Iterator<Item = &str> {
    let split = |c: char| c.is_whitespace() || QUOTES.contains(&c) || ",;()[]<>=".contains(c);
    let trimmed = line.split(split).map(|word| word.trim_end_matches([':', '.', '!', '?']));
    trimmed.flat_map(|word| word.split(':')).filter(|word| word.len() > 1 && word.len() < 4096)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        for file in ["data.csv", "lib/net.py", "in/x", "notes", "my data.txt", "file", "helper.py", "pack/__init__.py"]
        {
            let path = folder.path().join(file);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
            std::fs::write(path, "x").expect("a file");
        }
        folder
    }

    #[test]
    fn what_programs_say_of_absent_files_is_understood() {
        let folder = folder();
        let said = |text: &str| {
            missed(text, &[folder.path().to_owned()], &[Path::new("/pipe"), Path::new("/store/work-1")]).join(" ")
        };
        assert_eq!(said("cat: data.csv: No such file or directory"), "data.csv");
        assert_eq!(said("FileNotFoundError: [Errno 2] No such file or directory: './data.csv'"), "data.csv");
        assert_eq!(said("python3: can't open file '/pipe/lib/net.py': [Errno 2] No such file"), "lib/net.py");
        assert_eq!(said("a.c:3:10: fatal error: lib/net.py: No such file or directory"), "lib/net.py");
        assert_eq!(said(&format!("{}/notes: Permission denied", folder.path().display())), "notes");
        assert_eq!(
            said("sh: 1: cannot open /store/work-1/notes: No such file\nsh: 1: cannot open data.csv."),
            "notes data.csv"
        );
    }

    #[test]
    fn each_program_has_words_of_its_own() {
        let folder = folder();
        let said = |text: &str| missed(text, &[folder.path().to_owned()], &[Path::new("/pipe")]).join(" ");
        for line in [
            "sh: 1: cannot open data.csv: No such file",
            "sh: 0: cannot open ./data.csv: No such file",
            "sh: 1: ./data.csv: not found",
            "bash: line 1: data.csv: No such file or directory",
            "data.csv: No such file or directory",
            "error: could not open data.csv (No such file or directory)",
            "fopen(\"data.csv\"): No such file or directory",
            "tool: fatal: couldn't open file data.csv!",
            "cp: cannot stat \u{2018}data.csv\u{2019}: No such file or directory",
            "Error: ENOENT: no such file or directory, open '/pipe/data.csv'",
            "java.io.FileNotFoundException: data.csv (No such file or directory)",
            "Can't open perl script \"data.csv\": No such file or directory at - line 1.",
            "No such file or directory @ rb_sysopen - data.csv (Errno::ENOENT)",
            "FileNotFoundError: [Errno 2] No such file or directory: 'data.csv'",
            "PermissionError: [Errno 13] Permission denied: '/pipe/data.csv'",
            "make: *** No rule; data.csv does not exist. Stop.",
            "open: data.csv: Not a directory",
        ] {
            assert_eq!(said(line), "data.csv", "{line}");
        }
        for (line, name) in [
            ("cat: my data.txt: No such file or directory", "my data.txt"),
            ("cat: 'my data.txt': No such file or directory", "my data.txt"),
            ("FileNotFoundError: [Errno 2] No such file or directory: '/pipe/my data.txt'", "my data.txt"),
            ("ModuleNotFoundError: No module named 'helper'", "helper.py"),
            ("ModuleNotFoundError: No module named 'lib.net'; 'lib' is not a package", "lib/net.py"),
            ("ImportError: No module named pack.sub", "pack"),
            ("ModuleNotFoundError: No module named 'numpy'", ""),
            // Of the words that say it, one is a name of the project's as well.
            ("cat: other.csv: No such file or directory", ""),
            ("cat: file: No such file or directory", "file"),
        ] {
            assert_eq!(said(line), name, "{line}");
        }
    }

    #[test]
    fn nothing_is_told_that_is_not_there_or_not_missed() {
        let folder = folder();
        let said = |text: &str| missed(text, &[folder.path().to_owned()], &[Path::new("/pipe")]).join(" ");
        assert_eq!(said("usage: tool data.csv"), "", "it misses nothing");
        assert_eq!(said("cat: other.csv: No such file or directory"), "", "there is none");
        assert_eq!(said("cat: in/x: No such file or directory"), "", "that is the step's own folder");
        assert_eq!(said("cat: ../data.csv: No such file or directory"), "");
        assert_eq!(said("cat: /etc/shadow: Permission denied"), "");
    }
}
