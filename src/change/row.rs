//! One change as a tuple of binary COPY.

use super::batch::jsonb;
use super::binary;
use super::catalog::Catalog;
use super::encoding::Encoding;
use super::json::{self, Outcome, Reason};
use super::reasons::Reasons;
use super::relation::{ColumnPlan, RelationPlan};
use super::settings::{ColumnPolicy, Settings};
use super::shape::RowShape;
use super::{copy, uuid};
use crate::config::ChangesFormat;
use crate::error::{Error, Result};
use crate::hex;
use crate::lsn::{Lsn, PgTimestamp, Xid};
use crate::pgoutput::{ColumnValue, OldTuple, TupleData};

/// The longest field that COPY takes, in bytes (a little less than `MaxAllocSize`, 1 GiB): escapes and
/// blanks make a JSON text longer than the jsonb that it becomes.
const LONGEST_FIELD: usize = 0x3FFF_0000;

/// What was done to the row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// INSERT or COPY; Bemi's name is CREATE.
    Insert,
    /// UPDATE.
    Update,
    /// DELETE.
    Delete,
    /// TRUNCATE, which has no rows.
    Truncate,
}

impl Operation {
    /// The SQL command, for messages.
    pub fn sql(self) -> &'static str {
        self.name(ChangesFormat::Sql)
    }

    /// The name in the column `operation`.
    pub fn name(self, format: ChangesFormat) -> &'static str {
        match (self, format) {
            (Operation::Insert, ChangesFormat::Bemi) => "CREATE",
            (Operation::Insert, ChangesFormat::Sql) => "INSERT",
            (Operation::Update, _) => "UPDATE",
            (Operation::Delete, _) => "DELETE",
            (Operation::Truncate, _) => "TRUNCATE",
        }
    }
}

/// The fields of a row beside its values.
#[derive(Debug, Clone, Copy)]
pub struct RowHead<'a> {
    /// What was done.
    pub operation: Operation,
    /// The position of the change, unique.
    pub position: Lsn,
    /// The transaction.
    pub xid: Xid,
    /// When it committed.
    pub commit_time: PgTimestamp,
    /// When it was read from the stream.
    pub queued_at: PgTimestamp,
    /// JSON that jsonb accepts.
    pub context: &'a [u8],
    /// The fields `database`, `schema` and `table`, encoded, where they are not the relation's.
    pub fixed: Option<&'a [u8]>,
}

/// The values of a row, before and after, as far as they were sent.
#[derive(Debug, Clone, Copy, Default)]
pub struct RowValues<'a> {
    /// The old row.
    pub old: Option<OldTuple<'a>>,
    /// The new row.
    pub new: Option<TupleData<'a>>,
}

/// Why a row was not encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EncodeError {
    /// The source did not answer a question about a value: [`Tools::unanswered`] has its error.
    Unanswered,
    /// A composite value has another number of fields than the catalog said.
    Type,
    /// A tuple has another number of columns than the Relation message said.
    Columns {
        /// How many it has.
        found: usize,
    },
}

/// The result of encoding a row or a part of it.
type Encoded<T> = std::result::Result<T, EncodeError>;

/// Appends the row to `out`; on an error, `out` is as it was. Returns how many values were written in
/// their safe form; `None` for an UPDATE of columns that are left out alone, which makes no row. With
/// `lenient`, a value that does not fit its type is written as the type was earlier, else kept as a string.
pub fn encode(
    out: &mut Vec<u8>,
    plan: &RelationPlan,
    settings: &Settings,
    head: &RowHead<'_>,
    values: &RowValues<'_>,
    tools: &mut Tools<'_>,
    lenient: bool,
) -> Encoded<Option<u64>> {
    let start = out.len();
    let sparse = !plan.partition_keys.is_empty() && is_key_of_partition(plan, values.old);
    let mut row = RowEncoder {
        out,
        plan,
        settings,
        tools,
        lenient,
        sparse,
        replaced: 0,
    };
    let encoded = row.encode(head, values);
    let replaced = row.replaced;
    if !matches!(encoded, Ok(true)) {
        out.truncate(start);
    }
    encoded.map(|is_row| is_row.then_some(replaced))
}

/// Whether the old row is the key of a partition. Published by its partitioned root, whose replica identity
/// is FULL, it comes as a whole one also where the partition sent its key alone, with NULL in the place of
/// all other columns (`logicalrep_write_delete`, `proto.c`). Columns of a key are never NULL.
fn is_key_of_partition(plan: &RelationPlan, old: Option<OldTuple<'_>>) -> bool {
    let Some(OldTuple::Full(old)) = old else {
        return false;
    };
    plan.partition_keys.iter().any(|key| {
        let mut parts = key.iter().zip(old.values());
        parts.all(|(part, value)| *part != matches!(value, ColumnValue::Null))
    })
}

/// What encoding needs beside its input.
pub struct Tools<'a> {
    /// Converts values, with buffers of its own.
    pub json: &'a mut json::Writer,
    /// For the values that only the source can convert.
    pub catalog: &'a mut dyn Catalog,
    /// For values in another encoding than UTF-8.
    pub text: &'a mut Vec<u8>,
    /// Why values were written in another form.
    pub reasons: Reasons,
    /// The error of [`EncodeError::Unanswered`].
    pub unanswered: Option<Error>,
}

/// Keeps the error of a source that did not answer, out of the way of the results.
#[cold]
fn keep(place: &mut Option<Error>, error: Error) -> EncodeError {
    *place = Some(error);
    EncodeError::Unanswered
}

struct RowEncoder<'a, 't> {
    out: &'a mut Vec<u8>,
    plan: &'a RelationPlan,
    settings: &'a Settings,
    tools: &'a mut Tools<'t>,
    lenient: bool,
    /// The old row is a key, and its NULLs say nothing: see [`is_key_of_partition`].
    sparse: bool,
    replaced: u64,
}

impl RowEncoder<'_, '_> {
    /// False where the row shows no change.
    fn encode(&mut self, head: &RowHead<'_>, values: &RowValues<'_>) -> Encoded<bool> {
        copy::tuple(self.out, self.settings.shape.fields());
        let id = uuid::change_id(head.commit_time, head.position, self.settings.id_source);
        copy::field(self.out, &id);
        self.primary_key(values)?;
        let before = self.out.len();
        self.before(head.operation, values)?;
        let after = self.out.len();
        self.after(values)?;
        let whole = matches!(values.old, Some(OldTuple::Full(_))) && !self.sparse;
        // Two replaced values may look the same.
        if self.plan.leaves_out
            && whole
            && head.operation == Operation::Update
            && self.replaced == 0
        {
            let field = |from: usize, to: usize| self.out.get(from..to);
            if field(before, after) == field(after, self.out.len()) {
                return Ok(false);
            }
        }
        let fixed = head.fixed.unwrap_or(&self.plan.fixed);
        self.out.extend_from_slice(fixed);
        copy::field(
            self.out,
            head.operation.name(self.settings.format).as_bytes(),
        );
        copy::int8(self.out, head.commit_time.0);
        copy::int8(self.out, head.queued_at.0);
        copy::int8(self.out, i64::from(head.xid.0));
        // A position is below 2^63: PostgreSQL itself counts WAL in signed differences.
        copy::int8(self.out, i64::try_from(head.position.0).unwrap_or(i64::MAX));
        if self.settings.shape == RowShape::WithCreatedAt {
            copy::int8(self.out, head.queued_at.0);
        }
        jsonb(self.out, head.context);
        Ok(true)
    }

    /// A NULL in the place of a value that was not sent.
    fn says_nothing(&self, value: ColumnValue<'_>) -> bool {
        self.sparse && matches!(value, ColumnValue::Null)
    }

    fn before(&mut self, operation: Operation, values: &RowValues<'_>) -> Encoded<()> {
        match values.old {
            Some(OldTuple::Full(old)) => self.object(old, self.sparse, None),
            Some(OldTuple::Key(old)) => self.object(old, true, None),
            // The old row of an UPDATE exists even where it was not sent.
            None => self.no_object(operation == Operation::Update),
        }
    }

    fn after(&mut self, values: &RowValues<'_>) -> Encoded<()> {
        match (values.new, values.old) {
            (Some(new), old) => self.object(new, false, old),
            (None, _) => self.no_object(false),
        }
    }

    fn no_object(&mut self, exists: bool) -> Encoded<()> {
        if self.settings.format == ChangesFormat::Sql && !exists {
            copy::null(self.out);
        } else {
            jsonb(self.out, b"{}");
        }
        Ok(())
    }

    /// Writes the values of a tuple as a jsonb object. `keys_only` is for key tuples, whose other
    /// columns are NULL whatever they held. `old` gives the values that the new tuple leaves out.
    fn object(
        &mut self,
        tuple: TupleData<'_>,
        keys_only: bool,
        old: Option<OldTuple<'_>>,
    ) -> Encoded<()> {
        let plan = self.plan;
        for tuple in [Some(tuple), old.map(|old| old.data())]
            .into_iter()
            .flatten()
        {
            if tuple.len() != plan.columns.len() {
                return Err(EncodeError::Columns { found: tuple.len() });
            }
        }
        let at = copy::open(self.out);
        self.out.push(copy::JSONB_VERSION);
        let start = self.out.len();
        self.out.push(b'{');
        // A key tuple knows the values of its key columns only.
        let old_full = matches!(old, Some(OldTuple::Full(_)));
        let mut old_values = old.map(|old| old.data().values());
        for (column, value) in plan.columns.iter().zip(tuple.values()) {
            let old_value = old_values.as_mut().and_then(Iterator::next);
            let value = match (value, old_value) {
                (ColumnValue::UnchangedToast, Some(old))
                    if (old_full || column.key) && !self.says_nothing(old) =>
                {
                    old
                }
                (value, _) => value,
            };
            let left_out = column.policy == ColumnPolicy::LeaveOut
                || keys_only && (!column.key || self.says_nothing(value));
            if left_out || matches!(value, ColumnValue::UnchangedToast) {
                continue;
            }
            if self.out.len() > start + 1 {
                self.out.push(b',');
            }
            self.out.extend_from_slice(&column.prefix);
            self.value(column, value)?;
        }
        self.out.push(b'}');
        let length = self.out.len() - start;
        // A small text cannot become a large jsonb; a large one is weighed.
        let object = self.out.get(start..).unwrap_or_default();
        if length > LONGEST_FIELD
            || length >= json::WEIGH_FROM
                && !json::jsonb_size(object).is_ok_and(|size| size <= json::JSONB_MAX_BYTES)
        {
            self.out.truncate(start);
            json::write_omitted(self.out, length, Reason::TooLarge);
            self.tools.reasons.add(Reason::TooLarge);
            self.replaced += 1;
        }
        copy::close(self.out, at);
        Ok(())
    }

    /// A value as its send function gives it.
    #[cold]
    fn binary(&mut self, column: &ColumnPlan, value: &[u8]) -> Encoded<()> {
        if let (ColumnPolicy::Hash, Some(masker)) = (column.policy, &self.settings.masker)
            && column.type_oid == binary::BYTEA
        {
            self.out.push(b'"');
            masker.hash_bytea(value, self.out);
            self.out.push(b'"');
            return Ok(());
        }
        let reason = match self.text_of(column, value)? {
            Some(text) => return self.value(column, ColumnValue::Text(&text)),
            None if binary::text_fits(value) => {
                self.out.extend_from_slice(b"\"\\\\x");
                hex::push(self.out, value);
                self.out.push(b'"');
                Reason::NoText
            }
            None => {
                json::write_omitted(self.out, binary::hex_length(value), Reason::TooLarge);
                Reason::TooLarge
            }
        };
        self.tools.reasons.add(reason);
        self.replaced += 1;
        Ok(())
    }

    /// The text of a value that its send function gave. `None` where that cannot be had, or no jsonb can hold
    /// it.
    fn text_of(&mut self, column: &ColumnPlan, value: &[u8]) -> Encoded<Option<Vec<u8>>> {
        let mut text = Vec::new();
        match binary::write_text(column.type_oid, value, &mut text) {
            binary::Text::Written => Ok(Some(text)),
            binary::Text::TooLong => Ok(None),
            binary::Text::Unknown => {
                let as_stored = self.settings.encoding != Encoding::Utf8;
                let text = self
                    .tools
                    .catalog
                    .text_of(column.type_oid, value, as_stored);
                text.map_err(|error| keep(&mut self.tools.unanswered, error))
            }
        }
    }

    /// Decodes a text into [`Tools::text`], unless it can be used as it is; whether something stands for no
    /// character.
    #[cold]
    fn decode(&mut self, text: &[u8]) -> Encoded<Option<bool>> {
        let Tools {
            catalog,
            text: out,
            unanswered,
            ..
        } = &mut *self.tools;
        let decoded = self.settings.encoding.decode(text, out, *catalog);
        decoded.map_err(|error| keep(unanswered, error))
    }

    fn value(&mut self, column: &ColumnPlan, value: ColumnValue<'_>) -> Encoded<()> {
        let text = match value {
            ColumnValue::Text(text) => text,
            ColumnValue::Binary(bytes) => return self.binary(column, bytes),
            ColumnValue::Null | ColumnValue::UnchangedToast => {
                self.out.extend_from_slice(b"null");
                return Ok(());
            }
        };
        let lossy = match self.settings.encoding {
            Encoding::Utf8 => None,
            Encoding::Stored(_) => self.decode(text)?,
        };
        let Tools {
            json: writer,
            catalog,
            text: decoded,
            reasons,
            unanswered,
        } = &mut *self.tools;
        let text = lossy.map_or(text, |_| decoded.as_slice());
        if let (ColumnPolicy::Hash, Some(masker)) = (column.policy, &self.settings.masker) {
            self.out.push(b'"');
            masker.hash(text, self.out);
            self.out.push(b'"');
            return Ok(());
        }
        let written = writer.write(self.out, &column.value_type, text, *catalog);
        let mut outcome = written.map_err(|error| keep(unanswered, error))?;
        if outcome == Outcome::Mismatch {
            if !self.lenient {
                return Err(EncodeError::Type);
            }
            let written = write_earlier_form(self.out, writer, *catalog, column, text);
            outcome = written.map_err(|error| keep(unanswered, error))?;
        }
        let lossy = lossy == Some(true);
        let reason = match outcome {
            Outcome::Ok if lossy => Reason::NotUtf8,
            Outcome::Ok => return Ok(()),
            Outcome::Replaced(reason) => reason,
            Outcome::Mismatch => Reason::TypeChanged,
        };
        reasons.add(reason);
        self.replaced += 1;
        Ok(())
    }

    fn primary_key(&mut self, values: &RowValues<'_>) -> Encoded<()> {
        let old = values.old.map(|old| old.data());
        let Some(tuple) = values.new.or(old) else {
            copy::null(self.out);
            return Ok(());
        };
        // A key tuple of an index that lacks a part of the primary key: the other parts alone could be
        // the key of another row.
        let key_only =
            values.new.is_none() && (self.sparse || matches!(values.old, Some(OldTuple::Key(_))));
        let sent = |&index: &usize| {
            let value = tuple.values().nth(index);
            let column = self.plan.columns.get(index);
            column.is_some_and(|c| c.key) && !value.is_none_or(|value| self.says_nothing(value))
        };
        if key_only && !self.plan.primary_key.iter().all(sent) {
            copy::null(self.out);
            return Ok(());
        }
        let at = copy::open(self.out);
        let start = self.out.len();
        let mut found = false;
        let composite = self.plan.primary_key.len() > 1;
        for &index in &self.plan.primary_key {
            let Some(column) = self.plan.columns.get(index) else {
                continue;
            };
            let value = match (tuple.values().nth(index), old) {
                (Some(ColumnValue::UnchangedToast), Some(old)) => old.values().nth(index),
                (value, _) => value,
            };
            let asked;
            let text = match value {
                _ if column.policy == ColumnPolicy::LeaveOut => continue,
                Some(ColumnValue::Text(text)) => text,
                Some(ColumnValue::Binary(value)) => {
                    asked = self.text_of(column, value)?;
                    match &asked {
                        Some(text) => text,
                        None => continue,
                    }
                }
                _ => continue,
            };
            if found {
                self.out.push(b',');
            }
            found = true;
            let part = self.out.len();
            let lossy = match self.settings.encoding {
                Encoding::Utf8 => None,
                Encoding::Stored(_) => self.decode(text)?,
            };
            let text = lossy.map_or(text, |_| self.tools.text.as_slice());
            match (column.policy, &self.settings.masker) {
                (ColumnPolicy::Hash, Some(masker)) => masker.hash(text, self.out),
                _ => push_utf8(self.out, text),
            }
            if composite {
                quote_part(self.out, part);
            }
        }
        if !found {
            self.out.truncate(at - 4);
            copy::null(self.out);
            return Ok(());
        }
        if let Some(limit) = self.settings.primary_key_limit {
            let text = self.out.get(start..).unwrap_or_default();
            if let Some(length) = cut_at(text, limit) {
                self.out.truncate(start + length);
                self.tools.reasons.add(Reason::LongKey);
                self.replaced += 1;
            }
        }
        copy::close(self.out, at);
        Ok(())
    }
}

/// Writes a value that does not fit its type as it is now: as the type was earlier, else as a string.
fn write_earlier_form(
    out: &mut Vec<u8>,
    writer: &mut json::Writer,
    catalog: &mut dyn Catalog,
    column: &ColumnPlan,
    text: &[u8],
) -> Result<Outcome> {
    for form in column.earlier.iter().rev() {
        let outcome = writer.write(out, form, text, catalog)?;
        if outcome != Outcome::Mismatch {
            return Ok(outcome);
        }
    }
    let at = out.len();
    Ok(json::write_as_text(out, at, text, Reason::TypeChanged))
}

/// Quotes the part of a key that begins at `from` as CSV does, where it could be taken for several or for
/// another one (RFC 4180, section 2).
fn quote_part(out: &mut Vec<u8>, from: usize) {
    let part = out.get(from..).unwrap_or_default();
    if !part
        .iter()
        .any(|b| matches!(b, b',' | b'"' | b'\r' | b'\n'))
    {
        return;
    }
    let part = out.split_off(from);
    out.push(b'"');
    for byte in part {
        if byte == b'"' {
            out.push(b'"');
        }
        out.push(byte);
    }
    out.push(b'"');
}

/// Appends text as UTF-8, with U+FFFD for what is not, and for a zero byte, which `text` cannot hold.
fn push_utf8(out: &mut Vec<u8>, text: &[u8]) {
    match std::str::from_utf8(text) {
        Ok(text) if !text.contains('\0') => out.extend_from_slice(text.as_bytes()),
        _ => {
            let text = String::from_utf8_lossy(text).replace('\0', "\u{FFFD}");
            out.extend_from_slice(text.as_bytes());
        }
    }
}

/// Where to cut UTF-8 text that is longer than `limit` characters.
fn cut_at(text: &[u8], limit: usize) -> Option<usize> {
    if text.len() <= limit {
        return None;
    }
    std::str::from_utf8(text)
        .ok()?
        .char_indices()
        .nth(limit)
        .map(|(at, _)| at)
}
