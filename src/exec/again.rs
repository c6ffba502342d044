//! A second round for a run that met damage: what was put aside, or was gone, is missing now and is made again by the
//! same run.
//!
//! Approach:
//! - Whoever reads damaged content puts it aside and fails; [`lost`] tells such failures from others.
//! - Then everything is looked at once more, and what has no result now runs. What is done stays done, and what failed
//!   by itself is not tried again ([`forget`] sees to both).
//! - There is one second round. Where content is lost in that one too, the failure stands, with its cause.

use pipe_cache::{Entry, StoreError};

use super::outcome::{Lack, Outcome, Product};
use super::runner::Done;
use super::site::Site;

/// Whether anything failed because content was damaged or gone, or ended well and can't be read back.
pub fn lost(site: &Site, done: &Done) -> Result<bool, StoreError> {
    if !done.lost.is_empty() {
        return Ok(true);
    }
    for outcome in done.outcomes.values() {
        if let Some(Product::Compared(entry)) = outcome.product()
            && let Some(digest) = entry.digest()
            && site.store.read(&digest)?.is_none()
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Lets go of answers that lost content may have made wrong, and remembers what need not be done twice.
pub fn forget(site: &Site, first: &Done) {
    let whole = |taken: &Result<Entry, Lack>| taken.as_ref().is_ok_and(|entry| site.store.complete(entry));
    site.asked.files.borrow_mut().retain(|_, taken| whole(taken));
    site.asked.questions.take();
    let (mut failed, mut measured) = (site.asked.failed.borrow_mut(), site.asked.measured.borrow_mut());
    for (id, outcome) in &first.outcomes {
        let Some((key, _)) = first.manifests.get(id) else { continue };
        match outcome {
            Outcome::Failed(failure) if !first.lost.contains(id) => drop(failed.insert(*key, failure.clone())),
            Outcome::Ran(Product::Sessions(_)) => drop(measured.insert(*key)),
            _ => {}
        }
    }
}

impl Done {
    /// Both rounds as one: what ran in the first has run, though the second found it there.
    #[must_use]
    pub fn after(mut self, first: Done) -> Done {
        for (id, before) in first.outcomes {
            let Some(outcome) = self.outcomes.get_mut(&id) else { continue };
            if let (Outcome::Ran(_), Outcome::Cached(product)) = (before, &*outcome) {
                *outcome = Outcome::Ran(product.clone());
            }
        }
        let whys = std::mem::replace(&mut self.whys, first.whys);
        self.whys.extend(whys);
        self.seconds += first.seconds;
        self
    }
}
