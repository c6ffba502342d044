//! Lines and columns of the protocol, byte offsets of ours, and file names as addresses.
//!
//! A column counts UTF-16 units, or bytes where the client offers that. Lines end at `\n`, `\r\n` or `\r`.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use lsp_types::{Position, Range, Uri};

/// What a column counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    Utf8,
    Utf16,
}

/// The byte at which each line begins.
pub fn line_starts(text: &str) -> Vec<usize> {
    let bytes = text.as_bytes();
    let ends = bytes.iter().enumerate().filter(|(index, byte)| match byte {
        b'\n' => true,
        b'\r' => bytes.get(index + 1) != Some(&b'\n'),
        _ => false,
    });
    std::iter::once(0).chain(ends.map(|(index, _)| index + 1)).collect()
}

/// Byte offsets of a text as positions and back.
pub struct Lines<'t> {
    text: &'t str,
    starts: Vec<usize>,
    encoding: Encoding,
}

impl<'t> Lines<'t> {
    /// Finds the lines of a text.
    pub fn new(text: &'t str, encoding: Encoding) -> Lines<'t> {
        Lines { text, starts: line_starts(text), encoding }
    }

    /// The position of a byte; beyond the text it is the text's end.
    pub fn position(&self, offset: usize) -> Position {
        let mut offset = offset.min(self.text.len());
        while !self.text.is_char_boundary(offset) {
            offset -= 1;
        }
        let line = self.starts.partition_point(|start| *start <= offset) - 1;
        let before = &self.text[self.starts[line]..offset];
        let column = match self.encoding {
            Encoding::Utf8 => before.len(),
            Encoding::Utf16 => before.encode_utf16().count(),
        };
        Position::new(line as u32, column as u32)
    }

    /// The positions of a span.
    pub fn range(&self, start: usize, end: usize) -> Range {
        Range::new(self.position(start), self.position(end.max(start)))
    }

    /// The byte of a position; a column beyond its line is the line's end.
    pub fn offset(&self, position: Position) -> usize {
        let Some(&start) = self.starts.get(position.line as usize) else { return self.text.len() };
        let end = self.starts.get(position.line as usize + 1).copied().unwrap_or(self.text.len());
        let line = self.text[start..end].trim_end_matches(['\n', '\r']);
        let mut left = position.character as usize;
        let mut offset = 0;
        for c in line.chars() {
            let width = match self.encoding {
                Encoding::Utf8 => c.len_utf8(),
                Encoding::Utf16 => c.len_utf16(),
            };
            if left < width {
                break;
            }
            left -= width;
            offset += c.len_utf8();
        }
        start + offset
    }
}

/// The file that an address names. An address of another kind gets a path of its own, at which nothing lies.
pub fn path(uri: &Uri) -> PathBuf {
    let file = url::Url::parse(uri.as_str()).ok().and_then(|url| url.to_file_path().ok());
    file.unwrap_or_else(|| {
        let name: String =
            uri.as_str().chars().map(|c| if c.is_alphanumeric() || c == '.' { c } else { '-' }).collect();
        Path::new("/.pipe-unsaved").join(name)
    })
}

/// The address of a file.
pub fn uri(path: &Path) -> Option<Uri> {
    Uri::from_str(url::Url::from_file_path(path).ok()?.as_str()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_what_was_agreed() {
        let text = "a\r\né😀b\rc\n";
        let wide = Lines::new(text, Encoding::Utf16);
        let bytes = Lines::new(text, Encoding::Utf8);
        let b = text.find('b').expect("a letter");
        assert_eq!(wide.position(b), Position::new(1, 3));
        assert_eq!(bytes.position(b), Position::new(1, 6));
        assert_eq!(wide.position(999), Position::new(3, 0));
        for lines in [&wide, &bytes] {
            for (offset, _) in text.char_indices().filter(|(_, c)| !matches!(c, '\r' | '\n')) {
                assert_eq!(lines.offset(lines.position(offset)), offset);
            }
        }
        assert_eq!(wide.offset(Position::new(1, 2)), 5, "inside a pair of units: before the character");
        assert_eq!(wide.offset(Position::new(1, 99)), b + 1);
        assert_eq!(wide.offset(Position::new(99, 0)), text.len());
    }

    #[test]
    fn addresses_and_paths_go_both_ways() {
        let odd = Path::new("/a b/é#?%.kdl");
        assert_eq!(path(&uri(odd).expect("an address")), odd);
        let untitled = path(&Uri::from_str("untitled:Untitled-1").expect("an address"));
        assert_eq!(untitled, Path::new("/.pipe-unsaved/untitled-Untitled-1"));
        assert!(uri(Path::new("relative")).is_none());
    }
}
