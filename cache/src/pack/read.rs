//! Reads a pack once from end to end and believes nothing: every checksum, every digest, every order. What stays in
//! memory is where things lie, never a blob.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::{
    ABOUT, About, END, HEAD, LAST, MAGIC, MOST_ABOUT, MOST_FRAMES, MOST_PAYLOAD, PACK_FORMAT, PART, PIECE, PackError,
    RECORD, TREE, io_error,
};
use crate::frame::{self, Header};
use crate::records::Kind;
use crate::tree::Tree;
use crate::{Digest, fsx};

/// A pack that is whole, and where its parts lie.
#[derive(Debug)]
pub struct Pack {
    path: PathBuf,
    file: File,
    sections: Vec<Section>,
    /// Trees and blobs.
    content: HashMap<(u8, Digest), Place>,
    records: Vec<PackRecord>,
}

/// One export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// The digest of its bytes.
    pub id: Digest,
    /// The sections that it adds to.
    pub since: Vec<Digest>,
    /// What its writer says.
    pub note: String,
}

/// One record of a pack, still unread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackRecord {
    /// Its kind.
    pub kind: Kind,
    /// The key that it is filed under.
    pub key: Digest,
    /// Its section, counted from 0.
    pub section: usize,
    /// Where its frame begins.
    pub at: u64,
}

/// Where content lies.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub at: u64,
    /// Bytes of the blob or of the tree's encoding.
    pub size: u64,
}

impl Pack {
    /// Reads the whole file and checks it. Nothing is taken from a pack that has anything wrong with it.
    pub fn read(path: &Path) -> Result<Pack, PackError> {
        // A named pipe in the place of a file would block for ever.
        let opened = fsx::open_file(path).map_err(io_error("read", path))?;
        let Some((file, _)) = opened else { return Err(PackError::NotAPack { path: path.to_owned() }) };
        let copy = file.try_clone().map_err(io_error("read", path))?;
        let pack =
            Pack { path: path.to_owned(), file, sections: Vec::new(), content: HashMap::new(), records: Vec::new() };
        let reader = Reader {
            from: BufReader::with_capacity(1 << 20, copy),
            at: 0,
            frame_at: 0,
            hasher: blake3::Hasher::new(),
            frame: Vec::new(),
            frames: 0,
            pack,
        };
        reader.read()
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its sections, in order; at least one.
    pub fn sections(&self) -> &[Section] {
        &self.sections
    }

    /// All records, in the order of writing.
    pub fn records(&self) -> &[PackRecord] {
        &self.records
    }

    /// What a record says.
    pub fn payload(&self, record: &PackRecord) -> Result<Vec<u8>, PackError> {
        let (header, payload) = self.frame_at(record.at)?;
        match header.kind == RECORD + record.kind as u8 && header.key == record.key {
            true => Ok(payload),
            false => Err(self.changed(record.at)),
        }
    }

    /// The error for something at this place.
    pub fn broken(&self, at: u64, why: impl Into<String>) -> PackError {
        PackError::Broken { path: self.path.clone(), at, why: why.into() }
    }

    pub(super) fn has(&self, kind: u8, digest: &Digest) -> bool {
        self.content.contains_key(&(kind, *digest))
    }

    pub(super) fn place(&self, kind: u8, digest: &Digest) -> Option<Place> {
        self.content.get(&(kind, *digest)).copied()
    }

    pub(super) fn tree(&self, digest: &Digest) -> Result<Option<Tree>, PackError> {
        let Some(place) = self.place(TREE, digest) else { return Ok(None) };
        let (_, bytes) = self.frame_at(place.at)?;
        let tree = Tree::decode(&bytes).filter(|_| Tree::digest_of_encoding(&bytes) == *digest);
        tree.map(Some).ok_or_else(|| self.changed(place.at))
    }

    /// Gives a blob in pieces.
    pub(super) fn pieces(
        &self,
        place: Place,
        mut take: impl FnMut(&[u8]) -> Result<(), PackError>,
    ) -> Result<(), PackError> {
        let mut at = place.at;
        loop {
            let (header, payload) = self.frame_at(at)?;
            take(&payload)?;
            at += header.frame_size();
            match header.kind {
                PART => {}
                LAST => return Ok(()),
                _ => return Err(self.changed(at)),
            }
        }
    }

    fn frame_at(&self, at: u64) -> Result<(Header, Vec<u8>), PackError> {
        let mut head = [0; frame::HEADER];
        self.file.read_exact_at(&mut head, at).map_err(io_error("read", &self.path))?;
        let header = Header::parse(&head).filter(|header| header.payload as usize <= MOST_PAYLOAD);
        let header = header.ok_or_else(|| self.changed(at))?;
        let mut whole = vec![0; header.frame_size() as usize];
        self.file.read_exact_at(&mut whole, at).map_err(io_error("read", &self.path))?;
        let payload = frame::payload(&whole).ok_or_else(|| self.changed(at))?;
        let payload = payload.to_vec();
        Ok((header, payload))
    }

    fn changed(&self, at: u64) -> PackError {
        self.broken(at, "the file changed while it was read")
    }
}

struct Reader {
    from: BufReader<File>,
    at: u64,
    /// Where the frame or section begins that is being read.
    frame_at: u64,
    hasher: blake3::Hasher,
    frame: Vec<u8>,
    frames: usize,
    pack: Pack,
}

/// A blob whose last piece has not come yet.
struct Open {
    digest: Digest,
    at: u64,
    size: u64,
    hasher: blake3::Hasher,
}

impl Reader {
    fn read(mut self) -> Result<Pack, PackError> {
        while self.begin_section()? {
            self.section()?;
        }
        match self.pack.sections.is_empty() {
            true => Err(PackError::NotAPack { path: self.pack.path }),
            false => Ok(self.pack),
        }
    }

    /// Reads the first line of a section. False at the end of the file.
    fn begin_section(&mut self) -> Result<bool, PackError> {
        self.frame_at = self.at;
        self.hasher = blake3::Hasher::new();
        self.frame.clear();
        let read = self.some(HEAD.len())?;
        if read == 0 {
            return Ok(false);
        }
        if self.frame == HEAD {
            return Ok(true);
        }
        let Some(rest) = self.frame.strip_prefix(MAGIC) else {
            return Err(match self.frame_at {
                0 => PackError::NotAPack { path: self.pack.path.clone() },
                _ => self.wrong("behind the end of the pack stands something else"),
            });
        };
        let mut version = rest.to_vec();
        while version.len() < 20 && !version.contains(&b'\n') {
            self.frame.clear();
            if self.some(1)? == 0 {
                break;
            }
            version.extend_from_slice(&self.frame);
        }
        let version = std::str::from_utf8(&version).ok().and_then(|text| text.trim_end().parse::<u64>().ok());
        Err(match version {
            Some(found) if found > PACK_FORMAT => {
                PackError::Newer { path: self.pack.path.clone(), at: self.frame_at, found }
            }
            _ => self.wrong("its first line names no format"),
        })
    }

    fn section(&mut self) -> Result<(), PackError> {
        let header = self.next_frame()?;
        if header.kind != ABOUT {
            return Err(self.wrong("a section does not begin by saying what it is"));
        }
        let about: About = serde_json::from_slice(self.payload())
            .map_err(|error| self.wrong(format!("what the section says of itself is not readable: {error}")))?;
        let number = self.pack.sections.len();
        let mut open: Option<Open> = None;
        loop {
            // The digest at the end is of all before it.
            let so_far = self.hasher.clone();
            let header = self.next_frame()?;
            if open.is_some() && !matches!(header.kind, PART | LAST) {
                return Err(self.wrong("a blob has no end"));
            }
            match header.kind {
                PART | LAST => open = self.piece(&header, open)?,
                TREE => self.tree(&header)?,
                END => {
                    let id = Digest::from(so_far.finalize());
                    if header.key != id || header.payload != 0 {
                        return Err(self.wrong("the section's digest is not the one at its end"));
                    }
                    self.pack.sections.push(Section { id, since: about.since, note: about.note });
                    return Ok(());
                }
                kind => match kind.checked_sub(RECORD).and_then(Kind::of) {
                    Some(kind) => {
                        let record = PackRecord { kind, key: header.key, section: number, at: self.frame_at };
                        self.pack.records.push(record);
                    }
                    None => return Err(self.wrong(format!("a frame is of kind {kind}, which no pack has"))),
                },
            }
        }
    }

    fn piece(&mut self, header: &Header, open: Option<Open>) -> Result<Option<Open>, PackError> {
        let mut blob = match open {
            Some(open) if open.digest != header.key => return Err(self.wrong("a blob has no end")),
            Some(open) => open,
            None => Open { digest: header.key, at: self.frame_at, size: 0, hasher: blake3::Hasher::new() },
        };
        blob.hasher.update(self.payload());
        blob.size += u64::from(header.payload);
        if header.kind == PART {
            return match header.payload {
                0 => Err(self.wrong("a piece of a blob is empty")),
                _ => Ok(Some(blob)),
            };
        }
        if Digest::from(blob.hasher.finalize()) != blob.digest {
            return Err(self.wrong(format!("a blob is not what its name says, {}", blob.digest)));
        }
        self.place(LAST, blob.digest, Place { at: blob.at, size: blob.size })?;
        Ok(None)
    }

    fn tree(&mut self, header: &Header) -> Result<(), PackError> {
        let bytes = self.payload();
        if Tree::digest_of_encoding(bytes) != header.key {
            return Err(self.wrong(format!("a folder is not what its name says, {}", header.key)));
        }
        if Tree::decode(bytes).is_none() {
            return Err(self.wrong("a folder holds a name, a link or an order that no folder may have"));
        }
        self.place(TREE, header.key, Place { at: self.frame_at, size: u64::from(header.payload) })
    }

    fn place(&mut self, kind: u8, digest: Digest, place: Place) -> Result<(), PackError> {
        // Sections may repeat each other, so that packs can stand one behind the other; the first counts.
        self.pack.content.entry((kind, digest)).or_insert(place);
        Ok(())
    }

    fn next_frame(&mut self) -> Result<Header, PackError> {
        self.frame_at = self.at;
        self.frames += 1;
        if self.frames > MOST_FRAMES {
            return Err(self.wrong(format!("it holds more than {MOST_FRAMES} things")));
        }
        self.frame.clear();
        if self.some(frame::HEADER)? < frame::HEADER {
            return Err(self.wrong("the file ends before the pack does"));
        }
        let Some(header) = Header::parse(&self.frame) else {
            return Err(self.wrong("here should begin a frame"));
        };
        let most = match header.kind {
            ABOUT => MOST_ABOUT,
            PART | LAST => PIECE,
            END => 0,
            _ => MOST_PAYLOAD,
        };
        let size = header.payload as usize;
        if size > most {
            return Err(self.wrong(format!("a frame claims {size} bytes, and may have {most}")));
        }
        let rest = header.frame_size() as usize - frame::HEADER;
        if self.some(rest)? < rest {
            return Err(self.wrong("the file ends before the pack does"));
        }
        match frame::payload(&self.frame) {
            Some(_) => Ok(header),
            None => Err(self.wrong("the checksum of a frame does not hold")),
        }
    }

    /// The payload of the frame that was read last, whose checksum held.
    fn payload(&self) -> &[u8] {
        frame::payload(&self.frame).unwrap_or_default()
    }

    /// Reads so many bytes behind those that are there, or as many as the file has. What a head claims is not
    /// allocated before it has come.
    fn some(&mut self, count: usize) -> Result<usize, PackError> {
        let before = self.frame.len();
        let wanted = (&mut self.from).take(count as u64);
        let read = { wanted }.read_to_end(&mut self.frame).map_err(io_error("read", &self.pack.path))?;
        self.hasher.update(&self.frame[before..]);
        self.at += read as u64;
        Ok(read)
    }

    fn wrong(&self, why: impl Into<String>) -> PackError {
        self.pack.broken(self.frame_at, why)
    }
}
