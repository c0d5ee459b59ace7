//! Types of contrib. (`citext` is beside the other character types.)

use super::kind::Kind;

pub const KINDS: &[Kind] = &[
    Kind::of(
        "ext.hstore",
        &[
            "",
            "a=>1",
            "a=>1, b=>NULL, \"NULL\"=>\"NULL\"",
            "\"\"=>\"\"",
            "\"a \\\"b\\\"\"=>\"c\\\\d, e=>f\"",
            "é=>😀, t=>true, n=>1.50",
            "\"\n\"=>\"\t\"",
        ],
        "ext.hstore(ARRAY['k' || g, E'\"\\\\' || g], ARRAY[NULL, repeat(E'\\\\\"', g % 5)])",
    )
    .of_extension("hstore"),
    Kind::of(
        "ext.ltree",
        &["", "Top", "Top.Science.Astronomy", "a.b_1"],
        "'n' || g || '.x'",
    )
    .of_extension("ltree"),
    Kind::of("ext.lquery", &["Top.*{1,2}.b@", "Top.a|b.!c"], "").of_extension("ltree"),
    Kind::of(
        "ext.ltxtquery",
        &["Europe & Russia*@ & !Transportation"],
        "",
    )
    .of_extension("ltree"),
    Kind::of(
        "ext.cube",
        &["1", "(1,2,3)", "(0,0),(1,1)", "(-Infinity,NaN)"],
        "ext.cube(g, random())",
    )
    .of_extension("cube"),
    Kind::of(
        "ext.seg",
        &["1.5", "~6.50", "1.5 .. 2.5", "<100", "0 .. "],
        "g || ' .. ' || g + 1",
    )
    .of_extension("seg"),
    Kind::of("ext.isbn", &["0-393-04002-X", "9780393040029"], "").of_extension("isn"),
    Kind::of("ext.ean13", &["0220356483481"], "").of_extension("isn"),
    Kind::of("ext.issn", &["1436-4522"], "").of_extension("isn"),
    Kind::of("ext.query_int", &["1 & 2", "(1 | 2) & !3"], "").of_extension("intarray"),
    Kind::of("ext.lo", &["0", "4294967295"], "").of_extension("lo"),
];
