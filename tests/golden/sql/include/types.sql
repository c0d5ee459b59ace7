CREATE TABLE every_type (
    id bigint PRIMARY KEY,
    b boolean, i2 int2, i4 int4, o oid, f4 float4, f8 float8, n numeric, n2 numeric(10, 2), m money,
    t text, v varchar(20), c char(5), c1 "char", nm name, by bytea,
    d date, tm time, tmz timetz, ts timestamp, tsz timestamptz, ts3 timestamptz(3), iv interval,
    u uuid, j json, jb jsonb, jp jsonpath, x xml, bt bit(4), vb bit varying,
    ip inet, cd cidr, ma macaddr8, pt point, bx box, pa path, po polygon, ci circle, ln line,
    ia int[], ta text[], ja jsonb[], i4r int4range, tsr tstzrange, i4m int4multirange,
    tv tsvector, tq tsquery, ls pg_lsn, rc regclass, i2v int2vector, ov oidvector
);
INSERT INTO every_type VALUES (
    1,
    true, -32768, 2147483647, 4294967295, 1.1, 0.1::float8 + 0.2, 12345678901234567890.0987654321, 1.50,
    '12.34',
    E'line\nta\tb "quote" \u00e9\U0001f600', 'varchar', 'c', 'q', 'name', '\x00ff7f'::bytea,
    '2024-02-29', '23:59:59.999999', '01:02:03+05:30', '2024-02-29 12:34:56.789',
    '2024-02-29 12:34:56.789+02', '2024-02-29 12:34:56.789999+02', '1 year -2 mons 3 days 04:05:06.7',
    'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '{"a" : 1, "a":null}', '{"b": [1, 2.50], "a": "\u00e9"}',
    '$.a[*] ? (@ > 1)', NULL, B'1010', B'101', '192.168.0.1/24', '10.0.0.0/8',
    '08:00:2b:01:02:03:04:05', '(1,2)', '(3,4),(1,2)', '[(0,0),(1,1)]', '((0,0),(1,0),(1,1))',
    '<(0,0),5>', '{1,-1,0}', '{1,NULL,3}', '{"a b",NULL,"NULL","\"","{}"}',
    ARRAY['{"a": 1}'::jsonb, NULL], '[1,10)', '[2024-01-01 00:00:00+00,)', '{[1,3),[5,7)}',
    'a fat cat', 'fat & rat', '16/B374D848', 'pg_class', '1 2', '3 4'
);
-- Every column NULL but the key.
INSERT INTO every_type (id) VALUES (2);
-- Values at the ends of their types, and empty ones.
INSERT INTO every_type (id, f4, f8, n, t, by, d, ts, tsz, iv, ia, ta, i4r, i4m, jb, j) VALUES (
    -9223372036854775808, 'NaN', '-Infinity', 'NaN', '', '', 'infinity', '-infinity',
    '0044-03-15 12:00:00+00 BC', '-178000000 years', '{}', '{{a,b},{c,d}}', 'empty', '{}', 'null', '""'
);
