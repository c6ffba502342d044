//! What a step needs of the machine, and whether it is there. A step that lacks something is unavailable, with the
//! reason and what would change it; it never starts and never fails.

use super::outcome::Lack;
use super::site::Site;
use super::{secrets, world};
use crate::host::Machine;
use crate::pipeline::{Action, Needs, Step};

/// Why this machine can't do a step that has no result yet, where it can't.
pub fn lack(site: &Site, step: &Step) -> Option<Lack> {
    of_machine(&step.needs, &site.facts.machine).or_else(|| match &step.action {
        Action::Measure(measure) => world::lack(site, measure),
        Action::Run(run) => secrets::lack(site, run),
        _ => None,
    })
}

fn of_machine(needs: &Needs, machine: &Machine) -> Option<Lack> {
    if let Some(os) = needs.os.as_ref().filter(|os| **os != machine.os) {
        let reason = format!("it needs {}, and this machine has {}", system(os), system(&machine.os));
        return Some(Lack::new(reason, format!("run the same pipeline on a machine with {}", system(os))));
    }
    if let Some(arch) = needs.arch.as_ref().filter(|arch| **arch != machine.architecture) {
        let reason = format!("it needs a processor of kind {arch}, and this machine's is {}", machine.architecture);
        return Some(Lack::new(reason, format!("run the same pipeline on a machine of kind {arch}")));
    }
    let gpus = machine.gpus.len();
    if needs.gpu as usize > gpus {
        let there = match gpus {
            0 => "none answers on this machine".to_owned(),
            n => format!("this machine has {n}"),
        };
        let reason = format!("it needs {}, and {there}", counted(u64::from(needs.gpu), "GPU"));
        return Some(Lack::new(reason, "run the same pipeline on a machine with as many GPUs and their driver"));
    }
    if needs.cpu > machine.usable_cores && machine.usable_cores > 0 {
        let there = machine.usable_cores;
        let reason = format!("it needs {}, and {there} can be used here", counted(u64::from(needs.cpu), "processor"));
        return Some(Lack::new(reason, "run the same pipeline on a larger machine, or ask for less: `needs cpu=`"));
    }
    // A machine never has quite what is on its label: what is rounded up to whole GiB counts.
    if needs.memory > machine.memory_gib << 30 && machine.memory_gib > 0 {
        let wanted = size(needs.memory);
        let reason = format!("it needs {wanted} of memory, and this machine has {} GiB", machine.memory_gib);
        return Some(Lack::new(reason, "run the same pipeline on a larger machine, or ask for less: `needs memory=`"));
    }
    None
}

fn system(os: &str) -> &str {
    match os {
        "linux" => "Linux",
        "macos" => "macOS",
        other => other,
    }
}

fn counted(n: u64, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

fn size(bytes: u64) -> String {
    let gib = bytes as f64 / f64::from(1 << 30);
    if gib.fract() == 0.0 { format!("{gib} GiB") } else { format!("{gib:.2} GiB") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Gpu;

    fn reason(needs: Needs) -> Option<String> {
        let gpus = vec![Gpu::default()];
        let machine = Machine {
            os: "linux".to_owned(),
            architecture: "x86_64".to_owned(),
            usable_cores: 2,
            memory_gib: 24,
            gpus,
            ..Machine::default()
        };
        of_machine(&needs, &machine).map(|lack| {
            assert!(lack.remedy.is_some());
            lack.reason
        })
    }

    #[test]
    fn what_is_there_is_no_lack() {
        assert_eq!(reason(Needs::default()), None);
        let all = Needs {
            cpu: 2,
            memory: 24 << 30,
            gpu: 1,
            os: Some("linux".to_owned()),
            arch: Some("x86_64".to_owned()),
            ..Needs::default()
        };
        assert_eq!(reason(all), None);
        assert_eq!(of_machine(&Needs { cpu: 9, memory: 1 << 40, ..Needs::default() }, &Machine::default()), None);
    }

    #[test]
    fn what_is_missing_is_told_with_what_is_there() {
        let some = |text: &str| Some(text.to_owned());
        let said = |needs: Needs| reason(needs).unwrap_or_default();
        assert_eq!(said(Needs { os: some("macos"), ..Needs::default() }), "it needs macOS, and this machine has Linux");
        assert_eq!(
            said(Needs { arch: some("aarch64"), ..Needs::default() }),
            "it needs a processor of kind aarch64, and this machine's is x86_64"
        );
        assert_eq!(said(Needs { gpu: 2, ..Needs::default() }), "it needs 2 GPUs, and this machine has 1");
        assert_eq!(said(Needs { cpu: 64, ..Needs::default() }), "it needs 64 processors, and 2 can be used here");
        assert_eq!(
            said(Needs { memory: (24 << 30) + (512 << 20), ..Needs::default() }),
            "it needs 24.50 GiB of memory, and this machine has 24 GiB"
        );
    }
}
