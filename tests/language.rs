//! The language, text in and text out.
use std::path::Path;

use pipe::resolve::{Disk, Facts, Options, load};

#[test]
fn the_main_pipeline_resolves() {
    let files = Disk::new(env!("CARGO_MANIFEST_DIR").into());
    let facts = Facts { os: "linux".into(), arch: "x86_64".into(), python: Some("3.11.7".into()) };
    let (pipeline, diagnostics) = load(Path::new("pipelines/llm-6gb.kdl"), &Options::default(), &files, &facts);
    eprintln!("{}", diagnostics.render(false, 100));
    let pipeline = pipeline.expect("resolves");
    for s in &pipeline.steps {
        eprintln!("{} {:?} also {} cell {:?} {:?}", s.name, s.class, s.also.len(), s.cell.as_ref().map(|c| c.to_string()), s.recipe);
    }
}
