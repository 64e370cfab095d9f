//! `/v1/apps/{app}/calls`: one call, its log, or the newest calls.

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::header::ACCEPT;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{app_name, check_app, missing};
use crate::api::Shared;
use crate::api::response::{ApiError, json_response, stored};
use crate::error::Code;
use crate::limits;
use crate::model::{CallId, Route, Time};
use crate::results::body::{self, log_pages};
use crate::results::call::{CallView, load};
use crate::results::list::{self, Filter};
use crate::seam::Deps;

/// A call as Fn's clients read it. An app's id is its name. A time that has not come yet is Go's zero time.
fn record(call: &CallView) -> Value {
    let time = |time: Option<Time>| {
        time.map_or_else(|| "0001-01-01T00:00:00.000Z".to_owned(), |time| time.to_string())
    };
    let mut record = json!({
        "id": call.id,
        "status": call.state,
        "path": call.route,
        "app_id": call.app,
        "app_name": call.app,
        "created_at": call.created_at,
        "started_at": time(call.started_at),
        "completed_at": time(call.completed_at),
    });
    if let Some(reason) = &call.reason {
        record["error"] = json!(reason);
    }
    record
}

pub(super) async fn get(
    State(shared): State<Shared>,
    path: Result<Path<(String, String)>, PathRejection>,
) -> Result<Response, ApiError> {
    let call = find(&shared.deps, path, "Call").await?;
    let body = json!({ "message": "Successfully loaded call", "call": record(&call) });
    Ok(json_response(StatusCode::OK, &body))
}

/// The call that the path names. `what` is not found if it does not exist.
async fn find(
    deps: &Deps,
    path: Result<Path<(String, String)>, PathRejection>,
    what: &str,
) -> Result<CallView, ApiError> {
    let Path((app, call)) = path.map_err(|_| ApiError::not_found(what))?;
    let app = app_name(&app)?;
    let Ok(id) = call.parse::<CallId>() else { return Err(missing(deps, &app, what).await) };
    match load(deps, &app, id).await {
        Ok(view) => Ok(view),
        Err(error) if error.code() == Code::NotFound => Err(missing(deps, &app, what).await),
        Err(error) => Err(error.into()),
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct ListQuery {
    path: Option<String>,
    cursor: Option<String>,
    per_page: Option<String>,
    from_time: Option<String>,
    to_time: Option<String>,
    /// Fn does not have this filter; its users asked for it.
    status: Option<String>,
}

impl ListQuery {
    fn filter(&self) -> Result<Filter, ApiError> {
        // Fn's clients send an empty text where the user gave no value.
        let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let number = |name: &str, text: &Option<String>, of: &str| match given(text) {
            None => Ok(None),
            Some(text) => match text.parse::<u64>() {
                Ok(number) => Ok(Some(number).filter(|number| *number > 0)),
                Err(_) => Err(ApiError::bad_request(format!("{name} `{text}` is not a number{of}"))),
            },
        };
        let time = |name: &str, text: &Option<String>| {
            let seconds = number(name, text, " of seconds since 1970")?;
            Ok::<_, ApiError>(seconds.map(|seconds| Time(seconds.saturating_mul(1_000))))
        };
        let max = number("per_page", &self.per_page, "")?.and_then(|max| usize::try_from(max).ok());
        Ok(Filter {
            status: given(&self.status).map(|text| text.parse()).transpose()?.into_iter().collect(),
            route: given(&self.path).map(|text| Route::lenient(&text)).transpose()?,
            from: time("from_time", &self.from_time)?,
            to: time("to_time", &self.to_time)?,
            max: max.unwrap_or(limits::API_LIST_DEFAULT).min(limits::API_LIST_MAX),
            cursor: given(&self.cursor).map(|text| text.parse()).transpose()?,
        })
    }
}

pub(super) async fn list(
    State(shared): State<Shared>,
    path: Result<Path<String>, PathRejection>,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Response, ApiError> {
    let Path(app) = path.map_err(|_| ApiError::not_found("App"))?;
    let app = app_name(&app)?;
    let Query(query) = query.map_err(|error| ApiError::bad_request(error.body_text()))?;
    let found = list::list(&shared.deps, &app, &query.filter()?).await?;
    if found.scanned == 0 {
        // The app has no calls, or there is no such app.
        check_app(&shared.deps, &app).await?;
    }
    let mut message = "Successfully listed calls".to_owned();
    for call in &found.unreadable {
        message += &format!("; call {} is left out: {}", call.id, call.why);
    }
    let next_cursor = found.cursor.map(|cursor| cursor.to_string()).unwrap_or_default();
    let calls: Vec<Value> = found.calls.iter().map(record).collect();
    let body = json!({ "message": message, "next_cursor": next_cursor, "calls": calls });
    Ok(json_response(StatusCode::OK, &body))
}

#[derive(Debug, PartialEq)]
enum LogFormat {
    Json,
    Text,
}

/// The first known type of `Accept`; JSON without one.
fn log_format(headers: &HeaderMap) -> Option<LogFormat> {
    let mut named = headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|part| part.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
        .filter(|part| !part.is_empty())
        .peekable();
    if named.peek().is_none() {
        return Some(LogFormat::Json);
    }
    named.find_map(|name| match name.as_str() {
        "application/json" | "application/*" | "*/*" => Some(LogFormat::Json),
        "text/plain" | "text/*" => Some(LogFormat::Text),
        _ => None,
    })
}

pub(super) async fn log(
    State(shared): State<Shared>,
    path: Result<Path<(String, String)>, PathRejection>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let Some(format) = log_format(&headers) else {
        return Err(ApiError::new(
            StatusCode::NOT_ACCEPTABLE,
            "a log comes as text/plain or application/json; `Accept` names neither",
        ));
    };
    let call = find(&shared.deps, path, "Call log").await?;
    if !call.state.is_final() {
        return Err(ApiError::not_found("Call log"));
    }
    match format {
        LogFormat::Text => {
            let pages = log_pages(&shared.deps, &call)?;
            Ok(stored(pages, call.log.as_ref(), Some("text/plain; charset=utf-8")))
        }
        LogFormat::Json => {
            let mut bytes = Vec::new();
            body::log(&shared.deps, &call, &mut bytes).await?;
            let log = json!({ "call_id": call.id, "log": String::from_utf8_lossy(&bytes) });
            let body = json!({ "message": "Successfully loaded log", "log": log });
            Ok(json_response(StatusCode::OK, &body))
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
            log_format(&headers)
        };
        assert_eq!(answer(&[]), Some(LogFormat::Json));
        assert_eq!(answer(&["*/*"]), Some(LogFormat::Json));
        assert_eq!(answer(&["application/json"]), Some(LogFormat::Json));
        assert_eq!(answer(&["text/plain"]), Some(LogFormat::Text));
        assert_eq!(answer(&["text/html, Text/Plain;q=0.8, */*;q=0.1"]), Some(LogFormat::Text));
        assert_eq!(answer(&["image/png", "application/json;q=1"]), Some(LogFormat::Json));
        assert_eq!(answer(&["image/png"]), None);
    }
}
