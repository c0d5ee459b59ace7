//! A bounded reader over the bytes of one message.

use super::error::{DecodeError, Problem};

/// Reads big-endian integers, strings and bytes from the front of a message; never past its end.
///
/// A read that fails names the message, the field, the offset and what was missing, and leaves the
/// cursor where it was.
pub(crate) struct Cursor<'a> {
    message: &'static str,
    length: usize,
    rest: &'a [u8],
}

macro_rules! big_endian {
    ($($(#[$doc:meta])* $name:ident: $type:ty;)*) => {$(
        $(#[$doc])*
        pub(crate) fn $name(&mut self, field: &'static str) -> Result<$type, DecodeError> {
            match self.rest.split_first_chunk() {
                Some((bytes, rest)) => {
                    self.rest = rest;
                    Ok(<$type>::from_be_bytes(*bytes))
                }
                None => Err(self.truncated(field, size_of::<$type>())),
            }
        }
    )*};
}

impl<'a> Cursor<'a> {
    /// At the first byte of `bytes`, the tag of `message`.
    pub(crate) fn new(message: &'static str, bytes: &'a [u8]) -> Cursor<'a> {
        Cursor {
            message,
            length: bytes.len(),
            rest: bytes,
        }
    }

    big_endian! {
        /// One byte.
        u8: u8;
        /// A signed integer of 2 bytes.
        i16: i16;
        /// A signed integer of 4 bytes.
        i32: i32;
        /// An unsigned integer of 4 bytes.
        u32: u32;
        /// A signed integer of 8 bytes.
        i64: i64;
        /// An unsigned integer of 8 bytes.
        u64: u64;
    }

    /// A count in 2 bytes: signed on the wire, refused below zero.
    pub(crate) fn count16(&mut self, field: &'static str) -> Result<u16, DecodeError> {
        let offset = self.offset();
        let count = self.i16(field)?;
        u16::try_from(count)
            .map_err(|_| self.error(field, offset, Problem::Negative(i32::from(count))))
    }

    /// A count or length in 4 bytes: signed on the wire, refused below zero.
    pub(crate) fn count32(&mut self, field: &'static str) -> Result<usize, DecodeError> {
        let offset = self.offset();
        let count = self.i32(field)?;
        usize::try_from(count).map_err(|_| self.error(field, offset, Problem::Negative(count)))
    }

    /// The bytes of a string, without the zero byte that ends it.
    pub(crate) fn c_string(&mut self, field: &'static str) -> Result<&'a [u8], DecodeError> {
        let end = self.rest.iter().position(|&byte| byte == 0);
        match end.and_then(|end| Some((self.rest.get(..end)?, self.rest.get(end + 1..)?))) {
            Some((string, rest)) => {
                self.rest = rest;
                Ok(string)
            }
            None => {
                let found = self.remaining();
                Err(self.error(field, self.offset(), Problem::Unterminated { found }))
            }
        }
    }

    /// The next `count` bytes.
    pub(crate) fn bytes(
        &mut self,
        count: usize,
        field: &'static str,
    ) -> Result<&'a [u8], DecodeError> {
        match self.rest.split_at_checked(count) {
            Some((bytes, rest)) => {
                self.rest = rest;
                Ok(bytes)
            }
            None => Err(self.truncated(field, count)),
        }
    }

    /// How many bytes are left.
    pub(crate) fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// How many bytes were read.
    pub(crate) fn offset(&self) -> usize {
        self.length - self.rest.len()
    }

    /// What is left, without reading it.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// What was read since [`rest`](Cursor::rest) gave `start`.
    pub(crate) fn read_since(&self, start: &'a [u8]) -> &'a [u8] {
        let count = start.len().saturating_sub(self.rest.len());
        start.get(..count).unwrap_or_default()
    }

    /// Refuses bytes after the last field.
    pub(crate) fn end(&self) -> Result<(), DecodeError> {
        match self.remaining() {
            0 => Ok(()),
            count => Err(self.error("end of message", self.offset(), Problem::Trailing(count))),
        }
    }

    /// An error of this message about the field at `offset`.
    #[cold]
    pub(crate) fn error(
        &self,
        field: &'static str,
        offset: usize,
        problem: Problem,
    ) -> DecodeError {
        DecodeError {
            message: self.message,
            field,
            column: None,
            offset,
            problem,
        }
    }

    #[cold]
    fn truncated(&self, field: &'static str, wanted: usize) -> DecodeError {
        let found = self.remaining();
        self.error(field, self.offset(), Problem::Truncated { wanted, found })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    #[test]
    fn fields_are_read_big_endian_in_order() {
        let bytes = b"\x01\xFF\xFE\x80\0\0\0\x00\x01\0\0\
                      \xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\0\0\0\0\0\x01\0\0ab\0\0cde";
        let mut cursor = Cursor::new("Test", bytes);
        assert_eq!(cursor.u8("a"), Ok(1));
        assert_eq!(cursor.i16("b"), Ok(-2));
        assert_eq!(cursor.i32("c"), Ok(i32::MIN));
        assert_eq!(cursor.u32("d"), Ok(0x1_0000));
        assert_eq!(cursor.i64("e"), Ok(-1));
        assert_eq!(cursor.u64("f"), Ok(0x1_0000));
        assert_eq!(cursor.c_string("g"), Ok(&b"ab"[..]));
        assert_eq!(cursor.c_string("h"), Ok(&b""[..]));
        assert_eq!(cursor.offset(), bytes.len() - 3);
        let start = cursor.rest();
        assert_eq!(cursor.bytes(2, "i"), Ok(&b"cd"[..]));
        assert_eq!(cursor.read_since(start), b"cd");
        assert_eq!(cursor.remaining(), 1);
        assert_eq!(cursor.end().unwrap_err().problem, Problem::Trailing(1));
        assert_eq!(cursor.bytes(1, "j"), Ok(&b"e"[..]));
        assert_eq!(cursor.end(), Ok(()));
    }

    #[test]
    fn a_failed_read_says_what_was_missing_and_moves_nothing() {
        let mut cursor = Cursor::new("Test", b"\x07abc");
        cursor.u8("first").unwrap();
        let error = DecodeError {
            message: "Test",
            field: "wide",
            column: None,
            offset: 1,
            problem: Problem::Truncated {
                wanted: 8,
                found: 3,
            },
        };
        assert_eq!(cursor.u64("wide"), Err(error));
        assert_eq!(cursor.i64("wide"), Err(error));
        let problem = Problem::Truncated {
            wanted: usize::MAX,
            found: 3,
        };
        assert_eq!(
            cursor.bytes(usize::MAX, "wide"),
            Err(DecodeError { problem, ..error })
        );
        let problem = Problem::Unterminated { found: 3 };
        assert_eq!(
            cursor.c_string("wide"),
            Err(DecodeError { problem, ..error })
        );
        assert_eq!(cursor.rest(), b"abc");
    }

    #[test]
    fn counts_below_zero_are_refused_at_their_own_offset() {
        let error = Cursor::new("Test", b"\xFF\xFF").count16("n").unwrap_err();
        assert_eq!((error.offset, error.problem), (0, Problem::Negative(-1)));
        let error = Cursor::new("Test", b"\x80\0\0\0").count32("n").unwrap_err();
        assert_eq!(
            (error.offset, error.problem),
            (0, Problem::Negative(i32::MIN))
        );
        assert_eq!(Cursor::new("Test", b"\x7F\xFF").count16("n"), Ok(0x7FFF));
        assert_eq!(
            Cursor::new("Test", b"\x7F\xFF\xFF\xFF").count32("n"),
            Ok(0x7FFF_FFFF)
        );
    }
}
