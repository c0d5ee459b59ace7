CREATE TYPE mood AS ENUM ('sad', 'ok', 'très content');
CREATE TYPE point3 AS (x int, y numeric, "z ""q""" text);
CREATE DOMAIN percent AS numeric(5, 2) CHECK (VALUE BETWEEN 0 AND 100);
CREATE TABLE users (id int PRIMARY KEY, name text, secret text, m mood, p percent);
CREATE TABLE shapes (a int, b text, c point3, d point3[], e text[], f jsonb, g json, PRIMARY KEY (a, b));
CREATE TABLE times (id int PRIMARY KEY, a date, b timestamp, c timestamptz, d interval, e timetz);
CREATE TABLE numbers (id int PRIMARY KEY, a smallint, b bigint, c real, d double precision, e numeric,
                      f money, g oid, h int2vector, i oidvector, j bit(5), k bytea, l boolean);
CREATE TABLE big (id int PRIMARY KEY, small text, large text);
ALTER TABLE big ALTER large SET STORAGE EXTERNAL;
CREATE TABLE full_identity (id int, v text);
ALTER TABLE full_identity REPLICA IDENTITY FULL;
CREATE TABLE "wéird ""name""" (id int PRIMARY KEY, "a ""b""" text);
-- next
BEGIN;
INSERT INTO users VALUES (1, 'ada', 'x', 'ok', 12.5), (2, 'Łódź "q" \ ', NULL, 'très content', 0);
SELECT pg_logical_emit_message(true, '_bemi', '{"user": "ada", "n": [1, 2.50, null]}');
UPDATE users SET name = 'bob' WHERE id = 1;
SELECT pg_logical_emit_message(true, '_bemi', '{"user": it''s no json}');
DELETE FROM users WHERE id = 2;
COMMIT;
-- next
SELECT pg_logical_emit_message(true, 'other', 'passed over');
-- next
INSERT INTO shapes VALUES
 (1, 'one', ROW(1, 2.50, 'a, "b" \c'), ARRAY[ROW(1, NULL, '')::point3, NULL],
  ARRAY['a b', 'NULL', NULL, '', '{"x"}', 'q"\'], '{"a": [1, {"b": null}], "c": 1e10}',
  ' { "a" : 1 , "a" : 2.0e5 } '),
 (2, 'two', NULL, '{}', '[0:1][-2:-1]={{a,b},{c,d}}', '"scalar"', '{"nul": "\u0000"}'),
 (3, 'three', ROW(NULL, NULL, NULL), ARRAY[ROW(-1, 'NaN', 'é')::point3], ARRAY[['x'], ['y']], '[]',
  '["\ud83d\ude00", "\ud83d"]');
-- next
INSERT INTO times VALUES
 (1, '2024-02-29', '2024-02-29 12:34:56.789', '2024-02-29 12:34:56.789+02', '1 mon -2 days 03:04:05.6',
  '12:34:56+05:30'),
 (2, '0044-03-15 BC', '4713-01-01 00:00:00 BC', '0001-01-01 00:00:00+00 BC', '-1 year', '00:00+00'),
 (3, 'infinity', '-infinity', 'infinity', NULL, NULL),
 (4, '5874897-12-31', '294276-12-31 23:59:59.999999', '294276-12-31 23:59:59.999999+00', '0', '24:00');
INSERT INTO numbers VALUES
 (1, -32768, 9223372036854775807, 1.5e-7, 1e300, 123456789.000000000001, 12.34, 4294967295, '1 -2 3',
  '1 4294967295', B'10101', '\x00ff', true),
 (2, 0, 0, 'NaN', '-Infinity', 'NaN', -1, 0, '', '', B'00000', '', false),
 (3, 1, 1, 'Infinity', 0.1, 1e-100, 0, 1, '7', '7', B'11111', '\x', NULL);
-- next
INSERT INTO big VALUES (1, 'a', repeat('large ', 350));
UPDATE big SET small = 'b' WHERE id = 1;
INSERT INTO full_identity VALUES (1, 'a'), (1, 'a');
UPDATE full_identity SET v = NULL;
DELETE FROM full_identity;
UPDATE shapes SET a = 10 WHERE a = 1;
DELETE FROM shapes WHERE a = 2;
INSERT INTO "wéird ""name""" VALUES (1, E'line\none\ttab');
-- next
ALTER TYPE point3 DROP ATTRIBUTE y;
ALTER TYPE point3 ADD ATTRIBUTE w boolean;
ALTER TABLE users DROP COLUMN secret, ADD COLUMN more xml;
-- next
INSERT INTO users VALUES (3, 'new', 'sad', 1, '<a>b</a>');
UPDATE shapes SET c = ROW(5, 'z', true);
TRUNCATE users, big RESTART IDENTITY CASCADE;
-- next
BEGIN;
SAVEPOINT s;
INSERT INTO big VALUES (7, 'gone', '');
SELECT pg_logical_emit_message(true, '_bemi', '{"gone": true}');
ROLLBACK TO s;
INSERT INTO big VALUES (8, 'stays', '');
SELECT pg_logical_emit_message(true, '_bemi', 'null');
COMMIT;
