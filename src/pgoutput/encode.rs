//! Messages to bytes, for tests, fuzz targets and peers that play a server.

use std::fmt;

use super::decode::{
    COLUMN_IN_KEY, MESSAGE_TRANSACTIONAL, TRUNCATE_CASCADE, TRUNCATE_RESTART_IDENTITY,
};
use super::lists::{ColumnValue, Columns, RelationColumn, TupleData};
use super::message::{Message, OldTuple};

/// The error of a message that the format cannot express.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EncodeError {
    /// A name with a zero byte, which would end it early.
    ZeroByte(&'static str),
    /// A length or count past what its field holds.
    TooLarge(&'static str),
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EncodeError::ZeroByte(field) => write!(f, "{field}: expected no zero byte, found one"),
            EncodeError::TooLarge(field) => write!(f, "{field}: too large for the message format"),
        }
    }
}

impl std::error::Error for EncodeError {}

/// Appends the bytes of `message` to `out`, as `decode` reads them.
///
/// Tuples, columns and relations are written item by item from their iterators. On an error `out`
/// is as it was.
pub fn encode(message: &Message<'_>, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    let start = out.len();
    let result = put_message(out, message);
    if result.is_err() {
        out.truncate(start);
    }
    result
}

fn put_message(out: &mut Vec<u8>, message: &Message<'_>) -> Result<(), EncodeError> {
    match message {
        Message::Begin(begin) => {
            out.push(b'B');
            out.extend(begin.final_lsn.0.to_be_bytes());
            out.extend(begin.commit_time.0.to_be_bytes());
            out.extend(begin.xid.0.to_be_bytes());
        }
        Message::Commit(commit) => {
            out.extend([b'C', commit.flags]);
            out.extend(commit.commit_lsn.0.to_be_bytes());
            out.extend(commit.end_lsn.0.to_be_bytes());
            out.extend(commit.commit_time.0.to_be_bytes());
        }
        Message::Origin(origin) => {
            out.push(b'O');
            out.extend(origin.commit_lsn.0.to_be_bytes());
            put_c_string(out, "origin name", origin.name)?;
        }
        Message::Relation(relation) => {
            out.push(b'R');
            out.extend(relation.relation.0.to_be_bytes());
            put_c_string(out, "namespace", relation.namespace)?;
            put_c_string(out, "relation name", relation.name)?;
            out.push(relation.replica_identity.relreplident());
            put_columns(out, &relation.columns)?;
        }
        Message::Type(named) => {
            out.push(b'Y');
            out.extend(named.type_oid.0.to_be_bytes());
            put_c_string(out, "namespace", named.namespace)?;
            put_c_string(out, "type name", named.name)?;
        }
        Message::Insert(insert) => {
            out.push(b'I');
            out.extend(insert.relation.0.to_be_bytes());
            put_tuple(out, b'N', &insert.new)?;
        }
        Message::Update(update) => {
            out.push(b'U');
            out.extend(update.relation.0.to_be_bytes());
            if let Some(old) = &update.old {
                put_old_tuple(out, old)?;
            }
            put_tuple(out, b'N', &update.new)?;
        }
        Message::Delete(delete) => {
            out.push(b'D');
            out.extend(delete.relation.0.to_be_bytes());
            put_old_tuple(out, &delete.old)?;
        }
        Message::Truncate(truncate) => {
            out.push(b'T');
            put_length(out, "number of relations", truncate.relations.len())?;
            let cascade = if truncate.cascade {
                TRUNCATE_CASCADE
            } else {
                0
            };
            let restart = if truncate.restart_identity {
                TRUNCATE_RESTART_IDENTITY
            } else {
                0
            };
            out.push(cascade | restart);
            for relation in truncate.relations {
                out.extend(relation.0.to_be_bytes());
            }
        }
        Message::Logical(logical) => {
            out.push(b'M');
            out.push(if logical.transactional {
                MESSAGE_TRANSACTIONAL
            } else {
                0
            });
            out.extend(logical.lsn.0.to_be_bytes());
            put_c_string(out, "prefix", logical.prefix)?;
            put_length(out, "content", logical.content.len())?;
            out.extend(logical.content);
        }
    }
    Ok(())
}

fn put_old_tuple(out: &mut Vec<u8>, old: &OldTuple<'_>) -> Result<(), EncodeError> {
    match old {
        OldTuple::Key(tuple) => put_tuple(out, b'K', tuple),
        OldTuple::Full(tuple) => put_tuple(out, b'O', tuple),
    }
}

fn put_tuple(out: &mut Vec<u8>, kind: u8, tuple: &TupleData<'_>) -> Result<(), EncodeError> {
    out.push(kind);
    out.extend(tuple.count.to_be_bytes());
    for value in tuple.values() {
        put_value(out, value)?;
    }
    Ok(())
}

fn put_columns(out: &mut Vec<u8>, columns: &Columns<'_>) -> Result<(), EncodeError> {
    out.extend(columns.count.to_be_bytes());
    for column in columns.iter() {
        put_column(out, &column)?;
    }
    Ok(())
}

/// Appends one value of a tuple.
pub(super) fn put_value(out: &mut Vec<u8>, value: ColumnValue<'_>) -> Result<(), EncodeError> {
    let (kind, bytes) = match value {
        ColumnValue::Null => (b'n', None),
        ColumnValue::UnchangedToast => (b'u', None),
        ColumnValue::Text(bytes) => (b't', Some(bytes)),
        ColumnValue::Binary(bytes) => (b'b', Some(bytes)),
    };
    out.push(kind);
    if let Some(bytes) = bytes {
        put_length(out, "value", bytes.len())?;
        out.extend(bytes);
    }
    Ok(())
}

/// Appends one column of a Relation.
pub(super) fn put_column(
    out: &mut Vec<u8>,
    column: &RelationColumn<'_>,
) -> Result<(), EncodeError> {
    out.push(if column.key { COLUMN_IN_KEY } else { 0 });
    put_c_string(out, "column name", column.name)?;
    out.extend(column.type_oid.0.to_be_bytes());
    out.extend(column.type_modifier.to_be_bytes());
    Ok(())
}

/// A number of columns as its two bytes can hold it: they are signed.
pub(super) fn column_count(count: usize) -> Result<u16, EncodeError> {
    match i16::try_from(count) {
        Ok(_) => u16::try_from(count).map_err(|_| EncodeError::TooLarge("number of columns")),
        Err(_) => Err(EncodeError::TooLarge("number of columns")),
    }
}

fn put_c_string(out: &mut Vec<u8>, field: &'static str, name: &[u8]) -> Result<(), EncodeError> {
    if name.contains(&0) {
        return Err(EncodeError::ZeroByte(field));
    }
    out.extend(name);
    out.push(0);
    Ok(())
}

fn put_length(out: &mut Vec<u8>, field: &'static str, length: usize) -> Result<(), EncodeError> {
    let length = i32::try_from(length).map_err(|_| EncodeError::TooLarge(field))?;
    out.extend(length.to_be_bytes());
    Ok(())
}
