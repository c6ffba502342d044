//! Words for why a step runs: the same for `plan`, `why` and the events.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;

use serde::{Serialize, Serializer};

use crate::exec::outcome::{Standing, Why};
use crate::exec::site::Site;
use crate::key::Change;
use crate::pipeline::{Origin, Pipeline};

/// A standing in a few words: `cached`, `runs (prompt-tokens: 64 → 128)`.
pub fn standing(site: &Site, standing: &Standing) -> String {
    match standing {
        Standing::Cached(_) => "cached".to_owned(),
        Standing::Runs(why) => format!("runs ({})", brief(why)),
        Standing::Depends(steps) => {
            let names: Vec<&str> = steps.iter().map(|id| site.step(*id).name.as_str()).collect();
            format!("depends on {}", some(&names, 3))
        }
        Standing::Unavailable(lack) => format!("unavailable: {}", lack.reason),
        Standing::NotNeeded => "not needed".to_owned(),
        Standing::NotSelected => "not selected".to_owned(),
    }
}

/// The state's word alone, for JSON and for the graph.
pub fn word(standing: &Standing) -> &'static str {
    match standing {
        Standing::Cached(_) => "cached",
        Standing::Runs(_) => "runs",
        Standing::Depends(_) => "depends",
        Standing::Unavailable(_) => "unavailable",
        Standing::NotNeeded => "not-needed",
        Standing::NotSelected => "not-selected",
    }
}

/// A reason in one line.
pub fn brief(why: &Why) -> String {
    match why {
        Why::Never => "never ran with this store".to_owned(),
        Why::Changed { changes, .. } => match changes.split_first() {
            Some((first, [])) => change(first),
            Some((first, rest)) => format!("{}, and {} more", change(first), rest.len()),
            None => "its inputs changed".to_owned(),
        },
        Why::Failed => "it failed in the last run".to_owned(),
        Why::Gone { what } => format!("the store no longer holds {}", short(what)),
        Why::StayedAway => "its output stayed out of the pack that it came in, and is read now".to_owned(),
        Why::WeakerSandbox { had, asked } => {
            format!("its record was made with sandbox {had}, and {asked} is asked for")
        }
        Why::MoreSamples { have, reason } => format!("{have} samples are there, {reason}"),
        Why::Forced => "--remeasure".to_owned(),
        Why::OtherMachine { .. } => "never measured on this machine".to_owned(),
    }
}

/// A reason that the manifests of two runs don't tell.
pub fn beside_changes(why: &Why) -> Option<String> {
    match why {
        Why::Never | Why::Changed { .. } => None,
        Why::Failed
        | Why::Gone { .. }
        | Why::StayedAway
        | Why::WeakerSandbox { .. }
        | Why::MoreSamples { .. }
        | Why::Forced
        | Why::OtherMachine { .. } => Some(brief(why)),
    }
}

/// One leaf: `prompt-tokens: 64 → 128`.
pub fn change(change: &Change) -> String {
    match (&change.old, &change.new) {
        (Some(old), Some(new)) => format!("{}: {}", change.path, from_to(old, new)),
        (None, Some(new)) => format!("{}: new, {}", change.path, short(new)),
        (Some(old), None) => format!("{}: gone, was {}", change.path, short(old)),
        (None, None) => change.path.clone(),
    }
}

/// `64 → 128`; what both begin with is said once: `input in/data: 0123456789ab → ba9876543210`.
fn from_to(old: &str, new: &str) -> String {
    let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let (was, is) = (words(old), words(new));
    let same = was.iter().zip(&is).take_while(|(a, b)| a == b).count().min(was.len().min(is.len()) - 1);
    if same < 2 {
        return format!("{} → {}", short(old), short(new));
    }
    let head = was[..same].join(" ");
    let head = if head.is_empty() { head } else { format!("{head}: ") };
    // Of two contents of one kind the digests differ, and nothing else.
    let (was, is) = (was[same..].join(" "), is[same..].join(" "));
    match (was.split_once(':'), is.split_once(':')) {
        (Some((a, was)), Some((b, is))) if a == b => format!("{head}{} → {}", short(was), short(is)),
        _ => format!("{head}{} → {}", short(&was), short(&is)),
    }
}

/// A value for a line of text: digests by their first 12 digits, long texts cut.
pub fn short(value: &str) -> String {
    let words: Vec<String> = value
        .split(' ')
        .map(|word| {
            let (head, tail) = word.rsplit_once(':').map_or(("", word), |(head, tail)| (head, tail));
            let digest = tail.len() == 64 && tail.bytes().all(|b| b.is_ascii_hexdigit());
            match (digest, head) {
                (true, "") => tail[..12].to_owned(),
                (true, head) => format!("{head}:{}", &tail[..12]),
                (false, _) => word.to_owned(),
            }
        })
        .collect();
    let text = words.join(" ");
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// Where a value was written: `llm-6gb.kdl:7:24`, or the flag.
pub fn place(pipeline: &Pipeline, origin: &Origin) -> String {
    Places::new(pipeline).place(origin)
}

/// The places of many values: the lines of each file are counted once.
pub struct Places<'a> {
    pipeline: &'a Pipeline,
    /// Where the lines of each source begin, once it was asked for.
    lines: RefCell<BTreeMap<usize, Vec<usize>>>,
}

impl<'a> Places<'a> {
    /// Nothing is counted before it is asked for.
    pub fn new(pipeline: &'a Pipeline) -> Places<'a> {
        Places { pipeline, lines: RefCell::default() }
    }

    /// Where a value was written.
    pub fn place(&self, origin: &Origin) -> String {
        self.shown(origin).to_string()
    }

    /// The same, to be written where it belongs.
    pub fn shown<'p>(&'p self, origin: &'p Origin) -> Place<'p> {
        Place { places: self, origin }
    }

    fn in_file(&self, source: usize, start: usize, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(found) = self.pipeline.sources.get(source) else { return out.write_str("?") };
        let mut lines = self.lines.borrow_mut();
        let begins = lines.entry(source).or_insert_with(|| line_begins(&found.text));
        let (line, column) = line_column(&found.text, begins, start);
        write!(out, "{}:{line}:{column}", found.name)
    }
}

/// One place, to be written.
pub struct Place<'p> {
    places: &'p Places<'p>,
    origin: &'p Origin,
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.origin {
            Origin::Flag(flag) => out.write_str(flag),
            Origin::Builtin(what) => write!(out, "pipe ({what})"),
            Origin::Profile(from) => {
                write!(out, "{} (", from.flag)?;
                self.places.in_file(from.source, from.start, out)?;
                out.write_str(")")
            }
            Origin::File { source, start, .. } => self.places.in_file(*source, *start, out),
        }
    }
}

impl Serialize for Place<'_> {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.collect_str(self)
    }
}

fn line_begins(text: &str) -> Vec<usize> {
    std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect()
}

/// Line and column, from 1, the column in characters.
fn line_column(text: &str, begins: &[usize], at: usize) -> (usize, usize) {
    let at = at.min(text.len());
    let line = begins.partition_point(|begin| *begin <= at);
    let begin = begins.get(line.saturating_sub(1)).copied().unwrap_or(0);
    (line, text.get(begin..at).unwrap_or("").chars().count() + 1)
}

/// `a, b, c and 4 more`.
pub fn some(names: &[&str], most: usize) -> String {
    if names.len() <= most {
        names.join(", ")
    } else {
        format!("{} and {} more", names[..most].join(", "), names.len() - most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diag::Source;
    use crate::pipeline::FromProfile;

    fn leaf(path: &str, old: Option<&str>, new: Option<&str>) -> Change {
        Change { path: path.to_owned(), old: old.map(str::to_owned), new: new.map(str::to_owned), origin: None }
    }

    #[test]
    fn a_change_tells_old_and_new() {
        assert_eq!(change(&leaf("prompt-tokens", Some("64"), Some("128"))), "prompt-tokens: 64 → 128");
        assert_eq!(change(&leaf("run.arg.0", Some("value 1"), Some("value 2"))), "run.arg.0: value 1 → value 2");
        let content = |digit: &str| format!("input in/x file:{}", digit.repeat(64));
        assert_eq!(
            change(&leaf("run.arg.0", Some(&content("a")), Some(&content("b")))),
            "run.arg.0: input in/x: aaaaaaaaaaaa → bbbbbbbbbbbb"
        );
        let (file, tree) = (content("a"), content("a").replace("file", "tree"));
        assert_eq!(
            change(&leaf("run.arg.0", Some(&file), Some(&tree))),
            "run.arg.0: input in/x: file:aaaaaaaaaaaa → tree:aaaaaaaaaaaa"
        );
        assert_eq!(change(&leaf("env.A", None, Some("1"))), "env.A: new, 1");
        assert_eq!(change(&leaf("env.A", Some("1"), None)), "env.A: gone, was 1");
    }

    #[test]
    fn every_reason_is_a_sentence() {
        let changed = |changes: Vec<Change>| Why::Changed { changes, against: pipe_cache::Digest::of(b"old") };
        let (one, two) = (leaf("a", Some("1"), Some("2")), leaf("b", None, Some("3")));
        let cases = [
            (Why::Never, "never ran with this store"),
            (changed(vec![one.clone()]), "a: 1 → 2"),
            (changed(vec![one, two]), "a: 1 → 2, and 1 more"),
            (changed(Vec::new()), "its inputs changed"),
            (Why::StayedAway, "its output stayed out of the pack that it came in, and is read now"),
            (Why::Failed, "it failed in the last run"),
            (Why::Gone { what: "outputs x".to_owned() }, "the store no longer holds outputs x"),
            (
                Why::WeakerSandbox { had: "off", asked: "strict" },
                "its record was made with sandbox off, and strict is asked for",
            ),
            (Why::MoreSamples { have: 8, reason: "10 are wanted".to_owned() }, "8 samples are there, 10 are wanted"),
            (Why::Forced, "--remeasure"),
            (Why::OtherMachine { what: "cpu".to_owned() }, "never measured on this machine"),
        ];
        for (why, wanted) in cases {
            assert_eq!(brief(&why), wanted);
        }
    }

    #[test]
    fn digests_and_long_values_are_cut() {
        let digest = "0123456789abcdef".repeat(4);
        assert_eq!(short(&digest), "0123456789ab");
        assert_eq!(short(&format!("input in/1 tree:{digest}")), "input in/1 tree:0123456789ab");
        assert_eq!(short("value 64"), "value 64");
        assert_eq!(short(&"é".repeat(61)), format!("{}…", "é".repeat(60)));
        assert_eq!(short(&"é".repeat(60)), "é".repeat(60));
    }

    #[test]
    fn places_are_lines_and_columns_in_characters() {
        let at = |text: &str, at| line_column(text, &line_begins(text), at);
        assert_eq!(at("ab\ncd", 0), (1, 1));
        assert_eq!(at("ab\ncd", 4), (2, 2));
        assert_eq!(at("é\nüx", 5), (2, 2));
        assert_eq!(at("ab", 99), (1, 3));
        let pipeline = Pipeline {
            name: "p".to_owned(),
            about: None,
            sources: vec![Source { name: "p.kdl".to_owned(), text: "a\nb c".into() }],
            params: Vec::new(),
            matrices: Vec::new(),
            profiles: Vec::new(),
            steps: Vec::new(),
        };
        assert_eq!(place(&pipeline, &Origin::File { source: 0, start: 4, end: 5 }), "p.kdl:2:3");
        assert_eq!(place(&pipeline, &Origin::Flag("--set n=1".to_owned())), "--set n=1");
        assert_eq!(place(&pipeline, &Origin::Builtin("default")), "pipe (default)");
        let profile = FromProfile { flag: "--profile quick".to_owned(), source: 0, start: 2, end: 3 };
        assert_eq!(place(&pipeline, &Origin::Profile(Box::new(profile))), "--profile quick (p.kdl:2:1)");
        assert_eq!(place(&pipeline, &Origin::File { source: 7, start: 0, end: 0 }), "?");
    }

    #[test]
    fn long_lists_end_in_a_number() {
        assert_eq!(some(&["a", "b"], 3), "a, b");
        assert_eq!(some(&["a", "b", "c", "d"], 3), "a, b, c and 1 more");
    }
}
