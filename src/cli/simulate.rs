//! The facts of this machine; or, for tests of several machines on one, of a machine that is made up and says so.
//!
//! What is made up is marked where nobody can take it off: its virtualisation is `simulated`, which is in its line, in
//! its machine key and thus in every record, and no real machine answers so.

use super::output::note;
use super::{env, exit};
use crate::host::{Facts, Machine, SIMULATED, probe};

/// The facts, changed by the JSON object in the file that `PIPE_SIMULATED_HOST` names, where it is set.
pub fn facts() -> Result<Facts, u8> {
    let facts = probe::probe();
    let Some(path) = env::path("PIPE_SIMULATED_HOST") else { return Ok(facts) };
    let machine = std::fs::read_to_string(&path).map_err(|error| error.to_string()).and_then(|text| {
        let changes: serde_json::Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
        simulated(&facts.machine, &changes)
    });
    match machine {
        Ok(machine) => Ok(Facts { machine, ..facts }),
        Err(why) => {
            note(&format!("pipe: PIPE_SIMULATED_HOST names `{}`, which describes no machine: {why}", path.display()));
            Err(exit::USAGE)
        }
    }
}

fn simulated(machine: &Machine, changes: &serde_json::Value) -> Result<Machine, String> {
    let mut value = serde_json::to_value(machine).map_err(|error| error.to_string())?;
    let (Some(fields), Some(changes)) = (value.as_object_mut(), changes.as_object()) else {
        return Err("it is no JSON object".to_owned());
    };
    for (name, change) in changes {
        if fields.insert(name.clone(), change.clone()).is_none() {
            return Err(format!("a machine has no `{name}`"));
        }
    }
    fields.insert("virtualisation".to_owned(), SIMULATED.into());
    serde_json::from_value(value).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_up_says_so() {
        let real = Machine { cpu_model: "One".to_owned(), usable_cores: 2, ..Machine::default() };
        let changes = serde_json::json!({ "cpu_model": "Other", "virtualisation": "none" });
        let machine = simulated(&real, &changes).expect("a machine");
        assert_eq!((machine.cpu_model.as_str(), machine.usable_cores), ("Other", 2));
        assert!(machine.line().ends_with("(simulated)"), "{}", machine.line());
        assert!(simulated(&real, &serde_json::json!({ "cpu": "Other" })).is_err());
        assert!(simulated(&real, &serde_json::json!(7)).is_err());
    }
}
