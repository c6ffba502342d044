//! Streaming digests of files: bounded memory, several threads for large files.
//!
//! Approach of a large file: BLAKE3 is a tree, so each thread takes the next block of a megabyte, reads it into a buffer
//! that its cache holds, and hashes it to the value of that subtree; the values are joined at the end. Reading is shared
//! out with the hashing, which a single reader with many hashers would wait for. Files are not mapped: one that is cut
//! short meanwhile would kill the process.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::num::NonZero;
use std::os::unix::fs::FileExt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use blake3::hazmat::{self, ChainingValue, HasherExt, Mode};

use crate::Digest;
use crate::lock::retry;
use crate::store::held;

/// From this size on, one file is hashed by several threads.
const LARGE: u64 = 4 << 20;
/// What a thread takes at once: a power of two, so that it is a subtree.
const BLOCK: u64 = 1 << 20;
const CHUNK: usize = 256 << 10;
/// More threads than this wait for memory and not for each other.
const MOST_THREADS: usize = 16;

/// Hashes a file from its start; `expected` is its size as far as is known. Gives digest and size as read.
pub(crate) fn hash(file: &File, expected: u64) -> io::Result<(Digest, u64)> {
    digest(file, expected, None)
}

/// Copies `from`, from its start, to the empty file `to` and hashes it on the way.
pub(crate) fn copy(from: &File, to: &File, expected: u64) -> io::Result<(Digest, u64)> {
    digest(from, expected, Some(to))
}

fn digest(file: &File, expected: u64, to: Option<&File>) -> io::Result<(Digest, u64)> {
    if expected >= LARGE
        && let Some(digest) = in_blocks(file, expected, to)?
    {
        return Ok((digest, expected));
    }
    // A small file, or one that was cut short while it was read.
    if let (true, Some(mut to)) = (expected >= LARGE, to) {
        to.set_len(0)?;
        to.rewind()?;
    }
    stream(file, expected, to)
}

fn stream(mut file: &File, expected: u64, mut to: Option<&File>) -> io::Result<(Digest, u64)> {
    let mut buffer = vec![0; CHUNK.min(expected as usize + 1)];
    let mut hasher = blake3::Hasher::new();
    let mut total = 0;
    loop {
        match retry(|| file.read(&mut buffer))? {
            0 => return Ok((Digest::from(hasher.finalize()), total)),
            count => {
                hasher.update(&buffer[..count]);
                if let Some(to) = &mut to {
                    to.write_all(&buffer[..count])?;
                }
                total += count as u64;
            }
        }
    }
}

/// The digest of exactly `size` bytes, by several threads; `None` if the file ends before.
fn in_blocks(file: &File, size: u64, to: Option<&File>) -> io::Result<Option<Digest>> {
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    let blocks = size.div_ceil(BLOCK);
    let threads = cores.min(MOST_THREADS).min(blocks as usize);
    let (next, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let values: Mutex<Vec<ChainingValue>> = Mutex::new(vec![[0; 32]; blocks as usize]);
    let work = || -> io::Result<()> {
        let mut buffer = vec![0; BLOCK as usize];
        while !stop.load(Ordering::Relaxed) {
            let at = next.fetch_add(1, Ordering::Relaxed);
            if at >= blocks {
                break;
            }
            let from = at * BLOCK;
            let bytes = &mut buffer[..BLOCK.min(size - from) as usize];
            let done = file.read_exact_at(bytes, from).and_then(|()| match to {
                // What is all zeroes stays a hole, so that a sparse file takes no more room here than where it was.
                Some(to) if bytes.iter().any(|byte| *byte != 0) => to.write_all_at(bytes, from),
                Some(_) | None => Ok(()),
            });
            done.inspect_err(|_| stop.store(true, Ordering::Relaxed))?;
            let value = blake3::Hasher::new().set_input_offset(from).update(bytes).finalize_non_root();
            held(&values)[at as usize] = value;
        }
        Ok(())
    };
    let done = std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let own = work();
        others.into_iter().fold(own, |done, other| match other.join() {
            Ok(result) => done.and(result),
            Err(panic) => std::panic::resume_unwind(panic),
        })
    });
    match done {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
        Ok(()) => {
            to.map_or(Ok(()), |to| to.set_len(size))?;
            let values = values.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
            let (left, right) = halves(&values, size);
            Ok(Some(Digest::from(hazmat::merge_subtrees_root(&left, &right, Mode::Hash))))
        }
    }
}

/// The values of the two subtrees of so many bytes.
fn halves(values: &[ChainingValue], size: u64) -> (ChainingValue, ChainingValue) {
    let length = hazmat::left_subtree_len(size);
    let (left, right) = values.split_at((length / BLOCK) as usize);
    (join(left, length), join(right, size - length))
}

/// The value of the subtree of so many bytes.
fn join(values: &[ChainingValue], size: u64) -> ChainingValue {
    match values {
        [only] => *only,
        _ => {
            let (left, right) = halves(values, size);
            hazmat::merge_subtrees_non_root(&left, &right, Mode::Hash)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_join_to_the_digest_of_the_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        let bytes: Vec<u8> = (0..9 * BLOCK + 77).map(|at| (at ^ (at >> 9)) as u8).collect();
        let large = LARGE;
        for size in
            [0, 1, large - 1, large, large + 1, 5 * BLOCK, 5 * BLOCK + 1, 6 * BLOCK - 1, 8 * BLOCK, 9 * BLOCK + 77]
        {
            let part = &bytes[..size as usize];
            std::fs::write(&path, part).unwrap();
            let expected = (Digest::of(part), size);
            assert_eq!(hash(&File::open(&path).unwrap(), size).unwrap(), expected, "{size}");
            let copied = folder.path().join("copied");
            let to = File::create(&copied).unwrap();
            assert_eq!(copy(&File::open(&path).unwrap(), &to, size).unwrap(), expected, "{size}");
            assert!(std::fs::read(&copied).unwrap() == part, "{size}");
            // A file that was longer when somebody looked gives what is left of it.
            let to = File::create(&copied).unwrap();
            assert_eq!(copy(&File::open(&path).unwrap(), &to, size + 5 * BLOCK).unwrap(), expected, "{size}");
            assert!(std::fs::read(&copied).unwrap() == part, "{size}");
        }
    }
}
