//! `--trace FILE`: the run as a Chrome trace, which Perfetto and `chrome://tracing` open.
//!
//! | track | shows |
//! |---|---|
//! | `slot N` | steps as slices, in the first slot that was free, with what they did inside them |
//! | `waiting` | how long a step that has not started waits for other runs |
//! | counters | steps under way, and memory that they say they need |
//!
//! Written in the trace event format's array form, whose closing bracket may be missing: the trace of a killed run can
//! be read too. Times are microseconds since the start of the run.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::Instant;

use serde_json::{Map, Value, json};

use super::output::note;
use crate::event::{Event, Listener, OutcomeKind};

/// One process; its name is the pipeline's.
const PID: u32 = 1;
/// The track of steps that have not started; slots are numbered from 1 on.
const WAITING: u32 = 0;

/// Writes a trace.
pub struct Trace {
    out: BufWriter<File>,
    begun: Instant,
    /// Which step a slot is taken by.
    slots: Vec<Option<String>>,
    steps: BTreeMap<String, Step>,
    /// Since when a step waits that has not started, and on whom.
    waits: BTreeMap<String, (u64, String)>,
    /// Why each step runs, and the bytes it says it needs.
    known: BTreeMap<String, About>,
    failed: bool,
}

/// What the plan knows of a step.
pub struct About {
    pub why: String,
    pub cpu: u32,
    pub memory: u64,
}

/// A step that runs.
struct Step {
    slot: u32,
    since: u64,
    class: &'static str,
    /// What it is doing now, and since when.
    phase: Option<(u64, String)>,
}

impl Trace {
    /// Makes or empties the file.
    pub fn create(path: &Path, known: BTreeMap<String, About>) -> std::io::Result<Trace> {
        let mut out = BufWriter::new(File::create(path)?);
        out.write_all(b"[")?;
        let mut trace = Trace {
            out,
            begun: Instant::now(),
            slots: Vec::new(),
            steps: BTreeMap::new(),
            waits: BTreeMap::new(),
            known,
            failed: false,
        };
        trace.track(WAITING, "waiting");
        Ok(trace)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    fn write(&mut self, event: &Value) {
        let written = serde_json::to_writer(&mut self.out, event).map_err(std::io::Error::from);
        // The first event has none before it; a comma after each leaves what a killed run wrote readable.
        let written = written.and_then(|()| self.out.write_all(b",\n"));
        if let Err(error) = written
            && !std::mem::replace(&mut self.failed, true)
        {
            note(&format!("pipe: the trace can't be written: {error}"));
        }
    }

    /// Names a track, and puts it in its place among the others.
    fn track(&mut self, tid: u32, name: &str) {
        self.write(&json!({"ph": "M", "pid": PID, "tid": tid, "name": "thread_name", "args": {"name": name}}));
        self.write(
            &json!({"ph": "M", "pid": PID, "tid": tid, "name": "thread_sort_index", "args": {"sort_index": tid}}),
        );
    }

    fn slice(&mut self, tid: u32, name: &str, category: &str, since: u64, args: Map<String, Value>) {
        let duration = self.now().saturating_sub(since);
        self.write(&json!({
            "ph": "X", "pid": PID, "tid": tid, "ts": since, "dur": duration, "cat": category, "name": name, "args": args,
        }));
    }

    /// A point on a track, where something happened that takes no time.
    fn point(&mut self, tid: u32, name: &str, scope: &str, args: Map<String, Value>) {
        let ts = self.now();
        self.write(&json!({
            "ph": "i", "pid": PID, "tid": tid, "ts": ts, "s": scope, "cat": "note", "name": name, "args": args,
        }));
    }

    fn count(&mut self) {
        let of = |name: &String| self.known.get(name);
        let cpu: u32 = self.steps.keys().filter_map(of).map(|about| about.cpu).sum();
        let memory: u64 = self.steps.keys().filter_map(of).map(|about| about.memory >> 20).sum();
        let (ts, steps) = (self.now(), self.steps.len());
        for (name, args) in [
            ("steps under way", json!({"steps": steps})),
            ("processors asked for", json!({"processors": cpu})),
            ("memory asked for, MiB", json!({"MiB": memory})),
        ] {
            self.write(&json!({"ph": "C", "pid": PID, "ts": ts, "name": name, "args": args}));
        }
    }

    fn begin(&mut self, step: &str, class: &'static str) {
        if let Some((since, on)) = self.waits.remove(step) {
            self.slice(WAITING, step, "wait", since, args([("on", Value::from(on))]));
        }
        let free = self.slots.iter().position(Option::is_none);
        let index = free.unwrap_or(self.slots.len());
        let slot = u32::try_from(index + 1).unwrap_or(u32::MAX);
        match self.slots.get_mut(index) {
            Some(taken) => *taken = Some(step.to_owned()),
            None => {
                self.slots.push(Some(step.to_owned()));
                self.track(slot, &format!("slot {slot}"));
            }
        }
        let since = self.now();
        self.steps.insert(step.to_owned(), Step { slot, since, class, phase: None });
        self.count();
    }

    /// What a step does from now on; ends what it did before.
    fn phase(&mut self, step: &str, next: Option<String>) {
        let now = self.now();
        let Some(running) = self.steps.get_mut(step) else { return };
        let slot = running.slot;
        let before = std::mem::replace(&mut running.phase, next.map(|name| (now, name)));
        if let Some((since, name)) = before {
            self.slice(slot, &name, "phase", since, Map::new());
        }
    }

    fn end(&mut self, step: &str, outcome: OutcomeKind, key: Option<&String>, detail: Option<&String>) {
        self.phase(step, None);
        let why = self.known.get(step).map(|about| about.why.clone());
        let told = [
            ("outcome", Some(json!(outcome))),
            ("key", key.map(|key| json!(key))),
            ("why", why.map(Value::from)),
            ("detail", detail.map(|detail| json!(detail))),
        ];
        let mut told = args(told.into_iter().filter_map(|(name, value)| Some((name, value?))));
        match self.steps.remove(step) {
            Some(ran) => {
                told.insert("class".to_owned(), Value::from(ran.class));
                self.slice(ran.slot, step, ran.class, ran.since, told);
                if let Some(slot) = self.slots.get_mut(ran.slot as usize - 1) {
                    *slot = None;
                }
                self.count();
            }
            // It never started: its result was there, or something before it failed.
            None => self.point(WAITING, step, "t", told),
        }
    }
}

fn args<'a>(pairs: impl IntoIterator<Item = (&'a str, Value)>) -> Map<String, Value> {
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

impl Listener for Trace {
    fn hear(&mut self, event: &Event) {
        match event {
            Event::Planned { pipeline, .. } => {
                let name = format!("pipe run: {pipeline}");
                self.write(&json!({"ph": "M", "pid": PID, "name": "process_name", "args": {"name": name}}));
                // A second plan is made when nothing of the first is under way: what it tries again has failed before.
                let open: Vec<String> = self.steps.keys().cloned().collect();
                open.iter().for_each(|step| self.end(step, OutcomeKind::Failed, None, None));
            }
            Event::Started { step, class } => self.begin(step, class),
            Event::Progress { step, text } => self.phase(step, Some(text.clone())),
            Event::Waiting { step, on } if self.steps.contains_key(step) => {
                self.phase(step, Some(format!("waits: {on}")));
            }
            Event::Waiting { step, on } => {
                let now = self.now();
                self.waits.insert(step.clone(), (now, on.clone()));
            }
            Event::Retried { step, attempt, cause } => {
                self.phase(step, None);
                if let Some(slot) = self.steps.get(step).map(|step| step.slot) {
                    let told = args([("attempt", json!(attempt)), ("cause", json!(cause))]);
                    self.point(slot, "tried again", "t", told);
                }
            }
            Event::Finished { step, outcome, key, detail, .. } => {
                self.end(step, *outcome, key.as_ref(), detail.as_ref());
            }
            Event::Warning { text } => self.point(WAITING, text, "g", Map::new()),
            Event::InTurn { .. } | Event::Ended { .. } => {}
        }
    }
}

impl Drop for Trace {
    /// Ends what was cut off, and the file.
    fn drop(&mut self) {
        let open: Vec<String> = self.steps.keys().cloned().collect();
        for step in open {
            self.end(&step, OutcomeKind::Cancelled, None, None);
        }
        let waits = std::mem::take(&mut self.waits);
        for (step, (since, on)) in waits {
            self.slice(WAITING, &step, "wait", since, args([("on", Value::from(on))]));
        }
        let (ts, end) = (self.now(), "the end");
        let last = json!({"ph": "i", "pid": PID, "tid": WAITING, "ts": ts, "s": "p", "cat": "note", "name": end});
        let written = serde_json::to_writer(&mut self.out, &last).map_err(std::io::Error::from);
        if let Err(error) = written.and_then(|()| self.out.write_all(b"]\n")).and_then(|()| self.out.flush())
            && !self.failed
        {
            note(&format!("pipe: the trace can't be written: {error}"));
        }
    }
}
