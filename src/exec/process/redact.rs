//! Replaces values that nobody may see by `***`, in texts and in streams of bytes.
//!
//! A value is found as it is without blanks at its ends, each longer line of it, and in the forms in which programs
//! print what they were given: base64 (both alphabets, beginning anywhere), hexadecimal, percent-encoded, and escaped
//! as in JSON or C; also across the pieces in which a stream arrives, and where its lines are wrapped.
//! What can't be found: a value that was compressed, encrypted, reversed or encoded twice, or between whose pieces
//! other text was printed.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::ops::Range;
use std::sync::Arc;

use aho_corasick::{AhoCorasick, Input, MatchKind};

/// What stands for a value.
const MASK: &[u8] = b"***";

/// Lines of a value that are shorter are found in too many texts.
const LEAST_LINE: usize = 8;

/// Encoded forms that are shorter are found in too many texts.
const LEAST_ENCODED: usize = 6;

/// Forms that are shorter are not looked for across blanks.
const LEAST_WRAPPED: usize = 12;

/// How many blanks and colons in a row do not part a wrapped value.
const MOST_BLANKS: usize = 8;

/// All forms are looked for by so much of their beginning, and then compared.
const ANCHOR: usize = 16;

/// Knows what to hide.
#[derive(Clone, Default)]
pub struct Redactor(Option<Arc<Forms>>);

/// All forms of all values.
struct Forms {
    plain: Needles,
    /// The longer of them without blanks, to be looked for in a text without blanks.
    wrapped: Needles,
}

impl std::fmt::Debug for Redactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Redactor({})", self.0.as_ref().map_or(0, |forms| forms.plain.count))
    }
}

impl Redactor {
    /// Hides these values.
    pub fn new<'v>(values: impl IntoIterator<Item = &'v [u8]>) -> Redactor {
        let mut found: Vec<Vec<u8>> = Vec::new();
        for value in values {
            let whole = value.trim_ascii();
            if whole.is_empty() {
                continue;
            }
            found.push(whole.to_vec());
            let lines = whole.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
            found.extend(lines.filter(|line| line.len() >= LEAST_LINE).map(<[u8]>::to_vec));
            found.extend(encoded(whole).into_iter().filter(|form| form.len() >= LEAST_ENCODED));
        }
        let tight = found.iter().map(|form| form.iter().copied().filter(|byte| !is_blank(*byte)).collect::<Vec<u8>>());
        let wrapped = Needles::new(tight.filter(|form| form.len() >= LEAST_WRAPPED).collect());
        let plain = Needles::new(found);
        match (plain, wrapped) {
            (Some(plain), Some(wrapped)) => Redactor(Some(Arc::new(Forms { plain, wrapped }))),
            // Where no form is long enough to be wrapped, looking for all of them once more does no harm.
            (Some(plain), None) => Redactor(Some(Arc::new(Forms { wrapped: plain.clone(), plain }))),
            (None, _) => Redactor(None),
        }
    }

    /// True where there is nothing to hide.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// True where a value occurs in `bytes`. Wrapped forms are looked for in text alone.
    pub fn is_in(&self, bytes: &[u8]) -> bool {
        self.0.as_ref().is_some_and(|forms| {
            forms.plain.next(bytes, 0).is_some()
                || (memchr::memchr(0, bytes).is_none() && !forms.in_wrapped(bytes, true).is_empty())
        })
    }

    /// True where a value occurs in what a stream gives.
    pub fn is_in_stream(&self, mut source: impl Read) -> io::Result<bool> {
        let keep = self.reach();
        let mut bytes = vec![0; (1 << 20).max(2 * keep) + keep];
        let mut held = 0;
        loop {
            let count = source.read(&mut bytes[held..])?;
            let all = held + count;
            // A source that gives little at a time would have the same bytes searched again and again.
            if all < bytes.len() && count > 0 {
                held = all;
                continue;
            }
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

    /// How far behind a place a value that begins before it can end.
    fn reach(&self) -> usize {
        self.0.as_ref().map_or(0, |forms| {
            // Few values are wrapped at every byte: of a long one, a blank for each eighth of its bytes is allowed.
            let wrapped = forms.wrapped.longest + (MOST_BLANKS + 1) * (forms.wrapped.longest / 8 + 64);
            forms.plain.longest.max(wrapped)
        })
    }

    /// Where values are, in order, none overlapping another.
    fn found(&self, bytes: &[u8]) -> Vec<Range<usize>> {
        let Some(forms) = &self.0 else { return Vec::new() };
        let mut found = forms.in_wrapped(bytes, false);
        let mut at = 0;
        while let Some(range) = forms.plain.next(bytes, at) {
            at = range.start + 1;
            found.push(range);
        }
        found.sort_by_key(|range| (range.start, range.end));
        let mut apart: Vec<Range<usize>> = Vec::new();
        for range in found {
            match apart.last_mut() {
                Some(last) if range.start < last.end => last.end = last.end.max(range.end),
                _ => apart.push(range),
            }
        }
        apart
    }
}

impl Forms {
    /// Where wrapped values are; `first` where one is enough.
    fn in_wrapped(&self, bytes: &[u8], first: bool) -> Vec<Range<usize>> {
        let mut tight = Vec::with_capacity(bytes.len());
        let mut places = Vec::with_capacity(bytes.len());
        let mut blanks = 0;
        for (at, byte) in bytes.iter().copied().enumerate() {
            if is_blank(byte) {
                blanks += 1;
                // So many part what stands on both sides: no form holds such a byte now.
                if blanks == MOST_BLANKS + 1 {
                    tight.push(b' ');
                    places.push(at);
                }
                continue;
            }
            blanks = 0;
            tight.push(byte);
            places.push(at);
        }
        let mut found = Vec::new();
        let mut at = 0;
        while let Some(range) = self.wrapped.next(&tight, at) {
            at = range.start + 1;
            found.push(places[range.start]..places[range.end - 1] + 1);
            if first {
                break;
            }
        }
        found
    }
}

/// What wraps and groups: ends of lines, indents, and the colons between the bytes of a fingerprint.
fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | b':')
}

/// Texts to look for.
#[derive(Clone)]
struct Needles {
    anchors: AhoCorasick,
    /// By their first bytes, the longest first.
    by_anchor: BTreeMap<Vec<u8>, Vec<Vec<u8>>>,
    /// How long anchors are.
    lengths: Vec<usize>,
    longest: usize,
    count: usize,
}

impl Needles {
    fn new(mut needles: Vec<Vec<u8>>) -> Option<Needles> {
        needles.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        needles.dedup();
        let longest = needles.first()?.len();
        let count = needles.len();
        let mut by_anchor: BTreeMap<Vec<u8>, Vec<Vec<u8>>> = BTreeMap::new();
        for needle in needles {
            let anchor = needle[..needle.len().min(ANCHOR)].to_vec();
            by_anchor.entry(anchor).or_default().push(needle);
        }
        let mut lengths: Vec<usize> = by_anchor.keys().map(Vec::len).collect();
        lengths.sort_unstable();
        lengths.dedup();
        // Leftmost, so that a place at which anything begins is never passed over.
        let anchors = AhoCorasick::builder().match_kind(MatchKind::LeftmostFirst).build(by_anchor.keys()).ok()?;
        Some(Needles { anchors, by_anchor, lengths, longest, count })
    }

    /// The first needle from `at` on; of those that begin at one place, the longest.
    fn next(&self, bytes: &[u8], mut at: usize) -> Option<Range<usize>> {
        loop {
            let start = self.anchors.find(Input::new(bytes).range(at..))?.start();
            let here = &bytes[start..];
            let anchors = self.lengths.iter().filter_map(|length| self.by_anchor.get(here.get(..*length)?));
            let needles = anchors.flatten().filter(|needle| here.starts_with(needle));
            if let Some(length) = needles.map(Vec::len).max() {
                return Some(start..start + length);
            }
            at = start + 1;
        }
    }
}

/// The forms in which programs print a value, beside the value itself.
fn encoded(value: &[u8]) -> Vec<Vec<u8>> {
    const URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    const STANDARD: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut forms = Vec::new();
    for alphabet in [STANDARD, URL] {
        forms.extend((0..3).map(|offset| base64(value, alphabet, offset)));
    }
    forms.push(each(value, |byte, out| out.extend(hex(byte, false))));
    forms.push(each(value, |byte, out| out.extend(hex(byte, true))));
    for upper in [false, true] {
        let percent = |kept: &'static [u8], space: &'static [u8]| {
            each(value, move |byte, out| match byte {
                b' ' if !space.is_empty() => out.extend(space),
                _ if byte.is_ascii_alphanumeric() || kept.contains(&byte) => out.push(byte),
                _ => {
                    out.push(b'%');
                    out.extend(hex(byte, upper));
                }
            })
        };
        forms.extend([
            // As the standard says; with the separators of paths kept; as browsers do; as in a form; of a whole address.
            percent(b"-._~", b""),
            percent(b"-._~/", b""),
            percent(b"-._~!*'()", b""),
            percent(b"-._*", b"+"),
            percent(b"-._~:/?#[]@!$&'()*+,;=", b""),
        ]);
        forms.push(each(value, |byte, out| {
            out.push(b'%');
            out.extend(hex(byte, upper));
        }));
        forms.push(each(value, |byte, out| {
            out.extend(b"\\x");
            out.extend(hex(byte, upper));
        }));
    }
    // Bytes that are no text are shown as most programs show them.
    let text = String::from_utf8_lossy(value);
    for html in ["", "<>&", "<>&'"] {
        for slash in [false, true] {
            forms.extend([(false, false), (true, false), (true, true)].map(|(ascii, upper)| {
                let form = Json { ascii, upper, html, slash };
                form.escape(&text)
            }));
        }
    }
    // As programs that know nothing of encodings quote.
    forms.push(each(value, |byte, out| match byte {
        b'"' | b'\\' => out.extend([b'\\', byte]),
        b'\n' => out.extend(b"\\n"),
        _ => out.push(byte),
    }));
    forms.push(value.escape_ascii().to_string().into_bytes());
    forms.push(text.escape_debug().to_string().into_bytes());
    forms.push(text.into_owned().into_bytes());
    forms
}

fn each(value: &[u8], mut write: impl FnMut(u8, &mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.len() * 3);
    value.iter().for_each(|byte| write(*byte, &mut out));
    out
}

fn hex(byte: u8, upper: bool) -> [u8; 2] {
    let digits = if upper { b"0123456789ABCDEF" } else { b"0123456789abcdef" };
    [digits[usize::from(byte >> 4)], digits[usize::from(byte & 15)]]
}

/// The letters that stand for `value` alone where `offset` bytes, modulo three, stand before it: those at both ends
/// that also hold bits of a neighbour are left out.
fn base64(value: &[u8], alphabet: &[u8; 64], offset: usize) -> Vec<u8> {
    let first = (offset * 8).div_ceil(6);
    let last = (offset + value.len()) * 8 / 6;
    let bit = |at: usize| (at / 8).checked_sub(offset).map_or(0, |index| value[index] >> (7 - at % 8) & 1);
    let letter = |at: usize| alphabet[usize::from((0..6).fold(0, |letter, n| letter << 1 | bit(at * 6 + n)))];
    (first..last).map(letter).collect()
}

/// The ways in which writers of JSON differ.
struct Json {
    /// Everything else is escaped.
    ascii: bool,
    upper: bool,
    /// What means something in HTML and is escaped therefore.
    html: &'static str,
    slash: bool,
}

impl Json {
    fn escape(&self, text: &str) -> Vec<u8> {
        let mut out = Vec::with_capacity(text.len() * 2);
        for letter in text.chars() {
            match letter {
                '"' => out.extend(b"\\\""),
                '\\' => out.extend(b"\\\\"),
                '\n' => out.extend(b"\\n"),
                '\r' => out.extend(b"\\r"),
                '\t' => out.extend(b"\\t"),
                '\u{8}' => out.extend(b"\\b"),
                '\u{c}' => out.extend(b"\\f"),
                '/' if self.slash => out.extend(b"\\/"),
                _ if letter < ' ' || (self.ascii && letter > '~') || self.html.contains(letter) => {
                    for unit in letter.encode_utf16(&mut [0; 2]) {
                        out.extend(b"\\u");
                        let [high, low] = unit.to_be_bytes();
                        out.extend(hex(high, self.upper));
                        out.extend(hex(low, self.upper));
                    }
                }
                _ => out.extend(letter.encode_utf8(&mut [0; 4]).bytes()),
            }
        }
        out
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
        let wait = self.redactor.reach();
        // What is held back is searched again each time, so that waiting for as much more keeps this linear.
        if self.held.len() < 2 * wait {
            return Vec::new();
        }
        self.release(self.held.len() - wait)
    }

    /// Gives what was held back.
    pub fn finish(&mut self) -> Vec<u8> {
        self.release(self.held.len())
    }

    /// Gives what begins before `end`, and a value that reaches beyond it whole.
    fn release(&mut self, end: usize) -> Vec<u8> {
        let mut out = Vec::new();
        let mut at = 0;
        for range in self.redactor.found(&self.held).into_iter().filter(|range| range.start < end) {
            out.extend_from_slice(&self.held[at..range.start]);
            out.extend_from_slice(MASK);
            at = range.end;
        }
        if at < end {
            out.extend_from_slice(&self.held[at..end]);
            at = end;
        }
        self.held.drain(..at);
        out
    }
}

#[cfg(test)]
#[path = "redact_tests.rs"]
mod tests;
