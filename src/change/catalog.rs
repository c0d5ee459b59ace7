//! Questions to the source's catalog about relations and types, which the stream does not answer.

use super::encoding::Convert;
use super::json::{Ask, ValueType};
use super::lineage::Ancestor;
use super::truncate::TreeNode;
use crate::error::Result;
use crate::lsn::{Lsn, Oid, PgTimestamp, Xid};

/// A relation as a Relation message describes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Described<'a> {
    /// Its OID.
    pub relation: Oid,
    /// The schema that it had then.
    pub schema: &'a str,
    /// The name that it had then.
    pub table: &'a str,
    /// The transaction of the rows behind the message.
    pub xid: Option<Xid>,
    /// It is asked for again, without another message, for a transaction that committed then.
    pub again: Option<PgTimestamp>,
}

/// For which transactions the names above a relation hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Holds {
    /// For all: with another name, a Relation message comes.
    #[default]
    Always,
    /// As long as [`Catalog::lineages_at`] gives this generation.
    While(u64),
    /// For those that committed before the names were asked for: these changed, before some of those.
    UntilAsked,
    /// For one: its rows were written before the names changed.
    Once,
}

/// What the stream does not tell about a relation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RelationFacts {
    /// The relation is a table of changes or of progress, or a partition or inheritance child of one.
    pub ours: bool,
    /// The catalog does not have it, and did not when it was asked before: what is above it is not known.
    pub unknown: bool,
    /// The tables above it, from the nearest to the topmost.
    pub ancestors: Vec<Ancestor>,
    /// Tables that may have been above it when the rows were written: those that were before, or that are
    /// since, where a name has changed; partitioned tables with its columns, where it is no partition, was
    /// never seen before and was altered since.
    pub maybe_below: Vec<Ancestor>,
    /// How long this is known of the tables above it.
    pub holds: Holds,
    /// The columns of the primary key in their order; empty where there is none.
    pub primary_key: Vec<String>,
    /// REPLICA IDENTITY DEFAULT sends the primary key: its index is valid and not deferrable.
    pub key_is_usable: bool,
    /// The columns of the replica identity index in their order; empty where there is none.
    pub identity_index: Vec<String>,
    /// Of a partitioned table: the keys by which partitions without REPLICA IDENTITY FULL send old rows, each
    /// once.
    pub partition_keys: Vec<Vec<String>>,
}

/// OIDs from here on belong to objects of users (`FirstNormalObjectId`, `transam.h`). Types below it
/// come with the server and do not change.
pub const FIRST_USER_OID: u32 = 16_384;

/// How current answers about types, or about the tables above relations, are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AnswersAt {
    /// They hold for transactions that committed until then, by the source's clock.
    pub as_of: PgTimestamp,
    /// Changes when an answer may have changed.
    pub generation: u64,
}

/// The catalog of the source.
pub trait Catalog: Ask + Convert {
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

    /// The facts of a relation as they are now; as they were last, of one that is gone.
    fn relation(&mut self, relation: &Described<'_>) -> Result<RelationFacts>;

    /// The tables above these ones, and all that are below those.
    fn partition_tree(&mut self, relations: &[Oid]) -> Result<Vec<TreeNode>>;

    /// Which rows each of these partitions takes, as SQL; `None` for what is no partition. Where not
    /// `may_lock`, a transaction may hold the tables until zemi has confirmed it.
    fn partition_bounds(
        &mut self,
        relations: &[Oid],
        may_lock: bool,
    ) -> Result<Vec<Option<String>>>;

    /// What the output function of a type gives for the value that its send function gave as `value`, with
    /// texts in UTF-8 or, `as_stored`, in the encoding of the database. `None` where the source answers that
    /// it gives none: the text is longer than 1 GB, or the type is gone.
    ///
    /// # Errors
    /// The source did not answer.
    fn text_of(
        &mut self,
        _type_oid: Oid,
        _value: &[u8],
        _as_stored: bool,
    ) -> Result<Option<Vec<u8>>> {
        Ok(None)
    }

    /// How a type's values become JSON; text for a type that is gone.
    fn value_type(&mut self, type_oid: Oid) -> Result<ValueType>;

    /// Whether the catalog lacked this type when [`Catalog::value_type`] was last answered.
    fn is_type_gone(&self, type_oid: Oid) -> bool;

    /// Makes sure that [`Catalog::value_type`] of these types holds for a transaction that committed at
    /// this time: asks again where what is known is older, and otherwise nothing.
    fn types_at(&mut self, types: &[Oid], at: PgTimestamp) -> Result<AnswersAt>;

    /// Makes sure that the generation is that of the tables above relations as this transaction left them,
    /// which committed at this time: asks where what is known is older, and otherwise nothing.
    ///
    /// # Errors
    /// A source that does not answer.
    fn lineages_at(&mut self, _transaction: Xid, at: PgTimestamp) -> Result<AnswersAt> {
        Ok(AnswersAt {
            as_of: at,
            generation: 0,
        })
    }

    /// Those of these relations that do not exist, and where WAL ended then, or later. None where the source
    /// does not answer: it is asked again another time.
    ///
    /// # Errors
    /// The end was asked for.
    fn gone(&mut self, _relations: &[Oid]) -> Result<(Vec<Oid>, Lsn)> {
        Ok((Vec::new(), Lsn::ZERO))
    }

    /// Forgets these relations: no row of them comes any more.
    fn forget_relations(&mut self, _relations: &[Oid]) {}

    /// Forgets what is known of types, so that all are asked for again.
    fn forget_types(&mut self);
}
