//! Dates and timestamps, from `DateStyle=ISO` to ISO 8601 as `to_jsonb` prints it.
//!
//! A timestamp gets a `T` for its space, an offset at least its minutes (`+00` becomes `+00:00`);
//! ` BC` stays at the end, and the infinities stay words (PostgreSQL documentation, "Date/Time
//! Types"). `time` and `interval` are text as they come ([`super::types`]).

use super::outcome::{MALFORMED, Written};

pub(super) fn write_date(out: &mut Vec<u8>, text: &[u8]) -> Written {
    if !is_infinity(text) {
        let end = date_end(text).ok_or(MALFORMED)?;
        is_era(&text[end..]).then_some(()).ok_or(MALFORMED)?;
    }
    out.push(b'"');
    out.extend_from_slice(text);
    out.push(b'"');
    Ok(None)
}

pub(super) fn write_timestamp(out: &mut Vec<u8>, text: &[u8], with_zone: bool) -> Written {
    out.push(b'"');
    if is_infinity(text) {
        out.extend_from_slice(text);
    } else {
        write_finite(out, text, with_zone).ok_or(MALFORMED)?;
    }
    out.push(b'"');
    Ok(None)
}

fn write_finite(out: &mut Vec<u8>, text: &[u8], with_zone: bool) -> Option<()> {
    let (date, rest) = text.split_at(date_end(text)?);
    let rest = rest.strip_prefix(b" ")?;
    let (time, rest) = rest.split_at(time_end(rest)?);
    out.extend_from_slice(date);
    out.push(b'T');
    out.extend_from_slice(time);
    let mut era = rest;
    if with_zone {
        let end = zone_end(rest)?;
        out.extend_from_slice(&rest[..end]);
        if end == HOURS {
            out.extend_from_slice(b":00");
        }
        era = &rest[end..];
    }
    out.extend_from_slice(era);
    is_era(era).then_some(())
}

/// The length of an offset that has hours only: sign and two digits.
const HOURS: usize = 3;

fn is_infinity(text: &[u8]) -> bool {
    text == b"infinity" || text == b"-infinity"
}

fn is_era(rest: &[u8]) -> bool {
    rest.is_empty() || rest == b" BC"
}

/// Whether `text` begins with `pattern`, in which `0` stands for any digit.
fn begins(text: &[u8], pattern: &[u8]) -> bool {
    text.len() >= pattern.len()
        && text
            .iter()
            .zip(pattern)
            .all(|(byte, expected)| match expected {
                b'0' => byte.is_ascii_digit(),
                _ => byte == expected,
            })
}

fn digits(text: &[u8]) -> usize {
    text.iter().take_while(|byte| byte.is_ascii_digit()).count()
}

/// The length of a date at the beginning: four to seven digits of the year, month, day.
fn date_end(text: &[u8]) -> Option<usize> {
    let year = digits(text);
    let fits = (4..=7).contains(&year) && begins(&text[year..], b"-00-00");
    fits.then_some(year + 6)
}

/// The length of a time at the beginning, with up to six digits of a fraction.
fn time_end(text: &[u8]) -> Option<usize> {
    if !begins(text, b"00:00:00") {
        return None;
    }
    match text.get(8) {
        Some(b'.') => {
            let fraction = digits(&text[9..]);
            (1..=6).contains(&fraction).then_some(9 + fraction)
        }
        _ => Some(8),
    }
}

/// The length of an offset at the beginning: hours, and minutes and seconds where they are not 0.
fn zone_end(text: &[u8]) -> Option<usize> {
    let unsigned = match text.split_first()? {
        (b'+' | b'-', rest) => rest,
        _ => return None,
    };
    [&b"00:00:00"[..], b"00:00", b"00"]
        .into_iter()
        .find(|pattern| begins(unsigned, pattern))
        .map(|pattern| 1 + pattern.len())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn what_is_no_date_or_timestamp_is_refused() {
        for text in [
            "",
            "2024",
            "2024-1-02",
            "224-01-02",
            "2024-01-02 AD",
            "2024-01-02BC",
            "12345678-01-02",
            "2024-01-02\"",
            "Infinity",
            "-2024-01-02",
        ] {
            let written = write_date(&mut Vec::new(), text.as_bytes());
            assert_eq!(written, Err(MALFORMED), "{text}");
        }
        for text in [
            "",
            "2024-01-02",
            "2024-01-02T00:00:00",
            "2024-01-02 00:00",
            "2024-01-02 00:00:00.",
            "2024-01-02 00:00:00.1234567",
            "2024-01-02 00:00:00+",
            "2024-01-02 00:00:00+0",
            "2024-01-02 00:00:00+00:0",
            "2024-01-02 00:00:00+00 AD",
            "2024-01-02 00:00:00 BC BC",
        ] {
            for with_zone in [false, true] {
                let written = write_timestamp(&mut Vec::new(), text.as_bytes(), with_zone);
                assert_eq!(written, Err(MALFORMED), "{text}");
            }
        }
        let zoned = b"2024-01-02 00:00:00+00";
        assert_eq!(
            write_timestamp(&mut Vec::new(), zoned, false),
            Err(MALFORMED)
        );
        let unzoned = b"2024-01-02 00:00:00";
        assert_eq!(
            write_timestamp(&mut Vec::new(), unzoned, true),
            Err(MALFORMED)
        );
    }
}
