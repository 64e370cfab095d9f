//! Where AWS keeps secrets that config values refer to.

use std::fmt;

use async_trait::async_trait;

use super::failure::{RequestError, RequestFailure, Unreached, request_error};
use crate::model::AwsSecret;

#[async_trait]
pub trait Secrets: Send + Sync {
    /// The text of a secret. It must not be stored, and not be part of an error or event.
    async fn fetch(&self, secret: &AwsSecret) -> Result<String, SecretError>;
}

/// Why there is no text. Never holds one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretError {
    NotFound,
    /// The service turned the request away for now.
    Busy(String),
    /// The request was not sent: no connection, or no credentials.
    Unreached(Unreached),
    /// No answer came.
    Lost(String),
    /// The service will not give it: access denied, no text.
    Refused(String),
}

request_error!(SecretError: Busy, Unreached, Lost, Refused);

impl fmt::Display for SecretError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.failure() {
            None => f.write_str("there is no such secret"),
            Some(failure) => f.write_str(&failure.why()),
        }
    }
}
