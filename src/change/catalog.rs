//! Questions to the source's catalog about relations and types, which the stream does not answer.

use super::json::{Ask, ValueType};
use crate::error::Result;
use crate::lsn::{Lsn, Oid, PgTimestamp, Xid};

/// What the stream does not tell about a relation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RelationFacts {
    /// The relation is the table of changes or of progress, or a partition or inheritance child of one.
    pub ours: bool,
    /// The columns of the primary key in their order; empty where there is none.
    pub primary_key: Vec<String>,
    /// The columns of the replica identity index in their order; empty where there is none.
    pub identity_index: Vec<String>,
}

/// OIDs from here on belong to objects of users (`FirstNormalObjectId`, `transam.h`). Types below it
/// come with the server and do not change.
pub const FIRST_USER_OID: u32 = 16_384;

/// How current the answers about types are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TypesAt {
    /// They hold for transactions that committed until then, by the source's clock.
    pub as_of: PgTimestamp,
    /// Changes when an answer may have changed.
    pub generation: u64,
}

/// The catalog of the source.
pub trait Catalog: Ask {
    /// Waits until other sessions see what this transaction did to the catalog: the stream brings a commit as
    /// soon as it is in the WAL, which is earlier. False where the transaction itself waits for zemi as its
    /// synchronous standby: then the answers are those of before the transaction, and are asked for again at
    /// the next Relation message, which follows every transaction that changed a relation.
    ///
    /// # Errors
    /// A source that does not answer.
    fn wait_until_visible(&mut self, _transaction: Xid) -> Result<bool> {
        Ok(true)
    }

    /// The facts of a relation as they are now; defaults for one that is gone.
    fn relation(&mut self, relation: Oid) -> Result<RelationFacts>;

    /// How a type's values become JSON; text for a type that is gone.
    fn value_type(&mut self, type_oid: Oid) -> Result<ValueType>;

    /// Makes sure that [`Catalog::value_type`] of these types holds for a transaction that committed at
    /// this time: asks again where what is known is older, and otherwise nothing.
    fn types_at(&mut self, types: &[Oid], at: PgTimestamp) -> Result<TypesAt>;

    /// Those of these relations that do not exist, and where WAL ended then, or later. None where the source
    /// does not answer: it is asked again another time.
    ///
    /// # Errors
    /// The end was asked for.
    fn gone(&mut self, _relations: &[Oid]) -> Result<(Vec<Oid>, Lsn)> {
        Ok((Vec::new(), Lsn::ZERO))
    }

    /// Forgets what is known of types, so that all are asked for again.
    fn forget_types(&mut self);
}
