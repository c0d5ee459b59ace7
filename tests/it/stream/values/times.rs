//! Dates, times and intervals.

use super::kind::Kind;

/// Moments that to_jsonb prints in a way of its own, or nearly.
macro_rules! moments {
    ($($more:literal),*) => {
        &[
            "infinity", "-infinity", "epoch", "4714-11-24 00:00:00 BC", "0044-03-15 12:30:00 BC",
            "0001-12-31 23:59:59.999999 BC", "0001-01-01 00:00:00", "0099-01-01", "1582-10-15",
            "1970-01-01 00:00:00.000001", "1999-12-31 23:59:59.9", "2000-01-01", "2000-02-29 12:34:56.78",
            "2024-06-30 23:59:59.123456", "2038-01-19 03:14:08", "9999-12-31 23:59:59", "10000-01-01",
            "99999-12-31 01:02:03.4", "100000-01-01", "294276-12-31 23:59:59.999999", $($more),*
        ]
    };
}

pub const KINDS: &[Kind] = &[
    Kind::of(
        "date",
        &[
            "infinity",
            "-infinity",
            "epoch",
            "4714-11-24 BC",
            "0001-12-31 BC",
            "0001-01-01",
            "0045-02-29 BC",
            "0099-12-31",
            "2024-02-29",
            "9999-12-31",
            "10000-01-01",
            "99999-01-01",
            "1000000-06-15",
            "5874897-12-31",
        ],
        "'2000-01-01'::date + ((random() - 0.5) * 4e6)::int",
    ),
    Kind::of(
        "time",
        &[
            "00:00",
            "24:00:00",
            "23:59:59.999999",
            "12:00:00.1",
            "00:00:00.000001",
        ],
        "'00:00'::time + random() * '1 day'::interval",
    ),
    Kind::of(
        "time(0)",
        &["23:59:59.6", "00:00"],
        "'00:00'::time + random() * '1 day'::interval",
    ),
    Kind::of(
        "timetz",
        &[
            "00:00+00",
            "00:00:00+15:59:59",
            "24:00:00-15:59",
            "12:00:00.5+05:30",
            "04:05:06.789-08",
            "23:59:59.999999-00:00:01",
        ],
        "('00:00'::time + random() * '1 day'::interval)::text || to_char(g % 12 - 6, 'SG00') || ':15'",
    ),
    Kind::of(
        "timestamp",
        moments!(),
        "'2000-01-01'::timestamp + (random() - 0.5) * 9000 * '1 year'::interval",
    ),
    Kind::of(
        "timestamp(3)",
        moments!("2024-01-01 00:00:00.0005"),
        "now() + random() * '1 day'::interval",
    ),
    Kind::of(
        "timestamptz",
        moments!(
            "1883-11-18 12:03:58-04:56:02",
            "2024-03-31 02:30 Europe/Berlin",
            "0001-01-01 00:00+14"
        ),
        "'2000-01-01'::timestamptz + (random() - 0.5) * 9000 * '1 year'::interval",
    ),
    Kind::of(
        "timestamptz(0)",
        moments!("2024-01-01 00:00:00.5+05"),
        "now() - random() * '9 years'::interval",
    ),
    Kind::of(
        "interval",
        &[
            "0",
            "1 year 2 mons 3 days 04:05:06.7",
            "-178000000 years",
            "178000000 years",
            "1 mon -1 day",
            "-1 mon +1 day -00:00:01",
            "@ 14 seconds ago",
            "00:00:00.000001",
            "-00:00:00.000001",
            "6 years",
            "5 months 12 hours",
            "2147483647 days",
            "1000000000:00:00",
            "P1Y2M3DT4H5M6.5S",
        ],
        "make_interval((random() * 9 - 4)::int, g % 12, 0, \
         (random() * 60 - 30)::int, 0, 0, random() * 1e6 - 5e5)",
    ),
    Kind::of("interval", &["infinity", "-infinity"], "").since(17),
    Kind::of(
        "interval(2)",
        &["1.239 s", "-00:00:00.005"],
        "random() * '1 day'::interval",
    ),
    Kind::of(
        "interval year to month",
        &["1 year 2 months", "-3 mons"],
        "",
    ),
];
