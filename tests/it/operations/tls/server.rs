//! Real servers with `ssl = on`.

use std::fs;
use std::path::Path;

use super::authority::Pair;
use crate::support::scene::PATIENCE;
use crate::support::{Server, Sql, wait_until};

/// A role for the methods of `pg_hba.conf`; the superuser gets in as in all other tests.
pub const ROLE: &str = "app";

/// The password of the role.
pub const PASSWORD: &str = "p4ss-of-app";

/// Starts a server that offers TLS with this certificate.
pub fn start(major: u32, pair: &Pair) -> Server {
    let server = Server::start(major, &[]);
    Sql::open(&server, "postgres").run(&format!(
        "CREATE ROLE {ROLE} LOGIN REPLICATION PASSWORD '{PASSWORD}'"
    ));
    show(&server, pair);
    set(&server, &[("ssl", "on")]);
    server
}

/// Gives it another certificate.
pub fn show(server: &Server, pair: &Pair) {
    write(
        server,
        "server.crt",
        &fs::read_to_string(&pair.cert).unwrap(),
    );
    write(
        server,
        "server.key",
        &fs::read_to_string(&pair.key).unwrap(),
    );
    reload(server);
}

/// Lets it ask clients for certificates of this authority.
pub fn ask_clients(server: &Server, root: &Path) {
    write(server, "root.crt", &fs::read_to_string(root).unwrap());
    set(server, &[("ssl_ca_file", "root.crt")]);
}

/// Changes settings of `postgresql.conf` that need no restart.
pub fn set(server: &Server, settings: &[(&str, &str)]) {
    let mut sql = Sql::open(server, "postgres");
    for (name, value) in settings {
        sql.run(&format!("ALTER SYSTEM SET {name} = '{value}'"));
    }
    reload(server);
}

/// Makes this the only line of `pg_hba.conf` for [`ROLE`].
pub fn admit(server: &Server, line: &str) {
    let lines = format!("{line}\nhost all postgres 127.0.0.1/32 scram-sha-256\n");
    write(server, "pg_hba.conf", &lines);
    reload(server);
}

/// Writes a file into the server's data folder, as the server's own user, readable by that user only.
fn write(server: &Server, name: &str, content: &str) {
    let quoted = content.trim_end().replace('\'', "''");
    Sql::open(server, "postgres").run(&format!(
        "COPY (SELECT unnest(string_to_array('{quoted}', E'\\n'))) \
         TO PROGRAM 'umask 077; cat > {name}.new && mv {name}.new {name}'"
    ));
}

/// Lets it read its files again, and waits until new sessions know of it.
fn reload(server: &Server) {
    let mut sql = Sql::open(server, "postgres");
    let before = sql.value("SELECT clock_timestamp()");
    sql.run("SELECT pg_reload_conf()");
    wait_until("the server has read its files", PATIENCE, || {
        let loaded = format!("SELECT pg_conf_load_time() >= '{before}'");
        Sql::open(server, "postgres").value(&loaded) == "t"
    });
}

/// The settings for [`ROLE`] on this server, by the name `localhost`, with others behind them.
pub fn role(server: &Server, more: &[(&str, &str)]) -> Vec<(String, String)> {
    let mut settings = server.settings("DB_", "postgres");
    let own = [
        ("DB_HOST", "localhost"),
        ("DB_USER", ROLE),
        ("DB_PASSWORD", PASSWORD),
    ];
    settings.extend(
        own.iter()
            .chain(more)
            .map(|&(n, v)| (n.to_owned(), v.to_owned())),
    );
    settings
}
