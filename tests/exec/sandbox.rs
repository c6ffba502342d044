//! What a step can't do, judged from outside the sandbox.

use std::net::TcpListener;

use pipe::exec::process::{Mount, ProcessSpec, Status};
use pipe::record::Sandbox;

use crate::bed::{Bed, has_strict, levels};

#[test]
fn inputs_are_where_they_were_declared_and_read_only() {
    for level in levels() {
        let bed = Bed::new();
        let input = bed.root.path().join("store/model");
        std::fs::create_dir_all(&input).unwrap();
        std::fs::write(input.join("weights"), "w").unwrap();
        let file = bed.root.path().join("store/tokens.npy");
        std::fs::write(&file, "t").unwrap();
        let script = "cat in/model/weights in/deep/tokens.npy; echo made > out/made; echo tmp > tmp/x; \
                      test \"$(pwd)\" = \"$WORKDIR\" && echo ' here'; \
                      echo bad > in/model/weights; rm -f in/model/weights in/deep/tokens.npy; echo bad > in/model/new; :";
        let workdir = pipe::exec::sandbox::seen_workdir(level, &bed.workdir());
        let mut spec = ProcessSpec {
            mounts: vec![
                Mount { host: input.clone(), at: "in/model".into() },
                Mount { host: file.clone(), at: "in/deep/tokens.npy".into() },
            ],
            ..bed.script(level, script)
        };
        spec.env.insert("WORKDIR".into(), workdir.display().to_string());
        assert_eq!(bed.run(spec).unwrap().status, Status::Code(0));
        assert!(bed.log().starts_with("wt here\n"), "{level:?}: {}", bed.log());
        assert_eq!(std::fs::read_to_string(bed.workdir().join("out/made")).unwrap(), "made\n");
        if level != Sandbox::Off {
            assert_eq!(std::fs::read_to_string(input.join("weights")).unwrap(), "w", "{level:?}");
            assert!(!input.join("new").exists(), "{level:?}");
            assert_eq!(std::fs::read_to_string(&file).unwrap(), "t", "{level:?}");
        }
    }
}

#[test]
fn undeclared_files_are_neither_read_nor_written() {
    for level in levels().into_iter().filter(|level| *level != Sandbox::Off) {
        let bed = Bed::new();
        let secret = bed.root.path().join("secret");
        std::fs::write(&secret, "hunter2").unwrap();
        let outside = bed.root.path().join("outside");
        let script = format!(
            "cat {secret}; echo x > {outside}; echo x > /pipe-was-here; echo x > /usr/pipe-was-here; \
             echo x > /etc/pipe-was-here; mkdir -p /var/tmp/pipe-was-here; cat /etc/shadow; ls /root /home; ln {secret} out/link; \
             ln -s {secret} out/soft; cat out/soft; :",
            secret = secret.display(),
            outside = outside.display()
        );
        bed.run(bed.script(level, &script)).unwrap();
        let log = bed.log();
        assert!(!log.contains("hunter2") && !log.contains("root:"), "{level:?}: {log}");
        assert!(!outside.exists() && !bed.workdir().join("out/link").exists(), "{level:?}");
        for folder in ["/", "/usr", "/etc", "/var/tmp"] {
            assert!(!std::path::Path::new(folder).join("pipe-was-here").exists(), "{level:?}: {folder}");
        }
    }
}

#[test]
fn the_network_is_absent_unless_declared() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let script = format!("exec 3<>/dev/tcp/127.0.0.1/{port} && echo connected");
    for level in levels() {
        for network in [false, true] {
            let bed = Bed::new();
            let spec = ProcessSpec { program: "/bin/bash".into(), network, ..bed.script(level, &script) };
            bed.run(spec).unwrap();
            let expected = network || level == Sandbox::Off;
            assert_eq!(bed.log().contains("connected"), expected, "{level:?} {network}: {}", bed.log());
        }
    }
}

#[test]
fn a_strict_step_is_alone_and_without_privileges() {
    if !has_strict() {
        return;
    }
    let bed = Bed::new();
    let script = "ls -d /proc/[0-9]* | wc -l; \
                  grep -E '^(CapEff|NoNewPrivs)' /proc/self/status; \
                  unshare -Ur true 2>/dev/null && echo nested; \
                  mount -t tmpfs none tmp 2>/dev/null && echo mounted; \
                  ls /sys 2>/dev/null; ls -d /run /home /root /var 2>/dev/null; hostname 2>/dev/null; \
                  kill -0 $PARENT 2>/dev/null && echo signalled; echo y > /tmp/private; cat tmp/private";
    let mut spec = bed.script(Sandbox::Strict, script);
    spec.env.insert("PARENT".into(), std::process::id().to_string());
    bed.run(spec).unwrap();
    let log = bed.log();
    let count: usize = log.lines().next().unwrap().parse().unwrap();
    assert!(count <= 6, "{log}");
    let rest: Vec<&str> = log.lines().skip(1).collect();
    assert_eq!(rest, ["CapEff:\t0000000000000000", "NoNewPrivs:\t1", "devices", "pipe", "y"], "{log}");
}

#[test]
fn a_program_may_name_its_threads_and_nobody_elses() {
    // CUDA's driver names its threads, and sees no device where it can't. `>` cuts the file off first, as it does.
    let script = "echo named > /proc/self/task/$$/comm; cat /proc/$$/task/$$/comm; \
                  if echo other > /proc/$PARENT/task/$PARENT/comm; then echo bad; fi 2>/dev/null; :";
    for level in levels().into_iter().filter(|level| *level != Sandbox::Off) {
        let bed = Bed::new();
        let mut spec = bed.script(level, script);
        spec.env.insert("PARENT".into(), std::process::id().to_string());
        bed.run(spec).unwrap();
        assert_eq!(bed.log().lines().next(), Some("named"), "{level:?}: {}", bed.log());
        assert!(!bed.log().contains("bad"), "{level:?}: {}", bed.log());
    }
}

#[test]
fn beside_a_gpu_one_kind_of_the_systems_sockets_is_open() {
    // CUDA's driver sees no device where it may not look for the service that shares one.
    let source = "#include <stdio.h>\n#include <sys/socket.h>\n\
                  int main(void) { int kinds[] = {SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET | SOCK_CLOEXEC}; \
                  for (int i = 0; i < 3; i++) printf(\"%d\", socket(AF_UNIX, kinds[i], 0) >= 0); return 0; }";
    if !levels().contains(&Sandbox::Fs) {
        return;
    }
    for (devices, open) in [(Vec::new(), "000"), (vec!["/dev/nvidia0".into()], "001")] {
        let bed = Bed::new();
        let script = "printf '%s\n' \"$SOURCE\" > tmp/a.c && cc tmp/a.c -o out/a && out/a";
        let mut spec = ProcessSpec { devices, ..bed.script(Sandbox::Fs, script) };
        spec.env.insert("SOURCE".into(), source.into());
        assert_eq!(bed.run(spec).unwrap().status, Status::Code(0), "{}", bed.log());
        assert_eq!(bed.log(), open);
    }
}

#[test]
fn tools_are_shown_where_they_are() {
    for level in levels().into_iter().filter(|level| *level != Sandbox::Off) {
        let bed = Bed::new();
        let tool = bed.root.path().join("toolchain");
        std::fs::create_dir_all(tool.join("bin")).unwrap();
        std::fs::write(tool.join("bin/hello"), "#!/bin/sh\necho hello\n").unwrap();
        let mode = <std::fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o755);
        std::fs::set_permissions(tool.join("bin/hello"), mode).unwrap();
        let script = format!("{}; {}", tool.join("bin/hello").display(), tool.join("bin/hello").display());
        let hidden = bed.run(bed.script(level, &script)).unwrap();
        assert_ne!(hidden.status, Status::Code(0), "{level:?}");
        let spec = ProcessSpec { tool_roots: vec![tool], ..bed.script(level, &script) };
        assert_eq!(bed.run(spec).unwrap().status, Status::Code(0), "{level:?}: {}", bed.log());
        assert_eq!(bed.log(), "hello\nhello\n");
    }
}

#[test]
fn an_input_outside_the_folder_is_refused() {
    for at in ["../x", "/etc/x", "", "in/../../x"] {
        let bed = Bed::new();
        let spec =
            ProcessSpec { mounts: vec![Mount { host: "/usr".into(), at: at.into() }], ..bed.script(Sandbox::Off, ":") };
        let error = bed.run(spec).unwrap_err().to_string();
        assert!(error.contains("below the working folder"), "{at}: {error}");
    }
}

#[test]
fn strict_without_bubblewrap_fails_closed() {
    let mut bed = Bed::new();
    bed.launcher.bubblewrap = None;
    let error = bed.run(bed.script(Sandbox::Strict, "echo ran > out/x")).unwrap_err().to_string();
    assert!(error.contains("bubblewrap"), "{error}");
    assert!(!bed.workdir().join("out/x").exists());
}

#[test]
fn a_compiler_and_what_it_makes_work_at_every_level() {
    for level in levels() {
        let bed = Bed::new();
        let script = "echo 'int main(void) { return 5; }' > tmp/a.c && cc -O1 tmp/a.c -o out/a && out/a";
        let exit = bed.run(bed.script(level, script)).unwrap();
        assert_eq!(exit.status, Status::Code(5), "{level:?}: {}", bed.log());
    }
}
