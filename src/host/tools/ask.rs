//! Starts a program for its answer, with a clean environment, a neutral folder and a time limit.

use std::fs::File;
use std::io::{Read, Seek};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::{ToolEnv, ToolError};

/// A shim on a cold disk may take seconds; one that takes this long hangs.
const LIMIT: Duration = Duration::from_secs(30);

/// What `program args` writes to its standard output, of which at most 64 MiB count.
#[expect(clippy::disallowed_methods, reason = "this is where tools are asked what they are")]
pub fn ask(program: &Path, args: &[&str], env: &ToolEnv) -> Result<String, ToolError> {
    let silent = |why: String| ToolError::Silent {
        program: program.to_owned(),
        command: std::iter::once(program.display().to_string())
            .chain(args.iter().map(|arg| (*arg).to_owned()))
            .collect::<Vec<_>>()
            .join(" "),
        why,
    };
    let failed = |error: std::io::Error| silent(error.to_string());
    // Files and not pipes: a child of the shim that stays behind could hold a pipe open for ever.
    let (mut out, mut err) = (tempfile::tempfile().map_err(failed)?, tempfile::tempfile().map_err(failed)?);
    let mut child = Command::new(program)
        .args(args)
        .env_clear()
        .envs(&env.vars)
        .env("LC_ALL", "C.UTF-8")
        // Not the user's folder: a `.python-version` or an override for it would decide for every step.
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(out.try_clone().map_err(failed)?)
        .stderr(err.try_clone().map_err(failed)?)
        .spawn()
        .map_err(failed)?;
    let started = Instant::now();
    let mut pause = Duration::from_millis(1);
    let status = loop {
        if let Some(status) = child.try_wait().map_err(failed)? {
            break status;
        }
        if started.elapsed() > LIMIT {
            // Both can only fail when it ended in this moment, and the answer is late all the same.
            let _ = child.kill();
            let _ = child.wait();
            return Err(silent(format!("no answer within {} s", LIMIT.as_secs())));
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    };
    if !status.success() {
        let words = text(&mut err).map_err(failed)?;
        let last = words.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("").trim().to_owned();
        return Err(silent(format!("{status}: {last}")));
    }
    text(&mut out).map_err(failed)
}

fn text(file: &mut File) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.take(64 << 20).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
