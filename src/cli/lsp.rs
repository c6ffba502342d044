//! `pipe lsp`: serves an editor over standard input and output; it runs nothing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;

use super::output::note;
use super::{Global, env, exit, explain, load};
use crate::exec::site::{Asked, Sentinel, Site};
use crate::exec::survey::survey;
use crate::exec::world::{kept_python_version, kept_sandbox};
use crate::host::{Facts, probe};
use crate::lsp::{self, Ended, Setup, Standing, Standings};
use crate::plan::{Plan, Selection};
use crate::record::Sandbox;
use crate::resolve::{self, Files};

/// The flags of `pipe lsp`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Says what is done anyway: editors give this flag
    #[arg(long, hide = true)]
    stdio: bool,
}

/// Serves one editor until it leaves.
pub fn main(global: &Global, _arguments: &Arguments) -> u8 {
    let store = match load::store_path(global) {
        Ok(store) => store,
        Err(code) => return code,
    };
    let setup = Setup {
        facts: load::asked(&probe::probe().machine, None),
        std: shown_library(&store),
        standings: Box::new(Stored { store }),
        version: env!("CARGO_PKG_VERSION"),
    };
    match lsp::serve(Box::new(std::io::stdin()), Box::new(std::io::stdout()), setup) {
        Ended::Properly | Ended::Closed => exit::DONE,
        Ended::Abruptly => exit::JUDGED,
        Ended::Broken(why) => {
            note(&format!("pipe: {why}; an editor starts `pipe lsp`, people use `pipe check`"));
            exit::USAGE
        }
    }
}

/// A folder beside the store for the files of the standard library; each version has its own, so that an editor
/// shows the text that this `pipe` uses.
fn shown_library(store: &Path) -> PathBuf {
    let texts = crate::stdlib::modules().filter_map(crate::stdlib::module).map(str::as_bytes);
    let files = crate::stdlib::files().map(|(_, bytes)| bytes);
    let all: Vec<u8> = texts.chain(files).flatten().copied().collect();
    let digest = pipe_cache::Digest::of(&all).to_string();
    let name = store.file_name().unwrap_or_default().to_string_lossy();
    store.with_file_name(format!("{name}-std")).join(digest.get(..12).unwrap_or(&digest))
}

/// What the store says of a pipeline, by the survey of `pipe plan`, which here starts no process and asks nobody.
struct Stored {
    store: PathBuf,
}

impl Standings for Stored {
    fn standings(&self, path: &Path, files: &dyn Files) -> Option<Vec<Standing>> {
        if !self.store.join("format").exists() {
            // An editor makes no store.
            return None;
        }
        let store = pipe_cache::Store::open(&self.store).ok()?;
        let env = env::all();
        let facts: Facts = probe::probe();
        let known = load::asked(&facts.machine, kept_python_version(&store, &env));
        let (pipeline, _) = resolve::load(path, &resolve::Options::default(), files, &known);
        let pipeline = pipeline?;
        let plan = Plan::new(&pipeline).ok()?;
        let best = kept_sandbox(&store, &env, &facts.recorded.kernel);
        let (sandbox, bubblewrap) = best.map_or((Sandbox::Strict, None), |best| (best.sandbox, best.bubblewrap));
        let site = Site {
            pipeline,
            plan,
            store: std::sync::Arc::new(store),
            facts,
            selection: Selection { only: Vec::new() },
            remeasure: false,
            accept: Vec::new(),
            sandbox,
            sandbox_why: String::new(),
            bubblewrap,
            env,
            exe: PathBuf::new(),
            out: std::path::absolute("out").unwrap_or_default(),
            secret_files: BTreeMap::new(),
            slots: 1,
            memory: u64::MAX,
            fail_fast: false,
            sentinel: Sentinel::Off,
            system: PathBuf::from("/"),
            asked: Asked { only_kept: true, ..Asked::default() },
        };
        let survey = survey(&site).ok()?;
        let standing = |id: &crate::pipeline::StepId| {
            let step = site.step(*id);
            let standing = &survey.standings[id];
            Standing {
                names: std::iter::once(&step.name).chain(&step.also).cloned().collect(),
                word: explain::word(standing),
                said: explain::standing(&site, standing),
            }
        };
        Some(site.plan.order().iter().map(standing).collect())
    }
}
