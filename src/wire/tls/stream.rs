//! The encrypted byte stream that two threads use at once.
//!
//! A TLS connection cannot be split: to read may change what has to be written. It is shared behind a
//! mutex that is held while bytes are encrypted or decrypted, and never while somebody waits for the
//! socket. The reader owns its buffers while it reads; writers take turns by a second mutex, so that
//! ciphertext is sent in the order in which it was encrypted.
//!
//! The reader never writes: what it owes to the peer (the answer to a key update) is sent in front of the
//! next message, as RFC 8446, section 4.6.3 asks. A reader that waited for room in the socket would wait
//! for a peer that waits for it.

use std::io::{self, ErrorKind};
use std::net::{Shutdown, TcpStream};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustls::Error as TlsError;
use rustls::client::UnbufferedClientConnection;
use rustls::unbuffered::{ConnectionState, UnbufferedStatus};

use super::buffers::{Incoming, Sheet, copy};
use super::failure::Failure;
use crate::config::TlsMode;
use crate::wire::Transport;

/// How much is encrypted before it is written.
const WRITE_SIZE: usize = 64 * 1024;

/// The connection, and what belongs to it.
struct Machine {
    connection: UnbufferedClientConnection,
    /// What is owed to the peer, encrypted, to be sent in front of anything else.
    owed: Sheet,
    /// The part of a handshake message that the connection knows of and the reader has, for writers: the
    /// connection must always be shown what it has seen.
    held: Vec<u8>,
    /// The peer has said that nothing more will come.
    closed: bool,
    failed: Option<TlsError>,
}

impl Machine {
    fn check(&self, mode: TlsMode) -> io::Result<()> {
        let failed = self.failed.clone();
        failed.map_or(Ok(()), |error| Err(failed_with(error, mode)))
    }
}

fn failed_with(error: TlsError, mode: TlsMode) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, Failure { mode, error })
}

/// What writers have in turns.
#[derive(Default)]
struct Outgoing {
    sheet: Sheet,
    /// A write failed in the middle: nothing that came behind it could be read.
    broken: bool,
}

/// A TLS connection over TCP.
pub(super) struct TlsStream {
    socket: TcpStream,
    /// For errors.
    mode: TlsMode,
    machine: Mutex<Machine>,
    outgoing: Mutex<Outgoing>,
    /// `None` while somebody reads.
    incoming: Mutex<Option<Incoming>>,
    read_limit: Mutex<Option<Duration>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl TlsStream {
    /// A connection whose handshake is done, with what was received behind it.
    pub(super) fn new(
        socket: TcpStream,
        connection: UnbufferedClientConnection,
        incoming: Incoming,
        mode: TlsMode,
    ) -> TlsStream {
        TlsStream {
            socket,
            mode,
            machine: Mutex::new(Machine {
                connection,
                owed: Sheet::default(),
                held: Vec::new(),
                closed: false,
                failed: None,
            }),
            outgoing: Mutex::default(),
            incoming: Mutex::new(Some(incoming)),
            read_limit: Mutex::new(None),
        }
    }

    fn read_with(&self, incoming: &mut Incoming, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() {
            return Ok(0);
        }
        let kept = incoming.take_plain(out);
        if kept > 0 {
            return Ok(kept);
        }
        let limit = *lock(&self.read_limit);
        let started = Instant::now();
        let (mut waited, mut shortened) = (false, false);
        let result = loop {
            match self.decrypt(incoming, out) {
                Ok((0, false)) => {}
                Ok((read, _)) => break Ok(read),
                Err(e) => break Err(e),
            }
            // A record that arrives in drops must not take longer than the caller waits.
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
            match incoming.fill(&self.socket) {
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

    /// Decrypts what is there into the buffer. Returns how much that was, and whether it is the end.
    fn decrypt(&self, incoming: &mut Incoming, out: &mut [u8]) -> io::Result<(usize, bool)> {
        let (mut filled, mut quiet) = (0, false);
        let mut machine = lock(&self.machine);
        machine.check(self.mode)?;
        let Machine {
            connection,
            owed,
            held,
            closed,
            failed,
        } = &mut *machine;
        loop {
            let free = out.len() - filled;
            // A record that does not fit waits for the next call.
            if filled > 0 && incoming.first_record().is_some_and(|length| length > free) {
                break;
            }
            let (pending, plain) = incoming.parts();
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
                    owed.encode(&mut data)?;
                }
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => {
                    *closed = true;
                    quiet = true;
                }
                Ok(_) => quiet = true,
                Err(e) => *failed = Some(e),
            }
            incoming.discard(discard);
            if quiet || failed.is_some() {
                break;
            }
        }
        held.clear();
        // All whole records were looked at: one that is still there is a piece of a handshake message.
        if quiet && incoming.has_whole_record() {
            held.extend_from_slice(incoming.pending());
        }
        let ended = *closed;
        if filled == 0 {
            machine.check(self.mode)?;
        }
        Ok((filled, ended))
    }

    /// Encrypts a piece behind what is owed. The caller has the turn to write.
    fn encrypt(&self, piece: &[u8], out: &mut Sheet) -> io::Result<()> {
        let mut machine = lock(&self.machine);
        machine.check(self.mode)?;
        let Machine {
            connection,
            owed,
            held,
            closed,
            failed,
        } = &mut *machine;
        let length = owed.filled().len();
        out.append(length, |room| Ok(Ok(copy(owed.filled(), room))))?;
        owed.clear();
        loop {
            match connection.process_tls_records(held).state {
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
        // Taken out, so that no lock is held while the socket is waited for.
        let Some(mut incoming) = lock(&self.incoming).take() else {
            return Err(io::Error::other("two threads read from one connection"));
        };
        let result = self.read_with(&mut incoming, buffer);
        *lock(&self.incoming) = Some(incoming);
        result
    }

    fn write_all(&self, bytes: &[u8]) -> io::Result<()> {
        let mut outgoing = lock(&self.outgoing);
        let Outgoing { sheet, broken } = &mut *outgoing;
        if *broken {
            return Err(ErrorKind::BrokenPipe.into());
        }
        for piece in bytes.chunks(WRITE_SIZE) {
            sheet.clear();
            let sent = self
                .encrypt(piece, sheet)
                .and_then(|()| Transport::write_all(&self.socket, sheet.filled()));
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
        // A socket that is closed already needs no waking.
        let _ = self.socket.shutdown(how);
    }
}
