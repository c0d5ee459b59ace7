//! Holds the rules of the tree that no compiler checks: who may import whom, which modules are
//! pure, how long lines and files are, no panics outside tests, nothing unfinished, no path of one
//! machine. The rules are in `tidy/rules.rs`; here they meet the files, and samples that break
//! them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::{Path, PathBuf};

#[path = "tidy/rules.rs"]
mod rules;
#[path = "tidy/source.rs"]
mod source;

use rules::Source;

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

/// The files of `src/` that are not tests, by their path below `src/`.
fn sources() -> Vec<(String, Source)> {
    let mut sources = Vec::new();
    for path in files_below("src") {
        let inside = path.strip_prefix("src/").unwrap();
        if inside.ends_with(".rs") {
            let source = Source::new(inside, &text_of(&path).unwrap());
            sources.push((path, source));
        }
    }
    let mut tests: Vec<Vec<String>> = Vec::new();
    for (_, source) in &sources {
        for name in &source.test_files {
            let mut module = source.module.clone();
            if matches!(module.as_slice(), [one] if one == "lib" || one == "main") {
                module.clear();
            }
            module.push(name.clone());
            tests.push(module);
        }
    }
    sources.retain(|(_, source)| !tests.iter().any(|test| source.module.starts_with(test)));
    sources
}

/// Fails with every line that the rule found.
fn hold(findings: impl Iterator<Item = (String, Vec<String>)>) {
    let lines: Vec<String> = findings
        .flat_map(|(path, found)| found.into_iter().map(move |line| format!("{path}:{line}")))
        .collect();
    assert!(lines.is_empty(), "\n{}\n", lines.join("\n"));
}

fn hold_in_sources(rule: fn(&Source) -> Vec<String>) {
    let sources = sources();
    assert!(sources.len() > 3, "the files of src/ were not found");
    hold(sources.into_iter().map(|(path, source)| {
        let found = rule(&source);
        (path, found)
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
fn pure_modules_touch_no_socket_thread_clock_or_log() {
    hold_in_sources(rules::purity);
}

#[test]
fn nothing_panics_outside_tests() {
    hold_in_sources(rules::panics);
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
        []
    );
    assert_eq!(
        found("pipeline/writer.rs", "use crate::{wire, destination};"),
        []
    );
    let comment = "// use crate::writer;\n/* crate::writer /* */ crate::writer */\n";
    assert_eq!(found("lsn.rs", comment), []);
    let strings = "const A: &str = \"crate::x\\\" crate::y\"; const B: &str = r#\"crate::\"z\"#;";
    assert_eq!(found("lsn.rs", strings), []);
    let test = "#[cfg(test)]\nmod tests { use crate::wire; fn f() { ['{', '\\'', '\"']; } }\n";
    assert_eq!(found("lsn.rs", test), []);
    assert_eq!(found("lsn.rs", &format!("{test}use crate::wire;")), [3]);
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
        []
    );
    assert_eq!(found("wire/mod.rs", "use std::net::TcpStream;"), []);
}

#[test]
fn panics_are_found_outside_tests_only() {
    let found = |text| lines_found(rules::panics, "wire/mod.rs", text);
    assert_eq!(
        found("fn f() {\n a.unwrap();\n b\n .expect(\"x\");\n panic!(\"\") }"),
        [2, 4, 5]
    );
    assert_eq!(
        found("fn f() { a.unwrap_or(1); expect(2); '\\u{41}'; b\"\\\"\"; }"),
        []
    );
    assert_eq!(
        found("#[cfg(test)]\n#[allow(x)]\nmod tests { fn f() { a.unwrap() } }"),
        []
    );
    assert_eq!(found("#[cfg(test)]\nuse a::b;\nfn f() { a.unwrap() }"), [3]);
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
