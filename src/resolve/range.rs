//! `(range)"1..32" step="*2"`: the whole numbers that it stands for.

use crate::diag::{At, Diagnostic};
use crate::syntax::Entry;

/// A range with more values than this is a slip.
const MOST_VALUES: usize = 10_000;

/// From one value to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Add(i64),
    Times(i64),
}

impl Step {
    /// Reads `*N` or `+N`.
    pub fn read(entry: &Entry) -> Result<Step, Diagnostic> {
        let text = entry.text().unwrap_or_default();
        let step = match (text.strip_prefix('*'), text.strip_prefix('+')) {
            (Some(n), _) => n.parse().ok().map(Step::Times),
            (_, Some(n)) => n.parse().ok().map(Step::Add),
            _ => None,
        };
        match step {
            Some(Step::Times(n)) if n < 2 => {
                Err(endless(entry.at, "this never gets on", "multiply by 2 or more: `*2`".to_owned()))
            }
            Some(Step::Add(n)) if n < 1 => {
                Err(endless(entry.at, "this never gets on", "add 1 or more: `+1`".to_owned()))
            }
            Some(step) => Ok(step),
            None => {
                let fault = Diagnostic::error("pipe::bad-step", format!("`{text}` is no step of a range"));
                Err(fault.at(entry.at, "here").help("write `*2` (each twice the one before) or `+4` (four more)"))
            }
        }
    }

    fn after(self, n: i64) -> Option<i64> {
        match self {
            Step::Add(by) => n.checked_add(by),
            Step::Times(by) => n.checked_mul(by),
        }
    }
}

/// The values of a range, both ends included where the step meets them.
pub fn values(entry: &Entry, step: Step) -> Result<Vec<i64>, Diagnostic> {
    let text = entry.text().unwrap_or_default();
    let ends = text.split_once("..").and_then(|(first, last)| Some((number(first)?, number(last)?)));
    let Some((first, last)) = ends else {
        let fault = Diagnostic::error("pipe::bad-range", format!("`{text}` is no range of whole numbers"));
        let help = "write the first and the last value with two dots between them: `(range)\"1..32\"`";
        return Err(fault.at(entry.at, "here").help(help));
    };
    if last < first {
        let fault = Diagnostic::error("pipe::empty-range", format!("no number lies in `{text}`"));
        let help = format!("a range goes up: write `(range)\"{last}..{first}\"`");
        return Err(fault.at(entry.at, "its end is below its start").help(help));
    }
    if matches!(step, Step::Times(_)) && first < 1 {
        let why = format!("{first} times a number never gets up to {last}");
        return Err(endless(entry.at, why, format!("start at 1: `(range)\"1..{}\"`", last.max(1))));
    }
    let mut values = Vec::new();
    let mut next = Some(first);
    while let Some(n) = next.filter(|n| *n <= last) {
        if values.len() == MOST_VALUES {
            let fault = Diagnostic::error("pipe::long-range", format!("`{text}` has more than {MOST_VALUES} values"));
            let help = "take a larger step, as `step=\"*2\"`, or an end that is nearer";
            return Err(fault.at(entry.at, "each would be a cell").help(help));
        }
        values.push(n);
        next = step.after(n);
    }
    Ok(values)
}

fn number(text: &str) -> Option<i64> {
    text.trim().parse().ok()
}

fn endless(at: At, why: impl Into<String>, help: String) -> Diagnostic {
    Diagnostic::error("pipe::endless-range", "this range never ends").at(at, why).help(help)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::syntax::Literal;

    fn of(text: &str, step: &str) -> Result<Vec<i64>, &'static str> {
        let entry = |text: &str| Entry {
            key: None,
            annotation: None,
            literal: Literal::Text(text.to_owned()),
            at: At { source: 0, start: 0, end: 1 },
        };
        let step = Step::read(&entry(step)).map_err(|fault| fault.code)?;
        values(&entry(text), step).map_err(|fault| fault.code)
    }

    #[test]
    fn both_ends_belong_to_a_range() {
        assert_eq!(of("1..4", "+1"), Ok(vec![1, 2, 3, 4]));
        assert_eq!(of("1..32", "*2"), Ok(vec![1, 2, 4, 8, 16, 32]));
        assert_eq!(of("1..30", "*2"), Ok(vec![1, 2, 4, 8, 16]));
        assert_eq!(of("-4..4", "+4"), Ok(vec![-4, 0, 4]));
        assert_eq!(of("7..7", "*10"), Ok(vec![7]));
        assert_eq!(of("9223372036854775806..9223372036854775807", "*3"), Ok(vec![i64::MAX - 1]));
    }

    #[test]
    fn what_is_no_range_says_why() {
        assert_eq!(of("1-4", "+1"), Err("pipe::bad-range"));
        assert_eq!(of("1..x", "+1"), Err("pipe::bad-range"));
        assert_eq!(of("4..1", "+1"), Err("pipe::empty-range"));
        assert_eq!(of("0..8", "*2"), Err("pipe::endless-range"));
        assert_eq!(of("1..8", "*1"), Err("pipe::endless-range"));
        assert_eq!(of("1..8", "+0"), Err("pipe::endless-range"));
        assert_eq!(of("1..8", "2"), Err("pipe::bad-step"));
        assert_eq!(of("1..10000", "+1").map(|values| values.len()), Ok(10_000));
        assert_eq!(of("1..10001", "+1"), Err("pipe::long-range"));
    }
}
