//! Writes JSON strings.

use super::outcome::Reason;
use crate::hex;

/// Appends `bytes` as a JSON string, quotes included.
///
/// Control characters are escaped. Invalid UTF-8 and NUL bytes become U+FFFD and are the reason that
/// is returned. jsonb holds text without NUL (PostgreSQL documentation, "JSON Types").
pub fn write_string(out: &mut Vec<u8>, bytes: &[u8]) -> Option<Reason> {
    out.reserve(bytes.len() + 2);
    out.push(b'"');
    let reason = if std::str::from_utf8(bytes).is_ok() {
        write_escaped(out, bytes)
    } else {
        for chunk in bytes.utf8_chunks() {
            write_escaped(out, chunk.valid().as_bytes());
            if !chunk.invalid().is_empty() {
                out.extend_from_slice(REPLACEMENT);
            }
        }
        Some(Reason::NotUtf8)
    };
    out.push(b'"');
    reason
}

const REPLACEMENT: &[u8] = "\u{FFFD}".as_bytes();

/// Copies runs that need no escape, and escapes the bytes between them.
fn write_escaped(out: &mut Vec<u8>, mut bytes: &[u8]) -> Option<Reason> {
    let mut reason = None;
    loop {
        let (run, rest) = bytes.split_at(plain_len(bytes));
        out.extend_from_slice(run);
        let Some((&special, rest)) = rest.split_first() else {
            return reason;
        };
        bytes = rest;
        match special {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', special]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0 => {
                out.extend_from_slice(REPLACEMENT);
                reason = Some(Reason::NulByte);
            }
            control => {
                let [high, low] = hex::digits(control);
                out.extend_from_slice(&[b'\\', b'u', b'0', b'0', high, low]);
            }
        }
    }
}

/// How many of the first bytes are neither a quote, a backslash nor a control character below 0x20:
/// what a JSON string holds as it is.
///
/// Eight bytes at a time: the top bit of each byte of the mask says "special". A borrow can set it
/// wrongly only above a byte where it is right, so the lowest set bit is always right.
pub(super) fn plain_len(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::MAX / 255;
    const TOPS: u64 = ONES * 0x80;
    let below = |word: u64, least: u64| word.wrapping_sub(ONES * least) & !word;
    let mut at = 0;
    let mut words = bytes.chunks_exact(8);
    for word in &mut words {
        let word = u64::from_le_bytes(word.try_into().unwrap_or_default());
        let quote = word ^ (ONES * u64::from(b'"'));
        let backslash = word ^ (ONES * u64::from(b'\\'));
        let special = (below(word, 0x20) | below(quote, 1) | below(backslash, 1)) & TOPS;
        if special != 0 {
            return at + special.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    let tail = words.remainder();
    at + tail
        .iter()
        .position(|&byte| byte < 0x20 || byte == b'"' || byte == b'\\')
        .unwrap_or(tail.len())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn string(bytes: &[u8]) -> (String, Option<Reason>) {
        let mut out = Vec::new();
        let reason = write_string(&mut out, bytes);
        (String::from_utf8(out).unwrap(), reason)
    }

    #[test]
    fn every_single_character_comes_back_through_a_json_parser() {
        for character in (1..0x3000)
            .chain([0xFFFD, 0x1F600])
            .filter_map(char::from_u32)
        {
            for text in [
                character.to_string(),
                format!("plain text {character} and more"),
            ] {
                let (json, reason) = string(text.as_bytes());
                assert_eq!(reason, None);
                assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
            }
        }
    }

    #[test]
    fn the_plain_length_is_found_for_every_byte_at_every_place() {
        for byte in 0..=255u8 {
            let special = byte < 0x20 || byte == b'"' || byte == b'\\';
            for place in 0..20 {
                for filler in [b' ', b'!', b'#', b'[', b']', 0x7F, 0x80, 0xA2, 0xDC, 0xFF] {
                    let mut bytes = [filler; 20];
                    bytes[place] = byte;
                    let expected = if special { place } else { 20 };
                    assert_eq!(plain_len(&bytes), expected, "{byte} at {place}");
                }
            }
        }
        assert_eq!(plain_len(b"abcdefgh\x01\"\x01\"\x01\""), 8);
    }

    #[test]
    fn what_is_not_utf8_is_replaced_and_reported() {
        assert_eq!(
            string(b"a\xFFb\xE2\x82\"\xC3"),
            (
                "\"a\u{FFFD}b\u{FFFD}\\\"\u{FFFD}\"".into(),
                Some(Reason::NotUtf8)
            )
        );
        assert_eq!(
            string(b"a\0b"),
            ("\"a\u{FFFD}b\"".into(), Some(Reason::NulByte))
        );
        // A surrogate in UTF-8 clothes, and an overlong NUL.
        assert_eq!(string(b"\xED\xA0\x80").1, Some(Reason::NotUtf8));
        assert_eq!(string(b"\xC0\x80").1, Some(Reason::NotUtf8));
    }
}
