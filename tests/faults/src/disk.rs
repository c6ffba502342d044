//! Disks of our own: loop devices with a file system, memory of a size, and the power cut. All are mounted on a folder
//! called `disk`, and unmounted when dropped.

use std::ffi::CString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::mount::{MountFlags, UnmountFlags};

/// A file system of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Ext4,
    Xfs,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Kind::Ext4 => "ext4",
            Kind::Xfs => "xfs",
        }
    }
}

/// A mounted disk.
pub struct Disk {
    image: Option<PathBuf>,
    point: PathBuf,
}

/// Why this host can't mount, if it can't.
pub fn lack() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("mounting needs root".to_owned());
    }
    (!Path::new("/dev/loop-control").exists()).then(|| "there are no loop devices".to_owned())
}

impl Disk {
    /// A disk in an image file. It is made once and copied for each case by `like`.
    pub fn image(path: &Path, kind: Kind, bytes: u64) -> Result<(), String> {
        let file = File::create(path).map_err(|error| format!("`{}`: {error}", path.display()))?;
        file.set_len(bytes).map_err(|error| format!("`{}`: {error}", path.display()))?;
        let (program, quiet): (&str, &[&str]) = match kind {
            Kind::Ext4 => ("mkfs.ext4", &["-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0"]),
            Kind::Xfs => ("mkfs.xfs", &["-q", "-f"]),
        };
        command(Command::new(program).args(quiet).arg(path))
    }

    /// Copies an image, with its holes, and mounts the copy.
    pub fn like(image: &Path, folder: &Path) -> Result<Disk, String> {
        let copy = folder.join("image");
        command(Command::new("cp").arg("--sparse=always").arg(image).arg(&copy))?;
        let disk = Disk { image: Some(copy), point: folder.join("disk") };
        fs::create_dir_all(&disk.point).map_err(|error| error.to_string())?;
        disk.mount()?;
        Ok(disk)
    }

    /// Memory of this size, with so many inodes at most.
    pub fn memory(folder: &Path, bytes: u64, inodes: Option<u64>) -> Result<Disk, String> {
        let point = folder.join("disk");
        fs::create_dir_all(&point).map_err(|error| error.to_string())?;
        let disk = Disk { image: None, point };
        disk.resize(bytes, inodes)?;
        Ok(disk)
    }

    /// Gives memory another size.
    pub fn grow(&self, bytes: u64) -> Result<(), String> {
        self.resize(bytes, Some(1_000_000))
    }

    fn resize(&self, bytes: u64, inodes: Option<u64>) -> Result<(), String> {
        let inodes = inodes.map(|inodes| format!(",nr_inodes={inodes}")).unwrap_or_default();
        let data = CString::new(format!("size={bytes}{inodes}")).map_err(|error| error.to_string())?;
        let mounted = fs::read_to_string("/proc/self/mountinfo")
            .is_ok_and(|table| table.lines().any(|line| line.split(' ').nth(4) == self.point.to_str()));
        let done = if mounted {
            rustix::mount::mount_remount(&self.point, MountFlags::empty(), &*data)
        } else {
            rustix::mount::mount("tmpfs", &self.point, "tmpfs", MountFlags::empty(), &*data)
        };
        done.map_err(|error| format!("tmpfs on `{}`: {error}", self.point.display()))
    }

    pub fn point(&self) -> &Path {
        &self.point
    }

    fn mount(&self) -> Result<(), String> {
        let Some(image) = &self.image else { return Ok(()) };
        command(Command::new("mount").args(["-o", "loop"]).arg(image).arg(&self.point))
    }

    /// The power goes: what the kernel still held is lost. `flag` 0 writes everything first, 1 only the journal, 2 nothing.
    pub fn cut(&self, flag: u32) -> Result<(), String> {
        let folder = File::open(&self.point).map_err(|error| error.to_string())?;
        // The number is `_IOR('X', 125, __u32)` on every file system that has it.
        const SHUTDOWN: libc::c_ulong = 0x8004_587D;
        // SAFETY: the call reads one `u32` through the pointer, which lives until it returns.
        let done = unsafe { libc::ioctl(std::os::fd::AsRawFd::as_raw_fd(&folder), SHUTDOWN as _, &raw const flag) };
        if done == 0 { Ok(()) } else { Err(format!("cutting the power: {}", std::io::Error::last_os_error())) }
    }

    /// Unmounts and mounts again, as a machine does that comes up again.
    pub fn come_back(&self) -> Result<(), String> {
        self.unmount()?;
        self.mount()
    }

    fn unmount(&self) -> Result<(), String> {
        let mut last = String::new();
        for _ in 0..500 {
            match rustix::mount::unmount(&self.point, UnmountFlags::empty()) {
                Ok(()) => return Ok(()),
                Err(rustix::io::Errno::INVAL) => return Ok(()),
                Err(error) => last = error.to_string(),
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        Err(format!("`{}` can't be unmounted: {last}", self.point.display()))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.unmount().is_err() {
            let _ = rustix::mount::unmount(&self.point, UnmountFlags::DETACH);
        }
    }
}

fn command(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{:?}: {error}", command.get_program()))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr)))
}
