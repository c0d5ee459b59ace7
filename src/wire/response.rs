//! ErrorResponse and NoticeResponse: fields by a type byte
//! (PostgreSQL documentation, "Error and Notice Message Fields").

use std::borrow::Cow;

use crate::error::{Error, SqlState};

struct Fields<'a> {
    severity: Cow<'a, str>,
    sqlstate: SqlState,
    message: Cow<'a, str>,
    detail: Option<Cow<'a, str>>,
    hint: Option<Cow<'a, str>>,
}

fn fields(body: &[u8]) -> Fields<'_> {
    let mut found = Fields {
        severity: Cow::Borrowed("ERROR"),
        sqlstate: SqlState::from_bytes(b""),
        message: Cow::Borrowed("no message"),
        detail: None,
        hint: None,
    };
    for field in body.split(|b| *b == 0) {
        let Some((kind, value)) = field.split_first() else {
            break;
        };
        let text = || String::from_utf8_lossy(value);
        match kind {
            b'V' => found.severity = text(),
            b'C' => found.sqlstate = SqlState::from_bytes(value),
            b'M' => found.message = text(),
            b'D' => found.detail = Some(text()),
            b'H' => found.hint = Some(text()),
            _ => {}
        }
    }
    found
}

/// The error of an ErrorResponse, without row values: in the data classes (22, 23, 44, 54) PostgreSQL quotes
/// the value behind a colon of the message and in DETAIL, so both are left out.
pub fn server_error(body: &[u8]) -> Error {
    let fields = fields(body);
    let about_data = matches!(fields.sqlstate.class(), "22" | "23" | "44" | "54");
    let mut message = match fields.message.split_once(": ") {
        Some((before, _)) if about_data => before.to_owned(),
        _ => fields.message.into_owned(),
    };
    if fields.severity != "ERROR" {
        message = format!("{}: {message}", fields.severity);
    }
    if let (Some(detail), false) = (&fields.detail, about_data) {
        message = format!("{message}; {detail}");
    }
    let error = Error::server(fields.sqlstate, message);
    match fields.hint {
        Some(hint) if !about_data => error.hint(hint),
        _ => error,
    }
}

/// Writes a NoticeResponse to the log: a WARNING as warning, the rest for debugging.
pub(super) fn log_notice(server: &str, body: &[u8]) {
    let fields = fields(body);
    let level = if fields.severity == "WARNING" {
        log::Level::Warn
    } else {
        log::Level::Debug
    };
    log::log!(level, "{server}: {}: {}", fields.severity, fields.message);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_error_keeps_state_message_detail_and_hint() {
        let error = server_error(
            b"SERROR\0VERROR\0C55006\0Mreplication slot \"zemi\" is active for PID 7\0Dd\0Hh\0\0",
        );
        assert_eq!(
            error.to_string(),
            "replication slot \"zemi\" is active for PID 7; d (SQLSTATE 55006). Hint: h"
        );
    }

    #[test]
    fn row_values_stay_out_of_the_message() {
        let error = server_error(
            b"VERROR\0C22P02\0Minvalid input syntax for type json: \"s3cret\"\0DToken s3cret\0\0",
        );
        assert!(!error.to_string().contains("s3cret"), "{error}");
    }

    #[test]
    fn what_is_cut_or_not_utf8_is_still_an_error() {
        for body in [&b""[..], b"\0", b"M", b"M\xFF\xFE", b"C12"] {
            assert_eq!(
                server_error(body).sqlstate(),
                Some(SqlState::from_bytes(b"XX000"))
            );
        }
    }
}
