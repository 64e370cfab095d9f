//! `/r/{app}/{route}`: runs a function. An async function is accepted, a sync one waited for; the call underneath is
//! the same.

use std::time::Duration;

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::Body as _;
use serde::Serialize;

use super::{app_name, kept, missing, not_found};
use crate::api::answer::{json, stored, with_call};
use crate::api::error::ApiError;
use crate::api::state::Shared;
use crate::error::{Code, Error};
use crate::limits;
use crate::model::{AppName, CallId, Kind, Route, State as CallState};
use crate::results::body::result_pages;
use crate::results::call::{CallView, load, wait};
use crate::seam::Seams;
use crate::submit;

pub(super) async fn invoke_root(
    State(shared): State<Shared>,
    path: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Response, ApiError> {
    let Path(app) = path.map_err(|_| not_found("App"))?;
    run(shared, &app, "/", request).await
}

pub(super) async fn invoke(
    State(shared): State<Shared>,
    path: Result<Path<(String, String)>, PathRejection>,
    request: Request,
) -> Result<Response, ApiError> {
    let Path((app, route)) = path.map_err(|_| not_found("Route"))?;
    run(shared, &app, &format!("/{route}"), request).await
}

async fn run(shared: Shared, app: &str, route: &str, request: Request) -> Result<Response, ApiError> {
    let app = app_name(app)?;
    let Ok(route) = route.parse::<Route>() else { return Err(missing(&shared.seams, &app, "Route").await) };
    let (head, body) = request.into_parts();
    let headers = kept::headers(&head.method, &head.uri, &head.headers)?;
    let text = |name: &str| match head.headers.get(name).map(HeaderValue::to_str) {
        None => Ok(None),
        Some(Ok(text)) => Ok(Some(text.to_owned())),
        Some(Err(_)) => {
            Err(ApiError::bad_request(format!("the value of header `{name}` is not printable ASCII")))
        }
    };
    let content_type = text(CONTENT_TYPE.as_str())?;
    let idempotency_key = text("idempotency-key")?;
    let accepted = {
        let (payload, _taking_in) = take_in(&shared, body).await?;
        let request = submit::call::Request {
            app: app.clone(),
            route,
            payload,
            content_type,
            headers,
            delay: Duration::ZERO,
            idempotency_key,
        };
        match submit::call::submit(&shared.seams, request).await {
            Ok(accepted) => accepted,
            Err(error) if error.code() == Code::NotFound => {
                return Err(missing(&shared.seams, &app, "Route").await);
            }
            Err(error) => return Err(error.into()),
        }
    };
    match accepted.function.kind {
        Kind::Async => Ok(accepted_call(accepted.call)),
        Kind::Sync => match answer(&shared, &app, accepted.call).await {
            Ok(response) => Ok(with_call(response, accepted.call)),
            Err(error) => Err(error.of(accepted.call)),
        },
    }
}

fn accepted_call(call: CallId) -> Response {
    #[derive(Serialize)]
    struct Accepted {
        call_id: CallId,
    }
    with_call(json(StatusCode::ACCEPTED, &Accepted { call_id: call }), call)
}

/// The payload, and the right to hold it. One that is too large is read on for a while and thrown away: a client that
/// is still sending would not see an answer.
async fn take_in(
    shared: &Shared,
    mut body: Body,
) -> Result<(Bytes, Option<tokio::sync::OwnedSemaphorePermit>), ApiError> {
    if body.is_end_stream() {
        return Ok((Bytes::new(), None));
    }
    let permit = shared.payloads.clone().acquire_owned().await.ok();
    let mut payload = BytesMut::new();
    let mut bytes = 0;
    let take = async {
        while let Some(frame) = body.frame().await {
            let frame = frame
                .map_err(|error| ApiError::bad_request(format!("the request's body ended early: {error}")))?;
            let Ok(piece) = frame.into_data() else { continue };
            bytes += piece.len() as u64;
            if bytes <= limits::PAYLOAD_BYTES_MAX {
                payload.extend_from_slice(&piece);
            } else {
                payload = BytesMut::new();
                if bytes > 4 * limits::PAYLOAD_BYTES_MAX {
                    break;
                }
            }
        }
        Ok::<(), ApiError>(())
    };
    tokio::select! {
        biased;
        taken = take => taken?,
        () = shared.seams.clock.sleep(Duration::from_millis(limits::API_BODY_MS_MAX)) => {
            return Err(ApiError::new(StatusCode::REQUEST_TIMEOUT, "the request's body did not arrive in time"));
        }
    }
    if bytes > limits::PAYLOAD_BYTES_MAX {
        return Err(ApiError::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("the payload is too large, the most is {} bytes", limits::PAYLOAD_BYTES_MAX),
        ));
    }
    Ok((payload.freeze(), permit))
}

/// Waits for a sync function's outcome.
async fn answer(shared: &Shared, app: &AppName, call: CallId) -> Result<Response, ApiError> {
    let mut stopped = shared.stopped.clone();
    let outcome = tokio::select! {
        biased;
        _ = stopped.wait_for(|stopped| *stopped) => {
            return Err(ApiError::new(
                StatusCode::SERVICE_UNAVAILABLE,
                format!("the server stops; the call goes on as {call}"),
            ));
        }
        outcome = outcome(&shared.seams, app, call) => outcome?,
    };
    match outcome.state {
        CallState::Success => {
            let pages = result_pages(&shared.seams, &outcome)?;
            let result = outcome.result.as_ref();
            Ok(stored(pages, result, result.and_then(|result| result.content_type.as_deref())))
        }
        CallState::Timeout => Err(ApiError::new(StatusCode::GATEWAY_TIMEOUT, "Timed out")),
        state => {
            let message = outcome.reason.unwrap_or_else(|| state.to_string());
            Err(ApiError::new(StatusCode::BAD_GATEWAY, message))
        }
    }
}

async fn outcome(seams: &Seams, app: &AppName, call: CallId) -> Result<CallView, Error> {
    let begin = Duration::from_millis(limits::API_BEGIN_MS_MAX);
    match wait(seams, app, call, Some(begin), |_| {}).await {
        Err(error) if error.code() == Code::WaitTimedOut => {}
        done => return done,
    }
    if load(seams, app, call).await?.state != CallState::Running {
        return Err(Error::new(
            Code::WaitTimedOut,
            format!("no worker began the call within {}", humantime::format_duration(begin)),
        )
        .hint(format!("it goes on as {call}")));
    }
    // Whoever runs it stops it when its time is up.
    wait(seams, app, call, Some(Duration::from_millis(limits::TIMEOUT_MS_MAX)), |_| {}).await
}
