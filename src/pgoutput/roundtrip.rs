//! Property tests: every message is decoded to itself after encoding, and the decoder takes any bytes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::lsn::{Lsn, Oid, PgTimestamp, Xid};

/// A value of a row, owned.
#[derive(Debug, Clone)]
enum Value {
    Null,
    UnchangedToast,
    Text(Vec<u8>),
    Binary(Vec<u8>),
}

impl Value {
    fn borrow(&self) -> ColumnValue<'_> {
        match self {
            Value::Null => ColumnValue::Null,
            Value::UnchangedToast => ColumnValue::UnchangedToast,
            Value::Text(bytes) => ColumnValue::Text(bytes),
            Value::Binary(bytes) => ColumnValue::Binary(bytes),
        }
    }
}

fn values(row: &[Value]) -> Vec<ColumnValue<'_>> {
    row.iter().map(Value::borrow).collect()
}

fn any_row() -> impl Strategy<Value = Vec<Value>> {
    let value = prop_oneof![
        Just(Value::Null),
        Just(Value::UnchangedToast),
        vec(any::<u8>(), 0..40).prop_map(Value::Text),
        vec(any::<u8>(), 0..40).prop_map(Value::Binary),
    ];
    vec(value, 0..20)
}

fn any_name() -> impl Strategy<Value = Vec<u8>> {
    vec(1..=u8::MAX, 0..64)
}

fn any_identity() -> impl Strategy<Value = ReplicaIdentity> {
    prop_oneof![
        Just(ReplicaIdentity::Default),
        Just(ReplicaIdentity::Nothing),
        Just(ReplicaIdentity::Full),
        Just(ReplicaIdentity::Index),
    ]
}

/// Encodes `message`, checks that it decodes to itself and encodes to the same bytes again, and
/// that no part of these bytes is a message.
fn round_trip(message: Message<'_>) -> Result<(), TestCaseError> {
    let mut bytes = Vec::new();
    encode(&message, &mut bytes).unwrap();
    let decoded = decode(&bytes).unwrap();
    prop_assert_eq!(decoded, message);
    let mut again = Vec::new();
    encode(&decoded, &mut again).unwrap();
    prop_assert_eq!(&again, &bytes);
    for length in 0..bytes.len() {
        prop_assert!(decode(&bytes[..length]).is_err(), "cut to {}", length);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 128,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn transactions(final_lsn in 1..=u64::MAX, end in any::<u64>(), time: i64, xid: u32) {
        let (final_lsn, commit_time) = (Lsn(final_lsn), PgTimestamp(time));
        round_trip(Message::Begin(Begin { final_lsn, commit_time, xid: Xid(xid) }))?;
        let end_lsn = Lsn(end);
        round_trip(Message::Commit(Commit {
            flags: 0, commit_lsn: final_lsn, end_lsn, commit_time,
        }))?;
    }

    #[test]
    fn origins_and_types(lsn: u64, oid: u32, namespace in any_name(), name in any_name()) {
        round_trip(Message::Origin(Origin { commit_lsn: Lsn(lsn), name: &name }))?;
        round_trip(Message::Type(Type {
            type_oid: Oid(oid), namespace: &namespace, name: &name,
        }))?;
    }

    #[test]
    fn relations(
        oid: u32,
        namespace in any_name(),
        name in any_name(),
        replica_identity in any_identity(),
        columns in vec((any::<bool>(), any_name(), any::<u32>(), any::<i32>()), 0..12),
    ) {
        let columns: Vec<_> = columns
            .iter()
            .map(|(key, name, oid, modifier)| RelationColumn {
                key: *key, name, type_oid: Oid(*oid), type_modifier: *modifier,
            })
            .collect();
        let owned = ColumnsBuf::new(&columns).unwrap();
        prop_assert_eq!(owned.columns().iter().collect::<Vec<_>>(), columns);
        round_trip(Message::Relation(Relation {
            relation: Oid(oid),
            namespace: &namespace,
            name: &name,
            replica_identity,
            columns: owned.columns(),
        }))?;
    }

    #[test]
    fn rows(oid: u32, old in any_row(), new in any_row()) {
        let relation = Oid(oid);
        let (old, new_values) = (TupleBuf::new(&values(&old)).unwrap(), values(&new));
        let new = TupleBuf::new(&new_values).unwrap();
        prop_assert_eq!(new.tuple().values().collect::<Vec<_>>(), new_values);
        let (old, new) = (old.tuple(), new.tuple());
        round_trip(Message::Insert(Insert { relation, new }))?;
        for old in [None, Some(OldTuple::Key(old)), Some(OldTuple::Full(old))] {
            round_trip(Message::Update(Update { relation, old, new }))?;
        }
        for old in [OldTuple::Key(old), OldTuple::Full(old)] {
            round_trip(Message::Delete(Delete { relation, old }))?;
        }
    }

    #[test]
    fn truncates(oids in vec(any::<u32>(), 0..20), cascade: bool, restart_identity: bool) {
        let oids: Vec<_> = oids.into_iter().map(Oid).collect();
        let owned = OidsBuf::new(&oids);
        prop_assert_eq!(owned.oids().iter().collect::<Vec<_>>(), oids.clone());
        let relations = owned.oids();
        round_trip(Message::Truncate(Truncate { relations, cascade, restart_identity }))?;
    }

    #[test]
    fn logical_messages(
        transactional: bool,
        lsn: u64,
        prefix in any_name(),
        content in vec(any::<u8>(), 0..200),
    ) {
        let lsn = Lsn(lsn);
        let (prefix, content) = (&prefix[..], &content[..]);
        round_trip(Message::Logical(LogicalMessage { transactional, lsn, prefix, content }))?;
    }

    #[test]
    fn any_bytes_after_any_tag_are_an_error_or_a_message_of_exactly_these_bytes(
        tag in prop_oneof![prop::sample::select(&b"BCORYIUDTM"[..]), any::<u8>()],
        // Small bytes are likelier to be counts, lengths and flags that fit.
        rest in vec(prop_oneof![0u8..4, prop::sample::select(&b"NKOntub"[..]), any::<u8>()], 0..60),
    ) {
        let bytes = [&[tag][..], &rest].concat();
        if let Ok(message) = decode(&bytes) {
            let mut again = Vec::new();
            encode(&message, &mut again).unwrap();
            prop_assert_eq!(again, bytes);
        }
    }
}
