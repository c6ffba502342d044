//! Opens ONNX Runtime itself and asks what it is. Knows no models.

use std::collections::BTreeMap;
use std::ffi::{CStr, c_char, c_void};
use std::path::{Path, PathBuf};

use ort::environment::Environment;
use pipe_engine::message::Fault;

use crate::fault;

/// The library, and its words about itself.
pub struct Library {
    pub environment: Environment,
    pub about: BTreeMap<String, String>,
}

/// Opens the library that lies in `../lib` of this program.
pub fn open() -> Result<Library, Fault> {
    let path = path()?;
    let named = |error: &dyn std::fmt::Display| {
        Fault::failed(format!("ONNX Runtime cannot be opened from `{}`: {error}", path.display()))
    };
    let builder = ort::init_from(&path).map_err(|error| named(&error))?;
    let environment =
        builder.with_name("pipe").with_telemetry(false).build().map_err(fault("starting ONNX Runtime"))?;
    let version = version(&path).map_err(|error| named(&error))?;
    let about = [
        ("onnxruntime".to_owned(), version),
        ("onnxruntime-build".to_owned(), ort::info().trim_start_matches("ORT Build Info: ").to_owned()),
    ];
    Ok(Library { environment, about: about.into() })
}

fn path() -> Result<PathBuf, Fault> {
    let exe = std::env::current_exe()
        .map_err(|error| Fault::failed(format!("this program cannot tell where it lies: {error}")))?;
    let home = exe.parent().and_then(Path::parent).unwrap_or(Path::new("/"));
    Ok(home.join("lib").join(format!("libonnxruntime{}", std::env::consts::DLL_SUFFIX)))
}

/// The first two entries of the library's C interface, which no version of it has changed.
#[repr(C)]
struct ApiBase {
    api: *const c_void,
    version: unsafe extern "C" fn() -> *const c_char,
}

fn version(path: &Path) -> Result<String, libloading::Error> {
    // SAFETY: the library is open already; this gives a further handle to it.
    let library = unsafe { libloading::Library::new(path) }?;
    // SAFETY: the symbol has had this type since the interface was made.
    let base = unsafe { library.get::<unsafe extern "C" fn() -> *const ApiBase>(b"OrtGetApiBase") }?;
    // SAFETY: both functions take nothing; the text is a constant of the library, and copied at once.
    let text = unsafe { CStr::from_ptr(((*base()).version)()) };
    Ok(text.to_string_lossy().into_owned())
}
