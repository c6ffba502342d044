//! The words and the JSON of `pipe why`.

use serde_json::{Value, json};

use super::cause::{Cause, Comparison, Difference, Found, Within};
use super::explain;
use super::history as past;
use super::why::{Behind, Told};
use super::why_past::{Apart, Runs};
use crate::exec::history::Run;
use crate::key::Change;

/// A step, as it stands now.
pub fn of_step(told: &Told) -> String {
    let mut out = format!("{}: {}\n", told.step, told.said);
    body(told, &mut out);
    out
}

fn body(told: &Told, out: &mut String) {
    let mut line = |text: &str| out.push_str(&format!("  {text}\n"));
    if let Some(help) = &told.help {
        line(help);
    }
    told.machines.iter().for_each(|row| line(&format!("{}: {} there, {} here", row.what, row.old, row.new)));
    if let Some(hit) = &told.hit {
        told.key.iter().for_each(|key| line(&format!("key     {key}")));
        hit.lines.iter().for_each(|(what, said)| line(&format!("{what:7} {said}")));
    }
    if let Some(cause) = &told.cause {
        of_cause(cause, 1, out);
    }
    for Behind { step, depth, said, cause } in &told.behind {
        out.push_str(&format!("{}← {step}: {said}\n", "  ".repeat(*depth)));
        if let Some(cause) = cause {
            of_cause(cause, depth + 1, out);
        }
    }
    if let Some(against) = &told.against {
        out.push_str(&format!("  compared with {against}\n"));
    }
}

/// What differs, each with its place and with what lies behind it.
fn of_cause(cause: &Cause, depth: usize, out: &mut String) {
    let indent = "  ".repeat(depth);
    match cause.found {
        Found::Differs => {}
        Found::Same => {
            out.push_str(&format!("{indent}all that it depends on is the same: it does not repeat its bytes\n"))
        }
        Found::NotKept => out.push_str(&format!("{indent}the store no longer has what it depended on\n")),
        Found::Told => out.push_str(&format!("{indent}as above\n")),
    }
    for difference in &cause.differences {
        let place = difference.place.as_ref().map(|place| format!("   {place}")).unwrap_or_default();
        out.push_str(&format!("{indent}{}{place}\n", leaf(difference)));
        match &difference.within {
            Within::Itself {} => {}
            Within::Files { files, more } => {
                for file in files {
                    let path = if file.path.is_empty() { "it" } else { &file.path };
                    out.push_str(&format!("{indent}    {path} {}\n", file.what));
                }
                if *more > 0 {
                    out.push_str(&format!("{indent}    and {more} more\n"));
                }
            }
            Within::MadeBy(inner) => {
                out.push_str(&format!("{indent}← {} made it:\n", inner.step));
                of_cause(inner, depth + 1, out);
            }
        }
    }
}

fn leaf(difference: &Difference) -> String {
    let Difference { leaf, old, new, .. } = difference;
    explain::change(&Change { path: leaf.clone(), old: old.clone(), new: new.clone(), origin: None })
}

/// Two runs: in what they differ as a whole, and then step by step.
pub fn of_runs(runs: &Runs, told: &[Told]) -> String {
    let mut out = match (&runs.old, runs.between) {
        (Some(old), true) => {
            format!("{} and\n{} of {}\n", past::run_line(old), past::run_line(&runs.new), name(&runs.new))
        }
        _ => format!("{} of {}\n", past::run_line(&runs.new), name(&runs.new)),
    };
    for row in runs.apart() {
        out.push_str(&format!("  {}: {} → {}\n", row.what, row.old, row.new));
    }
    let follows = |told: &&Told| told.cause.as_ref().is_some_and(Comparison::follows);
    // Of one step all is told; of many, those with a reason of their own come first, and the rest in a line each.
    let many = told.len() > 1;
    for told in told.iter().filter(|told| !many || !follows(told)) {
        out.push_str(&format!("\n{}: {}\n", told.step, told.said));
        body(told, &mut out);
    }
    let rest: Vec<&Told> = told.iter().filter(|told| many && follows(told)).collect();
    if !rest.is_empty() {
        out.push_str("\nand what follows from these:\n");
        for told in rest {
            out.push_str(&format!("  {}: {}\n", told.step, told.state));
        }
    }
    if told.is_empty() {
        let said = if runs.between { "every step has the same key in both" } else { "nothing ran in it" };
        out.push_str(&format!("  {said}\n"));
    }
    out
}

fn name(run: &Run) -> &str {
    &run.record.pipeline
}

/// One JSON object: `{"schema": "pipe-why/1", …}`.
pub fn json(pipeline: &str, runs: Option<&Runs>, told: &[Told]) -> String {
    let steps: Vec<Value> = told.iter().map(step).collect();
    let run =
        |run: &Run| json!({ "id": run.id.to_string(), "started": run.record.started, "machine": run.record.machine });
    let apart = runs.map(Runs::apart).unwrap_or_default();
    let value = json!({
        "schema": "pipe-why/1",
        "pipeline": pipeline,
        "old": runs.and_then(|runs| runs.old.as_ref()).map(run),
        "new": runs.map(|runs| run(&runs.new)),
        "differs": rows(&apart),
        "steps": steps,
    });
    serde_json::to_string_pretty(&value).unwrap_or_default()
}

fn rows(apart: &[Apart]) -> Vec<Value> {
    apart.iter().map(|row| json!({ "what": row.what, "old": row.old, "new": row.new })).collect()
}

fn step(told: &Told) -> Value {
    let hit = told.hit.as_ref().map(|hit| {
        let lines: Vec<Value> = hit.lines.iter().map(|(what, said)| json!({ "what": what, "said": said })).collect();
        json!({ "output": hit.output, "lines": lines })
    });
    let behind = |behind: &Behind| json!({ "step": behind.step, "depth": behind.depth, "said": behind.said, "cause": behind.cause });
    json!({
        "step": told.step,
        "state": told.state,
        "said": told.said,
        "key": told.key.map(|key| key.to_string()),
        "help": told.help,
        "machines": rows(&told.machines),
        "hit": hit,
        "cause": told.cause,
        "against": told.against,
        "behind": told.behind.iter().map(behind).collect::<Vec<_>>(),
    })
}
