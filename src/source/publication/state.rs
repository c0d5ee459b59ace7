//! Tables and publications as they are: what a plan is made from, and what comes of it.

use std::collections::{BTreeMap, BTreeSet};

use super::identity::{Generated, Identity, IdentityIndex};
use super::names::Names;
use crate::change::Lineage;
use crate::lsn::Oid;
use crate::wire::identifier;

/// Everything that a publication can publish: insert, update, delete and truncate, as
/// [`Publication::publish`] spells it.
pub(super) const ALL_OPERATIONS: &str = "insert, update, delete, truncate";

/// Each of [`ALL_OPERATIONS`], in their order.
pub(super) const ALL: [&str; 4] = ["insert", "update", "delete", "truncate"];

/// Those that need a replica identity.
pub(super) const OLD_ROWS: [&str; 2] = ["update", "delete"];

/// The first version that can publish stored generated columns, and does where it is asked to
/// (`server_version_num`).
pub(super) const GENERATED_COLUMNS: u32 = 180_000;

/// How the comment of publications that zemi made begins. Any other is used as it is, whatever its owner.
pub(crate) const MARK: &str = "made by zemi";

/// A table that can be published (`is_publishable_class`, `pg_publication.c`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Table {
    pub(super) oid: Oid,
    /// Its own name, and those of all tables above it, by partition and by inheritance.
    pub(super) lineage: Lineage,
    /// The partitioned tables above it, from the nearest to the topmost.
    pub(super) above: Vec<Oid>,
    pub(super) partitioned: bool,
    pub(super) identity: Identity,
    /// The index of its primary key.
    pub(super) primary_key: IdentityIndex,
    /// The generated columns that its replica identity contains, from PostgreSQL 18 on: before, the server
    /// does not look at them.
    pub(super) in_identity: Generated,
    /// All its generated columns, from PostgreSQL 18 on.
    pub(super) columns: Generated,
    /// zemi's role is a member of the owner: only an owner can publish a table by name.
    pub(super) owned: bool,
    pub(super) owner: String,
    pub(super) owner_is_superuser: bool,
}

impl Table {
    /// Schema and name, quoted for SQL.
    pub(super) fn quoted(&self) -> String {
        let (schema, name) = self.lineage.own();
        format!("{}.{}", identifier(schema), identifier(name))
    }

    /// Schema and name of the topmost partitioned table above it, or its own, quoted for SQL.
    pub(super) fn quoted_root(&self) -> String {
        let (schema, name) = self.lineage.root();
        format!("{}.{}", identifier(schema), identifier(name))
    }

    /// Whether PostgreSQL accepts UPDATE and DELETE on the table once they are published
    /// (`CheckCmdReplicaIdentity`, execReplication.c), by a publication with or without stored generated
    /// columns.
    pub(super) fn is_usable(&self, with_stored: bool) -> bool {
        self.identity.is_usable()
            && !self.in_identity.has_virtual
            && (with_stored || !self.in_identity.has_stored)
    }

    /// Itself and the partitioned tables above it.
    pub(super) fn chain(&self) -> impl Iterator<Item = Oid> {
        std::iter::once(self.oid).chain(self.above.iter().copied())
    }
}

#[cfg(test)]
impl Table {
    /// An ordinary table of the schema `public` that zemi's role owns, with REPLICA IDENTITY FULL and no key.
    pub(super) fn sample(oid: u32, name: &str) -> Table {
        Table {
            oid: Oid(oid),
            lineage: Lineage::new("public", name, &[]),
            above: Vec::new(),
            partitioned: false,
            identity: Identity::Full,
            primary_key: IdentityIndex::Missing,
            in_identity: Generated::default(),
            columns: Generated::default(),
            owned: true,
            owner: "app".into(),
            owner_is_superuser: false,
        }
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
    /// `publish_generated_columns = stored`, from PostgreSQL 18 on.
    pub(super) generated: bool,
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

    /// PostgreSQL refuses UPDATE and DELETE on its tables without a usable replica identity.
    pub(super) fn sends_old_rows(&self) -> bool {
        OLD_ROWS.iter().any(|operation| self.sends(operation))
    }

    /// Whether this operation is published.
    pub(super) fn sends(&self, operation: &str) -> bool {
        self.publish.split(", ").any(|sent| sent == operation)
    }
}

/// The publications of the three names, as far as they exist.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Publications {
    pub(super) first: Option<Publication>,
    pub(super) updates: Option<Publication>,
    pub(super) next: Option<Publication>,
    /// One table has other columns in the first than in the second one: a stream of both would end with
    /// 0A000 at its first row (`pgoutput_column_list_init`, pgoutput.c).
    pub(super) columns_differ: bool,
}

impl Publications {
    /// The first one exists, and zemi did not make it.
    pub(super) fn is_foreign(&self) -> bool {
        self.first.as_ref().is_some_and(|first| !first.is_ours())
    }

    /// The second one is zemi's, and followed.
    pub(super) fn keeps_updates_up(&self) -> bool {
        self.follows_updates() && self.updates.as_ref().is_some_and(Publication::is_ours)
    }

    /// Whether the second one is followed beside the first. One that zemi made is not, beside one that zemi
    /// did not make: that is used as it is, unless it is FOR ALL TABLES and leaves updates and deletes out.
    pub(super) fn follows_updates(&self) -> bool {
        match (&self.first, &self.updates) {
            (_, None) => false,
            (Some(first), Some(updates)) if self.is_foreign() => match updates.is_ours() {
                true => first.leaves_updates_to_another(),
                false => first.generated == updates.generated && !self.columns_differ,
            },
            _ => true,
        }
    }
}

impl Publication {
    /// FOR ALL TABLES, without updates and deletes.
    pub(super) fn leaves_updates_to_another(&self) -> bool {
        self.all_tables && !self.sends_old_rows()
    }
}

/// The operations that none of these publications sends.
pub(super) fn unsent<'a>(publications: impl Iterator<Item = &'a Publication>) -> Vec<&'static str> {
    let publications: Vec<_> = publications.collect();
    let is_unsent = |operation: &&str| !publications.iter().any(|p| p.sends(operation));
    ALL.into_iter().filter(is_unsent).collect()
}

/// What a plan is made from: the source's catalog at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct State {
    /// `server_version_num`
    pub(super) version: u32,
    /// zemi's role is a superuser, which alone may publish FOR ALL TABLES.
    pub(super) superuser: bool,
    /// A tool that makes tables without keys while it works is installed: see [`is_tool_schema`].
    ///
    /// [`is_tool_schema`]: crate::change::is_tool_schema
    pub(super) has_tools: bool,
    /// By OID, zemi's own tables included.
    pub(super) tables: Vec<Table>,
    /// The tables that zemi itself writes, with their partitions and children.
    pub(super) own_tables: BTreeSet<Oid>,
    pub(super) names: Names,
    pub(super) publications: Publications,
}

/// What a publication leaves out, and what can be done about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LeftOut {
    /// What is left out.
    pub(crate) found: String,
    /// What its owner, or an operator, can do.
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
    /// The first one is FOR ALL TABLES with all operations.
    pub(crate) everything: bool,
    /// Tables that were published only now, or their updates and deletes. Empty where there was no first
    /// publication before.
    pub(crate) added: Vec<AddedTable>,
    /// Tables whose UPDATE and DELETE are not tracked, quoted for SQL, with the SQL that changes that.
    pub(crate) untracked: BTreeMap<String, String>,
    /// Tables that the settings want and the role may not publish, with the SQL that changes that.
    pub(crate) forbidden: BTreeMap<String, String>,
    /// What a publication that zemi did not make leaves out, and tables that could not be listed yet.
    pub(crate) left_out: Vec<LeftOut>,
    /// A step failed, or a table could not be locked: there is something left to do.
    pub(crate) incomplete: bool,
    /// Where the names are not those of the setting as it is written: why.
    pub(crate) remark: Option<String>,
}
