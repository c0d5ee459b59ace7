//! Types that users make: enums, domains, composites, base types, and casts to json.
//!
//! The judge adds to every kind its arrays, a domain, a composite and what is made of those.

use super::kind::Kind;

pub const KINDS: &[Kind] = &[
    Kind::of(
        "v.mood",
        &["sad", "a b", "\"q\"", "back\\slash", "comma,", "{", "NULL", "(", "", "é'"],
        "",
    )
    .after(
        "CREATE TYPE v.mood AS ENUM ('sad', 'a b', '\"q\"', E'back\\\\slash', 'comma,', \
             '{', 'NULL', '(', '', 'é''')",
    ),
    Kind::of(
        "v.posint",
        &["1", "2147483647"],
        "g",
    ).after("CREATE DOMAIN v.posint AS int CHECK (VALUE > 0)"),
    Kind::of(
        "v.small",
        &["1", "9"],
        "g",
    ).after("CREATE DOMAIN v.small AS v.posint CHECK (VALUE < 1000)"),
    Kind::of(
        "v.price",
        &["0.05", "-999.99"],
        "random() * 100",
    ).after("CREATE DOMAIN v.price AS numeric(5,2)"),
    Kind::of("v.code", &["a", "\"", ""], "").after("CREATE DOMAIN v.code AS char(3)"),
    Kind::of("v.doc", &["{\"a\": [1, \"x\\\"y\"]}", "null", "1.50"], "jsonb_build_array(g)")
        .after("CREATE DOMAIN v.doc AS jsonb"),
    Kind::of(
        "v.day",
        &["2024-02-29", "infinity", "0044-03-15 BC"],
        "",
    ).after("CREATE DOMAIN v.day AS date"),
    Kind::of(
        "v.pair",
        &["(,)", "(1,)", "(,\"\")", "(2,\" \"\"q\"\" \\\\ ,()\")", "(-3,NULL)", "(4,\"\\n\")"],
        "ROW(g, repeat(E'\"\\\\,(){} ', g % 4))",
    )
    .after("CREATE TYPE v.pair AS (a int, b text)"),
    Kind::of("v.nothing", &["()"], "").after("CREATE TYPE v.nothing AS ()"),
    Kind::of(
        "v.single",
        &["()", "(\"\")", "(\"(\")", "(x)"],
        "",
    ).after("CREATE TYPE v.single AS (x text)"),
    Kind::of("v.odd", &["(1,\"a\"\"b\",t,\"{\"\"a\"\": 1.50}\")", "(,,,)"], "").after(
        "CREATE TYPE v.odd AS (\"a b\" int, \"q\"\"q\" text, \"ünï\" bool, \"back\\slash\" jsonb)",
    ),
    Kind::of("v.dropped", &["(1,x)", "(,)"], "ROW(g, g)").after(
        "CREATE TYPE v.dropped AS (a int, gone date, b text, gone2 v.pair);
         ALTER TYPE v.dropped DROP ATTRIBUTE gone; ALTER TYPE v.dropped DROP ATTRIBUTE gone2",
    ),
    Kind::of("v.a_table", &["(1,\"x y\",\"(5,z)\")"], "ROW(g, 'n', NULL)").after(
        "CREATE TABLE v.a_table (id int PRIMARY KEY, gone text, name text, pair v.pair DEFAULT '(1,2)');
         ALTER TABLE v.a_table DROP COLUMN gone",
    ),
    Kind::from_query(
        "v.many",
        "SELECT ROW(g % 2 = 0, g, g * 1.5e300, round(random()::numeric, 9), md5(g::text), 'c',
           json_build_object('a', g), jsonb_build_object('q', '\"'), '0044-03-15 BC', '2024-01-01 00:00:00.5',
           '2024-01-01 00:00:00.5+05:30', 'infinity', '12:00', '1 mon -1 day', decode(md5(g::text), 'hex'),
           gen_random_uuid(), ARRAY[box(point(0, g), point(1, 1)), NULL], ARRAY[['\"', NULL], ['\\', ',']],
           ROW(g, '\"\\'), ARRAY[ROW(g, '(')::v.pair, NULL], 'a b', '[1,2)', '{[1,2),[4,5)}', '1 2', '3 4',
           'pg_class')::v.many FROM generate_series(1, 8) g",
    )
    .after(
        "CREATE TYPE v.many AS (ok bool, i int, f float8, n numeric, t text, c char(3), j json, jb jsonb,
           d date, ts timestamp, tz timestamptz, inf timestamptz, ti time, iv interval, b bytea, u uuid,
           boxes box[], texts text[], p v.pair, ps v.pair[], m v.mood, r int4range, mr int4multirange,
           v2 int2vector, ov oidvector, cl regclass)",
    ),
    // The quotes double with each level.
    Kind::from_query(
        "v.deep6",
        "SELECT ROW(ROW(ROW(ROW(ROW(ROW(g, '\"\\'))))))::v.deep6 FROM generate_series(1, 3) g",
    )
    .after(
        "CREATE TYPE v.deep2 AS (p v.pair); CREATE TYPE v.deep3 AS (p v.deep2);
         CREATE TYPE v.deep4 AS (p v.deep3); CREATE TYPE v.deep5 AS (p v.deep4);
         CREATE TYPE v.deep6 AS (p v.deep5)",
    ),
    // A base type without C: the functions are those of text.
    Kind::of("v.piped", &["", "a", "a|b", "\"", "{,}", "NULL"], "repeat('|', g % 4)").after(
        "CREATE TYPE v.piped;
         CREATE FUNCTION v.piped_in(cstring) RETURNS v.piped LANGUAGE internal IMMUTABLE STRICT AS 'textin';
         CREATE FUNCTION v.piped_out(v.piped) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT AS 'textout';
         CREATE TYPE v.piped (INPUT = v.piped_in, OUTPUT = v.piped_out, DELIMITER = '|', LIKE = text)",
    ),
    // Casts to json by a function count for types that are no array and no composite, and no others do.
    Kind::of("v.light", &["red", "gr\"een"], "").after(
        "CREATE TYPE v.light AS ENUM ('red', 'gr\"een');
         CREATE FUNCTION v.light_json(v.light) RETURNS json LANGUAGE sql STABLE AS
           $$ SELECT pg_catalog.json_build_object('light', $1::text, 'b', 1.50, 'b', ARRAY[NULL, 1]) $$;
         CREATE CAST (v.light AS json) WITH FUNCTION v.light_json(v.light)",
    ),
    Kind::of("v.span", &["[2024-01-01 00:00+00,2024-01-02 00:00+00)", "empty"], "").after(
        "CREATE TYPE v.span AS RANGE (subtype = timestamptz);
         CREATE FUNCTION v.span_json(v.span) RETURNS json LANGUAGE sql STABLE AS
           $$ SELECT pg_catalog.json_build_array(lower($1), lower($1)::text, \
             upper($1) - lower($1), '\\x41'::bytea) $$;
         CREATE CAST (v.span AS json) WITH FUNCTION v.span_json(v.span) AS IMPLICIT",
    ),
    Kind::of("v.castpair", &["(1,2)"], "").after(
        "CREATE TYPE v.castpair AS (a int, b int);
         CREATE FUNCTION v.castpair_json(v.castpair) RETURNS json LANGUAGE sql IMMUTABLE AS \
             $$ SELECT '0'::json $$;
         CREATE CAST (v.castpair AS json) WITH FUNCTION v.castpair_json(v.castpair)",
    ),
    Kind::of("v.inout", &["1", "2"], "").after(
        "CREATE TYPE v.inout AS ENUM ('1', '2'); CREATE CAST (v.inout AS json) WITH INOUT",
    ),
    Kind::of("v.castb", &["1", "2"], "").after(
        "CREATE TYPE v.castb AS ENUM ('1', '2');
         CREATE FUNCTION v.castb_jsonb(v.castb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS \
             $$ SELECT '0'::jsonb $$;
         CREATE CAST (v.castb AS jsonb) WITH FUNCTION v.castb_jsonb(v.castb)",
    ),
    // A function of the name that hstore's has.
    Kind::of("v.false_hstore", &["x", "y"], "").after(
        "CREATE TYPE v.false_hstore AS ENUM ('x', 'y');
         CREATE FUNCTION v.hstore_to_json(v.false_hstore) RETURNS json LANGUAGE sql IMMUTABLE AS
           $$ SELECT '{\"not\": \"hstore\"}'::json $$;
         CREATE CAST (v.false_hstore AS json) WITH FUNCTION v.hstore_to_json(v.false_hstore)",
    ),
];
