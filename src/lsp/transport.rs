//! Frames on a pair of streams: a header with a length, then JSON.
//!
//! `lsp-server` has the messages; its own threads end at the first frame that is no message, so the frames are
//! read here: a client's slip is answered, and the next frame is read. It knows nothing of what messages mean.

use std::io::{self, BufRead, Read, Write};

use lsp_server::{ErrorCode, Message};
use serde_json::json;

/// A larger frame is skipped: no pipeline is that long.
const MOST_BYTES: usize = 64 << 20;

/// What was read.
#[derive(Debug)]
pub enum Incoming {
    Message(Message),
    /// A frame that is no message, and what to answer.
    Malformed(serde_json::Value),
}

/// Reads one frame; `None` at the end of the stream.
pub fn read(from: &mut dyn BufRead) -> io::Result<Option<Incoming>> {
    let Some(length) = header(from)? else { return Ok(None) };
    if length > MOST_BYTES {
        io::copy(&mut (&mut *from).take(length as u64), &mut io::sink())?;
        let why = format!("a message of {} MiB; at most {} are read", length >> 20, MOST_BYTES >> 20);
        return Ok(Some(Incoming::Malformed(refusal(serde_json::Value::Null, ErrorCode::InvalidRequest, &why))));
    }
    let mut bytes = vec![0; length];
    from.read_exact(&mut bytes)?;
    let value: serde_json::Value = match serde_json::from_slice(&bytes) {
        Ok(value) => value,
        Err(error) => {
            let why = format!("this is no JSON: {error}");
            return Ok(Some(Incoming::Malformed(refusal(serde_json::Value::Null, ErrorCode::ParseError, &why))));
        }
    };
    let id = value.get("id").cloned().unwrap_or_default();
    Ok(Some(match serde_json::from_value(value) {
        Ok(message) => Incoming::Message(message),
        Err(_) => {
            let why = "neither a request, nor a response, nor a notification";
            Incoming::Malformed(refusal(id, ErrorCode::InvalidRequest, why))
        }
    }))
}

fn refusal(id: serde_json::Value, code: ErrorCode, why: &str) -> serde_json::Value {
    json!({"jsonrpc": "2.0", "id": id, "error": {"code": code as i32, "message": why}})
}

/// The length that a header tells.
fn header(from: &mut dyn BufRead) -> io::Result<Option<usize>> {
    let mut length = None;
    loop {
        let mut line = Vec::new();
        // No header is long; a stream without line ends must not fill the memory.
        if (&mut *from).take(8192).read_until(b'\n', &mut line)? == 0 {
            return Ok(None);
        }
        let line = String::from_utf8_lossy(&line);
        match line.trim_end().split_once(':') {
            None if line.trim().is_empty() => match length {
                Some(length) => return Ok(Some(length)),
                // A blank line between frames harms nobody.
                None => continue,
            },
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                length = Some(value.trim().parse().map_err(io::Error::other)?);
            }
            Some(_) => {}
            None => return Err(io::Error::other("a line without a length stands where a message should begin")),
        }
    }
}

/// Writes one frame.
pub fn write(to: &mut dyn Write, value: &serde_json::Value) -> io::Result<()> {
    let text = value.to_string();
    write!(to, "Content-Length: {}\r\n\r\n{text}", text.len())?;
    to.flush()
}

/// A message as the frame's JSON.
pub fn value(message: &Message) -> serde_json::Value {
    let mut value = serde_json::to_value(message).unwrap_or_default();
    if let Some(object) = value.as_object_mut() {
        object.insert("jsonrpc".to_owned(), json!("2.0"));
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> Vec<String> {
        let mut from = text.as_bytes();
        let mut found = Vec::new();
        loop {
            match read(&mut from) {
                Ok(Some(Incoming::Message(message))) => found.push(value(&message).to_string()),
                Ok(Some(Incoming::Malformed(answer))) => found.push(format!("{}", answer["error"]["code"])),
                Ok(None) => return found,
                Err(error) => {
                    found.push(error.to_string());
                    return found;
                }
            }
        }
    }

    fn frame(text: &str) -> String {
        format!("Content-Length: {}\r\n\r\n{text}", text.len())
    }

    #[test]
    fn a_bad_frame_does_not_end_the_stream() {
        let good = r#"{"method":"exit","jsonrpc":"2.0"}"#;
        let text = frame("{") + &frame("[1]") + &frame(good);
        assert_eq!(all(&text), ["-32700", "-32600", good]);
    }

    #[test]
    fn headers_are_read_as_clients_write_them() {
        let good = r#"{"id":1,"method":"shutdown","jsonrpc":"2.0"}"#;
        let text = format!("Content-Type: x\r\ncontent-length:{}\r\n\r\n{good}", good.len());
        assert_eq!(all(&text), [good]);
        assert_eq!(all("hello\r\n").len(), 1);
        assert_eq!(all("Content-Length: -4\r\n\r\n").len(), 1);
        assert_eq!(all("Content-Length: 9\r\n\r\n{}"), ["failed to fill whole buffer"]);
    }

    #[test]
    fn what_is_written_can_be_read() {
        let mut out = Vec::new();
        write(&mut out, &json!({"method": "é", "jsonrpc": "2.0"})).expect("memory");
        assert_eq!(all(&String::from_utf8(out).expect("text")), [r#"{"method":"é","jsonrpc":"2.0"}"#]);
    }
}
