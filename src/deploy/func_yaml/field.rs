//! One key with its value, read as what the key is for. Every error names file, line, key and what was expected.

use std::collections::BTreeMap;
use std::str::FromStr;

use super::tree::{self, Entry, Node, Value, error_at};
use crate::error::{Error, Result};
use crate::model::nearest::nearest;

#[derive(Clone, Copy)]
pub struct Field<'a> {
    pub file: &'a str,
    /// What the person wrote: the key, or for an item of a list the list's key.
    pub key: &'a str,
    pub line: usize,
    pub node: &'a Node,
}

impl<'a> Field<'a> {
    fn of(file: &'a str, entry: &'a Entry) -> Field<'a> {
        Field { file, key: &entry.key, line: entry.line, node: &entry.value }
    }

    pub fn error(&self, message: impl std::fmt::Display) -> Error {
        error_at(self.file, self.line, message)
    }

    pub fn expected(&self, what: &str) -> Error {
        let found = match &self.node.value {
            Value::Scalar { text, .. } => format!("`{text}`"),
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "a map".to_owned(),
        };
        self.error(format!("`{}` is {found}, expected {what}", self.key))
    }

    /// Puts the place before an error of whoever checked the value.
    pub fn placed(&self, error: Error) -> Error {
        error.context(format!("{}:{}", self.file, self.line))
    }

    fn scalar(&self, what: &str) -> Result<&'a str> {
        match &self.node.value {
            Value::Scalar { text, .. } => Ok(text),
            Value::List(_) | Value::Map(_) => Err(self.expected(what)),
        }
    }

    pub fn text(&self) -> Result<String> {
        self.scalar("text").map(str::to_owned)
    }

    pub fn parsed<T: FromStr<Err = Error>>(&self) -> Result<T> {
        self.scalar("text")?.parse().map_err(|error| self.placed(error))
    }

    pub fn whole(&self, what: &str) -> Result<u64> {
        self.scalar(what)?.parse().map_err(|_| self.expected(what))
    }

    pub fn flag(&self) -> Result<bool> {
        match self.scalar("true or false")? {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(self.expected("true or false")),
        }
    }

    /// Seconds as a number, or a duration with its unit; in milliseconds.
    pub fn duration_ms(&self) -> Result<u64> {
        const WHAT: &str = "seconds as a number, or a duration like `90s` or `5m`";
        let text = self.scalar(WHAT)?;
        if let Some(ms) = thousandths(text) {
            return Ok(ms);
        }
        let duration = humantime::parse_duration(text).map_err(|_| self.expected(WHAT))?;
        u64::try_from(duration.as_millis()).map_err(|_| self.expected(WHAT))
    }

    /// MiB as a number, or with `m` or `g` behind it, as Docker has it.
    pub fn mebibytes(&self) -> Result<u64> {
        const WHAT: &str = "MiB as a number, or a size like `512m` or `2g`";
        let text = self.scalar(WHAT)?.to_ascii_lowercase();
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let factor = match &text[digits.len()..] {
            "" | "m" | "mb" | "mib" => 1,
            "g" | "gb" | "gib" => 1024,
            _ => return Err(self.expected(WHAT)),
        };
        let number = digits.trim_end().parse::<u64>().ok().and_then(|number| number.checked_mul(factor));
        number.ok_or_else(|| self.expected(WHAT))
    }

    /// CPUs as a number, or thousandths with `m` behind them; in thousandths.
    pub fn cpu_millis(&self) -> Result<u64> {
        const WHAT: &str = "CPUs like `0.5`, or thousandths like `500m`";
        let text = self.scalar(WHAT)?;
        let millis = match text.strip_suffix('m') {
            Some(millis) => millis.parse().ok(),
            None => thousandths(text),
        };
        millis.ok_or_else(|| self.expected(WHAT))
    }

    /// A command: a list of words, or a text that is split as a shell would, which then knows quotes and backslashes.
    pub fn command(&self) -> Result<Vec<String>> {
        match &self.node.value {
            Value::Scalar { text, .. } => {
                words(text).ok_or_else(|| self.error(format!("`{}` has an open quote", self.key)))
            }
            Value::List(_) => self.texts(),
            Value::Map(_) => Err(self.expected("a command, as text or as a list of words")),
        }
    }

    pub fn items(&self, what: &str) -> Result<Vec<Field<'a>>> {
        match &self.node.value {
            Value::List(items) => {
                Ok(items.iter().map(|node| Field { line: node.line, node, ..*self }).collect())
            }
            Value::Scalar { .. } | Value::Map(_) => Err(self.expected(what)),
        }
    }

    pub fn texts(&self) -> Result<Vec<String>> {
        self.items("a list of texts")?.iter().map(Field::text).collect()
    }

    /// The fields of a map, those without a value left out.
    pub fn fields(&self, what: &str) -> Result<Vec<Field<'a>>> {
        match &self.node.value {
            Value::Map(entries) => Ok(entries
                .iter()
                .map(|entry| Field::of(self.file, entry))
                .filter(|field| !field.node.is_null())
                .collect()),
            Value::Scalar { .. } | Value::List(_) => Err(self.expected(what)),
        }
    }

    /// The fields of a map that has these keys and no others.
    pub fn known_fields(&self, known: &[&str]) -> Result<Vec<Field<'a>>> {
        let what = format!("a map with {}", list(known));
        let fields = self.fields(&what)?;
        for field in &fields {
            field.check_known(known)?;
        }
        Ok(fields)
    }

    pub fn check_known(&self, known: &[&str]) -> Result<()> {
        if known.contains(&self.key) {
            return Ok(());
        }
        let error = self.error(format!("unknown key `{}`", self.key));
        Err(match nearest(self.key, known.iter().copied()) {
            Some(near) => error.hint(format!("did you mean `{near}`?")),
            None => error.hint(format!("known: {}", list(known))),
        })
    }

    /// Names and texts, as an environment has them. A number or boolean is taken as it is written.
    pub fn environment(&self) -> Result<BTreeMap<String, String>> {
        match &self.node.value {
            Value::Map(entries) => entries
                .iter()
                .map(|entry| {
                    let field = Field::of(self.file, entry);
                    let text = if field.node.is_null() { String::new() } else { field.text()? };
                    Ok((entry.key.clone(), text))
                })
                .collect(),
            Value::Scalar { .. } | Value::List(_) => Err(self.expected("a map of names and texts")),
        }
    }

    pub fn json(&self) -> serde_json::Value {
        json(self.node)
    }
}

/// The top of a file.
pub fn root<'a>(file: &'a str, node: &'a tree::Node) -> Result<Vec<Field<'a>>> {
    Field { file, key: file, line: node.line, node }.fields("a map of keys like `name: myfn`")
}

fn list(known: &[&str]) -> String {
    known.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ")
}

/// A decimal number with up to three places, times 1000.
fn thousandths(text: &str) -> Option<u64> {
    let (whole, places) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || places.len() > 3 || !digits(whole) || !digits(places) {
        return None;
    }
    let places: u64 = format!("{places:0<3}").parse().ok()?;
    whole.parse::<u64>().ok()?.checked_mul(1000)?.checked_add(places)
}

/// Splits at blanks; quotes and backslashes keep a blank. `None` when a quote is left open.
fn words(text: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' | '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next()? {
                        '\\' if c == '"' => word.push(chars.next()?),
                        end if end == c => break,
                        inner => word.push(inner),
                    }
                }
            }
            '\\' => word.get_or_insert_default().push(chars.next()?),
            c if c.is_whitespace() => words.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Some(words)
}

/// By YAML's core schema: what is plain may be null, a boolean or a number.
pub fn json(node: &Node) -> serde_json::Value {
    match &node.value {
        _ if node.is_null() => serde_json::Value::Null,
        Value::Scalar { text, plain: true } => match text.as_str() {
            "true" => true.into(),
            "false" => false.into(),
            text => match text.parse::<serde_json::Number>() {
                Ok(number) => number.into(),
                Err(_) => text.into(),
            },
        },
        Value::Scalar { text, plain: false } => text.as_str().into(),
        Value::List(items) => items.iter().map(json).collect(),
        Value::Map(entries) => serde_json::Value::Object(
            entries.iter().map(|entry| (entry.key.clone(), json(&entry.value))).collect(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_split_as_a_shell_would() {
        assert_eq!(
            words(r#" ./func  --name "a b" 'c\d' e\ f "" "#).unwrap(),
            ["./func", "--name", "a b", r"c\d", "e f", ""]
        );
        assert_eq!(words("").unwrap(), Vec::<String>::new());
        assert_eq!(words(r#"sh -c "oops"#), None);
        assert_eq!(words(r"oops\"), None);
    }

    #[test]
    fn decimals_become_thousandths() {
        assert_eq!(thousandths("30"), Some(30_000));
        assert_eq!(thousandths("0.5"), Some(500));
        assert_eq!(thousandths("1.025"), Some(1_025));
        for bad in ["", ".5", "1.0001", "-1", "1e3", "1 ", "+1", "99999999999999999999"] {
            assert_eq!(thousandths(bad), None, "{bad}");
        }
    }
}
