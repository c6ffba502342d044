//! Files of the user's that were edited while a run went on.
//!
//! Steps never read them: they read what the store took of them when the run began, and that is what keys say. So no
//! result is wrong, but it belongs to what the file held then, and who edited it should know.

use std::path::PathBuf;

use super::site::Site;

/// The files and folders that no longer hold what this run took of them, in order.
pub fn edited(site: &Site) -> Vec<PathBuf> {
    let taken = site.asked.files.borrow();
    let changed = taken.iter().filter_map(|((path, filter), taken)| {
        let entry = taken.as_ref().ok()?;
        let matcher = filter.matcher();
        let now = match path.is_dir() {
            true => site.store.hash_part(path, &|path, is_folder| matcher.keeps(path, is_folder)),
            false => site.store.hash_file(path),
        };
        // What is gone, or is being written at this very moment, is not what was taken either.
        (now.ok().as_ref() != Some(entry)).then(|| path.clone())
    });
    changed.collect()
}
