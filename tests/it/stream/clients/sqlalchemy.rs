//! An application with bemi-sqlalchemy.

use super::application::Application;
use super::environment;
use super::migrated::{COLUMNS, Migrated, change, without_context};
use crate::support::Scene;

const PACKAGES: &[&str] = &[
    "bemi-sqlalchemy==0.0.2",
    "sqlalchemy~=2.0",
    "alembic~=1.13",
    "starlette",
    "psycopg[binary]~=3.1",
    "psycopg2-binary~=2.9",
];

fn application() -> Option<Application> {
    let python = environment::python("sqlalchemy", PACKAGES)?;
    Some(Application::new(&python, "shop.py", &[]))
}

fn wanted() -> Vec<String> {
    let mut wanted = Vec::new();
    for name in ["a", "b", "c"] {
        wanted.push(change("CREATE", name, &format!("add {name}")));
    }
    wanted.push(change("UPDATE", "A", "update a"));
    wanted.push(change("UPDATE", "B", "update b"));
    wanted.push(change("DELETE", "-", "delete c"));
    for n in 0..5 {
        wanted.push(change("CREATE", &format!("bulk {n}"), "bulk"));
    }
    for n in 0..3 {
        wanted.push(change("CREATE", &format!("returned {n}"), "bulk"));
    }
    wanted.push(without_context("CREATE", "nobody"));
    wanted.push(change("CREATE", "first", "add first"));
    wanted.push(change("CREATE", "second", "add second"));
    wanted.push(change("CREATE", "plain", "plain"));
    // The quotes of the value end up in the context, which is no JSON then.
    wanted.push(without_context("CREATE", "say \"hi\""));
    wanted.push(change("CREATE", "after", "after"));
    wanted
}

#[test]
fn each_row_of_an_application_with_bemi_sqlalchemy_has_its_own_context() {
    let Some(application) = application() else {
        return;
    };
    let (mut scene, _zemi) = Scene::one(17).streaming();
    application.run(&scene.source, "migrate");
    application.run(&scene.source, "write");
    assert_eq!(scene.changes_of("items", COLUMNS), wanted().join("\n"));

    // The one without context has none, and the one whose context is no JSON has its text.
    let odd = scene.changes_where(
        "context->>'step' IS NULL AND \"table\" = 'items'",
        "jsonb_object_agg(coalesce(after->>'name', ''), context) OVER ()",
    );
    let odd: serde_json::Value = serde_json::from_str(odd.lines().next().unwrap()).unwrap();
    assert_eq!(odd["nobody"], serde_json::json!({}));
    let invalid = odd["say \"hi\""].as_object().unwrap();
    let text = invalid["zemi_invalid"].as_str().unwrap();
    assert!(
        invalid.len() == 1 && text.contains("'say \"hi\"'"),
        "{text}"
    );
    assert!(serde_json::from_str::<serde_json::Value>(text).is_err());
    assert!(
        text.starts_with("{\"step\": \"quote\"") && text.ends_with('}'),
        "{text}"
    );
}

#[test]
fn zemi_starts_after_the_migration_of_bemi_sqlalchemy() {
    let Some(application) = application() else {
        return;
    };
    let mut migrated = Migrated::new(17, application);
    migrated.assert_writes(&wanted());
}

#[test]
fn zemi_with_a_role_of_its_own_starts_after_the_migration_of_bemi_sqlalchemy() {
    let Some(application) = application() else {
        return;
    };
    // The package passes over tables that the role does not own.
    let mut migrated = Migrated::new(15, application).with_own_role();
    migrated.assert_writes(&wanted());
    migrated.assert_owner_makes_tables();
}
