//! Fn's v1 API, as far as calls go: run one, look at one, list them, read a log. Paths, shapes and texts are Fn's, so
//! that its clients of that time work; where Fn hid a call until it had finished, ours is there from the start.

mod calls;
mod invoke;
mod kept;
mod logs;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{any, get};
use serde::Serialize;

use super::answer::json;
use super::error::ApiError;
use super::state::Shared;
use crate::catalog::Catalog;
use crate::error::Code;
use crate::model::AppName;
use crate::seam::Seams;

pub(super) fn router() -> Router<Shared> {
    Router::new()
        .route("/", get(hello))
        .route("/version", get(version))
        .route("/r/{app}", any(invoke::invoke_root))
        .route("/r/{app}/", any(invoke::invoke_root))
        .route("/r/{app}/{*route}", any(invoke::invoke))
        .route("/v1/apps/{app}/calls", get(calls::list))
        .route("/v1/apps/{app}/calls/{call}", get(calls::get))
        .route("/v1/apps/{app}/calls/{call}/log", get(logs::get))
}

async fn hello() -> Response {
    #[derive(Serialize)]
    struct Hello {
        goto: &'static str,
        hello: &'static str,
    }
    json(StatusCode::OK, &Hello { goto: "/version", hello: "world!" })
}

async fn version(State(shared): State<Shared>) -> Response {
    #[derive(Serialize)]
    struct Version<'a> {
        version: &'a str,
    }
    json(StatusCode::OK, &Version { version: &shared.version })
}

fn not_found(what: &str) -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, format!("{what} not found"))
}

/// A name that no app can have is one that no app has.
fn app_name(text: &str) -> Result<AppName, ApiError> {
    text.parse().map_err(|_| not_found("App"))
}

/// What to say when something of an app is not there: that, or that there is no such app.
async fn missing(seams: &Seams, app: &AppName, what: &str) -> ApiError {
    match check_app(seams, app).await {
        Ok(()) => not_found(what),
        Err(error) => error,
    }
}

async fn check_app(seams: &Seams, app: &AppName) -> Result<(), ApiError> {
    match Catalog::new(seams.clone()).app(app).await {
        Ok(_) => Ok(()),
        Err(error) if error.code() == Code::NotFound => Err(not_found("App")),
        Err(error) => Err(error.into()),
    }
}
