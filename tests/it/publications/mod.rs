//! What is published, and by which publications: replica identities, partitions, publications that zemi did
//! not make, thousands of tables, tables of tools.

mod filters;
mod foreign;
mod identities;
mod locked;
mod many;
mod names;
mod partitions;
mod tools;

use crate::support::{Sql, Zemi};

/// All publications of a database but for their OIDs, with what they list.
fn all_of(sql: &mut Sql) -> String {
    sql.text(
        "SELECT to_jsonb(p) - 'oid', obj_description(p.oid, 'pg_publication'), \
         (SELECT string_agg(prrelid::regclass::text, ' ' ORDER BY prrelid) FROM pg_publication_rel \
         WHERE prpubid = p.oid) FROM pg_publication p ORDER BY pubname",
    )
}

/// What the second publication of zemi lists.
fn listed(sql: &mut Sql, publication: &str) -> String {
    sql.value(&format!(
        "SELECT string_agg(prrelid::regclass::text, ' ' ORDER BY prrelid) FROM pg_publication_rel r \
         JOIN pg_publication p ON p.oid = r.prpubid WHERE pubname = '{publication}'"
    ))
}

/// The findings of `zemi check`: what was found, and the SQL that mends it.
fn findings(settings: &[(String, String)]) -> Vec<(String, String)> {
    let (_, out, errors) = Zemi::says(&["check", "--json"], settings);
    let found: serde_json::Value = serde_json::from_str(&out).expect(&errors);
    let text = |f: &serde_json::Value, key: &str| f[key].as_str().unwrap_or_default().to_owned();
    let all = found.as_array().expect("an array").iter();
    all.map(|f| (text(f, "found"), text(f, "mend"))).collect()
}

/// The finding that begins so.
#[track_caller]
fn fix_of(findings: &[(String, String)], begin: &str) -> String {
    let found = findings.iter().find(|(found, _)| found.starts_with(begin));
    let (_, fix) = found.unwrap_or_else(|| panic!("no {begin}: {findings:#?}"));
    fix.clone()
}
