//! Words for why a step runs: the same for `plan`, `why` and the events.

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
        Why::Gone { what } => format!("the store no longer holds {}", short(what)),
        Why::WeakerSandbox { had, asked } => {
            format!("its record was made with sandbox {had}, and {asked} is asked for")
        }
        Why::MoreSamples { have, reason } => format!("{have} samples are there, {reason}"),
        Why::Forced => "--remeasure".to_owned(),
        Why::OtherMachine { .. } => "never measured on this machine".to_owned(),
    }
}

/// One leaf: `prompt-tokens: 64 → 128`.
pub fn change(change: &Change) -> String {
    match (&change.old, &change.new) {
        (Some(old), Some(new)) => format!("{}: {} → {}", change.path, short(old), short(new)),
        (None, Some(new)) => format!("{}: new, {}", change.path, short(new)),
        (Some(old), None) => format!("{}: gone, was {}", change.path, short(old)),
        (None, None) => change.path.clone(),
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
    match origin {
        Origin::Flag(flag) => flag.clone(),
        Origin::Builtin(what) => format!("pipe ({what})"),
        Origin::File { source, start, .. } => match pipeline.sources.get(*source) {
            Some(source) => {
                let (line, column) = line_column(&source.text, *start);
                format!("{}:{line}:{column}", source.name)
            }
            None => "?".to_owned(),
        },
    }
}

/// Line and column, from 1, the column in characters.
pub fn line_column(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at.min(text.len())).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
    (line, column)
}

/// `a, b, c and 4 more`.
pub fn some(names: &[&str], most: usize) -> String {
    if names.len() <= most {
        names.join(", ")
    } else {
        format!("{} and {} more", names[..most].join(", "), names.len() - most)
    }
}
