//! Bytes to a pipeline: nothing panics, there is a pipeline or an error, and the findings can be shown.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use pipe::resolve::{Facts, Memory, Options, load};

fuzz_target!(|bytes: &[u8]| {
    let project =
        Memory::default().with("p/.git/HEAD", "").with("p/data.txt", "hello").with("p/case.kdl", bytes.to_vec());
    let facts = Facts {
        os: "linux".to_owned(),
        arch: "x86_64".to_owned(),
        gpu: "none".to_owned(),
        python: Some("3.11.7".to_owned()),
    };
    let (pipeline, diagnostics) = load(Path::new("p/case.kdl"), &Options::default(), &project, &facts);
    assert_eq!(pipeline.is_none(), diagnostics.has_errors());
    assert!(diagnostics.is_empty() || diagnostics.render(false, 80).contains("pipe::"));
});
