//! The packages of the release build are those of `packages/list.txt`, each with the licence that was
//! read and a reason, from one registry and in one version. The licences that are allowed are those of
//! `scripts/audit/deny.toml`. `scripts/audit/audit.sh` asks for advisories where that is possible.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

/// What is built for users. The packages differ between them.
const TARGETS: [&str; 4] = [
    "x86_64-unknown-linux-gnu",
    "x86_64-unknown-linux-musl",
    "aarch64-unknown-linux-musl",
    "armv7-unknown-linux-musleabihf",
];

/// The licences that may be in a binary under `MIT OR Apache-2.0`, from the list that `cargo deny` reads.
fn allowed_licences(deny: &str) -> Vec<String> {
    let (_, section) = deny.split_once("[licenses]").expect("a section [licenses]");
    let (_, list) = section.split_once("allow = [").expect("a list `allow`");
    let (list, _) = list.split_once(']').expect("the end of the list");
    let names = list.split(',').map(|name| name.trim().trim_matches('"'));
    names
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// The packages of the release builds, those for building included: name and version, and licence.
fn built() -> BTreeMap<(String, String), String> {
    let mut found = BTreeMap::new();
    for target in TARGETS {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
        cargo.args([
            "tree",
            "--locked",
            "--offline",
            "-e",
            "normal,build",
            "--prefix",
            "none",
        ]);
        cargo.args(["--target", target, "-f", "{p}|{l}"]);
        let output = cargo.output().unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        for line in String::from_utf8(output.stdout).unwrap().lines() {
            let (package, licence) = line.trim_end_matches(" (*)").split_once('|').unwrap();
            let mut words = package.split(' ');
            let (name, version) = (words.next().unwrap(), words.next().unwrap());
            if name != "zemi" {
                let version = version.trim_start_matches('v').to_owned();
                found.insert((name.to_owned(), version), licence.to_owned());
            }
        }
    }
    found
}

/// The list: name and perhaps the beginning of a version, licence, reason.
fn listed(text: &str) -> Vec<(String, String, String)> {
    let lines = text
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty());
    lines
        .map(|line| {
            let parts: Vec<&str> = line.split(" | ").collect();
            let [package, licence, reason] = parts[..] else {
                panic!("expected `name | licence | what for`, found `{line}`");
            };
            assert!(reason.len() > 3, "expected a reason, found `{line}`");
            (package.to_owned(), licence.to_owned(), reason.to_owned())
        })
        .collect()
}

/// The differences between the two, one line of text for each.
fn differences(
    built: &BTreeMap<(String, String), String>,
    list: &[(String, String, String)],
) -> Vec<String> {
    let mut found = Vec::new();
    let mut seen = vec![0; list.len()];
    for ((name, version), licence) in built {
        // A line with a version stands for that version alone, one without for any other.
        let exact = |entry: &str| {
            let rest = entry
                .strip_prefix(name.as_str())
                .and_then(|rest| rest.strip_prefix(' '));
            rest.is_some_and(|beginning| version.starts_with(&format!("{beginning}.")))
        };
        let place = list.iter().position(|(entry, ..)| exact(entry));
        let place = place.or_else(|| list.iter().position(|(entry, ..)| entry == name));
        let Some(place) = place else {
            found.push(format!("a new package; why? {name} | {licence} | "));
            continue;
        };
        seen[place] += 1;
        if seen[place] == 2 {
            found.push(format!("another version of {name}: {version}"));
        }
        if list[place].1 != *licence {
            found.push(format!(
                "expected {name} under {}, found {licence}",
                list[place].1
            ));
        }
    }
    let gone = list.iter().zip(&seen).filter(|(_, seen)| **seen == 0);
    found.extend(gone.map(|((entry, ..), _)| format!("{entry} is not built any more")));
    found
}

/// Whether a licence expression can be met with these licences.
fn is_met(expression: &str, licences: &[String]) -> bool {
    let plain = expression.replace(['(', ')'], "").replace('/', " OR ");
    let any = |choice: &str| {
        choice
            .split(" OR ")
            .any(|one| licences.iter().any(|licence| licence == one.trim()))
    };
    plain.split(" AND ").all(any)
}

#[test]
fn the_packages_are_those_that_were_chosen() {
    let found = differences(&built(), &listed(&read("tests/packages/list.txt")));
    assert!(
        found.is_empty(),
        "tests/packages/list.txt:\n{}",
        found.join("\n")
    );
}

#[test]
fn each_licence_goes_with_ours() {
    let licences = allowed_licences(&read("scripts/audit/deny.toml"));
    for (package, licence, _) in listed(&read("tests/packages/list.txt")) {
        assert!(is_met(&licence, &licences), "{package}: {licence}");
    }
}

#[test]
fn one_licence_of_each_choice_is_enough() {
    let licences =
        allowed_licences("[licenses]\nallow = [\n    \"MIT\",\n    \"Unicode-3.0\",\n]\n");
    assert_eq!(licences, ["MIT", "Unicode-3.0"]);
    let is_allowed = |expression| is_met(expression, &licences);
    assert!(is_allowed("(MIT OR GPL-3.0) AND Unicode-3.0") && is_allowed("MIT/GPL-2.0"));
    assert!(!is_allowed("GPL-3.0") && !is_allowed("MIT AND GPL-3.0"));
}

#[test]
fn all_comes_from_one_registry_with_a_checksum() {
    let lock = read("Cargo.lock");
    for package in lock.split("[[package]]").skip(1) {
        let from = "source = \"registry+https://github.com/rust-lang/crates.io-index\"";
        let whole = package.contains(from) && package.contains("checksum = \"");
        assert!(whole || package.contains("name = \"zemi\""), "{package}");
    }
}

/// The packages that Cargo.toml asks for itself, in its order.
fn direct(manifest: &str) -> Vec<&str> {
    let (_, section) = manifest
        .split_once("\n[dependencies]\n")
        .expect("a section [dependencies]");
    let section = section.split("\n[").next().unwrap_or(section);
    let names = section.lines().filter(|line| !line.starts_with('#'));
    names
        .filter_map(|line| Some(line.split_once(" = ")?.0))
        .collect()
}

#[test]
fn the_readme_tells_each_package_and_how_many_there_are() {
    let readme = read("README.md");
    let (_, section) = readme
        .split_once("## Packages")
        .expect("a section Packages");
    let section = section.split("\n## ").next().unwrap();
    let number = listed(&read("tests/packages/list.txt")).len();
    let number = format!("{number} packages");
    assert!(
        section.contains(&number),
        "expected `{number}` in README.md"
    );
    let manifest = read("Cargo.toml");
    let direct = direct(&manifest);
    assert!(direct.len() > 5, "found only {direct:?}");
    // The packages that these bring are in the list, each with its reason.
    for name in direct {
        let mut named = section.split(|c: char| !(c.is_alphanumeric() || "-_".contains(c)));
        assert!(named.any(|word| word == name), "README.md lacks {name}");
    }
}

#[test]
fn a_package_too_many_too_few_or_changed_is_found() {
    let built = |packages: &[(&str, &str, &str)]| {
        let owned = packages.iter();
        owned
            .map(|(n, v, l)| (((*n).to_owned(), (*v).to_owned()), (*l).to_owned()))
            .collect::<BTreeMap<_, _>>()
    };
    let list = listed("# comment\na | MIT | because\nb 0.2 | MIT | another\nb | MIT | because\n");
    let all = [
        ("a", "1.0.0", "MIT"),
        ("b", "0.2.7", "MIT"),
        ("b", "0.4.1", "MIT"),
    ];
    assert_eq!(differences(&built(&all), &list), [""; 0]);
    let other = [
        all[0],
        all[1],
        ("b", "0.4.1", "ISC"),
        ("b", "0.5.0", "MIT"),
        ("c", "1.0.0", "MIT"),
    ];
    assert_eq!(differences(&built(&other), &list).len(), 3);
    assert_eq!(
        differences(&built(&all[1..]), &list),
        ["a is not built any more"]
    );
}
