//! The messages of protocol version 1, borrowed from the bytes they were decoded from.
//!
//! Source of every type: PostgreSQL documentation, "Logical Replication Message Formats".

use super::lists::{Columns, Oids, TupleData};
use crate::lsn::{Lsn, Oid, PgTimestamp, Xid};

/// A message of logical replication protocol version 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message<'a> {
    /// The start of a transaction.
    Begin(Begin),
    /// The end of a transaction.
    Commit(Commit),
    /// The transaction came to the source by replication from elsewhere.
    Origin(Origin<'a>),
    /// The description of a table, before its first row and after each change of it.
    Relation(Relation<'a>),
    /// The name of a type that is not built in, before the Relation that uses it.
    Type(Type<'a>),
    /// A row was inserted.
    Insert(Insert<'a>),
    /// A row was updated.
    Update(Update<'a>),
    /// A row was deleted.
    Delete(Delete<'a>),
    /// Tables were truncated.
    Truncate(Truncate<'a>),
    /// What `pg_logical_emit_message` wrote; the documentation calls it Message.
    Logical(LogicalMessage<'a>),
}

/// The start of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Begin {
    /// The position of the commit record, as in [`Commit::commit_lsn`]; never 0/0.
    pub final_lsn: Lsn,
    /// When the transaction committed.
    pub commit_time: PgTimestamp,
    /// The transaction.
    pub xid: Xid,
}

/// The end of a transaction. Its flags field is unused and always 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Commit {
    /// Flags; 0, the decoder refuses any other.
    pub flags: u8,
    /// The position of the commit record.
    pub commit_lsn: Lsn,
    /// The position after the commit record: what may be confirmed once the transaction is durable.
    pub end_lsn: Lsn,
    /// When the transaction committed.
    pub commit_time: PgTimestamp,
}

/// Where the transaction came from. There can be several in one transaction.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Origin<'a> {
    /// The position of the commit on the origin server.
    pub commit_lsn: Lsn,
    /// The name of the replication origin.
    pub name: &'a [u8],
}

/// The description of a table as it was when the rows that follow were written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Relation<'a> {
    /// The table's OID, by which rows refer to it.
    pub relation: Oid,
    /// The schema as it is on the wire; empty means `pg_catalog`, see [`Relation::schema`].
    pub namespace: &'a [u8],
    /// The table's name.
    pub name: &'a [u8],
    /// What the server sends of old rows.
    pub replica_identity: ReplicaIdentity,
    /// The published columns, in the order of the values in a row.
    pub columns: Columns<'a>,
}

impl<'a> Relation<'a> {
    /// The schema's name, with `pg_catalog` where the wire has an empty one.
    pub fn schema(&self) -> &'a [u8] {
        or_pg_catalog(self.namespace)
    }

    /// A copy to keep.
    pub fn keep(&self) -> KeptRelation {
        KeptRelation {
            relation: self.relation,
            names: [self.namespace, self.name].map(Box::from),
            replica_identity: self.replica_identity,
            columns: (self.columns.count, self.columns.bytes.into()),
        }
    }
}

/// A [`Relation`] that owns its bytes.
#[derive(Debug)]
pub struct KeptRelation {
    relation: Oid,
    names: [Box<[u8]>; 2],
    replica_identity: ReplicaIdentity,
    columns: (u16, Box<[u8]>),
}

impl KeptRelation {
    /// The message.
    pub fn get(&self) -> Relation<'_> {
        let [namespace, name] = &self.names;
        Relation {
            relation: self.relation,
            namespace,
            name,
            replica_identity: self.replica_identity,
            columns: Columns {
                count: self.columns.0,
                bytes: &self.columns.1,
            },
        }
    }
}

/// The name of a type that is not built in.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Type<'a> {
    /// The type's OID. For a domain it is the domain's, while the names are those of its base type.
    pub type_oid: Oid,
    /// The schema as it is on the wire; empty means `pg_catalog`, see [`Type::schema`].
    pub namespace: &'a [u8],
    /// The type's name.
    pub name: &'a [u8],
}

impl<'a> Type<'a> {
    /// The schema's name, with `pg_catalog` where the wire has an empty one.
    pub fn schema(&self) -> &'a [u8] {
        or_pg_catalog(self.namespace)
    }
}

fn or_pg_catalog(namespace: &[u8]) -> &[u8] {
    match namespace {
        [] => b"pg_catalog",
        name => name,
    }
}

/// What the server sends of old rows: `pg_class.relreplident`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReplicaIdentity {
    /// `d`: the primary key, where there is one.
    Default,
    /// `n`: nothing.
    Nothing,
    /// `f`: the whole row.
    Full,
    /// `i`: the columns of an index.
    Index,
}

impl ReplicaIdentity {
    /// From the letter in `pg_class.relreplident`; `None` for one that PostgreSQL does not have.
    pub fn from_relreplident(letter: u8) -> Option<ReplicaIdentity> {
        Some(match letter {
            b'd' => ReplicaIdentity::Default,
            b'n' => ReplicaIdentity::Nothing,
            b'f' => ReplicaIdentity::Full,
            b'i' => ReplicaIdentity::Index,
            _ => return None,
        })
    }

    /// The letter in `pg_class.relreplident`.
    pub fn relreplident(self) -> u8 {
        match self {
            ReplicaIdentity::Default => b'd',
            ReplicaIdentity::Nothing => b'n',
            ReplicaIdentity::Full => b'f',
            ReplicaIdentity::Index => b'i',
        }
    }
}

/// A row was inserted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Insert<'a> {
    /// The table.
    pub relation: Oid,
    /// The row.
    pub new: TupleData<'a>,
}

/// A row was updated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Update<'a> {
    /// The table.
    pub relation: Oid,
    /// The old row, as far as it was sent: its key only where a column of the key changed (or was
    /// stored out of line), all of it under REPLICA IDENTITY FULL.
    pub old: Option<OldTuple<'a>>,
    /// The new row.
    pub new: TupleData<'a>,
}

/// A row was deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delete<'a> {
    /// The table.
    pub relation: Oid,
    /// The row that is gone.
    pub old: OldTuple<'a>,
}

/// An old row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OldTuple<'a> {
    /// `K`: only the columns of the replica identity have values; the others are
    /// [`ColumnValue::Null`](super::ColumnValue::Null), whatever they held.
    Key(TupleData<'a>),
    /// `O`: the whole row, of a table with REPLICA IDENTITY FULL.
    Full(TupleData<'a>),
}

impl<'a> OldTuple<'a> {
    /// The values, of the key or of the whole row.
    pub fn data(&self) -> TupleData<'a> {
        match *self {
            OldTuple::Key(data) | OldTuple::Full(data) => data,
        }
    }
}

/// Tables were truncated by one statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Truncate<'a> {
    /// The published ones among the tables.
    pub relations: Oids<'a>,
    /// Whether the statement said CASCADE.
    pub cascade: bool,
    /// Whether the statement said RESTART IDENTITY.
    pub restart_identity: bool,
}

/// What `pg_logical_emit_message` wrote.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct LogicalMessage<'a> {
    /// Whether it is part of the transaction it stands in; a message that is not stands outside of
    /// any.
    pub transactional: bool,
    /// Its position.
    pub lsn: Lsn,
    /// The prefix, by which a reader knows its own messages.
    pub prefix: &'a [u8],
    /// The content: any bytes.
    pub content: &'a [u8],
}
