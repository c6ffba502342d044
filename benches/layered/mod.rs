//! One and the same graph for `pipe` and for the programs that are measured beside it.
//!
//! Ten layers of steps: the first layer reads a leaf file each, every other step reads two of the layer before. A
//! step is one shell that starts no further process, about half a millisecond, so each output depends on the content
//! of each input. One changed leaf reaches 55 steps where layers have at least ten.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

const LAYERS: usize = 10;

/// The graph of so many steps.
#[derive(Clone, Copy)]
pub struct Layered {
    pub steps: usize,
}

impl Layered {
    fn width(self) -> usize {
        (self.steps / LAYERS).max(2)
    }

    /// Each step with what it reads: leaves in the first layer, else steps.
    fn each(self, mut step: impl FnMut(usize, &[usize], bool)) {
        let width = self.width();
        for id in 0..width * LAYERS {
            let (layer, at) = (id / width, id % width);
            match layer {
                0 => step(id, &[at], true),
                _ => step(id, &[(layer - 1) * width + at, (layer - 1) * width + (at + 1) % width], false),
            }
        }
    }

    /// A shell's text: `inputs` and `output` are as the shell sees them.
    fn command(id: usize, inputs: &[String], output: &str) -> String {
        match inputs {
            [one] => format!("read a<{one};echo $(((a*31+{id})%1000003))>{output}"),
            more => format!("read a<{};read b<{};echo $(((a*31+b*17+{id})%1000003))>{output}", more[0], more[1]),
        }
    }

    fn files(id: usize, reads: &[usize], leaves: bool) -> (Vec<String>, String) {
        let name = |read: &usize| if leaves { format!("src/l{read}.txt") } else { format!("out/s{read}.txt") };
        (reads.iter().map(name).collect(), format!("out/s{id}.txt"))
    }

    /// Leaves and an empty folder for outputs.
    pub fn leaves(self, folder: &Path) {
        fs::create_dir_all(folder.join("src")).expect("a folder");
        fs::create_dir_all(folder.join("out")).expect("a folder");
        (0..self.width()).for_each(|leaf| self.set(folder, leaf, leaf + 1));
    }

    /// Gives a leaf a value.
    pub fn set(self, folder: &Path, leaf: usize, value: usize) {
        fs::write(folder.join(format!("src/l{leaf}.txt")), format!("{value}\n")).expect("a leaf");
    }

    /// For `pipe`; every step's output is given back as a file of the user's where `exports` says so.
    pub fn kdl(self, exports: bool) -> String {
        let mut text = "pipeline \"bench\"\n".to_owned();
        self.each(|id, reads, leaves| {
            let seen: Vec<String> = (1..=reads.len()).map(|n| format!("${n}")).collect();
            let command = Self::command(id, &seen, &format!("${}", reads.len() + 1));
            let name = |read: &usize| if leaves { format!("(file)\"src/l{read}.txt\"") } else { format!("(step)\"s{read}/o\"") };
            let inputs: Vec<String> = reads.iter().map(name).collect();
            let export = if exports { format!(" export=\"s{id}\"") } else { String::new() };
            let inputs = inputs.join(" ");
            let _ = writeln!(text, "step \"s{id}\"{export} {{ run \"sh\" \"-c\" \"{command}\" \"sh\" {inputs} (output)\"o\"; output \"o\"; }}");
        });
        text
    }

    /// For ninja and n2.
    pub fn ninja(self) -> String {
        let mut text = "rule s\n  command = $cmd\n".to_owned();
        self.each(|id, reads, leaves| {
            let (inputs, output) = Self::files(id, reads, leaves);
            let command = Self::command(id, &inputs, &output).replace('$', "$$");
            let _ = writeln!(text, "build {output}: s {}\n  cmd = {command}", inputs.join(" "));
        });
        let _ = writeln!(text, "build all: phony {}\ndefault all", self.last().join(" "));
        text
    }

    /// For make.
    pub fn makefile(self) -> String {
        let mut text = format!("MAKEFLAGS += -rR\n.SUFFIXES:\nall: {}\n", self.last().join(" "));
        self.each(|id, reads, leaves| {
            let (inputs, output) = Self::files(id, reads, leaves);
            let command = Self::command(id, &inputs, &output).replace('$', "$$");
            let _ = writeln!(text, "{output}: {}\n\t@{command}", inputs.join(" "));
        });
        text
    }

    /// The bare commands, in an order in which each may run.
    pub fn commands(self) -> String {
        let mut text = String::new();
        self.each(|id, reads, leaves| {
            let (inputs, output) = Self::files(id, reads, leaves);
            let _ = writeln!(text, "{}", Self::command(id, &inputs, &output));
        });
        text
    }

    fn last(self) -> Vec<String> {
        let width = self.width();
        ((LAYERS - 1) * width..LAYERS * width).map(|id| format!("out/s{id}.txt")).collect()
    }
}
