//! Values that only the source can cast to json: a question that it does not answer is asked again, and only
//! an answer that there is no JSON leaves the value text.

use std::time::Duration;

use crate::support::process::exit::REFUSED;
use crate::support::scene::{PATIENCE, with};
use crate::support::{Scene, Server, Sql, Zemi, wait_until};

/// The type `v.light` with a cast to json that waits while another session holds the advisory lock 7, and a
/// table of it alone and inside of other types. The role `tracker` may replicate, and has no right on the
/// schema of the type.
const SETUP: &str = "
    CREATE ROLE tracker LOGIN REPLICATION PASSWORD 'first';
    CREATE SCHEMA v;
    CREATE TYPE v.light AS ENUM ('red', 'gr\"een');
    CREATE FUNCTION v.light_json(v.light) RETURNS json LANGUAGE plpgsql STABLE AS $$ BEGIN
      PERFORM pg_advisory_lock_shared(7); PERFORM pg_advisory_unlock_shared(7);
      RETURN json_build_object('light', $1::text, 'n', 1.50); END $$;
    CREATE CAST (v.light AS json) WITH FUNCTION v.light_json(v.light);
    CREATE DOMAIN v.lamp AS v.light;
    CREATE TYPE v.pole AS (l v.light, ls v.lamp[]);
    CREATE TABLE v.t (id int PRIMARY KEY, l v.light, ls v.light[], d v.lamp, p v.pole, ps v.pole[]);
    CREATE PUBLICATION zemi FOR ALL TABLES";

/// The row `id` of all columns; what `to_jsonb` says of it.
fn insert(sql: &mut Sql, id: u32) -> String {
    sql.value(&format!(
        "INSERT INTO v.t SELECT {id}, l, ARRAY[l, NULL, l], l, p, ARRAY[p, NULL] \
         FROM (VALUES ('gr\"een'::v.light)) a(l), LATERAL (SELECT ROW(l, ARRAY[l])::v.pole) b(p) \
         RETURNING to_jsonb(t)"
    ))
}

/// A source with `tracker` on it, another server for the changes, and a session that can hold the cast.
struct World {
    zemi: Zemi,
    scene: Scene,
    holder: Sql,
    said: Vec<String>,
}

impl World {
    fn new(major: u32) -> World {
        let scene = Scene::on(Server::start(major, &[]), Some(Server::start(major, &[])))
            .before(SETUP)
            .with(&[("DB_USER", "tracker"), ("DB_PASSWORD", "first")])
            .ready();
        let zemi = scene.start();
        let holder = Sql::open(&scene.source, "postgres");
        World {
            zemi,
            scene,
            holder,
            said: Vec::new(),
        }
    }

    /// Inserts a row and waits until the session of questions waits inside of the cast.
    fn insert_and_hold(&mut self) {
        let id = self.said.len() as u32 + 1;
        self.said.push(insert(&mut self.scene.sql, id));
        // The row was cast by RETURNING; zemi comes when the lock is held.
        self.scene.caught_up();
        self.holder.run("SELECT pg_advisory_lock(7)");
        let id = id + 1;
        self.scene.sql.run(&format!(
            "INSERT INTO v.t SELECT {id}, l, ls, d, p, ps FROM v.t WHERE id = 1"
        ));
        let said = self.said[0].replace("\"id\": 1,", &format!("\"id\": {id},"));
        self.said.push(said);
        self.wait_for_question();
    }

    fn wait_for_question(&mut self) {
        let holder = &mut self.holder;
        wait_until("zemi asks for the cast", PATIENCE, || {
            holder.value(&format!("SELECT count(*) FROM {ASKING}")) == "1"
        });
    }

    /// Does this to the session that waits inside of the cast.
    fn on_question(&mut self, function: &str) {
        self.holder
            .run(&format!("SELECT {function}(pid) FROM {ASKING}"));
    }

    fn release(&mut self) {
        self.holder.run("SELECT pg_advisory_unlock(7)");
    }

    /// All rows are there as `to_jsonb` gives them.
    fn judge(&mut self) {
        let found = self.scene.changes_of("t", "after");
        assert_eq!(found, self.said.join("\n"));
        let log = self.zemi.log();
        assert!(!log.contains("written as text"), "{log}");
    }
}

/// The session that waits inside of a cast.
const ASKING: &str = "pg_stat_activity WHERE usename = 'tracker' AND wait_event = 'advisory' \
                      AND backend_type = 'client backend'";

#[test]
fn a_cast_that_was_cancelled_or_lost_its_session_is_asked_for_again() {
    for (major, function) in [(14, "pg_cancel_backend"), (18, "pg_terminate_backend")] {
        let mut world = World::new(major);
        world.insert_and_hold();
        world.on_question(function);
        world.zemi.wait_for_log("trying again", PATIENCE);
        world.release();
        world.judge();
    }
}

#[test]
fn a_cast_waits_for_a_source_that_restarts() {
    let mut world = World::new(16);
    world.insert_and_hold();
    world.scene.source.restart("fast");
    world.scene.sql = Sql::open(&world.scene.source, "postgres");
    world.judge();
}

#[test]
fn a_cast_waits_for_a_free_session() {
    let mut world = World::new(15);
    world.insert_and_hold();
    world.holder.run("ALTER ROLE tracker CONNECTION LIMIT 0");
    world.on_question("pg_terminate_backend");
    world.zemi.wait_for_log("SQLSTATE 53300", PATIENCE);
    world.release();
    world.holder.run("ALTER ROLE tracker CONNECTION LIMIT -1");
    world.judge();
}

#[test]
fn a_password_that_changed_while_a_value_is_cast_ends_zemi_and_the_value_comes_after_the_next_start()
 {
    let mut world = World::new(17);
    world.insert_and_hold();
    world.holder.run("ALTER ROLE tracker PASSWORD 'second'");
    world.on_question("pg_terminate_backend");
    assert_eq!(world.zemi.wait_exit(PATIENCE), Some(REFUSED));
    let log = world.zemi.log();
    assert!(log.contains("set DB_PASSWORD to the password"), "{log}");
    let written = "SELECT count(*) FROM public.changes";
    assert_eq!(world.scene.there.value(written), "1");
    world.release();
    let second = with(&world.scene.settings, &[("DB_PASSWORD", "second")]);
    world.scene.settings = second;
    world.zemi = world.scene.start();
    world.judge();
}

#[test]
fn an_end_that_is_asked_for_while_a_value_waits_writes_nothing_of_its_row() {
    let mut world = World::new(15);
    world.insert_and_hold();
    world.scene.source.stop("immediate");
    world.zemi.wait_for_log("trying again", PATIENCE);
    world.zemi.sigterm();
    assert_eq!(world.zemi.wait_exit(PATIENCE), Some(0));
    let written = "SELECT count(*) FROM public.changes";
    assert_eq!(world.scene.there.value(written), "1");
    world.scene.source.up();
    world.scene.sql = Sql::open(&world.scene.source, "postgres");
    world.zemi = world.scene.start();
    world.judge();
}

#[test]
fn a_type_that_is_dropped_while_its_value_waits_leaves_it_text_and_is_named_once() {
    let mut world = World::new(14);
    world.insert_and_hold();
    world.scene.sql.run("DROP TABLE v.t; DROP SCHEMA v CASCADE");
    world.on_question("pg_cancel_backend");
    world.release();
    let found = world.scene.changes_of("t", "after -> 'l', after -> 'ls'");
    let (first, second) = found.split_once('\n').unwrap();
    assert!(first.starts_with("{\"n\": 1.50, "), "{found}");
    assert_eq!(second, r#""gr\"een"|["gr\"een", null, "gr\"een"]"#);
    let log = world.zemi.log();
    assert_eq!(log.matches("are written as text").count(), 1, "{log}");
}

#[test]
fn a_cast_needs_no_right_on_the_schema_of_its_type_and_names_the_one_that_its_function_needs() {
    let mut world = World::new(18);
    let first = insert(&mut world.scene.sql, 1);
    assert_eq!(world.scene.changes_of("t", "after"), first);
    // Now the function names another one in its schema.
    world.scene.sql.run(
        "CREATE FUNCTION v.help(v.light) RETURNS json LANGUAGE sql AS \
         $$ SELECT to_json($1::text || '!') $$; \
         CREATE OR REPLACE FUNCTION v.light_json(v.light) RETURNS json LANGUAGE plpgsql AS $$ BEGIN \
         RETURN v.help($1); END $$",
    );
    insert(&mut world.scene.sql, 2);
    insert(&mut world.scene.sql, 3);
    let lights = world.scene.changes_of("t", "after -> 'l'");
    let lights: Vec<&str> = lights.lines().collect();
    assert_eq!(lights[1..], ["\"gr\\\"een\""; 2]);
    let log = world.zemi.log();
    let warned: Vec<&str> = log
        .lines()
        .filter(|l| l.contains("are written as text"))
        .collect();
    assert_eq!(warned.len(), 1, "{log}");
    assert!(warned[0].contains("values of v.light are"), "{log}");
    assert!(
        warned[0].contains("permission denied for schema v"),
        "{log}"
    );
    let (_, fix) = warned[0].split_once(" Hint: ").unwrap();
    assert_eq!(fix, "GRANT USAGE ON SCHEMA v TO \"tracker\"");
    world.scene.sql.run(fix);
    let fourth = insert(&mut world.scene.sql, 4);
    let last = world.scene.changes_where("after ->> 'id' = '4'", "after");
    assert_eq!(last, fourth);
}

#[test]
fn a_cast_that_raises_leaves_its_value_text_and_no_value_in_the_log() {
    let mut world = World::new(15);
    world.scene.sql.run(
        "CREATE OR REPLACE FUNCTION v.light_json(v.light) RETURNS json LANGUAGE plpgsql AS $$ BEGIN \
         IF $1 = 'red' THEN RAISE 'no light is %', $1; END IF; \
         IF current_user = 'tracker' THEN EXECUTE 'SELECT ' || $1::text; END IF; \
         RETURN to_json($1::text); END $$",
    );
    world.scene.sql.run(
        "INSERT INTO v.t (id, l, ls) VALUES (1, 'red', '{red,NULL}'), (2, 'red', NULL), \
         (3, 'gr\"een', NULL)",
    );
    let found = world.scene.changes_of("t", "after -> 'l', after -> 'ls'");
    assert_eq!(
        found,
        "\"red\"|[\"red\", null]\n\"red\"|null\n\"gr\\\"een\"|null"
    );
    let log = world.zemi.log();
    assert_eq!(log.matches("are written as text").count(), 2, "{log}");
    assert!(
        log.contains("an exception of PL/pgSQL function v.light_json"),
        "{log}"
    );
    assert!(log.contains("an error of SQLSTATE 42601"), "{log}");
    assert!(
        !log.contains("no light is") && !log.contains("een"),
        "{log}"
    );
    // The stream went on, and a later value is right.
    world.scene.sql.run(
        "CREATE OR REPLACE FUNCTION v.light_json(v.light) RETURNS json LANGUAGE sql AS \
         $$ SELECT '7'::json $$; \
         INSERT INTO v.t (id, l) VALUES (4, 'red')",
    );
    let last = world
        .scene
        .changes_where("after ->> 'id' = '4'", "after -> 'l'");
    assert_eq!(last, "7");
    assert!(world.zemi.wait_exit(Duration::ZERO).is_none());
}
