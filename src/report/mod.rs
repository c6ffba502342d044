//! Renders a comparison: one file per format.
