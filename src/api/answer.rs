//! How an answer looks: JSON as Fn's server writes it, or a stored body as it lies in the store.

use axum::body::Body;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use futures_util::stream;
use serde::Serialize;

use crate::error::Error;
use crate::model::{CallId, Stored};
use crate::results::body::Pages;

/// The header that names the call an answer is about. Fn writes it with underscores; its CLI looks for it to tell a
/// function's own answer from the server's.
const CALL_ID: &str = "fn_call_id";

pub(super) fn json<T: Serialize>(status: StatusCode, body: &T) -> Response {
    let body = serde_json::to_vec(body).expect("answers have string keys");
    let content_type = HeaderValue::from_static("application/json; charset=utf-8");
    (status, [(CONTENT_TYPE, content_type)], body).into_response()
}

/// A body that was recorded, or the empty one of which nothing was. An error on the way breaks the connection off: the
/// client sees that the body is not whole.
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
