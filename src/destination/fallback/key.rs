//! Pure: what tells one row of `changes` from others.

use std::borrow::Cow;

use crate::change::copy;
use crate::lsn::PgTimestamp;

/// The fields of an encoded row by which it is found in the table.
pub(super) struct Key<'a> {
    pub(super) id: [u8; 16],
    pub(super) database: Cow<'a, str>,
    pub(super) schema: Cow<'a, str>,
    pub(super) table: Cow<'a, str>,
    pub(super) operation: Cow<'a, str>,
    pub(super) commit_time: PgTimestamp,
    pub(super) xid: i64,
    pub(super) position: i64,
}

impl<'a> Key<'a> {
    /// Of an encoded row, see [`crate::change::RowShape::columns`]. A field that is missing is empty or 0.
    pub(super) fn read(tuple: &'a [u8]) -> Key<'a> {
        let mut fields = [&b""[..]; 12];
        for (place, field) in fields.iter_mut().zip(copy::fields(tuple)) {
            *place = field.unwrap_or_default();
        }
        let text = |i: usize| String::from_utf8_lossy(fields[i]);
        let number = |i: usize| fields[i].try_into().map_or(0, i64::from_be_bytes);
        Key {
            id: fields[0].try_into().unwrap_or_default(),
            database: text(4),
            schema: text(5),
            table: text(6),
            operation: text(7),
            commit_time: PgTimestamp(number(8)),
            xid: number(10),
            position: number(11),
        }
    }

    /// Whether two rows at one position would be in each other's way.
    pub(super) fn shares_place(&self, other: &Key<'_>) -> bool {
        (&self.table, &self.schema, &self.database, &self.operation)
            == (
                &other.table,
                &other.schema,
                &other.database,
                &other.operation,
            )
    }

    /// The place of the operation in [`crate::change::table_counts::ByOperation`].
    pub(super) fn operation_index(&self) -> usize {
        match &*self.operation {
            "UPDATE" => 1,
            "DELETE" => 2,
            "TRUNCATE" => 3,
            _ => 0,
        }
    }
}

/// A UUID as PostgreSQL prints it, or without hyphens.
pub(super) fn parse_uuid(text: &str) -> Option<[u8; 16]> {
    let hex: String = text.chars().filter(|c| *c != '-').collect();
    (hex.len() == 32).then_some(u128::from_str_radix(&hex, 16).ok()?.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hex;

    #[test]
    fn the_key_of_a_row_is_read_from_its_fields() {
        let mut row = Vec::new();
        copy::tuple(&mut row, 13);
        copy::field(&mut row, &[7; 16]);
        for _ in 0..3 {
            copy::null(&mut row);
        }
        for text in ["db", "s", "t", "TRUNCATE"] {
            copy::field(&mut row, text.as_bytes());
        }
        for number in [11, 12, 13, 14] {
            copy::int8(&mut row, number);
        }
        copy::field(&mut row, b"\x01{}");
        let key = Key::read(&row);
        assert_eq!((key.id, &*key.database, &*key.table), ([7; 16], "db", "t"));
        assert_eq!((key.commit_time.0, key.xid, key.position), (11, 13, 14));
        assert_eq!(key.operation_index(), 3);
        // What is cut short is no reason to panic.
        for end in 0..row.len() {
            Key::read(&row[..end]);
        }
    }

    #[test]
    fn ids_are_written_as_they_are_read() {
        let id = 0x0190_1234_5678_7000_8000_0000_0000_0001_u128.to_be_bytes();
        assert_eq!(parse_uuid(&hex::text(&id)), Some(id));
        assert_eq!(parse_uuid("01901234-5678-7000-8000-000000000001"), Some(id));
        assert_eq!(parse_uuid("x"), None);
    }
}
