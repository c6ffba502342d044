//! Entries and trees: what the store's content looks like, and the one encoding of a folder.
//!
//! A tree is one folder level. Its entries are sorted by the bytes of their names and hold a kind, an executable
//! bit, a size, a digest or a link's target: no times, no owners, no other modes. Split by kind, the same list is
//! the `Directory` message of the Remote Execution API, so a conversion is a re-hash and not a re-design.
//!
//! Encoding: `pipe-tree` and a version byte, then for each entry: kind `u8`, name length `u16`, name, and for a file
//! digest and size `u64`, for a tree its digest, for a link target length `u16` and target. Integers are little-endian.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Digest, Result, StoreError};

const MAGIC: &[u8] = b"pipe-tree\x01";
const CONTEXT: &str = "pipe 2026 tree v1";

/// One thing in the store: a file's content with its executable bit, a folder, or a symbolic link.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Entry {
    /// A regular file.
    File {
        /// BLAKE3 of its content.
        digest: Digest,
        /// Its size in bytes.
        size: u64,
        /// Whether it can be run.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        executable: bool,
    },
    /// A folder.
    Tree {
        /// The digest of its encoding.
        digest: Digest,
    },
    /// A symbolic link. Its target is relative and stays inside the outermost tree.
    Link {
        /// The target, as written.
        target: String,
    },
}

impl Entry {
    /// The digest of a file or folder; a link has none.
    pub fn digest(&self) -> Option<Digest> {
        match self {
            Self::File { digest, .. } | Self::Tree { digest } => Some(*digest),
            Self::Link { .. } => None,
        }
    }
}

/// The canonical text, as it stands in manifests: `file:<hex>`, `exec:<hex>`, `tree:<hex>`, `link:<target>`.
impl fmt::Display for Entry {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { digest, executable: false, .. } => write!(out, "file:{digest}"),
            Self::File { digest, executable: true, .. } => write!(out, "exec:{digest}"),
            Self::Tree { digest } => write!(out, "tree:{digest}"),
            Self::Link { target } => write!(out, "link:{target}"),
        }
    }
}

/// How much a tree holds, with everything below it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Files, not counting folders and links.
    pub files: u64,
    /// Bytes of all files; content that occurs twice counts twice.
    pub bytes: u64,
}

/// One folder level, sorted by the bytes of the names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tree {
    entries: Vec<(String, Entry)>,
}

impl Tree {
    /// Makes a tree of named entries in any order; refuses bad names and two entries of one name.
    pub fn new(entries: impl IntoIterator<Item = (String, Entry)>) -> Result<Self> {
        let mut entries: Vec<_> = entries.into_iter().collect();
        entries.sort_by(|(a, _), (b, _)| a.as_bytes().cmp(b.as_bytes()));
        for (name, entry) in &entries {
            check_name(name)?;
            if let Entry::Link { target } = entry {
                check_target(name, target)?;
            }
        }
        for pair in entries.windows(2) {
            if pair[0].0 == pair[1].0 {
                return Err(StoreError::Conflict {
                    path: pair[0].0.clone(),
                    first: Box::new(pair[0].1.clone()),
                    second: Box::new(pair[1].1.clone()),
                });
            }
        }
        Ok(Self { entries })
    }

    /// The entries in canonical order.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = (&str, &Entry)> {
        self.entries.iter().map(|(name, entry)| (name.as_str(), entry))
    }

    /// The entry of this name.
    pub fn get(&self, name: &str) -> Option<&Entry> {
        let found = self.entries.binary_search_by(|(other, _)| other.as_bytes().cmp(name.as_bytes()));
        found.ok().map(|at| &self.entries[at].1)
    }

    /// The digest that names this tree.
    pub fn digest(&self) -> Digest {
        Self::digest_of_encoding(&self.encode())
    }

    /// The canonical encoding.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        for (name, entry) in &self.entries {
            out.push(kind_byte(entry));
            push_text(&mut out, name);
            match entry {
                Entry::File { digest, size, .. } => {
                    out.extend_from_slice(digest.as_bytes());
                    out.extend_from_slice(&size.to_le_bytes());
                }
                Entry::Tree { digest } => out.extend_from_slice(digest.as_bytes()),
                Entry::Link { target } => push_text(&mut out, target),
            }
        }
        out
    }

    /// Reads an encoding; anything that `encode` would not have written is `None`.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes.strip_prefix(MAGIC)?;
        let mut entries: Vec<(String, Entry)> = Vec::new();
        while let Some((&kind, after)) = rest.split_first() {
            rest = after;
            let name = take_text(&mut rest)?;
            let entry = match kind {
                0 | 1 => Entry::File {
                    digest: Digest::from_bytes(take(&mut rest)?),
                    size: u64::from_le_bytes(take(&mut rest)?),
                    executable: kind == 1,
                },
                2 => Entry::Tree { digest: Digest::from_bytes(take(&mut rest)?) },
                3 => Entry::Link { target: take_text(&mut rest)? },
                _ => return None,
            };
            if entries.last().is_some_and(|(last, _)| last.as_bytes() >= name.as_bytes()) {
                return None;
            }
            entries.push((name, entry));
        }
        Self::new(entries).ok()
    }

    pub(crate) fn digest_of_encoding(bytes: &[u8]) -> Digest {
        Digest::derive(CONTEXT, bytes)
    }
}

fn kind_byte(entry: &Entry) -> u8 {
    match entry {
        Entry::File { executable: false, .. } => 0,
        Entry::File { executable: true, .. } => 1,
        Entry::Tree { .. } => 2,
        Entry::Link { .. } => 3,
    }
}

/// Names and targets are checked to be shorter than 64 KiB before they get here.
fn push_text(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&(text.len() as u16).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk::<N>()?;
    *rest = tail;
    Some(*head)
}

fn take_text(rest: &mut &[u8]) -> Option<String> {
    let length = usize::from(u16::from_le_bytes(take(rest)?));
    let (head, tail) = rest.split_at_checked(length)?;
    *rest = tail;
    std::str::from_utf8(head).ok().map(str::to_owned)
}

/// Checks that this can be the name of one entry.
pub(crate) fn check_name(name: &str) -> Result<()> {
    let why = match name {
        "" => "a name is empty",
        "." | ".." => "`.` and `..` are no names",
        _ if name.contains('/') => "a name holds a slash",
        _ if name.contains('\0') => "a name holds a zero byte",
        _ if name.len() > 255 => "a name is longer than 255 bytes",
        _ => return Ok(()),
    };
    Err(StoreError::BadPath { path: name.to_owned(), why })
}

/// Splits a relative path into its names, each checked.
pub(crate) fn split_path(path: &str) -> Result<Vec<&str>> {
    let names: Vec<&str> = path.split('/').collect();
    for name in &names {
        check_name(name).map_err(|error| match error {
            StoreError::BadPath { why, .. } if path.starts_with('/') => {
                let why = if path.len() > 1 { "it is absolute" } else { why };
                StoreError::BadPath { path: path.to_owned(), why }
            }
            StoreError::BadPath { why, .. } => StoreError::BadPath { path: path.to_owned(), why },
            other => other,
        })?;
    }
    Ok(names)
}

fn check_target(name: &str, target: &str) -> Result<()> {
    let why = match target {
        "" => "a link's target is empty",
        _ if target.contains('\0') => "a link's target holds a zero byte",
        _ if target.len() > 4095 => "a link's target is longer than 4,095 bytes",
        _ if target.starts_with('/') => "a link's target is absolute",
        _ => return Ok(()),
    };
    Err(StoreError::BadPath { path: name.to_owned(), why })
}

/// Whether a link that lies `depth` folders below the root stays inside it, whatever other links it passes.
///
/// `..` may only lead: after a name, which can itself be a link, it would leave the folder that the name points to
/// and not the one that it is written in. With `..` in front only, every link is safe alone, and so are chains.
pub(crate) fn link_stays_inside(depth: usize, target: &str) -> bool {
    if target.is_empty() || target.starts_with('/') || target.contains('\0') {
        return false;
    }
    let mut up = 0;
    let mut named = false;
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." if named => return false,
            ".." => up += 1,
            _ => named = true,
        }
    }
    up <= depth
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn file(text: &str) -> Entry {
        Entry::File { digest: Digest::of(text.as_bytes()), size: text.len() as u64, executable: false }
    }

    #[test]
    fn links_that_leave_are_seen() {
        assert!(link_stays_inside(0, "a/b"));
        assert!(link_stays_inside(1, "../a"));
        assert!(link_stays_inside(0, "./a"));
        for (depth, target) in [(0, "../a"), (1, "../../a"), (5, "/etc/shadow"), (3, "a/../../b"), (0, "")] {
            assert!(!link_stays_inside(depth, target), "{depth} {target}");
        }
    }

    #[test]
    fn bad_names_are_refused() {
        for path in ["", "/", "/a", "a//b", "a/", "../a", "a/./b", "a/..", "a\0b", &"n".repeat(256)] {
            assert!(split_path(path).is_err(), "{path:?}");
        }
        assert_eq!(split_path("a/b c/ü").unwrap(), ["a", "b c", "ü"]);
    }

    #[test]
    fn the_text_of_an_entry_is_canonical() {
        let hex = Digest::of(b"x");
        let executable = Entry::File { digest: hex, size: 1, executable: true };
        assert_eq!(file("x").to_string(), format!("file:{hex}"));
        assert_eq!(executable.to_string(), format!("exec:{hex}"));
        assert_eq!(Entry::Tree { digest: hex }.to_string(), format!("tree:{hex}"));
        assert_eq!(Entry::Link { target: "a/b".into() }.to_string(), "link:a/b");
        let json = serde_json::to_string(&executable).unwrap();
        assert_eq!(serde_json::from_str::<Entry>(&json).unwrap(), executable);
    }

    /// A change of this digest is a change of the format on disk: raise the version instead.
    #[test]
    fn the_encoding_is_fixed() {
        let tree = Tree::new([
            ("b".to_owned(), file("x")),
            ("a".to_owned(), Entry::Link { target: "b".into() }),
            ("c".to_owned(), Entry::Tree { digest: Tree::default().digest() }),
        ])
        .unwrap();
        assert_eq!(tree.encode().len(), 10 + (3 + 1 + 2 + 1) + (3 + 1 + 40) + (3 + 1 + 32));
        assert_eq!(tree.digest().short(), "614289a8c5a9");
    }

    fn any_entry() -> impl Strategy<Value = Entry> {
        prop_oneof![
            (any::<[u8; 32]>(), any::<u64>(), any::<bool>()).prop_map(|(bytes, size, executable)| Entry::File {
                digest: Digest::from_bytes(bytes),
                size,
                executable
            }),
            any::<[u8; 32]>().prop_map(|bytes| Entry::Tree { digest: Digest::from_bytes(bytes) }),
            "[a-z]{1,9}".prop_map(|target| Entry::Link { target }),
        ]
    }

    proptest! {
        #[test]
        fn order_of_insertion_does_not_matter(
            entries in prop::collection::btree_map("[a-zA-Z0-9ü._-]{3,12}", any_entry(), 0..20),
            seed in any::<u64>(),
        ) {
            let sorted: Vec<_> = entries.into_iter().collect();
            let mut mixed = sorted.clone();
            let length = mixed.len().max(1);
            for at in 0..mixed.len() {
                mixed.swap(at, (seed as usize).wrapping_mul(at + 1) % length);
            }
            let (one, two) = (Tree::new(sorted).unwrap(), Tree::new(mixed).unwrap());
            prop_assert_eq!(one.digest(), two.digest());
            prop_assert_eq!(Tree::decode(&one.encode()), Some(two));
        }

        #[test]
        fn no_bytes_make_decoding_panic_and_only_canonical_ones_pass(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut input = MAGIC.to_vec();
            input.extend(bytes);
            if let Some(tree) = Tree::decode(&input) {
                prop_assert_eq!(tree.encode(), input);
            }
        }
    }
}
