//! A role that is no superuser: what it needs, that each missing right is said with the SQL that grants
//! it, and that this SQL is enough.

use crate::support::process::exit::REFUSED;
use crate::support::scene::{PATIENCE, caught_up, changes, drop_slot, settings, streaming};
use crate::support::{Server, Sql, Zemi, wait_until};

/// The settings of a role `zemi` that exists for this.
fn of_zemi(settings: &mut Vec<(String, String)>, prefix: &str) {
    settings.push((format!("{prefix}USER"), "zemi".into()));
    settings.push((format!("{prefix}PASSWORD"), "secret".into()));
}

/// Starts zemi until it streams, following its hints word by word: the SQL up to the first semicolon,
/// run by a superuser on the side that the message names. Returns zemi and what it asked for.
fn follow_hints(
    settings: &[(String, String)],
    source: &mut Sql,
    destination: &mut Sql,
) -> (Zemi, Vec<String>) {
    let mut followed = Vec::new();
    loop {
        let mut zemi = Zemi::start(settings);
        let mut code = None;
        wait_until("zemi streams or ends", PATIENCE, || {
            code = zemi.wait_exit(std::time::Duration::ZERO);
            code.is_some() || zemi.log().contains("streaming from")
        });
        if code.is_none() {
            return (zemi, followed);
        }
        let log = zemi.log();
        assert_eq!(code, Some(REFUSED), "{followed:?}\n{log}");
        let errors: Vec<&str> = log.lines().filter(|l| l.contains(" ERROR ")).collect();
        assert_eq!(errors.len(), 1, "{log}");
        let (_, hint) = errors[0].split_once(" Hint: ").expect("a hint");
        let sql = hint.split(';').next().unwrap().to_owned();
        assert!(!followed.contains(&sql), "it did not help: {log}");
        let at_destination = errors[0].contains("destination: ");
        let side = if at_destination {
            &mut *destination
        } else {
            &mut *source
        };
        side.run(&sql);
        followed.push(sql);
    }
}

/// A server whose role `app` owns the table `t`, and whose role `zemi` may do nothing, not even what
/// everybody may.
fn strict_server() -> (Server, Sql) {
    let server = Server::start(15, &[]);
    let mut sql = Sql::open(&server, "postgres");
    sql.run(
        "CREATE ROLE zemi LOGIN PASSWORD 'secret'; CREATE ROLE app; \
         CREATE TABLE t (id int PRIMARY KEY); ALTER TABLE t OWNER TO app; \
         REVOKE ALL ON DATABASE postgres FROM PUBLIC; REVOKE ALL ON SCHEMA public FROM PUBLIC",
    );
    (server, sql)
}

#[test]
fn a_role_without_any_right_is_told_each_that_it_needs_in_one_database() {
    let (server, mut sql) = strict_server();
    let mut settings = settings(&server, None);
    of_zemi(&mut settings, "DB_");
    let mut same = Sql::open(&server, "postgres");
    let (zemi, followed) = follow_hints(&settings, &mut sql, &mut same);
    assert_eq!(
        followed,
        [
            r#"GRANT CONNECT ON DATABASE "postgres" TO "zemi""#,
            r#"ALTER ROLE "zemi" REPLICATION"#,
            r#"GRANT USAGE ON SCHEMA public TO "zemi""#,
            r#"GRANT CREATE ON SCHEMA public TO "zemi""#,
            r#"GRANT "app" TO "zemi""#,
            r#"GRANT CREATE ON DATABASE "postgres" TO "zemi""#,
        ]
    );
    sql.run("INSERT INTO t VALUES (1); UPDATE t SET id = 2; DELETE FROM t; TRUNCATE t");
    caught_up(&mut sql);
    assert_eq!(
        changes(&mut sql, "operation, primary_key"),
        "CREATE|1\nUPDATE|2\nDELETE|2\nTRUNCATE|-"
    );
    let listed = sql.text("SELECT pubname, tablename FROM pg_publication_tables ORDER BY 1");
    assert_eq!(listed, "zemi|t\nzemi_updates|t");
    drop(zemi);
}

#[test]
fn a_publication_of_a_superuser_needs_no_right_on_tables_and_those_of_the_destination_are_told() {
    let (server, mut sql) = strict_server();
    sql.run("CREATE DATABASE audit");
    let mut settings = settings(&server, None);
    settings.push(("DEST_DB_NAME".into(), "audit".into()));
    // A superuser's first run leaves the tables; then all else is made away with.
    drop(streaming(&settings));
    let mut audit = Sql::open(&server, "audit");
    audit.run("REVOKE ALL ON DATABASE audit FROM PUBLIC; TRUNCATE zemi_progress");
    drop_slot(&mut sql, "zemi");
    sql.run("DROP PUBLICATION zemi, zemi_updates; CREATE PUBLICATION zemi FOR ALL TABLES");

    of_zemi(&mut settings, "DB_");
    let (zemi, followed) = follow_hints(&settings, &mut sql, &mut audit);
    assert_eq!(
        followed,
        [
            r#"GRANT CONNECT ON DATABASE "postgres" TO "zemi""#,
            r#"ALTER ROLE "zemi" REPLICATION"#,
            r#"GRANT CONNECT ON DATABASE "audit" TO "zemi""#,
            r#"GRANT SELECT, INSERT, UPDATE ON public.changes TO "zemi""#,
            r#"GRANT SELECT, INSERT, UPDATE ON public.zemi_progress TO "zemi""#,
        ]
    );
    sql.run(
        "INSERT INTO t VALUES (1); CREATE TABLE u (id int PRIMARY KEY); INSERT INTO u VALUES (2)",
    );
    caught_up(&mut sql);
    assert_eq!(
        changes(&mut audit, "\"table\", operation, primary_key"),
        "t|CREATE|1\nu|CREATE|2"
    );
    let log = zemi.log();
    assert!(!log.contains(" WARN "), "nothing is amiss: {log}");
    drop(zemi);

    // Cleaning up needs one more right, asked for before anything is dropped; what a superuser made
    // stays.
    settings.push(("CLEANUP_ON_SHUTDOWN".into(), "true".into()));
    let (mut zemi, followed) = follow_hints(&settings, &mut sql, &mut audit);
    assert_eq!(
        followed,
        [r#"GRANT DELETE ON public.zemi_progress TO "zemi""#]
    );
    zemi.stop();
    let left = "SELECT (SELECT count(*) FROM pg_replication_slots), \
                (SELECT string_agg(pubname, ' ') FROM pg_publication)";
    assert_eq!(sql.text(left), "0|zemi");
    assert_eq!(audit.value("SELECT count(*) FROM zemi_progress"), "0");
}

#[test]
fn tables_of_a_superuser_are_published_by_one() {
    let (server, mut sql) = strict_server();
    sql.run(
        "ALTER TABLE t OWNER TO postgres; ALTER ROLE zemi REPLICATION; \
         GRANT CONNECT, CREATE ON DATABASE postgres TO zemi; \
         GRANT USAGE, CREATE ON SCHEMA public TO zemi",
    );
    let mut settings = settings(&server, None);
    of_zemi(&mut settings, "DB_");
    let mut same = Sql::open(&server, "postgres");
    let (zemi, followed) = follow_hints(&settings, &mut sql, &mut same);
    assert_eq!(followed, [r#"CREATE PUBLICATION "zemi" FOR ALL TABLES"#]);
    sql.run("INSERT INTO t VALUES (1)");
    caught_up(&mut sql);
    assert_eq!(changes(&mut sql, "\"table\", primary_key"), "t|1");
    drop(zemi);
}

#[test]
fn a_table_of_somebody_else_is_named_and_tracked_once_the_hint_was_followed() {
    let (server, mut sql) = strict_server();
    sql.run(
        "ALTER ROLE zemi REPLICATION; CREATE ROLE \"other \"\"one\"; \
         GRANT CONNECT, CREATE ON DATABASE postgres TO zemi; \
         GRANT USAGE, CREATE ON SCHEMA public TO zemi; GRANT app TO zemi; \
         CREATE TABLE theirs (id int PRIMARY KEY); ALTER TABLE theirs OWNER TO \"other \"\"one\"",
    );
    let mut settings = settings(&server, None);
    of_zemi(&mut settings, "DB_");
    let zemi = streaming(&settings);
    sql.run("INSERT INTO t VALUES (1); INSERT INTO theirs VALUES (2)");
    caught_up(&mut sql);
    let log = zemi.log();
    let (_, hint) = log
        .lines()
        .find(|l| l.contains(r#""public"."theirs" is not tracked"#))
        .and_then(|l| l.split_once("To track it: "))
        .expect(&log);
    assert!(!log.contains(r#""public"."t" is not"#), "{log}");
    sql.run(hint.split(';').next().unwrap());
    drop(zemi);
    let zemi = streaming(&settings);
    sql.run("INSERT INTO theirs VALUES (3)");
    caught_up(&mut sql);
    assert_eq!(changes(&mut sql, "\"table\", primary_key"), "t|1\ntheirs|3");
    drop(zemi);
}

#[test]
fn tables_that_an_administrator_published_are_not_called_untracked() {
    let (server, mut sql) = strict_server();
    sql.run(
        "ALTER ROLE zemi REPLICATION; CREATE TABLE p (id int PRIMARY KEY) PARTITION BY RANGE (id); \
         CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10); \
         CREATE TABLE hidden (id int PRIMARY KEY); CREATE PUBLICATION zemi FOR TABLE t, p; \
         GRANT CONNECT ON DATABASE postgres TO zemi; \
         GRANT USAGE, CREATE ON SCHEMA public TO zemi",
    );
    let mut settings = settings(&server, None);
    of_zemi(&mut settings, "DB_");
    let zemi = streaming(&settings);
    sql.run("INSERT INTO t VALUES (1); INSERT INTO p VALUES (2); INSERT INTO hidden VALUES (3)");
    caught_up(&mut sql);
    assert_eq!(changes(&mut sql, "\"table\", primary_key"), "t|1\np|2");
    let log = zemi.log();
    let warned: Vec<&str> = log.lines().filter(|l| l.contains(" WARN ")).collect();
    assert_eq!(warned.len(), 1, "{log}");
    let left_out = r#"does not publish "public"."hidden": not tracked"#;
    assert!(warned[0].contains(left_out), "{log}");
}
