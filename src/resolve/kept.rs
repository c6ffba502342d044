//! A resolved pipeline as bytes, for the next time that nothing has changed.
//!
//! Reading KDL is slow (the parser does about 1 MB/s) and a null run should not have to. What is kept holds what
//! resolving saw of the disk, and is believed only where the disk still says the same: the bytes of every file
//! that was read, and what lies at every path that was looked at. Whoever keeps it does so under [`question`],
//! which has everything else that the result depends on, the build of `pipe` included: another build never reads
//! it, so its shape is no format.

use std::path::Path;

use serde::Serialize;

pub use super::witness::Testimony;

use super::witness::Witness;
use super::{Facts, Files, Options, load};
use crate::diag::Diagnostics;
use crate::pipeline::Pipeline;

#[derive(Serialize)]
struct Kept<P> {
    testimony: Testimony,
    pipeline: P,
}

/// What resolving answers, files apart, as text: the names under which two results are kept differ where this does.
pub fn question(path: &Path, options: &Options, files: &dyn Files, facts: &Facts, build: &str) -> String {
    format!("{build}\n{path:?}\n{:?}\n{options:?}\n{facts:?}", files.real(path))
}

/// A pipeline, and what resolving it saw of the disk.
#[derive(Debug)]
pub struct Known {
    pub pipeline: Pipeline,
    /// None where anything was found, warnings included: those are to be said every time.
    pub testimony: Option<Testimony>,
}

/// Reads the pipeline at `path` as [`load`] does, and gives it as bytes too, where there is testimony.
pub fn load_and_keep(
    path: &Path,
    options: &Options,
    files: &dyn Files,
    facts: &Facts,
) -> (Option<Known>, Diagnostics, Option<Vec<u8>>) {
    let witness = Witness::new(files);
    let (pipeline, found) = load(path, options, &witness, facts);
    let Some(pipeline) = pipeline else { return (None, found, None) };
    if !found.is_empty() {
        return (Some(Known { pipeline, testimony: None }), found, None);
    }
    let kept = Kept { testimony: witness.testimony(), pipeline: &pipeline };
    // A path that is not UTF-8 can't be written down; such a pipeline is read anew each time.
    let bytes = postcard::to_stdvec(&kept).ok();
    let testimony = Some(kept.testimony);
    (Some(Known { pipeline, testimony }), found, bytes)
}

/// The pipeline that was kept, where the files still say the same.
pub fn recall(kept: &[u8], files: &dyn Files) -> Option<Known> {
    let (testimony, rest): (Testimony, &[u8]) = postcard::take_from_bytes(kept).ok()?;
    if !testimony.holds(files) {
        return None;
    }
    let pipeline = postcard::from_bytes(rest).ok()?;
    Some(Known { pipeline, testimony: Some(testimony) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resolve::Memory;

    const MAIN: &str = r#"
pipeline "p"
use "lib.kdl" "std/model"
param "size" "small"
matrix "cells" { axis "a" "1" "2"; exclude a="2" reason="not this"; }
greet "hello" text=(param)"size"
tokens "tokens" model=(step)"hello" count=4
step "read" for-each="cells" { run "cat" (file)"data.txt" (step)"hello/out.txt" (axis)"a"; timeout (min)10; }
"#;
    const LIB: &str = r#"
recipe "greet" { param "text" type="string"; step "it" { run "echo" (param)"text"; output "out.txt"; }; result (step)"it"; }
"#;

    fn files() -> Memory {
        Memory::default().with("p.kdl", MAIN).with("lib.kdl", LIB).with("data.txt", "data")
    }

    fn facts() -> Facts {
        Facts {
            os: "linux".to_owned(),
            arch: "x86_64".to_owned(),
            gpu: "none".to_owned(),
            python: Some("3.11.2".to_owned()),
        }
    }

    fn kept() -> (Pipeline, Vec<u8>) {
        let (pipeline, found, kept) = load_and_keep(Path::new("p.kdl"), &Options::default(), &files(), &facts());
        let known = pipeline.unwrap_or_else(|| panic!("{}", found.render(false, 100)));
        (known.pipeline, kept.expect("nothing was found, so it is kept"))
    }

    #[test]
    fn what_is_recalled_is_what_was_resolved() {
        let (pipeline, kept) = kept();
        let recalled = recall(&kept, &files()).expect("nothing changed");
        assert_eq!(format!("{:?}", recalled.pipeline), format!("{pipeline:?}"));
    }

    #[test]
    fn any_change_of_what_was_seen_is_noticed() {
        let (_, kept) = kept();
        let changed = [
            files().with("p.kdl", format!("{MAIN}\n")),
            files().with("lib.kdl", format!("{LIB}// a comment")),
            Memory::default().with("p.kdl", MAIN).with("lib.kdl", LIB),
            files().with(".git/config", ""),
        ];
        for (n, files) in changed.iter().enumerate() {
            assert!(recall(&kept, files).is_none(), "change {n} went unnoticed");
        }
        // Contents of inputs are the business of keys: only that the file is there decides what the pipeline is.
        assert!(recall(&kept, &files().with("data.txt", "other")).is_some());
    }

    #[test]
    fn damaged_bytes_are_no_pipeline_and_no_panic() {
        let (_, kept) = kept();
        for cut in (0..kept.len()).step_by(7) {
            assert!(recall(&kept[..cut], &files()).is_none(), "cut to {cut}");
        }
    }

    #[test]
    fn what_was_complained_about_is_not_kept() {
        let wrong = Memory::default().with("p.kdl", "pipeline \"p\"\nstep \"x\" { runn \"true\"; }");
        let (pipeline, found, kept) = load_and_keep(Path::new("p.kdl"), &Options::default(), &wrong, &facts());
        assert!(pipeline.is_none() && found.has_errors() && kept.is_none());
    }

    #[test]
    fn the_question_has_flags_facts_and_build() {
        let ask = |path: &str, options: &Options, facts: &Facts, build: &str| {
            question(Path::new(path), options, &files(), facts, build)
        };
        let plain = ask("p.kdl", &Options::default(), &facts(), "1");
        let set = Options { sets: vec![("size".to_owned(), "large".to_owned())], ..Options::default() };
        let mac = Facts { os: "macos".to_owned(), ..facts() };
        let others = [
            ask("q.kdl", &Options::default(), &facts(), "1"),
            ask("p.kdl", &set, &facts(), "1"),
            ask("p.kdl", &Options::default(), &mac, "1"),
            ask("p.kdl", &Options::default(), &facts(), "2"),
        ];
        assert!(others.iter().all(|other| *other != plain));
    }
}
