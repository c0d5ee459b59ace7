//! The environment: names and values of any kind.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use zemi::config::Config;
use zemi::fuzzing::{ColumnPattern, Pattern, SETTINGS};

use super::input::{Input, without};
use super::{is_fit_to_print, meter};

/// Stands for a secret; not to be found in anything that is shown.
const SECRET: &str = "s3cret-of-s0mebody";

pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let mut vars: Vec<(OsString, OsString)> = vec![("DB_PASSWORD".into(), SECRET.into())];
    let names = (input.text(), input.text(), input.text());
    while !input.is_empty() && vars.len() < 64 {
        let name = name(&mut input);
        // These name files, which can be endless.
        let files = ["_FILE", "_CERT", "_SSL_KEY"];
        if files
            .iter()
            .any(|end| name.to_string_lossy().ends_with(end))
        {
            continue;
        }
        let value = without(input.text(), SECRET);
        vars.push((name, value.into()));
    }
    // For each variable there may be a warning that repeats its name, and nearest names are searched.
    meter::within(data.len(), 256, 128 * 1024, || {
        let (config, warnings) = match Config::from_vars(vars.clone()) {
            Ok(taken) => taken,
            Err(error) => {
                is_fit_to_print(&error, data.len());
                assert!(!format!("{error} {error:?}").contains(SECRET), "{error}");
                return;
            }
        };
        let shown = format!("{config:?} {warnings:?} {:?}", config.shown);
        assert!(!shown.contains(SECRET), "{shown}");
        check(&config, &names);
    });
}

fn name(input: &mut Input<'_>) -> OsString {
    let choice = usize::from(input.byte());
    match SETTINGS.get(choice) {
        Some(setting) => setting.name.into(),
        None => OsString::from_vec(input.name().to_vec()),
    }
}

fn check(config: &Config, (schema, table, column): &(String, String, String)) {
    let slot = config.slot_name.as_bytes();
    assert!((1..64).contains(&slot.len()));
    assert!(
        slot.iter()
            .all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_'))
    );
    assert!((1..=63).contains(&config.publication_name.len()));
    let folded = config.publication_folded.as_ref();
    assert!(folded.is_none_or(|folded| *folded != config.publication_name));
    assert!(
        config
            .tables
            .as_ref()
            .is_none_or(|tables| !tables.is_empty())
    );
    assert!(config.hash_columns.is_empty() || config.hash_key.is_some());
    for pattern in config.tables.iter().flatten().chain(&config.exclude_tables) {
        let again = Pattern::parse_list(&pattern.to_string()).unwrap();
        assert_eq!(again.as_slice(), std::slice::from_ref(pattern));
        assert_eq!(
            again[0].matches(schema, table),
            pattern.matches(schema, table)
        );
    }
    for pattern in config.exclude_columns.iter().chain(&config.hash_columns) {
        let again = ColumnPattern::parse_list(&pattern.to_string()).unwrap();
        assert_eq!(again.as_slice(), std::slice::from_ref(pattern));
        pattern.matches(schema, table, column);
    }
}
