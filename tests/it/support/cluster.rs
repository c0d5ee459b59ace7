//! Throw-away PostgreSQL servers, by `scripts/postgres.sh`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// The password of the superuser `postgres`.
pub const PASSWORD: &str = "zemi-test";

/// A running server of its own, with `wal_level=logical`. Dropping it destroys it; should this
/// process be killed, a watcher of the script does.
#[derive(Debug)]
pub struct Server {
    major: u32,
    port: u16,
    dir: PathBuf,
}

impl Server {
    /// Starts a server of this major version (14 to 18) with these settings of `postgresql.conf`
    /// beside those of the script.
    pub fn start(major: u32, options: &[(&str, &str)]) -> Server {
        Server::start_for(std::process::id(), major, options)
    }

    /// As [`Server::start`], for another owner: when that process is gone, so is the server.
    pub fn start_for(owner: u32, major: u32, options: &[(&str, &str)]) -> Server {
        let dir = new_dir();
        let mut args = vec![
            "start".to_owned(),
            major.to_string(),
            dir.display().to_string(),
        ];
        for (name, value) in options {
            args.extend(["-o".to_owned(), format!("{name}={value}")]);
        }
        let port = script(&args, Some(owner));
        let port = port.parse().expect("the script prints the port alone");
        Server { major, port, dir }
    }

    /// Stops it: `fast`, `smart` or `immediate` (as in a crash). Returns when it is gone.
    pub fn stop(&self, mode: &str) {
        self.script(&["stop"], &[mode]);
    }

    /// Starts it again on the same port.
    pub fn up(&self) {
        self.script(&["up"], &[]);
    }

    /// Stops it in this mode and starts it again on the same port.
    pub fn restart(&self, mode: &str) {
        self.script(&["restart"], &[mode]);
    }

    /// The port on 127.0.0.1; it stays the same.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The major version.
    pub fn major(&self) -> u32 {
        self.major
    }

    /// The folder that holds `data`, `log` and `socket`.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The settings by which zemi connects to `database` on this server, with the names of the
    /// source (`DB_`) or of the destination (`DEST_DB_`).
    pub fn settings(&self, prefix: &str, database: &str) -> Vec<(String, String)> {
        let port = self.port.to_string();
        [
            ("HOST", "127.0.0.1"),
            ("PORT", &port),
            ("NAME", database),
            ("USER", "postgres"),
            ("PASSWORD", PASSWORD),
        ]
        .map(|(name, value)| (format!("{prefix}{name}"), value.to_owned()))
        .into()
    }

    fn script(&self, command: &[&str], rest: &[&str]) {
        let dir = self.dir.display().to_string();
        let args = [command, &[dir.as_str()], rest].concat();
        script(&args, None);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let run = command(&["destroy", &self.dir.display().to_string()], None).output();
        // A panic here, during another one, would end all tests.
        match run {
            Ok(output) if output.status.success() => {}
            failed => eprintln!("{} was not destroyed: {failed:?}", self.dir.display()),
        }
    }
}

/// A folder that is not there yet. The name is short: the path of a socket has 107 bytes.
fn new_dir() -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let n = COUNT.fetch_add(1, Ordering::Relaxed);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let name = format!("zemi-{}-{:x}-{n}", std::process::id(), now.subsec_micros());
    std::env::temp_dir().join(name)
}

fn command<A: AsRef<str>>(args: &[A], owner: Option<u32>) -> Command {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/postgres.sh");
    let mut command = Command::new(script);
    command
        .args(args.iter().map(AsRef::as_ref))
        .env("ZEMI_TEST_PASSWORD", PASSWORD)
        .env_remove("ZEMI_OWNER_PID")
        .stdin(Stdio::null());
    if let Some(owner) = owner {
        command.env("ZEMI_OWNER_PID", owner.to_string());
    }
    command
}

/// Runs the script; returns what it printed. Fails with what it complained of.
fn script<A: AsRef<str>>(args: &[A], owner: Option<u32>) -> String {
    let output = command(args, owner).output().expect("bash runs the script");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaint}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
