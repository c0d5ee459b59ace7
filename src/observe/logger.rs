//! The logger: one line per record on standard error, as text or as JSON.
//!
//! One record is one line and one write, so that lines of several threads never mix. Names of
//! tables and messages of servers come from outside and end up here: whatever could break the line
//! or steer a terminal is escaped.

use std::fmt::{self, Write as _};
use std::io::{self, Write};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use log::kv::{self, Key, Value, VisitSource, VisitValue};
use log::{Level, LevelFilter, Log, Metadata, Record};

use crate::config::LogFormat;
use crate::error::{Error, Kind, Result};

/// Sends everything that the program logs, from `level` on, to standard error.
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
    /// Writes the record in one call. A standard error that is full or closed is no reason to stop
    /// following the database, and there is nowhere left to report it: the failure is dropped.
    fn write(&self, out: &mut impl Write, since_epoch: Duration, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let mut line = String::with_capacity(256);
            push_line(&mut line, self.format, since_epoch, record);
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
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        self.write(&mut io::stderr(), now.unwrap_or_default(), record);
    }

    fn flush(&self) {}
}

/// Appends the record as one line that ends in a newline.
///
/// Text: `2026-01-02T03:04:05.678Z INFO  message`; the target stands before the message for other
/// crates' records, and at debug and trace level for our own. JSON: an object with time, level,
/// target, message and fields; the fields are what the message says in words, for programs.
fn push_line(line: &mut String, format: LogFormat, since_epoch: Duration, record: &Record<'_>) {
    // Writing to a String fails only where a Display of a message does; what it wrote until then
    // stays.
    match format {
        LogFormat::Text => {
            push_time(line, since_epoch);
            let _ = write!(line, " {:<5} ", record.level());
            if shows_target(record) {
                let _ = write!(Escaped(line, LogFormat::Text), "{}: ", record.target());
            }
            let _ = Escaped(line, LogFormat::Text).write_fmt(*record.args());
        }
        LogFormat::Json => {
            line.push_str("{\"time\":\"");
            push_time(line, since_epoch);
            line.push_str("\",\"level\":\"");
            line.push_str(level_name(record.level()));
            line.push_str("\",\"target\":\"");
            let _ = Escaped(line, LogFormat::Json).write_str(record.target());
            line.push_str("\",\"message\":\"");
            let _ = Escaped(line, LogFormat::Json).write_fmt(*record.args());
            line.push_str("\",\"fields\":{");
            let _ = record.key_values().visit(&mut Fields { line, first: true });
            line.push_str("}}");
        }
    }
    line.push('\n');
}

/// Appends the fields of a record to a JSON object. One without a value is left out.
struct Fields<'a> {
    line: &'a mut String,
    first: bool,
}

impl<'kvs> VisitSource<'kvs> for Fields<'_> {
    fn visit_pair(
        &mut self,
        key: Key<'kvs>,
        value: Value<'kvs>,
    ) -> std::result::Result<(), kv::Error> {
        let mut shown = Field(None);
        value.visit(&mut shown)?;
        if let Field(Some(shown)) = shown {
            self.line.push_str(if self.first { "\"" } else { ",\"" });
            escape_json(self.line, key.as_str());
            self.line.push_str("\":");
            self.line.push_str(&shown);
            self.first = false;
        }
        Ok(())
    }
}

/// One value as JSON.
struct Field(Option<String>);

impl VisitValue<'_> for &mut Field {
    fn visit_any(&mut self, value: Value<'_>) -> std::result::Result<(), kv::Error> {
        let mut text = String::from("\"");
        let _ = write!(Escaped(&mut text, LogFormat::Json), "{value}");
        text.push('"');
        self.0 = Some(text);
        Ok(())
    }

    fn visit_null(&mut self) -> std::result::Result<(), kv::Error> {
        Ok(())
    }

    fn visit_u64(&mut self, value: u64) -> std::result::Result<(), kv::Error> {
        self.0 = Some(value.to_string());
        Ok(())
    }

    fn visit_i64(&mut self, value: i64) -> std::result::Result<(), kv::Error> {
        self.0 = Some(value.to_string());
        Ok(())
    }

    fn visit_f64(&mut self, value: f64) -> std::result::Result<(), kv::Error> {
        // JSON has neither NaN nor infinities.
        self.0 = value.is_finite().then(|| value.to_string());
        Ok(())
    }

    fn visit_bool(&mut self, value: bool) -> std::result::Result<(), kv::Error> {
        self.0 = Some(value.to_string());
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

/// Appends RFC 3339 in UTC with milliseconds.
pub(super) fn push_time(line: &mut String, since_epoch: Duration) {
    let seconds = since_epoch.as_secs();
    let (year, month, day) = civil_from_days(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let millis = since_epoch.subsec_millis();
    let _ = write!(
        line,
        "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z"
    );
}

/// Year, month and day of the proleptic Gregorian calendar from days since 1970-01-01.
///
/// Counted in years that begin on 1 March, so that the leap day is the last day of its year, and in
/// eras of 400 years, which all have the same 146,097 days.
fn civil_from_days(days: u64) -> (u64, u64, u64) {
    const FROM_MARCH_OF_YEAR_0: u64 = 719_468;
    let days = days + FROM_MARCH_OF_YEAR_0;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let leap_days = day_of_era / 1460 - day_of_era / 36_524 + day_of_era / 146_096;
    let year_of_era = (day_of_era - leap_days) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // From March the lengths of five months, 31 30 31 30 31, come again and again: 153 days.
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let (month, next_year) = if from_march < 10 {
        (from_march + 3, 0)
    } else {
        (from_march - 9, 1)
    };
    (era * 400 + year_of_era + next_year, month, day)
}

/// Escapes what is written through it. A text line keeps its backslashes (it is for eyes, not for
/// parsers); a JSON string is exact.
struct Escaped<'a>(&'a mut String, LogFormat);

impl fmt::Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let json = self.1 == LogFormat::Json;
        for c in text.chars() {
            match c {
                '"' | '\\' if json => self.0.extend(['\\', c]),
                '\n' => self.0.push_str("\\n"),
                '\r' => self.0.push_str("\\r"),
                '\t' => self.0.push_str("\\t"),
                // All of them are below U+10000, so that JSON needs no surrogates.
                c if is_unsafe(c) && json => write!(self.0, "\\u{:04x}", u32::from(c))?,
                c if is_unsafe(c) => write!(self.0, "{}", c.escape_unicode())?,
                c => self.0.push(c),
            }
        }
        Ok(())
    }
}

/// Appends the inside of a JSON string.
pub(super) fn escape_json(out: &mut String, text: &str) {
    // Writing to a String cannot fail.
    let _ = Escaped(out, LogFormat::Json).write_str(text);
}

/// Control characters (which start terminal sequences), line and paragraph separators, and the
/// marks that reorder text, with which a name could show itself as something else.
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        || c == '\u{61c}'
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    const AT: Duration = Duration::from_millis(1_767_323_045_678);

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

    #[test]
    fn times_are_those_of_the_calendar() {
        // Expected values by `date -u -d @…`.
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (951_868_799, "2000-02-29T23:59:59.000Z"),
            (951_868_800, "2000-03-01T00:00:00.000Z"),
            (1_709_164_800, "2024-02-29T00:00:00.000Z"),
            (4_102_444_799, "2099-12-31T23:59:59.000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000Z"),
        ] {
            let mut line = String::new();
            push_time(&mut line, Duration::from_secs(seconds));
            assert_eq!(line, expected);
        }
    }

    #[test]
    fn every_day_of_an_era_follows_the_one_before() {
        let length = |year: u64, month: u64| match month {
            2 if year.is_multiple_of(4)
                && (!year.is_multiple_of(100) || year.is_multiple_of(400)) =>
            {
                29
            }
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        };
        let (mut year, mut month, mut day) = (1970, 1, 1);
        for days in 0..146_097 + 366 {
            assert_eq!(civil_from_days(days), (year, month, day));
            day += 1;
            if day > length(year, month) {
                (day, month) = (1, month + 1);
            }
            if month > 12 {
                (month, year) = (1, year + 1);
            }
        }
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
