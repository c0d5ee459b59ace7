//! Messages of pgoutput of any shape: encoded and decoded, cut, and with a byte changed.

use zemi::fuzzing::pgoutput::{
    Begin, ColumnValue, ColumnsBuf, Commit, Delete, Insert, LogicalMessage, Message, OidsBuf,
    OldTuple, Origin, Relation, RelationColumn, ReplicaIdentity, Truncate, TupleBuf, Type, Update,
    decode, encode,
};
use zemi::lsn::{Lsn, Oid, PgTimestamp, Xid};

use super::input::Input;
use super::{meter, pgoutput};

pub fn run(data: &[u8]) {
    meter::within(data.len(), 128, 64 * 1024, || {
        let mut input = Input::new(data);
        let mut bytes = Vec::new();
        build(&mut input, |message| {
            encode(message, &mut bytes).unwrap();
            assert_eq!(decode(&bytes).as_ref(), Ok(message));
        });
        let cut = input.u32() as usize % bytes.len();
        assert!(
            decode(&bytes[..cut]).is_err(),
            "a part of a message is none"
        );
        let at = input.u32() as usize % bytes.len();
        bytes[at] ^= input.byte();
        pgoutput::run(&bytes);
    });
}

/// A message that the bytes choose.
fn build(input: &mut Input<'_>, mut take: impl FnMut(&Message<'_>)) {
    let relation = Oid(input.u32());
    match input.below(10) {
        0 => take(&Message::Begin(Begin {
            final_lsn: Lsn(input.u64().max(1)),
            commit_time: PgTimestamp(input.u64() as i64),
            xid: Xid(input.u32()),
        })),
        1 => take(&Message::Commit(Commit {
            flags: 0,
            commit_lsn: Lsn(input.u64()),
            end_lsn: Lsn(input.u64()),
            commit_time: PgTimestamp(input.u64() as i64),
        })),
        2 => take(&Message::Origin(Origin {
            commit_lsn: Lsn(input.u64()),
            name: input.name(),
        })),
        3 => {
            let identities = [
                ReplicaIdentity::Default,
                ReplicaIdentity::Nothing,
                ReplicaIdentity::Full,
                ReplicaIdentity::Index,
            ];
            let (namespace, name) = (input.name(), input.name());
            let replica_identity = identities[input.below(4)];
            let columns = columns(input);
            take(&Message::Relation(Relation {
                relation,
                namespace,
                name,
                replica_identity,
                columns: columns.columns(),
            }));
        }
        4 => take(&Message::Type(Type {
            type_oid: relation,
            namespace: input.name(),
            name: input.name(),
        })),
        5 => {
            let new = tuple(input);
            take(&Message::Insert(Insert {
                relation,
                new: new.tuple(),
            }));
        }
        6 => {
            let (kind, old, new) = (input.below(3), tuple(input), tuple(input));
            let old = [
                None,
                Some(OldTuple::Key(old.tuple())),
                Some(OldTuple::Full(old.tuple())),
            ][kind];
            take(&Message::Update(Update {
                relation,
                old,
                new: new.tuple(),
            }));
        }
        7 => {
            let (full, old) = (input.flag(), tuple(input));
            let old = match full {
                true => OldTuple::Full(old.tuple()),
                false => OldTuple::Key(old.tuple()),
            };
            take(&Message::Delete(Delete { relation, old }));
        }
        8 => {
            let oids: Vec<_> = (0..input.below(16)).map(|_| Oid(input.u32())).collect();
            let (cascade, restart_identity) = (input.flag(), input.flag());
            take(&Message::Truncate(Truncate {
                relations: OidsBuf::new(&oids).oids(),
                cascade,
                restart_identity,
            }));
        }
        _ => take(&Message::Logical(LogicalMessage {
            transactional: input.flag(),
            lsn: Lsn(input.u64()),
            prefix: input.name(),
            content: input.bytes(),
        })),
    }
}

fn columns(input: &mut Input<'_>) -> ColumnsBuf {
    let columns: Vec<_> = (0..input.below(20))
        .map(|_| RelationColumn {
            key: input.flag(),
            name: input.name(),
            type_oid: Oid(input.u32()),
            type_modifier: input.u32() as i32,
        })
        .collect();
    let owned = ColumnsBuf::new(&columns).unwrap();
    assert!(owned.columns().iter().eq(columns));
    owned
}

fn tuple(input: &mut Input<'_>) -> TupleBuf {
    let values: Vec<_> = (0..input.below(20))
        .map(|_| match input.below(4) {
            0 => ColumnValue::Null,
            1 => ColumnValue::UnchangedToast,
            2 => ColumnValue::Binary(input.bytes()),
            _ => ColumnValue::Text(input.bytes()),
        })
        .collect();
    let owned = TupleBuf::new(&values).unwrap();
    assert!(owned.tuple().values().eq(values));
    owned
}
