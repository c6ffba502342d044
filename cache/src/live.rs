//! What entries reach: the blobs, trees and checkouts that a collection leaves alone.

use std::collections::HashSet;

use crate::Digest;
use crate::error::Result;
use crate::store::Store;
use crate::tree::Entry;

/// What is reached from some entries.
#[derive(Debug, Default)]
pub(crate) struct Live {
    pub content: HashSet<Digest>,
    pub trees: HashSet<Digest>,
    /// Names of checkouts of the entries themselves.
    checkouts: HashSet<String>,
}

impl Live {
    /// Adds an entry and all in it. What is missing is passed over: the rest may serve again.
    pub(crate) fn add(&mut self, store: &Store, entry: &Entry) -> Result<()> {
        if let Some(digest) = entry.digest() {
            self.checkouts.extend([digest.to_string(), format!("{digest}.x")]);
        }
        self.mark(store, entry)
    }

    fn mark(&mut self, store: &Store, entry: &Entry) -> Result<()> {
        match entry {
            Entry::Link { .. } => {}
            Entry::File { digest, .. } => drop(self.content.insert(*digest)),
            Entry::Tree { digest } => {
                if self.trees.insert(*digest)
                    && let Some(tree) = store.tree(digest)?
                {
                    for (_, entry) in tree.entries() {
                        self.mark(store, entry)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether the checkout of this name is of something that is reached.
    pub(crate) fn has_checkout(&self, name: &str) -> bool {
        self.checkouts.contains(name) || name.parse().is_ok_and(|digest| self.trees.contains(&digest))
    }
}
