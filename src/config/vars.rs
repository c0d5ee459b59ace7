//! The variables that are set, and how one is read: every error names its variable.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::ops::RangeInclusive;
use std::path::Path;
use std::str::FromStr;

use super::nearest::nearest;
use super::secret::Secret;
use super::settings::{self, Fallback, SETTINGS};
use crate::error::{Error, Kind, Result};

/// The longest value that an error repeats in full, in characters.
const LONGEST_SHOWN: usize = 80;

/// The longest unknown name that is compared with the known ones.
const LONGEST_COMPARED: usize = 64;

/// The known variables of an environment, by the name of their setting.
pub(super) struct Vars {
    /// Those that are set and not empty.
    set: BTreeMap<&'static str, Set>,
    /// Those that are set and empty, with the name in the environment.
    empty: BTreeMap<&'static str, String>,
}

struct Set {
    /// The name in the environment.
    name: String,
    text: String,
}

/// One value, and its name for errors.
#[derive(Clone, Copy)]
pub(super) struct Value<'a> {
    /// The name in the environment, or that of the setting for a default.
    pub(super) name: &'a str,
    /// The value, or the default.
    pub(super) text: &'a str,
    secret: bool,
}

impl Vars {
    /// Takes the known variables out of an environment; the texts are warnings about unknown ones.
    ///
    /// Of a name that occurs twice the first counts, as for `getenv`.
    pub(super) fn collect(
        vars: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<(Vars, Vec<String>)> {
        let mut sets: BTreeMap<&'static str, Set> = BTreeMap::new();
        let mut empty = BTreeMap::new();
        let mut warnings = Vec::new();
        for (name, text) in vars {
            let name = name.to_string_lossy().into_owned();
            let Some(setting) = settings::find(&name) else {
                if !text.is_empty() {
                    warnings.extend(warning_of_unknown(&name));
                }
                continue;
            };
            if text.is_empty() {
                empty.entry(setting.name).or_insert(name);
                continue;
            }
            // The bytes are not shown: they may be a password in another encoding.
            let text = text.into_string().map_err(|_| {
                Error::new(
                    Kind::Setting,
                    format!("{name} is not UTF-8, which all settings are expected to be"),
                )
            })?;
            match sets.get(setting.name) {
                Some(other) if other.name != name && other.text != text => {
                    let message = format!(
                        "{} and {} are two names of one setting and differ: expected one of them",
                        setting.name,
                        settings::alias(setting.name).unwrap_or(name),
                    );
                    return Err(Error::new(Kind::Setting, message));
                }
                Some(_) => {}
                None => {
                    sets.insert(setting.name, Set { name, text });
                }
            }
        }
        let vars = Vars { set: sets, empty };
        Ok((vars, warnings))
    }

    /// The name by which a setting was set to the empty text, where it has no other value.
    pub(super) fn emptied(&self, name: &str) -> Option<&str> {
        match self.set.contains_key(name) {
            true => None,
            false => self.empty.get(name).map(String::as_str),
        }
    }

    /// The value of a setting where it is set.
    pub(super) fn set(&self, name: &str) -> Option<Value<'_>> {
        let setting = settings::find(name)?;
        let set = self.set.get(setting.name)?;
        Some(Value {
            name: &set.name,
            text: &set.text,
            secret: setting.secret,
        })
    }

    /// The value of a setting, or its default: the empty text where it has none.
    pub(super) fn get(&self, name: &'static str) -> Value<'_> {
        if let Some(value) = self.set(name) {
            return value;
        }
        let setting = settings::find(name);
        let text = match setting.map(|setting| setting.default) {
            Some(Fallback::Of(other)) => return self.get(other),
            Some(Fallback::Text(text)) => text,
            Some(Fallback::None) | None => "",
        };
        Value {
            name,
            text,
            secret: setting.is_none_or(|setting| setting.secret),
        }
    }

    /// Every setting that is no secret and has a value, by name, in the order of the table.
    pub(super) fn shown(&self) -> Vec<(&'static str, String)> {
        let open = settings::SETTINGS.iter().filter(|setting| !setting.secret);
        open.map(|setting| (setting.name, self.get(setting.name)))
            .filter(|(_, value)| !value.secret && !value.text.is_empty())
            .map(|(name, value)| (name, value.text.to_owned()))
            .collect()
    }

    /// A secret given as it is or in a file; `None` where neither is set.
    pub(super) fn secret(
        &self,
        direct: &'static str,
        file: &'static str,
    ) -> Result<Option<Secret>> {
        match (self.set(direct), self.set(file)) {
            (Some(direct), Some(file)) => {
                let message = format!(
                    "{} and {} are both set: expected one",
                    direct.name, file.name
                );
                Err(Error::new(Kind::Setting, message))
            }
            (Some(direct), None) => Ok(Some(Secret::new(direct.text))),
            (None, Some(file)) => Secret::read(Path::new(file.text))
                .map(Some)
                .map_err(|problem| {
                    let message = format!("the file that {} names {problem}", file.name);
                    Error::new(Kind::Setting, message)
                }),
            (None, None) => Ok(None),
        }
    }
}

impl<'a> Value<'a> {
    /// The error of a bad value. It shows the value, unless that may be a secret.
    pub(super) fn bad(&self, expected: &str) -> Error {
        let name = self.name;
        let message = if self.secret {
            format!("{name} is not usable (its value is not shown): expected {expected}")
        } else if self.text.chars().count() > LONGEST_SHOWN {
            let start: String = self.text.chars().take(LONGEST_SHOWN).collect();
            format!("{name} is {start:?}…: expected {expected}")
        } else {
            format!("{name} is {:?}: expected {expected}", self.text)
        };
        Error::new(Kind::Setting, message)
    }

    /// The same value as one that is not shown, for a value that may hold a password.
    pub(super) fn hidden(self) -> Value<'a> {
        Value {
            secret: true,
            ..self
        }
    }

    /// `true`, `1`, `yes`, `on` or `false`, `0`, `no`, `off`, in any case of the letters.
    pub(super) fn boolean(&self) -> Result<bool> {
        let text = self.text.trim().to_ascii_lowercase();
        match text.as_str() {
            "true" | "1" | "yes" | "on" => Ok(true),
            "false" | "0" | "no" | "off" => Ok(false),
            _ => Err(self.bad("true or false (1, 0, yes, no, on, off)")),
        }
    }

    /// A whole number in decimal digits, within the range. Underscores may stand between digits, as
    /// the Zig program reads numbers (`std.fmt.parseUnsigned`).
    pub(super) fn number<N>(&self, range: RangeInclusive<N>) -> Result<N>
    where
        N: FromStr + PartialOrd + std::fmt::Display,
    {
        let text = self.text.trim();
        let at_an_end = text.starts_with('_') || text.ends_with('_');
        let digits = text.replace('_', "");
        // FromStr also takes a sign.
        let is_whole = !at_an_end && digits.bytes().all(|byte| byte.is_ascii_digit());
        match digits.parse() {
            Ok(number) if is_whole && range.contains(&number) => Ok(number),
            _ => Err(self.bad(&format!(
                "a whole number from {} to {}",
                range.start(),
                range.end()
            ))),
        }
    }

    /// One of some words, in any case of the letters.
    pub(super) fn choice<T: Copy>(&self, choices: &[(&str, T)]) -> Result<T> {
        let text = self.text.trim();
        let found = choices
            .iter()
            .find(|(word, _)| word.eq_ignore_ascii_case(text));
        found.map(|(_, choice)| *choice).ok_or_else(|| {
            let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
            self.bad(&format!("one of {}", words.join(", ")))
        })
    }

    /// A comma list; `expected` says how its entries are written.
    pub(super) fn list<T>(
        &self,
        parse: impl FnOnce(&str) -> std::result::Result<Vec<T>, String>,
        expected: &str,
    ) -> Result<Vec<T>> {
        parse(self.text).map_err(|problem| {
            let message = format!("{}: {problem}: expected {expected}", self.name);
            Error::new(Kind::Setting, message)
        })
    }
}

/// The warning about a variable that has a prefix of the settings and is none of them.
///
/// None for `DB_SERVICE_…` and `DB_PORT_…`: Kubernetes and Docker set them in every container
/// next to a service named `db` (Kubernetes documentation, "Service", environment
/// variables).
fn warning_of_unknown(name: &str) -> Option<String> {
    let rest = ["DB_", "DEST_DB_", "DESTINATION_DB_"]
        .iter()
        .find_map(|prefix| name.strip_prefix(prefix))?;
    if rest.starts_with("SERVICE_") || rest.starts_with("PORT_") {
        return None;
    }
    if name.len() > LONGEST_COMPARED {
        let start: String = name.chars().take(LONGEST_COMPARED).collect();
        return Some(format!(
            "{start:?}… is no setting of zemi and has no effect"
        ));
    }
    let names = SETTINGS.iter().map(|setting| setting.name.to_string());
    let aliases = SETTINGS.iter().filter_map(|s| settings::alias(s.name));
    let known: Vec<String> = names.chain(aliases).collect();
    let nearest = nearest(name, known.iter().map(String::as_str))?;
    let shown = name.escape_debug();
    Some(format!(
        "{shown} is no setting of zemi and has no effect; the nearest one is {nearest}"
    ))
}
