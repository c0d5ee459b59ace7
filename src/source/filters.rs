//! Entries of `TABLES`, `EXCLUDE_TABLES`, `EXCLUDE_COLUMNS` and `HASH_COLUMNS` that match nothing.

use std::collections::{BTreeMap, BTreeSet};

use crate::change::is_tool_schema;
use crate::config::nearest::near;
use crate::config::{ColumnPattern, Config, Pattern};
use crate::error::Result;
use crate::lsn::Oid;
use crate::wire::Connection;

/// An entry that matches nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NoMatch {
    /// The entry, and what there is in its place.
    pub(crate) found: String,
    /// What to do about it.
    pub(crate) fix: String,
}

/// Something that can have the name of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Relation {
    oid: Oid,
    schema: String,
    name: String,
    /// Why none of its rows is ever in the stream; `None` for a table.
    is_no_table: Option<&'static str>,
}

/// The entries of the settings that match nothing in this database. Nothing is asked where there are none.
///
/// # Errors
/// The source's connection.
pub(crate) fn without_match(session: &mut Connection, config: &Config) -> Result<Vec<NoMatch>> {
    let tables = config.tables.as_ref().map_or(0, Vec::len) + config.exclude_tables.len();
    let columns = config.exclude_columns.len() + config.hash_columns.len();
    if tables + columns == 0 {
        return Ok(Vec::new());
    }
    let relations = read_relations(session)?;
    let patterns = config.exclude_columns.iter().chain(&config.hash_columns);
    let patterns: Vec<&ColumnPattern> = patterns.collect();
    let named = relations.iter().filter(|relation| {
        let matches = |p: &&ColumnPattern| p.matches_table(&relation.schema, &relation.name);
        relation.is_no_table.is_none() && patterns.iter().any(matches)
    });
    let columns = read_columns(session, &named.map(|r| r.oid).collect())?;
    Ok(compare(config, &relations, &columns))
}

/// Logs, once in the life of the process, which entries match nothing.
pub(crate) fn warn(session: &mut Connection, config: &Config, warned: &mut BTreeSet<String>) {
    if !warned.insert("filters".to_owned()) {
        return;
    }
    match without_match(session, config) {
        Ok(found) => {
            for no_match in found {
                log::warn!("{}. Hint: {}", no_match.found, no_match.fix);
            }
        }
        // They are compared with each table all the same.
        Err(e) => log::debug!("comparing the settings with the tables: {e}"),
    }
}

fn read_relations(session: &mut Connection) -> Result<Vec<Relation>> {
    let found = session.rows(
        "SELECT c.oid, n.nspname, c.relname, c.relkind, c.relpersistence FROM pg_class c \
         JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') \
         AND n.nspname NOT IN ('information_schema', 'pg_catalog') AND n.nspname !~ '^pg_toast' \
         ORDER BY 2, 3",
    )?;
    let relation = |row: usize| {
        let text = |column: &str| found.value(row, column);
        Some(Relation {
            oid: Oid(text("oid")?.parse().ok()?),
            schema: text("nspname")?.to_owned(),
            name: text("relname")?.to_owned(),
            is_no_table: is_no_table(text("relkind")?, text("relpersistence")?),
        })
    };
    Ok((0..found.rows.len()).filter_map(relation).collect())
}

/// What a relation is that has no rows in the stream (`is_publishable_class`, pg_publication.c).
fn is_no_table(kind: &str, persistence: &str) -> Option<&'static str> {
    match (kind, persistence) {
        ("v", _) => Some("a view"),
        ("m", _) => Some("a materialized view"),
        ("f", _) => Some("a foreign table"),
        ("S", _) => Some("a sequence"),
        (_, "u") => Some("an unlogged table"),
        (_, "t") => Some("a temporary table"),
        _ => None,
    }
}

fn read_columns(
    session: &mut Connection,
    tables: &BTreeSet<Oid>,
) -> Result<BTreeMap<Oid, Vec<String>>> {
    let mut columns: BTreeMap<Oid, Vec<String>> = BTreeMap::new();
    if tables.is_empty() {
        return Ok(columns);
    }
    let tables: Vec<String> = tables.iter().map(Oid::to_string).collect();
    let found = session.rows(&format!(
        "SELECT attrelid, attname FROM pg_attribute WHERE attrelid = ANY('{{{}}}'::oid[]) \
         AND attnum > 0 AND NOT attisdropped",
        tables.join(",")
    ))?;
    for row in 0..found.rows.len() {
        let text = |column: &str| found.value(row, column).unwrap_or_default();
        if let Ok(oid) = text("attrelid").parse() {
            columns
                .entry(Oid(oid))
                .or_default()
                .push(text("attname").to_owned());
        }
    }
    Ok(columns)
}

fn compare(
    config: &Config,
    relations: &[Relation],
    columns: &BTreeMap<Oid, Vec<String>>,
) -> Vec<NoMatch> {
    let mut found = Vec::new();
    for pattern in config.tables.iter().flatten() {
        // Tables of tools are tracked where their schema is named.
        let may_be_meant = |r: &Relation| !is_tool_schema(&r.schema) || pattern.names_schema();
        found.extend(of_table("TABLES", pattern, relations, &may_be_meant));
    }
    for pattern in &config.exclude_tables {
        found.extend(of_table("EXCLUDE_TABLES", pattern, relations, &|_| true));
    }
    for (setting, patterns) in [
        ("EXCLUDE_COLUMNS", &config.exclude_columns),
        ("HASH_COLUMNS", &config.hash_columns),
    ] {
        let of = |pattern| of_column(setting, pattern, relations, columns);
        found.extend(patterns.iter().filter_map(of));
    }
    found
}

fn of_table(
    setting: &str,
    pattern: &Pattern,
    relations: &[Relation],
    may_be_meant: &dyn Fn(&Relation) -> bool,
) -> Option<NoMatch> {
    let matches = |r: &&Relation| pattern.matches(&r.schema, &r.name);
    let mut matching = relations.iter().filter(matches).peekable();
    let other = matching.peek().copied();
    if matching.any(|r| r.is_no_table.is_none() && may_be_meant(r)) {
        return None;
    }
    Some(no_table(
        setting,
        &pattern.to_string(),
        pattern.table(),
        other,
        relations,
    ))
}

fn of_column(
    setting: &str,
    pattern: &ColumnPattern,
    relations: &[Relation],
    columns: &BTreeMap<Oid, Vec<String>>,
) -> Option<NoMatch> {
    let matches = |r: &&Relation| pattern.matches_table(&r.schema, &r.name);
    let named: Vec<&Relation> = relations.iter().filter(matches).collect();
    let tables: Vec<&&Relation> = named.iter().filter(|r| r.is_no_table.is_none()).collect();
    let text = pattern.to_string();
    if tables.is_empty() {
        return Some(no_table(
            setting,
            &text,
            pattern.table(),
            named.first().copied(),
            relations,
        ));
    }
    let of = |r: &&&Relation| columns.get(&r.oid).map_or(&[][..], Vec::as_slice);
    let has = |r: &&&Relation| {
        let mut columns = of(r).iter();
        columns.any(|column| pattern.matches(&r.schema, &r.name, column))
    };
    if tables.iter().any(has) {
        return None;
    }
    let all = tables.iter().flat_map(|r| of(r).iter().map(String::as_str));
    let meant = pattern.column().and_then(|name| near(name, all));
    Some(NoMatch {
        found: format!("{setting}: {text} matches no column"),
        fix: match meant {
            Some(name) => {
                format!("the nearest name is {name:?}; names have their case, as in the catalog")
            }
            None => format!("correct the entry of {setting}, or take it out"),
        },
    })
}

/// `other` has the name and is no table.
fn no_table(
    setting: &str,
    text: &str,
    name: Option<&str>,
    other: Option<&Relation>,
    relations: &[Relation],
) -> NoMatch {
    let found = format!("{setting}: {text} matches no table");
    if let Some((other, kind)) = other.and_then(|r| Some((r, r.is_no_table?))) {
        return NoMatch {
            found: format!(
                "{found}: {:?} in schema {:?} is {kind}, and has no changes of its own in the stream",
                other.name, other.schema
            ),
            fix: match kind {
                "a view" | "a materialized view" => "name the tables that it reads".to_owned(),
                "an unlogged table" => "ALTER TABLE … SET LOGGED".to_owned(),
                _ => format!("take the entry out of {setting}"),
            },
        };
    }
    if let Some(tool) = other {
        return NoMatch {
            found: format!(
                "{found} but for those of a tool in schema {:?}",
                tool.schema
            ),
            fix: format!(
                "name the schema, too, if they are meant: {}.{}",
                tool.schema, tool.name
            ),
        };
    }
    let names = relations.iter().filter(|r| r.is_no_table.is_none());
    let meant = name.and_then(|name| near(name, names.map(|r| r.name.as_str())));
    NoMatch {
        found,
        fix: match meant {
            Some(name) => {
                format!("the nearest name is {name:?}; names have their case, as in the catalog")
            }
            None => format!("correct the entry of {setting}, or make the table"),
        },
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn said(vars: &[(&str, &str)]) -> Vec<String> {
        let relation = |oid: u32, name: &str, kind: &str, persistence: &str| {
            let (schema, name) = name.split_once('.').unwrap();
            Relation {
                oid: Oid(oid),
                schema: schema.into(),
                name: name.into(),
                is_no_table: is_no_table(kind, persistence),
            }
        };
        let relations = [
            relation(1, "public.Users", "r", "p"),
            relation(2, "public.orders", "p", "p"),
            relation(3, "public.recent", "v", "p"),
            relation(4, "public.totals", "m", "p"),
            relation(5, "public.elsewhere", "f", "p"),
            relation(6, "public.scratch", "r", "u"),
            relation(7, "pg_temp_3.mine", "r", "t"),
            relation(8, "public.numbers", "S", "p"),
            relation(9, "repack.table_1", "r", "p"),
        ];
        let columns = [(Oid(1), vec!["id".to_owned(), "secret".to_owned()])].into();
        let vars = [("HASH_KEY", "a key of at least 16 characters")]
            .iter()
            .chain(vars);
        let vars = vars.map(|&(name, value)| (name.into(), value.into()));
        let config = Config::from_vars(vars).unwrap().0;
        let case = "names have their case, as in the catalog";
        let said = |n: &NoMatch| format!("{} -> {}", n.found, n.fix).replace(case, "CASE");
        let found = compare(&config, &relations, &columns);
        found.iter().map(said).collect()
    }

    #[test]
    fn what_matches_is_not_named() {
        for tables in ["Users", "public.*", "ord*", "repack.table_1", "*"] {
            assert!(said(&[("TABLES", tables)]).is_empty(), "{tables}");
            assert!(said(&[("EXCLUDE_TABLES", tables)]).is_empty(), "{tables}");
        }
        assert!(said(&[("EXCLUDE_TABLES", "table_1")]).is_empty());
        assert!(said(&[("EXCLUDE_COLUMNS", "Users.secret,*.id")]).is_empty());
        assert!(said(&[("HASH_COLUMNS", "public.Users.s*")]).is_empty());
        assert!(said(&[]).is_empty());
    }

    #[test]
    fn what_there_is_in_its_place_is_named() {
        let is = |name: &str, kind: &str| {
            let found = said(&[("TABLES", name)]);
            let begin = format!("TABLES: {name} matches no table: {name:?} in schema");
            assert!(found[0].starts_with(&begin), "{found:?}");
            assert!(
                found[0].contains(&format!(" is {kind}, and has no changes")),
                "{found:?}"
            );
        };
        is("recent", "a view");
        is("totals", "a materialized view");
        is("elsewhere", "a foreign table");
        is("scratch", "an unlogged table");
        is("mine", "a temporary table");
        is("numbers", "a sequence");
        assert_eq!(
            said(&[("TABLES", "users"), ("EXCLUDE_TABLES", "invoices")]),
            [
                "TABLES: users matches no table -> the nearest name is \"Users\"; CASE",
                "EXCLUDE_TABLES: invoices matches no table -> correct the entry of EXCLUDE_TABLES, or make \
                 the table",
            ]
        );
        assert_eq!(
            said(&[("TABLES", "table_1")]),
            [
                "TABLES: table_1 matches no table but for those of a tool in schema \"repack\" -> name the \
                 schema, too, if they are meant: repack.table_1"
            ]
        );
        assert_eq!(
            said(&[
                ("HASH_COLUMNS", "Users.Secret"),
                ("EXCLUDE_COLUMNS", "order.id,Users.name")
            ]),
            [
                "EXCLUDE_COLUMNS: order.id matches no table -> the nearest name is \"orders\"; CASE",
                "EXCLUDE_COLUMNS: Users.name matches no column -> correct the entry of EXCLUDE_COLUMNS, or \
                 take it out",
                "HASH_COLUMNS: Users.Secret matches no column -> the nearest name is \"secret\"; CASE",
            ]
        );
    }
}
