//! Ends, limits, figures and logs.

use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::time::{Duration, Instant};

use pipe::exec::process::{self, Cancel, ProcessSpec, Status};
use pipe::exec::supervisor::family;
use pipe::record::Sandbox;
use rustix::process::Pid;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::bed::{Bed, alive, block, eventually, levels};

/// A number of seconds that no other process of the machine sleeps for.
fn odd_sleep() -> String {
    let mut bytes = [0; 4];
    std::fs::File::open("/dev/urandom").unwrap().read_exact(&mut bytes).unwrap();
    format!("1000.{}", u32::from_ne_bytes(bytes))
}

#[test]
fn ends_are_told_apart() {
    for level in levels() {
        let bed = Bed::new();
        let end = |script: &str| bed.run(bed.script(level, script)).unwrap().status;
        assert_eq!(end("exit 0"), Status::Code(0), "{level:?}");
        assert_eq!(end("exit 7"), Status::Code(7), "{level:?}");
        for signal in [6, 9, 11, 15] {
            assert_eq!(end(&format!("kill -{signal} $$; sleep 5")), Status::Signal(signal), "{level:?}");
        }
    }
}

#[test]
fn a_program_that_is_not_there_is_named() {
    for level in levels() {
        let bed = Bed::new();
        let spec = ProcessSpec { program: "/no/such-program".into(), ..bed.script(level, "") };
        let said = match bed.run(spec) {
            Ok(exit) => {
                assert_ne!(exit.status, Status::Code(0));
                bed.log()
            }
            Err(error) => error.to_string(),
        };
        assert!(said.contains("/no/such-program"), "{level:?}: {said}");
    }
}

#[test]
fn stdout_and_stderr_go_to_the_log_and_both_ends_are_kept() {
    let bed = Bed::new();
    assert_eq!(bed.log_of(Sandbox::Off, "echo one; echo two >&2"), "one\ntwo\nexit code 0\n");
    bed.run(bed.script(Sandbox::Off, "echo begin; head -c 40000000 /dev/zero; echo end")).unwrap();
    let log = std::fs::read(bed.root.path().join("log")).unwrap();
    assert!(log.len() < 17 << 20, "{} bytes", log.len());
    assert!(log.starts_with(b"begin\n") && log.ends_with(b"end\n"));
}

#[test]
fn time_limits_hold_for_those_who_ignore_a_polite_end() {
    for level in levels() {
        for trap in ["", "trap '' TERM;"] {
            let bed = Bed::new();
            let sleep = odd_sleep();
            let script = format!("{trap} setsid sh -c \"{trap} sleep {sleep}\" & sleep {sleep}; sleep {sleep}");
            let spec = ProcessSpec { timeout: Some(Duration::from_millis(200)), ..bed.script(level, &script) };
            let begun = Instant::now();
            assert_eq!(bed.run(spec).unwrap().status, Status::TimedOut, "{level:?}");
            assert!(begun.elapsed() < Duration::from_secs(4), "{level:?}: {:?}", begun.elapsed());
            assert_eq!(alive(&sleep), Vec::<String>::new(), "{level:?}");
        }
    }
}

#[test]
fn a_polite_end_lets_the_program_tidy_up() {
    for level in levels() {
        let bed = Bed::new();
        // Code 0 is no success of one that was asked to end: its output may be half there.
        let script = "trap 'echo tidy > out/note; exit 0' TERM; echo ready > out/ready; while :; do sleep 0.05; done";
        let cancel = Cancel::new();
        let spec = bed.script(level, script);
        let exit = block(async {
            let ask = async {
                while !bed.workdir().join("out/ready").exists() {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                cancel.cancel();
            };
            tokio::join!(process::run(&bed.launcher, spec, cancel.clone()), ask).0.unwrap()
        });
        assert_eq!(exit.status, Status::Cancelled, "{level:?}");
        assert!(bed.workdir().join("out/note").exists(), "{level:?}");
        assert!(exit.usage.wall_ns < 2_000_000_000, "{level:?}: {exit:?}");
    }
}

#[test]
fn what_a_program_leaves_behind_is_ended_with_it() {
    for level in levels() {
        let bed = Bed::new();
        let sleep = odd_sleep();
        // Twice forked, in a session of its own, holding the log open.
        let script = format!("(setsid sh -c 'sleep {sleep} & sleep {sleep}' &) ; sleep 0.1; exit 0");
        assert_eq!(bed.run(bed.script(level, &script)).unwrap().status, Status::Code(0), "{level:?}");
        assert_eq!(alive(&sleep), Vec::<String>::new(), "{level:?}");
    }
}

/// Not a test of its own: the `pipe` that the tests after it kill.
#[test]
fn runner() {
    let Ok(order) = std::env::var("PIPE_TEST_RUNNER") else {
        return;
    };
    let (level, script) = order.split_once('|').unwrap();
    let known = [Sandbox::Off, Sandbox::Fs, Sandbox::Strict];
    let level = known.into_iter().find(|known| known.name() == level).unwrap();
    let bed = Bed::new();
    // The supervisor that matters has had a child before.
    bed.run(bed.script(level, ":")).unwrap();
    bed.run(bed.script(level, script)).unwrap();
}

/// Starts [`runner`] with two processes that will not end by themselves, one of them in another session.
fn killable(scratch: &Path, level: Sandbox, sleep: &str) -> std::process::Child {
    let script =
        format!("trap '' TERM; (setsid sh -c \"trap '' TERM; sleep {sleep}; sleep {sleep}\" &) ; sleep {sleep}");
    std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "process::runner", "--nocapture"])
        .env("TMPDIR", scratch)
        .env("PIPE_TEST_RUNNER", format!("{}|{script}", level.name()))
        .stdout(std::process::Stdio::null())
        .process_group(0)
        .spawn()
        .unwrap()
}

#[test]
fn nothing_survives_a_killed_runner() {
    let scratch = tempfile::tempdir().expect("a folder that outlives the killed");
    for level in levels() {
        let sleep = odd_sleep();
        let mut runner = killable(scratch.path(), level, &sleep);
        let mark = format!("sleep {sleep}");
        let running = || alive(&mark).iter().filter(|line| line.contains(": sleep")).count();
        assert!(eventually(Duration::from_secs(10), || running() == 2), "{level:?}: {:?}", alive(&sleep));
        runner.kill().unwrap();
        runner.wait().unwrap();
        assert!(eventually(Duration::from_secs(2), || alive(&sleep).is_empty()), "{level:?}: {:?}", alive(&sleep));
    }
}

#[test]
fn nothing_survives_a_runner_that_is_killed_in_the_middle_of_a_start() {
    let scratch = tempfile::tempdir().expect("a folder that outlives the killed");
    let sleep = odd_sleep();
    for level in levels() {
        for delay in (1..40).step_by(3) {
            let mut runner = killable(scratch.path(), level, &sleep);
            std::thread::sleep(Duration::from_millis(delay));
            runner.kill().unwrap();
            runner.wait().unwrap();
        }
    }
    // Looked for over a while, since what was being started may come late.
    let mut quiet = 0;
    let settled = eventually(Duration::from_secs(4), || {
        quiet = if alive(&sleep).is_empty() { quiet + 1 } else { 0 };
        quiet > 20
    });
    assert!(settled, "{:?}", alive(&sleep));
}

#[test]
fn peak_memory_is_the_programs_own() {
    // A large parent must not show in the figures of a small child.
    let ballast = vec![1_u8; 300 << 20];
    for level in levels() {
        let bed = Bed::new();
        let peak = |script: &str| bed.run(bed.script(level, script)).unwrap().usage.peak_resident.unwrap() >> 20;
        let small = peak("exec true");
        assert!(small < 30, "{level:?}: {small} MiB");
        let large = peak("head -c 100M /dev/zero | tail -c 100M > /dev/null");
        assert!((100..140).contains(&large), "{level:?}: {large} MiB");
    }
    assert_eq!(ballast[ballast.len() / 2], 1);
}

#[test]
fn processor_time_is_counted() {
    for level in levels() {
        let bed = Bed::new();
        let script = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done";
        let usage = bed.run(bed.script(level, script)).unwrap().usage;
        assert!(usage.user_ns > 20_000_000 && usage.user_ns < usage.wall_ns * 2, "{level:?}: {usage:?}");
    }
}

#[test]
fn a_memory_limit_ends_the_step() {
    for level in levels() {
        let bed = Bed::new();
        let script = "head -c 400M /dev/zero | tail -c 400M | sleep 30";
        let spec = ProcessSpec { memory: Some(100 << 20), ..bed.script(level, script) };
        assert_eq!(bed.run(spec).unwrap().status, Status::OverMemory, "{level:?}");
    }
}

#[test]
fn a_fork_bomb_ends_and_its_neighbour_does_not() {
    for level in levels() {
        let (bed, sleep) = (Bed::new(), odd_sleep());
        // Each starts two more, and in the end there would be 1,000; those at the ends leave their group.
        let bomb = format!("b() {{ [ $1 = 0 ] && exec setsid sleep {sleep}; b $(($1-1)) & b $(($1-1)) & wait; }}; b 9");
        let bomb = ProcessSpec { processes: 100, ..bed.script(level, &bomb) };
        let neighbour = ProcessSpec {
            workdir: bed.root.path().join("neighbour"),
            log: bed.root.path().join("neighbour.log"),
            ..bed.script(level, "for i in 1 2 3 4 5 6 7 8 9 10; do sleep 0.1; done; echo well")
        };
        block(async {
            let run = |spec| process::run(&bed.launcher, spec, Cancel::new());
            let (bomb, neighbour) = tokio::join!(run(bomb), run(neighbour));
            assert_eq!(bomb.unwrap().status, Status::OverProcesses, "{level:?}");
            assert_eq!(neighbour.unwrap().status, Status::Code(0), "{level:?}");
        });
        assert_eq!(std::fs::read_to_string(bed.root.path().join("neighbour.log")).unwrap(), "well\n");
        assert_eq!(alive(&sleep), Vec::<String>::new(), "{level:?}");
        // Many are no harm where they are no bomb.
        let many = "perl -e 'for (1..150) { fork or do { sleep 1; exit } } 1 while wait > 0'";
        assert_eq!(bed.run(bed.script(level, many)).unwrap().status, Status::Code(0), "{level:?}");
    }
}

#[test]
fn no_core_file_is_left_and_the_system_ends_a_step_first() {
    for level in levels() {
        let bed = Bed::new();
        let log = bed.log_of(level, "ulimit -c; ulimit -Hc; cat /proc/self/oom_score_adj; cd out; kill -SEGV $$");
        assert_eq!(log, "0\n0\n500\nsignal 11 (SIGSEGV)\n", "{level:?}");
        assert_eq!(std::fs::read_dir(bed.workdir().join("out")).unwrap().count(), 0, "{level:?}");
    }
}

#[test]
fn the_environment_is_what_was_declared() {
    for level in levels() {
        let bed = Bed::new();
        let mut spec = bed.script(level, "env | grep -vE '^(_|PWD|SHLVL|OLDPWD)=' | sort");
        spec.env.insert("LD_LIBRARY_PATH".into(), "/none".into());
        bed.run(spec).unwrap();
        let tmp = if level == Sandbox::Strict { "/pipe/tmp".into() } else { bed.workdir().join("tmp") };
        let tmp = tmp.display();
        assert_eq!(bed.log(), format!("HOME={tmp}\nLD_LIBRARY_PATH=/none\nPATH=/usr/bin:/bin\nTMPDIR={tmp}\n"));
    }
}

#[test]
fn no_descriptor_of_ours_reaches_a_program() {
    let (leak, _other) = std::io::pipe().unwrap();
    rustix::io::fcntl_setfd(&leak, rustix::io::FdFlags::empty()).unwrap();
    for level in levels() {
        let bed = Bed::new();
        bed.run(bed.script(level, "ls /proc/self/fd | tr '\\n' ' '")).unwrap();
        // The fourth is the listing's own.
        assert_eq!(bed.log(), "0 1 2 3 ", "{level:?}");
    }
}

#[test]
fn an_engine_talks_on_its_own_pipes() {
    for level in levels() {
        let bed = Bed::new();
        let script = "echo note >&2; while read line; do echo \"got $line\"; done; echo bye >&2";
        let said = block(async {
            let mut engine =
                process::start_engine(&bed.launcher, bed.script(level, script), Cancel::new()).await.unwrap();
            let (mut out, mut stdin) = engine.take_link().unwrap();
            stdin.write_all(b"one\ntwo\n").await.unwrap();
            drop(stdin);
            let mut said = String::new();
            out.read_to_string(&mut said).await.unwrap();
            assert_eq!(engine.wait().await.unwrap().status, Status::Code(0));
            said
        });
        assert_eq!(said, "got one\ngot two\n", "{level:?}");
        assert_eq!(bed.log(), "note\nbye\n", "{level:?}");
    }
}

#[test]
fn a_dropped_engine_is_ended() {
    for level in levels() {
        let bed = Bed::new();
        let sleep = odd_sleep();
        let script = format!("sleep {sleep}; sleep {sleep}");
        block(async {
            let engine = process::start_engine(&bed.launcher, bed.script(level, &script), Cancel::new()).await.unwrap();
            drop(engine);
        });
        assert!(eventually(Duration::from_secs(2), || alive(&sleep).is_empty()), "{level:?}: {:?}", alive(&sleep));
    }
}

#[test]
fn a_killed_supervisor_is_an_error_and_leaves_nothing() {
    for level in levels() {
        let bed = Bed::new();
        let sleep = odd_sleep();
        let error = block(async {
            let engine =
                process::start_engine(&bed.launcher, bed.script(level, &format!("sleep {sleep}; :")), Cancel::new())
                    .await;
            let engine = engine.unwrap();
            let supervisor = supervisor_of(&sleep).await;
            rustix::process::kill_process(supervisor, rustix::process::Signal::KILL).unwrap();
            engine.wait().await.unwrap_err()
        });
        assert!(error.to_string().contains("supervisor"), "{error}");
        assert!(eventually(Duration::from_secs(2), || alive(&sleep).is_empty()), "{level:?}: {:?}", alive(&sleep));
    }
}

#[test]
fn what_left_its_session_ends_when_the_supervisor_is_killed() {
    for level in levels() {
        let bed = Bed::new();
        let sleep = odd_sleep();
        // Its parent is gone, it has a session and a folder of its own, and it starts one more.
        let stray = format!("(cd /; setsid sh -c 'sleep {sleep} & sleep {sleep}' &); sleep {sleep}; :");
        let error = block(async {
            let engine = process::start_engine(&bed.launcher, bed.script(level, &stray), Cancel::new()).await.unwrap();
            let supervisor = supervisor_of(&sleep).await;
            let all = || {
                family::descendants(supervisor).iter().filter(|pid| command_line(**pid).starts_with("sleep")).count()
            };
            while all() < 3 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            rustix::process::kill_process(supervisor, rustix::process::Signal::KILL).unwrap();
            engine.wait().await.unwrap_err()
        });
        assert!(error.to_string().contains("supervisor"), "{error}");
        assert!(eventually(Duration::from_secs(2), || alive(&sleep).is_empty()), "{level:?}: {:?}", alive(&sleep));
    }
}

/// The child of this process from which `sleep MARK` descends. That it sleeps says that the sandbox stands:
/// `bwrap` ties itself to its parent before it lets its child run, and names the program long before that.
async fn supervisor_of(mark: &str) -> Pid {
    let program = format!("sleep {mark}");
    loop {
        let mut supervisors = family::descendants(rustix::process::getpid()).into_iter().filter(|pid| {
            let line = command_line(*pid);
            line.contains("__sup")
        });
        let found = supervisors
            .find(|pid| family::descendants(*pid).iter().any(|below| command_line(*below).starts_with(&program)));
        match found {
            Some(pid) => return pid,
            None => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}

fn command_line(pid: Pid) -> String {
    let line = std::fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).unwrap_or_default();
    String::from_utf8_lossy(&line).replace('\0', " ")
}

#[test]
fn fifty_steps_one_after_another_leave_no_zombie() {
    let bed = Bed::new();
    block(async {
        for _ in 0..50 {
            let exit = process::run(&bed.launcher, bed.script(Sandbox::Off, ":"), Cancel::new()).await.unwrap();
            assert_eq!(exit.status, Status::Code(0));
        }
    });
    std::io::stdout().flush().unwrap();
    let me = std::process::id();
    let zombie = |stat: &str| stat.contains(&format!(") Z {me} ")) && stat.contains("(pipe)");
    let left = || {
        let entries = std::fs::read_dir("/proc").unwrap().flatten();
        entries
            .filter_map(|entry| std::fs::read_to_string(entry.path().join("stat")).ok())
            .filter(|s| zombie(s))
            .count()
    };
    assert!(eventually(Duration::from_secs(2), || left() == 0));
}
