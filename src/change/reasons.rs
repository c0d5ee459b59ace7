//! Why values of a row were written in another form, for the log.

use super::json::Reason;

/// Every reason, at the place of its bit.
const ALL: [Reason; 13] = [
    Reason::NotUtf8,
    Reason::NulByte,
    Reason::Malformed,
    Reason::NulEscape,
    Reason::LoneSurrogate,
    Reason::NumberRange,
    Reason::TooDeep,
    Reason::TooManyElements,
    Reason::TooLarge,
    Reason::NoText,
    Reason::CastFailed,
    Reason::TypeChanged,
    Reason::LongKey,
];

/// A set of reasons.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reasons(u16);

impl Reasons {
    /// Adds one.
    pub fn add(&mut self, reason: Reason) {
        self.0 |= bit(reason);
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Adds those of `more`; returns the ones that were not here yet.
    #[must_use]
    pub fn extend(&mut self, more: Reasons) -> Reasons {
        let new = Reasons(more.0 & !self.0);
        self.0 |= more.0;
        new
    }

    /// One by one.
    pub fn iter(self) -> impl Iterator<Item = Reason> {
        ALL.into_iter()
            .filter(move |&reason| self.0 & bit(reason) != 0)
    }
}

fn bit(reason: Reason) -> u16 {
    let place = ALL.iter().position(|&other| other == reason);
    place.map_or(0, |place| 1 << place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_holds_what_was_added_and_tells_what_is_new() {
        let mut set = Reasons::default();
        assert!(set.is_empty());
        for reason in ALL {
            set.add(reason);
        }
        assert_eq!(set.iter().collect::<Vec<_>>(), ALL);
        let mut one = Reasons::default();
        one.add(Reason::TooDeep);
        assert_eq!(one.extend(set).iter().count(), ALL.len() - 1);
        assert_eq!(one, set);
        assert!(one.extend(set).is_empty());
    }
}
