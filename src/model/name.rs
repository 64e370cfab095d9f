//! Names, checked once at the edge; inside, a value of these types is a valid name, and cheap to clone.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::error::Error;
use crate::limits;

macro_rules! text_newtype {
    ($name:ident, $check:expr) => {
        impl $name {
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<$name, Error> {
                let check: fn(&str) -> Result<(), Error> = $check;
                check(text)?;
                Ok($name(text.into()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = Error;

            fn try_from(text: String) -> Result<$name, Error> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.as_str().to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

/// The namespace of functions: up to 30 letters, digits, `-` and `_` (Fn's rule).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AppName(Arc<str>);

text_newtype!(AppName, |text| word("app name", text, limits::APP_NAME_BYTES_MAX));

/// A function within its app: up to 64 letters, digits, `-` and `_`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FunctionName(Arc<str>);

text_newtype!(FunctionName, |text| word("function name", text, limits::FUNCTION_NAME_BYTES_MAX));

/// An immutable version: what `func.yaml` calls it, `-`, twelve hex digits of its content's digest. The same content
/// deployed again is the same version.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct VersionId(Arc<str>);

text_newtype!(VersionId, |text| {
    let ok = !text.is_empty()
        && text.len() <= 80
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_+".contains(&b));
    if ok {
        Ok(())
    } else {
        Err(Error::invalid(format!("version `{text}` has characters other than letters, digits and .-_+")))
    }
});

/// The path that a function answers to, with its leading slash: `/asyncfn`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Route(Arc<str>);

text_newtype!(Route, |text| {
    if !text.starts_with('/') {
        return Err(Error::invalid(format!("route `{text}` does not begin with a slash"))
            .hint(format!("write `/{text}`")));
    }
    if text.len() > limits::ROUTE_BYTES_MAX {
        return Err(Error::invalid(format!(
            "route `{text}` has {} bytes, the most is {}",
            text.len(),
            limits::ROUTE_BYTES_MAX
        )));
    }
    let bad = text.chars().find(|c| c.is_control() || c.is_whitespace() || "?#%\\".contains(*c));
    if let Some(bad) = bad {
        return Err(Error::invalid(format!(
            "route `{text}` has the character {bad:?}, which a path cannot have"
        )));
    }
    if text.contains("//") || text.split('/').any(|part| part == "." || part == "..") {
        return Err(Error::invalid(format!("route `{text}` has an empty, `.` or `..` part")));
    }
    Ok(())
});

impl Route {
    /// As the CLI takes it: the leading slash may be left out.
    pub fn lenient(text: &str) -> Result<Route, Error> {
        if text.starts_with('/') { text.parse() } else { format!("/{text}").parse() }
    }
}

/// SHA-256, as 64 hex digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(Arc<str>);

text_newtype!(Digest, |text| {
    let ok = text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    if ok { Ok(()) } else { Err(Error::invalid(format!("`{text}` is not a SHA-256 in 64 hex digits"))) }
});

impl Digest {
    pub fn of(bytes: &[u8]) -> Digest {
        Digest::from_bytes(Sha256::digest(bytes).into())
    }

    pub fn from_bytes(bytes: [u8; 32]) -> Digest {
        use fmt::Write as _;
        let mut hex = String::with_capacity(64);
        for byte in bytes {
            let _ = write!(hex, "{byte:02x}");
        }
        Digest(hex.into())
    }
}

fn word(what: &str, text: &str, bytes_max: usize) -> Result<(), Error> {
    if text.is_empty() {
        return Err(Error::invalid(format!("the {what} is empty")));
    }
    if text.len() > bytes_max {
        return Err(Error::invalid(format!(
            "{what} `{text}` has {} characters, the most is {bytes_max}",
            text.len()
        )));
    }
    match text.chars().find(|c| !(c.is_ascii_alphanumeric() || *c == '-' || *c == '_')) {
        Some(bad) => Err(Error::invalid(format!("{what} `{text}` has the character {bad:?}"))
            .hint("letters, digits, `-` and `_` can be used")),
        None => Ok(()),
    }
}
