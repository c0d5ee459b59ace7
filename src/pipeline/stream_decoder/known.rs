//! Pure: which relations the stream has described, and when those that were dropped can be forgotten.
//!
//! The catalog says which of them are gone, and where WAL ended then: behind that position nothing of them
//! comes any more. It is asked a second time there, since a transaction that waits for its synchronous
//! standby is in the stream before it is in the catalog.

use std::collections::HashSet;

use crate::lsn::{Lsn, Oid};

/// So many relations are kept without a question to the catalog.
const LEAST: usize = 512;

/// Relations by OID.
#[derive(Debug)]
pub(super) struct Known {
    relations: HashSet<Oid>,
    /// When there are so many, the catalog is asked about them: twice as many as were left the last time, so
    /// that the questions about one relation do not grow with the number of relations.
    ask_at: usize,
    /// Relations that the catalog did not have, and where WAL ended then.
    gone: Option<(Vec<Oid>, Lsn)>,
}

impl Default for Known {
    fn default() -> Known {
        Known {
            relations: HashSet::new(),
            ask_at: LEAST,
            gone: None,
        }
    }
}

impl Known {
    /// Notes that a relation was described; true for the first time.
    pub(super) fn insert(&mut self, relation: Oid) -> bool {
        if let Some((gone, _)) = &mut self.gone {
            // The number of a relation that was dropped may be given to a new one.
            gone.retain(|oid| *oid != relation);
        }
        self.relations.insert(relation)
    }

    /// The relations to ask the catalog about after a transaction that ended at `end`.
    pub(super) fn due(&self, end: Lsn) -> Option<Vec<Oid>> {
        match &self.gone {
            Some((gone, until)) => (end > *until).then(|| gone.clone()),
            None if self.relations.len() < self.ask_at => None,
            None => Some(self.relations.iter().copied().collect()),
        }
    }

    /// Takes the answer: those that are gone, and where WAL ends. Returns the relations to forget.
    pub(super) fn answered(&mut self, gone: Vec<Oid>, wal_end: Lsn) -> Vec<Oid> {
        if self.gone.take().is_none() && !gone.is_empty() {
            self.gone = Some((gone, wal_end));
            return Vec::new();
        }
        for relation in &gone {
            self.relations.remove(relation);
        }
        self.relations.shrink_to(2 * self.relations.len());
        self.ask_at = LEAST.max(2 * self.relations.len());
        gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full(known: &mut Known, from: u32) -> Vec<Oid> {
        let added = (from..from + 600).map(Oid);
        added.filter(|oid| known.insert(*oid)).collect()
    }

    #[test]
    fn what_is_gone_twice_is_forgotten_behind_the_position_of_the_first_answer() {
        let mut known = Known::default();
        assert_eq!(known.due(Lsn(1)), None);
        let mut all = full(&mut known, 0);
        let mut asked = known.due(Lsn(1)).unwrap_or_default();
        asked.sort();
        assert_eq!(asked, all);
        assert!(
            known
                .answered(vec![Oid(1), Oid(2), Oid(3)], Lsn(10))
                .is_empty()
        );
        assert_eq!(known.due(Lsn(10)), None);
        // The number is used again.
        assert!(!known.insert(Oid(2)));
        assert_eq!(known.due(Lsn(11)), Some(vec![Oid(1), Oid(3)]));
        // It was not visible at the first question.
        assert_eq!(known.answered(vec![Oid(1)], Lsn(20)), [Oid(1)]);
        all.retain(|oid| *oid != Oid(1));
        assert!(known.insert(Oid(1)) && !known.insert(Oid(3)));
        assert_eq!(known.due(Lsn(30)), None, "{} are left", all.len());
    }

    #[test]
    fn relations_that_stay_are_asked_about_when_there_are_twice_as_many() {
        let mut known = Known::default();
        full(&mut known, 0);
        assert!(known.answered(Vec::new(), Lsn(1)).is_empty());
        full(&mut known, 500);
        assert_eq!(known.due(Lsn(2)), None);
        full(&mut known, 1000);
        assert_eq!(known.due(Lsn(2)).map(|all| all.len()), Some(1600));
    }
}
