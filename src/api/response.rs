//! Responses: JSON as Fn's server writes it, stored bodies, and errors as `{"error":{"message":".."}}`.

use axum::body::Body;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde_json::{Value, json};

use crate::error::Error;
use crate::model::{CallId, Stored};
use crate::results::body::Pages;

/// Names the call of a response. Fn writes it with underscores; its CLI looks for it to tell a function's own response
/// from the server's.
const CALL_ID: &str = "fn_call_id";

/// When a client may repeat a request that got a `503`, in seconds.
const RETRY_AFTER_S: HeaderValue = HeaderValue::from_static("15");

pub(super) fn json_response(status: StatusCode, body: &Value) -> Response {
    let content_type = HeaderValue::from_static("application/json; charset=utf-8");
    (status, [(CONTENT_TYPE, content_type)], body.to_string()).into_response()
}

/// A stored body, or an empty one where none is stored. An error breaks the connection off, so that the client sees that
/// the body is incomplete.
pub(super) fn stored(pages: Pages, stored: Option<&Stored>, content_type: Option<&str>) -> Response {
    let body = Body::from_stream(stream::try_unfold(pages, |mut pages| async move {
        Ok::<_, Error>(pages.next().await?.map(|page| (page, pages)))
    }));
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_LENGTH, HeaderValue::from(stored.map_or(0, |stored| stored.bytes)));
    if let Some(content_type) = content_type.and_then(|text| HeaderValue::try_from(text).ok()) {
        headers.insert(CONTENT_TYPE, content_type);
    }
    response
}

pub(super) fn with_call(mut response: Response, call: CallId) -> Response {
    let id = HeaderValue::try_from(call.to_string()).expect("an id is plain text");
    response.headers_mut().insert(CALL_ID, id);
    response
}

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

    pub fn not_found(what: &str) -> ApiError {
        ApiError::new(StatusCode::NOT_FOUND, format!("{what} not found"))
    }

    /// Names the accepted call that the error is about.
    pub fn of(self, call: CallId) -> ApiError {
        ApiError { call: Some(call), ..self }
    }
}

/// The engine's code becomes the status, its hint the end of the message.
impl From<Error> for ApiError {
    fn from(error: Error) -> ApiError {
        let status = StatusCode::from_u16(error.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let message = match error.hint_text() {
            Some(hint) => format!("{error} ({hint})"),
            None => error.to_string(),
        };
        ApiError::new(status, message)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = json_response(self.status, &json!({ "error": { "message": self.message } }));
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(RETRY_AFTER, RETRY_AFTER_S);
        }
        match self.call {
            Some(call) => with_call(response, call),
            None => response,
        }
    }
}
