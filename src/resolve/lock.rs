//! A Python lock: `pip` requirements with digests, as `uv pip compile --universal --generate-hashes` writes
//! them, read for one platform.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use pep508_rs::{MarkerEnvironment, MarkerEnvironmentBuilder, Requirement, VerbatimUrl, VersionOrUrl};

use super::Facts;
use crate::diag::{At, Diagnostic};

/// The Python for whose version markers are read where the host has none; nothing can run there anyway.
const ASSUMED_PYTHON: &str = "3.11.0";

/// One package that the lock wants on this platform.
#[derive(Debug, PartialEq, Eq)]
pub struct Package {
    pub name: String,
    pub version: String,
    /// Sorted.
    pub sha256: Vec<String>,
    /// About how large it is, where the lock says so; 0 where not.
    pub size: u64,
    pub at: At,
}

/// The packages whose marker holds for the facts, in the order of the lock.
pub fn packages(source: usize, text: &str, facts: &Facts) -> Result<Vec<Package>, Vec<Diagnostic>> {
    let environment = match environment(facts) {
        Ok(environment) => environment,
        Err(why) => return Err(vec![Diagnostic::error("pipe::bad-lock", why)]),
    };
    let sizes = sizes(text);
    let mut found = Vec::new();
    let mut packages = Vec::new();
    for (at, line) in lines(source, text) {
        match package(&line, at, &environment) {
            Ok(package) => packages.extend(package.map(|package| {
                let size = sizes.get(&format!("{}=={}", package.name, package.version)).copied();
                Package { size: size.unwrap_or(0), ..package }
            })),
            Err(fault) => found.push(fault),
        }
    }
    if found.is_empty() && packages.is_empty() {
        let fault = Diagnostic::error("pipe::bad-lock", "this lock names no package for this platform");
        found.push(fault.at(At { source, start: 0, end: 1 }, "read from here to the end").help(HELP));
    }
    if found.is_empty() { Ok(packages) } else { Err(found) }
}

const HELP: &str = "a lock is what `uv pip compile --universal --generate-hashes requirements.in` writes: \
                    `name==version ; marker --hash=sha256:…`";

fn package(line: &str, at: At, environment: &MarkerEnvironment) -> Result<Option<Package>, Diagnostic> {
    let bad = |why: String| Diagnostic::error("pipe::bad-lock", why).at(at, "in this requirement").help(HELP);
    let mut words = line.split_whitespace();
    let requirement: Vec<&str> = words.by_ref().take_while(|word| !word.starts_with("--")).collect();
    let requirement = requirement.join(" ");
    if requirement.is_empty() {
        return Err(bad("a lock holds no options".to_owned()));
    }
    let parsed: Requirement<VerbatimUrl> = Requirement::from_str(&requirement)
        .map_err(|error| bad(format!("`{requirement}` is no requirement: {}", error.message)))?;
    let Some(version) = exact_version(&parsed) else {
        return Err(bad(format!("`{requirement}` does not say the exact version")));
    };
    if !parsed.evaluate_markers(environment, &[]) {
        return Ok(None);
    }
    let mut sha256 = BTreeSet::new();
    for word in line.split_whitespace().filter(|word| word.starts_with("--")) {
        let digest = word.strip_prefix("--hash=sha256:").filter(|digest| is_sha256(digest));
        match digest {
            Some(digest) => sha256.insert(digest.to_owned()),
            None => {
                return Err(bad(format!("`{word}` is no `--hash=sha256:` with 64 hexadecimal digits")));
            }
        };
    }
    if sha256.is_empty() {
        return Err(bad(format!("`{requirement}` has no digest")));
    }
    Ok(Some(Package { name: parsed.name.to_string(), version, sha256: sha256.into_iter().collect(), size: 0, at }))
}

fn exact_version(requirement: &Requirement<VerbatimUrl>) -> Option<String> {
    let Some(VersionOrUrl::VersionSpecifier(specifiers)) = &requirement.version_or_url else {
        return None;
    };
    let text = specifiers.to_string();
    let version = text.strip_prefix("==")?.trim();
    (!version.contains([',', '*', '='])).then(|| version.to_owned())
}

/// What comments of the form `# size torch==2.11.0 531000000` say; only announced before a run, so a lock
/// without them is as good.
fn sizes(text: &str) -> BTreeMap<String, u64> {
    let size = |line: &str| {
        let (name, bytes) = line.strip_prefix("# size ")?.split_once(' ')?;
        Some((name.to_owned(), bytes.trim().parse().ok()?))
    };
    text.lines().filter_map(size).collect()
}

/// True for 64 lower-case hexadecimal digits.
pub fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// Logical lines: continued by a backslash, without comments, with the place of their first line.
fn lines(source: usize, text: &str) -> Vec<(At, String)> {
    let mut out: Vec<(At, String)> = Vec::new();
    let mut open = false;
    let mut offset = 0;
    for line in text.split_inclusive('\n') {
        let start = offset;
        offset += line.len();
        let content = line.trim();
        if content.starts_with('#') {
            continue;
        }
        let content = content.split(" #").next().unwrap_or_default();
        let (content, goes_on) = match content.strip_suffix('\\') {
            Some(content) => (content, true),
            None => (content, false),
        };
        match out.last_mut().filter(|_| open) {
            Some((_, whole)) => {
                whole.push(' ');
                whole.push_str(content);
            }
            None if content.trim().is_empty() => {}
            None => out.push((At { source, start, end: start + content.trim_end().len() }, content.to_owned())),
        }
        open = goes_on;
    }
    out
}

fn environment(facts: &Facts) -> Result<MarkerEnvironment, String> {
    let full = facts.python.as_deref().unwrap_or(ASSUMED_PYTHON);
    let short: Vec<&str> = full.split('.').take(2).collect();
    let short = short.join(".");
    let (sys_platform, system) = match facts.os.as_str() {
        "macos" => ("darwin", "Darwin"),
        other => (other, "Linux"),
    };
    let machine = match (facts.os.as_str(), facts.arch.as_str()) {
        ("macos", "aarch64") => "arm64",
        (_, other) => other,
    };
    MarkerEnvironment::try_from(MarkerEnvironmentBuilder {
        implementation_name: "cpython",
        implementation_version: full,
        os_name: "posix",
        platform_machine: machine,
        platform_python_implementation: "CPython",
        platform_release: "",
        platform_system: system,
        platform_version: "",
        python_full_version: full,
        python_version: &short,
        sys_platform,
    })
    .map_err(|error| format!("`{full}` is no version of Python: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(os: &str, python: &str) -> Facts {
        Facts { os: os.to_owned(), arch: "x86_64".to_owned(), gpu: "none".to_owned(), python: Some(python.to_owned()) }
    }

    #[test]
    fn markers_choose_the_packages() {
        let digest = "a".repeat(64);
        let text = format!(
            "# made by a tool\nnumpy==2.2.6 ; python_full_version < '3.11' \\\n    --hash=sha256:{digest}\n    # via onnx\n\
             numpy==2.4.6 ; python_full_version == '3.11.*' \\\n    --hash=sha256:{digest}\n\
             triton==3.6.0 ; sys_platform == 'linux' \\\n    --hash=sha256:{digest}\n"
        );
        let names = |os, python| -> Vec<String> {
            let packages = packages(0, &text, &facts(os, python)).expect("a good lock");
            packages.into_iter().map(|p| format!("{}=={}", p.name, p.version)).collect()
        };
        assert_eq!(names("linux", "3.11.7"), ["numpy==2.4.6", "triton==3.6.0"]);
        assert_eq!(names("macos", "3.10.2"), ["numpy==2.2.6"]);
    }

    #[test]
    fn a_lock_without_digest_or_version_is_refused() {
        for text in ["numpy==1.0\n", "numpy>=1.0 --hash=sha256:ab\n", "-r other.txt\n", ""] {
            assert!(packages(0, text, &facts("linux", "3.11.0")).is_err(), "{text}");
        }
    }
}
