//! The level `fs` on Linux: which files Landlock leaves open.

use std::path::PathBuf;

use super::{NETWORK_FILES, SYSTEM_FILES, SYSTEM_FOLDERS};
use crate::exec::process::ProcessSpec;
use crate::exec::supervisor::wire::Rules;

/// Devices that every program may use.
const PLAIN_DEVICES: [&str; 6] = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty"];

/// The rules for `spec`.
pub fn rules(spec: &ProcessSpec) -> Rules {
    let mut read: Vec<PathBuf> = SYSTEM_FOLDERS.iter().chain(&SYSTEM_FILES).map(PathBuf::from).collect();
    // Both are the system's: libraries read there what processors and devices it has.
    read.extend(["/proc".into(), "/sys".into()]);
    if spec.network {
        read.extend(NETWORK_FILES.iter().map(PathBuf::from));
        // Where `/etc/resolv.conf` leads on systems whose resolver writes it.
        read.push("/run/systemd/resolve".into());
    }
    read.extend(spec.tool_roots.iter().cloned());
    read.extend(spec.mounts.iter().map(|mount| mount.host.clone()));
    read.extend(spec.secrets.iter().map(|secrets| secrets.folder.clone()));
    // A program that lies in no declared folder must still be startable.
    read.push(spec.program.clone());
    let plain = PLAIN_DEVICES.iter().map(PathBuf::from);
    Rules {
        read,
        write: vec![spec.workdir.clone()],
        devices: plain.chain(spec.devices.iter().cloned()).collect(),
        network: spec.network,
    }
}
