//! Texts that nobody wrote, from bytes to a pipeline: nothing panics, nothing takes long, every place lies in its
//! file, and what parses is formatted as any text.

use std::path::Path;

use pipe::resolve::{Facts, Memory, Options, load};
use pipe::syntax::{decode, parse};

use super::properties::check;
use super::texts::{corpus, mutant_bytes};

const MUTANTS: u64 = 20_000;

fn facts() -> Facts {
    Facts {
        os: "linux".to_owned(),
        arch: "x86_64".to_owned(),
        gpu: "none".to_owned(),
        python: Some("3.11.7".to_owned()),
    }
}

/// Reads bytes as `pipe check` does, and holds what is found against what must be true of it; true where it
/// is KDL.
fn read(bytes: &[u8]) -> bool {
    let project = Memory::default()
        .with("project/.git/HEAD", "")
        .with("project/data.txt", "hello")
        .with("project/case.kdl", bytes);
    let (pipeline, diagnostics) = load(Path::new("project/case.kdl"), &Options::default(), &project, &facts());
    assert_eq!(pipeline.is_none(), diagnostics.has_errors());
    for fault in diagnostics.iter() {
        assert!(!fault.labels.is_empty(), "no place: {fault:?}");
        for label in fault.labels.iter().chain(&fault.trail) {
            let text = &diagnostics.sources()[label.at.source].text;
            assert!(label.at.start <= label.at.end && label.at.end <= text.len().max(1), "{fault:?}");
            assert!(text.is_char_boundary(label.at.start.min(text.len())), "{fault:?}");
        }
        assert!(fault.help.is_some(), "no fix: {fault:?}");
    }
    assert!(diagnostics.is_empty() || diagnostics.render(false, 80).contains("pipe::"));
    let (text, found) = decode(0, bytes);
    found.is_empty() && parse(0, &text).1.is_empty() && check(&text).is_some()
}

#[test]
fn twenty_thousand_mutants_get_an_answer() {
    let corpus = corpus();
    let share = |part: u64| {
        let (corpus, parts) = (&corpus, 2);
        let mut kdl = 0;
        for seed in (part..MUTANTS).step_by(parts) {
            let bytes = mutant_bytes(corpus, seed);
            let answer = std::panic::catch_unwind(|| read(&bytes));
            match answer {
                Ok(is_kdl) => kdl += usize::from(is_kdl),
                Err(_) => panic!("mutant {seed}: {:?}", String::from_utf8_lossy(&bytes)),
            }
        }
        kdl
    };
    let kdl: usize = std::thread::scope(|scope| {
        let parts: Vec<_> = (0..2).map(|part| scope.spawn(move || share(part))).collect();
        parts.into_iter().map(|part| part.join().expect("no mutant fails")).sum()
    });
    assert!((2_000..18_000).contains(&kdl), "{kdl} of {MUTANTS} mutants are KDL: they are all too much or too little");
}
