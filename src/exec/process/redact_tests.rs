//! Tests of what is found and hidden, and in which forms.

use super::*;
use proptest::prelude::*;

fn redactor() -> Redactor {
    Redactor::new([b"hunter22\n".as_slice(), b"-----BEGIN-----\nabcdefgh\nxy\n"])
}

#[test]
fn values_and_their_longer_lines_are_hidden() {
    let redactor = redactor();
    assert_eq!(redactor.text("a hunter22hunter22 b"), "a ****** b");
    assert_eq!(redactor.text("-----BEGIN-----\nabcdefgh\nxy"), "***");
    assert_eq!(redactor.text("abcdefgh xy hunter2"), "*** xy hunter2");
    assert_eq!(Redactor::default().text("abc"), "abc");
    assert!(Redactor::new([b" \n".as_slice()]).is_empty());
    assert!(!format!("{redactor:?}").contains("hunter"));
}

#[test]
fn values_that_overlap_go_together() {
    let redactor = Redactor::new([b"abcd".as_slice(), b"abcdef", b"cdefghij"]);
    assert_eq!(redactor.text("xabcdefghijx"), "x***x");
    assert_eq!(redactor.text("abcd"), "***");
}

/// With what programs escape, keep and encode: a quote, a slash, a percent sign, letters outside of ASCII.
const AWKWARD: &str = "p@ss/w\"o\\rd+%41<&>'é\u{1F511} tail~end";

#[test]
fn forms_of_other_programs_are_hidden() {
    // Written by Python 3.11: `base64`, `urllib.parse`, `json`, `binascii`, `repr`.
    let forms = [
        "cEBzcy93Im9ccmQrJTQxPCY+J8Op8J+UkSB0YWlsfmVuZA==",
        "cEBzcy93Im9ccmQrJTQxPCY-J8Op8J-UkSB0YWlsfmVuZA==",
        "704073732f77226f5c72642b2534313c263e27c3a9f09f9491207461696c7e656e64",
        "704073732F77226F5C72642B2534313C263E27C3A9F09F9491207461696C7E656E64",
        "p%40ss/w%22o%5Crd%2B%2541%3C%26%3E%27%C3%A9%F0%9F%94%91%20tail~end",
        "p%40ss%2Fw%22o%5Crd%2B%2541%3C%26%3E%27%C3%A9%F0%9F%94%91%20tail~end",
        r#"p@ss/w\"o\\rd+%41<&>'\u00e9\ud83d\udd11 tail~end"#,
        r#"p@ss/w\"o\\rd+%41<&>'é🔑 tail~end"#,
        r#"p@ss\/w\"o\\rd+%41<&>'\u00e9\ud83d\udd11 tail~end"#,
        r#"p@ss/w\"o\\rd+%41\u003c\u0026\u003e\u0027é🔑 tail~end"#,
        r#"p@ss/w\"o\\rd+%41\u003c\u0026\u003e'é🔑 tail~end"#,
    ];
    let redactor = Redactor::new([AWKWARD.as_bytes()]);
    for form in forms {
        let text = redactor.text(&format!("before {form} after"));
        assert!(text.starts_with("before ***"), "{form}: {text}");
        // The last letters of base64 hold bits of what follows, and those alone may stay.
        assert!(text.len() <= "before *** after".len() + 4, "{form}: {text}");
        assert!(redactor.is_in(form.as_bytes()), "{form}");
    }
}

#[test]
fn base64_is_found_wherever_it_begins() {
    // `x` + value, `xy` + value, `xyz` + value, each followed by `!`.
    let redactor = Redactor::new([b"correct-horse-battery".as_slice()]);
    for form in
        ["eGNvcnJlY3QtaG9yc2UtYmF0dGVyeSE=", "eHljb3JyZWN0LWhvcnNlLWJhdHRlcnkh", "eHl6Y29ycmVjdC1ob3JzZS1iYXR0ZXJ5IQ=="]
    {
        let text = redactor.text(form);
        assert!(text.contains("***") && text.len() < 14, "{form}: {text}");
    }
}

#[test]
fn wrapped_and_grouped_values_are_found() {
    let value = "correct-horse-battery-staple-and-a-good-deal-more-of-it";
    let redactor = Redactor::new([value.as_bytes()]);
    let hex: String = value.bytes().map(|byte| format!("{byte:02x}:")).collect();
    assert!(!redactor.text(&hex).contains("636f"), "{}", redactor.text(&hex));
    let wrapped = "Y29ycmVjdC1ob3JzZS1iYXR0ZXJ5LXN0YXBsZS1hbmQtYS1nb2\n9kLWRlYWwtbW9yZS1vZi1pdA==";
    assert_eq!(redactor.text(wrapped), "***A==", "the last letter holds bits of what may follow");
    assert_eq!(redactor.text("correct-horse-\nbattery-staple-and-\r\na-good-deal-more-of-it"), "***");
    // So many blanks part two things.
    let apart = format!("correct-horse-{}battery-staple-and-a-good-deal-more-of-it", " ".repeat(20));
    assert_eq!(redactor.text(&apart), apart);
}

#[test]
fn bytes_that_are_no_text_are_found_as_they_are_and_as_they_are_shown() {
    let value = b"key\xff\xfe\x00\x01value";
    let redactor = Redactor::new([value.as_slice()]);
    assert!(redactor.is_in(value));
    for form in [r"key\xff\xfe\x00\x01value", "6b6579fffe000176616c7565", "a2V5//4AAXZhbHVl", "key%FF%FE%00%01value"] {
        assert_eq!(redactor.text(form), "***", "{form}");
    }
    assert_eq!(redactor.text(&String::from_utf8_lossy(value)), "***");
}

#[test]
fn a_long_stream_of_beginnings_takes_no_long_time() {
    let value = format!("{}b", "a".repeat(500));
    let redactor = Redactor::new([value.as_bytes()]);
    let mut stream = Stream::new(redactor.clone());
    let piece = [b'a'; 64 << 10];
    let shown: usize = (0..4).map(|_| stream.push(&piece).len()).sum::<usize>() + stream.finish().len();
    assert_eq!(shown, 4 * piece.len());
    assert!(redactor.is_in_stream(format!("{}{value}", "a".repeat(3 << 20)).as_bytes()).unwrap());
}

proptest! {
    #[test]
    fn pieces_make_no_difference(text in "[hunter2 \n]{0,60}", cuts in prop::collection::vec(0usize..60, 0..6)) {
        let whole = format!("{text}hunter22{text}");
        let bytes = whole.as_bytes();
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let mut stream = Stream::new(redactor());
        let mut out = Vec::new();
        for pair in cuts.windows(2) {
            out.extend(stream.push(&bytes[pair[0]..pair[1]]));
        }
        out.extend(stream.finish());
        prop_assert_eq!(String::from_utf8_lossy(&out), redactor().text(&whole));
        prop_assert!(!redactor().is_in(&out));
        prop_assert!(redactor().is_in_stream(bytes).unwrap());
    }

    #[test]
    fn every_value_is_found_in_every_form(value in prop::collection::vec(any::<u8>(), 8..80), offset in 0usize..3) {
        let value: &[u8] = value.trim_ascii();
        prop_assume!(value.len() >= 8);
        let redactor = Redactor::new([value]);
        for form in encoded(value) {
            prop_assert!(redactor.is_in(&form), "{}", form.escape_ascii());
        }
        let shifted = [&b"xyz"[..offset], value].concat();
        let text = base64(&shifted, b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", 0);
        prop_assert!(redactor.is_in(&text));
    }
}
