//! Framing of backend messages: a tag byte, a length that counts itself, the body
//! (PostgreSQL documentation, "Message Formats").

use super::io_error::{closed, read_failed};
use super::transport::Transport;
use crate::error::{Error, Kind, Result};

/// The limit of the length field of a message, in bytes: a server builds a message in memory of at most
/// `MaxAllocSize`, 1 GiB - 1 (`memutils.h`).
pub const FRAME_LIMIT: usize = 0x4000_0000;

/// The bytes before a body: tag and length.
pub const HEAD: usize = 5;

/// The least growth of a buffer for a message that does not fit into it, in bytes.
const MIN_GROWTH: usize = 1024 * 1024;

/// The head of one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHead {
    /// The type of the message.
    pub tag: u8,
    /// The length of the whole message in bytes, head included.
    pub length: usize,
}

impl FrameHead {
    /// Reads the head at the front of `bytes`; `None` while fewer than five bytes are there.
    ///
    /// # Errors
    /// A length below 4 or beyond `limit`.
    pub fn parse(bytes: &[u8], limit: usize) -> Result<Option<FrameHead>> {
        let [tag, a, b, c, d, ..] = *bytes else {
            return Ok(None);
        };
        let announced = u32::from_be_bytes([a, b, c, d]);
        let length = usize::try_from(announced).unwrap_or(usize::MAX);
        if !(4..limit).contains(&length) {
            return Err(Error::new(
                Kind::Protocol,
                format!(
                    "expected a message of 4 to {limit} bytes, found one of type 0x{tag:02x} that \
                     announces {announced}"
                ),
            )
            .hint("is this a PostgreSQL server?"));
        }
        Ok(Some(FrameHead {
            tag,
            length: length + 1,
        }))
    }
}

/// A buffer of received bytes from which whole messages are taken in place.
#[derive(Default)]
pub(super) struct Inbox {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl Inbox {
    /// The next whole message (tag, body), reading from the transport as needed.
    pub(super) fn next(&mut self, transport: &dyn Transport, limit: usize) -> Result<(u8, &[u8])> {
        loop {
            let pending = self.bytes.get(self.start..self.end).unwrap_or_default();
            let wanted = match FrameHead::parse(pending, limit)? {
                Some(head) if pending.len() >= head.length => {
                    let body = self.start + HEAD..self.start + head.length;
                    self.start += head.length;
                    return Ok((head.tag, self.bytes.get(body).unwrap_or_default()));
                }
                Some(head) => head.length,
                None => HEAD,
            };
            self.fill(transport, wanted)?;
        }
    }

    /// The body of the message taken last, which had this length.
    pub(super) fn last(&self, length: usize) -> &[u8] {
        self.bytes
            .get(self.start - length..self.start)
            .unwrap_or_default()
    }

    /// Takes the bytes that were received beyond the last message.
    pub(super) fn take_pending(&mut self) -> Vec<u8> {
        let pending = self
            .bytes
            .get(self.start..self.end)
            .unwrap_or_default()
            .to_vec();
        *self = Inbox::default();
        pending
    }

    fn fill(&mut self, transport: &dyn Transport, wanted: usize) -> Result<()> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            // The memory of a large message is not kept for the life of the session.
            if self.bytes.len() > MIN_GROWTH {
                self.bytes = Vec::new();
            }
        } else if self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if self.end == self.bytes.len() || self.bytes.len() < wanted.min(MIN_GROWTH) {
            self.bytes.resize(grown(self.end, wanted).max(8 * 1024), 0);
        }
        let free = self.bytes.get_mut(self.end..).unwrap_or_default();
        match transport.read(free) {
            Ok(0) => Err(closed()),
            Ok(n) => {
                self.end += n;
                Ok(())
            }
            Err(e) => Err(read_failed(e)),
        }
    }
}

/// The size for a buffer that holds `filled` bytes of a message of `wanted` bytes. It follows the bytes that
/// have arrived, so that an announced length alone reserves little.
pub fn grown(filled: usize, wanted: usize) -> usize {
    wanted
        .min(filled + MIN_GROWTH.max(filled / 2))
        .max(filled + 1)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::io;
    use std::sync::Mutex;
    use std::time::Duration;

    /// A peer whose bytes arrive in pieces of `size`.
    struct Pieces {
        bytes: Vec<u8>,
        size: usize,
        read: Mutex<usize>,
    }

    impl Transport for Pieces {
        fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
            let mut read = self.read.lock().unwrap();
            let rest = &self.bytes[*read..];
            let n = self.size.min(buffer.len()).min(rest.len());
            buffer[..n].copy_from_slice(&rest[..n]);
            *read += n;
            Ok(n)
        }
        fn write_all(&self, _: &[u8]) -> io::Result<()> {
            Ok(())
        }
        fn set_read_timeout(&self, _: Option<Duration>) -> io::Result<()> {
            Ok(())
        }
        fn set_write_timeout(&self, _: Option<Duration>) -> io::Result<()> {
            Ok(())
        }
        fn shutdown(&self, _: std::net::Shutdown) {}
    }

    fn message(tag: u8, body: &[u8]) -> Vec<u8> {
        let mut out = vec![tag];
        out.extend_from_slice(&u32::try_from(body.len() + 4).unwrap().to_be_bytes());
        out.extend_from_slice(body);
        out
    }

    #[test]
    fn messages_are_whole_however_the_bytes_arrive() {
        let large = vec![7; 3_000_000];
        let mut stream = message(b'Z', b"I");
        stream.extend(message(b'D', &large));
        stream.extend(message(b'C', b""));
        for size in [1_000_000_000, 65_536, 4_097, 3] {
            let peer = Pieces {
                bytes: stream.clone(),
                size,
                read: Mutex::new(0),
            };
            let mut inbox = Inbox::default();
            assert_eq!(inbox.next(&peer, FRAME_LIMIT).unwrap(), (b'Z', &b"I"[..]));
            assert_eq!(inbox.next(&peer, FRAME_LIMIT).unwrap(), (b'D', &large[..]));
            assert_eq!(inbox.next(&peer, FRAME_LIMIT).unwrap(), (b'C', &b""[..]));
            assert!(inbox.next(&peer, FRAME_LIMIT).is_err());
        }
    }

    #[test]
    fn impossible_lengths_are_refused_before_anything_is_reserved() {
        for length in [0_u32, 3, 0x7FFF_FFFF, u32::MAX] {
            let mut bytes = vec![b'D'];
            bytes.extend_from_slice(&length.to_be_bytes());
            assert!(FrameHead::parse(&bytes, FRAME_LIMIT).is_err(), "{length}");
        }
        assert_eq!(FrameHead::parse(b"Z\0\0\0", FRAME_LIMIT).unwrap(), None);
        assert_eq!(grown(0, FRAME_LIMIT), MIN_GROWTH);
    }
}
