//! The fairness ledger in words: what two cells were measured under, and that a verdict was insisted on.

use super::units;
use crate::measure::Comparison;
use crate::measure::ledger::{Held, Ledger, Line, Standing};

/// What a reader calls a fact.
pub fn name(fact: &'static str) -> &'static str {
    match fact {
        "prompt-tokens" => "prompt tokens",
        "new-tokens" => "new tokens",
        "dtype" => "data type",
        "reduced-precision" => "reduced precision",
        "usable-threads" => "threads at once",
        "processors" => "processors seen",
        "quota" => "CPU quota",
        "memory-limit" => "memory limit",
        "simd-used" => "SIMD used",
        "simd" => "SIMD of the processor",
        "huge-pages" => "huge pages",
        other => other,
    }
}

/// The values of one side: `2`, `8 GiB`, `always or madvise`.
pub fn held(values: &[Held]) -> String {
    let one = |value: &Held| match value {
        Held::Text(text) => text.clone(),
        Held::Count(n) => units::count(*n),
        Held::Bytes(n) => units::size(*n),
        Held::Milli(n) => units::bound(*n as f64 / 1000.0),
        Held::Nothing => "none".to_owned(),
    };
    match values {
        [] => "not told".to_owned(),
        values => values.iter().map(one).collect::<Vec<_>>().join(" or "),
    }
}

/// The two cells of a ledger.
pub fn labels<'a>(comparison: &'a Comparison, ledger: &Ledger) -> (&'a str, &'a str) {
    (&comparison.rows[ledger.row].label, &comparison.rows[ledger.against].label)
}

/// `19 equal, 3 by the axes (place), 1 noted`.
pub fn tally(ledger: &Ledger) -> String {
    let all = [Standing::Equal, Standing::OfTheAxes, Standing::Noted, Standing::Beyond];
    let parts = all.into_iter().filter_map(|standing| {
        let n = ledger.of(standing).count();
        let axes = match standing {
            Standing::OfTheAxes if !ledger.axes.is_empty() => format!(" ({})", ledger.axes.join(", ")),
            _ => String::new(),
        };
        (n > 0).then(|| format!("{n} {}{axes}", standing.name()))
    });
    parts.collect::<Vec<_>>().join(", ")
}

/// What came of a pair: `compared`, `compared by force`, `not compared`.
pub fn outcome(ledger: &Ledger) -> &'static str {
    match (ledger.forced, ledger.of(Standing::Beyond).next()) {
        (true, _) => "compared by force",
        (false, Some(_)) => "not comparable",
        (false, None) => "comparable",
    }
}

/// `threads 2 / 4, huge pages always / madvise`.
pub fn differences<'a>(lines: impl Iterator<Item = &'a Line>) -> String {
    let shown = lines.map(|line| format!("{} {} / {}", name(line.fact), held(&line.own), held(&line.other)));
    shown.collect::<Vec<_>>().join(", ")
}

/// The ledgers in sentences: pairs in which nothing but the axes differs together, every other one by itself.
pub fn lines(comparison: &Comparison) -> Vec<String> {
    let differs = |ledger: &&Ledger| ledger.lines.iter().any(|line| line.standing >= Standing::Noted);
    let (uneven, even): (Vec<&Ledger>, Vec<&Ledger>) = comparison.ledgers.iter().partition(differs);
    let pair = |ledger: &Ledger| {
        let (own, other) = labels(comparison, ledger);
        format!("{own} against {other}")
    };
    let mut lines = Vec::new();
    match (even.len(), uneven.is_empty()) {
        (0, _) => {}
        (n, true) => lines.push(format!(
            "Nothing that can move a time differs, but what the compared axes bring, in {} ({}).",
            if n == 1 { "the one pair".to_owned() } else { format!("any of {} pairs", units::count(n as u64)) },
            even.iter().map(|ledger| pair(ledger)).collect::<Vec<_>>().join("; ")
        )),
        (_, false) => lines.push(format!(
            "Nothing but what the compared axes bring differs in {}.",
            even.iter().map(|ledger| pair(ledger)).collect::<Vec<_>>().join("; ")
        )),
    }
    for ledger in uneven {
        let mut text = format!("{}, {}", pair(ledger), outcome(ledger));
        for (standing, word) in [(Standing::Beyond, "beyond the axes"), (Standing::Noted, "noted")] {
            let told = differences(ledger.of(standing));
            if !told.is_empty() {
                text.push_str(&format!("; {word}: {told}"));
            }
        }
        lines.push(text + ".");
    }
    lines
}

/// That verdicts were insisted on, and which; `None` where none was.
pub fn forced(comparison: &Comparison) -> Option<String> {
    let rows = comparison.rows.iter().filter(|row| !row.forced.is_empty());
    let cells: Vec<String> = rows.map(|row| format!("{} ({})", row.label, row.forced.join("; "))).collect();
    (!cells.is_empty()).then(|| {
        format!(
            "Forced: compared with the baseline by --force, though they differ from it in more than the compared \
             axes: {}. Such a speed-up says nothing about the axes alone.",
            cells.join(", ")
        )
    })
}
