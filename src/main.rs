fn main() -> std::process::ExitCode {
    let mut args = std::env::args_os().skip(1);
    match args.next() {
        Some(word) if word == "__sup" => pipe::exec::supervisor::main(args),
        _ => std::process::ExitCode::SUCCESS,
    }
}
