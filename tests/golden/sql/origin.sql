-- Transactions that came by replication from elsewhere.
CREATE PUBLICATION golden FOR ALL TABLES;
CREATE TABLE t (id int PRIMARY KEY);
SELECT pg_replication_origin_create('upstream é');
SELECT pg_replication_origin_session_setup('upstream é');
BEGIN;
SELECT pg_replication_origin_xact_setup('16/B374D848', '2024-02-29 00:00:00+00');
INSERT INTO t VALUES (1);
COMMIT;
SELECT pg_replication_origin_session_reset();
INSERT INTO t VALUES (2);
SELECT pg_replication_origin_drop('upstream é');
