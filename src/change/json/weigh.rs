//! The size that a JSON text has as jsonb, for the few texts where it can pass a limit.
//!
//! The limits are not those of the text: `[0,0,0]` takes twelve bytes of jsonb for each two of
//! text, and the server builds arrays and objects in memory by doubling, which fails above
//! 1 GB with "invalid memory alloc request size" (measured on PostgreSQL 14, 15 and 18).

use super::escape::plain_len;
use super::outcome::Reason;

/// The limit of jsonb for an array, an object or a string, in bytes (`JENTRY_OFFLENMASK` of
/// PostgreSQL's `jsonb.h`).
pub const JSONB_MAX_BYTES: usize = 0x0FFF_FFFF;

/// JSON texts below this length, in bytes, are within all limits of [`jsonb_size`]: the least text
/// for too many elements is `0,` for each of 16,777,217, and jsonb is at most six times its text.
pub const WEIGH_FROM: usize = 32 << 20;

/// An upper bound of the bytes that valid JSON takes as jsonb: above the true size by up to three
/// bytes for each string, key and number, and by whatever duplicate keys take.
///
/// Fails with [`Reason::TooManyElements`] where the server cannot collect one of the arrays or
/// objects. For the JSON of a whole row, compare with [`JSONB_MAX_BYTES`]; below [`WEIGH_FROM`]
/// there is no need to ask.
pub fn jsonb_size(json: &[u8]) -> Result<usize, Reason> {
    JSONB.size(json)
}

/// The limits of jsonb; tests use smaller ones.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Texts below this length, in bytes, are not measured.
    pub(super) weigh_from: usize,
    /// Bytes of one array, object or string.
    pub(super) bytes: usize,
    /// Elements of one array.
    pub(super) elements: u32,
    /// Pairs of one object, before duplicate keys are dropped.
    pub(super) pairs: u32,
}

/// The limits of the server: the last powers of two of 32-byte elements and of 72-byte pairs that
/// are below 1 GB.
pub(super) const JSONB: Limits = Limits {
    weigh_from: WEIGH_FROM,
    bytes: JSONB_MAX_BYTES,
    elements: 1 << 24,
    pairs: 1 << 23,
};

impl Default for Limits {
    fn default() -> Limits {
        JSONB
    }
}

impl Limits {
    /// Whether valid JSON fits into jsonb.
    pub(super) fn fits(&self, json: &[u8]) -> Result<(), Reason> {
        if json.len() >= self.weigh_from && self.size(json)? > self.bytes {
            return Err(Reason::TooLarge);
        }
        Ok(())
    }

    fn size(&self, json: &[u8]) -> Result<usize, Reason> {
        // The header of the value, and that of the array which a scalar is wrapped in.
        let mut size = 8;
        let mut open: Vec<(u32, u32)> = Vec::new();
        let mut at = 0;
        while let Some(&byte) = json.get(at) {
            at += 1;
            match byte {
                b'"' => {
                    let (length, end) = string(json, at);
                    size += 4 + to_four(length);
                    at = end;
                }
                b'[' => {
                    size += 8;
                    open.push((1, self.elements));
                }
                b'{' => {
                    size += 8;
                    open.push((1, self.pairs));
                }
                b']' | b'}' => {
                    open.pop();
                }
                b',' => {
                    if let Some((count, most)) = open.last_mut() {
                        *count += 1;
                        if count > most {
                            return Err(Reason::TooManyElements);
                        }
                    }
                }
                b'-' | b'0'..=b'9' => {
                    let (length, end) = number(json, at - 1);
                    size += 4 + to_four(length);
                    at = end;
                }
                // The first letter of true, false and null; none of their others is one of these.
                b't' | b'f' | b'n' => size += 4,
                _ => {}
            }
        }
        Ok(size)
    }
}

/// Rounded up to the alignment of numbers and containers.
fn to_four(bytes: usize) -> usize {
    bytes.next_multiple_of(4)
}

/// The bytes of the string whose content begins at `at`, without its escapes, and where it ends.
fn string(json: &[u8], mut at: usize) -> (usize, usize) {
    let mut length = 0;
    loop {
        let run = plain_len(json.get(at..).unwrap_or_default());
        length += run;
        at += run;
        match (json.get(at), json.get(at + 1)) {
            (Some(b'\\'), Some(b'u')) => {
                length += 3;
                at += 6;
            }
            (Some(b'\\'), _) => {
                length += 1;
                at += 2;
            }
            (Some(b'"'), _) | (None, _) => return (length, at + 1),
            // No control character is in valid JSON.
            (Some(_), _) => at += 1,
        }
    }
}

/// The bytes of the `numeric` that begins at `start`, and where it ends: a header of 6 or 8 bytes,
/// then 2 for each four decimal digits on either side of the point.
fn number(json: &[u8], start: usize) -> (usize, usize) {
    let rest = json.get(start..).unwrap_or_default();
    let count = |text: &[u8]| text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let whole_at = usize::from(rest.first() == Some(&b'-'));
    let whole = count(&rest[whole_at..]);
    let mut end = whole_at + whole;
    let mut fraction = 0;
    if rest.get(end) == Some(&b'.') {
        fraction = count(&rest[end + 1..]);
        end += 1 + fraction;
    }
    let mut groups = whole.div_ceil(4) + fraction.div_ceil(4);
    let mut header = if end <= 60 { 6 } else { 8 };
    if matches!(rest.get(end), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(rest.get(end + 1), Some(b'-' | b'+')));
        end += 1 + sign;
        end += count(rest.get(end..).unwrap_or_default());
        // The exponent can move the point, and with it where a group of four begins.
        groups += 1;
        header = 8;
    }
    (header + 2 * groups, start + end)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    /// `pg_column_size` of each, less the 4 bytes of a varlena header, as PostgreSQL 15 said.
    #[test]
    fn the_size_is_at_least_what_the_server_says_and_not_far_above() {
        let long = format!("[{}\"\"]", "\"seventeen letters\",".repeat(1000));
        let numbers = format!("[{}0]", "0,".repeat(9_999));
        let nested = format!("[{}0]", "[1],".repeat(9_999));
        for (json, server) in [
            ("0", 14),
            ("[]", 4),
            ("{}", 4),
            ("null", 8),
            ("[null,true,false]", 16),
            ("\"abc\"", 11),
            ("{\"a\":1,\"b\":\"xyz\",\"c\":{\"d\":[1,2,3.25]}}", 102),
            ("[1234567890.0987654321,1e300,-1]", 56),
            (long.as_str(), 21_008),
            (numbers.as_str(), 120_002),
            (nested.as_str(), 199_994),
        ] {
            let size = jsonb_size(json.as_bytes()).unwrap();
            assert!(size >= server, "{json:.40}: {size} < {server}");
            assert!(
                size <= server + server / 6 + 20,
                "{json:.40}: {size} > {server}"
            );
        }
    }

    #[test]
    fn escapes_count_as_what_they_stand_for() {
        assert_eq!(string(br#"\u0041\n\"x","y""#, 0), (6, 12));
        assert_eq!(string(b"never closed", 0), (12, 13));
    }

    #[test]
    fn elements_are_counted_in_each_container_alone() {
        let limits = Limits {
            weigh_from: 0,
            elements: 3,
            pairs: 2,
            ..JSONB
        };
        let two = r#"{"a":[1,2,3],"b":[{"c":",,,,"},[],[0,0,0]]}"#;
        assert_eq!(limits.fits(two.as_bytes()), Ok(()));
        for more in ["[1,2,3,4]", "[[],[[],[],[],[]]]", r#"{"a":1,"b":2,"b":3}"#] {
            let found = limits.fits(more.as_bytes());
            assert_eq!(found, Err(Reason::TooManyElements), "{more}");
        }
        let bytes = |bytes| Limits { bytes, ..limits }.fits(b"[\"abcdefgh\"]");
        assert_eq!((bytes(28), bytes(27)), (Ok(()), Err(Reason::TooLarge)));
    }

    #[test]
    fn no_text_shorter_than_the_threshold_can_pass_a_limit() {
        assert!("0,".len() * JSONB.elements as usize + 2 > WEIGH_FROM);
        assert!("\"\":0,".len() * JSONB.pairs as usize > WEIGH_FROM);
        // `0,` is the shortest text for its size.
        assert!(jsonb_size(b"[0,0,0,0]").unwrap() <= 6 * "[0,0,0,0]".len() + 16);
        const { assert!(6 * WEIGH_FROM < JSONB_MAX_BYTES) }
    }
}
