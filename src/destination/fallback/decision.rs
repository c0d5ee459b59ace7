//! Pure: what comes after an error of the fallback.

use crate::destination::forms::Form;
use crate::error::Error;
use crate::sqlstate;

/// What comes after the COPY of some rows was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AfterCopy {
    /// The error goes to the caller: it is not about the rows.
    Fail,
    /// The rows are looked up in the table, and those that it lacks are copied again.
    Compare,
    /// The one row is written in another form, unless the table holds it.
    OtherForm,
    /// Each half is copied alone.
    Halve,
}

/// Decides for this many rows, which may be compared with the table so many times yet.
pub(super) fn after_copy(error: &Error, rows: usize, comparisons: u8) -> AfterCopy {
    if !error.is_about_data() {
        return AfterCopy::Fail;
    }
    if error.is_sqlstate(sqlstate::UNIQUE_VIOLATION) && comparisons > 0 {
        return AfterCopy::Compare;
    }
    if rows == 1 {
        AfterCopy::OtherForm
    } else {
        AfterCopy::Halve
    }
}

/// What comes after a row, or the context of rows, was refused in a form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AfterForm {
    /// The error goes to the caller: it is not about the row.
    Fail,
    /// Another form is tried.
    Try(Form),
    /// There is no other form.
    Refused,
}

/// Decides for a row that was refused in this form.
pub(super) fn after_form(form: Form, error: &Error) -> AfterForm {
    if !error.is_about_data() {
        return AfterForm::Fail;
    }
    form.next(is_untranslatable(error))
        .map_or(AfterForm::Refused, AfterForm::Try)
}

/// What comes after a row was refused at a position that was free a moment ago.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AfterMove {
    /// The error goes to the caller: it is not about the row.
    Fail,
    /// The next free position is tried, with a new id: another process has taken the place, or the id.
    TryNext,
    /// The row is written in another form at this position.
    OtherForm,
}

/// Decides by the error.
pub(super) fn after_move(error: &Error) -> AfterMove {
    if error.is_sqlstate(sqlstate::UNIQUE_VIOLATION) {
        AfterMove::TryNext
    } else if error.is_about_data() {
        AfterMove::OtherForm
    } else {
        AfterMove::Fail
    }
}

/// The destination's encoding lacks a character.
fn is_untranslatable(error: &Error) -> bool {
    error.is_sqlstate(sqlstate::CHARACTER_NOT_IN_REPERTOIRE)
        || error.is_sqlstate(sqlstate::UNTRANSLATABLE_CHARACTER)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Kind, SqlState};

    fn error(code: &str) -> Error {
        Error::server(SqlState::from_bytes(code.as_bytes()), "refused")
    }

    #[test]
    fn refused_rows_are_compared_halved_or_written_in_another_form() {
        use AfterCopy::{Compare, Fail, Halve, OtherForm};
        for (code, rows, comparisons, expected) in [
            // A unique violation: the row may be there already.
            ("23505", 8, 3, Compare),
            ("23505", 1, 1, Compare),
            // It is still in the way after the last comparison: the row itself is looked for.
            ("23505", 8, 0, Halve),
            ("23505", 1, 0, OtherForm),
            // A trigger, CHECK, length, number out of range, jsonb too large, row too large.
            ("P0001", 8, 3, Halve),
            ("23514", 2, 3, Halve),
            ("23514", 1, 3, OtherForm),
            ("22001", 1, 0, OtherForm),
            ("22003", 3, 0, Halve),
            ("54000", 1, 3, OtherForm),
            ("XX000", 8, 3, Halve),
            ("22P05", 1, 3, OtherForm),
            // Not the rows: disk, shutdown, rights, table, deadlock, statement.
            ("53100", 8, 3, Fail),
            ("57P01", 1, 3, Fail),
            ("42501", 8, 3, Fail),
            ("42P01", 1, 3, Fail),
            ("40P01", 8, 3, Fail),
            ("26000", 1, 3, Fail),
        ] {
            let found = after_copy(&error(code), rows, comparisons);
            assert_eq!(found, expected, "{code} {rows} {comparisons}");
        }
        let lost = Error::new(Kind::Transient, "connection reset");
        assert_eq!(after_copy(&lost, 8, 3), Fail);
    }

    /// The forms as they are tried, by the SQLSTATE with which each was refused.
    fn tried(codes: &[&str]) -> (Vec<Form>, AfterForm) {
        let (mut form, mut forms) = (Form::WHOLE, Vec::new());
        for code in codes {
            match after_form(form, &error(code)) {
                AfterForm::Try(next) => form = next,
                end => return (forms, end),
            }
            forms.push(form);
        }
        (forms, AfterForm::Try(form))
    }

    #[test]
    fn forms_are_tried_in_order_and_end_with_the_last() {
        let (forms, end) = tried(&["23514"; 4]);
        assert_eq!((forms.len(), end), (3, AfterForm::Refused));
        // A character that the encoding lacks costs one form more, wherever it shows.
        for at in 0..4 {
            let mut codes = ["23514"; 5];
            codes[at] = if at % 2 == 0 { "22P05" } else { "22021" };
            let (with_ascii, end) = tried(&codes);
            assert_eq!((with_ascii.len(), end), (4, AfterForm::Refused), "{at}");
            assert_eq!(with_ascii[..at], forms[..at], "{at}");
        }
        // It says so once: what is spelt out in ASCII and is refused again loses more.
        let (forms, end) = tried(&["22P05"; 5]);
        assert_eq!((forms.len(), end), (4, AfterForm::Refused));
    }

    #[test]
    fn an_error_that_is_not_about_the_row_ends_the_forms() {
        assert_eq!(tried(&["23514", "57P01"]).1, AfterForm::Fail);
        assert_eq!(tried(&["53100"]), (vec![], AfterForm::Fail));
    }

    #[test]
    fn a_moved_row_goes_on_where_only_its_place_was_taken() {
        for (code, expected) in [
            ("23505", AfterMove::TryNext),
            ("23514", AfterMove::OtherForm),
            ("22P05", AfterMove::OtherForm),
            ("57P01", AfterMove::Fail),
            ("42P01", AfterMove::Fail),
        ] {
            assert_eq!(after_move(&error(code)), expected, "{code}");
        }
    }
}
