//! Characters of the encodings that a database may have, and what they are in UTF-8.
//!
//! Only the source's own tables say that. Each character is asked for once, when it is first seen, and kept:
//! there are 128 beyond ASCII in an encoding of one byte, and some ten thousands in the others.

use std::collections::{BTreeSet, HashMap};

use crate::error::Result;

/// So many characters are asked for at once.
const AT_ONCE: usize = 256;

/// What U+FFFD is in UTF-8.
const REPLACEMENT: &[u8] = "\u{FFFD}".as_bytes();

/// How long the characters of an encoding are. ASCII is one byte each in all of them, and no other character
/// has a byte of ASCII in it (PostgreSQL documentation, "Character Set Support"; `wchar.c`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lengths {
    /// Each is a byte.
    One,
    /// Extended Unix Code: two bytes of 0xA1 to 0xFE, or such bytes behind 0x8E or 0x8F.
    Euc {
        /// How many bytes a character has that begins with 0x8E.
        behind_8e: usize,
    },
}

impl Lengths {
    /// The length of the character at the beginning; `None` where the first byte begins none.
    fn first(self, text: &[u8]) -> Option<usize> {
        let Lengths::Euc { behind_8e } = self else {
            return Some(1);
        };
        let length = match text.first()? {
            0x8E => behind_8e,
            0x8F => 3,
            0xA1..=0xFE => 2,
            _ => return None,
        };
        let rest = text.get(1..length)?;
        let is_whole = rest.iter().all(|byte| matches!(byte, 0xA1..=0xFE));
        is_whole.then_some(length)
    }
}

/// The characters of one encoding, as far as they were asked for.
#[derive(Debug, Default)]
pub struct Characters {
    of: &'static str,
    /// Those of one byte, and behind them those of two that are in the 94 by 94 of [`place`].
    frequent: Vec<Option<Utf8>>,
    /// All others, by their bytes.
    rare: HashMap<u32, Utf8>,
}

/// What a character is in UTF-8.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Utf8 {
    /// None where it has no equivalent.
    length: u8,
    /// PostgreSQL's conversions give at most two code points (`EUC_JIS_2004`), of four bytes each.
    bytes: [u8; 8],
}

impl Utf8 {
    /// A text that is longer than one of a character can be counts as none.
    fn new(text: Option<&str>) -> Utf8 {
        let mut new = Utf8::default();
        let text = text.unwrap_or_default().as_bytes();
        if let Some(bytes) = new.bytes.get_mut(..text.len()) {
            bytes.copy_from_slice(text);
            new.length = u8::try_from(text.len()).unwrap_or(0);
        }
        new
    }

    fn bytes(&self) -> Option<&[u8]> {
        let bytes = self.bytes.get(..usize::from(self.length))?;
        (!bytes.is_empty()).then_some(bytes)
    }
}

/// The place among the frequent ones.
fn place(character: &[u8]) -> Option<usize> {
    match *character {
        [byte @ 0x80..=0xFF] => Some(usize::from(byte - 0x80)),
        [row @ 0xA1..=0xFE, cell @ 0xA1..=0xFE] => {
            Some(128 + usize::from(row - 0xA1) * 94 + usize::from(cell - 0xA1))
        }
        _ => None,
    }
}

/// How far a text was written.
enum Written {
    Whole,
    /// Up to here, where a character is not known yet.
    UpTo(usize),
}

impl Characters {
    /// Appends the text in UTF-8, with U+FFFD for each character that has none and each byte that is part of
    /// none; returns whether there was one. `ask` is given characters of this encoding and returns what each
    /// is in UTF-8.
    ///
    /// # Errors
    /// Those of `ask`.
    pub(super) fn decode(
        &mut self,
        (name, lengths): (&'static str, Lengths),
        text: &[u8],
        out: &mut Vec<u8>,
        mut ask: impl FnMut(&str, &[&[u8]]) -> Result<Vec<Option<String>>>,
    ) -> Result<bool> {
        if self.of != name {
            *self = Characters {
                of: name,
                ..Characters::default()
            };
        }
        out.reserve(text.len());
        let mut replaced = false;
        let mut rest = text;
        while let Written::UpTo(at) = self.write(lengths, rest, out, &mut replaced) {
            rest = rest.get(at..).unwrap_or_default();
            let unknown: Vec<&[u8]> = self.unknown(lengths, rest).into_iter().collect();
            let found = ask(name, &unknown)?;
            for (n, character) in unknown.into_iter().enumerate() {
                self.learn(character, found.get(n).and_then(Option::as_deref));
            }
        }
        Ok(replaced)
    }

    fn learn(&mut self, character: &[u8], text: Option<&str>) {
        let text = Utf8::new(text);
        let Some(place) = place(character) else {
            self.rare.insert(number(character), text);
            return;
        };
        if self.frequent.len() <= place {
            let places = if place < 128 { 128 } else { 128 + 94 * 94 };
            self.frequent.resize(places, None);
        }
        if let Some(known) = self.frequent.get_mut(place) {
            *known = Some(text);
        }
    }

    fn known(&self, character: &[u8]) -> Option<&Utf8> {
        match place(character) {
            Some(place) => self.frequent.get(place)?.as_ref(),
            None => self.rare.get(&number(character)),
        }
    }

    /// Appends what is known from the beginning of the text on.
    fn write(
        &self,
        lengths: Lengths,
        text: &[u8],
        out: &mut Vec<u8>,
        replaced: &mut bool,
    ) -> Written {
        let mut at = 0;
        while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
            let ascii = rest.iter().position(|byte| !byte.is_ascii());
            let (ascii, rest) = rest.split_at(ascii.unwrap_or(rest.len()));
            out.extend_from_slice(ascii);
            at += ascii.len();
            if rest.is_empty() {
                break;
            }
            let length = lengths.first(rest);
            let character = rest.get(..length.unwrap_or(1)).unwrap_or_default();
            let found = match length.map(|_| self.known(character)) {
                Some(None) => return Written::UpTo(at),
                Some(Some(found)) => found.bytes(),
                None => None,
            };
            *replaced |= found.is_none();
            out.extend_from_slice(found.unwrap_or(REPLACEMENT));
            at += character.len();
        }
        Written::Whole
    }

    /// The first characters that are not known, each once.
    fn unknown<'a>(&self, lengths: Lengths, text: &'a [u8]) -> BTreeSet<&'a [u8]> {
        let mut unknown = BTreeSet::new();
        let mut rest = text;
        while let Some(byte) = rest.first()
            && unknown.len() < AT_ONCE
        {
            let length = match byte.is_ascii() {
                true => None,
                false => lengths.first(rest),
            };
            let (character, after) = rest.split_at(length.unwrap_or(1).min(rest.len()));
            if length.is_some() && self.known(character).is_none() {
                unknown.insert(character);
            }
            rest = after;
        }
        unknown
    }
}

/// A character of at most four bytes as a number.
fn number(character: &[u8]) -> u32 {
    let bytes = character.iter();
    bytes.fold(0, |number, byte| number << 8 | u32::from(*byte))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use crate::error::{Error, Kind};

    /// An encoding, a text in it, what it is decoded to, and whether something was replaced.
    type Case = ((&'static str, Lengths), &'static [u8], &'static str, bool);

    const ONE: (&str, Lengths) = ("ONE", Lengths::One);
    const EUC: (&str, Lengths) = ("EUC", Lengths::Euc { behind_8e: 2 });
    const TW: (&str, Lengths) = ("TW", Lengths::Euc { behind_8e: 4 });

    /// A server whose characters are their own hexadecimal digits, but for those with 0xFE.
    #[derive(Default)]
    struct Server {
        asked: Vec<String>,
        flights: usize,
    }

    impl Server {
        fn answer(&mut self, characters: &[&[u8]]) -> Vec<Option<String>> {
            self.flights += 1;
            let text = |character: &&[u8]| -> String {
                character.iter().map(|byte| format!("{byte:x}")).collect()
            };
            self.asked.extend(characters.iter().map(text));
            let known = |character: &&[u8]| !character.contains(&0xFE);
            let answer = |character| known(character).then(|| text(character));
            characters.iter().map(answer).collect()
        }
    }

    fn decode(
        characters: &mut Characters,
        server: &mut Server,
        encoding: (&'static str, Lengths),
        text: &[u8],
    ) -> (String, bool) {
        let mut out = Vec::new();
        let replaced = characters.decode(encoding, text, &mut out, |_, of| Ok(server.answer(of)));
        (String::from_utf8(out).unwrap(), replaced.unwrap())
    }

    #[test]
    fn characters_are_found_at_their_boundaries_and_what_is_none_is_replaced() {
        let cases: [Case; 12] = [
            (ONE, b"", "", false),
            (ONE, b"a\x80\xFFb", "a80ffb", false),
            (ONE, b"\xE0\xFE\xE1", "e0\u{FFFD}e1", true),
            (EUC, b"a\xA4\xA2b\xA4\xA4", "aa4a2ba4a4", false),
            (
                EUC,
                b"\x8E\xB1\x8F\xA2\xA3\xA1\xA1",
                "8eb18fa2a3a1a1",
                false,
            ),
            (TW, b"\x8E\xA2\xA1\xA1\xA4\xA2", "8ea2a1a1a4a2", false),
            // No character of the encoding: one for all of its bytes.
            (EUC, b"\xA4\xA2\xA4\xFE\xA4\xA4", "a4a2\u{FFFD}a4a4", true),
            (EUC, b"x\x8F\xFE\xFE\xA4\xA4", "x\u{FFFD}a4a4", true),
            // Cut short by ASCII, or by the end: one for each byte that is left.
            (EUC, b"\xA4x\xA4\xA2", "\u{FFFD}xa4a2", true),
            (EUC, b"\xA4\xA2\xA4", "a4a2\u{FFFD}", true),
            (TW, b"\x8E\xA2\xA1 ", "\u{FFFD}a2a1 ", true),
            // Bytes that begin none.
            (
                EUC,
                b"\x80\xA4\xA2\xFF\xA0\xA4\xA4",
                "\u{FFFD}a4a2\u{FFFD}\u{FFFD}a4a4",
                true,
            ),
        ];
        for (encoding, text, expected, replaced) in cases {
            let mut characters = Characters::default();
            let found = decode(&mut characters, &mut Server::default(), encoding, text);
            assert_eq!(found, (expected.to_owned(), replaced), "{text:x?}");
        }
    }

    #[test]
    fn each_character_is_asked_for_once_and_many_at_once() {
        let mut characters = Characters::default();
        let mut server = Server::default();
        let all: Vec<u8> = (0x80..=0xFF).collect();
        for _ in 0..3 {
            decode(&mut characters, &mut server, ONE, &all.repeat(3));
        }
        assert_eq!((server.asked.len(), server.flights), (128, 1));
        // Another encoding has other characters.
        let mut server = Server::default();
        let mut all = Vec::new();
        for first in 0xA1..=0xFE {
            all.extend((0xA1..=0xFE).flat_map(|second| [first, second]));
        }
        for _ in 0..2 {
            decode(&mut characters, &mut server, EUC, &all);
        }
        assert_eq!((server.asked.len(), server.flights), (94 * 94, 35));
    }

    #[test]
    fn what_is_longer_than_two_code_points_is_no_character() {
        let mut out = Vec::new();
        let mut decode = |text: &str| {
            out.clear();
            let ask = |_: &str, _: &[&[u8]]| Ok(vec![Some(text.to_owned())]);
            let mut characters = Characters::default();
            let replaced = characters.decode(ONE, b"\xE9", &mut out, ask).unwrap();
            (String::from_utf8(out.clone()).unwrap(), replaced)
        };
        assert_eq!(decode("か\u{309A}"), ("か\u{309A}".into(), false));
        assert_eq!(decode("12345678"), ("12345678".into(), false));
        for none in ["123456789", ""] {
            assert_eq!(decode(none), ("\u{FFFD}".into(), true));
        }
    }

    #[test]
    fn an_error_of_the_question_is_passed_on_and_nothing_is_learned_of_it() {
        let mut characters = Characters::default();
        let mut out = Vec::new();
        let failed = characters.decode(ONE, b"\xE9", &mut out, |_, _| {
            Err(Error::new(Kind::Stopped, "not answered"))
        });
        assert_eq!(failed.unwrap_err().kind(), Kind::Stopped);
        let mut server = Server::default();
        assert_eq!(
            decode(&mut characters, &mut server, ONE, b"\xE9"),
            ("e9".into(), false)
        );
        assert_eq!(server.asked, ["e9"]);
    }
}
