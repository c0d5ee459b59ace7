-- since: 15
-- Column lists and row filters: only what passes is sent.
CREATE TABLE listed (id int PRIMARY KEY, shown text, hidden text);
CREATE TABLE filtered (id int PRIMARY KEY, v int);
CREATE PUBLICATION golden FOR TABLE listed (id, shown), filtered WHERE (id > 10);
INSERT INTO listed VALUES (1, 'shown', 'hidden');
UPDATE listed SET id = 2;
INSERT INTO filtered VALUES (1, 1), (11, 1);
-- Into the filter: an INSERT. Out of it: a DELETE.
UPDATE filtered SET id = 12 WHERE id = 1;
UPDATE filtered SET id = 2 WHERE id = 11;
