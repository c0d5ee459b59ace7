//! Messages to the server that `postgres-protocol` does not build, or not from our types.

use postgres_protocol::IsNull;
use postgres_protocol::message::frontend::{self, BindError};

use super::frame::HEAD;
use crate::error::{Error, Kind, Result};
use crate::lsn::Oid;

/// A CopyDone message.
pub const COPY_DONE: [u8; HEAD] = [b'c', 0, 0, 0, 4];

/// The head of a CopyData message with a body of this many bytes.
pub fn copy_data_head(body: usize) -> Result<[u8; HEAD]> {
    let length = u32::try_from(body + 4)
        .map_err(|_| Error::new(Kind::Bug, format!("a CopyData message of {body} bytes")))?;
    let [a, b, c, d] = length.to_be_bytes();
    Ok([b'd', a, b, c, d])
}

/// The form of a parameter (PostgreSQL documentation, "Formats and Format Codes").
#[derive(Debug, Clone, Copy)]
pub enum Format {
    /// As the input function of its type takes it.
    Text = 0,
    /// As the receive function of its type takes it.
    Binary = 1,
}

/// The messages of one statement with one parameter of this type: Parse, Bind, Execute, Sync. The result is
/// text.
pub fn query_with_messages(
    sql: &str,
    parameter: Oid,
    format: Format,
    value: &[u8],
) -> Result<Vec<u8>> {
    let mut messages = bytes::BytesMut::with_capacity(sql.len() + value.len() + 64);
    let built = frontend::parse("", sql, [parameter.0], &mut messages).and_then(|()| {
        let put = |value: &[u8], buffer: &mut bytes::BytesMut| {
            buffer.extend_from_slice(value);
            Ok(IsNull::No)
        };
        frontend::bind("", "", [format as i16], [value], put, [], &mut messages).map_err(
            |error| match error {
                BindError::Serialization(error) => error,
                BindError::Conversion(error) => std::io::Error::other(error),
            },
        )?;
        frontend::execute("", 0, &mut messages)
    });
    built.map_err(|e| Error::new(Kind::Bug, "a statement with a parameter").caused_by(e))?;
    frontend::sync(&mut messages);
    Ok(messages.into())
}

/// A Query message.
pub fn query_message(sql: &str) -> Result<Vec<u8>> {
    let mut message = bytes::BytesMut::with_capacity(sql.len() + 6);
    frontend::query(sql, &mut message)
        .map_err(|e| Error::new(Kind::Setting, "a name holds a zero byte").caused_by(e))?;
    Ok(message.into())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn lengths_count_themselves_and_a_zero_byte_is_refused() {
        assert_eq!(copy_data_head(3).unwrap(), *b"d\0\0\0\x07");
        assert!(copy_data_head(0xFFFF_FFFC).is_err());
        assert_eq!(query_message("x").unwrap(), b"Q\0\0\0\x06x\0");
        assert_eq!(query_message("\0").unwrap_err().kind(), Kind::Setting);
        assert_eq!(
            query_with_messages("x", Oid(258), Format::Text, b"\0\xFF").unwrap(),
            b"P\0\0\0\x0D\0x\0\0\x01\0\0\x01\x02\
              B\0\0\0\x14\0\0\0\x01\0\0\0\x01\0\0\0\x02\0\xFF\0\0E\0\0\0\x09\0\0\0\0\0S\0\0\0\x04"
        );
    }
}
