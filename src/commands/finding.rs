//! The findings of `zemi check`: one line each, with the fix.

use std::fmt::Write;

use crate::error::Error;
use crate::json_text::{self, Object};

/// The severity of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// As it should be.
    Ok,
    /// It works, with a risk.
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
    /// The severity.
    pub level: Level,
    /// The subject: source, senders, slot, publication, tables, destination, progress.
    pub about: &'static str,
    /// The finding, as text.
    pub found: String,
    /// The tables or columns, of a finding about several.
    pub names: Vec<String>,
    /// The SQL or the setting that fixes it.
    pub fix: Option<String>,
}

impl Finding {
    fn fill(&self, object: &mut Object<'_>) {
        object.key("level").string(self.level.name());
        object.key("about").string(self.about);
        object.key("found").string(&self.found);
        object.key("names").array(|names| {
            for name in &self.names {
                names.item().string(name);
            }
        });
        object.key("mend").string_or_null(self.fix.as_deref());
    }
}

/// All findings, in the order in which they were made.
#[derive(Debug, Default)]
pub struct Findings(Vec<Finding>);

impl Findings {
    /// Adds a finding that is as it should be.
    pub fn ok(&mut self, about: &'static str, found: impl Into<String>) {
        self.add(Level::Ok, about, found.into(), None);
    }

    /// Adds a finding about several objects, by name. The text line names a few; JSON names all.
    pub fn group(
        &mut self,
        level: Level,
        about: &'static str,
        found: impl Into<String>,
        names: Vec<String>,
        fix: impl Into<String>,
    ) {
        self.add(level, about, found.into(), Some(fix.into()));
        if let Some(finding) = self.0.last_mut() {
            finding.names = names;
        }
    }

    /// Adds a warning with its fix.
    pub fn warn(&mut self, about: &'static str, found: impl Into<String>, fix: impl Into<String>) {
        self.add(Level::Warn, about, found.into(), Some(fix.into()));
    }

    /// Adds a failure with its fix.
    pub fn fail(&mut self, about: &'static str, found: impl Into<String>, fix: impl Into<String>) {
        self.add(Level::Fail, about, found.into(), Some(fix.into()));
    }

    /// Adds an error as a failure; its hint is the fix.
    pub fn error(&mut self, about: &'static str, error: &Error) {
        let settings = match about {
            "source" => Some("look at DB_HOST, DB_PORT, DB_NAME, DB_USER and DB_PASSWORD"),
            "destination" => Some("look at the settings that begin with DEST_DB_"),
            _ => None,
        };
        let fix = error.hint_text().or(settings).map(str::to_owned);
        self.add(Level::Fail, about, error.without_hint(), fix);
    }

    fn add(&mut self, level: Level, about: &'static str, found: String, fix: Option<String>) {
        self.0.push(Finding {
            level,
            about,
            found,
            names: Vec::new(),
            fix,
        });
    }

    /// Whether there is a failure.
    pub fn failed(&self) -> bool {
        self.0.iter().any(|finding| finding.level == Level::Fail)
    }

    /// A line for each finding, with its fix.
    pub fn text(&self) -> String {
        let mut out = String::new();
        for finding in &self.0 {
            // Writing to a String cannot fail.
            let (level, about) = (finding.level.name(), finding.about);
            let _ = write!(out, "{level:<5} {about:<12} {}", one_line(&finding.found));
            if !finding.names.is_empty() {
                let _ = write!(out, ": {}", one_line(&some_of(&finding.names)));
            }
            if let Some(fix) = &finding.fix {
                let _ = write!(out, " -> {}", one_line(fix));
            }
            out.push('\n');
        }
        out
    }

    /// A JSON array of objects.
    pub fn json(&self) -> String {
        let mut out = json_text::array(|findings| {
            for finding in &self.0 {
                findings.item().object(|object| finding.fill(object));
            }
        });
        out.push('\n');
        out
    }
}

/// The first five names, and the number of the others.
fn some_of(names: &[String]) -> String {
    const SHOWN: usize = 5;
    let shown = names.iter().take(SHOWN).cloned().collect::<Vec<_>>();
    match names.len().saturating_sub(SHOWN) {
        0 => shown.join(", "),
        more => format!("{} and {more} more (--json names all)", shown.join(", ")),
    }
}

/// The text without control characters: names of tables may hold some, and must not break the line.
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
            "ok    source       PostgreSQL 15\nwarn  slot         keeps all -> SET x\n\
             fail  source       bad -> do \"this\"\n"
        );
        assert!(findings.json().starts_with(
            "[{\"level\":\"ok\",\"about\":\"source\",\"found\":\"PostgreSQL 15\",\"names\":[],\"mend\":null},"
        ));
        assert!(findings.json().contains("\"mend\":\"do \\\"this\\\"\"}]"));
    }

    #[test]
    fn a_line_names_a_few_and_json_names_all() {
        let mut findings = Findings::default();
        let names: Vec<String> = (1..8).map(|n| format!("t{n}")).collect();
        findings.group(Level::Warn, "tables", "7 without", names, "ADD");
        assert_eq!(
            findings.text(),
            "warn  tables       7 without: t1, t2, t3, t4, t5 and 2 more (--json names all) -> ADD\n"
        );
        assert!(
            findings
                .json()
                .contains("\"t6\",\"t7\"],\"mend\":\"ADD\"}]")
        );
    }
}
