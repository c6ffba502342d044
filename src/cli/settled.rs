//! The short way: what the last run found, where a look at every file says that it still holds.
//!
//! Everything that a command line says about a pipeline is in the question under which it is kept; a flag that asks
//! for more than a plain run goes the long way.

use pipe_cache::{Digest, LogStamps, Store};

use super::{Global, Level, Target, env, load};
use crate::exec::process::strays;
use crate::exec::runner::Done;
use crate::exec::settled::{Settled, settle};
use crate::exec::site::Site;
use crate::exec::world;
use crate::host::probe;
use crate::resolve::{Disk, Files};

/// Gives what the last run found to `then`, if it still holds.
pub fn settled<T>(global: &Global, target: &Target, then: impl FnOnce(&Settled) -> T) -> Option<T> {
    let disk = load::disk().ok()?;
    let name = question(global, target, &disk)?;
    // A store is made and complained about on the long way.
    let path = load::store_path(global).ok().filter(|path| path.join("format").exists())?;
    let store = Store::open(&path).ok()?;
    strays::sweep(&store);
    let bytes = store.advice(&name)?;
    let settled = Settled::read(&bytes)?;
    let logs = store.log_stamps();
    if !settled.holds(&store, &env::all(), &disk) {
        return None;
    }
    let told = then(&settled);
    // Else whoever comes next looks through the same additions again; not keeping it costs no more than that.
    if let Some(bytes) = logs.and_then(|logs| settled.moved_on(logs)) {
        let _ = store.advise(&name, &bytes);
    }
    Some(told)
}

/// Keeps what a run found, for the next. `logs` are the store's stamps from before this one looked at anything.
pub fn keep(global: &Global, target: &Target, site: &Site, done: &Done, logs: Option<LogStamps>) {
    let kept = || {
        let name = question(global, target, &load::disk().ok()?)?;
        Some((name, settle(site, done, logs?)?))
    };
    if let Some((name, bytes)) = kept() {
        // A store that cannot take it costs time alone.
        let _ = site.store.advise(&name, &bytes);
    }
}

/// All that a run's result depends on and that no stamp speaks for; `None` where a flag asks for more.
fn question(global: &Global, target: &Target, disk: &Disk) -> Option<Digest> {
    let Global { store: _, out, color: _, sandbox } = global;
    let Target { file, sets, profile, secrets, only, remeasure, accept_machines } = target;
    // A made-up machine stands in no stamp.
    let made_up = env::path("PIPE_SIMULATED_HOST").is_some();
    if !secrets.is_empty() || *remeasure || !accept_machines.is_empty() || made_up {
        return None;
    }
    let out = disk.real(out);
    let ground = probe::ground();
    let sandboxes = match sandbox {
        Some(Level::Off) => String::new(),
        _ => world::sandbox_question(&env::all(), &ground[3]),
    };
    let (file, real, build) = (file.as_path(), disk.real(file), load::build()?);
    let gpu = probe::accelerator();
    let text = format!(
        "settled\n{build}\n{file:?}\n{real:?}\n{sets:?}\n{profile:?}\n{only:?}\n{out:?}\n{sandbox:?}\n{sandboxes}\n{gpu}\n{ground:?}"
    );
    Some(Digest::of(text.as_bytes()))
}
