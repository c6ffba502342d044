//! Brings a model's files into the page cache, so that a load time is the engine's and not a disk's, in every
//! place alike: a container reads its own copy of the files.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

/// Reads every file of `folder` once. What can't be read is for the engine to complain of.
pub fn bring_in(folder: &Path) {
    let mut buffer = vec![0; 1 << 20];
    for path in fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()) {
        let Ok(mut file) = File::open(path) else { continue };
        while file.read(&mut buffer).is_ok_and(|read| read > 0) {}
    }
}
