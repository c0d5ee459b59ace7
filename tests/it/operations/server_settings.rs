//! Settings of a role, a database or a server that are made for applications: zemi's sessions have their own.

use std::thread;
use std::time::Duration;

use crate::support::scene::{PATIENCE, Settings, confirmed, streaming, wait_for_locked, with};
use crate::support::{Server, Sql, Zemi, wait_until};

/// Where a DBA sets something.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Scope {
    Role,
    Database,
    Server,
}

/// What is set. None of these reaches a session of zemi.
const HOSTILE: [(&str, &str); 22] = [
    ("statement_timeout", "1500"),
    ("lock_timeout", "1500"),
    ("idle_in_transaction_session_timeout", "1500"),
    ("idle_session_timeout", "1500"),
    ("default_transaction_read_only", "on"),
    ("default_transaction_isolation", "serializable"),
    ("default_transaction_deferrable", "on"),
    ("client_min_messages", "error"),
    ("standard_conforming_strings", "off"),
    ("array_nulls", "off"),
    ("quote_all_identifiers", "on"),
    ("row_security", "off"),
    ("search_path", "nowhere"),
    ("client_encoding", "LATIN1"),
    ("DateStyle", "German"),
    ("IntervalStyle", "sql_standard"),
    ("extra_float_digits", "-15"),
    ("TimeZone", "Asia/Kolkata"),
    ("bytea_output", "escape"),
    ("application_name", "somebody"),
    ("synchronous_commit", "off"),
    ("wal_sender_timeout", "1000"),
];

/// How long the destination takes no rows: longer than each of the limits.
const STALL: Duration = Duration::from_millis(2500);

/// A database, a role and a slot for each scope.
struct Site<'a> {
    scope: Scope,
    major: u32,
    servers: [&'a Server; 2],
}

impl Site<'_> {
    fn name(&self) -> String {
        format!("by_{:?}", self.scope).to_lowercase()
    }

    fn role(&self) -> String {
        format!("zemi_{}", self.name())
    }

    /// A session of the superuser that the settings do not reach.
    fn open(&self, server: &Server, database: &str) -> Sql {
        let mut sql = Sql::open(server, database);
        sql.run(
            "SET ROLE NONE; SET statement_timeout = 0; SET lock_timeout = 0; SET idle_session_timeout = 0; \
             SET idle_in_transaction_session_timeout = 0; SET default_transaction_read_only = off; \
             SET default_transaction_isolation = 'read committed'; SET search_path = public; \
             SET client_encoding = 'UTF8'; SET array_nulls = on; SET standard_conforming_strings = on",
        );
        if self.major >= 17 {
            sql.run("SET transaction_timeout = 0");
        }
        sql
    }

    /// Makes role and database.
    fn prepare(&self, server: &Server) -> Sql {
        let (name, role) = (self.name(), self.role());
        let mut admin = self.open(server, "postgres");
        for statement in [
            &format!("CREATE DATABASE {name}"),
            &format!("CREATE ROLE {role} LOGIN REPLICATION PASSWORD 'secret' IN ROLE app, nobody"),
            &format!("GRANT CREATE ON DATABASE {name} TO {role}"),
        ] {
            admin.run(statement);
        }
        let mut sql = self.open(server, &name);
        sql.run(&format!(
            "GRANT CREATE, USAGE ON SCHEMA public TO {role}, app"
        ));
        sql
    }

    /// Sets or resets all of them.
    fn apply(&self, server: &Server, on: bool) {
        let mut admin = self.open(server, "postgres");
        let (head, more) = match self.scope {
            Scope::Role => (
                format!("ALTER ROLE {}", self.role()),
                vec![("role", "nobody")],
            ),
            Scope::Database => (
                format!("ALTER DATABASE {}", self.name()),
                vec![("role", "nobody")],
            ),
            Scope::Server => ("ALTER SYSTEM".to_owned(), vec![]),
        };
        let newer = [("transaction_timeout", "1500")];
        let newer = newer.iter().filter(|_| self.major >= 17);
        for (name, value) in HOSTILE.iter().chain(&more).chain(newer) {
            admin.run(&match on {
                true => format!("{head} SET {name} = '{value}'"),
                false => format!("{head} RESET {name}"),
            });
        }
        admin.run("SELECT pg_reload_conf()");
        if self.scope == Scope::Server {
            let wanted = if on { "1500" } else { "0" };
            wait_until("the settings hold", PATIENCE, || {
                let setting = "SELECT setting FROM pg_settings WHERE name = 'idle_session_timeout'";
                Sql::open(server, "postgres").value(setting) == wanted
            });
        }
    }

    fn settings(&self) -> Settings {
        let [source, destination] = self.servers;
        let mut settings = source.settings("DB_", &self.name());
        settings.extend(destination.settings("DEST_DB_", &self.name()));
        let (role, slot) = (self.role(), self.name());
        with(
            &settings,
            &[
                ("DB_USER", &role),
                ("DB_PASSWORD", "secret"),
                ("DEST_DB_USER", &role),
                ("DEST_DB_PASSWORD", "secret"),
                ("SLOT_NAME", &slot),
            ],
        )
    }
}

/// Values that print differently under other settings.
const TABLE: &str = "CREATE TABLE t (id int PRIMARY KEY, span interval, real float8, bytes bytea, \
     at timestamptz, list text[], pad text); ALTER TABLE t OWNER TO app; \
     INSERT INTO t VALUES (0)";
const ROW: &str = "INSERT INTO t VALUES (1, '1 mon -2 days', 0.1::float8 + 0.2::float8, '\\x00ff', \
     '2024-05-01 10:00+02', ARRAY[NULL, 'NULL', 'é\\'], 'x')";
const WANTED: &str = "{\"at\": \"2024-05-01T08:00:00+00:00\", \"id\": 1, \"pad\": \"x\", \
     \"list\": [null, \"NULL\", \"é\\\\\"], \"real\": 0.30000000000000004, \
     \"span\": \"1 mon -2 days\", \"bytes\": \"\\\\x00ff\"}";

fn streams_and_keeps_up(site: &Site<'_>) {
    let [source, destination] = site.servers;
    let name = site.name();
    let mut sql = site.prepare(source);
    let mut there = site.prepare(destination);
    sql.run(TABLE);
    site.apply(source, true);
    site.apply(destination, true);
    let settings = site.settings();
    let (code, said, _) = Zemi::says(&["check"], &settings);
    assert_eq!(code, 0, "{site}: {said}", site = name);
    let mut zemi = streaming(&settings);

    sql.run(ROW);
    confirmed(&mut sql, &name);
    let one = "SELECT after FROM changes WHERE primary_key = '1'";
    assert_eq!(there.value(one), WANTED, "{name}");

    // A transaction that is streamed for longer than each limit: the destination takes nothing meanwhile.
    let mut blocker = site.open(destination, &name);
    blocker.run("BEGIN; LOCK TABLE changes IN ACCESS EXCLUSIVE MODE");
    sql.run("INSERT INTO t (id, pad) SELECT g, repeat('x', 1500) FROM generate_series(2, 20001) g");
    wait_for_locked(&mut there, 1);
    thread::sleep(STALL);
    blocker.run("COMMIT");
    confirmed(&mut sql, &name);
    assert_eq!(
        there.value("SELECT count(*) FROM changes"),
        "20001",
        "{name}"
    );

    // The upkeep of the publications: a table without a key, whose UPDATE keeps working.
    sql.run("CREATE TABLE plain (v int); ALTER TABLE plain OWNER TO app");
    sql.run("INSERT INTO t (id) VALUES (100000)");
    let log = zemi.log();
    assert!(!log.contains("again in"), "{name}: {log}");
    zemi.stop();
    let mut zemi = streaming(&settings);
    zemi.wait_for_log("UPDATE and DELETE of \"public\".\"plain\"", PATIENCE);
    sql.run("INSERT INTO plain VALUES (1); UPDATE plain SET v = 2");
    confirmed(&mut sql, &name);
    let plain = "SELECT string_agg(operation, ' ') FROM changes WHERE \"table\" = 'plain'";
    assert_eq!(there.value(plain), "CREATE", "{name}");
    zemi.stop();

    // What is written while no publication is there leaves a gap, which 18 tells by a warning alone.
    sql.run("DROP PUBLICATION zemi; DROP PUBLICATION IF EXISTS zemi_updates");
    sql.run("INSERT INTO t (id) VALUES (100001)");
    let mut zemi = streaming(&settings);
    wait_until("the gap is recorded", PATIENCE, || {
        there.value("SELECT count(*) FROM changes WHERE operation = 'MESSAGE'") == "1"
    });
    zemi.stop();

    let (code, said, _) = Zemi::says(&["cleanup", "--yes"], &settings);
    assert_eq!(code, 0, "{name}: {said}");
    site.apply(source, false);
    site.apply(destination, false);
}

fn on(major: u32) {
    let servers = [Server::start(major, &[]), Server::start(major, &[])];
    for server in &servers {
        Sql::open(server, "postgres").run("CREATE ROLE app; CREATE ROLE nobody");
    }
    for scope in [Scope::Role, Scope::Database, Scope::Server] {
        streams_and_keeps_up(&Site {
            scope,
            major,
            servers: [&servers[0], &servers[1]],
        });
    }
}

#[test]
fn no_setting_of_role_database_or_server_reaches_a_session_on_15() {
    on(15);
}

#[test]
fn no_setting_of_role_database_or_server_reaches_a_session_on_17() {
    on(17);
}

#[test]
fn no_setting_of_role_database_or_server_reaches_a_session_on_18() {
    on(18);
}
