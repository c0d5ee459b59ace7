//! Compares what zemi wrote with what `to_jsonb` says, on the server itself.

use super::kind::Kind;
use crate::support::scene::caught_up;
use crate::support::{Scene, Server, Sql, Zemi};

/// How many values the server makes of each type.
const RANDOM_VALUES: u32 = 15;

/// How a session has to print values for `to_jsonb` to give what zemi promises.
const AS_ZEMI: &str = "SET timezone = 'UTC'; SET DateStyle = 'ISO'; SET IntervalStyle = 'postgres'; \
                       SET extra_float_digits = 3; SET bytea_output = 'hex'; SET search_path = ''";

/// Defaults of the database which nothing that zemi writes may depend on.
const ADVERSE: &str = "ALTER DATABASE postgres SET timezone = 'Asia/Kathmandu'; \
                       ALTER DATABASE postgres SET DateStyle = 'German, DMY'; \
                       ALTER DATABASE postgres SET IntervalStyle = 'sql_standard'; \
                       ALTER DATABASE postgres SET extra_float_digits = -5; \
                       ALTER DATABASE postgres SET bytea_output = 'escape'";

/// The table of changes without the indexes, which are not what is tested here.
const CHANGES: &str = "CREATE TABLE public.changes (id uuid PRIMARY KEY, primary_key text, before jsonb, \
                       after jsonb, context jsonb, database text, schema text, \"table\" text, \
                       operation text, committed_at timestamptz, queued_at timestamptz, \
                       transaction_id bigint, position bigint, created_at timestamptz DEFAULT now()); \
                       CREATE INDEX ON public.changes (\"table\")";

/// A server with zemi on it and a schema `v` for types and tables.
pub struct Judge {
    _zemi: Zemi,
    scene: Scene,
    tables: Vec<(String, &'static str)>,
    in_binary: bool,
    /// Whether the server was built with it.
    xml: bool,
}

/// What was compared.
#[derive(Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Types of columns.
    pub types: u32,
    /// Values in them that are not NULL, each once.
    pub values: u32,
    /// How often one of them was compared, in `before` and `after`.
    pub compared: u32,
    /// Rows that `jsonb_populate_record` gave back whole. It cannot for lower bounds, and for a few types.
    pub given_back: u32,
}

impl Judge {
    /// Starts a server of this version.
    pub fn new(major: u32) -> Judge {
        let server = Server::start(major, &[]);
        Sql::open(&server, "postgres").run(ADVERSE);
        let (mut scene, _zemi) = Scene::on(server, None).before(CHANGES).streaming();
        scene.sql.run(AS_ZEMI);
        scene.sql.run(
            "CREATE SCHEMA v; CREATE SCHEMA ext; SELECT setseed(0.42);
             CREATE TEMP TABLE expected (tab text, id int, j jsonb)",
        );
        let xml = scene.sql.try_rows("SELECT '<a/>'::xml").is_ok();
        // One transaction, so that zemi learns of all tables at once.
        scene.sql.run("BEGIN");
        Judge {
            _zemi,
            scene,
            tables: Vec::new(),
            in_binary: false,
            xml,
        }
    }

    /// Writes a row that is longer than 1 GB as text: the walsender gives the values of the whole transaction
    /// in binary then.
    pub fn write_what_no_text_can_hold(&mut self) {
        self.in_binary = true;
        self.scene.sql.run(
            "CREATE TABLE v.huge (id int PRIMARY KEY, v bytea);
             INSERT INTO v.huge VALUES (1, convert_to(repeat('0123456789', 55000000), 'UTF8'))",
        );
    }

    /// Makes a table for this kind and writes its values, unless this server does not have the type.
    pub fn write(&mut self, kind: &Kind) {
        let sql = &mut self.scene.sql;
        if kind.name == "xml" && !self.xml {
            println!("this server was built without xml");
            return;
        }
        if kind.since > self.scene.source.major() || !brought(sql, kind) {
            return;
        }
        sql.run(kind.setup);
        // No array and no composite of such a type can be sent in binary.
        let sends = format!(
            "SELECT typsend <> 0 FROM pg_type WHERE oid = '{}'::regtype",
            kind.name
        );
        if self.in_binary && sql.value(&sends) == "f" {
            return;
        }
        let number = self.tables.len();
        sql.run(&table(number, kind));
        sql.run(&rows(number, kind));
        self.tables.push((format!("k{number}"), kind.name));
    }

    /// Changes half of the rows and removes a quarter, then compares everything.
    pub fn judge(mut self) -> Verdict {
        let sql = &mut self.scene.sql;
        let mut given_back = 0;
        sql.run("COMMIT");
        caught_up(sql);
        for (table, _) in &self.tables {
            sql.run(&format!(
                "INSERT INTO expected SELECT '{table}', id, to_jsonb(t) FROM v.{table} t"
            ));
            // What no text is read as cannot be given back.
            let back = sql.try_rows(&format!(
                "SELECT count(*) FROM v.{table} t \
                 JOIN public.changes ON \"table\" = '{table}' AND primary_key = t.id::text \
                 WHERE jsonb_populate_record(NULL::v.{table}, after)::text = t::text"
            ));
            if let Ok(rows) = back {
                given_back += rows[0][0].as_deref().unwrap().parse::<u32>().unwrap();
            }
        }
        for (table, _) in &self.tables {
            sql.run(&format!(
                "UPDATE v.{table} SET id = -id WHERE id % 2 = 0; DELETE FROM v.{table} WHERE id % 4 = 1"
            ));
        }
        caught_up(sql);
        let differences = sql.text(DIFFERENCES);
        assert!(differences.is_empty(), "{}", self.named(&differences));
        let numbers = sql.rows(
            "SELECT (SELECT count(DISTINCT atttypid) FROM pg_attribute a JOIN pg_class c ON c.oid = attrelid \
               WHERE relnamespace = 'v'::regnamespace AND relname ~ '^k[0-9]+$' AND attnum > 1), \
             count(DISTINCT (tab, key, value)), sum(CASE id % 4 WHEN 3 THEN 1 WHEN 1 THEN 2 ELSE 3 END) \
             FROM expected, jsonb_each(j) WHERE key <> 'id' AND value <> 'null'",
        );
        let number = |column: usize| numbers[0][column].as_deref().unwrap().parse().unwrap();
        Verdict {
            types: number(0),
            values: number(1),
            compared: number(2),
            given_back,
        }
    }

    /// The types that this server has, can be those of a column, and got no table here.
    pub fn left_out(&mut self) -> String {
        self.scene.sql.text(
            "SELECT t.oid::regtype FROM pg_type t LEFT JOIN pg_class c ON c.oid = typrelid \
             WHERE typtype <> 'p' AND typisdefined AND typcategory <> 'A' \
             AND coalesce(relkind, 'c') = 'c' AND t.oid < 16384 \
             AND NOT EXISTS (SELECT FROM pg_attribute a JOIN pg_class k ON k.oid = attrelid \
               WHERE relnamespace = 'v'::regnamespace AND atttypid = t.oid) ORDER BY t.oid",
        )
    }

    fn named(&self, differences: &str) -> String {
        let mut text = differences.to_owned();
        for (table, name) in self.tables.iter().rev() {
            text = text.replace(&format!("{table}."), &format!("{name}: {table}."));
        }
        text
    }
}

/// What differs, at most 40 lines: `table.column id operation: side: expected, found`. A change that is
/// missing or too many shows as a column `*`.
const DIFFERENCES: &str = "
    WITH wanted AS (
      SELECT tab, id::text AS key, 'CREATE' AS op, '{}'::jsonb AS before, j AS after FROM expected
      UNION ALL
      SELECT tab, (-id)::text, 'UPDATE', j, j || jsonb_build_object('id', -id) FROM expected WHERE id % 2 = 0
      UNION ALL
      SELECT tab, id::text, 'DELETE', j, '{}' FROM expected WHERE id % 4 = 1
    ), wrong AS (
      SELECT w.tab, w.key, w.op, w.before AS wb, w.after AS wa, c.before AS cb, c.after AS ca, c.operation
      FROM wanted w FULL JOIN (SELECT * FROM public.changes WHERE schema = 'v' AND \"table\" ~ '^k[0-9]+$') c
      ON c.\"table\" = w.tab AND c.primary_key = w.key AND c.operation = w.op
      WHERE (w.before::text = c.before::text AND w.after::text = c.after::text) IS NOT TRUE
    )
    SELECT tab || '.' || coalesce(k, '*') || ' ' || key || ' ' || op, left(we, 300), left(fo, 300) FROM wrong
    LEFT JOIN LATERAL (
      SELECT coalesce(e.key, f.key) AS k, e.value::text AS we, f.value::text AS fo
      FROM jsonb_each(wb) e FULL JOIN jsonb_each(cb) f ON e.key = f.key
      WHERE e.value::text IS DISTINCT FROM f.value::text
      UNION ALL
      SELECT coalesce(e.key, f.key), e.value::text, f.value::text
      FROM jsonb_each(wa) e FULL JOIN jsonb_each(ca) f ON e.key = f.key
      WHERE e.value::text IS DISTINCT FROM f.value::text
    ) d ON true LIMIT 40";

/// Whether the server has the type's extension; brings it.
fn brought(sql: &mut Sql, kind: &Kind) -> bool {
    if !kind.extension.is_empty() {
        let name = kind.extension;
        let known = sql.value(&format!(
            "SELECT count(*) FROM pg_available_extensions WHERE name = '{name}'"
        ));
        if known == "0" {
            println!("this server has no {name}: {} is not compared", kind.name);
            return false;
        }
        sql.run(&format!(
            "CREATE EXTENSION IF NOT EXISTS \"{name}\" SCHEMA ext CASCADE"
        ));
    }
    true
}

/// A query `s` of numbered values.
fn sources(kind: &Kind) -> String {
    let name = kind.name;
    let mut parts = Vec::new();
    if !kind.edges.is_empty() {
        let edges: Vec<String> = kind.edges.iter().map(|e| zemi::wire::literal(e)).collect();
        let edges = edges.join(",");
        parts.push(format!(
            "SELECT e::{name} AS v FROM unnest(ARRAY[{edges}]) e"
        ));
    }
    if !kind.random.is_empty() {
        let random = kind.random;
        parts.push(format!(
            "SELECT ({random})::{name} AS v FROM generate_series(1, {RANDOM_VALUES}) g"
        ));
    }
    if !kind.query.is_empty() {
        parts.push(format!("SELECT v FROM ({}) q(v)", kind.query));
    }
    let values = parts.join(" UNION ALL ");
    format!("s AS MATERIALIZED (SELECT row_number() OVER ()::int AS g, v FROM ({values}) u)")
}

/// The table, and types that are made of the type.
fn table(n: usize, kind: &Kind) -> String {
    let name = kind.name;
    if kind.alone {
        return format!(
            "CREATE DOMAIN v.d{n} AS {name}; CREATE TYPE v.c{n} AS (f {name}, d v.d{n});
             CREATE TABLE v.k{n} (id int PRIMARY KEY, v {name}, d v.d{n}, c v.c{n});
             ALTER TABLE v.k{n} REPLICA IDENTITY FULL"
        );
    }
    format!(
        "CREATE DOMAIN v.d{n} AS {name}; CREATE DOMAIN v.da{n} AS {name}[];
         CREATE TYPE v.c{n} AS (f {name}, \"g \"\"q\" {name}[], d v.d{n}); CREATE DOMAIN v.dc{n} AS v.c{n};
         CREATE TYPE v.n{n} AS (c v.c{n}, cs v.c{n}[], t text, dc v.dc{n});
         CREATE TABLE v.k{n} (id int PRIMARY KEY, v {name}, a {name}[], d v.d{n}, ds v.d{n}[], da v.da{n},
           c v.c{n}, cs v.c{n}[], dc v.dc{n}, dcs v.dc{n}[], n v.n{n});
         ALTER TABLE v.k{n} REPLICA IDENTITY FULL"
    )
}

/// The rows of the table. Lower bounds need a text that can be read again.
fn rows(n: usize, kind: &Kind) -> String {
    let name = kind.name;
    let sources = sources(kind);
    if kind.alone {
        return format!(
            "WITH {sources} INSERT INTO v.k{n} SELECT g + 1, v, v, ROW(v, NULL)::v.c{n} FROM s"
        );
    }
    let bounds = if kind.query.is_empty() {
        format!(
            "WHEN 4 THEN ('[-1:1]=' || ARRAY[p, v, NULL]::{name}[]::text)::{name}[]
             WHEN 5 THEN ('[0:0][5:6][-3:-2]=' || ARRAY[[[v, p], [NULL, v]]]::{name}[]::text)::{name}[]"
        )
    } else {
        format!("WHEN 4 THEN ARRAY[[[v], [p]], [[NULL], [v]]]::{name}[]")
    };
    format!(
        "WITH {sources}, one AS (SELECT g, v, lag(v) OVER (ORDER BY g) AS p FROM s),
         two AS (SELECT g, v, p, CASE g % 7 WHEN 0 THEN '{{}}'::{name}[] WHEN 1 THEN ARRAY[v]::{name}[]
             WHEN 2 THEN ARRAY[v, NULL, p]::{name}[] WHEN 3 THEN ARRAY[[v, p], [NULL, v]]::{name}[]
             {bounds} END AS a FROM one),
         three AS (SELECT *, CASE g % 5 WHEN 0 THEN ROW(NULL, a, p)::v.c{n}
             WHEN 1 THEN NULL ELSE ROW(v, a, v)::v.c{n} END AS c FROM two),
         four AS (SELECT *, CASE g % 4 WHEN 0 THEN '{{}}' WHEN 1 THEN NULL
             WHEN 2 THEN ARRAY[c] ELSE ARRAY[ROW(p, NULL, NULL)::v.c{n}, NULL, c] END AS cs FROM three)
         INSERT INTO v.k{n} SELECT g, v, a, v, ARRAY[v, p]::v.d{n}[], a, c, cs, c,
             ARRAY[c, NULL]::v.dc{n}[], ROW(c, CASE WHEN g % 3 = 0 THEN cs END, 'x', \
             CASE WHEN g % 3 = 1 THEN c END)::v.n{n} FROM four"
    )
}
