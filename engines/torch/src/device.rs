//! Opens the device, or says why it isn't there and what would bring it. Knows no models.

use std::ffi::{CStr, CString, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use pipe_engine::message::{Device, Fault};

use crate::shim;

/// Opens the device; for CUDA its libraries come from the environment's folder.
pub fn open(device: Device, cuda_libraries: Option<&Path>) -> Result<tch::Device, Fault> {
    match device {
        Device::Cpu => Ok(tch::Device::Cpu),
        Device::Cuda => open_cuda(cuda_libraries),
        Device::Mps if tch::utils::has_mps() => Ok(tch::Device::Mps),
        Device::Mps => Err(Fault::no_device("this libtorch has no Metal device; `mps` needs a Mac with Apple silicon")),
        Device::Coreml => Err(Fault::no_device("libtorch has no CoreML device; the onnx engine has one")),
    }
}

fn open_cuda(libraries: Option<&Path>) -> Result<tch::Device, Fault> {
    let Some(libraries) = libraries else {
        return Err(Fault::no_device(
            "`cuda` needs the Python environment that holds `torch/lib/libtorch_cuda.so`, and none was given",
        ));
    };
    load(&libraries.join("torch/lib/libtorch_cuda.so"))?;
    if !tch::Cuda::is_available() {
        return Err(Fault::no_device(
            "libtorch sees no CUDA device; the machine needs an NVIDIA GPU and a driver that is recent enough",
        ));
    }
    Ok(tch::Device::Cuda(0))
}

/// Opens a library for the rest of the process's life, with its symbols for everyone.
fn load(path: &Path) -> Result<(), Fault> {
    let named = |what: &str| Fault::no_device(format!("`{}` cannot be opened: {what}", path.display()));
    let name = CString::new(path.as_os_str().as_bytes()).map_err(|_| named("its path holds a zero byte"))?;
    // SAFETY: the name is a string of C, and loading runs the constructors of a library that was asked for.
    let handle: *mut c_void = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_GLOBAL) };
    if !handle.is_null() {
        return Ok(());
    }
    // SAFETY: no other thread of this process opens libraries; the text is copied before the next call.
    let error = unsafe { libc::dlerror() };
    if error.is_null() {
        return Err(named("the loader gives no reason"));
    }
    // SAFETY: what `dlerror` returns is a string of C.
    Err(named(&unsafe { CStr::from_ptr(error) }.to_string_lossy()))
}

/// Waits until the device has done what it was given.
pub fn synchronize(device: tch::Device) -> Result<(), Fault> {
    match device {
        tch::Device::Cuda(index) => {
            let index = i64::try_from(index).map_err(|_| Fault::failed("a device's number is too large"))?;
            tch::Cuda::synchronize(index);
            Ok(())
        }
        tch::Device::Mps if !shim::synchronize_mps() => Err(Fault::failed("the Metal device cannot be waited for")),
        _ => Ok(()),
    }
}
