//! The buffers on both sides of an encrypted connection.

use std::io;
use std::net::TcpStream;

use rustls::unbuffered::{
    EncodeError, EncodeTlsData, EncryptError, InsufficientSizeError, WriteTraffic,
};

use crate::wire::transport::Transport;

/// The head of a record: type, version, length (RFC 8446, section 5.1).
const RECORD_HEAD: usize = 5;

/// The longest record that a peer may send (RFC 5246, section 6.2.3), head included.
const MAX_RECORD: usize = RECORD_HEAD + 16 * 1024 + 2048;

/// The size of the read buffer until a read fills it.
const INITIAL_READ_SIZE: usize = 4 * 1024;

/// The size of the read buffer after a read has filled it.
const READ_SIZE: usize = 64 * 1024;

/// The limit of bytes that are kept undecrypted: handshake messages have up to 64 KiB, in records of any
/// size.
const MAX_PENDING: usize = 256 * 1024;

/// The limit of what encryption adds to 64 KiB, with an answer to a key update.
const OVERHEAD: usize = 1024;

/// Received bytes, and the plain text of them that did not fit into the caller's buffer.
#[derive(Default)]
pub(super) struct InputBuffer {
    /// Ciphertext, between `start` and `end`.
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    /// Plain text that did not fit into the caller's buffer, from `taken` on: one record at most.
    plain: Vec<u8>,
    taken: usize,
    /// The last read filled the buffer: more bytes may be waiting.
    filled: bool,
}

impl InputBuffer {
    /// Reads once from the socket; 0 at the end of the stream.
    pub(super) fn fill(&mut self, socket: &TcpStream) -> io::Result<usize> {
        if self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        let size = match self.bytes.len() {
            0 => INITIAL_READ_SIZE,
            full if self.end == full => (full * 2).max(MAX_RECORD),
            kept if self.filled => kept.max(READ_SIZE),
            kept => kept,
        };
        if size > MAX_PENDING {
            return Err(invalid("a TLS message that does not end"));
        }
        self.bytes.resize(size, 0);
        let free = self.bytes.get_mut(self.end..).unwrap_or_default();
        let read = Transport::read(socket, free)?;
        self.filled = read == free.len();
        self.end += read;
        Ok(read)
    }

    /// The ciphertext that was not consumed yet.
    pub(super) fn pending(&mut self) -> &mut [u8] {
        self.bytes.get_mut(self.start..self.end).unwrap_or_default()
    }

    /// The same, and the buffer for plain text that does not fit into the caller's.
    pub(super) fn parts(&mut self) -> (&mut [u8], &mut Vec<u8>) {
        let pending = self.bytes.get_mut(self.start..self.end);
        (pending.unwrap_or_default(), &mut self.plain)
    }

    /// Whether the first record was received whole.
    pub(super) fn has_whole_record(&self) -> bool {
        let length = self.end - self.start;
        self.first_record().is_some_and(|first| first <= length)
    }

    /// Consumes bytes at the front.
    pub(super) fn discard(&mut self, count: usize) {
        self.start = (self.start + count).min(self.end);
    }

    /// The length of the first record with its head; `None` while its head is not whole.
    pub(super) fn first_record(&self) -> Option<usize> {
        let pending = self.bytes.get(self.start..self.end)?;
        let [_, _, _, high, low, ..] = *pending else {
            return None;
        };
        Some(RECORD_HEAD + usize::from(u16::from_be_bytes([high, low])))
    }

    /// Moves kept plain text to the caller's buffer; returns how many bytes.
    pub(super) fn take_plain(&mut self, out: &mut [u8]) -> usize {
        let rest = self.plain.get(self.taken..).unwrap_or_default();
        let taken = copy(rest, out);
        self.taken += taken;
        if self.taken == self.plain.len() {
            self.plain.clear();
            self.taken = 0;
        }
        taken
    }
}

/// Copies as many bytes as fit; returns how many.
pub(super) fn copy(from: &[u8], to: &mut [u8]) -> usize {
    let length = from.len().min(to.len());
    if let (Some(from), Some(to)) = (from.get(..length), to.get_mut(..length)) {
        to.copy_from_slice(from);
    }
    length
}

/// Bytes to be sent. Its memory is kept for the next use.
#[derive(Default)]
pub(super) struct OutputBuffer {
    bytes: Vec<u8>,
    end: usize,
}

impl OutputBuffer {
    /// The bytes.
    pub(super) fn filled(&self) -> &[u8] {
        self.bytes.get(..self.end).unwrap_or_default()
    }

    /// Empties it.
    pub(super) fn clear(&mut self) {
        self.end = 0;
    }

    /// Appends what `write` puts into the free space; where `write` asks for more than `guess`, it is called
    /// again with that much.
    pub(super) fn append(
        &mut self,
        guess: usize,
        mut write: impl FnMut(&mut [u8]) -> io::Result<Result<usize, InsufficientSizeError>>,
    ) -> io::Result<()> {
        let mut room = guess;
        loop {
            if self.bytes.len() < self.end + room {
                self.bytes.resize(self.end + room, 0);
            }
            match write(self.bytes.get_mut(self.end..).unwrap_or_default())? {
                Ok(written) => {
                    self.end += written;
                    return Ok(());
                }
                Err(size) if size.required_size > room => room = size.required_size,
                Err(_) => return Err(io::Error::other("TLS asks for space that it was given")),
            }
        }
    }

    /// Appends a handshake message or alert.
    pub(super) fn encode<D>(&mut self, data: &mut EncodeTlsData<'_, D>) -> io::Result<()> {
        self.append(OVERHEAD, |room| match data.encode(room) {
            Ok(written) => Ok(Ok(written)),
            Err(EncodeError::InsufficientSize(size)) => Ok(Err(size)),
            Err(e @ EncodeError::AlreadyEncoded) => Err(io::Error::other(e)),
        })
    }

    /// Appends encrypted data.
    pub(super) fn encrypt<D>(
        &mut self,
        data: &[u8],
        traffic: &mut WriteTraffic<'_, D>,
    ) -> io::Result<()> {
        let guess = data.len() + OVERHEAD;
        self.append(guess, |room| match traffic.encrypt(data, room) {
            Ok(written) => Ok(Ok(written)),
            Err(EncryptError::InsufficientSize(size)) => Ok(Err(size)),
            Err(e @ EncryptError::EncryptExhausted) => Err(io::Error::other(e)),
        })
    }
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
