//! Small helpers for SVG that we write ourselves: numbers, escapes and text that fits.

/// Width of one character of the fixed-width font at 12 pixels.
pub const CHARACTER: f64 = 7.25;

/// A coordinate with one decimal: short, and the same on every machine.
pub fn at(x: f64) -> String {
    let text = format!("{:.1}", if x.is_finite() { x } else { 0.0 });
    match text.strip_suffix(".0") {
        Some("-0") => "0".to_owned(),
        Some(whole) => whole.to_owned(),
        None => text,
    }
}

/// Text for an element or an attribute; control characters, which XML forbids, become spaces.
pub fn escaped(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

/// Cuts at a number of characters, with `…` where something went.
pub fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(most.saturating_sub(1)).collect();
    short.push('…');
    short
}

/// Round numbers that divide `0..=most` into at most `parts` parts.
pub fn ticks(least: f64, most: f64, parts: usize) -> Vec<f64> {
    let span = most - least;
    if !span.is_finite() || span <= 0.0 || parts == 0 {
        return vec![least];
    }
    let rough = span / parts as f64;
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|m| m * power).into_iter().find(|s| *s >= rough).unwrap_or(rough);
    let first = (least / step).ceil() as i64;
    let last = (most / step + 1e-9).floor() as i64;
    (first..=last).map(|i| i as f64 * step).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_text_and_ticks() {
        assert_eq!([1.0, 2.25, -0.01, f64::NAN].map(at), ["1", "2.2", "0", "0"]);
        assert_eq!(escaped("<a \"&\u{1b}>"), "&lt;a &quot;&amp; &gt;");
        assert_eq!(cut("abcdef", 4), "abc…");
        assert_eq!(ticks(0.0, 34.0, 5), [0.0, 10.0, 20.0, 30.0]);
        assert_eq!(ticks(20.0, 24.7, 5), [20.0, 21.0, 22.0, 23.0, 24.0]);
    }
}
