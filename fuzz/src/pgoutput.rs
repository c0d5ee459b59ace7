//! Any bytes as a message of pgoutput.

use zemi::error::Error;
use zemi::fuzzing::pgoutput::{Message, OldTuple, TupleData, decode, encode, peek};
use zemi::lsn::Oid;

use super::{is_fit_to_print, meter};

pub fn run(data: &[u8]) {
    meter::within(data.len(), 4, 16 * 1024, || {
        let peeked = peek(data);
        assert_eq!(peeked.map(|(tag, _)| tag), data.first().copied());
        match decode(data) {
            Ok(message) => {
                assert_eq!(
                    peeked.and_then(|(_, relation)| relation),
                    relation_of(&message)
                );
                walk(&message);
                let mut again = Vec::with_capacity(data.len());
                encode(&message, &mut again).unwrap();
                assert_eq!(again, data, "a message has one form");
            }
            Err(error) => {
                assert!(error.offset <= data.len());
                is_fit_to_print(&Error::from(error), 0);
            }
        }
    });
}

fn relation_of(message: &Message<'_>) -> Option<Oid> {
    match message {
        Message::Relation(relation) => Some(relation.relation),
        Message::Insert(insert) => Some(insert.relation),
        Message::Update(update) => Some(update.relation),
        Message::Delete(delete) => Some(delete.relation),
        _ => None,
    }
}

fn walk(message: &Message<'_>) {
    let count = |tuple: &TupleData<'_>| assert_eq!(tuple.values().count(), tuple.len());
    let count_old = |old: &OldTuple<'_>| count(&old.data());
    match message {
        Message::Relation(relation) => {
            assert_eq!(relation.columns.iter().count(), relation.columns.len());
        }
        Message::Insert(insert) => count(&insert.new),
        Message::Update(update) => {
            count(&update.new);
            update.old.iter().for_each(count_old);
        }
        Message::Delete(delete) => count_old(&delete.old),
        Message::Truncate(truncate) => {
            assert_eq!(truncate.relations.iter().count(), truncate.relations.len());
        }
        _ => {}
    }
}
