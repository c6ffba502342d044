//! The facts of a Mac, out of its `sysctl` values.
//!
//! The values are first written as the text that `sysctl` prints, so that the reading of it is tested everywhere.
//! Only [`sysctl_text`] has a part for macOS, which no test of ours ever ran.

use super::linux::gib;
use crate::host::{Facts, Gpu, Machine, Recorded};

/// The names that are asked.
#[cfg_attr(not(target_os = "macos"), expect(dead_code, reason = "asked on a Mac alone"))]
const NAMES: &[&str] = &[
    "kern.osproductversion",
    "kern.osrelease",
    "kern.hv_vmm_present",
    "machdep.cpu.brand_string",
    "hw.physicalcpu",
    "hw.logicalcpu",
    "hw.memsize",
    "hw.optional.arm.FEAT_DotProd",
    "hw.optional.arm.FEAT_I8MM",
    "hw.optional.arm.FEAT_BF16",
    "hw.optional.avx2_0",
    "hw.optional.avx512f",
];

/// The facts in the text of `sysctl`: lines of `name: value`.
pub fn facts(text: &str, architecture: &str) -> Facts {
    let value = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim);
    let number = |name: &str| value(name).and_then(|text| text.parse::<u64>().ok());
    let count = |name: &str| number(name).and_then(|n| u32::try_from(n).ok());
    let release = value("kern.osproductversion").unwrap_or("");
    let major = release.split('.').next().unwrap_or("").to_owned();
    let model = value("machdep.cpu.brand_string").unwrap_or("unknown").to_owned();
    let memory_gib = number("hw.memsize").map_or(0, gib);
    let logical_cores = count("hw.logicalcpu").unwrap_or(1);
    // Apple's own chips hold their accelerator, which shares the memory and whose driver is the system's.
    let gpus = match model.starts_with("Apple ") {
        true => vec![Gpu { model: format!("{model} GPU"), memory_gib, driver_major: major.clone() }],
        false => Vec::new(),
    };
    let virtual_machine = number("kern.hv_vmm_present") == Some(1);
    Facts {
        machine: Machine {
            os: "macos".to_owned(),
            os_version: format!("macos {major}"),
            architecture: architecture.to_owned(),
            libc: "libSystem".to_owned(),
            cpu_model: model,
            physical_cores: count("hw.physicalcpu"),
            logical_cores,
            usable_cores: logical_cores,
            cpu_quota_milli: None,
            memory_gib,
            gpus,
            virtualisation: if virtual_machine { "vm" } else { "none" }.to_owned(),
        },
        recorded: Recorded {
            kernel: value("kern.osrelease").unwrap_or("").to_owned(),
            os_long: format!("macOS {release}"),
            simd: simd(architecture, |name| number(name) == Some(1)),
            ..Recorded::default()
        },
    }
}

fn simd(architecture: &str, has: impl Fn(&str) -> bool) -> Vec<String> {
    const KNOWN: &[(&str, &str)] = &[
        ("hw.optional.arm.FEAT_DotProd", "dotprod"),
        ("hw.optional.arm.FEAT_I8MM", "i8mm"),
        ("hw.optional.arm.FEAT_BF16", "bf16"),
        ("hw.optional.avx2_0", "avx2"),
        ("hw.optional.avx512f", "avx512f"),
    ];
    let neon = (architecture == "aarch64").then(|| "neon".to_owned());
    neon.into_iter().chain(KNOWN.iter().filter(|(name, _)| has(name)).map(|(_, simd)| (*simd).to_owned())).collect()
}

/// What `sysctl` would print for the names that matter.
#[cfg(target_os = "macos")]
pub fn sysctl_text() -> String {
    use std::ffi::{CString, c_char, c_int, c_void};
    unsafe extern "C" {
        fn sysctlbyname(
            name: *const c_char,
            old: *mut c_void,
            length: *mut usize,
            new: *mut c_void,
            new_length: usize,
        ) -> c_int;
    }
    let ask = |name: &str| -> Option<String> {
        let c_name = CString::new(name).ok()?;
        let mut buffer = [0u8; 256];
        let mut length = buffer.len();
        // SAFETY: the buffer is valid for `length` bytes, the name ends in NUL, and nothing is set.
        let failed =
            unsafe { sysctlbyname(c_name.as_ptr(), buffer.as_mut_ptr().cast(), &mut length, std::ptr::null_mut(), 0) };
        let bytes = buffer.get(..length).filter(|_| failed == 0)?;
        let text = std::str::from_utf8(bytes).ok().map(|text| text.trim_end_matches('\0'));
        let is_text = name.ends_with("string") || name.starts_with("kern.os");
        let value = match (bytes.len(), is_text) {
            (4, false) => u32::from_ne_bytes(bytes.try_into().ok()?).to_string(),
            (8, false) => u64::from_ne_bytes(bytes.try_into().ok()?).to_string(),
            _ => text?.to_owned(),
        };
        Some(format!("{name}: {value}\n"))
    };
    NAMES.iter().filter_map(|name| ask(name)).collect()
}

/// Other systems have no such values.
#[cfg(not(target_os = "macos"))]
pub fn sysctl_text() -> String {
    String::new()
}
