//! What parses is formatted, says the same afterwards, and stays as it is when it is formatted again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pipe::syntax::{decode, format, parse, same};

fuzz_target!(|bytes: &[u8]| {
    let (text, found) = decode(0, bytes);
    if !found.is_empty() {
        return;
    }
    let (document, found) = parse(0, &text);
    if !found.is_empty() {
        return;
    }
    let formatted = format(&text).expect("what parses is formatted");
    let (again, found) = parse(0, &formatted);
    assert!(found.is_empty(), "{formatted:?}: {found:?}");
    assert!(same(&document.nodes, &again.nodes), "{formatted:?}");
    assert_eq!(format(&formatted).as_ref(), Ok(&formatted));
});
