//! Keyed masking of column values (`HASH_COLUMNS`): equal values stay comparable, and a guess of a value
//! cannot be tested without the key.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::hex;

/// The salt of the key derivation.
///
/// Fixed, so that one `HASH_KEY` gives the same hashes on every host and after every restart. It
/// and [`ROUNDS`] are part of the format: changing either changes every hash that users have
/// stored.
const SALT: &[u8] = b"zemi";

/// Rounds of PBKDF2 (RFC 8018, section 5.2). They run once per start: about 15 ms where the
/// processor has instructions for SHA-256 (measured), some times that where it has none.
const ROUNDS: u32 = 100_000;

/// The bytes of the derived key (RFC 2104 asks for at least the length of the hash, 32).
const KEY_LEN: usize = 32;

/// Replaces texts by their HMAC-SHA-256 (RFC 2104) under a key derived from `HASH_KEY`.
#[derive(Clone)]
pub struct Masker(Hmac<Sha256>);

impl Masker {
    /// Derives the key by PBKDF2-HMAC-SHA-256, which is slow on purpose: one masker is made for the whole
    /// process.
    ///
    /// `key` may be of any length; the settings ask for 16 bytes or more.
    pub fn new(key: &[u8]) -> Masker {
        Masker::with_rounds(key, ROUNDS)
    }

    fn with_rounds(key: &[u8], rounds: u32) -> Masker {
        // HMAC pads a short key with zeros to its block of 64 bytes (RFC 2104, section 2): padding
        // it here gives the constructor that cannot fail the same key.
        let mut block = [0; 64];
        pbkdf2::pbkdf2_hmac::<Sha256>(key, SALT, rounds, &mut block[..KEY_LEN]);
        Masker(Hmac::new(&block.into()))
    }

    /// Appends the hash of `text` as 64 lowercase hexadecimal digits.
    ///
    /// `text` is the value as PostgreSQL's output function prints it. NULL has no text: the caller
    /// leaves it NULL. The keyed state is copied, so nothing is allocated beyond the space in
    /// `out`.
    pub fn hash(&self, text: &[u8], out: &mut Vec<u8>) {
        let mut state = self.0.clone();
        state.update(text);
        let digest = state.finalize().into_bytes();
        hex::push(out, &digest);
    }

    /// As [`Masker::hash`] of the text of a `bytea` value (`bytea_output = hex`), which may be longer than
    /// what fits into memory.
    pub fn hash_bytea(&self, value: &[u8], out: &mut Vec<u8>) {
        let mut state = self.0.clone();
        state.update(b"\\x");
        let mut piece = Vec::new();
        for bytes in value.chunks(32 * 1024) {
            piece.clear();
            hex::push(&mut piece, bytes);
            state.update(&piece);
        }
        let digest = state.finalize().into_bytes();
        hex::push(out, &digest);
    }
}

impl fmt::Debug for Masker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Masker")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    /// The digits of a SHA-256.
    const HASH_LEN: usize = 64;

    fn hash(masker: &Masker, text: &[u8]) -> String {
        let mut out = Vec::new();
        masker.hash(text, &mut out);
        assert_eq!(out.len(), HASH_LEN);
        String::from_utf8(out).unwrap()
    }

    /// Expected values by Python's `hmac.new(hashlib.pbkdf2_hmac("sha256", key, b"zemi", rounds),
    /// …)`.
    #[test]
    fn hashes_are_those_of_an_independent_implementation() {
        let all_bytes: Vec<u8> = (0..=255).collect();
        let masker = Masker::with_rounds(b"0123456789abcdef", 1);
        for (text, expected) in [
            (
                &b""[..],
                "5877230a7ee47955321e09373bd2ec6124aba7f32b697a9a14dd69291f670666",
            ),
            (
                b"alice@example.com",
                "10e977a25242d7fa775045af8a7e0be9af24692a4fcd467ca35cace0f82491ac",
            ),
            (
                &[b'x'; 1000],
                "6ba211148bb2d886eefb440bec8cc770affa6e2a936f49d8c392244b6f761cff",
            ),
            (
                &all_bytes,
                "ddead85033ec97ee627b010be9c73c0e2a41523922a81183a06e15cd106001e2",
            ),
        ] {
            assert_eq!(hash(&masker, text), expected);
        }
    }

    /// As above with 100,000 rounds: this is what users have stored, so it must never change.
    #[test]
    fn the_derivation_that_users_depend_on_stays() {
        let masker = Masker::new(b"0123456789abcdef");
        assert_eq!(
            hash(&masker, b"alice@example.com"),
            "9c6d9b0511836da7b5201ba47c3e30bb6476f4ec493125c6c78b57787de640b9"
        );
        // A key longer than a block of the hash.
        let masker = Masker::new(&[b'k'; 100]);
        assert_eq!(
            hash(&masker, b"alice@example.com"),
            "27dfa4360ce59c674e4e495ba681ecc5f8dd586e1ac7378ac2425a20558799e7"
        );
    }

    #[test]
    fn hash_appends_and_one_value_leaves_nothing_for_the_next() {
        let masker = Masker::with_rounds(b"0123456789abcdef", 1);
        let mut out = b"\"".to_vec();
        masker.hash(b"a", &mut out);
        masker.hash(b"a", &mut out);
        assert_eq!(out[0], b'"');
        assert_eq!(out.len(), 1 + 2 * HASH_LEN);
        assert_eq!(out[1..=HASH_LEN], out[1 + HASH_LEN..]);
    }

    #[test]
    fn another_key_gives_another_hash() {
        let one = Masker::with_rounds(b"0123456789abcdef", 1);
        let other = Masker::with_rounds(b"0123456789abcdeg", 1);
        assert_ne!(hash(&one, b"a"), hash(&other, b"a"));
    }

    #[test]
    fn the_hash_of_bytes_is_that_of_their_text() {
        let masker = Masker::with_rounds(b"key", 1);
        for length in [0, 1, 32 * 1024, 100_000] {
            let value = vec![0xAB; length];
            let mut out = Vec::new();
            masker.hash_bytea(&value, &mut out);
            let text = format!("\\x{}", "ab".repeat(length));
            assert_eq!(
                String::from_utf8(out).unwrap(),
                hash(&masker, text.as_bytes())
            );
        }
    }

    #[test]
    fn debug_shows_no_key() {
        let masker = Masker::with_rounds(b"0123456789abcdef", 1);
        assert_eq!(format!("{masker:?}"), "Masker");
    }
}
