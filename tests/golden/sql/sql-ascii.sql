-- database: ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'
-- Names and values that are not UTF-8: in this encoding the server converts and checks nothing.
SET client_encoding = 'SQL_ASCII';
CREATE PUBLICATION golden FOR ALL TABLES;
DO $$
BEGIN
    EXECUTE format('CREATE TABLE %I (id int PRIMARY KEY, %I text)', E'caf\xe9', E'\xff');
    EXECUTE format('INSERT INTO %I VALUES (1, %L)', E'caf\xe9', E'\xe9\xff');
END $$;
SELECT pg_logical_emit_message(true, E'pr\xe9fix', E'\xfe');
