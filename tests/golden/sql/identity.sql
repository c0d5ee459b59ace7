-- What UPDATE and DELETE send of the old row, by replica identity.
CREATE PUBLICATION golden FOR ALL TABLES;

CREATE TABLE by_key (id int, part text, note text, PRIMARY KEY (id, part));
INSERT INTO by_key VALUES (1, 'a', 'x');
UPDATE by_key SET note = 'y';                 -- no old tuple
UPDATE by_key SET note = NULL, id = 2;        -- key tuple
DELETE FROM by_key;                           -- key tuple

CREATE TABLE by_full (id int PRIMARY KEY, note text);
ALTER TABLE by_full REPLICA IDENTITY FULL;
INSERT INTO by_full VALUES (1, NULL), (2, 'b');
UPDATE by_full SET note = 'y' WHERE id = 1;   -- old tuple
DELETE FROM by_full WHERE id = 2;             -- old tuple

CREATE TABLE by_index (id int PRIMARY KEY, code text NOT NULL, note text);
CREATE UNIQUE INDEX by_index_code ON by_index (code);
ALTER TABLE by_index REPLICA IDENTITY USING INDEX by_index_code;
INSERT INTO by_index VALUES (1, 'a', 'x');
UPDATE by_index SET id = 2;                   -- no old tuple: the key is code
UPDATE by_index SET code = 'b';               -- key tuple
DELETE FROM by_index;                         -- key tuple

CREATE TABLE by_nothing (id int PRIMARY KEY);
ALTER TABLE by_nothing REPLICA IDENTITY NOTHING;
INSERT INTO by_nothing VALUES (1);

CREATE TABLE without_key (id int);
INSERT INTO without_key VALUES (1);
