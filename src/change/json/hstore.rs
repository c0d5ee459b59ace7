//! `hstore` of contrib: an object of strings and nulls, which is its cast to json
//! (PostgreSQL documentation, "hstore", function `hstore_to_json`).

use super::escape::write_string;
use super::outcome::{MALFORMED, Reason, Refusal, Written};
use super::parts::PartWriter;
use super::quoted::{self, Quotes};

/// Writes `"key"=>"value", "key"=>NULL`.
pub(super) fn write(writer: &mut impl PartWriter, out: &mut Vec<u8>, text: &[u8]) -> Written {
    out.push(b'{');
    let mut reason = None;
    let mut rest = text;
    while !rest.is_empty() {
        let (found, after) = write_quoted(writer, out, rest)?;
        reason = reason.or(found);
        out.push(b':');
        let value = after.strip_prefix(b"=>").ok_or(MALFORMED)?;
        if let Some(after) = value.strip_prefix(b"NULL") {
            out.extend_from_slice(b"null");
            rest = after;
        } else {
            let (found, after) = write_quoted(writer, out, value)?;
            reason = reason.or(found);
            rest = after;
        }
        if !rest.is_empty() {
            rest = rest.strip_prefix(b", ").ok_or(MALFORMED)?;
            if rest.is_empty() {
                return Err(MALFORMED);
            }
            out.push(b',');
        }
    }
    out.push(b'}');
    Ok(reason)
}

/// Writes the quoted string at the beginning of `text` and gives what follows it.
fn write_quoted<'a>(
    writer: &mut impl PartWriter,
    out: &mut Vec<u8>,
    text: &'a [u8],
) -> Result<(Option<Reason>, &'a [u8]), Refusal> {
    if text.first() != Some(&b'"') {
        return Err(MALFORMED);
    }
    writer.with_scratch(|_, scratch| {
        let (content, end) = quoted::read(text, 1, Quotes::Escaped, scratch).ok_or(MALFORMED)?;
        Ok((write_string(out, content), &text[end..]))
    })
}
