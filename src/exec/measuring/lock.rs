//! The lock that measuring holds on this machine, whichever user and store it belongs to.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use crate::event::Event;
use crate::exec::work::Job;

/// The lock that measuring holds on this machine, whichever user and store it belongs to.
pub async fn alone_on_the_machine(job: &Job<'_>) -> std::io::Result<Option<File>> {
    let path = Path::new("/tmp/pipe-measure.lock");
    let mut file = match OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path) {
        Ok(file) => file,
        // Another user made it, in a folder where only owners write: reading is enough to lock it.
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => File::open(path)?,
        Err(error) => return Err(error),
    };
    // Every user of the machine takes turns by it.
    let _ = file.set_permissions(std::fs::Permissions::from_mode(0o666));
    let mut said = false;
    loop {
        match file.try_lock() {
            Ok(()) => break,
            Err(TryLockError::WouldBlock) => {
                if !said {
                    said = true;
                    let mut holder = String::new();
                    let _ = file.rewind().and_then(|()| file.read_to_string(&mut holder));
                    let step = job.site.step(job.id).name.clone();
                    let on = format!("another measurement runs on this machine ({})", holder.trim());
                    let _ = job.progress.send(Event::Waiting { step, on });
                }
            }
            Err(TryLockError::Error(error)) => return Err(error),
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(200)) => {}
            () = job.cancel.cancelled() => return Ok(None),
        }
    }
    // A note for who waits; the lock holds without it.
    let note = format!("pid {}, {}\n", std::process::id(), job.site.step(job.id).name);
    let _ = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(note.as_bytes()));
    Ok(Some(file))
}
