//! Patterns for tables (`TABLES`, `EXCLUDE_TABLES`) and columns (`EXCLUDE_COLUMNS`,
//! `HASH_COLUMNS`).
//!
//! A name stands for itself, with its case: `Users` is the table that SQL writes `"Users"`. SQL's
//! folding of unquoted names to lower case is not done, since the names compared are the catalog's
//! own. `*` stands for any characters, none included. Double quotes take dots, commas, blanks and
//! stars of a name literally, and `""` in them is one quote, as in SQL. Blanks around unquoted
//! names are dropped.

use std::fmt;

/// A table, or several: `schema.table`, or `table` in any schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    schema: Option<Glob>,
    table: Glob,
    text: String,
}

/// A column of one or several tables: `schema.table.column`, or `table.column` in any schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnPattern {
    schema: Option<Glob>,
    table: Glob,
    column: Glob,
    text: String,
}

impl Pattern {
    /// Whether a table matches. Names are those of the catalog, without quotes.
    pub fn matches(&self, schema: &str, table: &str) -> bool {
        self.table.matches(table) && any_or_matches(self.schema.as_ref(), schema)
    }

    /// Whether the entry names a schema, by more than a star alone.
    pub fn names_schema(&self) -> bool {
        self.schema.as_ref().is_some_and(|schema| !schema.is_any())
    }

    /// The name of the table, where it is one name and not several.
    pub fn table(&self) -> Option<&str> {
        self.table.name()
    }

    /// From a comma list. Entries without text are left out.
    ///
    /// # Errors
    /// The entry and what is wrong with it, as text.
    pub fn parse_list(list: &str) -> Result<Vec<Pattern>, String> {
        parse_entries(list, |text, parts| {
            let mut parts = parts.into_iter().rev();
            match (parts.next(), parts.next(), parts.next()) {
                (Some(table), schema, None) => Ok(Pattern {
                    schema,
                    table,
                    text,
                }),
                _ => Err("has more than two names"),
            }
        })
    }
}

impl ColumnPattern {
    /// Whether a column matches. Names are those of the catalog, without quotes.
    pub fn matches(&self, schema: &str, table: &str, column: &str) -> bool {
        self.column.matches(column) && self.matches_table(schema, table)
    }

    /// Whether columns of this table may match.
    pub fn matches_table(&self, schema: &str, table: &str) -> bool {
        self.table.matches(table) && any_or_matches(self.schema.as_ref(), schema)
    }

    /// The name of the table, where it is one name and not several.
    pub fn table(&self) -> Option<&str> {
        self.table.name()
    }

    /// The name of the column, where it is one name and not several.
    pub fn column(&self) -> Option<&str> {
        self.column.name()
    }

    /// Whether a column of some table matches.
    pub fn matches_column(&self, column: &str) -> bool {
        self.column.matches(column)
    }

    /// From a comma list. Entries without text are left out.
    ///
    /// # Errors
    /// The entry and what is wrong with it, as text.
    pub fn parse_list(list: &str) -> Result<Vec<ColumnPattern>, String> {
        parse_entries(list, |text, parts| {
            let mut parts = parts.into_iter().rev();
            match (parts.next(), parts.next(), parts.next(), parts.next()) {
                (Some(column), Some(table), schema, None) => Ok(ColumnPattern {
                    schema,
                    table,
                    column,
                    text,
                }),
                (_, None, ..) => Err("names no table"),
                _ => Err("has more than three names"),
            }
        })
    }
}

impl fmt::Display for Pattern {
    /// As it was written.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Display for ColumnPattern {
    /// As it was written.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn any_or_matches(glob: Option<&Glob>, name: &str) -> bool {
    glob.is_none_or(|glob| glob.matches(name))
}

/// Splits the list at commas and each entry at dots; `make` builds an entry from its names. Entries without
/// text are left out: templates produce them where a part is empty.
fn parse_entries<T>(
    list: &str,
    make: impl Fn(String, Vec<Glob>) -> Result<T, &'static str>,
) -> Result<Vec<T>, String> {
    let entries = split_outside_quotes(list, ',');
    let entry = |(index, text): (usize, &str)| {
        split_outside_quotes(text, '.')
            .into_iter()
            .map(Glob::parse)
            .collect::<Result<_, _>>()
            .and_then(|parts| make(text.into(), parts))
            .map_err(|problem| format!("entry {} of the list, {text:?}, {problem}", index + 1))
    };
    let entries = entries.into_iter().map(str::trim).enumerate();
    let named = entries.filter(|(_, text)| !text.is_empty());
    named.map(entry).collect()
}

/// Splits at the separators outside double quotes. A doubled quote ends and begins a quoted part, which
/// leaves the state as it was.
fn split_outside_quotes(text: &str, separator: char) -> Vec<&str> {
    let mut quoted = false;
    text.split(|c| {
        quoted ^= c == '"';
        c == separator && !quoted
    })
    .collect()
}

/// A name in which `*` may stand for any characters.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Glob {
    /// The name up to the first star: all of it where there is none.
    head: String,
    rest: Option<Stars>,
}

/// The texts behind the first star: those between stars, and the one after the last star.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stars {
    middle: Vec<String>,
    tail: String,
}

impl Glob {
    fn parse(part: &str) -> Result<Glob, &'static str> {
        let part = part.trim();
        if let Some(rest) = part.strip_prefix('"') {
            let inner = rest
                .strip_suffix('"')
                .ok_or("has a quoted name without its end")?;
            if inner.replace("\"\"", "").contains('"') {
                return Err("has text beside a quoted name");
            }
            return Glob::new(inner.replace("\"\"", "\""), None);
        }
        if part.contains('"') {
            return Err("has a quote inside a name");
        }
        let mut pieces = part.split('*').map(String::from);
        let head = pieces.next().unwrap_or_default();
        let mut middle: Vec<String> = pieces.collect();
        let rest = middle.pop().map(|tail| Stars { middle, tail });
        Glob::new(head, rest)
    }

    fn new(head: String, rest: Option<Stars>) -> Result<Glob, &'static str> {
        if head.is_empty() && rest.is_none() {
            return Err("has an empty name");
        }
        Ok(Glob { head, rest })
    }

    /// The one name that it stands for.
    fn name(&self) -> Option<&str> {
        self.rest.is_none().then_some(self.head.as_str())
    }

    /// Stands for every name.
    fn is_any(&self) -> bool {
        let only_stars =
            |stars: &Stars| stars.tail.is_empty() && stars.middle.iter().all(String::is_empty);
        self.head.is_empty() && self.rest.as_ref().is_some_and(only_stars)
    }

    /// Takes time linear in both texts: head and tail are fixed, and for the texts between them the first
    /// match is as good as any later one, so there is no backtracking.
    fn matches(&self, name: &str) -> bool {
        let Some(stars) = &self.rest else {
            return name == self.head;
        };
        let between = name
            .strip_prefix(self.head.as_str())
            .and_then(|name| name.strip_suffix(stars.tail.as_str()));
        let Some(mut between) = between else {
            return false;
        };
        stars
            .middle
            .iter()
            .all(|piece| match between.split_once(piece.as_str()) {
                Some((_, after)) => {
                    between = after;
                    true
                }
                None => false,
            })
    }
}

#[cfg(test)]
mod tests;
