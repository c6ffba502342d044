//! Composes a tree from entries at paths; subtrees that meet at one place are merged.

use std::collections::BTreeMap;

use crate::Digest;
use crate::error::{Result, StoreError};
use crate::scan;
use crate::store::Store;
use crate::tree::{Entry, Tree, link_stays_inside, split_path};

/// Builds a tree. The order of insertion does not matter; equal content may come twice.
#[derive(Debug, Clone, Default)]
pub struct TreeBuilder {
    root: Folder,
}

#[derive(Debug, Clone, Default)]
struct Folder {
    entries: BTreeMap<String, Node>,
    /// Stored trees whose entries belong here as well; they are only read if something meets them.
    merged: Vec<Digest>,
}

#[derive(Debug, Clone)]
enum Node {
    Folder(Folder),
    Leaf(Entry),
}

impl TreeBuilder {
    /// An empty tree.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts an entry at a path with slashes between names. Refuses what is absolute, empty, or holds `.` or `..`, a
    /// second thing at the same path, and a file where a folder is.
    pub fn insert(&mut self, path: &str, entry: Entry) -> Result<()> {
        let names = split_path(path)?;
        if let Entry::Link { target } = &entry
            && !link_stays_inside(names.len() - 1, target)
        {
            return Err(scan::unstorable(path, crate::Fault::LinkLeaves(target.clone())));
        }
        let mut folder = &mut self.root;
        let (last, above) = names.split_last().map_or(("", &[][..]), |(last, above)| (*last, above));
        let mut at = String::new();
        for name in above {
            at = scan::join(&at, name);
            match folder.entries.entry((*name).to_owned()).or_insert_with(|| Node::Folder(Folder::default())) {
                Node::Folder(inner) => folder = inner,
                Node::Leaf(other) => {
                    return Err(StoreError::FileAndFolder { path: at, other: Box::new(other.clone()) });
                }
            }
        }
        folder.add(last, entry, path)
    }

    /// Merges a stored tree into the root.
    pub fn merge(&mut self, tree: &Digest) {
        self.root.merge(tree);
    }

    /// Stores the composed tree. Reads those stored trees that met others. Durable after `flush`, or after the next
    /// durable record.
    pub fn build(self, store: &Store) -> Result<Entry> {
        build(self.root, store, "")
    }
}

impl Folder {
    fn merge(&mut self, tree: &Digest) {
        if !self.merged.contains(tree) {
            self.merged.push(*tree);
        }
    }

    fn add(&mut self, name: &str, entry: Entry, path: &str) -> Result<()> {
        match (self.entries.get_mut(name), entry) {
            (None, Entry::Tree { digest }) => {
                let folder = Folder { merged: vec![digest], ..Folder::default() };
                self.entries.insert(name.to_owned(), Node::Folder(folder));
            }
            (None, entry) => {
                self.entries.insert(name.to_owned(), Node::Leaf(entry));
            }
            (Some(Node::Folder(folder)), Entry::Tree { digest }) => folder.merge(&digest),
            (Some(Node::Folder(_)), entry) => {
                return Err(StoreError::FileAndFolder { path: path.to_owned(), other: Box::new(entry) });
            }
            (Some(Node::Leaf(leaf)), Entry::Tree { .. }) => {
                return Err(StoreError::FileAndFolder { path: path.to_owned(), other: Box::new(leaf.clone()) });
            }
            (Some(Node::Leaf(leaf)), entry) if *leaf == entry => {}
            (Some(Node::Leaf(leaf)), entry) => {
                let (first, second) = (Box::new(leaf.clone()), Box::new(entry));
                return Err(StoreError::Conflict { path: path.to_owned(), first, second });
            }
        }
        Ok(())
    }
}

fn build(mut folder: Folder, store: &Store, path: &str) -> Result<Entry> {
    if let ([digest], true) = (&folder.merged[..], folder.entries.is_empty()) {
        return Ok(Entry::Tree { digest: *digest });
    }
    for digest in std::mem::take(&mut folder.merged) {
        for (name, entry) in store.needed_tree(&digest)?.entries() {
            folder.add(name, entry.clone(), &scan::join(path, name))?;
        }
    }
    let mut entries = Vec::with_capacity(folder.entries.len());
    for (name, node) in folder.entries {
        let entry = match node {
            Node::Leaf(entry) => entry,
            Node::Folder(inner) => build(inner, store, &scan::join(path, &name))?,
        };
        entries.push((name, entry));
    }
    store.put_tree_node(&Tree::new(entries)?)
}
