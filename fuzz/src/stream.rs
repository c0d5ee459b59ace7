//! A whole replication stream into rows: frames, stream messages, pgoutput, transactions, batches, and
//! the rows that COPY is given.
//!
//! The input holds packets without the lengths around them, so that it stays a stream when bytes of it
//! are changed. One kind of packet is taken as it is, so that broken frames come too.

use std::collections::HashMap;
use std::sync::OnceLock;

use zemi::config::Config;
use zemi::error::{Error, Kind, Result};
use zemi::fuzzing::Chunk;
use zemi::fuzzing::StreamStart;
use zemi::fuzzing::change::json::{Ask, CompositeField, Reason, ValueType, builtin};
use zemi::fuzzing::change::{
    Ancestor, AnswersAt, Assembler, Batch, Catalog, Characters, Convert, Described, Encoding,
    Holds, Note, RelationFacts, RowShape, Settings, StoredEncoding, TreeNode, copy,
};
use zemi::fuzzing::source::message::StreamMessage;
use zemi::fuzzing::{Sink, StreamDecoder};
use zemi::lsn::{Lsn, Oid, PgTimestamp};
use zemi::pgoutput::Relation;

use super::input::{Input, put_bytes};
use super::{is_fit_to_print, meter, oracle};

/// What a packet is.
pub const XLOG_DATA: u8 = 0;
pub const KEEPALIVE: u8 = 1;
pub const RAW: u8 = 2;

/// Appends a packet with XLogData to an input: so many bytes behind the last, this message.
pub fn put_message(input: &mut Vec<u8>, advance: u8, message: &[u8]) {
    input.extend([XLOG_DATA, advance]);
    put_bytes(input, message);
}

pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let choices = choices(&mut input);
    let frames = frames(&mut input);
    // A batch is handed over when it reaches its limit, and one row is at most a few times its messages.
    meter::within(frames.len(), 96, 6 << 20, || {
        let start = StreamStart {
            epoch: 1,
            position: Lsn::ZERO,
            timeline: 1,
            left: None,
            gap: None,
            encoding: choices.encoding,
            limit: None,
        };
        let assembler = Assembler::new(choices.settings.clone());
        let mut stream = StreamDecoder::new(assembler, Box::new(Types::default()));
        stream.start(&start, choices.shape, choices.primary_key_limit);
        let mut rows = Rows(choices.shape);
        let chunk = Chunk {
            bytes: frames.clone(),
            filled: frames.len(),
            received_at: PgTimestamp(0),
            large: None,
        };
        let taken = stream.take(chunk.copy_data(), chunk.received_at, &mut rows);
        if let Err(error) = taken {
            is_fit_to_print(&error, frames.len());
            assert!(
                matches!(error.kind(), Kind::Decode | Kind::Protocol | Kind::Stopped),
                "{error:?}"
            );
            assert_eq!(stream.is_streaming(), error.kind() != Kind::Decode);
        }
        // A message that failed left all of its row or nothing.
        rows.check_tuples(stream.batch());
        if let Some(whole) = stream.interrupt(&start, &mut rows) {
            rows.check(&whole);
        }
        rows.check(stream.batch());
    });
}

/// How the stream is written, as the first byte chooses it.
struct Choices {
    settings: Settings,
    encoding: Encoding,
    primary_key_limit: Option<usize>,
    shape: RowShape,
}

/// Each combination of settings, made once.
static SETTINGS: [OnceLock<Settings>; 32] = [const { OnceLock::new() }; 32];

fn choices(input: &mut Input<'_>) -> Choices {
    let flags = input.byte();
    let choice = usize::from(flags & 31);
    Choices {
        settings: SETTINGS[choice].get_or_init(|| settings(flags)).clone(),
        encoding: match flags >> 6 {
            0 => Encoding::of_database("WIN1251"),
            1 => Encoding::of_database("EUC_TW"),
            _ => Encoding::Utf8,
        },
        primary_key_limit: (flags & 32 != 0).then_some(8),
        shape: match flags >> 6 {
            3 => RowShape::WithCreatedAt,
            _ => RowShape::Plain,
        },
    }
}

fn settings(flags: u8) -> Settings {
    let mut vars = vec![("DB_NAME", "database \"of\" tests")];
    let mut choose = |bit: u8, name, value| {
        if flags & bit != 0 {
            vars.push((name, value));
        }
    };
    choose(1, "CHANGES_FORMAT", "sql");
    choose(2, "JSON_TYPE_COERCION", "false");
    choose(4, "EXCLUDE_COLUMNS", "*.secret,t.b*");
    choose(16, "EXCLUDE_TABLES", "other.*");
    // A key takes a moment, so there is one combination with it.
    if flags & 31 == 8 {
        vars.push(("HASH_COLUMNS", "*.name"));
        vars.push(("HASH_KEY", "0123456789abcdef"));
    }
    let vars = vars.into_iter().map(|(n, v)| (n.into(), v.into()));
    Settings::new(&Config::from_vars(vars).unwrap().0, "7000000000000000001")
}

/// The packets with all that is around them on the wire.
fn frames(input: &mut Input<'_>) -> Vec<u8> {
    let mut frames = Vec::new();
    let mut lsn = 0x100_0000_u64;
    while !input.is_empty() {
        let (kind, advance) = (input.byte() % 3, input.byte());
        // The end of the range stands for the position that Relation messages have.
        let start = if advance == 255 {
            0
        } else {
            lsn + u64::from(advance)
        };
        lsn = lsn.max(start);
        let body = match kind {
            RAW => {
                frames.extend(input.bytes());
                continue;
            }
            KEEPALIVE => [&b"k"[..], &start.to_be_bytes(), &[0; 8], &[advance & 1]].concat(),
            _ => {
                let head = [&b"w"[..], &start.to_be_bytes(), &lsn.to_be_bytes(), &[0; 8]];
                [&head.concat(), input.bytes()].concat()
            }
        };
        frames.push(b'd');
        frames.extend((body.len() as u32 + 4).to_be_bytes());
        frames.extend(body);
    }
    frames
}

/// Looks at the rows on their way to the writer.
struct Rows(RowShape);

impl Sink for Rows {
    fn received(&mut self, _: &StreamMessage<'_>) {}

    fn spare_batch(&mut self) -> Box<Batch> {
        Box::default()
    }

    fn full(&mut self, batch: Box<Batch>) -> Result<()> {
        self.check(&batch);
        Ok(())
    }

    fn replaced(&mut self, relation: &str, _: Reason) {
        assert!(!relation.is_empty());
    }

    fn limit_reached(&mut self) {}

    fn new_relation(&mut self, _: &Relation<'_>, _: (&str, &str)) {}

    fn noted(&mut self, _: &str, _: &str, _: Note) {}
}

impl Rows {
    /// The rows are what the destination takes, and they are counted.
    fn check(&self, batch: &Batch) {
        self.check_tuples(batch);
        assert_eq!(u64::from(batch.count), batch.counts.changes());
    }

    /// As [`Rows::check`], for a batch whose last transaction is open and not counted yet.
    fn check_tuples(&self, batch: &Batch) {
        let mut bytes = 0;
        let mut count = 0;
        for tuple in copy::Tuples::new(&batch.rows) {
            check_row(tuple, self.0);
            bytes += tuple.len();
            count += 1;
        }
        assert_eq!((bytes, count), (batch.rows.len(), batch.count));
        for patch in &batch.patches {
            oracle::assert_jsonb(&patch.context);
            assert!(patch.first <= patch.last);
        }
    }
}

fn check_row(tuple: &[u8], shape: RowShape) {
    let fields: Vec<_> = copy::fields(tuple).collect();
    let [
        id,
        key,
        before,
        after,
        database,
        schema,
        table,
        operation,
        times @ ..,
        context,
    ] = fields.as_slice()
    else {
        panic!("a row of {} fields", fields.len());
    };
    assert_eq!(id.map(<[u8]>::len), Some(16));
    for text in [key, database, schema, table, operation] {
        let text = std::str::from_utf8(text.unwrap_or_default()).expect("text is UTF-8");
        assert!(!text.contains('\0'));
    }
    let operation = operation.unwrap();
    assert!([&b"CREATE"[..], b"INSERT", b"UPDATE", b"DELETE", b"TRUNCATE"].contains(&operation));
    let count = match shape {
        RowShape::Plain => 4,
        RowShape::WithCreatedAt => 5,
    };
    assert_eq!(times.len(), count);
    assert!(times.iter().all(|time| time.is_some_and(|t| t.len() == 8)));
    for json in [before, after, &Some(context.unwrap())]
        .into_iter()
        .flatten()
    {
        let (version, json) = json.split_first().unwrap();
        assert_eq!(*version, copy::JSONB_VERSION);
        oracle::assert_jsonb(json);
    }
}

/// A catalog that answers by the number of what is asked for, and changes its mind now and then.
#[derive(Default)]
struct Types {
    generation: u64,
    asked: HashMap<Oid, u32>,
    characters: Characters,
}

impl Ask for Types {
    fn to_json(&mut self, type_oid: Oid, text: &[u8], out: &mut Vec<u8>) -> Result<bool> {
        out.extend_from_slice(text);
        match type_oid.0 % 5 {
            0 => Err(Error::new(Kind::Stopped, "the source did not answer")),
            _ => Ok(text.len().is_multiple_of(2)),
        }
    }
}

impl Convert for Types {
    fn to_utf8(
        &mut self,
        encoding: StoredEncoding,
        text: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<bool> {
        encoding.decode(&mut self.characters, text, out, |_, characters| {
            Ok(characters.iter().map(|c| oracle::character(c)).collect())
        })
    }
}

impl Catalog for Types {
    fn relation(&mut self, described: &Described<'_>) -> Result<RelationFacts> {
        let relation = described.relation;
        let names = |bit: u32| match relation.0 & bit {
            0 => vec![],
            _ => vec!["id".to_owned(), "b".to_owned()],
        };
        let above = |bit: u32, table: &str| {
            (relation.0 & bit != 0).then(|| Ancestor {
                schema: "public".into(),
                table: table.into(),
                partitioned: true,
            })
        };
        Ok(RelationFacts {
            ours: relation.0 & 0x4000_0000 != 0,
            primary_key: names(0x100),
            identity_index: names(0x200),
            key_is_usable: relation.0 & 0x400 != 0,
            unknown: relation.0 & 0x800 != 0,
            ancestors: [above(0x1000, "m"), above(0x3000, "p")]
                .into_iter()
                .flatten()
                .collect(),
            maybe_below: above(0x8000, "q").into_iter().collect(),
            holds: match relation.0 & 0x3_0000 {
                0 => Holds::Always,
                0x1_0000 => Holds::While(u64::from(relation.0 & 0x4_0000)),
                0x2_0000 => Holds::UntilAsked,
                _ => Holds::Once,
            },
            partition_keys: [names(0x4000)].into(),
        })
    }

    fn partition_tree(&mut self, relations: &[Oid]) -> Result<Vec<TreeNode>> {
        let node = |relation, parent, table: &str, holds_rows| TreeNode {
            relation,
            parent,
            schema: "public".into(),
            table: table.into(),
            holds_rows,
        };
        let (p, m) = (Oid(1), Oid(2));
        let leaves = relations
            .iter()
            .map(|oid| node(*oid, Some(m), "leaf", true));
        let above = [node(p, None, "p", false), node(m, Some(p), "m", false)];
        Ok(above.into_iter().chain(leaves).collect())
    }

    fn partition_bounds(&mut self, relations: &[Oid], _: bool) -> Result<Vec<Option<String>>> {
        let bounds = |oid: &Oid| (!oid.0.is_multiple_of(3)).then(|| format!("(id = {oid})"));
        Ok(relations.iter().map(bounds).collect())
    }

    fn is_type_gone(&self, type_oid: Oid) -> bool {
        type_oid.0.is_multiple_of(7)
    }

    fn value_type(&mut self, type_oid: Oid) -> Result<ValueType> {
        if let Some(known) = builtin(type_oid) {
            return Ok(known);
        }
        let asked = self.asked.entry(type_oid).or_default();
        *asked += 1;
        let composite = |count: u32| {
            let fields = (0..count).map(|n| CompositeField::new(&format!("f{n}"), ValueType::Text));
            ValueType::Composite(fields.collect())
        };
        Ok(match type_oid.0 % 8 {
            0 => composite(*asked % 4),
            1 => ValueType::array_of(composite(2)),
            2 => ValueType::Hstore,
            3 => ValueType::Cast { type_oid },
            4 => ValueType::array_of(ValueType::Text),
            5 => ValueType::Json,
            _ => ValueType::Text,
        })
    }

    fn types_at(&mut self, _: &[Oid], at: PgTimestamp) -> Result<AnswersAt> {
        if at.0 % 5 == 0 {
            self.generation += 1;
        }
        Ok(AnswersAt {
            as_of: at,
            generation: self.generation,
        })
    }

    fn forget_types(&mut self) {
        self.generation += 1;
    }
}
