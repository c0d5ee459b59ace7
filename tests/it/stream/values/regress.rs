//! PostgreSQL's own regression suite, run on a server that zemi follows: each row that its scripts write
//! is compared with what `to_jsonb` says in a trigger at that moment.
//!
//! `make regress SUITE=…/src/test/regress` runs it; it needs the suite of that version's source and psql.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use std::{env, fs};

use crate::support::cluster::PASSWORD;
use crate::support::scene::{settings, streaming};
use crate::support::{Server, Sql, wait_until};

/// Scripts that are no source of rows: they change what the comparison rests on (replica identities,
/// publications, databases), or take long and write nothing.
const LEFT_OUT: &[&str] = &[
    "replica_identity",
    "publication",
    "subscription",
    "tablespace",
    "database",
    "infinite_recurse",
    "event_trigger",
    "xmlmap",
    "sanity_check",
    "opr_sanity",
    "type_sanity",
    "oidjoins",
];

/// Gives each table of the scripts a replica identity and a trigger that keeps what `to_jsonb` says.
const JUDGE: &str = r#"
    CREATE SCHEMA judge;
    CREATE TABLE judge.said (xid bigint, op text, name text, before jsonb, after jsonb, types oid[]);
    ALTER TABLE judge.said REPLICA IDENTITY FULL;
    CREATE FUNCTION judge.listen() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
      SET search_path = '' SET timezone = 'UTC' SET datestyle = 'ISO' SET intervalstyle = 'postgres'
      SET extra_float_digits = 3 SET bytea_output = 'hex' SET xmloption = 'content'
    AS $$
    DECLARE made text[]; types oid[]; b jsonb; a jsonb;
    BEGIN
      IF (SELECT relreplident FROM pg_catalog.pg_class WHERE oid = TG_RELID) <> 'f' THEN RETURN NULL; END IF;
      SELECT coalesce(array_agg(attname::text) FILTER (WHERE attgenerated <> ''), '{}'),
        array_agg(atttypid) FILTER (WHERE attnum > 0) INTO made, types
        FROM pg_catalog.pg_attribute WHERE attrelid = TG_RELID AND NOT attisdropped;
      BEGIN
        IF TG_OP <> 'INSERT' THEN b := to_jsonb(OLD) - made; END IF;
        IF TG_OP <> 'DELETE' THEN a := to_jsonb(NEW) - made; END IF;
        INSERT INTO judge.said VALUES (pg_current_xact_id()::text::bigint, TG_OP,
          TG_TABLE_SCHEMA || '.' || TG_TABLE_NAME, coalesce(b, '{}'), coalesce(a, '{}'), types);
      EXCEPTION WHEN data_exception OR program_limit_exceeded THEN NULL;
      END;
      RETURN NULL;
    END $$;
    CREATE FUNCTION judge.attend() RETURNS event_trigger LANGUAGE plpgsql SECURITY DEFINER
      SET search_path = '' AS $$
    DECLARE t record;
    BEGIN
      FOR t IN SELECT c.oid::regclass::text AS name FROM pg_event_trigger_ddl_commands() e
        JOIN pg_catalog.pg_class c ON c.oid = e.objid AND e.classid = 'pg_class'::regclass
        WHERE c.relkind = 'r' AND c.relpersistence = 'p' AND c.relreplident <> 'f'
      LOOP
        EXECUTE 'ALTER TABLE ' || t.name || ' REPLICA IDENTITY FULL';
        EXECUTE 'CREATE TRIGGER "~judge" AFTER INSERT OR UPDATE OR DELETE ON ' || t.name
          || ' FOR EACH ROW EXECUTE FUNCTION judge.listen()';
      END LOOP;
    END $$;
    CREATE EVENT TRIGGER judge ON ddl_command_end
      WHEN TAG IN ('CREATE TABLE', 'CREATE TABLE AS', 'SELECT INTO', 'CREATE SCHEMA')
      EXECUTE FUNCTION judge.attend();
    GRANT USAGE ON SCHEMA judge TO public"#;

/// What was said and is not in `changes` as often, to the letter, and whether a type of its columns is gone
/// since: one that was dropped before zemi asked for it is written as text.
const MISSING: &str = "
    WITH said AS (SELECT xid, op, before::text, after::text, min(name) AS name, count(*) AS n,
                    bool_or(EXISTS (SELECT FROM unnest(types) t WHERE t NOT IN (SELECT oid FROM pg_type)))
                      AS gone
                  FROM judge.said GROUP BY 1, 2, 3, 4),
    wrote AS (SELECT xid, op, before::text, after::text, count(*) AS n FROM judge.wrote GROUP BY 1, 2, 3, 4)
    SELECT gone, name, xid, op, s.n, coalesce(w.n, 0), left(before, 200), left(after, 300)
    FROM said s LEFT JOIN wrote w USING (xid, op, before, after) WHERE coalesce(w.n, 0) < s.n
    ORDER BY gone, xid LIMIT 100";

#[test]
#[ignore = "needs PostgreSQL's source and psql: make regress SUITE=…/src/test/regress MAJOR=15"]
fn rows_of_the_regression_suite_are_what_to_jsonb_says() {
    let suite =
        PathBuf::from(env::var("REGRESS_SUITE").expect("REGRESS_SUITE names src/test/regress"));
    let major = env::var("REGRESS_MAJOR")
        .ok()
        .and_then(|m| m.parse().ok())
        .unwrap_or(15);
    let options = [
        ("max_prepared_transactions", "4"),
        ("max_connections", "50"),
    ];
    let server = Server::start(major, &options);
    let mut sql = Sql::open(&server, "postgres");
    sql.run("CREATE DATABASE audit");
    sql.run("CREATE DATABASE regression TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'");
    let mut sql = Sql::open(&server, "regression");
    sql.run(JUDGE);
    let mut with = settings(&server, None);
    for (name, value) in [
        ("DB_NAME", "regression"),
        ("DEST_DB_NAME", "audit"),
        ("EXCLUDE_TABLES", "judge.*"),
    ] {
        with.push((name.into(), value.into()));
    }
    let _zemi = streaming(&with);

    let mut ran = 0;
    for script in scripts(&suite) {
        if !LEFT_OUT.contains(&script.as_str()) {
            psql(&server, &suite, &script);
            ran += 1;
        }
    }
    let target = sql.value("SELECT pg_current_wal_insert_lsn()");
    sql.run("SELECT pg_logical_emit_message(true, 'test', '')");
    wait_until("zemi confirms everything", Duration::from_secs(600), || {
        let confirmed = format!(
            "SELECT confirmed_flush_lsn >= '{target}' FROM pg_replication_slots WHERE slot_name = 'zemi'"
        );
        sql.value(&confirmed) == "t"
    });

    let mut audit = Sql::open(&server, "audit");
    let file = server.dir().join("data/changes.bin").display().to_string();
    audit.run(&format!(
        "COPY (SELECT transaction_id, CASE operation WHEN 'CREATE' THEN 'INSERT' ELSE operation END, \
         before, after FROM changes) TO '{file}' (FORMAT binary)"
    ));
    sql.run(&format!(
        "ALTER EVENT TRIGGER judge DISABLE; SET search_path = public; \
         CREATE UNLOGGED TABLE judge.wrote (xid bigint, op text, before jsonb, after jsonb); \
         COPY judge.wrote FROM '{file}' (FORMAT binary)"
    ));
    let said = sql.text(
        "SELECT count(*), count(DISTINCT name), (SELECT count(DISTINCT (k, v)) FROM judge.said, \
         jsonb_each_text(before || after) e(k, v)) FROM judge.said",
    );
    println!(
        "{ran} scripts; rows, tables and values compared: {said}; changes written: {}",
        sql.value("SELECT count(*) FROM judge.wrote")
    );
    let missing = sql.text(MISSING);
    println!("said, and written otherwise (t: a type is gone since):\n{missing}");
    assert!(!missing.lines().any(|line| line.starts_with('f')));
}

/// The names in the suite's schedule, in its order.
fn scripts(suite: &Path) -> Vec<String> {
    let schedule =
        fs::read_to_string(suite.join("parallel_schedule")).expect("the suite's schedule");
    let lines = schedule
        .lines()
        .filter_map(|line| line.strip_prefix("test:"));
    lines
        .flat_map(str::split_whitespace)
        .map(str::to_owned)
        .collect()
}

/// Runs one script, which may hold statements that fail, as the suite means it to.
fn psql(server: &Server, suite: &Path, script: &str) {
    let file = suite.join("sql").join(format!("{script}.sql"));
    if !file.exists() {
        return;
    }
    let status = Command::new("timeout")
        .args([
            "120",
            "psql",
            "-X",
            "-q",
            "-h",
            "127.0.0.1",
            "-U",
            "postgres",
            "-d",
            "regression",
        ])
        .args(["-p", &server.port().to_string(), "-f"])
        .arg(&file)
        .env("PGPASSWORD", PASSWORD)
        .env("PGTZ", "PST8PDT")
        .env("PGDATESTYLE", "Postgres, MDY")
        .env("PG_ABS_SRCDIR", suite)
        .env("PG_ABS_BUILDDIR", server.dir())
        .env("PG_LIBDIR", suite)
        .env("PG_DLSUFFIX", ".so")
        .env_remove("LANG")
        .env("LC_MESSAGES", "C")
        .current_dir(suite)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .expect("psql runs");
    println!("{script}: {status}");
}
