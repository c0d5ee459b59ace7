//! The repeated parts of messages: values of a row, columns of a table, truncated tables.
//!
//! Each is a count and borrowed bytes that the decoder checked in one pass; the iterators read them
//! again and cannot fail.

use std::iter::FusedIterator;

use crate::lsn::Oid;

/// The value of one column.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum ColumnValue<'a> {
    /// `n`: NULL; also every column outside the key in [`OldTuple::Key`](super::OldTuple::Key).
    Null,
    /// `u`: a TOASTed value that did not change, which the server does not send again.
    UnchangedToast,
    /// `t`: the text that the type's output function gives.
    Text(&'a [u8]),
    /// `b`: the bytes that the type's send function gives; only with the option `binary`.
    Binary(&'a [u8]),
}

/// The values of one row, in the order of the columns of its [`Relation`](super::Relation).
///
/// Its bytes were checked when the message was decoded: [`TupleData::values`] gives exactly
/// [`TupleData::len`] values.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TupleData<'a> {
    pub(super) count: u16,
    pub(super) bytes: &'a [u8],
}

impl<'a> TupleData<'a> {
    /// The number of columns, at most 32767 (PostgreSQL's own limit is 1600).
    pub fn len(&self) -> usize {
        usize::from(self.count)
    }

    /// Whether the row has no columns.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The values in order.
    pub fn values(&self) -> Values<'a> {
        Values {
            left: self.count,
            rest: self.bytes,
        }
    }
}

/// The values of a row, see [`TupleData::values`].
#[derive(Clone)]
pub struct Values<'a> {
    left: u16,
    rest: &'a [u8],
}

impl<'a> Iterator for Values<'a> {
    type Item = ColumnValue<'a>;

    #[inline]
    fn next(&mut self) -> Option<ColumnValue<'a>> {
        self.left = self.left.checked_sub(1)?;
        let (&kind, rest) = self.rest.split_first()?;
        self.rest = rest;
        match kind {
            b'n' => return Some(ColumnValue::Null),
            b'u' => return Some(ColumnValue::UnchangedToast),
            _ => {}
        }
        let (length, rest) = rest.split_first_chunk()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        let (value, rest) = rest.split_at_checked(length)?;
        self.rest = rest;
        // The decoder has refused every other kind.
        Some(match kind {
            b'b' => ColumnValue::Binary(value),
            _ => ColumnValue::Text(value),
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (usize::from(self.left), Some(usize::from(self.left)))
    }
}

impl ExactSizeIterator for Values<'_> {}
impl FusedIterator for Values<'_> {}

/// A column of a [`Relation`](super::Relation).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RelationColumn<'a> {
    /// Whether it is part of the replica identity; REPLICA IDENTITY FULL marks every column.
    pub key: bool,
    /// The column's name.
    pub name: &'a [u8],
    /// The OID of its type.
    pub type_oid: Oid,
    /// `pg_attribute.atttypmod`; -1 where the type takes none.
    pub type_modifier: i32,
}

/// The columns of a [`Relation`](super::Relation).
///
/// Its bytes were checked when the message was decoded: [`Columns::iter`] gives exactly
/// [`Columns::len`] columns.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Columns<'a> {
    pub(super) count: u16,
    pub(super) bytes: &'a [u8],
}

impl<'a> Columns<'a> {
    /// The number of columns, at most 32767 (PostgreSQL's own limit is 1600).
    pub fn len(&self) -> usize {
        usize::from(self.count)
    }

    /// Whether the table has no published columns.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The columns in order.
    pub fn iter(&self) -> RelationColumns<'a> {
        RelationColumns {
            left: self.count,
            rest: self.bytes,
        }
    }
}

impl<'a> IntoIterator for Columns<'a> {
    type Item = RelationColumn<'a>;
    type IntoIter = RelationColumns<'a>;

    fn into_iter(self) -> RelationColumns<'a> {
        self.iter()
    }
}

/// The columns of a relation, see [`Columns::iter`].
#[derive(Clone)]
pub struct RelationColumns<'a> {
    left: u16,
    rest: &'a [u8],
}

impl<'a> Iterator for RelationColumns<'a> {
    type Item = RelationColumn<'a>;

    fn next(&mut self) -> Option<RelationColumn<'a>> {
        self.left = self.left.checked_sub(1)?;
        let (&flags, rest) = self.rest.split_first()?;
        let (name, rest) = rest.split_at_checked(rest.iter().position(|&byte| byte == 0)?)?;
        let (_, rest) = rest.split_first()?;
        let (type_oid, rest) = rest.split_first_chunk()?;
        let (type_modifier, rest) = rest.split_first_chunk()?;
        self.rest = rest;
        Some(RelationColumn {
            key: flags != 0,
            name,
            type_oid: Oid(u32::from_be_bytes(*type_oid)),
            type_modifier: i32::from_be_bytes(*type_modifier),
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (usize::from(self.left), Some(usize::from(self.left)))
    }
}

impl ExactSizeIterator for RelationColumns<'_> {}
impl FusedIterator for RelationColumns<'_> {}

/// The tables of a [`Truncate`](super::Truncate).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Oids<'a> {
    pub(super) bytes: &'a [u8],
}

impl<'a> Oids<'a> {
    /// The number of tables.
    pub fn len(&self) -> usize {
        self.bytes.len() / size_of::<u32>()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The OIDs in order.
    pub fn iter(&self) -> TruncatedRelations<'a> {
        TruncatedRelations { rest: self.bytes }
    }
}

impl<'a> IntoIterator for Oids<'a> {
    type Item = Oid;
    type IntoIter = TruncatedRelations<'a>;

    fn into_iter(self) -> TruncatedRelations<'a> {
        self.iter()
    }
}

/// The OIDs of truncated tables, see [`Oids::iter`].
#[derive(Clone)]
pub struct TruncatedRelations<'a> {
    rest: &'a [u8],
}

impl Iterator for TruncatedRelations<'_> {
    type Item = Oid;

    fn next(&mut self) -> Option<Oid> {
        let (oid, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(Oid(u32::from_be_bytes(*oid)))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.rest.len() / size_of::<u32>();
        (left, Some(left))
    }
}

impl ExactSizeIterator for TruncatedRelations<'_> {}
impl FusedIterator for TruncatedRelations<'_> {}
