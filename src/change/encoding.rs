//! Text as the source stores it, where the server cannot convert it to UTF-8.
//!
//! In a database of encoding SQL_ASCII a text may hold any bytes, and in one of WIN1252 five that stand
//! for no character. The walsender refuses such a row for ever, so it is asked for the stored bytes
//! (`client_encoding=SQL_ASCII`: PostgreSQL documentation, "Character Set Support"), which are decoded
//! here. A byte that stands for no character becomes U+FFFD.

/// What the texts of the stream are encoded in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Encoding {
    /// The server converts to UTF-8, or stores it; or what it stores is unknown, and taken for UTF-8
    /// where it is valid.
    #[default]
    Utf8,
    /// ISO 8859-1: each byte is the character of that number.
    Latin1,
    /// Windows code page 1252.
    Win1252,
}

/// The characters of 0x80 to 0x9F in Windows code page 1252 (Unicode's `CP1252.TXT`, which PostgreSQL's
/// own table is made of).
const WIN1252: [char; 32] = [
    '€', '\u{FFFD}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{FFFD}', 'Ž',
    '\u{FFFD}', '\u{FFFD}', '‘', '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{FFFD}',
    'ž', 'Ÿ',
];

impl Encoding {
    /// Of the stored bytes of a database whose `server_encoding` has this name.
    pub fn of_database(name: &str) -> Encoding {
        match name {
            "LATIN1" => Encoding::Latin1,
            "WIN1252" => Encoding::Win1252,
            _ => Encoding::Utf8,
        }
    }

    /// The text in UTF-8, in `out` (cleared first), where it has to be decoded: `None` when it is to be
    /// used as it is. Otherwise whether a byte stands for no character.
    pub fn decode(self, text: &[u8], out: &mut Vec<u8>) -> Option<bool> {
        if self == Encoding::Utf8 || text.is_ascii() {
            return None;
        }
        out.clear();
        let mut replaced = false;
        for &byte in text {
            let mut character = char::from(byte);
            if self == Encoding::Win1252 && matches!(byte, 0x80..=0x9F) {
                let found = WIN1252.get(usize::from(byte & 0x1F));
                character = found.copied().unwrap_or(char::REPLACEMENT_CHARACTER);
                replaced |= character == char::REPLACEMENT_CHARACTER;
            }
            out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        }
        Some(replaced)
    }

    /// A name in UTF-8, with U+FFFD for what is no character.
    pub fn name(self, bytes: &[u8]) -> String {
        let mut out = Vec::new();
        let bytes = self.decode(bytes, &mut out).map_or(bytes, |_| &out);
        String::from_utf8_lossy(bytes).into_owned()
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

    fn decoded(encoding: Encoding, text: &[u8]) -> Option<(String, bool)> {
        let mut out = b"left from before".to_vec();
        let replaced = encoding.decode(text, &mut out)?;
        Some((String::from_utf8(out).unwrap(), replaced))
    }

    #[test]
    fn each_byte_of_a_known_encoding_is_its_character() {
        let (win, latin) = (Encoding::Win1252, Encoding::Latin1);
        for (encoding, text, expected, replaced) in [
            (win, &b"caf\xE9 \x80\x9F"[..], "café €Ÿ", false),
            (
                win,
                b"\x81|\x8D|\x8F|\x90|\x9D",
                "\u{FFFD}|\u{FFFD}|\u{FFFD}|\u{FFFD}|\u{FFFD}",
                true,
            ),
            (latin, b"caf\xE9\x81\xFF", "café\u{81}ÿ", false),
        ] {
            assert_eq!(decoded(encoding, text), Some((expected.into(), replaced)));
        }
        for byte in 0x80..=0xFF_u8 {
            let unassigned = matches!(byte, 0x81 | 0x8D | 0x8F | 0x90 | 0x9D);
            assert_eq!(decoded(win, &[byte]).unwrap().1, unassigned, "{byte:x}");
        }
    }

    #[test]
    fn plain_text_and_utf8_are_used_as_they_are() {
        assert_eq!(decoded(Encoding::Win1252, b"plain"), None);
        assert_eq!(decoded(Encoding::Utf8, b"\xFF"), None);
        assert_eq!(Encoding::Utf8.name(b"a\xFF"), "a\u{FFFD}");
        assert_eq!(Encoding::Win1252.name(b"a\xE9"), "aé");
    }

    #[test]
    fn only_stored_bytes_are_in_the_encoding_of_the_database() {
        let (utf8, stored) = (ClientEncoding::Utf8, ClientEncoding::AsStored);
        assert_eq!(utf8.of_stream("WIN1252"), Encoding::Utf8);
        assert_eq!(stored.of_stream("WIN1252"), Encoding::Win1252);
        assert_eq!(stored.of_stream("SQL_ASCII"), Encoding::Utf8);
    }

    #[test]
    fn what_is_not_known_is_taken_for_utf8() {
        for name in ["UTF8", "SQL_ASCII", "EUC_JP"] {
            assert_eq!(Encoding::of_database(name), Encoding::Utf8);
        }
        assert_eq!(Encoding::of_database("WIN1252"), Encoding::Win1252);
        assert_eq!(Encoding::of_database("LATIN1"), Encoding::Latin1);
    }
}
