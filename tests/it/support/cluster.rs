//! Throw-away PostgreSQL servers, by `scripts/postgres/postgres.sh`.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use super::{Namespace, Sql};

/// The password of the superuser `postgres`.
pub const PASSWORD: &str = "zemi-test";

/// A running server of its own, with `wal_level=logical`. Dropping it destroys it; should this
/// process be killed, a watcher of the script does.
#[derive(Debug)]
pub struct Server {
    major: u32,
    port: u16,
    dir: PathBuf,
    /// What stands before the command that starts it, when it runs in a namespace.
    prefix: Vec<String>,
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
        Server::made(major, dir, &args, owner)
    }

    /// Starts a standby of this server, which is stopped, with these settings beside its own.
    pub fn standby(&self, options: &[(&str, &str)]) -> Server {
        let dir = new_dir();
        let (own, new) = (self.dir.display().to_string(), dir.display().to_string());
        let mut args = vec!["standby".to_owned(), own, new];
        for (name, value) in options {
            args.extend(["-o".to_owned(), format!("{name}={value}")]);
        }
        Server::made(self.major, dir, &args, std::process::id())
    }

    fn made(major: u32, dir: PathBuf, args: &[String], owner: u32) -> Server {
        let port = script(args, Some(owner));
        let port = port.parse().expect("the script prints the port alone");
        Server {
            major,
            port,
            dir,
            prefix: Vec::new(),
        }
    }

    /// Moves it into a namespace, which has to stay as long as it runs.
    pub fn move_into(&mut self, namespace: &Namespace) {
        self.stop("fast");
        self.prefix = namespace.prefix();
        self.up();
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

    /// Keeps a copy of its data as they are now; it is stopped.
    pub fn keep(&self) {
        self.copy("data", "kept");
    }

    /// Gives it the data back that were kept; it is stopped.
    pub fn give_back(&self) {
        std::fs::remove_dir_all(self.dir.join("data")).unwrap();
        self.copy("kept", "data");
    }

    /// Keeps a base backup of its data as of now, without slots, as `pg_basebackup` makes it; it runs.
    pub fn keep_backup(&self, sql: &mut Sql) {
        sql.run("SELECT pg_backup_start('test', true)");
        self.copy("data", "kept");
        let label = sql.value("SELECT labelfile FROM pg_backup_stop(false)");
        let kept = self.dir.join("kept");
        for leave_out in ["pg_wal", "pg_replslot"] {
            std::fs::remove_dir_all(kept.join(leave_out)).unwrap();
        }
        self.copy("data/pg_wal", "kept/pg_wal");
        self.copy("data/pg_tblspc", "kept/pg_replslot");
        std::fs::remove_file(kept.join("postmaster.pid")).unwrap();
        self.write("kept/backup_label", &label);
    }

    /// Leaves the slots out of the data that were kept.
    pub fn keep_no_slots(&self) {
        std::fs::remove_dir_all(self.dir.join("kept/pg_replslot")).unwrap();
        // An empty folder of the server's user.
        self.copy("kept/pg_tblspc", "kept/pg_replslot");
    }

    /// Writes a file below its folder, which the server may replace.
    pub fn write(&self, name: &str, content: &str) {
        let path = self.dir.join(name);
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).unwrap();
    }

    fn copy(&self, from: &str, to: &str) {
        let paths = [from, to].map(|name| self.dir.join(name));
        let status = Command::new("cp").arg("-a").args(&paths).status();
        assert!(status.expect("cp runs").success(), "{paths:?}");
    }

    /// Makes a standby a primary; returns when it is one.
    pub fn promote(&self) {
        let mut sql = Sql::open(self, "postgres");
        assert_eq!(sql.value("SELECT pg_promote()"), "t");
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
        run(command_in(&self.prefix, &args, None));
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
    command_in(&[], args, owner)
}

fn command_in<A: AsRef<str>>(prefix: &[String], args: &[A], owner: Option<u32>) -> Command {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/postgres/postgres.sh");
    let mut command = match prefix.split_first() {
        Some((program, rest)) => {
            let mut command = Command::new(program);
            command.args(rest).arg(script);
            command
        }
        None => Command::new(script),
    };
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
    run(command(args, owner))
}

fn run(mut command: Command) -> String {
    let output = command.output().expect("bash runs the script");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaint}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
