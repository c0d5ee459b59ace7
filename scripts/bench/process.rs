//! The `zemi` program as a process, and what `/proc` says of it (man page `proc(5)`).

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use zemi::error::{Error, Kind, Result};

/// How long the program may take to start or to stop.
const PATIENCE: Duration = Duration::from_secs(60);

/// The unit of `utime` and `stime` in `/proc/PID/stat`: `USER_HZ`, which is 100 on every
/// architecture that Rust's Linux targets know, whatever the kernel's own tick is.
const TICKS_PER_SECOND: f64 = 100.0;

/// A running zemi. Dropping it kills it.
pub struct Tracker {
    child: Child,
    /// When it was executed.
    pub started: Instant,
    lines: Receiver<(Instant, String)>,
}

/// CPU time of a process since its start, user and system together.
#[derive(Debug, Clone, Default)]
pub struct Cpu {
    /// Seconds, as `utime` and `stime` count them: in hundredths.
    pub seconds: f64,
    /// Seconds by the name of the thread, as the scheduler counts them: in nanoseconds.
    pub threads: Vec<(String, f64)>,
}

impl Cpu {
    /// What was used since `before`.
    pub fn since(&self, before: &Cpu) -> Cpu {
        let used = |(name, seconds): &(String, f64)| {
            let seconds = seconds - before.of_thread(name);
            (name.clone(), seconds)
        };
        Cpu {
            seconds: self.seconds - before.seconds,
            threads: self.threads.iter().map(used).collect(),
        }
    }

    /// Seconds of the threads of this name.
    pub fn of_thread(&self, name: &str) -> f64 {
        let found = self.threads.iter().find(|t| t.0 == name);
        found.map_or(0.0, |t| t.1)
    }

    /// Seconds of all threads, as finely as the kernel counts.
    pub fn of_all(&self) -> f64 {
        match self.fine_seconds() {
            0.0 => self.seconds,
            fine => fine,
        }
    }

    /// Seconds of all threads, finer than `seconds`; 0 where the kernel does not count them.
    pub fn fine_seconds(&self) -> f64 {
        self.threads.iter().map(|t| t.1).sum()
    }
}

impl Tracker {
    /// Executes `command`, zemi or what runs it, with the settings that this process has and more.
    pub fn start(mut command: Command, settings: &[(&str, String)]) -> Result<Tracker> {
        command.env_clear();
        command.envs(std::env::vars_os().filter(|(name, _)| {
            let name = name.to_string_lossy();
            name.starts_with("DB_") || name.starts_with("DEST_DB_")
        }));
        command.envs(settings.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(Stdio::piped());
        let started = Instant::now();
        let mut child = command
            .spawn()
            .map_err(|e| failed(format!("cannot start {command:?}")).caused_by(e))?;
        let errors = child
            .stderr
            .take()
            .ok_or_else(|| failed("its standard error is no pipe"))?;
        let (tell, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(errors).lines().map_while(|line| line.ok()) {
                let now = Instant::now();
                if line.contains(" WARN ") || line.contains(" ERROR ") {
                    eprintln!("zemi: {line}");
                }
                // Nobody listens any more once the lines that matter have come.
                let _ = tell.send((now, line));
            }
        });
        Ok(Tracker {
            child,
            started,
            lines,
        })
    }

    /// Waits for a line of the log that holds `wanted`; returns when it came. An empty `wanted` is any
    /// line.
    pub fn wait_for(&self, wanted: &str) -> Result<Instant> {
        let deadline = Instant::now() + PATIENCE;
        let mut seen = String::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok((at, line)) if line.contains(wanted) => return Ok(at),
                Ok((_, line)) => {
                    seen.push('\n');
                    seen.push_str(&line);
                }
                Err(RecvTimeoutError::Timeout) => {
                    return Err(failed(format!("waited in vain for `{wanted}`:{seen}")));
                }
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(failed(format!("it ended before `{wanted}`:{seen}")));
                }
            }
        }
    }

    /// Asks it to stop, and waits for its end.
    pub fn stop(mut self) -> Result<()> {
        // The shell's own kill: std can send SIGKILL only.
        let script = format!("kill -TERM {}", self.child.id());
        let asked = Command::new("/bin/sh").args(["-c", &script]).status();
        asked.map_err(|e| failed("cannot send SIGTERM").caused_by(e))?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let state = self.child.try_wait();
            match state.map_err(|e| failed("cannot wait for it").caused_by(e))? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => return Err(failed(format!("it ended with {status}"))),
                None if Instant::now() >= deadline => {
                    return Err(failed("it still runs long after SIGTERM"));
                }
                None => thread::sleep(Duration::from_millis(1)),
            }
        }
    }

    /// Reads the resident memory every `pause` until it is stopped, on a thread of its own.
    pub fn sample(&self, pause: Duration) -> Samples {
        let path = format!("/proc/{}/status", self.child.id());
        let (stop, stopped) = channel();
        let started = Instant::now();
        let thread = thread::spawn(move || {
            let mut samples = Vec::new();
            while let Ok(status) = fs::read_to_string(&path) {
                if let Some(kib) = number_after(&status, "VmRSS:") {
                    samples.push((started.elapsed().as_secs_f64(), kib as f64 * 1024.0));
                }
                if stopped.recv_timeout(pause) != Err(RecvTimeoutError::Timeout) {
                    break;
                }
            }
            samples
        });
        Samples { stop, thread }
    }

    /// Resident memory now, in bytes (`VmRSS`).
    pub fn resident(&self) -> Result<f64> {
        self.memory("VmRSS:")
    }

    /// The most resident memory so far, in bytes (`VmHWM`).
    pub fn peak(&self) -> Result<f64> {
        self.memory("VmHWM:")
    }

    fn memory(&self, name: &str) -> Result<f64> {
        let kib = number_after(&self.read("status")?, name);
        kib.map(|kib| kib as f64 * 1024.0)
            .ok_or_else(|| failed(format!("its status has no {name}")))
    }

    /// CPU time until now.
    pub fn cpu(&self) -> Result<Cpu> {
        let stat = self.read("stat")?;
        let ticks = ticks(&stat).ok_or_else(|| failed("its stat has no utime and stime"))?;
        let mut threads: Vec<(String, f64)> = Vec::new();
        for task in self.tasks()? {
            // A thread that ends meanwhile leaves nothing to read.
            let Ok(nanos) = fs::read_to_string(task.join("schedstat")) else {
                continue;
            };
            let nanos: Option<u64> = nanos.split(' ').next().and_then(|n| n.parse().ok());
            let name = fs::read_to_string(task.join("comm")).unwrap_or_default();
            let (name, seconds) = (name.trim(), nanos.unwrap_or(0) as f64 / 1e9);
            match threads.iter_mut().find(|t| t.0 == name) {
                Some(thread) => thread.1 += seconds,
                None => threads.push((name.to_owned(), seconds)),
            }
        }
        Ok(Cpu {
            seconds: ticks as f64 / TICKS_PER_SECOND,
            threads,
        })
    }

    /// How often its threads have gone to sleep until now: voluntary context switches.
    pub fn sleeps(&self) -> Result<u64> {
        let mut sum = 0;
        for task in self.tasks()? {
            let status = fs::read_to_string(task.join("status")).unwrap_or_default();
            sum += number_after(&status, "voluntary_ctxt_switches:").unwrap_or(0);
        }
        Ok(sum)
    }

    fn tasks(&self) -> Result<Vec<std::path::PathBuf>> {
        let dir = format!("/proc/{}/task", self.child.id());
        let entries = fs::read_dir(&dir).map_err(|e| failed(dir).caused_by(e))?;
        Ok(entries.flatten().map(|entry| entry.path()).collect())
    }

    fn read(&self, file: &str) -> Result<String> {
        let path = format!("/proc/{}/{file}", self.child.id());
        fs::read_to_string(&path).map_err(|e| failed(path).caused_by(e))
    }
}

/// Resident memory as it is sampled.
pub struct Samples {
    stop: Sender<()>,
    thread: thread::JoinHandle<Vec<(f64, f64)>>,
}

impl Samples {
    /// Ends it: seconds since its start, and bytes.
    pub fn end(self) -> Vec<(f64, f64)> {
        // It may have ended with the process.
        let _ = self.stop.send(());
        self.thread.join().unwrap_or_default()
    }
}

impl Drop for Tracker {
    fn drop(&mut self) {
        // It has ended already when all went well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn failed(what: impl Into<String>) -> Error {
    Error::new(Kind::Bug, what).at("zemi")
}

/// The number in the line of `/proc/PID/status` that begins with `name`.
fn number_after(status: &str, name: &str) -> Option<u64> {
    let rest = status.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_whitespace().next()?.parse().ok()
}

/// `utime` and `stime` of `/proc/PID/stat`, the 14th and 15th field; the second one, the name in
/// parentheses, may hold anything.
fn ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<u64>().ok();
    Some(next()? + next()?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    #[test]
    fn ticks_are_found_behind_any_name() {
        let stat = "7 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 120 34 0 0 20 0";
        assert_eq!(ticks(stat), Some(154));
        assert_eq!(ticks("7 (a) S 1"), None);
    }

    #[test]
    fn numbers_are_found_by_the_name_of_their_line() {
        let status =
            "nonvoluntary_ctxt_switches:\t9\nVmRSS:\t    1234 kB\nvoluntary_ctxt_switches:\t5";
        assert_eq!(number_after(status, "VmRSS:"), Some(1234));
        assert_eq!(number_after(status, "voluntary_ctxt_switches:"), Some(5));
        assert_eq!(number_after(status, "VmHWM:"), None);
    }

    #[test]
    fn cpu_is_subtracted_thread_by_thread() {
        let cpu = |seconds, threads: &[(&str, f64)]| Cpu {
            seconds,
            threads: threads.iter().map(|(n, s)| ((*n).to_owned(), *s)).collect(),
        };
        let used = cpu(5.0, &[("a", 3.0), ("b", 1.5)]).since(&cpu(2.0, &[("b", 1.0)]));
        assert_eq!((used.seconds, used.fine_seconds()), (3.0, 3.5));
    }
}
