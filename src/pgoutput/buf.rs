//! Owned tuples, columns and relation lists, from which messages to [`encode`](super::encode)
//! borrow.

use super::encode::{EncodeError, column_count, put_column, put_value};
use super::lists::{ColumnValue, Columns, Oids, RelationColumn, TupleData};
use crate::lsn::Oid;

/// The values of a row, owned.
///
/// ```
/// use zemi::lsn::Oid;
/// use zemi::fuzzing::pgoutput::{ColumnValue, Insert, Message, TupleBuf, decode, encode};
///
/// let row = TupleBuf::new(&[ColumnValue::Text(b"42"), ColumnValue::Null])?;
/// let message = Message::Insert(Insert { relation: Oid(16385), new: row.tuple() });
/// let mut bytes = Vec::new();
/// encode(&message, &mut bytes)?;
/// assert_eq!(decode(&bytes), Ok(message));
/// # Ok::<(), zemi::fuzzing::pgoutput::EncodeError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct TupleBuf {
    count: u16,
    bytes: Vec<u8>,
}

impl TupleBuf {
    /// Owns `values`: at most 32767, each of less than 2 GiB.
    pub fn new(values: &[ColumnValue<'_>]) -> Result<TupleBuf, EncodeError> {
        let count = column_count(values.len())?;
        let mut bytes = Vec::new();
        for &value in values {
            put_value(&mut bytes, value)?;
        }
        Ok(TupleBuf { count, bytes })
    }

    /// The values as a message holds them.
    pub fn tuple(&self) -> TupleData<'_> {
        TupleData {
            count: self.count,
            bytes: &self.bytes,
        }
    }
}

/// The columns of a relation, owned.
#[derive(Clone, PartialEq, Eq)]
pub struct ColumnsBuf {
    count: u16,
    bytes: Vec<u8>,
}

impl ColumnsBuf {
    /// Owns `columns`: at most 32767, with no zero byte in a name.
    pub fn new(columns: &[RelationColumn<'_>]) -> Result<ColumnsBuf, EncodeError> {
        let count = column_count(columns.len())?;
        let mut bytes = Vec::new();
        for column in columns {
            put_column(&mut bytes, column)?;
        }
        Ok(ColumnsBuf { count, bytes })
    }

    /// The columns as a message holds them.
    pub fn columns(&self) -> Columns<'_> {
        Columns {
            count: self.count,
            bytes: &self.bytes,
        }
    }
}

/// The relations of a Truncate, owned.
#[derive(Clone, PartialEq, Eq)]
pub struct OidsBuf {
    bytes: Vec<u8>,
}

impl OidsBuf {
    /// Owns `relations`.
    pub fn new(relations: &[Oid]) -> OidsBuf {
        OidsBuf {
            bytes: relations
                .iter()
                .flat_map(|oid| oid.0.to_be_bytes())
                .collect(),
        }
    }

    /// The relations as a message holds them.
    pub fn oids(&self) -> Oids<'_> {
        Oids { bytes: &self.bytes }
    }
}
