//! The way out: read-only folders shared by all steps of a store, and copies that belong to the user.
//!
//! A checkout is built in scratch, verified while it is built, made durable, and renamed to its name, so a name means
//! that all is there. Large files in it are hard links to blobs; small ones are files of their own.
//!
//! What was there before is looked at, once in each process, before a step reads it: see `seal` for how that is done
//! without reading it all. A damaged one is put aside, where steps that have it open go on, and is built anew.

use std::fs::File;
use std::io::{Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::blob::SMALL;
use crate::error::{Fault, Result, io};
use crate::scan::{self, in_parallel};
use crate::store::{Store, held};
use crate::tree::{Entry, link_stays_inside};
use crate::{Digest, fsx, hash};

impl Store {
    /// A read-only folder or file that holds exactly this; its name is the same for every process and run.
    pub fn checkout(&self, entry: &Entry) -> Result<PathBuf> {
        let name = match entry {
            Entry::Tree { digest } | Entry::File { digest, executable: false, .. } => digest.to_string(),
            Entry::File { digest, executable: true, .. } => format!("{digest}.x"),
            Entry::Link { target } => {
                return Err(scan::unstorable("", Fault::LinkLeaves(target.clone())));
            }
        };
        let path = self.root.join("checkouts").join(&name);
        // What the lease names stays, and so do checkouts of it.
        let _touch = if self.leases.covers(entry) { None } else { Some(self.leases.touch()?) };
        self.leases.note(entry);
        while !self.is_there(&name, &path, entry)? {
            let workdir = self.workdir()?;
            let built = workdir.path().join("c");
            match entry {
                Entry::Tree { digest } => self.build(digest, &built, &Self::shared)?,
                _ => {
                    self.shared(entry, &built)?;
                    File::open(&built).and_then(|file| file.sync_all()).map_err(io("make durable", &built))?;
                }
            }
            match fsx::rename_new(rustix::fs::CWD, &built, &path) {
                // Another process was faster, and what it made is looked at like any other.
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => continue,
                other => other.map_err(io("name the checkout", &path))?,
            }
            let folder = self.root.join("checkouts");
            fsx::sync_dir(&folder).map_err(io("make durable", &folder))?;
            self.finish(&path, entry)?;
            held(&self.looked_at).insert(name.clone());
            // Without a seal it is read by who comes next, and that is all.
            let _ = self.seal(&name, entry);
            break;
        }
        Ok(path)
    }

    /// Writes a copy that belongs to the user, with ordinary modes, where nothing is yet.
    pub fn copy_out(&self, entry: &Entry, dest: &Path) -> Result<()> {
        let _touch = if self.leases.covers(entry) { None } else { Some(self.leases.touch()?) };
        match entry {
            Entry::Tree { digest } => self.build_plain(digest, dest),
            Entry::File { .. } => self.private(entry, dest),
            Entry::Link { target } => std::os::unix::fs::symlink(target, dest).map_err(io("make the link", dest)),
        }
    }

    /// Whether the checkout is there and sound. A damaged one is put aside.
    fn is_there(&self, name: &str, path: &Path, entry: &Entry) -> Result<bool> {
        if held(&self.looked_at).contains(name) && self.finish(path, entry)? {
            return Ok(true);
        }
        let digest = entry.digest().unwrap_or(Digest::of(b""));
        // One looks at a time: else a second one would put aside what the first has just built anew.
        let _alone = self.lock_key(&digest)?;
        if !self.finish(path, entry)? {
            return Ok(false);
        }
        let sound = held(&self.looked_at).contains(name) || self.is_sound(name, entry)?;
        if sound {
            held(&self.looked_at).insert(name.to_owned());
        } else {
            self.quarantine(&digest, path)?;
        }
        Ok(sound)
    }

    /// Whether something of its kind is there. A folder can only be moved while it is writable, so its mode comes last;
    /// whoever finds it without does that part.
    fn finish(&self, path: &Path, entry: &Entry) -> Result<bool> {
        let found = match path.symlink_metadata() {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
            other => other.map_err(io("inspect", path))?,
        };
        let is_tree = matches!(entry, Entry::Tree { .. });
        if found.is_dir() != is_tree || found.is_symlink() {
            let digest = entry.digest().unwrap_or(Digest::of(b""));
            self.quarantine(&digest, path)?;
            return Ok(false);
        }
        if is_tree && found.permissions().mode() & 0o7777 != 0o555 {
            let dir = fsx::open_dir(path).map_err(io("open", path))?;
            fsx::seal_dir(dir).map_err(io("set the mode of", path))?;
        }
        Ok(true)
    }

    fn build(&self, tree: &Digest, dest: &Path, place: &Place) -> Result<()> {
        self.lay_out(tree, dest, place, 0o700)?;
        let mut folders = Vec::new();
        self.walk(&Entry::Tree { digest: *tree }, |path, entry| {
            if matches!(entry, Entry::Tree { .. }) {
                folders.push(dest.join(path));
            }
        })?;
        let root = File::open(dest).map_err(io("open", dest))?;
        let synced = fsx::sync_all_of(&root).map_err(io("make durable", dest))?;
        for folder in folders.iter().rev() {
            let dir = fsx::open_dir(folder).map_err(io("open", folder))?;
            fsx::seal_dir(&dir).map_err(io("set the mode of", folder))?;
            if !synced {
                fsx::sync_dir(folder).map_err(io("make durable", folder))?;
            }
        }
        Ok(())
    }

    fn build_plain(&self, tree: &Digest, dest: &Path) -> Result<()> {
        self.lay_out(tree, dest, &Self::private, 0o777)
    }

    /// Makes the folders and links of a tree, then its files on all cores.
    fn lay_out(&self, tree: &Digest, dest: &Path, place: &Place, mode: u32) -> Result<()> {
        let mut items = Vec::new();
        self.walk(&Entry::Tree { digest: *tree }, |path, entry| items.push((path.to_owned(), entry.clone())))?;
        let folder = |path: &Path| {
            let made = std::fs::DirBuilder::new().mode(mode).create(path);
            made.map_err(io("make the folder", path))
        };
        folder(dest)?;
        for (path, entry) in &items {
            match entry {
                Entry::Tree { .. } => folder(&dest.join(path))?,
                // A part of a larger tree may hold links that only made sense in the whole.
                Entry::Link { target } if !link_stays_inside(path.matches('/').count(), target) => {
                    return Err(scan::unstorable(path, Fault::LinkLeaves(target.clone())));
                }
                Entry::Link { target } => {
                    let path = dest.join(path);
                    std::os::unix::fs::symlink(target, &path).map_err(io("make the link", &path))?;
                }
                Entry::File { .. } => {}
            }
        }
        items.retain(|(_, entry)| matches!(entry, Entry::File { .. }));
        in_parallel(&items, || (), |(), (path, entry)| place(self, entry, &dest.join(path)))?;
        Ok(())
    }

    /// A file of a checkout.
    fn shared(&self, entry: &Entry, dest: &Path) -> Result<()> {
        let Entry::File { digest, size, executable } = entry else {
            return Ok(());
        };
        if *size <= SMALL {
            let bytes = self.packed(digest)?.ok_or_else(|| self.missing(digest))?;
            let mut file = create(dest, 0o600)?;
            file.write_all(&bytes).map_err(io("write", dest))?;
            return fsx::seal(&file, *executable).map_err(io("set the mode of", dest));
        }
        let blob = self.variant(digest, *size, *executable)?;
        match std::fs::hard_link(&blob, dest) {
            // The file system allows so many links and no more, or none: then it is a copy.
            Err(error)
                if matches!(
                    rustix::io::Errno::from_io_error(&error),
                    Some(rustix::io::Errno::MLINK | rustix::io::Errno::PERM | rustix::io::Errno::XDEV)
                ) =>
            {
                self.private(entry, dest)?;
                let file = File::open(dest).map_err(io("open", dest))?;
                fsx::seal(&file, *executable).map_err(io("set the mode of", dest))
            }
            other => other.map_err(io("link", dest)),
        }
    }

    /// The path of a sound blob file of this mode; made from the other one if need be.
    fn variant(&self, digest: &Digest, size: u64, executable: bool) -> Result<PathBuf> {
        let path = self.blob_path(digest, executable);
        if self.sound_file(digest, executable)?.is_some() {
            return Ok(path);
        }
        let temp = self.temp_file()?;
        self.fill(digest, temp.as_file(), temp.path())?;
        self.publish_temp(temp, *digest, size, executable)?;
        match self.sound_file(digest, executable)? {
            Some(_) => Ok(path),
            None => Err(self.missing(digest)),
        }
    }

    /// A file that belongs to the user.
    fn private(&self, entry: &Entry, dest: &Path) -> Result<()> {
        let Entry::File { digest, executable, .. } = entry else {
            return Ok(());
        };
        let file = create(dest, if *executable { 0o777 } else { 0o666 })?;
        self.fill(digest, &file, dest)
    }

    /// Writes content to an empty file. Large content that was not read before is verified on the way, which is one
    /// look at it instead of two; what turns out to be damaged is taken back.
    fn fill(&self, digest: &Digest, mut dest: &File, shown: &Path) -> Result<()> {
        if let Some(bytes) = self.packed(digest)? {
            return dest.write_all(&bytes).map_err(io("write", shown));
        }
        for executable in [false, true] {
            let Some(named) = self.named_file(digest, executable)? else { continue };
            let shared = crate::ingest::reflink(&named.file, dest);
            if named.known {
                let copied = if shared { Ok(0) } else { std::io::copy(&mut &named.file, &mut dest) };
                return copied.map(drop).map_err(io("write", shown));
            }
            let found = match shared {
                true => hash::hash(&named.file, named.size),
                false => hash::copy(&named.file, dest, named.size),
            };
            if self.judge(digest, executable, &named, found.map_err(io("write", shown))?.0)? {
                return Ok(());
            }
            dest.set_len(0).and_then(|()| dest.rewind()).map_err(io("write", shown))?;
        }
        Err(self.missing(digest))
    }
}

/// How one file gets to its place.
type Place = dyn Fn(&Store, &Entry, &Path) -> Result<()> + Sync;

fn create(path: &Path, mode: u32) -> Result<File> {
    let mut options = File::options();
    options.write(true).create_new(true).mode(mode);
    options.open(path).map_err(io("make", path))
}
