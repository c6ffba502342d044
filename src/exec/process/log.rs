//! The log of a step: what its program printed, of any size, kept in at most 16 MiB.
//!
//! The first 15 MiB and the last 1 MiB are kept, with a line between them that says how much is missing: the
//! beginning shows what was run, the end why it failed. Bytes are kept as they are, but for the values of secrets,
//! which never reach the file; whoever shows them to a person makes control characters harmless.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tokio::io::{AsyncRead, AsyncReadExt};

use super::redact::{Redactor, Stream};

const HEAD: u64 = 15 << 20;
const TAIL: usize = 1 << 20;

/// A log that is being written.
#[derive(Debug)]
pub struct Log {
    path: PathBuf,
    /// Made with the first byte.
    file: Option<File>,
    head: u64,
    head_limit: u64,
    tail: VecDeque<u8>,
    tail_limit: usize,
    left_out: u64,
    hidden: Stream,
}

impl Log {
    /// A log at this path; there is no file before there is something to write. What `redactor` knows never is.
    pub fn create(path: &Path, redactor: Redactor) -> Log {
        Log::with_limits(path, HEAD, TAIL, redactor)
    }

    fn with_limits(path: &Path, head_limit: u64, tail_limit: usize, redactor: Redactor) -> Log {
        let hidden = Stream::new(redactor);
        Log {
            path: path.to_owned(),
            file: None,
            head: 0,
            head_limit,
            tail: VecDeque::new(),
            tail_limit,
            left_out: 0,
            hidden,
        }
    }

    /// Takes all that `source` gives until its end; true where that was anything.
    pub async fn fill(mut self, mut source: impl AsyncRead + Unpin) -> io::Result<bool> {
        let mut bytes = vec![0; 64 << 10];
        loop {
            match source.read(&mut bytes).await? {
                0 => return self.finish(),
                count => self.take(&bytes[..count])?,
            }
        }
    }

    /// Takes what was printed next.
    pub fn take(&mut self, bytes: &[u8]) -> io::Result<()> {
        let shown = self.hidden.push(bytes);
        self.write(&shown)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let room = usize::try_from(self.head_limit - self.head).unwrap_or(usize::MAX).min(bytes.len());
        let (head, tail) = bytes.split_at(room);
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(File::create(&self.path)?),
        };
        file.write_all(head)?;
        self.head += head.len() as u64;
        self.tail.extend(tail);
        let over = self.tail.len().saturating_sub(self.tail_limit);
        self.tail.drain(..over);
        self.left_out += over as u64;
        Ok(())
    }

    /// Writes what was held back; true where there is anything in the log.
    pub fn finish(mut self) -> io::Result<bool> {
        let rest = self.hidden.finish();
        self.write(&rest)?;
        let Some(mut file) = self.file else { return Ok(false) };
        if self.left_out > 0 {
            writeln!(file, "\n[pipe: {} bytes were left out here]", self.left_out)?;
        }
        let (front, back) = self.tail.as_slices();
        file.write_all(front)?;
        file.write_all(back)?;
        Ok(true)
    }
}

/// The last `count` lines of a log, for a message; unreadable logs have none.
pub fn last_lines(path: &Path, count: usize) -> Vec<String> {
    use std::io::{Read, Seek, SeekFrom};
    let tail = || -> io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(64 << 10)))?;
        let mut bytes = Vec::new();
        file.take(64 << 10).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = tail().unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(count)..].iter().map(|line| harmless(line)).collect()
}

/// A line without control characters and of a length that a terminal can show.
pub fn harmless(line: &str) -> String {
    line.chars().filter(|letter| !is_active(*letter) || *letter == '\t').take(500).collect()
}

/// A text of ours in which a step may have had a say, by the name of a file for example: what a terminal would act on
/// is written out.
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '\n' | '\t' => out.push(letter),
            _ if is_active(letter) => out.extend(letter.escape_default()),
            _ => out.push(letter),
        }
    }
    out
}

/// True for what moves the cursor, colours, or turns the direction of writing.
fn is_active(letter: char) -> bool {
    const TURNS: [std::ops::RangeInclusive<char>; 4] =
        ['\u{61c}'..='\u{61c}', '\u{200e}'..='\u{200f}', '\u{202a}'..='\u{202e}', '\u{2066}'..='\u{2069}'];
    letter.is_control() || TURNS.iter().any(|turns| turns.contains(&letter))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn kept(input: &[u8], head: u64, tail: usize) -> Vec<u8> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        Log::with_limits(&path, head, tail, Redactor::new([b"hunter22".as_slice()])).fill(input).await.unwrap();
        std::fs::read(&path).unwrap()
    }

    #[tokio::test]
    async fn keeps_both_ends() {
        assert_eq!(kept(b"abcdefghij", 20, 5).await, b"abcdefghij");
        assert_eq!(kept(b"abcdefghij", 5, 5).await, b"abcdefghij");
        assert_eq!(kept(b"abcdefghij", 4, 3).await, b"abcd\n[pipe: 3 bytes were left out here]\nhij");
    }

    #[tokio::test]
    async fn secrets_do_not_reach_the_file() {
        assert_eq!(kept(b"abc hunter22 def hunter2", 99, 5).await, b"abc *** def hunter2");
        assert_eq!(kept(b"hunter22", 4, 3).await, b"***");
    }

    #[test]
    fn what_a_terminal_would_act_on_is_written_out() {
        assert_eq!(escaped("out/a\u{1b}]0;x\u{7}\u{202e}b\n\tc\u{9b}"), "out/a\\u{1b}]0;x\\u{7}\\u{202e}b\n\tc\\u{9b}");
        assert_eq!(harmless("a\u{202e}b\rc"), "abc");
    }

    #[test]
    fn last_lines_are_harmless() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        std::fs::write(&path, b"one\n\ntwo \x1b[31mred\xff\n").unwrap();
        assert_eq!(last_lines(&path, 1), ["two [31mred\u{fffd}"]);
        assert_eq!(last_lines(&path, 9).len(), 2);
        assert!(last_lines(&folder.path().join("none"), 3).is_empty());
    }
}
