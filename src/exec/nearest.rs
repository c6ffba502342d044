//! Which stored manifest is nearest to one that has no result: the one that shares the most leaves with it.
//!
//! The store's manifests are read once for a run, however many steps ask. Leaves that very many manifests have in common
//! (class, action, platform) tell nothing apart and are left out. Knows nothing of steps.

use std::collections::BTreeMap;

use pipe_cache::{Digest, Kind, Store, StoreError};

use crate::key::Manifest;

/// A leaf that more manifests have in common tells nothing of which one is near.
const COMMON: usize = 256;

/// Every stored manifest by its leaves.
#[derive(Debug, Default)]
pub struct Index {
    keys: Vec<Digest>,
    /// Leaf → the manifests that have it, by their place in `keys`.
    having: BTreeMap<u64, Vec<u32>>,
}

impl Index {
    /// Reads the store's manifests.
    pub fn read(store: &Store) -> Result<Index, StoreError> {
        let mut index = Index::default();
        store.scan(Kind::Manifest, |key, bytes| {
            if let Some(manifest) = std::str::from_utf8(bytes).ok().and_then(Manifest::parse) {
                index.add(*key, &manifest);
            }
        })?;
        Ok(index)
    }

    fn add(&mut self, key: Digest, manifest: &Manifest) {
        let at = self.keys.len() as u32;
        self.keys.push(key);
        for leaf in manifest.leaves() {
            let having = self.having.entry(short(&leaf.path, &leaf.value)).or_default();
            // One more than counts, so that a common leaf is known as one.
            if having.len() <= COMMON {
                having.push(at);
            }
        }
    }

    /// The key of the manifest that shares the most leaves with this one, the newest of equals.
    pub fn nearest(&self, manifest: &Manifest) -> Option<Digest> {
        let mut shared: BTreeMap<u32, usize> = BTreeMap::new();
        for leaf in manifest.leaves() {
            let having = self.having.get(&short(&leaf.path, &leaf.value));
            for &at in having.filter(|having| having.len() <= COMMON).into_iter().flatten() {
                *shared.entry(at).or_default() += 1;
            }
        }
        let (at, _) = shared.into_iter().max_by_key(|&(at, count)| (count, at))?;
        Some(self.keys[at as usize])
    }
}

fn short(path: &str, value: &str) -> u64 {
    let digest = Digest::of(format!("{path}\0{value}").as_bytes());
    let mut first = [0; 8];
    first.copy_from_slice(&digest.as_bytes()[..8]);
    u64::from_le_bytes(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(leaves: &str) -> Manifest {
        Manifest::parse(&format!("pipe-manifest 1\n{leaves}")).expect("a manifest")
    }

    #[test]
    fn the_one_with_most_in_common_is_nearest_and_the_newest_of_equals() {
        let mut index = Index::default();
        let texts =
            ["a \"1\"\nb \"2\"\nc \"3\"\n", "a \"1\"\nb \"9\"\nc \"3\"\n", "a \"1\"\nb \"8\"\nc \"3\"\n", "a \"1\"\n"];
        for text in texts {
            index.add(Digest::of(text.as_bytes()), &manifest(text));
        }
        let nearest = |text: &str| index.nearest(&manifest(text));
        assert_eq!(nearest("a \"1\"\nb \"2\"\nc \"4\"\n"), Some(Digest::of(texts[0].as_bytes())));
        assert_eq!(nearest("a \"1\"\nb \"7\"\nc \"3\"\n"), Some(Digest::of(texts[2].as_bytes())));
        assert_eq!(nearest("d \"1\"\n"), None);
    }

    #[test]
    fn what_all_have_in_common_makes_none_near() {
        let mut index = Index::default();
        for number in 0..=COMMON {
            index.add(Digest::of(&number.to_le_bytes()), &manifest(&format!("a \"1\"\nb \"{number}\"\n")));
        }
        assert_eq!(index.nearest(&manifest("a \"1\"\n")), None);
        assert_eq!(index.nearest(&manifest("a \"1\"\nb \"7\"\n")), Some(Digest::of(&7usize.to_le_bytes())));
    }
}
