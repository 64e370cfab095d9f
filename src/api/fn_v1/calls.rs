//! `/v1/apps/{app}/calls`: one call, or the newest of them.

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};

use super::{app_name, check_app, missing, not_found};
use crate::api::answer::json;
use crate::api::error::ApiError;
use crate::api::state::Shared;
use crate::error::Code;
use crate::limits;
use crate::model::{AppName, CallId, Route, State as CallState, Time};
use crate::results::call::{CallView, load};
use crate::results::list::{self, Filter};
use crate::seam::Seams;

/// A call as Fn's clients read it.
#[derive(Serialize)]
struct Call {
    id: CallId,
    status: CallState,
    path: Route,
    /// Apps are known by their names here: it is both.
    app_id: AppName,
    app_name: AppName,
    created_at: Moment,
    started_at: Moment,
    completed_at: Moment,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// What has not happened is Go's zero time.
#[derive(Serialize)]
#[serde(untagged)]
enum Moment {
    At(Time),
    Never(&'static str),
}

impl From<Option<Time>> for Moment {
    fn from(time: Option<Time>) -> Moment {
        time.map_or(Moment::Never("0001-01-01T00:00:00.000Z"), Moment::At)
    }
}

impl From<CallView> for Call {
    fn from(view: CallView) -> Call {
        Call {
            id: view.id,
            status: view.state,
            path: view.route,
            app_id: view.app.clone(),
            app_name: view.app,
            created_at: Moment::At(view.created_at),
            started_at: view.started_at.into(),
            completed_at: view.completed_at.into(),
            error: view.reason,
        }
    }
}

pub(super) async fn get(
    State(shared): State<Shared>,
    path: Result<Path<(String, String)>, PathRejection>,
) -> Result<Response, ApiError> {
    #[derive(Serialize)]
    struct Loaded {
        message: &'static str,
        call: Call,
    }
    let Path((app, call)) = path.map_err(|_| not_found("Call"))?;
    let view = view(&shared.seams, &app_name(&app)?, &call, "Call").await?;
    Ok(json(StatusCode::OK, &Loaded { message: "Successfully loaded call", call: view.into() }))
}

/// The call of that id; `what` is missing if there is none.
pub(super) async fn view(seams: &Seams, app: &AppName, call: &str, what: &str) -> Result<CallView, ApiError> {
    let Ok(id) = call.parse::<CallId>() else { return Err(missing(seams, app, what).await) };
    match load(seams, app, id).await {
        Ok(view) => Ok(view),
        Err(error) if error.code() == Code::NotFound => Err(missing(seams, app, what).await),
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
    /// Not Fn's: its users asked for it.
    status: Option<String>,
}

impl ListQuery {
    fn filter(&self) -> Result<Filter, ApiError> {
        // Fn's clients send what was not given as an empty text.
        let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let seconds = |name: &str, text: &Option<String>| match given(text) {
            None => Ok(None),
            Some(text) => match text.parse::<u64>() {
                Ok(0) => Ok(None),
                Ok(seconds) => Ok(Some(Time(seconds.saturating_mul(1_000)))),
                Err(_) => Err(ApiError::bad_request(format!(
                    "{name} `{text}` is not a number of seconds since 1970"
                ))),
            },
        };
        let max = match given(&self.per_page) {
            None => limits::API_LIST_DEFAULT,
            Some(text) => match text.parse::<usize>() {
                Ok(0) => limits::API_LIST_DEFAULT,
                Ok(max) => max.min(limits::API_LIST_MAX),
                Err(_) => return Err(ApiError::bad_request(format!("per_page `{text}` is not a number"))),
            },
        };
        Ok(Filter {
            status: given(&self.status).map(|text| text.parse()).transpose()?.into_iter().collect(),
            route: given(&self.path).map(|text| Route::lenient(&text)).transpose()?,
            from: seconds("from_time", &self.from_time)?,
            to: seconds("to_time", &self.to_time)?,
            max,
            cursor: given(&self.cursor).map(|text| text.parse()).transpose()?,
            // Fn's clients know calls alone.
            batches: false,
        })
    }
}

pub(super) async fn list(
    State(shared): State<Shared>,
    path: Result<Path<String>, PathRejection>,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Response, ApiError> {
    #[derive(Serialize)]
    struct Listed {
        message: String,
        next_cursor: String,
        calls: Vec<Call>,
    }
    let Path(app) = path.map_err(|_| not_found("App"))?;
    let app = app_name(&app)?;
    let Query(query) = query.map_err(|error| ApiError::bad_request(error.body_text()))?;
    let found = list::list(&shared.seams, &app, &query.filter()?).await?;
    if found.scanned == 0 {
        // No calls: of an app without calls, or of no app.
        check_app(&shared.seams, &app).await?;
    }
    let mut message = "Successfully listed calls".to_owned();
    for call in &found.unreadable {
        message += &format!("; call {} is left out: {}", call.id, call.why);
    }
    Ok(json(
        StatusCode::OK,
        &Listed {
            message,
            next_cursor: found.cursor.map(String::from).unwrap_or_default(),
            calls: found.calls.into_iter().map(Call::from).collect(),
        },
    ))
}
