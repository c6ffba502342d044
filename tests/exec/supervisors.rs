//! One supervisor runs one child after another, and nothing of one child is seen in the next.

use std::time::Duration;

use pipe::exec::process::{self, Cancel, ProcessSpec, Status};
use pipe::record::{Sandbox, StepUsage};
use rustix::process::{Pid, Signal, kill_process};

use crate::bed::{Bed, block, eventually, levels};

/// The number of the process that started the script: its supervisor's.
const PARENT: &str = "echo $PPID";

fn parent_of(bed: &Bed) -> i32 {
    let _ = std::fs::remove_file(bed.root.path().join("log"));
    bed.run(bed.script(Sandbox::Off, PARENT)).unwrap();
    bed.log().trim().parse().unwrap()
}

#[test]
fn many_children_have_one_supervisor() {
    let bed = Bed::new();
    let first = parent_of(&bed);
    for _ in 0..20 {
        assert_eq!(parent_of(&bed), first);
    }
    // What does not start, or is ended, is no reason for another one.
    let spec = ProcessSpec { program: "/no/such-program".into(), ..bed.script(Sandbox::Off, "") };
    assert!(bed.run(spec).is_err());
    let spec = ProcessSpec { timeout: Some(Duration::from_millis(50)), ..bed.script(Sandbox::Off, "sleep 60") };
    assert_eq!(bed.run(spec).unwrap().status, Status::TimedOut);
    assert_eq!(parent_of(&bed), first);
}

#[test]
fn children_at_the_same_time_have_their_own() {
    let bed = Bed::new();
    let script = |n: u8| ProcessSpec {
        workdir: bed.root.path().join(format!("work{n}")),
        log: bed.root.path().join(format!("log{n}")),
        ..bed.script(Sandbox::Off, "echo $PPID; sleep 0.2")
    };
    block(async {
        let run = |n| process::run(&bed.launcher, script(n), Cancel::new());
        let (one, two) = tokio::join!(run(1), run(2));
        assert_eq!((one.unwrap().status, two.unwrap().status), (Status::Code(0), Status::Code(0)));
    });
    let log = |n: u8| std::fs::read_to_string(bed.root.path().join(format!("log{n}"))).unwrap();
    assert_ne!(log(1), log(2));
}

#[test]
fn a_killed_supervisor_is_replaced() {
    let bed = Bed::new();
    let first = parent_of(&bed);
    let kill = |pid: i32| kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    // While it waits: nobody notices.
    kill(first);
    // A kill takes a moment.
    let stat = format!("/proc/{first}/stat");
    let gone = || std::fs::read_to_string(&stat).map_or(true, |stat| stat.contains(") Z "));
    assert!(eventually(Duration::from_secs(5), gone));
    let second = parent_of(&bed);
    assert_ne!(second, first);
    // While its child runs: that one is lost, and its processes with it.
    let error = bed.run(bed.script(Sandbox::Off, "sleep 1000 & kill -9 $PPID; sleep 1000")).unwrap_err();
    assert_eq!(error.to_string(), "the supervisor of `/bin/sh` was killed, perhaps by the system for want of memory");
    assert_ne!(parent_of(&bed), second);
}

#[test]
fn an_order_to_stop_that_comes_with_the_one_to_start_is_heard() {
    for level in levels() {
        let bed = Bed::new();
        let cancel = Cancel::new();
        cancel.cancel();
        let begun = std::time::Instant::now();
        let exit = block(process::run(&bed.launcher, bed.script(level, "sleep 1000"), cancel)).unwrap();
        assert_eq!(exit.status, Status::Cancelled, "{level:?}");
        // Else it is only killed when the supervisor is given up, after eight seconds.
        assert!(begun.elapsed() < Duration::from_secs(6), "{level:?}: {:?}", begun.elapsed());
    }
}

#[test]
fn the_memory_of_one_child_is_not_that_of_the_next() {
    for level in levels() {
        let bed = Bed::new();
        let used = |script: &str| bed.run(bed.script(level, script)).unwrap().usage;
        let peak = |usage: StepUsage| usage.peak_resident.unwrap() >> 20;
        let large = used("head -c 300M /dev/zero | tail -c 300M > /dev/null");
        assert!((300..340).contains(&peak(large)), "{level:?}: {large:?}");
        let small = used("exec true");
        assert!(peak(small) < 30, "{level:?}: {small:?}");
        assert!(small.user_ns + small.system_ns < large.user_ns + large.system_ns, "{level:?}: {small:?}");
    }
}

#[test]
fn the_memory_of_a_tree_is_that_of_all_its_processes() {
    for level in levels() {
        let bed = Bed::new();
        // Each holds its 100 MiB until the pipe it waits on ends.
        let hold = "{ head -c 100M /dev/zero; sleep 1.2; } | tail -c 100M > /dev/null";
        let usage = bed.run(bed.script(level, &format!("{hold} & {hold} & wait"))).unwrap().usage;
        let (one, all) = (usage.peak_resident.unwrap() >> 20, usage.peak_tree.unwrap() >> 20);
        assert!((100..140).contains(&one), "{level:?}: {usage:?}");
        assert!((150..280).contains(&all), "{level:?}: {usage:?}");
    }
}

#[test]
fn the_output_of_one_child_is_not_in_the_log_of_the_next() {
    for level in levels() {
        let bed = Bed::new();
        bed.run(bed.script(level, "yes 0123456789 | head -c 3000000; echo last")).unwrap();
        assert!(bed.log().ends_with("last\n") && bed.log().len() == 3_000_005, "{level:?}");
        let exit = bed.run(ProcessSpec { log: bed.root.path().join("none"), ..bed.script(level, ":") }).unwrap();
        assert!(!exit.printed && !bed.root.path().join("none").exists(), "{level:?}");
        let exit = bed.run(bed.script(level, "echo own")).unwrap();
        assert!(exit.printed && bed.log() == "own\n", "{level:?}: {}", bed.log());
    }
}

#[test]
fn a_script_without_an_interpreter_is_the_shells() {
    for level in [Sandbox::Off, Sandbox::Fs] {
        let bed = Bed::new();
        let script = bed.workdir().join("tmp/script");
        std::fs::create_dir_all(script.parent().unwrap()).unwrap();
        std::fs::write(&script, "echo \"said $1\"\n").unwrap();
        std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let spec = ProcessSpec { program: "tmp/script".into(), args: vec!["x".into()], ..bed.script(level, "") };
        assert_eq!(bed.run(spec).unwrap().status, Status::Code(0), "{level:?}");
        assert_eq!(bed.log(), "said x\n", "{level:?}");
    }
}
