//! A relation as the row encoder sees it: what is constant per relation is worked out once.

use std::sync::Arc;

use super::catalog::{Catalog, RelationFacts};
use super::copy;
use super::json::{self, ValueType};
use super::settings::Settings;
use crate::error::{Error, Kind, Result};
use crate::lsn::Oid;
use crate::pgoutput::{Relation, ReplicaIdentity};

/// What happens to the values of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Treatment {
    Keep,
    /// `EXCLUDE_COLUMNS`: neither in `before` nor in `after` nor in `primary_key`.
    LeaveOut,
    /// `HASH_COLUMNS`: a keyed hash of the text stands in its place.
    Hash,
}

/// One published column.
#[derive(Debug)]
pub(super) struct ColumnPlan {
    /// `"name":`, escaped, as it stands in the JSON object.
    pub prefix: Vec<u8>,
    pub value_type: ValueType,
    pub type_oid: Oid,
    /// Part of the replica identity; under FULL every column is.
    pub key: bool,
    pub treatment: Treatment,
}

/// One relation of the stream.
#[derive(Debug)]
pub struct RelationPlan {
    pub(super) columns: Vec<ColumnPlan>,
    /// Indexes into `columns` of what makes the `primary_key`.
    pub(super) primary_key: Vec<usize>,
    /// The fields `database`, `schema` and `table`, encoded.
    pub(super) fixed: Vec<u8>,
    pub(super) name: Arc<str>,
    /// Where the batch counts its changes.
    pub(super) tally_slot: usize,
    pub(super) tracked: bool,
    pub(super) ours: bool,
}

impl RelationPlan {
    /// Works out the plan from a Relation message and the catalog.
    pub fn new(
        relation: &Relation<'_>,
        settings: &Settings,
        catalog: &mut dyn Catalog,
    ) -> Result<RelationPlan> {
        let encoding = settings.encoding;
        let schema = encoding.name(relation.schema());
        let table = encoding.name(relation.name);
        let facts = catalog.relation(relation.relation)?;
        let tracked = !facts.ours && settings.tracked().tracks(&schema, &table);
        let mut columns = Vec::with_capacity(relation.columns.len());
        let mut names = Vec::with_capacity(relation.columns.len());
        for column in relation.columns.iter() {
            let name = encoding.name(column.name);
            let mut prefix = Vec::with_capacity(name.len() + 3);
            json::write_string(&mut prefix, name.as_bytes());
            prefix.push(b':');
            let treatment = settings.treatment(&schema, &table, &name);
            // The types of what is not written are never asked for.
            let asked = tracked && settings.coerce && treatment == Treatment::Keep;
            let value_type = if asked {
                catalog.value_type(column.type_oid)?
            } else {
                ValueType::Text
            };
            let (key, type_oid) = (column.key, column.type_oid);
            columns.push(ColumnPlan {
                prefix,
                value_type,
                type_oid,
                key,
                treatment,
            });
            names.push(name);
        }
        let mut fixed = Vec::new();
        for text in [settings.database.as_str(), &schema, &table] {
            copy::field(&mut fixed, text.as_bytes());
        }
        Ok(RelationPlan {
            primary_key: primary_key(&facts, relation.replica_identity, &names, &columns),
            columns,
            fixed,
            name: format!("{schema}.{table}").into(),
            tally_slot: 0,
            tracked,
            ours: facts.ours,
        })
    }

    /// Asks the catalog again how the values of a column become JSON, after a value did not fit.
    pub fn refresh_column(&mut self, column: usize, catalog: &mut dyn Catalog) -> Result<()> {
        let Some(plan) = self.columns.get_mut(column) else {
            return Err(Error::new(
                Kind::Bug,
                format!("{} has no column {column}", self.name),
            ));
        };
        catalog.forget_type(plan.type_oid);
        plan.value_type = catalog.value_type(plan.type_oid)?;
        Ok(())
    }
}

/// The columns that identify a row: the real primary key, else the replica identity index, else the
/// key columns that the stream marks (not under FULL, which marks all), else a column named `id`.
fn primary_key(
    facts: &RelationFacts,
    identity: ReplicaIdentity,
    names: &[String],
    columns: &[ColumnPlan],
) -> Vec<usize> {
    let find = |name: &String| names.iter().position(|n| n == name);
    for wanted in [&facts.primary_key, &facts.identity_index] {
        let found: Option<Vec<usize>> = wanted.iter().map(find).collect();
        if let Some(found) = found.filter(|found| !found.is_empty()) {
            return found;
        }
    }
    if identity != ReplicaIdentity::Full {
        let marked: Vec<usize> = columns
            .iter()
            .enumerate()
            .filter(|(_, c)| c.key)
            .map(|(i, _)| i)
            .collect();
        if !marked.is_empty() {
            return marked;
        }
    }
    find(&"id".to_owned()).into_iter().collect()
}
