//! Reads from ONNX Runtime's own log where it placed the nodes of a graph: the one source that every
//! version has. Knows neither sessions nor devices.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

/// Listens until it is told to stop, and counts.
#[derive(Default)]
pub struct Listener {
    deaf: AtomicBool,
    found: Mutex<BTreeMap<String, u64>>,
}

impl Listener {
    /// Takes one line of the log.
    pub fn hear(&self, line: &str) {
        if self.deaf.load(Ordering::Relaxed) {
            return;
        }
        if let (Some((provider, nodes)), Ok(mut found)) = (parse(line), self.found.lock()) {
            *found.entry(provider.to_owned()).or_default() += nodes;
        }
    }

    /// Ends the listening and says how many nodes each provider got.
    pub fn finish(&self) -> BTreeMap<String, u64> {
        self.deaf.store(true, Ordering::Relaxed);
        self.found.lock().map(|found| found.clone()).unwrap_or_default()
    }
}

/// ` Node(s) placed on [P]. Number of nodes: N`, or `All nodes placed on …`.
fn parse(line: &str) -> Option<(&str, u64)> {
    let (_, rest) = line.split_once("placed on [")?;
    let (provider, rest) = rest.split_once("]. Number of nodes: ")?;
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    Some((provider, rest[..digits].parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_about_placement_are_counted_until_the_end() {
        let listener = Listener::default();
        listener.hear("Node placements");
        listener.hear(" Node(s) placed on [CoreMLExecutionProvider]. Number of nodes: 12");
        listener.hear("All nodes placed on [CPUExecutionProvider]. Number of nodes: 1465\n");
        let expected =
            BTreeMap::from([("CPUExecutionProvider".to_owned(), 1465), ("CoreMLExecutionProvider".to_owned(), 12)]);
        assert_eq!(listener.finish(), expected);
        listener.hear("All nodes placed on [CPUExecutionProvider]. Number of nodes: 1");
        assert_eq!(listener.finish(), expected);
    }
}
