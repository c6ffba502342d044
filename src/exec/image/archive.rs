//! Tar archives whose bytes depend on nothing but names and contents: no times, no owners, two modes.
//!
//! Names that do not fit into the header of 1988 go into a PAX record before it, as POSIX has it.

use std::io::{self, Write};

use sha2::Digest as _;
use tar::{EntryType, Header};

use super::Sha256;

const BLOCK: u64 = 512;

/// A kind of member.
#[derive(Debug, Clone, Copy)]
pub enum Kind<'a> {
    File { size: u64, executable: bool },
    Folder,
    Link { target: &'a str },
}

/// Begins a member; the content of a file follows, and then [`pad`].
pub fn member(out: &mut impl Write, path: &str, kind: Kind<'_>) -> io::Result<()> {
    let mut header = plain(match kind {
        Kind::File { .. } => EntryType::Regular,
        Kind::Folder => EntryType::Directory,
        Kind::Link { .. } => EntryType::Symlink,
    });
    let mut extension = Vec::new();
    if header.set_path(path).is_err() {
        extension.extend(record("path", path));
        header.set_path("long-name")?;
    }
    match kind {
        Kind::File { size, executable } => {
            header.set_size(size);
            header.set_mode(if executable { 0o755 } else { 0o644 });
        }
        Kind::Folder => header.set_mode(0o755),
        Kind::Link { target } => {
            header.set_mode(0o777);
            if header.set_link_name_literal(target).is_err() {
                extension.extend(record("linkpath", target));
            }
        }
    }
    if !extension.is_empty() {
        let mut before = plain(EntryType::XHeader);
        before.set_path("pax")?;
        before.set_mode(0o644);
        before.set_size(extension.len() as u64);
        before.set_cksum();
        out.write_all(before.as_bytes())?;
        out.write_all(&extension)?;
        pad(out, extension.len() as u64)?;
    }
    header.set_cksum();
    out.write_all(header.as_bytes())
}

/// Begins a plain file.
pub fn begin(out: &mut impl Write, path: &str, size: u64) -> io::Result<()> {
    member(out, path, Kind::File { size, executable: false })
}

/// A whole plain file.
pub fn file(out: &mut impl Write, path: &str, content: &[u8]) -> io::Result<()> {
    begin(out, path, content.len() as u64)?;
    out.write_all(content)?;
    pad(out, content.len() as u64)
}

/// Fills a member of `size` bytes up to a whole block.
pub fn pad(out: &mut impl Write, size: u64) -> io::Result<()> {
    let zeros = [0; BLOCK as usize];
    let rest = usize::try_from((BLOCK - size % BLOCK) % BLOCK).unwrap_or(0);
    out.write_all(&zeros[..rest])
}

/// Ends an archive.
pub fn end(out: &mut impl Write) -> io::Result<()> {
    out.write_all(&[0; 2 * BLOCK as usize])
}

fn plain(kind: EntryType) -> Header {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(0);
    header
}

/// A PAX record: its own length in decimal, a blank, `key=value`, and a line feed.
fn record(key: &str, value: &str) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + rest.to_string().len();
    if rest + length.to_string().len() > length {
        length += 1;
    }
    format!("{length} {key}={value}\n").into_bytes()
}

/// Passes bytes on, and knows their digest and number.
pub struct Hashed<W> {
    out: W,
    hasher: sha2::Sha256,
    size: u64,
}

impl<W: Write> Hashed<W> {
    pub fn new(out: W) -> Hashed<W> {
        Hashed { out, hasher: sha2::Sha256::new(), size: 0 }
    }

    pub fn finish(self) -> (Sha256, u64) {
        (written(&self.hasher.finalize()), self.size)
    }
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.out.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        self.size += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// The digest of some bytes.
pub fn sha256(bytes: &[u8]) -> Sha256 {
    written(&sha2::Sha256::digest(bytes))
}

fn written(digest: &[u8]) -> Sha256 {
    use std::fmt::Write as _;
    let mut text = String::from("sha256:");
    for byte in digest {
        // Writing to a string can't fail.
        let _ = write!(text, "{byte:02x}");
    }
    Sha256(text)
}
