//! Reads what a store has on disk: frames, trees, entries. Written from the format's description alone, and shares no
//! code with the store; knows nothing of what is right, only of what is there.

use std::collections::BTreeMap;

use serde_json::Value;

/// 64 hexadecimal digits.
pub type Hex = String;

const MAGIC: [u8; 4] = [0xF1, b'p', b'f', 0x01];
const HEADER: usize = 41;
const CHECKSUM: usize = 16;
const TREE_MAGIC: &[u8] = b"pipe-tree\x01";
const TREE_CONTEXT: &str = "pipe 2026 tree v1";

/// Kinds of frames in the pack.
pub const BLOB: u8 = 1;
pub const TREE: u8 = 2;
/// Kinds of frames in the log of records.
pub const RECORD: u8 = 1;
pub const SESSION: u8 = 3;
pub const RUN: u8 = 4;

/// A frame whose checksum holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub offset: usize,
    pub kind: u8,
    pub key: Hex,
    pub payload: Vec<u8>,
}

/// All sound frames of a log, and the stretches between them that belong to none.
pub fn frames(bytes: &[u8]) -> (Vec<Frame>, Vec<(usize, usize)>) {
    let (mut found, mut gaps) = (Vec::new(), Vec::new());
    let (mut at, mut gap) = (0, None);
    while at < bytes.len() {
        if let Some((frame, size)) = frame_at(bytes, at) {
            if let Some(from) = gap.take() {
                gaps.push((from, at));
            }
            found.push(frame);
            at += size;
        } else {
            gap.get_or_insert(at);
            at += 1;
        }
    }
    if let Some(from) = gap {
        gaps.push((from, bytes.len()));
    }
    (found, gaps)
}

fn frame_at(bytes: &[u8], at: usize) -> Option<(Frame, usize)> {
    let rest = &bytes[at..];
    if !rest.starts_with(&MAGIC) || rest.len() < HEADER + CHECKSUM {
        return None;
    }
    let length = u32::from_le_bytes(rest[4..8].try_into().ok()?) as usize;
    let body = HEADER.checked_add(length)?;
    let sum = rest.get(body..body + CHECKSUM)?;
    if blake3::hash(&rest[..body]).as_bytes()[..CHECKSUM] != *sum {
        return None;
    }
    let key = hex(&rest[9..41]);
    let frame = Frame { offset: at, kind: rest[8], key, payload: rest[HEADER..body].to_vec() };
    Some((frame, body + CHECKSUM))
}

/// Writes a frame, for tests that plant one.
#[cfg(test)]
pub fn write_frame(out: &mut Vec<u8>, kind: u8, key: &str, payload: &[u8]) {
    let start = out.len();
    out.extend(MAGIC);
    out.extend((payload.len() as u32).to_le_bytes());
    out.push(kind);
    out.extend(blake3::Hash::from_hex(key).expect("a digest").as_bytes());
    out.extend(payload);
    let sum = blake3::hash(&out[start..]);
    out.extend(&sum.as_bytes()[..CHECKSUM]);
}

/// Something that a tree or a record names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Entry {
    File { digest: Hex, size: u64, executable: bool },
    Tree { digest: Hex },
    Link { target: String },
}

impl Entry {
    /// Reads the form that records have.
    pub fn of_json(value: &Value) -> Option<Entry> {
        let digest = || Some(value.get("digest")?.as_str()?.to_owned());
        match value.get("kind")?.as_str()? {
            "file" => Some(Entry::File {
                digest: digest()?,
                size: value.get("size")?.as_u64()?,
                executable: value.get("executable").and_then(Value::as_bool).unwrap_or(false),
            }),
            "tree" => Some(Entry::Tree { digest: digest()? }),
            "link" => Some(Entry::Link { target: value.get("target")?.as_str()?.to_owned() }),
            _ => None,
        }
    }
}

/// The name that content has.
pub fn content_digest(bytes: &[u8]) -> Hex {
    blake3::hash(bytes).to_hex().to_string()
}

/// The name that the encoding of a tree has.
pub fn tree_digest(encoding: &[u8]) -> Hex {
    let mut hasher = blake3::Hasher::new_derive_key(TREE_CONTEXT);
    hasher.update(encoding);
    hasher.finalize().to_hex().to_string()
}

/// The entries of one folder level; `None` where the bytes are no tree.
pub fn read_tree(bytes: &[u8]) -> Option<BTreeMap<Vec<u8>, Entry>> {
    let mut rest = bytes.strip_prefix(TREE_MAGIC)?;
    let mut entries = BTreeMap::new();
    while let Some((&kind, after)) = rest.split_first() {
        rest = after;
        let name = take_text(&mut rest)?.to_vec();
        let entry = match kind {
            0 | 1 => {
                let digest = hex(take(&mut rest, 32)?);
                let size = u64::from_le_bytes(take(&mut rest, 8)?.try_into().ok()?);
                Entry::File { digest, size, executable: kind == 1 }
            }
            2 => Entry::Tree { digest: hex(take(&mut rest, 32)?) },
            3 => Entry::Link { target: String::from_utf8(take_text(&mut rest)?.to_vec()).ok()? },
            _ => return None,
        };
        if entries.insert(name, entry).is_some() {
            return None;
        }
    }
    Some(entries)
}

/// The encoding of one folder level.
pub fn write_tree(entries: &BTreeMap<Vec<u8>, Entry>) -> Vec<u8> {
    let mut out = TREE_MAGIC.to_vec();
    let text = |out: &mut Vec<u8>, bytes: &[u8]| {
        out.extend((bytes.len() as u16).to_le_bytes());
        out.extend(bytes);
    };
    for (name, entry) in entries {
        match entry {
            Entry::File { digest, size, executable } => {
                out.push(u8::from(*executable));
                text(&mut out, name);
                out.extend(unhex(digest));
                out.extend(size.to_le_bytes());
            }
            Entry::Tree { digest } => {
                out.push(2);
                text(&mut out, name);
                out.extend(unhex(digest));
            }
            Entry::Link { target } => {
                out.push(3);
                text(&mut out, name);
                text(&mut out, target.as_bytes());
            }
        }
    }
    out
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (head, tail) = rest.split_at_checked(count)?;
    *rest = tail;
    Some(head)
}

fn take_text<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = u16::from_le_bytes(take(rest, 2)?.try_into().ok()?);
    take(rest, usize::from(length))
}

fn hex(bytes: &[u8]) -> Hex {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    blake3::Hash::from_hex(text).map(|hash| hash.as_bytes().to_vec()).unwrap_or_default()
}
