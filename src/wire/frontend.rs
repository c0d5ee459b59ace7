//! Messages to the server that `postgres-protocol` does not build, or not from our types.

use super::frame::HEAD;
use crate::error::{Error, Kind, Result};

/// A CopyDone message.
pub const COPY_DONE: [u8; HEAD] = [b'c', 0, 0, 0, 4];

/// The head of a CopyData message with a body of this many bytes.
pub fn copy_data_head(body: usize) -> Result<[u8; HEAD]> {
    let length = u32::try_from(body + 4)
        .map_err(|_| Error::new(Kind::Bug, format!("a CopyData message of {body} bytes")))?;
    let [a, b, c, d] = length.to_be_bytes();
    Ok([b'd', a, b, c, d])
}

/// A Query message.
pub fn query_message(sql: &str) -> Result<Vec<u8>> {
    let mut message = bytes::BytesMut::with_capacity(sql.len() + 6);
    postgres_protocol::message::frontend::query(sql, &mut message)
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
    }
}
