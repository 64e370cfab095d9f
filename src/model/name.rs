//! Names, checked once at the edge; inside, a value of these types is a valid name, and cheap to clone.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

use super::text::text_types;
use crate::error::Error;
use crate::limits;

text_types! {
    /// The namespace of functions: up to 30 letters, digits, `-` and `_` (Fn's rule).
    AppName: |text| word("app name", text, limits::APP_NAME_BYTES_MAX);
    /// A function within its app: up to 64 letters, digits, `-` and `_`.
    FunctionName: |text| word("function name", text, limits::FUNCTION_NAME_BYTES_MAX);
    /// An immutable version: what `func.yaml` calls it, `-`, twelve hex digits of its content's digest. The same content
    /// deployed again is the same version.
    VersionId: |text| {
        let ok = !text.is_empty()
            && text.len() <= 80
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_+".contains(&b));
        if ok {
            Ok(())
        } else {
            Err(Error::invalid(format!("version `{text}` has characters other than letters, digits and .-_+")))
        }
    };
    /// The path that a function answers to, with its leading slash: `/asyncfn`.
    Route: |text| {
        if !text.starts_with('/') {
            return Err(Error::invalid(format!("route `{text}` does not begin with a slash"))
                .with_hint(format!("write `/{text}`")));
        }
        if text.len() > limits::ROUTE_BYTES_MAX {
            let (bytes, most) = (text.len(), limits::ROUTE_BYTES_MAX);
            return Err(Error::invalid(format!("route `{text}` has {bytes} bytes, the most is {most}")));
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
    };
    /// SHA-256, as 64 hex digits.
    Digest: |text| {
        let ok = text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if ok { Ok(()) } else { Err(Error::invalid(format!("`{text}` is not a SHA-256 in 64 hex digits"))) }
    };
}

impl Route {
    /// As the CLI takes it: the leading slash may be left out.
    pub fn lenient(text: &str) -> Result<Route, Error> {
        if text.starts_with('/') { text.parse() } else { format!("/{text}").parse() }
    }
}

impl Digest {
    pub fn of(bytes: &[u8]) -> Digest {
        Digest::from_bytes(Sha256::digest(bytes).into())
    }

    pub fn from_bytes(bytes: [u8; 32]) -> Digest {
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
            .with_hint("letters, digits, `-` and `_` can be used")),
        None => Ok(()),
    }
}
