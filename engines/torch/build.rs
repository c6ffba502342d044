//! Compiles the shim and tells the linker where the engine will find libtorch: beside itself, in `../lib`.
//!
//! `LIBTORCH` names a folder with `include/` and `lib/`; torch-sys finds it and passes the path on. That
//! path must not get into the program, which shall be the same bytes wherever it was built.

use std::error::Error;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=src/shim.cpp");
    let lib = std::env::var_os("DEP_TCH_LIBTORCH_LIB").ok_or("torch-sys told no folder of libtorch")?;
    let lib = PathBuf::from(lib);
    let include = lib.parent().ok_or("the folder of libtorch's libraries has no parent")?.join("include");
    cc::Build::new()
        .cpp(true)
        .pic(true)
        .warnings(false)
        .include(&include)
        .include(include.join("torch/csrc/api/include"))
        .flag("-std=c++17")
        .file("src/shim.cpp")
        .compile("pipe_torch_shim");

    let origin = match std::env::var("CARGO_CFG_TARGET_OS")?.as_str() {
        "macos" => "@loader_path/../lib",
        _ => "$ORIGIN/../lib",
    };
    println!("cargo:rustc-link-arg=-Wl,-rpath,{origin}");
    Ok(())
}
