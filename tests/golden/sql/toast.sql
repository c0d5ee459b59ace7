-- Values stored out of line: not sent again while they do not change.
CREATE PUBLICATION golden FOR ALL TABLES;
CREATE TABLE big (id int PRIMARY KEY, small text, large text);
ALTER TABLE big ALTER large SET STORAGE EXTERNAL;
INSERT INTO big VALUES (1, 'a', repeat('large ', 350));
UPDATE big SET small = 'b';                   -- large is unchanged
UPDATE big SET large = repeat('new ', 510);
UPDATE big SET id = 2;                        -- key tuple, large unchanged
ALTER TABLE big REPLICA IDENTITY FULL;
UPDATE big SET small = 'c';                   -- the old tuple holds large, the new one does not
DELETE FROM big;

-- A key that is itself stored out of line is sent as a key tuple with every update.
CREATE TABLE big_key (k text PRIMARY KEY, v int);
ALTER TABLE big_key ALTER k SET STORAGE EXTERNAL;
INSERT INTO big_key VALUES (repeat('k', 2050), 1);
UPDATE big_key SET v = 2;
DELETE FROM big_key;
