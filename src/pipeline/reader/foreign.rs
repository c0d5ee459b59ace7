//! Pure: logical messages of others, of which nothing is wanted. A large one is not read into memory.

use crate::change::context;
use crate::wire::HEAD;

/// What stands before the payload of XLogData: its tag, two positions and a time.
const BEFORE_PAYLOAD: usize = 1 + 3 * 8;

/// What stands before the prefix of a Message: its tag, its flags and its position ("Logical Replication
/// Message Formats").
const BEFORE_PREFIX: usize = 1 + 1 + 8;

/// Whether a frame of which this is the beginning holds a logical message with the prefix of another program.
/// False where the prefix has not come yet.
pub(super) fn is_foreign(frame: &[u8]) -> bool {
    let body = frame.get(HEAD..).unwrap_or_default();
    let payload = body.get(BEFORE_PAYLOAD..).unwrap_or_default();
    if frame.first() != Some(&b'd') || body.first() != Some(&b'w') || payload.first() != Some(&b'M')
    {
        return false;
    }
    let rest = payload.get(BEFORE_PREFIX..).unwrap_or_default();
    let prefix = rest.iter().position(|byte| *byte == 0);
    prefix
        .and_then(|end| rest.get(..end))
        .is_some_and(|prefix| prefix != context::PREFIX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(tag: u8, payload: &[u8]) -> Vec<u8> {
        [&[tag, 0x20, 0, 0, 0, b'w'][..], &[0; 24], payload].concat()
    }

    #[test]
    fn only_a_message_with_the_prefix_of_another_program_is_foreign() {
        let message = |prefix: &[u8]| [b"M\x01", &[0; 8][..], prefix].concat();
        for (tag, payload, foreign) in [
            (b'd', message(b"debezium\0\0\0"), true),
            (b'd', message(b"\0\0\0"), true),
            (b'd', message(b"_bemi_heartbeat\0"), true),
            (b'd', message(b"_bemi\0\0\0"), false),
            (b'E', message(b"debezium\0"), false),
            (b'd', [b"I", &[0; 9][..], b"debezium\0"].concat(), false),
        ] {
            assert_eq!(is_foreign(&frame(tag, &payload)), foreign, "{payload:?}");
        }
        // As far as it has come.
        let whole = frame(b'd', &message(b"debezium\0"));
        for length in 0..whole.len() {
            assert!(
                !is_foreign(whole.get(..length).unwrap_or_default()),
                "{length}"
            );
        }
    }
}
