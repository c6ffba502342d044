//! One frame of an append-only log: magic, length, kind, key, payload, checksum. Knows no files.
//!
//! | bytes | what |
//! |---|---|
//! | 4 | magic; where a damaged log is read on |
//! | 4 | length of the payload, little-endian |
//! | 1 | kind |
//! | 32 | key |
//! | n | payload |
//! | 16 | the first half of the BLAKE3 of all the above |

use crate::Digest;

pub(crate) const MAGIC: [u8; 4] = [0xF1, b'p', b'f', 0x01];
pub(crate) const HEADER: usize = 41;
const CHECKSUM: usize = 16;
/// A longer payload is taken for damage: no record comes near, and blobs this large are files.
pub(crate) const MAX_PAYLOAD: usize = 256 << 20;

/// The head of a frame: what the index keeps of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub kind: u8,
    pub key: Digest,
    pub payload: u32,
}

impl Header {
    /// Reads a head; `None` if these bytes begin no frame.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let (magic, rest) = bytes.split_first_chunk::<4>()?;
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let (&kind, rest) = rest.split_first()?;
        let (key, _) = rest.split_first_chunk::<32>()?;
        let payload = u32::from_le_bytes(*length);
        let sound = *magic == MAGIC && payload as usize <= MAX_PAYLOAD;
        sound.then(|| Self { kind, key: Digest::from_bytes(*key), payload })
    }

    /// The size of the whole frame.
    pub(crate) fn frame_size(&self) -> u64 {
        (HEADER + CHECKSUM) as u64 + u64::from(self.payload)
    }
}

/// Appends a frame to `out`. The payload is at most `MAX_PAYLOAD` long; the log checks that.
pub(crate) fn encode(out: &mut Vec<u8>, kind: u8, key: &Digest, payload: &[u8]) {
    let start = out.len();
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    out.push(kind);
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(payload);
    let sum = blake3::hash(&out[start..]);
    out.extend_from_slice(&sum.as_bytes()[..CHECKSUM]);
}

/// The payload of a whole frame, if its checksum holds.
pub(crate) fn payload(frame: &[u8]) -> Option<&[u8]> {
    let header = Header::parse(frame)?;
    if frame.len() as u64 != header.frame_size() {
        return None;
    }
    let (body, sum) = frame.split_at(frame.len() - CHECKSUM);
    (blake3::hash(body).as_bytes()[..CHECKSUM] == *sum).then(|| &body[HEADER..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_is_seen() {
        let mut frame = Vec::new();
        encode(&mut frame, 3, &Digest::of(b"key"), b"payload");
        assert_eq!(payload(&frame), Some(&b"payload"[..]));
        for bit in 0..frame.len() * 8 {
            let mut bad = frame.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(payload(&bad), None, "bit {bit}");
        }
        for length in 0..frame.len() {
            assert_eq!(payload(&frame[..length]), None);
        }
    }
}
