//! The same pipeline in fifteen different surroundings: one set of keys and digests.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::syscalls::has;
use crate::place::{Place, Truth};
use crate::sweep::{Asked, Tally, sweep};
use crate::verdict::{Bad, Rule};

/// Changes the surroundings of a command that is already complete; an error says what the host lacks.
type Vary = fn(&mut Place, &mut Command) -> Result<(), String>;

const VARIATIONS: [(&str, Vary); 15] = [
    ("another path", |_, _| Ok(())),
    ("a deep working folder", |place, command| moved(place, command, &"deep/".repeat(30))),
    ("another user", another_user),
    ("no home", |_, command| set(command, "HOME", "/nonexistent")),
    ("a French locale", |_, command| {
        set(command, "LANG", "fr_FR.UTF-8")?;
        set(command, "LC_ALL", "C")
    }),
    ("another time zone", |_, command| set(command, "TZ", "Pacific/Kiritimati")),
    ("umask 077", |_, command| below(command, &["sh", "-c", "umask 077; exec \"$@\"", "sh"])),
    ("umask 000", |_, command| below(command, &["sh", "-c", "umask 000; exec \"$@\"", "sh"])),
    ("another host name", |_, command| {
        below(command, &["unshare", "--uts", "sh", "-c", "hostname elsewhere; exec \"$@\"", "sh"])
    }),
    ("more variables, in another order", |_, command| {
        for name in ["ZZZ", "AAA", "MAKEFLAGS", "CFLAGS", "PYTHONPATH", "LD_BIND_NOW", "POSIXLY_CORRECT"] {
            command.env(name, "1");
        }
        Ok(())
    }),
    ("one processor", |_, command| below(command, &["taskset", "-c", "0"])),
    ("one step at a time", |_, command| {
        command.args(["--jobs", "1"]);
        Ok(())
    }),
    ("no random addresses", |_, command| below(command, &["setarch", "-R"])),
    ("another temporary folder", |place, command| {
        let folder = place.root().join("another tmp");
        std::fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
        command.env("TMPDIR", folder);
        Ok(())
    }),
    ("files in another order, ten years old", shuffled),
];

/// Varies.
pub fn run(asked: &Asked) -> Result<Tally, String> {
    let truth = Place::new(asked, "vary-scout")?.truth(&[])?;
    let sandboxes: &[&'static str] = if has("bwrap") { &["off", "strict"] } else { &["off"] };
    let lacking = std::sync::Mutex::new(Vec::new());
    let mut tally = sweep("vary", asked, VARIATIONS.len(), |index| {
        let (name, vary) = VARIATIONS[index];
        let mut parts = Vec::new();
        for sandbox in sandboxes {
            match varied(asked, index, sandbox, vary, &truth) {
                Ok(bad) => parts.push((format!("{name}, sandbox {sandbox}"), bad)),
                Err(lack) if lack.starts_with("lacks ") => {
                    lacking.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(format!("{name}: {lack}"));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(parts)
    });
    let lacking = lacking.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    if !lacking.is_empty() {
        tally.skipped = Some(lacking.join("; "));
    }
    tally.notes.push(format!("under {} sandboxes each; 1 set of keys and digests expected", sandboxes.len()));
    Ok(tally)
}

fn varied(asked: &Asked, index: usize, sandbox: &'static str, vary: Vary, truth: &Truth) -> Result<Vec<Bad>, String> {
    let mut place = Place::new(asked, &format!("vary-{index}-{sandbox}"))?;
    place.sandbox = sandbox;
    let words = place.run_words(&[], &place.events("varied"));
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut command = place.command(&words);
    vary(&mut place, &mut command)?;
    let ended = place.start("varied", &mut command)?.wait(Duration::from_secs(60))?;
    if ended.code != Some(0) {
        let words = crate::checker::indented(&ended.err);
        return Ok(vec![Bad::new(Rule::NextRun, format!("it ends with {:?}\n{words}", ended.code))]);
    }
    let mut bad = crate::checker::same(&truth.made, &place.view().made());
    if place.exports()? != truth.exports {
        bad.push(Bad::new(Rule::Same, "what was given back differs"));
    }
    bad.extend(place.view().bad);
    Ok(bad)
}

fn set(command: &mut Command, name: &str, value: &str) -> Result<(), String> {
    command.env(name, value);
    Ok(())
}

/// The same command below another program.
fn below(command: &mut Command, wrapper: &[&str]) -> Result<(), String> {
    if !has(wrapper[0]) {
        return Err(format!("lacks `{}`", wrapper[0]));
    }
    let mut words: Vec<std::ffi::OsString> = wrapper.iter().map(Into::into).collect();
    words.push(command.get_program().to_owned());
    words.extend(command.get_args().map(ToOwned::to_owned));
    let mut new = Command::new(&words[0]);
    new.args(&words[1..]).env_clear().stdin(std::process::Stdio::null());
    new.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    new.current_dir(command.get_current_dir().unwrap_or(Path::new("/")));
    *command = new;
    Ok(())
}

/// The project elsewhere.
fn moved(place: &mut Place, command: &mut Command, to: &str) -> Result<(), String> {
    let folder: PathBuf = place.root().join(to).join("project");
    crate::folder::copy(&place.project(), &folder).map_err(|error| error.to_string())?;
    command.current_dir(folder);
    Ok(())
}

fn another_user(place: &mut Place, command: &mut Command) -> Result<(), String> {
    if !rustix::process::geteuid().is_root() {
        return Err("lacks root, to become another user".to_owned());
    }
    let owned = Command::new("chown").args(["-R", "65534:65534"]).arg(place.root()).status();
    if !owned.is_ok_and(|status| status.success()) {
        return Err("lacks `chown`".to_owned());
    }
    // The program itself may lie where only root looks.
    let copy = place.root().join("pipe");
    std::fs::copy(&place.pipe, &copy).map_err(|error| error.to_string())?;
    let mut words: Vec<std::ffi::OsString> = vec![copy.into()];
    words.extend(command.get_args().map(ToOwned::to_owned));
    let mut new = Command::new(&words[0]);
    new.args(&words[1..]).env_clear().envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    new.current_dir(command.get_current_dir().unwrap_or(Path::new("/")));
    *command = new;
    // What other users can't enter, such as a private search path, is left out.
    command.env("PATH", "/usr/local/bin:/usr/bin:/bin");
    below(command, &["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"])
}

/// The same files, made in the opposite order and dated otherwise, so that a folder lists them differently.
fn shuffled(place: &mut Place, command: &mut Command) -> Result<(), String> {
    let folder = place.root().join("shuffled/project");
    reversed(&place.project(), &folder).map_err(|error| error.to_string())?;
    command.current_dir(folder);
    Ok(())
}

fn reversed(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    let mut children: Vec<_> = std::fs::read_dir(from)?.collect::<Result<_, _>>()?;
    children.sort_by_key(std::fs::DirEntry::file_name);
    for child in children.iter().rev() {
        let target = to.join(child.file_name());
        match child.file_type()? {
            kind if kind.is_dir() => reversed(&child.path(), &target)?,
            kind if kind.is_symlink() => std::os::unix::fs::symlink(std::fs::read_link(child.path())?, &target)?,
            _ => {
                std::fs::copy(child.path(), &target)?;
                let old = std::time::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
                std::fs::File::open(&target)?.set_modified(old)?;
            }
        }
    }
    Ok(())
}
