//! What a step must not take from the whole machine: put on once by each supervisor, for all that it will start.
//!
//! Memory: where the machine runs out of it, the system ends somebody. That ought to be the step that takes it, and not
//! `pipe`, its neighbours or the user's desktop; so steps are more likely to be chosen, and of them the largest is.
//!
//! The number of processes is looked at from time to time, in `memory`.

use std::sync::OnceLock;

/// Of 1,000: as if a step held so much of the machine's memory more.
#[cfg(target_os = "linux")]
const SOONER: i32 = 500;

/// The fewest processes and threads that a step may have: a build on a large machine has thousands.
const FEWEST: u32 = 1_000;
/// The most that any needs.
const MOST: u32 = 16_000;

/// Bounds this process and whatever it starts. What the system refuses is as it was.
pub fn put_on() {
    use rustix::process::{Resource, Rlimit, setrlimit};
    // No core files, which hold what a process held. Where the system pipes them to a program instead of writing files,
    // it does not heed a limit of 0, and takes 1 for a no.
    let none = if cfg!(target_os = "linux") { 1 } else { 0 };
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(none), maximum: Some(none) });
    #[cfg(target_os = "linux")]
    {
        // Who is to be chosen even sooner stays so.
        const PATH: &str = "/proc/self/oom_score_adj";
        let now = std::fs::read_to_string(PATH).ok().and_then(|text| text.trim().parse::<i32>().ok());
        if now.is_some_and(|now| now < SOONER) {
            let _ = std::fs::write(PATH, SOONER.to_string());
        }
    }
}

/// How many processes and threads a step may be at a time: an eighth of what the system has numbers and room for, so
/// that a step which forks without an end is ended before nobody can start anything.
pub fn most_processes() -> u32 {
    static MOST_HERE: OnceLock<u32> = OnceLock::new();
    *MOST_HERE.get_or_init(|| {
        let of = |path: &str| std::fs::read_to_string(path).ok()?.trim().parse::<u32>().ok();
        let room = ["/proc/sys/kernel/pid_max", "/proc/sys/kernel/threads-max"].into_iter().filter_map(of).min();
        room.map_or(MOST, |room| (room / 8).clamp(FEWEST, MOST))
    })
}
