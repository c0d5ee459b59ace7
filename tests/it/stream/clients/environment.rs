//! Environments with the packages of an application, kept in the cache folder.

use std::collections::hash_map::DefaultHasher;
use std::ffi::OsStr;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::{env, fs};

/// The folder that outlives the tree, as `scripts/postgres/postgres.sh` chooses it.
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

/// Runs a command to its end. Where it fails, so does the test, with what the command printed.
pub fn run(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(
        output.status.success(),
        "{command:?}:\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// True where a program of this machine answers to these arguments.
fn answers(program: impl AsRef<OsStr>, args: &[&str]) -> bool {
    let mut command = Command::new(program);
    let output = command.args(args).stdin(Stdio::null()).output();
    output.is_ok_and(|output| output.status.success())
}

/// Held while an environment is looked for and made: the tests of one process share their drafts.
static MAKING: Mutex<()> = Mutex::new(());

/// The folder of the environment `name` made from `parts`, which `make` fills. A change of the parts
/// gives another folder. It appears whole or not at all: other test runs may make it at the same time. One
/// that does not work is made again: the Python that a virtual environment was made by can be gone.
fn made(
    name: &str,
    parts: &[&str],
    works: impl Fn(&Path) -> bool,
    make: impl FnOnce(&Path),
) -> PathBuf {
    let mut hasher = DefaultHasher::new();
    parts.hash(&mut hasher);
    let home = cache()
        .join("clients")
        .join(format!("{name}-{:016x}", hasher.finish()));
    let _one_at_a_time = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
    if works(&home) {
        return home;
    }
    let _ = fs::remove_dir_all(&home);
    let draft = home.with_extension(std::process::id().to_string());
    // A process with this number may have been killed before.
    let _ = fs::remove_dir_all(&draft);
    fs::create_dir_all(&draft).expect("the cache folder can be written");
    make(&draft);
    if fs::rename(&draft, &home).is_err() {
        fs::remove_dir_all(&draft).expect("the draft goes");
    }
    home
}

/// The Python of a virtual environment with these packages. `None` where this machine has no Python
/// that makes virtual environments.
pub fn python(name: &str, packages: &[&str]) -> Option<PathBuf> {
    if !answers("python3", &["-c", "import venv, ensurepip"]) {
        println!(
            "SKIPPED: python3 with venv is not installed (Debian: apt-get install python3-venv)"
        );
        return None;
    }
    let works = |home: &Path| answers(home.join("bin/python"), &["-c", ""]);
    let home = made(name, packages, works, |draft| {
        run(Command::new("python3").args(["-m", "venv"]).arg(draft));
        let mut install = Command::new(draft.join("bin/python"));
        install.args(["-m", "pip", "install", "--quiet"]);
        run(install.arg("--disable-pip-version-check").args(packages));
    });
    Some(home.join("bin/python"))
}

/// A folder with `node_modules` of these packages and the client that Prisma generates from this schema.
/// `None` where this machine has no Node.js with npm.
pub fn prisma(name: &str, packages: &[&str], schema: &str) -> Option<PathBuf> {
    if !answers("node", &["--version"]) || !answers("npm", &["--version"]) {
        println!("SKIPPED: Node.js with npm is not installed (Debian: apt-get install npm)");
        return None;
    }
    let parts = [packages, &[schema]].concat();
    let home = made(name, &parts, Path::exists, |draft| {
        fs::write(draft.join("package.json"), r#"{"private": true}"#).unwrap();
        fs::create_dir(draft.join("prisma")).unwrap();
        fs::write(draft.join("prisma/schema.prisma"), schema).unwrap();
        let mut npm = Command::new("npm");
        npm.args(["install", "--ignore-scripts", "--no-audit", "--no-fund"]);
        run(npm
            .arg("--loglevel=error")
            .args(packages)
            .current_dir(draft));
        // A client with a query compiler needs no engine, but `generate` downloads two from a host of
        // Prisma's unless their paths are set. Any file will do: nothing reads them.
        let engine = draft.join("package.json");
        let mut generate = Command::new("node");
        generate
            .args(["node_modules/prisma/build/index.js", "generate"])
            .env("PRISMA_QUERY_ENGINE_LIBRARY", &engine)
            .env("PRISMA_SCHEMA_ENGINE_BINARY", &engine)
            .env("CHECKPOINT_DISABLE", "1");
        run(generate.current_dir(draft));
    });
    Some(home)
}
