//! Replaces values that nobody may see by `***`, in texts and in streams of bytes.
//!
//! Exact occurrences are found, also across the pieces in which a stream arrives: of the value as it is without
//! blanks at its ends, and of each longer line of it. A value that a program encodes anew is not known here.

use std::io::{self, Read};

use memchr::memmem::Finder;

/// What stands for a value.
const MASK: &[u8] = b"***";

/// Lines of a value that are shorter are found in too many texts.
const LEAST_LINE: usize = 8;

/// Knows what to hide.
#[derive(Clone, Default)]
pub struct Redactor {
    /// The longest first, so that a value goes before its lines.
    needles: Vec<Finder<'static>>,
}

impl std::fmt::Debug for Redactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Redactor({})", self.needles.len())
    }
}

impl Redactor {
    /// Hides these values.
    pub fn new<'v>(values: impl IntoIterator<Item = &'v [u8]>) -> Redactor {
        let mut found: Vec<Vec<u8>> = Vec::new();
        for value in values {
            let whole = value.trim_ascii();
            let lines = whole.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
            let lines = lines.filter(|line| line.len() >= LEAST_LINE);
            found.extend(std::iter::once(whole).filter(|whole| !whole.is_empty()).chain(lines).map(<[u8]>::to_vec));
        }
        found.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        found.dedup();
        Redactor { needles: found.into_iter().map(|needle| Finder::new(&needle).into_owned()).collect() }
    }

    /// True where there is nothing to hide.
    pub fn is_empty(&self) -> bool {
        self.needles.is_empty()
    }

    /// True where a value occurs in `bytes`.
    pub fn is_in(&self, bytes: &[u8]) -> bool {
        self.needles.iter().any(|needle| needle.find(bytes).is_some())
    }

    /// True where a value occurs in what a stream gives.
    pub fn is_in_stream(&self, mut source: impl Read) -> io::Result<bool> {
        let keep = self.longest().saturating_sub(1);
        let mut bytes = vec![0; (1 << 20) + keep];
        let mut held = 0;
        loop {
            let count = source.read(&mut bytes[held..])?;
            let all = held + count;
            if self.is_in(&bytes[..all]) {
                return Ok(true);
            }
            if count == 0 {
                return Ok(false);
            }
            let from = all.saturating_sub(keep);
            bytes.copy_within(from..all, 0);
            held = all - from;
        }
    }

    /// A text without the values.
    pub fn text(&self, text: &str) -> String {
        let mut stream = Stream::new(self.clone());
        let mut out = stream.push(text.as_bytes());
        out.extend(stream.finish());
        String::from_utf8_lossy(&out).into_owned()
    }

    fn longest(&self) -> usize {
        self.needles.first().map_or(0, |needle| needle.needle().len())
    }
}

/// A stream on its way through a [`Redactor`].
#[derive(Debug, Default)]
pub struct Stream {
    redactor: Redactor,
    /// The end of what came, in which a value may have begun.
    held: Vec<u8>,
}

impl Stream {
    /// A stream of which nothing has come.
    pub fn new(redactor: Redactor) -> Stream {
        Stream { redactor, held: Vec::new() }
    }

    /// Takes the next bytes, and gives those that can be shown by now.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<u8> {
        if self.redactor.is_empty() {
            return bytes.to_vec();
        }
        self.held.extend_from_slice(bytes);
        let wait = self.redactor.longest() - 1;
        self.release(self.held.len().saturating_sub(wait))
    }

    /// Gives what was held back.
    pub fn finish(&mut self) -> Vec<u8> {
        self.release(self.held.len())
    }

    /// Gives what begins before `end`, and a value that reaches beyond it whole.
    fn release(&mut self, end: usize) -> Vec<u8> {
        let mut out = Vec::new();
        let mut at = 0;
        while at < end {
            let first = self.redactor.needles.iter().filter_map(|needle| {
                let start = at + needle.find(&self.held[at..])?;
                // Of two that begin at one place the longer comes first.
                Some((start, usize::MAX - needle.needle().len()))
            });
            match first.min().filter(|(start, _)| *start < end) {
                Some((start, length)) => {
                    out.extend_from_slice(&self.held[at..start]);
                    out.extend_from_slice(MASK);
                    at = start + (usize::MAX - length);
                }
                None => {
                    out.extend_from_slice(&self.held[at..end]);
                    at = end;
                }
            }
        }
        self.held.drain(..at);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn redactor() -> Redactor {
        Redactor::new([b"hunter22\n".as_slice(), b"-----BEGIN-----\nabcdefgh\nxy\n"])
    }

    #[test]
    fn values_and_their_longer_lines_are_hidden() {
        let redactor = redactor();
        assert_eq!(redactor.text("a hunter22hunter22 b"), "a ****** b");
        assert_eq!(redactor.text("-----BEGIN-----\nabcdefgh\nxy"), "***");
        assert_eq!(redactor.text("abcdefgh xy hunter2"), "*** xy hunter2");
        assert_eq!(Redactor::default().text("abc"), "abc");
        assert!(Redactor::new([b" \n".as_slice()]).is_empty());
        assert!(!format!("{redactor:?}").contains("hunter"));
    }

    #[test]
    fn of_values_in_one_another_the_longer_goes() {
        let redactor = Redactor::new([b"abcd".as_slice(), b"abcdef", b"cdefghij"]);
        assert_eq!(redactor.text("xabcdefghijx"), "x***ghijx");
        assert_eq!(redactor.text("abcd"), "***");
    }

    proptest! {
        #[test]
        fn pieces_make_no_difference(text in "[hunter2 \n]{0,60}", cuts in prop::collection::vec(0usize..60, 0..6)) {
            let whole = format!("{text}hunter22{text}");
            let bytes = whole.as_bytes();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let mut stream = Stream::new(redactor());
            let mut out = Vec::new();
            for pair in cuts.windows(2) {
                out.extend(stream.push(&bytes[pair[0]..pair[1]]));
            }
            out.extend(stream.finish());
            prop_assert_eq!(String::from_utf8_lossy(&out), redactor().text(&whole));
            prop_assert!(!redactor().is_in(&out));
            prop_assert!(redactor().is_in_stream(bytes).unwrap());
        }
    }
}
