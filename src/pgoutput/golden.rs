//! The decoder against what real servers sent.
//!
//! `scripts/fuzz/record-golden.sh` recorded `tests/golden/pg<MAJOR>-<name>.hex` from the statements in
//! `tests/golden/sql/<name>.sql`; `tests/golden/<name>.txt` says what the messages mean, the same
//! for every version. After a new recording or scenario, `BLESS=1 cargo test golden` writes the
//! texts: read the difference before you commit it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use super::*;
use crate::lsn::{Lsn, Oid};

/// The messages of one file.
struct Recording {
    file: String,
    major: u32,
    name: String,
    messages: Vec<(Lsn, Vec<u8>)>,
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn unhex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks(2);
    digits
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

/// All recordings: those of version 1, or those of later protocol versions.
fn recordings(later: bool) -> Vec<Recording> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory()).unwrap() {
        let file = entry.unwrap().file_name().into_string().unwrap();
        let Some(stem) = file.strip_suffix(".hex") else {
            continue;
        };
        let (major, name) = stem.strip_prefix("pg").unwrap().split_once('-').unwrap();
        if name.starts_with("later-") != later {
            continue;
        }
        let text = fs::read_to_string(directory().join(&file)).unwrap();
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let messages = lines
            .map(|line| line.split_once(' ').unwrap())
            .map(|(lsn, hex)| (lsn.parse().unwrap(), unhex(hex)))
            .collect();
        found.push(Recording {
            major: major.parse().unwrap(),
            name: name.to_owned(),
            messages,
            file,
        });
    }
    found
}

#[test]
fn recorded_messages_decode_and_encode_to_the_same_bytes() {
    let mut out = Vec::new();
    for recording in recordings(false) {
        for (lsn, bytes) in &recording.messages {
            let message = decode(bytes).unwrap_or_else(|e| panic!("{} {lsn}: {e}", recording.file));
            out.clear();
            encode(&message, &mut out).unwrap();
            assert_eq!(&out, bytes, "{} {lsn}", recording.file);
            assert!(
                decode(&bytes[..bytes.len() - 1]).is_err(),
                "{} {lsn}",
                recording.file
            );
        }
    }
}

#[test]
fn every_scenario_is_recorded_for_every_version_and_says_the_same() {
    let mut texts: BTreeMap<String, Vec<(u32, String)>> = BTreeMap::new();
    for recording in recordings(false) {
        let text = Checker::default().read(&recording);
        texts
            .entry(recording.name)
            .or_default()
            .push((recording.major, text));
    }
    for (name, versions) in texts {
        let sql = fs::read_to_string(directory().join(format!("sql/{name}.sql"))).unwrap();
        let since = sql.lines().find_map(|line| line.strip_prefix("-- since: "));
        let since: u32 = since.map_or(14, |since| since.parse().unwrap());
        let mut majors: Vec<_> = versions.iter().map(|(major, _)| *major).collect();
        majors.sort_unstable();
        assert_eq!(majors, (since..=18).collect::<Vec<_>>(), "{name}");

        let path = directory().join(format!("{name}.txt"));
        if std::env::var_os("BLESS").is_some() {
            fs::write(&path, &versions[0].1).unwrap();
        }
        let expected = fs::read_to_string(&path).unwrap();
        for (major, text) in versions {
            assert_eq!(text, expected, "pg{major}-{name}");
        }
    }
}

#[test]
fn recorded_messages_of_later_versions_are_refused_by_name() {
    let mut names = BTreeMap::new();
    for recording in recordings(true) {
        for (_, bytes) in &recording.messages {
            let error = decode(bytes).unwrap_err();
            let Problem::LaterVersion(version) = error.problem else {
                panic!("{}: {error}", recording.file);
            };
            names.insert(error.message, version);
        }
    }
    let expected = BTreeMap::from([
        ("Stream Start", 2),
        ("Stream Stop", 2),
        ("Stream Commit", 2),
        ("Stream Abort", 2),
        ("Begin Prepare", 3),
        ("Prepare", 3),
        ("Commit Prepared", 3),
        ("Rollback Prepared", 3),
        ("Stream Prepare", 3),
    ]);
    assert_eq!(names, expected);
}

/// What a reader of the stream knows: the transaction it is in and the tables it was told of.
#[derive(Default)]
struct Checker {
    begin: Option<Begin>,
    last_end: Lsn,
    tables: HashMap<Oid, (String, usize)>,
    out: String,
}

impl Checker {
    /// Checks that the messages come in an order that makes sense, and says what they mean, without
    /// what differs from one recording to the next: positions, times and OIDs. Transactions without
    /// any change, which PostgreSQL 14 sends, are left out.
    fn read(mut self, recording: &Recording) -> String {
        for (index, (lsn, bytes)) in recording.messages.iter().enumerate() {
            let message = decode(bytes).unwrap();
            let follows = |tag| {
                recording
                    .messages
                    .get(index + 1)
                    .is_some_and(|m| m.1[0] == tag)
            };
            let place = format!("{} message {}", recording.file, index + 1);
            match message {
                Message::Begin(begin) => {
                    assert!(self.begin.is_none(), "{place}: Begin in a transaction");
                    assert!(
                        begin.final_lsn > self.last_end,
                        "{place}: out of commit order"
                    );
                    assert!(begin.commit_time.0 > 0 && begin.xid.0 > 0, "{place}");
                    self.begin = Some(begin);
                    if !follows(b'C') {
                        self.out.push_str("Begin\n");
                    }
                }
                Message::Commit(commit) => {
                    let begin = self.begin.take().expect(&place);
                    assert_eq!(commit.commit_lsn, begin.final_lsn, "{place}");
                    assert_eq!(commit.commit_time, begin.commit_time, "{place}");
                    assert!(commit.end_lsn > commit.commit_lsn, "{place}");
                    assert_eq!(commit.end_lsn, *lsn, "{place}");
                    self.last_end = commit.end_lsn;
                    if recording.messages[index - 1].1[0] != b'B' {
                        self.out.push_str("Commit\n");
                    }
                }
                Message::Logical(logical) => {
                    assert_eq!(logical.transactional, self.begin.is_some(), "{place}");
                    assert_eq!(logical.lsn, *lsn, "{place}");
                    self.say(&message);
                }
                _ => {
                    assert!(self.begin.is_some(), "{place}: outside of a transaction");
                    self.say(&message);
                }
            }
        }
        assert!(
            self.begin.is_none(),
            "{}: ends in a transaction",
            recording.file
        );
        self.out
    }

    fn say(&mut self, message: &Message<'_>) {
        let line = match message {
            Message::Begin(_) | Message::Commit(_) => String::new(),
            Message::Origin(origin) => {
                format!("Origin {} {}", origin.commit_lsn, text(origin.name))
            }
            Message::Relation(relation) => {
                let name = format!("{}.{}", text(relation.schema()), text(relation.name));
                let columns = relation.columns.iter().map(column).collect::<String>();
                let line = format!("Relation {name} {:?}{columns}", relation.replica_identity);
                self.tables
                    .insert(relation.relation, (name, relation.columns.len()));
                line
            }
            Message::Type(named) => format!("Type {}.{}", text(named.schema()), text(named.name)),
            Message::Insert(insert) => self.row("Insert", insert.relation, &[("", insert.new)]),
            Message::Update(update) => match update.old {
                None => self.row("Update", update.relation, &[("", update.new)]),
                Some(old) => {
                    let tuples = [(kind(&old), old.data()), (" to", update.new)];
                    self.row("Update", update.relation, &tuples)
                }
            },
            Message::Delete(delete) => self.row(
                "Delete",
                delete.relation,
                &[(kind(&delete.old), delete.old.data())],
            ),
            Message::Truncate(truncate) => {
                let tables = truncate
                    .relations
                    .iter()
                    .map(|oid| format!(" {}", self.tables[&oid].0));
                let mut line = format!("Truncate{}", tables.collect::<String>());
                line += if truncate.restart_identity {
                    " RESTART IDENTITY"
                } else {
                    ""
                };
                line += if truncate.cascade { " CASCADE" } else { "" };
                line
            }
            Message::Logical(logical) => {
                let transactional = if logical.transactional {
                    ""
                } else {
                    " not transactional"
                };
                let (prefix, content) = (text(logical.prefix), text(logical.content));
                format!("Message{transactional} '{prefix}' '{content}'")
            }
        };
        writeln!(self.out, "{line}").unwrap();
    }

    fn row(&self, what: &str, relation: Oid, tuples: &[(&str, TupleData<'_>)]) -> String {
        let (name, columns) = &self.tables[&relation];
        let mut line = format!("{what} {name}");
        for (kind, tuple) in tuples {
            assert_eq!(tuple.len(), *columns, "{what} {name}");
            assert_eq!(tuple.values().count(), *columns, "{what} {name}");
            let values = tuple.values().map(value).collect::<String>();
            write!(line, "{kind}{values}").unwrap();
        }
        line
    }
}

fn kind(old: &OldTuple<'_>) -> &'static str {
    match old {
        OldTuple::Key(_) => " key",
        OldTuple::Full(_) => " old",
    }
}

fn text(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.escape_debug().to_string(),
        Err(_) => bytes.escape_ascii().to_string(),
    }
}

fn column(column: RelationColumn<'_>) -> String {
    let key = if column.key { "*" } else { "" };
    // User-defined objects have OIDs from 16384 on, which depend on the recording.
    let type_oid = if column.type_oid.0 < 16384 {
        column.type_oid.to_string()
    } else {
        "user".into()
    };
    let modifier = match column.type_modifier {
        -1 => String::new(),
        modifier => format!("({modifier})"),
    };
    format!(" {}{key}:{type_oid}{modifier}", text(column.name))
}

fn value(value: ColumnValue<'_>) -> String {
    let short = |bytes: &[u8]| match bytes.split_at_checked(200) {
        Some((start, _)) => format!("{}… {} bytes", text(&start[..12]), bytes.len()),
        None => text(bytes),
    };
    match value {
        ColumnValue::Null => " NULL".into(),
        ColumnValue::UnchangedToast => " unchanged".into(),
        ColumnValue::Text(bytes) => format!(" '{}'", short(bytes)),
        ColumnValue::Binary(bytes) => format!(" b'{}'", bytes.escape_ascii()),
    }
}
