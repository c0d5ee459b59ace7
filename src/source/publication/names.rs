//! What the publications are called.

use sha2::{Digest, Sha256};

use crate::config::Config;
use crate::error::Result;
use crate::hex;
use crate::wire::{Connection, literal};

/// The longest name of an object: `NAMEDATALEN` - 1 (PostgreSQL documentation, "Identifiers and Key
/// Words").
const LONGEST: usize = 63;

/// The bytes of the hash that stands for what a shortened name lacks: twelve digits.
const HASHED: usize = 6;

/// The names of the publication of new rows, of that of updates and deletes, and of the one that takes the
/// place of the first.
pub(super) type Names = [String; 3];

/// Those of the publication of this name.
fn of(name: &str) -> Names {
    let name = name.to_owned();
    let updates = derived(&name, "_updates");
    let next = derived(&name, "_next");
    [name, updates, next]
}

/// The name with a suffix. Where that is too long for PostgreSQL, which would cut the suffix off, the name
/// is cut between two characters and the hash of all of it follows: another name gives another result.
fn derived(name: &str, suffix: &str) -> String {
    let whole = format!("{name}{suffix}");
    if whole.len() <= LONGEST {
        return whole;
    }
    let digest = Sha256::digest(name.as_bytes());
    let hash = hex::text(digest.get(..HASHED).unwrap_or_default());
    let room = LONGEST.saturating_sub(suffix.len() + hash.len() + 1);
    let cut = (0..=room).rev().find(|&at| name.is_char_boundary(at));
    let kept = name.get(..cut.unwrap_or_default()).unwrap_or_default();
    format!("{kept}_{hash}{suffix}")
}

/// The names that are meant, and a remark where they are not those of the setting as it is written.
///
/// SQL without quotes makes `mypub` of `MyPub`. So where the publications were made that way and nothing
/// has the exact name, they are meant.
pub(super) fn resolve(
    session: &mut Connection,
    config: &Config,
) -> Result<(Names, Option<String>)> {
    let exact = of(&config.publication_name);
    let Some(name) = &config.publication_folded else {
        return Ok((exact, None));
    };
    let folded = of(name);
    let exists = |names: &Names| {
        let names: Vec<String> = names.iter().map(|name| literal(name)).collect();
        let names = names.join(", ");
        format!("EXISTS (SELECT FROM pg_catalog.pg_publication WHERE pubname IN ({names}))")
    };
    let sql = format!("SELECT NOT {} AND {}", exists(&exact), exists(&folded));
    if session.rows(&sql)?.first(0) != Some("t") {
        return Ok((exact, None));
    }
    let remark = format!(
        "no publication is called {:?}, and {name:?}, which SQL makes of that name without quotes, is there: \
         it is used. To have one of the exact name: PUBLICATION_NAME='\"{}\"'",
        config.publication_name,
        config.publication_name.replace('"', "\"\"")
    );
    Ok((folded, Some(remark)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_that_leave_room_get_the_suffix_alone() {
        for name in [
            "zemi",
            "My Pub",
            &"p".repeat(55),
            &format!("{}x", "ü".repeat(27)),
        ] {
            let [first, updates, next] = of(name);
            assert_eq!(first, name);
            assert_eq!(updates, format!("{name}_updates"));
            assert_eq!(next, format!("{name}_next"));
        }
        // Room for the one and not for the other.
        let [_, updates, next] = of(&"p".repeat(58));
        assert_eq!(next, format!("{}_next", "p".repeat(58)));
        assert_ne!(updates, format!("{}_updates", "p".repeat(58)));
    }

    #[test]
    fn longer_names_are_cut_and_the_same_one_gives_the_same_for_ever() {
        // The digits are those of `printf p…p | sha256sum`.
        assert_eq!(
            derived(&"p".repeat(56), "_updates"),
            format!("{}_dd6175fc1d86_updates", "p".repeat(42))
        );
        for length in 56..=63 {
            let name = "p".repeat(length);
            let [_, updates, next] = of(&name);
            assert_eq!(updates.len(), 63);
            assert!(updates.ends_with("_updates") && next.ends_with("_next"));
            assert!(next.len() <= 63, "{next}");
            assert_eq!(of(&name), [name, updates, next]);
        }
    }

    #[test]
    fn characters_stay_whole() {
        for (character, count) in [("ü", 31), ("€", 21), ("😀", 15)] {
            for ahead in 0..4 {
                let name = format!("{}{}", "a".repeat(ahead), character.repeat(count));
                for name in &of(&name)[1..] {
                    assert!(name.len() <= 63, "{name}");
                    let kept = name.trim_start_matches('a');
                    let kept = kept.trim_start_matches(character);
                    assert!(kept.starts_with('_'), "{name}");
                }
            }
        }
    }

    #[test]
    fn names_that_differ_have_others_derived_from_them() {
        let mut seen = HashSet::new();
        let mut count = 0;
        for length in 50..=63 {
            for last in "abcdefghijklmnopqrstuvwxyz".chars() {
                let name = format!("{}{last}", "p".repeat(length - 1));
                seen.extend(of(&name));
                count += 3;
            }
        }
        assert_eq!(seen.len(), count);
    }
}
