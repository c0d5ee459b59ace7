//! Binary COPY: the framing of tuples and fields
//! (PostgreSQL documentation, "COPY", section "Binary Format").

/// Signature, flags and the length of the (absent) header extension.
pub const HEADER: [u8; 19] = *b"PGCOPY\n\xFF\r\n\0\0\0\0\0\0\0\0\0";

/// The tuple count of -1 that ends the data.
pub const TRAILER: [u8; 2] = [0xFF, 0xFF];

/// The version byte in front of the text of a binary `jsonb` (`jsonb_recv`).
pub const JSONB_VERSION: u8 = 1;

/// Starts a tuple of this many fields.
pub fn tuple(out: &mut Vec<u8>, fields: i16) {
    out.extend_from_slice(&fields.to_be_bytes());
}

/// A NULL field.
pub fn null(out: &mut Vec<u8>) {
    out.extend_from_slice(&[0xFF; 4]);
}

/// A field with these bytes, which must be shorter than 2 GiB.
pub fn field(out: &mut Vec<u8>, bytes: &[u8]) {
    let at = open(out);
    out.extend_from_slice(bytes);
    close(out, at);
}

/// A `bigint` or `timestamptz` field: eight bytes, big-endian.
pub fn int8(out: &mut Vec<u8>, value: i64) {
    let mut bytes = [0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0];
    if let Some(place) = bytes.last_chunk_mut::<8>() {
        *place = value.to_be_bytes();
    }
    out.extend_from_slice(&bytes);
}

/// Starts a field of unknown length; [`close`] completes it.
pub fn open(out: &mut Vec<u8>) -> usize {
    out.extend_from_slice(&[0; 4]);
    out.len()
}

/// Writes the length of the field that [`open`] started at `at`.
pub fn close(out: &mut [u8], at: usize) {
    let length = i32::try_from(out.len().saturating_sub(at)).unwrap_or(i32::MAX);
    if let Some(place) = at.checked_sub(4).and_then(|from| out.get_mut(from..at)) {
        place.copy_from_slice(&length.to_be_bytes());
    }
}

/// The tuples in a run of encoded rows, one slice for each; ends early at bytes that are no tuple.
pub struct Tuples<'a> {
    rest: &'a [u8],
}

impl<'a> Tuples<'a> {
    /// Walks `rows`, which hold tuples only: no header, no trailer.
    pub fn new(rows: &'a [u8]) -> Tuples<'a> {
        Tuples { rest: rows }
    }
}

impl<'a> Iterator for Tuples<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (count, mut rest) = self.rest.split_first_chunk::<2>()?;
        for _ in 0..u16::from_be_bytes(*count) {
            rest = split_field(rest)?.1;
        }
        let (tuple, rest) = self.rest.split_at_checked(self.rest.len() - rest.len())?;
        self.rest = rest;
        Some(tuple)
    }
}

/// The fields of one tuple; `None` is NULL.
pub fn fields(tuple: &[u8]) -> impl Iterator<Item = Option<&[u8]>> {
    let mut rest = tuple.get(2..).unwrap_or_default();
    std::iter::from_fn(move || {
        let (field, after) = split_field(rest)?;
        rest = after;
        Some(field)
    })
}

type Field<'a> = Option<&'a [u8]>;

fn split_field(bytes: &[u8]) -> Option<(Field<'_>, &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    match usize::try_from(i32::from_be_bytes(*length)) {
        Err(_) => Some((None, rest)),
        Ok(length) => rest
            .split_at_checked(length)
            .map(|(field, rest)| (Some(field), rest)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn sample() -> Vec<u8> {
        let mut out = Vec::new();
        tuple(&mut out, 3);
        field(&mut out, b"one");
        null(&mut out);
        int8(&mut out, -2);
        tuple(&mut out, 1);
        let at = open(&mut out);
        out.extend_from_slice(b"{}");
        close(&mut out, at);
        out
    }

    #[test]
    fn what_is_encoded_is_read_back() {
        let bytes = sample();
        let tuples: Vec<_> = Tuples::new(&bytes).collect();
        assert_eq!(tuples.len(), 2);
        let first: Vec<_> = fields(tuples[0]).collect();
        assert_eq!(
            first,
            vec![Some(&b"one"[..]), None, Some(&(-2_i64).to_be_bytes()[..])]
        );
        assert_eq!(
            fields(tuples[1]).collect::<Vec<_>>(),
            vec![Some(&b"{}"[..])]
        );
        assert_eq!(tuples.concat(), bytes);
    }

    #[test]
    fn cut_rows_end_the_walk() {
        let bytes = sample();
        for end in 0..bytes.len() {
            let whole: usize = Tuples::new(&bytes[..end]).map(<[u8]>::len).sum();
            assert!(whole <= end);
            assert!(Tuples::new(&bytes[..end]).count() < 2);
        }
    }
}
