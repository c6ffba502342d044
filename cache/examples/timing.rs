//! Times the store on a folder: `timing STORE FOLDER` takes the folder in (it is moved) and checks it out.

#![expect(clippy::disallowed_macros, reason = "a program for people, and not part of the library")]

use std::path::Path;
use std::time::Instant;

use pipe_cache::{Digest, Kind, Result, Store};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [store, folder] = &arguments[..] else {
        println!("usage: timing STORE FOLDER");
        return Ok(());
    };
    let (store, folder) = (Path::new(store), Path::new(folder));
    let opened = timed("open", || Store::open(store))?;
    let hashed = timed("hash_tree", || opened.hash_tree(folder))?;
    timed("hash_tree again", || opened.hash_tree(folder))?;
    let entry = timed("take_tree", || opened.take_tree(folder))?;
    println!("{:>20}  {}", "equal", hashed == entry);
    timed("checkout", || opened.checkout(&entry))?;
    timed("checkout again", || opened.checkout(&entry))?;
    let key = Digest::of(b"timing");
    timed("append, durable", || opened.append(Kind::Record, &key, &[1; 1024]))?;
    timed("append, durable", || opened.append(Kind::Record, &key, &[1; 1024]))?;
    let many: Vec<_> = (0..10_000u32).map(|at| (Kind::Note, Digest::of(&at.to_le_bytes()), &[2; 1024][..])).collect();
    timed("append 10,000 notes", || opened.append_all(&many))?;
    drop(opened);

    let opened = timed("open", || Store::open(store))?;
    timed("index 10,000 records", || opened.last(Kind::Note, &key))?;
    timed("index pack", || opened.tree(&key))?;
    timed("complete", || Ok(opened.complete(&entry)))?;
    timed("totals", || opened.totals(&entry))?;
    timed("checkout", || opened.checkout(&entry))?;
    timed("usage", || opened.usage())?;
    let found = timed("verify", || opened.verify(|_| ()))?;
    println!("{:>20}  {}", "sound", found.is_sound());
    Ok(())
}

fn timed<T>(what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let began = Instant::now();
    let result = work()?;
    println!("{what:>20}  {:.1} ms", began.elapsed().as_secs_f64() * 1e3);
    Ok(result)
}
