//! From raw samples to a comparison: pure functions, no clock, no file, no screen.
//!
//! In reading order: [`metric`] what is measured and in which unit, and `work` of which work; [`stats`] medians,
//! intervals and tests; [`summary`] sessions of one cell to figures; [`enough`] whether to go on sampling,
//! and [`turns`] whose turn it is; [`npy`],
//! [`ulp`], `apart`, `tokens`, [`tolerance`], [`parity`] and [`parity_record`] how far two outputs are apart; [`ratio`] two cells against
//! each other; [`shape`] what samples hide from their median; [`input`], [`comparison`] and [`compare`] the whole matrix;
//! [`recommend`] what to use when. This module knows nothing of stores, of
//! processes or of how a report looks.

mod apart;
pub mod compare;
pub mod comparison;
pub mod enough;
mod gates;
pub mod input;
pub mod npy;
pub mod parity;
pub mod parity_record;
pub mod ratio;
pub mod recommend;
pub mod shape;
pub mod stats;
pub mod summary;
mod tokens;
pub mod tolerance;
pub mod turns;
pub mod ulp;
mod work;

pub use crate::pipeline::metric;
pub use compare::compare;
pub use comparison::Comparison;
pub use enough::{Enough, enough};
pub use input::{CellInput, CompareInput, Outcome, Outputs};
pub use parity::{ParityResult, parity};
pub use parity_record::ParityRecord;
pub use summary::{Summary, summarise};
pub use tolerance::Tolerance;
