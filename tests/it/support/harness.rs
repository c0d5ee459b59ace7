//! Tests of the support itself: servers, processes, waiting.

use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::support::{Server, Zemi, wait_until};

const MOMENT: Duration = Duration::from_secs(20);

fn accepts(server: &Server) -> bool {
    TcpStream::connect(("127.0.0.1", server.port())).is_ok()
}

fn major_of_data(server: &Server) -> u32 {
    let version = fs::read_to_string(server.dir().join("data/PG_VERSION")).unwrap();
    version.trim().parse().unwrap()
}

/// The first field of `pg_control` (PostgreSQL's `catalog/pg_control.h`).
fn system_identifier(server: &Server) -> u64 {
    let control = fs::read(server.dir().join("data/global/pg_control")).unwrap();
    u64::from_ne_bytes(control[..8].try_into().unwrap())
}

fn shell(script: &str) -> Zemi {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    Zemi::spawn(command)
}

#[test]
fn a_server_starts_stops_and_leaves_no_folder() {
    let server = Server::start(15, &[("work_mem", "1234kB"), ("cluster_name", "o'clock")]);
    let dir = server.dir().to_owned();
    let conf = fs::read_to_string(dir.join("data/postgresql.conf")).unwrap();
    assert!(conf.contains("work_mem = '1234kB'"), "{conf}");
    assert_eq!((server.major(), major_of_data(&server)), (15, 15));
    assert!(accepts(&server));
    server.stop("fast");
    assert!(!accepts(&server));
    server.up();
    assert!(accepts(&server));
    server.restart("immediate");
    assert!(accepts(&server));
    drop(server);
    assert!(!dir.exists());
}

#[test]
fn every_supported_version_starts_beside_the_others() {
    let servers: Vec<Server> = (14..=18).map(|major| Server::start(major, &[])).collect();
    for server in &servers {
        assert!(accepts(server), "{server:?}");
        assert_eq!(major_of_data(server), server.major());
    }
}

#[test]
fn servers_have_system_identifiers_of_their_own() {
    let (one, two) = (Server::start(15, &[]), Server::start(15, &[]));
    assert_ne!(system_identifier(&one), system_identifier(&two));
}

#[test]
fn a_server_goes_when_its_owner_is_killed() {
    let mut owner = shell("exec sleep 600");
    let server = Server::start_for(owner.id(), 15, &[]);
    assert!(accepts(&server));
    owner.kill();
    wait_until("the server's folder goes", MOMENT, || {
        !server.dir().exists()
    });
    assert!(!accepts(&server));
}

#[test]
fn a_server_is_named_to_zemi_by_settings() {
    let server = Server::start(15, &[]);
    let settings = server.settings("DEST_DB_", "shop");
    let port = server.port().to_string();
    for (name, value) in [
        ("DEST_DB_HOST", "127.0.0.1"),
        ("DEST_DB_PORT", &port),
        ("DEST_DB_NAME", "shop"),
    ] {
        assert!(settings.contains(&(name.into(), value.into())), "{name}");
    }
}

#[test]
fn the_log_of_a_process_can_be_waited_for() {
    let mut process = shell("echo one >&2; read -r line; echo never >&2");
    process.wait_for_log("one", MOMENT);
    assert_eq!(process.wait_exit(MOMENT), Some(0), "its input is empty");
    assert_eq!(process.log(), "one\nnever\n");
}

#[test]
#[should_panic(expected = "in vain for `two`")]
fn a_process_that_ends_without_the_line_is_not_waited_for() {
    shell("echo one >&2").wait_for_log("two", Duration::from_secs(3600));
}

#[test]
fn signals_reach_a_process_and_its_exit_code_is_seen() {
    let mut process = shell("trap 'exit 7' TERM; echo up >&2; while :; do sleep 0.01; done");
    process.wait_for_log("up", MOMENT);
    assert_eq!(process.wait_exit(Duration::ZERO), None);
    process.sigterm();
    assert_eq!(process.wait_exit(MOMENT), Some(7));

    let mut process = shell("exec sleep 600");
    process.kill();
    assert_eq!(process.wait_exit(MOMENT), Some(128 + 9));
    assert!(!Path::new("/proc").join(process.id().to_string()).exists());
}

#[test]
fn zemi_is_run_with_arguments_or_settings() {
    let mut zemi = Zemi::with_args::<&str>(&["--version"], &[]);
    assert_eq!(zemi.wait_exit(MOMENT), Some(0));
    let mut zemi = Zemi::start(&[("LOG_LEVEL", "nonsense".to_owned())]);
    assert_eq!(zemi.wait_exit(MOMENT), Some(78), "{}", zemi.log());
    assert!(zemi.log().contains("LOG_LEVEL"), "{}", zemi.log());
}

#[test]
#[should_panic(expected = "in vain: never")]
fn waiting_ends() {
    wait_until("never", Duration::from_millis(30), || false);
}
