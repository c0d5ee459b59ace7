//! An application with bemi-django.

use super::application::Application;
use super::environment;
use super::migrated::{Migrated, change, without_context};

/// Its package is called `bemi`, as that of bemi-sqlalchemy is, so it has an environment of its own.
const PACKAGES: &[&str] = &[
    "bemi-django==0.1.3",
    "django>=4.2,<6",
    "psycopg[binary]~=3.1",
];

fn application() -> Option<Application> {
    let python = environment::python("django", PACKAGES)?;
    Some(Application::new(&python, "shop_django.py", &[]))
}

fn wanted() -> Vec<String> {
    let mut wanted = vec![
        change("CREATE", "a", "/add/a"),
        change("CREATE", "b", "/add/b"),
        change("CREATE", "c", "/add/c"),
        change("UPDATE", "A", "/rename/a/A"),
        change("UPDATE", "B", "/rename/b/B"),
        change("DELETE", "-", "/delete/c"),
    ];
    for n in 0..5 {
        wanted.push(change("CREATE", &format!("bulk {n}"), "/bulk/5"));
    }
    for _ in 0..5 {
        wanted.push(change("UPDATE", "renamed", "/rename-all/renamed"));
    }
    wanted.extend([
        without_context("CREATE", "nobody"),
        change("CREATE", "say \"hi\" 100%s", "/together"),
        change("UPDATE", "AA", "/together"),
        without_context("CREATE", "cron"),
        change("CREATE", "last", "/add/last"),
    ]);
    wanted
}

#[test]
fn zemi_starts_after_the_migration_of_bemi_django() {
    let Some(application) = application() else {
        return;
    };
    let mut migrated = Migrated::new(17, application);
    migrated.assert_writes(&wanted());
}

#[test]
fn zemi_with_a_role_of_its_own_starts_after_the_migration_of_bemi_django() {
    let Some(application) = application() else {
        return;
    };
    let mut migrated = Migrated::new(15, application).with_own_role();
    migrated.assert_writes(&wanted());
    migrated.assert_owner_makes_tables();
}

#[test]
fn a_start_after_the_migration_of_bemi_django_delays_no_write_behind_an_open_transaction() {
    let Some(application) = application() else {
        return;
    };
    // Of the three packages, this one makes the triggers of all tables anew at each CREATE TABLE.
    Migrated::new(17, application).assert_start_delays_no_write();
}
