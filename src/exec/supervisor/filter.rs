//! Which system calls a step may not make, at the levels `strict` and `fs`: a filter in the kernel's own language.
//!
//! Namespaces and Landlock hold a step to its files. This closes what they leave open: key rings, which no namespace
//! parts; kernel interfaces that ordinary programs have no use for and that most escapes began with; and sockets
//! that reach past both. What is refused answers `EPERM`, so that a program says what it could not do; calls that
//! libraries only try because they are newer answer `ENOSYS`, so that they fall back.
//!
//! It is a list of what is refused. A list of what is allowed would break programs whenever a C library learns a new
//! call, and a step that worked must go on working.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Seek, Write};
use std::sync::{Mutex, PoisonError};

use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, sock_filter,
};

/// Whom the filter is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// The step has namespaces of its own, for shared memory, message queues and, without network, sockets.
    pub namespaces: bool,
    pub network: bool,
    /// The step has an NVIDIA GPU, whose driver looks for a service that shares it and gives up where it may not look.
    pub gpu: bool,
}

/// Refused altogether.
const REFUSED: [i64; 46] = [
    // Key rings belong to the user, and no namespace parts them.
    libc::SYS_add_key,
    libc::SYS_keyctl,
    libc::SYS_request_key,
    // Large parts of the kernel that ordinary programs have no use for.
    libc::SYS_bpf,
    libc::SYS_userfaultfd,
    libc::SYS_perf_event_open,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    // Other processes.
    libc::SYS_ptrace,
    libc::SYS_pidfd_getfd,
    // Mounts and namespaces.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_setns,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_open_by_handle_at,
    libc::SYS_fanotify_init,
    // The machine.
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_reboot,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_syslog,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_vhangup,
    libc::SYS_nfsservctl,
    libc::SYS_lookup_dcookie,
    libc::SYS_kcmp,
];

/// Refused where the processor has them.
#[cfg(target_arch = "x86_64")]
const REFUSED_HERE: [i64; 4] = [libc::SYS_iopl, libc::SYS_ioperm, libc::SYS_modify_ldt, libc::SYS_uselib];
#[cfg(not(target_arch = "x86_64"))]
const REFUSED_HERE: [i64; 0] = [];

/// As if the kernel were older: what they take lies in memory, where a filter can't look, and each has an older form.
const UNKNOWN: [i64; 3] = [libc::SYS_clone3, libc::SYS_openat2, SYS_FCHMODAT2];
const SYS_FCHMODAT2: i64 = 452;

/// Shared between all processes of the user, where there is no namespace for it.
const SHARED: [i64; 4] = [libc::SYS_shmget, libc::SYS_semget, libc::SYS_msgget, libc::SYS_mq_open];

/// The bits of a mode that make a program run as its owner.
const SET_ID: [u64; 2] = [libc::S_ISUID as u64, libc::S_ISGID as u64];

/// The calls that take a mode, and where: number, argument with flags if any, argument with the mode.
const MODES: [(i64, Option<u8>, u8); 4] = [
    (libc::SYS_fchmod, None, 1),
    (libc::SYS_fchmodat, None, 2),
    (libc::SYS_mknodat, None, 2),
    (libc::SYS_openat, Some(2), 3),
];
#[cfg(target_arch = "x86_64")]
const MODES_HERE: [(i64, Option<u8>, u8); 4] =
    [(libc::SYS_chmod, None, 1), (libc::SYS_mknod, None, 1), (libc::SYS_creat, None, 1), (libc::SYS_open, Some(1), 2)];
#[cfg(not(target_arch = "x86_64"))]
const MODES_HERE: [(i64, Option<u8>, u8); 0] = [];

/// Numbers from here on belong to a second set of calls for the same processor, which no list above knows.
#[cfg(target_arch = "x86_64")]
const SECOND_SET: u32 = 0x4000_0000;

/// Why there is no filter.
#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    #[error("no filter of system calls could be made: {0}")]
    Make(#[from] BackendError),
    #[error("the filter of system calls could not be handed over: {0}")]
    Hand(#[from] io::Error),
}

/// The filter as a file in memory that a child inherits, for `bwrap --seccomp`.
pub fn inherited(shape: Shape) -> Result<File, FilterError> {
    let memory = rustix::fs::memfd_create("filter", rustix::fs::MemfdFlags::empty()).map_err(io::Error::from)?;
    let mut file = File::from(memory);
    // In one piece: it has hundreds of steps of eight bytes.
    let mut bytes = Vec::new();
    for step in program(shape)? {
        bytes.extend_from_slice(&step.code.to_ne_bytes());
        bytes.extend_from_slice(&[step.jt, step.jf]);
        bytes.extend_from_slice(&step.k.to_ne_bytes());
    }
    file.write_all(&bytes)?;
    file.rewind()?;
    Ok(file)
}

/// The filter as a process puts it on itself, which must have given up new privileges before. Translated once for each
/// shape: a supervisor has many children.
pub fn program(shape: Shape) -> Result<BpfProgram, FilterError> {
    static KNOWN: Mutex<Vec<(Shape, BpfProgram)>> = Mutex::new(Vec::new());
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, program)) = known.iter().find(|(other, _)| *other == shape) {
        return Ok(program.clone());
    }
    let program = translated(shape)?;
    known.push((shape, program.clone()));
    Ok(program)
}

fn translated(shape: Shape) -> Result<BpfProgram, FilterError> {
    let refused = SeccompAction::Errno(libc::EPERM as u32);
    let architecture = std::env::consts::ARCH.try_into()?;
    let filter = SeccompFilter::new(rules(shape)?, SeccompAction::Allow, refused, architecture)?;
    let mut program = unknown();
    program.extend(BpfProgram::try_from(filter)?);
    Ok(program)
}

/// The first part: calls that do not exist. It stands before the check of the architecture, which does no harm: a
/// foreign program is ended by that check at its first call that is known.
fn unknown() -> BpfProgram {
    const LOAD_NUMBER: u16 = 0x20;
    const EQUAL: u16 = 0x15;
    #[cfg(target_arch = "x86_64")]
    const AT_LEAST: u16 = 0x35;
    const JUMP: u16 = 0x05;
    const RETURN: u16 = 0x06;
    let mut tests: Vec<(u16, u32)> = UNKNOWN.iter().map(|number| (EQUAL, *number as u32)).collect();
    #[cfg(target_arch = "x86_64")]
    tests.push((AT_LEAST, SECOND_SET));
    let count = tests.len();
    let mut program = vec![sock_filter { code: LOAD_NUMBER, jt: 0, jf: 0, k: 0 }];
    // Each jumps over those that are left, and over the jump behind them, to the answer.
    program.extend(tests.into_iter().enumerate().map(|(at, (code, k))| sock_filter {
        code,
        jt: (count - at) as u8,
        jf: 0,
        k,
    }));
    program.push(sock_filter { code: JUMP, jt: 0, jf: 0, k: 1 });
    program.push(sock_filter { code: RETURN, jt: 0, jf: 0, k: SeccompAction::Errno(libc::ENOSYS as u32).into() });
    program
}

/// The second part: what is refused, each with the conditions of which one must hold; none means always.
fn rules(shape: Shape) -> Result<BTreeMap<i64, Vec<SeccompRule>>, BackendError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    let shared = SHARED.iter().filter(|_| !shape.namespaces);
    rules.extend(REFUSED.iter().chain(&REFUSED_HERE).chain(shared).map(|number| (*number, Vec::new())));

    // A namespace of users brings all capabilities inside it, and with them much of the kernel.
    let user = libc::CLONE_NEWUSER as u64;
    rules.insert(libc::SYS_clone, vec![rule([has(0, user)])?]);
    rules.insert(libc::SYS_unshare, vec![rule([has(0, user)])?]);

    // Typing into the terminal from which `pipe` was started.
    let typing = [libc::TIOCSTI, libc::TIOCLINUX];
    rules.insert(libc::SYS_ioctl, typing.map(|call| rule([is(1, call)])).into_iter().collect::<Result<_, _>>()?);

    for (number, flags, mode) in MODES.into_iter().chain(MODES_HERE) {
        let mut refused = Vec::new();
        for bit in SET_ID {
            match flags {
                None => refused.push(rule([has(mode, bit)])?),
                // Without these flags there is no mode, and the argument holds what was there by chance.
                Some(flags) => {
                    let makes = [libc::O_CREAT as u64, (libc::O_TMPFILE & !libc::O_DIRECTORY) as u64];
                    for flag in makes {
                        refused.push(rule([has(flags, flag), has(mode, bit)])?);
                    }
                }
            }
        }
        rules.insert(number, refused);
    }

    rules.insert(libc::SYS_socket, sockets(shape)?);

    if !shape.namespaces {
        // The limits of a process of the same user: one could end it by them.
        rules.insert(libc::SYS_prlimit64, vec![rule([differs(0, 0), differs_long(2, 0)])?]);
    }
    Ok(rules)
}

/// Sockets that are refused. A driver's service is looked for with one kind of the system's sockets, which no container
/// runtime, bus or agent listens on: beside a GPU that kind is open, and the others of the family are not.
fn sockets(shape: Shape) -> Result<Vec<SeccompRule>, BackendError> {
    const OTHERS: [i32; 4] = [libc::SOCK_STREAM, libc::SOCK_DGRAM, libc::SOCK_RAW, libc::SOCK_RDM];
    let (mut families, unix) = (families(shape), libc::AF_UNIX);
    let mut refused = Vec::new();
    if shape.gpu && !families.contains(&unix) {
        families.push(unix);
        for kind in OTHERS {
            refused.push(rule([is(0, unix as u64), is_kind(1, kind as u64)])?);
        }
    }
    let others = families.into_iter().map(|family| differs(0, family as u64)).collect::<Result<_, _>>()?;
    refused.push(SeccompRule::new(others)?);
    Ok(refused)
}

/// The families of sockets that may be made. Those of the system itself (`AF_UNIX`) reach services of the host where
/// the step shares its network or its files, container runtimes among them, and could hand an open file to another
/// step; a pair of them is made by another call. `AF_VSOCK` would reach past every namespace.
fn families(shape: Shape) -> Vec<i32> {
    let mut families = vec![libc::AF_NETLINK];
    if shape.network || shape.namespaces {
        families.extend([libc::AF_INET, libc::AF_INET6]);
    }
    if shape.namespaces && !shape.network {
        families.push(libc::AF_UNIX);
    }
    families
}

fn rule<const N: usize>(conditions: [Result<SeccompCondition, BackendError>; N]) -> Result<SeccompRule, BackendError> {
    SeccompRule::new(conditions.into_iter().collect::<Result<_, _>>()?)
}

fn has(argument: u8, bit: u64) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::MaskedEq(bit), bit)
}

fn is(argument: u8, value: u64) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value)
}

/// The kind of a socket, without the flags beside it.
fn is_kind(argument: u8, kind: u64) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::MaskedEq(0xf), kind)
}

fn differs(argument: u8, value: u64) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, value)
}

fn differs_long(argument: u8, value: u64) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Qword, SeccompCmpOp::Ne, value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shapes() -> Vec<Shape> {
        let both = [false, true];
        let mut shapes = Vec::new();
        for namespaces in both {
            for network in both {
                shapes.extend(both.map(|gpu| Shape { namespaces, network, gpu }));
            }
        }
        shapes
    }

    #[test]
    fn every_shape_has_a_filter_that_the_kernel_has_room_for() {
        for shape in shapes() {
            let program = program(shape).unwrap();
            assert!(program.len() < 4096, "{shape:?}: {}", program.len());
            assert_eq!(inherited(shape).unwrap().metadata().unwrap().len(), 8 * program.len() as u64);
        }
    }

    #[test]
    fn the_calls_that_do_not_exist_come_first_and_all_lead_to_one_answer() {
        let first = unknown();
        let answer = first.len() - 1;
        assert_eq!(first[answer].k, 0x0005_0000 | libc::ENOSYS as u32);
        for (at, step) in first.iter().enumerate().filter(|(_, step)| step.jt > 0) {
            assert_eq!(at + 1 + usize::from(step.jt), answer, "{step:?}");
        }
        // What is none of them goes on behind the answer.
        assert_eq!(first[answer - 1].k, 1);
    }

    #[test]
    fn sockets_of_the_system_are_for_steps_that_are_alone() {
        let unix: Vec<Shape> = shapes().into_iter().filter(|shape| families(*shape).contains(&libc::AF_UNIX)).collect();
        assert!(unix.iter().all(|shape| shape.namespaces && !shape.network) && unix.len() == 2, "{unix:?}");
        assert!(shapes().into_iter().all(|shape| !families(shape).contains(&libc::AF_VSOCK)));
    }
}
