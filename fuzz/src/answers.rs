//! What a server says in errors and tags, and names from it on their way into SQL.

use zemi::fuzzing::{command_tag, identifier, rows_of_tag, server_error};
use zemi::lsn::Lsn;
use zemi::wire::literal;

use super::input::{Input, without};
use super::{is_fit_to_print, meter};

/// Stands for a value of a row; not to be found in an error about data.
const VALUE: &str = "v4lue-of-a-r0w";

pub fn run(data: &[u8]) {
    meter::within(data.len(), 64, 64 * 1024, || {
        is_fit_to_print(&server_error(data), data.len());
        let tag = command_tag(data);
        assert!(tag.len() <= 3 * data.len());
        let rows = rows_of_tag(&tag);
        assert!(rows == 0 || tag.ends_with(|last: char| last.is_ascii_digit()));
        if let Ok(lsn) = tag.parse::<Lsn>() {
            assert_eq!(lsn.to_string().parse(), Ok(lsn));
        }
        hides_values(&mut Input::new(data));
        let text: String = tag.replace('\0', "");
        assert_eq!(read_identifier(&identifier(&text)), Some(text.clone()));
        assert_eq!(read_literal(&literal(&text)), Some(text));
    });
}

/// An error of a data class, with the value where PostgreSQL quotes it.
fn hides_values(input: &mut Input<'_>) {
    let class = ["22", "23", "44", "54"][input.below(4)];
    let code = format!("{class}{:03}", u16::from(input.byte()));
    let text = |input: &mut Input<'_>| without(input.text(), VALUE);
    let message = text(input).replace(": ", ":");
    let mut body = Vec::new();
    for (kind, field) in [
        ("S", text(input)),
        ("V", "ERROR".into()),
        ("C", code),
        ("M", format!("{message}: \"{VALUE}\"")),
        ("D", format!("{}{VALUE}", text(input))),
        ("H", format!("{}{VALUE}", text(input))),
        ("W", format!("{}{VALUE}", text(input))),
    ] {
        body.extend(format!("{kind}{field}\0").as_bytes());
    }
    body.push(0);
    let error = server_error(&body);
    assert!(!format!("{error} {error:?}").contains(VALUE), "{error}");
    assert!(error.is_about_data());
}

/// What PostgreSQL's scanner takes a quoted identifier for, where the text is one and nothing else.
fn read_identifier(sql: &str) -> Option<String> {
    unquote(sql.strip_prefix('"')?, '"', false)
}

/// What it takes a string constant for, whatever `standard_conforming_strings` is.
fn read_literal(sql: &str) -> Option<String> {
    match sql.strip_prefix(" E'") {
        Some(rest) => unquote(rest, '\'', true),
        None => {
            let read = unquote(sql.strip_prefix('\'')?, '\'', false)?;
            (!read.contains('\\')).then_some(read)
        }
    }
}

fn unquote(rest: &str, quote: char, escapes: bool) -> Option<String> {
    let mut read = String::new();
    let mut rest = rest.chars();
    loop {
        let next = rest.next()?;
        if next == quote {
            match rest.next() {
                None => return Some(read),
                Some(second) if second == quote => read.push(quote),
                Some(_) => return None,
            }
        } else if escapes && next == '\\' {
            match rest.next()? {
                '\\' => read.push('\\'),
                _ => return None,
            }
        } else {
            read.push(next);
        }
    }
}
