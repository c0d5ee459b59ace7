//! A connected byte stream that two threads may use at once: one reads, others write.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// A connected byte stream. All methods take `&self`: the reader blocks in `read` while another thread
/// writes, and a third one may wake both with `shutdown`.
pub trait Transport: Send + Sync {
    /// Reads at least one byte, blocking for at most the read timeout; 0 is the end of the stream.
    fn read(&self, buffer: &mut [u8]) -> io::Result<usize>;

    /// Writes all of `bytes`. The caller must not let calls of several threads interleave.
    fn write_all(&self, bytes: &[u8]) -> io::Result<()>;

    /// Bounds each later `read`; `None` blocks without limit.
    fn set_read_timeout(&self, limit: Option<Duration>) -> io::Result<()>;

    /// Bounds each later `write_all`; `None` blocks without limit.
    fn set_write_timeout(&self, limit: Option<Duration>) -> io::Result<()>;

    /// Ends the given directions: blocked calls return, and later ones see the end of the stream.
    fn shutdown(&self, how: Shutdown);
}

macro_rules! socket_transport {
    ($($socket:ty),*) => {$(
        impl Transport for $socket {
            fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
                let mut socket = self;
                loop {
                    match Read::read(&mut socket, buffer) {
                        Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                        other => return other,
                    }
                }
            }

            fn write_all(&self, bytes: &[u8]) -> io::Result<()> {
                let mut socket = self;
                Write::write_all(&mut socket, bytes)
            }

            fn set_read_timeout(&self, limit: Option<Duration>) -> io::Result<()> {
                <$socket>::set_read_timeout(self, limit)
            }

            fn set_write_timeout(&self, limit: Option<Duration>) -> io::Result<()> {
                <$socket>::set_write_timeout(self, limit)
            }

            fn shutdown(&self, how: Shutdown) {
                // Fails for a socket that is closed already.
                let _ = <$socket>::shutdown(self, how);
            }
        }
    )*};
}
socket_transport!(TcpStream, UnixStream);
