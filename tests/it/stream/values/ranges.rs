//! Ranges and multiranges, of built-in types and of others.

use super::kind::Kind;

pub const KINDS: &[Kind] = &[
    Kind::of(
        "int4range",
        &["empty", "(,)", "[1,10)", "(1,2]", "[,5)", "[-2147483648,)"],
        "int4range(g, g * 3, '[]')",
    ),
    Kind::of("int8range", &["empty", "(,)", "[1,9223372036854775807)"], "int8range(-g, g * 3)"),
    Kind::of(
        "numrange",
        &["empty", "(,)", "[1.50,2.0]", "(NaN,)", "[-Infinity,Infinity]"],
        "numrange(random()::numeric, 2, '(]')",
    ),
    Kind::of(
        "tsrange",
        &["empty", "(,)", "[2024-01-01,2024-01-02 03:04:05.6)", "[-infinity,infinity]", "[0044-03-15 BC,)"],
        "tsrange('2000-01-01', '2000-01-01'::timestamp + random() * '9 years'::interval, '[]')",
    ),
    Kind::of(
        "tstzrange",
        &["empty", "(,)", "[2024-01-01 00:00+05:30,2024-01-02)", "(infinity,)", "[0044-03-15 BC,)"],
        "tstzrange('2000-01-01', '2000-01-01'::timestamptz + random() * '9 years'::interval)",
    ),
    Kind::of(
        "daterange",
        &["empty", "(,)", "[2024-01-01,2024-02-29]", "[0044-03-15 BC,infinity)"],
        "daterange('2000-01-01', '2000-01-01'::date + g)",
    ),
    Kind::of(
        "int4multirange",
        &["{}", "{[1,3),[5,7)}", "{(,)}"],
        "int4multirange(int4range(-g, 0), int4range(g, g * 2))",
    ),
    Kind::of("int8multirange", &["{}", "{[1,3),[5,7)}"], "int8multirange(int8range(-g, 0))"),
    Kind::of(
        "nummultirange",
        &["{}", "{[1.5,3.0),(5,)}"],
        "nummultirange(numrange(0, random()::numeric))",
    ),
    Kind::of(
        "tsmultirange",
        &["{}", "{[2024-01-01,2024-01-02),[2025-01-01,)}"],
        "tsmultirange(tsrange('2000-01-01', NULL))",
    ),
    Kind::of("tstzmultirange", &["{}", "{[2024-01-01,2024-01-02),[2025-01-01,)}"], ""),
    Kind::of("datemultirange", &["{}", "{[2024-01-01,2024-01-02),[2025-01-01,infinity]}"], ""),
    Kind::of(
        "v.floatrange",
        &["empty", "(,)", "[1.5,2.5)", "[-Infinity,NaN]"],
        "v.floatrange(random(), 2, '[]')",
    )
    .after("CREATE TYPE v.floatrange AS RANGE (subtype = float8, \
         subtype_diff = float8mi, multirange_type_name = v.floatmulti)"),
    Kind::of("v.floatmulti", &["{}", "{[1,2),[3,4]}"], ""),
    Kind::of(
        "v.textrange",
        &["empty", "(,)", "[a,b)", "[\"\",\"a,b\"]", "[\"\\\"\",\"\\\\\"]", "(\" \",\"]\")"],
        "v.textrange(repeat('\"', g % 5) || g, NULL)",
    )
    .after("CREATE TYPE v.textrange AS RANGE (subtype = text, \
         multirange_type_name = v.textmulti, collation = \"C\")"),
    Kind::of("v.textmulti", &["{}", "{[a,b),[\"c,\",\"}\"]}"], ""),
    Kind::of("v.enumrange", &["empty", "[low,high]", "[,low)"], "")
        .after("CREATE TYPE v.level AS ENUM ('low', 'high'); \
                CREATE TYPE v.enumrange AS RANGE (subtype = v.level)"),
    Kind::of("v.rowrange", &["empty", "[\"(1,\\\"a b\\\")\",\"(2,)\")"], "")
        .after("CREATE TYPE v.bound AS (a int, b text); CREATE TYPE v.rowrange AS RANGE (subtype = v.bound)"),
    Kind::of("v.arrayrange", &["empty", "[\"{1,2}\",\"{1,3}\")"], "")
        .after("CREATE TYPE v.arrayrange AS RANGE (subtype = int[])"),
];
