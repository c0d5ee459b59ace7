//! Names and texts that the source stores and cannot convert to UTF-8.

use crate::change::{Characters, ClientEncoding, Convert, Encoding, StoredEncoding};
use crate::error::{Error, Kind, Result};
use crate::hex;
use crate::wire::{Connection, ResultSet};

/// Runs statements whose answer holds names that the server cannot convert to UTF-8: it sends them as they
/// are stored, and they are decoded here as those of the stream are.
///
/// # Errors
/// Those of the statements and the source's connection.
pub(super) fn query(session: &mut Connection, sql: &str) -> Result<Vec<ResultSet>> {
    let name = session.rows("SELECT pg_catalog.current_setting('server_encoding')")?;
    let encoding = Encoding::of_database(name.first(0).unwrap_or_default());
    // All of a message is read in UTF-8, which its statements may be in. The setting ends with its
    // transaction.
    let setting = ClientEncoding::AsStored.setting();
    let sql = format!("SELECT pg_catalog.set_config('client_encoding', '{setting}', true); {sql}");
    let mut sets = session.query_in(&sql, |bytes| {
        bytes.iter().copied().map(char::from).collect()
    })?;
    if !sets.is_empty() {
        sets.remove(0);
    }
    let mut decoder = Decoder {
        session,
        characters: Characters::default(),
    };
    let values = sets.iter_mut().flat_map(|set| &mut set.rows).flatten();
    for text in values.flatten() {
        *text = decoder.name(encoding, text)?;
    }
    Ok(sets)
}

struct Decoder<'a> {
    session: &'a mut Connection,
    characters: Characters,
}

impl Decoder<'_> {
    /// Of a text with a character for each of its bytes.
    fn name(&mut self, encoding: Encoding, text: &str) -> Result<String> {
        let byte = |character| u8::try_from(character).unwrap_or(b'?');
        let bytes: Vec<u8> = text.chars().map(byte).collect();
        encoding.name(&bytes, self)
    }
}

impl Convert for Decoder<'_> {
    fn to_utf8(
        &mut self,
        encoding: StoredEncoding,
        text: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<bool> {
        let Decoder {
            session,
            characters,
        } = self;
        encoding.decode(characters, text, out, |name, unknown| {
            convert(session, name, unknown)
        })
    }
}

/// Asks what each of these characters of an encoding is in UTF-8; `None` for what has no equivalent. Each is
/// a statement of its own, since an error says nothing of the others, and all go in one flight.
///
/// # Errors
/// Those that say nothing of a character.
pub(super) fn convert(
    session: &mut Connection,
    encoding: &str,
    characters: &[&[u8]],
) -> Result<Vec<Option<String>>> {
    let statement = |character: &&[u8]| {
        let mut digits = Vec::new();
        hex::push(&mut digits, character);
        let digits = String::from_utf8_lossy(&digits);
        format!("SELECT pg_catalog.convert('\\x{digits}', '{encoding}', 'UTF8')")
    };
    let statements: Vec<String> = characters.iter().map(statement).collect();
    let mut converted = Vec::with_capacity(characters.len());
    for answer in session.query_each(&statements)? {
        converted.push(match answer {
            Err(e) if e.is_unconvertible() => None,
            answer => Some(utf8_of(answer?.first(0).unwrap_or_default())?),
        });
    }
    Ok(converted)
}

/// The text of a `bytea` with hexadecimal digits.
fn utf8_of(bytea: &str) -> Result<String> {
    let digits = bytea.strip_prefix("\\x").unwrap_or_default();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let bytes: Option<Vec<u8>> = digits.as_bytes().chunks(2).map(byte).collect();
    let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    text.filter(|text| !text.is_empty()).ok_or_else(|| {
        Error::new(
            Kind::Protocol,
            "expected the UTF-8 of a character as bytea, found something else",
        )
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_bytes_of_an_answer_are_utf8_or_an_error() {
        assert_eq!(utf8_of("\\xd096").unwrap(), "Ж");
        assert_eq!(utf8_of("\\xe3818be3829a").unwrap(), "か\u{309A}");
        for wrong in ["", "\\x", "\\xd0", "\\xd09", "\\xgg", "d096", "\\é"] {
            assert!(utf8_of(wrong).is_err(), "{wrong}");
        }
    }
}
