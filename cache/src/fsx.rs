//! File system calls that never follow a link and that leave durable names behind.
//!
//! Everything that a step wrote is reached through folder descriptors, one name at a time, so that a link put in the
//! place of a folder is an error and not a way out. Knows nothing of digests.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Timespec, Timestamps};

/// Modification time of everything in the store: 2 January 1980, the earliest that zip files hold in every time zone.
const STORE_TIME: i64 = 315_619_200;

/// Identity and version of a file as the operating system sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Stamp {
    pub(crate) dev: u64,
    pub(crate) ino: u64,
    pub(crate) size: u64,
    pub(crate) mtime: i128,
    pub(crate) ctime: i128,
}

impl Stamp {
    /// The stamp that a `stat` answer holds.
    #[expect(clippy::unnecessary_cast, reason = "the fields' types differ between Linux and macOS")]
    pub(crate) fn of(stat: &rustix::fs::Stat) -> Self {
        let nanos = |seconds: i64, nanos: i64| i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
        Self {
            dev: stat.st_dev as u64,
            ino: stat.st_ino as u64,
            size: stat.st_size as u64,
            mtime: nanos(stat.st_mtime as i64, stat.st_mtime_nsec as i64),
            ctime: nanos(stat.st_ctime as i64, stat.st_ctime_nsec as i64),
        }
    }

    pub(crate) const BYTES: usize = 8 + 8 + 8 + 16 + 16;

    pub(crate) fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        for (at, number) in [self.dev, self.ino, self.size].into_iter().enumerate() {
            bytes[8 * at..][..8].copy_from_slice(&number.to_le_bytes());
        }
        bytes[24..40].copy_from_slice(&self.mtime.to_le_bytes());
        bytes[40..].copy_from_slice(&self.ctime.to_le_bytes());
        bytes
    }

    pub(crate) fn from_bytes(bytes: &[u8; Self::BYTES]) -> Self {
        let number = |at: usize| u64::from_le_bytes(std::array::from_fn(|byte| bytes[at + byte]));
        let time = |at: usize| i128::from_le_bytes(std::array::from_fn(|byte| bytes[at + byte]));
        Self { dev: number(0), ino: number(8), size: number(16), mtime: time(24), ctime: time(40) }
    }

    /// Same file, same content as far as times tell. A new name or mode changes only the time of change.
    pub(crate) fn same_content(&self, other: &Self) -> bool {
        Self { ctime: 0, ..*self } == Self { ctime: 0, ..*other }
    }
}

/// Whether there is anything at a path. That it can't be told is an error: what follows may be a removal.
pub(crate) fn there(path: &Path) -> crate::error::Result<bool> {
    match path.symlink_metadata() {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(crate::error::io("inspect", path)(error)),
    }
}

/// Opens a folder by path; the last name may be no link.
pub(crate) fn open_dir(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

/// Opens a folder inside a folder, if it is one and no link.
pub(crate) fn open_dir_at(dir: impl AsFd, name: impl rustix::path::Arg + Copy) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(dir, name, flags, Mode::empty())?)
}

/// Opens a regular file for reading without following a link or waiting for a writer; `None` if it is something else.
pub(crate) fn open_file_at(
    dir: impl AsFd,
    name: impl rustix::path::Arg,
) -> io::Result<Option<(File, rustix::fs::Stat)>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let fd = match rustix::fs::openat(dir, name, flags, Mode::empty()) {
        // What links (ELOOP, or EMLINK on some systems) and sockets answer.
        Err(rustix::io::Errno::LOOP | rustix::io::Errno::MLINK | rustix::io::Errno::NXIO) => {
            return Ok(None);
        }
        other => other?,
    };
    let stat = rustix::fs::fstat(&fd)?;
    Ok(is_file(&stat).then(|| (File::from(fd), stat)))
}

/// Opens a regular file by path under the same rules.
pub(crate) fn open_file(path: &Path) -> io::Result<Option<(File, rustix::fs::Stat)>> {
    open_file_at(rustix::fs::CWD, path)
}

/// The bytes of a regular file. A fifo or a folder in its place is an error, and nothing to wait for.
pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let Some((mut file, _)) = open_file(path)? else {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is no regular file"));
    };
    let mut bytes = Vec::new();
    io::Read::read_to_end(&mut file, &mut bytes)?;
    Ok(bytes)
}

/// Whether this is a regular file.
pub(crate) fn is_file(stat: &rustix::fs::Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
}

/// Whether its owner may run it: the only mode that the store keeps.
pub(crate) fn is_executable(stat: &rustix::fs::Stat) -> bool {
    Mode::from_raw_mode(stat.st_mode).contains(Mode::XUSR)
}

/// Gives a file the mode and the time that everything in the store has; what else it had (setuid) goes.
pub(crate) fn seal(file: impl AsFd, executable: bool) -> io::Result<()> {
    let mode = if executable { 0o555 } else { 0o444 };
    rustix::fs::fchmod(&file, Mode::from_raw_mode(mode))?;
    Ok(rustix::fs::futimens(&file, &store_times())?)
}

/// Whether a file or folder has that mode and time.
pub(crate) fn is_sealed(stat: &rustix::fs::Stat, executable: bool) -> bool {
    let mode = if executable { 0o555 } else { 0o444 };
    stat.st_mode & 0o7777 == mode && Stamp::of(stat).mtime == i128::from(STORE_TIME) * 1_000_000_000
}

/// Removes what a file carries beside its content: capabilities and access lists would outlive the mode.
/// Labels that the system itself insists on stay.
pub(crate) fn strip(file: impl AsFd) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        let mut names = [0; 4096];
        let length = match rustix::fs::flistxattr(&file, &mut names) {
            Err(rustix::io::Errno::NOTSUP) => 0,
            other => other?,
        };
        for name in names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
            match rustix::fs::fremovexattr(&file, name) {
                Err(_) if name == b"security.selinux" => {}
                other => other?,
            }
        }
    }
    let _ = file;
    Ok(())
}

/// Gives the owner all rights to a file or folder that is no link, also where they have none to open it with.
fn open_up_at(dir: impl AsFd, name: impl rustix::path::Arg + Copy) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        use std::os::fd::AsRawFd;
        use std::os::unix::fs::PermissionsExt;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(dir, name, flags, Mode::empty())?;
        let kind = FileType::from_raw_mode(rustix::fs::fstat(&fd)?.st_mode);
        if matches!(kind, FileType::RegularFile | FileType::Directory) {
            // Such a descriptor allows no `fchmod`, but its name among our own descriptors can be changed.
            let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700))?;
        }
        Ok(())
    }
    #[cfg(not(target_os = "linux"))]
    {
        Ok(rustix::fs::chmodat(dir, name, Mode::RWXU, AtFlags::SYMLINK_NOFOLLOW)?)
    }
}

/// Opens a folder that a step of ours made, whatever mode it left.
pub(crate) fn open_own_dir_at(dir: impl AsFd, name: impl rustix::path::Arg + Copy) -> io::Result<OwnedFd> {
    match open_dir_at(&dir, name) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            open_up_at(&dir, name)?;
            open_dir_at(&dir, name)
        }
        other => other,
    }
}

/// The state of a file that a step of ours made, readable for us from now on if it is a regular one.
pub(crate) fn stat_own_at(dir: impl AsFd, name: &str) -> io::Result<rustix::fs::Stat> {
    let stat = rustix::fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
    if !is_file(&stat) || Mode::from_raw_mode(stat.st_mode).contains(Mode::RUSR) {
        return Ok(stat);
    }
    open_up_at(&dir, name)?;
    let mut opened = rustix::fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
    // Whether it can be run is what its maker said, and not what was just set to read it.
    opened.st_mode = stat.st_mode;
    Ok(opened)
}

/// Gives a finished folder the mode and the time that everything in the store has.
pub(crate) fn seal_dir(dir: impl AsFd) -> io::Result<()> {
    seal(dir, true)
}

fn store_times() -> Timestamps {
    let time = Timespec { tv_sec: STORE_TIME, tv_nsec: 0 };
    Timestamps { last_access: time, last_modification: time }
}

/// Renames unless the new name exists (then `AlreadyExists`).
#[cfg(target_os = "linux")]
pub(crate) fn rename_new(from_dir: impl AsFd, from: &Path, to: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags};
    match rustix::fs::renameat_with(&from_dir, from, CWD, to, RenameFlags::NOREPLACE) {
        // Some network and FUSE file systems know no such flag; names are contents here, so replacing does no harm.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => rename_over(from_dir, from, to),
        other => Ok(other?),
    }
}

/// Renames unless the new name exists (then `AlreadyExists`).
#[cfg(not(target_os = "linux"))]
pub(crate) fn rename_new(from_dir: impl AsFd, from: &Path, to: &Path) -> io::Result<()> {
    rename_over(from_dir, from, to)
}

fn rename_over(from_dir: impl AsFd, from: &Path, to: &Path) -> io::Result<()> {
    if to.symlink_metadata().is_ok() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    Ok(rustix::fs::renameat(from_dir, from, rustix::fs::CWD, to)?)
}

/// Makes all that was written to this file system durable: cheaper than one fsync a file from a few dozen files on.
/// False where the system has no such call, so that the caller syncs one by one.
pub(crate) fn sync_all_of(file: impl AsFd) -> io::Result<bool> {
    #[cfg(target_os = "linux")]
    {
        rustix::fs::syncfs(file)?;
        Ok(true)
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = file;
        Ok(false)
    }
}

/// Makes the names in a folder durable.
pub(crate) fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Free bytes and free inodes of the disk that holds `path`, or its nearest folder that exists.
pub(crate) fn room(path: &Path) -> Option<(u64, u64)> {
    path.ancestors().find_map(|path| rustix::fs::statvfs(path).ok()).map(|disk| {
        // File systems without inodes report none at all.
        let files = if disk.f_files == 0 { u64::MAX } else { disk.f_favail };
        (disk.f_bavail.saturating_mul(disk.f_frsize), files)
    })
}

/// Removes a folder with all in it, read-only folders too, and never follows a link. Absent is fine.
pub(crate) fn remove_tree(path: &Path) -> io::Result<()> {
    let kind = match path.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?.file_type(),
    };
    if !kind.is_dir() {
        return ignore_absent(std::fs::remove_file(path));
    }
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        // Folders that nobody may enter, or more in one another than descriptors can be open.
        Err(_) => {
            flatten(&open_dir(path)?)?;
            ignore_absent(std::fs::remove_dir_all(path))
        }
        Ok(()) => Ok(()),
    }
}

fn ignore_absent(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Opens up all folders below a root, and moves those that lie deep to the root itself.
fn flatten(root: &OwnedFd) -> io::Result<()> {
    rustix::fs::fchmod(root, Mode::RWXU)?;
    // By name, since there may be more of them than descriptors.
    let mut waiting = Vec::new();
    open_up_below(root, root, 0, &mut waiting)?;
    let mut at = 0;
    while let Some(name) = waiting.get(at).cloned() {
        open_up_below(root, &open_own_dir_at(root, name.as_str())?, 0, &mut waiting)?;
        at += 1;
    }
    Ok(())
}

fn open_up_below(root: &OwnedFd, dir: &OwnedFd, depth: usize, waiting: &mut Vec<String>) -> io::Result<()> {
    // Listed first: what is moved here meanwhile waits for its own turn.
    let names: Vec<_> = rustix::fs::Dir::read_from(dir)?
        .map(|entry| entry.map(|entry| entry.file_name().to_owned()))
        .collect::<Result<_, _>>()?;
    for name in names.into_iter().filter(|name| !matches!(name.to_bytes(), b"." | b"..")) {
        let stat = rustix::fs::statat(dir, &name, AtFlags::SYMLINK_NOFOLLOW)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            continue;
        }
        let inner = open_own_dir_at(dir, name.as_c_str())?;
        rustix::fs::fchmod(&inner, Mode::RWXU)?;
        if depth < crate::scan::MAX_DEPTH / 2 {
            open_up_below(root, &inner, depth + 1, waiting)?;
        } else {
            let lifted = format!(".deep-{}-{}", std::process::id(), waiting.len());
            rustix::fs::renameat(dir, &name, root, lifted.as_str())?;
            waiting.push(lifted);
        }
    }
    Ok(())
}
