//! What a comparison is made of: the resolved `compare` step and, for each of its cells, what became of it.

use std::borrow::Cow;
use std::collections::BTreeMap;

use pipe_cache::Digest;

use super::parity::ParityResult;
use super::tolerance::Noise;
use crate::host::Facts;
use crate::pipeline::{Cell, Compare, Measure};
use crate::record::Session;

/// All that [`compare`](super::compare()) reads.
#[derive(Debug, Clone)]
pub struct CompareInput<'a> {
    /// The pipeline's name and description.
    pub pipeline: &'a str,
    pub about: Option<&'a str>,
    pub compare: &'a Compare,
    /// One for each of [`Compare::of`], in its order.
    pub cells: Vec<CellInput<'a>>,
    /// The reference's own noise, where a calibrated tolerance asks for it.
    pub noise: Option<Noise>,
    /// This machine.
    pub facts: &'a Facts,
}

/// One cell.
#[derive(Debug, Clone)]
pub struct CellInput<'a> {
    /// The step's name: `decode[engine=onnx,place=native,device=cpu]`.
    pub step: &'a str,
    pub cell: Option<&'a Cell>,
    pub measure: &'a Measure,
    /// The question key, where the inputs of the cell were known.
    pub question: Option<Digest>,
    pub outcome: Outcome<'a>,
}

/// What became of a cell.
#[derive(Debug, Clone)]
pub enum Outcome<'a> {
    /// Sessions of this question, from now or from the store.
    Measured {
        sessions: Cow<'a, [Session]>,
        outputs: Outputs<'a>,
        /// True where nothing was measured now. Only the terminal says so.
        from_store: bool,
    },
    /// Sessions of another machine, for a cell that this one can't measure: shown with the machine's name.
    Accepted {
        sessions: Cow<'a, [Session]>,
        outputs: Outputs<'a>,
        machine: String,
    },
    Failed {
        reason: String,
        remedy: Option<String>,
    },
    Unavailable {
        reason: String,
        remedy: Option<String>,
    },
    NotSelected {
        reason: String,
        remedy: Option<String>,
    },
}

/// The outputs of a measured cell, for the parity check.
#[derive(Debug, Clone)]
pub enum Outputs<'a> {
    /// The bytes of `logits.npy`, of sequences.
    Logits(Cow<'a, [u8]>),
    /// The files of an inference, each with its name.
    Tensors(BTreeMap<String, Cow<'a, [u8]>>),
    /// A result that was computed before, for the same pair of outputs and the same tolerance.
    Judged(ParityResult),
    /// There are none.
    Missing { reason: String },
}
