//! What resolving saw of the disk, written down so that it can be asked again later.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use pipe_cache::Digest;
use serde::{Deserialize, Serialize};

use super::files::{FileKind, Files};

/// A question to the disk.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum Question {
    Read(PathBuf, usize),
    Kind(PathBuf),
    Real(PathBuf),
}

/// What the disk said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum Answer {
    /// The digest of the bytes; `None` where they could not be read.
    Read(Option<[u8; 32]>),
    Kind(FileKind),
    Real(PathBuf),
}

/// Everything that was asked, with the answers.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Testimony(Vec<(Question, Answer)>);

impl Testimony {
    /// True where the disk would say all of it again.
    pub fn holds(&self, files: &dyn Files) -> bool {
        self.0.iter().all(|(question, answer)| ask(files, question) == *answer)
    }

    /// Every file that was read, as far as it could be.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.0.iter().filter_map(|(question, answer)| match (question, answer) {
            (Question::Read(path, _), Answer::Read(Some(_))) => Some(path.as_path()),
            _ => None,
        })
    }
}

fn ask(files: &dyn Files, question: &Question) -> Answer {
    match question {
        Question::Read(path, most) => Answer::Read(files.digest(path, *most).map(|digest| *digest.as_bytes())),
        Question::Kind(path) => Answer::Kind(files.kind(path)),
        Question::Real(path) => Answer::Real(files.real(path)),
    }
}

fn digest(read: &io::Result<Vec<u8>>) -> Option<[u8; 32]> {
    read.as_ref().ok().map(|bytes| *Digest::of(bytes).as_bytes())
}

/// Files that note what is asked of them.
pub struct Witness<'f> {
    files: &'f dyn Files,
    heard: RefCell<BTreeMap<Question, Answer>>,
}

impl<'f> Witness<'f> {
    /// Listens to what is asked of `files`.
    pub fn new(files: &'f dyn Files) -> Witness<'f> {
        Witness { files, heard: RefCell::default() }
    }

    /// All that was asked.
    pub fn testimony(self) -> Testimony {
        Testimony(self.heard.into_inner().into_iter().collect())
    }

    fn note(&self, question: Question, answer: Answer) {
        self.heard.borrow_mut().insert(question, answer);
    }
}

impl Files for Witness<'_> {
    fn read(&self, path: &Path, most: usize) -> io::Result<Vec<u8>> {
        let read = self.files.read(path, most);
        self.note(Question::Read(path.to_owned(), most), Answer::Read(digest(&read)));
        read
    }

    fn kind(&self, path: &Path) -> FileKind {
        let kind = self.files.kind(path);
        self.note(Question::Kind(path.to_owned()), Answer::Kind(kind));
        kind
    }

    fn real(&self, path: &Path) -> PathBuf {
        let real = self.files.real(path);
        self.note(Question::Real(path.to_owned()), Answer::Real(real.clone()));
        real
    }
}
