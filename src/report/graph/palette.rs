//! Colours and signs of states, for both pictures: light and dark, and never by colour alone.
//!
//! A test computes every contrast: text has at least 4.5 to 1 on what it stands on, lines and signs 3 to 1
//! (WCAG 2.2, success criteria 1.4.3 and 1.4.11).

use std::fmt::Write;

use super::NodeState;

/// A name, and its colours in light and in dark.
type Colour = (&'static str, &'static str, &'static str);

const INK: Colour = ("ink", "#1b2230", "#e6e9ef");
const SOFT: Colour = ("soft", "#4a5464", "#aeb7c5");
const PAPER: Colour = ("paper", "#ffffff", "#14181e");
/// Lines between nodes.
const LINE: Colour = ("line", "#8590a1", "#6d788a");
/// What is chosen.
const ACCENT: Colour = ("accent", "#1f5fc4", "#8ab6ff");

/// Fill and line of each kind of state.
const STATES: [(Colour, Colour); 6] = [
    (("plain", "#f7f8fa", "#1b2028"), ("plain-l", "#7d8795", "#8a94a3")),
    (("cached", "#e2f5e7", "#17301f"), ("cached-l", "#2c8047", "#4fae6d")),
    (("runs", "#fff0d1", "#382a0c"), ("runs-l", "#a06400", "#e0a030")),
    (("depends", "#e1edfc", "#152a45"), ("depends-l", "#2f6fc4", "#6aa5ee")),
    (("off", "#f1f2f5", "#22272f"), ("off-l", "#747e8c", "#8a94a3")),
    (("failed", "#fde3e3", "#3b1a1a"), ("failed-l", "#c63434", "#ee7070")),
];

/// The class of each state that has colours of its own, and their names.
const CLASSES: [(&str, &str); 8] = [
    ("cached", "cached"),
    ("runs", "runs"),
    ("depends", "depends"),
    ("failed", "failed"),
    ("unavailable", "off"),
    ("excluded", "off"),
    ("not-needed", "off"),
    ("not-selected", "off"),
];

/// The style sheet of a picture; everything in it is below `.pg`.
pub fn style() -> String {
    let mut out = String::new();
    let colours = || {
        let states = STATES.iter().flat_map(|(fill, line)| [fill, line]);
        [INK, SOFT, PAPER, LINE, ACCENT].into_iter().chain(states.copied())
    };
    let list = |dark: bool| -> String {
        let value = |(name, light, night): Colour| format!("--{name}:{};", if dark { night } else { light });
        colours().map(value).collect()
    };
    // Writing to a string can't fail.
    let _ = write!(out, ".pg{{{}}}@media(prefers-color-scheme:dark){{.pg{{{}}}}}", list(false), list(true));
    // Paper is light.
    let _ = write!(out, "@media print{{.pg{{{}}}}}", list(false));
    out.push_str(concat!(
        ".pg{font:12px ui-monospace,SFMono-Regular,Menlo,Consolas,\"DejaVu Sans Mono\",monospace}",
        ".pg text{fill:var(--ink);white-space:pre}.pg .t{font-weight:600}.pg .s{fill:var(--soft);font-size:11px}",
        ".pg .e{fill:none;stroke:var(--line);stroke-width:1.3}.pg .a{fill:var(--line)}.pg .o{opacity:.5}",
        ".pg .box{stroke-width:1.4;fill:var(--f,var(--plain));stroke:var(--l,var(--plain-l))}",
        ".pg .focus .box{stroke-width:3}.pg .i{fill:none;stroke:var(--l,var(--plain-l));stroke-width:1.9}",
        ".pg .i.runs{fill:var(--l);stroke:none}",
    ));
    for (class, colour) in CLASSES {
        let _ = write!(out, ".pg .{class}{{--f:var(--{colour});--l:var(--{colour}-l)}}");
    }
    for (class, _) in CLASSES.iter().filter(|(_, colour)| *colour == "off") {
        let _ = write!(out, ".pg .{class}>.box{{stroke-dasharray:4 3}}");
    }
    out
}

/// A small drawing for a state, around (0, 0), 9 wide and high; nothing for a state of which nothing is said.
pub fn sign(state: &NodeState) -> Option<&'static str> {
    Some(match state {
        NodeState::Cached => "M-4.5.5L-1.5 3.5L4.5-3.5",
        NodeState::Runs(_) => "M-3.5-4.5L4.5 0L-3.5 4.5Z",
        NodeState::DependsOn(_) => "M0-4.5L4.5 0L0 4.5L-4.5 0Z",
        NodeState::Failed(_) => "M-3.5-3.5L3.5 3.5M3.5-3.5L-3.5 3.5",
        NodeState::Unavailable(_) => "M4.3 0A4.3 4.3 0 1 1-4.3 0A4.3 4.3 0 1 1 4.3 0M-3 3L3-3",
        NodeState::Excluded(_) => "M-4.5-2H4.5M-4.5 2H4.5",
        NodeState::NotNeeded => "M-4.5 0H4.5",
        NodeState::NotSelected => "M3.5 0A3.5 3.5 0 1 1-3.5 0A3.5 3.5 0 1 1 3.5 0",
        NodeState::Plain => return None,
    })
}

/// The states of a legend, each with its words, in the order in which they are listed.
pub fn legend() -> [(NodeState, &'static str); 8] {
    let none = String::new;
    [
        (NodeState::Cached, "cached"),
        (NodeState::Runs(none()), "runs"),
        (NodeState::DependsOn(none()), "depends on another's bytes"),
        (NodeState::Failed(none()), "failed"),
        (NodeState::Unavailable(none()), "unavailable on this host"),
        (NodeState::Excluded(none()), "excluded"),
        (NodeState::NotNeeded, "not needed"),
        (NodeState::NotSelected, "not selected"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Relative luminance of `#rrggbb`, as WCAG 2.2 defines it.
    fn luminance(colour: &str) -> f64 {
        let channel = |at: usize| {
            let c = f64::from(u8::from_str_radix(&colour[at..at + 2], 16).expect("two hex digits")) / 255.0;
            if c <= 0.04045 { c / 12.92 } else { ((c + 0.055) / 1.055).powf(2.4) }
        };
        0.2126 * channel(1) + 0.7152 * channel(3) + 0.0722 * channel(5)
    }

    fn contrast(a: &str, b: &str) -> f64 {
        let (a, b) = (luminance(a), luminance(b));
        (a.max(b) + 0.05) / (a.min(b) + 0.05)
    }

    #[test]
    fn every_text_and_line_can_be_seen_in_light_and_in_dark() {
        assert!((contrast("#ffffff", "#000000") - 21.0).abs() < 1e-9);
        for pick in [|c: Colour| c.1, |c: Colour| c.2] {
            let fills = STATES.iter().map(|(fill, _)| pick(*fill)).chain([pick(PAPER)]);
            for fill in fills {
                assert!(contrast(pick(INK), fill) >= 7.0, "ink on {fill}");
                assert!(contrast(pick(SOFT), fill) >= 4.5, "soft on {fill}: {}", contrast(pick(SOFT), fill));
                assert!(contrast(pick(ACCENT), fill) >= 3.0, "accent on {fill}");
            }
            for (fill, line) in STATES {
                for under in [pick(fill), pick(PAPER)] {
                    assert!(contrast(pick(line), under) >= 3.0, "{line:?} on {under}");
                }
            }
            assert!(contrast(pick(LINE), pick(PAPER)) >= 3.0);
        }
    }

    #[test]
    fn no_two_states_share_a_sign() {
        let mut signs: Vec<_> = legend().iter().map(|(state, _)| sign(state)).collect();
        signs.sort_unstable();
        signs.dedup();
        assert_eq!(signs.len(), legend().len());
        assert!(!signs.contains(&None));
    }
}
