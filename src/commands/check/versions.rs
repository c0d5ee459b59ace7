//! Minor versions of PostgreSQL that lose changes or end the stream.

use super::super::finding::Findings;

/// What is wrong with servers before the version that is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// Changes are lost of a transaction that is open while a publication gets a table: decoding did not hear
    /// of what other transactions change in the catalog. Mended in 14.18, 15.13, 16.9 and 17.5.
    LosesChanges,
    /// What mended that let each transaction hand on all that it had heard ("Avoid re-distributing cache
    /// invalidation messages", release notes of 14.19, 15.14, 16.10 and 17.6).
    RunsOutOfMemory,
}

impl Fault {
    fn text(self) -> &'static str {
        match self {
            Fault::LosesChanges => {
                "changes may be lost of a transaction that is open while a table is added to a publication"
            }
            Fault::RunsOutOfMemory => {
                "the stream may end with `invalid memory alloc request size` while tables and publications \
                 are altered beside open transactions"
            }
        }
    }
}

/// The fault of this `server_version_num`, and the version that has none.
fn look(version: u32) -> Option<(Fault, &'static str)> {
    let (mended, good, name) = match version / 10_000 {
        14 => (18, 19, "14.19"),
        15 => (13, 14, "15.14"),
        16 => (9, 10, "16.10"),
        17 => (5, 6, "17.6"),
        _ => return None,
    };
    match version % 10_000 {
        minor if minor >= good => None,
        minor if minor >= mended => Some((Fault::RunsOutOfMemory, name)),
        _ => Some((Fault::LosesChanges, name)),
    }
}

/// Adds a warning where the source's version has a fault.
pub fn check(version: u32, findings: &mut Findings) {
    if let Some((fault, name)) = look(version) {
        findings.warn(
            "source",
            format!(
                "this minor version of PostgreSQL has a fault: {}",
                fault.text()
            ),
            format!("update the source to PostgreSQL {name} or later"),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_major_version_has_a_minor_one_without_fault() {
        use Fault::{LosesChanges, RunsOutOfMemory};
        for (major, mended, good) in [
            (14, 18, "14.19"),
            (15, 13, "15.14"),
            (16, 9, "16.10"),
            (17, 5, "17.6"),
        ] {
            let at = |minor: u32| look(major * 10_000 + minor);
            assert_eq!(at(0), Some((LosesChanges, good)));
            assert_eq!(at(mended - 1), Some((LosesChanges, good)));
            assert_eq!(at(mended), Some((RunsOutOfMemory, good)));
            assert_eq!(at(mended + 1), None);
            assert_eq!(at(mended + 2), None);
        }
        for version in [180_000, 180_004, 190_000] {
            assert_eq!(look(version), None);
        }
    }

    #[test]
    fn the_reason_and_the_version_are_named() {
        let said = |version| {
            let mut findings = Findings::default();
            check(version, &mut findings);
            findings.text()
        };
        assert!(said(150_012).contains("may be lost of a transaction that is open while"));
        assert!(said(150_013).contains("invalid memory alloc request size"));
        assert!(said(150_013).ends_with("-> update the source to PostgreSQL 15.14 or later\n"));
        assert_eq!(said(150_014), "");
    }
}
