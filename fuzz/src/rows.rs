//! Rows of binary COPY: what is encoded is what is decoded, through every step of a batch; and any bytes
//! in their place.

use zemi::fuzzing::change::Batch;
use zemi::fuzzing::change::batch::{BYTES_LIMIT, jsonb};
use zemi::fuzzing::change::copy::{self, Tuples};
use zemi::lsn::{Lsn, PgTimestamp};

use super::input::Input;
use super::meter;

type Field = Option<Vec<u8>>;
type Row = Vec<Field>;

pub fn run(data: &[u8]) {
    meter::within(data.len(), 16, 64 * 1024, || any_bytes(data));
    // A late context is written into each row, up to the limit of a batch.
    meter::within(data.len(), 512, 8 * BYTES_LIMIT, || {
        batches(Input::new(data))
    });
}

fn any_bytes(data: &[u8]) {
    let mut rest = data;
    for tuple in Tuples::new(data) {
        assert!(!tuple.is_empty() && rest.starts_with(tuple));
        rest = &rest[tuple.len()..];
        let announced = u16::from_be_bytes([tuple[0], tuple[1]]);
        let fields: Vec<_> = copy::fields(tuple).collect();
        assert_eq!(fields.len(), usize::from(announced));
        let bytes: usize = fields.iter().map(|f| 4 + f.map_or(0, <[u8]>::len)).sum();
        assert_eq!(2 + bytes, tuple.len());
    }
}

/// What a batch should hold, kept in the simplest way.
#[derive(Default)]
struct Model {
    ended: Vec<Row>,
    open: Vec<Row>,
    /// Rows of the open transaction went before.
    continues: bool,
    any_ended: bool,
}

impl Model {
    fn same(&self, batch: &Batch) {
        let rows: Vec<Row> = decode(&batch.rows);
        let wanted: Vec<&Row> = self.ended.iter().chain(&self.open).collect();
        assert_eq!(rows.iter().collect::<Vec<_>>(), wanted);
        assert_eq!(batch.count as usize, rows.len());
        assert_eq!(decode(batch.open_rows()), self.open);
        assert_eq!(batch.continues_open(), self.continues && !self.any_ended);
    }
}

fn decode(rows: &[u8]) -> Vec<Row> {
    let fields = |tuple| copy::fields(tuple).map(|f| f.map(<[u8]>::to_vec)).collect();
    Tuples::new(rows).map(fields).collect()
}

fn batches(mut input: Input<'_>) {
    let mut batch = Batch::default();
    let mut model = Model::default();
    let mut end = 0;
    while !input.is_empty() {
        match input.below(8) {
            0 => {
                end += 1;
                batch.begin(PgTimestamp(end));
                batch.commit(Lsn(end as u64));
                model.ended.append(&mut model.open);
                model.any_ended = true;
                assert!(batch.is_ready() && batch.end == Lsn(end as u64));
            }
            1 => {
                let began_earlier = batch.drop_open();
                assert_eq!(began_earlier, model.continues && !model.any_ended);
                model.open.clear();
                model.continues &= !began_earlier;
            }
            2 => {
                let mut next = Batch::default();
                batch.split(&mut next);
                let open = std::mem::take(&mut model.open);
                let mut after = Model::default();
                if model.any_ended {
                    after.open = open;
                } else {
                    model.open = open;
                    after.continues = true;
                }
                assert_eq!(batch.open, after.continues);
                model.same_handed_over(&batch);
                (batch, model) = (next, after);
            }
            3 => {
                let context = input.bytes();
                if batch.rewrite_open_context(context) {
                    let field = [&[copy::JSONB_VERSION], context].concat();
                    for row in &mut model.open {
                        row.pop();
                        row.push(Some(field.clone()));
                    }
                }
            }
            _ => {
                let row = row(&mut input);
                put(&mut batch, &row);
                model.open.push(row);
            }
        }
        if batch.rows.len() < 512 {
            model.same(&batch);
        }
        // Each late context writes all of it anew.
        if batch.rows.len() > 32 * 1024 {
            break;
        }
    }
    model.same(&batch);
}

impl Model {
    /// What goes to the writer: all of it counts as ended then.
    fn same_handed_over(&self, batch: &Batch) {
        let wanted: Vec<&Row> = self.ended.iter().chain(&self.open).collect();
        let rows = decode(&batch.rows);
        assert_eq!(rows.iter().collect::<Vec<_>>(), wanted);
    }
}

/// Some fields, and a jsonb as the last one.
fn row(input: &mut Input<'_>) -> Row {
    let mut row: Row = (0..input.below(12))
        .map(|_| input.flag().then(|| input.bytes().to_vec()))
        .collect();
    row.push(Some([&[copy::JSONB_VERSION], input.bytes()].concat()));
    row
}

fn put(batch: &mut Batch, row: &Row) {
    let out = &mut batch.rows;
    let (last, fields) = row.split_last().unwrap();
    copy::tuple(out, i16::try_from(row.len()).unwrap());
    for field in fields {
        match field.as_deref() {
            None => copy::null(out),
            Some(bytes) => match bytes.try_into() {
                Ok(eight) => copy::int8(out, i64::from_be_bytes(eight)),
                Err(_) => copy::field(out, bytes),
            },
        }
    }
    jsonb(out, &last.as_ref().unwrap()[1..]);
    batch.count += 1;
    batch.open_counts().insert += 1;
}
