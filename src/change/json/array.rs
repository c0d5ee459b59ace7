//! Array literals (PostgreSQL documentation, "Arrays", section "Array Input and Output Syntax").

use super::outcome::{MALFORMED, Written};
use super::parts::{Ask, PartWriter};
use super::quoted::{self, Quotes};
use super::types::ValueType;

/// PostgreSQL's `MAXDIM`.
const MAX_DIMENSIONS: usize = 6;

/// Writes an array as nested JSON arrays. Lower bounds are lost, as `to_jsonb` loses them.
pub(super) fn write(
    writer: &mut impl PartWriter,
    out: &mut Vec<u8>,
    element: &ValueType,
    delimiter: u8,
    text: &[u8],
    ask: &mut dyn Ask,
) -> Written {
    let text = without_bounds(text).ok_or(MALFORMED)?;
    if text == b"{}" {
        out.extend_from_slice(b"[]");
        return Ok(None);
    }
    let mut reason = None;
    let mut at = 0;
    let mut depth = 0;
    // The depth that elements are at, 0 as long as none was seen.
    let mut dimensions = 0;
    loop {
        // Here begins an element or one more dimension.
        if text.get(at) == Some(&b'{') {
            depth += 1;
            if depth > MAX_DIMENSIONS || (dimensions != 0 && depth > dimensions) {
                return Err(MALFORMED);
            }
            out.push(b'[');
            at += 1;
            continue;
        }
        if depth == 0 || (dimensions != 0 && depth != dimensions) {
            return Err(MALFORMED);
        }
        dimensions = depth;
        if text.get(at) == Some(&b'"') {
            at = writer.with_scratch(|writer, scratch| {
                let (content, end) =
                    quoted::read(text, at + 1, Quotes::Escaped, scratch).ok_or(MALFORMED)?;
                reason = reason.or(writer.value(out, element, content, ask)?);
                Ok(end)
            })?;
        } else {
            let content = unquoted(&text[at..], delimiter).ok_or(MALFORMED)?;
            at += content.len();
            if content == b"NULL" {
                out.extend_from_slice(b"null");
            } else {
                reason = reason.or(writer.value(out, element, content, ask)?);
            }
        }
        while text.get(at) == Some(&b'}') && depth > 0 {
            out.push(b']');
            depth -= 1;
            at += 1;
        }
        match text.get(at) {
            None if depth == 0 => return Ok(reason),
            Some(&byte) if byte == delimiter && depth > 0 => {
                out.push(b',');
                at += 1;
            }
            _ => return Err(MALFORMED),
        }
    }
}

/// The literal after an explicit range of subscripts, as in `[0:1][-2:3]={{…},{…}}`.
fn without_bounds(text: &[u8]) -> Option<&[u8]> {
    if text.first() != Some(&b'[') {
        return Some(text);
    }
    let equals = text.iter().position(|&byte| byte == b'=')?;
    let (bounds, rest) = text.split_at(equals);
    let known = |byte: &u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b':' | b'[' | b']');
    bounds.iter().all(known).then_some(&rest[1..])
}

/// The unquoted element at the beginning, which is never empty and has nothing to unescape.
fn unquoted(text: &[u8], delimiter: u8) -> Option<&[u8]> {
    let end = text
        .iter()
        .position(|&byte| byte == delimiter || matches!(byte, b'{' | b'}' | b'"' | b'\\'))?;
    let ends_well = end > 0 && (text[end] == delimiter || text[end] == b'}');
    ends_well.then_some(&text[..end])
}

/// Writes an `int2vector` or `oidvector`, whose text is separated by single spaces.
pub(super) fn write_vector(
    out: &mut Vec<u8>,
    text: &[u8],
    write: impl Fn(&mut Vec<u8>, &[u8]) -> Written,
) -> Written {
    out.push(b'[');
    if !text.is_empty() {
        for (index, element) in text.split(|&byte| byte == b' ').enumerate() {
            if element.is_empty() || !element.iter().all(|b| b.is_ascii_digit() || *b == b'-') {
                return Err(MALFORMED);
            }
            if index > 0 {
                out.push(b',');
            }
            write(out, element)?;
        }
    }
    out.push(b']');
    Ok(None)
}
