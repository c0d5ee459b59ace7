-- since: 18
-- Stored generated columns, published; virtual ones never are.
CREATE PUBLICATION golden FOR ALL TABLES WITH (publish_generated_columns = stored);
CREATE TABLE g (
    a int PRIMARY KEY,
    stored int GENERATED ALWAYS AS (a * 2) STORED,
    virtual int GENERATED ALWAYS AS (a * 3) VIRTUAL,
    z text
);
INSERT INTO g (a, z) VALUES (1, 'z');
UPDATE g SET a = 2;
