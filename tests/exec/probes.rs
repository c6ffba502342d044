//! A hostile step: `probes.c` tries to get out in some 150 ways, as root and as nobody, and the host looks at what it
//! got. What it wrote where nobody else sees it is no leak.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::net::{TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pipe::exec::process::{self, Cancel, Launcher, Mount, ProcessSpec};
use pipe::record::Sandbox;

use crate::bed::{alive, block, bubblewrap, eventually, exe, has_strict};

/// What the host alone may read.
const CANARY: &str = "CANARY-3f9a";

/// What the level `fs` lets a step do, each of them named in `docs/sandbox.md`.
const OPEN_AT_FS: [&str; 12] = [
    "chmod-own-input",
    "touch-own-input",
    "chmod-store",
    "victim-cmdline",
    "parent-cmdline",
    "slow-victim-down",
    "move-victim",
    "read-slabinfo",
    "read-kpagecount",
    "read-kmsg",
    "read-kcore",
    "read-debugfs",
];

/// Passed inside a namespace, where it is no leak: the host looks at what became of it.
const NO_LEAK: [&str; 2] = ["shared-memory-file", "udp-loopback"];

/// The host's side: what a step may want, and what would notice that it got it.
struct Host {
    folder: tempfile::TempDir,
    mark: String,
    victim: Child,
    tcp: TcpListener,
    udp: UdpSocket,
    heard: Arc<Mutex<Vec<String>>>,
    segment: i32,
}

impl Host {
    fn new() -> Host {
        let folder = tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o755)).tempdir().unwrap();
        // The listeners of one host outlive it.
        static HOSTS: AtomicU32 = AtomicU32::new(0);
        let number = HOSTS.fetch_add(1, Ordering::Relaxed);
        let mark = format!("pipe-probe-{}-{number}", std::process::id());
        for (path, text) in [
            ("store/blob", CANARY),
            ("home/.netrc", CANARY),
            ("other/out/result", CANARY),
            ("model/weights", "weights"),
        ] {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let heard = Arc::new(Mutex::new(Vec::new()));
        let by_path = UnixListener::bind(folder.path().join("socket")).unwrap();
        let abstract_name = SocketAddr::from_abstract_name(mark.as_bytes()).unwrap();
        let by_name = UnixListener::bind_addr(&abstract_name).unwrap();
        for listener in [by_path, by_name] {
            let heard = Arc::clone(&heard);
            std::thread::spawn(move || {
                for mut stream in listener.incoming().flatten() {
                    let mut text = String::new();
                    let _ = stream.read_to_string(&mut text);
                    heard.lock().unwrap().push(text);
                }
            });
        }
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        tcp.set_nonblocking(true).unwrap();
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        udp.set_nonblocking(true).unwrap();
        fs::write(Path::new("/dev/shm").join(format!("{mark}-host")), CANARY).unwrap();
        let key = mark.bytes().fold(0_i32, |key, byte| key.wrapping_mul(31).wrapping_add(i32::from(byte)));
        // SAFETY: the call takes numbers alone; the segment is removed when this is dropped.
        let segment = unsafe { libc::shmget(key, 64, libc::IPC_CREAT | 0o600) };
        assert!(segment >= 0, "{}", std::io::Error::last_os_error());
        let mut victim = Command::new("sleep");
        victim.arg("300").env("PROBE_CANARY", CANARY).stdout(Stdio::null()).stderr(Stdio::null());
        let victim = victim.spawn().unwrap();
        Host { folder, mark, victim, tcp, udp, heard, segment }
    }

    /// Runs the probes in a step, and gives what they said.
    fn probe(&self, program: &Path, launcher: &Launcher, level: Sandbox, network: bool) -> String {
        let workdir = self.folder.path().join("work");
        let _ = fs::remove_dir_all(&workdir);
        let log = self.folder.path().join("log");
        let port = |address: std::io::Result<std::net::SocketAddr>| address.unwrap().port().to_string();
        let words = [
            self.folder.path().display().to_string(),
            self.mark.clone(),
            self.victim.id().to_string(),
            std::process::id().to_string(),
            port(self.tcp.local_addr()),
            port(self.udp.local_addr()),
        ];
        let spec = ProcessSpec {
            args: words.map(Into::into).to_vec(),
            mounts: vec![Mount { host: self.folder.path().join("model"), at: "in/model".into() }],
            tool_roots: vec![program.parent().unwrap().to_owned()],
            network,
            timeout: Some(Duration::from_secs(50)),
            ..ProcessSpec::new(program, &workdir, level, &log)
        };
        let exit = block(process::run(launcher, spec, Cancel::new())).unwrap();
        let said = String::from_utf8_lossy(&fs::read(&log).unwrap()).into_owned();
        assert!(said.trim_end().ends_with("done"), "{level:?}: {}\n{said}", exit.status);
        said
    }

    /// What the step did that the host can see.
    fn damage(&mut self, said: &str, level: Sandbox, network: bool) -> Vec<String> {
        let mut found = Vec::new();
        let mut note = |bad: bool, what: &str| {
            if bad {
                found.push(what.to_owned());
            }
        };
        note(said.contains(CANARY), "it read what is the host's");
        let root = self.folder.path();
        for path in ["store/blob", "home/.netrc", "other/out/result"] {
            note(fs::read_to_string(root.join(path)).unwrap() != CANARY, path);
        }
        let weights = root.join("model/weights");
        let found_weights = weights.metadata().unwrap();
        note(fs::read_to_string(&weights).unwrap() != "weights", "its input was changed");
        // Landlock knows content, and no modes and times.
        note(level == Sandbox::Strict && found_weights.mtime() == 1, "its input was touched");
        note(found_weights.nlink() != 1, "its input has another name");
        for folder in ["", "home", "other/out", "model"] {
            note(root.join(folder).join("PROBE").exists(), &format!("`PROBE` in `{folder}`"));
        }
        for folder in ["/", "/usr", "/etc", "/etc/cron.d", "/var/tmp", "/run", "/dev/shm", "/sys/fs/cgroup"] {
            note(Path::new(folder).join(&self.mark).exists(), &format!("its mark in `{folder}`"));
        }
        let out = root.join("work/out");
        for entry in fs::read_dir(&out).unwrap().flatten() {
            let kept = entry.path().symlink_metadata().unwrap();
            note(kept.mode() & 0o6000 != 0, &format!("a set-user bit: {}", entry.path().display()));
            let kind = rustix::fs::FileType::from_raw_mode(kept.mode());
            let device = matches!(kind, rustix::fs::FileType::BlockDevice | rustix::fs::FileType::CharacterDevice);
            note(device, &format!("a device: {}", entry.path().display()));
        }
        let before = fs::read(out.join("late")).unwrap_or_default().len();
        std::thread::sleep(Duration::from_millis(100));
        note(fs::read(out.join("late")).unwrap_or_default().len() != before, "it goes on writing");
        note(!alive(&self.mark).is_empty(), "a process of it is left");
        note(self.victim.try_wait().unwrap().is_some(), "it ended a process of the host");
        let limits = fs::read_to_string(format!("/proc/{}/limits", self.victim.id())).unwrap();
        note(!limits.contains("Max cpu time              unlimited"), "it changed the limits of a process");
        // A step with a network may reach what listens on this machine, and a socket of the system is none of it.
        note(!network && self.tcp.accept().is_ok(), "it spoke TCP");
        note(!network && self.udp.recv(&mut [0; 200]).is_ok(), "it spoke UDP");
        note(!self.heard.lock().unwrap().is_empty(), "it spoke to a socket of the system");
        found
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.victim.kill();
        let _ = self.victim.wait();
        let _ = fs::remove_file(Path::new("/dev/shm").join(format!("{}-host", self.mark)));
        // SAFETY: the call takes numbers alone where it removes.
        unsafe { libc::shmctl(self.segment, libc::IPC_RMID, std::ptr::null_mut()) };
    }
}

fn compiled(folder: &Path) -> PathBuf {
    let program = folder.join("bin/probes");
    fs::create_dir(folder.join("bin")).unwrap();
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/exec/probes.c");
    let made = Command::new("cc").args(["-O1", "-w", "-o"]).arg(&program).arg(source).arg("-lrt").status().unwrap();
    assert!(made.success(), "cc makes the probes");
    program
}

/// What of it passed: nothing may but what is `open`.
fn passed(said: &str) -> BTreeSet<&str> {
    said.lines().filter_map(|line| line.strip_suffix(": PASSED")).filter(|name| !NO_LEAK.contains(name)).collect()
}

/// All levels and both kinds of network, as whoever this process is.
fn probe_all(program: &Path, launcher: &Launcher) {
    let levels = [Some(Sandbox::Strict).filter(|_| launcher.bubblewrap.is_some()), Some(Sandbox::Fs)];
    for level in levels.into_iter().flatten() {
        for network in [false, true] {
            let mut host = Host::new();
            let said = host.probe(program, launcher, level, network);
            let tried = said.lines().filter(|line| line.ends_with("PASSED") || line.contains(": refused (")).count();
            assert!(tried > 140, "only {tried} were tried:\n{said}");
            let mut open: BTreeSet<&str> = BTreeSet::new();
            if level == Sandbox::Fs {
                open.extend(OPEN_AT_FS);
            }
            if network {
                open.extend(["tcp-loopback", "tcp-metadata", "tcp-outside"]);
            }
            let got: Vec<&str> = passed(&said).into_iter().filter(|name| !open.contains(name)).collect();
            let damage = host.damage(&said, level, network);
            let who = rustix::process::geteuid().as_raw();
            assert!(
                got.is_empty() && damage.is_empty(),
                "{level:?} network={network} {who}: {got:?} {damage:?}\n{said}"
            );
            println!("{} as {who}, network {network}: {tried} tried, {} open", level.name(), passed(&said).len());
        }
    }
}

#[test]
fn no_probe_gets_out() {
    let folder = tempfile::tempdir().unwrap();
    let bubblewrap = bubblewrap().filter(|_| has_strict());
    probe_all(&compiled(folder.path()), &Launcher::new(exe(), bubblewrap));
}

/// Not a test of its own: what the next one starts as nobody.
#[test]
fn nobody() {
    let Ok(folder) = std::env::var("PIPE_TEST_PROBES") else {
        return;
    };
    let folder = PathBuf::from(folder);
    let bubblewrap = bubblewrap().filter(|_| std::env::var_os("PIPE_TEST_PROBES_STRICT").is_some());
    probe_all(&folder.join("bin/probes"), &Launcher::new(folder.join("pipe"), bubblewrap));
}

#[test]
fn no_probe_of_nobody_gets_out() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: `no_probe_gets_out` runs as somebody already");
        return;
    }
    let folder = tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o755)).tempdir().unwrap();
    let scratch = folder.path().join("scratch");
    fs::create_dir(&scratch).unwrap();
    std::os::unix::fs::chown(&scratch, Some(65_534), Some(65_534)).unwrap();
    compiled(folder.path());
    fs::copy(exe(), folder.path().join("pipe")).unwrap();
    let test = folder.path().join("test");
    fs::copy(std::env::current_exe().unwrap(), &test).unwrap();
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).arg(&test);
    command.args(["--exact", "probes::nobody", "--nocapture"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.env("TMPDIR", &scratch).env("PIPE_TEST_PROBES", folder.path()).current_dir(folder.path());
    if has_strict() {
        command.env("PIPE_TEST_PROBES_STRICT", "1");
    }
    let said = command.output().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
    assert!(said.status.success() && text.contains("fs as 65534"), "{text}");
    print!("{}", String::from_utf8_lossy(&said.stdout));
}

#[test]
fn what_stays_open_is_documented() {
    let page = include_str!("../../docs/sandbox.md");
    for name in OPEN_AT_FS {
        assert!(page.contains(&format!("`{name}`")), "`{name}` is not in docs/sandbox.md");
    }
}

#[test]
fn no_fifo_socket_or_late_writer_delays_the_end() {
    let mut levels = vec![Sandbox::Off, Sandbox::Fs];
    levels.extend(has_strict().then_some(Sandbox::Strict));
    for level in levels {
        let bed = crate::bed::Bed::new();
        let script = "mkfifo out/f; mkdir out/d; (setsid sh -c 'while :; do rm -rf out/d; ln -s /etc out/d; rm out/d; \
                      mkdir out/d; echo x >> out/grows; done' &) ; \
                      until [ -s out/grows ]; do sleep 0.02; done; exit 0";
        bed.run(bed.script(level, script)).unwrap();
        let size = || fs::metadata(bed.workdir().join("out/grows")).unwrap().len();
        let first = size();
        assert!(first > 0, "{level:?}");
        assert!(!eventually(Duration::from_millis(100), || size() != first), "{level:?}: it goes on writing");
    }
}
