//! The HTTP API: the part of Fn's v1 API with which asynchronous functions are called and observed. A folder per API,
//! each with its own router. What all share (access, responses, connections) lies here.
//!
//! It serves its own machine: over TCP clients that have the token, over a unix socket those that may open it. [`guard`]
//! refuses pages of other origins. It must not know how calls run: it submits and reads.

mod connections;
mod fn_v1;
mod guard;
mod response;

use std::future::Future;
use std::sync::Arc;

use axum::http::StatusCode;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Semaphore, watch};

use self::response::ApiError;
use crate::error::Result;
use crate::limits;
use crate::model::Digest;
use crate::seam::Deps;

/// The sockets on which requests arrive.
pub struct Listeners {
    pub tcp: TcpListener,
    /// Only its owner may open it.
    pub unix: Option<UnixListener>,
}

#[derive(Clone)]
pub struct ApiOptions {
    pub deps: Deps,
    /// The answer of `/version`.
    pub version: String,
    /// The token that requests over TCP need; `None`: they need none.
    pub token: Option<String>,
}

/// What every handler gets.
#[derive(Clone)]
struct Shared {
    deps: Deps,
    version: Arc<str>,
    /// Of the token that requests over TCP need.
    token: Option<Digest>,
    /// A request holds one permit for each [`limits::API_PAYLOAD_PIECE_BYTES`] of its payload.
    payloads: Arc<Semaphore>,
    /// Turns true when the server stops: long waits end.
    stopped: watch::Receiver<bool>,
}

/// Serves until `stop` is ready. Open requests then get a moment to end; a client that waits for a sync function learns
/// that the call goes on.
pub async fn serve(listeners: Listeners, options: ApiOptions, stop: impl Future<Output = ()>) -> Result<()> {
    let (stopping, stopped) = watch::channel(false);
    let clock = options.deps.clock.clone();
    let permits = limits::API_PAYLOADS_BYTES_MAX / limits::API_PAYLOAD_PIECE_BYTES;
    let shared = Shared {
        deps: options.deps,
        version: options.version.into(),
        token: options.token.map(|token| Digest::of(token.as_bytes())),
        payloads: Arc::new(Semaphore::new(permits as usize)),
        stopped,
    };
    let router = fn_v1::router()
        .fallback(async || ApiError::not_found("Path"))
        .method_not_allowed_fallback(async || {
            ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed")
        })
        .layer(axum::middleware::from_fn_with_state(shared.clone(), guard::guard))
        .with_state(shared);
    connections::serve(listeners, router, clock, stop, stopping).await;
    Ok(())
}
