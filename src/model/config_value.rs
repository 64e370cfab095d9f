//! What a config value means: a text, or a reference to a secret that workers read when they start a sandbox.

use std::fmt;

use crate::error::{Error, Result};
use crate::limits;

/// Marks the rest of a value as the text itself, whatever it begins with.
const LITERAL: &str = "literal:";
/// What is shown in place of a literal value.
pub const MASK: &str = "***";

/// A config value, parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigValue<'a> {
    Literal(&'a str),
    Secret(SecretRef),
}

/// Where a secret lies. Its text is the config value: `ssm:/name`, `secretsmanager:name#key`, `env:NAME`, `file:/path`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum SecretRef {
    /// Of AWS. `key`: of the JSON object that the secret is.
    Aws { secret: AwsSecret, key: Option<String> },
    /// A variable of the worker's environment.
    Env(String),
    /// A file of the worker's machine; an absolute path.
    File(String),
}

/// A secret that AWS keeps, by name or ARN.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum AwsSecret {
    /// A parameter of Systems Manager, decrypted.
    Parameter(String),
    /// A secret of Secrets Manager.
    Secret(String),
}

impl fmt::Display for AwsSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AwsSecret::Parameter(name) => write!(f, "ssm:{name}"),
            AwsSecret::Secret(name) => write!(f, "secretsmanager:{name}"),
        }
    }
}

impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SecretRef::Aws { secret, key: None } => secret.fmt(f),
            SecretRef::Aws { secret, key: Some(key) } => write!(f, "{secret}#{key}"),
            SecretRef::Env(name) => write!(f, "env:{name}"),
            SecretRef::File(path) => write!(f, "file:{path}"),
        }
    }
}

impl<'a> ConfigValue<'a> {
    /// Fails where a value begins like a reference and is none: taken as a text it would hide a slip.
    pub fn parse(value: &'a str) -> Result<ConfigValue<'a>> {
        if let Some(text) = value.strip_prefix(LITERAL) {
            return Ok(ConfigValue::Literal(text));
        }
        let Some((kind, place)) = value.split_once(':') else { return Ok(ConfigValue::Literal(value)) };
        let secret = match kind {
            "ssm" => parameter(place),
            "secretsmanager" => secret(place),
            "env" => is_variable(place).then(|| SecretRef::Env(place.to_owned())),
            "file" => is_path(place).then(|| SecretRef::File(place.to_owned())),
            _ => return Ok(ConfigValue::Literal(value)),
        };
        secret.map(ConfigValue::Secret).ok_or_else(|| malformed(kind))
    }

    /// The value as it may be shown: references say where a secret lies, and are none.
    pub fn masked(value: &'a str) -> &'a str {
        match ConfigValue::parse(value) {
            Ok(ConfigValue::Secret(_)) => value,
            Ok(ConfigValue::Literal(_)) | Err(_) => MASK,
        }
    }
}

/// The value is not part of the error: it may be a literal one, and secret.
fn malformed(kind: &str) -> Error {
    let form = match kind {
        "ssm" => "ssm:/NAME",
        "secretsmanager" => "secretsmanager:NAME#KEY",
        "env" => "env:NAME",
        _ => "file:/PATH, an absolute path",
    };
    Error::invalid(format!("begins with `{kind}:` and is no reference like {form}"))
        .with_hint(format!("`{LITERAL}{kind}:…` is the text `{kind}:…`"))
}

fn parameter(name: &str) -> Option<SecretRef> {
    let secret = AwsSecret::Parameter(name.to_owned());
    is_name(name).then_some(SecretRef::Aws { secret, key: None })
}

fn secret(place: &str) -> Option<SecretRef> {
    let (name, key) = match place.split_once('#') {
        Some((name, key)) => (name, Some(key)),
        None => (place, None),
    };
    let secret = AwsSecret::Secret(name.to_owned());
    (is_name(name) && key != Some("")).then(|| SecretRef::Aws { secret, key: key.map(str::to_owned) })
}

/// The characters of names and ARNs, in both services.
fn is_name(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/_+=.@-:".contains(c);
    !text.is_empty() && text.len() <= limits::SECRET_NAME_BYTES_MAX && text.chars().all(plain)
}

fn is_variable(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// `file://…` is a URL, and no way to write a path; `..` could lead out of what a worker gives.
fn is_path(path: &str) -> bool {
    path.starts_with('/') && !path.starts_with("//") && !path.split('/').any(|part| part == "..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_names_its_place_and_is_written_as_it_was_read() {
        let aws = |secret, key: Option<&str>| SecretRef::Aws { secret, key: key.map(str::to_owned) };
        let parameter = |name: &str| AwsSecret::Parameter(name.to_owned());
        let secret = |name: &str| AwsSecret::Secret(name.to_owned());
        let arn = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:db-AbCdEf";
        for (text, reference) in [
            ("ssm:/prod/db", aws(parameter("/prod/db"), None)),
            ("ssm:/prod/db:3", aws(parameter("/prod/db:3"), None)),
            ("secretsmanager:prod/db", aws(secret("prod/db"), None)),
            ("secretsmanager:prod/db#password", aws(secret("prod/db"), Some("password"))),
            (&format!("secretsmanager:{arn}#a.b c"), aws(secret(arn), Some("a.b c"))),
            ("env:DB_PASSWORD", SecretRef::Env("DB_PASSWORD".to_owned())),
            ("file:/run/secrets/db", SecretRef::File("/run/secrets/db".to_owned())),
        ] {
            assert_eq!(ConfigValue::parse(text).unwrap(), ConfigValue::Secret(reference.clone()));
            assert_eq!(reference.to_string(), text);
            assert_eq!(ConfigValue::masked(text), text);
        }
    }

    #[test]
    fn everything_else_is_a_text_and_a_text_may_begin_like_a_reference() {
        for (value, text) in [
            ("", ""),
            ("eu", "eu"),
            ("https://example.com", "https://example.com"),
            ("literal:ssm:/prod/db", "ssm:/prod/db"),
            ("literal:literal:", "literal:"),
            ("literal:", ""),
            ("SSM:/x", "SSM:/x"),
        ] {
            assert_eq!(ConfigValue::parse(value).unwrap(), ConfigValue::Literal(text), "{value}");
            assert_eq!(ConfigValue::masked(value), MASK);
        }
    }

    #[test]
    fn what_only_begins_like_a_reference_is_refused_without_telling_it() {
        for value in [
            "ssm:",
            "ssm:/hush hush",
            "secretsmanager:",
            "secretsmanager:hush#",
            "secretsmanager:hush hush",
            "env:",
            "env:HUSH-HUSH",
            "file:hush",
            "file://hush",
            "file:///hush",
            "file:/a/../hush",
        ] {
            let error = ConfigValue::parse(value).unwrap_err();
            let shown = format!("{error} {}", error.hint_text().unwrap());
            assert!(
                !shown.to_lowercase().contains("hush") && shown.contains("`literal:"),
                "{value}: {shown}"
            );
            assert_eq!(ConfigValue::masked(value), MASK);
        }
    }
}
