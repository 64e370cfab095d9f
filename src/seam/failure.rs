//! Why a request to store or queue failed, where that says nothing about the object or message that it was for.

use std::fmt;

use crate::error::{Code, Error};

/// The request was not done: nothing listens at the address, its name is unknown, there is nothing to sign it with, or the
/// bucket or queue does not exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreached {
    /// `http://localhost:4566 cannot be reached`
    pub what: String,
    pub why: String,
    /// What the user can do about it.
    pub hint: String,
    /// Whether a later try may succeed without help.
    pub may_recover: bool,
}

impl fmt::Display for Unreached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.why)
    }
}

impl From<Unreached> for Error {
    fn from(unreached: Unreached) -> Error {
        Error::unreachable(unreached.to_string()).with_hint(unreached.hint)
    }
}

/// The failures that store and queue have in common, each with its reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequestFailure {
    /// The service turned the request away for now. Nothing was done. It is safe to repeat.
    Busy(String),
    /// The request was not done. It is safe to repeat.
    Unreached(Unreached),
    /// No answer came. The request may or may not have been done.
    Lost(String),
    /// The service will not do it: access denied, wrong request.
    Refused(String),
}

impl RequestFailure {
    /// Whether a repeated request may succeed.
    pub fn is_transient(&self) -> bool {
        match self {
            RequestFailure::Busy(_) | RequestFailure::Lost(_) => true,
            RequestFailure::Unreached(unreached) => unreached.may_recover,
            RequestFailure::Refused(_) => false,
        }
    }

    pub fn why(&self) -> String {
        match self {
            RequestFailure::Busy(why) | RequestFailure::Lost(why) | RequestFailure::Refused(why) => {
                why.clone()
            }
            RequestFailure::Unreached(unreached) => unreached.to_string(),
        }
    }

    /// The failure as text. `service`: `store` or `queue`.
    pub(super) fn describe(&self, service: &str) -> String {
        match self {
            RequestFailure::Busy(why) => format!("the {service} is busy: {why}"),
            RequestFailure::Unreached(unreached) => unreached.to_string(),
            RequestFailure::Lost(why) => format!("the {service} did not answer: {why}"),
            RequestFailure::Refused(why) => format!("the {service} refused: {why}"),
        }
    }
}

/// An error of store or queue. Some of its values are request failures.
pub trait RequestError: From<RequestFailure> + std::error::Error + Clone + Send + Sync + 'static {
    fn failure(&self) -> Option<RequestFailure>;

    /// The failure, if a repeated request may succeed.
    fn transient(&self) -> Option<RequestFailure> {
        self.failure().filter(RequestFailure::is_transient)
    }
}

/// Connects the variants of an error type that are request failures with [`RequestFailure`].
macro_rules! request_error {
    ($error:ident: $($variant:ident),+) => {
        impl From<RequestFailure> for $error {
            fn from(failure: RequestFailure) -> $error {
                match failure {
                    $(RequestFailure::$variant(why) => $error::$variant(why),)+
                }
            }
        }

        impl RequestError for $error {
            fn failure(&self) -> Option<RequestFailure> {
                match self {
                    $($error::$variant(why) => Some(RequestFailure::$variant(why.clone())),)+
                    _ => None,
                }
            }
        }

        impl std::error::Error for $error {}
    };
}

pub(super) use request_error;

/// The error as a user sees it. `code`: what it means if it is not a request failure.
pub(super) fn explain<E: RequestError>(error: E, code: Code) -> Error {
    let explained = match error.failure() {
        Some(RequestFailure::Unreached(unreached)) => unreached.into(),
        Some(_) => Error::unreachable(error.to_string()).with_hint("`afn doctor` tells what is wrong"),
        None => Error::new(code, error.to_string()),
    };
    explained.with_source(error)
}
