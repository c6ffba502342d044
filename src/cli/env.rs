//! The environment: read here, and passed on as values.

#![expect(clippy::disallowed_methods, reason = "this is the one place that reads the environment")]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

/// All variables whose names and values are text; what is not text can't be meant for us.
pub fn all() -> BTreeMap<String, String> {
    let text = |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value.into_string().ok()?));
    std::env::vars_os().filter_map(text).collect()
}

/// A variable, where it is set to something.
pub fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// A path in a variable, where it is set to something.
pub fn path(name: &str) -> Option<PathBuf> {
    variable(name).map(PathBuf::from)
}
