//! Tests of what each level makes of a step; no process is started.

use super::*;

fn words(start: &Start) -> Vec<String> {
    start.args.iter().map(|word| word.to_string_lossy().into_owned()).collect()
}

fn spec(sandbox: Sandbox) -> ProcessSpec {
    ProcessSpec {
        args: vec!["in/run.py".into()],
        env: [("A", "1"), ("LD_LIBRARY_PATH", "/x")].map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
        mounts: vec![Mount { host: "/store/abc".into(), at: "in/model".into() }],
        tool_roots: vec!["/opt/py".into()],
        ..ProcessSpec::new("/opt/py/bin/python3", "/w", sandbox, "/log")
    }
}

fn bubblewrap(help: &str) -> Bubblewrap {
    Bubblewrap::from_help("/usr/bin/bwrap".into(), help)
}

#[test]
fn strict_shows_only_what_was_declared() {
    let start = plan(spec(Sandbox::Strict), Some(&bubblewrap("--disable-userns"))).unwrap();
    let text = words(&start).join(" ");
    for part in [
        "--unshare-all --unshare-user --disable-userns --die-with-parent --new-session --cap-drop ALL",
        "--ro-bind /opt/py /opt/py",
        "--bind /w /pipe --ro-bind /w/in /pipe/in --ro-bind /store/abc /pipe/in/model",
        "--setenv LD_LIBRARY_PATH /x -- /opt/py/bin/python3 in/run.py",
    ] {
        assert!(text.contains(part), "{part}\nis not in\n{text}");
    }
    assert!(!text.contains("--share-net") && !text.contains("resolv.conf") && !text.contains("A 1"), "{text}");
    assert_eq!(start.confine, Confine::Namespaces);
    assert_eq!(start.env.keys().collect::<Vec<_>>(), ["A", "HOME", "TMPDIR"]);
    assert_eq!(start.env["HOME"], "/pipe/tmp");
}

#[test]
fn an_older_bubblewrap_is_not_asked_for_what_it_lacks() {
    let start = plan(spec(Sandbox::Strict), Some(&bubblewrap("--unshare-all"))).unwrap();
    assert!(!words(&start).contains(&"--disable-userns".to_owned()));
}

#[test]
fn a_network_brings_names_and_certificates() {
    let with = ProcessSpec { network: true, ..spec(Sandbox::Strict) };
    let text = words(&plan(with.clone(), Some(&bubblewrap(""))).unwrap()).join(" ");
    assert!(text.contains("--share-net") && text.contains("/etc/resolv.conf") && text.contains("/etc/ssl"), "{text}");
}

#[test]
fn devices_bring_the_rest_of_sys() {
    let with = ProcessSpec { devices: vec!["/dev/nvidia0".into()], ..spec(Sandbox::Strict) };
    let text = words(&plan(with.clone(), Some(&bubblewrap(""))).unwrap()).join(" ");
    assert!(text.contains("--dev-bind-try /dev/nvidia0 /dev/nvidia0") && text.contains("--ro-bind-try /sys /sys"));
}

#[cfg(target_os = "linux")]
#[test]
fn fs_opens_inputs_for_reading_and_the_folder_for_writing() {
    let Confine::Landlock(rules) = plan(spec(Sandbox::Fs), None).unwrap().confine else { panic!("not Landlock") };
    assert!(rules.read.contains(&"/store/abc".into()) && rules.read.contains(&"/opt/py".into()));
    assert_eq!(rules.write, [PathBuf::from("/w")]);
    assert!(!rules.network);
}
