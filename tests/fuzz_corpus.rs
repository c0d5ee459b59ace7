//! Replays the corpus of every fuzz target, so that whatever it holds goes on holding on a machine
//! without nightly and sanitizer.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::panic::catch_unwind;
use std::path::Path;

#[path = "../fuzz/src/lib.rs"]
mod targets;

use targets::{TARGETS, Target};

/// A corpus is some hundred files and less than a megabyte.
const MOST_FILES: usize = 1000;
const MOST_BYTES: usize = 1 << 20;

fn folder(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz")
        .join(name)
}

/// The target on every file of its corpus; the names of the files on which it failed.
fn replay(name: &str, target: Target) -> Vec<String> {
    let mut failed = Vec::new();
    let (mut files, mut bytes) = (0, 0);
    for entry in fs::read_dir(folder("corpus").join(name)).unwrap() {
        let path = entry.unwrap().path();
        let input = fs::read(&path).unwrap();
        files += 1;
        bytes += input.len();
        if catch_unwind(|| target(&input)).is_err() {
            failed.push(path.display().to_string());
        }
    }
    assert!((1..=MOST_FILES).contains(&files), "{name}: {files} files");
    assert!(bytes <= MOST_BYTES, "{name}: {bytes} bytes");
    failed
}

#[test]
fn the_corpus_of_every_target_passes() {
    let failed: Vec<String> = TARGETS
        .iter()
        .flat_map(|(name, target)| replay(name, *target))
        .collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn there_is_a_target_for_each_file_and_a_file_for_each_target() {
    let mut files: Vec<String> = fs::read_dir(folder("fuzz_targets"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    files.sort();
    let names: Vec<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
    assert_eq!(files, names);
}

/// Whatever the corpus holds.
#[test]
fn every_target_takes_nothing_at_all_and_one_byte() {
    for (name, target) in TARGETS {
        for input in [&[][..], &[0], &[255]] {
            assert!(catch_unwind(|| target(input)).is_ok(), "{name} {input:?}");
        }
    }
}
