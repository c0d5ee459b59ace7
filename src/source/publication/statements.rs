//! Pure: the statements that make a publication what it has to be, and the transactions that they go into.
//!
//! Each table of a list is locked until the end of the transaction, and so is each member of a publication
//! that is dropped (`AcquireDeletionLock`, dependency.c). The server has room for
//! `max_locks_per_transaction` times `max_connections` locks.

use std::collections::{BTreeMap, BTreeSet};

use super::state::{GENERATED_COLUMNS, MARK, Publication, Table};
use crate::lsn::Oid;
use crate::wire::identifier;

/// How many tables one transaction locks at most.
pub(super) const CHUNK: usize = 200;

/// A statement of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Statement {
    /// All of it but for `tables`.
    pub(super) head: String,
    /// The tables that it adds or drops, as SQL lists them. Each is locked.
    pub(super) tables: Vec<String>,
    /// How many locks of tables, or of members of a publication, it takes.
    pub(super) locks: usize,
    /// It can be tried and undone: it locks no table, and rests on no statement that does.
    pub(super) is_tried: bool,
}

impl Statement {
    fn without_locks(head: String) -> Statement {
        Statement {
            head,
            tables: Vec::new(),
            locks: 0,
            is_tried: true,
        }
    }

    pub(super) fn sql(&self) -> String {
        self.head.clone() + &self.tables.join(", ")
    }
}

/// What a publication has to be.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    /// `None`: FOR ALL TABLES.
    pub(super) tables: Option<BTreeSet<Oid>>,
    pub(super) publish: &'static str,
    /// With stored generated columns, where the server can.
    pub(super) generated: bool,
}

/// Writes statements for the publications of one server.
pub(super) struct Writer<'a> {
    /// `server_version_num`
    pub(super) version: u32,
    /// Those that exist, by OID.
    pub(super) tables: &'a BTreeMap<Oid, &'a Table>,
    /// The name of a publication on its way: see [`Writer::replace`].
    pub(super) spare: &'a str,
}

impl Writer<'_> {
    /// What has to agree between both publications: these statements belong into one transaction.
    pub(super) fn options(
        &self,
        name: &str,
        now: Option<&Publication>,
        wanted: &Wanted,
    ) -> Vec<Statement> {
        let Some(now) = now else {
            return Vec::new();
        };
        let mut options = Vec::new();
        if now.via_root {
            options.push("publish_via_partition_root = false".to_owned());
        }
        if self.version >= GENERATED_COLUMNS && now.generated != wanted.generated {
            let value = if wanted.generated { "stored" } else { "none" };
            options.push(format!("publish_generated_columns = {value}"));
        }
        if options.is_empty() {
            return Vec::new();
        }
        vec![Statement::without_locks(format!(
            "ALTER PUBLICATION {} SET ({})",
            identifier(name),
            options.join(", ")
        ))]
    }

    /// The statements that make `name` what it has to be, but for its options. Tables are added before others
    /// are dropped: a partition and the table above it may take each other's place.
    pub(super) fn differences(
        &self,
        name: &str,
        now: Option<&Publication>,
        wanted: &Wanted,
    ) -> Vec<Statement> {
        let Some(now) = now else {
            return self.create(name, wanted);
        };
        if now.all_tables != wanted.tables.is_none() {
            return self.replace(name, now, wanted);
        }
        let mut statements = Vec::new();
        if now.publish != wanted.publish {
            statements.push(Statement::without_locks(format!(
                "ALTER PUBLICATION {} SET (publish = '{}')",
                identifier(name),
                wanted.publish
            )));
        }
        if let Some(oids) = &wanted.tables {
            statements.extend(self.alter(name, "ADD", oids.difference(&now.tables)));
            statements.extend(self.alter(name, "DROP", now.tables.difference(oids)));
        }
        statements
    }

    /// A publication cannot be altered from or to FOR ALL TABLES. One that is too large to be dropped at once
    /// gets the spare name, and is dropped when another one has its place.
    fn replace(&self, name: &str, now: &Publication, wanted: &Wanted) -> Vec<Statement> {
        if now.tables.len() <= CHUNK {
            return [self.drop(name, now), self.create(name, wanted)].concat();
        }
        let rename = format!(
            "ALTER PUBLICATION {} RENAME TO {}",
            identifier(name),
            identifier(self.spare)
        );
        [
            vec![Statement::without_locks(rename)],
            self.create(name, wanted),
            self.drop(self.spare, now),
        ]
        .concat()
    }

    fn create(&self, name: &str, wanted: &Wanted) -> Vec<Statement> {
        let target = match &wanted.tables {
            None => " FOR ALL TABLES",
            Some(_) => "",
        };
        let generated = match (self.version >= GENERATED_COLUMNS, wanted.generated) {
            (true, true) => ", publish_generated_columns = stored",
            _ => "",
        };
        let quoted = identifier(name);
        let create = format!(
            "CREATE PUBLICATION {quoted}{target} WITH (publish = '{}', \
             publish_via_partition_root = false{generated})",
            wanted.publish
        );
        let mark = format!("COMMENT ON PUBLICATION {quoted} IS '{MARK}'");
        let mut statements = [create, mark].map(Statement::without_locks).to_vec();
        statements.extend(self.alter(name, "ADD", wanted.tables.iter().flatten()));
        statements
    }

    /// Drops a publication. While it has members that one transaction cannot lock, they leave it first.
    pub(super) fn drop(&self, name: &str, now: &Publication) -> Vec<Statement> {
        let early = now.tables.len().saturating_sub(CHUNK);
        let mut statements = self.alter(name, "DROP", now.tables.iter().take(early));
        statements.push(Statement {
            head: format!("DROP PUBLICATION {}", identifier(name)),
            tables: Vec::new(),
            locks: now.tables.len().min(CHUNK),
            is_tried: statements.is_empty(),
        });
        statements
    }

    /// Adds or drops tables, some at a time.
    fn alter<'b>(
        &self,
        name: &str,
        verb: &str,
        oids: impl Iterator<Item = &'b Oid>,
    ) -> Vec<Statement> {
        let head = format!("ALTER PUBLICATION {} {verb} TABLE ", identifier(name));
        let existing = oids.filter_map(|oid| self.tables.get(oid));
        let tables: Vec<String> = existing.map(|t| format!("ONLY {}", t.quoted())).collect();
        let statement = |tables: &[String]| Statement {
            head: head.clone(),
            tables: tables.to_vec(),
            locks: tables.len(),
            is_tried: false,
        };
        tables.chunks(CHUNK).map(statement).collect()
    }
}

/// Puts the statements, in their order, into as few transactions as [`CHUNK`] allows.
pub(super) fn transactions(statements: Vec<Statement>) -> Vec<Vec<Statement>> {
    let mut transactions: Vec<Vec<Statement>> = Vec::new();
    let mut locks = 0;
    for statement in statements {
        match transactions.last_mut() {
            Some(last) if locks + statement.locks <= CHUNK => {
                locks += statement.locks;
                last.push(statement);
            }
            _ => {
                locks = statement.locks;
                transactions.push(vec![statement]);
            }
        }
    }
    transactions
}
