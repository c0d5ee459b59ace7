//! Checks the rules of the tree that neither rustc nor clippy has: which module may import which, no circle
//! of imports, which modules are pure, how long lines are, nothing unfinished, no path of one machine. The
//! rules are in `tidy/`; here they meet the files, and samples that break them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

#[path = "tidy/circles.rs"]
mod circles;
#[path = "tidy/rules.rs"]
mod rules;
#[path = "tidy/source.rs"]
mod source;

use source::Source;

/// Folders of the tree that hold what tools made.
const MADE: &[&str] = &[
    "target",
    "dist",
    "fuzz/target",
    "fuzz/artifacts",
    "fuzz/corpus",
    "fuzz/coverage",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file below `folder`, as a path relative to the tree's root, in order.
fn files_below(folder: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::from(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(root().join(&folder)).unwrap() {
            let entry = entry.unwrap();
            let path = folder.join(entry.file_name());
            let name = path.to_str().expect("names are UTF-8").to_owned();
            let hidden = name.starts_with('.') && name != ".ci" && name != ".gitignore";
            if hidden || MADE.contains(&name.as_str()) {
                continue;
            }
            if entry.file_type().unwrap().is_dir() {
                folders.push(path);
            } else {
                found.push(name);
            }
        }
    }
    found.sort();
    found
}

/// The file's text; `None` where it is not text.
fn text_of(path: &str) -> Option<String> {
    String::from_utf8(fs::read(root().join(path)).unwrap()).ok()
}

/// The files of `src/` that are not tests.
static SOURCES: LazyLock<Vec<Source>> = LazyLock::new(|| {
    let files = files_below("src");
    let files = files.iter().filter(|path| path.ends_with(".rs"));
    let mut sources: Vec<Source> = files
        .map(|path| Source::new(path.strip_prefix("src/").unwrap(), &text_of(path).unwrap()))
        .collect();
    let tests: Vec<Vec<String>> = sources
        .iter()
        .flat_map(|source| {
            let names = source.test_files.iter();
            names.map(|name| [source.location(), std::slice::from_ref(name)].concat())
        })
        .collect();
    sources.retain(|source| !tests.iter().any(|test| source.module.starts_with(test)));
    assert!(sources.len() > 3, "the files of src/ were not found");
    sources
});

/// Fails with every line that the rule found.
fn hold(findings: impl Iterator<Item = (String, Vec<String>)>) {
    let lines: Vec<String> = findings
        .flat_map(|(path, found)| found.into_iter().map(move |line| format!("{path}:{line}")))
        .collect();
    assert!(lines.is_empty(), "\n{}\n", lines.join("\n"));
}

fn hold_in_sources(rule: fn(&Source) -> Vec<String>) {
    hold(SOURCES.iter().map(|source| {
        let found = rule(source);
        (format!("src/{}", source.path), found)
    }));
}

fn hold_in_files(choose: fn(&str) -> bool, rule: fn(&str) -> Vec<String>) {
    let files: Vec<String> = files_below("").into_iter().filter(|p| choose(p)).collect();
    assert!(files.len() > 5, "the files of the tree were not found");
    hold(files.into_iter().filter_map(|path| {
        let found = rule(&text_of(&path)?);
        Some((path, found))
    }));
}

#[test]
fn imports_run_one_way() {
    hold_in_sources(rules::imports);
}

#[test]
fn no_file_imports_itself_by_way_of_others() {
    let graph = circles::graph(&SOURCES);
    assert!(graph.len() > 3, "the imports of src/ were not found");
    let found = circles::circles(&graph);
    assert!(
        found.is_empty(),
        "circles of imports:\n{}\n",
        found.join("\n")
    );
}

#[test]
fn pure_modules_touch_no_socket_thread_clock_or_log() {
    hold_in_sources(rules::purity);
}

#[test]
fn lines_fit_a_screen() {
    let of_code = |path: &str| {
        let name = path.rsplit('/').next().unwrap_or(path);
        name.ends_with(".rs") || name.ends_with(".sh") || name == "Makefile" || name == "run"
    };
    hold_in_files(of_code, rules::line_lengths);
}

#[test]
fn nothing_is_left_unfinished() {
    hold_in_files(|_| true, rules::unfinished);
}

#[test]
fn no_path_of_one_machine() {
    hold_in_files(|_| true, rules::machine_paths);
}

// The rules can fail.

const NONE: [usize; 0] = [];

/// What the rule finds in a file of `src/`, as line numbers.
fn lines_found(rule: fn(&Source) -> Vec<String>, path: &str, text: &str) -> Vec<usize> {
    let found = rule(&Source::new(path, text)).into_iter();
    found
        .map(|f| f.split(':').next().unwrap().parse().unwrap())
        .collect()
}

#[test]
fn a_forbidden_import_is_found_in_each_form() {
    let found = |path, text| lines_found(rules::imports, path, text);
    assert_eq!(
        found("wire/frame.rs", "use crate::destination::Session;"),
        [1]
    );
    assert_eq!(found("lsn.rs", "\nuse crate::error::Error;"), [2]);
    assert_eq!(
        found(
            "observe/mod.rs",
            "use crate::{error::Error, wire::{self, Connection}};"
        ),
        [1, 1]
    );
    assert_eq!(
        found("pgoutput.rs", "fn f() { super::wire::connect() }"),
        [1]
    );
    assert_eq!(found("pgoutput/cursor.rs", "use super::super::wire;"), [1]);
    assert_eq!(
        found("change/json.rs", "fn f() -> crate::wire::Connection {}"),
        [1]
    );
    let nested = "mod inner { use super::super::wire; use super::cursor; }";
    assert_eq!(found("pgoutput/mod.rs", nested), [1]);
    let unknown = rules::imports(&Source::new("nonsense.rs", ""));
    assert!(
        unknown[0].contains("`nonsense` is not in the table"),
        "{unknown:?}"
    );
}

#[test]
fn an_allowed_import_is_not_found() {
    let found = |path, text| lines_found(rules::imports, path, text);
    assert_eq!(
        found(
            "wire/frame.rs",
            "use crate::error::{At, Error}; use super::x;"
        ),
        NONE
    );
    assert_eq!(
        found("pipeline/writer.rs", "use crate::{wire, destination};"),
        NONE
    );
    let comment = "// use crate::writer;\n/* crate::writer /* */ crate::writer */\n";
    assert_eq!(found("lsn.rs", comment), NONE);
    let strings = "const A: &str = \"crate::x\\\" crate::y\"; const B: &str = r#\"crate::\"z\"#;";
    assert_eq!(found("lsn.rs", strings), NONE);
    let test = "#[cfg(test)]\nmod tests { use crate::wire; fn f() { ['{', '\\'', '\"']; } }\n";
    assert_eq!(found("lsn.rs", test), NONE);
    assert_eq!(found("lsn.rs", &format!("{test}use crate::wire;")), [3]);
}

/// The circles of these files.
fn circles_of(files: &[(&str, &str)]) -> Vec<String> {
    let sources = files.iter().map(|(path, text)| Source::new(path, text));
    circles::circles(&circles::graph(&sources.collect::<Vec<_>>()))
}

#[test]
fn a_circle_of_imports_is_found_once_with_its_lines() {
    let three = [
        (
            "wire/a.rs",
            "use crate::wire::c::{Y, Z};\nuse super::b;\nfn f() { b::g() }",
        ),
        ("wire/b.rs", "\n\nfn g() { super::c::h() }"),
        (
            "wire/c.rs",
            "use crate::error::Error;\nfn h() { write!(f, \"{}\", super::a::f()) }",
        ),
        ("error.rs", ""),
    ];
    assert_eq!(
        circles_of(&three),
        [
            "wire/a.rs:3 -> wire/b.rs:3 -> wire/c.rs:2 -> wire/a.rs",
            "wire/a.rs:1 -> wire/c.rs:2 -> wire/a.rs"
        ]
    );
    let graph = circles::graph(&three.map(|(path, text)| Source::new(path, text)));
    assert!(circles::is_in_circle(&graph, "wire/b.rs", "wire/c.rs"));
    assert!(!circles::is_in_circle(&graph, "wire/c.rs", "error.rs"));
    assert!(!circles::is_in_circle(&graph, "wire/a.rs", "error.rs"));
    let open = circles::without(&graph, &[("wire/c.rs", "wire/a.rs")]);
    assert_eq!(circles::circles(&open), [""; 0]);
}

#[test]
fn what_a_module_passes_on_is_imported_from_where_it_is_defined() {
    let wire = "mod frame;\nmod session;\npub use frame::Frame;\npub(crate) use session::Session;";
    let apart = [
        ("wire/mod.rs", wire),
        ("wire/frame.rs", "pub struct Frame;"),
        (
            "wire/session.rs",
            "use super::Frame; pub struct Session(Frame);",
        ),
    ];
    assert_eq!(circles_of(&apart), [""; 0]);
    let mut joined = apart;
    joined[1].1 = "fn f(session: crate::wire::Session) {}";
    let circle = "wire/frame.rs:1 -> wire/session.rs:1 -> wire/frame.rs";
    assert_eq!(circles_of(&joined), [circle]);
    // A module that uses what it passes on, and is used by it.
    let own = [
        (
            "wire/mod.rs",
            "mod frame;\npub use frame::Frame;\npub struct Size;\nfn f() -> Frame {}",
        ),
        ("wire/frame.rs", "use super::*; pub struct Frame;"),
    ];
    assert_eq!(
        circles_of(&own),
        ["wire/frame.rs:1 -> wire/mod.rs:4 -> wire/frame.rs"]
    );
}

#[test]
fn a_name_of_a_module_tests_and_local_names_make_no_circle() {
    let files = [
        (
            "wire/mod.rs",
            "pub mod frame;\npub struct Size;\nfn f(frame: u8) -> u8 { frame }",
        ),
        (
            "wire/frame.rs",
            "use super::Size;\n#[cfg(test)]\nmod tests { use crate::wire; }",
        ),
        (
            "lsn.rs",
            "#[cfg(test)]\nmod tests { use crate::wire::Size; }",
        ),
        (
            "wire/read.rs",
            "use crate::{lsn, wire}; fn f() -> wire::Size { lsn::zero() }",
        ),
    ];
    assert_eq!(circles_of(&files), [""; 0]);
}

#[test]
fn impurity_is_found() {
    let found = |path, text| lines_found(rules::purity, path, text);
    assert_eq!(found("change/mod.rs", "use std::time::Instant;"), [1]);
    assert_eq!(
        found("change/mod.rs", "use std::{fmt, thread, net::TcpStream};"),
        [1, 1]
    );
    assert_eq!(
        found("pgoutput.rs", "fn f<'a>() { log::warn!(\"x\") }"),
        [1]
    );
    assert_eq!(
        found(
            "pgoutput.rs",
            "fn f() { let now = time::SystemTime::now(); }"
        ),
        [1]
    );
    assert_eq!(
        found("pgoutput.rs", "use std::time::Duration; // std::thread"),
        NONE
    );
    assert_eq!(found("wire/mod.rs", "use std::net::TcpStream;"), NONE);
}

#[test]
fn tests_in_other_files_are_known_by_their_declaration() {
    let text = "#[cfg(test)]\npub(crate) mod peer;\n#[cfg(test)]\nmod tests;\nmod real;\n";
    assert_eq!(
        Source::new("wire/mod.rs", text).test_files,
        ["peer", "tests"]
    );
}

#[test]
fn unfinished_work_and_machine_paths_are_found() {
    let mark = concat!("TO", "DO");
    assert_eq!(
        rules::unfinished(&format!("a\n// {mark}: later\n")).len(),
        1
    );
    assert_eq!(rules::unfinished(&format!("{mark}S MAS{mark}")).len(), 0);
    let home = concat!("/ho", "me/");
    assert_eq!(
        rules::machine_paths(&format!("cd {home}ada\nx=\"{home}\"")).len(),
        2
    );
    assert_eq!(
        rules::machine_paths(&format!("https://example.org{home}")).len(),
        0
    );
}

#[test]
fn long_lines_are_found() {
    let long = "x".repeat(rules::LONGEST_LINE + 1);
    assert_eq!(rules::line_lengths(&format!("a\n{long}\n")).len(), 1);
    assert_eq!(
        rules::line_lengths(&"ü".repeat(rules::LONGEST_LINE)).len(),
        0
    );
    assert_eq!(rules::line_lengths(&format!("// https://{long}")).len(), 0);
}
