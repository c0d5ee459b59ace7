//! Pure: the text of values that come as their send function gives them, for types where that is easy to
//! tell. A row of more than 1 GB, which the walsender cannot send as text, comes so, and so do all others of
//! its stream, most of which have a type of this list.

use super::json;
use crate::hex;
use crate::lsn::Oid;

/// The text of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Text {
    /// Appended.
    Written,
    /// Not appended: no jsonb can hold it.
    TooLong,
    /// The source has to be asked.
    Unknown,
}

/// `pg_type.oid` of the types (`pg_type.dat`).
mod oid {
    pub(super) const BOOL: u32 = 16;
    pub(super) const BYTEA: u32 = 17;
    pub(super) const NAME: u32 = 19;
    pub(super) const INT8: u32 = 20;
    pub(super) const INT2: u32 = 21;
    pub(super) const INT4: u32 = 23;
    pub(super) const TEXT: u32 = 25;
    pub(super) const OID: u32 = 26;
    pub(super) const JSON: u32 = 114;
    pub(super) const BPCHAR: u32 = 1042;
    pub(super) const VARCHAR: u32 = 1043;
    pub(super) const UUID: u32 = 2950;
    pub(super) const JSONB: u32 = 3802;
}

/// `bytea`
pub(super) const BYTEA: Oid = Oid(oid::BYTEA);

/// The version in front of a jsonb value (`jsonb_send`).
const JSONB_VERSION: u8 = 1;

/// Appends the text of a value.
pub(super) fn write_text(type_oid: Oid, value: &[u8], out: &mut Vec<u8>) -> Text {
    match (type_oid.0, value) {
        (oid::BYTEA, _) => return write_bytea(value, out),
        (oid::BOOL, [value]) => out.push(if *value == 0 { b'f' } else { b't' }),
        (oid::INT2, [a, b]) => push(out, i16::from_be_bytes([*a, *b])),
        (oid::INT4, [a, b, c, d]) => push(out, i32::from_be_bytes([*a, *b, *c, *d])),
        (oid::OID, [a, b, c, d]) => push(out, u32::from_be_bytes([*a, *b, *c, *d])),
        (oid::INT8, [a, b, c, d, e, f, g, h]) => {
            push(out, i64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]));
        }
        (oid::UUID, _) if value.len() == 16 => write_uuid(value, out),
        (oid::JSONB, [JSONB_VERSION, text @ ..]) => out.extend_from_slice(text),
        (oid::TEXT | oid::VARCHAR | oid::BPCHAR | oid::NAME | oid::JSON, _) => {
            out.extend_from_slice(value);
        }
        _ => return Text::Unknown,
    }
    Text::Written
}

/// The length of a value as `bytea_output = hex` prints it, in bytes.
pub(super) fn hex_length(value: &[u8]) -> usize {
    2 + 2 * value.len()
}

/// Whether jsonb can hold the value in that form.
pub(super) fn text_fits(value: &[u8]) -> bool {
    hex_length(value) <= json::JSONB_MAX_BYTES
}

fn push(out: &mut Vec<u8>, number: impl ToString) {
    out.extend_from_slice(number.to_string().as_bytes());
}

/// As `bytea_output = hex` prints it.
fn write_bytea(value: &[u8], out: &mut Vec<u8>) -> Text {
    if !text_fits(value) {
        return Text::TooLong;
    }
    out.extend_from_slice(b"\\x");
    hex::push(out, value);
    Text::Written
}

/// Groups of 8, 4, 4, 4 and 12 digits (RFC 9562, section 4).
fn write_uuid(value: &[u8], out: &mut Vec<u8>) {
    for (place, byte) in value.iter().enumerate() {
        if matches!(place, 4 | 6 | 8 | 10) {
            out.push(b'-');
        }
        out.extend_from_slice(&hex::digits(*byte));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(type_oid: u32, value: &[u8]) -> Option<String> {
        let mut out = b"before ".to_vec();
        let written = write_text(Oid(type_oid), value, &mut out);
        let text = String::from_utf8_lossy(&out).into_owned();
        let text = text.strip_prefix("before ").map(str::to_owned);
        text.filter(|_| written == Text::Written)
    }

    #[test]
    fn values_of_common_types_have_the_text_of_their_output_function() {
        for (type_oid, value, expected) in [
            (oid::BOOL, &b"\x01"[..], "t"),
            (oid::BOOL, b"\0", "f"),
            (oid::INT2, b"\xFF\xFE", "-2"),
            (oid::INT4, b"\x80\0\0\0", "-2147483648"),
            (oid::OID, b"\xFF\xFF\xFF\xFF", "4294967295"),
            (
                oid::INT8,
                b"\x7F\xFF\xFF\xFF\xFF\xFF\xFF\xFF",
                "9223372036854775807",
            ),
            (oid::BYTEA, b"", "\\x"),
            (oid::BYTEA, b"\0\xAB", "\\x00ab"),
            (oid::TEXT, "é".as_bytes(), "é"),
            (oid::VARCHAR, b"", ""),
            (oid::BPCHAR, b"a ", "a "),
            (oid::NAME, b"n", "n"),
            (oid::JSON, b"{ }", "{ }"),
            (oid::JSONB, b"\x01{}", "{}"),
            (
                oid::UUID,
                &[
                    0x12, 0x3E, 0x45, 0x67, 0xE8, 0x9B, 0x12, 0xD3, 0xA4, 0x56, 0x42, 0x66, 0x14,
                    0x17, 0x40, 0,
                ],
                "123e4567-e89b-12d3-a456-426614174000",
            ),
        ] {
            assert_eq!(
                text(type_oid, value).as_deref(),
                Some(expected),
                "{type_oid}"
            );
        }
    }

    #[test]
    fn other_types_and_values_of_another_length_are_asked_for() {
        for (type_oid, value) in [
            (1184, &b"\0\0\0\0\0\0\0\0"[..]),
            (oid::INT4, b"\0"),
            (oid::BOOL, b""),
            (oid::UUID, b"\0"),
            (oid::JSONB, b"\x02{}"),
            (oid::JSONB, b""),
        ] {
            let mut out = Vec::new();
            assert_eq!(write_text(Oid(type_oid), value, &mut out), Text::Unknown);
            assert!(out.is_empty(), "{type_oid}");
        }
    }

    #[test]
    fn bytes_that_no_jsonb_can_hold_are_not_turned_into_text() {
        let mut out = Vec::new();
        let value = vec![0; json::JSONB_MAX_BYTES / 2];
        assert_eq!(write_text(BYTEA, &value, &mut out), Text::TooLong);
        assert!(out.is_empty());
    }
}
