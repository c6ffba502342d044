//! The signals that end a run: Ctrl-C, a hang-up and a polite kill; a second Ctrl-C does not wait for anything.
//!
//! Knows nothing of what is running: it asks for the end, and the runner sees to it.

use std::io;

use rustix::process::Signal;
use tokio::signal::unix::{self, SignalKind, signal};

use crate::exec::process::Cancel;

/// What a run listens to.
pub struct Signals {
    interrupt: unix::Signal,
    terminate: unix::Signal,
    /// `None` under `nohup`, which is how one says that a run goes on without its terminal.
    hangup: Option<unix::Signal>,
}

/// Listens from here on; in a runtime.
pub fn listen() -> io::Result<Signals> {
    let hangup = if is_ignored(Signal::HUP) { None } else { Some(signal(SignalKind::hangup())?) };
    Ok(Signals { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())?, hangup })
}

impl Signals {
    /// Asks for the end with the first one.
    pub async fn end(mut self, cancel: Cancel) {
        let hung_up = async {
            match &mut self.hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = hung_up => {}
        }
        cancel.cancel();
        self.interrupt.recv().await;
        // The supervisors see their end of the pipe close and kill what they started.
        let _ = rustix::process::kill_process(rustix::process::getpid(), Signal::KILL);
    }
}

/// Whether whoever started this process has it ignore a signal. Systems without `/proc` are taken to say no.
fn is_ignored(signal: Signal) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    mask >> (signal.as_raw() - 1) & 1 == 1
}
