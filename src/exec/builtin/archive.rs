//! The strict reading of one zip archive, before anything of it is unpacked.
//!
//! Readers of zip differ in which central directory they believe, in what they do with a name that comes twice,
//! and in whether they look at local headers; an archive that two readers see differently is an attack. So only
//! archives are taken that leave no choice: one end record in the last 22 bytes, no comment, nothing before the
//! first entry or between directory and end, every name once, local headers equal to the central ones.
//! This module writes no file and knows nothing of wheels.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use thiserror::Error;
use zip::ZipArchive;

/// Why an archive is refused.
#[derive(Debug, Error)]
pub enum ArchiveError {
    /// The file can't be read.
    #[error("it can't be read: {0}")]
    Io(#[from] io::Error),
    /// The zip library refuses it.
    #[error("{0}")]
    Zip(#[from] zip::result::ZipError),
    /// The last 22 bytes are no end record without a comment.
    #[error("it does not end in the end record of a zip file (cut short, or with data or a comment after it)")]
    NoEnd,
    /// The end record contradicts the file.
    #[error("its end record and its directory disagree ({0})")]
    Layout(&'static str),
    /// A name comes twice.
    #[error("entry `{0}` comes twice")]
    Twice(String),
    /// More entries than allowed.
    #[error("it has {0} entries; at most {1} are allowed")]
    TooMany(u64, u64),
}

/// Reads at positions of a shared file, so that many readers need one descriptor and no seek disturbs another.
#[derive(Debug, Clone)]
pub struct SharedFile {
    file: Arc<File>,
    position: u64,
    length: u64,
}

impl SharedFile {
    /// Shares `file`, which must not change from now on.
    pub fn new(file: File) -> io::Result<Self> {
        let length = file.metadata()?.len();
        Ok(SharedFile { file: Arc::new(file), position: 0, length })
    }

    fn bytes_at(&self, position: u64, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, position)?;
        Ok(bytes)
    }
}

impl Read for SharedFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.position)?;
        self.position += count as u64;
        Ok(count)
    }
}

impl Seek for SharedFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(offset) => self.length.checked_add_signed(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
        };
        self.position = target.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(self.position)
    }
}

/// An archive that every reader of zip sees alike.
pub type Archive = ZipArchive<SharedFile>;

/// Opens an archive and refuses what could be read in more than one way.
pub fn open(file: File, max_entries: u64) -> Result<Archive, ArchiveError> {
    let file = SharedFile::new(file)?;
    let directory = Directory::find(&file)?;
    if directory.entries > max_entries {
        return Err(ArchiveError::TooMany(directory.entries, max_entries));
    }
    directory.check_names(&file)?;
    let mut archive = ZipArchive::new(file)?;
    if archive.offset() != 0 || archive.central_directory_start() != directory.start {
        return Err(ArchiveError::Layout("data stands before the archive"));
    }
    if archive.len() as u64 != directory.entries {
        return Err(ArchiveError::Layout("the number of entries"));
    }
    archive.validate_header_consistency()?;
    Ok(archive)
}

/// Sizes of the fixed parts of the records (APPNOTE 4.3.12, 4.3.14 to 4.3.16).
const END: u64 = 22;
const LOCATOR_64: u64 = 20;
const END_64: u64 = 56;
const HEADER: u64 = 46;

/// The central directory as the end record tells it.
#[derive(Debug, PartialEq, Eq)]
struct Directory {
    start: u64,
    size: u64,
    entries: u64,
}

impl Directory {
    fn find(file: &SharedFile) -> Result<Directory, ArchiveError> {
        let at = file.length.checked_sub(END).ok_or(ArchiveError::NoEnd)?;
        let end = file.bytes_at(at, END as usize)?;
        if !end.starts_with(b"PK\x05\x06") || u16_at(&end, 20) != 0 {
            return Err(ArchiveError::NoEnd);
        }
        if u16_at(&end, 4) != 0 || u16_at(&end, 6) != 0 || u16_at(&end, 8) != u16_at(&end, 10) {
            return Err(ArchiveError::Layout("it is one part of several"));
        }
        let small = Directory {
            start: u64::from(u32_at(&end, 16)),
            size: u64::from(u32_at(&end, 12)),
            entries: u64::from(u16_at(&end, 10)),
        };
        let full = small.start == 0xffff_ffff || small.size == 0xffff_ffff || small.entries == 0xffff;
        let large = match at.checked_sub(LOCATOR_64) {
            Some(locator_at) => Directory::find_64(file, locator_at)?,
            None => None,
        };
        let (directory, end_of_directory) = match large {
            Some((large, large_at)) if full => {
                let agrees = |small: u64, mark: u64, large: u64| small == mark || small == large;
                if !agrees(small.start, 0xffff_ffff, large.start)
                    || !agrees(small.size, 0xffff_ffff, large.size)
                    || !agrees(small.entries, 0xffff, large.entries)
                {
                    return Err(ArchiveError::Layout("its two end records differ"));
                }
                (large, large_at)
            }
            // Some writers always add the large record; it must then say the same.
            Some((large, large_at)) if large == small => (large, large_at),
            Some(_) => return Err(ArchiveError::Layout("its two end records differ")),
            None => (small, at),
        };
        if directory.start.checked_add(directory.size) != Some(end_of_directory) {
            return Err(ArchiveError::Layout("the size of the directory"));
        }
        Ok(directory)
    }

    /// The large end record whose locator is at `locator_at`, where there is one, and its position.
    fn find_64(file: &SharedFile, locator_at: u64) -> Result<Option<(Directory, u64)>, ArchiveError> {
        let locator = file.bytes_at(locator_at, LOCATOR_64 as usize)?;
        if !locator.starts_with(b"PK\x06\x07") {
            return Ok(None);
        }
        let at = u64_at(&locator, 8);
        if at.checked_add(END_64) != Some(locator_at) {
            return Err(ArchiveError::Layout("the place of its large end record"));
        }
        let end = file.bytes_at(at, END_64 as usize)?;
        if !end.starts_with(b"PK\x06\x06") || u64_at(&end, 24) != u64_at(&end, 32) {
            return Err(ArchiveError::Layout("its large end record"));
        }
        Ok(Some((Directory { start: u64_at(&end, 48), size: u64_at(&end, 40), entries: u64_at(&end, 32) }, at)))
    }

    /// Walks the headers: as many as promised, no byte left over, and no name twice.
    fn check_names(&self, file: &SharedFile) -> Result<(), ArchiveError> {
        if self.entries > self.size / HEADER {
            return Err(ArchiveError::Layout("the number of entries"));
        }
        let bytes = file.bytes_at(self.start, usize::try_from(self.size).unwrap_or(usize::MAX))?;
        let mut rest: &[u8] = &bytes;
        let mut names = BTreeSet::new();
        for _ in 0..self.entries {
            if rest.len() < HEADER as usize || !rest.starts_with(b"PK\x01\x02") {
                return Err(ArchiveError::Layout("the number of entries"));
            }
            let name_length = usize::from(u16_at(rest, 28));
            let length = HEADER as usize + name_length + usize::from(u16_at(rest, 30)) + usize::from(u16_at(rest, 32));
            if rest.len() < length {
                return Err(ArchiveError::Layout("the length of a header"));
            }
            let name = &rest[HEADER as usize..HEADER as usize + name_length];
            if !names.insert(name) {
                return Err(ArchiveError::Twice(String::from_utf8_lossy(name).escape_debug().to_string()));
            }
            rest = &rest[length..];
        }
        if rest.is_empty() { Ok(()) } else { Err(ArchiveError::Layout("the number of entries")) }
    }
}

/// The little-endian numbers of a record that was checked to be long enough.
fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) | u32::from(u16_at(bytes, at + 2)) << 16
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}
