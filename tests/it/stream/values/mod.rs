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

/// Every type of this version, in columns of its own, of arrays, domains and composites.
fn all_types(major: u32) {
    let mut judge = Judge::new(major);
    let groups = [
        numbers::KINDS,
        texts::KINDS,
        times::KINDS,
        documents::KINDS,
        places::KINDS,
        ranges::KINDS,
        made::KINDS,
        extensions::KINDS,
        system::KINDS,
    ];
    for kind in groups.into_iter().flatten() {
        judge.write(kind);
    }
    assert_eq!(judge.left_out(), LEFT_OUT, "types without a value here");
    let verdict = judge.judge();
    println!("PostgreSQL {major}: {verdict:?}");
    assert!(
        verdict.types > 1000 && verdict.values > 15_000,
        "{verdict:?}"
    );
}

#[test]
fn all_types_on_14() {
    all_types(14);
}

#[test]
fn all_types_on_15() {
    all_types(15);
}

#[test]
fn all_types_on_16() {
    all_types(16);
}

#[test]
fn all_types_on_17() {
    all_types(17);
}

#[test]
fn all_types_on_18() {
    all_types(18);
}
