#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::*;

const MOOD: Oid = Oid(20_000);
const PAIR: Oid = Oid(20_001);
const PAIRS: Oid = Oid(20_002);
const HOME: Oid = Oid(20_003);

fn at(time: i64) -> PgTimestamp {
    PgTimestamp(time)
}

/// The columns of [`facts_query`]; those of [`stamps_query`] are the first three.
const COLUMNS: [&str; 10] = [
    "oid",
    "stamp",
    "as_of",
    "name",
    "kind",
    "part",
    "delimiter",
    "json_cast",
    "attribute",
    "attribute_type",
];

#[test]
fn the_queries_name_the_columns_that_are_read() {
    let (facts, stamps) = (facts_query(&[MOOD]), stamps_query(&[MOOD]));
    for (at, column) in COLUMNS.iter().enumerate().skip(1) {
        let named = format!(" AS {column}");
        assert!(facts.contains(&named), "{column}");
        assert_eq!(stamps.contains(&named), at < 3, "{column}");
    }
}

fn answer(rows: &[&[&str]]) -> ResultSet {
    let value = |text: &&str| (*text != "-").then(|| (*text).to_owned());
    ResultSet {
        columns: COLUMNS.map(str::to_owned).to_vec(),
        rows: rows
            .iter()
            .map(|row| row.iter().map(value).collect())
            .collect(),
        ..ResultSet::default()
    }
}

/// An enum, a composite of an int and the enum, an array of it and a domain over that, all read at 100.
fn learned() -> Types {
    let mut types = Types::default();
    let rows: [&[&str]; 5] = [
        &[
            "20000",
            "m1",
            "100",
            "public.mood",
            "-",
            "0",
            "-",
            "-",
            "-",
            "-",
        ],
        &[
            "20001",
            "p1",
            "100",
            "public.pair",
            "composite",
            "0",
            "-",
            "-",
            "a",
            "23",
        ],
        &[
            "20001",
            "p1",
            "100",
            "public.pair",
            "composite",
            "0",
            "-",
            "-",
            "b c",
            "20000",
        ],
        &[
            "20002",
            "a1",
            "100",
            "public.pair[]",
            "array",
            "20001",
            ",",
            "-",
            "-",
            "-",
        ],
        &[
            "20003",
            "d1",
            "100",
            "public.home",
            "domain",
            "20002",
            "-",
            "-",
            "-",
            "-",
        ],
    ];
    types.learn(&[HOME], &answer(&rows));
    types
}

fn pair(second: ValueType) -> ValueType {
    let fields = [
        CompositeField::new("a", ValueType::Number),
        CompositeField::new("b c", second),
    ];
    ValueType::Composite(fields.into_iter().collect())
}

#[test]
fn a_type_is_known_with_all_its_parts_after_one_answer() {
    let mut types = learned();
    let pairs = ValueType::array_of(pair(ValueType::Text));
    assert_eq!(types.known(HOME), Some(pairs.clone()));
    assert_eq!(types.known(PAIRS), Some(pairs));
    assert_eq!(types.known(MOOD), Some(ValueType::Text));
    assert_eq!(types.known(Oid(23)), Some(ValueType::Number));
    assert_eq!(types.known(Oid(20_009)), None);
    assert_eq!(types.unknown(&[HOME, Oid(20_009), Oid(23)]), [Oid(20_009)]);
}

#[test]
fn a_type_that_is_gone_is_text_and_not_asked_for_again() {
    let mut types = Types::default();
    types.learn(&[MOOD], &answer(&[]));
    assert_eq!(types.known(MOOD), Some(ValueType::Text));
    assert!(types.unknown(&[MOOD]).is_empty());
}

#[test]
fn only_transactions_after_the_facts_ask_again_and_one_answer_serves_all_before_it() {
    let mut types = learned();
    assert!(types.stale(&[HOME], at(100)).is_empty());
    let mut stale = types.stale(&[HOME], at(101));
    stale.sort_unstable();
    assert_eq!(stale, [MOOD, PAIR, PAIRS, HOME]);
    let generation = types.state(&[HOME], at(100)).generation;
    let same = answer(&[
        &["20000", "m1", "500"],
        &["20001", "p1", "500"],
        &["20002", "a1", "500"],
        &["20003", "d1", "500"],
    ]);
    types.compare(&stale, at(101), &same);
    let state = types.state(&[HOME], at(101));
    assert_eq!((state.as_of, state.generation), (at(500), generation));
    assert!(types.stale(&[HOME], at(500)).is_empty());
}

#[test]
fn a_part_that_changed_takes_along_what_is_made_of_it_and_nothing_else() {
    let mut types = learned();
    let generation = types.state(&[HOME], at(100)).generation;
    let changed = answer(&[&["20000", "m1", "500"], &["20001", "p2", "500"]]);
    types.compare(&[MOOD, PAIR], at(101), &changed);
    assert_ne!(types.state(&[HOME], at(101)).generation, generation);
    assert_eq!(types.known(MOOD), Some(ValueType::Text));
    assert_eq!(
        types.unknown(&[MOOD, PAIR, PAIRS, HOME]),
        [PAIR, PAIRS, HOME]
    );
    // Dropped: the answer does not have it.
    types.compare(&[MOOD], at(600), &answer(&[]));
    assert_eq!(types.known(MOOD), None);
}

#[test]
fn the_clock_of_the_answer_never_goes_behind_what_it_was_asked_for() {
    let mut types = learned();
    types.compare(&[MOOD], at(700), &answer(&[&["20000", "m1", "500"]]));
    assert_eq!(types.state(&[MOOD], at(700)).as_of, at(700));
}

#[test]
fn casts_to_json_are_the_sources_business_but_for_hstore() {
    let mut types = Types::default();
    let rows: [&[&str]; 3] = [
        &[
            "20000",
            "",
            "1",
            "ext.hstore",
            "-",
            "0",
            "-",
            "c hstore_to_json",
            "-",
            "-",
        ],
        &[
            "20001",
            "",
            "1",
            "public.hs",
            "-",
            "0",
            "-",
            "sql hstore_to_json",
            "-",
            "-",
        ],
        &[
            "20002",
            "",
            "1",
            "public.both",
            "array",
            "16",
            ";",
            "sql f",
            "-",
            "-",
        ],
    ];
    types.learn(&[], &answer(&rows));
    assert_eq!(types.known(MOOD), Some(ValueType::Hstore));
    let type_oid = PAIR;
    assert_eq!(types.known(PAIR), Some(ValueType::Cast { type_oid }));
    assert_eq!(types.name(PAIR), Some("public.hs"));
    let booleans = ValueType::Array {
        element: Arc::new(ValueType::Bool),
        delimiter: b';',
    };
    assert_eq!(types.known(PAIRS), Some(booleans));
}

#[test]
fn a_type_inside_itself_ends_somewhere() {
    let mut types = Types::default();
    let rows: [&[&str]; 1] = [&[
        "20001",
        "",
        "1",
        "public.t",
        "composite",
        "0",
        "-",
        "-",
        "t",
        "20001",
    ]];
    types.learn(&[], &answer(&rows));
    assert!(matches!(types.known(PAIR), Some(ValueType::Composite(_))));
}

#[test]
fn types_that_are_made_of_themselves_end() {
    let mut types = Types::default();
    // Two composites with thirty attributes each, all of the other one's type.
    let attribute = |of: &'static str, part: &'static str| {
        [
            of,
            "s",
            "100",
            "public.c",
            "composite",
            "0",
            "-",
            "-",
            "a",
            part,
        ]
    };
    let rows: Vec<_> = (0..30)
        .flat_map(|_| [attribute("20000", "20001"), attribute("20001", "20000")])
        .collect();
    let rows: Vec<&[&str]> = rows.iter().map(<[&str; 10]>::as_slice).collect();
    types.learn(&[MOOD, PAIR], &answer(&rows));
    let Some(ValueType::Composite(fields)) = types.known(MOOD) else {
        panic!("no composite");
    };
    assert_eq!(fields.len(), 30);
    assert!(matches!(types.known(PAIR), Some(ValueType::Composite(_))));
}
