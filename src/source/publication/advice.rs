//! What is logged about publications and tables, with the SQL that changes it.

use std::collections::BTreeSet;

use super::state::{Published, Table};
use crate::wire::identifier;

/// The SQL that lets zemi's role publish the table of another role; `publication` is the first
/// publication's name.
pub(super) fn fix(table: &Table, role: &str, publication: &str) -> String {
    let name = identifier(publication);
    if table.owner_is_superuser {
        // Membership in a superuser is too much to ask for.
        return format!(
            "CREATE PUBLICATION {name} FOR ALL TABLES; as a superuser, after dropping what zemi made"
        );
    }
    format!(
        "GRANT {} TO {}; or let a superuser CREATE PUBLICATION {name} FOR ALL TABLES, after dropping \
         what zemi made",
        identifier(&table.owner),
        identifier(role)
    )
}

/// So many facts about tables are logged by their names: tables may come and go without end.
const MAX_NAMED: usize = 300;

/// Whether a fact about a table is to be logged: it was not before, and there are not too many of them.
fn insert(warned: &mut BTreeSet<String>, fact: String) -> bool {
    let room = warned.len() < MAX_NAMED;
    let further = "further tables are not tracked as they could be: zemi check names them";
    if !room && !warned.contains(&fact) && warned.insert(further.to_owned()) {
        log::warn!("{further}");
    }
    room && warned.insert(fact)
}

/// Logs once, as `warned` remembers, which tables are not tracked as one would expect, with the SQL that
/// changes it, and which publications are meant where that is in doubt.
pub(crate) fn warn(published: &Published, warned: &mut BTreeSet<String>) {
    if let Some(remark) = &published.remark
        && warned.insert(format!("p{remark}"))
    {
        log::info!("{remark}");
    }
    for left_out in &published.left_out {
        if insert(warned, format!("l{}", left_out.found)) {
            log::warn!("{}. Hint: {}", left_out.found, left_out.fix);
        }
    }
    for (table, fix) in &published.untracked {
        if insert(warned, format!("u{table}")) {
            log::warn!(
                table = table.as_str();
                "UPDATE and DELETE of {table} are not tracked: it has no usable replica identity. To \
                 track them: {fix}"
            );
        }
    }
    for (table, fix) in &published.forbidden {
        if insert(warned, format!("f{table}")) {
            log::warn!(
                table = table.as_str();
                "{table} is not tracked: only its owner can publish it. To track it: {fix}"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn membership_is_asked_for_in_a_role_and_not_in_a_superuser() {
        let mut table = Table {
            owned: false,
            owner: "the app".into(),
            ..Table::sample(20_000, "t")
        };
        let granted = fix(&table, "zemi", "pub");
        assert!(granted.starts_with("GRANT \"the app\" TO \"zemi\"; or let a superuser CREATE"));
        table.owner_is_superuser = true;
        let created = fix(&table, "zemi", "pub");
        assert!(created.starts_with("CREATE PUBLICATION \"pub\" FOR ALL TABLES; as a superuser"));
    }

    #[test]
    fn each_fact_is_logged_once() {
        let mut published = Published {
            untracked: [("a".to_owned(), "ALTER".to_owned())].into(),
            forbidden: [("a".to_owned(), "GRANT".to_owned())].into(),
            remark: Some("a".into()),
            ..Published::default()
        };
        let mut warned = BTreeSet::new();
        warn(&published, &mut warned);
        assert_eq!(warned.len(), 3, "three facts about one name");
        warn(&published, &mut warned);
        assert_eq!(warned.len(), 3);
        published.untracked.insert("b".into(), "ALTER".into());
        warn(&published, &mut warned);
        assert_eq!(warned.len(), 4);
        published
            .untracked
            .extend((0..1000).map(|n| (format!("t{n}"), "ALTER".to_owned())));
        warn(&published, &mut warned);
        assert_eq!(warned.len(), MAX_NAMED + 1);
    }
}
