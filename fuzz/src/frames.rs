//! What comes from the source, cut into frames, and the stream messages in them.

use zemi::fuzzing::Chunk;
use zemi::fuzzing::source::message::{StreamMessage, parse};
use zemi::fuzzing::{FRAME_LIMIT, FrameHead, HEAD};
use zemi::lsn::PgTimestamp;

use super::{is_fit_to_print, meter};

pub fn run(data: &[u8]) {
    meter::within(data.len(), 8, 64 * 1024, || {
        let chunk = Chunk {
            bytes: data.to_vec(),
            filled: data.len(),
            received_at: PgTimestamp(0),
            large: None,
        };
        let mut taken = 0;
        for body in chunk.copy_data() {
            match body {
                Ok(body) => {
                    taken += HEAD + body.len();
                    message(body);
                }
                Err(error) => is_fit_to_print(&error, 0),
            }
        }
        assert!(taken <= data.len());
        assert_eq!(taken, copy_data_bytes(data));
    });
}

fn message(body: &[u8]) {
    match parse(body) {
        Ok(StreamMessage::XLogData(data)) => {
            let rest = body.strip_prefix(b"w").unwrap();
            let (start, rest) = rest.split_first_chunk().unwrap();
            assert_eq!(data.start.0, u64::from_be_bytes(*start));
            assert_eq!(data.payload, &rest[16..]);
        }
        Ok(StreamMessage::Keepalive(keepalive)) => {
            assert_eq!(body.len(), 18);
            assert_eq!(keepalive.reply_requested, body[17] == 1);
        }
        Err(error) => is_fit_to_print(&error, 0),
    }
}

/// The bytes of whole CopyData frames, counted another way.
fn copy_data_bytes(mut data: &[u8]) -> usize {
    let mut bytes = 0;
    while let Ok(Some(head)) = FrameHead::parse(data, FRAME_LIMIT) {
        let Some(rest) = data.get(head.length..) else {
            break;
        };
        bytes += if data[0] == b'd' { head.length } else { 0 };
        data = rest;
    }
    bytes
}
