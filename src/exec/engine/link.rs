//! Messages as lines over a pair of streams, with limits on length and time.

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};

use super::fault::{EngineFault, Phase};
use crate::exec::process::log::harmless;

/// The longest line that is read; a longer one is nonsense.
pub const LINE_LIMIT: usize = 64 << 20;

/// Both directions of the talk with an engine.
pub struct Link<R, W> {
    reader: BufReader<R>,
    writer: W,
    limit: usize,
}

impl<R: AsyncRead + Unpin, W: AsyncWrite + Unpin> Link<R, W> {
    pub fn new(reader: R, writer: W) -> Link<R, W> {
        Link { reader: BufReader::with_capacity(64 << 10, reader), writer, limit: LINE_LIMIT }
    }

    /// Sends one message. An engine that is gone is no error yet: it may have said why before it went, and
    /// the reading that follows tells.
    pub async fn write(&mut self, phase: Phase, message: &impl Serialize, limit: Duration) -> Result<(), EngineFault> {
        let mut line = serde_json::to_vec(message).map_err(|error| EngineFault::Failed {
            phase,
            message: format!("the request can't be written: {error}"),
        })?;
        line.push(b'\n');
        let writing = async {
            self.writer.write_all(&line).await?;
            self.writer.flush().await
        };
        match tokio::time::timeout(limit, writing).await {
            Ok(_) => Ok(()),
            Err(_) => Err(EngineFault::Hung { phase, after: limit, log: Vec::new() }),
        }
    }

    /// Reads one message.
    pub async fn read<T: DeserializeOwned>(&mut self, phase: Phase, limit: Duration) -> Result<T, EngineFault> {
        let line = tokio::time::timeout(limit, self.line(phase)).await.map_err(|_| EngineFault::Hung {
            phase,
            after: limit,
            log: Vec::new(),
        })??;
        serde_json::from_slice(&line).map_err(|error| nonsense(phase, &error.to_string(), &line))
    }

    async fn line(&mut self, phase: Phase) -> Result<Vec<u8>, EngineFault> {
        let mut line = Vec::new();
        loop {
            let bytes = match self.reader.fill_buf().await {
                Ok(bytes) => bytes,
                Err(error) => {
                    return Err(nonsense(phase, &format!("reading failed: {error}"), &line));
                }
            };
            if bytes.is_empty() {
                let crashed = EngineFault::Crashed { phase, how: None, log: Vec::new() };
                return Err(if line.is_empty() { crashed } else { nonsense(phase, "the line breaks off", &line) });
            }
            let (taken, whole) = match bytes.iter().position(|&byte| byte == b'\n') {
                Some(end) => (end, true),
                None => (bytes.len(), false),
            };
            line.extend_from_slice(&bytes[..taken]);
            self.reader.consume(taken + usize::from(whole));
            if line.len() > self.limit {
                return Err(nonsense(phase, &format!("a line of more than {} MiB", self.limit >> 20), &line));
            }
            if whole {
                return Ok(line);
            }
        }
    }
}

fn nonsense(phase: Phase, problem: &str, line: &[u8]) -> EngineFault {
    let start = &line[..line.len().min(200)];
    EngineFault::Nonsense { phase, problem: problem.to_owned(), excerpt: harmless(&String::from_utf8_lossy(start)) }
}
