//! A `run` step: a process of the user's in a folder of its own, and its outputs into the store.

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pipe_cache::Entry;
use tempfile::TempDir;

use super::outcome::{Failure, Lack};
use super::place::{DRIVER_LIBRARIES, nvidia_devices};
use super::process::redact::Redactor;
use super::process::{self, Mount, ProcessSpec, Status};
use super::site::Site;
use super::supervisor::{held, wire};
use super::survey::Known;
use super::work::{Job, Made, Unmade, ended, tail};
use super::workdir::{self, Layout};
use super::world;
use super::{sandbox, secrets, undeclared};
use crate::event::Event;
use crate::pipeline::{Arg, Run, StepId};
use crate::record::Sandbox;

/// Lines of a failed step's log that its message shows.
const TAIL: usize = 20;

/// Runs the process and stores what it left in `out/`.
pub async fn run(job: &Job<'_>, run: &Run) -> Result<Made, Unmade> {
    let site = job.site;
    let step = site.step(job.id);
    let outputs = |id: StepId| job.inputs.get(&id).cloned();
    let secrets = Secrets::of(site, run)?;
    let layout = Layout::of(run, &Known { site, outputs: &outputs }, &secrets.seen(site.sandbox))
        .map_err(|error| broken(error.to_string()))?;

    let workdir = site.store.workdir()?;
    let root = workdir.path().to_owned();
    let log = root.with_extension("log");
    let spec = spec(job, run, &layout, &secrets, &root, &log)?;
    let words = Words { program: spec.program.clone(), args: spec.args.clone() };
    let exit = process::run(&world::launcher(site), spec, job.cancel.clone()).await?;
    let log_entry = if exit.printed { site.store.put_file(&log, false).ok() } else { None };

    if exit.status == Status::Cancelled {
        return Err(Unmade::Cancelled);
    }
    if exit.status != Status::Code(0) {
        let failure = Failure {
            message: ended(exit.status, step.limits.timeout),
            help: undeclared::inputs(site, step, &log, &root),
            tail: tail(&log, TAIL),
            command: Some(words.line()),
            workdir: secrets.keep(job, workdir),
        };
        let failure = secrets::hide_in(failure, &secrets.redactor);
        // Who gave the step a `retry` expects that it may go better; without one it is over.
        return Err(Unmade::Passing(failure));
    }
    let out = root.join("out");
    if workdir::disk_is_full(&root) {
        let failure = Failure {
            message: format!(
                "it ended well on a full disk, that of `{}`: what it wrote may be cut off, and is not kept",
                site.store.root().display()
            ),
            help: Some("make room (`pipe store gc`), or use another disk with `--store FOLDER`".to_owned()),
            tail: tail(&log, TAIL),
            command: Some(words.line()),
            workdir: None,
        };
        return Err(Unmade::Failed(secrets::hide_in(failure, &secrets.redactor)));
    }
    let warn_of = |beside: &[String]| {
        if let Some(text) = undeclared::not_kept(step, beside) {
            let _ = job.progress.send(Event::Warning { text });
        }
    };
    let output = match small(job, run, &secrets, &out)? {
        Some(output) => output,
        None => {
            let checked = check_outputs(run, &out).map_err(|message| {
                let beside = undeclared::beside(&root, &layout);
                warn_of(&beside);
                (message, undeclared::misplaced(run, &out, &beside))
            });
            if let Err((message, help)) = checked.and_then(|()| secrets.check(&out)) {
                let tail = tail(&log, TAIL);
                let workdir = secrets.keep(job, workdir);
                let failure = Failure { message, tail, command: Some(words.line()), workdir, help };
                return Err(Unmade::Failed(secrets::hide_in(failure, &secrets.redactor)));
            }
            store(job, out).await?
        }
    };
    drop_log(&log, exit.printed);
    if let Some(workdir) = clear(workdir, run, &layout) {
        warn_of(&undeclared::beside(workdir.path(), &layout));
    }
    Ok(Made { output, usage: exit.usage, sandbox: site.sandbox, log: log_entry })
}

/// Takes the output in where it is just what was declared, a few small files, as most are. What needs a closer look,
/// be it for secrets, is left for that.
fn small(job: &Job<'_>, run: &Run, secrets: &Secrets, out: &Path) -> Result<Option<Entry>, Unmade> {
    if !secrets.redactor.is_empty() {
        return Ok(None);
    }
    let declared = |names: &[String]| {
        let mut wanted: Vec<&str> = run.outputs.iter().map(|output| output.value.as_str()).collect();
        wanted.sort_unstable();
        wanted.is_empty() || wanted == names
    };
    Ok(job.site.store.take_small(out, declared)?)
}

/// Takes the output in on a thread of its own.
async fn store(job: &Job<'_>, out: PathBuf) -> Result<Entry, Unmade> {
    let store = Arc::clone(&job.site.store);
    job.say("storing");
    match tokio::task::spawn_blocking(move || store.take_tree(&out)).await {
        Ok(stored) => Ok(stored?),
        Err(_) => Err(broken("storing the output was broken off".to_owned())),
    }
}

/// Removes the folder of a step that ended well: name by name, since most hold little more than was put there and
/// declared. What is left is given back, where there is anything, and goes when that is dropped.
fn clear(workdir: TempDir, run: &Run, layout: &Layout) -> Option<TempDir> {
    let root = workdir.path();
    let placed = layout.mounts.iter().map(|(at, _)| at).chain(layout.files.iter().map(|(at, _)| at));
    placed.for_each(|at| remove_with_parents(root, Path::new(at)));
    run.outputs.iter().for_each(|output| remove_with_parents(root, &Path::new("out").join(&output.value)));
    for folder in ["in", "out", "tmp"] {
        let _ = std::fs::remove_dir(root.join(folder));
    }
    if std::fs::remove_dir(root).is_err() {
        return Some(workdir);
    }
    let _ = workdir.keep();
    None
}

/// Removes a file, and the folders that it lay in but for the outermost, as far as they are empty.
fn remove_with_parents(root: &Path, at: &Path) {
    let inner = |folder: &&Path| folder.components().count() > 1;
    if std::fs::remove_file(root.join(at)).is_ok() {
        at.ancestors().skip(1).take_while(inner).all(|folder| std::fs::remove_dir(root.join(folder)).is_ok());
    }
}

/// The log lies beside the folder and is in the store by now.
fn drop_log(log: &Path, printed: bool) {
    if printed {
        // What is left goes with the scratch of this process.
        let _ = std::fs::remove_file(log);
    }
}

/// The secrets of one process, and the folder that will hold them while it runs.
struct Secrets {
    redactor: Redactor,
    /// `None` where the step has none. Also removed here, should the supervisor be killed.
    folder: Option<TempDir>,
    files: Vec<(String, Vec<u8>)>,
}

impl Secrets {
    fn of(site: &Site, run: &Run) -> Result<Secrets, Unmade> {
        let values = secrets::of(site, run).map_err(lacking)?;
        let logins = if run.network.value { secrets::logins(&workdir::network_env(&site.env)) } else { Vec::new() };
        let values_of_user = values.iter().map(|secret| secret.value.as_slice());
        let redactor = Redactor::new(values_of_user.chain(logins.iter().map(Vec::as_slice)));
        let folder = match values.is_empty() {
            true => None,
            false => {
                held::no_core_dumps();
                let place = held::place();
                let prefix = format!("{}{}-", held::PREFIX, std::process::id());
                let private = std::fs::Permissions::from_mode(0o700);
                let made = tempfile::Builder::new().prefix(&prefix).permissions(private).tempdir_in(&place);
                Some(made.map_err(|error| {
                    broken(format!("no folder for secrets can be made in `{}`: {error}", place.display()))
                })?)
            }
        };
        Ok(Secrets { redactor, folder, files: values.into_iter().map(|secret| (secret.name, secret.value)).collect() })
    }

    /// The folder as the step sees it.
    fn seen(&self, level: Sandbox) -> PathBuf {
        self.folder.as_ref().map(|folder| sandbox::seen_secrets(level, folder.path())).unwrap_or_default()
    }

    /// The folder of a failed step, kept for a look without what holds a value.
    fn keep(&self, job: &Job<'_>, workdir: TempDir) -> Option<PathBuf> {
        if !self.redactor.is_empty() {
            secrets::scrub(workdir.path(), &self.redactor);
        }
        job.site.store.keep(workdir).ok()
    }

    /// Nothing of what the step leaves holds a value: it would stay in the store for good.
    fn check(&self, out: &Path) -> Result<(), (String, Option<String>)> {
        if self.redactor.is_empty() {
            return Ok(());
        }
        match secrets::holders(out, &self.redactor) {
            Ok(found) => match found.first() {
                None => Ok(()),
                Some(path) => Err((
                    format!("it wrote a secret to `out/{path}`, and what it leaves there is kept"),
                    Some("let it write only what the secret opens".to_owned()),
                )),
            },
            Err(error) => Err((format!("`out/` can't be searched for its secrets: {error}"), None)),
        }
    }
}

fn lacking(lack: Lack) -> Unmade {
    Unmade::Failed(Failure { message: lack.reason, help: lack.remedy, ..Failure::default() })
}

fn broken(message: String) -> Unmade {
    Unmade::Failed(Failure { message, ..Failure::default() })
}

fn spec(
    job: &Job<'_>,
    run: &Run,
    layout: &Layout,
    secrets: &Secrets,
    root: &Path,
    log: &Path,
) -> Result<ProcessSpec, Unmade> {
    let site = job.site;
    let step = site.step(job.id);
    sandbox::folders(root).map_err(|(path, error)| broken(format!("`{}` can't be made: {error}", path.display())))?;
    for (at, bytes) in &layout.files {
        if let Some(folder) = root.join(at).parent() {
            make_folder(folder)?;
        }
        std::fs::write(root.join(at), bytes).map_err(|error| broken(format!("`{at}` can't be written: {error}")))?;
    }
    let mut tool_roots: Vec<PathBuf> = Vec::new();
    let mut path = Vec::new();
    let program = match &run.program.value {
        Arg::Value(name) => {
            let tool = world::tool(site, &name.to_string()).map_err(lacking)?;
            tool_roots.extend_from_slice(&tool.roots);
            path.extend(tool.real.parent().map(Path::to_owned));
            tool.real.clone()
        }
        other => PathBuf::from(layout.text(other)),
    };
    for name in &run.tools {
        let tool = world::tool(site, &name.value).map_err(lacking)?;
        tool_roots.extend_from_slice(&tool.roots);
        path.extend(tool.real.parent().map(Path::to_owned));
    }
    path.extend(["/usr/bin", "/bin"].map(PathBuf::from));

    let seen = sandbox::seen_workdir(site.sandbox, root);
    let mut env = workdir::fixed_env(&seen.to_string_lossy());
    let joined = std::env::join_paths(&path).unwrap_or_default();
    env.insert("PATH".to_owned(), joined.to_string_lossy().into_owned());
    if run.network.value {
        let given = |name: &str| secrets.files.iter().any(|(known, _)| known == name);
        env.extend(workdir::network_env(&site.env).into_iter().filter(|(name, _)| !given(name)));
        copy_settings(&site.env, &root.join("tmp"));
    }
    if site.sandbox == Sandbox::Off {
        // A `pipe` inside a step must not wait for room that the step itself takes.
        env.insert("PIPE_RUNTIME".to_owned(), root.join("tmp").to_string_lossy().into_owned());
    }
    for (name, value) in &run.env {
        let mut text = env_text(layout, &value.value, &seen);
        // A step that names a path of its own still finds its tools.
        if let (Some(tools), "PATH") = (env.get(name), name.as_str()) {
            text = format!("{text}:{tools}");
        }
        env.insert(name.clone(), text);
    }

    let mut spec = ProcessSpec::new(program, root, site.sandbox, log);
    spec.args = run.args.iter().map(|arg| OsString::from(layout.text(&arg.value))).collect();
    spec.env = env;
    spec.has_folders = true;
    spec.mounts = mounts(job, layout, root)?;
    if let Some(folder) = &secrets.folder {
        let host = |name: &str| folder.path().join(name);
        spec.mounts.extend(layout.secrets.iter().map(|(at, name)| Mount { host: host(name), at: at.clone() }));
        spec.secrets = Some(wire::Secrets { folder: folder.path().to_owned(), files: secrets.files.clone() });
    }
    if step.needs.gpu > 0 {
        spec.devices = nvidia_devices();
        spec.env.entry("LD_LIBRARY_PATH".to_owned()).or_insert_with(|| DRIVER_LIBRARIES.to_owned());
        if job.gpus.len() < site.facts.machine.gpus.len() {
            // The numbers are those of the bus, which is the order in which the driver counts them.
            let mine: Vec<String> = job.gpus.iter().map(u64::to_string).collect();
            spec.env.insert("CUDA_DEVICE_ORDER".to_owned(), "PCI_BUS_ID".to_owned());
            spec.env.insert("CUDA_VISIBLE_DEVICES".to_owned(), mine.join(","));
        }
    }
    spec.hidden = secrets.redactor.clone();
    spec.tool_roots = tool_roots;
    spec.network = run.network.value;
    spec.timeout = step.limits.timeout;
    Ok(spec)
}

/// A variable that names an input needs the whole path: programs change their folder.
fn env_text(layout: &Layout, arg: &Arg, seen: &Path) -> String {
    match arg {
        Arg::Input(_) | Arg::Output(_) => seen.join(layout.text(arg)).to_string_lossy().into_owned(),
        Arg::Joined(parts) => parts.iter().map(|part| env_text(layout, part, seen)).collect(),
        Arg::Value(_) => layout.text(arg),
    }
}

/// Larger inputs are shared by all steps; one this small is as quickly written again.
const SMALL: u64 = 4096;

/// Inputs as read-only checkouts of the store; copies where no sandbox keeps a step from writing to them, and of small
/// files under `strict`, where `in/` is read-only.
fn mounts(job: &Job<'_>, layout: &Layout, root: &Path) -> Result<Vec<Mount>, Unmade> {
    let store = &job.site.store;
    let mut mounts = Vec::new();
    for (at, entry) in &layout.mounts {
        // Python takes the folder of a script from where a link leads, and finds no module beside it there.
        let script = at.ends_with(".py") && job.site.sandbox == Sandbox::Fs;
        let small = matches!(entry, Entry::File { size, .. } if *size <= SMALL) && job.site.sandbox == Sandbox::Strict;
        if script || small || job.site.sandbox == Sandbox::Off {
            let place = root.join(at);
            match place.parent() {
                // Made with the folder itself.
                Some(parent) if parent == root.join("in") => {}
                Some(parent) => make_folder(parent)?,
                None => {}
            }
            store.copy_out(entry, &place)?;
        } else {
            mounts.push(Mount { host: store.checkout(entry)?, at: at.clone() });
        }
    }
    Ok(mounts)
}

fn make_folder(path: &Path) -> Result<(), Unmade> {
    std::fs::create_dir_all(path).map_err(|error| broken(format!("`{}` can't be made: {error}", path.display())))
}

/// How this user's package tools reach the network, for fetch steps alone.
fn copy_settings(env: &std::collections::BTreeMap<String, String>, home: &Path) {
    let Some(user) = env.get("HOME") else { return };
    for name in workdir::NETWORK_FILES {
        let from = Path::new(user).join(name);
        let to = home.join(name);
        if from.is_file() && to.parent().is_some_and(|parent| std::fs::create_dir_all(parent).is_ok()) {
            // Settings that can't be read are as good as none: the tool then says what it misses.
            let _ = std::fs::copy(&from, &to);
        }
    }
}

/// Every declared output is there, and nothing else is.
fn check_outputs(run: &Run, out: &Path) -> Result<(), String> {
    // A link in its place would lead us to read a folder of the host.
    if !std::fs::symlink_metadata(out).is_ok_and(|found| found.is_dir()) {
        return Err("it put something else in the place of the folder `out/`".to_owned());
    }
    for output in &run.outputs {
        if std::fs::symlink_metadata(out.join(&output.value)).is_err() {
            return Err(format!("it ended well, but did not write its output `{}` to `out/`", output.value));
        }
    }
    match undeclared::output(run, out) {
        Ok(None) => Ok(()),
        Ok(Some(path)) => Err(format!("it wrote `out/{path}`, which is not declared: add `output \"{path}\"`")),
        Err(error) => Err(format!("`out/` can't be read: {error}")),
    }
}

/// A program and its arguments.
struct Words {
    program: PathBuf,
    args: Vec<OsString>,
}

impl Words {
    /// The command as a person would type it inside the step's folder.
    fn line(&self) -> String {
        let args = self.args.iter().map(|arg| arg.to_string_lossy().into_owned());
        let words = std::iter::once(self.program.to_string_lossy().into_owned()).chain(args);
        words.map(|word| quoted(&word)).collect::<Vec<_>>().join(" ")
    }
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=+./:,@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}
