//! The `zemi` program as a process: its log, its signals, its exit code.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::secrets::Secrets;
use super::wait::PATIENCE;

/// Exit codes of zemi, of `sysexits.h`.
pub mod exit {
    /// Arguments that are none of it (`EX_USAGE`).
    pub const USAGE: i32 = 64;
    /// A bug, or a message that does not decode (`EX_SOFTWARE`).
    pub const BUG: i32 = 70;
    /// The slot is in use (`EX_TEMPFAIL`).
    pub const BUSY: i32 = 75;
    /// A refusal of a server (`EX_NOPERM`).
    pub const REFUSED: i32 = 77;
    /// A setting, or a server that is not set up for it (`EX_CONFIG`).
    pub const CONFIG: i32 = 78;
}

/// A running process. Dropping it kills it.
#[derive(Debug)]
pub struct Zemi {
    child: Child,
    log: Arc<Log>,
    reader: Option<JoinHandle<()>>,
    secrets: Secrets,
}

/// What the process wrote to standard error so far.
#[derive(Debug, Default)]
struct Log {
    state: Mutex<LogState>,
    grown: Condvar,
}

#[derive(Debug, Default)]
struct LogState {
    text: String,
    ended: bool,
}

impl Log {
    fn lock(&self) -> MutexGuard<'_, LogState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read_from(&self, source: impl Read) {
        let mut source = BufReader::new(source);
        let mut line = Vec::new();
        while matches!(source.read_until(b'\n', &mut line), Ok(1..)) {
            self.lock().text.push_str(&String::from_utf8_lossy(&line));
            self.grown.notify_all();
            line.clear();
        }
        self.lock().ended = true;
        self.grown.notify_all();
    }
}

impl Zemi {
    /// Starts `zemi` with these settings and no others.
    pub fn start<N: AsRef<str>>(settings: &[(N, String)]) -> Zemi {
        Zemi::with_args(&[], settings)
    }

    /// Starts `zemi` with these arguments and settings.
    pub fn with_args<N: AsRef<str>>(args: &[&str], settings: &[(N, String)]) -> Zemi {
        let mut command = Command::new(env!("CARGO_BIN_EXE_zemi"));
        command.args(args).env_clear();
        command.envs(settings.iter().map(|(name, value)| (name.as_ref(), value)));
        Zemi::spawn(command)
    }

    /// Starts `zemi` with these settings from a shell that ran this script before, such as a `ulimit`.
    pub fn start_after(script: &str, settings: &[(String, String)]) -> Zemi {
        let mut command = Command::new("sh");
        let script = format!("{script}; exec \"$0\"");
        command.args(["-c", &script, env!("CARGO_BIN_EXE_zemi")]);
        Zemi::start_in(command, settings)
    }

    /// Starts this command, which becomes `zemi`, with these settings and no others.
    pub fn start_in(mut command: Command, settings: &[(String, String)]) -> Zemi {
        let path = std::env::var_os("PATH").unwrap_or_default();
        command.env_clear().env("PATH", path);
        command.envs(settings.iter().map(|(name, value)| (name, value)));
        Zemi::spawn(command)
    }

    /// Starts any command, for the tests of this handle itself.
    pub fn spawn(mut command: Command) -> Zemi {
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(Stdio::piped());
        let secrets = Secrets::of(&command);
        let mut child = command.spawn().expect("the program starts");
        let errors = child.stderr.take().expect("standard error is a pipe");
        let log = Arc::new(Log::default());
        let reader = thread::spawn({
            let log = Arc::clone(&log);
            move || log.read_from(errors)
        });
        Zemi {
            child,
            log,
            reader: Some(reader),
            secrets,
        }
    }

    /// Runs `zemi` with these arguments and settings to its end: exit code, standard output, standard
    /// error.
    pub fn says(args: &[&str], settings: &[(String, String)]) -> (i32, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_zemi"));
        command.args(args).env_clear();
        command.envs(settings.iter().map(|(name, value)| (name, value)));
        let output = command.output().expect("the program starts");
        let text = |bytes| String::from_utf8(bytes).expect("it says UTF-8");
        let (out, errors) = (text(output.stdout), text(output.stderr));
        Secrets::of(&command).assert_none_in(&format!("{out}{errors}"));
        (code_of(output.status), out, errors)
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// All that it logged until now.
    pub fn log(&self) -> String {
        self.log.lock().text.clone()
    }

    /// The most memory that the process held, in bytes.
    pub fn peak_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let number = line.unwrap().trim().trim_end_matches(" kB");
        number.parse::<u64>().unwrap() * 1024
    }

    /// Waits until the log holds `wanted`; fails, with the log, after `timeout` or when the process
    /// ends without it.
    pub fn wait_for_log(&self, wanted: &str, timeout: Duration) {
        let waits = |state: &mut LogState| !state.ended && !state.text.contains(wanted);
        let state = self.log.lock();
        let wait = self.log.grown.wait_timeout_while(state, timeout, waits);
        let (state, _) = wait.unwrap_or_else(PoisonError::into_inner);
        let found = state.text.contains(wanted);
        drop(state);
        let text = self.log();
        assert!(found, "waited {timeout:?} in vain for `{wanted}`:\n{text}");
    }

    /// Asks it to stop.
    pub fn sigterm(&self) {
        self.signal("TERM");
    }

    /// Asks it to stop and waits for its end, with exit code 0.
    pub fn stop(&mut self) {
        self.sigterm();
        assert_eq!(self.wait_exit(PATIENCE), Some(0), "{}", self.log());
    }

    /// Sends a signal by its name without `SIG`; the process must not have been waited for.
    pub fn signal(&self, name: &str) {
        // The shell's own kill: std can send SIGKILL only.
        let script = format!("kill -{name} {}", self.id());
        let status = Command::new("sh").args(["-c", &script]).status();
        assert!(status.expect("sh runs").success(), "{script} failed");
    }

    /// Kills it as `kill -9` does, and waits for its end.
    pub fn kill(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.finish_log();
    }

    /// Waits for its end: the exit code, or 128 and the signal's number as a shell says it. `None`
    /// when it still runs after `timeout`.
    pub fn wait_exit(&mut self, timeout: Duration) -> Option<i32> {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(status) = self.child.try_wait().expect("it is our child") {
                self.finish_log();
                return Some(code_of(status));
            }
            if Instant::now() >= deadline {
                return None;
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// The last lines of the log may still be in the pipe when the process is gone.
    fn finish_log(&mut self) {
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

fn code_of(status: ExitStatus) -> i32 {
    let signal = || status.signal().expect("no exit code means a signal");
    status.code().unwrap_or_else(|| 128 + signal())
}

impl Drop for Zemi {
    fn drop(&mut self) {
        let line = std::fs::read(format!("/proc/{}/cmdline", self.id())).unwrap_or_default();
        self.kill();
        if thread::panicking() {
            eprintln!("--- log of process {}:\n{}---", self.id(), self.log());
        } else {
            self.secrets.assert_none_in(&self.log());
            self.secrets.assert_none_in(&String::from_utf8_lossy(&line));
        }
    }
}
