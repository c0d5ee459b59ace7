//! `scripts/deploy/zemi-supervise`, under dash and busybox: one zemi whatever cron does, and the right thing
//! after each way to end. A small script stands in for zemi, so that it ends as a test wants it to.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use crate::support::wait_until;

const MOMENT: Duration = Duration::from_secs(60);

/// Notes each start in `$COUNT`; runs until SIGTERM, or ends with the exit code `$MODE`.
const PROGRAM: &str = r#"#!/bin/sh
echo "started" >>"$COUNT"
echo "a line of the program" >&2
[ "$MODE" = run ] || exit "$MODE"
trap 'exit 0' TERM
while :; do sleep 0.02; done
"#;

/// A folder for one supervisor, and the shell that runs it. Dropping it stops all and removes it.
struct Post {
    shell: &'static [&'static str],
    dir: PathBuf,
    log_bytes: &'static str,
}

impl Post {
    fn new(shell: &'static [&'static str]) -> Post {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("zemi-supervise-{}-{number}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        fs::create_dir_all(dir.join("state")).unwrap();
        let post = Post {
            shell,
            dir,
            log_bytes: "1000",
        };
        fs::write(post.dir.join("program"), PROGRAM).unwrap();
        fs::set_permissions(post.dir.join("program"), Permissions::from_mode(0o755)).unwrap();
        post.settings("run");
        post
    }

    fn state(&self, name: &str) -> PathBuf {
        self.dir.join("state").join(name)
    }

    /// Writes the settings file: what the program does.
    fn settings(&self, mode: &str) {
        let file = self.dir.join("env");
        let count = self.dir.join("count");
        let text = format!("# settings\n\nMODE='{mode}'\nCOUNT={}\r\n", count.display());
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    }

    fn command(&self, args: &[&str]) -> Command {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/deploy/zemi-supervise");
        let mut command = Command::new(self.shell[0]);
        command.args(&self.shell[1..]).arg(script).args(args);
        command.env("ZEMI_DIR", self.dir.join("state"));
        command.env("ZEMI_ENV", self.dir.join("env"));
        command.env("ZEMI_BIN", self.dir.join("program"));
        command.env("ZEMI_LOG_BYTES", self.log_bytes);
        command.env("ZEMI_LOG_KEEP", "2").stdin(Stdio::null());
        command
    }

    /// Runs it to its end: standard output and error together, and the exit code.
    fn run(&self, args: &[&str]) -> (String, i32) {
        let Output {
            status,
            stdout,
            stderr,
        } = self.command(args).output().unwrap();
        let text = String::from_utf8_lossy(&stdout) + String::from_utf8_lossy(&stderr);
        (text.into_owned(), status.code().unwrap())
    }

    /// What cron does. A tick must be silent, for cron sends what it hears as a mail.
    fn tick(&self) {
        assert_eq!(self.run(&[]), (String::new(), 0));
    }

    fn starts(&self) -> usize {
        let text = fs::read_to_string(self.dir.join("count")).unwrap_or_default();
        text.lines().count()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.state("log")).unwrap_or_default()
    }

    /// The process that a link names.
    fn pid(&self, name: &str) -> Option<String> {
        let link = fs::read_link(self.state(name)).ok()?;
        Some(link.to_str()?.split_once('-')?.0.to_owned())
    }

    fn wait_for_starts(&self, wanted: usize) {
        wait_until("the program starts", MOMENT, || self.starts() >= wanted);
    }

    fn wait_for_log(&self, wanted: &str) {
        wait_until(wanted, MOMENT, || self.log().contains(wanted));
    }

    /// Waits until the supervisor has left after this exit code, and `status` says so.
    fn wait_for_refusal(&self, code: &str) {
        let mark = self.state(&format!("refused-{code}"));
        wait_until("a refusal", MOMENT, || mark.exists());
        self.wait_for_end();
        let (said, status) = self.run(&["status"]);
        assert!(said.contains(&format!("exit code {code}")), "{said}");
        assert_eq!(status, 3);
    }

    /// Waits until the supervisor has left.
    fn wait_for_end(&self) {
        let gone = || fs::symlink_metadata(self.state("supervisor")).is_err();
        wait_until("the supervisor leaves", MOMENT, gone);
    }
}

impl Drop for Post {
    fn drop(&mut self) {
        let _ = self.command(&["stop"]).output();
        if std::thread::panicking() {
            eprintln!("--- log of the supervisor:\n{}---", self.log());
            let _ = Command::new("umount")
                .arg("-l")
                .arg(self.dir.join("state"))
                .output();
        }
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn kill(pid: &str) {
    let status = Command::new("sh")
        .args(["-c", &format!("kill -KILL {pid}")])
        .status();
    assert!(status.unwrap().success());
}

/// Runs a test under each of the shells that are there.
fn under_each_shell(test: fn(Post)) {
    for shell in [&["dash"][..], &["busybox", "sh"]] {
        let there = Command::new(shell[0])
            .args(&shell[1..])
            .args(["-c", ":"])
            .status();
        match there {
            Ok(status) if status.success() => test(Post::new(shell)),
            _ => eprintln!("skipped under {0}: apt-get install {0}", shell[0]),
        }
    }
}

#[test]
fn ticks_that_race_start_one_zemi() {
    under_each_shell(|post| {
        let ticks: Vec<_> = (0..8).map(|_| post.command(&[]).spawn().unwrap()).collect();
        for mut tick in ticks {
            assert!(tick.wait().unwrap().success());
        }
        post.wait_for_starts(1);
        post.tick();
        assert_eq!(post.run(&["start"]).1, 0);
        assert_eq!(post.run(&["status"]).1, 0);
        assert_eq!(post.run(&["stop"]), (String::new(), 0));
        assert_eq!(post.starts(), 1);
        assert_eq!(post.run(&["status"]).1, 3);
    });
}

#[test]
fn what_was_stopped_stays_so_until_it_is_started() {
    under_each_shell(|post| {
        post.tick();
        post.wait_for_starts(1);
        post.run(&["stop"]);
        post.tick();
        assert_eq!(post.run(&["status"]).1, 3);
        assert_eq!(post.starts(), 1);
        let (said, code) = post.run(&["start"]);
        assert!(said.contains("running as process"), "{said}");
        assert_eq!(code, 0);
        post.wait_for_starts(2);
        let before = post.pid("program");
        assert_eq!(post.run(&["restart"]).1, 0);
        post.wait_for_starts(3);
        assert_ne!(post.pid("program"), before);
    });
}

#[test]
fn what_a_power_loss_left_is_in_nobodys_way() {
    under_each_shell(|post| {
        // The numbers belong to others now: to this test, for one.
        File::create(post.state("lock")).unwrap();
        symlink(
            format!("{}-1", std::process::id()),
            post.state("supervisor"),
        )
        .unwrap();
        symlink("1-999999999", post.state("program")).unwrap();
        assert_eq!(post.run(&["status"]).1, 3);
        post.tick();
        post.wait_for_starts(1);
        post.run(&["stop"]);
        assert_eq!(post.starts(), 1);
    });
}

#[test]
fn a_killed_supervisor_leaves_no_room_for_a_second_zemi() {
    under_each_shell(|post| {
        post.run(&["start"]);
        post.wait_for_starts(1);
        kill(&post.pid("supervisor").unwrap());
        post.tick();
        let (said, code) = post.run(&["status"]);
        assert!(said.contains("its supervisor was killed"), "{said}");
        assert_eq!((code, post.starts()), (0, 1));
        kill(&post.pid("program").unwrap());
        wait_until("the lock is free", MOMENT, || {
            post.tick();
            post.starts() == 2
        });
    });
}

#[test]
fn a_zemi_that_dies_is_started_again() {
    under_each_shell(|post| {
        post.tick();
        post.wait_for_starts(1);
        wait_until("it is known", MOMENT, || post.pid("program").is_some());
        kill(&post.pid("program").unwrap());
        post.wait_for_log("exit code 137 and is started again in 1 s");
        post.settings("69");
        post.wait_for_starts(2);
        kill_if_there(&post);
        post.wait_for_log("exit code 69 and is started again in");
    });
}

/// Ends the program where it read its settings before they were changed.
fn kill_if_there(post: &Post) {
    if let Some(pid) = post.pid("program") {
        let _ = Command::new("sh")
            .args(["-c", &format!("kill -KILL {pid} 2>&-")])
            .status();
    }
}

#[test]
fn a_busy_slot_is_left_for_the_next_tick() {
    under_each_shell(|post| {
        post.settings("75");
        for starts in 1..=2 {
            post.tick();
            post.wait_for_starts(starts);
            post.wait_for_end();
        }
        assert!(!post.log().contains("zemi-supervise"), "{}", post.log());
    });
}

#[test]
fn a_refusal_is_said_once_and_tried_again_when_the_settings_are_newer() {
    under_each_shell(|post| {
        for code in ["77", "78"] {
            let before = post.starts();
            post.settings(code);
            post.run(&["start"]);
            post.wait_for_refusal(code);
            let (said, _) = post.run(&[]);
            assert!(said.contains(&format!("exit code {code}")), "{said}");
            post.tick();
            post.tick();
            assert_eq!(post.starts(), before + 1);
        }
        let before = post.starts();
        post.settings("run");
        let later = SystemTime::now() + Duration::from_secs(10);
        let file = File::options()
            .write(true)
            .open(post.dir.join("env"))
            .unwrap();
        file.set_modified(later).unwrap();
        post.tick();
        post.wait_for_starts(before + 1);
        assert_eq!(post.run(&["status"]).1, 0);
    });
}

#[test]
fn settings_that_others_may_read_or_that_are_none_are_refused() {
    under_each_shell(|post| {
        let file = post.dir.join("env");
        for (mode, text, wanted) in [
            (0o644, "MODE=run\n", "expected mode 0600"),
            (0o620, "MODE=run\n", "expected mode 0600"),
            (
                0o600,
                "MODE=run\n$(secret)\n",
                "expected NAME=VALUE in line 2",
            ),
            (0o600, "mode=secret\n", "expected NAME=VALUE in line 1"),
        ] {
            fs::write(&file, text).unwrap();
            fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
            post.run(&["start"]);
            post.wait_for_log(wanted);
            post.wait_for_refusal("78");
            fs::remove_file(post.state("log")).unwrap();
        }
        fs::remove_file(&file).unwrap();
        post.run(&["start"]);
        post.wait_for_log("found no such file");
        assert!(!post.log().contains("secret"));
        assert_eq!(post.starts(), 0);
    });
}

#[test]
fn a_large_log_is_put_aside_while_zemi_writes() {
    under_each_shell(|post| {
        post.tick();
        post.wait_for_log("a line of the program");
        for round in 0..4 {
            let mut text = format!("round {round}\n");
            text += &"x".repeat(1000);
            fs::write(post.state("log"), text).unwrap();
            post.tick();
            assert_eq!(post.log(), "");
            let old = fs::read_to_string(post.state("log.1")).unwrap();
            assert!(old.starts_with(&format!("round {round}\n")), "{old}");
        }
        let old = fs::read_to_string(post.state("log.2")).unwrap();
        assert!(old.starts_with("round 2\n"), "{old}");
        assert!(!post.state("log.3").exists());
        assert_eq!(post.starts(), 1);
        kill(&post.pid("program").unwrap());
        post.wait_for_log("started again");
    });
}

#[test]
fn a_full_disk_keeps_nobody_from_running_or_stopping() {
    under_each_shell(|mut post| {
        let mount = |args: &[&str]| {
            let mut command = Command::new(args[0]);
            command.args(&args[1..]).arg(post.dir.join("state"));
            command.output().is_ok_and(|output| output.status.success())
        };
        if !mount(&["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs"]) {
            eprintln!("skipped the full disk: expected root, who may mount a tmpfs");
            return;
        }
        post.log_bytes = "30000";
        fs::write(post.state("log"), "x".repeat(40_000)).unwrap();
        let full = fs::write(post.state("filler"), vec![0; 1 << 20]);
        assert!(full.is_err(), "the disk is not full");
        // The log gives way: there is no space for the old one.
        post.tick();
        post.wait_for_starts(1);
        assert!(post.log().len() < 30_000);
        let _ = fs::write(post.state("filler"), vec![0; 1 << 20]);
        wait_until("it is known", MOMENT, || post.pid("program").is_some());
        assert_eq!(post.run(&["status"]).1, 0);
        kill(&post.pid("program").unwrap());
        post.wait_for_starts(2);
        assert_eq!(post.run(&["stop"]).1, 0);
        assert_eq!(post.run(&["status"]).1, 3);
        assert!(mount(&["umount"]));
    });
}

#[test]
fn the_real_zemi_is_run_with_the_settings_of_the_file() {
    under_each_shell(|post| {
        let file = post.dir.join("env");
        fs::write(&file, "LOG_LEVEL=\"nonsense\"\n").unwrap();
        let mut command = post.command(&["start"]);
        command.env("ZEMI_BIN", env!("CARGO_BIN_EXE_zemi"));
        assert!(command.output().is_ok());
        post.wait_for_refusal("78");
        assert!(post.log().contains("LOG_LEVEL"), "{}", post.log());
        assert!(post.log().contains("zemi ended with exit code 78"));
    });
}
