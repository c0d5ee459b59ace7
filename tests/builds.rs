//! The scripts that bring compilers, servers and packages, with stand-ins for the commands that they bring
//! them with (`builds/stand-in`): old package lists, mirrors that have moved on, caches that are old, broken
//! or half written. None of it needs the network.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

#[path = "builds/macho.rs"]
mod macho;

/// The oldest Rust that Cargo.toml takes, a version of before and two of after.
const WANTED: &str = env!("CARGO_PKG_RUST_VERSION");
const OLD: &str = "1.85.0+dfsg3-1~deb12u3";
const NEW: &str = "1.96.0+dfsg1-1~deb12u2";
const NEWER: &str = "1.97.1+dfsg1-1~deb12u1";

/// What the scripts may use besides the stand-ins.
const TOOLS: &[&str] = &[
    "awk",
    "basename",
    "bash",
    "cat",
    "chmod",
    "chown",
    "cp",
    "cut",
    "dd",
    "dirname",
    "env",
    "find",
    "flock",
    "grep",
    "gzip",
    "head",
    "ln",
    "ls",
    "mkdir",
    "mktemp",
    "mv",
    "node",
    "od",
    "paste",
    "printf",
    "readlink",
    "rm",
    "sed",
    "sh",
    "sha256sum",
    "sha512sum",
    "sort",
    "tail",
    "tar",
    "test",
    "timeout",
    "touch",
    "tr",
    "true",
    "wc",
];

/// The packages of Debian's rustc.
const RUSTC: &[&str] = &[
    "rustc-web",
    "libstd-rust-web-dev",
    "rust-web-src",
    "libstd-rust-web-1.85",
    "libstd-rust-web-1.96",
    "libstd-rust-web-1.97",
];

fn tree() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A machine: a folder with a PATH, an empty cache and what the stand-ins find.
struct Machine {
    dir: PathBuf,
}

/// How a script ended, and what it said.
struct Said {
    ok: bool,
    text: String,
}

impl Said {
    #[track_caller]
    fn has(&self, wanted: &str) -> &Said {
        assert!(
            self.text.contains(wanted),
            "expected `{wanted}` in:\n{}",
            self.text
        );
        self
    }

    #[track_caller]
    fn succeeded(&self) -> &Said {
        assert!(self.ok, "{}", self.text);
        self
    }

    /// The line of a script that gave up.
    #[track_caller]
    fn failed(&self) -> &Said {
        assert!(!self.ok, "{}", self.text);
        self
    }
}

impl Machine {
    /// Root's machine with a Debian and with these commands besides.
    fn new(commands: &[&str]) -> Machine {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("zemi-builds-{}-{number}", std::process::id()));
        let machine = Machine { dir };
        fs::create_dir_all(machine.dir.join("bin")).unwrap();
        fs::create_dir_all(machine.dir.join("cache")).unwrap();
        for tool in TOOLS {
            let found = std::env::split_paths(&std::env::var_os("PATH").unwrap())
                .map(|folder| folder.join(tool))
                .find(|path| path.is_file());
            if let Some(path) = found {
                symlink(path, machine.dir.join("bin").join(tool)).unwrap();
            }
        }
        let debian = [
            "apt-get",
            "apt-cache",
            "dpkg-deb",
            "id",
            "sleep",
            "sync",
            "uname",
        ];
        for command in debian.iter().chain(commands) {
            machine.stand_in(command);
        }
        machine.set("uid", "0");
        machine.set("cargo", WANTED);
        machine.set("rustc", "1.95.0");
        machine.set("dead", "");
        machine
    }

    /// A machine that `make cross` runs on: with cargo and Python.
    fn with_cargo() -> Machine {
        let machine = Machine::new(&["cargo", "rustc", "python3"]);
        machine.lists("lists", NEW);
        machine.lists("mirror", NEW);
        machine
    }

    fn stand_in(&self, command: &str) {
        let path = self.dir.join("bin").join(command);
        symlink(tree().join("tests/builds/stand-in"), path).unwrap();
    }

    fn set(&self, name: &str, text: &str) {
        fs::write(self.dir.join(name), text).unwrap();
    }

    /// Package lists, or what a mirror has, with this version of Debian's rustc.
    fn lists(&self, name: &str, version: &str) {
        let short: Vec<&str> = version.split('.').take(2).collect();
        let std = format!("libstd-rust-web-{}", short.join("."));
        let packages = RUSTC
            .iter()
            .filter(|p| p.matches('.').count() == 0 || **p == std);
        let mut text: String = packages.map(|p| format!("{p} {version}\n")).collect();
        for other in [
            "libllvm19",
            "libz3-4",
            "libedit2",
            "libxml2",
            "qemu-user-static",
            "openssl",
        ] {
            text += &format!("{other} 1\n");
        }
        self.set(name, &text);
    }

    fn cached(&self, name: &str) -> PathBuf {
        self.dir.join("cache").join(name)
    }

    /// A compiler in the cache that prints this, or does not run.
    fn cache_rustc(&self, folder: &str, says: &str) {
        let file = self.cached(folder).join("rustc");
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, format!("#!/bin/sh\n{says}\n")).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        let sources = "root/usr/lib/rustlib/src/rust";
        fs::create_dir_all(self.cached(folder).join(sources)).unwrap();
    }

    /// Runs a script in bash.
    fn bash(&self, script: &str, settings: &[(&str, &str)]) -> Said {
        let mut command = Command::new(self.dir.join("bin/bash"));
        command
            .args(["-c", script, "script"])
            .current_dir(tree())
            .env_clear();
        command
            .env("PATH", self.dir.join("bin"))
            .env("STAND", &self.dir);
        command.env("ZEMI_CACHE", self.dir.join("cache"));
        command.env("CROSS_DIST", self.dir.join("dist"));
        command.env("HOME", &self.dir).env("LC_ALL", "C");
        command.envs(settings.iter().copied()).stdin(Stdio::null());
        let Output {
            status,
            stdout,
            stderr,
        } = command.output().unwrap();
        let text = String::from_utf8_lossy(&stdout) + String::from_utf8_lossy(&stderr);
        Said {
            ok: status.success(),
            text: text.into_owned(),
        }
    }

    /// `make cross` for one target.
    fn cross(&self, settings: &[(&str, &str)]) -> Said {
        self.bash("scripts/cross/cross.sh x86_64", settings)
    }

    /// What the built program says of the compiler that made it.
    fn program(&self) -> String {
        fs::read_to_string(self.dir.join("dist/zemi-x86_64-linux")).unwrap_or_default()
    }

    /// How often a stand-in was called with this in its line.
    fn calls(&self, text: &str) -> usize {
        let calls = fs::read_to_string(self.dir.join("calls")).unwrap_or_default();
        calls.lines().filter(|line| line.contains(text)).count()
    }

    /// The compilers in the cache, whole ones and others.
    fn compilers(&self) -> Vec<String> {
        let entries = fs::read_dir(self.dir.join("cache")).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names
            .filter(|name| name.starts_with("cross-rustc"))
            .collect();
        names.sort();
        names
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

#[test]
fn versions_are_compared_by_their_numbers() {
    let machine = Machine::new(&[]);
    for (found, wanted, expected) in [
        ("1.88.0", "1.88", true),
        ("1.88", "1.88.0", true),
        (NEW, "1.88", true),
        ("2", "1.88", true),
        ("1.100.0", "1.88", true),
        (OLD, "1.88", false),
        ("1.9.0", "1.88", false),
        ("1.88", "1.88.1", false),
        ("1.08", "1.9", false),
        ("1.09", "1.8", true),
        ("", "1.88", false),
        ("(none)", "1.88", false),
    ] {
        let script = format!(". scripts/apt.sh; version_at_least '{found}' '{wanted}'");
        assert_eq!(machine.bash(&script, &[]).ok, expected, "{found} {wanted}");
    }
}

#[test]
fn old_package_lists_are_refreshed_before_an_old_compiler_is_brought() {
    let machine = Machine::with_cargo();
    machine.lists("lists", OLD);
    machine.lists("fresh", NEW);
    machine
        .cross(&[])
        .succeeded()
        .has("way: debian, rustc 1.96.0");
    assert_eq!(machine.program(), "rustc 1.96.0 (of a package)\n");
    assert_eq!((machine.calls(" update"), machine.calls(OLD)), (1, 0));
    assert_eq!(machine.compilers(), ["cross-rustc-1.96.0"]);
    // The next time nothing is asked or brought.
    fs::remove_file(machine.dir.join("calls")).unwrap();
    machine.cross(&[]).succeeded();
    assert_eq!(
        (machine.calls("apt-get"), machine.calls("cargo build")),
        (0, 0)
    );
}

#[test]
fn lists_that_are_fresh_enough_are_not_refreshed() {
    let machine = Machine::with_cargo();
    machine.cross(&[]).succeeded();
    assert_eq!(machine.calls(" update"), 0);
}

#[test]
fn an_old_compiler_in_the_cache_is_no_dead_end() {
    let machine = Machine::with_cargo();
    machine.cache_rustc("cross-rustc-1.85.0", "echo 'rustc 1.85.0 (cached)'");
    machine.cross(&[]).succeeded().has("found 1.85.0");
    assert_eq!(machine.program(), "rustc 1.96.0 (of a package)\n");
    assert_eq!(machine.compilers(), ["cross-rustc-1.96.0"]);
}

#[test]
fn a_compiler_in_the_cache_that_is_new_enough_is_kept() {
    let machine = Machine::with_cargo();
    machine.cache_rustc("cross-rustc-1.90.0", "echo 'rustc 1.90.0 (cached)'");
    machine.cross(&[]).succeeded();
    assert_eq!(machine.program(), "rustc 1.90.0 (cached)\n");
}

#[test]
fn a_broken_compiler_in_the_cache_is_brought_again() {
    let machine = Machine::with_cargo();
    machine.cache_rustc("cross-rustc-1.96.0", "exit 127");
    machine
        .cross(&[])
        .succeeded()
        .has("which is not whole or does not run");
    assert_eq!(machine.program(), "rustc 1.96.0 (of a package)\n");
    assert_eq!(machine.compilers(), ["cross-rustc-1.96.0"]);
    // Without the sources of its std.
    fs::remove_dir_all(machine.cached("cross-rustc-1.96.0/root/usr/lib/rustlib")).unwrap();
    machine
        .cross(&[])
        .succeeded()
        .has("which is not whole or does not run");
}

#[test]
fn a_compiler_gets_the_libraries_that_the_machine_lacks() {
    let machine = Machine::with_cargo();
    machine.set("dead", "libedit2\n");
    machine.cross(&[]).succeeded();
    machine.set("dead", "libedit2\n");
    machine.cross(&[]).succeeded();
    assert_eq!(
        (machine.calls("install"), machine.calls("download")),
        (2, 1)
    );
    machine.set("dead", "libedit2\n");
    machine.set("uid", "1000");
    let machine_of_a_user = machine.cross(&[("CROSS_WAY", "debian")]);
    machine_of_a_user
        .failed()
        .has("apt-get install libz3-4 libedit2 libxml2");
}

#[test]
fn what_a_killed_run_left_is_in_nobodys_way() {
    let machine = Machine::with_cargo();
    let std = "cross-rustc-1.90.0/root/usr/lib/rustlib/x86_64-unknown-linux-musl";
    machine.cache_rustc("cross-rustc-1.90.0", "echo 'rustc 1.90.0 (cached)'");
    for folder in [&format!("{std}/lib.new"), "cross-rustc-1.90.0/std/src"] {
        fs::create_dir_all(machine.cached(folder)).unwrap();
    }
    fs::write(machine.cached(std).join("lib.new/libstd-old.rlib"), "").unwrap();
    fs::create_dir_all(machine.cached("cross-rustc.AbCdEf/debs")).unwrap();
    machine.cross(&[]).succeeded();
    assert!(machine.cached(std).join("lib/libstd-new.rlib").exists());
    assert!(!machine.cached(std).join("lib/libstd-old.rlib").exists());
    // The other folder goes when a compiler is brought.
    fs::remove_dir_all(machine.cached("cross-rustc-1.90.0")).unwrap();
    machine.cross(&[]).succeeded();
    assert_eq!(machine.compilers(), ["cross-rustc-1.96.0"]);
}

#[test]
fn what_was_built_with_another_std_is_built_again() {
    let machine = Machine::with_cargo();
    machine.cross(&[]).succeeded();
    let kept = machine
        .dir
        .join("target/cross-debian/x86_64-unknown-linux-musl/kept");
    fs::write(&kept, "").unwrap();
    machine.cross(&[]).succeeded();
    assert!(kept.exists());
    let std = "cross-rustc-1.96.0/root/usr/lib/rustlib/x86_64-unknown-linux-musl/lib";
    fs::write(machine.cached(std).join("libstd-new.rlib"), "another").unwrap();
    machine.cross(&[]).succeeded();
    assert!(!kept.exists());
}

#[test]
fn a_version_that_the_mirror_has_no_more_is_looked_up_anew() {
    let machine = Machine::with_cargo();
    machine.lists("mirror", NEWER);
    machine.lists("fresh", NEWER);
    machine.cross(&[]).succeeded();
    assert_eq!(machine.program(), "rustc 1.97.1 (of a package)\n");
    assert_eq!(machine.calls(" update"), 1);
    assert_eq!(machine.compilers(), ["cross-rustc-1.97.1"]);
}

#[test]
fn lists_that_stay_old_give_way_to_rustup() {
    for uid in ["0", "1000"] {
        let machine = Machine::with_cargo();
        machine.set("uid", uid);
        machine.lists("lists", OLD);
        machine.lists("mirror", OLD);
        machine.stand_in("rustup");
        machine.set("rustup", machine.dir.join("sysroot").to_str().unwrap());
        machine
            .cross(&[])
            .succeeded()
            .has("way: rustup, rustc 1.95.0")
            .has("offers rustc-web 1.85.0");
        assert_eq!(
            machine.calls("rustup target add x86_64-unknown-linux-musl"),
            1
        );
        assert_eq!(machine.calls(" update"), usize::from(uid == "0"));
        assert_eq!(machine.program(), "rustc 1.95.0 (stand-in)\n");
        assert!(machine.compilers().is_empty());
    }
}

#[test]
fn without_any_way_one_line_says_what_to_do() {
    for (uid, wanted) in [
        ("0", "older than Rust"),
        ("1000", "only root can refresh (apt-get update)"),
    ] {
        let machine = Machine::with_cargo();
        machine.set("uid", uid);
        machine.lists("lists", OLD);
        machine.cache_rustc("cross-rustc-1.85.0", "echo 'rustc 1.85.0 (cached)'");
        let said = machine.cross(&[]);
        said.failed()
            .has(wanted)
            .has("there is no rustup to bring x86_64-unknown-linux-musl");
        assert_eq!(
            said.text
                .lines()
                .filter(|l| l.contains("no std for"))
                .count(),
            1
        );
        assert_eq!(machine.calls("cargo build") + machine.calls("download"), 0);
    }
}

#[test]
fn a_machine_without_apt_goes_by_rustup() {
    let machine = Machine::with_cargo();
    for command in ["apt-get", "apt-cache", "dpkg-deb"] {
        fs::remove_file(machine.dir.join("bin").join(command)).unwrap();
    }
    let target = machine
        .dir
        .join("sysroot/lib/rustlib/x86_64-unknown-linux-musl/lib");
    fs::create_dir_all(target).unwrap();
    machine.cross(&[]).succeeded().has("way: rustup");
    assert_eq!(machine.calls("rustup target"), 0);
}

#[test]
fn rustup_is_asked_for_the_targets_that_are_missing() {
    let machine = Machine::with_cargo();
    machine.stand_in("rustup");
    let here = machine
        .dir
        .join("sysroot/lib/rustlib/x86_64-unknown-linux-musl/lib");
    fs::create_dir_all(here).unwrap();
    machine.set("rustup", machine.dir.join("sysroot").to_str().unwrap());
    let said = machine.bash("scripts/cross/cross.sh", &[("CROSS_WAY", "rustup")]);
    said.succeeded();
    let line = "rustup target add aarch64-unknown-linux-musl armv7-unknown-linux-musleabihf";
    assert_eq!(machine.calls(line), 1);
    let built = [
        "x86_64-unknown-linux-musl",
        "aarch64-unknown-linux-musl",
        "armv7-unknown-linux-musleabihf",
    ];
    for triple in built {
        let line = format!("zigbuild --profile static --locked --target {triple}");
        assert_eq!(machine.calls(&line), 1, "{triple}");
    }
    let sums = fs::read_to_string(machine.dir.join("dist/SHA256SUMS")).unwrap();
    assert_eq!(sums.lines().count(), 3);
    assert_eq!(machine.calls("apt-get"), 0);
}

#[test]
fn what_is_wrong_with_the_toolchain_is_said_before_anything_is_built() {
    let by_rustup = &[("CROSS_WAY", "rustup")];
    let machine = Machine::with_cargo();
    machine.stand_in("rustup");
    machine
        .cross(by_rustup)
        .failed()
        .has("could not download the manifest");
    machine.set("rustup", machine.dir.join("another").to_str().unwrap());
    machine
        .cross(by_rustup)
        .failed()
        .has("to another toolchain");
    machine.set("rustc", "1.80.1");
    machine
        .cross(by_rustup)
        .failed()
        .has("rustc 1.80.1 is older")
        .has("rustup update");
    machine.set("cargo", "1.80.1");
    for way in [&[][..], by_rustup] {
        machine
            .cross(way)
            .failed()
            .has("found 1.80.1: rustup update");
    }
    assert_eq!(
        machine.calls("zigbuild") + machine.calls("cargo build") + machine.calls("venv"),
        0
    );
}

#[test]
fn zig_is_brought_again_where_it_is_half_written_broken_or_of_another_version() {
    let machine = Machine::with_cargo();
    machine.cross(&[]).succeeded();
    assert_eq!(machine.calls("-m venv"), 1);
    let mut entries = fs::read_dir(machine.dir.join("cache")).unwrap();
    let venv = entries.find_map(|entry| {
        let path = entry.unwrap().path();
        path.join("complete").exists().then_some(path)
    });
    let venv = venv.unwrap();
    machine.cross(&[]).succeeded();
    assert_eq!(machine.calls("-m venv"), 1);
    fs::remove_file(venv.join("complete")).unwrap();
    machine.cross(&[]).succeeded();
    assert_eq!(machine.calls("-m venv"), 2);
    fs::remove_file(venv.join("bin/python3")).unwrap();
    machine.cross(&[]).succeeded();
    assert_eq!(machine.calls("-m venv"), 3);
    fs::write(
        venv.join("bin/cargo-zigbuild"),
        "#!/bin/sh\necho cargo-zigbuild 0.1.0\n",
    )
    .unwrap();
    machine.cross(&[]).succeeded();
    assert_eq!(machine.calls("-m venv"), 4);
}

#[test]
fn qemu_is_brought_again_where_it_is_broken_and_by_fresh_lists() {
    let find = ". scripts/cross/common.sh; . scripts/cross/qemu.sh; set -euo pipefail
        choose_cache; find_qemu armv7; \"$qemu\"";
    let machine = Machine::with_cargo();
    machine.set("lists", "qemu-user-static 1\n");
    machine.set("fresh", "qemu-user-static 2\n");
    machine.set("mirror", "qemu-user-static 2\n");
    machine.bash(find, &[]).succeeded().has("qemu");
    assert_eq!(
        (machine.calls(" update"), machine.calls("download")),
        (1, 2)
    );
    machine.bash(find, &[]).succeeded();
    assert_eq!(machine.calls("download"), 2);
    fs::write(machine.cached("cross-qemu/usr/bin/qemu-arm-static"), "").unwrap();
    machine.bash(find, &[]).succeeded();
    assert_eq!(machine.calls("download"), 3);
}

#[test]
fn packages_are_installed_by_fresh_lists_where_the_old_ones_do_not_do() {
    let install = ". scripts/apt.sh; apt_install openssl || { echo \"$apt_why\"; exit 1; }";
    // No list yet, and one that names what the mirror has no more.
    for lists in ["", "openssl 1\n"] {
        let machine = Machine::new(&[]);
        machine.set("lists", lists);
        machine.set("fresh", "openssl 2\n");
        machine.set("mirror", "openssl 2\n");
        machine.bash(install, &[]).succeeded();
        assert_eq!((machine.calls(" update"), machine.calls("install")), (1, 2));
        machine.set("mirror", "openssl 3\n");
        machine.bash(install, &[]).failed().has("404");
        machine.set("uid", "1000");
        machine.bash(install, &[]).failed().has("only root");
    }
}

#[test]
fn a_broken_server_in_the_cache_is_brought_again() {
    let machine = Machine::new(&["npm"]);
    machine.set("uid", "1000");
    let find = "scripts/postgres/postgres.sh bin 14";
    machine.bash(find, &[]).succeeded();
    machine.bash(find, &[]).succeeded();
    assert_eq!(machine.calls("npm pack"), 1);
    let said = machine.bash(find, &[]);
    let bin = PathBuf::from(said.text.trim());
    fs::write(bin.join("postgres"), "").unwrap();
    machine.bash(find, &[]).succeeded();
    assert_eq!(machine.calls("npm pack"), 2);
    fs::remove_dir_all(&bin).unwrap();
    machine.bash(find, &[]).succeeded();
    assert_eq!(machine.calls("npm pack"), 3);
}
