//! The messages of the output plugin `pgoutput`, logical replication protocol version 1: bytes to
//! messages and back.
//!
//! Source: PostgreSQL documentation, "Logical Replication Message Formats", and the server's
//! `replication/logical/proto.c`. Version 1 knows ten messages: Begin, Commit, Origin, Relation,
//! Type, Insert, Update, Delete, Truncate and Message. Those of later versions (streamed and
//! prepared transactions) are refused by name.
//!
//! Pure: no socket, thread, clock or log. A message borrows everything from the bytes it was
//! decoded from and owns no memory, so decoding a row allocates nothing. All bounds are checked
//! once, by [`decode`]; the iterators over columns, values and relations that a decoded message
//! gives cannot fail.
//!
//! Names are bytes, not text: they come in the client encoding, which is UTF-8 only where the
//! server converts to it, and a database in SQL_ASCII holds whatever its clients wrote.
//!
//! The encoder ([`encode`], with [`TupleBuf`], [`ColumnsBuf`] and [`OidsBuf`] to build the parts)
//! is for tests, fuzz targets and peers that play a server.

mod buf;
mod cursor;
mod debug;
mod decode;
mod encode;
mod error;
mod lists;
mod message;

#[cfg(test)]
mod golden;
#[cfg(test)]
mod roundtrip;
#[cfg(test)]
mod samples;
#[cfg(test)]
mod tests;

pub use buf::{ColumnsBuf, OidsBuf, TupleBuf};
pub use decode::{decode, peek};
pub use encode::{EncodeError, encode};
pub use error::{DecodeError, Problem};
pub use lists::{
    ColumnValue, Columns, Oids, RelationColumn, RelationColumns, TruncatedRelations, TupleData,
    Values,
};
pub use message::{
    Begin, Commit, Delete, Insert, KeptRelation, LogicalMessage, Message, OldTuple, Origin,
    Relation, ReplicaIdentity, Truncate, Type, Update,
};
