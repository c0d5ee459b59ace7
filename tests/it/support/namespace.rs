//! A corner of this machine with mounts or a network of its own, where root may make one: for disks that
//! fill, names that resolve to nothing and packets that vanish.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

/// Namespaces of the kernel, for as long as this lives and servers run in them. They leave nothing behind,
/// also when this process is killed: what holds them ends with its standard input.
#[derive(Debug)]
pub struct Namespace {
    keeper: Child,
    flags: &'static str,
}

impl Namespace {
    /// With mounts of its own, after this shell script ran in it.
    pub fn with_mounts(script: &str) -> Option<Namespace> {
        Namespace::new("-m", script)
    }

    /// With a network of its own, which has nothing but the loopback interface.
    pub fn with_network() -> Option<Namespace> {
        Namespace::new("-n", "ip link set lo up")
    }

    /// `None`, said in a line, where this process may not make one.
    fn new(flags: &'static str, script: &str) -> Option<Namespace> {
        let script = format!("{{ {script} ; }} && echo ready && exec cat >/dev/null");
        let mut command = Command::new("unshare");
        command.args([flags, "sh", "-c", &script]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut keeper = match command.spawn() {
            Ok(keeper) => keeper,
            Err(e) => {
                println!("unshare (util-linux) does not run, passed over: {e}");
                return None;
            }
        };
        let mut line = String::new();
        let output = keeper.stdout.take().expect("it is a pipe");
        BufReader::new(output).read_line(&mut line).unwrap();
        let namespace = Namespace { keeper, flags };
        if line.trim() != "ready" {
            println!("no namespace of its own (needs root), passed over");
            return None;
        }
        Some(namespace)
    }

    /// The arguments that run the command behind them in here.
    pub fn prefix(&self) -> Vec<String> {
        let id = self.keeper.id().to_string();
        ["nsenter", "-t", &id, self.flags].map(str::to_owned).into()
    }

    /// A command that runs in here.
    pub fn command(&self, program: &str) -> Command {
        let prefix = self.prefix();
        let mut command = Command::new(&prefix[0]);
        command.args(&prefix[1..]).arg(program);
        command
    }

    /// Runs a shell script in here.
    pub fn run(&self, script: &str) {
        let status = self.command("sh").args(["-c", script]).status();
        assert!(status.expect("nsenter runs").success(), "{script} failed");
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        // It may have gone already.
        let _ = self.keeper.wait();
    }
}
