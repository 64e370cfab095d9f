//! Fn's v1 API for calls: run a function, read a call, list calls, read a log. Paths, bodies and texts are Fn's, so that
//! Fn's clients work. Fn showed a call only after it had finished; here it is visible at once.

mod calls;
mod forwarded;
mod invoke;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{any, get};
use serde_json::json;

use super::Shared;
use super::response::{ApiError, json_response};
use crate::catalog::Catalog;
use crate::error::Code;
use crate::model::AppName;
use crate::seam::Deps;

pub(super) fn router() -> Router<Shared> {
    Router::new()
        .route("/", get(hello))
        .route("/version", get(version))
        .route("/r/{app}", any(invoke::invoke))
        .route("/r/{app}/", any(invoke::invoke))
        .route("/r/{app}/{*route}", any(invoke::invoke))
        .route("/v1/apps/{app}/calls", get(calls::list))
        .route("/v1/apps/{app}/calls/{call}", get(calls::get))
        .route("/v1/apps/{app}/calls/{call}/log", get(calls::log))
}

async fn hello() -> Response {
    json_response(StatusCode::OK, &json!({ "goto": "/version", "hello": "world!" }))
}

async fn version(State(shared): State<Shared>) -> Response {
    json_response(StatusCode::OK, &json!({ "version": &*shared.version }))
}

/// No app has a name that is not valid.
fn app_name(text: &str) -> Result<AppName, ApiError> {
    text.parse().map_err(|_| ApiError::not_found("App"))
}

/// The error where something of an app does not exist: perhaps the app does not exist either.
async fn missing(deps: &Deps, app: &AppName, what: &str) -> ApiError {
    match check_app(deps, app).await {
        Ok(()) => ApiError::not_found(what),
        Err(error) => error,
    }
}

async fn check_app(deps: &Deps, app: &AppName) -> Result<(), ApiError> {
    match Catalog::new(deps.clone()).app(app).await {
        Ok(_) => Ok(()),
        Err(error) if error.code() == Code::NotFound => Err(ApiError::not_found("App")),
        Err(error) => Err(error.into()),
    }
}
