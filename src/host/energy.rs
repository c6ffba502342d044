//! Energy, where the machine counts it and tells it without special rights.
//!
//! A CUDA device's energy is what NVIDIA's management library has counted since the driver was loaded (Volta and newer);
//! a CPU's is what its packages have counted (RAPL, by `/sys/class/powercap`, which many systems let only root read).
//! Both count all of the device, whoever uses it, and neither counts the rest of the machine. Everything else is not
//! measured, with its reason. What was worked meanwhile is not known here.

use std::path::Path;

use nvml_wrapper::Nvml;

use super::probe::{System, library};

/// Packages that are asked.
const MOST: u32 = 16;

/// A counter of energy, opened.
pub struct Meter {
    counter: Counter,
    /// How, in words for a report.
    pub method: String,
}

enum Counter {
    Nvml { nvml: Box<Nvml>, index: u32 },
    Rapl { system: System, packages: Vec<Package> },
}

/// One processor's counter, and where it begins anew.
struct Package {
    path: String,
    range: u64,
}

/// What the counters told, in microjoules: one number for each of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted(Vec<u64>);

impl Meter {
    /// Of an NVIDIA GPU, by its number.
    pub fn gpu(index: u32) -> Result<Meter, String> {
        let nvml = Box::new(library().ok_or("NVIDIA's management library can't be opened")?);
        let counter = Counter::Nvml { nvml, index };
        let method = format!("NVML total energy counter, GPU {index} alone");
        Meter { counter, method }.that_counts("the GPU has no energy counter, or does not tell it here")
    }

    /// Of this machine's processors; `root` is where the system's files lie.
    pub fn cpu(root: &Path) -> Result<Meter, String> {
        if cfg!(target_os = "macos") {
            return Err("a Mac tells its energy by a private interface, which is not asked".to_owned());
        }
        Meter::packages(System::at(root))
    }

    fn packages(system: System) -> Result<Meter, String> {
        let path = |package: u32| format!("sys/class/powercap/intel-rapl:{package}");
        let there = (0..MOST).map(path).filter(|path| system.exists(path));
        let packages: Vec<Package> = there
            .filter_map(|path| {
                let range = system.line(&format!("{path}/max_energy_range_uj"))?.parse().ok()?;
                // `psys` counts the platform, its packages once more.
                let is_package = system.line(&format!("{path}/name"))?.starts_with("package");
                is_package.then_some(Package { path, range })
            })
            .collect();
        if packages.is_empty() {
            return Err("the system tells no energy of its processors (`/sys/class/powercap`)".to_owned());
        }
        let method = match packages.len() {
            1 => "RAPL, processor package alone".to_owned(),
            count => format!("RAPL, {count} processor packages alone"),
        };
        let counter = Counter::Rapl { system, packages };
        Meter { counter, method }.that_counts(
            "the processors count their energy, and only root may read it (`/sys/class/powercap/intel-rapl:0/energy_uj`)",
        )
    }

    fn that_counts(self, else_say: &str) -> Result<Meter, String> {
        if self.read().is_some() { Ok(self) } else { Err(else_say.to_owned()) }
    }

    /// What has been counted so far.
    pub fn read(&self) -> Option<Counted> {
        match &self.counter {
            Counter::Nvml { nvml, index } => {
                let millijoules = nvml.device_by_index(*index).ok()?.total_energy_consumption().ok()?;
                Some(Counted(vec![millijoules.checked_mul(1000)?]))
            }
            Counter::Rapl { system, packages } => {
                let counted = packages.iter().map(|p| system.line(&format!("{}/energy_uj", p.path))?.parse().ok());
                counted.collect::<Option<_>>().map(Counted)
            }
        }
    }

    /// Microjoules between two readings; a counter that came to its end begins at nought once.
    pub fn between(&self, before: &Counted, after: &Counted) -> Option<u64> {
        let pairs = before.0.iter().zip(&after.0).enumerate();
        pairs
            .map(|(at, (before, after))| match &self.counter {
                _ if after >= before => Some(after - before),
                Counter::Rapl { packages, .. } => packages.get(at)?.range.checked_sub(*before)?.checked_add(*after),
                // The driver was loaded again.
                Counter::Nvml { .. } => None,
            })
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A machine with these packages: name, counter, range.
    fn machine(packages: &[(&str, &str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (at, (name, energy, range)) in packages.iter().enumerate() {
            let path = folder.path().join(format!("sys/class/powercap/intel-rapl:{at}"));
            fs::create_dir_all(&path).unwrap();
            for (file, text) in [("name", name), ("energy_uj", energy), ("max_energy_range_uj", range)] {
                fs::write(path.join(file), format!("{text}\n")).unwrap();
            }
        }
        folder
    }

    fn meter(folder: &tempfile::TempDir) -> Result<Meter, String> {
        Meter::packages(System::at(folder.path()))
    }

    #[test]
    fn packages_are_added_and_the_platform_is_not() {
        let folder = machine(&[("package-0", "1000", "9000"), ("package-1", "500", "9000"), ("psys", "7", "9000")]);
        let meter = meter(&folder).unwrap();
        assert_eq!(meter.method, "RAPL, 2 processor packages alone");
        let before = meter.read().unwrap();
        assert_eq!(before, Counted(vec![1000, 500]));
        fs::write(folder.path().join("sys/class/powercap/intel-rapl:0/energy_uj"), "4000\n").unwrap();
        fs::write(folder.path().join("sys/class/powercap/intel-rapl:1/energy_uj"), "600\n").unwrap();
        assert_eq!(meter.between(&before, &meter.read().unwrap()), Some(3100));
    }

    #[test]
    fn a_counter_that_began_anew_is_no_loss() {
        let folder = machine(&[("package-0", "8990", "9000")]);
        let meter = meter(&folder).unwrap();
        let before = meter.read().unwrap();
        fs::write(folder.path().join("sys/class/powercap/intel-rapl:0/energy_uj"), "30\n").unwrap();
        assert_eq!(meter.between(&before, &meter.read().unwrap()), Some(40));
    }

    #[test]
    fn what_is_not_told_has_a_reason() {
        let reason = |folder: &tempfile::TempDir| meter(folder).err().unwrap();
        assert!(reason(&machine(&[])).contains("tells no energy"));
        assert!(reason(&machine(&[("psys", "7", "9000")])).contains("tells no energy"));
        // Root's alone: a file that can't be read says nothing.
        let folder = machine(&[("package-0", "", "9000")]);
        assert!(reason(&folder).contains("only root may read it"));
    }
}
