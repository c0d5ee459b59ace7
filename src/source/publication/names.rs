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
    #[cfg(test)]
    fn all(&self) -> [&str; 3] {
        [&self.first, &self.updates, &self.next]
    }

    /// All three as they are derived from the name, then the other names of the second and third.
    pub(super) fn candidates(&self) -> [String; CANDIDATES] {
        [
            self.first.clone(),
            self.updates.clone(),
            self.next.clone(),
            derived(&self.first, "_zemi_updates"),
            derived(&self.first, "_zemi_next"),
        ]
    }
}

/// How many publications may belong to one PUBLICATION_NAME.
pub(super) const CANDIDATES: usize = 5;

/// Which of the publications of [`Names::candidates`] exist, and whether zemi made them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Existing(pub(super) [Option<bool>; CANDIDATES]);

/// The names that are used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chosen {
    pub(super) names: Names,
    /// One of the candidates exists.
    pub(super) any: bool,
}

impl Existing {
    /// Takes other names where those derived from `names` belong to publications that zemi did not make and
    /// that have nothing to do with it: one that was made to be the second stands beside a first one that
    /// zemi did not make either.
    pub(super) fn choose(self, names: &Names) -> Chosen {
        let Existing([first, updates, next, other_updates, other_next]) = self;
        let any = self.0.iter().any(Option::is_some);
        let [_, _, _, other_updates_name, other_next_name] = names.candidates();
        let is_foreign = first == Some(false);
        let takes_other = |usual: Option<bool>, other: Option<bool>| {
            other == Some(true) || usual == Some(false) && !is_foreign
        };
        let mut names = names.clone();
        if takes_other(updates, other_updates) {
            names.updates = other_updates_name;
        }
        if takes_other(next, other_next) {
            names.next = other_next_name;
        }
        Chosen { names, any }
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
    fn names_of_publications_that_others_made_are_not_taken() {
        const OURS: Option<bool> = Some(true);
        const FOREIGN: Option<bool> = Some(false);
        let chosen = |existing| {
            let names = Existing(existing).choose(&Names::of("z")).names;
            format!("{} {}", names.updates, names.next)
        };
        for (existing, expected) in [
            ([None; 5], "z_updates z_next"),
            ([OURS, OURS, OURS, None, None], "z_updates z_next"),
            ([None, FOREIGN, None, None, None], "z_zemi_updates z_next"),
            ([OURS, OURS, FOREIGN, None, None], "z_updates z_zemi_next"),
            // A second one made by hand beside a first one made by hand.
            ([FOREIGN, FOREIGN, None, None, None], "z_updates z_next"),
            // Once taken, it stays.
            ([OURS, None, None, OURS, None], "z_zemi_updates z_next"),
        ] {
            assert_eq!(chosen(existing), expected, "{existing:?}");
        }
        assert!(!Existing::default().choose(&Names::of("z")).any);
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
