//! ErrorResponse and NoticeResponse: fields by a type byte
//! (PostgreSQL documentation, "Error and Notice Message Fields").

use std::borrow::Cow;

use crate::error::{Error, SqlState};
use crate::lsn::Lsn;
use crate::sqlstate;

struct Fields<'a> {
    severity: Cow<'a, str>,
    sqlstate: SqlState,
    message: Cow<'a, str>,
    detail: Option<Cow<'a, str>>,
    hint: Option<Cow<'a, str>>,
    /// Where it was raised; the first line is the innermost function.
    context: Option<Cow<'a, str>>,
    /// The C function that reported it.
    routine: Option<Cow<'a, str>>,
}

fn fields(body: &[u8]) -> Fields<'_> {
    let mut found = Fields {
        severity: Cow::Borrowed("ERROR"),
        sqlstate: SqlState::from_bytes(b""),
        message: Cow::Borrowed("no message"),
        detail: None,
        hint: None,
        context: None,
        routine: None,
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
            b'W' => found.context = Some(text()),
            b'R' => found.routine = Some(text()),
            _ => {}
        }
    }
    found
}

impl Fields<'_> {
    /// Whether a function of a user wrote the text, by RAISE or in another language than SQL and C: any part
    /// of it may be a value, whatever the SQLSTATE is (`exec_stmt_raise`, `pl_exec.c`).
    fn is_raised(&self) -> bool {
        matches!(self.sqlstate.class(), "P0" | "38")
            || self.routine.as_deref() == Some("exec_stmt_raise")
    }

    /// The message without row values. In the data classes (22, 23, 44, 54) PostgreSQL quotes the value
    /// behind a colon; for a number that is out of range, in front of it. Of what a function raised, only the
    /// place stays.
    fn message(&self) -> String {
        if self.is_raised() {
            let first = self
                .context
                .as_deref()
                .and_then(|context| context.lines().next());
            let place = first.filter(|line| line.starts_with("PL/pgSQL function "));
            return format!("an exception of {}", place.unwrap_or("a function"));
        }
        if self.sqlstate.as_str() == sqlstate::NUMERIC_VALUE_OUT_OF_RANGE
            && self.message.contains(['"', '«', '„', '“', '「'])
        {
            return "a number is out of the range of its type".to_owned();
        }
        match self.message.split_once(": ") {
            Some((before, _)) if self.is_about_data() => before.to_owned(),
            _ => self.message.clone().into_owned(),
        }
    }

    /// The change that an output plugin was given when it failed (`output_plugin_error_callback`,
    /// `logical.c`; its words depend on `lc_messages`).
    fn wal_position(&self) -> Option<Lsn> {
        let lines = self.context.as_deref()?.lines();
        let mut words = lines
            .filter(|line| line.contains("\"pgoutput\""))
            .flat_map(|line| line.split(|c: char| !c.is_ascii_hexdigit() && c != '/'));
        words.find_map(|word| word.parse().ok())
    }

    /// DETAIL and HINT hold values as well.
    fn is_about_data(&self) -> bool {
        self.is_raised() || matches!(self.sqlstate.class(), "22" | "23" | "44" | "54")
    }
}

/// The error of an ErrorResponse, without row values.
pub fn server_error(body: &[u8]) -> Error {
    let fields = fields(body);
    let about_data = fields.is_about_data();
    let mut message = fields.message();
    if fields.severity != "ERROR" {
        message = format!("{}: {message}", fields.severity);
    }
    if let (Some(detail), false) = (&fields.detail, about_data) {
        message = format!("{message}; {detail}");
    }
    let mut error = Error::server(fields.sqlstate, message);
    if let Some(position) = fields.wal_position() {
        error = error.at_wal(position);
    }
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
    log::log!(level, "{server}: {}: {}", fields.severity, fields.message());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_change_at_which_an_output_plugin_failed_is_kept() {
        for (context, position) in [
            (
                "slot \"s\", output plugin \"pgoutput\", in the change callback, associated LSN 0/1E1A2A0",
                Some(Lsn(0x1E1_A2A0)),
            ),
            (
                "Slot \u{bb}s\u{ab}, Ausgabe-Plugin \"pgoutput\", im Callback change, LSN: 1/0A",
                Some(Lsn(0x1_0000_000A)),
            ),
            (
                "slot \"s\", output plugin \"pgoutput\", in the startup callback",
                None,
            ),
            ("PL/pgSQL function f() line 1 at 0/1", None),
        ] {
            let body = format!("SERROR\0CXX000\0Mm\0W{context}\0\0");
            let error = server_error(body.as_bytes());
            assert_eq!(error.wal_position(), position, "{context}");
            assert_eq!(error.to_string().contains("change at"), position.is_some());
        }
    }

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
    fn no_form_of_an_error_about_data_holds_a_value() {
        let bodies: [(&[u8], &str); 7] = [
            (
                b"VERROR\0CP0001\0Mbad (1,s3cret)\0Ds3cret\0Hs3cret\0WPL/pgSQL function public.f() line 1 at \
                  RAISE\nSQL statement \"SELECT 's3cret'\"\0Rexec_stmt_raise\0\0",
                "an exception of PL/pgSQL function public.f() line 1 at RAISE (SQLSTATE P0001)",
            ),
            (
                b"VERROR\0C53100\0Ms3cret\0WSQL statement s3cret\0Rexec_stmt_raise\0\0",
                "an exception of a function (SQLSTATE 53100)",
            ),
            (
                b"VERROR\0C38000\0MValueError: s3cret\0WPL/Python function \"f\"\0\0",
                "an exception of a function (SQLSTATE 38000)",
            ),
            (
                b"VERROR\0C23514\0Mnew row for relation \"changes\" violates check constraint \"c\"\0\
                  DFailing row contains (s3cret).\0\0",
                "new row for relation \"changes\" violates check constraint \"c\" (SQLSTATE 23514)",
            ),
            (
                b"VERROR\0C23505\0Mduplicate key value violates unique constraint \"u\"\0\
                  DKey (v)=(s3cret) already exists.\0\0",
                "duplicate key value violates unique constraint \"u\" (SQLSTATE 23505)",
            ),
            (
                b"VERROR\0C22003\0Mvalue \"s3cret\" is out of range for type integer\0\0",
                "a number is out of the range of its type (SQLSTATE 22003)",
            ),
            (
                b"VERROR\0C22003\0Minteger out of range\0\0",
                "integer out of range (SQLSTATE 22003)",
            ),
        ];
        for (body, wanted) in bodies {
            assert_eq!(server_error(body).without_hint(), wanted);
        }
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
