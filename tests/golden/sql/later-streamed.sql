-- options: 'proto_version', '2', 'streaming', 'true'
-- keep: nth = 1 AND chr(get_byte(data, 0)) IN ('S', 'E', 'c', 'A')
-- Messages of protocol version 2, one of each: transactions sent before they end.
CREATE PUBLICATION golden FOR ALL TABLES;
CREATE TABLE t (id int, v text);
BEGIN;
INSERT INTO t SELECT i, repeat('x', 100) FROM generate_series(1, 2000) AS i;
SAVEPOINT s;
INSERT INTO t SELECT i, repeat('x', 100) FROM generate_series(1, 2000) AS i;
ROLLBACK TO s;
INSERT INTO t SELECT i, repeat('x', 100) FROM generate_series(1, 2000) AS i;
COMMIT;
