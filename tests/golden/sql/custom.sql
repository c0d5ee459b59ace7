-- Types that are not built in come with a Type message, a domain's under the name of its base type.
CREATE PUBLICATION golden FOR ALL TABLES;
CREATE SCHEMA app;
CREATE TYPE app.mood AS ENUM ('sad', 'ok', 'très content');
CREATE DOMAIN app.percent AS numeric(5, 2) CHECK (VALUE BETWEEN 0 AND 100);
CREATE DOMAIN app.feeling AS app.mood;
CREATE TYPE app."Pair of" AS (x int, "y z" text);
CREATE TYPE app.span AS RANGE (subtype = float8);
CREATE TABLE app.things (
    id int PRIMARY KEY, m app.mood, p app.percent, f app.feeling, xy app."Pair of", s app.span,
    ms app.mood[], xys app."Pair of"[]
);
INSERT INTO app.things VALUES (
    1, 'très content', 99.5, 'sad', (1, 'a "b", c'), '[1.5,2.5)', '{sad,NULL}',
    ARRAY[(1, 'x')::app."Pair of", NULL]
);
INSERT INTO app.things (id, xy) VALUES (2, (NULL, NULL));
