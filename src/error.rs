//! One error for everything a user may see: a code that decides exit status and HTTP status, a lowercase message that
//! fits "failed to …" and names subject and limit, a hint that says what to do.

use std::fmt;
use std::sync::Arc;

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// `None` for what does not exist.
pub fn if_found<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.code() == Code::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The kind of a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Code {
    /// The input is wrong: a name, a limit, a file.
    Invalid,
    /// No such app, function, call, context.
    NotFound,
    /// It exists already, or differs from what exists.
    Conflict,
    /// The call was waited for, and failed.
    CallFailed,
    /// It did not finish within the wait.
    WaitTimedOut,
    /// Store or queue did not answer, or refused us.
    Unreachable,
    /// Stopped early or cancelled.
    Stopped,
    /// Ctrl-C.
    Interrupted,
    /// An object breaks the rules of the layout, or this program has a bug.
    Internal,
}

impl Code {
    /// The word for it in JSON, and the HTTP status with the same meaning.
    fn names(self) -> (&'static str, u16) {
        match self {
            Code::Invalid => ("invalid", 400),
            Code::NotFound => ("not_found", 404),
            Code::Conflict => ("conflict", 409),
            Code::CallFailed => ("call_failed", 502),
            Code::WaitTimedOut => ("wait_timed_out", 504),
            Code::Unreachable => ("unreachable", 503),
            Code::Stopped => ("stopped", 503),
            Code::Interrupted => ("interrupted", 503),
            Code::Internal => ("internal", 500),
        }
    }

    pub fn as_str(self) -> &'static str {
        self.names().0
    }
}

#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Error {
    code: Code,
    message: String,
    hint: Option<String>,
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

/// By what a user sees.
impl PartialEq for Error {
    fn eq(&self, other: &Error) -> bool {
        (self.code, &self.message, &self.hint) == (other.code, &other.message, &other.hint)
    }
}

impl Eq for Error {}

impl Error {
    pub fn new(code: Code, message: impl Into<String>) -> Error {
        Error { code, message: message.into(), hint: None, source: None }
    }

    pub fn invalid(message: impl Into<String>) -> Error {
        Error::new(Code::Invalid, message)
    }

    pub fn not_found(message: impl Into<String>) -> Error {
        Error::new(Code::NotFound, message)
    }

    pub fn conflict(message: impl Into<String>) -> Error {
        Error::new(Code::Conflict, message)
    }

    pub fn unreachable(message: impl Into<String>) -> Error {
        Error::new(Code::Unreachable, message)
    }

    pub fn internal(message: impl Into<String>) -> Error {
        Error::new(Code::Internal, message)
    }

    /// What to do about it; printed on a line of its own.
    pub fn with_hint(mut self, hint: impl Into<String>) -> Error {
        self.hint = Some(hint.into());
        self
    }

    /// Keeps the error behind this one for programs. The message has its text already.
    pub fn with_source(mut self, source: impl std::error::Error + Send + Sync + 'static) -> Error {
        self.source = Some(Arc::new(source));
        self
    }

    /// Puts what was being done before the message.
    pub fn context(mut self, doing: impl fmt::Display) -> Error {
        self.message = format!("{doing}: {}", self.message);
        self
    }

    pub fn code(&self) -> Code {
        self.code
    }

    pub fn http_status(&self) -> u16 {
        self.code.names().1
    }

    pub fn message(&self) -> &str {
        &self.message
    }

    pub fn hint_text(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}

/// An error and what caused it, the innermost last.
pub fn causes<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |error| error.source())
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
