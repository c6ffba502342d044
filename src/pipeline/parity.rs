//! How far the outputs of a cell may be from the reference's: the one list of bounds.
//!
//! The language takes its settings of `parity` from it, keys their leaves, and `measure` and the reports what they
//! judge and show. How a figure is made is not known here.

use serde::{Deserialize, Serialize};

use super::{CellPattern, Input, Spanned, StepId};

/// The gate on outputs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Parity {
    pub reference: Spanned<CellPattern>,
    /// What holds for every output.
    pub limits: Vec<Limit>,
    /// How many of the best values of a row are looked at; [`TOP_K`] where nobody says.
    pub top_k: Option<Spanned<u32>>,
    /// What holds for single outputs in place of that.
    pub outputs: Vec<OutputRule>,
    pub calibrated: Option<Calibrated>,
}

/// `tolerance="calibrated"`: the limit of the absolute error is `k` × how far the reference's own outputs are from exact
/// ones.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Calibrated {
    /// A folder with the outputs of the same model in `fp64`.
    pub exact: Spanned<Input>,
    pub k: Spanned<f64>,
}

/// What `tolerance` can be.
pub const TOLERANCES: &[&str] = &["calibrated"];

/// The `k` of a calibrated tolerance where nobody says.
pub const TIMES: f64 = 4.0;

impl Parity {
    /// The step that makes the exact outputs, where one does.
    pub fn exact_step(&self) -> Option<StepId> {
        match self.calibrated.as_ref()?.exact.value {
            Input::Step { step, .. } => Some(step),
            _ => None,
        }
    }
}

/// A bound, and its value.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Limit {
    pub bound: Bound,
    pub limit: Spanned<f64>,
}

/// `output "boxes" max-abs=0.5`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct OutputRule {
    pub name: Spanned<String>,
    /// It is not compared at all.
    pub ignore: Spanned<bool>,
    /// Each stands in for the same bound of all outputs.
    pub limits: Vec<Limit>,
}

/// How many of the best values are looked at where nobody says.
pub const TOP_K: u32 = 5;

/// A figure of parity that can have a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Bound {
    /// The largest absolute error of a value.
    MaxAbs,
    /// The same as a part of the reference's largest magnitude: of the position of a language model, else of the output.
    MaxRel,
    /// The largest distance in representable numbers of the narrower type.
    MaxUlp,
    /// The least cosine of the angle between the two, of each position or item.
    MinCosine,
    /// The share of the reference's best values that are among the cell's.
    MinTopK,
    /// Of a language model: how many positions from the first on prefer the same token.
    MinGreedyPrefix,
}

impl Bound {
    /// All of them, in the order of reports.
    pub const ALL: [Bound; 6] =
        [Bound::MaxAbs, Bound::MaxRel, Bound::MaxUlp, Bound::MinCosine, Bound::MinTopK, Bound::MinGreedyPrefix];

    /// The name of the setting.
    pub const fn name(self) -> &'static str {
        match self {
            Bound::MaxAbs => "max-abs",
            Bound::MaxRel => "max-rel",
            Bound::MaxUlp => "max-ulp",
            Bound::MinCosine => "min-cosine",
            Bound::MinTopK => "min-top-k",
            Bound::MinGreedyPrefix => "min-greedy-prefix",
        }
    }

    /// What reports call the figure.
    pub const fn title(self) -> &'static str {
        match self {
            Bound::MaxAbs => "absolute error",
            Bound::MaxRel => "relative error",
            Bound::MaxUlp => "distance",
            Bound::MinCosine => "cosine",
            Bound::MinTopK => "top-k agreement",
            Bound::MinGreedyPrefix => "greedy prefix",
        }
    }

    /// True for figures that must not be less than their limit; the others must not be more.
    pub const fn is_least(self) -> bool {
        matches!(self, Bound::MinCosine | Bound::MinTopK | Bound::MinGreedyPrefix)
    }

    /// True where a value is within the limit. What is no number never is.
    pub fn holds(self, value: f64, limit: f64) -> bool {
        if self.is_least() { value >= limit } else { value <= limit }
    }

    /// A value as a sentence has it: `4.20e-1`, `1200 ULP`, `0.99998`, `97.5 %`, `12`.
    pub fn show(self, value: f64) -> String {
        match self {
            Bound::MaxAbs | Bound::MaxRel => format!("{value:.2e}"),
            Bound::MaxUlp => format!("{} ULP", ulp(value)),
            Bound::MinCosine => cosine(value),
            Bound::MinTopK => format!("{} %", (value * 1e3).round() / 10.0),
            Bound::MinGreedyPrefix => value.to_string(),
        }
    }

    /// A limit as a person wrote it.
    pub fn show_limit(self, limit: f64) -> String {
        match self {
            Bound::MaxAbs | Bound::MaxRel => format!("{limit:e}"),
            Bound::MaxUlp => format!("{limit} ULP"),
            Bound::MinCosine => limit.to_string(),
            Bound::MinTopK | Bound::MinGreedyPrefix => self.show(limit),
        }
    }

    /// The bound of this name.
    pub fn parse(name: &str) -> Option<Bound> {
        Bound::ALL.into_iter().find(|bound| bound.name() == name)
    }
}

/// `0.5`, `12`, `1.2e9`.
pub fn ulp(value: f64) -> String {
    match value {
        _ if value >= 1e6 => format!("{value:.1e}"),
        _ if value >= 10.0 => format!("{value:.0}"),
        _ => format!("{}", (value * 100.0).round() / 100.0),
    }
}

/// As many digits as tell it from 1, and one more: `0.99998`, `0.9999999997`.
pub fn cosine(value: f64) -> String {
    let off = 1.0 - value;
    let digits = if off > 0.0 && off < 1.0 { (1.0 - off.log10().floor()) as usize } else { 1 };
    let text = format!("{value:.digits$}", digits = digits.clamp(3, 16));
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "1" && value < 1.0 { format!("{value}") } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_as_many_digits_as_say_something() {
        assert_eq!(
            [1.0, 0.99998, 1.0 - 3.04e-10, 0.5, 0.0, -1.0].map(cosine),
            ["1", "0.99998", "0.9999999997", "0.5", "0", "-1"]
        );
        assert_eq!([0.0, 0.504, 12.4, 123456.0, 1.23e9].map(ulp), ["0", "0.5", "12", "123456", "1.2e9"]);
        assert_eq!(Bound::MinTopK.show(0.97512), "97.5 %");
    }

    #[test]
    fn names_are_read_back_and_what_is_no_number_holds_nothing() {
        for bound in Bound::ALL {
            assert_eq!(Bound::parse(bound.name()), Some(bound));
            assert!(!bound.holds(f64::NAN, 1.0) && !bound.holds(0.5, f64::NAN) && bound.holds(0.5, 0.5), "{bound:?}");
            assert_eq!(bound.holds(0.4, 0.5), !bound.is_least(), "{bound:?}");
        }
    }
}
