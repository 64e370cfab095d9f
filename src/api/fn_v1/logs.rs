//! `/v1/apps/{app}/calls/{call}/log`: what a call printed, as text or as JSON.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::header::ACCEPT;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::Serialize;

use super::{app_name, calls, not_found};
use crate::api::answer::{json, stored};
use crate::api::error::ApiError;
use crate::api::state::Shared;
use crate::model::CallId;
use crate::results::body::{self, log_pages};

#[derive(Debug, PartialEq)]
enum Form {
    Json,
    Text,
}

/// The first type that the client names and that there is; who names none gets JSON.
fn form(headers: &HeaderMap) -> Option<Form> {
    let mut named = headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|part| part.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
        .filter(|part| !part.is_empty())
        .peekable();
    if named.peek().is_none() {
        return Some(Form::Json);
    }
    named.find_map(|name| match name.as_str() {
        "application/json" | "application/*" | "*/*" => Some(Form::Json),
        "text/plain" | "text/*" => Some(Form::Text),
        _ => None,
    })
}

pub(super) async fn get(
    State(shared): State<Shared>,
    path: Result<Path<(String, String)>, PathRejection>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let Path((app, call)) = path.map_err(|_| not_found("Call log"))?;
    let app = app_name(&app)?;
    let Some(form) = form(&headers) else {
        return Err(ApiError::new(
            StatusCode::NOT_ACCEPTABLE,
            "a log comes as text/plain or application/json; `Accept` names neither",
        ));
    };
    let view = calls::view(&shared.seams, &app, &call, "Call log").await?;
    if !view.state.is_final() {
        return Err(not_found("Call log"));
    }
    match form {
        Form::Text => {
            let pages = log_pages(&shared.seams, &view)?;
            Ok(stored(pages, view.log.as_ref(), Some("text/plain; charset=utf-8")))
        }
        Form::Json => {
            #[derive(Serialize)]
            struct Loaded<'a> {
                message: &'static str,
                log: Log<'a>,
            }
            #[derive(Serialize)]
            struct Log<'a> {
                call_id: CallId,
                log: &'a str,
            }
            let mut bytes = Vec::new();
            body::log(&shared.seams, &view, &mut bytes).await?;
            let log = Log { call_id: view.id, log: &String::from_utf8_lossy(&bytes) };
            Ok(json(StatusCode::OK, &Loaded { message: "Successfully loaded log", log }))
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn the_first_known_type_decides() {
        let answer = |accept: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in accept {
                headers.append(ACCEPT, HeaderValue::from_static(value));
            }
            form(&headers)
        };
        assert_eq!(answer(&[]), Some(Form::Json));
        assert_eq!(answer(&["*/*"]), Some(Form::Json));
        assert_eq!(answer(&["application/json"]), Some(Form::Json));
        assert_eq!(answer(&["text/plain"]), Some(Form::Text));
        assert_eq!(answer(&["text/html, Text/Plain;q=0.8, */*;q=0.1"]), Some(Form::Text));
        assert_eq!(answer(&["image/png", "application/json;q=1"]), Some(Form::Json));
        assert_eq!(answer(&["image/png"]), None);
    }
}
