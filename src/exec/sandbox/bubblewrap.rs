//! The level `strict`: the arguments of bubblewrap.
//!
//! The root is an empty file system into which only what was declared is bound. The supervisor adds a filter of system
//! calls, which closes what namespaces leave open.

use serde::{Deserialize, Serialize};

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::{NETWORK_FILES, PROCESSOR_FILES, STRICT_SECRETS, STRICT_WORKDIR, SYSTEM_FILES, SYSTEM_FOLDERS};
use crate::exec::process::ProcessSpec;
use crate::exec::supervisor::confine::is_loader_variable;

/// What of `/proc` changes the machine: read-only.
const KERNEL_SETTINGS: [&str; 8] = [
    "/proc/sys",
    "/proc/sysrq-trigger",
    "/proc/irq",
    "/proc/bus",
    "/proc/fs",
    "/proc/scsi",
    "/proc/acpi",
    "/proc/mtrr",
];

/// What of `/proc` shows the insides of the kernel: not readable.
const KERNEL_INSIDES: [&str; 10] = [
    "/proc/kcore",
    "/proc/kmsg",
    "/proc/kpagecount",
    "/proc/kpageflags",
    "/proc/kpagecgroup",
    "/proc/slabinfo",
    "/proc/timer_list",
    "/proc/vmallocinfo",
    "/proc/pagetypeinfo",
    "/proc/sched_debug",
];

/// The program `bwrap`, and what its version can do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bubblewrap {
    pub path: PathBuf,
    /// Version 0.8 or newer: namespaces inside the namespace can be ruled out.
    pub disable_userns: bool,
}

impl Bubblewrap {
    /// Reads what `bwrap --help` printed.
    pub fn from_help(path: PathBuf, help: &str) -> Bubblewrap {
        Bubblewrap { path, disable_userns: help.contains("--disable-userns") }
    }

    /// The arguments that run `spec`, and the environment for `bwrap` itself, which it hands on. Variables of
    /// the dynamic loader go by argument, since `bwrap` itself must not follow them; nothing else does,
    /// since arguments can be read by every user of the machine.
    pub fn arguments(
        &self,
        spec: &ProcessSpec,
        env: BTreeMap<String, String>,
    ) -> (Vec<OsString>, BTreeMap<String, String>) {
        let mut line = Line(Vec::new());
        line.add(["--unshare-all", "--unshare-user"]);
        if self.disable_userns {
            line.add(["--disable-userns"]);
        }
        if spec.network {
            line.add(["--share-net"]);
        }
        line.add(["--die-with-parent", "--new-session", "--cap-drop", "ALL", "--hostname", "pipe"]);
        line.add(["--tmpfs", "/", "--proc", "/proc", "--dev", "/dev"]);
        if rustix::process::geteuid().is_root() {
            line.kernel();
        }
        line.system(spec);
        line.bind("--bind", &spec.workdir.join("tmp"), Path::new("/tmp"));
        for root in &spec.tool_roots {
            line.bind("--ro-bind", root, root);
        }
        // After the tools, so that nothing can cover the working folder and its inputs.
        line.bind("--bind", &spec.workdir, Path::new(STRICT_WORKDIR));
        // Small inputs lie in it; larger ones are bound over their places below.
        line.bind("--ro-bind", &spec.workdir.join("in"), &Path::new(STRICT_WORKDIR).join("in"));
        if let Some(secrets) = &spec.secrets {
            line.bind("--ro-bind", &secrets.folder, Path::new(STRICT_SECRETS));
        }
        for mount in &spec.mounts {
            line.bind("--ro-bind", &mount.host, &Path::new(STRICT_WORKDIR).join(&mount.at));
        }
        line.add(["--remount-ro", "/", "--chdir", STRICT_WORKDIR]);
        let (loader, env): (BTreeMap<_, _>, BTreeMap<_, _>) =
            env.into_iter().partition(|(name, _)| is_loader_variable(name));
        for (name, value) in &loader {
            line.add(["--setenv", name, value]);
        }
        line.add(["--"]);
        line.0.push(spec.program.clone().into());
        line.0.extend(spec.args.iter().cloned());
        (line.0, env)
    }
}

/// The command line as it grows.
struct Line(Vec<OsString>);

impl Line {
    fn add<'a>(&mut self, words: impl IntoIterator<Item = &'a str>) {
        self.0.extend(words.into_iter().map(OsString::from));
    }

    fn bind(&mut self, how: &str, host: &Path, at: &Path) {
        self.0.extend([how.into(), host.into(), at.into()]);
    }

    fn system(&mut self, spec: &ProcessSpec) {
        for folder in SYSTEM_FOLDERS {
            match std::fs::read_link(folder) {
                Ok(target) => self.bind("--symlink", &target, Path::new(folder)),
                Err(_) => self.shown(folder),
            }
        }
        SYSTEM_FILES.into_iter().for_each(|path| self.shown(path));
        if spec.network {
            NETWORK_FILES.into_iter().for_each(|path| self.shown(path));
        }
        if spec.devices.is_empty() {
            PROCESSOR_FILES.into_iter().for_each(|path| self.shown(path));
        } else {
            self.shown("/sys");
        }
        for device in &spec.devices {
            self.bind("--dev-bind-try", device, device);
        }
    }

    /// Files of `/proc` that are the machine's and not the step's. The kernel asks only who owns them, so root without
    /// a single capability may still read and write them; for everybody else they are closed anyway.
    fn kernel(&mut self) {
        let there = |path: &&Path| path.exists();
        for path in KERNEL_SETTINGS.map(Path::new).iter().copied().filter(there) {
            self.bind("--ro-bind", path, path);
        }
        for path in KERNEL_INSIDES.map(Path::new).iter().copied().filter(there) {
            self.bind("--ro-bind", Path::new("/dev/null"), path);
        }
    }

    /// A path of the system, where this system has it. Links (`/etc/resolv.conf` is one on many systems) are
    /// followed by the mount itself.
    fn shown(&mut self, path: &str) {
        self.bind("--ro-bind-try", Path::new(path), Path::new(path));
    }
}
