//! What a run shows while it goes on: moving lines on a terminal, plain ones elsewhere, JSON lines in a file.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::output::{To, note, out, width};
use crate::event::{Event, Listener, OutcomeKind};

/// Moving lines: one for each running step, finished ones above them, and below how many wait.
pub struct Terminal {
    bars: MultiProgress,
    running: BTreeMap<String, ProgressBar>,
    /// Steps that were planned and have neither started nor ended.
    waiting: usize,
    foot: ProgressBar,
    colour: bool,
}

impl Terminal {
    /// Draws on standard error.
    pub fn new(colour: bool) -> Terminal {
        let bars = MultiProgress::new();
        let foot = bars.add(ProgressBar::new_spinner());
        foot.set_style(ProgressStyle::with_template("  {msg}").unwrap_or_else(|_| ProgressStyle::default_spinner()));
        Terminal { bars, running: BTreeMap::new(), waiting: 0, foot, colour }
    }

    /// Counts down the steps that are still to come, and says how many there are.
    fn wait_for(&mut self, waiting: usize) {
        self.waiting = waiting;
        match waiting {
            0 => self.foot.set_message(""),
            1 => self.foot.set_message("1 more step waits"),
            more => self.foot.set_message(format!("{more} more steps wait")),
        }
    }

    fn say(&self, text: &str) {
        // A line that wraps would be drawn twice.
        let _ = self.bars.println(cut(text, width().saturating_sub(1)));
    }
}

impl Listener for Terminal {
    fn hear(&mut self, event: &Event) {
        match event {
            Event::Planned { runs, .. } => {
                // A second plan is made when nothing of the first is under way.
                for (_, bar) in std::mem::take(&mut self.running) {
                    bar.finish_and_clear();
                    self.bars.remove(&bar);
                }
                self.wait_for(*runs);
            }
            Event::Started { step, .. } => {
                self.wait_for(self.waiting.saturating_sub(1));
                let bar = self.bars.insert_before(&self.foot, ProgressBar::new_spinner());
                let style = ProgressStyle::with_template("  {spinner} {prefix}  {elapsed}  {wide_msg}")
                    .unwrap_or_else(|_| ProgressStyle::default_spinner());
                bar.set_style(style);
                bar.set_prefix(step.clone());
                bar.enable_steady_tick(Duration::from_millis(250));
                self.running.insert(step.clone(), bar);
            }
            Event::Progress { step, text } => {
                if let Some(bar) = self.running.get(step) {
                    bar.set_message(text.clone());
                }
            }
            Event::Waiting { step, on } => {
                match self.running.get(step) {
                    Some(bar) => bar.set_message(format!("waits: {on}")),
                    // It has not started: all of this run waits.
                    None => self.foot.set_message(format!("{step} waits: {on}")),
                }
            }
            Event::Finished { step, .. } => {
                match self.running.remove(step) {
                    Some(bar) => {
                        bar.finish_and_clear();
                        self.bars.remove(&bar);
                    }
                    // It ended without running: its result was there, or something before it failed.
                    None => self.wait_for(self.waiting.saturating_sub(1)),
                }
                if let Some(line) = line(event, self.colour) {
                    self.say(&line);
                }
            }
            Event::Ended { .. } => self.foot.finish_and_clear(),
            other => {
                if let Some(line) = line(other, self.colour) {
                    self.say(&line);
                }
            }
        }
    }
}

/// Plain lines, for logs.
pub struct Plain {
    started: Instant,
    colour: bool,
    said: BTreeMap<String, Instant>,
}

impl Plain {
    /// Writes to standard error.
    pub fn new(colour: bool) -> Plain {
        Plain { started: Instant::now(), colour, said: BTreeMap::new() }
    }
}

impl Listener for Plain {
    fn hear(&mut self, event: &Event) {
        let text = match event {
            Event::Started { step, .. } => Some(format!("…  {step}")),
            Event::Waiting { step, on } => Some(format!("…  {step} waits: {on}")),
            // A log wants no more than a line now and then from one step.
            Event::Progress { step, text } => {
                let quiet = self.said.get(step).is_some_and(|at| at.elapsed() < Duration::from_secs(10));
                (!quiet).then(|| {
                    self.said.insert(step.clone(), Instant::now());
                    format!("…  {step}: {text}")
                })
            }
            other => line(other, self.colour),
        };
        if let Some(text) = text {
            note(&format!("{:>7.1}s {text}", self.started.elapsed().as_secs_f64()));
        }
    }
}

/// One JSON object a line.
pub struct Events(File);

impl Events {
    /// Makes or empties the file.
    pub fn create(path: &Path) -> std::io::Result<Events> {
        File::create(path).map(Events)
    }
}

impl Listener for Events {
    fn hear(&mut self, event: &Event) {
        if let Ok(mut line) = serde_json::to_vec(event) {
            line.push(b'\n');
            if let Err(error) = self.0.write_all(&line) {
                out(To::Err, &format!("pipe: the events file can't be written: {error}\n"));
            }
        }
    }
}

/// The line that an event leaves behind, where it leaves one.
fn line(event: &Event, colour: bool) -> Option<String> {
    let paint = |code: &str, text: &str| if colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() };
    match event {
        Event::Finished { step, outcome, seconds, detail, .. } => {
            let detail = detail.as_deref().map(|d| format!(": {}", one_line(d))).unwrap_or_default();
            Some(match outcome {
                OutcomeKind::Cached => format!("{}  {step} {}", paint("2", "="), paint("2", "cached")),
                OutcomeKind::Ran => format!("{}  {step} {}", paint("32", "✓"), paint("2", &time(*seconds))),
                OutcomeKind::Failed => format!("{}  {step} failed{detail}", paint("31", "✗")),
                OutcomeKind::Unavailable => format!("{}  {step} unavailable{detail}", paint("33", "–")),
                OutcomeKind::Skipped => format!("{}  {step} skipped{detail}", paint("33", "–")),
                OutcomeKind::Cancelled => format!("{}  {step} stopped", paint("33", "–")),
            })
        }
        Event::Retried { step, attempt, cause } => {
            Some(format!("{}  {step} tried again ({attempt}): {}", paint("33", "↻"), one_line(cause)))
        }
        Event::InTurn { steps, beside } => {
            let beside = beside.as_ref().map(|name| format!(", and the baseline {name} beside")).unwrap_or_default();
            Some(format!("…  measured in turn: {}{beside}", steps.join(", ")))
        }
        Event::Warning { text } => Some(format!("{} {text}", paint("33", "warning:"))),
        _ => None,
    }
}

/// `850 ms`, `12.4 s`, `3 min 05 s`.
pub fn time(seconds: f64) -> String {
    if seconds < 1.0 {
        format!("{:.0} ms", seconds * 1e3)
    } else if seconds < 60.0 {
        format!("{seconds:.1} s")
    } else {
        format!("{} min {:02} s", (seconds / 60.0) as u64, (seconds % 60.0) as u64)
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Cuts a line to `columns`, counting what is seen and not the colour codes.
fn cut(text: &str, columns: usize) -> String {
    let mut seen = 0;
    let mut escape = false;
    let mut kept = String::new();
    for c in text.chars() {
        if c == '\x1b' {
            escape = true;
        }
        if !escape {
            seen += 1;
            if seen > columns {
                kept.push_str("…\x1b[0m");
                return kept;
            }
        }
        kept.push(c);
        if escape && c == 'm' {
            escape = false;
        }
    }
    kept
}
