//! Messages written byte by byte from the documentation, one or more of each kind.

/// A name for the sample, and its bytes.
pub(super) const SAMPLES: &[(&str, &[u8])] = &[
    (
        "Begin",
        b"B\
          \0\0\0\x16\xB3\x74\xD8\x48\
          \0\x02\xB5\x3C\xFE\x0A\xF1\x01\
          \0\0\x02\xE6",
    ),
    (
        "Commit",
        b"C\0\
          \0\0\0\x16\xB3\x74\xD8\x48\
          \0\0\0\x16\xB3\x74\xD8\x78\
          \xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF",
    ),
    ("Origin", b"O\0\0\0\0\x01\x02\x03\x04upstream\0"),
    (
        "Relation",
        b"R\0\0\x40\x01public\0t\xE9\0d\0\x02\
          \x01id\0\0\0\0\x17\xFF\xFF\xFF\xFF\
          \x00\"na me\"\0\0\0\x04\x13\0\0\0\x18",
    ),
    (
        "Relation without columns",
        b"R\0\0\x40\x02\0pg_class\0n\0\0",
    ),
    ("Type", b"Y\0\0\x40\x05app\0mood\0"),
    ("Type of pg_catalog", b"Y\0\0\x40\x06\0numeric\0"),
    (
        "Insert",
        b"I\0\0\x40\x01N\0\x04t\0\0\0\x0242nub\0\0\0\x03\0\xFF\0",
    ),
    ("Insert without columns", b"I\0\0\x40\x02N\0\0"),
    ("Update", b"U\0\0\x40\x01N\0\x02t\0\0\0\x0242t\0\0\0\0"),
    (
        "Update with a key",
        b"U\0\0\x40\x01K\0\x02t\0\0\0\x0241nN\0\x02t\0\0\0\x0242u",
    ),
    (
        "Update with an old row",
        b"U\0\0\x40\x01O\0\x01t\0\0\0\x05largeN\0\x01u",
    ),
    ("Delete with a key", b"D\0\0\x40\x01K\0\x02t\0\0\0\x0242n"),
    (
        "Delete with an old row",
        b"D\0\0\x40\x01O\0\x02b\0\0\0\x01\x07n",
    ),
    ("Truncate", b"T\0\0\0\x02\x03\0\0\x40\x01\0\0\x40\x02"),
    ("Truncate without relations", b"T\0\0\0\0\0"),
    (
        "Message",
        b"M\x01\0\0\0\0\x01\x02\x03\x04_bemi\0\0\0\0\x02{}",
    ),
    (
        "Message outside of a transaction",
        b"M\x00\0\0\0\0\x01\x02\x03\x04\0\0\0\0\0",
    ),
];

/// The bytes of the sample with this name.
pub(super) fn sample(name: &str) -> &'static [u8] {
    let found = SAMPLES.iter().find(|(sample, _)| *sample == name);
    found.map(|(_, bytes)| *bytes).unwrap_or_default()
}
