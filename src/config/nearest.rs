//! Finds the known name that is nearest to a mistyped one.

use std::cmp::Reverse;

/// The candidate with the least edit distance to `name`; of several, the one with the longest
/// common beginning (`DB_USERNAME` is as far from `DB_NAME` as from `DB_USER`), and of these the
/// first.
pub(super) fn nearest<'a>(
    name: &str,
    candidates: impl Iterator<Item = &'a str>,
) -> Option<&'a str> {
    candidates.min_by_key(|candidate| {
        let (name, candidate) = (name.as_bytes(), candidate.as_bytes());
        let pairs = name.iter().zip(candidate);
        let common = pairs.take_while(|(a, b)| a == b).count();
        (distance(name, candidate), Reverse(common))
    })
}

/// The candidate that `name` is likely to mean: the nearest one, where it differs by case alone or by at most
/// one character in four.
pub(crate) fn near<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let found = nearest(name, candidates)?;
    let is_near = found.eq_ignore_ascii_case(name)
        || distance(name.as_bytes(), found.as_bytes()) <= name.len().div_ceil(4);
    is_near.then_some(found)
}

/// Levenshtein's distance: the least number of characters to add, drop or replace.
fn distance(a: &[u8], b: &[u8]) -> usize {
    // row[j] is the distance between what has been read of a and the first j characters of b.
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for x in a {
        let mut diagonal = row[0];
        row[0] += 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_those_of_levenshtein() {
        for (a, b, expected) in [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "", 3),
            ("kitten", "sitting", 3),
            ("flaw", "lawn", 2),
            ("DB_PASSWROD", "DB_PASSWORD", 2),
            ("DB_HOSTS", "DB_HOST", 1),
        ] {
            assert_eq!(distance(a.as_bytes(), b.as_bytes()), expected, "{a} {b}");
        }
    }

    #[test]
    fn only_a_near_one_is_meant() {
        let names = || ["Orders", "customers", "x"].into_iter();
        assert_eq!(near("orders", names()), Some("Orders"));
        assert_eq!(near("ORDERS", names()), Some("Orders"));
        assert_eq!(near("custmers", names()), Some("customers"));
        assert_eq!(near("invoices", names()), None);
        assert_eq!(near("orders", [].into_iter()), None);
    }

    #[test]
    fn the_nearest_is_found_and_of_equals_the_one_that_begins_alike() {
        let names = ["DB_HOST", "DB_PORT", "DB_NAME"];
        assert_eq!(nearest("DB_HOTS", names.into_iter()), Some("DB_HOST"));
        assert_eq!(nearest("DB_PROT", names.into_iter()), Some("DB_PORT"));
        assert_eq!(nearest("DB_", names.into_iter()), Some("DB_HOST"));
        let names = ["DB_NAME", "DB_USER"];
        assert_eq!(nearest("DB_USERNAME", names.into_iter()), Some("DB_USER"));
        assert_eq!(nearest("DB_", [].into_iter()), None);
    }
}
