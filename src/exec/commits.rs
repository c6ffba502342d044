//! Records of finished steps, made durable together: one wait for the disk for all that finish close to each other.
//!
//! Approach:
//! - A step's output is in the store when its work ends, and steps that read it go on at once. Its record waits here, with
//!   the lock on its key, so that no other process begins the same meanwhile.
//! - One batch is written at a time, on a thread of its own: first all content, then the records. What ends meanwhile
//!   is the next batch.
//! - A step is said to be done when its batch is. One whose record can't be written has failed.
//!
//! So whatever a run has said to be done survives a kill and a power cut, and what is lost at most is what ended since
//! the last batch, a few hundredths of a second before.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use pipe_cache::{Digest, KeyLock, Kind, Store, StoreError};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::pipeline::StepId;

/// From the beginning of one batch to that of the next: waiting for a disk costs time of the processor as well.
const PAUSE: Duration = Duration::from_millis(20);

/// What one step left to be written.
#[derive(Debug)]
pub struct Unwritten {
    pub step: StepId,
    pub records: Vec<(Kind, Digest, Vec<u8>)>,
    pub lock: Option<KeyLock>,
}

/// Where steps leave their records; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Desk(Rc<RefCell<Vec<Unwritten>>>);

impl Desk {
    /// Leaves a step's records to be written.
    pub fn leave(&self, unwritten: Unwritten) {
        self.0.borrow_mut().push(unwritten);
    }
}

/// Writes what is left at the desk.
pub struct Commits {
    store: Arc<Store>,
    desk: Desk,
    writing: Option<Batch>,
    due: Instant,
}

/// Steps whose records are being written.
struct Batch {
    steps: Vec<StepId>,
    task: JoinHandle<Result<(), StoreError>>,
}

impl Commits {
    /// Nothing to write yet.
    pub fn new(store: &Arc<Store>) -> Commits {
        Commits { store: Arc::clone(store), desk: Desk::default(), writing: None, due: Instant::now() }
    }

    /// For the steps.
    pub fn desk(&self) -> Desk {
        self.desk.clone()
    }

    /// True where nothing waits and nothing is being written.
    pub fn is_empty(&self) -> bool {
        self.writing.is_none() && self.desk.0.borrow().is_empty()
    }

    /// Whether this step's records are not written yet.
    pub fn holds(&self, id: StepId) -> bool {
        let writing = self.writing.as_ref().is_some_and(|batch| batch.steps.contains(&id));
        writing || self.desk.0.borrow().iter().any(|unwritten| unwritten.step == id)
    }

    /// The next batch that is written, or was to be; at once where nobody else is at work. Waits for ever where there is
    /// none, and loses nothing if it is not waited for.
    pub async fn next(&mut self, hurry: bool) -> (Vec<StepId>, Result<(), String>) {
        if self.writing.is_none() {
            if self.desk.0.borrow().is_empty() {
                std::future::pending::<()>().await;
            }
            if !hurry {
                tokio::time::sleep_until(self.due).await;
            }
            self.writing = Some(self.begin());
        }
        let result = match &mut self.writing {
            Some(batch) => (&mut batch.task).await,
            None => Ok(Ok(())),
        };
        let steps = self.writing.take().map(|batch| batch.steps).unwrap_or_default();
        let result = match result {
            Ok(written) => written.map_err(|error| error.to_string()),
            Err(_) => Err("writing the records was broken off".to_owned()),
        };
        (steps, result)
    }

    fn begin(&mut self) -> Batch {
        self.due = Instant::now() + PAUSE;
        let left = std::mem::take(&mut *self.desk.0.borrow_mut());
        let steps = left.iter().map(|unwritten| unwritten.step).collect();
        let store = Arc::clone(&self.store);
        let task = tokio::task::spawn_blocking(move || {
            let records: Vec<(Kind, Digest, &[u8])> = left
                .iter()
                .flat_map(|unwritten| {
                    unwritten.records.iter().map(|(kind, key, bytes)| (*kind, *key, bytes.as_slice()))
                })
                .collect();
            // The locks are let go of with `left`, when the records are there for everybody to see.
            store.append_all(&records)
        });
        Batch { steps, task }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unwritten(step: usize, text: &str) -> Unwritten {
        let records = vec![(Kind::Record, Digest::of(text.as_bytes()), text.as_bytes().to_vec())];
        Unwritten { step: StepId(step), records, lock: None }
    }

    #[tokio::test]
    async fn what_is_left_is_written_and_told() {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(&folder.path().join("store")).unwrap());
        let mut commits = Commits::new(&store);
        let desk = commits.desk();
        assert!(commits.is_empty());
        let key = Digest::of(b"one");
        let lock = Some(store.lock_key(&key).unwrap());
        desk.leave(Unwritten { lock, ..unwritten(1, "one") });
        desk.leave(unwritten(2, "two"));
        assert!(commits.holds(StepId(2)) && !commits.holds(StepId(3)));
        assert!(matches!(store.try_lock_key(&key).unwrap(), pipe_cache::TryLock::Held(_)));
        assert_eq!(commits.next(false).await, (vec![StepId(1), StepId(2)], Ok(())));
        assert!(commits.is_empty() && !commits.holds(StepId(1)));
        assert!(matches!(store.try_lock_key(&key).unwrap(), pipe_cache::TryLock::Locked(_)));
        assert_eq!(store.last(Kind::Record, &key).unwrap().as_deref(), Some(&b"one"[..]));
        // Nothing is lost by not waiting.
        desk.leave(unwritten(3, "three"));
        assert!(tokio::time::timeout(Duration::ZERO, commits.next(false)).await.is_err());
        assert_eq!(commits.next(true).await, (vec![StepId(3)], Ok(())));
    }

    #[tokio::test]
    async fn what_cannot_be_written_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("store");
        let store = Arc::new(Store::open(&root).unwrap());
        std::fs::create_dir(root.join("records.log")).unwrap();
        let mut commits = Commits::new(&store);
        commits.desk().leave(unwritten(1, "one"));
        let (steps, result) = commits.next(false).await;
        assert_eq!(steps, [StepId(1)]);
        assert!(result.unwrap_err().contains("records.log"));
    }
}
