//! `Debug` of messages: names as text, values by length only, since values of rows must not reach a log.

use std::fmt;

use super::buf::{ColumnsBuf, OidsBuf, TupleBuf};
use super::lists::{
    ColumnValue, Columns, Oids, RelationColumn, RelationColumns, TruncatedRelations, TupleData,
    Values,
};
use super::message::{LogicalMessage, Origin, Relation, Type};

/// A name in any encoding, printed with escapes.
struct Name<'a>(&'a [u8]);

impl fmt::Debug for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

/// Bytes of a row or a message, shown by length.
struct Length(usize);

impl fmt::Debug for Length {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0)
    }
}

impl fmt::Debug for Origin<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Origin")
            .field("commit_lsn", &self.commit_lsn)
            .field("name", &Name(self.name))
            .finish()
    }
}

impl fmt::Debug for Relation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Relation")
            .field("relation", &self.relation)
            .field("namespace", &Name(self.namespace))
            .field("name", &Name(self.name))
            .field("replica_identity", &self.replica_identity)
            .field("columns", &self.columns)
            .finish()
    }
}

impl fmt::Debug for RelationColumn<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RelationColumn")
            .field("key", &self.key)
            .field("name", &Name(self.name))
            .field("type_oid", &self.type_oid)
            .field("type_modifier", &self.type_modifier)
            .finish()
    }
}

impl fmt::Debug for Type<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Type")
            .field("type_oid", &self.type_oid)
            .field("namespace", &Name(self.namespace))
            .field("name", &Name(self.name))
            .finish()
    }
}

impl fmt::Debug for LogicalMessage<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogicalMessage")
            .field("transactional", &self.transactional)
            .field("lsn", &self.lsn)
            .field("prefix", &Name(self.prefix))
            .field("content", &Length(self.content.len()))
            .finish()
    }
}

impl fmt::Debug for ColumnValue<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ColumnValue::Null => f.write_str("Null"),
            ColumnValue::UnchangedToast => f.write_str("UnchangedToast"),
            ColumnValue::Text(value) => write!(f, "Text({:?})", Length(value.len())),
            ColumnValue::Binary(value) => write!(f, "Binary({:?})", Length(value.len())),
        }
    }
}

macro_rules! shown_as_borrowed {
    ($($name:ident: $borrow:expr;)*) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&$borrow(self), f)
            }
        }
    )*};
}
shown_as_borrowed! {
    TupleBuf: TupleBuf::tuple;
    ColumnsBuf: ColumnsBuf::columns;
    OidsBuf: OidsBuf::oids;
}

macro_rules! shown_as_list {
    ($($name:ident: $items:expr;)*) => {$(
        impl fmt::Debug for $name<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_list().entries($items(self)).finish()
            }
        }
    )*};
}
shown_as_list! {
    TupleData: TupleData::values;
    Values: Values::clone;
    Columns: Columns::iter;
    RelationColumns: RelationColumns::clone;
    Oids: Oids::iter;
    TruncatedRelations: TruncatedRelations::clone;
}
