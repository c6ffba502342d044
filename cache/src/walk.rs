//! Questions about trees: what lies where, how much it is, and whether all of it is here.

use std::sync::Arc;

use crate::error::Result;
use crate::store::{Store, held};
use crate::tree::{Entry, Totals, Tree, split_path};
use crate::{Digest, scan};

impl Store {
    /// What lies at a path inside an entry; the empty path is the entry itself. Links on the way are not followed.
    /// `None` if there is nothing, or if a tree on the way is missing.
    pub fn lookup(&self, entry: &Entry, path: &str) -> Result<Option<Entry>> {
        let mut entry = entry.clone();
        if path.is_empty() {
            return Ok(Some(entry));
        }
        for name in split_path(path)? {
            let Entry::Tree { digest } = entry else {
                return Ok(None);
            };
            let Some(tree) = self.tree(&digest)? else {
                return Ok(None);
            };
            let Some(found) = tree.get(name) else {
                return Ok(None);
            };
            entry = found.clone();
        }
        Ok(Some(entry))
    }

    /// Visits everything in an entry in canonical order, each folder before its content, with paths relative to the
    /// entry. A file or link visits itself under the empty path; a tree does not.
    pub fn walk(&self, entry: &Entry, mut visit: impl FnMut(&str, &Entry)) -> Result<()> {
        match entry {
            Entry::Tree { digest } => self.walk_tree(digest, "", &mut visit),
            _ => {
                visit("", entry);
                Ok(())
            }
        }
    }

    fn walk_tree(&self, digest: &Digest, path: &str, visit: &mut impl FnMut(&str, &Entry)) -> Result<()> {
        let tree = self.needed_tree(digest)?;
        for (name, entry) in tree.entries() {
            let path = scan::join(path, name);
            visit(&path, entry);
            if let Entry::Tree { digest } = entry {
                self.walk_tree(digest, &path, visit)?;
            }
        }
        Ok(())
    }

    /// The tree under this digest, or an error that names it.
    pub(crate) fn needed_tree(&self, digest: &Digest) -> Result<Arc<Tree>> {
        self.tree(digest)?.ok_or_else(|| self.missing(digest))
    }

    /// How many files and bytes an entry holds.
    pub fn totals(&self, entry: &Entry) -> Result<Totals> {
        let mut totals = Totals::default();
        self.walk(entry, |_, entry| {
            if let Entry::File { size, .. } = entry {
                totals.files += 1;
                totals.bytes += size;
            }
        })?;
        Ok(totals)
    }

    /// Whether an entry and everything in it is here, by size and unread. What was seen whole is not looked at again.
    /// What is whole stays so, whoever collects, until this store is closed.
    pub fn complete(&self, entry: &Entry) -> bool {
        if self.leases.covers(entry) {
            return self.is_whole(entry);
        }
        let Ok(_touch) = self.leases.touch() else {
            return false;
        };
        let whole = self.is_whole(entry);
        if whole {
            self.leases.note(entry);
        }
        whole
    }

    fn is_whole(&self, entry: &Entry) -> bool {
        let Entry::Tree { digest } = entry else {
            return self.has(entry);
        };
        if held(&self.whole).contains(digest) {
            return true;
        }
        let Ok(Some(tree)) = self.tree(digest) else {
            return false;
        };
        let whole = tree.entries().all(|(_, entry)| self.is_whole(entry));
        if whole {
            held(&self.whole).insert(*digest);
        }
        whole
    }
}
