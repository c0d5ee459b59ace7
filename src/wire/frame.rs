//! Framing of backend messages: a tag byte, a length that counts itself, the body
//! (PostgreSQL documentation, "Message Formats").

use super::{Transport, tls};
use crate::error::{Error, Kind, Result};

/// The longest message that a server can send: `MaxAllocSize` (1 GiB - 1) with room for the headers.
pub const FRAME_LIMIT: usize = 0x4000_0000;

/// The bytes before a body: tag and length.
pub const HEAD: usize = 5;

/// How much a buffer grows at least for a message that is larger than it.
const GROWTH: usize = 1024 * 1024;

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
pub struct Inbox {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl Inbox {
    /// The next whole message (tag, body), reading from the transport as needed.
    pub fn next(&mut self, transport: &dyn Transport, limit: usize) -> Result<(u8, &[u8])> {
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
    pub fn last(&self, length: usize) -> &[u8] {
        self.bytes
            .get(self.start - length..self.start)
            .unwrap_or_default()
    }

    /// Takes the bytes that were received beyond the last message.
    pub fn take_pending(&mut self) -> Vec<u8> {
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
            // A large answer must not be kept for the life of the session.
            if self.bytes.len() > GROWTH {
                self.bytes = Vec::new();
            }
        } else if self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if self.end == self.bytes.len() || self.bytes.len() < wanted.min(GROWTH) {
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

/// The size for a buffer that holds `filled` bytes of a message of `wanted`: it follows what has really
/// arrived, so that an announced length alone reserves nothing.
pub fn grown(filled: usize, wanted: usize) -> usize {
    wanted.min(filled + GROWTH.max(filled / 2)).max(filled + 1)
}

/// The peer closed the connection.
pub fn closed() -> Error {
    Error::new(Kind::Transient, "the server closed the connection")
}

/// A read that failed, or found nothing within its limit.
pub fn read_failed(e: std::io::Error) -> Error {
    if let Some(error) = tls::explained(&e) {
        return error;
    }
    let what = match e.kind() {
        std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut => "no answer in time",
        _ => "reading from the server failed",
    };
    Error::new(Kind::Transient, what).caused_by(e)
}

/// A write that failed.
pub fn write_failed(e: std::io::Error) -> Error {
    if let Some(error) = tls::explained(&e) {
        return error;
    }
    Error::new(Kind::Transient, "writing to the server failed").caused_by(e)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::io;
    use std::sync::Mutex;
    use std::time::Duration;

    /// A peer that hands out its bytes in pieces of a given size.
    struct Pieces(Mutex<(Vec<u8>, usize)>);

    impl Transport for Pieces {
        fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
            let mut inner = self.0.lock().unwrap();
            let n = inner.1.min(buffer.len()).min(inner.0.len());
            buffer[..n].copy_from_slice(&inner.0[..n]);
            inner.0.drain(..n);
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
            let peer = Pieces(Mutex::new((stream.clone(), size)));
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
        assert_eq!(grown(0, FRAME_LIMIT), GROWTH);
    }
}
