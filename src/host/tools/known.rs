//! The tools that tell their version, and how each is asked.

use std::path::{Path, PathBuf};

use super::ask::ask;
use super::{Tool, ToolEnv, ToolError, digest_version};

/// Looks behind the file that was found.
pub fn probe(name: &str, file: &Path, env: &ToolEnv) -> Result<Tool, ToolError> {
    match name {
        "python3" | "python" => python(name, file, env),
        "cargo" | "rustc" => rust(name, file, env),
        "cc" | "c++" | "gcc" | "g++" | "clang" | "clang++" => compiler(name, file, env),
        _ => by_digest(name, file, env),
    }
}

fn by_digest(name: &str, file: &Path, env: &ToolEnv) -> Result<Tool, ToolError> {
    let real = match pyenv_of_shim(file) {
        Some(pyenv) => PathBuf::from(ask(&pyenv, &["which", name], env)?.trim()),
        None => file.to_owned(),
    };
    let real = real_path(&real)?;
    Ok(Tool { name: name.to_owned(), version: digest_version(&real)?, roots: roots([folder_of(&real)]), real })
}

/// pyenv puts one and the same script under the name of every program of every interpreter; it alone knows which
/// one is meant.
fn pyenv_of_shim(file: &Path) -> Option<PathBuf> {
    let shims = file.parent().filter(|folder| folder.ends_with("shims"))?;
    let pyenv = shims.parent()?.join("bin/pyenv");
    pyenv.is_file().then_some(pyenv)
}

/// `-S` keeps the start fast and `-I` keeps the user's own modules out; a prefix is known without either.
const PYTHON: &str = "import sys, platform\n\
    print(sys.executable)\n\
    print(sys.prefix)\n\
    print(sys.base_prefix)\n\
    print(sys.base_exec_prefix)\n\
    print(platform.python_implementation(), platform.python_version())\n";

/// The interpreter of a virtual environment stays that interpreter: it finds the environment's packages.
fn python(name: &str, file: &Path, env: &ToolEnv) -> Result<Tool, ToolError> {
    let answer = ask(file, &["-I", "-B", "-c", PYTHON], env)?;
    let lines: Vec<&str> = answer.lines().collect();
    let [executable, prefix, base_prefix, base_exec_prefix, version] = lines[..] else {
        return Err(unreadable(file, "python3 --version", &answer));
    };
    if !executable.starts_with('/') {
        return Err(unreadable(file, "python3 -c 'import sys; print(sys.executable)'", &answer));
    }
    let version = version.strip_prefix("CPython ").map_or_else(|| version.to_owned(), |v| format!("Python {v}"));
    let folders = [prefix, base_prefix, base_exec_prefix].map(PathBuf::from);
    Ok(Tool { name: name.to_owned(), real: PathBuf::from(executable), version, roots: roots(folders) })
}

/// rustup's proxies are one program under many names; it alone knows which toolchain is meant.
fn rust(name: &str, file: &Path, env: &ToolEnv) -> Result<Tool, ToolError> {
    let target = real_path(file)?;
    let is_proxy = target.file_name().is_some_and(|target| target == "rustup");
    let neighbour = file.with_file_name("rustup");
    let rustup = if is_proxy { Some(target.as_path()) } else { neighbour.is_file().then_some(neighbour.as_path()) };
    let real = match rustup {
        // Some installations hold copies of the proxy, which only rustup itself tells from a real program.
        Some(rustup) => match ask(rustup, &["which", name], env) {
            Ok(answer) => PathBuf::from(answer.trim()),
            Err(error) if is_proxy => return Err(error),
            Err(_) => target,
        },
        None => target,
    };
    let answer = ask(&real, if name == "rustc" { &["-vV"] } else { &["-V"] }, env)?;
    let version = match name {
        "rustc" => rustc_version(&answer),
        _ => answer.lines().next().map(str::to_owned),
    };
    let version = version.ok_or_else(|| unreadable(&real, &format!("{name} -V"), &answer))?;
    // The toolchain is the folder above `bin`; cargo starts the rustc beside it.
    let toolchain = real.parent().and_then(Path::parent).map(Path::to_owned);
    Ok(Tool { name: name.to_owned(), version, roots: roots(toolchain), real })
}

/// `rustc 1.95.0 (59807616e 2026-04-14) x86_64-unknown-linux-gnu LLVM 22.1.0`.
fn rustc_version(answer: &str) -> Option<String> {
    let value = |key: &str| answer.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
    Some(format!("{} {} LLVM {}", answer.lines().next()?, value("host:")?, value("LLVM version:").unwrap_or("?")))
}

/// The first line holds the maker's full version, and the target says for what it compiles.
fn compiler(name: &str, file: &Path, env: &ToolEnv) -> Result<Tool, ToolError> {
    let real = real_path(file)?;
    let answer = ask(file, &["--version"], env)?;
    let first = answer.lines().next().unwrap_or("").trim();
    if first.is_empty() {
        return Err(unreadable(file, &format!("{name} --version"), &answer));
    }
    let target = ask(file, &["-dumpmachine"], env)?;
    // The name it was called by stands first and is `cc` here and `gcc` there.
    let maker = first.split_once(' ').filter(|(word, _)| *word == name).map_or(first, |(_, rest)| rest);
    let version = format!("{maker} {}", target.trim());
    Ok(Tool { name: name.to_owned(), version, roots: roots([folder_of(&real)]), real })
}

fn real_path(file: &Path) -> Result<PathBuf, ToolError> {
    file.canonicalize().map_err(|source| ToolError::File { path: file.to_owned(), source })
}

fn folder_of(file: &Path) -> PathBuf {
    file.parent().unwrap_or(file).to_owned()
}

fn unreadable(program: &Path, command: &str, answer: &str) -> ToolError {
    let answer: String = answer.chars().take(80).flat_map(char::escape_debug).collect();
    ToolError::Silent {
        program: program.to_owned(),
        command: command.to_owned(),
        why: format!("it answers `{answer}`"),
    }
}

/// Folders that every sandbox shows anyway.
const SYSTEM: &[&str] = &["/usr", "/bin", "/sbin", "/lib", "/lib64", "/System", "/Library/Developer"];

/// The folders outside the system's own, each once and none below another.
fn roots(folders: impl IntoIterator<Item = PathBuf>) -> Vec<PathBuf> {
    let mut kept: Vec<PathBuf> = folders
        .into_iter()
        .filter(|folder| folder.parent().is_some() && !SYSTEM.iter().any(|system| folder.starts_with(system)))
        .collect();
    kept.sort();
    kept.dedup_by(|later, earlier| later.starts_with(&*earlier));
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roots_leave_out_the_system_and_what_is_below_another() {
        let folders = ["/usr/lib/x", "/opt/py", "/opt/py/lib", "/opt/python", "/"].map(PathBuf::from);
        assert_eq!(roots(folders), [PathBuf::from("/opt/py"), PathBuf::from("/opt/python")]);
    }

    #[test]
    fn a_compiler_of_rust_is_known_by_version_host_and_back_end() {
        let answer = "rustc 1.95.0 (59807616e 2026-04-14)\nbinary: rustc\nhost: x86_64-unknown-linux-gnu\nLLVM version: 22.1.0\n";
        let expected = "rustc 1.95.0 (59807616e 2026-04-14) x86_64-unknown-linux-gnu LLVM 22.1.0";
        assert_eq!(rustc_version(answer).as_deref(), Some(expected));
        assert_eq!(rustc_version(""), None);
    }
}
