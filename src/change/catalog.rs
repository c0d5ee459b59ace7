//! What this module has to ask about relations and types: facts of the source's catalog.

use super::json::{Ask, ValueType};
use crate::error::Result;
use crate::lsn::Oid;

/// What the stream does not tell about a relation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RelationFacts {
    /// It is the table of changes or of progress, or a part of one.
    pub ours: bool,
    /// The columns of the primary key in their order; empty where there is none.
    pub primary_key: Vec<String>,
    /// The columns of the replica identity index in their order; empty where there is none.
    pub identity_index: Vec<String>,
}

/// The catalog of the source.
pub trait Catalog: Ask {
    /// The facts of a relation as they are now; defaults for one that is gone.
    fn relation(&mut self, relation: Oid) -> Result<RelationFacts>;

    /// How a type's values become JSON; text for a type that is gone.
    fn value_type(&mut self, type_oid: Oid) -> Result<ValueType>;

    /// Forgets what is known of a type, and of the types made of it, so that it is asked for again.
    fn forget_type(&mut self, type_oid: Oid);
}
