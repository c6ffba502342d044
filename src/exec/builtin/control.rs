//! How long-running work hears that it shall stop, and says how far it came.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

/// A stop flag and a listener for progress, handed down into work that runs on other threads.
pub struct Control<'a> {
    stop: &'a AtomicBool,
    progress: &'a (dyn Fn(u64) + Sync),
}

impl<'a> Control<'a> {
    /// `progress` is called with the number of bytes done since its last call.
    pub fn new(stop: &'a AtomicBool, progress: &'a (dyn Fn(u64) + Sync)) -> Self {
        Control { stop, progress }
    }

    /// True once the work shall end without a result.
    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Adds bytes that are done.
    pub fn advance(&self, bytes: u64) {
        (self.progress)(bytes);
    }
}

impl fmt::Debug for Control<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Control").field("stop", &self.stop).finish_non_exhaustive()
    }
}

/// A control that never stops and tells nobody, for tests.
#[cfg(test)]
pub(crate) fn uncontrolled() -> Control<'static> {
    static NEVER: AtomicBool = AtomicBool::new(false);
    Control::new(&NEVER, &|_| ())
}
