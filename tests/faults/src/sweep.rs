//! Many cases of one scenario: runs them on some threads, prints what is bad with all that reproduces it, and counts.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use crate::verdict::Bad;

/// What a scenario came to.
#[derive(Debug, Default)]
pub struct Tally {
    pub cases: usize,
    pub bad: usize,
    pub skipped: Option<String>,
    /// Figures worth a word: what landed, what was reused.
    pub notes: Vec<String>,
}

impl Tally {
    /// The host lacks something.
    pub fn skipped(why: impl Into<String>) -> Tally {
        Tally { skipped: Some(why.into()), ..Tally::default() }
    }
}

/// What the whole command was asked for.
#[derive(Debug, Clone)]
pub struct Asked {
    pub pipe: std::path::PathBuf,
    pub scratch: std::path::PathBuf,
    pub seed: u64,
    pub count: Option<usize>,
    /// Only this case.
    pub only: Option<usize>,
    pub full: bool,
    pub threads: usize,
}

impl Asked {
    /// How many cases: what was said, else the full or the bounded size.
    pub fn size(&self, full: usize, bounded: usize) -> usize {
        self.count.unwrap_or(if self.full { full } else { bounded })
    }
}

/// Runs cases 0 to `count`. Each gives what is bad; an error of the harness itself is bad as well.
pub fn sweep(
    name: &str,
    asked: &Asked,
    count: usize,
    case: impl Fn(usize) -> Result<Vec<(String, Vec<Bad>)>, String> + Sync,
) -> Tally {
    let next = AtomicUsize::new(0);
    let tally = Mutex::new(Tally::default());
    let began = Instant::now();
    let work = || {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= count {
                return;
            }
            if asked.only.is_some_and(|only| only != index) {
                continue;
            }
            let found = case(index);
            let mut tally = tally.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            tally.cases += 1;
            tally.bad += usize::from(show(name, asked, index, &found));
            let done = tally.cases;
            if done.is_multiple_of(250) {
                println!("    {name}: {done} of {count}, {} bad, {} s", tally.bad, began.elapsed().as_secs());
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..asked.threads.max(1) {
            scope.spawn(work);
        }
    });
    tally.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Prints what is bad of one case, and says whether anything is.
fn show(name: &str, asked: &Asked, index: usize, found: &Result<Vec<(String, Vec<Bad>)>, String>) -> bool {
    let again = format!("{name} --seed {} --case {index}", asked.seed);
    match found {
        Err(error) => {
            println!("  BAD {again}: the harness could not do it: {error}");
            true
        }
        Ok(parts) => {
            let mut any = false;
            for (what, bad) in parts.iter().filter(|(_, bad)| !bad.is_empty()) {
                any = true;
                println!("  BAD {again}: {what}");
                bad.iter().for_each(|bad| println!("      {bad}"));
            }
            any
        }
    }
}
