-- pg_logical_emit_message: in a transaction, outside of any, in one that rolls back, of any bytes.
CREATE PUBLICATION golden FOR ALL TABLES;
CREATE TABLE t (id int PRIMARY KEY);
BEGIN;
SELECT pg_logical_emit_message(true, '_bemi', '{"user": "é"}');
INSERT INTO t VALUES (1);
SELECT pg_logical_emit_message(true, '_bemi', '{"user": 2}');
INSERT INTO t VALUES (2);
COMMIT;
SELECT pg_logical_emit_message(true, 'alone', 'in a transaction of its own');
SELECT pg_logical_emit_message(false, 'outside', 'not transactional');
SELECT pg_logical_emit_message(true, '', '');
SELECT pg_logical_emit_message(false, 'bytes', '\x00ff00'::bytea);
BEGIN;
SELECT pg_logical_emit_message(true, 'rolled back', 'never sent');
SELECT pg_logical_emit_message(false, 'rolled back', 'sent all the same');
INSERT INTO t VALUES (3);
ROLLBACK;
