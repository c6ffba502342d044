//! What running a key produced, as the store keeps it: versioned types of their own, apart from the types
//! that code works with.
//!
//! A record of another format version reads as a miss. This module knows nothing of steps or processes.

use std::collections::BTreeMap;

use pipe_cache::{Digest, Entry};
use pipe_engine::message::{Fault, Hello, Prepared, Sample, Usage, Warmed};
use serde::{Deserialize, Serialize};

use crate::host::load::{Disturbance, DisturbanceKind};
use crate::host::{Facts, Machine, Runtime};

/// The version of [`StepRecord`], [`Session`] and [`RunRecord`].
pub const FORMAT: u32 = 1;

/// How strictly a step was kept to what it declared; the weaker comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sandbox {
    /// A folder of its own and a cleared environment, nothing more.
    Off,
    /// Landlock or `sandbox-exec`: no file outside the declared ones is written or, but for the system's, read.
    Fs,
    /// Namespaces: nothing outside the declared inputs exists, and no network.
    Strict,
}

impl Sandbox {
    /// The name on the command line and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Sandbox::Off => "off",
            Sandbox::Fs => "fs",
            Sandbox::Strict => "strict",
        }
    }
}

/// The result of a `fetch`, `build` or `compare` step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepRecord {
    pub format: u32,
    pub output: Entry,
    pub sandbox: Sandbox,
    pub usage: StepUsage,
    /// What the step printed, as a file in the store.
    pub log: Option<Entry>,
}

/// What a step used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct StepUsage {
    pub wall_ns: u64,
    pub user_ns: u64,
    pub system_ns: u64,
    /// Largest peak resident set of one process of the step.
    pub peak_resident: Option<u64>,
    /// Most memory that all processes of the step held together, pages that they share counted once, as it was looked at
    /// from time to time (first after 20 ms, later every 250 to 500 ms): a short peak may be missed, and a short step has none.
    #[serde(default)]
    pub peak_tree: Option<u64>,
}

/// One process that measured one cell: appended to the sessions of its question and machine, never replaced.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Session {
    pub format: u32,
    pub question: Digest,
    pub machine: Digest,
    /// Begins a new sample set: look-ups take the sessions from the last fresh one onward.
    pub fresh: bool,
    pub facts: Facts,
    pub runtime: Option<Runtime>,
    /// Seconds since 1970; shown in no report.
    pub started: u64,
    pub sandbox: Sandbox,
    pub hello: Hello,
    /// From the start of the process to the engine's first line.
    pub start_ns: u64,
    pub prepared: Option<Prepared>,
    pub warmed: Option<Warmed>,
    pub samples: Vec<Sample>,
    /// The blocks in which they were taken; absent from sessions of older versions, which took one after the other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turns: Option<Turns>,
    /// What one sample was, so that rates need no look at the pipeline.
    #[serde(flatten)]
    pub work: Work,
    pub usage: Option<Usage>,
    /// A folder with `logits.npy` of a sequence, or a file for each output of an inference.
    pub outputs: Option<Entry>,
    pub cautions: Vec<Caution>,
    /// Out of memory that the engine reported: a result of this machine.
    pub fault: Option<Fault>,
    pub log: Option<Entry>,
}

/// How a session's samples were taken: in blocks, in turn with those of the other cells of its group.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Turns {
    /// What the order of the blocks was drawn from.
    pub seed: u64,
    /// The questions of the cells that took turns with this one.
    pub with: Vec<Digest>,
    /// Idle engines were stopped, so that they could do nothing; else they waited for a request.
    pub stopped: bool,
    /// Passes before each block that no sample was taken of.
    pub settling: u32,
    /// In the order in which they were taken.
    pub blocks: Vec<Block>,
}

/// Samples that were taken in one go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    /// Of its group, from 0.
    pub round: u32,
    /// In its round, from 0.
    pub place: u32,
    /// Its begin, from that of the group's first block.
    pub at_ns: u64,
    pub took_ns: u64,
    pub samples: u32,
}

/// What one sample of a session is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Work {
    /// A sequence of a language model.
    Sequence { prompt_tokens: u32, new_tokens: u32 },
    /// One inference on so many items; `None` while nobody has said or measured how many.
    Inference { items: Option<u32> },
}

/// A warning about a measurement, with what it means for the figure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caution {
    pub code: CautionCode,
    /// What was seen, in a sentence with its figures.
    pub seen: String,
}

impl From<Disturbance> for Caution {
    fn from(disturbance: Disturbance) -> Caution {
        let code = match disturbance.kind {
            DisturbanceKind::ForeignLoad => CautionCode::ForeignLoad,
            DisturbanceKind::CgroupThrottled => CautionCode::CgroupThrottled,
            DisturbanceKind::Swap => CautionCode::Swap,
        };
        Caution { code, seen: disturbance.seen }
    }
}

/// The kinds of caution. *Suspect* ones are shown and can't win unmarked; *invalid* ones never satisfy a look-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CautionCode {
    /// Other processes used the processors while this was measured.
    ForeignLoad,
    /// The control group throttled the process.
    CgroupThrottled,
    /// Pages went to or came from swap.
    Swap,
    /// The warm-up ended at its maximum without becoming steady.
    NotSteady,
    /// Fewer samples than the query asked for, since the time was up.
    FewSamples,
    /// From the first sample to the last the times rose or fell.
    Trend,
    /// The times fall into two groups, and the median lies in one of them.
    TwoModes,
    /// Many samples lie far from the median.
    Outliers,
    /// The sessions of the sample set differ by more than chance.
    MixedSessions,
    /// Simulated figures, of the engine of the tests.
    Simulated,
    /// The image's architecture is not the machine's.
    Emulated,
    /// Operators ran on a device that was not asked for.
    Fallback,
}

impl CautionCode {
    /// True where a session with this caution never satisfies a look-up and never wins.
    pub fn is_invalid(self) -> bool {
        matches!(self, CautionCode::Emulated | CautionCode::Fallback)
    }

    /// The code in reports and events.
    pub fn name(self) -> &'static str {
        match self {
            CautionCode::ForeignLoad => "foreign-load",
            CautionCode::CgroupThrottled => "cgroup-throttled",
            CautionCode::Swap => "swap",
            CautionCode::NotSteady => "not-steady",
            CautionCode::FewSamples => "few-samples",
            CautionCode::Trend => "trend",
            CautionCode::TwoModes => "two-modes",
            CautionCode::Outliers => "outliers",
            CautionCode::MixedSessions => "mixed-sessions",
            CautionCode::Simulated => "simulated",
            CautionCode::Emulated => "emulated",
            CautionCode::Fallback => "fallback",
        }
    }
}

/// One invocation of `pipe run`: which step had which key, for `why` and for garbage collection. What a run knows of
/// itself as a whole stands here once, and never with each step. Fields that older versions did not write are absent.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RunRecord<Steps = BTreeMap<String, RunStep>> {
    pub format: u32,
    pub pipeline: String,
    pub started: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wall_ns: Option<u64>,
    /// What `pipe` ended with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<u8>,
    /// The version of `pipe`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub pipe: String,
    /// The flags that say what the pipeline is and which of its cells count: `--set word=two`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub flags: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<Sandbox>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<Machine>,
    /// Step name → its key and what became of it.
    pub steps: Steps,
    /// Steps that came to no key: what this machine could not do, and what waits for that or for a failed step.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub keyless: BTreeMap<String, RunLack>,
}

/// One step of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunStep {
    pub key: Digest,
    pub state: String,
    /// How it failed, or why it ran where its manifest doesn't tell, in one line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub said: Option<String>,
    /// Manifest leaf → where its value was written (`file:line:col`, or a flag).
    pub origins: BTreeMap<String, String>,
}

/// That a run or a key is held on to, or no longer is: the last one of a digest counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    pub format: u32,
    pub pinned: bool,
    /// What the person called it.
    pub name: String,
}

/// A step of a run that came to no key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunLack {
    pub state: String,
    pub said: String,
}
