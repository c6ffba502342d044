//! Finds the frames of a log, and finds the way back where it is damaged. Reads heads, not payloads.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::frame::{self, HEADER, Header, MAGIC};

/// Read ahead this much: heads of small frames then come at memory speed.
const WINDOW: usize = 256 << 10;

/// What a scan came upon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// A frame at this offset.
    Frame(u64, Header),
    /// Bytes that belong to no sound frame, up to the next that is sound.
    Damage(u64, u64),
}

/// A walk over the frames of a file between two offsets.
pub(crate) struct Scan<'a> {
    file: &'a File,
    at: u64,
    length: u64,
    window: Vec<u8>,
    window_at: u64,
}

impl<'a> Scan<'a> {
    pub(crate) fn new(file: &'a File, from: u64, length: u64) -> Self {
        Self { file, at: from, length, window: Vec::new(), window_at: 0 }
    }

    /// Where the sound part ends: what follows is a torn write, or one that is going on.
    pub(crate) fn end(&self) -> u64 {
        self.at
    }

    pub(crate) fn next(&mut self) -> io::Result<Option<Found>> {
        if self.at >= self.length {
            return Ok(None);
        }
        let start = self.at;
        if let Some(header) = self.plausible(start)? {
            self.at += header.frame_size();
            return Ok(Some(Found::Frame(start, header)));
        }
        let Some(sound) = self.search(start + 1)? else {
            self.length = self.at;
            return Ok(None);
        };
        self.at = sound;
        Ok(Some(Found::Damage(start, sound)))
    }

    /// The head at this offset, if another frame follows it or its checksum holds.
    fn plausible(&mut self, at: u64) -> io::Result<Option<Header>> {
        let Some(header) = self.head(at)? else {
            return Ok(None);
        };
        let next = at + header.frame_size();
        if next > self.length {
            return Ok(None);
        }
        let followed = next < self.length && self.bytes(next, MAGIC.len())? == MAGIC;
        // The last frame is always checked in full: a power cut can leave its size without its bytes.
        Ok(if followed || self.sound(at, &header)? { Some(header) } else { None })
    }

    fn head(&mut self, at: u64) -> io::Result<Option<Header>> {
        Ok(Header::parse(self.bytes(at, HEADER)?))
    }

    fn sound(&self, at: u64, header: &Header) -> io::Result<bool> {
        let mut bytes = vec![0; header.frame_size() as usize];
        self.file.read_exact_at(&mut bytes, at)?;
        Ok(frame::payload(&bytes).is_some())
    }

    /// The next offset at which a whole sound frame lies.
    fn search(&mut self, mut at: u64) -> io::Result<Option<u64>> {
        while at + (HEADER as u64) < self.length {
            let bytes = self.bytes(at, WINDOW)?;
            let Some(hit) = bytes.windows(MAGIC.len()).position(|part| part == MAGIC) else {
                // The magic may lie across two windows, so the last three bytes are looked at again.
                at += (bytes.len() - (MAGIC.len() - 1)) as u64;
                continue;
            };
            at += hit as u64;
            if let Some(header) = self.head(at)?
                && at + header.frame_size() <= self.length
                && self.sound(at, &header)?
            {
                return Ok(Some(at));
            }
            at += 1;
        }
        Ok(None)
    }

    /// Up to `count` bytes at this offset; fewer at the end.
    fn bytes(&mut self, at: u64, count: usize) -> io::Result<&[u8]> {
        let count = (self.length.saturating_sub(at)).min(count as u64) as usize;
        let held = at >= self.window_at && at + count as u64 <= self.window_at + self.window.len() as u64;
        if !held {
            let size = (self.length - at).min(WINDOW as u64) as usize;
            self.window.resize(size.max(count), 0);
            self.file.read_exact_at(&mut self.window, at)?;
            self.window_at = at;
        }
        let from = (at - self.window_at) as usize;
        Ok(&self.window[from..from + count])
    }
}
