CREATE TABLE events (id int, day date, note text, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
CREATE TABLE events_2023 PARTITION OF events FOR VALUES FROM ('2023-01-01') TO ('2024-01-01');
-- Another order of columns than its parent.
CREATE TABLE events_2024 (note text, day date NOT NULL, id int NOT NULL);
ALTER TABLE events ATTACH PARTITION events_2024 FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
BEGIN;
INSERT INTO events VALUES (1, '2023-05-05', 'a'), (2, '2024-05-05', 'b');
UPDATE events SET note = 'c' WHERE id = 2;
-- Into the other partition: DELETE and INSERT.
UPDATE events SET day = '2024-06-06' WHERE id = 1;
DELETE FROM events WHERE id = 2;
COMMIT;
TRUNCATE events;
