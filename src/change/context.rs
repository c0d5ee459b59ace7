//! Context messages: JSON from the application about a change, such as the user and the reason.

use super::json;

/// The prefix of the logical messages that carry context.
pub const PREFIX: &[u8] = b"_bemi";

/// The context of rows without a context message.
pub const NONE: &[u8] = b"{}";

/// Turns the content of a context message into JSON that jsonb accepts, in `out` (cleared first).
/// Returns whether the content could not be kept as it is.
///
/// `null` becomes `{}`, any other JSON stays as it is, and anything else is kept as
/// `{"zemi_invalid": "<text>"}`, or left out where it is very large.
pub fn context_json(content: &[u8], out: &mut Vec<u8>) -> bool {
    out.clear();
    // What jsonb cannot hold is left out; a small text is within all its limits.
    let fits = |json: &[u8]| json::jsonb_size(json).is_ok_and(|size| size <= json::JSONB_MAX_BYTES);
    if content.len() >= json::WEIGH_FROM && !(json::check(content).is_ok() && fits(content)) {
        json::write_omitted(out, content.len(), json::Reason::TooLarge);
        return true;
    }
    if json::check(content).is_ok() {
        match content.trim_ascii() {
            b"null" => out.extend_from_slice(NONE),
            json => out.extend_from_slice(json),
        }
        return false;
    }
    out.extend_from_slice(b"{\"zemi_invalid\":");
    json::write_string(out, content);
    out.push(b'}');
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_kept_null_is_none_and_the_rest_is_text() {
        let cases: [(&[u8], &[u8]); 7] = [
            (br#" {"user": 1} "#, br#"{"user": 1}"#),
            (b"null", b"{}"),
            (b"[1]", b"[1]"),
            (b"\"x\"", b"\"x\""),
            (b"{oops", br#"{"zemi_invalid":"{oops"}"#),
            (b"", br#"{"zemi_invalid":""}"#),
            (
                br#"{"a":"\u0000"}"#,
                br#"{"zemi_invalid":"{\"a\":\"\\u0000\"}"}"#,
            ),
        ];
        let mut out = Vec::new();
        for (content, wanted) in cases {
            context_json(content, &mut out);
            assert_eq!(out, wanted, "{}", String::from_utf8_lossy(content));
        }
    }
}
