//! Context messages, and text in the encodings that the server does not convert.

use serde_json::Value;
use zemi::error::Result;
use zemi::fuzzing::change::context::context_json;
use zemi::fuzzing::change::{Characters, Convert, Encoding, StoredEncoding};

use super::{meter, oracle};

/// A source with characters of the oracle.
#[derive(Default)]
struct Source(Characters);

impl Convert for Source {
    fn to_utf8(
        &mut self,
        encoding: StoredEncoding,
        text: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<bool> {
        encoding.decode(&mut self.0, text, out, |_, characters| {
            Ok(characters.iter().map(|c| oracle::character(c)).collect())
        })
    }
}

/// The first byte chooses the encoding.
pub fn run(data: &[u8]) {
    let Some((choice, content)) = data.split_first() else {
        return;
    };
    let encoding = match choice % 4 {
        0 => Encoding::of_database("WIN1251"),
        1 => Encoding::of_database("EUC_JP"),
        2 => Encoding::of_database("EUC_TW"),
        _ => Encoding::Utf8,
    };
    let mut source = Source::default();
    meter::within(content.len(), 160, 256 * 1024, || {
        let mut decoded = Vec::new();
        let lossy = encoding.decode(content, &mut decoded, &mut source).unwrap();
        let stored = content;
        let content = lossy.map_or(stored, |_| decoded.as_slice());
        if let Some(lossy) = lossy {
            let text = std::str::from_utf8(content).expect("what was decoded is UTF-8");
            assert_eq!(lossy, text.contains('\u{FFFD}'));
            let ascii = |text: &[u8]| text.iter().filter(|b| b.is_ascii()).copied().collect();
            let (before, after): (Vec<u8>, Vec<u8>) = (ascii(stored), ascii(content));
            assert_eq!(before, after, "ASCII stays as it is");
        }
        let name = encoding.name(stored, &mut source).unwrap();
        assert_eq!(name, String::from_utf8_lossy(content));
        check(content);
    });
}

fn check(content: &[u8]) {
    let mut out = b"left from before".to_vec();
    let replaced = context_json(content, &mut out);
    oracle::assert_jsonb(&out);
    if !replaced {
        match content.trim_ascii() {
            b"null" => assert_eq!(out, b"{}"),
            json => assert_eq!(out, json),
        }
    } else if oracle::depth(&out) < 100 {
        let wanted = oracle::string(content);
        let found: Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(found["zemi_invalid"], wanted);
    }
    if oracle::is_plain_json(content) {
        assert!(!replaced, "this is JSON");
    }
}
