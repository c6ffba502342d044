//! What the machine has for steps, and who may have it: processors, memory, GPUs, and the machine as a whole.
//!
//! A step holds a [`Grant`] while it runs. First this run's own bounds are asked (`-j`, `--memory`), then the
//! [`Slots`] that all processes of this user share, so that two runs together take no more than the machine has.
//! A measurement holds all processors, so nothing of ours runs beside it, in this process or in another. Who has
//! nothing running and gets nothing insists: then it is the next one, and no run waits for ever.

use std::path::{Path, PathBuf};

use super::priority::Demand;
use super::site::Site;
use super::slots::{Kind, PIECE, Slots, Units};
use crate::pipeline::Needs;

/// Processors of a machine that is taken as a whole: more than any has.
const ALL: u64 = 1 << 20;

/// The room of a run.
#[derive(Debug)]
pub struct Pools {
    room: Demand,
    free: Demand,
    /// What the machine has for all runs together.
    machine: Demand,
    /// What a step has just given back, until the next one is started or none is: most need what the one before needed,
    /// and then nothing is let go of and locked again.
    spare: Option<Grant>,
    slots: Slots,
    who: String,
}

/// What a running step holds; given back by [`Pools::give`].
#[derive(Debug)]
pub struct Grant {
    demand: Demand,
    cpu: Units,
    memory: Units,
    gpu: Units,
}

impl Grant {
    /// Of a step that runs in another's room: the cells of a group have the machine together.
    pub fn shared() -> Grant {
        Grant { demand: Demand::default(), cpu: Units::new(), memory: Units::new(), gpu: Units::new() }
    }

    /// Which GPUs are this step's, by number.
    pub fn gpus(&self) -> Vec<u64> {
        self.gpu.iter().cloned().flatten().collect()
    }
}

impl Pools {
    /// The room of a run, with warnings: where other runs can't be seen, and where there is less than was asked for.
    pub fn open(site: &Site) -> (Pools, Vec<String>) {
        let who = format!("pid {}, {}", std::process::id(), site.pipeline.name);
        let folder = folder(site);
        let (slots, warning) = match Slots::open(&folder, &who) {
            Ok(slots) => (slots, None),
            Err(error) => {
                let shown = folder.display();
                let text = format!(
                    "`{shown}` can't be used: {error}; other runs on this machine are not seen, and may slow this one \
                     (`PIPE_RUNTIME` names another folder)"
                );
                (Slots::alone(), Some(text))
            }
        };
        let mut room = room(site);
        let most = by_descriptors(open_files());
        let lowered = (most < room.cpu).then(|| {
            format!("this shell allows {} open files (`ulimit -n`): at most {most} steps at a time", open_files())
        });
        room.cpu = room.cpu.min(most);
        let warnings: Vec<String> = warning.into_iter().chain(lowered).collect();
        (Pools::new(room, on_machine(site), slots, who), warnings)
    }

    /// The room of a run that starts nothing, or that shares with nobody.
    pub fn alone(site: &Site) -> Pools {
        Pools::new(room(site), on_machine(site), Slots::alone(), String::new())
    }

    fn new(room: Demand, machine: Demand, slots: Slots, who: String) -> Pools {
        Pools { room, free: room, machine, spare: None, slots, who }
    }

    /// What a step holds while it runs; one that asks for more than there is runs with nothing beside it.
    pub fn demand(&self, needs: &Needs) -> Demand {
        Demand {
            cpu: needs.cpu.clamp(1, self.room.cpu),
            memory: needs.memory.min(self.room.memory),
            gpu: needs.gpu.min(self.room.gpu),
        }
    }

    /// What of it nobody holds.
    pub fn free(&self) -> &Demand {
        &self.free
    }

    /// Takes what a build needs, which must be [`Pools::free`]; `Err` says on whom it waits.
    /// `idle` says that nothing of this run is under way.
    pub fn take(&mut self, demand: Demand, idle: bool) -> Result<Grant, String> {
        let grant = match self.shared_out(&demand, idle) {
            Ok(Some(grant)) => grant,
            Ok(None) => return Err(self.held_by()),
            Err(_) => self.without_others(&demand),
        };
        self.free.cpu -= demand.cpu;
        self.free.memory -= demand.memory;
        self.free.gpu -= demand.gpu;
        self.slots.let_others();
        Ok(grant)
    }

    /// Takes the machine for a measurement, once nothing of this run is under way; `Err` says on whom it waits.
    pub fn take_machine(&mut self, step: &str) -> Result<Grant, String> {
        self.let_go();
        let demand = self.room;
        let cpu = match self.slots.insist() {
            Ok(false) => return Err(self.held_by()),
            Ok(true) => self.slots.take(Kind::Cpu, ALL, ALL),
            Err(error) => Err(error),
        };
        let cpu = match cpu {
            Ok(Some(cpu)) => cpu,
            Ok(None) => return Err(self.held_by()),
            Err(_) => Units::new(),
        };
        self.slots.note(&format!("{}, measures {step}", self.who));
        self.slots.let_others();
        self.free = Demand::default();
        Ok(Grant { demand, cpu, memory: Units::new(), gpu: Units::new() })
    }

    /// Takes back what a step held.
    pub fn give(&mut self, grant: Grant) {
        self.lay_by(grant);
        self.let_go();
    }

    /// Takes back what a step held, for the next step of this run. Others have it when it is let go of, which is due
    /// once it is known what starts next.
    pub fn lay_by(&mut self, grant: Grant) {
        self.free.cpu += grant.demand.cpu;
        self.free.memory += grant.demand.memory;
        self.free.gpu += grant.demand.gpu;
        let whole = grant.cpu.first().is_some_and(|range| range.end == ALL);
        self.let_go();
        self.spare = Some(grant);
        if whole {
            // More than any build needs.
            self.slots.note(&self.who);
            self.let_go();
        }
    }

    /// Lets other processes have what was given back and nobody here took up again.
    pub fn let_go(&mut self) {
        let Some(grant) = self.spare.take() else { return };
        self.slots.give(Kind::Cpu, &grant.cpu);
        self.slots.give(Kind::Memory, &grant.memory);
        self.slots.give(Kind::Gpu, &grant.gpu);
    }

    fn shared_out(&mut self, demand: &Demand, idle: bool) -> std::io::Result<Option<Grant>> {
        if !self.slots.may_take()? {
            self.let_go();
            return Ok(None);
        }
        if let Some(spare) = self.spare.take_if(|spare| spare.demand == *demand) {
            return Ok(Some(spare));
        }
        self.let_go();
        // A run that was given more than the machine has shares what it takes beyond that with nobody.
        let mut grant = Grant { demand: *demand, cpu: Units::new(), memory: Units::new(), gpu: Units::new() };
        let pieces = |bytes: u64| bytes.div_ceil(PIECE);
        let wanted = [
            (Kind::Cpu, u64::from(demand.cpu), u64::from(self.machine.cpu)),
            (Kind::Memory, pieces(demand.memory), pieces(self.machine.memory)),
            (Kind::Gpu, u64::from(demand.gpu), u64::from(self.machine.gpu)),
        ];
        for (kind, wanted, there) in wanted {
            let Some(units) = self.slots.take(kind, wanted.min(there), there)? else {
                self.slots.give(Kind::Cpu, &grant.cpu);
                self.slots.give(Kind::Memory, &grant.memory);
                if idle {
                    self.slots.insist()?;
                }
                return Ok(None);
            };
            match kind {
                Kind::Cpu => grant.cpu = units,
                Kind::Memory => grant.memory = units,
                Kind::Gpu => grant.gpu = units,
            }
        }
        Ok(Some(grant))
    }

    /// A file system without locks: this run goes on by its own bounds.
    fn without_others(&mut self, demand: &Demand) -> Grant {
        self.slots = Slots::alone();
        let gpu = self.slots.take(Kind::Gpu, u64::from(demand.gpu), u64::from(self.machine.gpu));
        let gpu = gpu.ok().flatten().unwrap_or_default();
        Grant { demand: *demand, cpu: Units::new(), memory: Units::new(), gpu }
    }

    fn held_by(&self) -> String {
        let mut others = self.slots.others();
        match others.len() {
            0 => "another pipe uses this machine".to_owned(),
            1 => format!("another pipe uses this machine ({})", others.remove(0)),
            n => format!("{n} other pipes use this machine ({}, …)", others.remove(0)),
        }
    }
}

/// What steps of this run may hold together.
fn room(site: &Site) -> Demand {
    Demand { cpu: site.slots, memory: site.memory, gpu: on_machine(site).gpu }
}

/// How many files this process may hold open.
fn open_files() -> u64 {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// How many steps can run at a time with so many open files: each has pipes, a log and a supervisor to talk to.
fn by_descriptors(files: u64) -> u32 {
    const OURS: u64 = 32;
    const EACH: u64 = 8;
    u32::try_from(files.saturating_sub(OURS) / EACH).unwrap_or(u32::MAX).max(1)
}

fn on_machine(site: &Site) -> Demand {
    let machine = &site.facts.machine;
    let gpu = u32::try_from(machine.gpus.len()).unwrap_or(u32::MAX);
    // Who says `-j 64` on two cores means it.
    let cpu = machine.usable_cores.max(site.slots);
    Demand { cpu, memory: site.memory.max(machine.memory_gib << 30), gpu }
}

/// Where all processes of this user look: the same whatever session or schedule started them.
fn folder(site: &Site) -> PathBuf {
    if let Some(named) = site.env.get("PIPE_RUNTIME").filter(|named| !named.is_empty()) {
        return PathBuf::from(named);
    }
    let user = rustix::process::geteuid().as_raw();
    let given = PathBuf::from(format!("/run/user/{user}"));
    if given.is_dir() { given.join("pipe") } else { Path::new("/tmp").join(format!("pipe-{user}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn pools(folder: &Path, who: &str, cpu: u32) -> Pools {
        let machine = Demand { cpu: 4, memory: 8 * GIB, gpu: 2 };
        let room = Demand { cpu, ..machine };
        let slots = Slots::open(&folder.join("run"), who).expect("slots");
        Pools::new(room, machine, slots, who.to_owned())
    }

    fn cpus(cpu: u32) -> Demand {
        Demand { cpu, memory: GIB, gpu: 0 }
    }

    #[test]
    fn two_runs_take_no_more_than_the_machine_has() {
        let folder = tempfile::tempdir().expect("a folder");
        let (mut one, mut two) = (pools(folder.path(), "one", 4), pools(folder.path(), "two", 4));
        let first = one.take(cpus(3), true).expect("room");
        assert_eq!(two.take(cpus(2), false).expect_err("only one is left"), "another pipe uses this machine (one)");
        let small = two.take(cpus(1), true).expect("room");
        assert_eq!(one.free().cpu, 1, "by its own bounds");
        assert!(one.take(cpus(1), false).is_err());
        two.give(small);
        one.give(first);
        assert!(two.take(Demand { cpu: 1, memory: 6 * GIB, gpu: 0 }, true).is_ok());
        assert!(one.take(Demand { cpu: 1, memory: 3 * GIB, gpu: 0 }, false).is_err(), "memory");
        assert!(one.take(Demand { cpu: 1, memory: 2 * GIB, gpu: 0 }, false).is_ok(), "nothing of it was kept");
    }

    #[test]
    fn what_is_laid_by_is_for_the_next_step_or_for_others() {
        let folder = tempfile::tempdir().expect("a folder");
        let (mut one, mut two) = (pools(folder.path(), "one", 4), pools(folder.path(), "two", 4));
        let first = one.take(cpus(4), true).expect("room");
        one.lay_by(first);
        assert!(two.take(cpus(1), false).is_err(), "not yet");
        let next = one.take(cpus(4), false).expect("what was laid by");
        one.lay_by(next);
        assert!(one.take(cpus(2), false).is_ok(), "what is laid by keeps no other demand out");
        let rest = two.take(cpus(2), false).expect("and the rest was let go of");
        two.lay_by(rest);
        two.let_go();
        assert!(one.take(cpus(2), false).is_ok());
        let third = two.take(cpus(1), true).expect_err("all is taken");
        assert_eq!(third, "another pipe uses this machine (one)");
        assert!(one.take(cpus(1), false).is_err(), "who insists is next, whatever is laid by");
    }

    #[test]
    fn who_has_nothing_running_is_next() {
        let folder = tempfile::tempdir().expect("a folder");
        let (mut one, mut two) = (pools(folder.path(), "one", 4), pools(folder.path(), "two", 4));
        let held = one.take(cpus(2), true).expect("room");
        assert!(two.take(cpus(4), true).is_err());
        assert!(one.take(cpus(1), false).is_err(), "two processors are free, but another run has the next turn");
        one.give(held);
        let all = two.take(cpus(4), true).expect("its turn");
        two.give(all);
        assert!(one.take(cpus(1), false).is_ok());
    }

    #[test]
    fn a_measurement_is_alone_on_the_machine() {
        let folder = tempfile::tempdir().expect("a folder");
        let (mut one, mut two) = (pools(folder.path(), "one", 4), pools(folder.path(), "two", 4));
        let build = one.take(cpus(1), true).expect("room");
        assert!(two.take_machine("speed").is_err());
        assert!(one.take(cpus(1), false).is_err(), "new builds are held back");
        one.give(build);
        let alone = two.take_machine("speed").expect("the machine");
        let waits = one.take(cpus(1), true).expect_err("it measures");
        assert_eq!(waits, "another pipe uses this machine (two, measures speed)");
        two.give(alone);
        assert_eq!((two.free().cpu, two.free().memory), (4, 8 * GIB));
        assert!(two.take_machine("speed").is_err(), "the one that waited comes first");
        assert!(one.take(cpus(1), true).is_ok());
    }

    #[test]
    fn each_step_has_gpus_of_its_own() {
        let folder = tempfile::tempdir().expect("a folder");
        let (mut one, mut two) = (pools(folder.path(), "one", 4), pools(folder.path(), "two", 4));
        let gpu = Demand { cpu: 1, memory: 0, gpu: 1 };
        let first = one.take(gpu, true).expect("a GPU");
        let second = two.take(gpu, true).expect("a GPU");
        assert_eq!((first.gpus(), second.gpus()), (vec![0], vec![1]));
        assert!(one.take(gpu, false).is_err());
    }

    #[test]
    fn few_open_files_are_few_steps_but_never_none() {
        assert_eq!((by_descriptors(1024), by_descriptors(64), by_descriptors(8)), (124, 4, 1));
        assert_eq!(by_descriptors(u64::MAX), u32::MAX);
    }

    #[test]
    fn more_than_the_machine_has_is_a_bound_of_its_own() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut many = pools(folder.path(), "many", 64);
        let all = many.take(Demand { cpu: 64, memory: GIB, gpu: 0 }, true).expect("all of it");
        assert_eq!(many.free().cpu, 0);
        many.give(all);
        assert_eq!(many.free().cpu, 64);
    }
}
