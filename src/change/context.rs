//! Context messages: JSON from the application about a change, such as the user and the reason.

use super::json;

/// The key under which a context that is no object stands beside what zemi adds.
const OTHER: &str = "zemi_context";

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

/// Adds a member (`"key":value`) to a context as [`context_json`] writes it, in `out` (cleared first). A
/// context that is no object becomes a member itself.
pub fn with_member(context: &[u8], member: &[u8], out: &mut Vec<u8>) {
    out.clear();
    as_object(context, out);
    if let Some(b'}') = out.pop()
        && out.trim_ascii_end() != b"{"
    {
        out.push(b',');
    }
    out.extend_from_slice(member);
    out.push(b'}');
}

/// Appends a context as an object.
pub fn as_object(context: &[u8], out: &mut Vec<u8>) {
    if context.first() == Some(&b'{') {
        return out.extend_from_slice(context);
    }
    out.extend_from_slice(b"{\"");
    out.extend_from_slice(OTHER.as_bytes());
    out.extend_from_slice(b"\":");
    out.extend_from_slice(context);
    out.push(b'}');
}

/// The member that was added to the context of a row which had [`NONE`].
pub fn added_member(context: &[u8]) -> Option<&[u8]> {
    let member = context.strip_prefix(b"{")?.strip_suffix(b"}")?;
    (!member.is_empty()).then_some(member)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_added_to_any_context_and_found_again() {
        let cases: [(&[u8], &[u8]); 6] = [
            (b"{}", br#"{"m":1}"#),
            (b"{ }", br#"{ "m":1}"#),
            (br#"{"a": {}}"#, br#"{"a": {},"m":1}"#),
            (b"[1]", br#"{"zemi_context":[1],"m":1}"#),
            (b"7", br#"{"zemi_context":7,"m":1}"#),
            (br#""x""#, br#"{"zemi_context":"x","m":1}"#),
        ];
        let mut out = Vec::new();
        for (context, wanted) in cases {
            with_member(context, br#""m":1"#, &mut out);
            assert_eq!(out, wanted, "{}", String::from_utf8_lossy(context));
        }
        assert_eq!(added_member(NONE), None);
        assert_eq!(added_member(br#"{"m":1}"#), Some(&br#""m":1"#[..]));
    }

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
