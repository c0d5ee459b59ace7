//! The messages inside CopyData during streaming replication
//! (PostgreSQL documentation, "Streaming Replication Protocol", START_REPLICATION).

use crate::error::{Error, Kind, Result};
use crate::lsn::{Lsn, PgTimestamp};

/// WAL data: one pgoutput message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct XLogData<'a> {
    /// The start of the record that the message comes from; 0/0 for Relation and Type.
    pub start: Lsn,
    /// The end of WAL on the server when it was sent.
    pub wal_end: Lsn,
    /// The message.
    pub payload: &'a [u8],
}

/// A keepalive of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PrimaryKeepalive {
    /// Everything before this position was sent.
    pub wal_end: Lsn,
    /// The server wants a status update now.
    pub reply_requested: bool,
}

/// What a CopyData message of the server holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamMessage<'a> {
    /// `w`
    XLogData(XLogData<'a>),
    /// `k`
    Keepalive(PrimaryKeepalive),
}

/// Reads the body of a CopyData message.
///
/// # Errors
/// An unknown type, a body that is too short, a keepalive that is too long.
pub fn parse(body: &[u8]) -> Result<StreamMessage<'_>> {
    match body {
        [b'w', rest @ ..] => {
            let (start, rest) = lsn(rest, "XLogData")?;
            let (wal_end, rest) = lsn(rest, "XLogData")?;
            // The server's clock at sending: nothing depends on it.
            let (_, payload) = lsn(rest, "XLogData")?;
            Ok(StreamMessage::XLogData(XLogData {
                start,
                wal_end,
                payload,
            }))
        }
        [b'k', rest @ ..] => {
            let (wal_end, rest) = lsn(rest, "keepalive")?;
            let (_, rest) = lsn(rest, "keepalive")?;
            match rest {
                [reply @ (0 | 1)] => Ok(StreamMessage::Keepalive(PrimaryKeepalive {
                    wal_end,
                    reply_requested: *reply == 1,
                })),
                _ => Err(bad(format!(
                    "expected one last byte of 0 or 1 in a keepalive, found {} bytes",
                    rest.len()
                ))),
            }
        }
        [other, ..] => Err(bad(format!(
            "expected XLogData or a keepalive, found a stream message of type 0x{other:02x}"
        ))),
        [] => Err(bad("expected a stream message, found an empty one".into())),
    }
}

fn lsn<'a>(bytes: &'a [u8], what: &str) -> Result<(Lsn, &'a [u8])> {
    match bytes.split_first_chunk::<8>() {
        Some((value, rest)) => Ok((Lsn(u64::from_be_bytes(*value)), rest)),
        None => Err(bad(format!("{what} ends before its last field"))),
    }
}

fn bad(message: String) -> Error {
    Error::new(Kind::Decode, message)
}

/// The length of a status update with the head of its CopyData message.
pub const STATUS_LENGTH: usize = 5 + 1 + 8 + 8 + 8 + 8 + 1;

/// A standby status update, as a whole CopyData message. `write`, `flush` and `apply` are the durable
/// position alone: the server may forget everything before it. With `ask` it replies at once.
pub fn status_update(durable: Lsn, now: PgTimestamp, ask: bool) -> [u8; STATUS_LENGTH] {
    let mut message = [0; STATUS_LENGTH];
    let parts: [&[u8]; 7] = [
        b"d\0\0\0\x26",
        b"r",
        &durable.0.to_be_bytes(),
        &durable.0.to_be_bytes(),
        &durable.0.to_be_bytes(),
        &now.0.to_be_bytes(),
        &[u8::from(ask)],
    ];
    for (place, byte) in message.iter_mut().zip(parts.into_iter().flatten()) {
        *place = *byte;
    }
    message
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_status_update_has_the_length_it_announces() {
        let message = status_update(Lsn(0x0102_0304_0506_0708), PgTimestamp(9), false);
        let announced = u32::from_be_bytes(message[1..5].try_into().unwrap());
        assert_eq!(announced as usize + 1, message.len());
        assert_eq!(message[5], b'r');
        for at in [6, 14, 22] {
            assert_eq!(message[at..at + 8], [1, 2, 3, 4, 5, 6, 7, 8]);
        }
        assert_eq!(message[30..38], 9_u64.to_be_bytes());
        assert_eq!(message[38], 0);
        let asks = status_update(Lsn(1), PgTimestamp(9), true);
        assert_eq!(asks[38], 1);
    }

    #[test]
    fn stream_messages_are_read_and_cut_ones_refused() {
        let mut data = b"w".to_vec();
        data.extend([
            0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 6, 9, 9, 9, 9, 9, 9, 9, 9,
        ]);
        let head = data.len();
        data.extend(b"payload");
        let wanted = XLogData {
            start: Lsn(5),
            wal_end: Lsn(6),
            payload: b"payload",
        };
        assert_eq!(parse(&data).unwrap(), StreamMessage::XLogData(wanted));
        for end in 0..head {
            assert!(parse(&data[..end]).is_err(), "{end}");
        }
        let mut keepalive = b"k".to_vec();
        keepalive.extend([0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        let wanted = PrimaryKeepalive {
            wal_end: Lsn(7),
            reply_requested: true,
        };
        assert_eq!(parse(&keepalive).unwrap(), StreamMessage::Keepalive(wanted));
        for end in 0..keepalive.len() {
            assert!(parse(&keepalive[..end]).is_err(), "{end}");
        }
        keepalive.push(0);
        assert!(parse(&keepalive).is_err());
        assert!(parse(b"x").is_err());
    }
}
