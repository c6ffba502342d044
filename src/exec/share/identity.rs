//! When two checkouts, on machines that may have nothing else in common, are the same pipeline: the texts that were
//! read, the files that the steps name, the flags, and the version of `pipe`. No path of a machine is in it.

use std::collections::BTreeMap;
use std::path::{Component, Path};

use pipe_cache::Digest;

use crate::exec::files;
use crate::exec::site::Site;
use crate::pipeline::{Input, Origin, inputs};

/// What makes a pipeline the one that it is: the name of each part, and its content.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity(pub BTreeMap<String, String>);

impl Identity {
    /// One digest for all parts.
    pub fn digest(&self) -> Digest {
        let text = serde_json::to_string(&self.0).unwrap_or_default();
        Digest::derive("pipe 2026 pipeline v1", text.as_bytes())
    }

    /// What differs between two, in sentences; files that only one of them names are no difference, since which steps
    /// there are may depend on the machine.
    pub fn differences(&self, other: &Identity) -> Vec<String> {
        let mut all = Vec::new();
        for (name, ours) in &self.0 {
            match other.0.get(name) {
                Some(theirs) if theirs != ours && name.starts_with('`') => all.push(format!("{name} differs")),
                Some(theirs) if theirs != ours => all.push(format!("{name} is {ours} here and was {theirs}")),
                None if !name.starts_with("`(file)") => all.push(format!("{name} is only here")),
                _ => {}
            }
        }
        let only_there = |name: &&String| !self.0.contains_key(*name) && !name.starts_with("`(file)");
        all.extend(other.0.keys().filter(only_there).map(|name| format!("{name} is missing here")));
        all
    }
}

/// The identity of a site's pipeline.
pub fn of(site: &Site) -> Identity {
    let mut parts = BTreeMap::new();
    parts.insert("the version of pipe".to_owned(), env!("CARGO_PKG_VERSION").to_owned());
    let main = site.pipeline.sources.first().map(|source| source.name.clone()).unwrap_or_default();
    let home = Path::new(&main).parent().map(Path::to_owned).unwrap_or_default();
    for source in &site.pipeline.sources {
        let name = Path::new(&source.name).strip_prefix(&home).unwrap_or(Path::new(&source.name)).display().to_string();
        parts.insert(format!("`{name}`"), Digest::of(source.text.as_bytes()).to_string());
    }
    for param in &site.pipeline.params {
        // A value that was written in the file is in its text.
        if matches!(param.value.origin, Origin::Flag(_) | Origin::Profile(_)) {
            parts.insert(format!("parameter {}", param.name), param.value.value.to_string());
        }
    }
    let folder = std::path::absolute(&home).unwrap_or(home);
    for step in &site.pipeline.steps {
        for input in inputs(&step.action) {
            let Input::File { path, filter, .. } = input else { continue };
            let name = format!("`(file) {}`", relative(&folder, path));
            // One folder under two filters is two inputs.
            let name = if *filter == Default::default() { name } else { format!("{name} {filter:?}") };
            if let Some(entry) = files::content(site, input) {
                parts.insert(name, entry.to_string());
            }
        }
    }
    Identity(parts)
}

/// The key under which it is noted which question a cell was.
pub fn cell_key(identity: &Digest, step: &str) -> Digest {
    Digest::derive("pipe 2026 cell-of v1", format!("{identity} {step}").as_bytes())
}

/// A path as it is seen from a folder, with slashes.
fn relative(from: &Path, to: &Path) -> String {
    let (from, to): (Vec<Component>, Vec<Component>) = (from.components().collect(), to.components().collect());
    let shared = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
    let up = std::iter::repeat_n("..".to_owned(), from.len() - shared);
    let down = to[shared..].iter().map(|part| part.as_os_str().to_string_lossy().into_owned());
    up.chain(down).collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(parts: &[(&str, &str)]) -> Identity {
        Identity(parts.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn what_differs_is_named() {
        let ours = identity(&[("`p.kdl`", "1"), ("`(file) a`", "1"), ("`(file) b`", "1"), ("parameter n", "3")]);
        let theirs = identity(&[("`p.kdl`", "2"), ("`(file) a`", "2"), ("parameter n", "4"), ("`lib.kdl`", "1")]);
        assert_eq!(
            ours.differences(&theirs),
            ["`(file) a` differs", "`p.kdl` differs", "parameter n is 3 here and was 4", "`lib.kdl` is missing here"]
        );
        assert_eq!(ours.differences(&ours), Vec::<String>::new());
        assert_ne!(ours.digest(), theirs.digest());
    }

    #[test]
    fn paths_are_seen_from_the_pipeline() {
        assert_eq!(relative(Path::new("/a/b"), Path::new("/a/b/c/d")), "c/d");
        assert_eq!(relative(Path::new("/a/b"), Path::new("/a/x")), "../x");
    }
}
