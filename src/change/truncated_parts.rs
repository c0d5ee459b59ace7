//! The rows of a Truncate message that has partitions.

use std::sync::Arc;

use super::catalog::Catalog;
use super::json;
use super::lineage::Lineage;
use super::relation::{self, RelationPlan};
use super::settings::Settings;
use super::truncate::{self, Cover, TreeNode};
use crate::error::Result;
use crate::lsn::Oid;

/// What a relation of a Truncate message becomes, see [`super::Assembler::truncated`].
#[derive(Debug)]
pub struct TruncatedPart {
    pub(super) relation: Oid,
    pub(super) row: TruncatedRow,
}

#[derive(Debug)]
pub(super) enum TruncatedRow {
    /// A row as the relation's other changes make.
    Plain,
    /// A row of this table.
    Of(Named),
    /// No row: that of a table above it is there already.
    Covered,
}

/// A row under another name than the relation's other rows have.
#[derive(Debug)]
pub(super) struct Named {
    pub(super) name: Arc<str>,
    /// See [`relation::fixed`].
    pub(super) fixed: Vec<u8>,
    /// For the context; empty where nothing is to be said.
    pub(super) member: Vec<u8>,
}

impl TruncatedPart {
    pub(super) fn plain(relation: Oid) -> TruncatedPart {
        TruncatedPart {
            relation,
            row: TruncatedRow::Plain,
        }
    }
}

impl Named {
    /// The TRUNCATE of a table with partitions, or of a partition, with what is known of its bounds.
    fn new(settings: &Settings, table: &Lineage, bounds: Option<&str>) -> Named {
        let (schema, name) = table.own();
        let mut member = Vec::new();
        if table.is_part() {
            let (root_schema, root) = table.root();
            member.extend_from_slice(b"\"zemi_partition\":{\"schema\":");
            json::write_string(&mut member, root_schema.as_bytes());
            member.extend_from_slice(b",\"table\":");
            json::write_string(&mut member, root.as_bytes());
            if let Some(bounds) = bounds {
                member.extend_from_slice(b",\"bounds\":");
                json::write_string(&mut member, bounds.as_bytes());
            }
            member.push(b'}');
        }
        Named {
            name: format!("{schema}.{name}").into(),
            fixed: relation::fixed(settings, (schema, name)),
            member,
        }
    }
}

/// Decides by the catalog. `plans` are those of the relations; where not `may_lock`, their transaction may
/// hold the tables until zemi has confirmed it.
pub(super) fn find(
    relations: &[Oid],
    plans: &[&RelationPlan],
    settings: &Settings,
    catalog: &mut dyn Catalog,
    may_lock: bool,
) -> Result<Vec<TruncatedPart>> {
    let mut tree = Vec::new();
    if settings.via_root {
        let all = relations.iter().zip(plans);
        let parts = all.filter(|(_, plan)| plan.is_tracked_part());
        let parts: Vec<Oid> = parts.map(|(relation, _)| *relation).collect();
        tree = catalog.partition_tree(&parts)?;
    }
    let above = |place: usize, node: &TreeNode| {
        let plan = plans.get(place).filter(|plan| plan.is_tracked_part())?;
        plan.lineage.of_part(&node.schema, &node.table)
    };
    let may_name = |place: usize, node: &TreeNode| {
        above(place, node).is_some_and(|table| settings.tracked().tracks(&table))
    };
    let covers = truncate::cover(relations, &tree, may_name);
    // The table of each row that is not plain.
    let mut tables: Vec<Option<(Oid, Lineage)>> = Vec::with_capacity(relations.len());
    for (place, (cover, plan)) in covers.iter().zip(plans).enumerate() {
        tables.push(match cover {
            Cover::Own if plan.lineage.is_part() && plan.tracked => {
                let relation = relations.get(place).copied();
                relation.map(|relation| (relation, plan.lineage.clone()))
            }
            Cover::By(node) => above(place, node).map(|table| (node.relation, table)),
            Cover::Own | Cover::Covered => None,
        });
    }
    let parts = tables.iter().flatten().filter(|(_, table)| table.is_part());
    let parts: Vec<Oid> = parts.map(|(relation, _)| *relation).collect();
    let mut bounds = Vec::new();
    if !parts.is_empty() {
        bounds = catalog.partition_bounds(&parts, may_lock)?;
    }
    let mut bounds = bounds.into_iter();
    let mut named = |table: &Lineage| {
        let bounds = table.is_part().then(|| bounds.next()).flatten().flatten();
        Named::new(settings, table, bounds.as_deref())
    };
    let mut found = Vec::with_capacity(relations.len());
    for ((relation, cover), table) in relations.iter().zip(&covers).zip(&tables) {
        found.push(TruncatedPart {
            relation: *relation,
            row: match table {
                _ if *cover == Cover::Covered => TruncatedRow::Covered,
                Some((_, table)) => TruncatedRow::Of(named(table)),
                None => TruncatedRow::Plain,
            },
        });
    }
    Ok(found)
}
