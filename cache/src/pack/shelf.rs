//! What lies in some packs and in the store, together: whether an entry is whole, and how to take it in.
//!
//! A hostile pack can hold trees in trees a million levels deep, or one that holds another twice, sixty times over,
//! which is a tree of 2⁶⁰ files in four kilobytes. So every tree is looked at once, and what it would come to is added
//! up, never walked.

use std::collections::HashMap;
use std::io::Write;
use std::sync::Arc;

use super::{LAST, Pack, PackError};
use crate::Digest;
use crate::blob::{OUTLINE, SMALL};
use crate::error::io;
use crate::log::{Frame, Repeats};
use crate::scan::MAX_DEPTH;
use crate::store::Store;
use crate::tree::{Entry, Tree, link_stays_inside};

/// More files and folders than anybody means: as many as an archive may hold.
const MOST_ITEMS: u64 = 5_000_000;

/// What an entry comes to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Shape {
    /// Files, folders and links.
    pub items: u64,
    /// Folders in one another.
    pub depth: usize,
    /// Files whose content is neither in the packs nor in the store.
    pub absent: u64,
    /// How many folders a link in it leads up beyond the entry's own.
    up: usize,
}

/// Packs before a store.
pub struct Shelf<'a> {
    store: &'a Store,
    packs: &'a [Pack],
    shapes: HashMap<Digest, Shape>,
    /// Trees that were taken, and whether all of each is in the store now.
    taken: HashMap<Digest, bool>,
}

impl<'a> Shelf<'a> {
    /// Puts packs before a store. Nothing is read yet.
    pub fn new(store: &'a Store, packs: &'a [Pack]) -> Self {
        Self { store, packs, shapes: HashMap::new(), taken: HashMap::new() }
    }

    /// What an entry comes to, or in a sentence why it can't be had.
    pub fn shape(&mut self, entry: &Entry) -> Result<Result<Shape, String>, PackError> {
        let shape = match self.of(entry)? {
            Ok(shape) => shape,
            Err(why) => return Ok(Err(why)),
        };
        Ok(match entry {
            Entry::Link { .. } => Err("it is a link by itself".to_owned()),
            _ if shape.up > 0 => Err("a link in it leads out of it".to_owned()),
            _ => Ok(shape),
        })
    }

    /// Takes an entry whose shape was found good into the store: files first, folders after what they hold. What is
    /// absent everywhere stays so; then the answer is false, and the store knows no more than what would lie where.
    pub fn take(&mut self, entry: &Entry) -> Result<bool, PackError> {
        match entry {
            Entry::Link { .. } => Ok(true),
            Entry::File { digest, size, .. } => {
                if self.store.contains(entry) {
                    // Whoever put it there may not have made it durable yet.
                    if *size > SMALL {
                        self.store.rely_on(&self.store.blob_path(digest, false));
                    }
                    return Ok(true);
                }
                match self.packs.iter().find(|pack| pack.has(LAST, digest)) {
                    Some(pack) => self.blob(pack, digest).map(|()| true),
                    None => Ok(false),
                }
            }
            Entry::Tree { digest } => {
                if let Some(whole) = self.taken.get(digest) {
                    return Ok(*whole);
                }
                let Some(tree) = self.tree(digest)? else { return Ok(false) };
                let mut whole = true;
                for (_, entry) in tree.entries() {
                    whole &= self.take(entry)?;
                }
                if whole {
                    self.store.put_tree_node(&tree)?;
                } else {
                    let frame = Frame { kind: OUTLINE, key: *digest, payload: &tree.encode() };
                    self.store.pack.append(&[frame], Repeats::Drop)?;
                }
                self.taken.insert(*digest, whole);
                Ok(whole)
            }
        }
    }

    /// Looks at trees from the leaves up, with a stack of its own: the depth is the pack's choice.
    fn of(&mut self, entry: &Entry) -> Result<Result<Shape, String>, PackError> {
        let Entry::Tree { digest } = entry else { return Ok(self.leaf(entry, 0)) };
        let mut stack: Vec<(Digest, Arc<Tree>)> = Vec::new();
        let mut next = Some(*digest);
        loop {
            if let Some(digest) = next.take() {
                // A digest can't hold itself, so that a chain ends; only its length has to be bounded.
                if stack.len() >= MAX_DEPTH {
                    return Ok(Err(format!("it is more than {MAX_DEPTH} folders deep")));
                }
                match self.tree(&digest)? {
                    Some(tree) => stack.push((digest, tree)),
                    None => return Ok(Err(format!("its folder {digest} is neither in the pack nor in the store"))),
                }
            }
            let Some((digest, tree)) = stack.last().cloned() else { break };
            let open = tree.entries().find_map(|(_, entry)| match entry {
                Entry::Tree { digest } if !self.shapes.contains_key(digest) => Some(*digest),
                _ => None,
            });
            if open.is_some() {
                next = open;
                continue;
            }
            match self.level(&tree) {
                Ok(shape) => self.shapes.insert(digest, shape),
                Err(why) => return Ok(Err(why)),
            };
            stack.pop();
        }
        Ok(Ok(self.shapes[digest]))
    }

    fn level(&self, tree: &Tree) -> Result<Shape, String> {
        let mut all = Shape::default();
        for (_, entry) in tree.entries() {
            let below = match entry {
                Entry::Tree { digest } => self.shapes[digest],
                other => self.leaf(other, 0)?,
            };
            all.items = all.items.saturating_add(below.items).saturating_add(1);
            all.absent = all.absent.saturating_add(below.absent);
            all.depth = all.depth.max(below.depth);
            // What leads up from a folder below leads up one less from here.
            let own = if matches!(entry, Entry::Tree { .. }) { below.up.saturating_sub(1) } else { below.up };
            all.up = all.up.max(own);
        }
        all.depth += 1;
        if all.depth > MAX_DEPTH {
            return Err(format!("it is more than {MAX_DEPTH} folders deep"));
        }
        if all.items > MOST_ITEMS {
            return Err(format!("it holds more than {MOST_ITEMS} files and folders"));
        }
        Ok(all)
    }

    fn leaf(&self, entry: &Entry, depth: usize) -> Result<Shape, String> {
        let one = Shape { depth, ..Shape::default() };
        match entry {
            Entry::Link { target } => {
                let up = target.split('/').filter(|part| *part == "..").count();
                match link_stays_inside(up, target) {
                    true => Ok(Shape { up, ..one }),
                    false => Err(format!("its link to `{}` leads out of it", target.escape_debug())),
                }
            }
            Entry::File { digest, size, .. } => match self.packs.iter().find_map(|pack| pack.place(LAST, digest)) {
                Some(place) if place.size != *size => {
                    Err(format!("its file {digest} has {} bytes, and {size} are said", place.size))
                }
                Some(_) => Ok(one),
                None => Ok(Shape { absent: u64::from(!self.store.contains(entry)), ..one }),
            },
            Entry::Tree { .. } => Ok(one),
        }
    }

    fn tree(&self, digest: &Digest) -> Result<Option<Arc<Tree>>, PackError> {
        for pack in self.packs {
            if let Some(tree) = pack.tree(digest)? {
                return Ok(Some(Arc::new(tree)));
            }
        }
        Ok(self.store.tree(digest)?)
    }

    /// Copies a blob into the store, hashed on the way once more: the file may have changed since it was read.
    fn blob(&self, pack: &Pack, digest: &Digest) -> Result<(), PackError> {
        let Some(place) = pack.place(LAST, digest) else { return Ok(()) };
        if place.size <= SMALL {
            let mut bytes = Vec::new();
            pack.pieces(place, |piece| {
                bytes.extend_from_slice(piece);
                Ok(())
            })?;
            return match Digest::of(&bytes) == *digest {
                true => Ok(self.store.put_bytes(&bytes).map(drop)?),
                false => Err(pack.broken(place.at, "the file changed while it was read")),
            };
        }
        let temp = self.store.temp_file()?;
        let mut hasher = blake3::Hasher::new();
        pack.pieces(place, |piece| {
            hasher.update(piece);
            temp.as_file().write_all(piece).map_err(io("write", temp.path())).map_err(PackError::from)
        })?;
        if Digest::from(hasher.finalize()) != *digest {
            return Err(pack.broken(place.at, "the file changed while it was read"));
        }
        Ok(self.store.publish_temp(temp, *digest, place.size, false)?)
    }
}

impl Store {
    /// Whether every folder level of an entry is here: enough to know what lies where in it, if not to read it.
    pub fn outlined(&self, entry: &Entry) -> bool {
        let Entry::Tree { digest } = entry else { return true };
        match self.tree(digest) {
            Ok(Some(tree)) => tree.entries().all(|(_, entry)| self.outlined(entry)),
            Ok(None) | Err(_) => false,
        }
    }
}
