//! Bytes to messages.

use super::cursor::Cursor;
use super::error::{DecodeError, Problem};
use super::lists::{Columns, Oids, TupleData};
use super::message::{
    Begin, Commit, Delete, Insert, LogicalMessage, Message, OldTuple, Origin, Relation,
    ReplicaIdentity, Truncate, Type, Update,
};
use crate::lsn::{Lsn, Oid, PgTimestamp, Xid};

/// The column flag of Relation (`LOGICALREP_IS_REPLICA_IDENTITY` in `proto.c`).
pub(super) const COLUMN_IN_KEY: u8 = 1;
/// A flag of Truncate (`TRUNCATE_CASCADE`).
pub(super) const TRUNCATE_CASCADE: u8 = 1;
/// A flag of Truncate (`TRUNCATE_RESTART_SEQS`).
pub(super) const TRUNCATE_RESTART_IDENTITY: u8 = 2;
/// The flag of Message (`MESSAGE_TRANSACTIONAL`).
pub(super) const MESSAGE_TRANSACTIONAL: u8 = 1;

/// Decodes one message of logical replication protocol version 1; allocates nothing.
///
/// `bytes` is the content of one XLogData message, or one row of
/// `pg_logical_slot_get_binary_changes`: it must hold the message and nothing after it.
///
/// Refuses tags of later protocol versions and unknown ones, fields that reach past the end,
/// lengths and counts below zero, flags that version 1 does not have, and trailing bytes.
///
/// ```
/// use zemi::fuzzing::pgoutput::{ColumnValue, Message, decode};
///
/// let bytes = b"I\x00\x00\x40\x01N\x00\x02t\x00\x00\x00\x0242n";
/// let Message::Insert(insert) = decode(bytes)? else { unreachable!() };
/// assert_eq!(insert.relation.0, 16385);
/// let values: Vec<_> = insert.new.values().collect();
/// assert_eq!(values, [ColumnValue::Text(b"42"), ColumnValue::Null]);
/// # Ok::<(), zemi::fuzzing::pgoutput::DecodeError>(())
/// ```
pub fn decode(bytes: &[u8]) -> Result<Message<'_>, DecodeError> {
    let tag = Cursor::new("message", bytes).u8("tag")?;
    match tag {
        b'I' => read("Insert", bytes, insert).map(Message::Insert),
        b'U' => read("Update", bytes, update).map(Message::Update),
        b'D' => read("Delete", bytes, delete).map(Message::Delete),
        b'B' => read("Begin", bytes, begin).map(Message::Begin),
        b'C' => read("Commit", bytes, commit).map(Message::Commit),
        b'R' => read("Relation", bytes, relation).map(Message::Relation),
        b'M' => read("Message", bytes, logical_message).map(Message::Logical),
        b'T' => read("Truncate", bytes, truncate).map(Message::Truncate),
        b'Y' => read("Type", bytes, type_name).map(Message::Type),
        b'O' => read("Origin", bytes, origin).map(Message::Origin),
        _ => Err(refused_tag(tag)),
    }
}

/// Reads the tag of a message and, of those that are about one table (Relation, Insert, Update,
/// Delete), the table's OID, without decoding it.
///
/// `None` where `bytes` is empty. The tag may be any byte, and the OID is missing where the message
/// is too short to hold it: only [`decode`] validates.
pub fn peek(bytes: &[u8]) -> Option<(u8, Option<Oid>)> {
    let (&tag, rest) = bytes.split_first()?;
    let relation = match tag {
        b'R' | b'I' | b'U' | b'D' => rest.first_chunk().map(|oid| Oid(u32::from_be_bytes(*oid))),
        _ => None,
    };
    Some((tag, relation))
}

/// Reads the fields of the message `name` behind its tag, and refuses bytes behind them.
#[inline]
fn read<'a, T>(
    name: &'static str,
    bytes: &'a [u8],
    fields: impl FnOnce(&mut Cursor<'a>) -> Result<T, DecodeError>,
) -> Result<T, DecodeError> {
    let mut cursor = Cursor::new(name, bytes);
    cursor.u8("tag")?;
    let message = fields(&mut cursor)?;
    cursor.end()?;
    Ok(message)
}

/// The error for a tag that version 1 does not have, naming the message where a later version has
/// it.
#[cold]
fn refused_tag(tag: u8) -> DecodeError {
    let (message, problem) = match tag {
        b'S' => ("Stream Start", Problem::LaterVersion(2)),
        b'E' => ("Stream Stop", Problem::LaterVersion(2)),
        b'c' => ("Stream Commit", Problem::LaterVersion(2)),
        b'A' => ("Stream Abort", Problem::LaterVersion(2)),
        b'b' => ("Begin Prepare", Problem::LaterVersion(3)),
        b'P' => ("Prepare", Problem::LaterVersion(3)),
        b'K' => ("Commit Prepared", Problem::LaterVersion(3)),
        b'r' => ("Rollback Prepared", Problem::LaterVersion(3)),
        b'p' => ("Stream Prepare", Problem::LaterVersion(3)),
        _ => ("message", Problem::UnknownTag(tag)),
    };
    Cursor::new(message, &[]).error("tag", 0, problem)
}

fn begin(cursor: &mut Cursor<'_>) -> Result<Begin, DecodeError> {
    let offset = cursor.offset();
    let final_lsn = lsn(cursor, "final LSN")?;
    if final_lsn == Lsn::ZERO {
        return Err(cursor.error("final LSN", offset, Problem::NoPosition));
    }
    Ok(Begin {
        final_lsn,
        commit_time: time(cursor, "commit time")?,
        xid: Xid(cursor.u32("xid")?),
    })
}

fn commit(cursor: &mut Cursor<'_>) -> Result<Commit, DecodeError> {
    Ok(Commit {
        flags: one_of(cursor, "flags", &[0], "0")?,
        commit_lsn: lsn(cursor, "commit LSN")?,
        end_lsn: lsn(cursor, "end LSN")?,
        commit_time: time(cursor, "commit time")?,
    })
}

fn origin<'a>(cursor: &mut Cursor<'a>) -> Result<Origin<'a>, DecodeError> {
    Ok(Origin {
        commit_lsn: lsn(cursor, "commit LSN on the origin")?,
        name: cursor.c_string("name")?,
    })
}

fn relation<'a>(cursor: &mut Cursor<'a>) -> Result<Relation<'a>, DecodeError> {
    Ok(Relation {
        relation: oid(cursor, "relation OID")?,
        namespace: cursor.c_string("namespace")?,
        name: cursor.c_string("name")?,
        replica_identity: replica_identity(cursor)?,
        columns: columns(cursor)?,
    })
}

fn replica_identity(cursor: &mut Cursor<'_>) -> Result<ReplicaIdentity, DecodeError> {
    let (field, offset) = ("replica identity", cursor.offset());
    let found = cursor.u8(field)?;
    let expected = "one of d n f i";
    ReplicaIdentity::from_relreplident(found)
        .ok_or_else(|| cursor.error(field, offset, Problem::Unexpected { expected, found }))
}

fn columns<'a>(cursor: &mut Cursor<'a>) -> Result<Columns<'a>, DecodeError> {
    let count = cursor.count16("number of columns")?;
    let start = cursor.rest();
    for index in 0..count {
        skip_column(cursor).map_err(|error| in_column(error, index))?;
    }
    Ok(Columns {
        count,
        bytes: cursor.read_since(start),
    })
}

/// Checks one column; [`RelationColumns`](super::RelationColumns) reads it again later.
fn skip_column(cursor: &mut Cursor<'_>) -> Result<(), DecodeError> {
    one_of(cursor, "flags", &[0, COLUMN_IN_KEY], "0 or 1")?;
    cursor.c_string("name")?;
    oid(cursor, "type OID")?;
    cursor.i32("type modifier")?;
    Ok(())
}

fn type_name<'a>(cursor: &mut Cursor<'a>) -> Result<Type<'a>, DecodeError> {
    Ok(Type {
        type_oid: oid(cursor, "type OID")?,
        namespace: cursor.c_string("namespace")?,
        name: cursor.c_string("name")?,
    })
}

fn insert<'a>(cursor: &mut Cursor<'a>) -> Result<Insert<'a>, DecodeError> {
    let relation = oid(cursor, "relation OID")?;
    one_of(cursor, "kind of tuple", b"N", "N")?;
    Ok(Insert {
        relation,
        new: tuple(cursor, &NEW)?,
    })
}

fn update<'a>(cursor: &mut Cursor<'a>) -> Result<Update<'a>, DecodeError> {
    let relation = oid(cursor, "relation OID")?;
    let old = match one_of(cursor, "kind of tuple", b"KON", "one of K O N")? {
        b'K' => Some(OldTuple::Key(tuple(cursor, &KEY)?)),
        b'O' => Some(OldTuple::Full(tuple(cursor, &OLD)?)),
        _ => None,
    };
    if old.is_some() {
        one_of(cursor, "kind of second tuple", b"N", "N")?;
    }
    Ok(Update {
        relation,
        old,
        new: tuple(cursor, &NEW)?,
    })
}

fn delete<'a>(cursor: &mut Cursor<'a>) -> Result<Delete<'a>, DecodeError> {
    let relation = oid(cursor, "relation OID")?;
    let old = match one_of(cursor, "kind of tuple", b"KO", "K or O")? {
        b'K' => OldTuple::Key(tuple(cursor, &KEY)?),
        _ => OldTuple::Full(tuple(cursor, &OLD)?),
    };
    Ok(Delete { relation, old })
}

/// How errors name the fields of a tuple.
struct TupleFields {
    count: &'static str,
    kind: &'static str,
    length: &'static str,
    value: &'static str,
}

static NEW: TupleFields = TupleFields {
    count: "number of columns of the new tuple",
    kind: "kind of value in the new tuple",
    length: "length of value in the new tuple",
    value: "value in the new tuple",
};

static KEY: TupleFields = TupleFields {
    count: "number of columns of the key tuple",
    kind: "kind of value in the key tuple",
    length: "length of value in the key tuple",
    value: "value in the key tuple",
};

static OLD: TupleFields = TupleFields {
    count: "number of columns of the old tuple",
    kind: "kind of value in the old tuple",
    length: "length of value in the old tuple",
    value: "value in the old tuple",
};

#[inline]
fn tuple<'a>(
    cursor: &mut Cursor<'a>,
    fields: &'static TupleFields,
) -> Result<TupleData<'a>, DecodeError> {
    let count = cursor.count16(fields.count)?;
    let start = cursor.rest();
    for index in 0..count {
        skip_value(cursor, fields).map_err(|error| in_column(error, index))?;
    }
    Ok(TupleData {
        count,
        bytes: cursor.read_since(start),
    })
}

/// Checks one value; [`Values`](super::Values) reads it again later.
#[inline]
fn skip_value(cursor: &mut Cursor<'_>, fields: &'static TupleFields) -> Result<(), DecodeError> {
    let offset = cursor.offset();
    match cursor.u8(fields.kind)? {
        b'n' | b'u' => {}
        b't' | b'b' => {
            let length = cursor.count32(fields.length)?;
            cursor.bytes(length, fields.value)?;
        }
        found => {
            let expected = "one of n u t b";
            let problem = Problem::Unexpected { expected, found };
            return Err(cursor.error(fields.kind, offset, problem));
        }
    }
    Ok(())
}

fn truncate<'a>(cursor: &mut Cursor<'a>) -> Result<Truncate<'a>, DecodeError> {
    let count = cursor.count32("number of relations")?;
    let flags = one_of(cursor, "flags", &[0, 1, 2, 3], "0 to 3")?;
    // On 32 bits the product saturates; such a count reaches past the end as well.
    let bytes = cursor.bytes(count.saturating_mul(size_of::<u32>()), "relation OIDs")?;
    Ok(Truncate {
        relations: Oids { bytes },
        cascade: flags & TRUNCATE_CASCADE != 0,
        restart_identity: flags & TRUNCATE_RESTART_IDENTITY != 0,
    })
}

fn logical_message<'a>(cursor: &mut Cursor<'a>) -> Result<LogicalMessage<'a>, DecodeError> {
    let transactional = one_of(cursor, "flags", &[0, 1], "0 or 1")? == MESSAGE_TRANSACTIONAL;
    let lsn = lsn(cursor, "LSN")?;
    let prefix = cursor.c_string("prefix")?;
    let length = cursor.count32("length of content")?;
    Ok(LogicalMessage {
        transactional,
        lsn,
        prefix,
        content: cursor.bytes(length, "content")?,
    })
}

fn lsn(cursor: &mut Cursor<'_>, field: &'static str) -> Result<Lsn, DecodeError> {
    cursor.u64(field).map(Lsn)
}

fn time(cursor: &mut Cursor<'_>, field: &'static str) -> Result<PgTimestamp, DecodeError> {
    cursor.i64(field).map(PgTimestamp)
}

fn oid(cursor: &mut Cursor<'_>, field: &'static str) -> Result<Oid, DecodeError> {
    cursor.u32(field).map(Oid)
}

/// A byte that can only be one of `allowed`; `expected` is how an error names these.
#[inline]
fn one_of(
    cursor: &mut Cursor<'_>,
    field: &'static str,
    allowed: &[u8],
    expected: &'static str,
) -> Result<u8, DecodeError> {
    let offset = cursor.offset();
    let found = cursor.u8(field)?;
    if allowed.contains(&found) {
        Ok(found)
    } else {
        Err(cursor.error(field, offset, Problem::Unexpected { expected, found }))
    }
}

/// Names the column of an error; `index` counts from 0.
#[cold]
fn in_column(error: DecodeError, index: u16) -> DecodeError {
    DecodeError {
        column: Some(index.saturating_add(1)),
        ..error
    }
}
