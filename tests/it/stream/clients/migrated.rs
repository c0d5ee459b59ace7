//! An application whose migration ran before zemi starts, in the database that is also the destination.
//!
//! The migrations of Bemi's packages make an event trigger: each CREATE TABLE in the database gives all
//! tables a row trigger that sends the context. So `changes` and `zemi_progress` come to have such triggers.

use super::application::Application;
use crate::support::http::{free_port, metric, with_ports};
use crate::support::scene::{PATIENCE, caught_up, confirmed, settings, streaming};
use crate::support::{Server, Sql, Zemi, wait_until};

/// What is compared of a change.
pub const COLUMNS: &str =
    "operation, after->>'name', context->>'step', left(context->>'SQL', 6), context->>'user'";

/// The user of each context.
pub const USER: &str = "Zoë \"Z\" O'Hara";

/// The slot from which zemi reads all transactions a second time.
const AGAIN: &str = "again";

/// A server on which an application has run its migration, and nothing of zemi's yet. The fields are
/// dropped in this order, so that zemi is gone before its server.
pub struct Migrated {
    zemi: Option<Zemi>,
    sql: Sql,
    server: Server,
    application: Application,
    settings: Vec<(String, String)>,
}

impl Migrated {
    /// Zemi is going to be the superuser.
    pub fn new(major: u32, application: Application) -> Migrated {
        let server = Server::start(major, &[]);
        application.run(&server, "migrate");
        let mut sql = Sql::open(&server, "postgres");
        let found = sql.text("SELECT evtname FROM pg_event_trigger");
        assert_eq!(found, "_bemi_create_table_trigger");
        let settings = settings(&server, None);
        Migrated {
            zemi: None,
            sql,
            server,
            application,
            settings,
        }
    }

    /// Zemi is going to be a role of its own, which owns none of the application's tables; a superuser
    /// has made the publication.
    pub fn with_own_role(mut self) -> Migrated {
        self.sql.run(
            "CREATE ROLE zemi LOGIN REPLICATION PASSWORD 'secret'; \
             GRANT CREATE ON SCHEMA public TO zemi; CREATE PUBLICATION zemi FOR ALL TABLES",
        );
        let own = [("DB_USER", "zemi"), ("DB_PASSWORD", "secret")];
        self.settings
            .extend(own.map(|(n, v)| (n.to_owned(), v.to_owned())));
        self
    }

    /// A session of the application holds a transaction open while zemi starts, and another one writes.
    pub fn assert_start_delays_no_write(&mut self) {
        let mut open = Sql::open(&self.server, "postgres");
        open.run("BEGIN; INSERT INTO items (name) VALUES ('open')");
        let zemi = Zemi::start(&self.settings);
        // For a table, or for the end of the transaction with the slot.
        wait_until("zemi waits for the transaction", PATIENCE, || {
            let waits = "SELECT count(*) FROM pg_stat_activity \
                         WHERE application_name = 'zemi' AND wait_event_type = 'Lock'";
            self.sql.value(waits) != "0"
        });
        self.sql.run("SET statement_timeout = '10s'");
        self.sql.run("INSERT INTO items (name) VALUES ('other')");
        open.run("COMMIT");
        zemi.wait_for_log("streaming from", PATIENCE);
    }

    /// Starts zemi, lets the application write, and compares the changes of its table with these. Then
    /// zemi reads the same transactions again, from a slot without progress, and finds their rows there.
    pub fn assert_writes(&mut self, wanted: &[String]) {
        let mut zemi = streaming(&self.settings);
        assert!(!self.tables_with_trigger().contains("changes"));
        self.sql.run("CREATE TABLE later (id int PRIMARY KEY)");
        let triggers = self.tables_with_trigger();
        for table in ["changes", "items", "later", "zemi_progress"] {
            assert!(triggers.contains(table), "{triggers}");
        }
        self.sql.run(&format!(
            "SELECT pg_create_logical_replication_slot('{AGAIN}', 'pgoutput')"
        ));
        self.application.run(&self.server, "write");
        caught_up(&mut self.sql);
        assert_eq!(self.sql.text(&changes_of(COLUMNS)), wanted.join("\n"));
        zemi.stop();
        let whole = "to_jsonb(changes)";
        let before = self.sql.text(&changes_of(whole));

        let port = free_port();
        let mut settings = with_ports(self.settings.clone(), free_port(), port);
        settings.push(("SLOT_NAME".into(), AGAIN.into()));
        let zemi = streaming(&settings);
        self.application.run(&self.server, "more");
        confirmed(&mut self.sql, AGAIN);
        let after = self.sql.text(&changes_of(whole));
        let more = after.strip_prefix(&before).expect("rows stay as they were");
        assert_eq!(more.trim().lines().count(), 1, "{more}");
        let last = self.sql.text(&changes_of("operation, after->>'name'"));
        assert!(last.ends_with("\nCREATE|more"), "{last}");
        // They did come again.
        let duplicates = metric(port, "changes_duplicated_total");
        assert_eq!(duplicates, wanted.len() as f64);
        let log = zemi.log();
        assert!(!log.contains(" WARN ") && !log.contains(" ERROR "), "{log}");
        // No change of zemi's own tables is one.
        let others = "SELECT count(*) FROM changes WHERE \"table\" <> 'items'";
        assert_eq!(self.sql.value(others), "0");
        self.zemi = Some(zemi);
    }

    /// After [`Migrated::assert_writes`]: a role that owns the application's tables, and is no superuser,
    /// makes another one. The event trigger needs the right TRIGGER on zemi's tables for that, which `zemi
    /// check` says.
    pub fn assert_owner_makes_tables(&mut self) {
        assert!(self.zemi.is_some(), "zemi runs");
        self.sql.run(
            "CREATE ROLE shop LOGIN PASSWORD 'secret'; GRANT CREATE ON SCHEMA public TO shop; \
             ALTER TABLE items OWNER TO shop; ALTER TABLE later OWNER TO shop; \
             ALTER TABLE IF EXISTS django_migrations OWNER TO shop",
        );
        let (code, said, _) = Zemi::says(&["check"], &self.settings);
        assert_eq!(code, 0, "{said}");
        let (_, fix) = said.split_once("which shop may not").expect("a warning");
        let (_, fix) = fix.split_once(" -> ").expect("what to do");
        let (grant, _) = fix.split_once(" (").expect("the SQL first");
        self.sql.run(grant);
        let mut shop = Sql::as_role(&self.server, "postgres", "shop", "secret").unwrap();
        shop.run("CREATE TABLE orders (id int PRIMARY KEY)");
        shop.run("INSERT INTO orders VALUES (7) /*Bemi {\"step\": \"order\"} Bemi*/");
        confirmed(&mut self.sql, AGAIN);
        let order =
            "SELECT operation, primary_key, context FROM changes WHERE \"table\" = 'orders'";
        assert_eq!(self.sql.text(order), "CREATE|7|{\"step\": \"order\"}");
    }

    /// The tables that have the row trigger of the package, by name.
    fn tables_with_trigger(&mut self) -> String {
        self.sql.text(
            "SELECT tgrelid::regclass FROM pg_trigger WHERE tgname LIKE '\\_bemi\\_row\\_trigger%' \
             ORDER BY tgrelid::regclass::text",
        )
    }
}

fn changes_of(columns: &str) -> String {
    format!("SELECT {columns} FROM public.changes WHERE \"table\" = 'items' ORDER BY position")
}

/// A change of [`COLUMNS`] with the context of an application.
pub fn change(operation: &str, name: &str, step: &str) -> String {
    let sql = if operation == "CREATE" {
        "INSERT"
    } else {
        operation
    };
    format!("{operation}|{name}|{step}|{sql}|{USER}")
}

/// A change of [`COLUMNS`] without context.
pub fn without_context(operation: &str, name: &str) -> String {
    format!("{operation}|{name}|-|-|-")
}
