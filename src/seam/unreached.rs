//! Nobody at the other end, an address where nothing listens, a name that is not known; or nothing to sign a request with.

use std::fmt;

use crate::error::Error;

/// The request never left, so nothing was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreached {
    /// `http://localhost:4566 cannot be reached`
    pub what: String,
    pub why: String,
    /// What to do about it.
    pub way_out: String,
    /// Whether it may come by itself, so that asking again makes sense.
    pub may_come: bool,
}

impl fmt::Display for Unreached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.why)
    }
}

impl From<Unreached> for Error {
    fn from(unreached: Unreached) -> Error {
        Error::unreachable(unreached.to_string()).hint(unreached.way_out)
    }
}
