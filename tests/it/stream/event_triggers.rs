//! Event triggers of others: zemi's own DDL runs under them, and what they do must not end it.

use crate::support::scene::{PATIENCE, caught_up, settings, streaming, with};
use crate::support::{Scene, Server, Sql, Zemi, wait_until};

/// A function of an event trigger that finds what it calls by the search path alone, as those of bemi-django
/// and @bemi-db/prisma do.
const UNQUALIFIED: &str = "CREATE TABLE noted (tag text, path text); \
    CREATE PROCEDURE note(tag text) LANGUAGE plpgsql AS \
    $$ BEGIN INSERT INTO noted VALUES (tag, current_setting('search_path')); END $$; \
    CREATE FUNCTION note_command() RETURNS event_trigger LANGUAGE plpgsql AS \
    $$ BEGIN CALL note(tg_tag); END $$; ";

/// A function that refuses.
const RAISES: &str = "CREATE FUNCTION refuse() RETURNS event_trigger LANGUAGE plpgsql AS \
    $$ BEGIN RAISE EXCEPTION 'no % here', tg_tag; END $$; ";

#[test]
fn an_event_trigger_finds_its_functions_by_the_roles_own_path_on_both_sides() {
    for major in [15, 18] {
        let prepare = format!(
            "CREATE TABLE t (id int PRIMARY KEY); ALTER ROLE postgres SET search_path = public, pg_catalog; \
             {UNQUALIFIED} CREATE EVENT TRIGGER noting ON ddl_command_end EXECUTE FUNCTION note_command()"
        );
        let (mut scene, mut zemi) = Scene::one(major)
            .before(&prepare)
            .with(&[("EXCLUDE_TABLES", "noted")])
            .streaming();
        scene.sql.run("INSERT INTO t VALUES (1)");
        assert_eq!(scene.changes_of("t", "primary_key"), "1");
        let tags = scene.sql.text("SELECT DISTINCT tag FROM noted ORDER BY 1");
        for tag in ["ALTER TABLE", "CREATE PUBLICATION", "CREATE TABLE AS"] {
            assert!(tags.contains(tag), "{tags}");
        }
        // Altering and dropping publications, too.
        scene
            .sql
            .run("CREATE TABLE other (id int PRIMARY KEY); INSERT INTO other VALUES (1)");
        wait_until("the new table is listed", PATIENCE, || {
            let listed = "SELECT count(*) FROM pg_publication_tables WHERE tablename = 'other' \
                 AND pubname = 'zemi_updates'";
            scene.sql.value(listed) == "1"
        });
        zemi.stop();
        let (code, said, _) = Zemi::says(&["cleanup", "--yes"], &settings(&scene.source, None));
        assert_eq!(code, 0, "{said}");
        let tags = scene.sql.text("SELECT DISTINCT tag FROM noted ORDER BY 1");
        assert!(tags.contains("ALTER PUBLICATION"), "{tags}");
        let left = "SELECT count(*) FROM pg_publication";
        assert_eq!(scene.sql.value(left), "0");
    }
}

#[test]
fn an_event_trigger_that_refuses_create_table_is_not_run_for_the_tables() {
    let prepare = format!(
        "{RAISES} CREATE TABLE t (id int PRIMARY KEY); CREATE EVENT TRIGGER refusing ON ddl_command_end \
         WHEN TAG IN ('CREATE TABLE') EXECUTE FUNCTION refuse()"
    );
    let (mut scene, _zemi) = Scene::one(15).before(&prepare).streaming();
    scene.sql.run("INSERT INTO t VALUES (1)");
    assert_eq!(scene.changes_of("t", "primary_key"), "1");
}

#[test]
fn an_event_trigger_that_refuses_everything_is_named_with_what_helps() {
    let server = Server::start(15, &[]);
    let mut sql = Sql::open(&server, "postgres");
    // At the destination alone: the source's publication is made first.
    sql.run("CREATE DATABASE audit");
    sql.run("CREATE TABLE t (id int PRIMARY KEY)");
    let mut audit = Sql::open(&server, "audit");
    audit.run(&format!(
        "{RAISES} CREATE EVENT TRIGGER \"Refusing\" ON ddl_command_start EXECUTE FUNCTION refuse()"
    ));
    let mut settings = settings(&server, None);
    settings.push(("DEST_DB_NAME".into(), "audit".into()));
    let zemi = Zemi::start(&settings);
    zemi.wait_for_log("function refuse() line 1 at RAISE", PATIENCE);
    zemi.wait_for_log("ALTER EVENT TRIGGER \"Refusing\" DISABLE; then: ", PATIENCE);
    // What it says, and it goes on by itself.
    audit.run("ALTER EVENT TRIGGER \"Refusing\" DISABLE");
    zemi.wait_for_log("streaming from", PATIENCE);
    audit.run("ALTER EVENT TRIGGER \"Refusing\" ENABLE");
    sql.run("INSERT INTO t VALUES (1)");
    caught_up(&mut sql);
    assert_eq!(audit.value("SELECT count(*) FROM changes"), "1");
}

#[test]
fn an_event_trigger_that_refuses_the_mark_is_named_and_hinders_no_later_start() {
    let server = Server::start(15, &[]);
    let mut sql = Sql::open(&server, "postgres");
    sql.run("CREATE DATABASE audit");
    let mut audit = Sql::open(&server, "audit");
    let refusing = "CREATE EVENT TRIGGER refusing ON ddl_command_start WHEN TAG IN ('COMMENT') \
                    EXECUTE FUNCTION refuse()";
    audit.run(&format!("{RAISES} {refusing}"));
    let settings = with(&settings(&server, None), &[("DEST_DB_NAME", "audit")]);
    let mut zemi = Zemi::start(&settings);
    zemi.wait_for_log("ALTER EVENT TRIGGER refusing DISABLE; then: ", PATIENCE);
    audit.run("DROP EVENT TRIGGER refusing");
    zemi.wait_for_log("streaming from", PATIENCE);
    // As an earlier version left it.
    zemi.stop();
    audit.run(&format!(
        "COMMENT ON COLUMN zemi_progress.flushed_lsn IS NULL; {refusing}"
    ));
    let zemi = streaming(&settings);
    sql.run("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)");
    caught_up(&mut sql);
    assert_eq!(audit.value("SELECT count(*) FROM changes"), "1");
    drop(zemi);
}

#[test]
fn an_event_trigger_that_finds_its_function_by_another_path_is_named_with_what_helps() {
    let server = Server::start(15, &[]);
    let mut sql = Sql::open(&server, "postgres");
    sql.run("CREATE DATABASE audit");
    let mut audit = Sql::open(&server, "audit");
    // The server's own hint is about casts.
    audit.run(
        "CREATE SCHEMA app; CREATE FUNCTION app.note(tag text) RETURNS void LANGUAGE sql AS ''; \
         CREATE FUNCTION app.noting() RETURNS event_trigger LANGUAGE plpgsql AS \
         $$ BEGIN PERFORM note(tg_tag); END $$; \
         CREATE EVENT TRIGGER noting ON ddl_command_end EXECUTE FUNCTION app.noting()",
    );
    let settings = with(&settings(&server, None), &[("DEST_DB_NAME", "audit")]);
    let mut zemi = Zemi::start(&settings);
    assert_eq!(zemi.wait_exit(PATIENCE), Some(78));
    let log = zemi.log();
    assert!(log.contains("ALTER EVENT TRIGGER noting DISABLE"), "{log}");
    audit.run("ALTER ROLE postgres SET search_path = public, app");
    streaming(&settings).stop();
}

#[test]
fn a_duplicate_is_passed_over_where_no_ddl_is_allowed() {
    let server = Server::start(15, &[]);
    let mut sql = Sql::open(&server, "postgres");
    sql.run("CREATE TABLE t (id int PRIMARY KEY, v text)");
    let settings = settings(&server, None);
    let mut zemi = streaming(&settings);
    sql.run("SELECT pg_create_logical_replication_slot('again', 'pgoutput')");
    sql.run(
        "INSERT INTO t SELECT g, 'v' || g FROM generate_series(1, 3000) g; UPDATE t SET v = 'x'",
    );
    caught_up(&mut sql);
    sql.run(&format!(
        "{RAISES} CREATE EVENT TRIGGER refusing ON ddl_command_start EXECUTE FUNCTION refuse()"
    ));
    zemi.stop();
    let mut again = settings.clone();
    again.push(("SLOT_NAME".into(), "again".into()));
    let zemi = streaming(&again);
    sql.run("INSERT INTO t VALUES (3001, 'new')");
    wait_until("the new row arrives", PATIENCE, || {
        sql.value("SELECT count(*) FROM changes WHERE primary_key = '3001'") == "1"
    });
    assert_eq!(
        sql.text("SELECT count(*), count(DISTINCT (position, operation)) FROM changes"),
        "6001|6001"
    );
    drop(zemi);
}
