//! Errors of a transport, as errors of the program.

use std::io;

use crate::error::{Error, Kind};

/// The peer closed the connection.
pub fn closed() -> Error {
    Error::new(Kind::Transient, "the server closed the connection")
}

/// A read that failed or timed out.
pub fn read_failed(e: io::Error) -> Error {
    explain(e, |kind| match kind {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => "no answer in time",
        _ => "reading from the server failed",
    })
}

/// A write that failed.
pub(super) fn write_failed(e: io::Error) -> Error {
    explain(e, |_| "writing to the server failed")
}

/// An [`Error`] inside `e` is returned as it is: a transport that knows the cause puts it there, as TLS does.
fn explain(e: io::Error, message: impl Fn(io::ErrorKind) -> &'static str) -> Error {
    let message = message(e.kind());
    match e.downcast::<Error>() {
        Ok(error) => error,
        Err(e) => Error::new(Kind::Transient, message).caused_by(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_the_program_passes_through_and_others_are_transient() {
        let inner = Error::new(Kind::Refused, "certificate").hint("renew it");
        let error = read_failed(io::Error::new(io::ErrorKind::InvalidData, inner));
        assert_eq!(error.kind(), Kind::Refused);
        assert_eq!(error.to_string(), "certificate. Hint: renew it");
        for (kind, text) in [
            (io::ErrorKind::TimedOut, "no answer in time"),
            (io::ErrorKind::WouldBlock, "no answer in time"),
            (
                io::ErrorKind::ConnectionReset,
                "reading from the server failed",
            ),
        ] {
            let error = read_failed(kind.into());
            assert_eq!(error.kind(), Kind::Transient);
            assert!(error.to_string().starts_with(text), "{error}");
        }
        let error = write_failed(io::ErrorKind::BrokenPipe.into());
        assert!(
            error
                .to_string()
                .starts_with("writing to the server failed")
        );
    }
}
