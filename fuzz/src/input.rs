//! Choices from the bytes of an input: deterministic, total, and steady when a byte is changed.

use std::ffi::CStr;

/// Hands out an input from its front; zero and empty when it is used up.
#[derive(Clone)]
pub struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    pub fn new(bytes: &'a [u8]) -> Input<'a> {
        Input(bytes)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn byte(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first
    }

    /// A number below `most`.
    pub fn below(&mut self, most: usize) -> usize {
        usize::from(self.byte()) % most.max(1)
    }

    pub fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    pub fn u32(&mut self) -> u32 {
        (0..4).fold(0, |number, _| number << 8 | u32::from(self.byte()))
    }

    pub fn u64(&mut self) -> u64 {
        u64::from(self.u32()) << 32 | u64::from(self.u32())
    }

    /// Bytes behind their length, which takes one byte, or three where the first is 255.
    pub fn bytes(&mut self) -> &'a [u8] {
        let length = match self.byte() {
            255 => usize::from(self.byte()) << 8 | usize::from(self.byte()),
            short => usize::from(short),
        };
        let (bytes, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        bytes
    }

    /// Bytes without a zero byte.
    pub fn name(&mut self) -> &'a [u8] {
        let bytes = self.bytes();
        CStr::from_bytes_until_nul(bytes).map_or(bytes, CStr::to_bytes)
    }

    /// Text without a zero byte.
    pub fn text(&mut self) -> String {
        String::from_utf8_lossy(self.name()).into_owned()
    }

    /// All that is left.
    pub fn rest(self) -> &'a [u8] {
        self.0
    }
}

/// The text without this word, also where taking it out would make it anew.
pub fn without(mut text: String, word: &str) -> String {
    while text.contains(word) {
        text = text.replace(word, "");
    }
    text
}

/// Writes what [`Input::bytes`] reads. What is too long for it is cut.
pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    let bytes = &bytes[..bytes.len().min(0xFFFF)];
    match u8::try_from(bytes.len()) {
        Ok(short) if short < 255 => out.push(short),
        _ => {
            out.push(255);
            out.extend((bytes.len() as u16).to_be_bytes());
        }
    }
    out.extend(bytes);
}
