//! Bytes to a document: nothing panics, and every finding has a place in the text, and a fix.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pipe::syntax::{decode, parse};

fuzz_target!(|bytes: &[u8]| {
    let (text, mut found) = decode(0, bytes);
    if found.is_empty() {
        found = parse(0, &text).1;
    }
    for fault in found {
        let place = fault.labels.first().expect("a place").at;
        assert!(place.start <= place.end && place.end <= text.len().max(1), "{fault:?}");
        assert!(fault.help.is_some(), "{fault:?}");
    }
});
