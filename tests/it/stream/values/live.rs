//! Types that are made, altered, renamed and dropped while zemi runs.

use crate::support::scene::{PATIENCE, caught_up};
use crate::support::{Scene, Zemi, wait_until};

/// A table `t` of a composite type, alone, in an array, in a domain and inside another composite.
const TABLE: &str = "
    CREATE TYPE address AS (street text, zip int);
    CREATE DOMAIN home AS address;
    CREATE TYPE person AS (name text, addresses address[], home home);
    CREATE TABLE t (id serial PRIMARY KEY, a address, aa address[], h home, hs home[], p person);
    ALTER TABLE t REPLICA IDENTITY FULL";

/// Statements beside zemi, each with what `to_jsonb` says of its row at that moment.
struct Live {
    zemi: Zemi,
    scene: Scene,
    said: Vec<String>,
}

impl Live {
    fn new(major: u32, before: &str) -> Live {
        let (scene, zemi) = Scene::one(major).before(before).streaming();
        Live {
            zemi,
            scene,
            said: Vec::new(),
        }
    }

    /// Runs this INSERT or UPDATE of one row of `t`.
    fn write(&mut self, statement: &str) {
        let statement = format!("SET timezone = 'UTC'; {statement} RETURNING to_jsonb(t)");
        self.said.push(self.scene.sql.value(&statement));
    }

    /// Inserts a row whose columns hold these fields of the composite type.
    fn insert(&mut self, fields: &str) {
        self.write(&format!(
            "INSERT INTO t (a, aa, h, hs, p) SELECT r, ARRAY[r, NULL], r, ARRAY[r]::home[], \
             ROW('Jo \"\" Doe', ARRAY[r], r)::person FROM (SELECT ROW({fields})::address) AS r(r)"
        ));
    }

    fn run(&mut self, sql: &str) {
        self.scene.sql.run(sql);
    }

    /// Waits until zemi has written all, and compares all of it.
    fn compare(&mut self) {
        let found = self
            .scene
            .changes_where("\"table\" = 't' AND after <> '{}'", "after");
        let found: Vec<&str> = found.lines().collect();
        assert_eq!(found.len(), self.said.len());
        for (n, (found, said)) in found.iter().zip(&self.said).enumerate() {
            assert_eq!(found, said, "row {n}");
        }
    }
}

#[test]
fn an_altered_type_is_seen_by_the_next_row() {
    let mut live = Live::new(15, TABLE);
    live.insert("'1 \"Main\" St', 12345");
    live.compare();
    // No Relation message comes with any of these.
    for alter in [
        "ALTER TYPE address RENAME ATTRIBUTE zip TO postcode",
        "ALTER TYPE address RENAME ATTRIBUTE street TO \"the \"\"street\"\"\"",
        "ALTER TYPE address RENAME TO place; ALTER TYPE place RENAME TO address",
        "CREATE SCHEMA s; ALTER TYPE address SET SCHEMA s; ALTER TYPE s.address SET SCHEMA public",
        "ALTER DOMAIN home RENAME TO hut; \
             ALTER DOMAIN hut SET DEFAULT ('x', 1); ALTER DOMAIN hut RENAME TO home",
        // Retyped: PostgreSQL allows it for a type in use only in two steps.
        "ALTER TYPE address DROP ATTRIBUTE postcode; ALTER TYPE address ADD ATTRIBUTE postcode text",
    ] {
        live.run(alter);
        live.insert("'2 Side St', 54321");
        live.compare();
    }
    live.run("ALTER TYPE address ADD ATTRIBUTE city text");
    live.insert("'3', '1', 'X, \"Y\"'");
    // Rows of before, with fewer fields.
    live.write("UPDATE t SET p.name = 'new' WHERE id = 1");
    live.compare();
    live.run("ALTER TYPE address DROP ATTRIBUTE \"the \"\"street\"\"\"");
    live.insert("'1', 'Z'");
    live.compare();
    live.run("ALTER TYPE person ADD ATTRIBUTE born date");
    live.write("UPDATE t SET p.born = '0044-03-15 BC' WHERE id = 2");
    live.compare();
    let log = live.zemi.log();
    assert!(!log.contains("WARN") && !log.contains("ERROR"), "{log}");
}

#[test]
fn rows_of_before_and_after_an_alter_type_wait_in_the_queue_together() {
    let mut live = Live::new(16, TABLE);
    live.insert("'a', 1");
    live.compare();
    live.zemi.signal("STOP");
    live.insert("'b', 2");
    live.run("ALTER TYPE address ADD ATTRIBUTE city text");
    live.insert("'c', 3, 'C'");
    live.insert("'c', 3, NULL");
    live.run("ALTER TYPE address DROP ATTRIBUTE zip; ALTER TYPE address DROP ATTRIBUTE street");
    live.insert("'D'");
    live.zemi.signal("CONT");
    // zemi knew the type of the first, and asks for that of the last. What was in between is nowhere.
    let found = live.scene.changes_of("t", "after -> 'a'");
    assert_eq!(
        found,
        r#"{"zip": 1, "street": "a"}
{"zip": 2, "street": "b"}
"(c,3,C)"
"(c,3,)"
{"city": "D"}"#
    );
}

#[test]
fn rows_of_before_an_alter_type_that_zemi_never_knew_are_kept_as_text() {
    let mut live = Live::new(14, TABLE);
    live.zemi.signal("STOP");
    live.insert("'b', 2");
    live.run("ALTER TYPE address ADD ATTRIBUTE city text");
    live.insert("'c', 3, 'C'");
    live.zemi.signal("CONT");
    let found = live.scene.changes_of("t", "after -> 'a', after -> 'id'");
    assert_eq!(
        found,
        "\"(b,2)\"|1\n{\"zip\": 3, \"city\": \"C\", \"street\": \"c\"}|2"
    );
}

#[test]
fn types_that_come_and_go_stop_nothing() {
    let mut live = Live::new(17, "");
    live.zemi.signal("STOP");
    live.run(
        "CREATE TYPE mood AS ENUM ('low', 'a \"b\"'); CREATE TYPE pair AS (a int, b text);
         CREATE DOMAIN num AS int; CREATE TYPE around AS (p pair, m mood);
         CREATE TABLE gone (id int PRIMARY KEY, m mood, ms mood[], p pair, n num, o around, r text);
         INSERT INTO gone VALUES (1, 'a \"b\"', '{low,NULL}', '(1,\"x y\")', 5, '(\"(1,2)\",low)', 'rest');
         CREATE TABLE t (id int PRIMARY KEY, p pair); INSERT INTO t VALUES (1, '(1,x)');
         DROP TABLE gone; DROP TYPE around, mood, num; DROP TYPE pair CASCADE",
    );
    live.run("CREATE TYPE pair AS (b text, c bool, d jsonb); ALTER TABLE t ADD COLUMN p pair");
    live.write("INSERT INTO t VALUES (2, '(x,t,\"{\"\"a\"\": 1.50}\")')");
    live.zemi.signal("CONT");
    assert_eq!(
        live.scene.changes_where("\"table\" = 'gone'", "after"),
        r#"{"m": "a \"b\"", "n": "5", "o": "(\"(1,2)\",low)", "p": "(1,\"x y\")", "r": "rest", "#
            .to_owned()
            + r#""id": 1, "ms": "{low,NULL}"}"#
    );
    assert_eq!(
        live.scene.changes_of("t", "after"),
        "{\"p\": \"(1,x)\", \"id\": 1}\n".to_owned() + &live.said[0]
    );
    live.run(
        "DROP TYPE pair CASCADE; CREATE TYPE pair AS (n numeric); ALTER TABLE t ADD COLUMN p pair",
    );
    live.write("INSERT INTO t VALUES (3, '(1.50)')");
    // A table's row type changes with the table.
    live.run("CREATE TABLE u (id int PRIMARY KEY, n int); ALTER TABLE t ADD COLUMN u u");
    live.write("INSERT INTO t VALUES (4, '(2)', '(1,2)')");
    caught_up(&mut live.scene.sql);
    live.run("ALTER TABLE u RENAME n TO m; ALTER TABLE u ADD COLUMN k bool[]");
    live.write("INSERT INTO t VALUES (5, '(2)', '(1,2,{t})')");
    let after = live
        .scene
        .changes_where("\"table\" = 't' AND after->'id' > '1'", "after");
    assert_eq!(after, live.said.join("\n"));
}

#[test]
fn an_enum_value_and_a_cast_to_json_that_come_later_are_seen() {
    let mut live = Live::new(
        18,
        "CREATE TYPE mood AS ENUM ('low', 'high');
         CREATE FUNCTION as_json(mood) RETURNS json LANGUAGE sql STABLE AS
           $$ SELECT json_build_object('mood', $1::text) $$;
         CREATE TABLE t (id serial PRIMARY KEY, m mood, ms mood[])",
    );
    live.write("INSERT INTO t (m, ms) VALUES ('low', '{low}')");
    live.run("ALTER TYPE mood ADD VALUE 'a \"b\"' BEFORE 'low'; ALTER TYPE mood RENAME VALUE 'low' TO 'LOW'");
    live.write("INSERT INTO t (m, ms) VALUES ('a \"b\"', '{LOW,\"a \\\"b\\\"\"}')");
    live.compare();
    // A table that is altered is looked at again at once.
    live.run(
        "CREATE CAST (mood AS json) WITH FUNCTION as_json(mood); ALTER TABLE t ADD COLUMN x int",
    );
    live.write("INSERT INTO t (m, ms) VALUES ('high', '{LOW,NULL}')");
    live.compare();
    live.run("ALTER TYPE mood RENAME TO \"Mood 2\"");
    live.write("INSERT INTO t (m, ms) VALUES ('high', '{LOW,NULL}')");
    live.compare();
    live.run("DROP CAST (\"Mood 2\" AS json)");
    live.write("INSERT INTO t (m, ms) VALUES ('high', '{LOW,NULL}')");
    live.compare();
    // One that is not, within a second.
    live.run("CREATE CAST (\"Mood 2\" AS json) WITH FUNCTION as_json(\"Mood 2\")");
    wait_until("the cast is seen", PATIENCE, || {
        live.run("INSERT INTO t (m) VALUES ('high')");
        let last = "id = (SELECT id FROM public.changes ORDER BY position DESC LIMIT 1)";
        live.scene.changes_where(last, "after -> 'm'") == "{\"mood\": \"high\"}"
    });
}
