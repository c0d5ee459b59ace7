//! Text as the source stores it, where the server cannot convert it to UTF-8.
//!
//! In a database of encoding SQL_ASCII a text may hold any bytes, and in others some that stand for no
//! character, or for one that Unicode lacks. The walsender refuses such a row for ever, so it is asked for
//! the stored bytes (`client_encoding=SQL_ASCII`: PostgreSQL documentation, "Character Set Support"), which
//! are decoded here, by the source's own tables. What stands for no character becomes U+FFFD.

use super::characters::{Characters, Lengths};
use crate::error::Result;

/// What the texts of the stream are encoded in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Encoding {
    /// The server converts to UTF-8, or stores it; or what it stores is unknown, and taken for UTF-8
    /// where it is valid.
    #[default]
    Utf8,
    /// As the database stores it, whose encoding has this name.
    Stored(StoredEncoding),
}

/// An encoding of databases other than UTF8 and SQL_ASCII.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredEncoding {
    name: &'static str,
    lengths: Lengths,
}

/// Those whose characters have one byte each (PostgreSQL documentation, table "PostgreSQL Character Sets").
const ONE_BYTE: [&str; 27] = [
    "ISO_8859_5",
    "ISO_8859_6",
    "ISO_8859_7",
    "ISO_8859_8",
    "KOI8R",
    "KOI8U",
    "LATIN1",
    "LATIN2",
    "LATIN3",
    "LATIN4",
    "LATIN5",
    "LATIN6",
    "LATIN7",
    "LATIN8",
    "LATIN9",
    "LATIN10",
    "WIN866",
    "WIN874",
    "WIN1250",
    "WIN1251",
    "WIN1252",
    "WIN1253",
    "WIN1254",
    "WIN1255",
    "WIN1256",
    "WIN1257",
    "WIN1258",
];

/// Those with several, and how long a character is that begins with 0x8E. MULE_INTERNAL is not here: no
/// server converts it to UTF-8, and none lets a client of UTF-8 in.
const SEVERAL_BYTES: [(&str, usize); 5] = [
    ("EUC_CN", 2),
    ("EUC_JIS_2004", 2),
    ("EUC_JP", 2),
    ("EUC_KR", 2),
    ("EUC_TW", 4),
];

/// Decodes stored text.
pub trait Convert {
    /// Appends the text in UTF-8, with U+FFFD for what has none; returns whether there was any.
    ///
    /// # Errors
    /// The source did not answer.
    fn to_utf8(&mut self, encoding: StoredEncoding, text: &[u8], out: &mut Vec<u8>)
    -> Result<bool>;
}

impl StoredEncoding {
    /// Decodes by characters that are known; `ask` gives the others, see [`Convert::to_utf8`].
    ///
    /// # Errors
    /// Those of `ask`.
    pub fn decode(
        self,
        characters: &mut Characters,
        text: &[u8],
        out: &mut Vec<u8>,
        ask: impl FnMut(&str, &[&[u8]]) -> Result<Vec<Option<String>>>,
    ) -> Result<bool> {
        characters.decode((self.name, self.lengths), text, out, ask)
    }
}

impl Encoding {
    /// Of the stored bytes of a database whose `server_encoding` has this name.
    pub fn of_database(name: &str) -> Encoding {
        let one_byte = ONE_BYTE.into_iter().map(|name| (name, Lengths::One));
        let several = SEVERAL_BYTES.into_iter();
        let several = several.map(|(name, behind_8e)| (name, Lengths::Euc { behind_8e }));
        let found = one_byte.chain(several).find(|(known, _)| *known == name);
        found.map_or(Encoding::Utf8, |(name, lengths)| {
            Encoding::Stored(StoredEncoding { name, lengths })
        })
    }

    /// The text in UTF-8, in `out` (cleared first), where it has to be decoded: `None` when it is to be
    /// used as it is. Otherwise whether something stands for no character.
    ///
    /// # Errors
    /// The source did not answer.
    #[inline]
    pub fn decode(
        self,
        text: &[u8],
        out: &mut Vec<u8>,
        convert: &mut dyn Convert,
    ) -> Result<Option<bool>> {
        match self {
            Encoding::Stored(encoding) if !text.is_ascii() => {
                out.clear();
                convert.to_utf8(encoding, text, out).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// A name in UTF-8, with U+FFFD for what is no character.
    ///
    /// # Errors
    /// The source did not answer.
    pub fn name(self, bytes: &[u8], convert: &mut dyn Convert) -> Result<String> {
        let mut out = Vec::new();
        let decoded = self.decode(bytes, &mut out, convert)?;
        let bytes = decoded.map_or(bytes, |_| &out);
        Ok(String::from_utf8_lossy(bytes).into_owned())
    }
}

/// What the walsender is asked to send texts in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClientEncoding {
    /// The server converts to UTF-8, and refuses what it cannot convert.
    #[default]
    Utf8,
    /// The bytes as they are stored.
    AsStored,
}

impl ClientEncoding {
    /// The value of `client_encoding`.
    pub fn setting(self) -> &'static str {
        match self {
            ClientEncoding::Utf8 => "UTF8",
            ClientEncoding::AsStored => "SQL_ASCII",
        }
    }

    /// What the texts of the stream are encoded in, where `server_encoding` has this name.
    pub fn of_stream(self, server_encoding: &str) -> Encoding {
        match self {
            ClientEncoding::Utf8 => Encoding::Utf8,
            ClientEncoding::AsStored => Encoding::of_database(server_encoding),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    /// A source that has LATIN1 under every name, but for 0x81.
    #[derive(Default)]
    struct Latin1(Characters);

    impl Convert for Latin1 {
        fn to_utf8(
            &mut self,
            encoding: StoredEncoding,
            text: &[u8],
            out: &mut Vec<u8>,
        ) -> Result<bool> {
            encoding.decode(&mut self.0, text, out, |_, characters| {
                let text = |bytes: &&[u8]| match bytes {
                    [0x81] => None,
                    bytes => Some(bytes.iter().map(|byte| char::from(*byte)).collect()),
                };
                Ok(characters.iter().map(text).collect())
            })
        }
    }

    fn decoded(encoding: Encoding, text: &[u8]) -> Option<(String, bool)> {
        let mut out = b"left from before".to_vec();
        let replaced = encoding.decode(text, &mut out, &mut Latin1::default());
        replaced
            .unwrap()
            .map(|replaced| (String::from_utf8(out).unwrap(), replaced))
    }

    #[test]
    fn stored_text_beyond_ascii_is_decoded_and_any_other_used_as_it_is() {
        let win = Encoding::of_database("WIN1252");
        assert_eq!(decoded(win, b"plain"), None);
        assert_eq!(decoded(win, b"a\xE9"), Some(("aé".into(), false)));
        assert_eq!(decoded(win, b"\x81\xE9"), Some(("\u{FFFD}é".into(), true)));
        assert_eq!(decoded(Encoding::Utf8, b"\xFF"), None);
        let name = |encoding: Encoding, name| encoding.name(name, &mut Latin1::default()).unwrap();
        assert_eq!(name(Encoding::Utf8, b"a\xFF"), "a\u{FFFD}");
        assert_eq!(name(win, b"a\xE9\x81"), "aé\u{FFFD}");
    }

    #[test]
    fn only_stored_bytes_are_in_the_encoding_of_the_database() {
        let (utf8, stored) = (ClientEncoding::Utf8, ClientEncoding::AsStored);
        assert_eq!(utf8.of_stream("WIN1252"), Encoding::Utf8);
        assert_eq!(
            stored.of_stream("WIN1252"),
            Encoding::of_database("WIN1252")
        );
        assert_ne!(stored.of_stream("WIN1252"), Encoding::Utf8);
        for name in ["SQL_ASCII", "UTF8", "of a later version"] {
            assert_eq!(stored.of_stream(name), Encoding::Utf8);
        }
    }
}
