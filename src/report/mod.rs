//! Renders a [`Comparison`](crate::measure::Comparison) and a graph: one file per format, nothing printed.
//!
//! Every function here takes plain data and returns a `String`. A report file holds neither the time of now
//! nor cache states, so the same store and pipeline give the same bytes; only [`terminal`] may say what came
//! from the store. In reading order: [`units`], [`words`], [`parity`] and `columns` are shared by all; then a module per format;
//! [`graph`] renders the DAG.

mod columns;
pub mod csv;
pub mod graph;
pub mod html;
pub mod json;
pub mod markdown;
pub mod parity;
pub mod svg;
pub mod terminal;
pub mod units;
pub mod words;
