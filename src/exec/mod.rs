//! Running steps: sandbox, processes, engines, containers. Knows nothing of screens and nothing of KDL text.

pub mod container;
pub mod engine;
pub mod image;
pub mod process;
pub mod sandbox;
pub mod supervisor;
