//! What the publications are called.

use sha2::{Digest, Sha256};

use crate::config::Config;
use crate::hex;

/// The longest name of an object in bytes: `NAMEDATALEN` - 1 (PostgreSQL documentation, "Identifiers and
/// Key Words").
const MAX_NAME_BYTES: usize = 63;

/// How many bytes of the hash stand for what a shortened name lacks: twelve digits.
const HASH_BYTES: usize = 6;

/// The names of the publications.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Names {
    /// That of new rows; of all operations where every table has a usable replica identity.
    pub(super) first: String,
    /// That of updates and deletes.
    pub(super) updates: String,
    /// The one that takes the place of the first: see `deferred_switch`.
    pub(super) next: String,
}

impl Names {
    /// The names that belong to this PUBLICATION_NAME.
    pub(super) fn of(name: &str) -> Names {
        Names {
            first: name.to_owned(),
            updates: derived(name, "_updates"),
            next: derived(name, "_next"),
        }
    }

    /// All three.
    pub(super) fn all(&self) -> [&str; 3] {
        [&self.first, &self.updates, &self.next]
    }
}

/// The name with a suffix. Where that is too long for PostgreSQL, which would cut the suffix off, the name
/// is cut between two characters and the hash of the whole name follows: another name gives another result.
fn derived(name: &str, suffix: &str) -> String {
    let whole = format!("{name}{suffix}");
    if whole.len() <= MAX_NAME_BYTES {
        return whole;
    }
    let digest = Sha256::digest(name.as_bytes());
    let hash = hex::text(digest.get(..HASH_BYTES).unwrap_or_default());
    let room = MAX_NAME_BYTES.saturating_sub(suffix.len() + hash.len() + 1);
    let cut = (0..=room).rev().find(|&at| name.is_char_boundary(at));
    let kept = name.get(..cut.unwrap_or_default()).unwrap_or_default();
    format!("{kept}_{hash}{suffix}")
}

/// Why the folded name is used in place of the exact one.
pub(super) fn folded_remark(config: &Config, folded: &str) -> String {
    format!(
        "no publication is called {:?}, and {folded:?}, which SQL makes of that name without quotes, exists: \
         it is used. To have one of the exact name: PUBLICATION_NAME='\"{}\"'",
        config.publication_name,
        config.publication_name.replace('"', "\"\"")
    )
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
            let Names {
                first,
                updates,
                next,
            } = Names::of(name);
            assert_eq!(first, name);
            assert_eq!(updates, format!("{name}_updates"));
            assert_eq!(next, format!("{name}_next"));
        }
        // Long enough that only the shorter suffix fits.
        let Names { updates, next, .. } = Names::of(&"p".repeat(58));
        assert_eq!(next, format!("{}_next", "p".repeat(58)));
        assert_ne!(updates, format!("{}_updates", "p".repeat(58)));
    }

    #[test]
    fn longer_names_are_cut_and_one_name_always_gives_the_same() {
        // The digits are those of `printf p…p | sha256sum`.
        assert_eq!(
            derived(&"p".repeat(56), "_updates"),
            format!("{}_dd6175fc1d86_updates", "p".repeat(42))
        );
        for length in 56..=63 {
            let name = "p".repeat(length);
            let Names { updates, next, .. } = Names::of(&name);
            assert_eq!(updates.len(), 63);
            assert!(updates.ends_with("_updates") && next.ends_with("_next"));
            assert!(next.len() <= 63, "{next}");
            assert_eq!(Names::of(&name).all(), [&name, &updates, &next]);
        }
    }

    #[test]
    fn characters_stay_whole() {
        for (character, count) in [("ü", 31), ("€", 21), ("😀", 15)] {
            for ahead in 0..4 {
                let name = format!("{}{}", "a".repeat(ahead), character.repeat(count));
                for name in &Names::of(&name).all()[1..] {
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
                seen.extend(Names::of(&name).all().map(str::to_owned));
                count += 3;
            }
        }
        assert_eq!(seen.len(), count);
    }
}
