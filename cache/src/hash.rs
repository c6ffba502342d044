//! Streaming digests of files: bounded memory, several threads for large files.

use std::fs::File;
use std::io::{self, Read, Write};

use crate::Digest;
use crate::lock::retry;

/// From this size on, one file is hashed by several threads.
const LARGE: u64 = 16 << 20;
const CHUNK: usize = 1 << 20;
const LARGE_CHUNK: usize = 8 << 20;

/// Hashes what is left of this file; `expected` is a hint for its size. Gives digest and size as read.
pub(crate) fn hash(file: &File, expected: u64) -> io::Result<(Digest, u64)> {
    stream(file, expected, |_| Ok(()))
}

/// Copies what is left of `from` to `to` and hashes it on the way.
pub(crate) fn copy(from: &File, mut to: &File, expected: u64) -> io::Result<(Digest, u64)> {
    stream(from, expected, |bytes| to.write_all(bytes))
}

fn stream(mut file: &File, expected: u64, mut sink: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<(Digest, u64)> {
    let large = expected >= LARGE;
    let chunk = if large { LARGE_CHUNK } else { CHUNK.min(expected as usize + 1) };
    let mut buffer = vec![0; chunk];
    let mut hasher = blake3::Hasher::new();
    let mut total = 0;
    loop {
        let count = fill(&mut file, &mut buffer)?;
        let bytes = &buffer[..count];
        if large {
            hasher.update_rayon(bytes);
        } else {
            hasher.update(bytes);
        }
        sink(bytes)?;
        total += count as u64;
        if count < buffer.len() {
            return Ok((Digest::from(hasher.finalize()), total));
        }
    }
}

/// Reads until the buffer is full or the file ends, so that threads get chunks worth sharing.
fn fill(file: &mut &File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut count = 0;
    while count < buffer.len() {
        match retry(|| file.read(&mut buffer[count..]))? {
            0 => break,
            read => count += read,
        }
    }
    Ok(count)
}
