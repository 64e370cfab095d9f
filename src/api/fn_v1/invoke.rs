//! `/r/{app}/{route}`: runs a function. An async function is accepted, a sync one waited for; the call underneath is
//! the same.

use std::collections::BTreeMap;
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
use serde_json::json;
use tokio::sync::OwnedSemaphorePermit;

use super::{app_name, forwarded, missing};
use crate::api::Shared;
use crate::api::response::{ApiError, json_response, stored, with_call};
use crate::error::{Code, Error};
use crate::limits;
use crate::model::{AppName, CallId, Kind, Route, State as CallState};
use crate::results::body::result_pages;
use crate::results::call::{CallView, load, wait};
use crate::seam::Deps;
use crate::submit;

/// The route is everything behind the app.
pub(super) async fn invoke(
    State(shared): State<Shared>,
    path: Result<Path<BTreeMap<String, String>>, PathRejection>,
    request: Request,
) -> Result<Response, ApiError> {
    let Path(path) = path.map_err(|_| ApiError::not_found("Route"))?;
    let route = path.get("route").map(String::as_str).unwrap_or_default();
    run(shared, &path["app"], &format!("/{route}"), request).await
}

async fn run(shared: Shared, app: &str, route: &str, request: Request) -> Result<Response, ApiError> {
    let app = app_name(app)?;
    let Ok(route) = route.parse::<Route>() else { return Err(missing(&shared.deps, &app, "Route").await) };
    let (head, body) = request.into_parts();
    let headers = forwarded::headers(&head.method, &head.uri, &head.headers)?;
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
        let (payload, _permit) = receive(&shared, body).await?;
        let request = submit::call::Request {
            app: app.clone(),
            route,
            payload,
            content_type,
            headers,
            delay: Duration::ZERO,
            idempotency_key,
        };
        match submit::call::submit(&shared.deps, request).await {
            Ok(accepted) => accepted,
            Err(error) if error.code() == Code::NotFound => {
                return Err(missing(&shared.deps, &app, "Route").await);
            }
            Err(error) => return Err(error.into()),
        }
    };
    match accepted.function.kind {
        Kind::Async => {
            let body = json!({ "call_id": accepted.call });
            Ok(with_call(json_response(StatusCode::ACCEPTED, &body), accepted.call))
        }
        Kind::Sync => match response(&shared, &app, accepted.call).await {
            Ok(response) => Ok(with_call(response, accepted.call)),
            Err(error) => Err(error.of(accepted.call)),
        },
    }
}

/// Receives the payload, with permits to hold it in memory. It takes a permit for each piece that arrives, so that a slow
/// client holds no memory for what it has not sent. A payload that is too large is read on for a while and dropped: a
/// client that is still sending would not read a response.
async fn receive(shared: &Shared, mut body: Body) -> Result<(Bytes, Option<OwnedSemaphorePermit>), ApiError> {
    if body.is_end_stream() {
        return Ok((Bytes::new(), None));
    }
    let mut permit: Option<OwnedSemaphorePermit> = None;
    let mut payload = BytesMut::new();
    let mut bytes = 0;
    let take = async {
        while let Some(frame) = body.frame().await {
            let frame = frame
                .map_err(|error| ApiError::bad_request(format!("the request's body ended early: {error}")))?;
            let Ok(piece) = frame.into_data() else { continue };
            bytes += piece.len() as u64;
            if bytes <= limits::PAYLOAD_BYTES_MAX {
                let held = permit.as_ref().map_or(0, OwnedSemaphorePermit::num_permits) as u64;
                let more = (bytes / limits::API_PAYLOAD_PIECE_BYTES).saturating_sub(held);
                if more > 0 {
                    let taken = shared.payloads.clone().try_acquire_many_owned(more as u32);
                    let taken = taken.map_err(|_| busy())?;
                    match &mut permit {
                        Some(permit) => permit.merge(taken),
                        None => permit = Some(taken),
                    }
                }
                payload.extend_from_slice(&piece);
            } else {
                (payload, permit) = (BytesMut::new(), None);
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
        () = shared.deps.clock.sleep(limits::API_BODY_MAX) => {
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

fn busy() -> ApiError {
    let most = limits::API_PAYLOADS_BYTES_MAX / limits::MIB;
    let why = format!("payloads of {most} MiB are being received, which is the most: try again later");
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, why)
}

/// Waits for a sync function's outcome and responds with it.
async fn response(shared: &Shared, app: &AppName, call: CallId) -> Result<Response, ApiError> {
    let mut stopped = shared.stopped.clone();
    let outcome = tokio::select! {
        biased;
        _ = stopped.wait_for(|stopped| *stopped) => {
            return Err(ApiError::new(
                StatusCode::SERVICE_UNAVAILABLE,
                format!("the server stops; the call goes on as {call}"),
            ));
        }
        outcome = outcome(&shared.deps, app, call) => outcome?,
    };
    match outcome.state {
        CallState::Success => {
            let pages = result_pages(&shared.deps, &outcome)?;
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

async fn outcome(deps: &Deps, app: &AppName, call: CallId) -> Result<CallView, Error> {
    let begin = limits::API_BEGIN_MAX;
    match wait(deps, app, call, Some(begin), |_| {}).await {
        Err(error) if error.code() == Code::WaitTimedOut => {}
        done => return done,
    }
    if load(deps, app, call).await?.state != CallState::Running {
        return Err(Error::new(
            Code::WaitTimedOut,
            format!("no worker began the call within {}", humantime::format_duration(begin)),
        )
        .with_hint(format!("it goes on as {call}")));
    }
    // The worker stops the call when its time is up.
    wait(deps, app, call, Some(Duration::from_millis(limits::TIMEOUT_MS_MAX)), |_| {}).await
}
