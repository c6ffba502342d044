//! One case's own folder: a project, a store, outputs, a home; and `pipe` started in it with a cleared environment.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use crate::checker::{self, Ended, Exports, Made, View};
use crate::format::Entry;
use crate::project::Width;
use crate::sweep::Asked;
use crate::verdict::{Bad, Rule};
use crate::{folder, leftovers, project};

/// No run of ours takes this long; one that does hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// A folder with everything that a run needs. Removed when dropped.
pub struct Place {
    root: PathBuf,
    /// Where the store is, if not beside the project.
    pub store: PathBuf,
    pub out: PathBuf,
    pub pipe: PathBuf,
    pub sandbox: &'static str,
    /// Records that this pipeline does not ask for may name what damage has taken: they are misses.
    pub damaged: bool,
    width: Width,
    before: (Option<Entry>, Option<Entry>),
}

/// What a run without faults makes.
#[derive(Debug, Clone)]
pub struct Truth {
    pub made: Made,
    pub exports: Exports,
}

impl Place {
    /// A fresh place. `name` is in the path, and so in whatever a run leaves behind.
    pub fn new(asked: &Asked, name: &str) -> Result<Place, String> {
        Place::of_width(asked, name, Width::Full)
    }

    /// A fresh place with a pipeline of this width.
    pub fn of_width(asked: &Asked, name: &str, width: Width) -> Result<Place, String> {
        let root = asked.scratch.join(name);
        let wrong = |error: std::io::Error| format!("`{}`: {error}", root.display());
        folder::remove(&root).map_err(wrong)?;
        project::write(&root.join("project"), width).map_err(wrong)?;
        fs::create_dir_all(root.join("home")).map_err(wrong)?;
        fs::create_dir_all(root.join("tmp")).map_err(wrong)?;
        let mut place = Place {
            store: root.join("store"),
            out: root.join("out"),
            pipe: asked.pipe.clone(),
            sandbox: "off",
            damaged: false,
            width,
            before: (None, None),
            root,
        };
        place.before = place.outside()?;
        Ok(place)
    }

    /// A copy of another place's store and outputs, in a place of its own.
    pub fn like(asked: &Asked, name: &str, template: &Place) -> Result<Place, String> {
        let mut place = Place::of_width(asked, name, template.width)?;
        place.sandbox = template.sandbox;
        for (from, to) in [(&template.store, &place.store), (&template.out, &place.out)] {
            if from.exists() {
                folder::copy(from, to).map_err(|error| format!("`{}`: {error}", from.display()))?;
            }
        }
        Ok(place)
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn project(&self) -> PathBuf {
        self.root.join("project")
    }

    /// What tells this case's processes from others.
    pub fn mark(&self) -> String {
        let tail: PathBuf = self.root.components().rev().take(2).collect::<Vec<_>>().into_iter().rev().collect();
        // With the slash, since `kill-1` begins the name of `kill-10` too.
        format!("{}/", tail.display())
    }

    fn outside(&self) -> Result<(Option<Entry>, Option<Entry>), String> {
        let print = |name: &str| folder::print(&self.root.join(name)).map_err(|error| error.to_string());
        Ok((print("project")?, print("home")?))
    }

    /// `pipe` with these words, in a process group of its own, its own words in files.
    pub fn command(&self, args: &[&str]) -> Command {
        self.wrapped(&[], args)
    }

    /// The same below other programs, such as `strace`.
    pub fn wrapped(&self, wrapper: &[&str], args: &[&str]) -> Command {
        let pipe = self.pipe.to_string_lossy().into_owned();
        let words: Vec<&str> = wrapper.iter().copied().chain([pipe.as_str()]).chain(args.iter().copied()).collect();
        let mut command = Command::new(words[0]);
        command
            .args(&words[1..])
            .current_dir(self.project())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.root.join("home"))
            .env("TMPDIR", self.root.join("tmp"))
            .env("PIPE_STORE", &self.store)
            // Cases run beside one another, and beside whatever else this machine does: none waits for another's steps.
            .env("PIPE_RUNTIME", self.root.join("runtime"))
            .env("PIPE_SENTINEL", "off")
            .stdin(Stdio::null())
            .process_group(0);
        command
    }

    /// The words of a run of the whole pipeline.
    pub fn run_words<'a>(&'a self, sets: &'a [&'a str], events: &'a Path) -> Vec<String> {
        let mut words: Vec<String> =
            ["run", "faults.kdl", "--sandbox", self.sandbox, "--color", "never", "--out"].map(str::to_owned).to_vec();
        words.push(self.out.to_string_lossy().into_owned());
        words.extend(["--events".to_owned(), events.to_string_lossy().into_owned()]);
        for set in sets {
            words.extend(["--set".to_owned(), (*set).to_owned()]);
        }
        words
    }

    /// Where the events of a run go.
    pub fn events(&self, name: &str) -> PathBuf {
        self.root.join(format!("{name}.events"))
    }

    /// Starts a command; its words go to files of this name.
    pub fn start(&self, name: &str, command: &mut Command) -> Result<Running, String> {
        let file = |kind: &str| File::create(self.root.join(format!("{name}.{kind}"))).map_err(|e| e.to_string());
        command.stdout(file("stdout")?).stderr(file("stderr")?);
        let child = command.spawn().map_err(|error| format!("{:?}: {error}", command.get_program()))?;
        Ok(Running {
            child,
            out: self.root.join(format!("{name}.stdout")),
            err: self.root.join(format!("{name}.stderr")),
        })
    }

    /// Runs the pipeline to its end.
    pub fn run(&self, name: &str, sets: &[&str]) -> Result<Ended, String> {
        let events = self.events(name);
        let words = self.run_words(sets, &events);
        self.pipe(name, &words.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// Runs `pipe` with these words to its end.
    pub fn pipe(&self, name: &str, words: &[&str]) -> Result<Ended, String> {
        self.start(name, &mut self.command(words))?.wait(PATIENCE)
    }

    /// What a command of this name said beside its answer.
    pub fn said(&self, name: &str) -> String {
        String::from_utf8_lossy(&fs::read(self.root.join(format!("{name}.stderr"))).unwrap_or_default()).into_owned()
    }

    /// Runs without faults and remembers what came out.
    pub fn truth(&self, sets: &[&str]) -> Result<Truth, String> {
        let ended = self.run("truth", sets)?;
        if ended.code != Some(0) {
            return Err(format!("the run without faults ends with {:?}:\n{}", ended.code, ended.err));
        }
        let view = self.view();
        let truth = Truth { made: view.made(), exports: self.exports()? };
        if truth.made.len() != self.width.steps()
            || truth.exports.len() != project::EXPORTS.len()
            || !view.bad.is_empty()
        {
            let (made, given) = (truth.made.len(), truth.exports.len());
            return Err(format!("the run without faults: {made} steps, {given} exports, {:#?}", view.bad));
        }
        Ok(truth)
    }

    pub fn view(&self) -> View {
        checker::view(&self.store)
    }

    pub fn exports(&self) -> Result<Exports, String> {
        checker::exports(&self.out.join("faults"))
    }

    /// What holds at every time: objects and records that are seen are sound (I1, I2), nobody else's bytes changed (I5).
    pub fn sound(&self) -> Result<Vec<Bad>, String> {
        let mut bad = self.view().bad;
        let after = self.outside()?;
        bad.extend(checker::outside("the project", &self.before.0, &after.0));
        bad.extend(checker::outside("the home folder", &self.before.1, &after.1));
        Ok(bad)
    }

    /// Runs again with no fault: it must succeed (I4), come to what is true (I8), and leave nothing (I7).
    pub fn recover(&self, name: &str, sets: &[&str], truth: &Truth) -> Result<Vec<Bad>, String> {
        let ended = self.run(name, sets)?;
        let mut bad = checker::words(&ended);
        if ended.code != Some(0) {
            let words = checker::indented(&ended.err);
            bad.push(Bad::new(Rule::NextRun, format!("the next run ends with {:?}\n{words}", ended.code)));
            return Ok(bad);
        }
        let mut sound = self.sound()?;
        if self.damaged {
            let asked = |bad: &Bad| truth.made.values().any(|(key, _)| bad.what.contains(key));
            sound.retain(|bad| bad.rule != Rule::Records || asked(bad));
        }
        bad.extend(sound);
        bad.extend(checker::same(&truth.made, &self.view().made()));
        let exports = self.exports()?;
        if exports != truth.exports {
            bad.push(Bad::new(Rule::Same, format!("given back: {exports:?}, not {:?}", truth.exports)));
        }
        bad.extend(checker::scratch(&self.store));
        bad.extend(leftovers::wait(&self.mark(), Duration::from_secs(2)));
        Ok(bad)
    }

    /// The steps that a run has said to have run, by its events. The last line of a killed run may be half a line.
    pub fn finished(&self, name: &str) -> BTreeSet<String> {
        let text = fs::read_to_string(self.events(name)).unwrap_or_default();
        text.split_inclusive('\n')
            .filter(|line| line.ends_with('\n'))
            .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
            .filter(|event| event["event"] == "finished" && event["outcome"] == "ran")
            .filter_map(|event| event["step"].as_str().map(str::to_owned))
            .collect()
    }

    /// What was done and said to be done is not done again.
    pub fn not_again(&self, first: &BTreeSet<String>, second: &str) -> Vec<Bad> {
        let again: Vec<String> = self.finished(second).intersection(first).cloned().collect();
        if again.is_empty() {
            return Vec::new();
        }
        vec![Bad::new(Rule::Same, format!("run again though they had finished: {again:?}"))]
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if std::env::var_os("PIPE_FAULTS_KEEP").is_none() {
            let _ = folder::remove(&self.root);
        }
    }
}

/// A `pipe` that has been started.
pub struct Running {
    child: Child,
    out: PathBuf,
    err: PathBuf,
}

impl Running {
    /// The number of `pipe`'s process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal to the whole process group; false where there is none left.
    pub fn signal_group(&self, signal: Signal) -> bool {
        Pid::from_raw(self.child.id().cast_signed())
            .is_some_and(|pid| rustix::process::kill_process_group(pid, signal).is_ok())
    }

    /// Sends a signal to `pipe` alone.
    pub fn signal(&self, signal: Signal) -> bool {
        Pid::from_raw(self.child.id().cast_signed())
            .is_some_and(|pid| rustix::process::kill_process(pid, signal).is_ok())
    }

    /// Whether it has ended.
    pub fn is_over(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(_)) | Err(_))
    }

    /// Waits for the end; kills the group of what does not end.
    pub fn wait(mut self, limit: Duration) -> Result<Ended, String> {
        let until = Instant::now() + limit;
        let mut hung = false;
        let mut pause = Duration::from_micros(200);
        let status = loop {
            if let Some(status) = self.child.try_wait().map_err(|error| error.to_string())? {
                break status;
            }
            if Instant::now() >= until && !hung {
                hung = true;
                self.signal_group(Signal::KILL);
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(4));
        };
        let read = |path: &Path| String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned();
        Ok(Ended { code: status.code(), signal: status.signal(), hung, out: read(&self.out), err: read(&self.err) })
    }
}
