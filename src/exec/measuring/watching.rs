//! What is asked of the machine around the measuring itself: the drift sentinel once in a while, and before each block
//! whether the machine is as it was before the first.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedSender;

use crate::event::Event;
use crate::exec::process::Cancel;
use crate::exec::site::{Sentinel, Site};
use crate::exec::work::Job;
use crate::host::sentinel::{Drift, Reading, look};
use crate::host::thermal::{self, Cooling, Step};

/// A look of the sentinel counts for so long.
const FRESH: Duration = Duration::from_secs(5 * 60);

/// Measuring that took less is not worth two seconds to look once more.
const LONG: Duration = Duration::from_secs(30);

/// Who looks at the machine, and tells.
pub struct Watcher<'a> {
    site: &'a Site,
    progress: UnboundedSender<Event>,
    /// What it is done for.
    step: &'a str,
    cancel: Cancel,
}

impl<'a> Watcher<'a> {
    pub fn of(job: &Job<'a>) -> Watcher<'a> {
        let step = &job.site.step(job.id).name;
        Watcher { site: job.site, progress: job.progress.clone(), step, cancel: job.cancel.clone() }
    }

    fn say(&self, text: &str) {
        let _ = self.progress.send(Event::Progress { step: self.step.to_owned(), text: text.to_owned() });
    }

    /// What the sentinel sees before cells are measured, or saw not long ago in this run.
    pub async fn before(&self) -> Option<Reading> {
        let kept = self.site.asked.sentinel.borrow().clone();
        match kept {
            Some((at, reading)) if at.elapsed() < FRESH => Some(reading),
            _ => self.take().await,
        }
    }

    /// Looks again after cells that took a while: what is measured next is held against this, and who waits is told where
    /// the machine has changed meanwhile.
    pub async fn after(&self, before: Option<&Reading>, begun: Instant) {
        let Some(before) = before.filter(|_| begun.elapsed() >= LONG) else { return };
        let Some(now) = self.take().await else { return };
        for Drift { kind, change } in now.since(before) {
            let (by, than) = (change.abs() * 100.0, if change > 0.0 { "slower" } else { "faster" });
            let text = format!(
                "this machine has become {by:.1} % {than} while it measured, by the sentinel's {}: look at its load and \
                 its heat",
                kind.name()
            );
            let _ = self.progress.send(Event::Warning { text });
        }
    }

    async fn take(&self) -> Option<Reading> {
        let reading = match &self.site.sentinel {
            Sentinel::Off => return None,
            Sentinel::MadeUp(file) => {
                let text = std::fs::read_to_string(file).ok()?;
                // It is never held against a real one.
                Reading { work: "made up".to_owned(), ..serde_json::from_str(&text).ok()? }
            }
            Sentinel::Look => {
                self.say("sentinel");
                let stop = Arc::new(AtomicBool::new(false));
                let mut work = tokio::task::spawn_blocking({
                    let stop = Arc::clone(&stop);
                    move || look(&stop)
                });
                tokio::select! {
                    done = &mut work => done.ok()??,
                    () = self.cancel.cancelled() => {
                        stop.store(true, Ordering::Relaxed);
                        work.await.ok()??
                    }
                }
            }
        };
        self.site.asked.sentinel.replace(Some((Instant::now(), reading.clone())));
        Some(reading)
    }
}

/// Rests until the machine is as it was before the first block, for a while at most; says how long, and what was still
/// otherwise then.
pub async fn rest(cooling: &mut Option<Cooling>, job: &Job<'_>) -> (Duration, Option<String>) {
    let Some(cooling) = cooling else { return (Duration::ZERO, None) };
    let mut rested = Duration::ZERO;
    loop {
        match cooling.step(&thermal::Reading::now(&job.site.system), rested) {
            Step::Go => return (rested, None),
            Step::GoThough(outside) => return (rested, Some(outside)),
            Step::Rest(step) => {
                if rested.is_zero() {
                    job.say("rests until the machine is as it was");
                }
                tokio::select! {
                    () = tokio::time::sleep(step) => rested += step,
                    // Nobody waits for a clock once the run is stopped.
                    () = job.cancel.cancelled() => return (rested, None),
                }
            }
        }
    }
}
