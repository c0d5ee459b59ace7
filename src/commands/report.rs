//! Names and values in groups, as text lines or as JSON.

use std::fmt::Write;

use crate::json_text;

/// A value of a [`Report`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Text.
    Text(String),
    /// A whole number.
    Number(i64),
    /// Yes or no.
    Bool(bool),
    /// Not known, or not there.
    None,
}

impl From<Option<&str>> for Value {
    fn from(text: Option<&str>) -> Value {
        text.map_or(Value::None, |text| Value::Text(text.to_owned()))
    }
}

impl Value {
    fn write(&self, place: json_text::Value<'_>) {
        match self {
            Value::Text(text) => place.string(text),
            Value::Number(number) => place.number(*number),
            Value::Bool(value) => place.boolean(*value),
            Value::None => place.null(),
        }
    }
}

/// Names and values in groups.
#[derive(Debug, Default)]
pub struct Report(Vec<(&'static str, Vec<(&'static str, Value)>)>);

impl Report {
    /// Begins a group.
    pub fn group(&mut self, name: &'static str) {
        self.0.push((name, Vec::new()));
    }

    /// Adds a value to the last group.
    pub fn add(&mut self, name: &'static str, value: impl Into<Value>) {
        if let Some((_, values)) = self.0.last_mut() {
            values.push((name, value.into()));
        }
    }

    /// A line for each value, in columns.
    pub fn text(&self) -> String {
        let mut out = String::new();
        for (group, values) in &self.0 {
            for (name, value) in values {
                let shown = match value {
                    Value::Text(text) => text.clone(),
                    Value::Number(number) => number.to_string(),
                    Value::Bool(true) => "yes".into(),
                    Value::Bool(false) => "no".into(),
                    Value::None => "-".into(),
                };
                // Writing to a String cannot fail.
                let _ = writeln!(out, "{group:<12} {name:<22} {shown}");
            }
        }
        out
    }

    /// An object of objects.
    pub fn json(&self) -> String {
        let mut out = json_text::object(|groups| {
            for (group, values) in &self.0 {
                groups.key(group).object(|object| {
                    for (name, value) in values {
                        value.write(object.key(name));
                    }
                });
            }
        });
        out.push('\n');
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_values_are_lines_and_json() {
        let mut report = Report::default();
        report.group("slot");
        report.add("name", Some("zemi"));
        report.add("active", Value::Bool(true));
        report.group("progress");
        report.add("behind", Value::Number(-3));
        report.add("at", None);
        assert_eq!(
            report.json(),
            "{\"slot\":{\"name\":\"zemi\",\"active\":true},\"progress\":{\"behind\":-3,\"at\":null}}\n"
        );
        let text = report.text();
        let words: Vec<&str> = text.split_whitespace().collect();
        assert_eq!(
            words,
            [
                "slot", "name", "zemi", "slot", "active", "yes", "progress", "behind", "-3",
                "progress", "at", "-"
            ]
        );
    }
}
