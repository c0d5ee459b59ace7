//! Lowercase hexadecimal digits.

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// The two digits of a byte.
#[inline]
pub fn digits(byte: u8) -> [u8; 2] {
    [
        DIGITS[usize::from(byte >> 4)],
        DIGITS[usize::from(byte & 15)],
    ]
}

/// Appends two digits for each byte.
///
/// Not inlined: within the encoder of rows it costs each value 14 instructions (callgrind), and binary values
/// are never requested.
#[inline(never)]
pub fn push(out: &mut Vec<u8>, bytes: &[u8]) {
    out.reserve(2 * bytes.len());
    for byte in bytes {
        out.extend_from_slice(&digits(*byte));
    }
}

/// Two digits for each byte.
pub fn text(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| digits(*byte));
    digits.map(char::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_the_digits_of_the_standard_library() {
        let bytes: Vec<u8> = (0..=255).collect();
        let wanted: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(text(&bytes), wanted);
        let mut out = b"x".to_vec();
        push(&mut out, &bytes);
        assert_eq!(out, format!("x{wanted}").as_bytes());
    }
}
