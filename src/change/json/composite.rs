//! Composite literals (PostgreSQL documentation, "Composite Types", section "Composite Type Input
//! and Output Syntax").

use super::outcome::{MALFORMED, Reason, Refusal, Written};
use super::parts::{Ask, PartWriter};
use super::quoted::{self, Quotes};
use super::types::CompositeField;

/// Writes a composite as an object of its live attributes.
pub(super) fn write(
    writer: &mut impl PartWriter,
    out: &mut Vec<u8>,
    fields: &[CompositeField],
    text: &[u8],
    ask: &mut dyn Ask,
) -> Written {
    let mut rest = text.strip_prefix(b"(").ok_or(MALFORMED)?;
    if fields.is_empty() && rest == b")" {
        out.extend_from_slice(b"{}");
        return Ok(None);
    }
    let mut reason = None;
    let mut before = b'{';
    for (index, field) in fields.iter().enumerate() {
        out.push(before);
        before = b',';
        out.extend_from_slice(field.key());
        let found = write_field(writer, out, field, rest, ask)?;
        reason = reason.or(found.0);
        rest = match found.1.split_first() {
            Some((b',', rest)) if index + 1 < fields.len() => rest,
            Some((b')', b"")) if index + 1 == fields.len() => {
                out.push(b'}');
                return Ok(reason);
            }
            // More or fewer fields than the catalog says.
            Some((b',', _) | (b')', b"")) => return Err(Refusal::Mismatch),
            _ => return Err(MALFORMED),
        };
    }
    Err(Refusal::Mismatch)
}

/// Writes the field at the beginning of `text` and gives what follows it.
fn write_field<'a>(
    writer: &mut impl PartWriter,
    out: &mut Vec<u8>,
    field: &CompositeField,
    text: &'a [u8],
    ask: &mut dyn Ask,
) -> Result<(Option<Reason>, &'a [u8]), Refusal> {
    match text.first() {
        // Nothing at all is NULL; an empty string is quoted.
        Some(b',' | b')') => {
            out.extend_from_slice(b"null");
            Ok((None, text))
        }
        Some(b'"') => writer.with_scratch(|writer, scratch| {
            let (content, end) =
                quoted::read(text, 1, Quotes::Doubled, scratch).ok_or(MALFORMED)?;
            let reason = writer.value(out, field.value_type(), content, ask)?;
            Ok((reason, &text[end..]))
        }),
        _ => {
            let end = text
                .iter()
                .position(|byte| matches!(byte, b',' | b')' | b'(' | b'"' | b'\\'))
                .filter(|&end| matches!(text[end], b',' | b')'))
                .ok_or(MALFORMED)?;
            let (content, rest) = text.split_at(end);
            Ok((writer.value(out, field.value_type(), content, ask)?, rest))
        }
    }
}
