//! The `pipe` program; everything is in the library.

fn main() -> std::process::ExitCode {
    pipe::cli::main(std::env::args_os())
}
