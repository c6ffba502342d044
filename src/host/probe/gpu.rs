//! NVIDIA accelerators, as the driver's management library tells them.
//!
//! The library is opened while running, where there is one; without it there are simply no accelerators.

use std::ffi::OsStr;

use nvml_wrapper::Nvml;

use super::linux::gib;
use crate::host::Gpu;

/// Where the library is when the loader does not find it by its name: containers and Nix systems.
const PLACES: &[&str] = &[
    "libnvidia-ml.so.1",
    "/usr/local/nvidia/lib64/libnvidia-ml.so.1",
    "/usr/local/nvidia/lib/libnvidia-ml.so.1",
    "/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.1",
    "/usr/lib/aarch64-linux-gnu/libnvidia-ml.so.1",
    "/usr/lib64/libnvidia-ml.so.1",
    "/usr/lib/wsl/lib/libnvidia-ml.so.1",
    "/run/opengl-driver/lib/libnvidia-ml.so.1",
];

/// The library, opened; `None` where there is none, or no driver answers it.
pub fn library() -> Option<Nvml> {
    PLACES.iter().find_map(|place| Nvml::builder().lib_path(OsStr::new(place)).init().ok())
}

/// The accelerators in the driver's order, and the driver's full version.
pub fn nvidia() -> (Vec<Gpu>, Option<String>) {
    if !cfg!(target_os = "linux") {
        return (Vec::new(), None);
    }
    let Some(nvml) = library() else { return (Vec::new(), None) };
    let driver = nvml.sys_driver_version().ok();
    let major = driver.as_deref().and_then(|version| version.split('.').next()).unwrap_or("").to_owned();
    let gpus = (0..nvml.device_count().unwrap_or(0))
        .filter_map(|index| {
            let device = nvml.device_by_index(index).ok()?;
            let memory = device.memory_info().map_or(0, |memory| memory.total);
            Some(Gpu { model: device.name().ok()?, memory_gib: gib(memory), driver_major: major.clone() })
        })
        .collect();
    (gpus, driver)
}
