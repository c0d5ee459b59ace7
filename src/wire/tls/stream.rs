//! The encrypted byte stream that two threads use at once.
//!
//! The state of a TLS connection cannot be split: a read may change what has to be written. A mutex guards it
//! while bytes are encrypted or decrypted, and is never held during a call to the socket. The reader owns its
//! buffers while it reads. A second mutex serializes the writers, so that ciphertext is sent in the order in
//! which it was encrypted.
//!
//! The reader never writes: its reply to a key update is sent in front of the next message (RFC 8446, section
//! 4.6.3). A reader that blocked in a write would deadlock with a peer that blocks in a write, too.

use std::io::{self, ErrorKind};
use std::net::{Shutdown, TcpStream};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rustls::Error as TlsError;
use rustls::client::UnbufferedClientConnection;
use rustls::unbuffered::{ConnectionState, UnbufferedStatus};

use super::buffers::{InputBuffer, OutputBuffer, copy};
use super::failure;
use crate::config::TlsMode;
use crate::threads::lock;
use crate::wire::transport::Transport;

/// The most plain text that is encrypted for one write to the socket, in bytes.
const WRITE_SIZE: usize = 64 * 1024;

/// The state that reader and writers share.
struct TlsState {
    connection: UnbufferedClientConnection,
    /// Replies to the peer, encrypted, to be sent in front of anything else.
    pending_replies: OutputBuffer,
    /// The beginning of a handshake message that the reader has received. `rustls` must be given it at each
    /// call, also by writers, since its position in the input counts on it.
    partial_handshake: Vec<u8>,
    /// The peer has sent `close_notify`.
    closed: bool,
    failed: Option<TlsError>,
}

impl TlsState {
    fn check(&self, mode: TlsMode) -> io::Result<()> {
        let failed = self.failed.clone();
        failed.map_or(Ok(()), |error| Err(failed_with(error, mode)))
    }
}

fn failed_with(error: TlsError, mode: TlsMode) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, failure::of_stream(&error, mode))
}

/// What the writer that holds the mutex uses.
#[derive(Default)]
struct Output {
    buffer: OutputBuffer,
    /// A write failed in the middle of a record: the peer could not decrypt anything behind it.
    broken: bool,
}

/// A TLS connection over TCP.
pub(super) struct TlsStream {
    socket: TcpStream,
    /// The mode, for errors.
    mode: TlsMode,
    tls: Mutex<TlsState>,
    output: Mutex<Output>,
    /// `None` while a thread reads.
    input: Mutex<Option<InputBuffer>>,
    read_limit: Mutex<Option<Duration>>,
}

impl TlsStream {
    /// A connection whose handshake is done, with the bytes received behind it.
    pub(super) fn new(
        socket: TcpStream,
        connection: UnbufferedClientConnection,
        input: InputBuffer,
        mode: TlsMode,
    ) -> TlsStream {
        TlsStream {
            socket,
            mode,
            tls: Mutex::new(TlsState {
                connection,
                pending_replies: OutputBuffer::default(),
                partial_handshake: Vec::new(),
                closed: false,
                failed: None,
            }),
            output: Mutex::default(),
            input: Mutex::new(Some(input)),
            read_limit: Mutex::new(None),
        }
    }

    fn read_with(&self, input: &mut InputBuffer, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() {
            return Ok(0);
        }
        let kept = input.take_plain(out);
        if kept > 0 {
            return Ok(kept);
        }
        let limit = *lock(&self.read_limit);
        let started = Instant::now();
        let (mut waited, mut shortened) = (false, false);
        let result = loop {
            match self.decrypt(input, out) {
                Ok((0, false)) => {}
                Ok((read, _)) => break Ok(read),
                Err(e) => break Err(e),
            }
            // The time limit holds for a whole record, however slowly its bytes arrive.
            if waited && let Some(limit) = limit {
                let left = limit.saturating_sub(started.elapsed());
                if left.is_zero() {
                    break Err(ErrorKind::TimedOut.into());
                }
                shortened = true;
                if let Err(e) = self.socket.set_read_timeout(Some(left)) {
                    break Err(e);
                }
            }
            waited = true;
            match input.fill(&self.socket) {
                Ok(0) => break Ok(0),
                Ok(_) => {}
                Err(e) => break Err(e),
            }
        };
        if shortened {
            self.socket.set_read_timeout(limit)?;
        }
        result
    }

    /// Decrypts received records into `out`. Returns the number of bytes, and whether the peer has closed.
    fn decrypt(&self, input: &mut InputBuffer, out: &mut [u8]) -> io::Result<(usize, bool)> {
        let (mut filled, mut quiet) = (0, false);
        let mut tls = lock(&self.tls);
        tls.check(self.mode)?;
        let TlsState {
            connection,
            pending_replies,
            partial_handshake,
            closed,
            failed,
        } = &mut *tls;
        loop {
            let free = out.len() - filled;
            // A record that does not fit waits for the next call.
            if filled > 0 && input.first_record().is_some_and(|length| length > free) {
                break;
            }
            let (pending, plain) = input.parts();
            let UnbufferedStatus { discard, state } = connection.process_tls_records(pending);
            match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let payload = record.map_err(|e| failed_with(e, self.mode))?.payload;
                        let to = out.get_mut(filled..).unwrap_or_default();
                        let copied = copy(payload, to);
                        filled += copied;
                        plain.extend_from_slice(payload.get(copied..).unwrap_or_default());
                    }
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    pending_replies.encode(&mut data)?;
                }
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => {
                    *closed = true;
                    quiet = true;
                }
                Ok(_) => quiet = true,
                Err(e) => *failed = Some(e),
            }
            input.discard(discard);
            if quiet || failed.is_some() {
                break;
            }
        }
        partial_handshake.clear();
        // All whole records were processed: one that is left is a part of a handshake message.
        if quiet && input.has_whole_record() {
            partial_handshake.extend_from_slice(input.pending());
        }
        let ended = *closed;
        if filled == 0 {
            tls.check(self.mode)?;
        }
        Ok((filled, ended))
    }

    /// Encrypts `piece` behind the pending replies. The caller holds the mutex of the writers.
    fn encrypt(&self, piece: &[u8], out: &mut OutputBuffer) -> io::Result<()> {
        let mut tls = lock(&self.tls);
        tls.check(self.mode)?;
        let TlsState {
            connection,
            pending_replies,
            partial_handshake,
            closed,
            failed,
        } = &mut *tls;
        let length = pending_replies.filled().len();
        out.append(length, |room| Ok(Ok(copy(pending_replies.filled(), room))))?;
        pending_replies.clear();
        loop {
            match connection.process_tls_records(partial_handshake).state {
                Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                    return out.encrypt(piece, &mut traffic);
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    out.encode(&mut data)?;
                }
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed) => *closed = true,
                Ok(_) => return Err(ErrorKind::BrokenPipe.into()),
                Err(e) => {
                    *failed = Some(e.clone());
                    return Err(failed_with(e, self.mode));
                }
            }
        }
    }
}

impl Transport for TlsStream {
    fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        // Taken out, so that no mutex is held during calls to the socket.
        let Some(mut input) = lock(&self.input).take() else {
            return Err(io::Error::other("two threads read from one connection"));
        };
        let result = self.read_with(&mut input, buffer);
        *lock(&self.input) = Some(input);
        result
    }

    fn write_all(&self, bytes: &[u8]) -> io::Result<()> {
        let mut output = lock(&self.output);
        let Output { buffer, broken } = &mut *output;
        if *broken {
            return Err(ErrorKind::BrokenPipe.into());
        }
        for piece in bytes.chunks(WRITE_SIZE) {
            buffer.clear();
            let sent = self
                .encrypt(piece, buffer)
                .and_then(|()| Transport::write_all(&self.socket, buffer.filled()));
            if let Err(e) = sent {
                *broken = true;
                return Err(e);
            }
        }
        Ok(())
    }

    fn set_read_timeout(&self, limit: Option<Duration>) -> io::Result<()> {
        *lock(&self.read_limit) = limit;
        self.socket.set_read_timeout(limit)
    }

    fn set_write_timeout(&self, limit: Option<Duration>) -> io::Result<()> {
        self.socket.set_write_timeout(limit)
    }

    fn shutdown(&self, how: Shutdown) {
        // Fails for a socket that is closed already.
        let _ = self.socket.shutdown(how);
    }
}
