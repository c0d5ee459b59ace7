//! Pure: replica identities, and the SQL that gives a table one that PostgreSQL accepts.

use crate::wire::identifier;

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
    /// (`CheckCmdReplicaIdentity`, execReplication.c), as
    /// far as generated columns have no say.
    pub(super) fn is_usable(self) -> bool {
        match self {
            Identity::Full => true,
            Identity::Nothing => false,
            Identity::PrimaryKey(index) | Identity::Index(index) => index == IdentityIndex::Usable,
        }
    }
}

/// Generated columns of one table, or of its replica identity.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Generated {
    /// Stored ones, which are published where a publication says so.
    pub(super) has_stored: bool,
    /// Virtual ones, which are never published.
    pub(super) has_virtual: bool,
}

/// What a table without a usable replica identity could use in its place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Alternatives {
    /// REPLICA IDENTITY FULL would not be accepted: a column is generated and not published.
    pub(super) full_is_refused: bool,
    /// The primary key is valid and immediate, and has no such column.
    pub(super) key_is_usable: bool,
    /// The name and the columns of a primary key that is DEFERRABLE; the columns as SQL lists them.
    pub(super) deferrable_key: Option<(String, String)>,
    /// A unique index that can be the replica identity.
    pub(super) index: Option<String>,
}

/// The SQL that gives this table, quoted for SQL, a usable replica identity.
pub(super) fn fix(table: &str, identity: Identity, alternatives: &Alternatives) -> String {
    let alter = format!("ALTER TABLE {table}");
    let is_on_the_key = matches!(identity, Identity::PrimaryKey(_));
    if alternatives.key_is_usable && !is_on_the_key {
        return format!("{alter} REPLICA IDENTITY DEFAULT");
    }
    if !alternatives.full_is_refused {
        return format!("{alter} REPLICA IDENTITY FULL");
    }
    if let Some(index) = &alternatives.index {
        return format!("{alter} REPLICA IDENTITY USING INDEX {}", identifier(index));
    }
    let default = match is_on_the_key {
        true => "",
        false => ", REPLICA IDENTITY DEFAULT",
    };
    match &alternatives.deferrable_key {
        Some((name, columns)) => format!(
            "{alter} DROP CONSTRAINT {}, ADD PRIMARY KEY ({columns}){default}",
            identifier(name)
        ),
        None => format!("{alter} ADD PRIMARY KEY (…){default}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_is_never_advised_where_it_is_refused() {
        let none = Alternatives::default();
        let refused = Alternatives {
            full_is_refused: true,
            ..Alternatives::default()
        };
        let with_key = |from: &Alternatives| Alternatives {
            key_is_usable: true,
            ..from.clone()
        };
        let with_index = |from: &Alternatives| Alternatives {
            index: Some("i".into()),
            ..from.clone()
        };
        let deferrable = Alternatives {
            deferrable_key: Some(("t_pkey".into(), "\"a\", \"b\"".into())),
            ..refused.clone()
        };
        let missing = Identity::PrimaryKey(IdentityIndex::Missing);
        let unusable = Identity::PrimaryKey(IdentityIndex::Unusable);
        let dropped = Identity::Index(IdentityIndex::Missing);
        for (identity, alternatives, expected) in [
            (missing, &none, "REPLICA IDENTITY FULL"),
            (unusable, &none, "REPLICA IDENTITY FULL"),
            (Identity::Nothing, &none, "REPLICA IDENTITY FULL"),
            (
                Identity::Nothing,
                &with_key(&none),
                "REPLICA IDENTITY DEFAULT",
            ),
            (dropped, &with_key(&none), "REPLICA IDENTITY DEFAULT"),
            (dropped, &none, "REPLICA IDENTITY FULL"),
            (
                Identity::Full,
                &with_key(&refused),
                "REPLICA IDENTITY DEFAULT",
            ),
            (
                Identity::Full,
                &with_index(&refused),
                "REPLICA IDENTITY USING INDEX \"i\"",
            ),
            (
                missing,
                &with_index(&refused),
                "REPLICA IDENTITY USING INDEX \"i\"",
            ),
            (missing, &refused, "ADD PRIMARY KEY (…)"),
            (
                Identity::Full,
                &refused,
                "ADD PRIMARY KEY (…), REPLICA IDENTITY DEFAULT",
            ),
            (
                unusable,
                &deferrable,
                "DROP CONSTRAINT \"t_pkey\", ADD PRIMARY KEY (\"a\", \"b\")",
            ),
        ] {
            let sql = fix("t", identity, alternatives);
            assert_eq!(sql, format!("ALTER TABLE t {expected}"), "{identity:?}");
        }
    }
}
