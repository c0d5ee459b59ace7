#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::*;
use crate::change::batch::BYTES_LIMIT;
use crate::change::json::{Ask, ValueType};
use crate::change::{
    AnswersAt, Convert, Described, Encoding, RelationFacts, Settings, StoredEncoding, TreeNode,
};
use crate::config::Config;
use crate::lsn::{Lsn, Xid};
use crate::pgoutput::{
    Begin, ColumnValue, ColumnsBuf, Commit, Insert, OidsBuf, Relation, RelationColumn,
    ReplicaIdentity, Truncate, TupleBuf, encode,
};

struct NoCatalog;

impl Ask for NoCatalog {
    fn to_json(&mut self, _: Oid, _: &[u8], _: &mut Vec<u8>) -> Result<bool> {
        Ok(false)
    }
}

impl Convert for NoCatalog {
    fn to_utf8(&mut self, _: StoredEncoding, _: &[u8], _: &mut Vec<u8>) -> Result<bool> {
        Err(Error::new(Kind::Bug, "no test has stored text"))
    }
}

impl Catalog for NoCatalog {
    fn relation(&mut self, _: &Described<'_>) -> Result<RelationFacts> {
        Ok(RelationFacts::default())
    }
    fn partition_tree(&mut self, _: &[Oid]) -> Result<Vec<TreeNode>> {
        Ok(Vec::new())
    }
    fn partition_bounds(&mut self, _: &[Oid], _: bool) -> Result<Vec<Option<String>>> {
        Ok(Vec::new())
    }
    fn is_type_gone(&self, _: Oid) -> bool {
        false
    }
    fn value_type(&mut self, _: Oid) -> Result<ValueType> {
        Ok(ValueType::Text)
    }
    fn types_at(&mut self, _: &[Oid], at: PgTimestamp) -> Result<AnswersAt> {
        Ok(AnswersAt {
            as_of: at,
            generation: 0,
        })
    }
    fn forget_types(&mut self) {}
}

#[derive(Default)]
struct Seen {
    received: usize,
    full: Vec<Batch>,
    relations: usize,
    limits: usize,
}

impl Sink for Seen {
    fn received(&mut self, _: &StreamMessage<'_>) {
        self.received += 1;
    }
    fn spare_batch(&mut self) -> Box<Batch> {
        // A buffer comes back as the writer left it.
        let mut used = Box::new(Batch::default());
        used.count = 9;
        used.epoch = 99;
        used
    }
    fn full(&mut self, batch: Box<Batch>) -> Result<()> {
        self.full.push(*batch);
        Ok(())
    }
    fn replaced(&mut self, _: &str, _: Reason) {}
    fn limit_reached(&mut self) {
        self.limits += 1;
    }

    fn noted(&mut self, _: &str, _: &str, _: Note) {}

    fn new_relation(&mut self, _: &Relation<'_>, _: (&str, &str)) {
        self.relations += 1;
    }
}

const TABLE: Oid = Oid(16_385);

fn start(epoch: u64, position: u64) -> StreamStart {
    StreamStart {
        epoch,
        position: Lsn(position),
        timeline: 1,
        left: None,
        gap: None,
        encoding: Encoding::Utf8,
        limit: None,
    }
}

fn decoder() -> StreamDecoder {
    let none: [(std::ffi::OsString, std::ffi::OsString); 0] = [];
    let config = Config::from_vars(none).unwrap().0;
    let assembler = Assembler::new(Settings::new(&config, "1"));
    let mut decoder = StreamDecoder::new(assembler, Box::new(NoCatalog));
    decoder.start(&start(1, 0), RowShape::Plain, None);
    decoder
}

/// Gives the decoder one message at this position.
fn give(
    decoder: &mut StreamDecoder,
    seen: &mut Seen,
    lsn: u64,
    message: &Message<'_>,
) -> Result<()> {
    let mut body = b"w".to_vec();
    for number in [lsn, lsn, 0] {
        body.extend(number.to_be_bytes());
    }
    encode(message, &mut body).unwrap();
    decoder.take(std::iter::once(Ok(&body[..])), PgTimestamp(0), seen)
}

fn keepalive(decoder: &mut StreamDecoder, seen: &mut Seen, end: u64) {
    let body = [&b"k"[..], &end.to_be_bytes(), &[0; 9]].concat();
    let bodies = std::iter::once(Ok(&body[..]));
    decoder.take(bodies, PgTimestamp(0), seen).unwrap();
}

fn begin(at: u64) -> Message<'static> {
    Message::Begin(Begin {
        final_lsn: Lsn(at),
        commit_time: PgTimestamp(5),
        xid: Xid(7),
    })
}

fn commit(at: u64) -> Message<'static> {
    Message::Commit(Commit {
        flags: 0,
        commit_lsn: Lsn(at),
        end_lsn: Lsn(at + 1),
        commit_time: PgTimestamp(5),
    })
}

fn describe(decoder: &mut StreamDecoder, seen: &mut Seen, relation: Oid) {
    let columns = ColumnsBuf::new(&[RelationColumn {
        key: true,
        name: b"id",
        type_oid: Oid(25),
        type_modifier: -1,
    }]);
    let relation = Relation {
        relation,
        namespace: b"public",
        name: b"t",
        replica_identity: ReplicaIdentity::Default,
        columns: columns.as_ref().unwrap().columns(),
    };
    give(decoder, seen, 0, &Message::Relation(relation)).unwrap();
}

fn insert(decoder: &mut StreamDecoder, seen: &mut Seen, lsn: u64) -> Result<()> {
    let row = TupleBuf::new(&[ColumnValue::Text(b"1")]).unwrap();
    let message = Insert {
        relation: TABLE,
        new: row.tuple(),
    };
    give(decoder, seen, lsn, &Message::Insert(message))
}

/// A transaction of one row that ends at `at`, without its Commit.
fn open_transaction(decoder: &mut StreamDecoder, seen: &mut Seen, at: u64) {
    give(decoder, seen, at - 2, &begin(at)).unwrap();
    describe(decoder, seen, TABLE);
    insert(decoder, seen, at - 1).unwrap();
}

#[test]
fn a_keepalive_counts_between_transactions_only() {
    let (mut decoder, mut seen) = (decoder(), Seen::default());
    keepalive(&mut decoder, &mut seen, 10);
    assert_eq!(decoder.batch().end, Lsn(10));
    open_transaction(&mut decoder, &mut seen, 20);
    keepalive(&mut decoder, &mut seen, 19);
    assert_eq!(decoder.batch().end, Lsn(10));
    give(&mut decoder, &mut seen, 20, &commit(20)).unwrap();
    assert_eq!((decoder.batch().end, decoder.batch().count), (Lsn(21), 1));
    assert!(decoder.batch().is_ready());
    assert_eq!(seen.received, 6);
}

#[test]
fn a_relation_is_new_once_whatever_the_epoch() {
    let (mut decoder, mut seen) = (decoder(), Seen::default());
    for relation in [TABLE, TABLE, Oid(2), TABLE] {
        describe(&mut decoder, &mut seen, relation);
    }
    decoder.start(&start(2, 0), RowShape::Plain, None);
    describe(&mut decoder, &mut seen, TABLE);
    assert_eq!(seen.relations, 2);
}

#[test]
fn the_same_epoch_keeps_whole_transactions_and_another_one_none() {
    for (epoch, kept) in [(1, true), (2, false)] {
        let (mut decoder, mut seen) = (decoder(), Seen::default());
        open_transaction(&mut decoder, &mut seen, 10);
        give(&mut decoder, &mut seen, 10, &commit(10)).unwrap();
        open_transaction(&mut decoder, &mut seen, 20);
        let again = start(epoch, 5);
        let whole = decoder.interrupt(&again, &mut seen);
        assert_eq!(
            whole.map(|b| (b.epoch, b.end, b.count)),
            kept.then_some((1, Lsn(11), 1))
        );
        decoder.start(&again, RowShape::WithCreatedAt, None);
        let batch = decoder.batch();
        assert_eq!((batch.epoch, batch.shape), (epoch, RowShape::WithCreatedAt));
        assert!(batch.is_empty());
        // What was kept is passed over when it comes again.
        open_transaction(&mut decoder, &mut seen, 10);
        give(&mut decoder, &mut seen, 10, &commit(10)).unwrap();
        assert_eq!(decoder.batch().count, u32::from(!kept));
    }
}

#[test]
fn after_a_message_that_cannot_be_decoded_nothing_counts_until_a_start() {
    let (mut decoder, mut seen) = (decoder(), Seen::default());
    open_transaction(&mut decoder, &mut seen, 10);
    give(&mut decoder, &mut seen, 10, &commit(10)).unwrap();
    let bad = [&b"w"[..], &[0; 24], b"I\0\0\x40\x01N\0\x09"].concat();
    let bodies = [
        Ok(&bad[..]),
        Err(Error::new(Kind::Bug, "beyond the bad one")),
    ];
    let error = decoder
        .take(bodies.into_iter(), PgTimestamp(0), &mut seen)
        .unwrap_err();
    assert_eq!(error.kind(), Kind::Decode);
    let text = error.to_string();
    assert!(text.contains("public.t (OID 16385)"), "{text}");
    assert!(!decoder.is_streaming());
    let whole = decoder.interrupt(&start(1, 0), &mut seen);
    assert_eq!(whole.map(|b| b.count), Some(1));
    assert!(decoder.finish().is_none());
}

#[test]
fn the_error_of_a_body_is_none_of_decoding() {
    let (mut decoder, mut seen) = (decoder(), Seen::default());
    let bodies = std::iter::once(Err(Error::new(Kind::Protocol, "a frame of 3 bytes")));
    let error = decoder.take(bodies, PgTimestamp(0), &mut seen);
    assert_eq!(error.unwrap_err().kind(), Kind::Protocol);
    assert!(decoder.is_streaming());
}

#[test]
fn the_end_of_the_stream_leaves_whole_transactions() {
    let (mut decoder, mut seen) = (decoder(), Seen::default());
    open_transaction(&mut decoder, &mut seen, 10);
    give(&mut decoder, &mut seen, 10, &commit(10)).unwrap();
    open_transaction(&mut decoder, &mut seen, 20);
    let batch = decoder.finish().unwrap();
    assert_eq!((batch.count, batch.end, batch.open), (1, Lsn(11), false));
}

#[test]
fn a_truncate_of_many_tables_is_handed_over_in_parts() {
    let (mut decoder, mut seen) = (decoder(), Seen::default());
    give(&mut decoder, &mut seen, 8, &begin(10)).unwrap();
    describe(&mut decoder, &mut seen, TABLE);
    let many = u32::from(u16::MAX);
    let tables = OidsBuf::new(&vec![TABLE; many as usize]);
    let truncate = Truncate {
        cascade: false,
        restart_identity: false,
        relations: tables.oids(),
    };
    give(&mut decoder, &mut seen, 9, &Message::Truncate(truncate)).unwrap();
    let last = decoder.batch();
    assert!(last.continues && !last.open);
    let parts: u32 = seen.full.iter().map(|batch| batch.count).sum();
    assert_eq!(parts + last.count, many);
    for batch in &seen.full {
        assert_eq!((batch.epoch, batch.open), (1, true));
        let row = batch.rows.len() / batch.count as usize;
        assert!(batch.rows.len() < BYTES_LIMIT + row);
    }
}

#[test]
fn a_stream_ends_at_its_limit_with_what_committed_before() {
    let limited = |end: &dyn Fn(&mut StreamDecoder, &mut Seen)| {
        let (mut decoder, mut seen) = (decoder(), Seen::default());
        let start = StreamStart {
            limit: Some(Lsn(30)),
            ..start(1, 0)
        };
        decoder.start(&start, RowShape::Plain, None);
        open_transaction(&mut decoder, &mut seen, 20);
        keepalive(&mut decoder, &mut seen, 40);
        assert!(decoder.is_streaming(), "a transaction is open");
        give(&mut decoder, &mut seen, 20, &commit(20)).unwrap();
        end(&mut decoder, &mut seen);
        assert!(!decoder.is_streaming());
        assert_eq!(seen.limits, 1);
        assert_eq!((decoder.batch().count, decoder.batch().end), (1, Lsn(30)));
    };
    limited(&|decoder, seen| keepalive(decoder, seen, 40));
    limited(&|decoder, seen| give(decoder, seen, 25, &begin(30)).unwrap());
}
