//! An application with @bemi-db/prisma.

use std::path::Path;

use super::application::Application;
use super::environment;
use super::migrated::{Migrated, USER, without_context};

/// The package holds a driver adapter for the interface of Prisma 6.7: a later query compiler asks it for
/// what it does not have.
const PACKAGES: &[&str] = &[
    "@bemi-db/prisma@1.1.0",
    "@prisma/client@6.7.0",
    "prisma@6.7.0",
    "pg@8.16.0",
];

fn application() -> Option<Application> {
    let schema = include_str!("shop_prisma.prisma");
    let home = environment::prisma("prisma", PACKAGES, schema)?;
    let node = Path::new("node");
    Some(Application::new(node, "shop_prisma.mjs", &[&home]))
}

/// This package leaves the statement out of the context unless it is asked for it.
fn change(operation: &str, name: &str, step: &str) -> String {
    format!("{operation}|{name}|{step}|-|{USER}")
}

fn wanted() -> Vec<String> {
    let mut wanted = vec![
        change("CREATE", "a", "add a"),
        change("CREATE", "b", "add b"),
        change("CREATE", "c", "add c"),
        change("UPDATE", "A", "update a"),
        change("UPDATE", "B", "update b"),
        change("DELETE", "-", "delete c"),
    ];
    for n in 0..3 {
        wanted.push(change("CREATE", &format!("bulk {n}"), "bulk"));
    }
    wanted.push(without_context("CREATE", "nobody"));
    for _ in 0..3 {
        wanted.push(change("UPDATE", "say \"hi\"", "raw"));
    }
    wanted.push(change("CREATE", "first", "add first"));
    wanted.push(change("CREATE", "second", "add second"));
    for _ in 0..3 {
        wanted.push(change("DELETE", "-", "delete all"));
    }
    wanted
}

#[test]
fn zemi_starts_after_the_migration_of_bemi_prisma() {
    let Some(application) = application() else {
        return;
    };
    let mut migrated = Migrated::new(17, application);
    migrated.assert_writes(&wanted());
}

#[test]
fn zemi_with_a_role_of_its_own_starts_after_the_migration_of_bemi_prisma() {
    let Some(application) = application() else {
        return;
    };
    let mut migrated = Migrated::new(15, application).with_own_role();
    migrated.assert_writes(&wanted());
    migrated.assert_owner_makes_tables();
}
