//! The safe side of `shim.cpp`. Knows no models.

use std::ffi::{CStr, c_char, c_int};

unsafe extern "C" {
    safe fn pipe_torch_allow_reduced_precision(allowed: bool) -> bool;
    safe fn pipe_torch_reduced_precision() -> c_int;
    safe fn pipe_torch_synchronize_mps() -> bool;
    fn pipe_torch_cuda_peak(bytes: *mut u64) -> bool;
    fn pipe_torch_about(what: c_int, to: *mut c_char, size: usize);
}

/// Allows or forbids TF32 and sums of reduced precision; false where libtorch refuses.
pub fn allow_reduced_precision(allowed: bool) -> bool {
    pipe_torch_allow_reduced_precision(allowed)
}

/// What is allowed now; `None` where libtorch doesn't say.
pub fn reduced_precision() -> Option<bool> {
    match pipe_torch_reduced_precision() {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    }
}

/// Waits for the Metal device; false where there is none.
pub fn synchronize_mps() -> bool {
    pipe_torch_synchronize_mps()
}

/// Peak bytes that the caching allocator of CUDA held.
pub fn cuda_peak() -> Option<u64> {
    let mut bytes = 0;
    // SAFETY: the pointer is to a number that lives through the call.
    unsafe { pipe_torch_cuda_peak(&raw mut bytes) }.then_some(bytes)
}

/// What the library can be asked of itself; the numbers are those of `shim.cpp`.
#[derive(Debug, Clone, Copy)]
pub enum About {
    Config = 0,
    Simd = 1,
    Mkl = 2,
    OneDnn = 3,
    OpenMp = 4,
}

/// Its words, at most 64 KiB of them.
pub fn about(what: About) -> String {
    let mut text = vec![0_u8; 1 << 16];
    // SAFETY: the buffer is as long as is said, and the shim ends what it writes with a zero.
    unsafe { pipe_torch_about(what as c_int, text.as_mut_ptr().cast(), text.len()) };
    CStr::from_bytes_until_nul(&text).map_or_else(|_| String::new(), |text| text.to_string_lossy().into_owned())
}
