//! The text of a value whose binary form is known: by the extended query protocol, with the value as a binary
//! parameter and the result as text (PostgreSQL documentation, "Extended Query").

use super::connection::{Connection, unexpected};
use super::frontend::{Format, query_with_messages};
use super::response::server_error;
use crate::error::{Error, Kind, Result};
use crate::lsn::Oid;

impl Connection {
    /// What the output function of a type gives for the value that its send function gave as `value`; under
    /// the settings and in the encoding of this session.
    ///
    /// # Errors
    /// A type without a receive function or one that is gone, a text longer than 1 GB, a connection that is
    /// lost.
    pub fn text_of(&mut self, type_oid: Oid, value: &[u8]) -> Result<Vec<u8>> {
        self.send(&query_with_messages(
            "SELECT $1",
            type_oid,
            Format::Binary,
            value,
        )?)?;
        let mut text = Vec::new();
        let mut failure = None;
        loop {
            match self.receive()? {
                (b'D', body) => text.extend_from_slice(only_field(body)?),
                (b'E', body) => failure = failure.or(Some(server_error(body))),
                (b'Z', body) => {
                    let status = body.first().copied().unwrap_or(b'I');
                    self.note_ready(status);
                    return failure.map_or(Ok(text), Err);
                }
                // ParseComplete, BindComplete, CommandComplete.
                (b'1' | b'2' | b'C', _) => {}
                (tag, _) => return Err(unexpected(tag)),
            }
        }
    }
}

/// The one field of a DataRow.
fn only_field(body: &[u8]) -> Result<&[u8]> {
    let field = match body.split_first_chunk() {
        Some(([0, 1, a, b, c, d], rest)) => {
            let length = u32::from_be_bytes([*a, *b, *c, *d]);
            rest.get(..usize::try_from(length).unwrap_or(usize::MAX))
        }
        _ => None,
    };
    field.ok_or_else(|| {
        Error::new(
            Kind::Protocol,
            "expected a row with one value that is not NULL",
        )
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_one_field_of_a_row_is_taken_and_its_length_is_checked() {
        assert_eq!(only_field(b"\0\x01\0\0\0\x02abc").unwrap(), b"ab");
        for body in [
            &b"\0\x01\0\0\0\x04abc"[..],
            b"\0\x01\xFF\xFF\xFF\xFF",
            b"\0\x02\0\0\0\x01a\0\0\0\x01b",
            b"\0\x01\0",
            b"",
        ] {
            assert_eq!(only_field(body).unwrap_err().kind(), Kind::Protocol);
        }
    }
}
