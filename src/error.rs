//! One error for everything a person may see: a code that decides exit status and HTTP status, a lowercase message
//! that fits "failed to …" and names subject and limit, a hint that says what to do.

use std::fmt;

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What kind of failure this is, for whoever has to act on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// The input is wrong: a name, a limit, a file.
    Invalid,
    /// No such app, function, call, context.
    NotFound,
    /// It exists already, or differs from what stands.
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
    /// What lies in the store contradicts the rules, or this program does.
    Internal,
}

impl Code {
    /// The word for it in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Code::Invalid => "invalid",
            Code::NotFound => "not_found",
            Code::Conflict => "conflict",
            Code::CallFailed => "call_failed",
            Code::WaitTimedOut => "wait_timed_out",
            Code::Unreachable => "unreachable",
            Code::Stopped => "stopped",
            Code::Interrupted => "interrupted",
            Code::Internal => "internal",
        }
    }

    /// The HTTP status that says the same.
    pub fn status(self) -> u16 {
        match self {
            Code::Invalid => 400,
            Code::NotFound => 404,
            Code::Conflict => 409,
            Code::CallFailed => 502,
            Code::WaitTimedOut => 504,
            Code::Unreachable => 503,
            Code::Stopped | Code::Interrupted => 503,
            Code::Internal => 500,
        }
    }

    /// Whether the same request may succeed later.
    pub fn is_retryable(self) -> bool {
        match self {
            Code::Unreachable | Code::WaitTimedOut => true,
            Code::Invalid
            | Code::NotFound
            | Code::Conflict
            | Code::CallFailed
            | Code::Stopped
            | Code::Interrupted
            | Code::Internal => false,
        }
    }
}

#[derive(Debug)]
pub struct Error {
    code: Code,
    message: String,
    hint: Option<String>,
}

impl Error {
    pub fn new(code: Code, message: impl Into<String>) -> Error {
        Error { code, message: message.into(), hint: None }
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
    pub fn hint(mut self, hint: impl Into<String>) -> Error {
        self.hint = Some(hint.into());
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

    pub fn message(&self) -> &str {
        &self.message
    }

    pub fn hint_text(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}
