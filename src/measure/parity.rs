//! How far the outputs of two cells are apart, and whether that is within the tolerance.
//!
//! Outputs are the files that engines write, by name: tensors of any shape and, of a language model, `logits.npy` with
//! positions × vocabulary. All of a model's outputs are compared, and all figures are found of each, whatever has a
//! limit. What can't be compared fails with a kind of its own.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use pipe_engine::message::Dtype;

use super::apart::{How, apart};
use super::npy::{self, Array};
use super::tokens::Tokens;
use super::tolerance::{Breach, Noise, Tolerance};
use super::ulp::Grain;

/// Files of outputs, by name.
pub type Files<'a> = BTreeMap<String, Cow<'a, [u8]>>;

/// What engines call the output of a language model.
pub const LOGITS: &str = "logits.npy";

/// Whose outputs those of the reference are, in words.
pub const REFERENCE: &str = "the reference";

/// Whose outputs those of a cell are, in words.
pub const CELL: &str = "this cell";

/// The outputs of a cell.
#[derive(Debug, Clone, Copy)]
pub struct Side<'a> {
    /// Whose they are, in words: `this cell`.
    pub whose: &'a str,
    pub files: &'a Files<'a>,
    /// The data type of its weights and arithmetic.
    pub dtype: Dtype,
    /// True for the sequences of a language model.
    pub is_sequence: bool,
}

/// The result of one comparison.
#[derive(Debug, Clone, PartialEq)]
pub struct ParityResult {
    /// `None` where the files could not be compared at all; the verdict says why.
    pub figures: Option<ParityFigures>,
    pub verdict: ParityVerdict,
}

/// Whether the gate lets a cell through.
#[derive(Debug, Clone, PartialEq)]
pub enum ParityVerdict {
    Pass,
    /// Figures are beyond their limits.
    Beyond(Vec<Breach>),
    /// The outputs can't be compared, or not be judged as asked.
    Odd(Fault),
    /// Nothing that can be judged is beyond its limit, and the calibrated limit is not known.
    Uncalibrated(String),
}

/// Why outputs can't be compared or judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub kind: FaultKind,
    pub text: String,
}

/// What is odd about outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FaultKind {
    /// A file is no array.
    Unreadable,
    /// The reference has no outputs, or a language model no positions.
    Nothing,
    /// The cell lacks an output of the reference.
    Missing,
    /// The cell has an output that the reference lacks.
    Extra,
    /// An output has another shape than the reference's.
    Shape,
    /// A NaN or an infinity.
    NotFinite,
    /// There is a limit for an output that nobody has.
    NoSuchOutput,
    /// There is a limit for a figure that these outputs don't have.
    NotJudgeable,
}

impl FaultKind {
    /// All of them.
    pub const ALL: [FaultKind; 8] = [
        FaultKind::Unreadable,
        FaultKind::Nothing,
        FaultKind::Missing,
        FaultKind::Extra,
        FaultKind::Shape,
        FaultKind::NotFinite,
        FaultKind::NoSuchOutput,
        FaultKind::NotJudgeable,
    ];

    /// The name in records and reports.
    pub fn name(self) -> &'static str {
        match self {
            FaultKind::Unreadable => "unreadable",
            FaultKind::Nothing => "nothing",
            FaultKind::Missing => "missing-output",
            FaultKind::Extra => "extra-output",
            FaultKind::Shape => "shape",
            FaultKind::NotFinite => "not-finite",
            FaultKind::NoSuchOutput => "no-such-output",
            FaultKind::NotJudgeable => "not-judgeable",
        }
    }
}

/// What was found: of each output, and of a language model what its tokens say.
#[derive(Debug, Clone, PartialEq)]
pub struct ParityFigures {
    pub outputs: Vec<OutputFigures>,
    pub tokens: Option<TokenFigures>,
}

/// How far one output is apart.
#[derive(Debug, Clone, PartialEq)]
pub struct OutputFigures {
    /// Without its `.npy`.
    pub name: String,
    pub shape: Vec<u64>,
    pub values: u64,
    pub max_abs: Worst,
    pub max_rel: Worst,
    pub mean_abs: f64,
    /// In representable numbers of this grain.
    pub max_ulp: Worst,
    pub grain: Grain,
    /// The least of all positions or items.
    pub cosine: Worst,
    /// `None` where rows have no more than k values.
    pub top_k: Option<TopK>,
}

/// The worst value of a figure, and where in the output it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Worst {
    pub value: f64,
    pub at: Vec<u64>,
}

/// The share of the reference's k best values that are among the cell's, over all rows; and the row with the least.
#[derive(Debug, Clone, PartialEq)]
pub struct TopK {
    pub k: u32,
    pub share: f64,
    pub at: Vec<u64>,
}

/// What the logits of two cells say of tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct TokenFigures {
    /// Rows: tokens after which the model spoke.
    pub positions: u64,
    pub vocabulary: u64,
    /// Positions at which both prefer the same token.
    pub top1: Agreement,
    /// The same, only of positions where the reference's best leads its second by more than 10 × the tolerance:
    /// a closer call may flip without an error. None, where no tolerance says how far a logit may be off.
    pub top1_clear: Agreement,
    /// The first clear position at which the cell prefers another token.
    pub first_clear_miss: Option<u64>,
    /// How many positions from the first on prefer the same token.
    pub greedy_prefix: u64,
}

/// So many of so many.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Agreement {
    pub agree: u64,
    pub of: u64,
}

impl Agreement {
    /// The share; 1 of none, since none disagrees.
    pub fn share(self) -> f64 {
        if self.of == 0 { 1.0 } else { self.agree as f64 / self.of as f64 }
    }
}

impl ParityFigures {
    fn largest(&self, of: impl Fn(&OutputFigures) -> f64) -> f64 {
        self.outputs.iter().map(of).fold(0.0, f64::max)
    }

    /// The largest absolute error of all outputs.
    pub fn max_abs(&self) -> f64 {
        self.largest(|output| output.max_abs.value)
    }

    /// The largest relative error of all outputs.
    pub fn max_rel(&self) -> f64 {
        self.largest(|output| output.max_rel.value)
    }

    /// The mean absolute error of all values.
    pub fn mean_abs(&self) -> f64 {
        let values: u64 = self.outputs.iter().map(|output| output.values).sum();
        let sum: f64 = self.outputs.iter().map(|output| output.mean_abs * output.values as f64).sum();
        if values == 0 { 0.0 } else { sum / values as f64 }
    }

    /// The largest distance in ULP of all outputs.
    pub fn max_ulp(&self) -> f64 {
        self.largest(|output| output.max_ulp.value)
    }

    /// The least cosine of all outputs.
    pub fn cosine(&self) -> f64 {
        self.outputs.iter().map(|output| output.cosine.value).fold(1.0, f64::min)
    }

    /// The least top-k agreement of all outputs that have one, and its k.
    pub fn top_k(&self) -> Option<&TopK> {
        let all = self.outputs.iter().filter_map(|output| output.top_k.as_ref());
        all.min_by(|a, b| a.share.total_cmp(&b.share))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Compares all outputs of a cell with the reference's.
pub fn parity(reference: Side<'_>, own: Side<'_>, tolerance: &Tolerance) -> ParityResult {
    let figures = match figures(reference, own, tolerance) {
        Ok(figures) => figures,
        Err(fault) => return ParityResult { figures: None, verdict: ParityVerdict::Odd(fault) },
    };
    let verdict = match tolerance.judge(&figures) {
        Ok(breaches) if breaches.is_empty() => match tolerance.uncalibrated() {
            None => ParityVerdict::Pass,
            Some(why) => ParityVerdict::Uncalibrated(why.to_owned()),
        },
        Ok(breaches) => ParityVerdict::Beyond(breaches),
        Err(fault) => ParityVerdict::Odd(fault),
    };
    ParityResult { figures: Some(figures), verdict }
}

/// How far the reference's own outputs are from exact ones: of each output the largest absolute error. That is the noise
/// of its arithmetic, which another cell may have in another way.
pub fn noise(reference: Side<'_>, exact: Side<'_>, tolerance: &Tolerance) -> Noise {
    let found = figures(reference, exact, tolerance).map_err(|fault| fault.text)?;
    let noise: Vec<(String, f64)> = found.outputs.into_iter().map(|o| (o.name, o.max_abs.value)).collect();
    match noise.iter().find(|(_, noise)| !noise.is_finite()) {
        Some((name, _)) => Err(format!("{}'s output `{name}` is beyond all bounds", reference.whose)),
        None => Ok(noise),
    }
}

/// The figures alone, of all outputs that are not ignored.
pub fn figures(reference: Side<'_>, own: Side<'_>, tolerance: &Tolerance) -> Result<ParityFigures, Fault> {
    let name = |file: &str| file.strip_suffix(".npy").unwrap_or(file).to_owned();
    let odd = |kind: FaultKind, text: String| Err(Fault { kind, text });
    let ignored = |file: &str| tolerance.ignores(&name(file));
    if let Some(file) = own.files.keys().find(|file| !reference.files.contains_key(*file) && !ignored(file)) {
        return odd(FaultKind::Extra, format!("{} has no output `{}`", reference.whose, name(file)));
    }
    let mut found = ParityFigures { outputs: Vec::new(), tokens: None };
    for (file, bytes) in reference.files.iter().filter(|(file, _)| !ignored(file)) {
        let name = name(file);
        let Some(other) = own.files.get(file) else {
            return odd(FaultKind::Missing, format!("{} has no output `{name}`", own.whose));
        };
        let (a, b) = (read(bytes, reference.whose, &name)?, read(other, own.whose, &name)?);
        if a.shape != b.shape {
            let (ours, theirs) = (shape(&b.shape), shape(&a.shape));
            let text = format!("{}'s output `{name}` has the shape {ours}, {}'s {theirs}", own.whose, reference.whose);
            return odd(FaultKind::Shape, text);
        }
        let positions = own.is_sequence && file == LOGITS;
        if positions && (a.shape.len() != 2 || a.data.is_empty()) {
            let text = format!("logits have positions and a vocabulary, and these the shape {}", shape(&a.shape));
            return odd(FaultKind::Nothing, text);
        }
        let grain = Grain::narrowest([a.element, b.element], [reference.dtype, own.dtype]);
        let how = How { positions, grain, top_k: tolerance.top_k, whose: [reference.whose, own.whose] };
        let mut tokens = Tokens::default();
        let figures = apart(&name, &a, &b, how, |left, right| {
            if positions {
                let scale = left.iter().fold(0.0, |scale: f64, value| scale.max(value.abs()));
                tokens.see(left, right, tolerance.absolute(&name, scale));
            }
        })?;
        found.outputs.push(figures);
        found.tokens = if positions { Some(tokens.end()) } else { found.tokens };
    }
    match found.outputs.is_empty() {
        true => odd(FaultKind::Nothing, format!("{} has no outputs to compare", reference.whose)),
        false => Ok(found),
    }
}

fn read<'a>(bytes: &'a [u8], whose: &str, name: &str) -> Result<Array<'a>, Fault> {
    let unreadable = |error| Fault { kind: FaultKind::Unreadable, text: format!("{whose}'s output `{name}`: {error}") };
    npy::read(bytes).map_err(unreadable)
}

fn shape(dims: &[u64]) -> String {
    if dims.is_empty() {
        return "of a single value".to_owned();
    }
    dims.iter().map(u64::to_string).collect::<Vec<_>>().join(" × ")
}

/// Logits alone, as files.
pub fn logits<'a>(bytes: &'a [u8]) -> Files<'a> {
    [(LOGITS.to_owned(), Cow::Borrowed(bytes))].into()
}

#[cfg(test)]
mod tests;
