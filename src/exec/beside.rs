//! Which baselines a run would measure again, though they have their samples: beside cells that lack theirs.
//!
//! It says beforehand what [`runner`](super::runner) does once such a cell is ready, by what is known before anything
//! runs. Whether memory holds both is known only then; where it does not, the baseline stays as it is.

use std::collections::BTreeMap;

use super::needs;
use super::outcome::{Product, Standing};
use super::site::Site;
use crate::pipeline::{Action, Compare, StepId};

/// Each such baseline with the cells that it would stand beside, in the order of the comparison.
pub fn baselines(site: &Site, standings: &BTreeMap<StepId, Standing>) -> BTreeMap<StepId, Vec<StepId>> {
    let mut found: BTreeMap<StepId, Vec<StepId>> = BTreeMap::new();
    let comparisons = site.plan.order().iter().filter_map(|id| match &site.step(*id).action {
        Action::Compare(compare) => Some(&**compare),
        _ => None,
    });
    for compare in comparisons {
        let missing: Vec<StepId> = compare.of.iter().copied().filter(|id| may_run(&standings[id])).collect();
        if missing.is_empty() {
            continue;
        }
        let Some(baseline) = baseline(site, standings, compare) else { continue };
        if !missing.contains(&baseline) {
            let cells = found.entry(baseline).or_default();
            missing
                .into_iter()
                .filter(|id| !cells.contains(id))
                .collect::<Vec<_>>()
                .into_iter()
                .for_each(|id| cells.push(id));
        }
    }
    found
}

/// The baseline that the run would take: the first that waits for its samples, or could be measured again.
fn baseline(site: &Site, standings: &BTreeMap<StepId, Standing>, compare: &Compare) -> Option<StepId> {
    let pattern = &compare.baseline.as_ref()?.value;
    let matching = |id: &StepId| site.step(*id).cell.as_ref().is_some_and(|cell| pattern.matches(cell));
    let mut candidates = compare.of.iter().copied().filter(matching);
    candidates.find(|id| may_run(&standings[id]) || could_run_again(site, standings, *id))
}

fn may_run(standing: &Standing) -> bool {
    matches!(standing, Standing::Runs(_) | Standing::Depends(_))
}

fn could_run_again(site: &Site, standings: &BTreeMap<StepId, Standing>, id: StepId) -> bool {
    let Standing::Cached(Product::Sessions(sessions)) = &standings[&id] else { return false };
    let there = |read: StepId| match &standings[&read] {
        Standing::Cached(product) => product.entry().is_some_and(|entry| site.store.complete(entry)),
        // It will be there.
        standing => may_run(standing),
    };
    sessions.iter().all(|session| session.fault.is_none())
        && site.plan.reads(id).into_iter().all(there)
        && needs::lack(site, site.step(id)).is_none()
}
