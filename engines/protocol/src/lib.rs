//! The protocol between `pipe` and its engines, and the serve loop that every engine shares.
//!
//! An engine is a program of its own. It implements [`Engine`] and [`LanguageModel`] or [`TensorModel`] (load,
//! one pass, read back) and hands itself to [`serve`], which speaks the protocol, holds the clock, decides when a model is warm and
//! says what the process used. The runner reads [`message`] alone.
//!
//! This crate knows no machine-learning library; [`sim`] is an engine without one, for tests.

pub mod engine;
mod inference;
pub mod inside;
pub mod message;
pub mod npy;
mod pages;
mod process;
mod sequence;
pub mod serve;
mod service;
pub mod sim;
mod stdio;
mod steady;
pub mod tensor;

pub use engine::{Clock, Engine, Facts, LanguageModel, Loaded, Model, TensorModel};
pub use serve::serve;
