-- Rows that arrive in unusual ways, and tables of unusual shapes.
CREATE PUBLICATION golden FOR ALL TABLES;
CREATE TABLE t (id int PRIMARY KEY, v text);
-- One WAL record for all rows of a COPY.
COPY t FROM STDIN;
1	one
2	\N
3	three
\.
BEGIN;
INSERT INTO t VALUES (4, 'kept');
SAVEPOINT s;
INSERT INTO t VALUES (5, 'rolled back');
ROLLBACK TO s;
SAVEPOINT s;
INSERT INTO t VALUES (6, 'kept too');
RELEASE s;
COMMIT;
INSERT INTO t VALUES (4, 'again') ON CONFLICT (id) DO UPDATE SET v = excluded.v;

CREATE TABLE no_columns ();
INSERT INTO no_columns DEFAULT VALUES;
CREATE TABLE "Ünïcode ""quoted"", table" ("a column's name, of sixty-three bytes: ............................" int);
INSERT INTO "Ünïcode ""quoted"", table" VALUES (1);
CREATE TABLE generated (a int PRIMARY KEY, twice int GENERATED ALWAYS AS (a * 2) STORED, z text);
INSERT INTO generated (a, z) VALUES (1, 'z');
DO $$
BEGIN
    EXECUTE 'CREATE TABLE wide (' ||
        (SELECT string_agg('c' || i || ' bool', ', ') FROM generate_series(1, 400) AS i) || ')';
END $$;
INSERT INTO wide (c1, c400) VALUES (true, false);
-- A table with the name of one in pg_catalog.
CREATE TABLE pg_class (relname name PRIMARY KEY);
INSERT INTO public.pg_class VALUES ('mine');
