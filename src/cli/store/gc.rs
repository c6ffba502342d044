//! `pipe store gc`: what no record needs goes, and by rules or for room more, with what that costs said.

use std::time::Duration;

use clap::Args;
use pipe_cache::{Collect, Collected, Store, StoreError};

use super::choice::{self, Made, Rules};
use super::verify::count;
use crate::cli::estimate::size;
use crate::cli::exit;
use crate::cli::output::print;
use crate::cli::progress::time;

/// The flags of `pipe store gc`.
#[derive(Debug, Clone, Args)]
pub struct Arguments {
    /// Makes the store no larger than this, as `20GiB`: the results that are cheapest to make again for their size go
    /// first
    #[arg(long, value_name = "SIZE", value_parser = bytes)]
    max_size: Option<u64>,
    /// Keeps the results of so many of the last runs of each pipeline [default: 1], and drops those that only older runs
    /// name; with --max-size, only as many of these as there must
    #[arg(long, value_name = "N")]
    keep_runs: Option<usize>,
    /// Keeps also what younger runs than this name, as `30d` or `12h`
    #[arg(long, value_name = "AGE", value_parser = seconds)]
    older_than: Option<u64>,
    /// Lets these rules drop measurements too, which otherwise always stay: their time is never got back
    #[arg(long)]
    sessions: bool,
    /// Removes nothing, and says what would go
    #[arg(long)]
    dry_run: bool,
}

/// How many results are listed one by one.
const LISTED: usize = 40;

/// Collects.
pub fn main(store: &Store, arguments: &Arguments) -> Result<u8, StoreError> {
    let Arguments { max_size, keep_runs, older_than, sessions, dry_run } = *arguments;
    let rules = Rules { most: max_size, keep_runs, newer_than: older_than, sessions };
    let (mut candidates, mut aged) = (Vec::new(), Vec::new());
    // Whoever looks something up does so in a moment, or has a lease.
    let how = Collect { dry_run, patience: Duration::from_secs(20) };
    let done = store.gc(how, |_| {
        let chosen = choice::choose(store, rules, now())?;
        (candidates, aged) = (chosen.candidates, chosen.aged);
        Ok(chosen.keep)
    })?;
    print(&told(arguments, &done, &candidates, &aged));
    Ok(exit::DONE)
}

fn told(arguments: &Arguments, done: &Collected, candidates: &[Made], aged: &[Made]) -> String {
    let mut out = String::new();
    let for_room = done.dropped.iter().map(|dropped| (&candidates[dropped.candidate], Some(dropped.bytes)));
    let gone: Vec<(&Made, Option<u64>)> = aged.iter().map(|made| (made, None)).chain(for_room).collect();
    let (would, will) = if arguments.dry_run { ("would be ", "would go") } else { ("", "went") };
    if !gone.is_empty() {
        let seconds: f64 = gone.iter().map(|(made, _)| made.seconds).sum();
        let fetched: u64 = gone.iter().map(|(made, _)| made.fetched).sum();
        out.push_str(&format!("results that {will}, and what it takes to make them again:\n"));
        for (made, freed) in gone.iter().take(LISTED) {
            let name =
                made.name.clone().unwrap_or_else(|| format!("key {}, of a run that did not end", made.key.short()));
            let freed = freed.map_or_else(String::new, size);
            out.push_str(&format!("  {freed:>9}  {:>11}{}  {name}\n", time(made.seconds), downloads(made.fetched)));
        }
        if let Some(more @ 1..) = gone.len().checked_sub(LISTED) {
            out.push_str(&format!("  and {more} more\n"));
        }
        let all = count(gone.len() as u64, "result", "results");
        out.push_str(&format!("{all} in all, made in {}{}\n", time(seconds), downloads(fetched)));
    }
    out.push_str(&format!(
        "{} {would}freed: {}, {}, {}, {}, {}\n",
        size(done.bytes),
        count(done.blobs, "blob", "blobs"),
        count(done.packed, "small one", "small ones"),
        count(done.records, "record", "records"),
        count(done.checkouts, "checkout", "checkouts"),
        count(done.others, "leftover", "leftovers"),
    ));
    if done.shared {
        out.push_str(
            "another `pipe` has the store open: what it uses stays, and records and small content wait for the next \
             `pipe store gc`\n",
        );
    }
    if let Some(most) = arguments.max_size.filter(|most| done.left > *most) {
        out.push_str(&format!(
            "{} stay, more than {}: what is pinned, measured, in use, or of the last runs of a pipeline (--keep-runs 0 \
             lets go of those)\n",
            size(done.left),
            size(most)
        ));
    }
    out
}

fn downloads(bytes: u64) -> String {
    if bytes == 0 { String::new() } else { format!(" and {} of downloads", size(bytes)) }
}

/// `20GiB`, `500 MB`, `4096`.
fn bytes(text: &str) -> Result<u64, String> {
    let (number, unit) = split(text);
    let factor = match unit.to_ascii_lowercase().as_str() {
        "b" | "" => 1.0,
        "kib" | "k" => 1024.0,
        "mib" | "m" => 1024.0 * 1024.0,
        "gib" | "g" => 1024.0 * 1024.0 * 1024.0,
        "tib" | "t" => 1024.0 * 1024.0 * 1024.0 * 1024.0,
        "kb" => 1e3,
        "mb" => 1e6,
        "gb" => 1e9,
        "tb" => 1e12,
        _ => return Err(format!("`{unit}` is no unit of size; write it as `20GiB` or `500MB`")),
    };
    scaled(number, factor).ok_or_else(|| "write a size, as `20GiB` or `500MB`".to_owned())
}

/// `30d`, `12h`, `90min`, `45s`.
fn seconds(text: &str) -> Result<u64, String> {
    let (number, unit) = split(text);
    let factor = match unit.to_ascii_lowercase().as_str() {
        "s" => 1.0,
        "min" => 60.0,
        "h" => 3600.0,
        "d" | "day" | "days" => 86_400.0,
        "w" => 7.0 * 86_400.0,
        _ => return Err("write an age with its unit, as `30d`, `12h` or `90min`".to_owned()),
    };
    scaled(number, factor).ok_or_else(|| "write an age, as `30d` or `12h`".to_owned())
}

fn split(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| c.is_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    (number.trim(), unit)
}

fn scaled(number: &str, factor: f64) -> Option<u64> {
    let number: f64 = number.parse().ok()?;
    let scaled = number * factor;
    (number >= 0.0 && scaled < u64::MAX as f64).then_some(scaled as u64)
}

#[expect(clippy::disallowed_methods, reason = "ages of runs are told by the clock, and by nothing that is kept")]
fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_ages_are_read_as_people_write_them() {
        for (text, expect) in
            [("20GiB", 20 << 30), ("1.5 MiB", 3 << 19), ("500MB", 500_000_000), ("0", 0), ("7k", 7168)]
        {
            assert_eq!(bytes(text), Ok(expect), "{text}");
        }
        for text in ["", "GiB", "20 apples", "-1GiB", "nanGiB", "1e999GiB", "infG"] {
            assert!(bytes(text).is_err(), "{text}");
        }
        assert_eq!((seconds("30d"), seconds("90min"), seconds("1.5h")), (Ok(2_592_000), Ok(5400), Ok(5400)));
        for text in ["30", "d", "-1d", "30 moons"] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }
}
