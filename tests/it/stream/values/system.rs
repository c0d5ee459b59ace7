//! Types of the system's own: names of objects, privileges, rows of catalogs.

use super::kind::Kind;

pub const KINDS: &[Kind] = &[
    Kind::of("regproc", &["0", "now", "4294967295"], "(1240 + g)::text"),
    Kind::of("regprocedure", &["0", "abs(integer)", "now()"], "(1240 + g)::text"),
    Kind::of("regoper", &["0", "pg_catalog.||/", "4294967295"], ""),
    Kind::of("regoperator", &["0", "*(integer,integer)", "!!(none,tsquery)"], "(90 + g)::text"),
    Kind::of("regclass", &["pg_class", "public.changes", "v.\"odd \"\"table,\""], "(2590 + g)::oid")
        .after("CREATE TABLE v.\"odd \"\"table,\" ()"),
    Kind::of(
        "regtype",
        &["0", "integer", "text[]", "timestamp with time zone", "\"char\"", "v.\"odd type\""],
        "(16 + g)::text",
    )
        .after("CREATE TYPE v.\"odd type\" AS ENUM ()"),
    Kind::of("regrole", &["0", "postgres", "\"odd role\"", "pg_monitor"], "")
        .after("CREATE ROLE \"odd role\""),
    Kind::of("regnamespace", &["0", "pg_catalog", "\"odd, schema\""], "")
        .after("CREATE SCHEMA \"odd, schema\""),
    Kind::of("regcollation", &["0", "\"C\"", "\"POSIX\"", "\"default\""], ""),
    Kind::of("regconfig", &["0", "english", "simple"], ""),
    Kind::of("regdictionary", &["0", "simple", "english_stem"], ""),
    Kind::of(
        "aclitem",
        &["postgres=r/postgres", "=arwdDxt/postgres", "\"odd role\"=r*w/postgres", "postgres=/postgres"],
        "",
    ),
    // No text is read as one of these.
    Kind::from_query(
        "pg_node_tree",
        "SELECT ev_action FROM pg_rewrite ORDER BY length(ev_action::text) LIMIT 2",
    ).alone(),
    Kind::from_query("pg_ndistinct", "SELECT stxdndistinct FROM pg_statistic_ext_data").after(
        "CREATE TABLE v.stats AS SELECT i % 3 AS a, i % 5 AS b, i % 7 AS c FROM generate_series(1, 300) i;
         CREATE STATISTICS v.stats_of ON a, b, c FROM v.stats; ANALYZE v.stats",
    )
    .alone(),
    Kind::from_query("pg_dependencies", "SELECT stxddependencies FROM pg_statistic_ext_data").alone(),
    Kind::from_query("pg_mcv_list", "SELECT stxdmcv FROM pg_statistic_ext_data").alone(),
    Kind::from_query("pg_class", "SELECT c FROM pg_class c ORDER BY oid LIMIT 4"),
    Kind::from_query("pg_type", "SELECT c FROM pg_type c ORDER BY oid LIMIT 4"),
    Kind::from_query("pg_proc", "SELECT c FROM pg_proc c WHERE proargnames IS NOT NULL ORDER BY oid LIMIT 4"),
    Kind::from_query("pg_index", "SELECT c FROM pg_index c ORDER BY indexrelid LIMIT 4"),
    Kind::from_query("pg_database", "SELECT c FROM pg_database c"),
    Kind::from_query("pg_settings", "SELECT c FROM pg_settings c ORDER BY name LIMIT 4"),
    Kind::from_query("pg_stat_activity", "SELECT c FROM pg_stat_activity c WHERE pid = pg_backend_pid()"),
    Kind::of("information_schema.sql_identifier", &["", "a \"b\""], ""),
    Kind::of("information_schema.cardinal_number", &["0", "7"], ""),
    Kind::of("information_schema.time_stamp", &["2024-01-02 03:04:05.678", "infinity"], ""),
    Kind::of("information_schema.character_data", &["", "x"], ""),
    Kind::of("information_schema.yes_or_no", &["YES", "NO"], ""),
    Kind::from_query(
        "information_schema.tables",
        "SELECT c FROM information_schema.tables c ORDER BY table_name LIMIT 4",
    ),
];
