//! The `id` of a change: shaped like UUIDv7 (RFC 9562, section 5.7), derived from the change itself.

use crate::lsn::{Lsn, PgTimestamp};

/// The id of the change at `position` in a transaction that committed at `commit_time`.
///
/// 48 bits of milliseconds, then the 64 bits of the position where version 7 has random bits, then ten
/// bits of `source`, which tell apart two sources that write into one table. So ids ascend in commit
/// order, an index on them appends, and a change that is written again has the same id.
pub fn change_id(commit_time: PgTimestamp, position: Lsn, source: u16) -> [u8; 16] {
    let millis = u64::try_from(commit_time.unix_micros().max(0) / 1000).unwrap_or(0);
    let (high, low) = (position.0 >> 52, position.0 & 0x000F_FFFF_FFFF_FFFF);
    let first = (millis & 0xFFFF_FFFF_FFFF) << 16 | 0x7000 | high;
    let second = 0x8000_0000_0000_0000 | low << 10 | u64::from(source & 0x03FF);
    (u128::from(first) << 64 | u128::from(second)).to_be_bytes()
}

/// Whether both are ids that [`change_id`] makes for changes of one transaction of one source.
pub fn same_transaction(one: [u8; 16], other: [u8; 16]) -> bool {
    // All but the position.
    const REST: u128 = 0xFFFF_FFFF_FFFF_F000_C000_0000_0000_03FF;
    (u128::from_be_bytes(one) ^ u128::from_be_bytes(other)) & REST == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_version_and_variant_and_ascend_with_the_position() {
        let time = PgTimestamp::from_unix_micros(0x0190_1234_5678 * 1000);
        let mut last = [0; 16];
        for position in [
            0,
            1,
            2,
            0xFFFF_FFFF,
            0x000F_FFFF_FFFF_FFFF,
            1 << 52,
            u64::MAX,
        ] {
            let id = change_id(time, Lsn(position), 0x3FF);
            assert_eq!(id[..6], [0x01, 0x90, 0x12, 0x34, 0x56, 0x78]);
            assert_eq!((id[6] >> 4, id[8] >> 6), (7, 2));
            assert!(id > last);
            last = id;
        }
    }

    #[test]
    fn sources_differ_at_the_same_position() {
        let time = PgTimestamp(0);
        assert_ne!(change_id(time, Lsn(5), 1), change_id(time, Lsn(5), 2));
    }

    #[test]
    fn ids_of_one_transaction_differ_in_the_position_alone() {
        let (time, later) = (PgTimestamp(7_000), PgTimestamp(8_000));
        let id = |time, position, source| change_id(time, Lsn(position), source);
        let one = id(time, 5, 1);
        assert!(same_transaction(one, id(time, u64::MAX, 1)));
        assert!(!same_transaction(one, id(time, 5, 2)));
        assert!(!same_transaction(one, id(later, 5, 1)));
        let mut random = one;
        random[6] = 0x40 | random[6] & 0x0F;
        assert!(!same_transaction(one, random));
    }
}
