//! The pipeline that is run under all faults: steps of a few kinds and sizes, in a folder of its own.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

/// How wide the pipeline is: where each system call of a run is a case, a narrow one says as much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Width {
    Narrow,
    Full,
}

impl Width {
    fn parts(self) -> usize {
        match self {
            Width::Narrow => 1,
            Width::Full => 5,
        }
    }

    /// How many steps the pipeline has.
    pub fn steps(self) -> usize {
        6 + 5 * self.parts()
    }
}

/// The names of what it gives back.
pub const EXPORTS: [&str; 3] = ["bundle", "sums", "tree"];

/// Writes the pipeline and the files that it reads.
pub fn write(folder: &Path, width: Width) -> std::io::Result<()> {
    fs::create_dir_all(folder.join("src/sub"))?;
    fs::write(folder.join("faults.kdl"), text(width.parts()))?;
    fs::write(folder.join("src/words"), "some words\nand more of them\n")?;
    fs::write(folder.join("src/sub/tool"), "#!/bin/sh\necho tool\n")?;
    fs::set_permissions(folder.join("src/sub/tool"), fs::Permissions::from_mode(0o755))?;
    fs::write(folder.join("src/large"), "0123456789abcde\n".repeat(8_000))?;
    symlink("sub/tool", folder.join("src/link"))?;
    fs::create_dir_all(folder.join(".git"))
}

/// One seed, then for each part its numbers, a note, a tree, a sum and a join, a large file, and a fan-in with what is given
/// back. `round` changes every step, `last` only the end.
fn text(parts: usize) -> String {
    let mut text = String::from(
        r##"pipeline "faults" about="What is run while everything breaks"
param "round" 1
param "last" 1

step "seed" {
    run "sh" "-ec" "cat in/src/words in/src/sub/tool in/src/large > out/seed; echo $0 >> out/seed" (param)"round"
    input (file)"src" as="src"
    tools "cat"
    output "seed"
}
step "large" {
    run "sh" "-ec" #"seq "$1" 1$1 260000 > out/large; cat "$2" >> out/large"# "sh" (param)"round" (step)"seed/seed"
    tools "cat" "seq"
    output "large"
}
"##,
    );
    for n in 1..=parts {
        let joined = if n == 1 { "large/large".to_owned() } else { format!("join-{}/joined", n - 1) };
        text.push_str(&format!(
            r##"
step "numbers-{n}" {{
    run "sh" "-ec" #"seq "$1" {n}7000 > out/numbers"# "sh" (param)"round"
    input (step)"seed/seed" as="seed"
    tools "seq"
    output "numbers"
}}
step "note-{n}" {{
    run "sh" "-ec" "echo note {n} $0 > out/note" (param)"round"
    output "note"
}}
step "tree-{n}" {{
    run "sh" "-ec" #"mkdir -p out/t/a/b; cp "$1" out/t/a/n; cp "$2" out/t/a/b/note; chmod +x out/t/a/n; ln -s a/n out/t/l; ln -s ../n out/t/a/b/up; for i in 1 2 3 4 5 6; do echo $i {n} > out/t/f$i; done; : > out/t/empty"# "sh" (step)"numbers-{n}/numbers" (step)"note-{n}/note"
    tools "mkdir" "cp" "chmod" "ln"
    output "t"
}}
step "sum-{n}" {{
    run "sh" "-ec" #"find "$1" -type f | sort | xargs cat | cksum > out/sum"# "sh" (step)"tree-{n}/t"
    tools "find" "sort" "xargs" "cat" "cksum"
    output "sum"
}}
step "join-{n}" {{
    run "sh" "-ec" #"head -c {n}1000 "$1" | cat - "$2" > out/joined"# "sh" (step)"{joined}" (step)"sum-{n}/sum"
    tools "head" "cat"
    output "joined"
}}
"##
        ));
    }
    let all: Vec<String> = (1..=parts).map(|n| format!(r#"(step)"sum-{n}/sum" (step)"join-{n}/joined""#)).collect();
    text.push_str(&format!(
        r##"
step "fan-in" {{
    run "sh" "-ec" #"cat "$@" > out/all"# "sh" {all}
    tools "cat"
    output "all"
}}
step "sums" export="sums" {{
    run "sh" "-ec" #"cksum "$2" "$3" | cut -d ' ' -f 1,2 > out/sums; echo "$1" >> out/sums"# "sh" (param)"last" (step)"fan-in/all" (step)"large/large"
    tools "cksum" "cut"
    output "sums"
}}
step "bundle" export="bundle" {{
    run "sh" "-ec" #"cp "$2" "$3" out/; mkdir out/deep; ln -s ../all out/deep/all; echo "$1" > out/deep/last; chmod +x out/large"# "sh" (param)"last" (step)"fan-in/all" (step)"large/large"
    tools "cp" "mkdir" "ln" "chmod"
    output "all"
    output "large"
    output "deep"
}}
tree "tree" export="tree" {{
    put "one" (step)"tree-1/t"
    put "again" (step)"tree-{parts}/t"
    put "sums" (step)"sums/sums"
}}
"##,
        all = all.join(" "),
    ));
    text
}
