//! Casts to json that only the source can compute: the question, and what its errors mean.

use crate::error::{Error, Kind};
use crate::lsn::Oid;
use crate::sqlstate;
use crate::wire::{identifier, literal};

/// Asks for the JSON of a value, which is the parameter. The type is given by its OID in the message, so that
/// no right on its schema is needed to name it.
pub(super) const QUERY: &str = "SELECT to_jsonb($1)::text";

/// The longest text of a value that a server takes in a message, in bytes (a little less than `MaxAllocSize`,
/// 1 GiB).
pub(super) const LONGEST_TEXT: usize = 0x3FFF_0000;

/// Whether an error of the statement says that the value has no JSON. Otherwise the question has to be asked
/// again: what the server was short of, or lost, says nothing about the value (connection, 08; transaction
/// rollback, 40; resources, 53; operator intervention, 57; input and output, 58030; locks; damaged data).
pub(super) fn is_answer(error: &Error) -> bool {
    let Some(state) = error.sqlstate().filter(|_| error.kind() == Kind::Server) else {
        return false;
    };
    let is_of_server = matches!(state.class(), "08" | "40" | "53" | "57")
        || matches!(
            state.as_str(),
            sqlstate::LOCK_NOT_AVAILABLE
                | sqlstate::IO_ERROR
                | sqlstate::DATA_CORRUPTED
                | sqlstate::INDEX_CORRUPTED
        );
    !is_of_server
}

/// The cause in words for the log. Statements inside of a cast's function may hold values, which PostgreSQL
/// quotes in errors of syntax and names: of those only the state is told.
pub(super) fn cause(error: &Error) -> String {
    let state = error.sqlstate();
    let class = state.as_ref().map_or("", |state| state.class());
    let is_told = matches!(class, "22" | "23" | "38" | "44" | "54" | "P0") || is_of_rights(error);
    match state {
        Some(state) if !is_told => format!("an error of SQLSTATE {state}"),
        _ => error.without_hint(),
    }
}

/// Whether a right is missing.
pub(super) fn is_of_rights(error: &Error) -> bool {
    error.is_sqlstate(sqlstate::INSUFFICIENT_PRIVILEGE)
}

/// Asks for the statement by which the role gets the rights that the cast needs. Functions that PostgreSQL
/// itself calls for a cast need none; names inside of them do.
pub(super) fn fix_query(type_oid: Oid, role: &str) -> String {
    let role = literal(&identifier(role));
    format!(
        "SELECT CASE WHEN NOT has_schema_privilege(n.oid, 'USAGE') \
          THEN format('GRANT USAGE ON SCHEMA %I TO %s', n.nspname, {role}) \
         WHEN NOT has_schema_privilege(f.pronamespace, 'USAGE') \
          THEN format('GRANT USAGE ON SCHEMA %s TO %s', f.pronamespace::regnamespace, {role}) \
         WHEN NOT has_function_privilege(f.oid, 'EXECUTE') \
          THEN format('GRANT EXECUTE ON FUNCTION %s TO %s', f.oid::regprocedure, {role}) \
         WHEN f.oid IS NOT NULL \
          THEN format('GRANT %s the right that %s lacks; or ALTER FUNCTION %s SECURITY DEFINER', \
          {role}, f.oid::regprocedure, f.oid::regprocedure) END AS fix \
         FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace \
         LEFT JOIN pg_cast c ON c.castsource = t.oid AND c.casttarget = 114 \
         LEFT JOIN pg_proc f ON f.oid = c.castfunc WHERE t.oid = {type_oid}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::SqlState;

    fn server(state: &str, message: &str) -> Error {
        Error::server(SqlState::from_bytes(state.as_bytes()), message)
    }

    #[test]
    fn only_what_is_about_the_value_is_an_answer() {
        for state in [
            "08006", "40001", "40P01", "53100", "53200", "53300", "55P03", "57014", "57P01",
            "57P02", "57P03", "58030", "XX001", "XX002",
        ] {
            assert!(!is_answer(&server(state, "x")), "{state}");
        }
        for state in [
            "0A000", "21000", "22P02", "22021", "22P05", "23514", "25006", "38000", "42501",
            "42704", "42883", "54000", "54001", "P0001", "XX000", "58P01",
        ] {
            assert!(is_answer(&server(state, "x")), "{state}");
        }
        for kind in [
            Kind::Transient,
            Kind::Refused,
            Kind::Stopped,
            Kind::Protocol,
        ] {
            assert!(!is_answer(&Error::new(kind, "x")), "{kind:?}");
        }
    }

    #[test]
    fn a_cause_holds_no_text_that_a_statement_may_have_brought_in() {
        let told = cause(&server("42501", "permission denied for schema v"));
        assert_eq!(told, "permission denied for schema v (SQLSTATE 42501)");
        for state in ["42601", "42703", "XX000"] {
            let told = cause(&server(state, "syntax error at or near \"s3cret\""));
            assert_eq!(told, format!("an error of SQLSTATE {state}"));
        }
    }
}
