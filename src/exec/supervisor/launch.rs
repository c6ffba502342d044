//! Starting a child: between the fork and the program there is no other program, and no memory is copied.
//!
//! The child borrows the supervisor's memory until it becomes the program (`CLONE_VM | CLONE_VFORK`, as `posix_spawn`
//! does), so that starting costs the same however large the supervisor is. In that moment it may only make system
//! calls; all that they need is made before. Where the system has no such call, the standard library starts it.

use std::os::fd::BorrowedFd;

use rustix::process::Pid;

use super::wire::{Confine, Start};

/// Starts the child with these as its stdin, stdout and stderr, in a process group of its own.
pub fn launch(start: &Start, streams: [BorrowedFd<'_>; 3]) -> Result<Pid, String> {
    let held = system::Held::new(start)?;
    system::start(start, streams, &held).map_err(|fault| match fault.at {
        At::Folder => format!("`{}` can't be entered: {}", start.workdir.display(), fault.error),
        At::Landlock => {
            format!("Landlock could not be put on: {}; see `pipe doctor`, or pass `--sandbox off`", fault.error)
        }
        At::Filter => format!("the kernel takes no filter of system calls: {}; pass `--sandbox off`", fault.error),
        At::Program => format!("`{}` could not be started: {}", start.program.display(), fault.error),
    })
}

/// Why nothing was started.
struct Fault {
    at: At,
    error: std::io::Error,
}

/// What a child does before it is the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Folder,
    Landlock,
    Filter,
    Program,
}

#[cfg(target_os = "linux")]
mod system {
    use std::ffi::{CString, OsStr, OsString};
    use std::fs::File;
    use std::io;
    use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
    use std::os::unix::ffi::OsStrExt;
    use std::path::PathBuf;
    use std::ptr;

    use rustix::process::Pid;
    use seccompiler::sock_filter;

    use super::{At, Confine, Fault};
    use crate::exec::supervisor::wire::Start;
    use crate::exec::supervisor::{confine, filter};

    /// More than the calls of [`child`] need.
    const STACK: usize = 64 << 10;

    /// What holds a child in, made before it starts and kept until it has it.
    pub enum Held {
        Nothing,
        /// Put on by the child itself.
        Itself {
            rules: OwnedFd,
            filter: Vec<sock_filter>,
        },
        /// Put on by the program that makes the namespaces, which reads the filter from a descriptor.
        Namespaces {
            filter: File,
        },
    }

    impl Held {
        pub fn new(start: &Start) -> Result<Held, String> {
            let is_gpu = |path: &PathBuf| path.as_os_str().as_bytes().starts_with(b"/dev/nvidia");
            let shape = |namespaces, gpu| filter::Shape { namespaces, network: start.network, gpu };
            let said = |error: filter::FilterError| error.to_string();
            Ok(match &start.confine {
                Confine::Off => Held::Nothing,
                Confine::Landlock(rules) => {
                    let filter = filter::program(shape(false, rules.devices.iter().any(is_gpu))).map_err(said)?;
                    Held::Itself { rules: confine::ruleset(rules)?, filter }
                }
                Confine::Namespaces => {
                    Held::Namespaces { filter: filter::inherited(shape(true, false)).map_err(said)? }
                }
            })
        }

        /// Arguments that come before all others.
        fn args(&self) -> Vec<OsString> {
            match self {
                Held::Nothing | Held::Itself { .. } => Vec::new(),
                Held::Namespaces { filter } => vec!["--seccomp".into(), filter.as_raw_fd().to_string().into()],
            }
        }
    }

    /// A program with its arguments and environment, as the kernel wants it.
    struct Image {
        _text: Vec<CString>,
        argv: Vec<*const libc::c_char>,
        envp: Vec<*const libc::c_char>,
    }

    impl Image {
        /// The first word is the program.
        fn new<'a>(words: impl Iterator<Item = &'a OsStr>, start: &Start) -> io::Result<Image> {
            let text = |bytes: &[u8]| CString::new(bytes).map_err(io::Error::other);
            let mut texts = words.map(|word| text(word.as_bytes())).collect::<io::Result<Vec<_>>>()?;
            let count = texts.len();
            for (name, value) in &start.env {
                texts.push(text(format!("{name}={value}").as_bytes())?);
            }
            let list = |texts: &[CString]| {
                texts.iter().map(|text| text.as_ptr()).chain(std::iter::once(ptr::null())).collect::<Vec<_>>()
            };
            Ok(Image { argv: list(&texts[..count]), envp: list(&texts[count..]), _text: texts })
        }
    }

    /// All that the child needs, and where it leaves the reason if it can't become the program.
    struct Task<'a> {
        image: &'a Image,
        folder: CString,
        streams: [libc::c_int; 3],
        /// Landlock's rules, and the filter of system calls.
        own: Option<(libc::c_int, libc::sock_fprog)>,
        tied: bool,
        parent: libc::pid_t,
        fault: Option<(At, libc::c_int)>,
    }

    pub fn start(start: &Start, streams: [BorrowedFd<'_>; 3], held: &Held) -> Result<Pid, Fault> {
        let failed = |error: io::Error| Fault { at: At::Program, error };
        let program = start.program.as_os_str();
        let first = held.args();
        let args = || first.iter().chain(&start.args).map(|arg| arg.as_os_str());
        let image = Image::new(std::iter::once(program).chain(args()), start).map_err(failed)?;
        let folder =
            CString::new(start.workdir.as_os_str().as_bytes()).map_err(|error| failed(io::Error::other(error)))?;
        let streams = streams.map(|stream| stream.as_raw_fd());
        let own = match held {
            Held::Itself { rules, filter } => {
                let len = u16::try_from(filter.len()).map_err(|error| failed(io::Error::other(error)))?;
                // The kernel only reads it; both structures are the kernel's own.
                let filter = libc::sock_fprog { len, filter: filter.as_ptr().cast_mut().cast() };
                Some((rules.as_raw_fd(), filter))
            }
            Held::Nothing | Held::Namespaces { .. } => None,
        };
        // A program that makes namespaces may be a set-uid one.
        let tied = !matches!(held, Held::Namespaces { .. });
        let parent = rustix::process::getpid().as_raw_nonzero().get();
        let mut task = Task { image: &image, folder, streams, own, tied, parent, fault: None };
        match fork(&mut task).map_err(failed)? {
            Ok(pid) => Ok(pid),
            // A script that does not name its interpreter is one of the shell's, as everywhere.
            Err((At::Program, libc::ENOEXEC)) => {
                let words = [OsStr::new("/bin/sh"), program].into_iter().chain(args());
                let shell = Image::new(words, start).map_err(failed)?;
                let mut task = Task { image: &shell, fault: None, ..task };
                fork(&mut task).map_err(failed)?.map_err(said)
            }
            Err(fault) => Err(said(fault)),
        }
    }

    fn said((at, number): (At, libc::c_int)) -> Fault {
        Fault { at, error: io::Error::from_raw_os_error(number) }
    }

    /// Starts a child that does `task`; the inner error is one that the child met.
    fn fork(task: &mut Task<'_>) -> io::Result<Result<Pid, (At, libc::c_int)>> {
        let mut stack = vec![0_u128; STACK / size_of::<u128>()];
        let top = stack.as_mut_ptr_range().end;
        let task: *mut Task<'_> = task;
        // SAFETY: the child runs `child` on a stack of its own, which with `task` outlives it here: with `CLONE_VFORK`
        // this thread stands still until the child has become the program or has ended. It is the only thread of the
        // supervisor, which handles no signals, so nothing else touches the memory that they share.
        let (pid, fault) = unsafe {
            let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
            let pid = libc::clone(child, top.cast(), flags, task.cast());
            let error = io::Error::last_os_error();
            if pid < 0 {
                return Err(error);
            }
            (pid, (*task).fault)
        };
        drop(stack);
        let pid = Pid::from_raw(pid).ok_or_else(|| io::Error::other("a process without a number"))?;
        match fault {
            None => Ok(Ok(pid)),
            Some(fault) => {
                // What could not become the program has ended, and must not be met as somebody's end later.
                let _ = rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty());
                Ok(Err(fault))
            }
        }
    }

    /// What the child does. Only system calls, and nothing that allocates or locks.
    extern "C" fn child(task: *mut libc::c_void) -> libc::c_int {
        // SAFETY: the pointer is to the `Task` in `fork`, which waits; every pointer in it is to text of its own.
        unsafe {
            let task = &mut *task.cast::<Task<'_>>();
            let fault = become_program(task);
            let number = *libc::__errno_location();
            task.fault = Some((fault, number));
            libc::_exit(126)
        }
    }

    /// Lets a program write to its threads' files in `/proc`: it may name them, and CUDA's driver sees no device where it
    /// can't. Whose threads those are, only the child knows. Without `/proc` there is nothing to allow.
    ///
    /// # Safety
    /// For a child that shares its memory with a parent that waits.
    unsafe fn allow_own_threads(rules: libc::c_int) {
        // SAFETY: system calls with numbers, a text that ends in a zero, and a structure as the kernel has it.
        unsafe {
            let threads = libc::open(c"/proc/self/task".as_ptr(), libc::O_PATH | libc::O_CLOEXEC);
            if threads >= 0 {
                for allowed_access in [WRITE_FILE | TRUNCATE, WRITE_FILE] {
                    let beneath = PathBeneath { allowed_access, parent_fd: threads };
                    if libc::syscall(libc::SYS_landlock_add_rule, rules, PATH_BENEATH, &raw const beneath, 0) == 0 {
                        break;
                    }
                }
                libc::close(threads);
            }
        }
    }

    /// `struct landlock_path_beneath_attr` of the kernel's interface.
    #[repr(C, packed)]
    struct PathBeneath {
        allowed_access: u64,
        parent_fd: libc::c_int,
    }

    const PATH_BENEATH: libc::c_int = 1;
    const WRITE_FILE: u64 = 1 << 1;
    /// A kernel that does not know it (before 6.2) refuses a rule that names it.
    const TRUNCATE: u64 = 1 << 14;

    /// Returns only where something failed, with what; the reason is in `errno`.
    ///
    /// # Safety
    /// For a child that shares its memory with a parent that waits.
    unsafe fn become_program(task: &Task<'_>) -> At {
        // SAFETY: system calls with numbers, and with texts that end in a zero and live as long as `task`.
        unsafe {
            libc::setpgid(0, 0);
            // Dies with the supervisor, and gains no privileges from set-uid programs; a sandbox that is a program may
            // be one.
            if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as libc::c_ulong) != 0
                || (task.tied && libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
            {
                return At::Program;
            }
            if libc::getppid() != task.parent {
                libc::_exit(126);
            }
            libc::signal(libc::SIGPIPE, libc::SIG_DFL);
            for (number, stream) in (0..).zip(task.streams) {
                // The same number would keep its mark to be closed.
                let given =
                    if stream == number { libc::fcntl(number, libc::F_SETFD, 0) } else { libc::dup2(stream, number) };
                if given < 0 {
                    return At::Program;
                }
            }
            if libc::chdir(task.folder.as_ptr()) != 0 {
                return At::Folder;
            }
            if let Some((rules, filter)) = &task.own {
                if let Err(error) = confine::disown() {
                    *libc::__errno_location() = error.raw_os_error();
                    return At::Landlock;
                }
                allow_own_threads(*rules);
                if libc::syscall(libc::SYS_landlock_restrict_self, *rules, 0) != 0 {
                    return At::Landlock;
                }
                let filter: *const libc::sock_fprog = filter;
                if libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER as libc::c_ulong, filter) != 0 {
                    return At::Filter;
                }
            }
            libc::execve(task.image.argv[0], task.image.argv.as_ptr(), task.image.envp.as_ptr());
            At::Program
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use std::io;
    use std::os::fd::BorrowedFd;
    use std::os::unix::process::CommandExt;
    use std::process::{Command, Stdio};

    use rustix::process::Pid;

    use super::{At, Confine, Fault};
    use crate::exec::supervisor::wire::Start;

    /// Here a program that makes the sandbox is all that holds a child in.
    pub struct Held;

    impl Held {
        pub fn new(start: &Start) -> Result<Held, String> {
            match &start.confine {
                Confine::Off | Confine::Namespaces => Ok(Held),
                Confine::Landlock(_) => Err("Landlock is a part of Linux".to_owned()),
            }
        }
    }

    #[expect(clippy::disallowed_methods, reason = "this is the supervisor, the one place where steps' processes start")]
    pub fn start(start: &Start, streams: [BorrowedFd<'_>; 3], _held: &Held) -> Result<Pid, Fault> {
        let failed = |error: io::Error| Fault { at: At::Program, error };
        let mut command = Command::new(&start.program);
        command.env_clear().envs(&start.env).args(&start.args).current_dir(&start.workdir).process_group(0);
        let [stdin, stdout, stderr] = streams.map(|stream| stream.try_clone_to_owned());
        let child = command
            .stdin(Stdio::from(stdin.map_err(failed)?))
            .stdout(Stdio::from(stdout.map_err(failed)?))
            .stderr(Stdio::from(stderr.map_err(failed)?))
            .spawn()
            .map_err(failed)?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        pid.ok_or_else(|| failed(io::Error::other("a process without a number")))
    }
}
