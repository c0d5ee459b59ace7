//! Context messages, and text in the encodings that the server does not convert.

use serde_json::Value;
use zemi::fuzzing::change::Encoding;
use zemi::fuzzing::change::context::context_json;

use super::{meter, oracle};

/// The first byte chooses the encoding.
pub fn run(data: &[u8]) {
    let Some((choice, content)) = data.split_first() else {
        return;
    };
    let encoding = match choice % 4 {
        0 => Encoding::Latin1,
        1 => Encoding::Win1252,
        _ => Encoding::Utf8,
    };
    meter::within(content.len(), 40, 64 * 1024, || {
        let mut decoded = Vec::new();
        let lossy = encoding.decode(content, &mut decoded);
        let content = lossy.map_or(content, |_| decoded.as_slice());
        if lossy.is_some() {
            let text = std::str::from_utf8(content).expect("what was decoded is UTF-8");
            assert_eq!(
                text.chars().count(),
                data.len() - 1,
                "a character for each byte"
            );
            assert_eq!(
                lossy,
                Some(encoding == Encoding::Win1252 && text.contains('\u{FFFD}'))
            );
        }
        assert_eq!(encoding.name(&data[1..]), String::from_utf8_lossy(content));
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
