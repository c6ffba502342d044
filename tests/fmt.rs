//! `pipe fmt` from its command line to its exit codes and the files that it leaves.

#[expect(dead_code, reason = "the rest serves the tests of runs")]
mod common;

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use common::Place;

const MESSY: &str = "pipeline   \"p\"\r\nstep \"a\" {\n  run \"true\"; }\n";
const TIDY: &str = "pipeline \"p\"\nstep \"a\" {\n    run \"true\"\n}\n";

fn text(path: &Path) -> String {
    fs::read_to_string(path).expect("a file")
}

#[test]
fn files_and_folders_are_formatted_in_place() {
    let place = Place::new();
    let messy = place.write("deep/messy.kdl", MESSY);
    let tidy = place.write("tidy.kdl", TIDY);
    let others: Vec<PathBuf> = ["deep/.git/x.kdl", "deep/target/x.kdl", "deep/out/x.kdl", "deep/x.txt"]
        .map(|name| place.write(name, MESSY))
        .into();
    fs::set_permissions(&messy, fs::Permissions::from_mode(0o640)).expect("a mode");
    let inode = fs::metadata(&tidy).expect("facts").ino();
    let said = place.pipe(&["fmt", "deep", "tidy.kdl"]).expect(0);
    assert_eq!(said.out, "deep/messy.kdl: formatted\n");
    assert_eq!(said.err, "1 file changed, 1 file formatted already\n");
    assert_eq!(text(&messy), TIDY);
    assert_eq!(fs::metadata(&messy).expect("facts").permissions().mode() & 0o777, 0o640, "the mode is kept");
    assert_eq!(fs::metadata(&tidy).expect("facts").ino(), inode, "what is formatted is not touched");
    assert!(others.iter().all(|path| text(path) == MESSY), "what is passed over");
    assert_eq!(fs::read_dir(place.path().join("deep")).expect("the folder").count(), 5, "no temporary file is left");
    let said = place.pipe(&["fmt", "deep", "tidy.kdl"]).expect(0);
    assert_eq!((&*said.out, &*said.err), ("", "2 files formatted already\n"));
}

#[test]
fn a_link_stays_a_link() {
    let place = Place::new();
    let file = place.write("real/p.kdl", MESSY);
    let link = place.path().join("p.kdl");
    std::os::unix::fs::symlink(&file, &link).expect("a link");
    place.pipe(&["fmt", "p.kdl"]).expect(0);
    assert!(fs::symlink_metadata(&link).expect("facts").is_symlink());
    assert_eq!(text(&file), TIDY);
}

#[test]
fn check_shows_what_would_change_and_changes_nothing() {
    let place = Place::new();
    let messy = place.write("messy.kdl", MESSY);
    place.write("tidy.kdl", TIDY);
    let said = place.pipe(&["fmt", "--check", "messy.kdl", "tidy.kdl"]).expect(1);
    insta::assert_snapshot!(said.out, @r#"
    --- messy.kdl
    +++ messy.kdl, formatted
    @@ -1,3 +1,4 @@
    -pipeline   "p"<CR>
    +pipeline "p"
     step "a" {
    -  run "true"; }
    +    run "true"
    +}
    "#);
    assert_eq!(said.err, "1 file would change, 1 file formatted already\n");
    assert_eq!(text(&messy), MESSY);
    place.pipe(&["fmt", "--check", "tidy.kdl"]).expect(0);
    let said = place.pipe(&["fmt", "--check", "--color", "always", "messy.kdl"]).expect(1);
    assert!(said.out.contains("\u{1b}[32m+pipeline \"p\"\u{1b}[0m"), "{}", said.out);
}

#[test]
fn a_file_with_mistakes_is_left_alone_and_the_others_are_formatted() {
    let place = Place::new();
    let broken = place.write("broken.kdl", "step \"a\" {\n");
    let messy = place.write("messy.kdl", MESSY);
    let said = place.pipe(&["fmt", "broken.kdl", "none.kdl", "messy.kdl"]).expect(2);
    assert!(said.err.contains("pipe::unclosed-block") && said.err.contains("broken.kdl:1:10"), "{}", said.err);
    assert!(said.err.contains("`none.kdl` can't be read"), "{}", said.err);
    assert_eq!(text(&broken), "step \"a\" {\n");
    assert_eq!(text(&messy), TIDY);
}

#[test]
fn standard_input_goes_to_standard_output() {
    let place = Place::new();
    let give = |args: &[&str]| {
        let mut child = place
            .command(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("pipe");
        child.stdin.take().expect("its input").write_all(MESSY.as_bytes()).expect("it reads");
        let output = child.wait_with_output().expect("it ends");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    assert_eq!(give(&["fmt", "-"]), (Some(0), TIDY.to_owned(), String::new()));
    let (code, out, _) = give(&["fmt", "--check", "-"]);
    assert_eq!(code, Some(1));
    assert!(out.starts_with("--- standard input\n"), "{out}");
}
