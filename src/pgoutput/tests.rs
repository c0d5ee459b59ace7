//! The decoder against messages written by hand: what it reads, and all that it refuses.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::samples::{SAMPLES, sample};
use super::*;
use crate::error::{Error, Kind};
use crate::lsn::{Lsn, Oid, PgTimestamp, Xid};

fn problem(bytes: &[u8]) -> Problem {
    decode(bytes).unwrap_err().problem
}

/// The sample with the byte at `offset` replaced.
fn with_byte(name: &str, offset: usize, byte: u8) -> Vec<u8> {
    let mut bytes = sample(name).to_vec();
    bytes[offset] = byte;
    bytes
}

#[test]
fn transactions_are_read() {
    let begin = Begin {
        final_lsn: Lsn(0x16_B374_D848),
        commit_time: PgTimestamp(0x0002_B53C_FE0A_F101),
        xid: Xid(742),
    };
    assert_eq!(decode(sample("Begin")), Ok(Message::Begin(begin)));
    let commit = Commit {
        flags: 0,
        commit_lsn: begin.final_lsn,
        end_lsn: Lsn(0x16_B374_D878),
        commit_time: PgTimestamp(-1),
    };
    assert_eq!(decode(sample("Commit")), Ok(Message::Commit(commit)));
    let origin = Origin {
        commit_lsn: Lsn(0x0102_0304),
        name: b"upstream",
    };
    assert_eq!(decode(sample("Origin")), Ok(Message::Origin(origin)));
}

#[test]
fn relations_and_types_are_read_with_names_in_any_encoding() {
    let Ok(Message::Relation(relation)) = decode(sample("Relation")) else {
        panic!("no relation");
    };
    assert_eq!(relation.relation, Oid(16385));
    assert_eq!(relation.schema(), b"public");
    assert_eq!(relation.name, b"t\xE9");
    assert_eq!(relation.replica_identity, ReplicaIdentity::Default);
    assert_eq!(relation.columns.len(), 2);
    let columns: Vec<_> = relation.columns.into_iter().collect();
    let id = RelationColumn {
        key: true,
        name: b"id",
        type_oid: Oid(23),
        type_modifier: -1,
    };
    let name = RelationColumn {
        key: false,
        name: b"\"na me\"",
        type_oid: Oid(1043),
        type_modifier: 24,
    };
    assert_eq!(columns, [id, name]);

    let Ok(Message::Relation(relation)) = decode(sample("Relation without columns")) else {
        panic!("no relation");
    };
    assert_eq!(
        (relation.namespace, relation.schema()),
        (&b""[..], &b"pg_catalog"[..])
    );
    assert!(relation.columns.is_empty());
    assert_eq!(relation.columns.iter().next(), None);

    let Ok(Message::Type(named)) = decode(sample("Type")) else {
        panic!("no type");
    };
    assert_eq!(
        (named.type_oid, named.schema(), named.name),
        (Oid(16389), &b"app"[..], &b"mood"[..])
    );
    let Ok(Message::Type(named)) = decode(sample("Type of pg_catalog")) else {
        panic!("no type");
    };
    assert_eq!(named.schema(), b"pg_catalog");
}

#[test]
fn replica_identities_have_the_letters_of_pg_class() {
    for (letter, identity) in [
        (b'd', ReplicaIdentity::Default),
        (b'n', ReplicaIdentity::Nothing),
        (b'f', ReplicaIdentity::Full),
        (b'i', ReplicaIdentity::Index),
    ] {
        let bytes = with_byte("Relation", 15, letter);
        let Ok(Message::Relation(relation)) = decode(&bytes) else {
            panic!("no relation");
        };
        assert_eq!(relation.replica_identity, identity);
        assert_eq!(identity.relreplident(), letter);
    }
    let error = decode(&with_byte("Relation", 15, b'x')).unwrap_err();
    assert_eq!(
        error.to_string(),
        "pgoutput Relation, replica identity at offset 15: expected one of d n f i, found \
         'x' (0x78)"
    );
}

#[test]
fn rows_are_read_with_every_kind_of_value() {
    let Ok(Message::Insert(insert)) = decode(sample("Insert")) else {
        panic!("no insert");
    };
    assert_eq!((insert.relation, insert.new.len()), (Oid(16385), 4));
    let mut values = insert.new.values();
    assert_eq!(values.len(), 4);
    assert_eq!(values.next(), Some(ColumnValue::Text(b"42")));
    assert_eq!(values.next(), Some(ColumnValue::Null));
    assert_eq!(values.len(), 2);
    assert_eq!(values.next(), Some(ColumnValue::UnchangedToast));
    assert_eq!(values.next(), Some(ColumnValue::Binary(b"\0\xFF\0")));
    assert_eq!(
        (values.next(), values.next(), values.len()),
        (None, None, 0)
    );

    let Ok(Message::Insert(insert)) = decode(sample("Insert without columns")) else {
        panic!("no insert");
    };
    assert!(insert.new.is_empty());
    assert_eq!(insert.new.values().next(), None);
}

#[test]
fn old_rows_are_told_apart_from_keys() {
    let old = |name| match decode(sample(name)) {
        Ok(Message::Update(update)) => update.old,
        Ok(Message::Delete(delete)) => Some(delete.old),
        other => panic!("{other:?}"),
    };
    assert_eq!(old("Update"), None);
    let first = |old: Option<OldTuple<'static>>| old.unwrap().data().values().next().unwrap();
    for (name, key, value) in [
        ("Update with a key", true, ColumnValue::Text(b"41")),
        ("Update with an old row", false, ColumnValue::Text(b"large")),
        ("Delete with a key", true, ColumnValue::Text(b"42")),
        (
            "Delete with an old row",
            false,
            ColumnValue::Binary(b"\x07"),
        ),
    ] {
        assert_eq!(matches!(old(name), Some(OldTuple::Key(_))), key, "{name}");
        assert_eq!(first(old(name)), value, "{name}");
    }
    let Ok(Message::Update(update)) = decode(sample("Update with an old row")) else {
        panic!("no update");
    };
    assert_eq!(
        update.new.values().next(),
        Some(ColumnValue::UnchangedToast)
    );
}

#[test]
fn truncates_and_logical_messages_are_read() {
    for (flags, cascade, restart_identity) in [
        (0, false, false),
        (1, true, false),
        (2, false, true),
        (3, true, true),
    ] {
        let bytes = with_byte("Truncate", 5, flags);
        let Ok(Message::Truncate(truncate)) = decode(&bytes) else {
            panic!("no truncate");
        };
        assert_eq!(truncate.relations.len(), 2);
        let relations: Vec<_> = truncate.relations.into_iter().collect();
        assert_eq!(relations, [Oid(16385), Oid(16386)]);
        assert_eq!(
            (truncate.cascade, truncate.restart_identity),
            (cascade, restart_identity)
        );
    }
    let logical = LogicalMessage {
        transactional: true,
        lsn: Lsn(0x0102_0304),
        prefix: b"_bemi",
        content: b"{}",
    };
    assert_eq!(decode(sample("Message")), Ok(Message::Logical(logical)));
    let outside = LogicalMessage {
        transactional: false,
        prefix: b"",
        content: b"",
        ..logical
    };
    let bytes = sample("Message outside of a transaction");
    assert_eq!(decode(bytes), Ok(Message::Logical(outside)));
}

#[test]
fn what_is_decoded_is_encoded_to_the_same_bytes() {
    let mut out = Vec::new();
    for (name, bytes) in SAMPLES {
        out.clear();
        encode(&decode(bytes).unwrap(), &mut out).unwrap();
        assert_eq!(out, *bytes, "{name}");
    }
}

#[test]
fn every_truncation_is_refused_inside_the_message() {
    for (name, bytes) in SAMPLES {
        for length in 0..bytes.len() {
            let error = decode(&bytes[..length]).expect_err(name);
            assert!(error.offset <= length, "{name} cut to {length}: {error}");
            assert!(
                matches!(
                    error.problem,
                    Problem::Truncated { .. } | Problem::Unterminated { .. }
                ),
                "{name} cut to {length}: {error}"
            );
        }
    }
}

#[test]
fn a_changed_byte_gives_an_error_or_a_message_of_exactly_these_bytes() {
    let mut out = Vec::new();
    for (name, sample) in SAMPLES {
        let mut bytes = sample.to_vec();
        for offset in 0..bytes.len() {
            let original = bytes[offset];
            for byte in 0..=u8::MAX {
                bytes[offset] = byte;
                if let Ok(message) = decode(&bytes) {
                    out.clear();
                    encode(&message, &mut out).unwrap();
                    assert_eq!(out, bytes, "{name}, {byte} at {offset}");
                }
            }
            bytes[offset] = original;
        }
    }
}

#[test]
fn trailing_bytes_are_refused() {
    for (name, sample) in SAMPLES {
        let bytes = [sample, &b"\0n"[..]].concat();
        let error = decode(&bytes).expect_err(name);
        assert_eq!(
            (error.offset, error.problem),
            (sample.len(), Problem::Trailing(2)),
            "{name}"
        );
    }
}

#[test]
fn messages_of_later_versions_are_refused_by_name() {
    for (tag, name, version) in [
        (b'S', "Stream Start", 2),
        (b'E', "Stream Stop", 2),
        (b'c', "Stream Commit", 2),
        (b'A', "Stream Abort", 2),
        (b'b', "Begin Prepare", 3),
        (b'P', "Prepare", 3),
        (b'K', "Commit Prepared", 3),
        (b'r', "Rollback Prepared", 3),
        (b'p', "Stream Prepare", 3),
    ] {
        let error = decode(&[tag, 0, 0]).unwrap_err();
        assert_eq!(
            (error.message, error.problem),
            (name, Problem::LaterVersion(version))
        );
    }
    let error = Error::from(decode(b"S").unwrap_err());
    assert_eq!(error.kind(), Kind::Decode);
    let text = error.to_string();
    assert!(text.starts_with(
        "pgoutput Stream Start, tag at offset 0: expected protocol version 1, found a message of \
         version 2. Hint: START_REPLICATION must ask for proto_version '1'"
    ));
}

#[test]
fn every_other_tag_is_refused() {
    let known = b"BCORYIUDTMSEcAbPKrp";
    for tag in (0..=u8::MAX).filter(|tag| !known.contains(tag)) {
        assert_eq!(problem(&[tag]), Problem::UnknownTag(tag));
    }
    assert_eq!(
        decode(b"\xFF").unwrap_err().to_string(),
        "pgoutput message, tag at offset 0: expected one of B C O R Y I U D T M, found 0xFF"
    );
    assert_eq!(
        problem(b""),
        Problem::Truncated {
            wanted: 1,
            found: 0
        }
    );
}

#[test]
fn negative_counts_and_lengths_are_refused() {
    assert_eq!(problem(b"R\0\0\0\x01\0t\0d\xFF\xFF"), Problem::Negative(-1));
    assert_eq!(problem(b"I\0\0\0\x01N\x80\0"), Problem::Negative(-32768));
    assert_eq!(problem(b"T\xFF\xFF\xFF\xFE\0"), Problem::Negative(-2));
    let bytes = b"M\0\0\0\0\0\0\0\0\x01p\0\x80\0\0\0";
    assert_eq!(problem(bytes), Problem::Negative(i32::MIN));
    let error = decode(b"I\0\0\0\x01N\0\x02nt\xFF\xFF\xFF\xFF").unwrap_err();
    assert_eq!(
        error.to_string(),
        "pgoutput Insert, column 2, length of value in the new tuple at offset 10: expected 0 or \
         more, found -1"
    );
}

#[test]
fn lengths_past_the_end_are_refused_without_reading_them() {
    let wanted = 0x7FFF_FFFF;
    let bytes = b"D\0\0\0\x01K\0\x01t\x7F\xFF\xFF\xFFabc";
    assert_eq!(problem(bytes), Problem::Truncated { wanted, found: 3 });
    let error = decode(b"T\x7F\xFF\xFF\xFF\0\0\0\0\x01").unwrap_err();
    assert_eq!(error.field, "relation OIDs");
    assert!(matches!(error.problem, Problem::Truncated { found: 4, .. }));
    let error = decode(b"U\0\0\0\x01O\x7F\xFFnn").unwrap_err();
    assert_eq!((error.column, error.offset), (Some(3), 10));
}

#[test]
fn unknown_flags_and_letters_are_refused_where_they_stand() {
    for (name, offset, field) in [
        ("Commit", 1, "flags"),
        ("Relation", 18, "flags"),
        ("Insert", 5, "kind of tuple"),
        ("Insert", 8, "kind of value in the new tuple"),
        ("Update with a key", 5, "kind of tuple"),
        ("Update with a key", 16, "kind of second tuple"),
        ("Delete with a key", 5, "kind of tuple"),
        ("Truncate", 5, "flags"),
        ("Message", 1, "flags"),
    ] {
        let error = decode(&with_byte(name, offset, 4)).expect_err(name);
        assert_eq!((error.field, error.offset), (field, offset), "{name}");
        assert!(
            matches!(error.problem, Problem::Unexpected { found: 4, .. }),
            "{name}"
        );
    }
    // A new tuple is no old one, and the other way round.
    assert!(decode(&with_byte("Insert", 5, b'O')).is_err());
    assert!(decode(&with_byte("Delete with a key", 5, b'N')).is_err());
    assert!(decode(&with_byte("Update with a key", 16, b'K')).is_err());
}

#[test]
fn a_begin_without_a_position_is_refused() {
    assert_eq!(
        problem(b"B\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\0\0\0\x01"),
        Problem::NoPosition
    );
}

#[test]
fn peek_reads_the_tag_and_the_table_alone() {
    for (name, bytes) in SAMPLES {
        let (tag, relation) = peek(bytes).unwrap();
        assert_eq!(tag, bytes[0], "{name}");
        let expected = match decode(bytes).unwrap() {
            Message::Relation(relation) => Some(relation.relation),
            Message::Insert(insert) => Some(insert.relation),
            Message::Update(update) => Some(update.relation),
            Message::Delete(delete) => Some(delete.relation),
            _ => None,
        };
        assert_eq!(relation, expected, "{name}");
    }
    assert_eq!(peek(b""), None);
    assert_eq!(peek(b"I\0\0\0"), Some((b'I', None)));
    assert_eq!(peek(b"S\0\0\0\x01"), Some((b'S', None)));
}

#[test]
fn debug_shows_names_and_lengths_but_no_values() {
    let insert = format!("{:?}", decode(b"I\0\0\0\x01N\0\x02t\0\0\0\x06secretu"));
    assert!(!insert.contains("secret"), "{insert}");
    assert!(
        insert.contains("[Text(6 bytes), UnchangedToast]"),
        "{insert}"
    );
    let relation = format!("{:?}", decode(sample("Relation")));
    assert!(relation.contains(r#"name: "t\xe9""#), "{relation}");
    let message = format!("{:?}", decode(sample("Message")));
    assert!(
        message.contains(r#"prefix: "_bemi", content: 2 bytes"#),
        "{message}"
    );
    let row = TupleBuf::new(&[ColumnValue::Binary(b"secret")]).unwrap();
    assert_eq!(format!("{row:?}"), "[Binary(6 bytes)]");
    assert_eq!(format!("{:?}", row.tuple().values()), "[Binary(6 bytes)]");
}

#[test]
fn messages_own_no_memory() {
    // What is Copy cannot own an allocation.
    fn assert_copy<T: Copy>() {}
    assert_copy::<Message<'_>>();
    assert_copy::<DecodeError>();
}

#[test]
fn the_encoder_refuses_what_the_format_cannot_say_and_leaves_the_output_alone() {
    let mut out = b"before".to_vec();
    let origin = Origin {
        commit_lsn: Lsn(1),
        name: b"a\0b",
    };
    let error = encode(&Message::Origin(origin), &mut out).unwrap_err();
    assert_eq!(error, EncodeError::ZeroByte("origin name"));
    assert_eq!(out, b"before");

    let column = RelationColumn {
        key: false,
        name: b"\0",
        type_oid: Oid(23),
        type_modifier: -1,
    };
    assert_eq!(
        ColumnsBuf::new(&[column]).unwrap_err(),
        EncodeError::ZeroByte("column name")
    );
    let too_many = vec![ColumnValue::Null; 0x8000];
    let error = TupleBuf::new(&too_many).unwrap_err();
    assert_eq!(
        error.to_string(),
        "number of columns: too large for the message format"
    );
    assert_eq!(TupleBuf::new(&too_many[1..]).unwrap().tuple().len(), 0x7FFF);
}
