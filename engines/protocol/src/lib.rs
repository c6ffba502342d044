//! The protocol between `pipe` and its engines, and the serve loop that every engine shares.

pub mod message;
