//! Numbers: the digits stay as they were sent.

use super::outcome::{MALFORMED, Reason, Refusal, Written};

/// Decimal digits before the point of a `numeric` (PostgreSQL documentation, "Numeric Types").
const MAX_DIGITS_BEFORE_POINT: i64 = 131_072;
/// Decimal digits after it.
const MAX_DIGITS_AFTER_POINT: i64 = 16_383;
/// Exponents from here on are refused whatever the digits are: `numeric_in` wants them below
/// `INT_MAX / 2`.
const MAX_EXPONENT: i64 = i32::MAX as i64 / 2;

/// A number that is a JSON number as it is.
pub(super) fn write(out: &mut Vec<u8>, text: &[u8]) -> Written {
    if end(text, 0).map_err(Refusal::Text)? != text.len() {
        return Err(MALFORMED);
    }
    out.extend_from_slice(text);
    Ok(None)
}

/// A number, or one of the values that JSON has no number for.
pub(super) fn write_float(out: &mut Vec<u8>, text: &[u8]) -> Written {
    match text {
        b"NaN" | b"Infinity" | b"-Infinity" => {
            out.push(b'"');
            out.extend_from_slice(text);
            out.push(b'"');
            Ok(None)
        }
        _ => write(out, text),
    }
}

/// Where the JSON number that begins at `start` ends; refuses what `numeric_in` would.
pub(super) fn end(text: &[u8], start: usize) -> Result<usize, Reason> {
    let peek = |at: usize| text.get(at).copied().unwrap_or(0);
    let digits_end = |mut at: usize| {
        while peek(at).is_ascii_digit() {
            at += 1;
        }
        at
    };
    let whole = start + usize::from(peek(start) == b'-');
    let point = match peek(whole) {
        b'0' => whole + 1,
        b'1'..=b'9' => digits_end(whole + 1),
        _ => return Err(Reason::Malformed),
    };
    let mut at = point;
    let mut fraction: &[u8] = &[];
    if peek(point) == b'.' {
        at = digits_end(point + 1);
        fraction = text.get(point + 1..at).unwrap_or_default();
        if fraction.is_empty() {
            return Err(Reason::Malformed);
        }
    }
    let mut exponent = 0;
    if matches!(peek(at), b'e' | b'E') {
        let sign = peek(at + 1);
        let first = at + 1 + usize::from(matches!(sign, b'+' | b'-'));
        at = digits_end(first);
        if at == first {
            return Err(Reason::Malformed);
        }
        for digit in text.get(first..at).unwrap_or_default() {
            exponent = (exponent * 10 + i64::from(digit - b'0')).min(MAX_EXPONENT);
        }
        if exponent == MAX_EXPONENT {
            return Err(Reason::NumberRange);
        }
        if sign == b'-' {
            exponent = -exponent;
        }
    }
    // The place of the first digit that counts: 0 for units, 1 for tens, -1 for tenths.
    let first_place = if peek(whole) != b'0' {
        Some((point - whole) as i64 - 1)
    } else if exponent <= 0 {
        None
    } else {
        let zeros = fraction.iter().position(|&digit| digit != b'0');
        zeros.map(|zeros| -(zeros as i64) - 1)
    };
    let before = first_place.map_or(0, |place| place + exponent + 1);
    let after = fraction.len() as i64 - exponent;
    if before > MAX_DIGITS_BEFORE_POINT || after > MAX_DIGITS_AFTER_POINT {
        return Err(Reason::NumberRange);
    }
    Ok(at)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn json_numbers_end_where_they_end_and_others_are_refused() {
        for text in [
            "0", "-0", "1", "-12", "1.50", "0.0", "-0.001", "1e+20", "1E-7", "1.5e300", "10e05",
        ] {
            assert_eq!(end(text.as_bytes(), 0), Ok(text.len()), "{text}");
            let within = format!("[{text},");
            assert_eq!(end(within.as_bytes(), 1), Ok(1 + text.len()), "{text}");
        }
        assert_eq!(end(b"01", 0), Ok(1));
        for text in [
            "", "-", "+1", ".5", "1.", "1.e5", "1e", "1e+", "-a", "NaN", "--1", "\u{661}",
        ] {
            assert_eq!(end(text.as_bytes(), 0), Err(Reason::Malformed), "{text}");
        }
    }

    /// Each was given to `jsonb_in` of PostgreSQL 14, 15 and 18, which took the first kind and
    /// refused the second.
    #[test]
    fn the_range_is_that_of_numeric() {
        let long = |digits: usize| format!("1{}", "0".repeat(digits - 1));
        let deep = |digits: usize| format!("0.{}", "0".repeat(digits));
        for text in [
            "1e131071".into(),
            "0.0001e131075".into(),
            "1000e131068".into(),
            "-1e-16383".into(),
            "1.50e-16381".into(),
            "0e131072".into(),
            "0e1073741822".into(),
            "0.0e1073741822".into(),
            "0e-16383".into(),
            long(131_072),
            long(131_073) + "e-1",
            deep(16_383),
        ] {
            assert_eq!(end(text.as_bytes(), 0), Ok(text.len()), "{:.20}", text);
        }
        for text in [
            "1e131072".into(),
            "0.0001e131076".into(),
            "1000e131069".into(),
            "1e-16384".into(),
            "1.500e-16381".into(),
            "10e-16384".into(),
            "0e-16384".into(),
            "0e1073741823".into(),
            "1e-1073741823".into(),
            "0.0e2147483648".into(),
            "0e99999999999999999999999".into(),
            long(131_073),
            deep(16_384),
        ] {
            let found = end(text.as_bytes(), 0);
            assert_eq!(found, Err(Reason::NumberRange), "{:.20}", text);
        }
    }
}
