//! What `zemi check` finds: one line each, with what mends it.

use std::fmt::Write;

use crate::error::Error;
use crate::observe::text::push_json;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// As it should be.
    Ok,
    /// It works, and somebody may be surprised one day.
    Warn,
    /// It does not work.
    Fail,
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Level::Ok => "ok",
            Level::Warn => "warn",
            Level::Fail => "fail",
        }
    }
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// Of what: source, slot, publication, tables, destination, progress.
    pub about: &'static str,
    /// What was found.
    pub found: String,
    /// The SQL or the setting that mends it.
    pub mend: Option<String>,
}

/// All findings, in the order in which they were made.
#[derive(Debug, Default)]
pub struct Findings(Vec<Finding>);

impl Findings {
    /// As it should be.
    pub fn ok(&mut self, about: &'static str, found: impl Into<String>) {
        self.add(Level::Ok, about, found.into(), None);
    }

    /// Worth a look, and what mends it.
    pub fn warn(&mut self, about: &'static str, found: impl Into<String>, mend: impl Into<String>) {
        self.add(Level::Warn, about, found.into(), Some(mend.into()));
    }

    /// Broken, and what mends it.
    pub fn fail(&mut self, about: &'static str, found: impl Into<String>, mend: impl Into<String>) {
        self.add(Level::Fail, about, found.into(), Some(mend.into()));
    }

    /// Broken, as an error says.
    pub fn error(&mut self, about: &'static str, error: &Error) {
        let settings = match about {
            "source" => Some("look at DB_HOST, DB_PORT, DB_NAME, DB_USER and DB_PASSWORD"),
            "destination" => Some("look at the settings that begin with DEST_DB_"),
            _ => None,
        };
        let mend = error.hint_text().or(settings).map(str::to_owned);
        self.add(Level::Fail, about, error.without_hint(), mend);
    }

    fn add(&mut self, level: Level, about: &'static str, found: String, mend: Option<String>) {
        self.0.push(Finding {
            level,
            about,
            found,
            mend,
        });
    }

    /// Whether something does not work.
    pub fn failed(&self) -> bool {
        self.0.iter().any(|finding| finding.level == Level::Fail)
    }

    /// A line for each, and one for what mends it.
    pub fn text(&self) -> String {
        let mut out = String::new();
        for finding in &self.0 {
            // Writing to a String cannot fail.
            let (level, about) = (finding.level.name(), finding.about);
            let _ = writeln!(out, "{level:<5} {about:<12} {}", one_line(&finding.found));
            if let Some(mend) = &finding.mend {
                let _ = writeln!(out, "      {:<12} -> {}", "", one_line(mend));
            }
        }
        out
    }

    /// An array of objects.
    pub fn json(&self) -> String {
        let mut out = String::from("[");
        for (at, finding) in self.0.iter().enumerate() {
            out.push_str(if at > 0 {
                ",{\"level\":"
            } else {
                "{\"level\":"
            });
            push_json(&mut out, finding.level.name());
            out.push_str(",\"about\":");
            push_json(&mut out, finding.about);
            out.push_str(",\"found\":");
            push_json(&mut out, &finding.found);
            out.push_str(",\"mend\":");
            match &finding.mend {
                Some(mend) => push_json(&mut out, mend),
                None => out.push_str("null"),
            }
            out.push('}');
        }
        out.push_str("]\n");
        out
    }
}

/// Names of tables come from outside: none of them may break the line.
fn one_line(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    #[test]
    fn findings_are_lines_and_json_and_fail_together() {
        let mut findings = Findings::default();
        findings.ok("source", "PostgreSQL 15");
        findings.warn("slot", "keeps\nall", "SET x");
        assert!(!findings.failed());
        findings.error(
            "source",
            &Error::new(Kind::Setting, "bad").hint("do \"this\""),
        );
        assert!(findings.failed());
        assert_eq!(
            findings.text(),
            "ok    source       PostgreSQL 15\nwarn  slot         keeps all\n\
             \x20                  -> SET x\nfail  source       bad\n\
             \x20                  -> do \"this\"\n"
        );
        assert!(findings.json().starts_with(
            "[{\"level\":\"ok\",\"about\":\"source\",\"found\":\"PostgreSQL 15\",\"mend\":null},"
        ));
        assert!(findings.json().contains("\"mend\":\"do \\\"this\\\"\"}]"));
    }
}
