//! Values: `to_jsonb` of the server is the judge of every type.

mod documents;
mod extensions;
mod judge;
mod kind;
mod literals;
mod live;
mod made;
mod numbers;
mod places;
mod ranges;
mod regress;
mod strings;
mod system;
mod texts;
mod times;
mod unanswered;

use judge::Judge;

/// Types that a column can have but no value can reach: they live inside of indexes only.
const LEFT_OUT: &str = "gtsvector\npg_brin_bloom_summary\npg_brin_minmax_multi_summary";

/// Types with values that their receive function refuses: empty vectors, what was rounded beyond the last
/// moment.
const NOT_IN_BINARY: [&str; 4] = ["int2vector", "oidvector", "timestamp(3)", "timestamptz(0)"];

/// Every type of this version, in columns of its own, of arrays, domains and composites. In binary: in a
/// transaction that cannot be sent as text.
fn all_types(major: u32, in_binary: bool) {
    let mut judge = Judge::new(major);
    if in_binary {
        judge.write_what_no_text_can_hold();
    }
    let groups = [
        numbers::KINDS,
        texts::KINDS,
        times::KINDS,
        documents::KINDS,
        places::KINDS,
        ranges::KINDS,
        made::KINDS,
        extensions::KINDS,
        // The receive functions of most refuse every value (`pg_node_tree_recv`).
        if in_binary { &[] } else { system::KINDS },
    ];
    for kind in groups.into_iter().flatten() {
        if !(in_binary && NOT_IN_BINARY.contains(&kind.name)) {
            judge.write(kind);
        }
    }
    if !in_binary {
        assert_eq!(judge.left_out(), LEFT_OUT, "types without a value here");
    }
    let verdict = judge.judge();
    println!("PostgreSQL {major}: {verdict:?}");
    assert!(
        verdict.types > 1000 && verdict.values > 15_000,
        "{verdict:?}"
    );
}

#[test]
fn all_types_on_14() {
    all_types(14, false);
}

#[test]
fn all_types_on_15() {
    all_types(15, false);
}

#[test]
fn all_types_on_16() {
    all_types(16, false);
}

#[test]
fn all_types_on_17() {
    all_types(17, false);
}

#[test]
fn all_types_on_18() {
    all_types(18, false);
}

#[test]
fn all_types_in_binary() {
    all_types(15, true);
}
