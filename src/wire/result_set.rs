//! The answer to a simple query: column names, rows as text, command tag (PostgreSQL documentation, "Message
//! Formats": RowDescription, DataRow, CommandComplete).

use crate::error::{Error, Kind, Result};

/// The rows of one statement, as text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResultSet {
    /// The names of the columns.
    pub columns: Vec<String>,
    /// The rows; `None` is NULL.
    pub rows: Vec<Vec<Option<String>>>,
    /// The command tag, such as `SELECT 1`.
    pub tag: String,
}

impl ResultSet {
    /// The value of the first row in this column, where there is one and it is not NULL.
    pub fn first(&self, column: usize) -> Option<&str> {
        self.rows.first()?.get(column)?.as_deref()
    }

    /// The value in this row (from 0) and the column of this name; `None` where there is no such row or
    /// column, or the value is NULL.
    pub fn value(&self, row: usize, column: &str) -> Option<&str> {
        let column = self.columns.iter().position(|name| name == column)?;
        self.rows.get(row)?.get(column)?.as_deref()
    }

    /// The values of all rows in the column of this name, without NULLs.
    pub fn values(&self, column: &str) -> Vec<String> {
        let value = |row| self.value(row, column).map(str::to_owned);
        (0..self.rows.len()).filter_map(value).collect()
    }
}

/// The text of a CommandComplete.
pub fn command_tag(body: &[u8]) -> String {
    String::from_utf8_lossy(body.strip_suffix(b"\0").unwrap_or(body)).into_owned()
}

/// The number of rows at the end of a command tag.
pub fn rows_of_tag(tag: &str) -> u64 {
    tag.rsplit(' ')
        .next()
        .and_then(|n| n.parse().ok())
        .unwrap_or(0)
}

fn truncated(what: &str) -> Error {
    Error::new(Kind::Protocol, format!("{what} ends before its last field"))
}

/// The column names of a RowDescription.
pub(super) fn column_names(body: &[u8]) -> Result<Vec<String>> {
    let short = || truncated("RowDescription");
    let (count, mut rest) = body.split_first_chunk::<2>().ok_or_else(short)?;
    let mut names = Vec::new();
    for _ in 0..u16::from_be_bytes(*count) {
        let end = rest.iter().position(|b| *b == 0).ok_or_else(short)?;
        let (name, after) = rest.split_at_checked(end).ok_or_else(short)?;
        names.push(String::from_utf8_lossy(name).into_owned());
        // The terminating zero byte, then table OID, attribute number, type OID, size, modifier and format.
        rest = after.get(1 + 18..).ok_or_else(short)?;
    }
    Ok(names)
}

/// Text in UTF-8, with U+FFFD for what is not.
pub(super) fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The values of a DataRow, of whose bytes `text` makes text; `None` is NULL.
pub(super) fn row(body: &[u8], text: fn(&[u8]) -> String) -> Result<Vec<Option<String>>> {
    let short = || truncated("DataRow");
    let (count, mut rest) = body.split_first_chunk::<2>().ok_or_else(short)?;
    let mut values = Vec::new();
    for _ in 0..u16::from_be_bytes(*count) {
        let (length, after) = rest.split_first_chunk::<4>().ok_or_else(short)?;
        rest = after;
        match usize::try_from(i32::from_be_bytes(*length)) {
            Err(_) => values.push(None),
            Ok(length) => {
                let (value, after) = rest.split_at_checked(length).ok_or_else(short)?;
                values.push(Some(text(value)));
                rest = after;
            }
        }
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn values_are_found_by_the_name_of_their_column() {
        let set = ResultSet {
            columns: vec!["a".into(), "b".into()],
            rows: vec![vec![Some("1".into()), None], vec![None, Some("2".into())]],
            tag: String::new(),
        };
        for (row, column, expected) in [
            (0, "a", Some("1")),
            (0, "b", None),
            (1, "b", Some("2")),
            (2, "a", None),
            (0, "c", None),
        ] {
            assert_eq!(set.value(row, column), expected, "{row} {column}");
        }
        assert_eq!(set.values("b"), ["2"]);
        assert!(set.values("c").is_empty());
    }

    #[test]
    fn rows_are_read_and_their_lengths_checked() {
        let body = b"\0\x02\0\0\0\x01a\xFF\xFF\xFF\xFF";
        assert_eq!(row(body, lossy).unwrap(), vec![Some("a".into()), None]);
        for end in 0..body.len() {
            assert!(row(&body[..end], lossy).is_err(), "{end}");
        }
        assert!(row(b"\0\x01\x7F\xFF\xFF\xFFa", lossy).is_err());
    }

    #[test]
    fn column_names_are_read_and_their_lengths_checked() {
        let mut body = b"\0\x01id\0".to_vec();
        body.extend([0; 18]);
        assert_eq!(column_names(&body).unwrap(), vec!["id"]);
        for end in 0..body.len() {
            assert!(column_names(&body[..end]).is_err(), "{end}");
        }
    }

    #[test]
    fn tags_give_their_row_counts() {
        assert_eq!(rows_of_tag(&command_tag(b"COPY 1000\0")), 1000);
        assert_eq!(rows_of_tag("INSERT 0 7"), 7);
        assert_eq!(rows_of_tag("BEGIN"), 0);
    }
}
