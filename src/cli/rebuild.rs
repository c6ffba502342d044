//! `pipe run --check`: which steps are built a second time, and what is said of them.

use std::collections::{BTreeMap, BTreeSet};

use super::exit;
use super::output::note;
use crate::diag::nearest;
use crate::exec::rebuild::{Verdict, can_be_checked};
use crate::exec::site::Site;
use crate::pipeline::StepId;

/// The steps that `--check` or `--check=STEP` asks for.
pub fn asked(site: &Site, names: &[String]) -> Result<BTreeSet<StepId>, u8> {
    let mut found = BTreeSet::new();
    let steps = || site.pipeline.steps.iter().enumerate().map(|(id, step)| (StepId(id), step));
    for name in names {
        // Without a name, all that can be checked are meant.
        let named: Vec<StepId> = steps()
            .filter(|(_, step)| {
                name.is_empty() || step.name == *name || step.group == *name || step.also.contains(name)
            })
            .map(|(id, _)| id)
            .collect();
        if named.is_empty() && !name.is_empty() {
            let near = nearest(name, steps().map(|(_, step)| step.name.as_str()));
            let hint = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
            note(&format!("pipe: `--check={name}`: the pipeline has no step of this name{hint}"));
            return Err(exit::USAGE);
        }
        let fit: Vec<StepId> = named.into_iter().filter(|id| can_be_checked(site, *id)).collect();
        if fit.is_empty() && !name.is_empty() {
            note(&format!("pipe: `--check={name}`: only builds can be made twice and compared, and this is none"));
            return Err(exit::USAGE);
        }
        found.extend(fit);
    }
    Ok(found)
}

/// Says what came out, and the exit code that it means.
pub fn conclude(site: &Site, verdicts: &BTreeMap<StepId, Verdict>) -> u8 {
    let mut code = exit::DONE;
    let mut same = 0;
    for (id, verdict) in verdicts {
        let name = &site.step(*id).name;
        match verdict {
            Verdict::Same => same += 1,
            Verdict::Differs(difference) => {
                code = code.max(exit::JUDGED);
                let path = if difference.path.is_empty() { "its output" } else { difference.path.as_str() };
                note(&format!("\n✗ {name} is not reproducible: built twice, `{path}` differs"));
                note(&format!("  {}", difference.what));
                let [first, second] = &difference.outputs;
                // Folders that steps could read as well; without room for them there is nothing to look at.
                if let (Ok(first), Ok(second)) = (site.store.checkout(first), site.store.checkout(second)) {
                    note(&format!("  look at both: diff -r {} {}", first.display(), second.display()));
                }
            }
            Verdict::Failed(failure) => {
                code = code.max(exit::STEP);
                note(&format!("\n✗ {name} could be built once, and not again: {}", failure.message));
                failure.tail.iter().for_each(|line| note(&format!("  | {line}")));
            }
            Verdict::Open => {}
        }
    }
    let open = verdicts.values().filter(|verdict| matches!(verdict, Verdict::Open)).count();
    let stopped = if open > 0 { format!(", {open} not checked") } else { String::new() };
    note(&format!("{same} of {} step(s) came out the same when built again{stopped}", verdicts.len()));
    code
}
