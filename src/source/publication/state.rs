//! Tables and publications as they are: what a plan is made from, and what comes of it.

use std::collections::{BTreeMap, BTreeSet};

use super::names::Names;
use crate::lsn::Oid;
use crate::wire::identifier;

/// Everything that a publication can publish: insert, update, delete and truncate, as
/// [`Publication::publish`] spells it.
pub(super) const ALL_OPERATIONS: &str = "insert, update, delete, truncate";

/// How the comment of publications that zemi made begins. Any other is used as it is, whatever its owner.
pub(crate) const MARK: &str = "made by zemi";

/// The index that a replica identity rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum IdentityIndex {
    /// No such index: it was never made, or was dropped.
    Missing,
    /// It is invalid, or DEFERRABLE: `RelationGetIndexList` (relcache.c) passes it over.
    Unusable,
    /// Valid and immediate.
    Usable,
}

/// `relreplident` of `pg_class`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Identity {
    /// REPLICA IDENTITY FULL.
    Full,
    /// REPLICA IDENTITY NOTHING.
    Nothing,
    /// REPLICA IDENTITY DEFAULT, which is the primary key.
    PrimaryKey(IdentityIndex),
    /// REPLICA IDENTITY USING INDEX.
    Index(IdentityIndex),
}

impl Identity {
    /// Whether PostgreSQL accepts UPDATE and DELETE on the table once they are published
    /// (`CheckCmdReplicaIdentity`, execReplication.c).
    pub(super) fn is_usable(self) -> bool {
        match self {
            Identity::Full => true,
            Identity::Nothing => false,
            Identity::PrimaryKey(index) | Identity::Index(index) => index == IdentityIndex::Usable,
        }
    }
}

/// A table that can be published (`is_publishable_class`, `pg_publication.c`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Table {
    pub(super) oid: Oid,
    pub(super) schema: String,
    pub(super) name: String,
    /// The topmost partitioned table above it, or itself.
    pub(super) root: Oid,
    pub(super) partitioned: bool,
    pub(super) identity: Identity,
    /// zemi's role is a member of the owner: only an owner can publish a table by name.
    pub(super) owned: bool,
    pub(super) owner: String,
    pub(super) owner_is_superuser: bool,
}

impl Table {
    /// Schema and name, quoted for SQL.
    pub(super) fn quoted(&self) -> String {
        format!("{}.{}", identifier(&self.schema), identifier(&self.name))
    }
}

/// A publication as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Publication {
    /// FOR ALL TABLES.
    pub(super) all_tables: bool,
    /// The operations, in PostgreSQL's order and separated by a comma and a space.
    pub(super) publish: String,
    /// `publish_via_partition_root`
    pub(super) via_root: bool,
    /// The tables that it lists itself; empty with FOR ALL TABLES.
    pub(super) tables: BTreeSet<Oid>,
    /// Its comment is [`MARK`].
    pub(super) marked: bool,
    /// zemi's role is a member of its owner.
    pub(super) owned: bool,
}

impl Publication {
    /// zemi made it, and may change and drop it.
    pub(super) fn is_ours(&self) -> bool {
        self.marked && self.owned
    }
}

/// The publications of the three names, as far as they exist.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Publications {
    pub(super) first: Option<Publication>,
    pub(super) updates: Option<Publication>,
    pub(super) next: Option<Publication>,
}

/// What a plan is made from: the source's catalog at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct State {
    /// `server_version_num`
    pub(super) version: u32,
    /// zemi's role is a superuser, which alone may publish FOR ALL TABLES.
    pub(super) superuser: bool,
    /// By OID, zemi's own tables included.
    pub(super) tables: Vec<Table>,
    /// The tables that zemi itself writes, with their partitions and children.
    pub(super) own_tables: BTreeSet<Oid>,
    pub(super) names: Names,
    pub(super) publications: Publications,
}

/// What a publication that zemi did not make leaves out, and what its owner can do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LeftOut {
    /// What is left out.
    pub(crate) found: String,
    /// The SQL for the owner of the publication.
    pub(crate) fix: String,
}

/// A table that a reconcile published. What was done to it before may not be in the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AddedTable {
    /// Its OID; it holds rows.
    pub(crate) oid: Oid,
    /// Its own schema, not that of a partitioned table above it.
    pub(crate) schema: String,
    /// Its own name.
    pub(crate) table: String,
    /// Its inserts and truncates were not published before either.
    pub(crate) first: bool,
    /// Its updates and deletes were not published before, and are now: its replica identity is usable.
    pub(crate) updates: bool,
}

/// The publications after they were reconciled.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Published {
    /// The names for START_REPLICATION.
    pub(crate) names: Vec<String>,
    /// Tables that were published only now, or their updates and deletes. Empty where there was no first
    /// publication before.
    pub(crate) added: Vec<AddedTable>,
    /// Tables whose UPDATE and DELETE are not tracked, quoted for SQL.
    pub(crate) untracked: BTreeSet<String>,
    /// Tables that the settings want and the role may not publish, with the SQL that changes that.
    pub(crate) forbidden: BTreeMap<String, String>,
    /// What a publication that zemi did not make leaves out.
    pub(crate) left_out: Vec<LeftOut>,
    /// Where the names are not those of the setting as it is written: why.
    pub(crate) remark: Option<String>,
}
