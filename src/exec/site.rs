//! All that a run works with, and the answers that are asked for more than once.

use std::cell::{OnceCell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use pipe_cache::{Digest, Entry, Store};

use super::lookup::LastRun;
use super::nearest::Index;
use super::outcome::{Failure, Lack};
use super::process::supervisors::Supervisors;
use super::sandbox::Bubblewrap;
use super::share::accept::MachinePattern;
use crate::host::{Facts, sentinel};
use crate::pipeline::{Filter, Pipeline, Step, StepId};
use crate::plan::{Plan, Selection};
use crate::record::Sandbox;
use crate::resolve::kept::Testimony;

/// One invocation's view of the world. `cli` fills it; nothing below reads the environment by itself.
pub struct Site {
    pub pipeline: Pipeline,
    pub plan: Plan,
    pub store: Arc<Store>,
    pub facts: Facts,
    pub selection: Selection,
    /// Measure again what has samples.
    pub remeasure: bool,
    /// Machines whose figures may be shown for cells that this one can't measure.
    pub accept: Vec<MachinePattern>,
    /// The sandbox that this run asks for, the strictest that works here unless the user said otherwise.
    pub sandbox: Sandbox,
    pub sandbox_why: String,
    /// What makes the namespaces of the strict level.
    pub bubblewrap: Option<Bubblewrap>,
    /// The caller's environment, for the tools that need their user's settings.
    pub env: BTreeMap<String, String>,
    /// This program, which starts itself as supervisor.
    pub exe: PathBuf,
    /// Where reports and exports go, absolute.
    pub out: PathBuf,
    /// Where each secret that a flag names comes from; the rest comes from the environment.
    pub secret_files: BTreeMap<String, PathBuf>,
    /// Steps that may run at the same time, in processors.
    pub slots: u32,
    /// Bytes of memory that steps may say they need at the same time.
    pub memory: u64,
    /// Nothing more starts once a step has failed.
    pub fail_fast: bool,
    pub sentinel: Sentinel,
    /// Where the system's files of clocks, heat and energy lie: `/`, or a folder of a test.
    pub system: PathBuf,
    pub asked: Asked,
}

/// Who says whether the machine has drifted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sentinel {
    /// Two seconds of work that is always the same.
    Look,
    /// Nobody.
    Off,
    /// A file with a reading, in tests.
    MadeUp(PathBuf),
}

/// Answers of the host, asked for once.
#[derive(Default)]
pub struct Asked {
    /// No process starts, no runtime is asked and no file of the user's is stored: what the store keeps of earlier
    /// answers counts alone. An editor surveys so.
    pub only_kept: bool,
    pub tools: RefCell<BTreeMap<String, Result<Rc<crate::host::tools::Tool>, Lack>>>,
    pub runtime: RefCell<Option<Result<crate::host::Runtime, Lack>>>,
    /// What the sentinel saw last, and when.
    pub sentinel: RefCell<Option<(std::time::Instant, sentinel::Reading)>>,
    pub files: RefCell<BTreeMap<(PathBuf, Filter), Result<Entry, Lack>>>,
    /// Cached steps whose outputs stayed out of the pack that brought them, as look-ups met them.
    pub away: RefCell<BTreeSet<StepId>>,
    /// Of those, the ones that something reads that runs: for these no record counts without its bytes.
    pub read: RefCell<BTreeSet<StepId>>,
    /// The keys of steps that this machine can't do, as far as all that they read is known.
    pub questions: RefCell<BTreeMap<StepId, Digest>>,
    /// What resolving saw of the disk, where nothing was to be said of it.
    pub testimony: Option<Testimony>,
    pub last_run: OnceCell<LastRun>,
    /// The store's manifests; read when a step without an earlier run asks.
    pub nearest: OnceCell<Index>,
    /// Supervisors that this run has started and that run nothing now.
    pub supervisors: Supervisors,
    /// What failed in the first round of this run for another reason than lost content, by key: once is enough.
    pub failed: RefCell<BTreeMap<Digest, Failure>>,
    /// What the first round has measured, by question: `remeasure` asks for no more.
    pub measured: RefCell<BTreeSet<Digest>>,
    /// The store could not be read where somebody asked for content: no answer, and above all not "it is missing".
    pub fault: RefCell<Option<pipe_cache::StoreError>>,
}

impl Site {
    /// The step of an id.
    pub fn step(&self, id: StepId) -> &Step {
        &self.pipeline.steps[id.0]
    }
}
