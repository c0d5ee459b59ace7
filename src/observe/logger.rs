//! The logger: one line per record on standard error, as text or as JSON.
//!
//! One record is one line and one write, so that lines of several threads never mix. Names of tables and
//! messages of servers are part of records: characters that could break the line or steer a terminal are
//! escaped.

use std::fmt::{self, Write as _};
use std::io::{self, Write};
use std::time::SystemTime;

use log::kv::{self, Key, Value, VisitSource, VisitValue};
use log::{Level, LevelFilter, Log, Metadata, Record};

use crate::calendar::UtcTime;
use crate::clock;
use crate::config::LogFormat;
use crate::error::{Error, Kind, Result};
use crate::json_text::{Object, Value as JsonValue, is_unsafe};

/// Installs the logger: records of `level` and more severe ones go to standard error.
///
/// # Errors
/// [`Kind::Bug`] where a logger has been set before: there is one per process.
pub fn init(level: LevelFilter, format: LogFormat) -> Result<()> {
    log::set_boxed_logger(Box::new(Logger { level, format })).map_err(|error| {
        Error::new(Kind::Bug, "cannot install the logger a second time").caused_by(error)
    })?;
    log::set_max_level(level);
    Ok(())
}

struct Logger {
    level: LevelFilter,
    format: LogFormat,
}

impl Logger {
    /// Writes the record in one call. A failure (standard error full or closed) is dropped: it must not end
    /// the process, and there is no other place to report it.
    fn write(&self, out: &mut impl Write, time: UtcTime, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let mut line = String::with_capacity(256);
            push_line(&mut line, self.format, time, record);
            let _ = out.write_all(line.as_bytes());
        }
    }
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= self.level
    }

    fn log(&self, record: &Record<'_>) {
        // A clock before 1970 is shown as 1970 rather than as no line.
        let now = UtcTime(clock::since_epoch(SystemTime::now()));
        self.write(&mut io::stderr(), now, record);
    }

    fn flush(&self) {}
}

/// Appends the record as one line that ends in a newline.
///
/// Text: `2026-01-02T03:04:05.678Z INFO  message`; the target stands before the message for other
/// crates' records, and at debug and trace level for our own. JSON: an object with time, level,
/// target, message and fields; the fields are what the message says in words, for programs.
fn push_line(line: &mut String, format: LogFormat, time: UtcTime, record: &Record<'_>) {
    match format {
        LogFormat::Text => push_text(line, time, record),
        LogFormat::Json => JsonValue::at_end_of(line).object(|object| fill(object, time, record)),
    }
    line.push('\n');
}

// Writing to a String fails only where a Display of a message does; what it wrote until then stays.
fn push_text(line: &mut String, time: UtcTime, record: &Record<'_>) {
    let _ = write!(line, "{time} {:<5} ", record.level());
    if shows_target(record) {
        let _ = write!(EscapedText(line), "{}: ", record.target());
    }
    let _ = EscapedText(line).write_fmt(*record.args());
}

fn fill(object: &mut Object<'_>, time: UtcTime, record: &Record<'_>) {
    object.key("time").display(time);
    object.key("level").string(level_name(record.level()));
    object.key("target").string(record.target());
    object.key("message").display(record.args());
    object.key("fields").object(|fields| {
        let _ = record.key_values().visit(&mut Fields(fields));
    });
}

/// Adds the fields of a record to a JSON object.
struct Fields<'a, 'o>(&'a mut Object<'o>);

impl<'kvs> VisitSource<'kvs> for Fields<'_, '_> {
    fn visit_pair(
        &mut self,
        key: Key<'kvs>,
        value: Value<'kvs>,
    ) -> std::result::Result<(), kv::Error> {
        value.visit(Field {
            fields: self.0,
            name: key.as_str(),
        })
    }
}

/// Adds one field; one that is null, NaN or infinite is left out.
struct Field<'a, 'o> {
    fields: &'a mut Object<'o>,
    name: &'a str,
}

impl Field<'_, '_> {
    fn value(&mut self) -> JsonValue<'_> {
        self.fields.key(self.name)
    }
}

impl VisitValue<'_> for Field<'_, '_> {
    fn visit_any(&mut self, value: Value<'_>) -> std::result::Result<(), kv::Error> {
        self.value().display(value);
        Ok(())
    }

    fn visit_null(&mut self) -> std::result::Result<(), kv::Error> {
        Ok(())
    }

    fn visit_u64(&mut self, value: u64) -> std::result::Result<(), kv::Error> {
        self.value().number(value);
        Ok(())
    }

    fn visit_i64(&mut self, value: i64) -> std::result::Result<(), kv::Error> {
        self.value().number(value);
        Ok(())
    }

    fn visit_f64(&mut self, value: f64) -> std::result::Result<(), kv::Error> {
        if value.is_finite() {
            self.value().float(value);
        }
        Ok(())
    }

    fn visit_bool(&mut self, value: bool) -> std::result::Result<(), kv::Error> {
        self.value().boolean(value);
        Ok(())
    }
}

fn shows_target(record: &Record<'_>) -> bool {
    let ours = record.target().split("::").next() == Some(env!("CARGO_CRATE_NAME"));
    !ours || record.level() >= Level::Debug
}

/// As `LOG_LEVEL` spells it.
fn level_name(level: Level) -> &'static str {
    match level {
        Level::Error => "error",
        Level::Warn => "warn",
        Level::Info => "info",
        Level::Debug => "debug",
        Level::Trace => "trace",
    }
}

/// Escapes what is written through it for a text line, which keeps its backslashes: it is for reading, not
/// for parsing.
struct EscapedText<'a>(&'a mut String);

impl fmt::Write for EscapedText<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            match c {
                '\n' => self.0.push_str("\\n"),
                '\r' => self.0.push_str("\\r"),
                '\t' => self.0.push_str("\\t"),
                c if is_unsafe(c) => write!(self.0, "{}", c.escape_unicode())?,
                c => self.0.push(c),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use std::time::Duration;

    const AT: UtcTime = UtcTime(Duration::from_millis(1_767_323_045_678));

    fn line(format: LogFormat, level: Level, target: &str, message: &str) -> String {
        let mut line = String::new();
        push_line(
            &mut line,
            format,
            AT,
            &Record::builder()
                .level(level)
                .target(target)
                .args(format_args!("{message}"))
                .build(),
        );
        line
    }

    #[test]
    fn a_text_line_has_time_level_and_message() {
        assert_eq!(
            line(
                LogFormat::Text,
                Level::Info,
                "zemi::pipeline::supervisor",
                "started"
            ),
            "2026-01-02T03:04:05.678Z INFO  started\n"
        );
        assert_eq!(
            line(LogFormat::Text, Level::Error, "zemi", "stopped"),
            "2026-01-02T03:04:05.678Z ERROR stopped\n"
        );
    }

    #[test]
    fn the_target_is_shown_for_other_crates_and_for_debugging() {
        for (level, target, expected) in [
            (
                Level::Debug,
                "zemi::wire",
                "2026-01-02T03:04:05.678Z DEBUG zemi::wire: x\n",
            ),
            (
                Level::Warn,
                "rustls::client",
                "2026-01-02T03:04:05.678Z WARN  rustls::client: x\n",
            ),
            (
                Level::Warn,
                "zemiology",
                "2026-01-02T03:04:05.678Z WARN  zemiology: x\n",
            ),
        ] {
            assert_eq!(line(LogFormat::Text, level, target, "x"), expected);
        }
    }

    #[test]
    fn a_json_line_has_time_level_target_and_message() {
        assert_eq!(
            line(LogFormat::Json, Level::Warn, "zemi::writer", "slow"),
            "{\"time\":\"2026-01-02T03:04:05.678Z\",\"level\":\"warn\",\"target\":\"zemi::writer\",\
             \"message\":\"slow\",\"fields\":{}}\n"
        );
    }

    #[test]
    fn fields_are_json_values_and_text_lines_do_without() {
        let fields = [
            ("lsn", kv::Value::from_display(&"0/1\"")),
            ("count", kv::Value::from(7_u64)),
            ("wait", kv::Value::from(0.5)),
            ("below", kv::Value::from(-1_i64)),
            ("none", kv::Value::null()),
            ("nan", kv::Value::from(f64::NAN)),
            ("yes", kv::Value::from(true)),
            ("a\"b", kv::Value::from("c")),
        ];
        let line = |format| {
            let mut line = String::new();
            let mut record = Record::builder();
            record.target("zemi").key_values(&fields);
            push_line(
                &mut line,
                format,
                AT,
                &record.args(format_args!("x")).build(),
            );
            line
        };
        assert!(line(LogFormat::Json).ends_with(
            "\"message\":\"x\",\"fields\":{\"lsn\":\"0/1\\\"\",\"count\":7,\"wait\":0.5,\"below\":-1,\
             \"yes\":true,\"a\\\"b\":\"c\"}}\n"
        ));
        assert!(line(LogFormat::Text).ends_with(" x\n"));
    }

    #[test]
    fn json_escapes_quotes_backslashes_and_controls() {
        let line = line(
            LogFormat::Json,
            Level::Info,
            "a\"b",
            "q\" b\\ n\n r\r t\t e\u{1b} d\u{7f} c\u{9b} l\u{2028} o\u{202e} é 🐘",
        );
        let target = "\"target\":\"a\\\"b\",";
        let message = "\"message\":\"q\\\" b\\\\ n\\n r\\r t\\t e\\u001b d\\u007f c\\u009b \
                       l\\u2028 o\\u202e é 🐘\",\"fields\":{}}\n";
        assert!(line.ends_with(&format!("{target}{message}")), "{line}");
        assert_eq!(line.matches('\n').count(), 1);
    }

    #[test]
    fn text_escapes_what_breaks_a_line_or_steers_a_terminal() {
        let line = line(
            LogFormat::Text,
            Level::Info,
            "other\ncrate",
            "a\nb\r\u{1b}[2J\u{9b}\u{2028}\u{202e} \"q\" \\ é",
        );
        assert_eq!(
            line,
            "2026-01-02T03:04:05.678Z INFO  other\\ncrate: \
             a\\nb\\r\\u{1b}[2J\\u{9b}\\u{2028}\\u{202e} \"q\" \\ é\n"
        );
    }

    /// Counts the calls, and fails each when told to.
    struct Calls {
        lines: Vec<Vec<u8>>,
        fails: bool,
    }

    impl Write for Calls {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.lines.push(bytes.to_vec());
            if self.fails {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn record_to(out: &mut Calls, logged: LevelFilter, level: Level) {
        let logger = Logger {
            level: logged,
            format: LogFormat::Text,
        };
        logger.write(
            out,
            AT,
            &Record::builder()
                .level(level)
                .target("zemi")
                .args(format_args!("a {} b", 1))
                .build(),
        );
    }

    #[test]
    fn a_record_is_one_write_and_a_failing_one_is_dropped() {
        for fails in [false, true] {
            let mut out = Calls {
                lines: Vec::new(),
                fails,
            };
            record_to(&mut out, LevelFilter::Info, Level::Info);
            assert_eq!(
                out.lines,
                [b"2026-01-02T03:04:05.678Z INFO  a 1 b\n".to_vec()]
            );
        }
    }

    #[test]
    fn records_below_the_level_are_not_written() {
        for (logged, level, lines) in [
            (LevelFilter::Warn, Level::Info, 0),
            (LevelFilter::Warn, Level::Warn, 1),
            (LevelFilter::Warn, Level::Error, 1),
            (LevelFilter::Off, Level::Error, 0),
            (LevelFilter::Trace, Level::Trace, 1),
        ] {
            let mut out = Calls {
                lines: Vec::new(),
                fails: false,
            };
            record_to(&mut out, logged, level);
            assert_eq!(out.lines.len(), lines, "{logged} {level}");
        }
    }
}
