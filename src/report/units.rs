//! Numbers as a person reads them: three significant digits and a unit that fits.

use std::time::Duration;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::measure::metric::Unit;
use crate::measure::stats::Interval;

/// `x` rounded to three significant digits, without exponent: `0.00123`, `12.3`, `1,230`.
pub fn three(x: f64) -> String {
    if !x.is_finite() {
        return "n/a".to_owned();
    }
    let rounded = round3(x);
    if rounded == 0.0 {
        return "0".to_owned();
    }
    let whole = rounded.abs().log10().floor() as i32 + 1;
    let decimals = (3 - whole).clamp(0, 12) as usize;
    let text = format!("{rounded:.decimals$}");
    if whole > 3 { thousands(&text) } else { text }
}

/// Text without control characters, new lines apart: an engine's message may hold escape codes.
pub fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { ' ' } else { c }).collect()
}

/// Columns that text takes in a terminal or in a fixed-width font.
pub fn columns(text: &str) -> usize {
    text.width()
}

/// One line of text cut to so many columns, with `…` where something went.
pub fn cut(text: &str, most: usize) -> String {
    let text = plain(text).replace('\n', " ");
    if text.width() <= most {
        return text;
    }
    let mut short = String::new();
    let mut taken = 1;
    for c in text.chars() {
        taken += c.width().unwrap_or(0);
        if taken > most {
            break;
        }
        short.push(c);
    }
    short + "…"
}

/// A count with a comma between thousands: `2,995`.
pub fn count(n: u64) -> String {
    thousands(&n.to_string())
}

fn thousands(text: &str) -> String {
    let (sign, digits) = text.strip_prefix('-').map_or(("", text), |rest| ("-", rest));
    let mut out = String::from(sign);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `x` rounded to three significant digits.
fn round3(x: f64) -> f64 {
    if x == 0.0 || !x.is_finite() {
        return x;
    }
    let scale = 10f64.powi(2 - x.abs().log10().floor() as i32);
    (x * scale).round() / scale
}

/// Picks the largest unit of which there is at least one, after rounding.
fn scaled(x: f64, units: &[(f64, &str)]) -> String {
    let (size, name) = scale_of(x, units);
    format!("{} {name}", three(x / size))
}

fn scale_of<'a>(x: f64, units: &[(f64, &'a str)]) -> (f64, &'a str) {
    let fits = |(size, _): &&(f64, &str)| round3(x.abs() / size) >= 1.0;
    units.iter().rev().find(fits).or(units.first()).copied().unwrap_or((1.0, ""))
}

const TIMES: [(f64, &str); 4] = [(1.0, "ns"), (1e3, "µs"), (1e6, "ms"), (1e9, "s")];
const SIZES: [(f64, &str); 5] =
    [(1.0, "B"), (1024.0, "KiB"), (1048576.0, "MiB"), (1073741824.0, "GiB"), (1099511627776.0, "TiB")];

/// Nanoseconds: `29.9 ms`.
pub fn time(ns: f64) -> String {
    scaled(ns, &TIMES)
}

/// How long something took, for a person who waited: `820 ms`, `12.3 s`, `4 min 06 s`.
pub fn lasted(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    if seconds < 0.9995 {
        format!("{:.0} ms", seconds * 1e3)
    } else if seconds < 59.95 {
        format!("{seconds:.1} s")
    } else {
        let whole = seconds.round() as u64;
        format!("{} min {:02} s", whole / 60, whole % 60)
    }
}

/// Bytes: `812 MiB`.
pub fn bytes(n: f64) -> String {
    scaled(n, &SIZES)
}

/// A size that somebody chose: `6 GiB`, not `6.00 GiB`.
pub fn size(n: u64) -> String {
    let (unit, name) = scale_of(n as f64, &SIZES);
    if n > 0 && n.is_multiple_of(unit as u64) { format!("{} {name}", n / unit as u64) } else { bytes(n as f64) }
}

/// Energy: `812 mJ`.
pub fn joules(x: f64) -> String {
    match x.abs() {
        x if x >= 1.0 || x == 0.0 => format!("{} J", three(x)),
        x if x >= 1e-3 => format!("{} mJ", three(x * 1e3)),
        x => format!("{} µJ", three(x * 1e6)),
    }
}

/// A raw value of `unit`, with its unit where it has one: a rate's stands in the heading.
pub fn value(x: f64, unit: Unit) -> String {
    match unit {
        Unit::Nanoseconds => time(x),
        Unit::Bytes => bytes(x),
        Unit::PerSecond => three(x),
        Unit::Joules => joules(x),
    }
}

/// `1.4 %`, `< 0.1 %`.
pub fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if percent.abs() >= 0.1 && (percent - percent.round()).abs() < 1e-9 {
        format!("{percent:.0} %")
    } else if percent != 0.0 && percent.abs() < 0.1 {
        "< 0.1 %".to_owned()
    } else if percent.abs() < 10.0 {
        format!("{percent:.1} %")
    } else {
        format!("{percent:.0} %")
    }
}

/// Half the width of an interval beside its middle: `± 0.8 %`.
pub fn plus_minus(interval: Interval, middle: f64) -> String {
    format!("± {}", percent(interval.relative_half_width(middle)))
}

/// `1.43×`.
pub fn ratio(x: f64) -> String {
    format!("{}×", two(x))
}

/// The ends of a ratio's interval: `1.40–1.46`.
pub fn ratio_interval(interval: Interval) -> String {
    format!("{}–{}", two(interval.low), two(interval.high))
}

/// Two decimals, more below a tenth, since 0.04× and 0.01× are far apart.
fn two(x: f64) -> String {
    if x >= 100.0 || (x < 0.1 && x > 0.0) { three(x) } else { format!("{x:.2}") }
}

/// An error: `8.1e-5`, `0.42`, `0`.
pub fn error(x: f64) -> String {
    match x {
        0.0 => "0".to_owned(),
        _ if x.is_finite() && x.abs() >= 0.001 => format!("{}", (x * 1000.0).round() / 1000.0),
        _ => format!("{x:.1e}"),
    }
}

/// A bound as a person wrote it: `0.001`, `1e-7`.
pub fn bound(x: f64) -> String {
    if x != 0.0 && x.abs() < 1e-4 { format!("{x:e}") } else { format!("{x}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digits_and_a_fitting_unit() {
        let times = [1.0, 999.6, 29_912_345.0, 999_900_000.0, 1_234_500_000.0, 123e9].map(time);
        assert_eq!(times, ["1.00 ns", "1.00 µs", "29.9 ms", "1.00 s", "1.23 s", "123 s"]);
        let sizes = [0.0, 512.0, 851_443_712.0, 6_442_450_944.0].map(bytes);
        assert_eq!(sizes, ["0 B", "512 B", "812 MiB", "6.00 GiB"]);
        assert_eq!([0.0, 0.001234, 33.42, 1234.0, 99_999.0].map(three), ["0", "0.00123", "33.4", "1,230", "100,000"]);
        assert_eq!([0.0, 0.0004, 0.014, 0.2].map(percent), ["0.0 %", "< 0.1 %", "1.4 %", "20 %"]);
        assert_eq!([1.434, 0.0123, 250.4].map(ratio), ["1.43×", "0.0123×", "250×"]);
        assert_eq!([0.0, 8.1e-5, 0.42].map(error), ["0", "8.1e-5", "0.42"]);
        assert_eq!([6 << 30, 1_500 << 20].map(size), ["6 GiB", "1.46 GiB"]);
        assert_eq!([0.001, 1e-7].map(bound), ["0.001", "1e-7"]);
        assert_eq!([cut("abcdef", 4), cut("a\nb", 3), cut("模型模型", 5)], ["abc…", "a b", "模型…"]);
        let waits = [0, 820, 999, 1_000, 12_340, 59_940, 59_960, 245_900].map(|ms| lasted(Duration::from_millis(ms)));
        assert_eq!(waits, ["0 ms", "820 ms", "999 ms", "1.0 s", "12.3 s", "59.9 s", "1 min 00 s", "4 min 06 s"]);
    }
}
