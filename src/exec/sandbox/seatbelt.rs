//! The level `fs` on a Mac: a profile for `sandbox-exec`.
//!
//! It allows by default and refuses writes and the network, since Metal needs services that a list of allowed
//! ones would miss. The text is made and tested everywhere, and used on a Mac alone.

use std::ffi::OsString;
use std::path::Path;

use crate::exec::process::ProcessSpec;

/// Part of every macOS.
pub const PROGRAM: &str = "/usr/bin/sandbox-exec";

/// The arguments of `sandbox-exec` that run `spec`.
pub fn arguments(spec: &ProcessSpec) -> Vec<OsString> {
    let mut args: Vec<OsString> = vec!["-p".into(), profile(&spec.workdir, spec.network).into()];
    args.push(spec.program.clone().into());
    args.extend(spec.args.iter().cloned());
    args
}

/// The profile: nothing is written but below `workdir` and to plain devices.
pub fn profile(workdir: &Path, network: bool) -> String {
    let mut text = String::from("(version 1)\n(allow default)\n(deny file-write*)\n");
    text.push_str("(allow file-write* (literal \"/dev/null\") (literal \"/dev/zero\") (literal \"/dev/tty\")\n");
    text.push_str(&format!("  (subpath {}))\n", quoted(&workdir.to_string_lossy())));
    if !network {
        text.push_str("(deny network*)\n");
    }
    text
}

/// A string of the profile's language.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for letter in text.chars() {
        if matches!(letter, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(letter);
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_refuses_writes_and_the_network() {
        let text = profile(Path::new("/tmp/a \"b\""), false);
        assert_eq!(
            text,
            "(version 1)\n(allow default)\n(deny file-write*)\n\
             (allow file-write* (literal \"/dev/null\") (literal \"/dev/zero\") (literal \"/dev/tty\")\n  \
             (subpath \"/tmp/a \\\"b\\\"\"))\n(deny network*)\n"
        );
        assert!(!profile(Path::new("/tmp/a"), true).contains("network"));
    }
}
