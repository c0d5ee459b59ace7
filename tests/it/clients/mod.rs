//! Real clients that send context.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs};

use crate::support::Stage;
use crate::support::cluster::PASSWORD;

/// What the application needs. A change here makes another environment.
const PACKAGES: &[&str] = &[
    "bemi-sqlalchemy==0.0.2",
    "sqlalchemy~=2.0",
    "alembic~=1.13",
    "starlette",
    "psycopg[binary]~=3.1",
    "psycopg2-binary~=2.9",
];

/// The folder that outlives the tree, as `scripts/postgres.sh` chooses it.
fn cache() -> PathBuf {
    let set = |name| env::var_os(name).filter(|value| !value.is_empty());
    if let Some(cache) = set("ZEMI_CACHE") {
        return cache.into();
    }
    let root = Command::new("id").arg("-u").output().expect("id runs");
    if root.stdout.trim_ascii() == b"0" {
        return "/var/cache/zemi".into();
    }
    let home = || PathBuf::from(set("HOME").expect("HOME is set")).join(".cache");
    set("XDG_CACHE_HOME")
        .map_or_else(home, PathBuf::from)
        .join("zemi")
}

fn run(program: &Path, args: &[&str]) -> String {
    let output = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .output();
    let output = output.unwrap_or_else(|e| panic!("{}: {e}", program.display()));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{} {args:?}: {errors}",
        program.display()
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The Python of a virtual environment with the packages; made where it is not there yet. `None` where
/// this machine has no Python that can make one.
fn python() -> Option<PathBuf> {
    // What a later change of PACKAGES would find must not be what it left out.
    let name: String = PACKAGES
        .concat()
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .collect();
    let home = cache().join("python").join(name);
    let python = home.join("bin/python");
    if python.exists() {
        return Some(python);
    }
    let able = Command::new("python3")
        .args(["-c", "import venv, ensurepip"])
        .stdin(Stdio::null())
        .output();
    if !able.is_ok_and(|output| output.status.success()) {
        return None;
    }
    // Whole or not at all: another run may make it at the same time.
    let draft = home.with_extension(std::process::id().to_string());
    let draft_text = draft.display().to_string();
    run(
        Path::new("python3"),
        &["-m", "venv", "--clear", &draft_text],
    );
    let mut install = vec![
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
    ];
    install.extend(PACKAGES);
    run(&draft.join("bin/python"), &install);
    if fs::rename(&draft, &home).is_err() {
        fs::remove_dir_all(&draft).expect("the draft goes");
    }
    Some(python)
}

#[test]
fn each_row_of_an_application_with_bemi_sqlalchemy_has_its_own_context() {
    let Some(python) = python() else {
        println!(
            "SKIPPED: python3 with venv is not installed (Debian: apt-get install python3-venv)"
        );
        return;
    };
    let mut stage = Stage::new(17, "", &[]);
    let port = stage.server.port().to_string();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/clients/shop.py");
    run(&python, &[script, &port, PASSWORD]);
    let found = stage.changes_of(
        "items",
        "operation, after->>'name', context->>'step', left(context->>'SQL', 6), context->>'user'",
    );
    let mut wanted = Vec::new();
    let mut row = |operation: &str, name: &str, step: &str| {
        let sql = if operation == "CREATE" {
            "INSERT"
        } else {
            operation
        };
        wanted.push(format!("{operation}|{name}|{step}|{sql}|Zoë \"Z\" O'Hara"));
    };
    for name in ["a", "b", "c"] {
        row("CREATE", name, &format!("add {name}"));
    }
    row("UPDATE", "A", "update a");
    row("UPDATE", "B", "update b");
    row("DELETE", "-", "delete c");
    for n in 0..5 {
        row("CREATE", &format!("bulk {n}"), "bulk");
    }
    for n in 0..3 {
        row("CREATE", &format!("returned {n}"), "bulk");
    }
    row("CREATE", "nobody", "-");
    row("CREATE", "first", "add first");
    row("CREATE", "second", "add second");
    row("CREATE", "plain", "plain");
    row("CREATE", "say \"hi\"", "-");
    row("CREATE", "after", "after");
    wanted[14] = "CREATE|nobody|-|-|-".into();
    wanted[18] = "CREATE|say \"hi\"|-|-|-".into();
    assert_eq!(found, wanted.join("\n"));

    // The one without context has none, and the one whose context is no JSON has its text.
    let odd = stage.changes_where(
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
