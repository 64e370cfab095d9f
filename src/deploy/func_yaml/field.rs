//! One key with its value, read as what the key is for. Every error names file, line, key and what was expected.

use std::collections::BTreeMap;
use std::str::FromStr;

use super::tree::{Entry, Node, Value, error_at};
use crate::error::{Error, Result};
use crate::model::app::check_config;
use crate::model::nearest::nearest;
use crate::model::{Config, Route};

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

    /// Adds file and line to an error that the value's own check has made.
    pub fn placed(&self, error: Error) -> Error {
        error.context(format!("{}:{}", self.file, self.line))
    }

    pub fn has_no_effect(&self, why: &str) -> String {
        format!("{}:{}: `{}` has no effect here: {why}", self.file, self.line, self.key)
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

    pub fn route(&self) -> Result<Route> {
        Route::lenient(self.scalar("text")?).map_err(|error| self.placed(error))
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

    /// A command: a list of words, or a text that is split as a shell would, by quotes and backslashes too.
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
        let Value::List(items) = &self.node.value else { return Err(self.expected(what)) };
        Ok(items.iter().map(|node| Field { line: node.line, node, ..*self }).collect())
    }

    pub fn texts(&self) -> Result<Vec<String>> {
        self.items("a list of texts")?.iter().map(Field::text).collect()
    }

    /// The fields of a map; those without a value are left out.
    fn fields(&self, what: &str) -> Result<Vec<Field<'a>>> {
        let Value::Map(entries) = &self.node.value else { return Err(self.expected(what)) };
        let given = entries.iter().filter(|entry| !entry.value.is_null());
        Ok(given.map(|entry| Field::of(self.file, entry)).collect())
    }

    /// The fields of a map that has these keys, separated by blanks, and no others.
    pub fn known_fields(&self, known: &str) -> Result<Vec<Field<'a>>> {
        self.checked_fields(&format!("a map with {}", list(known)), known)
    }

    fn checked_fields(&self, what: &str, known: &str) -> Result<Vec<Field<'a>>> {
        let fields = self.fields(what)?;
        match fields.iter().find(|field| known.split(' ').all(|known| known != field.key)) {
            None => Ok(fields),
            Some(field) => Err(field.error(format!("unknown key `{}`", field.key)).with_hint(match nearest(
                field.key,
                known.split(' '),
            ) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("known: {}", list(known)),
            })),
        }
    }

    /// Names and texts, as an environment has them. A number or boolean is taken as it is written.
    pub fn config(&self) -> Result<Config> {
        let Value::Map(entries) = &self.node.value else {
            return Err(self.expected("a map of names and texts"));
        };
        let value = |entry: &Entry| match entry.value.is_null() {
            true => Ok(String::new()),
            false => Field::of(self.file, entry).text(),
        };
        let config = entries.iter().map(|entry| Ok((entry.key.clone(), value(entry)?)));
        let config = config.collect::<Result<Config>>()?;
        check_config(&config).map_err(|error| self.placed(error))?;
        Ok(config)
    }

    pub fn annotations(&self) -> Result<BTreeMap<String, serde_json::Value>> {
        let fields = self.fields("a map")?;
        Ok(fields.iter().map(|field| (field.key.to_owned(), json(field.node))).collect())
    }
}

/// The fields of a whole file, which has these keys and no others.
pub fn root<'a>(file: &'a str, node: &'a Node, known: &str) -> Result<Vec<Field<'a>>> {
    let root = Field { file, key: file, line: node.line, node };
    root.checked_fields("a map of keys like `name: myfn`", known)
}

fn list(known: &str) -> String {
    known.split(' ').map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ")
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
        let command = |text: &str| {
            let value = Value::Scalar { text: text.to_owned(), plain: false };
            let node = Node { line: 1, offset: 0, value };
            Field { file: "func.yaml", key: "cmd", line: 1, node: &node }.command()
        };
        assert_eq!(
            command(r#" ./func  --name "a b" 'c\d' e\ f "" "#).unwrap(),
            ["./func", "--name", "a b", r"c\d", "e f", ""]
        );
        assert_eq!(command("").unwrap(), Vec::<String>::new());
        assert!(command(r#"sh -c "oops"#).is_err());
        assert!(command(r"oops\").is_err());
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
