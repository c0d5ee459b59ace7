//! A notice in the stream that is an error for us.

use crate::error::{Error, SqlState};
use crate::wire::server_error;

/// PostgreSQL 18 passes over the changes of WAL in which a publication did not exist, and says so in a
/// warning (`LoadPublications`, `pgoutput.c`); the servers before it end with an error, as it should be.
pub(super) fn passed_over(notice: &[u8]) -> Option<Error> {
    let warning = server_error(notice);
    log::warn!("source: {warning}");
    warning.is_sqlstate("55000").then(|| {
        let undefined = SqlState::from_bytes(b"42704");
        Error::server(
            undefined,
            "a publication does not exist at this point in the WAL",
        )
    })
}
