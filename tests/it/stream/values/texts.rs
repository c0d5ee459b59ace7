//! Character strings and bytes.

use super::kind::Kind;

/// Strings that mean something to a literal of an array, a composite, JSON or hstore.
macro_rules! strings {
    ($($more:literal),*) => {
        &[
            "", " ", "  two  ", "a", "NULL", "null", "\"", "\\", "\\\\", "\"\"", "'", "''", "{}", "{", "}",
            "()", "(,)", ",", ";", "|", "[1:2]={1,2}", "\t", "\n", "\r\n", "\u{b}", "\u{c}", "\u{8}", "\u{1}",
            "\u{1f}", "\u{7f}", "\u{80}", "\u{a0}", "é", "e\u{301}", "Straße", "日本語", "שלום", "😀", "👩‍👩‍👧",
            "\u{feff}", "\u{fffd}", "\u{ffff}", "\u{10ffff}", "\u{2028}", "a b", "a,b", "\\x00", "\\u0000",
            "\\N", "\\.", "</x>", "%s", "$1", "{\"a\": 1}", "[]", "true", "0", "=>", "\"a\"=>NULL", $($more),*
        ]
    };
}

/// A string of characters that have to be quoted somewhere.
const RANDOM: &str = "\
     (SELECT string_agg(substr(E'aZ09 \\t\\n\\r\\b\\f\\v\\x01\\x1f\\x7f\"\"\\\\\\\\''(){}[],;:|=>\
     <&/éß日😀', 1 + (random() * 40)::int, 1), '') FROM generate_series(1, 1 + g % 17))";

pub const KINDS: &[Kind] = &[
    Kind::of("text", strings!(), RANDOM),
    Kind::of("varchar(30)", strings!(), RANDOM),
    Kind::of(
        "char(5)",
        &["", "a", "abcde", " x", "é", "\"", "\\", "日本語", "\n"],
        "chr(33 + g)",
    ),
    Kind::of("bpchar", &["", "a  ", " ", "NULL"], RANDOM),
    Kind::of(
        "\"char\"",
        &["", "a", " ", "\"", "\\", "{", ",", "\u{1}", "("],
        "chr(32 + g)",
    ),
    Kind::of("name", strings!(), RANDOM),
    Kind::of("refcursor", &["", "a cursor", "\""], RANDOM),
    Kind::of(
        "bytea",
        &[
            "",
            "\\x00",
            "\\xff",
            "\\x5c22277b7d",
            "\\x00010203040506070809",
            "\\x6162",
        ],
        "decode(repeat(md5(g::text), g % 4), 'hex')",
    ),
    // Stored out of line.
    Kind::from_query(
        "text",
        "SELECT (SELECT string_agg(md5((i * g)::text), E'\"\\\\') FROM generate_series(1, 3000) i) \
         FROM generate_series(1, 3) g",
    )
    .alone(),
    Kind::of("ext.citext", strings!(), RANDOM).of_extension("citext"),
];
