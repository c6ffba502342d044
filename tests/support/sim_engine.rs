//! The engine of the tests: invents its figures, marks them, and misbehaves as `sim.json` says.

fn main() -> std::process::ExitCode {
    pipe_engine::sim::main()
}
