//! What a test runs on: a server or two, the settings of a zemi between them, and a session on each side.

use super::proxy::Proxy;
use super::replay::{assert_replays, assert_unique};
use super::{Server, Sql, Zemi, wait_until};

pub use super::wait::PATIENCE;

/// Settings of a zemi, as in its environment; of two with one name the later one holds.
pub type Settings = Vec<(String, String)>;

/// The settings for changes of `postgres` on `source`, to the same database or to that of another
/// server.
pub fn settings(source: &Server, destination: Option<&Server>) -> Settings {
    let mut settings = source.settings("DB_", "postgres");
    if let Some(destination) = destination {
        settings.extend(destination.settings("DEST_DB_", "postgres"));
    }
    settings
}

/// A network before each server, and the settings of a zemi behind them.
pub fn networked(source: &Server, destination: &Server) -> ([Proxy; 2], Settings) {
    let nets = [source, destination].map(|server| Proxy::start(server.port()));
    let [from, to] = [&nets[0], &nets[1]].map(|net| net.port().to_string());
    let ports = [("DB_PORT", from.as_str()), ("DEST_DB_PORT", to.as_str())];
    let settings = settings(source, Some(destination));
    (nets, with(&settings, &ports))
}

/// These settings with others behind them, which hold.
pub fn with(settings: &[(String, String)], more: &[(&str, &str)]) -> Settings {
    let more = more.iter().map(|&(n, v)| (n.to_owned(), v.to_owned()));
    settings.iter().cloned().chain(more).collect()
}

/// Starts zemi and waits until it streams.
pub fn streaming(settings: &[(String, String)]) -> Zemi {
    let zemi = Zemi::start(settings);
    zemi.wait_for_log("streaming from", PATIENCE);
    zemi
}

/// Waits until all that was committed on the source so far is confirmed by zemi's slot `zemi`.
pub fn caught_up(source: &mut Sql) {
    confirmed(source, "zemi");
}

/// Waits until all that was committed on the source so far is confirmed by this slot.
pub fn confirmed(source: &mut Sql, slot: &str) {
    let target = source.value("SELECT pg_current_wal_insert_lsn()");
    // What the background of the server writes alone would not wake the walsender.
    source.run("SELECT pg_logical_emit_message(true, 'test', '')");
    wait_until("zemi confirms what was committed", PATIENCE, || {
        let confirmed = format!(
            "SELECT confirmed_flush_lsn >= '{target}' FROM pg_replication_slots \
             WHERE slot_name = '{slot}'"
        );
        source.value(&confirmed) == "t"
    });
}

/// Drops this slot as soon as the server has noticed that its reader is gone.
pub fn drop_slot(source: &mut Sql, slot: &str) {
    let drop = format!("SELECT pg_drop_replication_slot('{slot}')");
    wait_until("the slot can be dropped", PATIENCE, || {
        source.try_rows(&drop).is_ok()
    });
}

/// Waits until so many sessions of this server wait for a lock.
pub fn wait_for_locked(sql: &mut Sql, sessions: u32) {
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
    wait_until("zemi waits for the lock", PATIENCE, || {
        sql.value(waiting) == sessions.to_string()
    });
}

/// The changes as text, one a line, in the order of their positions.
pub fn changes(destination: &mut Sql, columns: &str) -> String {
    destination.text(&format!(
        "SELECT {columns} FROM public.changes ORDER BY position"
    ))
}

/// Two servers, or one that is source and destination, without a zemi: a test that starts one declares
/// it after the scene, so that it is gone before its servers.
pub struct Scene {
    /// The application's session with the source.
    pub sql: Sql,
    /// A session with the destination.
    pub there: Sql,
    /// The settings of a zemi from the one to the other.
    pub settings: Settings,
    /// The networks that zemi reaches source and destination by; none unless they were asked for.
    pub nets: Vec<Proxy>,
    /// What is followed.
    pub source: Server,
    second: Option<Server>,
    /// Whether the destination is another database than the source.
    apart: bool,
}

/// A scene in the making.
pub struct Setup {
    source: Server,
    second: Option<Server>,
    networked: bool,
    from: Option<String>,
    to: Option<String>,
    before: String,
    before_there: String,
    more: Settings,
}

impl Scene {
    /// One server of this version, whose changes go into the same database.
    pub fn one(major: u32) -> Setup {
        Scene::on(Server::start(major, &[]), None)
    }

    /// Two servers of this version.
    pub fn two(major: u32) -> Setup {
        let destination = Server::start(major, &[]);
        Scene::on(Server::start(major, &[]), Some(destination))
    }

    /// On servers that run already.
    pub fn on(source: Server, destination: Option<Server>) -> Setup {
        Setup {
            source,
            second: destination,
            networked: false,
            from: None,
            to: None,
            before: String::new(),
            before_there: String::new(),
            more: Vec::new(),
        }
    }

    /// The server that holds the changes.
    pub fn destination(&self) -> &Server {
        self.second.as_ref().unwrap_or(&self.source)
    }

    /// Starts zemi with the settings of the scene and waits until it streams.
    pub fn start(&self) -> Zemi {
        streaming(&self.settings)
    }

    /// The same with more settings, which hold.
    pub fn start_with(&self, more: &[(&str, &str)]) -> Zemi {
        streaming(&with(&self.settings, more))
    }

    /// Adds settings, which hold.
    pub fn set(&mut self, more: &[(&str, &str)]) {
        self.settings = with(&self.settings, more);
    }

    /// Inserts rows with these ids into a table `t` of the columns `id` and `v`.
    pub fn insert(&mut self, from: u32, to: u32) {
        let rows = format!("INSERT INTO t SELECT g, 'v' FROM generate_series({from}, {to}) g");
        self.sql.run(&rows);
    }

    /// Waits until zemi has written and confirmed all that was committed so far.
    pub fn caught_up(&mut self) {
        caught_up(&mut self.sql);
    }

    /// Waits until all is there; then these columns of all changes, one change a line.
    pub fn changes(&mut self, columns: &str) -> String {
        self.changes_where("true", columns)
    }

    /// As [`Scene::changes`], of one table.
    pub fn changes_of(&mut self, table: &str, columns: &str) -> String {
        self.changes_where(&format!("\"table\" = '{table}'"), columns)
    }

    /// As [`Scene::changes`], of those that meet a condition.
    pub fn changes_where(&mut self, condition: &str, columns: &str) -> String {
        self.caught_up();
        // In one database by the application's session, which a test may have opened anew.
        let session = if self.apart {
            &mut self.there
        } else {
            &mut self.sql
        };
        session.text(&format!(
            "SELECT {columns} FROM public.changes WHERE {condition} ORDER BY position"
        ))
    }

    /// Waits until all is there. The changes of the table `t` give the table, are so many, and there is no
    /// gap.
    pub fn judge(&mut self, number: usize) {
        self.caught_up();
        let found = assert_replays(&mut self.sql, &mut self.there, "t", &["id"]);
        assert_eq!(found, number);
        assert_unique(&mut self.there);
        let gaps = "SELECT count(*) FROM public.changes WHERE operation = 'MESSAGE'";
        assert_eq!(self.there.value(gaps), "0");
    }
}

impl Setup {
    /// Statements on the source before zemi starts.
    pub fn before(mut self, sql: &str) -> Setup {
        self.before = sql.to_owned();
        self
    }

    /// Statements at the destination before zemi starts.
    pub fn before_there(mut self, sql: &str) -> Setup {
        self.before_there = sql.to_owned();
        self
    }

    /// Settings beside those of the connections.
    pub fn with(mut self, more: &[(&str, &str)]) -> Setup {
        self.more = with(&self.more, more);
        self
    }

    /// Zemi follows a database of this name, which is made with these options of `CREATE DATABASE`.
    pub fn source_database(mut self, name: &str, options: &str) -> Setup {
        Sql::open(&self.source, "postgres").run(&format!("CREATE DATABASE {name} {options}"));
        self.from = Some(name.to_owned());
        self
    }

    /// The changes go into a database of this name, which is made with these options.
    pub fn destination_database(mut self, name: &str, options: &str) -> Setup {
        let destination = self.second.as_ref().unwrap_or(&self.source);
        Sql::open(destination, "postgres").run(&format!("CREATE DATABASE {name} {options}"));
        self.to = Some(name.to_owned());
        self
    }

    /// Zemi reaches each server by a network that a test can make fail.
    pub fn networked(mut self) -> Setup {
        self.networked = true;
        self
    }

    /// Runs the statements and opens the sessions.
    pub fn ready(self) -> Scene {
        let destination = self.second.as_ref().unwrap_or(&self.source);
        let (nets, mut settings) = match self.networked {
            true => {
                let (nets, settings) = networked(&self.source, destination);
                (Vec::from(nets), settings)
            }
            false => (Vec::new(), settings(&self.source, self.second.as_ref())),
        };
        let [from, to] = [&self.from, &self.to].map(|name| name.as_deref().unwrap_or("postgres"));
        if self.from.is_some() || self.to.is_some() {
            settings = with(&settings, &[("DB_NAME", from), ("DEST_DB_NAME", to)]);
        }
        settings.extend(self.more);
        let mut sql = Sql::open(&self.source, from);
        let mut there = Sql::open(destination, to);
        for (session, statements) in [(&mut sql, &self.before), (&mut there, &self.before_there)] {
            if !statements.is_empty() {
                session.run(statements);
            }
        }
        Scene {
            sql,
            there,
            settings,
            nets,
            source: self.source,
            apart: self.second.is_some() || from != to,
            second: self.second,
        }
    }

    /// The same, and zemi, which streams.
    pub fn streaming(self) -> (Scene, Zemi) {
        let scene = self.ready();
        let zemi = scene.start();
        (scene, zemi)
    }
}
