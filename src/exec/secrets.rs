//! Secrets: values that a step reads from a file of its own, and that nothing else ever holds.
//!
//! A secret is known by its name, in keys as everywhere else. Its value comes from `pipe`'s own environment or from
//! a file that a flag names, when a step that has no result yet is about to run. The step gets the path of a file in
//! memory, which goes away with its process. What it prints, leaves behind or is called is searched for the value.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::outcome::{Failure, Lack};
use super::process::redact::Redactor;
use super::site::Site;
use crate::pipeline::{Input, Run, run_inputs};

/// More than any key or token.
const MOST_BYTES: u64 = 64 << 10;

/// A shorter value would be found in half of all texts.
const LEAST_BYTES: usize = 4;

/// A secret and its value, which no text of ours shows.
#[derive(Clone)]
pub struct Secret {
    pub name: String,
    pub value: Vec<u8>,
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({})", self.name)
    }
}

/// The secrets that a process is given, by name.
pub fn names(run: &Run) -> BTreeSet<&str> {
    fn name(input: &Input) -> Option<&str> {
        match input {
            Input::Secret { name } => Some(name),
            _ => None,
        }
    }
    run_inputs(run).into_iter().filter_map(name).collect()
}

/// Why a process can't have its secrets, where it can't.
pub fn lack(site: &Site, run: &Run) -> Option<Lack> {
    names(run).into_iter().find_map(|name| read(site, name).err())
}

/// The secrets of a process.
pub fn of(site: &Site, run: &Run) -> Result<Vec<Secret>, Lack> {
    let one = |name: &str| Ok(Secret { name: name.to_owned(), value: read(site, name)? });
    names(run).into_iter().map(one).collect()
}

fn read(site: &Site, name: &str) -> Result<Vec<u8>, Lack> {
    let remedy = format!("set the environment variable `{name}`, or name a file that holds it: `--secret {name}=FILE`");
    let value = match (site.secret_files.get(name), site.env.get(name)) {
        (Some(path), _) => read_file(path).map_err(|error| {
            let reason = format!("the secret `{name}` can't be read from `{}`: {error}", path.display());
            Lack::new(reason, format!("see what `--secret {name}=` names, and who may read it"))
        })?,
        (None, Some(value)) => value.clone().into_bytes(),
        (None, None) => return Err(Lack::new(format!("the secret `{name}` is not given"), remedy)),
    };
    match value.trim_ascii().len() {
        0 => Err(Lack::new(format!("the secret `{name}` is empty"), remedy)),
        n if n < LEAST_BYTES => {
            let reason =
                format!("the secret `{name}` is shorter than {LEAST_BYTES} bytes, too short to be kept out of logs");
            Err(Lack::new(reason, remedy))
        }
        _ => Ok(value),
    }
}

/// The passwords in the settings of this user's network, which tools print when they fail: of proxies and of indexes.
pub fn logins(env: &BTreeMap<String, String>) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    for (name, value) in env {
        if ["PASSWORD", "TOKEN", "SECRET"].iter().any(|word| name.ends_with(word)) {
            found.push(value.as_bytes().to_vec());
        }
        for (_, rest) in value.match_indices("://").map(|(at, sign)| value[at..].split_at(sign.len())) {
            let authority = rest.split(|c: char| "/?#".contains(c) || c.is_whitespace()).next().unwrap_or_default();
            let Some((login, _)) = authority.rsplit_once('@') else { continue };
            // A token alone stands in the place of the name.
            let password = login.split_once(':').map_or(login, |(_, password)| password);
            found.push(password.as_bytes().to_vec());
        }
    }
    found.retain(|password| password.len() >= LEAST_BYTES);
    found
}

fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let mut value = Vec::new();
    File::open(path)?.take(MOST_BYTES + 1).read_to_end(&mut value)?;
    match value.len() as u64 > MOST_BYTES {
        true => Err(io::Error::other(format!("it is larger than {} KiB", MOST_BYTES >> 10))),
        false => Ok(value),
    }
}

/// Makes what is told of a failed step free of the values.
pub fn hide_in(failure: Failure, redactor: &Redactor) -> Failure {
    let hide = |text: String| redactor.text(&text);
    Failure {
        message: hide(failure.message),
        help: failure.help.map(hide),
        tail: failure.tail.into_iter().map(hide).collect(),
        command: failure.command.map(hide),
        workdir: failure.workdir,
    }
}

/// What lies below a folder and holds a value, in its content, its name or as a link's target; paths relative to it.
pub fn holders(folder: &Path, redactor: &Redactor) -> io::Result<Vec<String>> {
    let mut found = Vec::new();
    let mut open = vec![String::new()];
    while let Some(inner) = open.pop() {
        for entry in std::fs::read_dir(folder.join(&inner))? {
            let entry = entry?;
            let name = entry.file_name();
            let path = if inner.is_empty() { name.clone() } else { format!("{inner}/{}", name.display()).into() };
            let path = path.to_string_lossy().into_owned();
            let kind = entry.file_type()?;
            let holds = redactor.is_in(name.as_encoded_bytes())
                || (kind.is_symlink()
                    && redactor.is_in(std::fs::read_link(entry.path())?.as_os_str().as_encoded_bytes()))
                || (kind.is_file() && redactor.is_in_stream(File::open(entry.path())?)?);
            if holds {
                found.push(path);
            } else if kind.is_dir() {
                open.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Removes from a folder that is kept for a look whatever holds a value; all of it where that can't be told.
pub fn scrub(folder: &Path, redactor: &Redactor) {
    match holders(folder, redactor) {
        Ok(found) => found.iter().for_each(|path| remove(&folder.join(path))),
        Err(_) => std::fs::read_dir(folder).into_iter().flatten().flatten().for_each(|entry| remove(&entry.path())),
    }
}

fn remove(path: &Path) {
    let gone =
        if path.is_dir() && !path.is_symlink() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
    // A step may have taken away the right to remove; then the content goes.
    if gone.is_err() {
        let _ = std::fs::write(path, b"");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_holds_a_value_is_found_and_removed() {
        let folder = tempfile::tempdir().unwrap();
        let at = |path: &str| folder.path().join(path);
        std::fs::create_dir_all(at("a/b")).unwrap();
        std::fs::write(at("a/b/plain"), "nothing").unwrap();
        std::fs::write(at("a/b/token"), "the hunter22 value").unwrap();
        std::fs::write(at("a/hunter22.txt"), "").unwrap();
        std::os::unix::fs::symlink("hunter22", at("link")).unwrap();
        let redactor = Redactor::new([b"hunter22\n".as_slice()]);
        assert_eq!(holders(folder.path(), &redactor).unwrap(), ["a/b/token", "a/hunter22.txt", "link"]);
        scrub(folder.path(), &redactor);
        assert_eq!(holders(folder.path(), &redactor).unwrap(), Vec::<String>::new());
        assert!(at("a/b/plain").exists());
    }

    #[test]
    fn passwords_of_the_network_are_known() {
        let env = [
            ("HTTPS_PROXY", "http://me:proxy-pass@proxy:8080/"),
            ("PIP_EXTRA_INDEX_URL", "https://token-alone@a/x https://u:second@b"),
            ("PIP_INDEX_URL", "https://plain.example/simple?a=b@c"),
            ("UV_INDEX_X_PASSWORD", "third-one"),
        ];
        let env = env.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let found: Vec<String> = logins(&env).into_iter().map(|one| String::from_utf8(one).unwrap()).collect();
        assert_eq!(found, ["proxy-pass", "token-alone", "second", "third-one"]);
    }

    #[test]
    fn a_secret_shows_its_name_alone() {
        let secret = Secret { name: "TOKEN".to_owned(), value: b"hunter22".to_vec() };
        assert_eq!(format!("{secret:?}"), "Secret(TOKEN)");
    }
}
