//! Whether every library that the programs of a tree need is in the tree.
//!
//! This plays the dynamic loader of glibc: the folders of `DT_RPATH` (a program's also count for what it loads),
//! then `DT_RUNPATH`, then the folders built into the loader; a library that is loaded already is not looked for
//! again. There is no environment and no cache file, as in a container from nothing. What a program opens by itself
//! while it runs is not known here: such a library is checked as if it were a program of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use object::read::ReadCache;
use pipe_cache::{Blob, Digest, Entry, Store, StoreError};
use thiserror::Error;

use super::elf::{self, Elf};
use super::host_libraries::folders_of_loader;

/// Why a tree is not complete.
#[derive(Debug, Error)]
pub enum ClosureError {
    /// Libraries that nothing in the tree provides.
    #[error("the tree is not complete: {}", list(.0))]
    Missing(Vec<MissingLibrary>),
    /// An ELF file can't be read.
    #[error("`{path}` of the tree is a broken ELF file: {why}")]
    Broken { path: String, why: String },
    /// The store lacks content of the tree.
    #[error("`{path}` of the tree can't be read from the store: {source}")]
    Read { path: String, source: io::Error },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A library that is not there, and a file that needs it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct MissingLibrary {
    pub library: String,
    pub needed_by: String,
}

fn list(missing: &[MissingLibrary]) -> String {
    let parts = missing.iter().map(|one| format!("`{}` needs `{}`", one.needed_by, one.library));
    format!("{}; name them among the host's libraries, or put them beside it", parts.collect::<Vec<_>>().join(", "))
}

/// Checks a whole tree.
pub fn check(store: &Store, tree: &Entry) -> Result<(), ClosureError> {
    let files = Files::read(store, tree)?;
    let mut missing = BTreeSet::new();
    let mut reached = BTreeSet::new();
    let programs = files.elves.iter().filter(|(_, elf)| elf.interpreter.is_some());
    for (path, program) in programs {
        files.load(path, program, &mut reached, &mut missing);
    }
    for (path, library) in files.elves.iter().filter(|(_, elf)| elf.interpreter.is_none()) {
        if !reached.contains(path) {
            files.load(path, library, &mut reached, &mut missing);
        }
    }
    if missing.is_empty() { Ok(()) } else { Err(ClosureError::Missing(missing.into_iter().collect())) }
}

/// The files of a tree as the loader sees them.
struct Files {
    entries: BTreeMap<String, Entry>,
    elves: BTreeMap<String, Elf>,
    default_folders: Vec<String>,
    /// The loader that some file of the tree names and that is in it: whatever program is started, it is loaded.
    loader: Option<String>,
}

/// One step of loading: which file, and whose `DT_RPATH` counts for it.
struct Loaded<'a> {
    path: String,
    elf: &'a Elf,
    rpaths: Vec<String>,
}

impl Files {
    fn read(store: &Store, tree: &Entry) -> Result<Files, ClosureError> {
        let mut entries = BTreeMap::new();
        store.walk(tree, |path, entry| {
            entries.insert(path.to_owned(), entry.clone());
        })?;
        let mut elves = BTreeMap::new();
        for (path, entry) in &entries {
            if let Entry::File { digest, size, .. } = entry
                && *size > 64
                && let Some(elf) = read_elf(store, path, digest)?
            {
                elves.insert(path.clone(), elf);
            }
        }
        let mut files = Files { entries, elves, default_folders: Vec::new(), loader: None };
        let named = files.elves.values().filter_map(|elf| elf.interpreter.clone());
        files.loader = named.into_iter().find(|loader| files.resolve(loader).is_some());
        files.default_folders = files.loader_folders(store)?;
        Ok(files)
    }

    /// The folders in the bytes of the loader that the programs name; without a loader in the tree there are none.
    fn loader_folders(&self, store: &Store) -> Result<Vec<String>, ClosureError> {
        let loaders = self.elves.values().filter_map(|elf| Some((elf.interpreter.as_deref()?, elf.machine)));
        for (loader, machine) in loaders {
            if let Some(path) = self.resolve(loader)
                && let Some(Entry::File { digest, .. }) = self.entries.get(&path)
                && let Some(bytes) = store.read(digest)?
            {
                return Ok(folders_of_loader(&bytes, machine));
            }
        }
        Ok(Vec::new())
    }

    /// Loads a program and all that it needs, breadth first, as the loader does.
    fn load(&self, path: &str, root: &Elf, reached: &mut BTreeSet<String>, missing: &mut BTreeSet<MissingLibrary>) {
        let mut names = BTreeSet::new();
        let miss = |library: &str, needed_by: &str| MissingLibrary {
            library: library.to_owned(),
            needed_by: needed_by.to_owned(),
        };
        if let Some(interpreter) = root.interpreter.as_ref().or(self.loader.as_ref()) {
            match self.resolve(interpreter).and_then(|path| Some((path.clone(), self.elves.get(&path)?))) {
                Some((loader, elf)) => {
                    names.extend(elf.name.clone());
                    names.extend(interpreter.rsplit('/').next().map(str::to_owned));
                    reached.insert(loader);
                }
                None => {
                    missing.insert(miss(interpreter, path));
                }
            }
        }
        let mut queue =
            std::collections::VecDeque::from([Loaded { path: path.to_owned(), elf: root, rpaths: Vec::new() }]);
        reached.insert(path.to_owned());
        while let Some(loaded) = queue.pop_front() {
            // DT_RPATH does not count where DT_RUNPATH is present, neither for this file nor for what it loads.
            let own = if loaded.elf.runpath.is_empty() { &loaded.elf.rpath[..] } else { &[] };
            let origin = loaded.path.rsplit_once('/').map_or("", |(folder, _)| folder);
            let rpaths: Vec<String> =
                own.iter().filter_map(|folder| expand(folder, origin)).chain(loaded.rpaths.iter().cloned()).collect();
            for needed in &loaded.elf.needed {
                if names.contains(needed) {
                    continue;
                }
                match self.find(needed, &loaded, origin, &rpaths) {
                    Some((path, elf)) => {
                        names.insert(needed.clone());
                        names.extend(elf.name.clone());
                        reached.extend(self.resolve(&path));
                        queue.push_back(Loaded { path, elf, rpaths: rpaths.clone() });
                    }
                    None => {
                        let by = self.resolve(&loaded.path).unwrap_or_else(|| loaded.path.clone());
                        missing.insert(miss(needed, &by));
                    }
                }
            }
        }
    }

    fn find(&self, needed: &str, by: &Loaded<'_>, origin: &str, rpaths: &[String]) -> Option<(String, &Elf)> {
        let at = |path: String| {
            let elf = self.elves.get(&self.resolve(&path)?)?;
            (elf.machine == by.elf.machine).then_some((path, elf))
        };
        if needed.contains('/') {
            return at(expand(needed, origin)?);
        }
        let runpath = by.elf.runpath.iter().filter_map(|folder| expand(folder, origin));
        let rpath = if by.elf.runpath.is_empty() { rpaths } else { &[] };
        rpath
            .iter()
            .cloned()
            .chain(runpath)
            .chain(self.default_folders.iter().cloned())
            .find_map(|folder| at(format!("{folder}/{needed}")))
    }

    /// The file behind a path of the tree, through its links; links that lead outside or in circles lead nowhere.
    fn resolve(&self, path: &str) -> Option<String> {
        let mut rest: Vec<String> = path.split('/').rev().map(str::to_owned).collect();
        let mut at: Vec<String> = Vec::new();
        let mut links = 0;
        while let Some(part) = rest.pop() {
            match part.as_str() {
                "" | "." => continue,
                ".." => {
                    at.pop();
                    continue;
                }
                _ => at.push(part),
            }
            match self.entries.get(&at.join("/"))? {
                Entry::Link { target } => {
                    links += 1;
                    if links > 40 {
                        return None;
                    }
                    at.pop();
                    if target.starts_with('/') {
                        at.clear();
                    }
                    rest.extend(target.split('/').rev().map(str::to_owned));
                }
                Entry::File { .. } | Entry::Tree { .. } => {}
            }
        }
        Some(at.join("/"))
    }
}

/// A search folder with `$ORIGIN` filled in; folders that depend on where the process starts count for nothing.
fn expand(folder: &str, origin: &str) -> Option<String> {
    let filled = folder.replace("${ORIGIN}", "$ORIGIN").replace("$ORIGIN", &format!("/{origin}"));
    (filled.starts_with('/') && !filled.contains('$')).then_some(filled)
}

fn read_elf(store: &Store, path: &str, digest: &Digest) -> Result<Option<Elf>, ClosureError> {
    let failed = |source| ClosureError::Read { path: path.to_owned(), source };
    let broken = |error: object::Error| ClosureError::Broken { path: path.to_owned(), why: error.to_string() };
    match store.open_blob(digest)? {
        None => Err(failed(io::Error::other("it is missing or damaged"))),
        Some(Blob::Bytes(bytes)) => {
            let bytes = bytes.into_inner();
            if bytes.starts_with(elf::MAGIC) { elf::parse(&bytes[..]).map_err(broken) } else { Ok(None) }
        }
        Some(Blob::File(file)) => {
            let mut magic = [0; 4];
            std::os::unix::fs::FileExt::read_exact_at(&file, &mut magic, 0).map_err(failed)?;
            if magic == elf::MAGIC { elf::parse(&ReadCache::new(file)).map_err(broken) } else { Ok(None) }
        }
    }
}
