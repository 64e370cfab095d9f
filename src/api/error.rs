//! How an error looks: `{"error":{"message":".."}}`, as Fn has it. What an error *is* the engine says; here its code
//! becomes a status, and its hint the end of the message.

use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::answer::{json, with_call};
use crate::error::Error;
use crate::model::CallId;

/// When a client that was told `503` may come again, in seconds.
const RETRY_AFTER_S: HeaderValue = HeaderValue::from_static("15");

#[derive(Debug)]
pub(super) struct ApiError {
    status: StatusCode,
    message: String,
    call: Option<CallId>,
}

impl ApiError {
    pub fn new(status: StatusCode, message: impl Into<String>) -> ApiError {
        ApiError { status, message: message.into(), call: None }
    }

    pub fn bad_request(message: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::BAD_REQUEST, message)
    }

    /// Of a call that was accepted.
    pub fn of(self, call: CallId) -> ApiError {
        ApiError { call: Some(call), ..self }
    }
}

impl From<Error> for ApiError {
    fn from(error: Error) -> ApiError {
        let status = StatusCode::from_u16(error.code().status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let message = match error.hint_text() {
            Some(hint) => format!("{error} ({hint})"),
            None => error.to_string(),
        };
        ApiError::new(status, message)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        #[derive(Serialize)]
        struct Body {
            error: Message,
        }
        #[derive(Serialize)]
        struct Message {
            message: String,
        }
        let mut response = json(self.status, &Body { error: Message { message: self.message } });
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(RETRY_AFTER, RETRY_AFTER_S);
        }
        match self.call {
            Some(call) => with_call(response, call),
            None => response,
        }
    }
}

pub(super) async fn no_such_path() -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "Path not found")
}

pub(super) async fn no_such_method() -> ApiError {
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed")
}
