//! Quoted parts of array, composite and hstore literals.

use super::escape::plain_len;

/// The form of a quote inside quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Quotes {
    /// `\"`, and `\\` for a backslash: arrays and hstore.
    Escaped,
    /// `""`, and `\\` for a backslash: composites.
    Doubled,
}

/// The content of the quoted part whose opening quote is just before `start`, and the index after
/// its closing quote; `None` where there is no closing quote.
///
/// Content without escapes is a part of `text`; other content is put together in `scratch`, which
/// has to be empty.
pub(super) fn read<'a>(
    text: &'a [u8],
    start: usize,
    quotes: Quotes,
    scratch: &'a mut Vec<u8>,
) -> Option<(&'a [u8], usize)> {
    let mut run = start;
    let mut at = start;
    loop {
        at += plain_len(text.get(at..)?);
        match *text.get(at)? {
            b'"' if quotes == Quotes::Doubled && text.get(at + 1) == Some(&b'"') => {
                scratch.extend_from_slice(&text[run..=at]);
                at += 2;
                run = at;
            }
            b'"' => break,
            b'\\' => {
                scratch.extend_from_slice(&text[run..at]);
                run = at + 1;
                at += 2;
            }
            _ => at += 1,
        }
    }
    if run == start {
        return Some((&text[start..at], at + 1));
    }
    scratch.extend_from_slice(&text[run..at]);
    Some((scratch, at + 1))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn content(text: &str, quotes: Quotes) -> Option<(String, usize)> {
        let mut scratch = Vec::new();
        let (content, end) = read(text.as_bytes(), 1, quotes, &mut scratch)?;
        Some((String::from_utf8(content.to_vec()).unwrap(), end))
    }

    #[test]
    fn escapes_are_undone_and_the_rest_is_taken_as_it_is() {
        for quotes in [Quotes::Escaped, Quotes::Doubled] {
            let check = |text, expected: &str, end| {
                assert_eq!(
                    content(text, quotes),
                    Some((expected.into(), end)),
                    "{text}"
                );
            };
            check("\"\"", "", 2);
            check("\"plain, {text}\",", "plain, {text}", 15);
            check("\"a\nb\u{e9}\"", "a\nb\u{e9}", 7);
            check(r#""\\\"x""#, r#"\"x"#, 7);
            check(r#""a\\""#, r"a\", 5);
        }
        assert_eq!(
            content(r#""a""b""#, Quotes::Doubled),
            Some(("a\"b".into(), 6))
        );
        assert_eq!(content(r#""a""b""#, Quotes::Escaped), Some(("a".into(), 3)));
    }

    #[test]
    fn what_does_not_close_is_refused() {
        for quotes in [Quotes::Escaped, Quotes::Doubled] {
            for text in ["\"", "\"abc", r#""abc\""#, "\"abc\\"] {
                assert_eq!(content(text, quotes), None, "{text}");
            }
        }
        assert_eq!(content("\"abc\"\"", Quotes::Doubled), None);
    }
}
