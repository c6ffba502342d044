//! The texts that the editor holds, laid over the files of the disk, and what was read of both.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use lsp_types::{TextDocumentContentChangeEvent, Uri};

use super::position::{self, Encoding, Lines};
use super::scan;
use crate::resolve::symbols::{Index, Unit, Units};
use crate::resolve::{Disk, FileKind, Files};
use crate::stdlib;
use crate::syntax::{Document, MOST_BYTES};

/// Files of a project that are looked through for uses of a name; further ones are left out.
const MOST_FILES: usize = 2_000;

/// Entries of folders that are looked at on the way to them.
const MOST_ENTRIES: usize = 50_000;

/// Folders whose files belong to nobody's pipeline.
const SKIPPED: &[&str] = &["target", "node_modules", "out"];

/// A text that the editor holds.
#[derive(Debug, Clone)]
pub struct Open {
    pub uri: Uri,
    pub version: i32,
    pub text: Arc<str>,
    /// Its path as the editor writes it.
    pub path: PathBuf,
}

/// The files of the machine, with the editor's texts in place of those that it holds.
#[derive(Debug, Clone)]
pub struct Overlay {
    disk: Disk,
    texts: BTreeMap<PathBuf, Arc<str>>,
}

impl Overlay {
    /// The same with one more text.
    pub fn with(&self, path: &Path, text: &str) -> Overlay {
        let mut overlay = self.clone();
        overlay.texts.insert(self.disk.real(path), Arc::from(text));
        overlay
    }
}

impl Files for Overlay {
    fn read(&self, path: &Path, most: usize) -> std::io::Result<Vec<u8>> {
        match self.texts.get(&self.disk.real(path)) {
            Some(text) => Ok(text.as_bytes().to_vec()),
            None => self.disk.read(path, most),
        }
    }

    fn kind(&self, path: &Path) -> FileKind {
        match self.texts.contains_key(&self.disk.real(path)) {
            true => FileKind::File,
            false => self.disk.kind(path),
        }
    }

    fn real(&self, path: &Path) -> PathBuf {
        self.disk.real(path)
    }
}

/// A file as it was read.
type Read = (Stamp, Arc<str>, Arc<Document>);

/// When and how long a file was when it was read.
type Stamp = Option<(SystemTime, u64)>;

/// All that the server knows of texts.
pub struct Documents {
    /// By real path.
    open: BTreeMap<PathBuf, Open>,
    disk: Disk,
    /// Where the files of the standard library lie for an editor to show.
    pub std: PathBuf,
    pub encoding: Encoding,
    read: RefCell<BTreeMap<PathBuf, Read>>,
}

impl Documents {
    /// No text is open.
    pub fn new(std: PathBuf) -> Documents {
        Documents {
            open: BTreeMap::new(),
            disk: Disk::new(PathBuf::from("/")),
            std,
            encoding: Encoding::Utf16,
            read: RefCell::default(),
        }
    }

    /// Takes a text that the editor opened.
    pub fn open(&mut self, uri: Uri, version: i32, text: String) -> PathBuf {
        let path = position::path(&uri);
        let real = self.disk.real(&path);
        self.open.insert(real.clone(), Open { uri, version, text: Arc::from(text), path });
        real
    }

    /// Changes a text; false where it is not open.
    pub fn change(&mut self, uri: &Uri, version: i32, changes: Vec<TextDocumentContentChangeEvent>) -> bool {
        let encoding = self.encoding;
        let real = self.real(uri);
        let Some(open) = self.open.get_mut(&real) else { return false };
        let mut text = open.text.to_string();
        for change in changes {
            match change.range {
                None => text = change.text,
                Some(range) => {
                    let lines = Lines::new(&text, encoding);
                    let (start, end) = (lines.offset(range.start), lines.offset(range.end));
                    text.replace_range(start..end.max(start), &change.text);
                }
            }
        }
        (open.text, open.version) = (Arc::from(text), version);
        true
    }

    /// Lets a text go.
    pub fn close(&mut self, uri: &Uri) {
        let real = self.real(uri);
        self.open.remove(&real);
        self.read.borrow_mut().remove(&real);
    }

    /// The real path of an address.
    pub fn real(&self, uri: &Uri) -> PathBuf {
        self.disk.real(&position::path(uri))
    }

    /// The open texts by real path.
    pub fn all(&self) -> &BTreeMap<PathBuf, Open> {
        &self.open
    }

    /// The files as the editor shows them.
    pub fn overlay(&self) -> Overlay {
        let texts = self.open.iter().map(|(path, open)| (path.clone(), open.text.clone())).collect();
        Overlay { disk: self.disk.clone(), texts }
    }

    /// The address of a file of the index.
    pub fn uri(&self, id: &Path) -> Option<Uri> {
        if let Ok(name) = id.strip_prefix("std") {
            let name = if id.extension().is_none() { name.with_extension("kdl") } else { name.to_owned() };
            return materialised(&self.std).and_then(|folder| position::uri(&folder.join(name)));
        }
        self.open.get(id).map(|open| open.uri.clone()).or_else(|| position::uri(id))
    }

    /// The names in a file and in all that it uses.
    pub fn index(&self, id: &Path) -> Index {
        Index::new(&[id.to_owned()], self)
    }

    /// The names in all files of the project in which a file lies.
    pub fn project(&self, id: &Path) -> Index {
        let folder = id.parent().unwrap_or(Path::new("/"));
        let root = folder.ancestors().find(|dir| dir.join(".git").exists()).unwrap_or(folder);
        let mut roots = vec![id.to_owned()];
        roots.extend(self.open.keys().filter(|path| path.starts_with(root)).cloned());
        let mut left = MOST_ENTRIES;
        kdl_files(root, &mut left, &mut roots);
        Index::new(&roots, self)
    }

    fn text(&self, id: &Path) -> Option<(Stamp, Arc<str>)> {
        if let Some(open) = self.open.get(id) {
            return Some((None, open.text.clone()));
        }
        let facts = std::fs::metadata(id).ok().filter(|facts| facts.is_file() && facts.len() <= MOST_BYTES as u64)?;
        let stamp = facts.modified().ok().map(|time| (time, facts.len()));
        if let Some((known, text, _)) = self.read.borrow().get(id)
            && stamp.is_some()
            && *known == stamp
        {
            return Some((stamp, text.clone()));
        }
        let text = String::from_utf8(self.disk.read(id, MOST_BYTES).ok()?).ok()?;
        Some((stamp, Arc::from(text)))
    }
}

impl Units for Documents {
    fn unit(&self, id: &Path) -> Option<Unit> {
        let id = self.id(id);
        let (stamp, text) = match id.is_relative() {
            true => (None, Arc::from(stdlib::module(id.to_str()?)?)),
            false => self.text(&id)?,
        };
        if let Some((_, known, document)) = self.read.borrow().get(&id)
            && *known == text
        {
            return Some(Unit { id, text, document: document.clone() });
        }
        let document = Arc::new(scan::tree(0, &text));
        self.read.borrow_mut().insert(id.clone(), (stamp, text.clone(), document.clone()));
        Some(Unit { id, text, document })
    }

    fn id(&self, path: &Path) -> PathBuf {
        if path.is_relative() {
            return path.to_owned();
        }
        let real = self.disk.real(path);
        match real.strip_prefix(&self.std) {
            Ok(name) if name.extension().is_some_and(|extension| extension == "kdl") => {
                Path::new("std").join(name.with_extension(""))
            }
            _ => real,
        }
    }
}

/// The KDL files below a folder, hidden folders apart.
fn kdl_files(folder: &Path, left: &mut usize, found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    let mut entries: Vec<(PathBuf, std::fs::FileType)> =
        entries.flatten().filter_map(|entry| Some((entry.path(), entry.file_type().ok()?))).collect();
    entries.sort_by(|a, b| a.0.cmp(&b.0));
    for (path, kind) in entries {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        *left = left.saturating_sub(1);
        if *left == 0 || found.len() >= MOST_FILES || name.starts_with('.') {
            continue;
        }
        if kind.is_dir() && !SKIPPED.contains(&name.as_str()) {
            kdl_files(&path, left, found);
        } else if kind.is_file() && name.ends_with(".kdl") {
            found.push(path);
        }
    }
}

/// Writes the standard library where an editor can show it, read-only; `None` where that fails.
pub fn materialised(folder: &Path) -> Option<&Path> {
    let modules = stdlib::modules().filter_map(|name| {
        let file = format!("{}.kdl", name.strip_prefix("std/")?);
        Some((file, stdlib::module(name)?.as_bytes()))
    });
    for (name, bytes) in modules.chain(stdlib::files().map(|(name, bytes)| (name.to_owned(), bytes))) {
        let path = folder.join(name);
        if std::fs::read(&path).is_ok_and(|known| known == bytes) {
            continue;
        }
        std::fs::create_dir_all(path.parent()?).ok()?;
        let mut file = tempfile::NamedTempFile::new_in(path.parent()?).ok()?;
        std::io::Write::write_all(&mut file, bytes).ok()?;
        let mut rights = file.as_file().metadata().ok()?.permissions();
        rights.set_readonly(true);
        file.as_file().set_permissions(rights).ok()?;
        file.persist(&path).ok()?;
    }
    Some(folder)
}
