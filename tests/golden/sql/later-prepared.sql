-- since: 15
-- options: 'proto_version', '3', 'streaming', 'true', 'two_phase', 'true'
-- keep: nth = 1 AND chr(get_byte(data, 0)) IN ('b', 'P', 'K', 'r', 'p')
-- Messages of protocol version 3, one of each: transactions sent at PREPARE TRANSACTION.
CREATE PUBLICATION golden FOR ALL TABLES;
CREATE TABLE t (id int, v text);
BEGIN;
INSERT INTO t VALUES (1, 'prepared');
PREPARE TRANSACTION 'one';
COMMIT PREPARED 'one';
BEGIN;
INSERT INTO t VALUES (2, 'rolled back');
PREPARE TRANSACTION 'two';
ROLLBACK PREPARED 'two';
BEGIN;
INSERT INTO t SELECT i, repeat('x', 100) FROM generate_series(1, 2000) AS i;
PREPARE TRANSACTION 'three';
COMMIT PREPARED 'three';
