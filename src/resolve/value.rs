//! A literal with its unit as a [`Value`], and what to say when the two do not fit.

use std::time::Duration;

use super::kind::Kind;
use super::table::{self, Unit};
use crate::diag::{self, Diagnostic};
use crate::pipeline::Value;
use crate::syntax::{Entry, Literal};

pub use super::table::{MEANINGS, UNIT_NAMES as UNITS};

/// The unit that people mean by another spelling.
pub fn usual_unit(word: &str) -> Option<&'static str> {
    let word = word.to_ascii_lowercase();
    table::UNITS.iter().find(|unit| unit.also.contains(&word.as_str())).map(|unit| unit.name)
}

/// The word that people mean by another, among those that a setting takes.
pub fn usual_choice(word: &str) -> Option<&'static str> {
    Some(match word.to_ascii_lowercase().as_str() {
        "arm64" | "armv8" | "arm" => "aarch64",
        "amd64" | "x64" | "x86-64" | "intel" => "x86_64",
        "darwin" | "mac" | "osx" | "apple" => "macos",
        "gnu/linux" | "ubuntu" | "debian" | "fedora" => "linux",
        _ => return None,
    })
}

/// The value of a literal that has no annotation, or a unit; `what` names it in a message.
pub fn literal(entry: &Entry, kind: Kind, what: &str) -> Result<Value, Diagnostic> {
    match entry.annotated() {
        None => plain(entry, kind, what),
        Some(word) => match table::unit(word) {
            Some(unit) => with_unit(entry, unit, kind, what),
            None => Err(wrong_type(entry, kind, what)),
        },
    }
}

/// The kind of a literal by its looks.
pub fn kind_of(entry: &Entry) -> Option<Kind> {
    if let Some(unit) = entry.annotated().and_then(table::unit) {
        return Some(unit.kind);
    }
    Some(match (entry.annotated(), &entry.literal) {
        // A secret stands where a file could.
        (Some("file" | "secret"), _) => Kind::File,
        (Some("step"), _) => Kind::Step,
        (Some(_), _) => return None,
        (None, Literal::Text(_)) => Kind::Text,
        (None, Literal::Integer(_)) => Kind::Int,
        (None, Literal::Float(_)) => Kind::Float,
        (None, Literal::Bool(_)) => Kind::Bool,
        (None, Literal::Null) => return None,
    })
}

fn plain(entry: &Entry, kind: Kind, what: &str) -> Result<Value, Diagnostic> {
    let free = matches!(kind, Kind::Plain | Kind::Points | Kind::Arg | Kind::Any);
    match (&entry.literal, kind) {
        (Literal::Text(text), Kind::Text) => Ok(Value::Text(text.clone())),
        (Literal::Integer(n), Kind::Int) => Ok(Value::Integer(*n)),
        (Literal::Integer(n), Kind::Float) => Ok(Value::Float(*n as f64)),
        (Literal::Float(x), Kind::Float) => Ok(Value::Float(*x)),
        (Literal::Bool(b), Kind::Bool) => Ok(Value::Bool(*b)),
        (Literal::Text(text), _) if free => Ok(Value::Text(text.clone())),
        (Literal::Integer(n), _) if free => Ok(Value::Integer(*n)),
        (Literal::Float(x), _) if free => Ok(Value::Float(*x)),
        (Literal::Bool(b), _) if free => Ok(Value::Bool(*b)),
        (Literal::Integer(_) | Literal::Float(_), Kind::Size | Kind::Time | Kind::Percent) => {
            let number = number_text(&entry.literal);
            let fault =
                Diagnostic::error("pipe::missing-unit", format!("{what} is {}, which needs a unit", kind.describe()));
            let written: Vec<String> = kind.units().iter().map(|unit| format!("({unit}){number}")).collect();
            Err(fault.at(entry.at, "a plain number").help(format!("write one of {}", diag::list(&written))))
        }
        _ => Err(wrong_type(entry, kind, what)),
    }
}

fn with_unit(entry: &Entry, unit: &Unit, kind: Kind, what: &str) -> Result<Value, Diagnostic> {
    let Unit { name: unit, kind: made, factor, .. } = *unit;
    let number = match &entry.literal {
        Literal::Integer(n) => *n as f64,
        Literal::Float(x) => *x,
        _ => {
            let message = format!("the unit `{unit}` stands before a number");
            let fault = Diagnostic::error("pipe::unit-without-number", message);
            let found = entry.literal.describe();
            return Err(fault
                .at(entry.at, format!("this is {found}"))
                .help(format!("write `({unit}){}`", digits(entry))));
        }
    };
    if !kind.accepts(made) {
        let at = entry.annotation.as_ref().map_or(entry.at, |word| word.at);
        let fault = Diagnostic::error(
            "pipe::wrong-unit",
            format!("{what} is {}; `{unit}` is a unit of {}", kind.describe(), quantity(made)),
        );
        return Err(fault.at(at, "this unit does not fit").help(fitting(kind, &entry.literal)));
    }
    if number < 0.0 {
        let fault = Diagnostic::error("pipe::negative-quantity", format!("{what} is below zero"));
        return Err(fault.at(entry.at, "here").help("write a number that is not negative"));
    }
    let value = quantity_of(made, number, factor);
    value.ok_or_else(|| {
        let fault = Diagnostic::error("pipe::number-too-large", format!("{what} is too large"));
        fault.at(entry.at, "here").help("write a smaller number")
    })
}

fn bytes(n: f64) -> Option<Value> {
    (n < u64::MAX as f64).then_some(Value::Bytes(n as u64))
}

fn time(seconds: f64) -> Option<Value> {
    Duration::try_from_secs_f64(seconds).ok().map(Value::Time)
}

/// The number that a text holds, or one for an example.
fn digits(entry: &Entry) -> &str {
    entry.text().filter(|text| text.parse::<f64>().is_ok_and(f64::is_finite)).unwrap_or("4")
}

/// A number of some unit as the value that it makes.
fn quantity_of(kind: Kind, number: f64, factor: f64) -> Option<Value> {
    match kind {
        Kind::Size => bytes(number * factor),
        Kind::Time => time(number * factor),
        // Not times a hundredth, which is no binary number.
        _ => Some(Value::Float(number / 100.0)),
    }
}

fn quantity(kind: Kind) -> &'static str {
    match kind {
        Kind::Size => "sizes",
        Kind::Time => "time",
        _ => "percentages",
    }
}

fn number_text(literal: &Literal) -> String {
    match literal {
        Literal::Integer(n) => n.to_string(),
        Literal::Float(x) => x.to_string(),
        _ => "1".to_owned(),
    }
}

fn fitting(kind: Kind, literal: &Literal) -> String {
    match kind.units().as_slice() {
        [] => format!("write it without a unit, as `{}`", kind.example()),
        units => {
            let number = number_text(literal);
            let written: Vec<String> = units.iter().map(|unit| format!("({unit}){number}")).collect();
            format!("write one of {}", diag::list(&written))
        }
    }
}

/// "`x` is a whole number; this is a string".
pub fn wrong_type(entry: &Entry, kind: Kind, what: &str) -> Diagnostic {
    let found = match entry.annotated() {
        Some("step") => "a step",
        Some("cells") => "cells of a step",
        Some("range") => "a range",
        Some("file") => "a file",
        Some("output") => "a path in the output",
        Some("builtin") => "something built in",
        Some("secret") => "a secret",
        _ => entry.literal.describe(),
    };
    let fault = Diagnostic::error("pipe::wrong-type", format!("{what} is {}, but {found} is given", kind.describe()));
    fault.at(entry.at, format!("this is {found}")).help(mend(entry, kind))
}

/// The nearest thing of the right kind to what was written.
fn mend(entry: &Entry, kind: Kind) -> String {
    let written = match (&entry.literal, kind) {
        (Literal::Text(text), Kind::Int) if text.parse::<i64>().is_ok() => Some(text.clone()),
        (Literal::Text(text), Kind::Float) if text.parse::<f64>().is_ok_and(f64::is_finite) => Some(text.clone()),
        (Literal::Text(text), Kind::Bool) if text == "true" || text == "false" => Some(format!("#{text}")),
        (Literal::Text(text), Kind::Step | Kind::Cells) => Some(format!("(step)\"{text}\"")),
        (Literal::Text(text), Kind::Input | Kind::Inputs) => Some(format!("(step)\"{text}\"` or `(file)\"{text}\"")),
        (Literal::Text(text), Kind::File) => Some(format!("(file)\"{text}\"")),
        (Literal::Integer(n), Kind::Text) => Some(format!("\"{n}\"")),
        (Literal::Float(x), Kind::Text) => Some(format!("\"{x}\"")),
        (Literal::Bool(b), Kind::Text) => Some(format!("\"{b}\"")),
        _ => None,
    };
    match written {
        Some(written) => format!("write `{written}`"),
        None => format!("write {}, as `{}`", kind.describe(), kind.example()),
    }
}

/// A value from the command line: `128`, `6GiB`, `(GiB)6`, `30s`, `2percent`, `true`.
pub fn from_flag(text: &str, kind: Kind) -> Option<Value> {
    let (number, unit) = split_unit(text);
    let scaled = || {
        let unit = table::unit(if unit == "%" { "percent" } else { unit }).filter(|unit| unit.kind == kind)?;
        let n: f64 = number.parse().ok()?;
        (n.is_finite() && n >= 0.0).then(|| quantity_of(kind, n, unit.factor))?
    };
    match kind {
        Kind::Text => Some(Value::Text(text.to_owned())),
        Kind::Int => text.parse().ok().map(Value::Integer),
        Kind::Float => text.parse::<f64>().ok().filter(|x| x.is_finite()).map(Value::Float),
        Kind::Bool => match text.trim_start_matches('#') {
            "true" => Some(Value::Bool(true)),
            "false" => Some(Value::Bool(false)),
            _ => None,
        },
        Kind::Size | Kind::Time | Kind::Percent => scaled(),
        _ => None,
    }
}

fn split_unit(text: &str) -> (&str, &str) {
    if let Some((unit, number)) = text.strip_prefix('(').and_then(|rest| rest.split_once(')')) {
        return (number, unit);
    }
    let end = text.find(|c: char| c.is_alphabetic() || c == '%').unwrap_or(text.len());
    text.split_at(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_take_units_in_both_spellings() {
        assert_eq!(from_flag("6GiB", Kind::Size), Some(Value::Bytes(6 << 30)));
        assert_eq!(from_flag("(GiB)6", Kind::Size), Some(Value::Bytes(6 << 30)));
        assert_eq!(from_flag("6", Kind::Size), None);
        assert_eq!(from_flag("2percent", Kind::Percent), Some(Value::Float(0.02)));
        assert_eq!(from_flag("nan", Kind::Float), None);
        assert_eq!(from_flag("#true", Kind::Bool), Some(Value::Bool(true)));
    }
}
