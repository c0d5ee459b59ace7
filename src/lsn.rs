//! Positions and identifiers of PostgreSQL: `Lsn`, `Xid`, `Oid` and timestamps of the PostgreSQL
//! epoch.

use std::fmt;
use std::str::FromStr;

/// A log sequence number: a byte position in the write-ahead log.
///
/// Printed as PostgreSQL prints `pg_lsn`: two hexadecimal halves, `16/B374D848`
/// (PostgreSQL documentation, "pg_lsn Type").
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Lsn(pub u64);

impl Lsn {
    /// `0/0`, which PostgreSQL uses for "no position" (`InvalidXLogRecPtr`).
    pub const ZERO: Lsn = Lsn(0);

    /// The bytes from `earlier` to `self`, 0 where `earlier` is ahead.
    pub fn since(self, earlier: Lsn) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xFFFF_FFFF)
    }
}

impl fmt::Debug for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is not a `pg_lsn`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadLsn;

impl fmt::Display for BadLsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected a pg_lsn such as 16/B374D848")
    }
}

impl std::error::Error for BadLsn {}

impl FromStr for Lsn {
    type Err = BadLsn;

    fn from_str(text: &str) -> Result<Lsn, BadLsn> {
        let half = |part: &str| {
            let hex = part.bytes().all(|b| b.is_ascii_hexdigit());
            if part.is_empty() || part.len() > 8 || !hex {
                return Err(BadLsn);
            }
            u64::from_str_radix(part, 16).map_err(|_| BadLsn)
        };
        let (high, low) = text.split_once('/').ok_or(BadLsn)?;
        Ok(Lsn((half(high)? << 32) | half(low)?))
    }
}

/// A transaction identifier as the stream carries it: 32 bits, wrapping.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Xid(pub u32);

/// An object identifier: of a relation, a type or a database.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Oid(pub u32);

macro_rules! shown_as_number {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    )*};
}
shown_as_number!(Xid, Oid);

/// Microseconds from 1970-01-01 to 2000-01-01, both 00:00 UTC.
pub const EPOCH_SHIFT_MICROS: i64 = 946_684_800 * 1_000_000;

/// A point in time as PostgreSQL sends it: microseconds since 2000-01-01 00:00 UTC
/// (PostgreSQL documentation, "Streaming Replication Protocol").
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct PgTimestamp(pub i64);

impl PgTimestamp {
    /// From microseconds since 1970-01-01 00:00 UTC.
    pub fn from_unix_micros(micros: i64) -> PgTimestamp {
        PgTimestamp(micros.saturating_sub(EPOCH_SHIFT_MICROS))
    }

    /// Microseconds since 1970-01-01 00:00 UTC.
    pub fn unix_micros(self) -> i64 {
        self.0.saturating_add(EPOCH_SHIFT_MICROS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lsn_is_read_and_printed_as_pg_lsn() {
        for (text, value) in [
            ("0/0", 0),
            ("16/B374D848", 0x16_B374_D848),
            ("FFFFFFFF/FFFFFFFF", u64::MAX),
        ] {
            assert_eq!(text.parse(), Ok(Lsn(value)));
            assert_eq!(Lsn(value).to_string(), text);
        }
        assert_eq!("a/00000001".parse(), Ok(Lsn(0xA_0000_0001)));
    }

    #[test]
    fn lsn_refuses_what_is_no_pg_lsn() {
        for text in [
            "",
            "/",
            "1",
            "1/",
            "/1",
            "1/g",
            "+1/0",
            "1/2/3",
            "123456789/0",
            " 1/2",
        ] {
            assert_eq!(text.parse::<Lsn>(), Err(BadLsn), "{text}");
        }
    }

    #[test]
    fn timestamps_convert_both_ways() {
        assert_eq!(PgTimestamp(0).unix_micros(), EPOCH_SHIFT_MICROS);
        assert_eq!(
            PgTimestamp::from_unix_micros(EPOCH_SHIFT_MICROS + 5),
            PgTimestamp(5)
        );
        assert_eq!(PgTimestamp(i64::MAX).unix_micros(), i64::MAX);
    }
}
