//! The HTTP API: the part of Fn's v1 API that its asynchronous functions are called and looked after with. A folder per
//! API, each with its own router; what is common to all (who may ask, how an error looks, connections) lies here.
//!
//! It serves its own machine: there is no authentication, so whoever it listens to can run functions. Pages of other
//! origins are kept out by [`guard`]. It must not know how calls run: it submits and reads.

mod answer;
mod connections;
mod error;
mod fn_v1;
mod guard;
mod state;

use std::future::Future;

use axum::Router;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::error::Result;
use state::Shared;
pub use state::State;

/// Serves until `stop` is ready. Requests that are open then get a moment to end; whoever waits for a sync function is
/// told that the call goes on.
pub async fn serve(listener: TcpListener, state: State, stop: impl Future<Output = ()>) -> Result<()> {
    let (stopping, stopped) = watch::channel(false);
    let clock = state.seams.clock.clone();
    let router = router(Shared::new(state, stopped));
    connections::serve(listener, router, clock, stop, stopping).await;
    Ok(())
}

fn router(shared: Shared) -> Router {
    fn_v1::router()
        .fallback(error::no_such_path)
        .method_not_allowed_fallback(error::no_such_method)
        .layer(axum::middleware::from_fn(guard::guard))
        .with_state(shared)
}
